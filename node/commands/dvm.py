"""`timmy dvm TRADE`: one worker on any relay; `timmy dvm new` writes a service."""

import asyncio
import sqlite3
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from node.context import DataOption, JsonOption, RelayOption, data_dir, load_settings, out, print_json, relay_urls
from node.errors import NotDone, Unavailable, UsageComplaint
from node.plan import TRADES


class _Trades(TyperGroup):
    """`timmy dvm image` is short for `timmy dvm run image`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for trade, about in TRADES.items():
            self.commands[trade] = TyperCommand(trade, help=about, rich_help_panel="Trades")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and (args[0] in TRADES or args[0] not in self.commands):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Trades,
    no_args_is_help=True,
    add_completion=False,
    help="One worker on any relay: `timmy dvm image`, `timmy dvm ./mine.py`.",
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
        ready(f"{found.name} {nip19.npub(running.key.public)} {relays[0]}", folder)

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


class Offer(StrEnum):
    REDO = "redo"
    REFUND = "refund"


@app.command("answer")
def answer(
    review: Annotated[str, typer.Argument(help="The review: its id (hex, note or nevent).")],
    text: Annotated[str, typer.Argument(help="What you say to it.")],
    data: DataOption = None,
    relay: RelayOption = None,
    offer: Annotated[Offer | None, typer.Option(help="What you offer to its author.")] = None,
) -> None:
    """Answer a review of one of this node's workers, signed by that worker."""
    folder = data_dir(data)
    asyncio.run(_answer(folder, relay_urls(folder, relay), review, text, offer or ""))
    out.print("answered")


async def _answer(data: Path, relays: list[str], review: str, text: str, offer: str) -> None:
    from market.errors import BadReview
    from market.review import build_answer
    from market.tags import parse_id
    from nostr.clock import system_clock
    from nostr.filter import Filter
    from nostr.key import SecretKey
    from nostr.pool import Pool

    parsed = parse_id(review)
    if parsed is None:
        raise UsageComplaint("a review is named by its event id: hex, note1... or nevent1...")
    keys = [SecretKey.from_hex(path.read_text()) for path in sorted((data / "keys").glob("*.key"))]
    async with Pool(relays) as pool:
        found = await pool.fetch(Filter(ids=[parsed[0]]), timeout=10)
        if not found:
            raise NotDone("the review was not found on the relay")
        reviewed = set(found[0].values("p"))
        key = next((key for key in keys if key.public in reviewed), None)
        if key is None:
            raise NotDone("the review is about none of this node's workers")
        try:
            event = build_answer(key, found[0], text, offer=offer, created_at=system_clock())
        except BadReview as error:
            raise NotDone(error.reason) from None
        answers = await pool.publish(event)
    if not any(ok.accepted for ok in answers.values()):
        raise NotDone("no relay took the answer: " + "; ".join(ok.message for ok in answers.values()))
