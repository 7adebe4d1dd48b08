"""One SQLite file, one writer, durable group commit.

A write is a function of the connection. It runs on the writer thread in a savepoint of its own; everything that waits
at that moment shares one COMMIT with `synchronous=FULL`, and only then do the callers go on. So what `write` returned
survives a power cut, and a thousand small writes a second cost a few dozen syncs. Reads go through aiosqlite and see
committed rows only.

    db = await Database.open(path, [SCHEMA_1, SCHEMA_2])
    await db.write(lambda conn: conn.execute("INSERT ..."))
    rows = await db.fetch("SELECT ...", (x,))
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

T = TypeVar("T")
_GROUP = 512  # writes that share a commit at most
_READERS = 2
_PATIENCE = 10.0  # seconds to wait for another process's lock


class DatabaseError(Exception):
    """
    DatabaseError
    |- DatabaseClosed      the file was closed while the call waited
    |- DatabaseTooNew      the file was made by a newer version of the program
    |- DatabaseBroken      the file is damaged, or no database at all
    """


class DatabaseClosed(DatabaseError):
    pass


class DatabaseTooNew(DatabaseError):
    pass


class DatabaseBroken(DatabaseError):
    pass


class Database:
    """Use `await Database.open(...)`; close it when done."""

    def __init__(self, path: Path, writer: "_Writer", readers: list[aiosqlite.Connection]) -> None:
        self.path = path
        self._writer = writer
        self._readers = readers
        self._turn = 0

    @classmethod
    async def open(cls, path: Path | str, migrations: Sequence[str]) -> "Database":
        """Open or make the file (mode 0600) and bring it to the newest schema; `migrations[n]` leads to version n+1."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        writer = _Writer(path, migrations)
        await asyncio.to_thread(writer.start)
        readers: list[aiosqlite.Connection] = []
        for _ in range(_READERS):
            reader = await aiosqlite.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
            reader.row_factory = sqlite3.Row
            await reader.execute("PRAGMA busy_timeout=5000")
            readers.append(reader)
        return cls(path, writer, readers)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work(conn)` in a transaction and return its value after the durable commit.

        An exception undoes this work alone and comes back to the caller. A cancelled caller does not undo the work.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._writer.put(_Task(work, loop, done))
        return await done

    async def fetch(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of a read-only query."""
        self._turn += 1
        reader = self._readers[self._turn % len(self._readers)]
        return list(await reader.execute_fetchall(sql, params))

    async def fetch_one(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Row | None:
        rows = await self.fetch(sql, params)
        return rows[0] if rows else None

    async def close(self) -> None:
        """Finish what is queued, then close."""
        await asyncio.to_thread(self._writer.stop)
        for reader in self._readers:
            await reader.close()


class _Task:
    __slots__ = ("done", "error", "loop", "value", "work")

    def __init__(
        self, work: Callable[[sqlite3.Connection], Any], loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any]
    ) -> None:
        self.work, self.loop, self.done = work, loop, done
        self.value: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        if self.done.done():
            return
        if self.error is None:
            self.done.set_result(self.value)
        else:
            self.done.set_exception(self.error)


class _Writer:
    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        self._path = path
        self._migrations = migrations
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"writer-{path.name}", daemon=True)

    def start(self) -> None:
        try:
            self._conn = connect(self._path)
            migrate(self._conn, self._migrations, self._path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:  # the bytes themselves are wrong
            raise DatabaseBroken(
                f"{self._path} can't be opened ({error}): see docs/operations.md on backups"
            ) from error
        self._thread.start()

    def put(self, task: _Task) -> None:
        with self._lock:
            if self._closed:
                raise DatabaseClosed(f"{self._path.name} is closed")
            self._tasks.put(task)

    def stop(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._tasks.put(None)
        self._thread.join()
        self._conn.close()

    def _run(self) -> None:
        while True:
            group, last = self._gather()
            if group:
                self._commit(group)
            if last:
                return

    def _gather(self) -> tuple[list[_Task], bool]:
        group: list[_Task] = []
        task = self._tasks.get()
        while task is not None:
            group.append(task)
            if len(group) >= _GROUP:
                return group, False
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Task]) -> None:
        conn = self._conn
        try:
            conn.execute("BEGIN IMMEDIATE")
            for task in group:
                conn.execute("SAVEPOINT work")
                try:
                    task.value = task.work(conn)
                except Exception as error:
                    task.error = error
                    conn.execute("ROLLBACK TO work")
                conn.execute("RELEASE work")
            conn.execute("COMMIT")
        except Exception as error:  # disk full, locked, corrupt: nothing of this group was written, and all are told
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            for task in group:
                task.error = error
        for loop, tasks in _by_loop(group).items():
            try:
                loop.call_soon_threadsafe(_settle_all, tasks)
            except RuntimeError:  # the caller's loop is gone; its write stands
                continue


def _by_loop(group: list[_Task]) -> dict[asyncio.AbstractEventLoop, list[_Task]]:
    loops: dict[asyncio.AbstractEventLoop, list[_Task]] = {}
    for task in group:
        loops.setdefault(task.loop, []).append(task)
    return loops


def _settle_all(tasks: list[_Task]) -> None:
    for task in tasks:
        task.settle()


def connect(path: Path) -> sqlite3.Connection:
    """A writing connection with this project's settings (WAL, FULL, foreign keys, rows by name)."""
    conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE)
    conn.row_factory = sqlite3.Row
    _use_wal(conn)
    conn.execute("PRAGMA synchronous=FULL")
    conn.execute("PRAGMA foreign_keys=ON")
    return conn


def _use_wal(conn: sqlite3.Connection) -> None:
    """SQLite does not wait for its turn to change the journal mode, so we do: several processes may make the file."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            conn.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                conn.close()
                raise
            time.sleep(0.05)


def migrate(conn: sqlite3.Connection, migrations: Sequence[str], path: Path) -> None:
    """Apply what is missing, in one transaction: of several processes that open an old file one does it."""
    if _version(conn) == len(migrations):
        return
    conn.execute("BEGIN IMMEDIATE")
    try:
        version = _version(conn)
        if version > len(migrations):
            raise DatabaseTooNew(
                f"{path} has schema {version}, this program knows {len(migrations)}:"
                " upgrade the program or use a backup"
            )
        for script in migrations[version:]:
            for statement in _statements(script):
                conn.execute(statement)
        conn.execute(f"PRAGMA user_version={len(migrations)}")
        conn.execute("COMMIT")
    except BaseException:
        conn.execute("ROLLBACK")
        raise


def _version(conn: sqlite3.Connection) -> int:
    return int(conn.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, each whole: a trigger's body and a text may hold semicolons of their own."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
