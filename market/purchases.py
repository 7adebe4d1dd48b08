"""What was bought, on disk: one row a purchase, at most one payment each, and every refused bill or result.

    asked ── paying ── paid ── delivered
      │        │         └──── lost | rejected | refunded
      │        └────────────── unpaid | doubtful
      └─────────────────────── refused | expired | cancelled

A payment row is the intent: it is committed before the wallet is asked, `purchase` is unique in it, and so is the
payment hash. A second invoice for the same purchase, or the same invoice for a second purchase, cannot be paid.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import orjson

from market.errors import BillRefused
from market.job import JobRequest, JobResult
from market.purchase import Bill, Order, Refusal
from market.reputation import Evidence
from nostr.database import Database
from nostr.event import Event
from nostr.key import SecretKey
from wallet.interface import Invoice, Outcome, PayResult

PURCHASES_SCHEMA: Final = """
CREATE TABLE purchase(
    id TEXT PRIMARY KEY,              -- id of our request event
    kind INTEGER NOT NULL,
    provider TEXT,                    -- NULL while the order is open
    title TEXT NOT NULL DEFAULT '',
    request BLOB NOT NULL,
    relays TEXT NOT NULL,             -- JSON list
    max_msat INTEGER NOT NULL,
    announced_msat INTEGER,
    network TEXT NOT NULL,
    deadline INTEGER NOT NULL,
    state TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    ended_at INTEGER,
    result BLOB,
    path TEXT,
    mime TEXT,
    sha256 TEXT,
    refusal TEXT,
    reason TEXT
);
CREATE INDEX purchase_provider ON purchase(provider, kind);
CREATE INDEX purchase_open ON purchase(state) WHERE ended_at IS NULL;
CREATE TABLE payment(
    payment_hash TEXT PRIMARY KEY,
    purchase TEXT NOT NULL UNIQUE REFERENCES purchase(id),
    bill BLOB NOT NULL,               -- the event that asked
    bolt11 TEXT NOT NULL,
    amount_msat INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    state TEXT NOT NULL,              -- intent | pending | unknown | settled | failed
    preimage TEXT,
    fee_msat INTEGER,
    intended_at INTEGER NOT NULL,
    settled_at INTEGER,
    detail TEXT
);
CREATE TABLE incident(
    purchase TEXT NOT NULL REFERENCES purchase(id),
    event TEXT NOT NULL,
    author TEXT NOT NULL,
    at INTEGER NOT NULL,
    refusal TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY(purchase, event)
) WITHOUT ROWID;
"""

CLAIMS_SCHEMA: Final = """
CREATE TABLE claim(                   -- our invoices for money that a provider owes us
    payment_hash TEXT PRIMARY KEY,
    purchase TEXT NOT NULL REFERENCES purchase(id),
    bolt11 TEXT NOT NULL,
    amount_msat INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX claim_purchase ON claim(purchase);
"""
WHY_SCHEMA: Final = "ALTER TABLE purchase ADD COLUMN why TEXT;  -- JSON: every candidate with all factors"


class State(StrEnum):
    ASKED = "asked"
    PAYING = "paying"
    PAID = "paid"
    DELIVERED = "delivered"
    REFUSED = "refused"  # nothing was paid: the provider said no, or its bill must not be paid
    EXPIRED = "expired"  # nothing was paid: no usable answer in time
    CANCELLED = "cancelled"  # nothing was paid: we took the request back
    UNPAID = "unpaid"  # nothing was paid: the wallet could not, for certain
    DOUBTFUL = "doubtful"  # the payment's outcome was unknown at the deadline; looked up again later
    LOST = "lost"  # paid, and no result
    REJECTED = "rejected"  # what came is not what was ordered
    REFUNDED = "refunded"  # paid, and the money came back


OPEN: Final = (State.ASKED, State.PAYING, State.PAID)
IN_DOUBT: Final = ("intent", "pending", "unknown")


@dataclass(frozen=True, slots=True)
class Payment:
    """Our one payment of a purchase. `state` is `intent` or an `Outcome`; amounts in msat, times in seconds."""

    payment_hash: str
    bill: Event
    bolt11: str
    amount_msat: int
    expires_at: int
    state: str
    preimage: str | None
    fee_msat: int | None
    intended_at: int
    settled_at: int | None

    @property
    def spent_msat(self) -> int:
        """What has left our wallet for certain, fee included."""
        return self.amount_msat + (self.fee_msat or 0) if self.state == Outcome.SETTLED else 0


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchase as it stands. `path` is the downloaded file; `reason` says in words how it ended."""

    order: Order
    title: str
    relays: tuple[str, ...]
    state: State
    asked_at: int
    ended_at: int | None
    payment: Payment | None
    result: JobResult | None
    path: Path | None
    mime: str | None
    sha256: str | None
    refusal: str | None
    reason: str | None
    why: tuple[dict[str, Any], ...] = ()

    @property
    def id(self) -> str:
        return self.order.id

    @property
    def provider(self) -> str | None:
        return self.order.provider

    @property
    def delivered(self) -> bool:
        return self.state is State.DELIVERED

    @property
    def spent_msat(self) -> int:
        return self.payment.spent_msat if self.payment else 0


@dataclass(frozen=True, slots=True)
class Stats:
    """What we saw of one provider for one kind of job. Latencies in seconds, from payment (or asking) to delivery."""

    jobs: int = 0
    delivered: int = 0
    failed: int = 0
    latencies: tuple[int, ...] = ()
    billed: tuple[int, ...] = ()  # msat really billed, oldest first
    billed_above_announced: int = 0
    spent_msat: int = 0

    def percentile(self, share: float) -> float | None:
        """Seconds within which this share of the deliveries came; None without a delivery."""
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


class Purchases:
    """The table of one buyer. Uses the caller's Database, whose migrations hold PURCHASES_SCHEMA."""

    def __init__(self, db: Database, key: SecretKey) -> None:
        self._db, self._key = db, key

    @staticmethod
    def insert(
        conn: sqlite3.Connection, order: Order, title: str, relays: Sequence[str], now: int, why: Sequence[Any] = ()
    ) -> bool:
        """Remember a new purchase; False where it is known already. Inside the caller's transaction."""
        return (
            conn.execute(
                "INSERT OR IGNORE INTO purchase(id, kind, provider, title, request, relays, max_msat, announced_msat,"
                " network, deadline, state, asked_at, why) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    order.id, order.kind, order.provider, title, order.request.event.to_json(),
                    orjson.dumps(list(relays)).decode(), order.max_msat, order.announced_msat, order.network,
                    order.deadline, State.ASKED, now, orjson.dumps(list(why)).decode() if why else None,
                ),
            ).rowcount
            == 1
        )  # fmt: skip

    async def intend(self, order: Order, bill: Bill, now: int) -> None:
        """Commit the intent to pay. Raises BillRefused where this purchase or this invoice has a payment already."""

        def work(conn: sqlite3.Connection) -> None:
            try:
                conn.execute(
                    "INSERT INTO payment(payment_hash, purchase, bill, bolt11, amount_msat, expires_at, state,"
                    " intended_at) VALUES (?,?,?,?,?,?,'intent',?)",
                    (
                        bill.payment_hash, order.id, bill.event.to_json(), bill.bolt11, bill.amount_msat,
                        bill.expires_at, now,
                    ),
                )  # fmt: skip
            except sqlite3.IntegrityError:
                raise BillRefused("this purchase or this invoice was paid before", Refusal.SEEN) from None
            conn.execute(
                "UPDATE purchase SET state = ?, provider = ? WHERE id = ?", (State.PAYING, bill.provider, order.id)
            )

        await self._db.write(work)

    async def note_payment(self, purchase: str, paid: PayResult, now: int) -> None:
        """Record the wallet's word. A payment that is settled or failed stays so."""
        settled = paid.outcome is Outcome.SETTLED

        def work(conn: sqlite3.Connection) -> None:
            conn.execute(
                "UPDATE payment SET state = ?, preimage = coalesce(?, preimage), fee_msat = coalesce(?, fee_msat),"
                " settled_at = coalesce(settled_at, ?), detail = ? WHERE purchase = ?"
                " AND state NOT IN ('settled', 'failed')",
                (paid.outcome, paid.preimage, paid.fee_msat, now if settled else None, paid.detail, purchase),
            )
            if settled:
                conn.execute("UPDATE purchase SET state = 'paid' WHERE id = ? AND state = 'paying'", (purchase,))

        await self._db.write(work)

    async def note_incident(self, purchase: str, event: Event, refusal: str, reason: str, now: int) -> None:
        """Keep why an event was turned down; the author may be a stranger, not the provider."""
        await self._db.write(
            lambda conn: conn.execute(
                "INSERT OR IGNORE INTO incident VALUES (?,?,?,?,?,?)",
                (purchase, event.id, event.pubkey, now, refusal, reason),
            )
        )

    async def get(self, purchase: str) -> Purchase | None:
        row = await self._db.fetch_one(f"{_SELECT} WHERE purchase.id = ?", (purchase,))
        return self._read(row) if row else None

    async def find(self, prefix: str) -> list[Purchase]:
        """Purchases whose id begins with these hex digits, newest first."""
        rows = await self._db.fetch(
            f"{_SELECT} WHERE purchase.id >= ? AND purchase.id < ? ORDER BY asked_at DESC", (prefix, prefix + "g")
        )
        return [self._read(row) for row in rows]

    async def recent(self, *, limit: int = 50, unfinished: bool = False) -> list[Purchase]:
        """Newest first. `unfinished`: still open, or ended with money in doubt."""
        where = "WHERE purchase.ended_at IS NULL OR payment.state IN ('intent','pending','unknown')"
        rows = await self._db.fetch(f"{_SELECT} {where if unfinished else ''} ORDER BY asked_at DESC LIMIT ?", (limit,))
        return [self._read(row) for row in rows]

    async def lost(self, since: int) -> list[Purchase]:
        """Paid and not delivered, asked for after `since`."""
        rows = await self._db.fetch(f"{_SELECT} WHERE purchase.state = 'lost' AND asked_at >= ?", (since,))
        return [self._read(row) for row in rows]

    async def claims(self, purchase: str) -> list[sqlite3.Row]:
        """Our invoices for a refund, newest first."""
        return list(await self._db.fetch("SELECT * FROM claim WHERE purchase = ? ORDER BY at DESC", (purchase,)))

    @staticmethod
    def put_claim(conn: sqlite3.Connection, purchase: str, invoice: Invoice, now: int) -> None:
        conn.execute(
            "INSERT OR IGNORE INTO claim VALUES (?,?,?,?,?,?)",
            (invoice.payment_hash, purchase, invoice.bolt11, invoice.amount_msat, invoice.expires_at, now),
        )

    async def seen_hashes(self, besides: str) -> frozenset[str]:
        rows = await self._db.fetch("SELECT payment_hash FROM payment WHERE purchase <> ?", (besides,))
        return frozenset(row[0] for row in rows)

    async def incidents(self, purchase: str) -> list[sqlite3.Row]:
        return await self._db.fetch("SELECT * FROM incident WHERE purchase = ? ORDER BY at", (purchase,))

    async def stats(self, *, since: int = 0) -> dict[tuple[str, int], Stats]:
        """(provider, kind) -> what happened. Only purchases that reached a provider's own fault or merit count."""
        rows = await self._db.fetch(
            "SELECT provider, kind, purchase.state, announced_msat, amount_msat, payment.state AS paid, refusal,"
            " fee_msat, ended_at - coalesce(settled_at, intended_at, asked_at) AS seconds"
            " FROM purchase LEFT JOIN payment ON payment.purchase = purchase.id"
            " WHERE ended_at IS NOT NULL AND provider IS NOT NULL AND asked_at >= ? ORDER BY asked_at",
            (since,),
        )
        found: dict[tuple[str, int], list[sqlite3.Row]] = {}
        for row in rows:
            found.setdefault((row["provider"], row["kind"]), []).append(row)
        return {who: _stats(history) for who, history in found.items()}

    async def evidence(self) -> list[Evidence]:
        """Our own ledger, as evidence for scores: what each provider did with our orders."""
        rows = await self._db.fetch(
            "SELECT provider, kind, purchase.state, refusal, amount_msat, ended_at, payment.state AS paid"
            " FROM purchase LEFT JOIN payment ON payment.purchase = purchase.id"
            " WHERE ended_at IS NOT NULL AND provider IS NOT NULL"
        )
        return [
            Evidence(
                self._key.public, row["provider"], row["kind"], 1.0 if row["state"] == State.DELIVERED else 0.0,
                row["ended_at"], row["amount_msat"] or 0,
            )
            for row in rows
            if row["state"] == State.DELIVERED or _at_fault(row)
        ]  # fmt: skip

    def _read(self, row: sqlite3.Row) -> Purchase:
        request = JobRequest.parse(Event.from_json(row["request"]), self._key)
        order = Order(request, row["provider"], row["max_msat"], row["network"], row["deadline"], row["announced_msat"])
        payment = None
        if row["payment_hash"] is not None:
            payment = Payment(
                row["payment_hash"], Event.from_json(row["bill"]), row["bolt11"], row["amount_msat"],
                row["expires_at"], row["payment_state"], row["preimage"], row["fee_msat"], row["intended_at"],
                row["settled_at"],
            )  # fmt: skip
        return Purchase(
            order=order,
            title=row["title"],
            relays=tuple(orjson.loads(row["relays"])),
            state=State(row["state"]),
            asked_at=row["asked_at"],
            ended_at=row["ended_at"],
            payment=payment,
            result=JobResult.parse(Event.from_json(row["result"]), self._key) if row["result"] else None,
            path=Path(row["path"]) if row["path"] else None,
            mime=row["mime"],
            sha256=row["sha256"],
            refusal=row["refusal"],
            reason=row["reason"],
            why=tuple(orjson.loads(row["why"])) if row["why"] else (),
        )


_SELECT: Final = (
    "SELECT purchase.*, payment_hash, bill, bolt11, amount_msat, expires_at, payment.state AS payment_state, preimage,"
    " fee_msat, intended_at, settled_at FROM purchase LEFT JOIN payment ON payment.purchase = purchase.id"
)
_FAULTS: Final = (State.LOST, State.REJECTED, State.REFUNDED)
_BLAMED: Final = frozenset(
    {Refusal.AMOUNT_DIFFERS, Refusal.TOO_DEAR, Refusal.BAD_INVOICE, Refusal.SEEN, Refusal.OTHER_JOB}
)


def finish(conn: sqlite3.Connection, purchase: str, state: State, now: int, **facts: Any) -> None:
    """Write the end of a purchase inside the caller's transaction; a lost or doubtful one may still end better."""
    names = ["state", "ended_at", *facts]
    conn.execute(
        f"UPDATE purchase SET {', '.join(f'{name} = ?' for name in names)}"
        " WHERE id = ? AND (ended_at IS NULL OR state IN ('lost', 'doubtful'))",
        (state, now, *facts.values(), purchase),
    )


def _at_fault(row: sqlite3.Row) -> bool:
    """The provider failed us: it took the money for nothing, delivered junk, billed wrongly, or never answered."""
    silent = row["state"] == State.EXPIRED and not row["paid"]
    return row["state"] in _FAULTS or row["refusal"] in _BLAMED or silent


def _stats(rows: Sequence[sqlite3.Row]) -> Stats:
    delivered = [row for row in rows if row["state"] == State.DELIVERED]
    failed = [row for row in rows if _at_fault(row)]
    return Stats(
        jobs=len(delivered) + len(failed),
        delivered=len(delivered),
        failed=len(failed),
        latencies=tuple(max(0, row["seconds"]) for row in delivered),
        billed=tuple(row["amount_msat"] for row in rows if row["amount_msat"] is not None),
        billed_above_announced=sum(
            row["refusal"] == Refusal.TOO_DEAR
            or (row["announced_msat"] is not None and (row["amount_msat"] or 0) > row["announced_msat"])
            for row in rows
        ),
        spent_msat=sum((row["amount_msat"] or 0) + (row["fee_msat"] or 0) for row in rows if row["paid"] == "settled"),
    )
