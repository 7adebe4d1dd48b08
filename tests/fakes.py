"""Stand-ins with real behaviour, not mocks: what they do to money and time is what the real ones do."""

import asyncio
import hashlib
import itertools
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Self

from wallet.interface import Caps, Invoice, InvoiceState, NotSupported, Outcome, PayResult, WalletInfo, WalletRefused


class FakeClock:
    """A clock that stands until it is turned."""

    def __init__(self, now: int = 1_800_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def turn(self, seconds: int) -> None:
        self.now += seconds


@dataclass
class FakeBank:
    """The other side of every FakeWallet: who owns which invoice, who was paid. One bank is one Lightning network."""

    invoices: dict[str, tuple["FakeWallet", Invoice, str | None]] = field(default_factory=dict)
    by_bolt11: dict[str, str] = field(default_factory=dict)
    paid: list[tuple[str, int]] = field(default_factory=list)  # (payment_hash, msat), one row a real payment
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)


class FakeWallet:
    """Pays and gets paid inside a FakeBank. `mood` decides what a payment does:

    pays | refuses (FAILED) | hangs (never answers; pays all the same) | loses (UNKNOWN; nothing paid)
    | late (UNKNOWN; paid, and a later look-up says so) | lies (claims SETTLED with a wrong preimage)
    """

    def __init__(
        self,
        bank: FakeBank | None = None,
        *,
        balance_msat: int = 10**9,
        clock: FakeClock | None = None,
        hold: bool = True,
        network: str = "regtest",
    ) -> None:
        self.bank = bank or FakeBank()
        self.clock = clock or FakeClock()
        self.msat = balance_msat
        self.mood = "pays"
        self.caps = Caps(network=network, hold=hold, real_money=False)
        self.sent: dict[str, PayResult] = {}
        self._news: list[asyncio.Queue[str]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def info(self) -> WalletInfo:
        return WalletInfo("fake", self.caps)

    async def balance(self) -> int:
        return self.msat

    async def make_invoice(
        self,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
    ) -> Invoice:
        preimage = secrets.token_hex(32)
        return self._issue(
            amount_msat,
            hashlib.sha256(bytes.fromhex(preimage)).hexdigest(),
            preimage,
            description,
            expiry,
            description_hash,
        )

    async def make_hold_invoice(
        self, amount_msat: int, payment_hash: str, *, description: str | None = None, expiry: int = 600
    ) -> Invoice:
        if not self.caps.hold:
            raise NotSupported("this wallet has no hold invoices")
        return self._issue(amount_msat, payment_hash, None, description, expiry)

    def _issue(
        self,
        msat: int,
        payment_hash: str,
        preimage: str | None,
        description: str | None,
        expiry: int,
        description_hash: str | None = None,
    ) -> Invoice:
        from nostr.key import SecretKey
        from wallet import bolt11

        made = bolt11.encode(
            key=SecretKey.generate(),
            network=self.caps.network,
            amount_msat=msat,
            payment_hash=payment_hash,
            description=(description or "") if description_hash is None else None,
            description_hash=description_hash,
            created_at=self.clock(),
            expiry=expiry,
        )
        invoice = Invoice(
            made,
            payment_hash,
            msat,
            self.clock(),
            self.clock() + expiry,
            InvoiceState.OPEN,
            preimage,
            description=description,
        )
        self.bank.invoices[payment_hash] = (self, invoice, preimage)
        self.bank.by_bolt11[made] = payment_hash
        return replace(invoice, preimage=None)

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        payment_hash = self.bank.by_bolt11.get(bolt11.lower())
        if payment_hash is None:
            return PayResult(Outcome.FAILED, "", code="PAYMENT_FAILED", detail="no route")
        before = self.sent.get(payment_hash)
        if before is not None and before.outcome is Outcome.SETTLED:
            return before
        if self.mood == "refuses":
            return PayResult(Outcome.FAILED, payment_hash, code="PAYMENT_FAILED", detail="no route")
        if self.mood == "loses":
            return PayResult(Outcome.UNKNOWN, payment_hash, detail="no answer")
        if self.mood == "lies":
            return PayResult(Outcome.SETTLED, payment_hash, preimage="00" * 32, fee_msat=0)
        result = self._move(payment_hash)
        self.sent[payment_hash] = result
        if self.mood == "hangs":
            await asyncio.sleep(3600)
        if self.mood == "late":
            return PayResult(Outcome.UNKNOWN, payment_hash, detail="no answer")
        return result

    def _move(self, payment_hash: str) -> PayResult:
        owner, invoice, preimage = self.bank.invoices[payment_hash]
        if invoice.state is not InvoiceState.OPEN or invoice.expires_at <= self.clock():
            return PayResult(Outcome.FAILED, payment_hash, code="PAYMENT_FAILED", detail=f"invoice is {invoice.state}")
        if self.msat < invoice.amount_msat:
            raise WalletRefused("INSUFFICIENT_BALANCE", "not enough money")
        self.msat -= invoice.amount_msat
        self.bank.paid.append((payment_hash, invoice.amount_msat))
        if preimage is None:  # a hold invoice: locked, not taken
            self.bank.invoices[payment_hash] = (owner, replace(invoice, state=InvoiceState.ACCEPTED), None)
            owner._tell(payment_hash)
            return PayResult(Outcome.PENDING, payment_hash)
        owner.msat += invoice.amount_msat
        settled = replace(
            invoice, state=InvoiceState.SETTLED, settled_at=self.clock(), received_msat=invoice.amount_msat
        )
        self.bank.invoices[payment_hash] = (owner, settled, preimage)
        owner._tell(payment_hash)
        return PayResult(Outcome.SETTLED, payment_hash, preimage, 0)

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        state = self.bank.invoices.get(payment_hash)
        if payment_hash in self.sent and state is not None:
            _, invoice, preimage = state
            if invoice.state is InvoiceState.SETTLED:
                return PayResult(Outcome.SETTLED, payment_hash, preimage, 0)
            if invoice.state is InvoiceState.CANCELLED:
                return PayResult(Outcome.FAILED, payment_hash, code="PAYMENT_FAILED", detail="cancelled by the payee")
            return self.sent[payment_hash]
        return PayResult(Outcome.UNKNOWN, payment_hash)

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        state = self.bank.invoices.get(payment_hash)
        if state is None or state[0] is not self:
            return None
        invoice = state[1]
        if invoice.state is InvoiceState.OPEN and invoice.expires_at <= self.clock():
            return replace(invoice, state=InvoiceState.EXPIRED)
        return replace(invoice, preimage=state[2] if invoice.state is InvoiceState.SETTLED else None)

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        mine = [invoice for owner, invoice, _ in self.bank.invoices.values() if owner is self]
        done = [invoice for invoice in mine if invoice.settled_at is not None and invoice.settled_at >= since]
        return sorted(done, key=lambda invoice: invoice.settled_at or 0)[:limit]

    async def settled(self) -> AsyncIterator[str]:
        news: asyncio.Queue[str] = asyncio.Queue()
        self._news.append(news)
        while True:
            yield await news.get()

    async def settle_hold_invoice(self, preimage: str) -> None:
        payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        owner, invoice, _ = self.bank.invoices[payment_hash]
        if invoice.state is not InvoiceState.ACCEPTED:
            raise WalletRefused("OTHER", f"invoice is {invoice.state}")
        self.msat += invoice.amount_msat
        settled = replace(
            invoice, state=InvoiceState.SETTLED, settled_at=self.clock(), received_msat=invoice.amount_msat
        )
        self.bank.invoices[payment_hash] = (owner, settled, preimage)
        self._tell(payment_hash)

    async def cancel_hold_invoice(self, payment_hash: str) -> None:
        owner, invoice, preimage = self.bank.invoices[payment_hash]
        if invoice.state is InvoiceState.SETTLED:
            raise WalletRefused("OTHER", "invoice is settled")
        self.bank.invoices[payment_hash] = (owner, replace(invoice, state=InvoiceState.CANCELLED), preimage)

    def _tell(self, payment_hash: str) -> None:
        for news in self._news:
            news.put_nowait(payment_hash)
