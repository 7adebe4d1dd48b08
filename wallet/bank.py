"""The bank of the box: the ledger and one backend, kept in step.

Everything that moves money goes through here. A payment is reserved and committed before the backend hears of it; what
the backend says is booked; what it does not say is asked again until it does. Incoming money is credited once, on the
backend's own word. A watchdog compares the books with the backend and stops outgoing payments where they disagree.

    sends      reserved -> (commit) -> sent -> (commit) -> backend -> settled | failed | unknown -> ask again ...
    restart    reserved: never left, given back.  sent or unknown: asked again, never repeated
"""

import asyncio
import logging
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from nostr.clock import Clock, system_clock
from nostr.database import Database
from wallet import bolt11, books, connections, holds, ledger, nip47
from wallet.backends.ledger import LedgerWallet
from wallet.interface import Caps, Invoice, InvoiceState, Wallet, WalletError, WalletRefused
from wallet.ledger import Bill, Order, Payment, PaymentState, Report
from wallet.sending import Policy, Sender
from wallet.watchdog import Watchdog

log = logging.getLogger("wallet")
T = TypeVar("T")

_RECHECK = 1  # seconds between two questions to the backend about one open invoice
_OVERLAP = 3600  # seconds of settled invoices read again, for backends that index late
_DAY = 86400


@dataclass(frozen=True, slots=True)
class Claim:
    """The request behind an operation, recorded with it in one transaction and answered there."""

    event_id: str
    connection: int
    method: str
    scheme: str


class Bank:
    """An async context manager over an open backend. `listen(callback)` hears of every change after its commit."""

    def __init__(
        self, db: Database, backend: Wallet, *, clock: Clock = system_clock, policy: Policy | None = None
    ) -> None:
        self.db = db
        self.backend = backend
        self.clock = clock
        self.policy = policy or Policy()
        self._listeners: list[Callable[[Sequence[Report]], None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._asked: dict[str, float] = {}
        self._sender = Sender(db, backend, clock, self.policy, self._end)
        self._watchdog = Watchdog(db, backend, clock, backed=not self.internal_only, slack_msat=self.policy.slack_msat)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, backend: Wallet, *, clock: Clock = system_clock, policy: Policy | None = None
    ) -> AsyncIterator[Self]:
        """The bank on this file, its backend entered, everything closed at the end."""
        db = await Database.open(path, ledger.MIGRATIONS)
        try:
            async with backend, cls(db, backend, clock=clock, policy=policy) as bank:
                yield bank
        finally:
            await db.close()

    async def __aenter__(self) -> Self:
        opening = 0 if self.internal_only else await self.backend.balance()
        await self.db.write(lambda conn: self._open_books(conn, opening))
        await self._watchdog.audit()
        await self._recover()
        for job in (self._hear(), self._poll(), self._watch()):
            self._spawn(job)
        return self

    async def __aexit__(self, *error: object) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def caps(self) -> Caps:
        return self.backend.caps

    @property
    def internal_only(self) -> bool:
        return isinstance(self.backend, LedgerWallet)

    @property
    def stopped(self) -> str:
        """Why outgoing payments are stopped, in words; empty while they run."""
        return self._watchdog.stopped

    async def check(self) -> list[str]:
        """Compare the books with themselves and with the backend. Faults, in words, stop outgoing payments."""
        return await self._watchdog.check()

    async def adopt(self, purpose: str) -> int:
        """See `Watchdog.adopt`."""
        return await self._watchdog.adopt(purpose)

    def listen(self, callback: Callable[[Sequence[Report]], None]) -> None:
        self._listeners.append(callback)

    # --- opening and recovery ---

    def _open_books(self, conn: sqlite3.Connection, opening_msat: int) -> None:
        """First start: house accounts, and what there is goes to the owner (credits, or the backend's balance)."""
        now = self.clock()
        books.open_house(conn, now)
        unit = "credits" if self.internal_only else self.caps.network
        known = conn.execute("SELECT value FROM meta WHERE name = 'unit'").fetchone()
        if known is not None:
            if known[0] != unit:
                raise WalletError(f"this ledger holds {known[0]}, the backend is {unit}: they are never mixed")
            return
        conn.execute("INSERT INTO meta VALUES ('unit', ?)", (unit,))
        owner = books.account_id(conn, "owner")
        msat = self.policy.start_credits_msat if self.internal_only else opening_msat
        source = books.account_id(conn, books.ISSUANCE if self.internal_only else books.BACKEND)
        if msat:
            books.transfer(conn, "opening", unit, now, [(source, -msat), (owner, msat)])

    async def _recover(self) -> None:
        for payment in await self.db.write(ledger.unfinished):
            if payment.state is PaymentState.RESERVED:
                await self._sender.fail(payment.id, "OTHER", "the wallet stopped before it was sent")
            else:
                log.info("payment %s: asking what became of it", payment.payment_hash[:16])
                await self.db.write(lambda conn, p=payment: ledger.mark_unknown(conn, p.id, "the wallet restarted"))  # type: ignore[misc]
                self._spawn(self._sender.chase(payment))

    # --- invoices ---

    async def make_invoice(
        self,
        account: int,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
        payment_hash: str | None = None,
        metadata: str | None = None,
        connection: int | None = None,
        claim: Claim | None = None,
    ) -> Bill:
        """A new invoice of this account; with `payment_hash` a hold invoice. Raises WalletError, Replayed."""
        if not 0 < amount_msat <= bolt11.MAX_MSAT:
            raise WalletRefused("OTHER", "amount: an invoice asks for at least 1 msat")
        if payment_hash is None:
            made = await self.backend.make_invoice(
                amount_msat, description=description, description_hash=description_hash, expiry=expiry
            )
        else:
            made = await self.backend.make_hold_invoice(
                amount_msat, payment_hash, description=description, expiry=expiry
            )

        def work(conn: sqlite3.Connection) -> Bill:
            if claim is not None:
                self._claim(conn, claim)
            if connection is not None:
                self._limit_open(conn, connection)
            ledger.add_invoice(
                conn,
                made,
                account=account,
                connection=connection,
                hold=payment_hash is not None,
                remote=not self.internal_only,
                description_hash=description_hash,
                metadata=metadata,
            )
            bill = Bill(
                _hide(made), account, connection, payment_hash is not None, not self.internal_only, description_hash,
                metadata, None,
            )  # fmt: skip
            if claim is not None:
                answer = nip47.result_text(claim.method, nip47.invoice_object(bill))
                connections.answer(conn, claim.event_id, answer)
            return bill

        return await self.db.write(work)

    def _limit_open(self, conn: sqlite3.Connection, connection: int) -> None:
        unpaid = conn.execute(
            "SELECT COUNT(*) FROM (SELECT 1 FROM invoices"
            " WHERE state = 'open' AND connection = ? AND expires_at > ? LIMIT ?)",
            (connection, self.clock(), self.policy.max_open_invoices),
        ).fetchone()[0]
        if unpaid >= self.policy.max_open_invoices:
            raise WalletRefused("RATE_LIMITED", "too many unpaid invoices: wait until some are paid or expire")

    async def invoice(self, payment_hash: str, account: int | None = None) -> Bill | None:
        """An invoice of ours, checked with the backend where that may know more. `account` limits whose."""
        bill = await self._stored_bill(payment_hash)
        if bill is None or (account is not None and bill.account != account):
            return None
        waiting = bill.invoice.state in (InvoiceState.OPEN, InvoiceState.ACCEPTED, InvoiceState.EXPIRED)
        if bill.remote and waiting:
            now = asyncio.get_running_loop().time()
            if now - self._asked.get(payment_hash, -_RECHECK) >= _RECHECK:
                self._asked[payment_hash] = now
                await self._refresh(payment_hash)
                bill = await self._stored_bill(payment_hash)
        return bill

    async def _stored_bill(self, payment_hash: str) -> Bill | None:
        row = await self.db.fetch_one("SELECT * FROM invoices WHERE payment_hash = ?", (payment_hash,))
        return ledger.read_bill(row, self.clock()) if row is not None else None

    async def _refresh(self, payment_hash: str) -> None:
        """Ask the backend about one invoice and book what it says."""
        before = await self._stored_bill(payment_hash)
        if before is None:
            return  # an invoice that others made on the same backend
        try:
            seen = await self.backend.lookup_invoice(payment_hash)
        except (WalletError, OSError, TimeoutError) as error:
            log.warning("cannot look up invoice %s: %s", payment_hash[:16], error)
            return
        if seen is None:
            return
        lost = before.invoice.state is InvoiceState.ACCEPTED and seen.state in (InvoiceState.OPEN, InvoiceState.EXPIRED)
        if lost and not await self._locked_inside(payment_hash):
            seen = replace(seen, state=InvoiceState.CANCELLED)  # locked before we asked, and no more: gone back
            self._spawn(self._cancel_remote(payment_hash))
        await self._book(seen)

    async def _book(self, seen: Invoice) -> None:
        now = self.clock()

        def work(conn: sqlite3.Connection) -> Sequence[Report]:
            bill = ledger.find_invoice(conn, seen.payment_hash)
            if bill is None:
                return ()  # an invoice that others made on the same backend
            if seen.state is InvoiceState.SETTLED:
                msat = seen.amount_msat if seen.received_msat is None else seen.received_msat
                if not 0 < msat <= bolt11.MAX_MSAT:
                    log.critical("the backend says that %d msat came in for %s", msat, seen.payment_hash[:16])
                    return ()
                return ledger.receive(conn, seen.payment_hash, msat, seen.preimage, now)
            if seen.state is InvoiceState.ACCEPTED and bill.hold:
                settle_by = min(now + self.policy.hold_seconds, seen.settle_deadline or sys.maxsize)
                return holds.accept_outside(conn, seen.payment_hash, settle_by)
            if seen.state is InvoiceState.CANCELLED and bill.hold:
                return holds.lost(conn, seen.payment_hash, now)
            return ()

        self._tell(await self.db.write(work))

    # --- paying ---

    async def pay(
        self,
        account: int,
        text: str,
        *,
        purpose: str | None = None,
        amount_msat: int | None = None,
        max_fee_msat: int | None = None,
        connection: int | None = None,
        metadata: str | None = None,
        claim: Claim | None = None,
    ) -> Payment:
        """Begin a payment and return it: ended (inside the box) or on its way; `wait` follows it to its end.

        Raises WalletRefused where nothing moved or will, and Replayed for a request seen before.
        """
        order: Order | WalletRefused
        try:
            invoice = self._payable(text, amount_msat)
            limit = self.policy.fee_limit(invoice.amount_msat or 0) if max_fee_msat is None else max_fee_msat
            purpose = purpose or f"invoice:{invoice.payment_hash}"
            order = Order(account, invoice, limit, purpose, connection, metadata)
        except WalletRefused as error:
            order = error

        def work(conn: sqlite3.Connection) -> tuple[Payment | WalletRefused, Sequence[Report]]:
            if claim is not None:
                self._claim(conn, claim)
            try:
                payment, reports = self._begin(conn, order)
            except WalletRefused as error:
                if claim is not None:
                    connections.answer(conn, claim.event_id, nip47.error_text(claim.method, error))
                return error, ()
            if claim is not None and payment.ended:
                connections.answer(conn, claim.event_id, nip47.payment_text(payment, claim.method))
            elif claim is not None:
                connections.wait_for(conn, claim.event_id, payment.payment_hash)
            return payment, reports

        outcome, reports = await self.db.write(work)
        if isinstance(outcome, WalletRefused):
            raise outcome
        self._tell(reports)
        if outcome.state is PaymentState.RESERVED:
            self._spawn(self._sender.send(outcome))
        elif outcome.state is PaymentState.UNKNOWN:
            self._spawn(self._sender.send_again(outcome))
        return outcome

    def _payable(self, text: str, amount_msat: int | None) -> bolt11.Bolt11:
        """The invoice, where it can be read and payments run. Raises WalletRefused."""
        if self.stopped:
            raise WalletRefused("INTERNAL", f"outgoing payments are stopped: {self.stopped}")
        try:
            invoice = bolt11.decode(text)
        except bolt11.InvalidInvoice as error:
            raise WalletRefused("OTHER", str(error)) from None
        if amount_msat is not None and invoice.amount_msat != amount_msat:
            raise WalletRefused("OTHER", f"the invoice does not ask for {amount_msat} msat")
        return invoice

    def _begin(self, conn: sqlite3.Connection, order: Order | WalletRefused) -> tuple[Payment, Sequence[Report]]:
        """`ledger.begin`, undone as a whole where it refuses, so that the refusal itself can be recorded."""
        if isinstance(order, WalletRefused):
            raise order
        conn.execute("SAVEPOINT money")
        try:
            return ledger.begin(
                conn,
                order,
                self.clock(),
                network=self.caps.network,
                hold_seconds=self.policy.hold_seconds,
                internal_only=self.internal_only,
            )
        except WalletRefused:
            conn.execute("ROLLBACK TO money")
            raise
        finally:
            conn.execute("RELEASE money")

    async def wait(self, payment: Payment, timeout: float | None = None) -> Payment:
        """The payment when it has ended, or as it is after `timeout` seconds."""
        if payment.ended:
            return payment
        ended = asyncio.Event()

        def hear(reports: Sequence[Report]) -> None:
            if any(report.payment_hash == payment.payment_hash for report in reports):
                ended.set()

        self._listeners.append(hear)
        try:
            async with asyncio.timeout(timeout):
                while not (now := await self._payment(payment.id)).ended:
                    await ended.wait()
                    ended.clear()
                return now
        except TimeoutError:
            return await self._payment(payment.id)
        finally:
            self._listeners.remove(hear)

    async def _payment(self, payment_id: int) -> Payment:
        row = await self.db.fetch_one("SELECT * FROM payments WHERE id = ?", (payment_id,))
        assert row is not None
        return ledger.read_payment(row)

    async def payment(self, payment_hash: str, account: int | None = None) -> Payment | None:
        """The newest payment of this hash; with `account`, only if it is that account's."""
        row = await self.db.fetch_one(
            "SELECT * FROM payments WHERE payment_hash = ? AND (? IS NULL OR account = ?) ORDER BY id DESC LIMIT 1",
            (payment_hash, account, account),
        )
        return ledger.read_payment(row) if row is not None else None

    async def _end(self, work: Callable[[sqlite3.Connection], Sequence[Report]]) -> None:
        """Run `work` and answer, in the same transaction, every request that waits for the payments it ended."""

        def both(conn: sqlite3.Connection) -> Sequence[Report]:
            reports = work(conn)
            for report in reports:
                if isinstance(report.what, Payment):
                    connections.answer_waiting(conn, report.payment_hash, nip47.payment_text(report.what))
            return reports

        self._tell(await self.db.write(both))

    # --- hold invoices ---

    async def settle_hold(self, account: int, preimage: str, claim: Claim | None = None) -> None:
        """Take the money of a hold invoice of this account. Raises WalletRefused."""
        try:
            payment_hash = ledger.hash_of(preimage)
        except ValueError:
            raise WalletRefused("OTHER", "preimage: not 32 bytes in hex") from None
        bill = await self._own_hold(account, payment_hash)
        now = self.clock()
        inside = await self._locked_inside(payment_hash)
        if bill.remote and not inside and bill.invoice.state is not InvoiceState.SETTLED:
            await self.backend.settle_hold_invoice(preimage)
            msat = bill.invoice.amount_msat
            await self._end(lambda conn: ledger.receive(conn, payment_hash, msat, preimage, now))
            await self.db.write(lambda conn: self._done(conn, claim))
            return

        def work(conn: sqlite3.Connection) -> Sequence[Report]:
            self._done(conn, claim)
            return holds.settle(conn, payment_hash, preimage, now)

        await self._end(work)
        if bill.remote and inside:
            self._spawn(self._cancel_remote(payment_hash))

    async def cancel_hold(self, account: int | None, payment_hash: str, claim: Claim | None = None) -> None:
        """Give the money of a hold invoice back. Raises WalletRefused."""
        bill = await self._own_hold(account, payment_hash)
        if bill.remote and bill.invoice.state is not InvoiceState.SETTLED:
            await self.backend.cancel_hold_invoice(payment_hash)
        now = self.clock()

        def work(conn: sqlite3.Connection) -> Sequence[Report]:
            self._done(conn, claim)
            return holds.cancel(conn, payment_hash, now)

        await self._end(work)

    async def _own_hold(self, account: int | None, payment_hash: str) -> Bill:
        bill = await self._stored_bill(payment_hash)
        if bill is None or not bill.hold or (account is not None and bill.account != account):
            raise ledger.NotFound("there is no hold invoice with this payment hash")
        return bill

    async def _locked_inside(self, payment_hash: str) -> bool:
        return (
            await self.db.fetch_one(
                "SELECT 1 FROM payments WHERE payment_hash = ? AND internal AND state = 'sent'", (payment_hash,)
            )
            is not None
        )

    async def _cancel_remote(self, payment_hash: str) -> None:
        try:
            await self.backend.cancel_hold_invoice(payment_hash)
        except (WalletError, OSError, TimeoutError) as error:
            log.warning("cannot cancel invoice %s at the backend: %s", payment_hash[:16], error)

    def _claim(self, conn: sqlite3.Connection, claim: Claim) -> None:
        connections.claim(conn, claim.event_id, claim.connection, claim.method, claim.scheme, self.clock())

    def _done(self, conn: sqlite3.Connection, claim: Claim | None) -> None:
        """Record the request, if there is one, as done. Raises Replayed."""
        if claim is not None:
            self._claim(conn, claim)
            connections.answer(conn, claim.event_id, nip47.result_text(claim.method, {}))

    # --- watching ---

    async def _hear(self) -> None:
        """The backend's stream of settled invoices: each is a hint to look up."""
        while True:
            try:
                async for payment_hash in self.backend.settled():
                    await self._refresh(payment_hash)
            except (WalletError, OSError, TimeoutError) as error:
                log.warning("the backend's news stopped: %s", error)
            await asyncio.sleep(self.policy.poll_seconds)

    async def _poll(self) -> None:
        """What the stream may have missed, and what time alone brings about."""
        cursor = self.clock() - 7 * _DAY
        while True:
            if not self.internal_only:
                started = self.clock()
                try:
                    for seen in await self.backend.list_settled(cursor, 1000):
                        await self._book(seen)
                    cursor = started - _OVERLAP
                except (WalletError, OSError, TimeoutError) as error:
                    log.warning("cannot list settled invoices: %s", error)
                for payment_hash in await self.db.write(lambda conn: holds.outside(conn, self.clock())):
                    await self._refresh(payment_hash)
            for payment_hash in await self.db.write(lambda conn: holds.overdue(conn, self.clock())):
                log.warning("hold invoice %s was held too long: giving the money back", payment_hash[:16])
                try:
                    await self.cancel_hold(None, payment_hash)
                except (WalletError, OSError, TimeoutError) as error:
                    log.error("cannot cancel hold invoice %s: %s", payment_hash[:16], error)
            await asyncio.sleep(self.policy.poll_seconds)

    async def _watch(self) -> None:
        tidied = 0
        while True:
            await asyncio.sleep(self.policy.watch_seconds)
            await self.check()
            self._asked.clear()
            if self.clock() - tidied >= 3600:
                tidied = self.clock()
                await self.db.write(self._forget)

    def _forget(self, conn: sqlite3.Connection) -> None:
        before = self.clock() - self.policy.forget_after
        ledger.forget_unpaid(conn, before)
        connections.forget(conn, before)

    # --- inside ---

    def _tell(self, reports: Sequence[Report]) -> None:
        if reports:
            for listener in list(self._listeners):
                listener(reports)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("a task of the wallet died", exc_info=task.exception())


def _hide(invoice: Invoice) -> Invoice:
    """As the payee's app sees it: without the preimage, which is the proof of payment."""
    return Invoice(
        invoice.bolt11, invoice.payment_hash, invoice.amount_msat, invoice.created_at, invoice.expires_at,
        invoice.state, description=invoice.description,
    )  # fmt: skip
