"""`timmy dvm TRADE`: one worker on any relay; `timmy dvm new` writes a service; `timmy inbox`: tasks for people."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from node.context import DataOption, JsonOption, RelayOption, data_dir, load_settings, out, print_json, relay_urls
from node.errors import Unavailable, UsageComplaint


class _Trades(TyperGroup):
    """`timmy dvm image` is short for `timmy dvm run image`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Trades, no_args_is_help=True, help="One worker on any relay: `timmy dvm image`, `timmy dvm ./mine.py`."
)


@app.command("run", hidden=True)
def run(
    trade: Annotated[
        str, typer.Argument(help="text, image, music, speech, animation, video, feed, human; or a .py file.")
    ],
    data: DataOption = None,
    relay: RelayOption = None,
    wallet: Annotated[
        str | None,
        typer.Option("--wallet", help="Wallet connection: nostr+walletconnect://...", envvar="TIMMY_WALLET_URI"),
    ] = None,
    price: Annotated[int | None, typer.Option("--price", help="Base price of a job in sat.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Engine of this trade.")] = None,
) -> None:
    """Run one worker: it announces itself, takes jobs, is paid and delivers, until it is stopped."""
    from dvms.registry import UnknownService, find
    from dvms.serve import AlreadyRunning, serve
    from dvms.settings import DvmSettings, for_trade
    from node.run import ready, run_until_signal, set_up_logging
    from node.settings import NodeSettings
    from nostr import nip19

    folder = data_dir(data)
    every = load_settings(folder)
    node = every.section("node", NodeSettings)
    set_up_logging(node.log)
    try:
        found = find(trade)
    except UnknownService as error:
        raise UsageComplaint(str(error)) from None
    settings, own = for_trade(every.section("dvm", DvmSettings), found.name)
    if price is not None:
        settings = settings.model_copy(update={"price": price})
    if engine is not None:
        if "engine" not in found.service.Settings.model_fields:
            raise UsageComplaint(f"{found.name} has no choice of engines")
        own["engine"] = engine
    relays = relay_urls(folder, relay)
    if not relay and node.public_url:
        relays += node.announce_to
    purse = wallet or _own_wallet(folder, found.name)
    if purse is None and settings.price:
        raise Unavailable(
            f"a price of {settings.price} sat needs a wallet: give one with --wallet, start this node's own"
            " (`timmy wallet`), or sell for nothing (--price 0)"
        )

    def say(running: Any) -> None:
        ready(f"{found.name} {nip19.npub(running.key.public)} {running.pool.relays[0]}")

    try:
        run_until_signal(serve(found, settings, own, data=folder, relays=relays, wallet=purse, ready=say))
    except AlreadyRunning as error:
        raise Unavailable(str(error)) from None


def _own_wallet(data: Path, name: str) -> str | None:
    """The connection this node's wallet made for the worker."""
    try:
        return (data / "wallet" / "connections" / f"{name}.uri").read_text().strip()
    except FileNotFoundError:
        return None


_TEMPLATE = '''"""{title}: a service of your own. Run it: timmy dvm ./{file} --price 3"""

from pydantic import BaseModel, Field

from dvms.service import Engine, Job, Progress, Refused, Result, Service


class {name}(Service):
    name = "{title}"
    about = "Says it again, louder."
    kinds = (5050,)  # the job kind you sell: https://github.com/nostr-protocol/data-vending-machines

    class Params(BaseModel):
        marks: int = Field(1, ge=1, le=5, description="exclamation marks")

    def engine(self) -> Engine:
        return Engine("{file}", licence="MIT")

    def check(self, job: Job) -> None:
        if len(job.text()) > 1000:
            raise Refused("at most 1000 characters")

    def run(self, job: Job, progress: Progress) -> Result:
        progress(0.5, "shouting")
        return Result(job.text().upper() + "!" * job.params.marks)
'''


@app.command("new")
def new(name: Annotated[str, typer.Argument(help="Name of the service; NAME.py is written here.")]) -> None:
    """Write a service of about thirty lines that runs at once."""
    path = Path(name if name.endswith(".py") else f"{name}.py")
    stem = path.stem
    if not stem.isidentifier():
        raise UsageComplaint(f"{stem!r} is no Python name: use letters, digits and _")
    if path.exists():
        raise UsageComplaint(f"{path} exists already")
    title = stem.replace("_", " ").title()
    path.write_text(_TEMPLATE.format(title=title, file=path.name, name=title.replace(" ", "")))
    out.print(f"wrote {path}: try it with  timmy dvm ./{path} --price 0")


@app.command("refunds")
def refunds(
    trade: Annotated[str, typer.Argument(help="The worker.")], data: DataOption = None, as_json: JsonOption = False
) -> None:
    """What a worker owes, paid back, or keeps as its customers' credit."""
    import sqlite3

    path = data_dir(data) / "dvms" / trade / "jobs.db"
    if not path.exists():
        raise UsageComplaint(f"no worker {trade!r} has run on this data folder")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as conn:
        conn.row_factory = sqlite3.Row
        rows = [dict(row) for row in conn.execute("SELECT job, customer, msat, state, detail FROM refunds")]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        out.print(f"{row['job'][:8]}  {row['state']:<8} {row['msat'] / 1000:g} sat  {row['detail'] or ''}")
    if not rows:
        out.print("no refunds")
