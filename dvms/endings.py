"""How a sale ends other than by delivery: refused, expired, cancelled, failed; and where the money goes then.

Every ending is one transaction: the state, the `error` for the customer and what is owed stand together on disk. A
payment that is only locked is released afterwards, again and again until the wallet is certain.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

from dvms.cashier import Cashier, refund_target
from dvms.jobs import CANCELLED_BY_CUSTOMER, Answer, Booking, Means, Sale, SqliteJobs, State
from market.job import JobRequest, build_feedback
from nostr.clock import Clock
from nostr.database import Database
from nostr.key import SecretKey
from wallet.interface import Invoice, InvoiceState, WalletError
from wallet.msat import show

log = logging.getLogger("dvms.endings")

TRY_AGAIN: Final = 5  # seconds until a lock is released or taken once more
LATE: Final = 600  # seconds after which no payment of a bill that is over is on its way any more


class Endings:
    def __init__(self, key: SecretKey, jobs: SqliteJobs, db: Database, cashier: Cashier, clock: Clock) -> None:
        self._key, self._jobs, self._db, self._cashier, self._clock = key, jobs, db, cashier, clock

    async def refuse(self, sale: Sale, request: JobRequest, relays: Sequence[str], reason: str) -> Sale | None:
        """Nothing was paid yet, and the job can't be done."""
        log.info("job %s refused: %s", sale.id[:8], reason)
        return await self._jobs.move(
            sale.id,
            (State.HEARD, State.PRICED),
            State.REFUSED,
            reason=reason,
            answers=[self._error(request, relays, reason)],
        )

    async def expire(self, sale: Sale, request: JobRequest) -> Sale | None:
        """The bill was not paid in time. Called once the wallet has said so."""
        reason = "the bill was not paid in time"
        return await self._jobs.move(
            sale.id,
            (State.BILLED,),
            State.EXPIRED,
            reason=reason,
            answers=[self._error(request, sale.relays, reason)],
            due_at=self._last_look(sale),
        )

    async def cancel_unpaid(self, sale: Sale, request: JobRequest) -> Sale | None:
        return await self._jobs.move(
            sale.id,
            (State.HEARD, State.PRICED, State.BILLED),
            State.CANCELLED,
            reason=CANCELLED_BY_CUSTOMER,
            answers=[self._error(request, sale.relays, CANCELLED_BY_CUSTOMER)],
            due_at=self._last_look(sale),
        )

    def _last_look(self, sale: Sale) -> int | None:
        """When a bill that ended unpaid is looked at again: a lock is released at once, a payment may have crossed."""
        if sale.bill_until is None:
            return None
        return self._clock() if sale.means is Means.HOLD else max(sale.bill_until, self._clock()) + LATE

    async def fail(
        self,
        sale: Sale,
        request: JobRequest,
        reason: str,
        expect: Collection[State] = (State.PAID, State.RUNNING, State.FINISHED),
    ) -> Sale | None:
        """End a paid (or free) job without a result, and give the money back."""
        now = self._clock()
        sale = await self._jobs.get(sale.id) or sale  # a lock may have been taken in the meantime
        locked = sale.means is Means.HOLD and sale.taken_at is None
        owed = sale.paid_msat > 0 and sale.means in (Means.INVOICE, Means.HOLD) and not locked
        words, tags, bookings, to = "", [], [], State.FAILED
        if locked:
            words, tags = ". Your payment was only locked and goes back to you", [["refund", "cancelled"]]
        elif owed:
            target = refund_target(request)
            amount = str(sale.price_msat)
            words, to = f". You get {show(sale.price_msat)} back", State.REFUNDED
            tags = [["refund", "due", amount]]
            if target is None:
                words += ": it is credit for your next job here, or send an invoice for it"
        elif sale.means is Means.CREDIT:
            words, to = f". {show(sale.price_msat)} went back to your credit", State.REFUNDED
            tags = [["refund", "credit", str(sale.price_msat)]]
            bookings = [Booking("returned", sale.price_msat)]
        log.info("job %s failed: %s", sale.id[:8], reason)
        answer = self._error(request, sale.relays, reason + words, tags)
        fields = {"reason": reason, "due_at": now if locked else None, "owner": None, "lease_until": None}

        def work(conn: sqlite3.Connection) -> Sale | None:
            moved = self._jobs.move_in(conn, sale.id, expect, to, now, [answer], bookings, fields)
            if moved is not None and owed:
                self._cashier.owe(conn, sale, sale.price_msat, refund_target(request), now)
            return moved

        moved = await self._db.write(work)
        self._cashier.wake()
        return moved

    async def late_payment(self, sale: Sale, request: JobRequest, invoice: Invoice) -> None:
        """Money for a job that had ended without being paid: all of it goes back."""
        received = invoice.received_msat or invoice.amount_msat
        if invoice.state is InvoiceState.ACCEPTED:
            await self._jobs.move(sale.id, (sale.state,), sale.state, due_at=self._clock())
            return
        if sale.paid_msat or invoice.state is not InvoiceState.SETTLED:
            return
        now = self._clock()
        reason = f"your payment of {show(received)} came after this job had ended. You get it back"
        answer = self._error(request, sale.relays, reason, [["refund", "due", str(received)]])
        fields = {"paid_msat": received, "paid_at": now}

        def work(conn: sqlite3.Connection) -> None:
            moved = self._jobs.move_in(conn, sale.id, (sale.state,), State.REFUNDED, now, [answer], [], fields)
            if moved is not None:
                self._cashier.owe(conn, sale, received, refund_target(request), now)

        await self._db.write(work)
        self._cashier.wake()

    async def release(self, sale: Sale) -> None:
        """Give the locked payment of an ended job back; tried until the wallet is certain."""
        assert sale.payment_hash is not None
        try:
            released = await self._cashier.release(sale.payment_hash)
            invoice = None if released else await self._cashier.look_up(sale.payment_hash)
        except WalletError as error:
            log.warning("job %s: the lock is not released yet: %s", sale.id[:8], error)
            await self._jobs.move(sale.id, (sale.state,), sale.state, due_at=self._clock() + TRY_AGAIN)
            return
        if released and sale.paid_msat:
            await self._jobs.move(sale.id, (sale.state,), State.REFUNDED)
        elif released:
            await self._jobs.move(sale.id, (sale.state,), sale.state)
        elif invoice is not None:
            await self._taken_after_all(sale, invoice)

    async def _taken_after_all(self, sale: Sale, invoice: Invoice) -> None:
        """The lock had been taken before the end of the job was written: then the money is owed."""
        now, msat = self._clock(), invoice.received_msat or invoice.amount_msat
        request = JobRequest.parse(sale.event, self._key)
        answer = self._error(request, sale.relays, f"you get {show(msat)} back", [["refund", "due", str(msat)]])

        def work(conn: sqlite3.Connection) -> None:
            fields = {"taken_at": now}
            if self._jobs.move_in(conn, sale.id, (sale.state,), State.REFUNDED, now, [answer], [], fields):
                self._cashier.owe(conn, sale, msat, refund_target(request), now)

        await self._db.write(work)
        self._cashier.wake()

    def _error(
        self, request: JobRequest, relays: Sequence[str], reason: str, tags: Sequence[Sequence[str]] = ()
    ) -> Answer:
        event = build_feedback(self._key, request, "error", reason, extra_tags=tags, created_at=self._clock())
        return Answer(event, tuple(relays))
