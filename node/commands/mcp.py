"""`timmy mcp`: an MCP server on standard input and output, through which an agent hires machines and people."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.context import DataOption, RelayOption, data_dir, load_settings
from node.errors import Unavailable, UsageComplaint

if TYPE_CHECKING:
    from node.agents import Desk

MISSING = "the MCP server needs one more package: .venv/bin/pip install -c constraints.txt -e '.[mcp]'"


def mcp(
    budget_sat: Annotated[
        int | None,
        typer.Option(
            "--budget-sat",
            min=0,
            help="The most the agent may spend in 24 hours, restarts included. Default: 0, quotes only; with --wallet,"
            " whatever that wallet connection allows.",
            show_default=False,
        ),
    ] = None,
    order_sat: Annotated[
        int | None, typer.Option("--order-sat", min=0, help="The most that one order may cost.", show_default=False)
    ] = None,
    kinds: Annotated[
        str, typer.Option("--kinds", help="Only these kinds of jobs, as numbers or names: text,image,5260.")
    ] = "",
    ask: Annotated[
        bool, typer.Option("--ask", help="Show every order to the user first; refused where the client cannot.")
    ] = False,
    name: Annotated[
        str, typer.Option("--name", help="Name of the agent: each has its own key, budget and list of jobs.")
    ] = "agent",
    files: Annotated[
        Path | None, typer.Option("--files", help="A folder from which the agent may give files as inputs.")
    ] = None,
    wallet: Annotated[
        Path | None,
        typer.Option(
            "--wallet",
            help="A file with the agent's own wallet connection (NWC). Default: TIMMY_NWC, else this node's wallet.",
            show_default=False,
        ),
    ] = None,
    relay: RelayOption = None,
    data: DataOption = None,
) -> None:
    """Let an AI agent (Claude, Cursor, CrewAI, ...) buy here: an MCP server over standard input and output."""
    import os
    from importlib.util import find_spec

    from node.run import set_up_logging
    from node.settings import NodeSettings

    if find_spec("mcp") is None:
        raise Unavailable(MISSING)
    from node.agents import Desk, Limits
    from node.hiring import kind_number

    if not name.replace("-", "").isalnum():
        raise UsageComplaint("--name: letters, digits and dashes")
    if wallet is not None and "nostr+walletconnect:" in str(wallet):
        raise UsageComplaint(
            "--wallet takes a file: a connection is a secret, and arguments are seen by everybody here"
        )
    if wallet is not None and not wallet.is_file():
        raise UsageComplaint(f"--wallet: there is no file {wallet}")
    if files is not None and not files.is_dir():
        raise UsageComplaint(f"--files: there is no folder {files}")
    folder = data_dir(data)
    set_up_logging(load_settings(folder).section("node", NodeSettings).log)
    own = str(wallet.absolute()) if wallet is not None else os.environ.get("TIMMY_NWC")
    if budget_sat is None and own is None:
        budget_sat = 0
    allowed = frozenset(kind_number(part.strip()) for part in kinds.split(",") if part.strip())
    limits = Limits(
        day_msat=None if budget_sat is None else budget_sat * 1000,
        job_msat=None if order_sat is None else order_sat * 1000,
        kinds=allowed or None,
    )
    asyncio.run(_serve(Desk(folder, name=name, relays=relay, wallet=own, limits=limits, files=files), ask))


async def _serve(desk: "Desk", ask: bool) -> None:
    from node.agents.server import build

    async with desk:
        await build(desk, ask_user=ask).run_stdio_async()
