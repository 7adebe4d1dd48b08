"""`timmy inbox`: tasks for people. What the page does at `/inbox`, in a terminal."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape

from node.context import DataOption, JsonOption, RelayOption, data_dir, out, print_json, relay_urls
from node.errors import NotDone
from wallet.msat import show as sats

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Tasks for people: list, claim, deliver.")


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
    minutes = max(0, due_at - int(time.time())) // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} d"


@app.command("list")
def listed(
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
            f"[bold]{task.id[:8]}[/]  {task.state}{who}  {sats(task.price_msat)}  {due}  {escape(task.title)}{warning}"
        )
    if not tasks:
        out.print("nothing to do")


@app.command("show")
def show(task: TaskArgument, data: DataOption = None) -> None:
    """A task in full: its inputs, what is wanted, and how its customer has paid so far."""
    from dvms.jobs import record
    from nostr.nip19 import npub

    found = _with_inbox(data, lambda box: box.get(task))
    out.print(
        f"[bold]{escape(found.title)}[/]\n{found.state}, {sats(found.price_msat)} paid and waiting for your work, "
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


@app.command("claim")
def claim(
    task: TaskArgument,
    data: DataOption = None,
    who: WhoOption = "me",
    minutes: Annotated[int, typer.Option(help="For how long it is yours.")] = 60,
) -> None:
    """Take a task: nobody else can while your claim lasts."""
    found = _with_inbox(data, lambda box: box.claim(task, who, minutes * 60))
    out.print(f"{found.id[:8]} is yours for {minutes} min")


@app.command("release")
def release(task: TaskArgument, data: DataOption = None, who: WhoOption = "me") -> None:
    """Give a claimed task back."""
    found = _with_inbox(data, lambda box: box.release(task, who))
    out.print(f"{found.id[:8]} is open again")


@app.command("decline")
def decline(
    task: TaskArgument,
    why: Annotated[str, typer.Argument(help="What the customer is told.")] = "",
    data: DataOption = None,
) -> None:
    """Say no to a task: the customer hears it at once and has the money back."""
    found = _with_inbox(data, lambda box: box.decline(task, why))
    out.print(f"{found.id[:8]} is declined")


@app.command("report")
def report(
    task: TaskArgument,
    kind: Annotated[ReportKind, typer.Argument(help="What it is.")],
    words: Annotated[str, typer.Argument(help="What you saw.")] = "",
    data: DataOption = None,
    relay: RelayOption = None,
) -> None:
    """Decline a task that nobody should have to do, and tell the relays why (NIP-56), signed by the worker."""
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


@app.command("deliver")
def deliver(
    task: TaskArgument,
    text: Annotated[str, typer.Argument(help="Your answer; for a form: `yes ...`, `2 1 3` or `7 ...`.")] = "",
    data: DataOption = None,
    file: Annotated[list[Path] | None, typer.Option("--file", help="A file to hand in; may be repeated.")] = None,
    who: WhoOption = "me",
) -> None:
    """Hand in the work; the worker publishes it."""
    found = _with_inbox(data, lambda box: box.deliver(task, who, text=text, files=file or []))
    out.print(f"{found.id[:8]} is delivered")


@app.command("here")
def here(data: DataOption = None, hours: Annotated[float, typer.Option(help="For so long; at most 12.")] = 12) -> None:
    """Say that somebody is there to work: the heartbeat beats, and tasks are taken."""
    until = int(time.time() + min(hours, 12) * 3600)
    _with_inbox(data, lambda box: box.present(until))
    out.print(f"tasks are taken until {time.strftime('%H:%M', time.localtime(until))}")


@app.command("away")
def away(data: DataOption = None) -> None:
    """Nobody is there: no new tasks are taken, claimed ones can still be delivered."""
    _with_inbox(data, lambda box: box.present(0))
    out.print("no new tasks are taken")
