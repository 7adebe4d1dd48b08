"""`timmy orchestrator`, `timmy recipe`, `timmy audit`, `timmy books`: the composite room on the command line."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from node.context import DataOption, JsonOption, RelayOption, data_dir, load_settings, out, print_json, relay_urls
from node.errors import Unavailable, UsageComplaint

recipe = typer.Typer(no_args_is_help=True, help="Write, check, publish, fork, simulate and run recipes.")


def orchestrator(
    data: DataOption = None,
    relay: RelayOption = None,
    wallet: Annotated[
        str | None,
        typer.Option("--wallet", help="Wallet connection: nostr+walletconnect://...", envvar="TIMMY_WALLET_URI"),
    ] = None,
) -> None:
    """Run Timmy: he announces his recipes, buys their steps from whoever is best, and sells the whole."""
    from node.run import ready, run_until_signal, set_up_logging
    from node.settings import NodeSettings
    from nostr import nip19
    from orchestrator.errors import RecipeError
    from orchestrator.settings import OrchestratorSettings
    from orchestrator.timmy import AlreadyRunning, serve

    folder = data_dir(data)
    every = load_settings(folder)
    node = every.section("node", NodeSettings)
    set_up_logging(node.log)
    settings = every.section("orchestrator", OrchestratorSettings)
    relays = relay_urls(folder, relay)
    if not relay and node.public_url:
        relays += node.announce_to
    purse = wallet or _own_wallet(folder)
    if purse is None:
        raise Unavailable("Timmy needs a wallet: give one with --wallet, or start this node's own (`timmy wallet`)")

    def say(timmy: Any) -> None:
        ready(f"orchestrator {nip19.npub(timmy.key.public)} {timmy.pool.relays[0]}")

    try:
        run_until_signal(serve(settings, data=folder, relays=relays, wallet=purse, ready=say))
    except AlreadyRunning as error:
        raise Unavailable(str(error)) from None
    except RecipeError as error:
        raise UsageComplaint(str(error)) from None


def books(
    data: DataOption = None,
    limit: Annotated[int, typer.Option("--limit", help="How many runs to show.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Price, costs and margin of each run, and the totals."""
    from rich.table import Table

    from wallet.msat import show

    runs, totals, due = asyncio.run(_read_books(data_dir(data), limit))
    if as_json:
        print_json({"runs": runs, "totals": totals, "refunds_due": due})
        return
    table = Table("run", "recipe", "state", "price", "costs", "margin", "why")
    for row in runs:
        table.add_row(
            row["id"][:8], row["recipe"], row["state"], show(row["price_msat"]), show(row["spent_msat"]),
            show(row["margin_msat"]), row["reason"],
        )  # fmt: skip
    out.print(table)
    out.print(
        f"{totals['runs']} runs, {totals['delivered'] or 0} delivered, {totals['refunded'] or 0} refunded: "
        f"took {show(totals['taken_msat'])}, spent {show(totals['spent_msat'])}, "
        f"margin {show(totals['taken_msat'] - totals['spent_msat'])}"
    )
    for row in due:
        out.print(f"refund due: {show(row['amount_msat'])} to {row['buyer'][:8]} for run {row['run'][:8]}")


async def _read_books(folder: Path, limit: int) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]]]:
    from orchestrator.journal import Journal

    path = folder / "orchestrator" / "timmy.db"
    if not path.exists():
        raise Unavailable(f"no books yet: Timmy has not run on {folder}")
    journal = await Journal.open(path)
    try:
        totals = await journal.totals()
        return (
            [dict(row) for row in await journal.books(limit)],
            dict(totals) if totals else {},
            [dict(row) for row in await journal.refunds_due()],
        )
    finally:
        await journal.close()


def _own_wallet(folder: Path) -> str | None:
    """The connection this node's wallet made for Timmy."""
    try:
        return (folder / "wallet" / "connections" / "orchestrator.uri").read_text().strip()
    except FileNotFoundError:
        return None
