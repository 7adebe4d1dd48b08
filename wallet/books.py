"""Double entry: accounts, transfers, postings. Nothing here knows of Lightning.

Every transfer is a set of postings that sums to zero, written once and never changed (triggers of the file forbid it).
An account's balance is what the box owes its holder, in msat, and never goes below zero. Three accounts stand for the
world outside and hold the other side, so they run negative: `backend` (what the Lightning wallet holds for us),
`issuance` (credits given out in ledger mode) and `loss` (fees beyond their limit, write-offs).

A transfer has a kind and a reference, and the pair is unique: what was booked once can't be booked twice.
The functions take the writing connection of the file and belong inside `Database.write`.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from wallet.interface import WalletRefused

SCHEMA = """
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    world INTEGER NOT NULL DEFAULT 0,
    balance INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    CHECK (world OR balance >= 0)
) STRICT;
CREATE TABLE transfers (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    ref TEXT NOT NULL,
    UNIQUE (ref, kind)
) STRICT;
CREATE TABLE postings (
    transfer INTEGER NOT NULL REFERENCES transfers (id),
    account INTEGER NOT NULL REFERENCES accounts (id),
    msat INTEGER NOT NULL
) STRICT;
CREATE INDEX postings_by_transfer ON postings (transfer);
CREATE TRIGGER transfers_stay BEFORE UPDATE ON transfers BEGIN SELECT RAISE(ABORT, 'a transfer is never changed'); END;
CREATE TRIGGER transfers_keep BEFORE DELETE ON transfers BEGIN SELECT RAISE(ABORT, 'a transfer is never deleted'); END;
CREATE TRIGGER postings_stay BEFORE UPDATE ON postings BEGIN SELECT RAISE(ABORT, 'a posting is never changed'); END;
CREATE TRIGGER postings_keep BEFORE DELETE ON postings BEGIN SELECT RAISE(ABORT, 'a posting is never deleted'); END;
"""

BACKEND, ISSUANCE, LOSS = "backend", "issuance", "loss"
WORLD = (BACKEND, ISSUANCE, LOSS)
TRANSIT = "transit"  # reserved for payments on their way and for held invoices
# Accounts that every node has: the owner's, Timmy's margin, refunds that wait, money of unclear origin.
HOUSE = ("owner", "margin", "refunds", "suspense", TRANSIT)


class InsufficientBalance(WalletRefused):
    """The account holds less than the transfer takes."""

    def __init__(self, message: str) -> None:
        super().__init__("INSUFFICIENT_BALANCE", message)


@dataclass(frozen=True, slots=True)
class Account:
    """`balance` in msat."""

    id: int
    name: str
    world: bool
    balance: int


def open_account(conn: sqlite3.Connection, name: str, now: int) -> int:
    """The id of the account of this name, made if it is new."""
    row = conn.execute("SELECT id FROM accounts WHERE name = ?", (name,)).fetchone()
    if row is not None:
        return int(row[0])
    made = conn.execute(
        "INSERT INTO accounts (name, world, created_at) VALUES (?, ?, ?)", (name, int(name in WORLD), now)
    )
    return int(made.lastrowid or 0)


def open_house(conn: sqlite3.Connection, now: int) -> None:
    """Make the accounts that every node has."""
    for name in (*WORLD, *HOUSE):
        open_account(conn, name, now)


def account_id(conn: sqlite3.Connection, name: str) -> int:
    """Raises WalletRefused where there is no such account."""
    row = conn.execute("SELECT id FROM accounts WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise WalletRefused("OTHER", f"there is no account {name!r}")
    return int(row[0])


def accounts(conn: sqlite3.Connection) -> list[Account]:
    rows = conn.execute("SELECT id, name, world, balance FROM accounts ORDER BY world, name")
    return [Account(row["id"], row["name"], bool(row["world"]), row["balance"]) for row in rows]


def balance(conn: sqlite3.Connection, account: int) -> int:
    return int(conn.execute("SELECT balance FROM accounts WHERE id = ?", (account,)).fetchone()[0])


def transfer(conn: sqlite3.Connection, kind: str, ref: str, now: int, moves: Iterable[tuple[int, int]]) -> None:
    """Book `moves` (account, msat) as one transfer. Raises InsufficientBalance; a second (kind, ref) is an
    sqlite3.IntegrityError, since only a mistake of this program leads there.
    """
    moves = list(moves)
    if sum(msat for _, msat in moves):
        raise AssertionError(f"transfer {kind} {ref} does not sum to zero")
    made = conn.execute("INSERT INTO transfers (at, kind, ref) VALUES (?, ?, ?)", (now, kind, ref)).lastrowid
    for account, msat in moves:
        conn.execute("INSERT INTO postings (transfer, account, msat) VALUES (?, ?, ?)", (made, account, msat))
        moved = conn.execute(
            "UPDATE accounts SET balance = balance + ?1 WHERE id = ?2 AND (?1 > 0 OR world OR balance + ?1 >= 0)",
            (msat, account),
        )
        if moved.rowcount != 1:
            raise InsufficientBalance(f"the account holds {balance(conn, account)} msat, {-msat} msat are needed")


def quick_check(conn: sqlite3.Connection) -> list[str]:
    """Faults that one look at the accounts shows, in words. Empty means sound."""
    faults = []
    total = conn.execute("SELECT SUM(balance) FROM accounts").fetchone()[0] or 0
    if total:
        faults.append(f"the balances of all accounts sum to {total} msat, not to zero")
    for row in conn.execute("SELECT name, balance FROM accounts WHERE NOT world AND balance < 0"):
        faults.append(f"the account {row['name']} is at {row['balance']} msat")
    return faults


def audit(conn: sqlite3.Connection) -> list[str]:
    """Every fault of the books, in words: each transfer sums to zero, each balance is the sum of its postings."""
    faults = quick_check(conn)
    for row in conn.execute("SELECT transfer, SUM(msat) AS rest FROM postings GROUP BY transfer HAVING rest != 0"):
        faults.append(f"transfer {row['transfer']} is off by {row['rest']} msat")
    for row in conn.execute(
        "SELECT name, balance, COALESCE(booked, 0) AS booked FROM accounts"
        " LEFT JOIN (SELECT account, SUM(msat) AS booked FROM postings GROUP BY account) ON account = accounts.id"
    ):
        if row["balance"] != row["booked"]:
            faults.append(f"the account {row['name']} shows {row['balance']} msat, its postings {row['booked']} msat")
    return faults
