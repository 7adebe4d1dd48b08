"""The backend that needs nothing: signed `lnbcrt` invoices, paid only inside the box. Credits, not Lightning.

Wallets of the real network reject the prefix, so nobody can lose money by paying such an invoice. Nothing leaves and
nothing comes in: `pay_invoice` fails for certain, and the ledger settles payments between its accounts by itself.
"""

import hashlib
import secrets
from collections.abc import AsyncIterator
from typing import Self

from nostr.clock import Clock, system_clock
from nostr.key import SecretKey
from wallet import bolt11
from wallet.interface import Caps, Invoice, InvoiceState, NotSupported, Outcome, PayResult, WalletInfo

CAPS = Caps(network="regtest", hold=True, real_money=False)
ALIAS = "ledger (credits, not Lightning)"
BLOCK_SECONDS = 600  # the ledger has no chain; one "block" every ten minutes lets clients read settle deadlines


class LedgerWallet:
    """Signs with `key`. The preimage of an invoice is on the `Invoice` that `make_invoice` returns."""

    caps = CAPS

    def __init__(self, key: SecretKey, clock: Clock = system_clock) -> None:
        self._key = key
        self._clock = clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def info(self) -> WalletInfo:
        return WalletInfo(ALIAS, CAPS, block_height=self._clock() // BLOCK_SECONDS)

    async def balance(self) -> int:
        """Nothing: credits exist only in the books."""
        return 0

    async def make_invoice(
        self,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
    ) -> Invoice:
        preimage = secrets.token_bytes(32)
        payment_hash = hashlib.sha256(preimage).hexdigest()
        return self._sign(amount_msat, payment_hash, preimage.hex(), description, description_hash, expiry)

    async def make_hold_invoice(
        self, amount_msat: int, payment_hash: str, *, description: str | None = None, expiry: int = 600
    ) -> Invoice:
        return self._sign(amount_msat, payment_hash, None, description, None, expiry)

    def _sign(
        self,
        amount_msat: int,
        payment_hash: str,
        preimage: str | None,
        description: str | None,
        description_hash: str | None,
        expiry: int,
    ) -> Invoice:
        now = self._clock()
        text = bolt11.encode(
            key=self._key,
            network=CAPS.network,
            amount_msat=amount_msat,
            payment_hash=payment_hash,
            created_at=now,
            description=(description or "") if description_hash is None else None,
            description_hash=description_hash,
            expiry=expiry,
        )
        return Invoice(
            text,
            payment_hash,
            amount_msat,
            now,
            now + expiry,
            InvoiceState.OPEN,
            preimage=preimage,
            description=description,
        )

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        return PayResult(Outcome.FAILED, "", code="RESTRICTED", detail="credits can't leave the box")

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        return PayResult(Outcome.FAILED, payment_hash, code="RESTRICTED", detail="credits can't leave the box")

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        return None

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        return []

    async def settled(self) -> AsyncIterator[str]:
        nothing: tuple[str, ...] = ()
        for payment_hash in nothing:
            yield payment_hash

    async def settle_hold_invoice(self, preimage: str) -> None:
        raise NotSupported("the ledger settles holds itself")

    async def cancel_hold_invoice(self, payment_hash: str) -> None:
        raise NotSupported("the ledger cancels holds itself")


def open_backend(rest: str, *, key: SecretKey, clock: Clock = system_clock) -> LedgerWallet:
    return LedgerWallet(key, clock)
