"""Purchases from providers of every kind, over a real relay, with money of a fake bank."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from market.buyer import MIGRATIONS, Buyer, Inspect, Update
from market.fetch import Fetched
from market.job import JobInput
from market.purchase import Order
from market.purchases import Purchase, State
from market.review import review_of
from nostr.clock import system_clock
from nostr.database import Database
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from tests.fakes import FakeBank, FakeWallet
from tests.nostr.small_relay import SmallRelay
from tests.providers import PIXEL, FakeProvider, FileServer


class Market:
    """A relay, a bank, one buyer; providers on demand."""

    def __init__(self, relay: SmallRelay, folder: Path) -> None:
        self.relay, self.folder = relay, folder
        self.bank = FakeBank()
        self.wallet = FakeWallet(self.bank, clock=system_clock)  # type: ignore[arg-type]
        self.seller = FakeWallet(self.bank, balance_msat=0, clock=system_clock)  # type: ignore[arg-type]
        self.key = SecretKey.generate()
        self.said: list[str] = []

    def provider(self, **facts: Any) -> FakeProvider:
        return FakeProvider(self.relay.url, self.seller, **facts)

    @asynccontextmanager
    async def buyer(
        self, allow_hosts: Sequence[FileServer] = (), inspect: Inspect | None = None
    ) -> AsyncIterator[Buyer]:
        hosts = [server.url for server in allow_hosts]
        db = await Database.open(self.folder / "market.db", MIGRATIONS)
        try:
            async with (
                Pool([self.relay.url], key=self.key) as pool,
                Buyer(
                    self.key, pool, self.wallet, db=db, files=self.folder / "files", allow_hosts=hosts, inspect=inspect
                ) as buyer,
            ):
                yield buyer
        finally:
            await db.close()

    async def buy(self, mood: str, *, seconds: int = 20, encrypt: bool = False, **facts: Any) -> Purchase:
        max_msat = facts.pop("max_msat", 5_000)
        provider = self.provider(mood=mood, **facts)
        async with provider, self.buyer(allow_hosts=[provider.files]) as buyer:
            order = buyer.order(
                provider.kind,
                [JobInput("a lighthouse", "text")],
                provider=provider.pubkey,
                max_msat=max_msat,
                seconds=seconds,
                encrypt=encrypt,
            )
            return await buyer.buy(order, self.hear)

    def hear(self, update: Update) -> None:
        self.said.append(update.message)

    @property
    def spent(self) -> int:
        return sum(msat for _, msat in self.bank.paid)


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with SmallRelay() as relay:
        yield Market(relay, tmp_path)


async def test_text_is_billed_paid_and_delivered(market: Market) -> None:
    bought = await market.buy("good")
    assert bought.state is State.DELIVERED
    assert bought.result is not None and bought.result.content == "answer to a lighthouse"
    assert market.spent == 5_000 == bought.spent_msat
    assert bought.payment is not None and bought.payment.preimage
    assert market.said[:2] == ["5000 msat please", "paying 5000 msat"] and market.said[-1] == "delivered"


@pytest.mark.parametrize("mood", ["good", "free", "hold", "after", "twice"])
async def test_honest_providers_of_every_kind(market: Market, mood: str) -> None:
    bought = await market.buy(mood, kind=5100)
    assert bought.state is State.DELIVERED, bought.reason
    assert bought.path is not None and bought.path.read_bytes() == PIXEL and bought.mime == "image/png"
    assert market.spent == (0 if mood == "free" else 5_000) == bought.spent_msat


async def zap(market: Market, *, careless: bool = False, lightning: str | None = None) -> Purchase:
    provider = market.provider(mood="zapped")
    provider.files.careless = careless
    async with provider, market.buyer(allow_hosts=[provider.files]) as buyer:
        order = buyer.order(5050, [JobInput("x", "text")], provider=provider.pubkey, max_msat=5_000, seconds=10)
        return await buyer.buy(order, lightning=provider.lnurl if lightning is None else lightning)


async def test_a_bill_without_an_invoice_is_zapped(market: Market) -> None:
    bought = await zap(market)
    assert bought.state is State.DELIVERED and market.spent == 5_000


@pytest.mark.parametrize(
    ("careless", "lightning", "refusal"),
    [(True, None, "bad invoice"), (False, "", "no invoice"), (False, "nobody", "no invoice"),
     (False, "a@127.0.0.1", "no invoice")],
)  # fmt: skip
async def test_a_zap_that_commits_to_nothing_is_not_paid(
    market: Market, careless: bool, lightning: str | None, refusal: str
) -> None:
    bought = await zap(market, careless=careless, lightning=lightning)
    assert (bought.state, bought.refusal, market.spent) == (State.REFUSED, refusal, 0)


async def test_encrypted_job(market: Market) -> None:
    bought = await market.buy("good", encrypt=True)
    assert bought.state is State.DELIVERED
    assert bought.result is not None and bought.result.content == "answer to a lighthouse"
    clear = " ".join(event.to_json().decode() for event in market.relay.events)
    assert "lighthouse" not in clear and "5000" not in clear


@pytest.mark.parametrize(
    ("mood", "refusal"),
    [("dear", "too dear"), ("mismatch", "amount differs"), ("amountless", "bad invoice"), ("expired", "expired"),
     ("mainnet", "wrong network"), ("declines", "declined")],
)  # fmt: skip
async def test_bad_bills_are_never_paid(market: Market, mood: str, refusal: str) -> None:
    bought = await market.buy(mood)
    assert (bought.state, bought.refusal) == (State.REFUSED, refusal)
    assert market.spent == 0


async def test_an_invoice_of_another_job_is_not_paid(market: Market) -> None:
    bought = await market.buy("foreign", seconds=2)
    assert bought.state is State.EXPIRED and market.spent == 0


async def test_one_invoice_is_not_paid_for_two_jobs(market: Market) -> None:
    async with market.provider(mood="reused") as provider, market.buyer() as buyer:
        for expected in (State.DELIVERED, State.REFUSED):
            order = buyer.order(5050, [JobInput("x", "text")], provider=provider.pubkey, max_msat=5_000, seconds=5)
            bought = await buyer.buy(order)
            assert bought.state is expected
    assert bought.refusal == "invoice seen before" and market.spent == 5_000


@pytest.mark.parametrize(
    ("mood", "refusal"),
    [("html", "wrong type"), ("blank", "wrong type"), ("huge", "not fetched"), ("loopback", "not fetched"),
     ("wrong-hash", "not fetched"), ("empty", "empty")],
)  # fmt: skip
async def test_bad_goods_are_rejected(market: Market, mood: str, refusal: str) -> None:
    bought = await market.buy(mood, kind=5100)
    assert bought.state is State.REJECTED
    assert bought.refusal == refusal
    assert market.spent == 5_000


async def test_a_file_that_fails_a_gate_is_rejected_on_these_grounds(market: Market) -> None:
    async def blank(order: Order, fetched: Fetched) -> tuple[str, str] | None:
        return "not blank", "contrast 0.0"

    provider = market.provider(kind=5100)
    async with provider, market.buyer(allow_hosts=[provider.files], inspect=blank) as buyer:
        order = buyer.order(5100, [JobInput("x", "text")], provider=provider.pubkey, max_msat=5_000)
        bought = await buyer.buy(order)
    assert (bought.state, bought.refusal) == (State.REJECTED, "not blank")
    complaint = review_of(bought)
    assert complaint is not None and (complaint.stars, complaint.grounds) == (1, "not blank")
    assert complaint.sha256 == hashlib.sha256(PIXEL).hexdigest() and complaint.result_id


async def test_money_that_bought_nothing_is_said_to_be_lost(market: Market) -> None:
    assert (await market.buy("vanishes", seconds=3)).state is State.LOST
    assert (await market.buy("other", seconds=3)).state is State.LOST
    assert (await market.buy("fails", seconds=5)).state is State.LOST
    assert market.spent == 15_000


async def test_locked_money_comes_back_when_the_job_fails(market: Market) -> None:
    bought = await market.buy("hold-fails")
    assert bought.state is State.REFUNDED and bought.spent_msat == 0


async def test_a_promised_refund_is_claimed(market: Market) -> None:
    before = market.wallet.msat
    bought = await market.buy("pays-back")
    assert bought.state is State.REFUNDED and market.wallet.msat == before


async def test_a_refund_that_takes_its_time_is_seen_later_and_claimed_once(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("market.payer.REFUND_SECONDS", 0.5)
    before, provider = market.wallet.msat, market.provider(mood="owes")
    async with provider:
        async with market.buyer() as buyer:
            order = buyer.order(5050, [JobInput("x", "text")], provider=provider.pubkey, max_msat=5_000)
            assert (await buyer.buy(order)).state is State.LOST
        async with market.buyer() as buyer:
            assert [each.state for each in await buyer.resume()] == [State.LOST]
            (claim,) = provider.claims  # asked for once, however often it is looked for
            await market.seller.pay_invoice(claim)
            assert [each.state for each in await buyer.resume()] == [State.REFUNDED]
    assert market.wallet.msat == before


async def test_killed_while_claiming_a_refund(market: Market) -> None:
    before, provider = market.wallet.msat, market.provider(mood="owes")
    async with provider:
        async with market.buyer() as buyer:
            order = buyer.order(5050, [JobInput("x", "text")], provider=provider.pubkey, max_msat=5_000)
            claiming = asyncio.Event()
            buying = asyncio.create_task(
                buyer.buy(order, lambda update: claiming.set() if "money back" in update.message else None)
            )
            async with asyncio.timeout(5):
                await claiming.wait()
                while not provider.claims:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            buying.cancel()
            await asyncio.gather(buying, return_exceptions=True)
        await market.seller.pay_invoice(provider.claims[0])
        async with market.buyer() as buyer:
            assert [each.state for each in await buyer.resume()] == [State.REFUNDED]
    assert market.wallet.msat == before and len(provider.claims) == 1


async def test_silence_ends_at_the_deadline(market: Market) -> None:
    assert (await market.buy("silent", seconds=1)).state is State.EXPIRED


async def test_a_third_key_can_neither_bill_nor_deliver(market: Market) -> None:
    async with market.provider(mood="late", delay=1.0) as provider, market.buyer() as buyer:
        order = buyer.order(5050, [JobInput("x", "text")], provider=provider.pubkey, max_msat=5_000)
        buying = asyncio.create_task(buyer.buy(order))
        await asyncio.sleep(0.1)
        await provider.forge(order.request, bill=True)
        await provider.forge(order.request)
        bought = await buying
        assert bought.result is not None and bought.result.provider == provider.pubkey
        incidents = await buyer.purchases.incidents(order.id)
    assert market.spent == 5_000
    assert [row["refusal"] for row in incidents] == ["forged", "forged"]


async def test_open_order_takes_the_cheapest_offer(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("market.buyer.OFFER_SECONDS", 0.5)
    async with market.provider(price=4_000) as dear, market.provider(price=3_000) as cheap, market.buyer() as buyer:
        order = buyer.order(5050, [JobInput("x", "text")], provider=None, max_msat=5_000)
        bought = await buyer.buy(order)
    assert bought.provider == cheap.pubkey != dear.pubkey
    assert market.spent == 3_000
    async with Pool([market.relay.url]) as pool:
        said = await pool.fetch(Filter(kinds=[7000], authors=[market.key.public]))
    assert [(event.first("status"), event.first("p")) for event in said] == [("declined", dear.pubkey)]


@pytest.mark.parametrize(
    ("mood", "state", "spent"),
    [("refuses", State.UNPAID, 0), ("loses", State.DOUBTFUL, 0), ("late", State.DELIVERED, 5_000),
     ("lies", State.DOUBTFUL, 0)],
)  # fmt: skip
async def test_every_word_of_the_wallet(market: Market, mood: str, state: State, spent: int) -> None:
    market.wallet.mood = mood
    bought = await market.buy("good", seconds=3)
    assert bought.state is state
    assert market.spent == spent


async def test_too_little_money_is_a_sure_failure(market: Market) -> None:
    market.wallet.msat = 10
    bought = await market.buy("good", seconds=4)
    assert bought.state is State.UNPAID and "money" in (bought.reason or "")


@pytest.mark.parametrize("mood", ["hangs", "pays", "late"])
async def test_an_interrupted_purchase_is_taken_up_and_paid_once(market: Market, mood: str) -> None:
    """The wallet hangs after paying, or we die at any moment: the next start finishes, and pays nothing twice."""
    market.wallet.mood = mood
    async with market.provider() as provider:
        for wait in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3):
            async with market.buyer() as buyer:
                order = buyer.order(5050, [JobInput("x", "text")], provider=provider.pubkey, max_msat=5_000)
                buying = asyncio.create_task(buyer.buy(order))
                await asyncio.sleep(wait)
                buying.cancel()
                await asyncio.gather(buying, return_exceptions=True)
            market.wallet.mood = "pays"
            async with market.buyer() as buyer:
                await buyer.resume()
                bought = await buyer.purchases.get(order.id)
                assert bought is not None and bought.state is State.DELIVERED
            market.wallet.mood = mood
    assert market.spent == 6 * 5_000
    assert len({payment_hash for payment_hash, _ in market.bank.paid}) == 6


async def test_doubt_is_cleared_up_later(market: Market) -> None:
    market.wallet.mood = "loses"
    bought = await market.buy("good", seconds=2)
    assert bought.state is State.DOUBTFUL
    market.wallet.sent[bought.payment.payment_hash] = market.wallet._move(bought.payment.payment_hash)  # type: ignore[union-attr]
    async with market.buyer() as buyer:
        await buyer.resume()
        cleared = await buyer.purchases.get(bought.id)
    assert cleared is not None and cleared.state is State.LOST


async def test_a_result_that_came_late_is_still_collected(market: Market) -> None:
    async with market.provider(mood="late", delay=3.0) as provider:
        async with market.buyer() as buyer:
            order = buyer.order(5050, [JobInput("x", "text")], provider=provider.pubkey, max_msat=5_000, seconds=2)
            assert (await buyer.buy(order)).state is State.LOST
        await asyncio.sleep(2)
        async with market.buyer() as buyer:
            await buyer.resume()
            late = await buyer.purchases.get(order.id)
    assert late is not None and late.state is State.DELIVERED and market.spent == 5_000


async def test_cancelled_before_payment(market: Market) -> None:
    async with market.provider(mood="silent") as provider, market.buyer() as buyer:
        order = buyer.order(5050, [JobInput("x", "text")], provider=provider.pubkey, max_msat=5_000)
        buying = asyncio.create_task(buyer.buy(order))
        await asyncio.sleep(0.3)
        await buyer.cancel(order.id)
        assert (await buying).state is State.CANCELLED
        for _ in range(100):
            if order.id in provider.cancelled:
                return
            await asyncio.sleep(0.05)
    raise AssertionError("the provider never heard of it")


async def test_cancelled_while_nobody_waits_for_it(market: Market) -> None:
    """Interrupted, then taken back by another process: it is not taken up again."""
    async with market.provider(mood="late", delay=1.0):
        async with market.buyer() as buyer:
            order = buyer.order(5050, [JobInput("x", "text")], provider="ab" * 32, max_msat=5_000)
            buying = asyncio.create_task(buyer.buy(order))
            await asyncio.sleep(0.2)
            buying.cancel()
            await asyncio.gather(buying, return_exceptions=True)
        async with market.buyer() as buyer:
            await buyer.cancel(order.id)
            assert await buyer.resume() == []
            taken_back = await buyer.purchases.get(order.id)
    assert taken_back is not None and taken_back.state is State.CANCELLED


async def test_history_counts_what_providers_did(market: Market) -> None:
    async with market.provider(kind=5100) as provider, market.buyer(allow_hosts=[provider.files]) as buyer:
        for mood in ("good", "html", "dear", "good"):
            provider.mood = mood
            order = buyer.order(5100, [JobInput(mood, "text")], provider=provider.pubkey, max_msat=5_000)
            await buyer.buy(order)
        stats = (await buyer.purchases.stats())[provider.pubkey, 5100]
    assert (stats.jobs, stats.delivered, stats.failed) == (4, 2, 2)
    assert stats.billed_above_announced == 1 and stats.spent_msat == 15_000
    assert stats.percentile(0.5) is not None
