"""Invoices and payments on top of the books: who is paid, who pays, once.

    invoice   open -> settled | cancelled            a hold invoice: open -> accepted -> settled | cancelled
    payment   reserved -> sent -> settled | failed   sent -> unknown -> settled | failed

A payment is a row with its money reserved before anything leaves the box. While it is not failed, no second payment of
the same hash, and none for the same purpose of that account, can begin: two unique indexes see to it. A payment to an
invoice of this box settles in the same transaction that began it.

Functions take the writing connection of the file and belong inside `Database.write`. They return what is new, to be
told to the world after the commit.

    WalletRefused
    |- InsufficientBalance     the account holds too little (books)
    |- QuotaExceeded           the budget of the connection is used up (connections)
    |- PaymentRefused          this invoice is not paid, now or ever; nothing moved
    `- NotFound                no such invoice or payment
"""

import hashlib
import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from wallet import books, connections
from wallet.bolt11 import Bolt11
from wallet.interface import Invoice, InvoiceState, Outcome, PayResult, WalletRefused

SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
{books.SCHEMA}
{connections.SCHEMA}
CREATE TABLE invoices (
    payment_hash TEXT PRIMARY KEY,
    bolt11 TEXT NOT NULL UNIQUE,
    account INTEGER NOT NULL REFERENCES accounts (id),
    connection INTEGER REFERENCES connections (id),
    amount_msat INTEGER NOT NULL CHECK (amount_msat > 0),
    state TEXT NOT NULL CHECK (state IN ('open', 'accepted', 'settled', 'cancelled')),
    hold INTEGER NOT NULL,
    remote INTEGER NOT NULL,
    preimage TEXT,
    description TEXT,
    description_hash TEXT,
    metadata TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    settle_by INTEGER,
    settled_at INTEGER,
    received_msat INTEGER NOT NULL DEFAULT 0,
    outside_msat INTEGER
) STRICT;
CREATE INDEX invoices_by_account ON invoices (account, created_at);
CREATE INDEX invoices_unpaid ON invoices (connection, expires_at) WHERE state = 'open';
CREATE INDEX invoices_held ON invoices (settle_by) WHERE state = 'accepted';
CREATE INDEX invoices_held_outside ON invoices (expires_at) WHERE remote AND hold AND state IN ('open', 'accepted');
CREATE INDEX invoices_settled ON invoices (account, settled_at) WHERE settled_at IS NOT NULL;
CREATE TABLE payments (
    id INTEGER PRIMARY KEY,
    payment_hash TEXT NOT NULL,
    bolt11 TEXT NOT NULL,
    account INTEGER NOT NULL REFERENCES accounts (id),
    connection INTEGER REFERENCES connections (id),
    purpose TEXT NOT NULL,
    internal INTEGER NOT NULL,
    amount_msat INTEGER NOT NULL CHECK (amount_msat > 0),
    fee_limit_msat INTEGER NOT NULL CHECK (fee_limit_msat >= 0),
    fee_msat INTEGER,
    state TEXT NOT NULL CHECK (state IN ('reserved', 'sent', 'unknown', 'settled', 'failed')),
    preimage TEXT,
    code TEXT,
    detail TEXT,
    description TEXT,
    metadata TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    settled_at INTEGER
) STRICT;
CREATE UNIQUE INDEX payments_by_hash ON payments (payment_hash) WHERE state != 'failed';
CREATE UNIQUE INDEX payments_by_purpose ON payments (account, purpose) WHERE state != 'failed';
CREATE INDEX payments_every_hash ON payments (payment_hash);
CREATE INDEX payments_by_account ON payments (account, created_at);
CREATE INDEX payments_open ON payments (id) WHERE state IN ('reserved', 'sent', 'unknown');
"""
MIGRATIONS = (SCHEMA,)


class PaymentRefused(WalletRefused):
    """The invoice is not paid, and nothing moved."""

    def __init__(self, message: str, code: str = "RESTRICTED") -> None:
        super().__init__(code, message)


class NotFound(WalletRefused):
    def __init__(self, message: str) -> None:
        super().__init__("NOT_FOUND", message)


class PaymentState(StrEnum):
    RESERVED = "reserved"  # money set aside, nothing sent
    SENT = "sent"
    UNKNOWN = "unknown"  # sent; whether it arrived is not known
    SETTLED = "settled"
    FAILED = "failed"  # for certain


@dataclass(frozen=True, slots=True)
class Payment:
    """A row of `payments`. Amounts in msat."""

    id: int
    payment_hash: str
    bolt11: str
    account: int
    connection: int | None
    purpose: str
    internal: bool
    amount_msat: int
    fee_limit_msat: int
    fee_msat: int | None
    state: PaymentState
    preimage: str | None
    code: str | None
    detail: str | None
    description: str | None
    metadata: str | None
    created_at: int
    expires_at: int
    settled_at: int | None

    @property
    def ended(self) -> bool:
        return self.state in (PaymentState.SETTLED, PaymentState.FAILED)

    @property
    def result(self) -> PayResult:
        outcome = {
            PaymentState.SETTLED: Outcome.SETTLED,
            PaymentState.FAILED: Outcome.FAILED,
            PaymentState.UNKNOWN: Outcome.UNKNOWN,
        }.get(self.state, Outcome.PENDING)
        return PayResult(outcome, self.payment_hash, self.preimage, self.fee_msat, self.code, self.detail)


@dataclass(frozen=True, slots=True)
class Bill:
    """A row of `invoices`: an invoice of ours and its books. `outside_msat` is what came in through the backend."""

    invoice: Invoice
    account: int
    connection: int | None
    hold: bool
    remote: bool
    description_hash: str | None
    metadata: str | None
    outside_msat: int | None


class News(StrEnum):
    RECEIVED = "received"  # an invoice was paid for the first time
    CREDITED = "credited"  # money came that releases nothing: a second payment, too little
    ACCEPTED = "accepted"  # the money of a hold invoice is locked
    CANCELLED = "cancelled"
    SENT = "sent"  # a payment settled
    FAILED = "failed"  # a payment failed for certain


@dataclass(frozen=True, slots=True)
class Report:
    """Something that happened to an account, told after the commit; `what` is the row as it was then."""

    news: News
    what: "Bill | Payment"

    @property
    def account(self) -> int:
        return self.what.account

    @property
    def payment_hash(self) -> str:
        return self.what.invoice.payment_hash if isinstance(self.what, Bill) else self.what.payment_hash


@dataclass(frozen=True, slots=True)
class Order:
    """A wish to pay. `purpose` names what is bought and is paid for at most once by this account."""

    account: int
    invoice: Bolt11
    fee_limit_msat: int
    purpose: str
    connection: int | None = None
    metadata: str | None = None


def hash_of(preimage: str) -> str:
    """The payment hash of a preimage, both hex."""
    return hashlib.sha256(bytes.fromhex(preimage)).hexdigest()


# --- invoices ---


def add_invoice(
    conn: sqlite3.Connection,
    invoice: Invoice,
    *,
    account: int,
    connection: int | None = None,
    hold: bool = False,
    remote: bool = False,
    description_hash: str | None = None,
    metadata: str | None = None,
) -> None:
    """Record an invoice of ours. Raises WalletRefused where its hash is taken."""
    if conn.execute("SELECT 1 FROM invoices WHERE payment_hash = ?", (invoice.payment_hash,)).fetchone():
        raise WalletRefused("OTHER", "there is an invoice with this payment hash already")
    conn.execute(
        "INSERT INTO invoices (payment_hash, bolt11, account, connection, amount_msat, state, hold, remote, preimage,"
        " description, description_hash, metadata, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?)",
        (invoice.payment_hash, invoice.bolt11, account, connection, invoice.amount_msat, int(hold), int(remote),
         invoice.preimage, invoice.description, description_hash, metadata, invoice.created_at, invoice.expires_at),
    )  # fmt: skip


def find_invoice(conn: sqlite3.Connection, payment_hash: str) -> Bill | None:
    row = conn.execute("SELECT * FROM invoices WHERE payment_hash = ?", (payment_hash,)).fetchone()
    return read_bill(row) if row is not None else None


def read_bill(row: sqlite3.Row, now: int | None = None) -> Bill:
    """With `now`, an unpaid invoice past its time reads as expired. The preimage shows only when settled."""
    state = InvoiceState(row["state"])
    if now is not None and state is InvoiceState.OPEN and row["expires_at"] <= now:
        state = InvoiceState.EXPIRED
    return Bill(
        invoice=Invoice(
            bolt11=row["bolt11"],
            payment_hash=row["payment_hash"],
            amount_msat=row["amount_msat"],
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            state=state,
            preimage=row["preimage"] if state is InvoiceState.SETTLED else None,
            settled_at=row["settled_at"],
            received_msat=row["received_msat"] or None,
            description=row["description"],
            settle_deadline=row["settle_by"],
        ),
        account=row["account"],
        connection=row["connection"],
        hold=bool(row["hold"]),
        remote=bool(row["remote"]),
        description_hash=row["description_hash"],
        metadata=row["metadata"],
        outside_msat=row["outside_msat"],
    )


def receive(
    conn: sqlite3.Connection, payment_hash: str, msat: int, preimage: str | None, now: int
) -> tuple[Report, ...]:
    """Book what the backend took in for one of our invoices, once. The caller has looked the payment up.

    Too little, or a second payment of an invoice that was settled inside the box, is credited and releases nothing.
    """
    row = conn.execute("SELECT * FROM invoices WHERE payment_hash = ?", (payment_hash,)).fetchone()
    if row is None:
        raise NotFound("this payment is for no invoice of ours")
    if row["outside_msat"] is not None:
        return ()
    release = row["state"] != "settled" and msat >= row["amount_msat"]
    conn.execute(
        "UPDATE invoices SET outside_msat = ?1, received_msat = received_msat + ?1, preimage = COALESCE(preimage, ?2),"
        " state = CASE WHEN ?3 THEN 'settled' ELSE state END, settled_at = CASE WHEN ?3 THEN ?4 ELSE settled_at END"
        " WHERE payment_hash = ?5",
        (msat, preimage, release, now, payment_hash),
    )
    world = books.account_id(conn, books.BACKEND)
    books.transfer(conn, "receive", payment_hash, now, [(world, -msat), (row["account"], msat)])
    return (told_invoice(conn, News.RECEIVED if release else News.CREDITED, payment_hash),)


def told_invoice(conn: sqlite3.Connection, news: News, payment_hash: str) -> Report:
    """What just happened to an invoice of ours."""
    bill = find_invoice(conn, payment_hash)
    assert bill is not None
    return Report(news, bill)


# --- paying ---


def begin(
    conn: sqlite3.Connection, order: Order, now: int, *, network: str, hold_seconds: int, internal_only: bool = False
) -> tuple[Payment, tuple[Report, ...]]:
    """Start a payment, or find the one that runs or ran for this invoice.

    To an invoice of this box it settles here (a hold invoice: is locked here). To another it is RESERVED, and the
    caller marks it sent before it asks the backend. Raises WalletRefused; then nothing moved.
    """
    invoice = order.invoice
    earlier = conn.execute(
        "SELECT * FROM payments WHERE payment_hash = ? AND state != 'failed'", (invoice.payment_hash,)
    ).fetchone()
    if earlier is not None:
        if earlier["account"] == order.account and earlier["bolt11"] == invoice.text:
            return read_payment(earlier), ()
        raise PaymentRefused("this invoice was paid, or is being paid, by somebody else")
    if conn.execute(
        "SELECT 1 FROM payments WHERE account = ? AND purpose = ? AND state != 'failed'",
        (order.account, order.purpose),
    ).fetchone():
        raise PaymentRefused(f"another invoice was paid, or is being paid, for {order.purpose}")
    if invoice.network != network:
        raise PaymentRefused(f"the invoice is for {invoice.network}, this wallet is on {network}")
    if invoice.amount_msat is None:
        raise PaymentRefused("the invoice names no amount")
    if now >= invoice.expires_at:
        raise PaymentRefused("the invoice has expired")
    ours = conn.execute("SELECT * FROM invoices WHERE bolt11 = ?", (invoice.text,)).fetchone()
    if ours is not None:
        return _pay_inside(conn, order, ours, now, hold_seconds)
    if internal_only:
        raise PaymentRefused("this wallet holds credits of this node: it pays only invoices that the node made itself")
    payment = _insert(conn, order, PaymentState.RESERVED, now, internal=False, fee_limit=order.fee_limit_msat)
    _reserve(conn, payment, now)
    return payment, ()


def _pay_inside(
    conn: sqlite3.Connection, order: Order, ours: sqlite3.Row, now: int, hold_seconds: int
) -> tuple[Payment, tuple[Report, ...]]:
    if ours["state"] != "open":
        raise PaymentRefused(f"the invoice is {ours['state']}")
    payment_hash, msat = ours["payment_hash"], ours["amount_msat"]
    if ours["hold"]:
        payment = _insert(conn, order, PaymentState.SENT, now, internal=True, fee_limit=0)
        _reserve(conn, payment, now)
        conn.execute(
            "UPDATE invoices SET state = 'accepted', settle_by = ? WHERE payment_hash = ?",
            (now + hold_seconds, payment_hash),
        )
        return payment, (told_invoice(conn, News.ACCEPTED, payment_hash),)
    if order.connection is not None:
        connections.spend(conn, order.connection, msat, now)
    books.transfer(conn, "pay", payment_hash, now, [(order.account, -msat), (ours["account"], msat)])
    conn.execute(
        "UPDATE invoices SET state = 'settled', settled_at = ?, received_msat = received_msat + ?"
        " WHERE payment_hash = ?",
        (now, msat, payment_hash),
    )
    payment = _insert(
        conn, order, PaymentState.SETTLED, now, internal=True, fee_limit=0, fee=0, preimage=ours["preimage"]
    )
    return payment, (told_invoice(conn, News.RECEIVED, payment_hash), Report(News.SENT, payment))


def _insert(
    conn: sqlite3.Connection,
    order: Order,
    state: PaymentState,
    now: int,
    *,
    internal: bool,
    fee_limit: int,
    fee: int | None = None,
    preimage: str | None = None,
) -> Payment:
    invoice = order.invoice
    amount = invoice.amount_msat or 0
    settled_at = now if state is PaymentState.SETTLED else None
    made = conn.execute(
        "INSERT INTO payments (payment_hash, bolt11, account, connection, purpose, internal, amount_msat,"
        " fee_limit_msat, fee_msat, state, preimage, description, metadata, created_at, expires_at, settled_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (invoice.payment_hash, invoice.text, order.account, order.connection, order.purpose, int(internal), amount,
         fee_limit, fee, state.value, preimage, invoice.description, order.metadata, now, invoice.expires_at,
         settled_at),
    )  # fmt: skip
    return Payment(
        int(made.lastrowid or 0), invoice.payment_hash, invoice.text, order.account, order.connection, order.purpose,
        internal, amount, fee_limit, fee, state, preimage, None, None, invoice.description, order.metadata, now,
        invoice.expires_at, settled_at,
    )  # fmt: skip


def _reserve(conn: sqlite3.Connection, payment: Payment, now: int) -> None:
    msat = payment.amount_msat + payment.fee_limit_msat
    if payment.connection is not None:
        connections.spend(conn, payment.connection, msat, now)
    transit = books.account_id(conn, books.TRANSIT)
    books.transfer(conn, "reserve", str(payment.id), now, [(payment.account, -msat), (transit, msat)])


def mark_sent(conn: sqlite3.Connection, payment_id: int) -> bool:
    """To be committed before the backend hears of the payment. False where it is not RESERVED any more."""
    changed = conn.execute("UPDATE payments SET state = 'sent' WHERE id = ? AND state = 'reserved'", (payment_id,))
    return changed.rowcount == 1


def mark_unknown(conn: sqlite3.Connection, payment_id: int, detail: str | None) -> None:
    conn.execute(
        "UPDATE payments SET state = 'unknown', detail = ? WHERE id = ? AND state = 'sent'", (detail, payment_id)
    )


def settle(
    conn: sqlite3.Connection, payment_id: int, preimage: str | None, fee_msat: int, now: int
) -> tuple[Report, ...]:
    """A payment through the backend arrived. Unused fee goes back; a fee above the limit is booked as a loss."""
    payment = get_payment(conn, payment_id)
    if payment.ended:
        return ()
    paid = payment.amount_msat + fee_msat
    reserved = payment.amount_msat + payment.fee_limit_msat
    over = max(paid - reserved, 0)
    transit = books.account_id(conn, books.TRANSIT)
    moves = [(transit, -reserved), (books.account_id(conn, books.BACKEND), paid)]
    if over:
        moves.append((books.account_id(conn, books.LOSS), -over))
    elif reserved > paid:
        moves.append((payment.account, reserved - paid))
    books.transfer(conn, "settle", str(payment.id), now, moves)
    if payment.connection is not None and reserved > paid:
        connections.unspend(conn, payment.connection, reserved - paid, payment.created_at)
    conn.execute(
        "UPDATE payments SET state = 'settled', preimage = ?, fee_msat = ?, settled_at = ?, code = NULL, detail = NULL"
        " WHERE id = ?",
        (preimage, fee_msat, now, payment.id),
    )
    return (Report(News.SENT, get_payment(conn, payment.id)),)


def fail(conn: sqlite3.Connection, payment_id: int, code: str, detail: str, now: int) -> tuple[Report, ...]:
    """The payment failed for certain: what was reserved goes back."""
    payment = get_payment(conn, payment_id)
    if payment.ended:
        return ()
    reserved = payment.amount_msat + payment.fee_limit_msat
    transit = books.account_id(conn, books.TRANSIT)
    books.transfer(conn, "release", str(payment.id), now, [(transit, -reserved), (payment.account, reserved)])
    if payment.connection is not None:
        connections.unspend(conn, payment.connection, reserved, payment.created_at)
    conn.execute("UPDATE payments SET state = 'failed', code = ?, detail = ? WHERE id = ?", (code, detail, payment.id))
    return (Report(News.FAILED, get_payment(conn, payment.id)),)


def get_payment(conn: sqlite3.Connection, payment_id: int) -> Payment:
    row = conn.execute("SELECT * FROM payments WHERE id = ?", (payment_id,)).fetchone()
    if row is None:
        raise NotFound("there is no such payment")
    return read_payment(row)


def find_payment(conn: sqlite3.Connection, payment_hash: str) -> Payment | None:
    """The newest payment of this hash."""
    row = conn.execute(
        "SELECT * FROM payments WHERE payment_hash = ? ORDER BY id DESC LIMIT 1", (payment_hash,)
    ).fetchone()
    return read_payment(row) if row is not None else None


def unfinished(conn: sqlite3.Connection) -> list[Payment]:
    """Payments through the backend that have not ended, oldest first."""
    rows = conn.execute(
        "SELECT * FROM payments WHERE state IN ('reserved', 'sent', 'unknown') AND NOT internal ORDER BY id"
    )
    return [read_payment(row) for row in rows]


def read_payment(row: sqlite3.Row) -> Payment:
    values = {name: row[name] for name in Payment.__slots__}
    return Payment(**(values | {"state": PaymentState(row["state"]), "internal": bool(row["internal"])}))


# --- upkeep ---


def forget_unpaid(conn: sqlite3.Connection, before: int) -> int:
    """Remove invoices that expired before this moment and never saw any money; returns how many."""
    return conn.execute(
        "DELETE FROM invoices WHERE state IN ('open', 'cancelled') AND expires_at < ? AND received_msat = 0", (before,)
    ).rowcount


def audit(conn: sqlite3.Connection) -> list[str]:
    """Every fault of the whole file, in words (see `books.audit`)."""
    return books.audit(conn) + check(conn)


def check(conn: sqlite3.Connection) -> list[str]:
    """The faults that show without reading the whole history. Empty means sound."""
    faults = books.quick_check(conn)
    transit = books.balance(conn, books.account_id(conn, books.TRANSIT))
    open_payments = conn.execute(
        "SELECT COALESCE(SUM(amount_msat + fee_limit_msat), 0) FROM payments WHERE state IN"
        " ('reserved', 'sent', 'unknown')"
    ).fetchone()[0]
    if transit != open_payments:
        faults.append(f"{transit} msat are in transit, the open payments reserve {open_payments} msat")
    return faults
