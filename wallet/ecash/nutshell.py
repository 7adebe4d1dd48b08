"""A Cashu mint on this node's money: Nutshell in an environment of its own, funded through the node's wallet.

Nutshell knows LNbits as a funding source. `funding` is as much of LNbits' API as it asks for, on loopback, in front of
a NWC connection of the account `mint`. What the mint owes its users lies in that account: a mint is custody.
"""

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from nostr.key import load_or_create
from wallet import bolt11
from wallet.ecash.errors import EcashError
from wallet.interface import InvoiceState, Outcome, Wallet, WalletError

PACKAGES = ("cashu==0.20.2", "marshmallow<4", "limits<5")
_INPUT_FEE = 100  # thousandths of a sat for each proof spent
_START = 60.0


async def environment(folder: Path) -> Path:
    """Build Nutshell's environment once; its interpreter. Raises EcashError where the packages can't be had."""
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
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
) -> AsyncIterator[str]:
    """A mint whose money is `wallet`'s, up and answering; its URL. Raises EcashError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240
    secret = secrets.token_hex(16)
    runner = web.AppRunner(funding(wallet, secret), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    source = runner.addresses[0][1]
    port = port or _free_port(host)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TIMMY_", "MINT_"))}
    env |= {
        "MINT_BACKEND_BOLT11_SAT": "LNbitsWallet", "MINT_LNBITS_ENDPOINT": f"http://127.0.0.1:{source}",
        "MINT_LNBITS_KEY": secret, "MINT_LISTEN_HOST": host, "MINT_LISTEN_PORT": str(port),
        "MINT_PRIVATE_KEY": load_or_create(folder / "mint.key").hex, "MINT_DATABASE": str(folder / "db"),
        "MINT_INPUT_FEE_PPK": str(_INPUT_FEE), "CASHU_DIR": str(folder), "TOR": "FALSE", "DEBUG": "FALSE",
    }  # fmt: skip
    with (folder / "nutshell.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            str(python.parent / "mint"), cwd=folder, env=env, stdout=log, stderr=log
        )
    try:
        url = f"http://{host}:{port}"
        await _answers(url, process, folder / "nutshell.log")
        yield url
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


def _free_port(host: str) -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


def funding(wallet: Wallet, key: str) -> web.Application:
    """What Nutshell asks of LNbits, answered by `wallet`."""
    source = _Source(wallet, key)
    app = web.Application(middlewares=[source.guard])
    app.router.add_get("/api/v1/wallet", source.balance)
    app.router.add_post("/api/v1/payments", source.payments)
    app.router.add_get("/api/v1/payments/sse", source.no_stream)
    app.router.add_get("/api/v1/payments/{hash}", source.payment)
    app.router.add_get("/api/v1/ws/{key}", source.news)
    return app


class _Source:
    def __init__(self, wallet: Wallet, key: str) -> None:
        self._wallet, self._key = wallet, key

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("X-Api-Key") or request.match_info.get("key", "")
        if not secrets.compare_digest(given, self._key):
            raise web.HTTPUnauthorized
        try:
            answer: web.StreamResponse = await handler(request)
        except WalletError as error:
            return _json({"detail": str(error)}, 400)
        except (OSError, TimeoutError):
            return _json({"detail": "the wallet does not answer"}, 503)
        return answer

    async def balance(self, request: web.Request) -> web.Response:
        return _json({"name": "timmy", "balance": await self._wallet.balance()})

    async def payments(self, request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        if asked.get("out"):
            return await self._pay(str(asked["bolt11"]))
        made = await self._wallet.make_invoice(int(asked["amount"]) * 1000, description=asked.get("memo") or "ecash")
        return _json({"payment_hash": made.payment_hash, "checking_id": made.payment_hash, "bolt11": made.bolt11}, 201)

    async def _pay(self, text: str) -> web.Response:
        """An error only where nothing was paid for certain: Nutshell gives the ecash back then."""
        payment_hash = bolt11.decode(text).payment_hash
        try:
            result = await self._wallet.pay_invoice(text, timeout=60)
        except (OSError, TimeoutError):
            result = None
        if result is not None and result.outcome is Outcome.FAILED:
            return _json({"detail": result.detail or "the payment failed"}, 400)
        return _json({"payment_hash": payment_hash, "checking_id": payment_hash}, 201)

    async def payment(self, request: web.Request) -> web.Response:
        payment_hash = request.match_info["hash"]
        invoice = await self._wallet.lookup_invoice(payment_hash)
        if invoice is not None:
            paid = invoice.state is InvoiceState.SETTLED
            return _status(payment_hash, "success" if paid else "pending", invoice.amount_msat, 0, invoice.preimage)
        sent = await self._wallet.lookup_payment(payment_hash)
        if sent.code == "NOT_FOUND":
            return _json({"detail": "Payment does not exist."}, 404)
        status = {Outcome.SETTLED: "success", Outcome.FAILED: "failed"}.get(sent.outcome, "pending")
        return _status(payment_hash, status, -1, sent.fee_msat or 0, sent.preimage)

    async def no_stream(self, request: web.Request) -> web.Response:
        return _json({"detail": "Payment does not exist."}, 404)

    async def news(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=20)
        await socket.prepare(request)
        async for payment_hash in self._wallet.settled():
            invoice = await self._wallet.lookup_invoice(payment_hash)
            if invoice is not None:
                await socket.send_json({"payment": {"payment_hash": payment_hash, "amount": invoice.amount_msat}})
        return socket


def _status(payment_hash: str, status: str, amount: int, fee: int, preimage: str | None) -> web.Response:
    details = {"payment_hash": payment_hash, "status": status, "amount": amount, "fee": fee}
    return _json({"paid": status == "success", "preimage": preimage, "details": details})


def _json(said: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(said), status=status, content_type="application/json")
