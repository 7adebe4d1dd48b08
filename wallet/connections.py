"""Who may use the wallet, for what and how much: connections, scopes, budgets, and the requests they sent.

A connection is one NIP-47 pairing. It has a service key of its own, acts for one account, and may do what its scopes
say until its budget is spent. The secret of the client is not kept. Requests are kept with their answers, so that a
replayed one gets the same answer and moves no money, also after a restart.

Functions take the writing connection of the ledger's file and belong inside `Database.write`.
"""

import calendar
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from wallet.interface import WalletRefused

SCHEMA = """
CREATE TABLE connections (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    account INTEGER NOT NULL REFERENCES accounts (id),
    service_secret TEXT NOT NULL,
    service_pubkey TEXT NOT NULL UNIQUE,
    client_pubkey TEXT NOT NULL,
    scopes TEXT NOT NULL,
    nip04 INTEGER NOT NULL,
    budget_msat INTEGER,
    renewal TEXT NOT NULL,
    period_start INTEGER NOT NULL DEFAULT 0,
    spent_msat INTEGER NOT NULL DEFAULT 0 CHECK (spent_msat >= 0),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE UNIQUE INDEX connections_by_name ON connections (name) WHERE revoked_at IS NULL;
CREATE TABLE requests (
    event_id TEXT PRIMARY KEY,
    connection INTEGER NOT NULL REFERENCES connections (id),
    received_at INTEGER NOT NULL,
    method TEXT NOT NULL,
    scheme TEXT NOT NULL,
    waits_for TEXT,
    answer TEXT,
    delivered INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX requests_waiting ON requests (waits_for) WHERE answer IS NULL;
CREATE INDEX requests_undelivered ON requests (received_at) WHERE NOT delivered;
"""


class Scope(StrEnum):
    """What a connection may do."""

    PAY = "pay"
    RECEIVE = "receive"
    READ = "read"
    HOLD = "hold"
    NOTIFY = "notify"
    ADMIN = "admin"
    ADDRESS = "address"  # invoices for any account of the box


class Renewal(StrEnum):
    """When a budget starts anew, in UTC."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    NEVER = "never"


class QuotaExceeded(WalletRefused):
    """The budget of the connection does not allow it."""

    def __init__(self, message: str) -> None:
        super().__init__("QUOTA_EXCEEDED", message)


@dataclass(frozen=True, slots=True)
class Connection:
    """`budget_msat` None means no limit. `service_secret` stays out of every repr."""

    id: int
    name: str
    account: int
    account_name: str
    service_pubkey: str
    client_pubkey: str
    scopes: frozenset[Scope]
    nip04: bool
    budget_msat: int | None
    renewal: Renewal
    period_start: int
    spent_msat: int
    created_at: int
    revoked_at: int | None

    def may(self, scope: Scope) -> bool:
        return self.revoked_at is None and scope in self.scopes


SELECT = (
    "SELECT connections.*, accounts.name AS account_name FROM connections"
    " JOIN accounts ON accounts.id = connections.account"
)


def add(
    conn: sqlite3.Connection,
    *,
    name: str,
    account: int,
    service_secret: str,
    service_pubkey: str,
    client_pubkey: str,
    scopes: frozenset[Scope],
    now: int,
    budget_msat: int | None = None,
    renewal: Renewal = Renewal.NEVER,
    nip04: bool = True,
) -> int:
    """Raises WalletRefused where a connection of this name is in use."""
    if by_name(conn, name) is not None:
        raise WalletRefused("OTHER", f"there is a connection named {name!r} already: revoke it first")
    made = conn.execute(
        "INSERT INTO connections (name, account, service_secret, service_pubkey, client_pubkey, scopes, nip04,"
        " budget_msat, renewal, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (name, account, service_secret, service_pubkey, client_pubkey, " ".join(sorted(scopes)), int(nip04),
         budget_msat, renewal, now),
    )  # fmt: skip
    return int(made.lastrowid or 0)


def by_name(conn: sqlite3.Connection, name: str) -> Connection | None:
    row = conn.execute(f"{SELECT} WHERE connections.name = ? AND revoked_at IS NULL", (name,)).fetchone()
    return read(row) if row is not None else None


def every(conn: sqlite3.Connection) -> list[tuple[Connection, str]]:
    """All connections, revoked ones included, each with its service secret."""
    return [(read(row), row["service_secret"]) for row in conn.execute(f"{SELECT} ORDER BY connections.id")]


def get(conn: sqlite3.Connection, identity: int) -> Connection:
    return read(conn.execute(f"{SELECT} WHERE connections.id = ?", (identity,)).fetchone())


def read(row: sqlite3.Row) -> Connection:
    return Connection(
        id=row["id"],
        name=row["name"],
        account=row["account"],
        account_name=row["account_name"],
        service_pubkey=row["service_pubkey"],
        client_pubkey=row["client_pubkey"],
        scopes=frozenset(Scope(word) for word in row["scopes"].split()),
        nip04=bool(row["nip04"]),
        budget_msat=row["budget_msat"],
        renewal=Renewal(row["renewal"]),
        period_start=row["period_start"],
        spent_msat=row["spent_msat"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )


def revoke(conn: sqlite3.Connection, name: str, now: int) -> Connection:
    """Its requests get UNAUTHORIZED from now on. Raises WalletRefused where no connection has this name."""
    found = by_name(conn, name)
    if found is None:
        raise WalletRefused("NOT_FOUND", f"there is no connection named {name!r}")
    conn.execute("UPDATE connections SET revoked_at = ? WHERE id = ?", (now, found.id))
    return get(conn, found.id)


# --- budgets ---


def period_start(renewal: Renewal, now: int) -> int:
    """The first second of the budget period that holds `now`. Weeks start on Monday."""
    if renewal is Renewal.NEVER:
        return 0
    if renewal is Renewal.DAILY:
        return now - now % 86400
    if renewal is Renewal.WEEKLY:
        return now - (now - 4 * 86400) % (7 * 86400)  # 1970-01-05 was a Monday
    date = time.gmtime(now)
    month = date.tm_mon if renewal is Renewal.MONTHLY else 1
    return calendar.timegm((date.tm_year, month, 1, 0, 0, 0))


def period_end(renewal: Renewal, now: int) -> int | None:
    """When the next period starts; None for a budget that never renews."""
    if renewal is Renewal.NEVER:
        return None
    start = period_start(renewal, now)
    longest = {Renewal.DAILY: 1, Renewal.WEEKLY: 7, Renewal.MONTHLY: 31, Renewal.YEARLY: 366}[renewal]
    return period_start(renewal, start + longest * 86400)


def spend(conn: sqlite3.Connection, identity: int, msat: int, now: int) -> None:
    """Take `msat` out of the budget. Raises QuotaExceeded, and WalletRefused for a revoked connection."""
    row = conn.execute(
        "SELECT budget_msat, renewal, period_start, spent_msat, revoked_at FROM connections WHERE id = ?", (identity,)
    ).fetchone()
    if row["revoked_at"] is not None:
        raise WalletRefused("UNAUTHORIZED", "this connection was revoked")
    start = period_start(Renewal(row["renewal"]), now)
    # A clock that goes back does not open an older period again.
    spent = 0 if start > row["period_start"] else row["spent_msat"]
    if row["budget_msat"] is not None and spent + msat > row["budget_msat"]:
        left = max(row["budget_msat"] - spent, 0)
        raise QuotaExceeded(f"{left} msat of the budget are left, {msat} msat are needed")
    conn.execute(
        "UPDATE connections SET spent_msat = ?, period_start = ? WHERE id = ?",
        (spent + msat, max(start, row["period_start"]), identity),
    )


def unspend(conn: sqlite3.Connection, identity: int, msat: int, spent_at: int) -> None:
    """Give back what a payment begun at `spent_at` did not use, if its period still runs."""
    row = conn.execute("SELECT renewal, period_start FROM connections WHERE id = ?", (identity,)).fetchone()
    if period_start(Renewal(row["renewal"]), spent_at) >= row["period_start"]:
        conn.execute("UPDATE connections SET spent_msat = MAX(spent_msat - ?, 0) WHERE id = ?", (msat, identity))


def budget(found: Connection, now: int) -> tuple[int | None, int, Renewal, int | None]:
    """(limit, spent in this period, renewal, when it renews)."""
    fresh = period_start(found.renewal, now) > found.period_start
    return found.budget_msat, 0 if fresh else found.spent_msat, found.renewal, period_end(found.renewal, now)


# --- requests ---


@dataclass(frozen=True, slots=True)
class Request:
    """One NIP-47 request that may change something. `answer` is the plain JSON of its response, None while it waits."""

    event_id: str
    connection: int
    method: str
    scheme: str
    received_at: int
    answer: str | None


class Replayed(Exception):
    """This request was seen before; nothing was done again."""

    def __init__(self, request: Request) -> None:
        super().__init__(request.event_id)
        self.request = request


def claim(conn: sqlite3.Connection, event_id: str, connection: int, method: str, scheme: str, now: int) -> None:
    """Record a request, once. Raises Replayed with what was recorded before."""
    row = conn.execute("SELECT * FROM requests WHERE event_id = ?", (event_id,)).fetchone()
    if row is not None:
        raise Replayed(_request(row))
    conn.execute(
        "INSERT INTO requests (event_id, connection, received_at, method, scheme) VALUES (?, ?, ?, ?, ?)",
        (event_id, connection, now, method, scheme),
    )


def answer(conn: sqlite3.Connection, event_id: str, text: str) -> None:
    conn.execute("UPDATE requests SET answer = ? WHERE event_id = ? AND answer IS NULL", (text, event_id))


def wait_for(conn: sqlite3.Connection, event_id: str, payment_hash: str) -> None:
    """The request is answered when this payment ends."""
    conn.execute("UPDATE requests SET waits_for = ? WHERE event_id = ?", (payment_hash, event_id))


def answer_waiting(conn: sqlite3.Connection, payment_hash: str, text: str) -> None:
    conn.execute("UPDATE requests SET answer = ? WHERE waits_for = ? AND answer IS NULL", (text, payment_hash))


def delivered(conn: sqlite3.Connection, event_ids: Iterable[str]) -> None:
    conn.executemany("UPDATE requests SET delivered = 1 WHERE event_id = ?", [(event_id,) for event_id in event_ids])


def undelivered(conn: sqlite3.Connection, since: int) -> list[Request]:
    """Answers that no relay has confirmed, oldest first."""
    rows = conn.execute(
        "SELECT * FROM requests WHERE NOT delivered AND answer IS NOT NULL AND received_at >= ? ORDER BY received_at",
        (since,),
    )
    return [_request(row) for row in rows]


def forget(conn: sqlite3.Connection, before: int) -> int:
    """Remove answered requests older than `before`; returns how many. `before` must lie behind every request that the
    service would still accept, or a replay would look new.
    """
    return conn.execute("DELETE FROM requests WHERE received_at < ? AND answer IS NOT NULL", (before,)).rowcount


def _request(row: sqlite3.Row) -> Request:
    return Request(row["event_id"], row["connection"], row["method"], row["scheme"], row["received_at"], row["answer"])
