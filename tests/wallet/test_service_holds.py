"""Hold invoices inside the box, case 16 of the project's list: locked, then taken or given back, never both."""

import asyncio

import pytest

from tests.wallet.house import House, preimage
from wallet.interface import InvoiceState, Outcome
from wallet.nip47 import NwcError


async def test_16_a_hold_is_locked_then_taken_and_everybody_is_told(house: House) -> None:
    await house.give("buyer", 100_000)
    buyer, seller = await house.client("buyer"), await house.client("seller")
    secret, payment_hash = preimage()
    made = await seller.make_hold_invoice(30_000, payment_hash)
    hints = seller.settled()
    hint = asyncio.ensure_future(anext(hints))
    paying = asyncio.create_task(buyer.pay_invoice(made.bolt11, timeout=10))
    assert await asyncio.wait_for(hint, 5) == payment_hash
    held = await seller.lookup_invoice(payment_hash)
    assert held is not None and held.state is InvoiceState.ACCEPTED
    assert (await house.holds("buyer"), await house.holds("transit"), await house.holds("seller")) == (
        70_000,
        30_000,
        0,
    )
    await seller.settle_hold_invoice(secret)
    result = await paying
    assert (result.outcome, result.preimage) == (Outcome.SETTLED, secret)
    assert (await house.holds("transit"), await house.holds("seller")) == (0, 30_000)


async def test_16_a_cancelled_hold_frees_the_payer(house: House) -> None:
    await house.give("buyer", 100_000)
    buyer, seller = await house.client("buyer", budget=30_000), await house.client("seller")
    _, payment_hash = preimage()
    made = await seller.make_hold_invoice(30_000, payment_hash)
    paying = asyncio.create_task(buyer.pay_invoice(made.bolt11, timeout=10))
    await _until_locked(house, 30_000)
    await seller.cancel_hold_invoice(payment_hash)
    result = await paying
    assert result.outcome is Outcome.FAILED
    assert await house.holds("buyer") == 100_000
    assert (await buyer.call("get_budget", {}))["used_budget"] == 0


async def test_16_a_forgotten_hold_goes_back_also_after_a_restart(house: House) -> None:
    await house.give("buyer", 100_000)
    buyer, seller = await house.client("buyer"), await house.client("seller")
    secret, payment_hash = preimage()
    made = await seller.make_hold_invoice(30_000, payment_hash)
    paying = asyncio.create_task(buyer.pay_invoice(made.bolt11, timeout=20))
    await _until_locked(house, 30_000)
    await house.restart()
    house.clock.turn(house.policy.hold_seconds + 1)
    result = await paying
    assert result.outcome is Outcome.FAILED, "the answer to a request from before the restart"
    assert await house.holds("buyer") == 100_000
    with pytest.raises(NwcError):
        await seller.settle_hold_invoice(secret)


async def test_16_a_stranger_can_neither_settle_nor_cancel(house: House) -> None:
    await house.give("buyer", 100_000)
    buyer, seller = await house.client("buyer"), await house.client("seller")
    secret, payment_hash = preimage()
    made = await seller.make_hold_invoice(30_000, payment_hash)
    paying = asyncio.create_task(buyer.pay_invoice(made.bolt11, timeout=10))
    await _until_locked(house, 30_000)
    for work in (buyer.settle_hold_invoice(secret), buyer.cancel_hold_invoice(payment_hash)):
        with pytest.raises(NwcError) as refused:
            await work
        assert refused.value.code == "NOT_FOUND"
    await seller.settle_hold_invoice(secret)
    assert (await paying).outcome is Outcome.SETTLED


async def _until_locked(house: House, msat: int) -> None:
    async with asyncio.timeout(5):
        while await house.holds("transit") != msat:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
