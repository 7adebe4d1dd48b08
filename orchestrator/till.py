"""Timmy's dealings with his wallet, each safe to begin again after a crash because it looks before it acts.

Taking money: an invoice to the buyer (a hold invoice where the wallet can, so that nothing is taken before everything
is accepted), waiting for it, settling or releasing it. Paying: one invoice, until its outcome is certain. Paying back
what a failed prepaid run owes. A wallet that cannot be reached is waited for; it never makes a payment fail.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import chain, repeat

from dvms.cashier import refund_fee
from market.purchase import honest_outcome
from nostr.clock import Clock
from orchestrator.journal import Journal
from orchestrator.run import Bill, Run
from wallet import bolt11
from wallet.interface import Invoice, InvoiceState, Outcome, PayResult, Wallet, WalletError, WalletUnreachable

log = logging.getLogger("timmy.till")

LOOK = (0.5, 1, 2, 3, 5, 10)  # seconds between looks; the last one repeats
GRACE = 30  # seconds after an invoice's end until it is taken for unpaid
Resolve = Callable[[str, str, int], Awaitable[str | None]]
"""(refund target, buyer's key, msat) to an invoice over exactly that; None where none can be had."""


async def nobody(target: str, buyer: str, msat: int) -> str | None:
    """A resolver that knows invoices only."""
    return target if target.lower().startswith("ln") else None


class Till:
    """One wallet. `resolve` finds where a refund can go."""

    def __init__(self, wallet: Wallet, clock: Clock, *, resolve: Resolve = nobody) -> None:
        self.wallet, self._clock, self._resolve = wallet, clock, resolve
        self._hints: dict[str, asyncio.Event] = {}
        self._listener: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen for the wallet's hints; without them everything works, a few seconds slower."""
        self._listener = asyncio.create_task(self._listen(), name="till")

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    # --- from the buyer ---------------------------------------------------------------------------------------------

    async def make_bill(
        self, amount_msat: int, expires_at: int, secret: bytes, words: str, *, hold: bool
    ) -> Bill | None:
        """An invoice of a run; with hold, always the one with the same hash. None when the time is over."""
        payment_hash = hashlib.sha256(secret).hexdigest()
        for pause in _pauses():
            left = expires_at - self._clock()
            if left <= 0:
                return None
            try:
                if hold and self.wallet.caps.hold:
                    old = await self.wallet.lookup_invoice(payment_hash)
                    made = old or await self.wallet.make_hold_invoice(
                        amount_msat, payment_hash, description=words, expiry=left
                    )
                    return _bill(made, hold=True)
                return _bill(await self.wallet.make_invoice(amount_msat, description=words, expiry=left), hold=False)
            except WalletUnreachable as error:
                log.warning("no invoice yet: %s", error)
            except WalletError as error:
                log.error("no invoice: %s", error)
                return None
            await asyncio.sleep(pause)
        return None

    async def invoice(self, amount_msat: int, words: str) -> Bill | None:
        """A plain invoice to somebody who owes us, for ten minutes; None if the wallet makes none."""
        try:
            return _bill(await self.wallet.make_invoice(amount_msat, description=words), hold=False)
        except WalletError as error:
            log.warning("no invoice: %s", error)
            return None

    async def wait_for(self, bill: Bill) -> int | None:
        """What was received (or locked), msat; None once it can no longer come."""
        hint = self._hints.setdefault(bill.payment_hash, asyncio.Event())
        try:
            for pause in _pauses():
                invoice = await self._look(bill)
                if invoice is not None and invoice.state in (InvoiceState.ACCEPTED, InvoiceState.SETTLED):
                    return invoice.received_msat or bill.amount_msat
                over = self._clock() >= bill.expires_at + GRACE
                if invoice is not None and invoice.state in (InvoiceState.CANCELLED, InvoiceState.EXPIRED):
                    return None
                if over and (not bill.hold or await self.release(bill)):
                    return None
                hint.clear()
                try:
                    async with asyncio.timeout(pause):
                        await hint.wait()
                except TimeoutError:
                    continue
        finally:
            self._hints.pop(bill.payment_hash, None)
        return None

    async def take(self, bill: Bill, secret: bytes) -> bool:
        """Settle the locked payment. False if it is gone."""
        for pause in _pauses():
            invoice = await self._look(bill)
            if invoice is not None and invoice.state is InvoiceState.SETTLED:
                return True
            if invoice is not None and invoice.state in (InvoiceState.CANCELLED, InvoiceState.EXPIRED):
                return False
            try:
                await self.wallet.settle_hold_invoice(secret.hex())
            except WalletError as error:
                log.warning("the locked payment could not be taken yet: %s", error)
                await asyncio.sleep(pause)
        return False

    async def release(self, bill: Bill) -> bool:
        """Cancel the hold. False if the money was taken before."""
        for pause in _pauses():
            invoice = await self._look(bill)
            if invoice is not None and invoice.state in (InvoiceState.CANCELLED, InvoiceState.EXPIRED):
                return True
            if invoice is not None and invoice.state is InvoiceState.SETTLED:
                return False
            try:
                await self.wallet.cancel_hold_invoice(bill.payment_hash)
            except WalletError as error:
                log.warning("the locked payment could not be released yet: %s", error)
                await asyncio.sleep(pause)
        return False

    # --- to providers -----------------------------------------------------------------------------------------------

    async def pay(
        self, invoice: str, payment_hash: str, max_fee_msat: int, *, purpose: str, again: bool = False
    ) -> AsyncIterator[PayResult]:
        """Pay once; yields each new word of the wallet, the certain one last.

        `again`: this intent is older than the process, so the wallet is asked first. Paying the same invoice again is
        safe (BOLT 11: a hash is paid once), and the only thing that helps where the wallet does not know it.
        """
        said: Outcome | None = None
        look = again
        for pause in _pauses():
            result = await self._try(invoice, payment_hash, max_fee_msat, purpose, look=look)
            if result is not None:
                if result.outcome is not said:
                    said = result.outcome
                    yield result
                if result.outcome in (Outcome.SETTLED, Outcome.FAILED):
                    return
                look = result.outcome is Outcome.PENDING or not look
            elif self._clock() >= bolt11.decode(invoice).expires_at:
                yield PayResult(Outcome.FAILED, payment_hash, code="EXPIRED", detail="the wallet was away too long")
                return
            await asyncio.sleep(pause)

    async def _try(
        self, invoice: str, payment_hash: str, max_fee_msat: int, purpose: str, *, look: bool
    ) -> PayResult | None:
        """One word of the wallet; None if it could not be asked (so nothing was sent by this try)."""
        try:
            if look:
                result = await self.wallet.lookup_payment(payment_hash)
            else:
                result = await self.wallet.pay_invoice(invoice, max_fee_msat=max_fee_msat, purpose=purpose)
        except WalletUnreachable as error:
            log.warning("not paid yet: %s", error)
            return PayResult(Outcome.UNKNOWN, payment_hash) if look else None
        except WalletError as error:
            said = Outcome.UNKNOWN if look else Outcome.FAILED  # a look-up that fails says nothing of the payment
            return PayResult(said, payment_hash, code=error.code, detail=str(error))
        return honest_outcome(result, payment_hash)

    # --- back to the buyer ------------------------------------------------------------------------------------------

    async def refund(self, journal: Journal, run: Run, target: str) -> str:
        """Pay a prepaid buyer back, however long it takes; the words for the books."""
        amount = run.received_msat
        fee = refund_fee(amount)
        for pause in (*LOOK, *([60.0] * 10_000)):
            row = await journal.open_refund(run.id)
            if row is not None and row["state"] == "settled":
                return f"{amount // 1000} sat were paid back."
            if row is None:
                claimed = await journal.refund_target(run.id)
                invoice = await self._refund_invoice(claimed or target, run.buyer, amount)
                if invoice is None:
                    await asyncio.sleep(pause)
                    continue
                payment_hash = bolt11.decode(invoice).payment_hash
                if not await journal.refund_intent(run, invoice, payment_hash, amount, fee):
                    await asyncio.sleep(pause)  # an invoice of another payment: the buyer has to send a new one
                    continue
                again = False
            else:
                invoice, payment_hash, again = row["bolt11"], row["payment_hash"], True
            purpose = f"refund:{run.id}:{payment_hash[:16]}"
            settled = False
            async for result in self.pay(invoice, payment_hash, fee, purpose=purpose, again=again):
                settled = result.outcome is Outcome.SETTLED
                if result.outcome in (Outcome.SETTLED, Outcome.FAILED):
                    state = "settled" if result.outcome is Outcome.SETTLED else "failed"
                    await journal.refund_outcome(
                        run.id, payment_hash, state, result.fee_msat or 0, result.preimage or ""
                    )
            if not settled:
                await asyncio.sleep(pause)
        return "The refund is still due."

    async def _refund_invoice(self, target: str, buyer: str, amount_msat: int) -> str | None:
        """An invoice over exactly what is owed, of our network, with time left."""
        invoice = await self._resolve(target, buyer, amount_msat)
        try:
            read = bolt11.decode(invoice) if invoice else None
        except bolt11.InvalidInvoice:
            return None
        if read is None or read.amount_msat != amount_msat or read.network != self.wallet.caps.network:
            return None
        return read.text if read.expires_at > self._clock() + 5 else None

    # --- small things -----------------------------------------------------------------------------------------------

    async def _look(self, bill: Bill) -> Invoice | None:
        try:
            return await self.wallet.lookup_invoice(bill.payment_hash)
        except WalletError as error:
            log.warning("the wallet did not say how an invoice stands: %s", error)
            return None

    async def _listen(self) -> None:
        while True:
            try:
                async for payment_hash in self.wallet.settled():
                    if (hint := self._hints.get(payment_hash)) is not None:
                        hint.set()
            except WalletError as error:
                log.warning("no news from the wallet: %s", error)
            await asyncio.sleep(5)


def _bill(invoice: Invoice, *, hold: bool) -> Bill:
    return Bill(invoice.payment_hash, invoice.bolt11, invoice.amount_msat, hold, invoice.expires_at)


def _pauses() -> Iterator[float]:
    """LOOK, its last number for ever."""
    return chain(LOOK, repeat(LOOK[-1]))
