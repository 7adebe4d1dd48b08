"""The embedded store: one SQLite file, one writer thread with group commit, readers beside it.

Whatever was submitted while the last COMMIT ran is the next batch, so `synchronous=FULL` (no loss at power failure)
costs one flush a batch. The full-text index is brought up when the writer has nothing better to do.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from nostr.clock import Clock, system_clock
from relay.errors import StoreError, StoreFull, TooExpensive
from relay.filters import Want
from relay.record import Record
from relay.store import plan
from relay.store.apply import Applier
from relay.store.interface import OnCommit, Removed, Row, Scope, StoreStats
from relay.store.schema import MIGRATIONS, short, tag_key

T = TypeVar("T")
Connection = sqlite3.Connection
log = logging.getLogger("relay.store")

BATCH = 512
INDEX_STEP = 1000  # events; larger steps leave the full-text index fewer pieces to merge
IDLE_SECONDS = 0.1  # without a write before the writer does what can wait
CHECKPOINT_EVENTS = 1000
MOST_BEHIND = 50_000  # events that the full-text index may lag under a load without pause
STEPS = 10_000  # of SQLite's virtual machine, between two looks at a query: a tenth to a third of a millisecond
GLANCE_LOOKS = 30
COUNT_SECONDS = 1.0  # a count of all events is good for so long
ID = "CAST(substr(e.raw, 8, 64) AS TEXT)"  # where canonical JSON has it
PUBKEY = "CAST(substr(e.raw, 84, 64) AS TEXT)"


@dataclass(slots=True)
class Job:
    """Work for the writer. `after` runs once it is durable; without `transaction` the job looks after that itself."""

    run: Callable[[Connection], Any]
    done: "asyncio.Future[Any]"
    after: Callable[[Any], None]
    transaction: bool = True


class SQLiteStore:
    """See `relay.store.interface.Store`."""

    def __init__(
        self,
        path: Path,
        *,
        searchable: Collection[int] = (),
        hosts: Callable[[], Collection[str]] = tuple,
        readers: int = 2,
        query_seconds: float = 5.0,
        cache_mb: int = 32,
        clock: Clock = system_clock,
    ) -> None:
        self.path = path
        self._searchable = searchable
        self._hosts = hosts
        self._query_seconds = query_seconds
        self._cache_mb = cache_mb
        self._clock = clock
        self._queue: queue.SimpleQueue[list[Record] | Job | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="relay-read")
        self._local = threading.local()
        self._opened: list[Connection] = []
        self._waiting = 0
        self._looks_left = 0
        self._counted = (0, float("-inf"))
        self.batches = 0
        self._since_checkpoint = 0

    @property
    def assigned(self) -> int:
        return self._applier.assigned

    @property
    def waiting(self) -> int:
        return self._waiting

    async def open(self, on_commit: OnCommit) -> None:
        """Create or migrate the file and start the writer. Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        self._on_commit = on_commit
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._writer = self._connect()
            self._migrate()
            self._applier = Applier(self._writer, self._searchable, self._hosts)
            self._reader = self._connect(read_only=True)
            self._reader.set_progress_handler(self._count_down, STEPS)
        except sqlite3.Error as error:
            raise StoreError(f"can't open the store {self.path}: {error}") from error
        self._thread = threading.Thread(target=self._write_forever, name="relay-write", daemon=True)
        self._thread.start()

    def _connect(self, *, read_only: bool = False, share: int = 1) -> Connection:
        conn = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=512)
        conn.execute("PRAGMA page_size = 4096")
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = FULL")
        conn.execute(f"PRAGMA cache_size = {-1024 * self._cache_mb // share}")
        conn.execute("PRAGMA wal_autocheckpoint = 32000")  # pages (128 MB): seldom under load, earlier when idle
        conn.execute("PRAGMA temp_store = MEMORY")
        conn.execute("PRAGMA busy_timeout = 10000")
        if read_only:
            conn.execute("PRAGMA query_only = ON")
        self._opened.append(conn)
        return conn

    def _migrate(self) -> None:
        version: int = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StoreError(f"{self.path} was written by a newer version of this program")
        self._writer.create_function("short", 1, short, deterministic=True)
        self._writer.create_function("tag_key", 2, tag_key, deterministic=True)
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            self._writer.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT")

    async def close(self) -> None:
        """Commit what is waiting, fold the log into the file, stop."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._pool.shutdown(cancel_futures=True)
        try:
            self._writer.execute("PRAGMA optimize")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.warning("could not fold the write-ahead log: %s", error)
        for conn in self._opened:
            conn.close()

    # --- writing -----------------------------------------------------------------------------------------------

    def submit(self, batch: list[Record]) -> None:
        self._waiting += len(batch)
        self._queue.put(batch)

    async def _call(
        self, job: Callable[[Connection], T], after: Callable[[T], None] | None = None, *, transaction: bool = True
    ) -> T:
        """Run `job` on the writer in a transaction of its own, then `after` once it is durable. Raises StoreError."""
        done: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(Job(job, done, after or _nothing, transaction))
        return await done

    def _write_forever(self) -> None:
        get, chores = self._queue.get, True
        while True:
            try:
                item = get(timeout=IDLE_SECONDS if chores else None)
            except queue.Empty:
                chores = self._checkpoint() or self._index()
                continue
            if item is None:
                return
            if isinstance(item, Job):
                self._run_job(item)
                continue
            batch = item
            other: tuple[Job | None, ...] = ()
            while len(batch) < BATCH and not self._queue.empty():  # this thread is the only taker
                more = get()
                if not isinstance(more, list):
                    other = (more,)
                    break
                batch = batch + more
            self._write(batch)
            chores = True
            if self._applier.assigned - self._applier.indexed > MOST_BEHIND:
                self._index()
            for held in other:
                if held is None:
                    return
                self._run_job(held)

    def _write(self, batch: list[Record]) -> None:
        conn, removed, before = self._writer, list[Removed](), self._applier.assigned
        try:
            conn.execute("BEGIN IMMEDIATE")
            removed = self._applier.apply(batch)
            conn.execute("COMMIT")
            self._applier.committed()
        except Exception as error:  # the writer must outlive anything: an event that breaks it is refused
            self._roll_back()
            self._applier.assigned = before
            removed = []
            reason = (
                _translated(error) if isinstance(error, sqlite3.Error) else StoreError("this event can't be stored")
            )
            log.error(
                "a batch of %d events was not stored: %s",
                len(batch),
                error,
                exc_info=not isinstance(error, sqlite3.Error),
            )
            for record in batch:
                record.accepted, record.number, record.message = False, 0, f"error: {reason}"
        self.batches += 1
        self._since_checkpoint += len(batch)
        self._tell(self._committed, batch, removed)

    def _roll_back(self) -> None:
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error as error:
            log.error("roll back failed: %s", error)

    def _committed(self, batch: list[Record], removed: list[Removed]) -> None:
        self._waiting -= len(batch)
        self._on_commit(batch, removed)

    def _run_job(self, item: Job) -> None:
        conn = self._writer
        try:
            if item.transaction:
                conn.execute("BEGIN IMMEDIATE")
            result = item.run(conn)
            if item.transaction:
                conn.execute("COMMIT")
            item.after(result)
        except Exception as error:  # handed to whoever awaits the job
            self._roll_back()
            self._tell(_fail, item.done, _translated(error) if isinstance(error, sqlite3.Error) else error)
        else:
            self._tell(_succeed, item.done, result)

    def _checkpoint(self) -> bool:
        """Fold the log into the file while nobody waits for a commit; False where little has been written since."""
        if self._since_checkpoint < CHECKPOINT_EVENTS:
            return False
        self._since_checkpoint = 0
        try:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            log.warning("the write-ahead log waits: %s", error)
        return True

    def _index(self) -> bool:
        """One idle step of the full-text index; False where it is complete."""
        applier, conn = self._applier, self._writer
        if applier.indexed >= applier.assigned or not applier.searchable:
            return False
        upto = min(applier.indexed + INDEX_STEP, applier.assigned)
        try:
            conn.execute("BEGIN IMMEDIATE")
            applier.index_range(upto)
            conn.execute("COMMIT")
            applier.mark_indexed(upto)
        except sqlite3.Error as error:
            self._roll_back()
            log.warning("full-text index waits: %s", error)
            return False
        return True

    def _tell(self, call: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the loop is gone: nobody is left to hear it
            log.debug("the event loop has ended")

    # --- reading -----------------------------------------------------------------------------------------------

    def _now_if_expired(self) -> int | None:
        expiry = self._applier.next_expiry
        if expiry is None:
            return None
        now = self._clock()
        return now if expiry <= now else None

    def has_expired(self) -> bool:
        return self._now_if_expired() is not None

    def glance(self, wants: Sequence[Want], limit: int, scope: Scope) -> list[Row] | None:
        if not all(plan.is_small(want) for want in wants):
            return None
        self._looks_left = GLANCE_LOOKS
        try:
            return plan.select(self._reader, wants, limit, scope, self._now_if_expired())
        except sqlite3.Error as error:
            translated = _translated(error)
            if isinstance(translated, TooExpensive):
                return None
            raise translated from error

    def _count_down(self) -> bool:
        """True ends the glance: it has done its share of steps."""
        self._looks_left -= 1
        return self._looks_left < 0

    async def query(self, wants: Sequence[Want], limit: int, scope: Scope) -> list[Row]:
        if any(want.search for want in wants):
            await self.catch_up()
        return await self._read(lambda conn: plan.select(conn, wants, limit, scope, self._now_if_expired()))

    async def count(self, wants: Sequence[Want], scope: Scope) -> int:
        if any(want.search for want in wants):
            await self.catch_up()

        def run(conn: Connection) -> int:
            possible = [want for want in wants if not want.impossible]
            sources = [plan.source(want, scope, self._now_if_expired()) for want in possible]
            if not sources:
                return 0
            if len(sources) == 1:
                sql, params = sources[0]
                return int(conn.execute("SELECT count(*)" + sql, params).fetchone()[0])
            union = " UNION ".join(f"SELECT e.n{sql}" for sql, _ in sources)
            every = [value for _, params in sources for value in params]
            return int(conn.execute(f"SELECT count(*) FROM ({union})", every).fetchone()[0])

        return await self._read(run)

    async def authors(self, want: Want, scope: Scope) -> list[bytes]:
        def run(conn: Connection) -> list[bytes]:
            if want.impossible:
                return []
            sql, params = plan.source(want, scope, self._now_if_expired())
            return [bytes.fromhex(row[0]) for row in conn.execute(f"SELECT DISTINCT {PUBKEY}{sql}", params)]

        return await self._read(run)

    async def items(self, want: Want, scope: Scope, most: int) -> list[tuple[int, bytes]]:
        def run(conn: Connection) -> list[tuple[int, bytes]]:
            if want.impossible:
                return []
            sql, params = plan.source(want, scope, self._now_if_expired())
            found = conn.execute(f"SELECT e.created_at, {ID}{sql} LIMIT ?", (*params, most + 1)).fetchall()
            if len(found) > most:
                raise TooExpensive(f"more than {most} events match")
            return sorted((created_at, bytes.fromhex(ident)) for created_at, ident in found)

        return await self._read(run)

    async def _read(self, job: Callable[[Connection], T]) -> T:
        def run() -> T:
            conn: Connection | None = getattr(self._local, "conn", None)
            if conn is None:
                conn = self._local.conn = self._connect(read_only=True, share=4)
            return self._timed(conn, self._query_seconds, job)

        return await self._loop.run_in_executor(self._pool, run)

    @staticmethod
    def _timed(conn: Connection, seconds: float, job: Callable[[Connection], T]) -> T:
        end = time.perf_counter() + seconds
        conn.set_progress_handler(lambda: time.perf_counter() > end, STEPS)
        try:
            return job(conn)
        except sqlite3.Error as error:
            raise _translated(error) from error

    async def catch_up(self) -> None:
        """Bring the full-text index up to every committed event."""
        applier = self._applier
        upto = applier.assigned

        def step(_: Connection) -> int:
            target = min(applier.indexed + INDEX_STEP, applier.assigned)
            applier.index_range(target)
            return target

        while applier.indexed < upto and applier.searchable:
            await self._call(step, applier.mark_indexed)

    # --- the slow side -----------------------------------------------------------------------------------------

    async def remove(self, want: Want, most: int) -> int:
        def run(conn: Connection) -> list[Removed]:
            if want.impossible:
                return []
            sql, params = plan.source(want, Scope(), None)
            numbers = [row[0] for row in conn.execute(f"SELECT e.n{sql} LIMIT ?", (*params, most))]
            return self._applier.remove_now(numbers)

        removed = await self._call(run)
        self._on_commit([], removed)
        return len(removed)

    async def expire(self) -> int:
        """Remove what has expired by now (NIP-40). Cheap when nothing has."""
        now = self._now_if_expired()
        if now is None:
            return 0

        def run(conn: Connection) -> tuple[list[Removed], int | None]:
            rows = conn.execute("SELECT n FROM event WHERE expires <= ? LIMIT 2000", (now,)).fetchall()
            removed = self._applier.remove_now([row[0] for row in rows])
            return removed, conn.execute("SELECT min(expires) FROM event WHERE expires IS NOT NULL").fetchone()[0]

        removed, _ = await self._call(run, lambda result: self._applier.expiry_is(result[1]))
        self._on_commit([], removed)
        return len(removed)

    async def remember(self, table: str, key: str, value: Any) -> None:
        def run(conn: Connection) -> None:
            if value is None:
                conn.execute("DELETE FROM fact WHERE space = ? AND key = ?", (table, key))
            else:
                conn.execute(
                    "INSERT INTO fact(space, key, value) VALUES(?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET value = excluded.value",
                    (table, key, orjson.dumps(value).decode()),
                )

        await self._call(run)

    async def facts(self, table: str) -> dict[str, Any]:
        def run(conn: Connection) -> dict[str, Any]:
            rows = conn.execute("SELECT key, value FROM fact WHERE space = ?", (table,))
            return {key: orjson.loads(value) for key, value in rows}

        return await self._read(run)

    async def compact(self) -> None:
        """Rewrite the file without its holes and merge the full-text index. Readers go on, writers wait."""

        def run(conn: Connection) -> None:
            conn.execute("INSERT INTO search(search) VALUES('optimize')")
            conn.execute("VACUUM")
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        await self._call(run, transaction=False)

    async def stats(self) -> StoreStats:
        events, at = self._counted
        if time.monotonic() - at > COUNT_SECONDS:
            events = await self._read(lambda conn: int(conn.execute("SELECT count(*) FROM event").fetchone()[0]))
            self._counted = events, time.monotonic()
        size = sum(path.stat().st_size for path in self.path.parent.glob(self.path.name + "*"))
        return StoreStats(events, size, self._waiting)


def _translated(error: Exception) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
        return StoreFull("no room on the disk, try again later")
    if code == sqlite3.SQLITE_INTERRUPT:
        return TooExpensive("this query takes too long")
    return StoreError("the store can't do this now, try again later")


def _nothing(_: object) -> None:
    """What most jobs do after their commit."""


def _succeed(done: "asyncio.Future[T]", result: T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: "asyncio.Future[Any]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
