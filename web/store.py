"""What the page itself remembers, in `web/page.db`: announced prices, heartbeats to send later, guests' payments, the
accounts that people have at this node.

Everything else on the pages comes from the relay, the wallet and Timmy's journal.
"""

import asyncio
import sqlite3
from collections import deque
from pathlib import Path

from nostr.clock import Clock
from nostr.database import Database
from nostr.event import Event

DAY = 86_400
HISTORY = 180 * DAY  # announced prices are kept so long
POINTS = 60  # and so many of one service
SERVICES = 3000  # of so many services: strangers can announce with as many keys as they like
BEATS, ALL_BEATS = 80, 20_000  # heartbeats that one key, and all keys together, may leave here

MIGRATIONS = (
    """
    CREATE TABLE price (seller TEXT NOT NULL, d TEXT NOT NULL, at INTEGER NOT NULL, msat INTEGER,
        PRIMARY KEY (seller, d, at)) STRICT, WITHOUT ROWID;
    CREATE INDEX price_age ON price (at);
    CREATE TABLE beat (id TEXT PRIMARY KEY, pubkey TEXT NOT NULL, due INTEGER NOT NULL, event BLOB NOT NULL) STRICT;
    CREATE INDEX beat_due ON beat (due);
    CREATE INDEX beat_key ON beat (pubkey);
    CREATE TABLE treat (payment_hash TEXT PRIMARY KEY, visitor TEXT NOT NULL, msat INTEGER NOT NULL,
        at INTEGER NOT NULL) STRICT;
    CREATE INDEX treat_at ON treat (at);
    """,
    "CREATE TABLE account (pubkey TEXT PRIMARY KEY, uri TEXT NOT NULL) STRICT;",
)
Point = tuple[int, int | None]  # time, msat; None for a price on request


class PageStore:
    """`async with` it. Prices are answered from memory; the rest is asked of the file."""

    def __init__(self, data: Path, clock: Clock) -> None:
        self._path, self._clock = data / "web" / "page.db", clock
        self._db: Database | None = None
        self._prices: dict[tuple[str, str], deque[Point]] = {}
        self._writes: set[asyncio.Task[None]] = set()

    @property
    def db(self) -> Database:
        if self._db is None:
            raise RuntimeError("the page's store is not open")
        return self._db

    async def open(self) -> None:
        self._db = await Database.open(self._path, MIGRATIONS)
        old = self._clock() - HISTORY
        await self._db.write(lambda conn: conn.execute("DELETE FROM price WHERE at < ?", (old,)) and None)
        rows = await self._db.fetch("SELECT seller, d, at, msat FROM price ORDER BY at")
        for row in rows:
            self._of(row["seller"], row["d"]).append((row["at"], row["msat"]))

    async def close(self) -> None:
        await asyncio.gather(*self._writes, return_exceptions=True)
        if self._db is not None:
            await self._db.close()

    # -- announced prices -----------------------------------------------------------------------------------------

    def note_price(self, seller: str, d: str, at: int, msat: int | None) -> None:
        """A service announced this price at this time. Only changes are kept; older versions than the last are not."""
        known = self._of(seller, d)
        if known and (known[-1][1] == msat or known[-1][0] >= at):
            return
        known.append((at, msat))
        gone = []
        if len(self._prices) > SERVICES:
            gone.append(next(iter(self._prices)))
            del self._prices[gone[0]]
        if self._db is not None:
            task = asyncio.create_task(self._keep_price(self._db, (seller, d, at, msat), gone))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    def prices(self, seller: str, d: str) -> list[Point]:
        """Announced prices, oldest first: each since when it held."""
        return list(self._prices.get((seller, d), ()))

    def _of(self, seller: str, d: str) -> deque[Point]:
        return self._prices.setdefault((seller, d), deque(maxlen=POINTS))

    async def _keep_price(
        self, db: Database, row: tuple[str, str, int, int | None], gone: list[tuple[str, str]]
    ) -> None:
        def write(conn: sqlite3.Connection) -> None:
            conn.execute("INSERT OR REPLACE INTO price VALUES (?, ?, ?, ?)", row)
            conn.executemany("DELETE FROM price WHERE seller = ? AND d = ?", gone)

        await db.write(write)

    # -- heartbeats signed in advance -----------------------------------------------------------------------------

    async def leave_beats(self, pubkey: str, beats: list[Event]) -> bool:
        """These instead of whatever this key left before. False where all keys together would leave too many."""

        def write(conn: sqlite3.Connection) -> bool:
            conn.execute("DELETE FROM beat WHERE pubkey = ?", (pubkey,))
            if conn.execute("SELECT count(*) FROM beat").fetchone()[0] + len(beats) > ALL_BEATS:
                return False
            conn.executemany(
                "INSERT OR IGNORE INTO beat VALUES (?, ?, ?, ?)",
                [(beat.id, pubkey, beat.created_at, beat.to_json()) for beat in beats],
            )
            return True

        return await self.db.write(write)

    async def due_beats(self) -> list[Event]:
        """The newest due one of each key; it and those before it are forgotten."""
        now = self._clock()

        def take(conn: sqlite3.Connection) -> list[bytes]:
            due = conn.execute("SELECT event, max(due) FROM beat WHERE due <= ? GROUP BY pubkey", (now,)).fetchall()
            conn.execute("DELETE FROM beat WHERE due <= ?", (now,))
            return [row[0] for row in due]

        if await self.db.fetch_one("SELECT 1 FROM beat WHERE due <= ?", (now,)) is None:
            return []
        return [Event.from_json(raw) for raw in await self.db.write(take)]

    async def beats_left(self, pubkey: str) -> int:
        """How many are left of a key."""
        row = await self.db.fetch_one("SELECT count(*) FROM beat WHERE pubkey = ?", (pubkey,))
        return int(row[0]) if row else 0

    # -- accounts of people at this node --------------------------------------------------------------------------

    async def account(self, pubkey: str) -> str | None:
        """The wallet connection that this key was given."""
        row = await self.db.fetch_one("SELECT uri FROM account WHERE pubkey = ?", (pubkey,))
        return str(row["uri"]) if row else None

    async def accounts(self) -> int:
        """How many keys have one."""
        row = await self.db.fetch_one("SELECT count(*) FROM account")
        return int(row[0]) if row else 0

    async def keep_account(self, pubkey: str, uri: str) -> None:
        sql = "INSERT INTO account VALUES (?, ?)"
        await self.db.write(lambda conn: conn.execute(sql, (pubkey, uri)) and None)

    # -- what guests were treated to ------------------------------------------------------------------------------

    async def treated(self, payment_hash: str) -> str | None:
        """The visitor whose bill this was."""
        row = await self.db.fetch_one("SELECT visitor FROM treat WHERE payment_hash = ?", (payment_hash,))
        return str(row["visitor"]) if row else None

    async def treat(self, payment_hash: str, visitor: str, msat: int) -> None:
        row, old = (payment_hash, visitor, msat, self._clock()), self._clock() - 30 * DAY

        def write(conn: sqlite3.Connection) -> None:
            conn.execute("DELETE FROM treat WHERE at < ?", (old,))
            conn.execute("INSERT OR IGNORE INTO treat VALUES (?, ?, ?, ?)", row)

        await self.db.write(write)

    async def forget_treat(self, payment_hash: str) -> None:
        sql = "DELETE FROM treat WHERE payment_hash = ?"
        await self.db.write(lambda conn: conn.execute(sql, (payment_hash,)) and None)

    async def treated_since(self, at: int) -> dict[str, int]:
        """msat by visitor."""
        rows = await self.db.fetch("SELECT visitor, sum(msat) FROM treat WHERE at >= ? GROUP BY visitor", (at,))
        return {row[0]: row[1] for row in rows}
