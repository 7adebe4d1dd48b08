"""HTTP on the relay's port: NIP-11, health, metrics, status, CORS; negentropy; HyperLogLog; live delivery."""

import asyncio
import hashlib
import time
from typing import Any

import orjson
import pytest

from nostr.key import SecretKey
from nostr.negentropy import Initiator, Items
from tests.relay.conftest import Client, Start

NOW = int(time.time())


async def test_information_document(start: Start) -> None:
    relay = await start(name="Test", min_pow=3, past_seconds=99, max_sync_events=0)
    headers = {"Accept": "application/nostr+json", "Origin": "https://app.example"}
    async with relay.session.get(relay.http, headers=headers) as response:
        document = orjson.loads(await response.read())
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.content_type == "application/nostr+json"
    assert document["name"] == "Test"
    assert document["self"] == relay.relay.key.public
    assert {1, 9, 11, 40, 42, 45, 50, 62, 70, 86} <= set(document["supported_nips"])
    assert 77 not in document["supported_nips"]
    limits = document["limitation"]
    assert limits["min_pow_difficulty"] == 3
    assert limits["created_at_lower_limit"] == 99
    assert limits["restricted_writes"] is True
    assert limits["max_limit"] == relay.relay.settings.max_limit
    async with relay.session.options(relay.http, headers=headers) as response:
        assert response.status == 204
        assert "Access-Control-Allow-Headers" in response.headers
    async with relay.session.get(relay.http, headers={"Accept": "text/html"}) as response:
        assert response.status == 200
        assert "Test" in await response.text()
    async with relay.session.post(relay.http) as response:
        assert response.status == 405


async def test_metrics_health_and_status(start: Start, key: SecretKey) -> None:
    relay = await start()
    async with relay.client() as client:
        event = key.sign(kind=1)
        await client.accept(event)
        await client.publish(event.to_dict() | {"sig": "0" * 128})
        await client.subscribe({"kinds": [1]})
        async with relay.session.get(relay.http + "/healthz") as response:
            assert (response.status, (await response.json())["status"]) == (200, "ok")
        async with relay.session.get(relay.http + "/metrics") as response:
            lines = (await response.text()).splitlines()
        assert 'timmy_relay_events_accepted_total{kind="1"} 1' in lines
        assert 'timmy_relay_events_rejected_total{reason="invalid"} 1' in lines
        assert "timmy_relay_events 1" in lines
        assert "timmy_relay_connections 1" in lines
        assert "timmy_relay_subscriptions 1" in lines
        families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
        assert len(families) == len(set(families))
        async with relay.session.get(relay.http + "/status") as response:
            assert (await response.json())["events"] == 1


async def sync(client: Client, query: dict[str, Any], items: list[tuple[int, bytes]]) -> tuple[set[str], set[str]]:
    """(ids that only we have, ids that only the relay has)."""
    initiator = Initiator(Items(items))
    payload: bytes | None = initiator.begin()
    verb: list[Any] = ["NEG-OPEN", "n", query]
    while payload is not None:
        await client.say(*verb, payload.hex())
        answer = await client.hear()
        assert answer[:2] == ["NEG-MSG", "n"], answer
        payload = initiator.step(bytes.fromhex(answer[2]))
        verb = ["NEG-MSG", "n"]
    await client.say("NEG-CLOSE", "n")
    return {item.hex() for item in initiator.have}, {item.hex() for item in initiator.need}


async def test_negentropy(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start()
    both = [key.sign(kind=1, content=str(n), created_at=NOW - n % 50) for n in range(300)]
    theirs = [other.sign(kind=7, content=str(n), created_at=NOW - n) for n in range(40)]
    mine = [key.sign(kind=1, content=f"m{n}", created_at=NOW - n) for n in range(30)]
    secret = other.sign(kind=1059, tags=[["p", key.public]])
    async with relay.client() as client:
        await client.accept(*both, *theirs, secret)
        ours = [(event.created_at, bytes.fromhex(event.id)) for event in both + mine]
        assert await sync(client, {}, ours) == ({e.id for e in mine}, {e.id for e in theirs})
        assert await sync(client, {"kinds": [1]}, ours) == ({e.id for e in mine}, set())
        since = {"since": NOW - 10, "kinds": [1]}
        recent = [item for item in ours if item[0] >= NOW - 10]
        assert await sync(client, since, recent) == ({e.id for e in mine if e.created_at >= NOW - 10}, set())
        assert len((await sync(client, {}, []))[1]) == 340
        assert len((await sync(client, {"limit": 25}, []))[1]) == 25
        await client.say("NEG-OPEN", "x", {"kinds": [1059]}, "6100000200")
        assert (await client.hear())[2].startswith("auth-required:")
        for wrong in (["NEG-OPEN", "x", {"kinds": "1"}, "61"], ["NEG-OPEN", "x", {}, "zz"], ["NEG-MSG", "no", "61"]):
            await client.say(*wrong)
            assert (await client.hear())[0] == "NEG-ERR", wrong
        await client.say("NEG-OPEN", "x", {}, "00")
        assert (await client.hear())[0] == "NEG-ERR"


async def test_too_much_to_sync(start: Start, key: SecretKey) -> None:
    relay = await start(max_sync_events=3)
    async with relay.client() as client:
        await client.accept(*(key.sign(kind=1, content=str(n)) for n in range(4)))
        await client.say("NEG-OPEN", "x", {}, "6100000200")
        assert await client.hear() == ["NEG-ERR", "x", "blocked: this query is too big", 3]


async def test_count_with_registers(start: Start) -> None:
    """NIP-45: registers as any client would make them from the events."""
    relay = await start()
    target = hashlib.sha256(b"target").hexdigest()
    keys = [SecretKey.generate() for _ in range(40)]
    async with relay.client() as client:
        await client.accept(*(key.sign(kind=7, content="+", tags=[["e", target]]) for key in keys))
        await client.accept(keys[0].sign(kind=7, content="again", tags=[["e", target]]))
        await client.say("COUNT", "c", {"kinds": [7], "#e": [target]})
        answer = (await client.hear())[2]
        assert answer["count"] == 41
        offset = int(target[32], 16) + 8
        registers = [0] * 256
        for key in keys:
            raw = bytes.fromhex(key.public)
            bits = "".join(f"{byte:08b}" for byte in raw[offset + 1 :])
            zeros = len(bits) - len(bits.lstrip("0"))
            registers[raw[offset]] = max(registers[raw[offset]], zeros + 1)
        assert answer["hll"] == bytes(registers).hex()
        await client.say("COUNT", "c", {"kinds": [7]}, {"kinds": [1, 7]})
        assert (await client.hear())[2] == {"count": 41}


async def test_live_events_are_neither_lost_nor_doubled(start: Start, key: SecretKey) -> None:
    """Subscriptions opened while events pour in: each event arrives exactly once, stored or live."""
    relay = await start(max_limit=5000)
    events = [key.sign(kind=1 + n % 2, content=str(n), created_at=NOW - 3000 + n) for n in range(1500)]
    queries = [{"kinds": [1, 2], "limit": 5000}, {"authors": [key.public], "limit": 5000}, {"limit": 5000}]

    async def watch(delay: float, query: dict[str, Any]) -> list[str]:
        async with relay.client() as client:
            await asyncio.sleep(delay)
            await client.say("REQ", "w", query)
            got: list[str] = []
            stored = False
            while len(set(got)) < len(events) or not stored:
                message = await client.hear()
                if message[0] == "EVENT":
                    got.append(message[2]["id"])
                else:
                    stored = message == ["EOSE", "w"]
            assert await client.silent(0.1)
            return got

    watching = [asyncio.create_task(watch(n * 0.03, queries[n % 3])) for n in range(18)]
    async with relay.client() as writer:
        for event in events:
            await writer.say("EVENT", event.to_dict())
        for _ in events:
            assert (await writer.hear())[2] is True
    for got in await asyncio.gather(*watching):
        assert len(got) == len(events)


@pytest.mark.parametrize("query", [{"kinds": [20001]}, {"#p": ["x"]}, {}, {"since": NOW - 5}])
async def test_a_closed_subscription_is_quiet(start: Start, key: SecretKey, query: dict[str, Any]) -> None:
    relay = await start()
    event = key.sign(kind=20001, tags=[["p", "x"]])
    async with relay.client() as client, relay.client() as writer:
        await client.subscribe(query, query, name="a")
        await client.subscribe({"kinds": [4444]}, name="b")
        await writer.accept(event)
        assert await client.hear() == ["EVENT", "a", event.to_dict()]
        await client.subscribe({"kinds": [3333]}, name="a")
        await client.say("CLOSE", "b")
        await client.say("CLOSE", "never opened")
        await writer.accept(key.sign(kind=20001, content="2", tags=[["p", "x"]]))
        assert await client.silent()
