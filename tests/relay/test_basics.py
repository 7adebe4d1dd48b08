"""NIP-01 through real sockets: OK, EVENT, EOSE, CLOSED, order, limits, live delivery."""

import time

from nostr.event import Event
from nostr.key import SecretKey
from tests.relay.conftest import Start

NOW = int(time.time())


async def test_an_event_is_stored_found_and_delivered(start: Start, key: SecretKey) -> None:
    relay = await start()
    async with relay.client() as writer, relay.client() as reader:
        assert await reader.subscribe({"kinds": [1]}, name="live") == []
        event = key.sign(
            kind=1, content="hello \U0001f600 \u2028 \x7f", tags=[["t", "a"], ["p", key.public, "wss://x"]]
        )
        assert await writer.publish(event) == (True, "")
        assert await reader.hear() == ["EVENT", "live", event.to_dict()]
        assert await writer.fetch({"ids": [event.id]}) == [event.to_dict()]
        assert await writer.publish(event) == (True, "duplicate: already have this event")
        assert await reader.silent()


async def test_newest_first_and_ties_by_lowest_id(start: Start, key: SecretKey) -> None:
    relay = await start()
    events = [key.sign(kind=1, content=str(i), created_at=NOW - i // 4) for i in range(40)]
    order = [e.id for e in sorted(events, key=lambda e: (-e.created_at, e.id))]
    async with relay.client() as client:
        await client.accept(*events)
        for limit in (1, 2, 3, 5, 7, 39, 40, 100):
            assert await client.ids({"kinds": [1], "limit": limit}) == order[:limit]
            assert await client.ids({"authors": [key.public], "limit": limit}) == order[:limit]
            assert await client.ids({"limit": limit}) == order[:limit]
        assert await client.ids({"kinds": [1], "limit": 0}) == []


async def test_a_bad_signature_or_id_is_refused(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start()
    good = key.sign(kind=1, content="x")
    async with relay.client() as client:
        assert await client.publish({**good.to_dict(), "sig": "0" * 128}) == (False, "invalid: bad signature")
        ok, message = await client.publish({**good.to_dict(), "content": "y"})
        assert not ok and message.startswith("invalid: id")
        foreign = other.sign_digest(bytes.fromhex(good.id)).hex()
        assert await client.publish({**good.to_dict(), "sig": foreign}) == (False, "invalid: bad signature")
        fake = Event("00" * 32, key.public, NOW, 1, (), "x", key.sign_digest(b"\0" * 32).hex())
        assert not (await client.publish(fake))[0]
        await client.accept(good)


async def test_ephemeral_events_are_delivered_and_not_stored(start: Start, key: SecretKey) -> None:
    relay = await start()
    async with relay.client() as writer, relay.client() as reader:
        await reader.subscribe({"kinds": [23194, 23196, 25000], "#p": [key.public]})
        for kind in (23194, 25000, 23196):
            event = key.sign(kind=kind, content="z" * 65_536, tags=[["p", key.public]])
            assert await writer.publish(event) == (True, "")
            assert await reader.hear() == ["EVENT", "q", event.to_dict()]
        assert await writer.ids({"kinds": [23194, 23196, 25000]}) == []
        request = key.sign(kind=23194, tags=[["p", key.public]], content="again")
        for _ in range(2):
            await writer.accept(request)
            assert (await reader.hear())[2]["id"] == request.id
