"""What public test suites ask of a relay: escapes, times, finding, scraping, staying open (relay-tester, strfry)."""

import asyncio
import hashlib
import time
from typing import Any

import orjson
import pytest

from nostr.event import Event
from nostr.key import SecretKey
from tests.relay.conftest import Client, Start

NOW = int(time.time())


def signed_raw(key: SecretKey, content_json: str, canonical_json: str) -> tuple[str, str]:
    """(message, id) of an event whose content is written on the wire as given and hashed in canonical form."""
    canonical = f'[0,"{key.public}",{NOW},1,[],"{canonical_json}"]'.encode()
    ident = hashlib.sha256(canonical)
    sig = key.sign_digest(ident.digest()).hex()
    return (
        f'["EVENT",{{"sig":"{sig}","content":"{content_json}","tags":[],"kind":1,"created_at":{NOW},'
        f'"pubkey":"{key.public}","id":"{ident.hexdigest()}"}}]',
        ident.hexdigest(),
    )


@pytest.mark.parametrize(
    ("wire", "canonical"),
    [
        (r"\n\"\\\r\t\b\f", r"\n\"\\\r\t\b\f"),
        (r"\u0000\u0001\u0007\u000b\u000e\u001f", r"\u0000\u0001\u0007\u000b\u000e\u001f"),
        (r"\u001F\u000B", r"\u001f\u000b"),
        (r"a\/b", "a/b"),
        (r"\u0041\u00e9", "A\u00e9"),
        (r"\ud83d\ude00", "\U0001f600"),
        ("\U0001f600\u2028\u2029\ufeff\x7f", "\U0001f600\u2028\u2029\ufeff\x7f"),
        ("\ufdd1\U0010fff2\uffff", "\ufdd1\U0010fff2\uffff"),
    ],
    ids=range(8),
)
async def test_escapes(start: Start, key: SecretKey, wire: str, canonical: str) -> None:
    relay = await start()
    message, ident = signed_raw(key, wire, canonical)
    async with relay.client() as client:
        await client.ws.send_str(message)
        assert await client.hear() == ["OK", ident, True, ""]
        (stored,) = await client.fetch({"ids": [ident]})
        assert stored["content"] == orjson.loads(f'"{canonical}"')
        assert Event.from_dict(stored).verify()


@pytest.mark.parametrize("ago", [None, 1_420_070_400, 31_536_000, 604_800, -300])
async def test_any_past_time_is_taken(start: Start, key: SecretKey, ago: int | None) -> None:
    at = 0 if ago is None else NOW - ago
    relay = await start()
    event = key.sign(kind=1, created_at=at)
    async with relay.client() as client:
        await client.accept(event)
        assert await client.ids({"since": at, "until": at}) == [event.id]
        assert await client.ids({"since": at + 1}) == []
        if at:
            assert await client.ids({"until": at - 1}) == []


@pytest.mark.parametrize("at", [None, 2**31, 2**32, 2**53 - 1])
async def test_the_far_future_is_not(start: Start, key: SecretKey, at: int | None) -> None:
    at = NOW + 31_536_000 if at is None else at
    relay = await start()
    async with relay.client() as client:
        accepted, message = await client.publish(key.sign(kind=1, created_at=at))
        assert not accepted
        assert message.startswith("invalid:")


async def test_numbers_written_as_floats_are_refused(start: Start, key: SecretKey) -> None:
    relay = await start()
    event = key.sign(kind=1, created_at=10**9)
    async with relay.client() as client:
        for number in ("1e9", "1000000000.0", '"1000000000"', "-0.0"):
            text = event.to_json().decode().replace("1000000000", number, 1)
            await client.ws.send_str('["EVENT",' + text + "]")
            assert (await client.hear())[2] is False


async def test_finding_and_scraping(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start()
    events = [
        *(
            key.sign(kind=1, content=str(n), tags=[["t", "ab"[n % 2]]], created_at=NOW - 2400 - 300 * n)
            for n in range(4)
        ),
        key.sign(kind=9999, tags=[["k", "3036"], ["n", "approved"]], created_at=NOW - 50),
        key.sign(kind=9999, tags=[["n", "approved"]], created_at=NOW - 51),
        other.sign(kind=1, tags=[["p", key.public], ["t", "a"], ["t", "b"]], created_at=NOW - 52),
        other.sign(kind=9998, tags=[["n", "rejected"], ["k", "3036"]], created_at=NOW - 53),
    ]
    queries: list[dict[str, Any]] = [
        {"ids": [event.id for event in events[:3]]},
        {"authors": [key.public]},
        {"authors": [key.public], "kinds": [1]},
        {"authors": [other.public], "#p": [key.public]},
        {"kinds": [9999], "#n": ["approved"]},
        {"#k": ["3036"]},
        {"#k": ["3036"], "#n": ["approved"]},
        {"#t": ["a", "b"], "kinds": [1]},
        {"#t": ["a"], "#p": [key.public]},
        {"since": NOW - 60},
        {"until": NOW - 60, "kinds": [1]},
        {},
    ]
    from nostr.filter import Filter

    async with relay.client() as client:
        await client.accept(*events)
        for query in queries:
            right = sorted((e for e in events if Filter.from_dict(query).matches(e)), key=lambda e: -e.created_at)
            assert await client.ids(query) == [e.id for e in right], query
            assert await client.ids({**query, "limit": 2}) == [e.id for e in right[:2]], query
            assert await client.count(query) == len(right)
        assert await client.ids({"ids": [events[0].id]}, {"#k": ["3036"]}) == [events[4].id, events[7].id, events[0].id]


async def test_a_complete_or_dated_subscription_stays_open(start: Start, key: SecretKey) -> None:
    relay = await start()
    old = key.sign(kind=1, created_at=NOW - 1000)
    async with relay.client() as client, relay.client() as writer:
        await client.subscribe({"ids": [old.id]}, name="id")
        await client.subscribe({"authors": [key.public], "kinds": [1], "until": NOW - 500, "limit": 0}, name="past")
        await writer.accept(old)
        assert sorted([(await client.hear())[1], (await client.hear())[1]]) == ["id", "past"]
        await writer.accept(key.sign(kind=1, created_at=NOW))
        assert await client.silent()


async def test_large_contact_lists(start: Start, key: SecretKey) -> None:
    relay = await start()
    followed = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(1500)]
    contacts = key.sign(kind=3, tags=[["p", one] for one in followed])
    async with relay.client() as client:
        await client.accept(contacts)
        assert await client.ids({"#p": [followed[777]], "kinds": [3]}) == [contacts.id]
        newer = key.sign(kind=3, tags=[["p", followed[0]]], created_at=contacts.created_at + 1)
        await client.accept(newer)
        assert await client.ids({"#p": [followed[777]]}) == []
        assert await client.ids({"#p": [followed[0]]}) == [newer.id]


async def test_many_clients_come_and_go(start: Start, key: SecretKey) -> None:
    """Abrupt hang-ups in the middle of everything leave nothing behind."""
    relay = await start()

    async def visit(number: int) -> None:
        async with relay.client() as client:
            await client.say("REQ", "a", {"kinds": [1]}, {"#t": ["x"]})
            await client.say("EVENT", key.sign(kind=1, content=str(number), tags=[["t", "x"]]).to_dict())
            await client.say("COUNT", "c", {"#t": ["x"]})
            if number % 2:
                client.ws._response.connection.transport.abort()  # type: ignore[union-attr]
            else:
                await client.hear()

    for _ in range(6):
        await asyncio.gather(*(visit(n) for n in range(25)), return_exceptions=True)
    for _ in range(200):
        if not relay.relay.connections:
            break
        await asyncio.sleep(0.02)
    assert not relay.relay.connections
    assert relay.relay.index.count == 0
    async with relay.client() as client:
        await client.accept(key.sign(kind=1, content="after all"))


async def test_a_query_that_takes_too_long_is_closed(start: Start, key: SecretKey) -> None:
    relay = await start(query_seconds=0.0001)
    async with relay.client() as client:
        await _fill(client, key, 3000)
        await client.say("COUNT", "c", {"kinds": [1]}, {"#t": ["x"]}, {"authors": [key.public]}, {"since": 5})
        answer = await client.hear()
        assert answer == ["CLOSED", "c", "error: this query takes too long"]
        assert len(await client.ids({"kinds": [1], "limit": 5})) == 5


async def test_what_a_glance_cannot_answer_a_reader_thread_does(
    start: Start, key: SecretKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.sqlite.GLANCE_LOOKS", 0)
    monkeypatch.setattr("relay.store.sqlite.STEPS", 10)
    relay = await start()
    async with relay.client() as client, relay.client() as writer:
        await _fill(client, key, 3000)
        query = {"authors": [key.public, *(f"{n:064x}" for n in range(40))], "#t": ["x"], "limit": 400}
        await client.say("REQ", "q", query)
        live = key.sign(kind=1, content="live", tags=[["t", "x"]], created_at=NOW + 1)
        await writer.accept(live)
        got = [await client.hear() for _ in range(402)]
        assert sum(message[0] == "EOSE" for message in got) == 1
        ids = [message[2]["id"] for message in got if message[0] == "EVENT"]
        assert len(set(ids)) == len(ids) == 401
        assert live.id in ids
        assert relay.relay.metrics.slow_queries >= 1


async def _fill(client: Client, key: SecretKey, number: int) -> None:
    for n in range(number):
        event = key.sign(kind=1, content=str(n), tags=[["t", "x"]], created_at=NOW - n)
        await client.ws.send_str('["EVENT",' + event.to_json().decode() + "]")
    for _ in range(number):
        assert (await client.hear())[2] is True
