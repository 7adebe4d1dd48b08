import asyncio
from collections.abc import AsyncIterator

import pytest

from nostr import Event, Filter, SecretKey
from nostr.client import Connection
from nostr.errors import RelayRefused, RelayUnreachable
from nostr.pool import Pool, normalise
from tests.nostr.small_relay import SmallRelay

KEY = SecretKey.generate()


def note(text: str, at: int = 1000, kind: int = 1, key: SecretKey = KEY) -> Event:
    return key.sign(kind=kind, content=text, created_at=at)


@pytest.fixture
async def relay() -> AsyncIterator[SmallRelay]:
    async with SmallRelay() as relay:
        yield relay


async def take(sub: object, count: int) -> list[str]:
    got = []
    async with asyncio.timeout(10):
        async for event in sub:  # type: ignore[attr-defined]
            got.append(event.content)
            if len(got) == count:
                return got
    return got


async def test_publish_and_fetch(relay: SmallRelay) -> None:
    async with Connection(relay.url) as c:
        first, second = note("first", 1), note("second", 2)
        assert (await c.publish(first)).accepted
        assert (await c.publish(second)).accepted
        again = await c.publish(first)
        assert again.accepted and again.message.startswith("duplicate:")
        assert await c.fetch(Filter(kinds=[1])) == [second, first]
        assert await c.count(Filter(kinds=[1])) == 2
        assert await c.fetch(Filter(kinds=[2])) == []


async def test_refusal_is_told(relay: SmallRelay) -> None:
    relay.refusal = "blocked: no"
    async with Connection(relay.url) as c:
        ok = await c.publish(note("x"))
        assert not ok.accepted and ok.answered and ok.message == "blocked: no"


async def test_no_answer_is_not_a_refusal(relay: SmallRelay) -> None:
    relay.mute = True
    async with Connection(relay.url) as c:
        ok = await c.publish(note("x"), timeout=0.2)
        assert not ok.accepted and not ok.answered


async def test_publish_survives_a_reconnect(relay: SmallRelay) -> None:
    relay.mute = True
    async with Connection(relay.url) as c:
        publishing = asyncio.create_task(c.publish(note("x"), timeout=8))
        await asyncio.sleep(0.2)
        await relay.cut()
        relay.mute = False
        assert (await publishing).accepted


async def test_publish_before_the_relay_is_there() -> None:
    relay = await SmallRelay().start()
    await relay.stop()
    async with Connection(relay.url) as c:
        publishing = asyncio.create_task(c.publish(note("x"), timeout=8))
        await asyncio.sleep(0.3)
        async with relay:
            assert (await publishing).accepted


async def test_subscription_sees_stored_then_live(relay: SmallRelay) -> None:
    await relay.accept(note("stored"))
    async with Connection(relay.url) as c:
        async with c.subscribe(Filter(kinds=[1])) as sub:
            await sub.eose()
            await relay.accept(note("live"))
            assert await take(sub, 2) == ["stored", "live"]
        await asyncio.sleep(0.05)
        assert [m[0] for m in relay.heard if m[0] == "CLOSE"] == ["CLOSE"]


async def test_subscription_survives_a_restart_without_loss_or_repeat(relay: SmallRelay) -> None:
    async with Connection(relay.url, clock=lambda: 1000) as c, c.subscribe(Filter(kinds=[1], limit=1)) as sub:
        await sub.eose()
        await relay.accept(note("one", 1000))
        assert await take(sub, 1) == ["one"]
        await relay.stop()
        relay.events.extend([note("missed", 1001), note("also missed", 1002)])
        await relay.start()
        got = await take(sub, 2)
        assert sorted(got) == ["also missed", "missed"]
        await relay.accept(note("after", 1003))
        assert await take(sub, 1) == ["after"]


async def test_catch_up_pages_past_the_limit_of_the_relay(relay: SmallRelay) -> None:
    relay.max_limit = 100
    async with Connection(relay.url, clock=lambda: 1000) as c, c.subscribe(Filter(kinds=[1], limit=0)) as sub:
        await sub.eose()
        await relay.stop()
        relay.events.extend(note(str(n), 1000 + n // 7) for n in range(350))
        await relay.start()
        assert sorted(map(int, await take(sub, 350))) == list(range(350))


async def test_slow_reader_is_bounded_and_loses_no_live_event(relay: SmallRelay) -> None:
    async with (
        Connection(relay.url, clock=lambda: 1000) as c,
        c.subscribe(Filter(kinds=[1]), capacity=10) as sub,
    ):
        await sub.eose()
        for n in range(50):
            await relay.accept(note(str(n), 1000 + n))
        await asyncio.sleep(0.3)
        assert len(sub._queue) <= 10
        assert sorted(map(int, await take(sub, 50))) == list(range(50))
        assert sub.dropped == 0


async def test_forged_and_unwanted_events_are_left_out(relay: SmallRelay) -> None:
    good = note("good")
    forged = Event(good.id, good.pubkey, good.created_at, good.kind, good.tags, "forged", good.sig)
    async with Connection(relay.url) as c, c.subscribe(Filter(kinds=[1])) as sub:
        await sub.eose()
        (ws,) = relay.sockets
        (sid,) = relay.sockets[ws]
        for event in (forged.to_dict(), note("other kind", kind=7).to_dict(), {"id": []}, None, good.to_dict()):
            await relay._send(ws, ["EVENT", sid, event])
        await ws.send_str("not json")
        await ws.send_bytes(b"\xff\xfe")
        await relay.accept(note("next"))
        assert await take(sub, 2) == ["good", "next"]


async def test_auth_opens_reading_and_writing(relay: SmallRelay) -> None:
    relay.auth = True
    async with Connection(relay.url, key=KEY) as c:
        assert (await c.publish(note("x"))).accepted
        assert [e.content for e in await c.fetch(Filter(kinds=[1]))] == ["x"]
    async with Connection(relay.url) as stranger:
        ok = await stranger.publish(note("y"))
        assert not ok.accepted and ok.message.startswith("auth-required:")
        with pytest.raises(RelayRefused, match="auth-required"):
            await stranger.fetch(Filter(kinds=[1]))


async def test_unreachable_relay_is_an_error_not_an_empty_answer() -> None:
    relay = await SmallRelay().start()
    await relay.stop()
    async with Connection(relay.url) as c:
        with pytest.raises(RelayUnreachable):
            await c.fetch(Filter(kinds=[1]), timeout=0.3)
        with pytest.raises(RelayUnreachable):
            await c.count(Filter(kinds=[1]), timeout=0.3)
        ok = await c.publish(note("x"), timeout=0.3)
        assert not ok.answered


async def test_passing_refusal_is_asked_again(relay: SmallRelay) -> None:
    relay.close_reqs = "rate-limited: slow down"
    await relay.accept(note("x"))
    async with Connection(relay.url) as c, c.subscribe(Filter(kinds=[1])) as sub:
        await asyncio.sleep(0.2)
        relay.close_reqs = ""
        assert await take(sub, 1) == ["x"]


async def test_final_refusal_ends_the_subscription(relay: SmallRelay) -> None:
    relay.close_reqs = "blocked: not this"
    async with Connection(relay.url) as c, c.subscribe(Filter(kinds=[1])) as sub:
        with pytest.raises(RelayRefused, match="not this"):
            await take(sub, 1)


async def test_pool_merges_and_tells_each_answer() -> None:
    async with SmallRelay() as a, SmallRelay(refusal="blocked: no") as b, Pool([a.url, b.url + "/"]) as pool:
        assert pool.relays == (a.url, b.url)
        both = note("both")
        await a.accept(both)
        await b.accept(both)
        await b.accept(note("only b", 2))
        assert [e.content for e in await pool.fetch(Filter(kinds=[1]))] == ["both", "only b"]
        answers = await pool.publish(note("new", 3))
        assert answers[a.url].accepted and not answers[b.url].accepted
        async with pool.subscribe(Filter(kinds=[1])) as sub:
            await sub.eose()
            await b.accept(note("live", 4))
            assert sorted(await take(sub, 4)) == ["both", "live", "new", "only b"]
        assert pool.state() == {a.url: "up", b.url: "up"}


async def test_pool_works_while_a_relay_is_dead() -> None:
    dead = await SmallRelay().start()
    await dead.stop()
    async with SmallRelay() as alive, Pool([alive.url, dead.url]) as pool:
        await alive.accept(note("x"))
        async with asyncio.timeout(5):
            assert [e.content for e in await pool.fetch(Filter(kinds=[1]))] == ["x"]
        async with pool.subscribe(Filter(kinds=[1])) as sub:
            async with asyncio.timeout(5):
                await sub.eose()
            await dead.start()
            await asyncio.sleep(0.1)
            await pool.connected(10, at_least=2)
            await dead.accept(note("back", 9))
            assert sorted(await take(sub, 2)) == ["back", "x"]
        await dead.stop()


async def test_a_guarded_pool_dials_no_strangers_relay_at_a_private_address() -> None:
    async with SmallRelay() as home, SmallRelay() as guest, SmallRelay() as known:
        known_place = known.url.removeprefix("ws://")
        async with Pool([home.url], private_hosts=[known_place]) as pool:
            by_name = guest.url.replace("127.0.0.1", "localhost")
            answers = await pool.publish(note("x"), relays=[home.url, guest.url, by_name, known.url], timeout=1)
            assert answers[home.url].accepted and answers[known.url].accepted
            assert not answers[guest.url].answered and not answers[by_name].answered
            assert not guest.events
            pool.add(guest.url)  # the owner's own word
            assert (await pool.publish(note("x"), relays=[guest.url]))[guest.url].accepted


async def test_pool_dials_guests_and_spreads_to_added_relays() -> None:
    async with SmallRelay() as home, SmallRelay() as guest, SmallRelay() as late, Pool([home.url]) as pool:
        answers = await pool.publish(note("x"), relays=[guest.url, "https://no.relay", "nonsense"])
        assert answers[guest.url].accepted and len(guest.events) == 1
        assert answers["nonsense"].message.startswith("invalid:")
        assert pool.relays == (home.url,)
        async with pool.subscribe(Filter(kinds=[1])) as sub:
            pool.add(late.url)
            await pool.connected(5, at_least=2)
            await late.accept(note("late", 5))
            assert await take(sub, 1) == ["late"]
            await pool.remove(late.url)
            await home.accept(note("home", 6))
            assert await take(sub, 1) == ["home"]


async def test_pool_with_nobody_there_says_so() -> None:
    relay = await SmallRelay().start()
    await relay.stop()
    async with Pool([relay.url]) as pool:
        with pytest.raises(RelayUnreachable):
            await pool.fetch(Filter(kinds=[1]), timeout=0.3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("wss://Relay.Example/", "wss://relay.example"),
        ("wss://relay.example:443", "wss://relay.example"),
        ("ws://[::1]:7777/x/", "ws://[::1]:7777/x"),
        (" ws://h?a=1 ", "ws://h?a=1"),
    ],
)
def test_one_spelling_for_one_relay(given: str, expected: str) -> None:
    assert normalise(given) == expected


@pytest.mark.parametrize("bad", ["", "http://x", "ws://", "relay.example", "ws://a:b", "ws://[x"])
def test_what_is_no_relay_url(bad: str) -> None:
    with pytest.raises(ValueError, match="relay URL"):
        normalise(bad)
