"""One of our wallets as the backend of another: money really crosses between two sets of books."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.wallet.house import KEY, House, preimage
from wallet.backends import open_backend
from wallet.interface import InvoiceState, Outcome
from wallet.sending import Policy


class Street:
    def __init__(self, city: House, home: House) -> None:
        self.city, self.home = city, home


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[Street]:
    """`home` keeps its money in an account of `city`."""
    async with House(tmp_path / "city") as city:
        await city.give("home", 500_000)
        uri = await city.uri("home")
        backend = open_backend(f"nwc:{uri.text}", key=KEY, clock=city.clock)
        policy = Policy(poll_seconds=0.2, watch_seconds=3600, pay_timeout=1, ask_again=(0.2,))
        async with House(tmp_path / "home", clock=city.clock, backend=backend, policy=policy) as home:
            yield Street(city, home)
            for house in (city, home):
                assert await house.faults() == [] and await house.bank.check() == []


async def test_a_payment_crosses_to_another_node(street: Street) -> None:
    assert await street.home.holds("owner") == 500_000, "what the backend held at the first start"
    shop = await street.city.client("shop")
    owner = await street.home.client("me", account="owner")
    result = await owner.pay_invoice((await shop.make_invoice(30_000)).bolt11)
    assert result.outcome is Outcome.SETTLED and result.preimage
    assert await street.city.holds("shop") == 30_000
    assert await street.home.holds("owner") == 470_000 == await street.city.holds("home")


async def test_being_paid_from_another_node_is_heard_and_credited_once(street: Street) -> None:
    await street.city.give("buyer", 100_000)
    buyer = await street.city.client("buyer")
    seller = await street.home.client("seller")
    hints = seller.settled()
    hint = asyncio.ensure_future(anext(hints))
    await asyncio.sleep(0.1)
    made = await seller.make_invoice(40_000, description="across")
    assert (await buyer.pay_invoice(made.bolt11)).outcome is Outcome.SETTLED
    assert await asyncio.wait_for(hint, 10) == made.payment_hash
    await asyncio.sleep(0.5)  # several polls later
    found = await seller.lookup_invoice(made.payment_hash)
    assert found is not None and found.state is InvoiceState.SETTLED
    assert await street.home.holds("seller") == 40_000
    assert await street.city.holds("home") == 540_000


async def test_a_certain_failure_there_is_a_certain_failure_here(street: Street) -> None:
    shop = await street.city.client("shop")
    owner = await street.home.client("me", account="owner")
    made = await shop.make_invoice(30_000)
    await street.city.give("rival", 50_000)
    rival = await street.city.client("rival")
    assert (await rival.pay_invoice(made.bolt11)).outcome is Outcome.SETTLED
    result = await owner.pay_invoice(made.bolt11)
    assert result.outcome is Outcome.FAILED
    assert await street.home.holds("owner") == 500_000


async def test_a_hold_crosses_too(street: Street) -> None:
    await street.city.give("buyer", 100_000)
    buyer = await street.city.client("buyer")
    seller = await street.home.client("seller")
    secret, payment_hash = preimage()
    made = await seller.make_hold_invoice(20_000, payment_hash)
    paying = asyncio.create_task(buyer.pay_invoice(made.bolt11, timeout=20))
    async with asyncio.timeout(10):
        while True:
            found = await seller.lookup_invoice(payment_hash)
            if found is not None and found.state is InvoiceState.ACCEPTED:
                break
            await asyncio.sleep(0.1)
    await seller.settle_hold_invoice(secret)
    assert (await paying).outcome is Outcome.SETTLED
    assert await street.home.holds("seller") == 20_000


async def test_the_service_answers_while_its_backend_is_away(street: Street) -> None:
    owner = await street.home.client("me", account="owner")
    shop = await street.city.client("shop")
    made = await shop.make_invoice(30_000)
    await street.city.stop()
    assert await owner.balance() == 500_000
    result = await owner.pay_invoice(made.bolt11, timeout=1)
    assert result.outcome in (Outcome.PENDING, Outcome.UNKNOWN)
    assert await street.home.holds("owner") == 460_000, "reserved with its fee limit"
    await street.city.start()
    async with asyncio.timeout(30):
        while True:
            if (await owner.pay_invoice(made.bolt11, timeout=2)).outcome is Outcome.SETTLED:
                break
            await asyncio.sleep(0.2)
    assert await street.home.holds("owner") == 470_000
    assert await street.city.holds("shop") == 30_000


async def test_a_request_made_while_the_service_restarts_is_answered_soon_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet.nwc._REPEAT", (0.3,) * 20)
    async with House(tmp_path) as house:
        await house.give("a", 90_000)
        client, shop = await house.client("a"), await house.client("b")
        bill = await shop.make_invoice(30_000)
        await house.stop()
        paying = asyncio.create_task(client.pay_invoice(bill.bolt11, timeout=30))
        await asyncio.sleep(0.5)  # nobody hears the first one, and no relay keeps it
        await house.start()
        async with asyncio.timeout(5):
            assert (await paying).outcome is Outcome.SETTLED
        await asyncio.sleep(0.7)  # repeats of it may still arrive
        assert await house.holds("a") == 60_000 and await house.count("payments") == 1


async def test_a_service_that_tells_the_same_page_for_ever_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with House(tmp_path) as house:
        await house.give("b", 90_000)
        a, b = await house.client("a"), await house.client("b")
        for _ in range(3):
            await b.pay_invoice((await a.make_invoice(1_000)).bolt11)
        honest = a.call
        monkeypatch.setattr(a, "call", lambda method, params, **more: honest(method, {**params, "offset": 0}, **more))
        async with asyncio.timeout(10):
            assert len(await a.list_settled(0)) == 3
            assert await a.list_settled(house.clock() + 5) == []


@pytest.mark.parametrize("lie", [-5_000, 2**63, True, "9", None])
async def test_impossible_numbers_of_a_service_are_not_booked(
    street: Street, monkeypatch: pytest.MonkeyPatch, lie: object
) -> None:
    backend, shop = street.home.backend, await street.city.client("shop")
    honest = backend.call  # type: ignore[attr-defined]

    async def lying(method: str, params: dict[str, object], **more: object) -> dict[str, object]:
        said: dict[str, object] = await honest(method, params, **more)
        return {**said, "fees_paid": lie, "received": lie, "settled_at": lie, "settle_by": lie}

    monkeypatch.setattr(backend, "call", lying)
    owner = await street.home.client("me", account="owner")
    result = await owner.pay_invoice((await shop.make_invoice(30_000)).bolt11)
    assert result.outcome is Outcome.SETTLED
    assert await street.home.holds("owner") == 470_000
