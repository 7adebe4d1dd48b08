"""The sale on disk: one row a job, moved from state to state by compare-and-set.

    heard ── priced ── billed ── paid ── running ──(finished)── delivered
      │        │         │        │         │
      refused  refused   expired  └─────────┴── cancelled | failed ── refunded

The row's id is the request event's id, so the same request through twenty relays is one job. A move, the events that
tell it, and the money it books are one transaction: whoever is killed between two moves finds either both or neither.

Resting states cost a row, no task and no memory. `finished` is met only with a locked payment: the signed result is on
disk, the lock is being settled, and nothing has been published yet.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from nostr.database import Database
from nostr.event import Event


class State(StrEnum):
    HEARD = "heard"
    PRICED = "priced"
    BILLED = "billed"
    PAID = "paid"
    RUNNING = "running"
    FINISHED = "finished"
    DELIVERED = "delivered"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"
    REFUNDED = "refunded"


OPEN: Final = (State.HEARD, State.PRICED, State.BILLED, State.PAID, State.RUNNING, State.FINISHED)
ENDED: Final = tuple(state for state in State if state not in OPEN)


class Means(StrEnum):
    """How a job is paid."""

    FREE = "free"  # the price is 0
    QUOTA = "quota"  # one of the customer's free jobs of the day
    CREDIT = "credit"
    INVOICE = "invoice"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Sale:
    """A job as it stands on disk. Amounts in msat, times in seconds."""

    id: str
    customer: str
    kind: int
    request: bytes
    state: State
    heard_at: int
    changed_at: int
    relays: tuple[str, ...] = ()
    price_msat: int = 0
    bill_msat: int = 0  # what the bill asks for: the price, or more where the customer prepays
    paid_msat: int = 0
    means: Means | None = None
    bolt11: str | None = None
    payment_hash: str | None = None
    preimage: str | None = None
    bill_until: int | None = None
    paid_at: int | None = None
    taken_at: int | None = None  # when a locked payment was taken
    turn: int | None = None
    owner: str | None = None
    lease_until: int | None = None
    attempts: int = 0
    expires_at: int | None = None
    due_at: int | None = None
    reason: str | None = None
    result: bytes | None = None
    zap_hash: str | None = None  # the payment, where a zap paid the bill

    @property
    def event(self) -> Event:
        return Event.from_json(self.request)


@dataclass(frozen=True, slots=True)
class Answer:
    """A signed event that goes out with a move, and where to. `replay`: said again to a customer who asks again."""

    event: Event
    relays: tuple[str, ...]
    replay: bool = True


@dataclass(frozen=True, slots=True)
class Booking:
    """A change of a customer's credit. `reason` and the job's id are unique together: a booking happens once."""

    reason: str
    msat: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What one customer, and everybody, has asked of this worker: the facts of the policies."""

    open_jobs: int
    last_hour: int
    cancelled_last_hour: int
    free_today: int
    free_today_all: int
    queued_all: int  # paid for, not yet ended
    credit_msat: int = 0
    known: bool = False  # the request itself is on disk already
    unpaid_all: int = 0  # bills that wait for their money, and those being written
    has_paid: bool = False  # this customer has paid a bill before


class JobStore(Protocol):
    """The queue between those who hear jobs and those who do them.

    Several replicas of one worker may share a store: every move is a compare-and-set, and a claim carries a lease that
    its owner renews, so a job of a dead replica goes to another one.
    """

    async def add(self, sale: Sale) -> bool:
        """Take a request in. False where its id is known already."""
        ...

    async def get(self, job: str) -> Sale | None: ...

    async def by_payment(self, payment_hash: str) -> Sale | None: ...

    async def move(
        self,
        job: str,
        expect: Collection[State],
        to: State,
        *,
        answers: Sequence[Answer] = (),
        bookings: Sequence[Booking] = (),
        **fields: Any,
    ) -> Sale | None:
        """Change state and fields, publish and book, all at once; None where the state was not the expected one."""
        ...

    async def claim(self, owner: str, now: int, lease: int, limit: int = 1) -> list[Sale]:
        """The next paid jobs in the customers' turns, now RUNNING for `lease` seconds."""
        ...

    async def renew(self, owner: str, until: int) -> None: ...

    async def recover(self, now: int, owners: Collection[str] | None) -> int:
        """Put running jobs back in the queue: of these owners, or (None) those whose lease is over. How many."""
        ...

    async def in_state(self, states: Collection[State], limit: int = 1000) -> list[Sale]: ...

    async def due(self, now: int, limit: int = 200) -> list[Sale]:
        """Jobs whose `due_at` has come: the host must look at them again."""
        ...

    async def waiting(self, limit: int = 100) -> list[Sale]:
        """Paid jobs in the order in which they will be done."""
        ...

    async def prune(self, before: int) -> int:
        """Forget jobs that ended before then without anything owed: delivered, refused, expired. How many."""
        ...

    async def usage(self, customer: str, now: int, job: str = "") -> Usage: ...

    async def credit(self, customer: str) -> int:
        """The customer's credit at this worker, in msat."""
        ...

    async def answers(self, job: str) -> list[Event]:
        """What was said about a job, oldest first: the bill, the result, how it ended."""
        ...


SCHEMA: Final = """
CREATE TABLE jobs (
  id TEXT PRIMARY KEY, customer TEXT NOT NULL, kind INTEGER NOT NULL, request BLOB NOT NULL, state TEXT NOT NULL,
  heard_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, relays TEXT NOT NULL DEFAULT '[]',
  price_msat INTEGER NOT NULL DEFAULT 0, bill_msat INTEGER NOT NULL DEFAULT 0, paid_msat INTEGER NOT NULL DEFAULT 0,
  means TEXT, bolt11 TEXT, payment_hash TEXT UNIQUE, preimage TEXT, bill_until INTEGER, paid_at INTEGER,
  taken_at INTEGER, turn INTEGER, owner TEXT, lease_until INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
  expires_at INTEGER, due_at INTEGER, reason TEXT, result BLOB
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, turn);
CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_by_customer ON jobs (customer, heard_at);
CREATE INDEX jobs_free ON jobs (means, heard_at) WHERE means = 'quota';
CREATE TABLE answers (
  id TEXT PRIMARY KEY, job TEXT NOT NULL REFERENCES jobs (id), at INTEGER NOT NULL, event BLOB NOT NULL
) STRICT;
CREATE INDEX answers_by_job ON answers (job, at);
CREATE TABLE credits (
  job TEXT NOT NULL, reason TEXT NOT NULL, customer TEXT NOT NULL, msat INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (job, reason)
) STRICT;
CREATE INDEX credits_by_customer ON credits (customer);
CREATE TABLE queue_head (one INTEGER PRIMARY KEY CHECK (one = 1), turn INTEGER NOT NULL) STRICT;
INSERT INTO queue_head VALUES (1, 0);
"""

ZAPS: Final = """
ALTER TABLE jobs ADD COLUMN zap_hash TEXT;
CREATE UNIQUE INDEX jobs_by_zap ON jobs (zap_hash) WHERE zap_hash IS NOT NULL;
"""

_FIELDS: Final = tuple(Sale.__dataclass_fields__)
_UPDATABLE: Final = frozenset(_FIELDS) - {
    "id",
    "customer",
    "kind",
    "request",
    "state",
    "heard_at",
    "changed_at",
    "turn",
}
_SELECT: Final = f"SELECT {', '.join(_FIELDS)} FROM jobs "
_IN_OPEN, _UNPAID, _QUEUED = (
    f"({', '.join(repr(str(state)) for state in states)})" for states in (OPEN, OPEN[:3], OPEN[3:])
)

Publish = Callable[[sqlite3.Connection, Event, Sequence[str]], None]


class NoCredit(Exception):
    """The customer's credit does not cover the booking; nothing was moved."""


class SqliteJobs:
    """The JobStore of one machine: one SQLite file, shared by the replicas inside one process.

    `publish(conn, event, relays)` puts an outgoing event down in the same transaction (nostr.outbox).
    """

    def __init__(self, db: Database, publish: Publish, clock: Callable[[], int]) -> None:
        self._db, self._publish, self._clock = db, publish, clock

    async def add(self, sale: Sale) -> bool:
        row = _row(sale)

        def work(conn: sqlite3.Connection) -> bool:
            marks = ", ".join("?" * len(row))
            cursor = conn.execute(f"INSERT OR IGNORE INTO jobs ({', '.join(_FIELDS)}) VALUES ({marks})", row)
            return cursor.rowcount == 1

        return await self._db.write(work)

    async def get(self, job: str) -> Sale | None:
        row = await self._db.fetch_one(_SELECT + "WHERE id = ?", (job,))
        return _sale(row) if row else None

    async def by_payment(self, payment_hash: str) -> Sale | None:
        row = await self._db.fetch_one(_SELECT + "WHERE payment_hash = ?", (payment_hash,))
        return _sale(row) if row else None

    async def named(self, event_id: str) -> Sale | None:
        """The job of a request, or of a bill or another answer of ours, by that event's id."""
        sql = _SELECT + "WHERE id = :id OR id = (SELECT job FROM answers WHERE id = :id)"
        row = await self._db.fetch_one(sql, {"id": event_id})
        return _sale(row) if row else None

    async def book(self, sale: Sale, booking: Booking) -> bool:
        """Change the customer's credit beside any move. False where that was booked before. Raises NoCredit."""
        now = self._clock()
        return await self._db.write(lambda conn: book(conn, sale.id, sale.customer, booking, now))

    async def move(
        self,
        job: str,
        expect: Collection[State],
        to: State,
        *,
        answers: Sequence[Answer] = (),
        bookings: Sequence[Booking] = (),
        **fields: Any,
    ) -> Sale | None:
        now = self._clock()
        return await self._db.write(lambda conn: self.move_in(conn, job, expect, to, now, answers, bookings, fields))

    def move_in(
        self,
        conn: sqlite3.Connection,
        job: str,
        expect: Collection[State],
        to: State,
        now: int,
        answers: Sequence[Answer],
        bookings: Sequence[Booking],
        fields: dict[str, Any],
    ) -> Sale | None:
        """`move` inside a transaction of the caller."""
        if not fields.keys() <= _UPDATABLE:
            raise TypeError(f"not fields of a job: {sorted(fields.keys() - _UPDATABLE)}")
        row = conn.execute(_SELECT + "WHERE id = ?", (job,)).fetchone()
        if row is None or row["state"] not in expect:
            return None
        changes: dict[str, Any] = {"state": str(to), "changed_at": now, "due_at": None, **fields}
        if to is State.PAID and row["state"] not in (State.PAID, State.RUNNING):
            changes["turn"] = _next_turn(conn, row["customer"])
        if "relays" in changes:
            changes["relays"] = orjson.dumps(list(changes["relays"])).decode()
        sets = ", ".join(f"{name} = ?" for name in changes)
        conn.execute(f"UPDATE jobs SET {sets} WHERE id = ?", (*changes.values(), job))
        for booking in bookings:
            book(conn, job, row["customer"], booking, now)
        for answer in answers:
            if answer.replay:
                conn.execute(
                    "INSERT OR IGNORE INTO answers (id, job, at, event) VALUES (?, ?, ?, ?)",
                    (answer.event.id, job, now, answer.event.to_json()),
                )
            self._publish(conn, answer.event, answer.relays)
        return _sale(conn.execute(_SELECT + "WHERE id = ?", (job,)).fetchone())

    async def claim(self, owner: str, now: int, lease: int, limit: int = 1) -> list[Sale]:
        def work(conn: sqlite3.Connection) -> list[Sale]:
            rows = conn.execute(
                "SELECT id, turn FROM jobs WHERE state = ? ORDER BY turn, paid_at, id LIMIT ?", (State.PAID, limit)
            ).fetchall()
            if rows:
                conn.execute("UPDATE queue_head SET turn = max(turn, ?)", (rows[-1]["turn"],))
            for row in rows:
                conn.execute(
                    "UPDATE jobs SET state = ?, owner = ?, lease_until = ?, attempts = attempts + 1, changed_at = ?"
                    " WHERE id = ?",
                    (State.RUNNING, owner, now + lease, now, row["id"]),
                )
            return [_sale(conn.execute(_SELECT + "WHERE id = ?", (row["id"],)).fetchone()) for row in rows]

        return await self._db.write(work)

    async def renew(self, owner: str, until: int) -> None:
        sql = "UPDATE jobs SET lease_until = ? WHERE owner = ? AND state = ?"
        await self._db.write(lambda conn: conn.execute(sql, (until, owner, State.RUNNING)) and None)

    async def recover(self, now: int, owners: Collection[str] | None) -> int:
        def work(conn: sqlite3.Connection) -> int:
            sql = "UPDATE jobs SET state = ?, owner = NULL, lease_until = NULL WHERE state = ? AND "
            if owners is None:
                return conn.execute(sql + "lease_until < ?", (State.PAID, State.RUNNING, now)).rowcount
            sql += f"owner IN ({', '.join('?' * len(owners))})"
            return conn.execute(sql, (State.PAID, State.RUNNING, *owners)).rowcount

        return await self._db.write(work)

    async def hand_back(self, owner: str) -> None:
        """Put the jobs of an owner who closes in good order back in the queue, as if it had not begun them."""
        sql = (
            "UPDATE jobs SET state = ?, owner = NULL, lease_until = NULL, attempts = max(0, attempts - 1)"
            " WHERE state = ? AND owner = ?"
        )
        await self._db.write(lambda conn: conn.execute(sql, (State.PAID, State.RUNNING, owner)) and None)

    async def owners(self) -> set[str]:
        """Everyone who holds a running job."""
        rows = await self._db.fetch("SELECT DISTINCT owner FROM jobs WHERE state = ?", (State.RUNNING,))
        return {row["owner"] for row in rows}

    async def unpaid(self, limit: int = 20) -> list[str]:
        """Payment hashes of some bills that wait for their money: any of them, so that none waits for the others."""
        rows = await self._db.fetch(
            "SELECT payment_hash FROM jobs WHERE state = ? ORDER BY random() LIMIT ?", (State.BILLED, limit)
        )
        return [row["payment_hash"] for row in rows]

    async def in_state(self, states: Collection[State], limit: int = 1000) -> list[Sale]:
        marks = ", ".join("?" * len(states))
        sql = _SELECT + f"WHERE state IN ({marks}) ORDER BY heard_at, id LIMIT ?"
        return [_sale(row) for row in await self._db.fetch(sql, (*states, limit))]

    async def due(self, now: int, limit: int = 200) -> list[Sale]:
        sql = _SELECT + "WHERE due_at <= ? ORDER BY due_at LIMIT ?"
        return [_sale(row) for row in await self._db.fetch(sql, (now, limit))]

    async def waiting(self, limit: int = 100) -> list[Sale]:
        sql = _SELECT + "WHERE state = ? ORDER BY turn, paid_at, id LIMIT ?"
        return [_sale(row) for row in await self._db.fetch(sql, (State.PAID, limit))]

    async def prune(self, before: int) -> int:
        old = "state IN ('delivered', 'refused', 'expired') AND due_at IS NULL AND changed_at < ?"

        def work(conn: sqlite3.Connection) -> int:
            conn.execute(f"DELETE FROM answers WHERE job IN (SELECT id FROM jobs WHERE {old})", (before,))
            return conn.execute(f"DELETE FROM jobs WHERE {old}", (before,)).rowcount

        return await self._db.write(work)

    async def usage(self, customer: str, now: int, job: str = "") -> Usage:
        row = await self._db.fetch_one(
            f"""SELECT
              (SELECT count(*) FROM jobs WHERE customer = :who AND state IN {_IN_OPEN}) AS open_jobs,
              (SELECT count(*) FROM jobs WHERE customer = :who AND heard_at > :now - 3600) AS last_hour,
              (SELECT count(*) FROM jobs WHERE customer = :who AND heard_at > :now - 3600 AND paid_at IS NOT NULL
                 AND reason = :cancelled) AS cancelled_last_hour,
              (SELECT count(*) FROM jobs WHERE customer = :who AND means = 'quota' AND heard_at >= :day) AS free_today,
              (SELECT count(*) FROM jobs WHERE means = 'quota' AND heard_at >= :day) AS free_today_all,
              (SELECT count(*) FROM jobs WHERE state IN {_QUEUED}) AS queued_all,
              (SELECT count(*) FROM jobs WHERE state IN {_UNPAID}) AS unpaid_all,
              EXISTS (SELECT 1 FROM jobs WHERE customer = :who AND paid_msat > 0 AND payment_hash IS NOT NULL)
                AS has_paid,
              (SELECT coalesce(sum(msat), 0) FROM credits WHERE customer = :who) AS credit_msat,
              EXISTS (SELECT 1 FROM jobs WHERE id = :job) AS known""",
            {"job": job, "who": customer, "now": now, "day": now - now % 86400, "cancelled": CANCELLED_BY_CUSTOMER},
        )
        assert row is not None
        return Usage(**{**dict(row), "known": bool(row["known"]), "has_paid": bool(row["has_paid"])})

    async def credit(self, customer: str) -> int:
        row = await self._db.fetch_one("SELECT coalesce(sum(msat), 0) FROM credits WHERE customer = ?", (customer,))
        return int(row[0]) if row else 0

    async def answers(self, job: str) -> list[Event]:
        rows = await self._db.fetch("SELECT event FROM answers WHERE job = ? ORDER BY at, rowid", (job,))
        return [Event.from_json(row["event"]) for row in rows]


CANCELLED_BY_CUSTOMER: Final = "cancelled by the customer"


def book(conn: sqlite3.Connection, job: str, customer: str, booking: Booking, now: int) -> bool:
    """Change a customer's credit, once for each job and reason. Raises NoCredit rather than going below zero."""
    if conn.execute("SELECT 1 FROM credits WHERE job = ? AND reason = ?", (job, booking.reason)).fetchone():
        return False
    if booking.msat < 0:
        have = conn.execute("SELECT coalesce(sum(msat), 0) FROM credits WHERE customer = ?", (customer,)).fetchone()[0]
        if have + booking.msat < 0:
            raise NoCredit(f"credit {have} msat, needed {-booking.msat}")
    conn.execute(
        "INSERT INTO credits (job, reason, customer, msat, at) VALUES (?, ?, ?, ?, ?)",
        (job, booking.reason, customer, booking.msat, now),
    )
    return True


def _next_turn(conn: sqlite3.Connection, customer: str) -> int:
    """Fair turns: a customer's jobs stand one turn apart, and everyone starts at the turn being served now."""
    head = conn.execute("SELECT turn FROM queue_head").fetchone()[0]
    last = conn.execute(
        "SELECT max(turn) FROM jobs WHERE state = ? AND customer = ?", (State.PAID, customer)
    ).fetchone()[0]
    return int(max(head, last or 0)) + 1


def _row(sale: Sale) -> tuple[Any, ...]:
    values = {name: getattr(sale, name) for name in _FIELDS}
    values["relays"] = orjson.dumps(list(sale.relays)).decode()
    return tuple(values.values())


def _sale(row: sqlite3.Row) -> Sale:
    values = dict(zip(_FIELDS, row, strict=True))
    values["state"] = State(values["state"])
    values["means"] = Means(values["means"]) if values["means"] else None
    values["relays"] = tuple(orjson.loads(values["relays"]))
    return Sale(**values)


@dataclass(frozen=True, slots=True)
class Tally:
    """What a worker has done so far: `waiting` are paid and not delivered, `earned_msat` came from delivered jobs."""

    jobs: int
    delivered: int
    waiting: int
    earned_msat: int


def tally(path: Path) -> Tally:
    """Read from outside, while the worker may be running; all zero where it has never run."""
    if not path.exists():
        return Tally(0, 0, 0, 0)
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        row = conn.execute(
            "SELECT count(*), coalesce(sum(state = 'delivered'), 0),"
            " coalesce(sum(state IN ('paid', 'running', 'finished')), 0),"
            " coalesce(sum(CASE state WHEN 'delivered' THEN paid_msat END), 0) FROM jobs"
        ).fetchone()
    return Tally(*row)


@dataclass(frozen=True, slots=True)
class Record:
    """How a customer has dealt with this worker: bills it got, paid, let expire; jobs it cancelled after paying."""

    bills: int
    paid: int
    cancelled: int


def record(path: Path, customer: str) -> Record:
    """Read from outside, as `tally`."""
    if not path.exists():
        return Record(0, 0, 0)
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        row = conn.execute(
            "SELECT coalesce(sum(bolt11 IS NOT NULL OR paid_at IS NOT NULL), 0),"
            " coalesce(sum(paid_at IS NOT NULL), 0), coalesce(sum(paid_at IS NOT NULL AND reason = ?), 0)"
            " FROM jobs WHERE customer = ? AND price_msat > 0",
            (CANCELLED_BY_CUSTOMER, customer),
        ).fetchone()
    return Record(*row)
