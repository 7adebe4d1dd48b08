"""What an agent may spend: a budget for 24 hours, a list of what it may hire, and one order for one key.

Every order is a row of `spend`, written before anything is sent, in the transaction that looks at the budget. An order
counts with the most it may cost until it has ended, and with what it really cost afterwards. The rows outlive the
process, so a restart gives no fresh budget, and the same idempotency key never buys twice.

    SpendRefused    this may not be bought: the words say by which rule
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from market.purchases import IN_DOUBT
from nostr.clock import Clock
from nostr.database import Database
from wallet.msat import show

DAY: Final = 86_400
QUOTE_SECONDS: Final = 900

# The first migration of an agent's file; the buyer's own follow, which grow at their end.
AGENT_SCHEMA: Final = """
CREATE TABLE quote(
    id TEXT PRIMARY KEY, wish TEXT NOT NULL, provider TEXT NOT NULL, d TEXT NOT NULL, price_msat INTEGER,
    made_at INTEGER NOT NULL
) STRICT;
CREATE TABLE spend(
    key TEXT PRIMARY KEY,             -- the agent's idempotency key
    digest TEXT NOT NULL,             -- of what it asked for under this key
    job TEXT NOT NULL UNIQUE,         -- id of our request event, which is the purchase's
    max_msat INTEGER NOT NULL,
    at INTEGER NOT NULL,
    instance TEXT NOT NULL            -- the process that works on it
) STRICT;
CREATE TABLE word(job TEXT NOT NULL, at INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
CREATE INDEX word_of_job ON word(job);
"""


class SpendRefused(Exception):
    """The purse stays shut; the words are for the agent and for whoever reads its log."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`day_msat`: most in 24 hours, None where the wallet connection bounds it. `kinds`: what may be hired, None: all.

    `job_msat`: most for one order, None: no bound of its own.
    """

    day_msat: int | None = 0
    job_msat: int | None = None
    kinds: frozenset[int] | None = None

    def allows(self, kind: int) -> bool:
        return self.kinds is None or kind in self.kinds


@dataclass(frozen=True, slots=True)
class Spend:
    """An order under its key. `fresh`: it was written just now, so it is to be sent."""

    key: str
    job: str
    max_msat: int
    fresh: bool


class Purse:
    """The rules over one database, which is the buyer's own (its migrations and `AGENT_SCHEMA`)."""

    def __init__(self, db: Database, limits: Limits, clock: Clock, instance: str) -> None:
        self._db, self.limits, self._clock, self._instance = db, limits, clock, instance

    async def left_msat(self) -> int | None:
        """What may still be spent in these 24 hours; None: the wallet connection says."""
        if self.limits.day_msat is None:
            return None
        return max(0, self.limits.day_msat - await self._db.write(self._used))

    async def known(self, key: str, asked: Mapping[str, Any]) -> Spend | None:
        """The order of this key. SpendRefused where the key was used for something else."""
        row = await self._db.fetch_one("SELECT * FROM spend WHERE key = ?", (key,))
        return _again(row, digest(asked)) if row is not None else None

    def check(self, kind: int, max_msat: int) -> None:
        """The rules that need no books. Raises SpendRefused."""
        if not self.limits.allows(kind):
            kinds = ", ".join(map(str, sorted(self.limits.kinds or ())))
            raise SpendRefused(f"kind {kind} is not on the allow-list of this agent ({kinds or 'nothing is'})")
        if self.limits.job_msat is not None and max_msat > self.limits.job_msat:
            raise SpendRefused(f"one order may cost {show(self.limits.job_msat)} at most, this one {show(max_msat)}")

    async def open(self, key: str, asked: Mapping[str, Any], kind: int, job: str, max_msat: int) -> Spend:
        """Set the money aside, once a key. Raises SpendRefused."""
        if not 8 <= len(key) <= 200:
            raise SpendRefused("an idempotency key has 8 to 200 characters; take a new one for every new order")
        self.check(kind, max_msat)
        made, now = digest(asked), self._clock()

        def work(conn: sqlite3.Connection) -> Spend:
            row = conn.execute("SELECT * FROM spend WHERE key = ?", (key,)).fetchone()
            if row is not None:
                return _again(row, made)
            if self.limits.day_msat is not None:
                left = self.limits.day_msat - self._used(conn)
                if max_msat > left:
                    raise SpendRefused(
                        f"the budget has {show(max(0, left))} left of {show(self.limits.day_msat)} in 24 hours; this"
                        f" order may cost {show(max_msat)}. Only your user can raise it (timmy mcp --budget-sat)"
                    )
            conn.execute("INSERT INTO spend VALUES (?,?,?,?,?,?)", (key, made, job, max_msat, now, self._instance))
            return Spend(key, job, max_msat, fresh=True)

        return await self._db.write(work)

    async def adopt(self, alive: Collection[str]) -> set[str]:
        """Take over the orders of processes that are no more; an order that was never sent is forgotten."""
        marks = ",".join("?" * len(alive))
        dead = f"instance != ? AND instance NOT IN ({marks})"  # question marks alone
        names = (self._instance, *alive)

        def work(conn: sqlite3.Connection) -> set[str]:
            conn.execute(f"DELETE FROM spend WHERE {dead} AND job NOT IN (SELECT id FROM purchase)", names)
            jobs = {row[0] for row in conn.execute(f"SELECT job FROM spend WHERE {dead}", names)}
            conn.execute(f"UPDATE spend SET instance = ? WHERE {dead}", (self._instance, *names))
            return jobs

        return await self._db.write(work)

    def _used(self, conn: sqlite3.Connection) -> int:
        """Spent or set aside in the last 24 hours; what is older counts while it is still open."""
        rows = conn.execute(
            "SELECT s.max_msat, s.at, p.id, p.ended_at, y.state, y.amount_msat, coalesce(y.fee_msat, 0) AS fee"
            " FROM spend s LEFT JOIN purchase p ON p.id = s.job LEFT JOIN payment y ON y.purchase = s.job"
        )
        used = 0
        for max_msat, at, known, ended_at, state, amount_msat, fee in rows:
            if known is None or ended_at is None or state in IN_DOUBT:
                used += max_msat
            elif state == "settled" and at > self._clock() - DAY:
                used += amount_msat + fee
        return used


def digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _again(row: sqlite3.Row, made: str) -> Spend:
    if row["digest"] != made:
        raise SpendRefused("this idempotency key was used for another order: take a new key for a new order")
    return Spend(row["key"], row["job"], row["max_msat"], fresh=False)
