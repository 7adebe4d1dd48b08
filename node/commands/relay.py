"""`timmy relay`: the relay alone, and what its operator does with it."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.context import DataOption, JsonOption, data_dir, err, load_settings, out, print_json
from node.errors import NotDone, Unavailable, UsageComplaint

if TYPE_CHECKING:
    from relay.settings import RelaySettings

app = typer.Typer(
    invoke_without_command=True, add_completion=False, help="The relay alone; its status, import, export."
)


@app.callback()
def relay(
    context: typer.Context,
    data: DataOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
) -> None:
    """Run a Nostr relay on one port: WebSocket, NIP-11, Blossom, /healthz, /metrics. SIGHUP reloads the settings."""
    context.obj = data
    if context.invoked_subcommand is not None:
        return
    from node.page import mounts
    from node.run import ready, run_until_signal, set_up_logging
    from node.settings import NodeSettings
    from relay.app import serve

    folder = data_dir(data)
    node = load_settings(folder).section("node", NodeSettings, host=host, port=port)
    set_up_logging(node.log)
    run_until_signal(
        serve(
            _settings(folder),
            folder,
            host=node.host,
            port=node.port,
            mounts=mounts(load_settings(folder), folder),
            reload=lambda: _reloaded(folder),
            ready=lambda url: ready(f"relay {url}", folder),
        )
    )


@app.command()
def status(context: typer.Context, data: DataOption = None, as_json: JsonOption = False) -> None:
    """State of the running relay: connections, events, upstream relays."""
    state = asyncio.run(_ask(_url(_folder(context, data))))
    if as_json:
        print_json(state)
        return
    for name, value in state.items():
        if isinstance(value, list):
            for item in value:
                out.print(f"{name:<18} {_flat(item)}")
        else:
            out.print(f"{name:<18} {_flat(value)}")


@app.command("import")
def import_events(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSONL, one event a line.")],
    data: DataOption = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin again, not where it was cut off.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read events (JSONL) into the relay, running or not. Goes on where it was cut off."""
    from relay import transfer
    from relay.store.lock import store_lock

    folder = _folder(context, data)
    with store_lock(folder) as alone:
        url = None if alone else _url(folder)
        with _Bar("import", unit="bytes") as progress:
            tally = asyncio.run(
                transfer.import_file(folder, file, _settings(folder), url=url, restart=restart, progress=progress)
            )
    result = {"accepted": tally.accepted, "duplicates": tally.duplicates, "refused": tally.refused}
    if as_json:
        print_json({**result, "reasons": tally.reasons})
        return
    out.print(", ".join(f"{number} {name}" for name, number in result.items()))
    for reason, number in sorted(tally.reasons.items(), key=lambda item: -item[1])[:5]:
        out.print(f"  {number} x {reason}")


@app.command("export")
def export_events(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="File to write; standard output if not given.")] = None,
    data: DataOption = None,
    filter_json: Annotated[str, typer.Option("--filter", help="Only what matches this filter (JSON).")] = "{}",
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last line of FILE.")] = False,
) -> None:
    """Write the relay's events as JSONL from one snapshot, while it runs or not."""
    import orjson

    from relay import transfer
    from relay.errors import Refused
    from relay.filters import parse_filter

    folder = _folder(context, data)
    try:
        want = parse_filter(orjson.loads(filter_json), 100_000)
    except (Refused, orjson.JSONDecodeError) as error:
        raise UsageComplaint(f"--filter: {error}") from None
    if file is None:
        transfer.export(folder, sys.stdout.buffer, want, after=None, progress=lambda done, total: None)
        return
    after = transfer.last_complete_line(file) if resume and file.exists() else None
    if file.exists() and not resume:
        raise UsageComplaint(f"{file} exists: remove it, or go on with --resume")
    with file.open("ab") as sink, _Bar("export", unit="events") as progress:
        done = transfer.export(folder, sink, want, after=after, progress=progress)
    out.print(f"{done} events written to {file}")


@app.command()
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="File to write: a whole SQLite store.")],
    data: DataOption = None,
) -> None:
    """Save a compact copy of the store while the relay runs."""
    from relay import transfer

    size = transfer.backup(_folder(context, data), file)
    out.print(f"{file}: {size / 1e6:.1f} MB")


@app.command()
def compact(context: typer.Context, data: DataOption = None) -> None:
    """Give the store's unused room back. A running relay does it itself, readers undisturbed."""
    from relay import transfer
    from relay.store.lock import store_lock

    folder = _folder(context, data)
    with store_lock(folder) as alone:
        if alone:
            before, after = asyncio.run(transfer.compact(folder, _settings(folder)))
        else:
            before, after = asyncio.run(_compact_running(folder))
    out.print(f"{before / 1e6:.1f} MB -> {after / 1e6:.1f} MB")


def _folder(context: typer.Context, given: Path | None) -> Path:
    """`timmy relay --data DIR status` and `timmy relay status --data DIR` mean the same."""
    return data_dir(given or context.obj)


def _settings(folder: Path) -> "RelaySettings":
    from node.settings import NodeSettings
    from relay.settings import RelaySettings

    settings = load_settings(folder)
    node = settings.section("node", NodeSettings)
    made = settings.section("relay", RelaySettings)
    return made if made.public_url or not node.public_url else made.model_copy(update={"public_url": node.public_url})


def _reloaded(folder: Path) -> "RelaySettings":
    from relay.errors import BadSettings

    try:
        return _settings(folder)
    except UsageComplaint as mistake:
        raise BadSettings(str(mistake)) from None


def _url(folder: Path) -> str:
    try:
        return (folder / "run" / "relay.url").read_text().strip()
    except FileNotFoundError:
        raise Unavailable(f"no relay runs on {folder}: start `timmy relay` or `timmy up`") from None


async def _ask(url: str) -> dict[str, Any]:
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session,
            session.get(url.replace("ws", "http", 1) + "/status") as response,
        ):
            state: dict[str, Any] = await response.json()
            return state
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"the relay at {url} does not answer: {error}") from None


async def _compact_running(folder: Path) -> tuple[int, int]:
    """Ask the running relay over its management API, signed with one of the node's own keys."""
    import aiohttp
    import orjson

    from nostr import nip98
    from nostr.clock import system_clock
    from nostr.key import load_or_create

    url = _url(folder).replace("ws", "http", 1) + "/"
    key = load_or_create(folder / "keys" / "owner.key")
    body = orjson.dumps({"method": "compact", "params": []})
    headers = {
        "Content-Type": "application/nostr+json+rpc",
        "Authorization": nip98.header(key, url, "POST", now=system_clock(), body=body),
    }
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        answer = orjson.loads(await response.read())
    if "result" not in answer:
        raise NotDone(f"the relay refused: {answer.get('error')}")
    return answer["result"]["before"], answer["result"]["after"]


class _Bar:
    """A progress bar on the terminal; silent where stderr is none."""

    def __init__(self, title: str, *, unit: str) -> None:
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
        self._progress = Progress(
            "{task.description}", BarColumn(), count, TimeRemainingColumn(), console=err, disable=not err.is_terminal
        )
        self._task = self._progress.add_task(title, total=None)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)


def _flat(value: Any) -> str:
    return " ".join(f"{key}={item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
