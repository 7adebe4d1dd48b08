"""Hold invoices in the books: money that is locked first, then taken with the preimage or given back.

Inside the box the payer's money waits in transit, as a payment that is SENT. What the backend holds for us is not in
the books at all until it is taken.

Functions take the writing connection of the ledger's file and belong inside `Database.write`, as those of `ledger`.
"""

import sqlite3

from wallet import books, ledger
from wallet.interface import WalletRefused
from wallet.ledger import News, Payment, Report


def accept_outside(conn: sqlite3.Connection, payment_hash: str, settle_by: int) -> tuple[Report, ...]:
    """The backend holds the money of a hold invoice until `settle_by`; it is not ours yet.

    Told again, the deadline only moves closer: blocks may come quicker than expected.
    """
    row, locked_inside = _held(conn, payment_hash)
    if locked_inside is not None or row["state"] not in ("open", "accepted"):
        return ()
    conn.execute(
        "UPDATE invoices SET state = 'accepted', settle_by = MIN(COALESCE(settle_by, ?1), ?1) WHERE payment_hash = ?2",
        (settle_by, payment_hash),
    )
    return (ledger.told_invoice(conn, News.ACCEPTED, payment_hash),) if row["state"] == "open" else ()


def settle(conn: sqlite3.Connection, payment_hash: str, preimage: str, now: int) -> tuple[Report, ...]:
    """Take the locked money of a payment inside the box. Raises WalletRefused where nothing is locked."""
    row, payment = _held(conn, payment_hash)
    if row["state"] == "settled":
        return ()
    if payment is None:
        raise WalletRefused("OTHER", f"nothing is locked for this invoice: it is {row['state']}")
    transit = books.account_id(conn, books.TRANSIT)
    msat = payment.amount_msat
    books.transfer(conn, "settle", str(payment.id), now, [(transit, -msat), (row["account"], msat)])
    conn.execute(
        "UPDATE invoices SET state = 'settled', preimage = ?, settled_at = ?, received_msat = received_msat + ?"
        " WHERE payment_hash = ?",
        (preimage, now, msat, payment_hash),
    )
    conn.execute(
        "UPDATE payments SET state = 'settled', preimage = ?, fee_msat = 0, settled_at = ? WHERE id = ?",
        (preimage, now, payment.id),
    )
    return (
        ledger.told_invoice(conn, News.RECEIVED, payment_hash),
        Report(News.SENT, ledger.get_payment(conn, payment.id)),
    )


def cancel(conn: sqlite3.Connection, payment_hash: str, now: int) -> tuple[Report, ...]:
    """Give the locked money back, and take no other. Raises WalletRefused for a settled invoice."""
    row, payment = _held(conn, payment_hash)
    if row["state"] == "settled":
        raise WalletRefused("OTHER", "the invoice is settled")
    if row["state"] == "cancelled":
        return ()
    conn.execute("UPDATE invoices SET state = 'cancelled' WHERE payment_hash = ?", (payment_hash,))
    reports: tuple[Report, ...] = (ledger.told_invoice(conn, News.CANCELLED, payment_hash),)
    if payment is not None:
        reports += ledger.fail(conn, payment.id, "PAYMENT_FAILED", "the payee cancelled the invoice", now)
    return reports


def lost(conn: sqlite3.Connection, payment_hash: str, now: int) -> tuple[Report, ...]:
    """The backend gave an accepted payment back by itself. Money locked inside the box is not touched."""
    row, locked = _held(conn, payment_hash)
    if row["state"] != "accepted" or locked is not None:
        return ()
    return cancel(conn, payment_hash, now)


def outside(conn: sqlite3.Connection, now: int) -> list[str]:
    """Hashes of hold invoices at the backend that may be accepted, settled or given back behind our back."""
    rows = conn.execute(
        "SELECT payment_hash FROM invoices WHERE remote AND hold AND state IN ('open', 'accepted') AND expires_at > ?",
        (now - 86400,),
    )
    return [row[0] for row in rows]


def overdue(conn: sqlite3.Connection, now: int) -> list[str]:
    """Hashes of hold invoices whose money is locked past its time."""
    rows = conn.execute("SELECT payment_hash FROM invoices WHERE state = 'accepted' AND settle_by <= ?", (now,))
    return [row[0] for row in rows]


def _held(conn: sqlite3.Connection, payment_hash: str) -> tuple[sqlite3.Row, Payment | None]:
    row = conn.execute("SELECT * FROM invoices WHERE payment_hash = ? AND hold", (payment_hash,)).fetchone()
    if row is None:
        raise ledger.NotFound("there is no hold invoice with this payment hash")
    locked = conn.execute(
        "SELECT * FROM payments WHERE payment_hash = ? AND internal AND state = 'sent'", (payment_hash,)
    ).fetchone()
    return row, ledger.read_payment(locked) if locked is not None else None
