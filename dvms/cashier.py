"""Bills and refunds: the only part of a worker that speaks to its wallet.

The wallet's word decides. A notice that something was paid is a hint; the invoice is looked up before a job moves.

A refund is credit of the customer from the moment the job fails, so no crash can lose it. Paying it out goes
`due -> sending -> paid`: the invoice is on disk, and the credit booked out, before the wallet is asked to pay, and a
payment of unknown outcome is looked up until it is known, never replaced by a second one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from dvms.jobs import Booking, NoCredit, Sale, book
from market.job import JobRequest
from market.tags import parse_bolt11
from nostr.clock import Clock
from nostr.database import Database
from nostr.event import Event
from wallet import bolt11
from wallet.door import Door
from wallet.interface import (
    Invoice,
    InvoiceState,
    NotSupported,
    Outcome,
    PayResult,
    Wallet,
    WalletError,
    WalletRefused,
)

log = logging.getLogger("dvms.cashier")

POLL_SECONDS: Final = 10
POLL_BUSY_SECONDS: Final = 3  # while a bill waits
LISTEN_AGAIN: Final = (1, 5, 15)
RETRIES: Final = (5, 15, 60, 300, 900, 3600)
LEAST_FEE_MSAT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Bill:
    """An invoice for one job. `preimage` is there for a locked payment (hold invoice): settling takes it."""

    bolt11: str
    payment_hash: str
    amount_msat: int
    expires_at: int
    preimage: str | None = None


REFUNDS: Final = """
CREATE TABLE refunds (
  job TEXT PRIMARY KEY, customer TEXT NOT NULL, msat INTEGER NOT NULL, state TEXT NOT NULL, bolt11 TEXT,
  payment_hash TEXT UNIQUE, target TEXT, attempts INTEGER NOT NULL DEFAULT 0, due_at INTEGER, detail TEXT
) STRICT;
CREATE INDEX refunds_due ON refunds (due_at) WHERE due_at IS NOT NULL;
"""

Resolve = Callable[[str, str | None, int], Awaitable[str | None]]
"""(customer, lightning address or LNURL if they gave one, msat) to an invoice; None where none can be had."""


class Cashier:
    """One worker's dealings with its wallet. `on_paid(payment_hash, invoice)` is called when an invoice changed."""

    def __init__(
        self,
        door: Door,
        db: Database,
        clock: Clock,
        *,
        on_paid: Callable[[Invoice], Awaitable[None]],
        unpaid: Callable[[], Awaitable[list[str]]],
        resolve: Resolve,
    ) -> None:
        self._door, self._db, self._clock = door, db, clock
        self._on_paid, self._unpaid, self._resolve = on_paid, unpaid, resolve
        self._wake_refunds = asyncio.Event()
        self._may_hold = True

    @property
    def exists(self) -> bool:
        """False for a worker without a wallet, which takes no money."""
        return self._door.exists

    async def run(self) -> None:
        """Watch for payments and pay refunds until cancelled. Without a wallet there is nothing to watch."""
        if not self._door.exists:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._poll())
            group.create_task(self._pay_back())

    async def make_bill(self, sale: Sale, amount_msat: int, description: str, expiry: int, *, hold: bool) -> Bill:
        """A fresh invoice. Raises WalletError."""
        wallet = await self._door()
        if hold and wallet.caps.hold and self._may_hold:
            preimage = secrets.token_hex(32)
            digest = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
            try:
                invoice = await wallet.make_hold_invoice(amount_msat, digest, description=description, expiry=expiry)
            except (NotSupported, WalletRefused) as error:
                if error.code not in ("RESTRICTED", "NOT_IMPLEMENTED"):
                    raise
                log.info("this wallet connection may not lock payments (%s): they are taken at once", error)
                self._may_hold = False
            else:
                return Bill(invoice.bolt11, invoice.payment_hash, amount_msat, invoice.expires_at, preimage)
        invoice = await wallet.make_invoice(amount_msat, description=description, expiry=expiry)
        return Bill(invoice.bolt11, invoice.payment_hash, amount_msat, invoice.expires_at)

    async def look_up(self, payment_hash: str) -> Invoice | None:
        """What the wallet says about an invoice of ours. Raises WalletError."""
        return await (await self._door()).lookup_invoice(payment_hash)

    async def zap(self, receipt: Event, *, receiver: str, event_id: str) -> tuple[str, int]:
        """(payment hash, msat) of a zap of this event that our wallet was paid for. Raises WalletError for all else."""
        from wallet import zaps  # brings the whole wallet service along: most workers are never zapped

        try:
            zap = await zaps.payment(receipt, await self._door(), receiver=receiver, event_id=event_id, least_msat=1)
        except zaps.ZapRefused as error:
            raise WalletError(str(error)) from None
        return zap.payment_hash, zap.amount_msat

    async def take(self, sale: Sale) -> bool:
        """Take a locked payment. True once it is ours, False where it is gone for good; WalletError where unsure."""
        wallet = await self._door()
        assert sale.preimage is not None and sale.payment_hash is not None
        try:
            await wallet.settle_hold_invoice(sale.preimage)
        except WalletError:
            invoice = await wallet.lookup_invoice(sale.payment_hash)
            if invoice is None or invoice.state is InvoiceState.ACCEPTED:
                raise
            return invoice.state is InvoiceState.SETTLED
        return True

    async def release(self, payment_hash: str) -> bool:
        """Give a locked payment back. True once it is certain; False where it was taken already. Raises WalletError."""
        wallet = await self._door()
        try:
            await wallet.cancel_hold_invoice(payment_hash)
        except WalletError:
            invoice = await wallet.lookup_invoice(payment_hash)
            if invoice is None or invoice.state in (InvoiceState.ACCEPTED, InvoiceState.OPEN):
                raise
            return invoice.state is not InvoiceState.SETTLED
        return True

    # Payments coming in.

    async def _listen(self) -> None:
        """Hints from the wallet as they come; each is looked up, those that wait together."""
        attempt = 0
        while True:
            try:
                wallet = await self._door()
                hints: asyncio.Queue[str] = asyncio.Queue()
                feeder = asyncio.create_task(_feed(wallet, hints))
                try:
                    await self._follow(wallet, hints, feeder)
                finally:
                    feeder.cancel()
                attempt = 0
            except WalletError as error:
                log.info("wallet is away: %s", error)
            await asyncio.sleep(LISTEN_AGAIN[min(attempt, len(LISTEN_AGAIN) - 1)])
            attempt += 1

    async def _follow(self, wallet: Wallet, hints: asyncio.Queue[str], feeder: asyncio.Task[None]) -> None:
        while not feeder.done():
            getter = asyncio.ensure_future(hints.get())
            await asyncio.wait({getter, feeder}, return_when=asyncio.FIRST_COMPLETED)
            if not getter.done():
                getter.cancel()
                break
            batch = {getter.result()}
            while not hints.empty():
                batch.add(hints.get_nowait())
            await asyncio.gather(*(self._ask(wallet, payment_hash) for payment_hash in batch))
        if not feeder.cancelled() and (error := feeder.exception()):
            raise error

    async def _ask(self, wallet: Wallet, payment_hash: str) -> None:
        invoice = await wallet.lookup_invoice(payment_hash)
        if invoice is not None and invoice.state is not InvoiceState.OPEN:
            await self._on_paid(invoice)

    async def _poll(self) -> None:
        """Hints may be lost while we or the wallet are away: ask for some of the open bills now and then."""
        while True:
            bills = await self._unpaid()
            try:
                if bills:
                    wallet = await self._door()
                    await asyncio.gather(*(self._ask(wallet, one) for one in bills))
            except WalletError as error:
                log.debug("wallet is away: %s", error)
            await asyncio.sleep(POLL_BUSY_SECONDS if bills else POLL_SECONDS)

    # Money going back.

    @staticmethod
    def owe(conn: sqlite3.Connection, sale: Sale, msat: int, target: str | None, now: int) -> None:
        """Book a refund, inside the transaction that fails the job: credit first, a pay-out to follow."""
        conn.execute(
            "INSERT OR IGNORE INTO refunds (job, customer, msat, state, target, due_at) VALUES (?, ?, ?, 'due', ?, ?)",
            (sale.id, sale.customer, msat, target, now),
        )
        book(conn, sale.id, sale.customer, Booking("refund", msat), now)

    def wake(self) -> None:
        self._wake_refunds.set()

    async def offer_invoice(self, job: str, customer: str, invoice: str) -> bool:
        """An invoice a customer sent for the refund of a job: paid if the amount is exactly what is owed."""

        def work(conn: sqlite3.Connection) -> bool:
            sql = "UPDATE refunds SET target = ?, due_at = 0 WHERE job = ? AND customer = ? AND state = 'due'"
            return conn.execute(sql, (invoice, job, customer)).rowcount == 1

        taken = await self._db.write(work)
        self.wake()
        return taken

    async def refunds(self) -> list[dict[str, Any]]:
        """Every refund, newest first: for the command line."""
        rows = await self._db.fetch(
            "SELECT job, customer, msat, state, attempts, detail FROM refunds ORDER BY rowid DESC"
        )
        return [dict(row) for row in rows]

    async def _pay_back(self) -> None:
        while True:
            self._wake_refunds.clear()
            rows = await self._db.fetch(
                "SELECT * FROM refunds WHERE due_at <= ? AND state IN ('due', 'sending') ORDER BY due_at LIMIT 20",
                (self._clock(),),
            )
            for row in rows:
                try:
                    await self._refund(row)
                except WalletError as error:
                    await self._later(row, f"wallet: {error}")
            try:
                async with asyncio.timeout(5):
                    await self._wake_refunds.wait()
            except TimeoutError:
                continue

    async def _refund(self, row: sqlite3.Row) -> None:
        """One step of one refund. What is `sending` is only ever looked up or sent again, the same invoice."""
        wallet = await self._door()
        if row["state"] == "sending":
            result = await wallet.lookup_payment(row["payment_hash"])
            if result.outcome is Outcome.UNKNOWN:
                result = await wallet.pay_invoice(
                    row["bolt11"], max_fee_msat=refund_fee(row["msat"]), purpose=f"refund:{row['job']}"
                )
            await self._settle_refund(row, result)
            return
        invoice = await self._target_invoice(row, wallet.caps.network)
        if invoice is None:
            await self._later(row, "no way to pay back is known: the amount stays as credit")
            return
        payment_hash = bolt11.decode(invoice).payment_hash
        try:
            await self._db.write(lambda conn: _start_sending(conn, row, invoice, payment_hash, self._clock()))
        except NoCredit:
            await self._end(row, "spent", "the credit was used for another job")
            return
        except _InvoiceUsed:
            await self._later(row, "its invoice was used for another refund: a new one is needed")
            return
        fee = refund_fee(row["msat"])
        result = await wallet.pay_invoice(invoice, max_fee_msat=fee, purpose=f"refund:{row['job']}")
        await self._settle_refund({**dict(row), "attempts": row["attempts"] + 1}, result)

    async def _target_invoice(self, row: sqlite3.Row, network: str) -> str | None:
        """An invoice over exactly what is owed, of the right network and not about to expire; None if there is none."""
        for invoice in (row["target"], None):
            if invoice is None or not _looks_like_invoice(invoice):
                invoice = await self._resolve(row["customer"], row["target"], row["msat"])
            try:
                read = bolt11.decode(invoice) if invoice else None
            except bolt11.InvalidInvoice:
                continue
            if read is None or read.amount_msat != row["msat"] or read.network != network:
                continue
            if read.expires_at > self._clock() + 5:
                return read.text
        return None

    async def _settle_refund(self, row: Any, result: PayResult) -> None:
        if result.outcome is Outcome.SETTLED:
            log.info("job %s paid back %d msat", row["job"][:8], row["msat"])
            await self._end(row, "paid", None)
        elif result.outcome is Outcome.FAILED:
            await self._db.write(lambda conn: _give_credit_back(conn, row, result.detail, self._clock()))
        else:
            await self._later(row, "the wallet has not said yet what became of the payment")

    async def _end(self, row: Any, state: str, detail: str | None) -> None:
        sql = "UPDATE refunds SET state = ?, detail = ?, due_at = NULL WHERE job = ?"
        await self._db.write(lambda conn: conn.execute(sql, (state, detail, row["job"])) and None)

    async def _later(self, row: Any, detail: str) -> None:
        due = self._clock() + RETRIES[min(row["attempts"], len(RETRIES) - 1)]
        sql = "UPDATE refunds SET attempts = attempts + 1, detail = ?, due_at = ? WHERE job = ?"
        await self._db.write(lambda conn: conn.execute(sql, (detail, due, row["job"])) and None)


def refund_target(request: JobRequest) -> str | None:
    """Where the customer wants a refund: a `refund` parameter with a lightning address, an LNURL or an invoice."""
    return request.param("refund") or request.event.first("refund")


def refund_fee(msat: int) -> int:
    """Most that may go for routing a refund. Small, since a customer can make us refund, and route it over himself."""
    return max(LEAST_FEE_MSAT, msat // 100)


class _InvoiceUsed(Exception):
    """Another refund has this invoice: paid once, it would count for both."""


def _start_sending(conn: sqlite3.Connection, row: Any, invoice: str, payment_hash: str, now: int) -> None:
    """Book the credit out and put the invoice down, before any wallet hears of it.

    Raises NoCredit if it was spent, _InvoiceUsed for an invoice that another refund has.
    """
    if conn.execute("SELECT 1 FROM refunds WHERE payment_hash = ? AND job <> ?", (payment_hash, row["job"])).fetchone():
        raise _InvoiceUsed
    attempt = row["attempts"] + 1
    book(conn, row["job"], row["customer"], Booking(f"pay out {attempt}", -row["msat"]), now)
    conn.execute(
        "UPDATE refunds SET state = 'sending', bolt11 = ?, payment_hash = ?, attempts = ?, due_at = ? WHERE job = ?",
        (invoice, payment_hash, attempt, now + 5, row["job"]),
    )


def _give_credit_back(conn: sqlite3.Connection, row: Any, detail: str | None, now: int) -> None:
    """The payment failed for certain: what was booked out comes back, once, and another way is tried later."""
    due = now + RETRIES[min(row["attempts"], len(RETRIES) - 1)]
    changed = conn.execute(
        "UPDATE refunds SET state = 'due', bolt11 = NULL, payment_hash = NULL, detail = ?, due_at = ?"
        " WHERE job = ? AND state = 'sending'",
        (detail, due, row["job"]),
    ).rowcount
    if changed:
        book(conn, row["job"], row["customer"], Booking(f"pay out {row['attempts']} failed", row["msat"]), now)


def _looks_like_invoice(text: str) -> bool:
    return parse_bolt11(text) is not None


async def _feed(wallet: Wallet, hints: asyncio.Queue[str]) -> None:
    async for payment_hash in wallet.settled():
        hints.put_nowait(payment_hash)
