"""Timmy's memory: one SQLite file in which every run is a list of entries that only grows.

R1  Write, then act: entries, signed events and payment intents of a turn are one transaction, before any effect.
R2  After a crash, look before acting: outbox rows are sent again, intents are looked up by payment hash.
R3  An entry is unique by (run, step, idx, attempt, kind); a turn that meets its own entry again is refused whole.
R4  Tables of states (`run`, `step`, `payment`) are projections; `rebuild` from `entry` gives the same.
R5  Every commit is durable (`synchronous=FULL`) before the caller goes on.
R6  Time is an argument; chance is decided outside and written down in the entry it influenced.
R7  One writer a file; a second process finds the lock taken.

Caps that reach beyond one run (what may be outstanding with a provider, what may be spent in a day) are checked in the
transaction that writes the payment intent, so that parallel runs cannot overrun them together.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nostr.clock import Clock, system_clock
from nostr.database import Database
from nostr.event import Event
from nostr.outbox import OUTBOX_SCHEMA, Outbox
from orchestrator.effects import ClaimRefund, Pay
from orchestrator.errors import CapReached, OrchestratorError
from orchestrator.recipe import Recipe
from orchestrator.run import Artefact, Bill, Entry, Run, UnitKey, rebuild
from wallet import bolt11

SCHEMA = """
CREATE TABLE run (
  id TEXT PRIMARY KEY, recipe TEXT NOT NULL, recipe_event TEXT NOT NULL, buyer TEXT NOT NULL, state TEXT NOT NULL,
  price_msat INTEGER NOT NULL, received_msat INTEGER NOT NULL, spent_msat INTEGER NOT NULL, hard_msat INTEGER NOT NULL,
  opened_at INTEGER NOT NULL, paid_at INTEGER NOT NULL, ended_at INTEGER NOT NULL, reason TEXT NOT NULL,
  receipt_id TEXT NOT NULL, result_id TEXT NOT NULL, request TEXT NOT NULL
) STRICT;
CREATE INDEX run_state ON run(state);
CREATE TABLE step (
  run TEXT NOT NULL, step TEXT NOT NULL, idx INTEGER NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
  provider TEXT NOT NULL, paid_msat INTEGER NOT NULL, artefact TEXT NOT NULL, PRIMARY KEY (run, step, idx)
) STRICT, WITHOUT ROWID;
CREATE TABLE entry (
  run TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, step TEXT NOT NULL, idx INTEGER NOT NULL,
  attempt INTEGER NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, seq),
  UNIQUE (run, step, idx, attempt, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE payment (
  payment_hash TEXT PRIMARY KEY, direction TEXT NOT NULL, run TEXT NOT NULL, step TEXT NOT NULL, idx INTEGER NOT NULL,
  attempt INTEGER NOT NULL, party TEXT NOT NULL, bolt11 TEXT NOT NULL, amount_msat INTEGER NOT NULL,
  max_fee_msat INTEGER NOT NULL, fee_msat INTEGER NOT NULL, state TEXT NOT NULL, preimage TEXT NOT NULL,
  outcome TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE INDEX payment_party ON payment(party, state);
CREATE INDEX payment_at ON payment(direction, at);
CREATE UNIQUE INDEX one_refund ON payment(run) WHERE direction = 'refund' AND state != 'failed';
CREATE TABLE cache (
  key TEXT PRIMARY KEY, run TEXT NOT NULL, artefact TEXT NOT NULL, result_id TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE TABLE outcome (
  provider TEXT NOT NULL, kind INTEGER NOT NULL, run TEXT NOT NULL, step TEXT NOT NULL, idx INTEGER NOT NULL,
  attempt INTEGER NOT NULL, stars INTEGER NOT NULL, seconds INTEGER NOT NULL, paid_msat INTEGER NOT NULL,
  at INTEGER NOT NULL, PRIMARY KEY (run, step, idx, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX outcome_provider ON outcome(provider, kind);
CREATE TABLE shelf (d TEXT PRIMARY KEY, event TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE refusal (request TEXT PRIMARY KEY, reason TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE refund_due (
  run TEXT PRIMARY KEY, buyer TEXT NOT NULL, amount_msat INTEGER NOT NULL, target TEXT NOT NULL, state TEXT NOT NULL,
  reason TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
"""
ROYALTIES = """
CREATE TABLE royalty (
  run TEXT NOT NULL, author TEXT NOT NULL, amount_msat INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (run, author)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX one_royalty ON payment(party) WHERE direction = 'royalty' AND state = 'intent';
"""
MIGRATIONS: Sequence[str] = (SCHEMA, OUTBOX_SCHEMA, ROYALTIES)
DAY = 86_400
EXPOSURE = (
    "SELECT coalesce(sum(CASE WHEN outcome = '' THEN amount_msat + max_fee_msat ELSE 0 END), 0),"
    " coalesce(sum(CASE WHEN outcome = 'delivered' THEN amount_msat ELSE 0 END), 0)"
    " FROM payment WHERE direction = 'out' AND party = ? AND state != 'failed'"
)

UNPROVEN = (
    "SELECT party, sum(amount_msat + max_fee_msat) AS msat FROM payment WHERE direction = 'out' AND state != 'failed'"
    " AND outcome != 'delivered' AND at > ?"
    " AND party NOT IN (SELECT party FROM payment WHERE direction = 'out' AND outcome = 'delivered') GROUP BY party"
)


class JournalConflict(OrchestratorError):
    """An entry of this turn is written already: the caller's picture of the run is old."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps beyond one run, msat. Exposure grows with what a provider has delivered for money before.

    `unproven_msat` is for all those together, in 24 hours, that never delivered: a thief has many keys.
    """

    daily_msat: int = 100_000_000
    exposure_msat: int = 2_000_000
    exposure_share: float = 0.2
    exposure_max_msat: int = 50_000_000
    own: frozenset[str] = frozenset()
    unproven_msat: int = 10_000_000

    def exposure(self, delivered_msat: int) -> int:
        return min(self.exposure_max_msat, self.exposure_msat + int(delivered_msat * self.exposure_share))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt went, for the own statistics of its provider."""

    provider: str
    kind: int
    step: str
    idx: int
    attempt: int
    stars: int
    seconds: int
    paid_msat: int


@dataclass(frozen=True, slots=True)
class Experience:
    """One attempt of the past: who, at what, how good (1 to 5), in how many seconds, for how much, when."""

    provider: str
    kind: int
    stars: int
    seconds: int
    paid_msat: int
    at: int


@dataclass(frozen=True, slots=True)
class Page:
    """Everything one turn writes. Events are signed; `pays` are intents."""

    before: Run | None
    after: Run
    entries: tuple[Entry, ...]
    events: tuple[tuple[Event, tuple[str, ...]], ...] = ()
    pays: tuple[Pay, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    cache: tuple[tuple[str, Artefact, str], ...] = ()
    request: Event | None = None


class Journal:
    """The file and what is asked of it. `record` is the only way to change a run."""

    def __init__(self, db: Database, limits: Limits, clock: Clock) -> None:
        self.db = db
        self.limits = limits
        self._clock = clock

    @classmethod
    async def open(cls, path: Path, *, limits: Limits | None = None, clock: Clock = system_clock) -> "Journal":
        return cls(await Database.open(path, MIGRATIONS), limits or Limits(), clock)

    async def close(self) -> None:
        await self.db.close()

    async def record(self, page: Page) -> None:
        """Write a turn, durably, whole or not at all. Raises CapReached and JournalConflict (nothing written)."""
        await self.db.write(lambda conn: self._record(conn, page))

    async def load(self, run_id: str) -> Run | None:
        entries = await self.entries(run_id)
        return rebuild(run_id, entries) if entries else None

    async def unfinished(self) -> list[tuple[Run, Event]]:
        """Runs that still have something to do, with their requests; a finished run whose payment is open counts."""
        rows = await self.db.fetch(
            "SELECT id, request FROM run WHERE state NOT IN ('delivered','refunded','cancelled','dead')"
            " OR id IN (SELECT run FROM payment WHERE state = 'intent' AND direction IN ('out', 'claim'))"
            " ORDER BY opened_at"
        )
        found = []
        for row in rows:
            run = await self.load(row["id"])
            if run is not None:
                found.append((run, Event.from_json(row["request"])))
        return found

    async def entries(self, run_id: str) -> list[Entry]:
        rows = await self.db.fetch("SELECT * FROM entry WHERE run = ? ORDER BY seq", (run_id,))
        return [
            Entry(row["kind"], row["at"], row["step"], row["idx"], row["attempt"], json.loads(row["data"]))
            for row in rows
        ]

    async def request(self, run_id: str) -> Event | None:
        row = await self.db.fetch_one("SELECT request FROM run WHERE id = ?", (run_id,))
        return Event.from_json(row["request"]) if row else None

    async def cached(self, key: str) -> tuple[Artefact, str] | None:
        row = await self.db.fetch_one("SELECT artefact, result_id FROM cache WHERE key = ?", (key,))
        return (Artefact.load(json.loads(row["artefact"])), row["result_id"]) if row else None

    async def experience(self) -> list["Experience"]:
        """How every attempt of ours went, newest first, at most some thousands."""
        rows = await self.db.fetch(
            "SELECT provider, kind, stars, seconds, paid_msat, at FROM outcome ORDER BY at DESC LIMIT 5000"
        )
        return [Experience(*row) for row in rows]

    async def exposure(self, provider: str) -> tuple[int, int]:
        """(msat outstanding with a provider, msat it has delivered for)."""
        row = await self.db.fetch_one(EXPOSURE, (provider,))
        return (int(row[0]), int(row[1])) if row else (0, 0)

    async def books(self, limit: int = 100) -> list[sqlite3.Row]:
        """Runs, newest first: price, costs, margin."""
        return await self.db.fetch(
            "SELECT id, recipe, buyer, state, price_msat, received_msat, spent_msat,"
            " CASE state WHEN 'delivered' THEN received_msat - spent_msat ELSE -spent_msat END AS margin_msat,"
            " opened_at, ended_at, reason, receipt_id FROM run ORDER BY opened_at DESC, id LIMIT ?",
            (limit,),
        )

    async def totals(self) -> sqlite3.Row | None:
        """Sums over all runs that have ended: taken in, spent, margin; and refunds still due."""
        return await self.db.fetch_one(
            "SELECT count(*) AS runs, sum(state = 'delivered') AS delivered, sum(state = 'refunded') AS refunded,"
            " coalesce(sum(CASE state WHEN 'delivered' THEN received_msat ELSE 0 END), 0) AS taken_msat,"
            " coalesce(sum(spent_msat), 0) AS spent_msat,"
            " (SELECT coalesce(sum(amount_msat), 0) FROM refund_due WHERE state != 'paid') AS refunds_due_msat FROM run"
        )

    async def shelf(self, recipe: Recipe, make: Callable[[], Event]) -> Event:
        """The event under which this recipe stands; `make` signs a new one where the document has changed."""
        row = await self.db.fetch_one("SELECT event FROM shelf WHERE d = ?", (recipe.d,))
        if row is not None and (event := Event.from_json(row["event"])).content == recipe.dumps():
            return event
        event = make()
        await self.db.write(
            lambda conn: conn.execute("INSERT OR REPLACE INTO shelf VALUES (?,?)", (recipe.d, event.to_json().decode()))
        )
        return event

    async def refuse(self, request: Event, answer: Event, relays: Sequence[str], reason: str) -> bool:
        """Answer a request that begins no run. False if it was answered before."""

        def work(conn: sqlite3.Connection) -> bool:
            values = (request.id, reason, self._clock())
            if not conn.execute("INSERT OR IGNORE INTO refusal VALUES (?,?,?)", values).rowcount:
                return False
            Outbox.put(conn, answer, relays, now=self._clock())
            return True

        return await self.db.write(work)

    async def known(self, request_id: str) -> bool:
        """Whether this request has a run or was refused."""
        row = await self.db.fetch_one(
            "SELECT 1 FROM run WHERE id = ? UNION SELECT 1 FROM refusal WHERE request = ?", (request_id, request_id)
        )
        return row is not None

    async def open_runs_of(self, buyer: str) -> int:
        row = await self.db.fetch_one(
            "SELECT count(*) AS n FROM run WHERE buyer = ?"
            " AND state IN ('opened', 'billed', 'running', 'settling', 'refunding')",
            (buyer,),
        )
        return int(row["n"]) if row else 0

    # --- refunds of prepaid runs ------------------------------------------------------------------------------------

    async def owe(self, run: Run, amount_msat: int, target: str, reason: str) -> None:
        """Note that the buyer is to be paid back. Once a run."""
        await self.db.write(
            lambda conn: conn.execute(
                "INSERT OR IGNORE INTO refund_due VALUES (?,?,?,?,'due',?,?)",
                (run.id, run.buyer, amount_msat, target, reason, self._clock()),
            )
        )

    async def refund_target(self, run_id: str) -> str:
        """Where the buyer wants the refund: the newest word of his, or what the request said."""
        row = await self.db.fetch_one("SELECT target FROM refund_due WHERE run = ?", (run_id,))
        return str(row["target"]) if row else ""

    async def claim_refund(self, run_id: str, buyer: str, invoice: str) -> None:
        """The buyer sent an invoice for what is owed to him."""
        await self.db.write(
            lambda conn: conn.execute(
                "UPDATE refund_due SET target = ? WHERE run = ? AND buyer = ? AND state = 'due'",
                (invoice, run_id, buyer),
            )
        )

    async def refund_intent(self, run: Run, bolt11: str, payment_hash: str, amount_msat: int, fee_msat: int) -> bool:
        """Write the intent of paying this invoice as the refund; False where another refund is open or done."""

        def work(conn: sqlite3.Connection) -> bool:
            row = conn.execute("SELECT direction, run FROM payment WHERE payment_hash = ?", (payment_hash,)).fetchone()
            if row is not None:
                return bool(row["direction"] == "refund" and row["run"] == run.id)
            live = conn.execute(
                "SELECT 1 FROM payment WHERE run = ? AND direction = 'refund' AND state != 'failed'", (run.id,)
            ).fetchone()
            if live:
                return False
            conn.execute(
                "INSERT INTO payment VALUES (?,'refund',?,'',0,0,?,?,?,?,0,'intent','','',?)",
                (payment_hash, run.id, run.buyer, bolt11, amount_msat, fee_msat, self._clock()),
            )
            return True

        return await self.db.write(work)

    async def open_refund(self, run_id: str) -> sqlite3.Row | None:
        """The refund payment of a run that is written and not failed."""
        return await self.db.fetch_one(
            "SELECT * FROM payment WHERE run = ? AND direction = 'refund' AND state != 'failed'", (run_id,)
        )

    async def refund_outcome(self, run_id: str, payment_hash: str, state: str, fee_msat: int, preimage: str) -> None:
        """`state` is settled or failed; settled closes the refund-due row."""

        def work(conn: sqlite3.Connection) -> None:
            conn.execute(
                "UPDATE payment SET state = ?, fee_msat = ?, preimage = ?"
                " WHERE payment_hash = ? AND direction = 'refund'",
                (state, fee_msat, preimage, payment_hash),
            )
            if state == "settled":
                conn.execute("UPDATE refund_due SET state = 'paid' WHERE run = ?", (run_id,))

        await self.db.write(work)

    # --- what providers owe us ----------------------------------------------------------------------------------------

    async def open_claim(self, request_id: str) -> Bill | None:
        """Our invoice for a refund of this order that is neither paid nor over."""
        row = await self.db.fetch_one(
            "SELECT * FROM payment WHERE direction = 'claim' AND outcome = ? AND state = 'intent'", (request_id,)
        )
        if row is None:
            return None
        until = bolt11.decode(row["bolt11"]).expires_at
        return Bill(row["payment_hash"], row["bolt11"], row["amount_msat"], hold=False, expires_at=until)

    async def put_claim(self, run: Run, claim: ClaimRefund, invoice: Bill, event: Event) -> None:
        """The invoice and the event that carries it, together."""
        values = (
            invoice.payment_hash, run.id, claim.step, claim.idx, claim.attempt, claim.provider, invoice.bolt11,
            invoice.amount_msat, claim.request_id, self._clock(),
        )  # fmt: skip

        def work(conn: sqlite3.Connection) -> None:
            conn.execute("INSERT INTO payment VALUES (?,'claim',?,?,?,?,?,?,?,0,0,'intent','',?,?)", values)
            Outbox.put(conn, event, run.terms.relays, now=self._clock())

        await self.db.write(work)

    async def drop_claim(self, payment_hash: str) -> None:
        """Nobody paid it in time."""
        await self.db.write(
            lambda conn: conn.execute("UPDATE payment SET state = 'failed' WHERE payment_hash = ?", (payment_hash,))
        )

    async def refunds_due(self) -> list[sqlite3.Row]:
        return await self.db.fetch("SELECT * FROM refund_due WHERE state != 'paid' ORDER BY at")

    # --- royalties --------------------------------------------------------------------------------------------------

    async def owe_royalties(self, run_id: str, shares: Sequence[tuple[str, int]]) -> None:
        """Once a run and author."""
        rows = [(run_id, author, msat, self._clock()) for author, msat in shares]
        await self.db.write(lambda conn: conn.executemany("INSERT OR IGNORE INTO royalty VALUES (?,?,?,?)", rows))

    async def without_royalty(self) -> list[str]:
        """Delivered runs of the last month with a margin and no royalty row."""
        rows = await self.db.fetch(
            "SELECT id FROM run WHERE state = 'delivered' AND received_msat > spent_msat AND ended_at > ?"
            " AND id NOT IN (SELECT run FROM royalty)",
            (self._clock() - 30 * DAY,),
        )
        return [row["id"] for row in rows]

    async def royalties_due(self) -> list[tuple[str, int]]:
        """(author, msat) owed and not paid; what is under way still counts as due."""
        rows = await self.db.fetch(
            "SELECT author, sum(amount_msat) - (SELECT coalesce(sum(payment.amount_msat), 0) FROM payment"
            " WHERE party = author AND direction = 'royalty' AND state = 'settled') AS msat"
            " FROM royalty GROUP BY author"
        )
        return [(row["author"], row["msat"]) for row in rows if row["msat"] > 0]

    async def open_royalty(self, author: str) -> sqlite3.Row | None:
        """The royalty payment of an author whose outcome is not known."""
        return await self.db.fetch_one(
            "SELECT * FROM payment WHERE party = ? AND direction = 'royalty' AND state = 'intent'", (author,)
        )

    async def royalty_intent(self, author: str, invoice: str, amount_msat: int) -> bool:
        """Write the intent; False where one is open, or the invoice is not new or over another amount."""
        try:
            read = bolt11.decode(invoice)
        except bolt11.InvalidInvoice:
            return False
        if read.amount_msat != amount_msat:
            return False
        values = (read.payment_hash, author, read.text, amount_msat, 1000 + amount_msat // 100, self._clock())
        return bool(
            await self.db.write(
                lambda conn: (
                    conn.execute(
                        "INSERT OR IGNORE INTO payment VALUES (?,'royalty','','',0,0,?,?,?,?,0,'intent','','',?)",
                        values,
                    ).rowcount
                )
            )
        )

    async def royalty_outcome(self, author: str, payment_hash: str, *, settled: bool, fee_msat: int) -> None:
        state = "settled" if settled else "failed"
        await self.db.write(
            lambda conn: conn.execute(
                "UPDATE payment SET state = ?, fee_msat = ? WHERE payment_hash = ? AND party = ?",
                (state, fee_msat, payment_hash, author),
            )
        )

    # --- one turn ---------------------------------------------------------------------------------------------------

    def _record(self, conn: sqlite3.Connection, page: Page) -> None:
        run = page.after
        self._append(conn, run.id, page.entries)
        for pay in page.pays:
            self._reserve(conn, run, pay)
        for entry in page.entries:
            _project_payment(conn, run, entry)
        for outcome in page.outcomes:
            conn.execute(
                "INSERT OR REPLACE INTO outcome VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    outcome.provider, outcome.kind, run.id, outcome.step, outcome.idx, outcome.attempt, outcome.stars,
                    outcome.seconds, outcome.paid_msat, self._clock(),
                ),
            )  # fmt: skip
        for key, artefact, result_id in page.cache:
            conn.execute(
                "INSERT OR REPLACE INTO cache VALUES (?,?,?,?,?)",
                (key, run.id, json.dumps(artefact.json()), result_id, self._clock()),
            )
        project(conn, page.before, run, page.request)
        for event, relays in page.events:
            Outbox.put(conn, event, relays, now=self._clock())

    def _append(self, conn: sqlite3.Connection, run_id: str, entries: Iterable[Entry]) -> None:
        (last,) = conn.execute("SELECT coalesce(max(seq), 0) FROM entry WHERE run = ?", (run_id,)).fetchone()
        for seq, entry in enumerate(entries, start=last + 1):
            changed = conn.execute(
                "INSERT OR IGNORE INTO entry VALUES (?,?,?,?,?,?,?,?)",
                (
                    run_id, seq, entry.at, entry.step, entry.idx, entry.attempt, entry.kind,
                    json.dumps(entry.data, ensure_ascii=False),
                ),
            ).rowcount  # fmt: skip
            if not changed:
                raise JournalConflict(f"{entry.kind} of {entry.step}[{entry.idx}] #{entry.attempt} is written already")

    def _reserve(self, conn: sqlite3.Connection, run: Run, pay: Pay) -> None:
        """The intent, if all caps allow it. Raises CapReached."""
        cost, where = pay.amount_msat + pay.max_fee_msat, (pay.step, pay.idx, pay.attempt)
        (today,) = conn.execute(
            "SELECT coalesce(sum(amount_msat + CASE state WHEN 'intent' THEN max_fee_msat ELSE fee_msat END), 0)"
            " FROM payment WHERE direction = 'out' AND state != 'failed' AND at > ?",
            (self._clock() - DAY,),
        ).fetchone()
        if today + cost > self.limits.daily_msat:
            raise CapReached("the operator's daily limit is reached", *where)
        if pay.provider not in self.limits.own:
            outstanding, delivered = conn.execute(EXPOSURE, (pay.provider,)).fetchone()
            if outstanding + cost > self.limits.exposure(delivered):
                raise CapReached("too much is outstanding with this provider", *where)
            if not delivered:
                rows = conn.execute(UNPROVEN, (self._clock() - DAY,)).fetchall()
                strangers = sum(row["msat"] for row in rows if row["party"] not in self.limits.own)
                if strangers + cost > self.limits.unproven_msat:
                    raise CapReached("too much went to sellers that never delivered here, for one day", *where)
        inserted = conn.execute(
            "INSERT OR IGNORE INTO payment VALUES (?,'out',?,?,?,?,?,?,?,?,0,'intent','','',?)",
            (
                pay.payment_hash, run.id, pay.step, pay.idx, pay.attempt, pay.provider, pay.bolt11,
                pay.amount_msat, pay.max_fee_msat, self._clock(),
            ),
        ).rowcount  # fmt: skip
        if not inserted:
            raise CapReached("this invoice was billed to us before", *where)


def project(conn: sqlite3.Connection, before: Run | None, run: Run, request: Event | None = None) -> None:
    """Bring the tables `run` and `step` to the state of this run (only the units that differ from `before`)."""
    row = (
        run.recipe.d, run.recipe_event, run.buyer, str(run.phase), run.terms.price_msat, run.received_msat,
        run.spent_msat, run.terms.hard_msat, run.opened_at, run.paid_at, run.ended_at, run.reason, run.receipt_id,
        run.result_id,
    )  # fmt: skip
    if before is None:
        raw = request.to_json().decode() if request else "{}"
        conn.execute(f"INSERT OR REPLACE INTO run VALUES (?{',?' * 15})", (run.id, *row, raw))
    else:
        conn.execute(
            "UPDATE run SET recipe=?, recipe_event=?, buyer=?, state=?, price_msat=?, received_msat=?, spent_msat=?,"
            " hard_msat=?, opened_at=?, paid_at=?, ended_at=?, reason=?, receipt_id=?, result_id=? WHERE id=?",
            (*row, run.id),
        )
    known: dict[UnitKey, Any] = dict(before.units) if before else {}
    for key, unit in run.units.items():
        if known.get(key) is unit:
            continue
        provider = next((a.provider.pubkey for a in reversed(unit.attempts) if a.provider), "")
        sha = unit.artefact.sha256 if unit.artefact else ""
        conn.execute(
            "INSERT OR REPLACE INTO step VALUES (?,?,?,?,?,?,?,?)",
            (run.id, *key, unit.state, len(unit.attempts), provider, unit.paid_msat, sha),
        )


def _project_payment(conn: sqlite3.Connection, run: Run, entry: Entry) -> None:
    """Payments follow the entries of their attempts."""
    if entry.kind == "billed" and not entry.step:
        conn.execute(
            "INSERT OR IGNORE INTO payment VALUES (?,'in',?,'',0,0,?,?,?,0,0,'intent','','',?)",
            (entry.data["payment_hash"], run.id, run.buyer, entry.data["bolt11"], entry.data["amount_msat"], entry.at),
        )
        return
    if not entry.step:
        state = {"paid": "held" if run.bill and run.bill.hold else "settled", "delivered": "settled"}.get(entry.kind)
        state = {"refunded": "returned", "cancelled": "failed"}.get(entry.kind, state)
        if state is not None:
            conn.execute("UPDATE payment SET state = ? WHERE run = ? AND direction = 'in'", (state, run.id))
        return
    where = (run.id, entry.step, entry.idx, entry.attempt)
    one = "WHERE run = ? AND step = ? AND idx = ? AND attempt = ? AND direction = 'out'"
    match entry.kind:
        case "paid":
            conn.execute(
                f"UPDATE payment SET state = 'settled', fee_msat = ?, preimage = ? {one}",
                (entry.data["fee_msat"], entry.data.get("preimage", ""), *where),
            )
        case "repaid":
            claim = one.replace("'out'", "'claim'")
            conn.execute(f"UPDATE payment SET state = 'settled' {claim} AND state = 'intent'", where)
        case "unpaid":
            conn.execute(f"UPDATE payment SET state = 'failed' {one}", where)
        case "delivered":
            conn.execute(f"UPDATE payment SET outcome = 'delivered' {one}", where)
        case "rejected" | "lost":
            conn.execute(f"UPDATE payment SET outcome = 'lost' {one}", where)
        case "gated" if not entry.data["ok"]:
            conn.execute(f"UPDATE payment SET outcome = 'lost' {one}", where)
