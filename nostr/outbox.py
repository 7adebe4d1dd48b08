"""What was signed gets out: events wait in the caller's database until every relay has answered.

    db = await Database.open(path, [OUTBOX_SCHEMA, MY_SCHEMA])
    outbox = Outbox(db, pool, clock)
    outbox.start()
    await db.write(lambda conn: (remember(conn, job), Outbox.put(conn, event, relays)))
    outbox.wake()

The event stands in the same transaction as the state it tells of, so after `kill -9` either both are there or neither.
Events go to each relay in the order they were put. A passing failure (no answer, `rate-limited`, `error`,
`auth-required`) is tried again until the relay has been silent for `give_up` seconds; any other refusal ends that
relay's copy, with the reason kept.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from nostr import message
from nostr.client import Ok
from nostr.clock import Clock, system_clock
from nostr.database import Database, DatabaseClosed
from nostr.event import Event, is_ephemeral
from nostr.pool import Pool, normalise

log = logging.getLogger(__name__)

OUTBOX_SCHEMA = """
CREATE TABLE outbox_event(
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    raw BLOB NOT NULL,
    put_at INTEGER NOT NULL
);
CREATE TABLE outbox_target(
    seq INTEGER NOT NULL REFERENCES outbox_event(seq) ON DELETE CASCADE,
    relay TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',  -- waiting | sent | refused | given-up
    reason TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0,
    next_try INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(seq, relay)
) WITHOUT ROWID;
CREATE INDEX outbox_waiting ON outbox_target(relay, seq) WHERE state = 'waiting';
"""

_PASSING = frozenset({"rate-limited", "error", "auth-required"})
_DONE = frozenset({"duplicate"})
_AT_ONCE = 64  # events under way to one relay
_LONGEST_RETRY = 300  # seconds
_EPHEMERAL_LIFE = 120  # seconds after which an undelivered ephemeral event says nothing to anybody
_KEPT = 86_400  # seconds that finished rows stay for inspection
_LOOK = 5.0  # seconds between looks when nobody calls wake()


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one event stands at one relay."""

    relay: str
    state: str
    reason: str
    tries: int


class Outbox:
    """`give_up`: seconds until a relay that never answers is given up (default 7 days)."""

    def __init__(self, db: Database, pool: Pool, clock: Clock = system_clock, *, give_up: int = 7 * 86_400) -> None:
        self._db, self._pool, self._clock, self._give_up = db, pool, clock, give_up
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._eager: set[str] = set()  # relays that just came up: their waiting times are void

    @staticmethod
    def put(conn: sqlite3.Connection, event: Event, relays: Iterable[str], *, now: int | None = None) -> None:
        """Queue an event, inside the caller's transaction; call `wake()` once that is committed.

        Putting an event again adds relays and changes nothing else. Texts that are no relay URL are left out.
        """
        put_at = event.created_at if now is None else now
        conn.execute(
            "INSERT OR IGNORE INTO outbox_event(id, raw, put_at) VALUES (?, ?, ?)", (event.id, event.to_json(), put_at)
        )
        seq = conn.execute("SELECT seq FROM outbox_event WHERE id = ?", (event.id,)).fetchone()[0]
        for url in relays:
            try:
                relay = normalise(url)
            except ValueError as error:
                log.info("not sent there: %s", error)
                continue
            conn.execute("INSERT OR IGNORE INTO outbox_target(seq, relay) VALUES (?, ?)", (seq, relay))

    def start(self) -> None:
        if self._task is None:
            self._pool.listen(self._on_change)
            self._task = asyncio.create_task(self._run(), name="outbox")

    def wake(self) -> None:
        """Look now. Cheap, from the loop's thread."""
        self._news.set()

    async def close(self) -> None:
        """Stop; what has not been answered stays for the next start."""
        tasks = [task for task in (self._task, *self._busy.values()) if task is not None]
        self._task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def waiting(self) -> int:
        """How many (event, relay) pairs still wait."""
        row = await self._db.fetch_one("SELECT count(*) FROM outbox_target WHERE state = 'waiting'")
        return int(row[0]) if row else 0

    async def status(self, event_id: str) -> list[Delivery]:
        rows = await self._db.fetch(
            "SELECT relay, state, reason, tries FROM outbox_target JOIN outbox_event USING(seq) WHERE id = ?",
            (event_id,),
        )
        return [Delivery(*row) for row in rows]

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._look()
            except DatabaseClosed:
                return
            except sqlite3.Error as error:  # a full disk, for instance: what waits goes on waiting
                log.error("the outbox cannot be read: %s", error)
            try:
                async with asyncio.timeout(_LOOK):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        rows = await self._db.fetch("SELECT DISTINCT relay FROM outbox_target WHERE state = 'waiting'")
        for row in rows:
            relay = row["relay"]
            if relay not in self._busy:
                task = self._busy[relay] = asyncio.create_task(self._serve(relay), name=f"outbox {relay}")
                task.add_done_callback(partial(self._served, relay))
        if not rows:
            await self._prune()

    def _served(self, relay: str, task: asyncio.Task[None]) -> None:
        self._busy.pop(relay, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("outbox for %s: %s", relay, task.exception())

    async def _serve(self, relay: str) -> None:
        """Send what is due to this relay, in order, until nothing is."""
        while True:
            now = self._clock()
            eager = relay in self._eager
            self._eager.discard(relay)
            rows = await self._db.fetch(
                "SELECT seq, raw, put_at, tries FROM outbox_target JOIN outbox_event USING(seq)"
                " WHERE relay = ? AND state = 'waiting' AND (next_try <= ? OR ?) ORDER BY seq LIMIT ?",
                (relay, now, eager, _AT_ONCE),
            )
            if not rows:
                return
            events = [Event.from_json(row["raw"]) for row in rows]
            answers = await asyncio.gather(*(self._pool.publish(event, [relay]) for event in events))
            if any(ok.answered for answer in answers for ok in answer.values()):
                self._eager.discard(relay)  # it came up for these very events
            verdicts = [
                (*self._judge(event, row["put_at"], row["tries"], answer[relay]), row["seq"], relay)
                for row, event, answer in zip(rows, events, answers, strict=True)
            ]
            await self._db.write(partial(_note, verdicts=verdicts))

    def _judge(self, event: Event, put_at: int, tries: int, ok: Ok) -> tuple[str, str, int, int]:
        """(state, reason, tries, next_try) after this answer."""
        tries, now, word = tries + 1, self._clock(), message.prefix(ok.message)
        if ok.accepted or word in _DONE:
            return "sent", ok.message, tries, 0
        if ok.answered and word not in _PASSING:
            log.warning("%s of kind %d was refused: %s", event.id[:8], event.kind, ok.message)
            return "refused", ok.message, tries, 0
        life = _EPHEMERAL_LIFE if is_ephemeral(event.kind) else self._give_up
        expired = event.expiration is not None and event.expiration <= now
        if expired or now - put_at >= life:
            log.warning("%s of kind %d was given up: %s", event.id[:8], event.kind, ok.message)
            return "given-up", ok.message, tries, 0
        return "waiting", ok.message, tries, now + min(2**tries, _LONGEST_RETRY)

    def _on_change(self, url: str, state: str) -> None:
        if state == "up":
            self._eager.add(url)
            self._news.set()

    async def _prune(self) -> None:
        before = self._clock() - _KEPT
        await self._db.write(
            lambda conn: (
                conn.execute(
                    "DELETE FROM outbox_event WHERE put_at < ? AND NOT EXISTS"
                    " (SELECT 1 FROM outbox_target t WHERE t.seq = outbox_event.seq AND t.state = 'waiting')",
                    (before,),
                ).rowcount
            )
        )


def _note(conn: sqlite3.Connection, verdicts: list[tuple[str, str, int, int, int, str]]) -> None:
    conn.executemany(
        "UPDATE outbox_target SET state = ?, reason = ?, tries = ?, next_try = ? WHERE seq = ? AND relay = ?", verdicts
    )
