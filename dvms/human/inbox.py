"""A person's inbox: `DIR/dvms/human/inbox.db`, written by the worker, the page and `timmy inbox` alike.

    open ── claimed (until its lease ends, then open again) ── delivered
      └────────┴── withdrawn (cancelled, declined, expired or paid back; nothing is left to do)

A claim is a lease, so that two people do not work on the same task and a forgotten task comes back.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import orjson

from dvms.human.forms import BadAnswer, read_answer
from market.kinds import JOB_HUMAN
from nostr.clock import Clock, system_clock
from nostr.database import Database
from nostr.download import mime_matches
from nostr.sniff import sniff

LEASE: Final = 3600
LONGEST_LEASE: Final = 7 * 86_400
MAX_FILES: Final = 16

SCHEMA: Final = """
CREATE TABLE task (
  id TEXT PRIMARY KEY, kind INTEGER NOT NULL, title TEXT NOT NULL, inputs TEXT NOT NULL, params TEXT NOT NULL,
  price_msat INTEGER NOT NULL, state TEXT NOT NULL, made_at INTEGER NOT NULL, due_at INTEGER NOT NULL,
  who TEXT, claimed_until INTEGER, content TEXT, files TEXT NOT NULL DEFAULT '[]', ended_at INTEGER
) STRICT;
CREATE INDEX task_by_state ON task (state, made_at);
CREATE TABLE presence (one INTEGER PRIMARY KEY CHECK (one = 1), until INTEGER NOT NULL) STRICT;
INSERT INTO presence VALUES (1, 0);
"""
CUSTOMERS: Final = "ALTER TABLE task ADD COLUMN customer TEXT NOT NULL DEFAULT '';"


class TaskState(StrEnum):
    OPEN = "open"
    CLAIMED = "claimed"
    DELIVERED = "delivered"
    WITHDRAWN = "withdrawn"


class InboxError(Exception):
    """What a person is told: the task is gone, somebody else has it, the answer does not fit."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `inputs` have type, text, url, path, mime, marker. Times in seconds; `price_msat` is the pay.

    `customer` is a public key, empty for tasks of a former version.
    """

    id: str
    kind: int
    title: str
    inputs: tuple[Mapping[str, Any], ...]
    params: Mapping[str, Any]
    price_msat: int
    state: TaskState
    made_at: int
    due_at: int
    who: str | None = None
    claimed_until: int | None = None
    content: str | None = None
    files: tuple[Mapping[str, str], ...] = ()
    ended_at: int | None = None
    customer: str = ""

    @property
    def form(self) -> str:
        return str(self.params.get("form") or "")

    @property
    def warning(self) -> str:
        """What the customer warns of, before anybody looks at it."""
        return str(self.params.get("content_warning") or "")


class Inbox:
    """Open it with `await Inbox.open(data)`; several processes may have it open."""

    def __init__(self, db: Database, folder: Path, clock: Clock) -> None:
        self._db, self._folder, self._clock = db, folder, clock

    @classmethod
    async def open(cls, data: Path, clock: Clock = system_clock) -> Inbox:
        folder = data / "dvms" / "human"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(await Database.open(folder / "inbox.db", [SCHEMA, CUSTOMERS]), folder, clock)

    async def close(self) -> None:
        await self._db.close()

    async def put(self, task: Task) -> Task:
        """A new task; the one on file where it is known already."""
        row = (
            task.id, task.kind, task.title, orjson.dumps([dict(item) for item in task.inputs]).decode(),
            orjson.dumps(dict(task.params)).decode(), task.price_msat, TaskState.OPEN, task.made_at, task.due_at,
            task.customer,
        )  # fmt: skip
        fields = "id, kind, title, inputs, params, price_msat, state, made_at, due_at, customer"
        sql = f"INSERT OR IGNORE INTO task ({fields}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        await self._db.write(lambda conn: conn.execute(sql, row) and None)
        return await self.get(task.id)

    async def get(self, task: str) -> Task:
        """By id or by its first digits. Raises InboxError where there is none, or more than one."""
        rows = await self._db.fetch("SELECT * FROM task WHERE id GLOB ? LIMIT 2", (task + "*",))
        if len(rows) != 1:
            raise InboxError(f"no task {task!r}" if not rows else f"more than one task begins with {task!r}")
        return self._task(rows[0])

    async def tasks(self, *states: TaskState) -> list[Task]:
        """Oldest first; without states those that wait for somebody."""
        rows = await self._db.fetch("SELECT * FROM task ORDER BY made_at, id")
        wanted = states or (TaskState.OPEN, TaskState.CLAIMED)
        return [task for row in rows if (task := self._task(row)).state in wanted]

    async def claim(self, task: str, who: str, seconds: int = LEASE) -> Task:
        """Take a task for so many seconds, or prolong one's own claim. Raises InboxError."""
        found = await self.get(task)
        now = self._clock()
        until = min(now + min(seconds, LONGEST_LEASE), found.due_at)

        def work(conn: sqlite3.Connection) -> int:
            return conn.execute(
                "UPDATE task SET state = 'claimed', who = ?, claimed_until = ? WHERE id = ? AND due_at > ?"
                " AND (state = 'open' OR (state = 'claimed' AND (who = ? OR claimed_until <= ?)))",
                (who, until, found.id, now, who, now),
            ).rowcount

        if not await self._db.write(work):
            raise InboxError(_why_not(await self.get(found.id)))
        return await self.get(found.id)

    async def release(self, task: str, who: str) -> Task:
        """Give a claim back. Raises InboxError."""
        found = await self.get(task)
        sql = (
            "UPDATE task SET state = 'open', who = NULL, claimed_until = NULL"
            " WHERE id = ? AND state = 'claimed' AND who = ?"
        )
        if not await self._db.write(lambda conn: conn.execute(sql, (found.id, who)).rowcount):
            raise InboxError("you have not claimed this task")
        return await self.get(found.id)

    async def deliver(self, task: str, who: str, *, text: str = "", files: Sequence[Path] = ()) -> Task:
        """Hand in the work: a text, files, or both; for a judge's form the answer as text. Raises InboxError."""
        found = await self.get(task)
        if found.state is TaskState.OPEN:
            found = await self.claim(found.id, who)
        content = text.strip() or None
        if found.form:
            try:
                content = read_answer(found.form, text, choices=len(found.inputs))
            except BadAnswer as error:
                raise InboxError(str(error)) from None
        stored = self._store(found, files)
        if content is None and not stored:
            raise InboxError("nothing to deliver: give a text or a file")
        now = self._clock()

        def work(conn: sqlite3.Connection) -> int:
            return conn.execute(
                "UPDATE task SET state = 'delivered', content = ?, files = ?, ended_at = ?"
                " WHERE id = ? AND state = 'claimed' AND who = ? AND due_at > ?",
                (content, orjson.dumps(stored).decode(), now, found.id, who, now),
            ).rowcount

        if not await self._db.write(work):
            raise InboxError(_why_not(await self.get(found.id)))
        return await self.get(found.id)

    async def withdraw(self, task: str) -> None:
        """The customer does not want it any more."""
        sql = "UPDATE task SET state = 'withdrawn', ended_at = ? WHERE id = ? AND state IN ('open', 'claimed')"
        await self._db.write(lambda conn: conn.execute(sql, (self._clock(), task)) and None)

    async def decline(self, task: str, why: str) -> Task:
        """Say no: the customer hears why at once and has the money back. Raises InboxError."""
        found = await self.get(task)
        words = f"declined: {why.strip()[:200]}" if why.strip() else "declined by the people here"
        sql = (
            "UPDATE task SET state = 'withdrawn', content = ?, ended_at = ?"
            " WHERE id = ? AND state IN ('open', 'claimed')"
        )
        if not await self._db.write(lambda conn: conn.execute(sql, (words, self._clock(), found.id)).rowcount):
            raise InboxError(_why_not(found))
        return await self.get(found.id)

    async def forget_files(self, task: str) -> None:
        """Remove what was handed in, once it is delivered for good."""
        shutil.rmtree(self._folder / "handed-in" / task, ignore_errors=True)

    async def present(self, until: int | None = None) -> int:
        """Until when somebody is there to work, in seconds; set it with an argument (0: not now)."""
        if until is not None:
            await self._db.write(lambda conn: conn.execute("UPDATE presence SET until = ?", (until,)) and None)
        row = await self._db.fetch_one("SELECT until FROM presence")
        return int(row[0]) if row else 0

    def _store(self, task: Task, files: Sequence[Path]) -> list[dict[str, str]]:
        if len(files) > MAX_FILES:
            raise InboxError(f"at most {MAX_FILES} files")
        accept = [part.strip() for part in str(task.params.get("accept") or "").split(",") if part.strip()]
        folder = self._folder / "handed-in" / task.id
        stored = []
        for number, path in enumerate(files):
            try:
                with path.open("rb") as file:
                    mime = sniff(file.read(4096))
            except OSError as error:
                raise InboxError(f"{path}: {error.strerror}") from None
            if accept and not any(mime_matches(mime, wanted) for wanted in accept):
                raise InboxError(f"{path.name} is {mime}; the customer takes {', '.join(accept)}")
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            copy = folder / f"{number}{path.suffix}"
            shutil.copyfile(path, copy)
            stored.append({"path": str(copy), "mime": mime})
        return stored

    def _task(self, row: sqlite3.Row) -> Task:
        state, until = TaskState(row["state"]), row["claimed_until"]
        if state is TaskState.CLAIMED and until is not None and until <= self._clock():
            state = TaskState.OPEN
        return Task(
            id=row["id"],
            kind=row["kind"],
            title=row["title"],
            inputs=tuple(orjson.loads(row["inputs"])),
            params=orjson.loads(row["params"]),
            price_msat=row["price_msat"],
            state=state,
            made_at=row["made_at"],
            due_at=row["due_at"],
            who=row["who"] if state is not TaskState.OPEN else None,
            claimed_until=until,
            content=row["content"],
            files=tuple(orjson.loads(row["files"])),
            ended_at=row["ended_at"],
            customer=row["customer"],
        )


def default_title(kind: int, text: str) -> str:
    """A line for lists, where the customer gave no title."""
    words = " ".join(text.split())[:80]
    return words or ("A task" if kind == JOB_HUMAN else f"A job of kind {kind}")


def _why_not(task: Task) -> str:
    match task.state:
        case TaskState.DELIVERED:
            return "this task was delivered already"
        case TaskState.WITHDRAWN:
            return "this task was declined, or withdrawn by its customer"
        case TaskState.CLAIMED:
            return "somebody else has claimed this task"
        case _:
            return "the time for this task is over"
