"""Moving events in bulk: JSONL out and in, both resumable; a snapshot and a compaction of the store.

While a relay runs on the store, import goes through its front door like any client; otherwise it goes straight into
the store, through the same checks.
"""

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

import aiohttp
import orjson

from relay.core import Relay, Verdict, tune_interpreter
from relay.errors import StoreError
from relay.filters import Want
from relay.settings import RelaySettings
from relay.store import plan
from relay.store.interface import Scope
from relay.store.schema import short_hex

IN_FLIGHT = 2048
PAGE = 2000
SAVE_EVERY = 5000
Progress = Callable[[int, int], None]  # (done, of how many; bytes for import, events for export)


class Tally:
    """What an import came to."""

    __slots__ = ("accepted", "duplicates", "reasons", "refused")

    def __init__(self) -> None:
        self.accepted = 0
        self.duplicates = 0
        self.refused = 0
        self.reasons: dict[str, int] = {}

    def add(self, verdict: Verdict) -> None:
        if not verdict.accepted:
            self.refused += 1
            self.reasons[verdict.message] = self.reasons.get(verdict.message, 0) + 1
        elif verdict.message:
            self.duplicates += 1
        else:
            self.accepted += 1


def export(data: Path, out: IO[bytes], want: Want, *, after: str | None, progress: Progress) -> int:
    """Write matching events as JSONL, oldest stored first, from one snapshot. `after` is the last id written before.

    Returns how many lines. Raises StoreError.
    """
    path = data / "relay" / "relay.db"
    if not path.exists():
        raise StoreError(f"there is no store at {path}")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as conn:
            conn.execute("BEGIN")
            last = 0
            if after is not None:
                row = conn.execute("SELECT n FROM event WHERE id = ?", (short_hex(after),)).fetchone()
                if row is None:
                    raise StoreError("the last line of the file is no event of this store: can't go on from it")
                last = row[0]
            where, params = plan.conditions(want, Scope(), None)
            condition = " AND ".join(["e.n > ?", *where])
            total = conn.execute(f"SELECT count(*) FROM event e WHERE {condition}", (last, *params)).fetchone()[0]
            done = 0
            page = f"SELECT e.n, e.raw FROM event e WHERE {condition} ORDER BY e.n LIMIT {PAGE}"
            while rows := conn.execute(page, (last, *params)).fetchall():
                out.write(b"".join(raw + b"\n" for _, raw in rows))
                last = rows[-1][0]
                done += len(rows)
                progress(done, total)
            out.flush()
            return done
    except sqlite3.Error as error:
        raise StoreError(f"can't read {path}: {error}") from error


def last_complete_line(path: Path) -> str | None:
    """The id in the last whole line of an export; what was cut off after it is removed from the file."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        at, tail = size, b""
        while at > 0:
            step = min(1 << 20, at)
            at -= step
            file.seek(at)
            tail = file.read(step) + tail
            end = tail.rfind(b"\n")
            start = tail.rfind(b"\n", 0, end) if end > 0 else -1
            if end >= 0 and (start >= 0 or at == 0):
                file.truncate(at + end + 1)
                return str(orjson.loads(tail[start + 1 : end])["id"])
        file.truncate(0)
        return None


class Bookmark:
    """How far an import of a file has come; kept beside the store until it is complete."""

    def __init__(self, data: Path, file: Path) -> None:
        name = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
        self._path = data / "relay" / f"import-{name}.json"
        self.size = file.stat().st_size

    def read(self) -> int:
        """The byte to go on from; 0 where there is none, or the file has become shorter."""
        try:
            offset = int(orjson.loads(self._path.read_bytes())["offset"])
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
            return 0
        return offset if offset <= self.size else 0

    def write(self, offset: int) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(orjson.dumps({"offset": offset}))
        fresh.replace(self._path)

    def forget(self) -> None:
        with suppress(FileNotFoundError):
            self._path.unlink()


async def import_file(
    data: Path, file: Path, settings: RelaySettings, *, url: str | None, restart: bool, progress: Progress
) -> Tally:
    """Read JSONL into the store (`url` None) or into the relay that runs at `url`. Goes on where it was cut off.

    Raises StoreError and OSError.
    """
    bookmark = Bookmark(data, file)
    start = 0 if restart else bookmark.read()
    lines = _lines(file, start)
    size = bookmark.size
    tally = Tally()
    if url is None:
        tune_interpreter()
        relay = Relay(import_settings(settings), data)
        await relay.start()
        try:
            await _pump(lines, relay.offer, tally, bookmark, size, progress)
        finally:
            await relay.stop()
    else:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as ws:
            door = _FrontDoor(ws)
            reader = asyncio.create_task(door.read())
            try:
                await _pump(lines, door.publish, tally, bookmark, size, progress)
            finally:
                reader.cancel()
    bookmark.forget()
    return tally


def import_settings(settings: RelaySettings) -> RelaySettings:
    """The operator's own import passes the lists of who may write what; size, time and signature still count."""
    return settings.model_copy(
        update={
            "allowed_pubkeys": [],
            "allowed_kinds": [],
            "trust_roots": [],
            "plugins": [],
            "auth_to_write": False,
            "min_pow": 0,
            "past_seconds": None,
        }
    )


def _lines(file: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """(offset after the line, line)."""
    with file.open("rb") as source:
        offset = source.seek(start)
        for line in source:
            offset += len(line)
            yield offset, line


async def _pump(
    lines: Iterator[tuple[int, bytes]],
    publish: Callable[[Any], Awaitable[Verdict]],
    tally: Tally,
    bookmark: Bookmark,
    size: int,
    progress: Progress,
) -> None:
    """Keep many events on their way; the bookmark moves only past lines that were answered."""
    waiting: list[asyncio.Future[Verdict]] = []
    since_saved = 0
    offset = 0

    async def settle() -> None:
        for verdict in await asyncio.gather(*waiting):
            tally.add(verdict)
        waiting.clear()

    for offset, line in lines:
        text = line.strip()
        if not text:
            continue
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            tally.add(Verdict(False, "invalid: line is not JSON"))
            continue
        waiting.append(asyncio.ensure_future(publish(value)))
        since_saved += 1
        if len(waiting) >= IN_FLIGHT:
            await settle()
            progress(offset, size)
            if since_saved >= SAVE_EVERY:
                bookmark.write(offset)
                since_saved = 0
    await settle()
    progress(offset or size, size)


class _FrontDoor:
    """A client of the running relay that awaits every OK."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws
        self._open: dict[str, list[asyncio.Future[Verdict]]] = {}

    async def publish(self, value: Any) -> Verdict:
        ident = value.get("id") if isinstance(value, dict) else None
        if not isinstance(ident, str):
            return Verdict(False, "invalid: event has no id")
        done: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._open.setdefault(ident, []).append(done)
        await self._ws.send_str(orjson.dumps(["EVENT", value]).decode())
        return await done

    async def read(self) -> None:
        async for frame in self._ws:
            if frame.type is not aiohttp.WSMsgType.TEXT:
                continue
            answer = orjson.loads(frame.data)
            if answer[0] == "OK" and (futures := self._open.get(answer[1])):
                futures.pop(0).set_result(Verdict(answer[2], answer[3]))
                if not futures:
                    del self._open[answer[1]]
        for futures in self._open.values():
            for done in futures:
                if not done.done():
                    done.set_exception(StoreError("the relay went away during the import"))


def backup(data: Path, target: Path) -> int:
    """A compact, consistent copy of the store while the relay runs. Returns its size in bytes. Raises StoreError."""
    source = data / "relay" / "relay.db"
    if not source.exists():
        raise StoreError(f"there is no store at {source}")
    if target.exists():
        raise StoreError(f"{target} exists already")
    try:
        with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, isolation_level=None)) as conn:
            conn.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise StoreError(f"backup failed: {error}") from error
    return target.stat().st_size


async def compact(data: Path, settings: RelaySettings) -> tuple[int, int]:
    """Rewrite the store of a relay that does not run. Returns its size before and after."""
    relay = Relay(settings, data)
    await relay.start()
    try:
        before = (await relay.store.stats()).bytes_on_disk
        await relay.store.compact()
        return before, (await relay.store.stats()).bytes_on_disk
    finally:
        await relay.stop()
