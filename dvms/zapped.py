"""Zaps as payment (NIP-57): who zaps a bill of ours, or the request itself, has paid it once our own wallet says so.

A receipt is a stranger's word and only says where to look (wallet.zaps). A zap of a bill pays the job where it is
enough; any other money of that kind (too little, too late, twice) becomes the customer's credit, so none is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from dvms.cashier import Cashier
from dvms.jobs import Booking, Means, Sale, SqliteJobs, State
from market.tags import parse_hex64
from nostr.clock import Clock
from nostr.event import Event
from wallet.interface import Invoice, InvoiceState, WalletError
from wallet.msat import show

log = logging.getLogger("dvms.zapped")

_NEVER: Final = (State.HEARD, State.PRICED, State.REFUSED)  # no bill was written: nothing can be paid


class Zaps:
    """`on_paid()` is called when a zap paid a job."""

    def __init__(self, key: str, jobs: SqliteJobs, cashier: Cashier, clock: Clock, on_paid: Callable[[], None]) -> None:
        self._key, self._jobs, self._cashier, self._clock, self._on_paid = key, jobs, cashier, clock, on_paid

    async def hear(self, receipt: Event) -> None:
        """A receipt that names us."""
        named = parse_hex64(receipt.first("e") or "")
        sale = await self._jobs.named(named) if named else None
        if named is None or sale is None or sale.state in _NEVER:
            return
        try:
            payment_hash, msat = await self._cashier.zap(receipt, receiver=self._key, event_id=named)
        except WalletError as error:  # a receipt that proves nothing is one of them
            log.info("job %s: a zap that is no payment: %s", sale.id[:8], error)
            return
        if payment_hash == sale.zap_hash:
            return
        if sale.state is State.BILLED and msat >= sale.bill_msat and await self._pay(sale, payment_hash, msat):
            return
        await self._credit(sale, f"zap {payment_hash}", msat)

    async def _pay(self, sale: Sale, payment_hash: str, msat: int) -> bool:
        now, surplus = self._clock(), msat - sale.price_msat
        paid = await self._jobs.move(
            sale.id, (State.BILLED,), State.PAID, bookings=[Booking("surplus", surplus)] if surplus else [],
            paid_msat=msat, paid_at=now, taken_at=now, due_at=sale.expires_at, means=Means.INVOICE,
            zap_hash=payment_hash,
        )  # fmt: skip
        if paid is None:
            return False
        log.info("job %s paid %s by a zap", sale.id[:8], show(msat))
        self._on_paid()
        if sale.means is Means.HOLD:
            await self._release(sale)
        return True

    async def bill_too(self, sale: Sale, invoice: Invoice) -> None:
        """The bill of a job that a zap had paid was paid beside it."""
        if invoice.state is InvoiceState.ACCEPTED:
            await self._release(sale)
        elif invoice.state is InvoiceState.SETTLED:
            await self._credit(sale, f"bill {invoice.payment_hash}", invoice.received_msat or invoice.amount_msat)

    async def _release(self, sale: Sale) -> None:
        """The lock of the bill is not wanted any more; where the wallet is away, it ends by itself."""
        assert sale.payment_hash is not None
        try:
            await self._cashier.release(sale.payment_hash)
        except WalletError as error:
            log.info("job %s: the bill beside the zap is not released: %s", sale.id[:8], error)

    async def _credit(self, sale: Sale, reason: str, msat: int) -> None:
        if await self._jobs.book(sale, Booking(reason, msat)):
            log.info("job %s: %s became credit of its customer", sale.id[:8], show(msat))
