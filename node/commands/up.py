"""`timmy up` and `timmy link`. The page and the trades are not imported here: the supervisor stays small."""

import asyncio
import socket
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.markup import escape

from node import home, plan
from node.context import DataOption, data_dir, err, load_settings, out, relay_urls
from node.errors import UsageComplaint
from node.run import ready, run_until_signal, set_up_logging
from node.settings import NodeSettings, Settings
from node.supervisor import PartFailed, Supervisor
from nostr import nip19


def up(
    data: DataOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port of relay, page and files; 0 takes a free one.")
    ] = None,
    public: Annotated[
        str | None, typer.Option("--public", help="wss:// address under which the world reaches you.")
    ] = None,
    only: Annotated[str | None, typer.Option("--only", help="Parts to start, with commas: relay,wallet,image.")] = None,
) -> None:
    """Start the node: relay, wallet, every trade, Timmy and the page, each a process of its own."""
    folder = data_dir(data)
    first = home.prepare(folder)
    settings = load_settings(folder)
    node = settings.section("node", NodeSettings, host=host, port=port, public_url=public)
    chosen = plan.chosen(only.split(",") if only else node.parts)
    if node.public_url:
        check_public(settings, node.public_url)
    set_up_logging(node.log)
    with home.only_one(folder, "node"):
        run_until_signal(_up(folder, node, chosen, first))


async def _up(folder: Path, node: NodeSettings, chosen: list[str], first: bool) -> None:
    supervisor = Supervisor(status=folder / home.STATUS, logs=folder / home.LOGS)
    try:
        url = await start(supervisor, folder, node, chosen)
        greet(folder, url, first)
        ready(f"ready {url.replace('ws', 'http', 1)}")
        await asyncio.Event().wait()
    finally:
        await supervisor.stop()


async def start(supervisor: Supervisor, folder: Path, node: NodeSettings, chosen: list[str], **environ: str) -> str:
    """Start the parts: relay, then wallet, then all the others side by side. Returns the relay's URL, if it is ours.

    `environ` is for the parts. Raises PartFailed where relay or wallet do not start; another part that fails is
    reported and left out.
    """
    environ["TIMMY_NODE_LOG"] = node.log
    if node.public_url:
        environ |= {"TIMMY_NODE_PUBLIC_URL": node.public_url, "TIMMY_RELAY_PUBLIC_URL": node.public_url}
    port = node.port or same_port(folder, node.host)  # chosen here, so that a relay that is restarted comes back on it
    todo = {name: plan.part(name, folder, host=node.host, port=port, environ=environ) for name in chosen}
    url = ""
    for name in [name for name in ("relay", "wallet") if name in todo]:
        line = await supervisor.start(todo.pop(name))
        url = line.split()[1] if name == "relay" else url
    for outcome in await asyncio.gather(*map(supervisor.start, todo.values()), return_exceptions=True):
        if isinstance(outcome, PartFailed):  # a trade without its engine must not keep the others from selling
            err.print(f"[yellow]{escape(str(outcome))}[/yellow]", soft_wrap=True)
        elif isinstance(outcome, BaseException):
            raise outcome
    return url


def same_port(folder: Path, host: str) -> int:
    """The port of the last start while it is free, so that links and connections keep their meaning; else any."""
    try:
        line = home.parts_of_last_run(folder)["relay"]["line"]
        return free_port(host, urlsplit(line.removeprefix("relay ")).port or 0)
    except (OSError, ValueError, KeyError):
        return free_port(host)


def free_port(host: str, port: int = 0) -> int:
    """A free port (or that one). Raises OSError where the address cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        found: int = probe.getsockname()[1]
        return found


def check_public(settings: Settings, url: str) -> None:
    """Refuse to offer priced services to the world for credits that nobody can withdraw."""
    from dvms.settings import DvmSettings
    from wallet.settings import WalletSettings

    if not url.startswith(("wss://", "ws://")):
        raise UsageComplaint(f"--public takes the wss:// address of this node's relay, not {url!r}")
    backend = settings.section("wallet", WalletSettings).backend
    free = settings.section("dvm", DvmSettings).price == 0
    if backend == "ledger" and not free:
        raise UsageComplaint(
            "the wallet is `ledger`: its units are credits, not Lightning, and nobody outside could pay or be paid. "
            "Put a real wallet behind it (`timmy config set wallet.backend ...`, see docs/wallet.md) "
            "or offer free services only (`timmy config set dvm.price 0`)"
        )


def greet(folder: Path, url: str, first: bool) -> None:
    from web.session import new_link

    base = url.replace("ws", "http", 1)
    lines = [f"\n[bold]Timmy is up.[/bold]  {'New node' if first else 'Node'} in {escape(str(folder))}"]
    if url:
        lines += [
            f"  relay    {url}  (point any Nostr client here)",
            f"  page     {base}",
            f"  operator {new_link(folder, base)}  (once, within an hour; `timmy link` makes another)",
        ]
    lines.append(f"  owner    {nip19.npub(home.owner_key(folder).public)}")
    if first:
        lines.append(
            "  next     timmy services, timmy buy image 'a fox in the snow', timmy wallet balance, timmy doctor"
        )
    err.print("\n".join(lines) + "\n", soft_wrap=True)


def link(data: DataOption = None) -> None:
    """Print a one-time address that signs you in as the operator of the running node's page."""
    from web.session import new_link

    folder = data_dir(data)
    base = relay_urls(folder, None)[0].replace("ws", "http", 1)
    out.print(new_link(folder, base), soft_wrap=True, markup=False)
