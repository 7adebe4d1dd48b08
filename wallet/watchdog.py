"""Compares the books with themselves and with the backend, and stops outgoing payments where they disagree.

A fault of the books themselves stops payments for as long as the process lives; money that the backend lacks stops them
until it is there again.
"""

import logging
import sqlite3
from collections.abc import Sequence

from nostr.clock import Clock
from nostr.database import Database
from wallet import books, ledger
from wallet.interface import Wallet, WalletError, WalletRefused

log = logging.getLogger("wallet")


class Watchdog:
    """`stopped` says in words why outgoing payments are stopped; empty while they run.

    `backed` is False for credits, which have nothing behind them to compare with.
    """

    def __init__(self, db: Database, backend: Wallet, clock: Clock, *, backed: bool, slack_msat: int) -> None:
        self.stopped = ""
        self._db, self._backend, self._clock = db, backend, clock
        self._backed, self._slack_msat = backed, slack_msat
        self._damaged = False

    async def audit(self) -> list[str]:
        """The whole history, which takes a while: once at the start."""
        faults = await self._db.write(ledger.audit)
        return self._damage(faults)

    async def check(self) -> list[str]:
        """A quick look. Faults, in words, stop outgoing payments."""
        if faults := await self._db.write(ledger.check):
            return self._damage(faults)
        if self._backed:
            try:
                faults = self._missing(await self._backend.balance(), await self._db.write(_owed))
            except (WalletError, OSError, TimeoutError) as error:
                log.warning("cannot read the backend's balance: %s", error)
                return []
        if faults:
            self._stop(faults)
        elif self.stopped and not self._damaged:
            log.warning("the backend covers the books again: outgoing payments resume")
            self.stopped = ""
        return faults

    async def adopt(self, purpose: str) -> int:
        """Book to the owner what the backend holds beyond the books, or (negative) what it lacks; returns the msat.

        For money that the operator moved with the backend's own tools. `purpose` is used once. Raises WalletError.
        """
        if not self._backed:
            raise WalletRefused("RESTRICTED", "credits have no backend to compare with")
        held, now = await self._backend.balance(), self._clock()

        def work(conn: sqlite3.Connection) -> int:
            surplus = held - _owed(conn)
            world, owner = books.account_id(conn, books.BACKEND), books.account_id(conn, "owner")
            if surplus:
                books.transfer(conn, "adopt", purpose, now, [(world, -surplus), (owner, surplus)])
            return surplus

        moved = await self._db.write(work)
        await self.check()
        return moved

    def _damage(self, faults: list[str]) -> list[str]:
        if faults:
            self._damaged = True
            self._stop(faults)
        return faults

    def _missing(self, held: int, owed: int) -> list[str]:
        missing = owed - held - self._slack_msat
        return [f"the backend holds {held} msat, the accounts own {owed} msat"] if missing > 0 else []

    def _stop(self, faults: Sequence[str]) -> None:
        self.stopped = "; ".join(faults)
        log.critical("outgoing payments are stopped: %s", self.stopped)


def _owed(conn: sqlite3.Connection) -> int:
    """What the backend must hold: all accounts, less what is on its way out through it."""
    owned = conn.execute("SELECT COALESCE(SUM(balance), 0) FROM accounts WHERE NOT world").fetchone()[0]
    leaving = conn.execute(
        "SELECT COALESCE(SUM(amount_msat + fee_limit_msat), 0) FROM payments"
        " WHERE state IN ('reserved', 'sent', 'unknown') AND NOT internal"
    ).fetchone()[0]
    return int(owned - leaving)
