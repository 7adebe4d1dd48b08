"""The directory and the witness, from events to offers and scores, over a real relay."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from market import directory as directory_module
from market.announcement import Profile, build_announcement, build_heartbeat, build_relay_list, build_withdrawal
from market.directory import Directory
from market.purchases import State, Stats
from market.reputation import Reputation
from market.review import build_recommendation, build_review, review_of
from market.witness import Witness
from nostr.clock import system_clock
from nostr.key import SecretKey
from nostr.pool import Pool
from tests.fakes import FakeClock
from tests.market.test_buyer import Market
from tests.nostr.small_relay import SmallRelay


def profile(**facts: object) -> Profile:
    return Profile(**{"d": "x", "kinds": (5100,), "name": "Painter", "about": "", "price_msat": 8_000, **facts})  # type: ignore[arg-type]


def directory(clock: FakeClock) -> Directory:
    return Directory(Pool([]), clock)


def test_announcements_beats_and_silence(clock: FakeClock) -> None:
    key, book = SecretKey.generate(), directory(clock)
    book.feed(build_announcement(key, profile(), created_at=clock()))
    (offer,) = book.offers(5100)
    assert (offer.name, offer.price_msat, offer.alive, offer.liveness) == ("Painter", 8_000, False, 0.0)
    book.feed(build_heartbeat(key, "x", created_at=clock()))
    assert book.offers(5100)[0].alive and book.offers(5100)[0].liveness == 1.0
    clock.turn(800)
    assert book.offers(5100)[0].alive and 0.4 < book.offers(5100)[0].liveness < 0.5
    clock.turn(200)
    assert not book.offers(5100)[0].alive and book.offers(5100, dead=False) == []
    assert book.offers(5050) == []


def test_strangers_do_not_crowd_out_the_living(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "_MOST", 20)
    living, book = SecretKey.generate(), directory(clock)
    book.feed(build_announcement(living, profile(relays=("wss://a.example",)), created_at=clock()))
    for _ in range(100):
        clock.turn(1)
        book.feed(build_heartbeat(living, "x", created_at=clock()))
        stranger = SecretKey.generate()
        book.feed(build_announcement(stranger, profile(name="Spam"), created_at=clock()))
        book.feed(build_relay_list(stranger, ["wss://b.example"], created_at=clock()))
    assert len(book.offers(5100)) == 20
    assert [offer.relays for offer in book.offers(5100) if offer.provider == living.public] == [("wss://a.example",)]


def test_the_newest_announcement_counts_and_withdrawal_ends_it(clock: FakeClock) -> None:
    key, book = SecretKey.generate(), directory(clock)
    new = build_announcement(key, profile(price_msat=9_000), created_at=clock() + 10)
    for event in (new, build_announcement(key, profile(), created_at=clock())):
        book.feed(event)
    assert [offer.price_msat for offer in book.offers()] == [9_000]
    book.feed(build_withdrawal(SecretKey.generate(), created_at=clock() + 20, retire=["x"]))
    assert len(book.offers()) == 1
    book.feed(build_withdrawal(key, created_at=clock() + 20, retire=["x"]))
    assert book.offers() == []


def test_what_was_really_billed_is_expected_not_what_is_announced(clock: FakeClock) -> None:
    key, book = SecretKey.generate(), directory(clock)
    book.feed(build_announcement(key, profile(), created_at=clock()))
    book.stats = {(key.public, 5100): Stats(jobs=3, delivered=3, billed=(8_000, 12_000, 12_000))}
    (offer,) = book.offers()
    assert (offer.price_msat, offer.billed_msat, offer.expected_msat) == (8_000, 12_000, 12_000)


def test_relays_and_recommendations(clock: FakeClock) -> None:
    key, fan, book = SecretKey.generate(), SecretKey.generate(), directory(clock)
    announcement = build_announcement(key, profile(relays=("wss://a.example",)), created_at=clock())
    book.feed(announcement)
    book.feed(build_relay_list(key, ["wss://b.example"], created_at=clock()))
    book.feed(build_recommendation(fan, 5100, [announcement.address], created_at=clock()))
    (offer,) = book.offers()
    assert offer.relays == ("wss://a.example", "wss://b.example") and offer.recommended_by == {fan.public}


async def test_the_sellers_own_relays_are_asked_too() -> None:
    """A heartbeat that only the seller's own relay has is found through the relay list on ours."""
    async with SmallRelay() as ours, SmallRelay() as theirs:
        key, now = SecretKey.generate(), system_clock()
        ours.events += [
            build_announcement(key, profile(), created_at=now),
            build_relay_list(key, [theirs.url], created_at=now),
        ]
        theirs.events.append(build_heartbeat(key, "x", created_at=now))
        async with Pool([ours.url]) as pool:
            book = Directory(pool)
            await book.load([5100])
            assert book.offers()[0].alive


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with SmallRelay() as relay:
        yield Market(relay, tmp_path)


async def test_culprits_fall_and_honest_sellers_rise_in_the_eyes_of_others(market: Market) -> None:
    """Two purchases are reviewed; a third party that follows the buyer verifies the reviews and scores both sellers."""
    good, thief = market.provider(kind=5050), market.provider(kind=5050, mood="vanishes")
    async with good, thief:
        for provider, state in ((good, State.DELIVERED), (thief, State.LOST)):
            bought = await market_buy(market, provider)
            assert bought.state is state
            facts = review_of(bought)
            assert facts is not None
            for event in build_review(market.key, facts, created_at=system_clock()):
                await market.relay.accept(event)
    onlooker = SecretKey.generate()
    await market.relay.accept(onlooker.sign(kind=3, tags=[["p", market.key.public]]))
    liar = SecretKey.generate()
    facts = review_of(bought)
    assert facts is not None
    await market.relay.accept(liar.sign(kind=31117, tags=build_review(liar, facts, created_at=1)[0].tags))
    async with Pool([market.relay.url]) as pool:
        witness = Witness(pool)
        await witness.listen_to({good.pubkey, thief.pubkey}, onlooker.public)
    book = Reputation(witness.viewpoint(own=[onlooker.public]), witness.evidence, now=system_clock())
    assert book.score(good.pubkey, 5050).mean > 0.5 > book.score(thief.pubkey, 5050).mean
    verdicts = {review.author: verdict for review, verdict in witness.reviews(thief.pubkey)}
    assert verdicts[market.key.public].paid and not verdicts[market.key.public].opinion
    assert not verdicts[liar.public].paid


async def market_buy(market: Market, provider):  # type: ignore[no-untyped-def]
    from market.job import JobInput

    async with market.buyer() as buyer:
        order = buyer.order(5050, [JobInput("x", "text")], provider=provider.pubkey, max_msat=5_000, seconds=3)
        return await buyer.buy(order)
