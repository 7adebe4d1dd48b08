"""What every wallet of this project can do: our NWC client, each Lightning backend, the ledger, the fakes of the tests.

A payment has four outcomes, and the difference between the last two and `FAILED` is money: a payment that is pending or
unknown is never replaced by a second one.

    WalletError                    nothing was paid, and the message says why
    |- WalletUnreachable           no answer, before anything was sent
    |- WalletRefused               the wallet said no (code of NIP-47: RESTRICTED, QUOTA_EXCEEDED, ...)
    |- NotSupported                this wallet lacks the ability (hold invoices, for instance)
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self, runtime_checkable


class Outcome(StrEnum):
    SETTLED = "settled"
    FAILED = "failed"  # for certain: no money left or will leave
    PENDING = "pending"  # on its way
    UNKNOWN = "unknown"  # sent, no word yet


class InvoiceState(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"  # a hold invoice whose money is locked and not yet taken
    SETTLED = "settled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class PayResult:
    """What came of a payment. `preimage` (hex) and `fee_msat` are there when settled; `code` is NIP-47's."""

    outcome: Outcome
    payment_hash: str
    preimage: str | None = None
    fee_msat: int | None = None
    code: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice of ours. Times in seconds, amounts in msat, hashes in hex."""

    bolt11: str
    payment_hash: str
    amount_msat: int
    created_at: int
    expires_at: int
    state: InvoiceState
    preimage: str | None = None
    settled_at: int | None = None
    received_msat: int | None = None
    description: str | None = None
    settle_deadline: int | None = None


@dataclass(frozen=True, slots=True)
class Caps:
    """What a wallet can do. `network` is bitcoin, testnet, signet or regtest; `real_money` is False for credits."""

    network: str
    hold: bool = False
    fee_limit: bool = False
    amountless: bool = False
    verifies_preimage: bool = True
    real_money: bool = True
    remembers: bool = False  # a payment it does not know, long after its invoice expired, was never made


@dataclass(frozen=True, slots=True)
class WalletInfo:
    alias: str
    caps: Caps
    methods: tuple[str, ...] = ()
    pubkey: str | None = None
    block_height: int | None = None


class WalletError(Exception):
    """Nothing was paid; the message says why and what to do."""

    code = "OTHER"


class WalletUnreachable(WalletError):
    code = "INTERNAL"


class WalletRefused(WalletError):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotSupported(WalletError):
    code = "NOT_IMPLEMENTED"


@runtime_checkable
class Wallet(Protocol):
    """An async context manager; `caps` is filled once it is entered."""

    @property
    def caps(self) -> Caps: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def info(self) -> WalletInfo: ...

    async def balance(self) -> int:
        """Spendable msat."""
        ...

    async def make_invoice(
        self,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
    ) -> Invoice: ...

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        """Pay once. Safe to repeat for the same invoice. Never raises for an outcome that is not certain.

        `purpose` names what is bought (`job:<id>`): a wallet with books pays one invoice for it at most. Others ignore
        it.
        """
        ...

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        """What became of a payment we sent. UNKNOWN where the wallet does not know either."""
        ...

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None: ...

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        """Invoices of ours settled at or after `since`, oldest first: for reconciling after a time away."""
        ...

    def settled(self) -> AsyncIterator[str]:
        """Payment hashes of our invoices as they are paid or accepted: a hint to look up, never a proof."""
        ...

    async def make_hold_invoice(
        self, amount_msat: int, payment_hash: str, *, description: str | None = None, expiry: int = 600
    ) -> Invoice: ...

    async def settle_hold_invoice(self, preimage: str) -> None: ...

    async def cancel_hold_invoice(self, payment_hash: str) -> None: ...
