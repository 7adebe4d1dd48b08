"""`timmy dvm TRADE`: one worker on any relay; `timmy dvm new` writes a service; `timmy inbox`: tasks for people."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from node.context import DataOption, JsonOption, RelayOption, data_dir, load_settings, out, print_json, relay_urls
from node.errors import NotDone, Unavailable, UsageComplaint
from node.plan import TRADES
from wallet.msat import show

T = TypeVar("T")


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
        ready(f"{found.name} {nip19.npub(running.key.public)} {relays[0]}")

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
    import asyncio

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


inbox = typer.Typer(no_args_is_help=True, add_completion=False, help="Tasks for people: list, claim, deliver.")


class ReportKind(StrEnum):
    """The words of NIP-56 that fit a task."""

    NUDITY = "nudity"
    MALWARE = "malware"
    PROFANITY = "profanity"
    ILLEGAL = "illegal"
    SPAM = "spam"
    OTHER = "other"


WhoOption = Annotated[str, typer.Option("--as", help="Who you are, where several people share the inbox.")]
TaskArgument = Annotated[str, typer.Argument(help="The task: its id, or the first digits of it.")]


def _with_inbox(data: Path | None, work: Callable[[Any], Awaitable[T]]) -> T:
    """Run one thing on the node's inbox; what a person did wrong is a complaint."""
    import asyncio

    from dvms.human import Inbox
    from dvms.human.inbox import InboxError

    async def run() -> T:
        opened = await Inbox.open(data_dir(data))
        try:
            return await work(opened)
        finally:
            await opened.close()

    try:
        return asyncio.run(run())
    except InboxError as error:
        raise NotDone(str(error)) from None


def left(due_at: int) -> str:
    """How long until then, for people."""
    import time

    minutes = max(0, due_at - int(time.time())) // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} d"


@inbox.command("list")
def inbox_list(
    data: DataOption = None,
    every: Annotated[bool, typer.Option("--all", help="Also delivered and withdrawn tasks.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tasks that wait for somebody, oldest first."""
    from dataclasses import asdict

    from dvms.human import TaskState

    tasks = _with_inbox(data, lambda box: box.tasks(*(TaskState if every else ())))
    if as_json:
        print_json([asdict(task) for task in tasks])
        return
    for task in tasks:
        who = f" by {task.who}" if task.who else ""
        due = f"{left(task.due_at)} left" if task.ended_at is None else ""
        warning = f"  [red]warned of: {escape(task.warning)}[/]" if task.warning else ""
        out.print(
            f"[bold]{task.id[:8]}[/]  {task.state}{who}  {show(task.price_msat)}  {due}  {escape(task.title)}{warning}"
        )
    if not tasks:
        out.print("nothing to do")


@inbox.command("show")
def inbox_show(task: TaskArgument, data: DataOption = None) -> None:
    """A task in full: its inputs, what is wanted, and how its customer has paid so far."""
    from dvms.jobs import record
    from nostr.nip19 import npub

    found = _with_inbox(data, lambda box: box.get(task))
    out.print(
        f"[bold]{escape(found.title)}[/]\n{found.state}, {show(found.price_msat)} paid and waiting for your work, "
        f"{left(found.due_at)} left, kind {found.kind}, id {found.id}"
    )
    if found.warning:
        out.print(f"[red]The customer warns of: {escape(found.warning)}[/]")
    if found.customer:
        past = record(data_dir(data) / "dvms" / "human" / "jobs.db", found.customer)
        cancelled = f", cancelled {past.cancelled} after paying" if past.cancelled else ""
        history = f"paid {past.paid} of {past.bills} bills here{cancelled}"
        out.print(f"from {npub(found.customer)}: {history}", soft_wrap=True)
    for number, item in enumerate(found.inputs, start=1):
        out.print(f"{number}. {escape(str(item['text'] or item['url'] or ''))}", soft_wrap=True)
        if item["path"]:
            out.print(f"   {item['mime']}: {escape(item['path'])}", soft_wrap=True)
    for name, value in found.params.items():
        if value and name not in ("title", "content_warning"):
            out.print(f"{name}: {escape(str(value))}")


@inbox.command("claim")
def inbox_claim(
    task: TaskArgument,
    data: DataOption = None,
    who: WhoOption = "me",
    minutes: Annotated[int, typer.Option(help="For how long it is yours.")] = 60,
) -> None:
    """Take a task: nobody else can while your claim lasts."""
    found = _with_inbox(data, lambda box: box.claim(task, who, minutes * 60))
    out.print(f"{found.id[:8]} is yours for {minutes} min")


@inbox.command("release")
def inbox_release(task: TaskArgument, data: DataOption = None, who: WhoOption = "me") -> None:
    """Give a claimed task back."""
    found = _with_inbox(data, lambda box: box.release(task, who))
    out.print(f"{found.id[:8]} is open again")


@inbox.command("decline")
def inbox_decline(
    task: TaskArgument,
    why: Annotated[str, typer.Argument(help="What the customer is told.")] = "",
    data: DataOption = None,
) -> None:
    """Say no to a task: the customer hears it at once and has the money back."""
    found = _with_inbox(data, lambda box: box.decline(task, why))
    out.print(f"{found.id[:8]} is declined")


@inbox.command("report")
def inbox_report(
    task: TaskArgument,
    kind: Annotated[ReportKind, typer.Argument(help="What it is.")],
    words: Annotated[str, typer.Argument(help="What you saw.")] = "",
    data: DataOption = None,
    relay: RelayOption = None,
) -> None:
    """Decline a task that nobody should have to do, and tell the relays why (NIP-56), signed by the worker."""
    import asyncio

    folder = data_dir(data)
    found = _with_inbox(data, lambda box: box.get(task))
    if not found.customer:
        raise NotDone("this task came before customers were noted: decline it instead")
    asyncio.run(_report(folder, relay_urls(folder, relay), found, kind, words))
    if found.state in ("open", "claimed"):
        _with_inbox(data, lambda box: box.decline(found.id, kind))
    out.print(f"{found.id[:8]} is reported as {kind}")


async def _report(data: Path, relays: list[str], task: Any, kind: str, words: str) -> None:
    from market.kinds import REPORT
    from nostr.key import SecretKey
    from nostr.pool import Pool

    key = SecretKey.from_hex((data / "keys" / "human.key").read_text())
    tags = [["e", task.id, kind], ["p", task.customer, kind]]
    async with Pool(relays) as pool:
        answers = await pool.publish(key.sign(kind=REPORT, content=words, tags=tags))
    if not any(ok.accepted for ok in answers.values()):
        raise NotDone("no relay took the report: " + "; ".join(ok.message for ok in answers.values()))


@inbox.command("deliver")
def inbox_deliver(
    task: TaskArgument,
    text: Annotated[str, typer.Argument(help="Your answer; for a form: `yes ...`, `2 1 3` or `7 ...`.")] = "",
    data: DataOption = None,
    file: Annotated[list[Path] | None, typer.Option("--file", help="A file to hand in; may be repeated.")] = None,
    who: WhoOption = "me",
) -> None:
    """Hand in the work; the worker publishes it."""
    found = _with_inbox(data, lambda box: box.deliver(task, who, text=text, files=file or []))
    out.print(f"{found.id[:8]} is delivered")


@inbox.command("here")
def inbox_here(
    data: DataOption = None, hours: Annotated[float, typer.Option(help="For so long; at most 12.")] = 12
) -> None:
    """Say that somebody is there to work: the heartbeat beats, and tasks are taken."""
    import time

    until = int(time.time() + min(hours, 12) * 3600)
    _with_inbox(data, lambda box: box.present(until))
    out.print(f"tasks are taken until {time.strftime('%H:%M', time.localtime(until))}")


@inbox.command("away")
def inbox_away(data: DataOption = None) -> None:
    """Nobody is there: no new tasks are taken, claimed ones can still be delivered."""
    _with_inbox(data, lambda box: box.present(0))
    out.print("no new tasks are taken")
