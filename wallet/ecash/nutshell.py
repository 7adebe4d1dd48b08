"""A Cashu mint on this node's money: Nutshell in an environment of its own, funded through the node's wallet.

Nutshell knows no Nostr Wallet Connect. It is told of an LND on loopback instead, which is `wallet.ecash.funding` in
front of a NWC connection of the account `mint`. What the mint owes its users lies in that account: a mint is custody.
"""

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from nostr.key import load_or_create
from wallet.ecash.errors import EcashError
from wallet.ecash.funding import funding
from wallet.interface import Wallet

PACKAGES = ("cashu==0.20.2", "marshmallow<4", "limits<5")
_INPUT_FEE = 100  # thousandths of a sat for each proof spent
_START = 60.0
# Nutshell must not outlive us: it ends when its standard input does, whatever ended us.
_LAUNCH = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
from cashu.mint.main import main
main()
"""
_OWN_SETTINGS = "# further settings of Nutshell: MINT_INFO_NAME=..., MINT_MAX_MINT_BOLT11_SAT=...\n"


@dataclass(frozen=True, slots=True)
class Running:
    url: str
    process: asyncio.subprocess.Process

    async def ended(self) -> None:
        """Wait until the mint ends by itself, which it should not. Raises EcashError."""
        raise EcashError(f"the mint ended with code {await self.process.wait()}: see nutshell.log")


def built(folder: Path) -> bool:
    """Whether the environment is there."""
    return (folder / "complete").exists()


async def environment(folder: Path) -> Path:
    """Build Nutshell's environment once; its interpreter. Raises EcashError where the packages can't be had."""
    python = folder / "bin" / "python"
    if built(folder):
        return python
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    await _run(sys.executable, "-m", "venv", "--clear", str(folder))
    await _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES)
    (folder / "complete").touch()
    return python


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        raise EcashError(f"Nutshell cannot be installed: {lines[-1] if lines else process.returncode}")


@asynccontextmanager
async def running(
    python: Path, folder: Path, wallet: Wallet, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Running]:
    """A mint whose money is `wallet`'s, up and answering. Raises EcashError, OSError where the port is taken."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240
    port = _free_port(host, port)
    secret = secrets.token_hex(16)
    runner = web.AppRunner(funding(wallet, secret), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    source = runner.addresses[0][1]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TIMMY_", "MINT_"))}
    env |= {
        "MINT_BACKEND_BOLT11_SAT": "LndRestWallet", "MINT_LND_REST_ENDPOINT": f"http://127.0.0.1:{source}",
        "MINT_LND_REST_MACAROON": secret, "MINT_LND_ENABLE_MPP": "FALSE", "MINT_LISTEN_HOST": host,
        "MINT_LISTEN_PORT": str(port), "MINT_PRIVATE_KEY": load_or_create(folder / "mint.key").hex,
        "MINT_DATABASE": str(folder / "db"), "MINT_INPUT_FEE_PPK": str(_INPUT_FEE), "CASHU_DIR": str(folder),
        "MINT_REGULAR_TASKS_INTERVAL_SECONDS": "60", "TOR": "FALSE", "DEBUG": "FALSE",
    }  # fmt: skip
    settings = folder / ".env"  # without one here Nutshell reads that of a wallet in the user's home
    if not settings.exists():
        settings.write_text(_OWN_SETTINGS)
    with (folder / "nutshell.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            str(python), "-c", _LAUNCH, cwd=folder, env=env, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log
        )
    try:
        url = f"http://{host}:{port}"
        await _answers(url, process, folder / "nutshell.log")
        yield Running(url, process)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
        await runner.cleanup()


async def _answers(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    try:
        async with asyncio.timeout(_START), aiohttp.ClientSession() as session:
            while process.returncode is None:
                try:
                    async with session.get(url + "/v1/info") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.2)
    except TimeoutError:
        pass
    raise EcashError(f"the mint did not start: see {log}")


def _free_port(host: str, wanted: int) -> int:
    """The port, or any where 0 is wanted. Raises OSError where it is taken: its owner must not pass for us."""
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, wanted))
        return int(found.getsockname()[1])
