"""A connection that keeps breaking: nothing is lost, nothing comes twice, nothing hangs."""

import asyncio
import contextlib

import pytest

from nostr import Event, Filter, SecretKey, pool
from nostr.client import Connection
from nostr.pool import Pool
from tests.nostr.small_relay import SmallRelay

KEY = SecretKey.generate()


def note(text: str, at: int = 1000) -> Event:
    return KEY.sign(kind=1, content=text, created_at=at)


async def test_breaks_all_the_time_lose_and_repeat_nothing() -> None:
    async with (
        SmallRelay(max_limit=100) as relay,
        Connection(relay.url, clock=lambda: 1000) as writer,
        Connection(relay.url, clock=lambda: 1000) as reader,
        reader.subscribe(Filter(kinds=[1])) as sub,
    ):
        await sub.eose()
        got: list[str] = []

        async def read() -> None:
            async for event in sub:
                got.append(event.content)

        async def write() -> None:
            for n in range(150):
                assert (await writer.publish(note(str(n), 1000 + n // 9), timeout=20)).accepted
                await asyncio.sleep(0.01)

        async def cut() -> None:
            for _ in range(6):
                await asyncio.sleep(0.15)
                await relay.cut()

        reading = asyncio.create_task(read())
        await asyncio.gather(write(), cut())
        async with asyncio.timeout(15):
            while len(got) < 150:  # noqa: ASYNC110 (the reader has no bell)
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert sorted(got, key=int) == [str(n) for n in range(150)]
        reading.cancel()


async def test_closing_answers_everybody_who_waits() -> None:
    async with SmallRelay(mute=True) as relay:
        connection = Connection(relay.url)
        connection.start()
        await connection.connected(5)
        publishing = asyncio.create_task(connection.publish(note("x"), timeout=30))
        sub = connection.subscribe(Filter(kinds=[1]))
        await sub.eose()
        reading = asyncio.create_task(anext(sub))
        await asyncio.sleep(0.05)
        await connection.close()
        async with asyncio.timeout(2):
            assert not (await publishing).answered
            with pytest.raises(StopAsyncIteration):
                await reading


async def test_two_who_publish_the_same_event_both_hear() -> None:
    async with SmallRelay() as relay, Connection(relay.url) as c:
        answers = await asyncio.gather(*(c.publish(note("same")) for _ in range(5)))
        assert all(ok.accepted for ok in answers)
        assert sum(message[0] == "EVENT" for message in relay.heard) == 1


async def test_a_waiting_caller_cuts_a_long_backoff_short(monkeypatch: pytest.MonkeyPatch) -> None:
    from nostr import client

    monkeypatch.setattr(client, "_FIRST_RETRY", 30.0)
    monkeypatch.setattr(client, "_SHORTEST_WAIT", 0.2)
    relay = await SmallRelay().start()
    await relay.stop()
    async with Connection(relay.url) as c:
        await asyncio.sleep(0.3)
        assert c.state == "down"
        async with relay:
            assert (await c.publish(note("x"), timeout=3)).accepted


async def test_strangers_relays_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_MAX_GUESTS", 2)
    async with SmallRelay() as a, SmallRelay() as b, SmallRelay() as c, Pool([]) as p:
        for relay in (a, b, c):
            assert (await p.publish(note("x"), [relay.url]))[relay.url].accepted
        assert len(p.state()) == 2, "the one that was idle longest was hung up on"
        async with p.subscribe(Filter(kinds=[1]), relays=[b.url, c.url]):
            refused = (await p.publish(note("x"), [a.url]))[a.url]
            assert not refused.accepted and not refused.answered


async def test_idle_guests_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_GUEST_IDLE", 0.2)
    async with SmallRelay() as a, SmallRelay() as home, Pool([home.url]) as p:
        await p.publish(note("x"), [a.url])
        assert a.url in p.state()
        await asyncio.sleep(0.6)
        assert set(p.state()) == {home.url}


async def test_a_relay_that_talks_nonsense_does_no_harm() -> None:
    async with SmallRelay() as relay, Connection(relay.url) as c:
        await c.connected(5)
        (ws,) = relay.sockets
        for text in (
            "",
            "[]",
            "{}",
            '["OK"]',
            '["OK","x","yes"]',
            '["EVENT"]',
            '["EVENT","s",{}]',
            '["COUNT","s",{}]',
            "[" * 3000,
        ):
            await ws.send_str(text)
        for text in ('["CLOSED","s","x"]', '["EOSE","s"]', '["NEG-MSG","s","zz"]', '["NOTICE"]', '["AUTH",5]'):
            await ws.send_str(text)
        assert (await c.publish(note("still here"))).accepted


async def test_a_message_beyond_all_bounds_ends_the_connection_only() -> None:
    async with SmallRelay() as relay, Connection(relay.url) as c:
        await c.connected(5)
        (ws,) = relay.sockets
        with contextlib.suppress(ConnectionError):
            await ws.send_str("x" * (5 * 1024 * 1024))
        assert (await c.publish(note("after"), timeout=8)).accepted
