"""Paying one bill until its outcome is certain, and asking for money back.

A payment is one invoice: while its outcome is unknown the same invoice is looked up and, as long as it lives, offered
to the wallet again, which no Lightning node pays twice. Nothing else is ever paid in its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from market.job import Feedback
from market.kinds import FEEDBACK
from market.purchase import Bill, honest_outcome
from market.purchases import Payment, Purchases
from market.tags import parse_msat
from nostr.clock import Clock
from nostr.event import Event
from nostr.key import SecretKey
from wallet.interface import Invoice, InvoiceState, Outcome, PayResult, Wallet, WalletError, WalletUnreachable

log = logging.getLogger("buyer")

REFUND_SECONDS: Final = 15.0  # how long a promised refund is waited for
_LOOK_AGAIN: Final = (0.5, 1, 2, 5, 10, 30)  # seconds between looks at a payment in doubt
_FEE_SHARE: Final = 100  # one hundredth of the amount, and at least _LEAST_FEE, may go for routing
_LEAST_FEE: Final = 10_000


Send = Callable[[Event, Invoice], Awaitable[None]]
"""Keeps the invoice and sends the event that carries it, in one step."""


class Payer:
    def __init__(self, wallet: Wallet, purchases: Purchases, clock: Clock) -> None:
        self._wallet, self._purchases, self._clock = wallet, purchases, clock

    async def until_known(
        self, job: str, bill: Bill, deadline: int, *, look_first: bool, on_pending: Callable[[PayResult], None]
    ) -> PayResult:
        """SETTLED or FAILED, noted on disk. `look_first` after a restart; `on_pending` hears that money is locked."""
        paid = await (self.look_up(bill) if look_first else self._try_to_pay(job, bill, deadline))
        looks, locked = 0, False
        while paid.outcome in (Outcome.PENDING, Outcome.UNKNOWN):
            await self._purchases.note_payment(job, paid, self._clock())
            if paid.outcome is Outcome.PENDING and not locked:
                locked = True
                on_pending(paid)
            if paid.outcome is Outcome.UNKNOWN and look_first and looks == 0 and self._clock() < bill.expires_at:
                paid = await self._try_to_pay(job, bill, deadline)  # the intent may never have reached the wallet
                looks += 1
                continue
            await asyncio.sleep(_LOOK_AGAIN[min(looks, len(_LOOK_AGAIN) - 1)])
            looks += 1
            paid = await self.look_up(bill)
            if paid.outcome is Outcome.UNKNOWN and self._clock() < bill.expires_at:
                paid = await self._try_to_pay(job, bill, deadline)
        await self._purchases.note_payment(job, paid, self._clock())
        return paid

    async def look_up(self, bill: Bill) -> PayResult:
        """What the wallet knows now. Never raises."""
        try:
            paid = await self._wallet.lookup_payment(bill.payment_hash)
        except WalletError as error:
            return PayResult(Outcome.UNKNOWN, bill.payment_hash, detail=str(error))
        return honest_outcome(paid, bill.payment_hash)

    async def claim_refund(self, key: SecretKey, job: str, said: Feedback, send: Send) -> bool:
        """Where an `error` owes a refund (`["refund","due",msat]`): send an invoice. True once the money is back.

        The invoice is on disk before it is sent; after a crash the same one stands as long as it can be paid.
        """
        tag = next((tag for tag in said.tags if tag[0] == "refund" and len(tag) > 2 and tag[1] == "due"), None)
        owed = parse_msat(tag[2]) if tag is not None else None
        if not owed:
            return False
        try:
            claims = await self._purchases.claims(job)
            if not any(claim["expires_at"] > self._clock() for claim in claims) and not await self.refunded(job):
                invoice = await self._wallet.make_invoice(owed, description=f"refund of {job[:16]}")
                words = [["status", "refund", "please pay this back"], ["amount", str(owed), invoice.bolt11]]
                tags = [["e", job], ["p", said.provider], *words]
                await send(key.sign(kind=FEEDBACK, tags=tags, created_at=self._clock()), invoice)
            for _ in range(int(REFUND_SECONDS / 0.5)):
                if await self.refunded(job):
                    return True
                await asyncio.sleep(0.5)
        except WalletError as error:
            log.warning("%s: the refund could not be asked for: %s", job[:8], error)
        return False

    async def refunded(self, job: str) -> bool:
        """Whether one of our claims for this purchase was paid. Raises WalletError."""
        for claim in await self._purchases.claims(job):
            known = await self._wallet.lookup_invoice(claim["payment_hash"])
            if known is not None and known.state is InvoiceState.SETTLED:
                return True
        return False

    async def _try_to_pay(self, job: str, bill: Bill, deadline: int) -> PayResult:
        fee = max(bill.amount_msat // _FEE_SHARE, _LEAST_FEE)
        left = max(5, min(120, deadline - self._clock()))
        try:
            paid = await self._wallet.pay_invoice(bill.bolt11, max_fee_msat=fee, timeout=left, purpose=f"job:{job}")
        except WalletUnreachable as error:
            if self._clock() + left < bill.expires_at:
                return PayResult(Outcome.UNKNOWN, bill.payment_hash, detail=str(error))
            return PayResult(Outcome.FAILED, bill.payment_hash, code=error.code, detail=str(error))
        except WalletError as error:
            return PayResult(Outcome.FAILED, bill.payment_hash, code=error.code, detail=str(error))
        return honest_outcome(paid, bill.payment_hash)


def bill_of(payment: Payment) -> Bill:
    """The bill that a stored payment answers."""
    return Bill(
        payment.bill, payment.bill.pubkey, payment.amount_msat, payment.bolt11, payment.payment_hash, payment.expires_at
    )
