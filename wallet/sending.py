"""Payments through the backend: sent once, followed until there is an outcome, booked on the backend's word."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from nostr.clock import Clock
from nostr.database import Database
from wallet import ledger
from wallet.bolt11 import MAX_MSAT
from wallet.interface import Outcome, PayResult, Wallet, WalletError
from wallet.ledger import Payment, Report

log = logging.getLogger("wallet")
_DAY = 86400


@dataclass(frozen=True, slots=True)
class Policy:
    """How the bank treats money. Amounts in msat, times in seconds."""

    hold_seconds: int = 3600
    fee_floor_msat: int = 10_000
    fee_millionths: int = 10_000
    pay_timeout: float = 60
    poll_seconds: float = 20
    watch_seconds: float = 60
    slack_msat: int = 0
    start_credits_msat: int = 0
    forget_after: int = 30 * _DAY
    max_open_invoices: int = 2_000
    ask_again: tuple[float, ...] = (0.5, 5, 15, 60, 300)  # look-ups of a payment without word; the last one repeats

    def fee_limit(self, amount_msat: int) -> int:
        """What is reserved for routing: a share of the amount, at least the floor."""
        return max(self.fee_floor_msat, amount_msat * self.fee_millionths // 1_000_000)


End = Callable[[Callable[[sqlite3.Connection], Sequence[Report]]], Awaitable[None]]


class Sender:
    """`end` runs work that ends payments in one transaction and tells the world after it."""

    def __init__(self, db: Database, backend: Wallet, clock: Clock, policy: Policy, end: End) -> None:
        self._db = db
        self._backend = backend
        self._clock = clock
        self._policy = policy
        self._end = end
        self._sending: set[int] = set()

    async def send(self, payment: Payment) -> None:
        if not await self._db.write(lambda conn: ledger.mark_sent(conn, payment.id)):
            return
        try:
            result = await self._backend.pay_invoice(
                payment.bolt11,
                max_fee_msat=payment.fee_limit_msat,
                timeout=self._policy.pay_timeout,
                purpose=payment.purpose,
            )
        except WalletError as error:  # by contract: nothing was paid
            await self.fail(payment.id, getattr(error, "code", "OTHER"), str(error))
            return
        except (OSError, TimeoutError) as error:
            result = PayResult(Outcome.UNKNOWN, payment.payment_hash, detail=str(error) or "no answer in time")
        if not await self._record(payment, result):
            await self.chase(payment)

    async def send_again(self, payment: Payment) -> None:
        """The payer gives the same invoice again while its outcome is unknown: no Lightning wallet pays a hash twice.

        Only a proof counts here. "Failed" may mean that the first attempt is still on its way, so that is for the
        look-ups to say.
        """
        if payment.id in self._sending:
            return
        self._sending.add(payment.id)
        try:
            result = await self._backend.pay_invoice(
                payment.bolt11,
                max_fee_msat=payment.fee_limit_msat,
                timeout=self._policy.pay_timeout,
                purpose=payment.purpose,
            )
            if result.outcome is Outcome.SETTLED:
                await self._record(payment, result)
        except (WalletError, OSError, TimeoutError) as error:
            log.info("payment %s, once more: %s", payment.payment_hash[:16], error)
        finally:
            self._sending.discard(payment.id)

    async def _record(self, payment: Payment, result: PayResult) -> bool:
        """Book what the backend said. True when the payment has ended."""
        if result.outcome is Outcome.SETTLED:
            if self._proven(payment, result.preimage):
                now, fee = self._clock(), min(max(result.fee_msat or 0, 0), MAX_MSAT)
                await self._end(lambda conn: ledger.settle(conn, payment.id, result.preimage, fee, now))
                if fee > payment.fee_limit_msat:
                    log.error("payment %s cost %d msat more than its limit", payment.payment_hash[:16], fee)
                return True
            log.critical("the backend claims payment %s with a false proof", payment.payment_hash[:16])
            result = PayResult(Outcome.UNKNOWN, payment.payment_hash, detail="the backend's proof is false")
        if result.outcome is Outcome.FAILED:
            await self.fail(payment.id, result.code or "PAYMENT_FAILED", result.detail or "the payment failed")
            return True
        if result.outcome is Outcome.UNKNOWN:
            await self._db.write(lambda conn: ledger.mark_unknown(conn, payment.id, result.detail))
        return False

    def _proven(self, payment: Payment, preimage: str | None) -> bool:
        if not self._backend.caps.verifies_preimage:
            return True
        try:
            return preimage is not None and ledger.hash_of(preimage) == payment.payment_hash
        except ValueError:
            return False

    async def chase(self, payment: Payment) -> None:
        """Ask for the outcome until there is one. Only a settled or a certainly failed payment ends it."""
        tries = 0
        while True:
            waits = self._policy.ask_again
            await asyncio.sleep(waits[min(tries, len(waits) - 1)])
            tries += 1
            try:
                result = await self._backend.lookup_payment(payment.payment_hash)
            except (WalletError, OSError, TimeoutError) as error:
                log.warning("cannot look up payment %s: %s", payment.payment_hash[:16], error)
                continue
            if await self._record(payment, result) or await self._ended(payment):
                return
            if self._never_sent(payment, result):
                await self.fail(payment.id, "PAYMENT_FAILED", "the backend never heard of it, and the invoice expired")
                return

    def _never_sent(self, payment: Payment, result: PayResult) -> bool:
        forgotten = result.outcome is Outcome.UNKNOWN and result.code == "NOT_FOUND" and self._backend.caps.remembers
        return forgotten and self._clock() > payment.expires_at + _DAY

    async def _ended(self, payment: Payment) -> bool:
        return (await self._db.write(lambda conn: ledger.get_payment(conn, payment.id))).ended

    async def fail(self, payment_id: int, code: str, detail: str) -> None:
        now = self._clock()
        await self._end(lambda conn: ledger.fail(conn, payment_id, code, detail, now))
