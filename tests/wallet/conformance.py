"""What every backend must do, told as tests. A backend's tests subclass `BackendConformance` and give it a rig.

    class TestLnd(BackendConformance):
        @pytest.fixture
        async def rig(self) -> AsyncIterator[Rig]:
            async with fake_lnd() as rig:
                yield rig

The rig is the backend plus somebody else on the same network, real or simulated by a server that answers as the real
one does. A backend that can't do something says so in its `Caps`, and the test is skipped for it.
"""

import asyncio
import hashlib
import secrets
from typing import Protocol

import pytest

from wallet import bolt11
from wallet.interface import InvoiceState, NotSupported, Outcome, Wallet, WalletError


class Rig(Protocol):
    """A wallet under test, entered, with at least 100,000 sat to spend, and a stranger with as much."""

    wallet: Wallet

    async def foreign_invoice(self, amount_msat: int) -> str:
        """An invoice of the stranger, payable by the wallet."""
        ...

    async def stranger_pays(self, invoice: str) -> None:
        """The stranger pays an invoice of the wallet; returns when the payment is on its way or through."""
        ...

    async def unroutable_invoice(self, amount_msat: int) -> str:
        """A valid invoice that no payment can reach."""
        ...

    async def break_answers(self) -> None:
        """From now on payments go through, and the answer to `pay_invoice` is lost."""
        ...

    async def mend_answers(self) -> None: ...


class BackendConformance:
    async def test_it_says_what_it_is(self, rig: Rig) -> None:
        info = await rig.wallet.info()
        assert info.alias and info.caps == rig.wallet.caps
        assert info.caps.network in bolt11.NETWORKS

    async def test_an_invoice_is_what_was_asked_for(self, rig: Rig) -> None:
        made = await rig.wallet.make_invoice(21_000, description="one song", expiry=900)
        read = bolt11.decode(made.bolt11)
        assert read.amount_msat == made.amount_msat == 21_000
        assert read.payment_hash == made.payment_hash
        assert read.description == "one song"
        assert read.network == rig.wallet.caps.network
        assert made.expires_at == read.expires_at and 0 < read.expiry <= 86400
        found = await rig.wallet.lookup_invoice(made.payment_hash)
        assert found is not None and found.state is InvoiceState.OPEN and found.settled_at is None

    async def test_an_unknown_invoice_is_none(self, rig: Rig) -> None:
        assert await rig.wallet.lookup_invoice("00" * 32) is None

    async def test_a_description_hash_is_committed_to(self, rig: Rig) -> None:
        wanted = hashlib.sha256(b'[["text/plain","a song"]]').hexdigest()
        try:
            made = await rig.wallet.make_invoice(5_000, description_hash=wanted)
        except NotSupported:
            pytest.skip("this backend cannot commit to the hash of a description")
        assert bolt11.decode(made.bolt11).description_hash == wanted

    async def test_being_paid_is_seen(self, rig: Rig) -> None:
        before = await rig.wallet.balance()
        made = await rig.wallet.make_invoice(30_000, description="paid by a stranger")
        await rig.stranger_pays(made.bolt11)
        found = await _until_settled(rig.wallet, made.payment_hash)
        assert (found.received_msat or found.amount_msat) >= 30_000
        assert found.settled_at is not None
        assert made.payment_hash in {i.payment_hash for i in await rig.wallet.list_settled(found.settled_at - 5)}
        assert await rig.wallet.balance() >= before + 29_000  # some backends keep a share for liquidity

    async def test_news_of_being_paid_arrive(self, rig: Rig) -> None:
        made = await rig.wallet.make_invoice(7_000, description="news")
        news = rig.wallet.settled()
        first = asyncio.ensure_future(_wait_for(news, made.payment_hash))
        await asyncio.sleep(0.2)
        await rig.stranger_pays(made.bolt11)
        async with asyncio.timeout(25):
            await first

    async def test_a_payment_settles_with_proof(self, rig: Rig) -> None:
        text = await rig.foreign_invoice(12_000)
        payment_hash = bolt11.decode(text).payment_hash
        result = await rig.wallet.pay_invoice(text, max_fee_msat=5_000, timeout=30)
        assert result.outcome is Outcome.SETTLED, result
        assert result.payment_hash == payment_hash
        if rig.wallet.caps.verifies_preimage:
            assert hashlib.sha256(bytes.fromhex(result.preimage or "")).hexdigest() == payment_hash
        assert 0 <= (result.fee_msat or 0) <= 5_000
        later = await rig.wallet.lookup_payment(payment_hash)
        assert later.outcome is Outcome.SETTLED

    async def test_paying_twice_pays_once(self, rig: Rig) -> None:
        text = await rig.foreign_invoice(9_000)
        first = await rig.wallet.pay_invoice(text, max_fee_msat=5_000, timeout=30)
        after = await rig.wallet.balance()
        second = await rig.wallet.pay_invoice(text, max_fee_msat=5_000, timeout=30)
        assert first.outcome is Outcome.SETTLED
        assert second.outcome is not Outcome.FAILED, "a paid invoice is not a failed payment"
        assert await rig.wallet.balance() == after

    async def test_no_route_is_a_certain_failure(self, rig: Rig) -> None:
        before = await rig.wallet.balance()
        result = await rig.wallet.pay_invoice(await rig.unroutable_invoice(10_000), max_fee_msat=1_000, timeout=30)
        assert result.outcome is Outcome.FAILED, result
        assert result.detail
        assert await rig.wallet.balance() == before

    async def test_a_lost_answer_is_not_a_failure(self, rig: Rig) -> None:
        text = await rig.foreign_invoice(11_000)
        payment_hash = bolt11.decode(text).payment_hash
        await rig.break_answers()
        result = await rig.wallet.pay_invoice(text, max_fee_msat=5_000, timeout=1)
        assert result.outcome in (Outcome.UNKNOWN, Outcome.PENDING, Outcome.SETTLED), result
        await rig.mend_answers()
        async with asyncio.timeout(30):
            while True:
                if (await rig.wallet.lookup_payment(payment_hash)).outcome is Outcome.SETTLED:
                    return
                await asyncio.sleep(0.2)

    async def test_a_payment_nobody_made_is_unknown(self, rig: Rig) -> None:
        result = await rig.wallet.lookup_payment(secrets.token_hex(32))
        assert result.outcome is Outcome.UNKNOWN, "not found is never failed"

    async def test_garbage_is_not_paid(self, rig: Rig) -> None:
        before = await rig.wallet.balance()
        for text in ("", "lnbc1garbage", "not an invoice"):
            try:
                result = await rig.wallet.pay_invoice(text, max_fee_msat=1_000, timeout=10)
            except WalletError:
                continue
            assert result.outcome is Outcome.FAILED
        assert await rig.wallet.balance() == before

    async def test_a_hold_invoice_is_accepted_then_settled(self, rig: Rig) -> None:
        _needs_hold(rig)
        preimage = secrets.token_hex(32)
        payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        made = await rig.wallet.make_hold_invoice(15_000, payment_hash, description="held")
        await rig.stranger_pays(made.bolt11)
        await _until(rig.wallet, payment_hash, InvoiceState.ACCEPTED)
        await rig.wallet.settle_hold_invoice(preimage)
        await _until(rig.wallet, payment_hash, InvoiceState.SETTLED)

    async def test_a_hold_invoice_can_be_cancelled(self, rig: Rig) -> None:
        _needs_hold(rig)
        payment_hash = secrets.token_hex(32)
        made = await rig.wallet.make_hold_invoice(15_000, payment_hash, description="held")
        before = await rig.wallet.balance()
        await rig.stranger_pays(made.bolt11)
        await _until(rig.wallet, payment_hash, InvoiceState.ACCEPTED)
        await rig.wallet.cancel_hold_invoice(payment_hash)
        found = await rig.wallet.lookup_invoice(payment_hash)
        assert found is None or found.state is not InvoiceState.SETTLED
        assert await rig.wallet.balance() == before


def _needs_hold(rig: Rig) -> None:
    if not rig.wallet.caps.hold:
        pytest.skip("this backend has no hold invoices")


async def _wait_for(news: object, payment_hash: str) -> None:
    async for heard in news:  # type: ignore[attr-defined]
        if heard == payment_hash:
            return


async def _until(wallet: Wallet, payment_hash: str, state: InvoiceState):  # type: ignore[no-untyped-def]
    async with asyncio.timeout(20):
        while True:
            found = await wallet.lookup_invoice(payment_hash)
            if found is not None and found.state is state:
                return found
            await asyncio.sleep(0.05)


async def _until_settled(wallet: Wallet, payment_hash: str):  # type: ignore[no-untyped-def]
    return await _until(wallet, payment_hash, InvoiceState.SETTLED)
