"""Who may read and write: AUTH, private kinds, lists, trust, proof of work, rates, plug-ins, management."""

import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from nostr import nip13, nip98
from nostr.key import SecretKey
from tests.relay.conftest import Client, Running, Start

NOW = int(time.time())


async def closed(client: Client, *message: Any) -> str:
    """The reason with which a query is refused."""
    await client.say(*message)
    answer = await client.hear()
    assert answer[0] == "CLOSED", answer
    return str(answer[2])


async def test_auth_is_checked(start: Start, key: SecretKey) -> None:
    relay = await start(auth_to_write=True)
    async with relay.client() as client:
        event = key.sign(kind=1)
        assert (await client.publish(event))[1].startswith("auth-required:")
        for changes in (
            {"kind": 1},
            {"relay": "wss://another.example"},
            {"challenge": "another"},
            {"created_at": NOW - 1800},
            {"created_at": NOW + 1800},
        ):
            accepted, message = await client.authenticate(key, relay.url, **changes)
            assert not accepted, changes
            assert message.startswith("invalid:")
        forged = key.sign(kind=22242, tags=[["relay", relay.url], ["challenge", client.challenge]]).to_dict()
        await client.say("AUTH", forged | {"sig": "1" * 128})
        assert (await client.hear())[2] is False
        assert await client.authenticate(key, relay.url + "/") == (True, "")
        assert await client.publish(event) == (True, "")
        smuggled = key.sign(kind=22242, tags=[["relay", relay.url], ["challenge", client.challenge]])
        assert not (await client.publish(smuggled))[0]


async def test_a_passed_on_challenge_proves_nothing(start: Start, key: SecretKey) -> None:
    """Another relay hands our challenge to its own user and connects to us under its own name."""
    relay = await start(public_url="wss://ours.example", proxy_header="X-Real-IP")
    abroad = {"Host": "theirs.example", "X-Real-IP": "93.184.216.34"}
    async with relay.client(headers=abroad) as client:
        assert (await client.authenticate(key, "wss://theirs.example"))[0] is False
        assert await client.authenticate(key, "wss://ours.example/") == (True, "")
    async with relay.client(headers={"Host": "relay:7777", "X-Real-IP": "172.18.0.5"}) as client:
        assert await client.authenticate(key, "ws://relay:7777") == (True, "")


async def test_reading_can_ask_for_auth(start: Start, key: SecretKey) -> None:
    relay = await start(auth_to_read=True)
    async with relay.client() as client:
        for verb in ("REQ", "COUNT"):
            assert (await closed(client, verb, "q", {"kinds": [1]})).startswith("auth-required:")
        await client.authenticate(key, relay.url)
        assert await client.ids({"kinds": [1]}) == []


@pytest.mark.parametrize("kind", [4, 1059])
async def test_private_kinds_reach_only_those_involved(
    start: Start, key: SecretKey, other: SecretKey, kind: int
) -> None:
    relay = await start()
    stranger = SecretKey.generate()
    letter = key.sign(kind=kind, content="secret", tags=[["p", other.public]])
    note = key.sign(kind=1, tags=[["p", other.public]], created_at=NOW - 5)
    async with relay.client() as sender, relay.client() as receiver, relay.client() as spy, relay.client() as nobody:
        for verb in ("REQ", "COUNT"):
            assert (await closed(nobody, verb, "q", {"kinds": [kind]})).startswith("auth-required:")
        await receiver.authenticate(other, relay.url)
        await spy.authenticate(stranger, relay.url)
        for watcher in (receiver, spy, nobody):
            await watcher.subscribe({"#p": [other.public]}, {"authors": [key.public]}, {"kinds": [1, kind]}, name="w")
        await sender.accept(letter)
        assert await receiver.hear() == ["EVENT", "w", letter.to_dict()]
        await sender.accept(note)
        for watcher in (receiver, spy, nobody):
            assert await watcher.hear() == ["EVENT", "w", note.to_dict()]
        queries: list[dict[str, Any]] = [
            {},
            {"ids": [letter.id, note.id]},
            {"authors": [key.public]},
            {"#p": [other.public]},
            {"kinds": [1, kind], "limit": 5},
        ]
        for query in queries:
            for watcher in (spy, nobody):
                assert await watcher.ids(query) == [note.id], query
                assert await watcher.count(query) == 1
            assert set(await receiver.ids(query)) == {letter.id, note.id}
            assert await receiver.count(query) == 2
            assert await receiver.ids({**query, "limit": 1}) == [letter.id]
            assert await nobody.ids({**query, "limit": 1}) == [note.id]
        assert await spy.ids({"kinds": [kind]}) == []
        await sender.authenticate(key, relay.url)
        assert await sender.ids({"kinds": [kind]}) == [letter.id]
        await nobody.authenticate(other, relay.url)
        assert await nobody.ids({"kinds": [kind]}) == [letter.id]


async def test_lists_times_and_sizes(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start(
        blocked_pubkeys=[other.public], blocked_kinds=[7], future_seconds=60, past_seconds=3600, max_event_bytes=2000
    )
    async with relay.client() as client:
        refused = {
            other.sign(kind=1): "blocked:",
            key.sign(kind=7): "blocked:",
            key.sign(kind=1, created_at=NOW + 86_400): "invalid:",
            key.sign(kind=1, created_at=NOW - 7200): "invalid:",
            key.sign(kind=1, content="x" * 2000): "invalid:",
        }
        for event, prefix in refused.items():
            accepted, message = await client.publish(event)
            assert not accepted
            assert message.startswith(prefix), message
        await client.accept(key.sign(kind=1))
    strict = await start(data=relay.relay.data / "2", allowed_pubkeys=[key.public], allowed_kinds=[1])
    async with strict.client() as client:
        await client.accept(key.sign(kind=1))
        assert (await client.publish(other.sign(kind=1)))[1].startswith("restricted:")
        assert (await client.publish(key.sign(kind=2)))[1].startswith("blocked:")


async def test_big_events_of_the_wallet_pass(start: Start, key: SecretKey) -> None:
    relay = await start()
    async with relay.client() as client:
        await client.accept(key.sign(kind=23195, content="x" * 65_536), key.sign(kind=1, content="y" * 65_536))


async def test_proof_of_work(start: Start, key: SecretKey) -> None:
    relay = await start(min_pow=8)
    async with relay.client() as client:
        plain = next(e for e in (key.sign(kind=1, content=str(n)) for n in range(99)) if nip13.difficulty(e.id) < 8)
        assert (await client.publish(plain))[1].startswith("pow:")
        mined = next(
            e
            for e in (key.sign(kind=1, tags=[["nonce", str(n), "8"]]) for n in range(100_000))
            if nip13.difficulty(e.id) >= 8
        )
        assert await client.publish(mined) == (True, "")


async def test_web_of_trust(start: Start, key: SecretKey, other: SecretKey) -> None:
    friend, stranger = SecretKey.generate(), SecretKey.generate()
    relay = await start(trust_roots=[key.public], trust_depth=2)
    async with relay.client() as client:
        assert (await client.publish(other.sign(kind=1)))[1].startswith("restricted:")
        await client.accept(key.sign(kind=3, tags=[["p", other.public], ["p", "junk"]]))
        assert relay.relay.trust is not None
        await relay.relay.trust.refresh(relay.relay.store)
        await client.accept(other.sign(kind=1), other.sign(kind=3, tags=[["p", friend.public]]))
        await relay.relay.trust.refresh(relay.relay.store)
        await client.accept(friend.sign(kind=1))
        assert (await client.publish(stranger.sign(kind=1)))[1].startswith("restricted:")


async def test_rates_spare_our_own_keys(start: Start, key: SecretKey, other: SecretKey) -> None:
    slow = {"per_second": 0.001, "burst": 3}
    relay = await start(event_rate=slow, query_rate=slow, limit_loopback=True, own_keys=[other.public])
    async with relay.client() as client:
        await client.accept(*(key.sign(kind=1, content=str(n)) for n in range(3)))
        assert (await client.publish(key.sign(kind=1)))[1].startswith("rate-limited:")
        await client.accept(*(other.sign(kind=23195, content=str(n)) for n in range(6)))
        for _ in range(3):
            await client.ids({"kinds": [1]})
        assert (await closed(client, "REQ", "q", {"kinds": [1]})).startswith("rate-limited:")
        await client.authenticate(other, relay.url)
        assert len(await client.ids({"kinds": [1]})) == 3
        await client.accept(key.sign(kind=1, content="through our own connection"))


async def test_the_rate_of_a_key_counts_what_it_signed(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start(event_rate=None, key_rate={"per_second": 0.001, "burst": 2}, limit_loopback=True)
    async with relay.client() as client:
        for n in range(5):  # forged in the name of `key`: they cost it nothing
            forged = other.sign(kind=1, content=str(n)).to_dict()
            event = key.sign(kind=1, content=f"f{n}").to_dict() | {"sig": forged["sig"]}
            assert await client.publish(event) == (False, "invalid: bad signature")
        await client.accept(key.sign(kind=1, content="1"), key.sign(kind=1, content="2"))
        assert (await client.publish(key.sign(kind=1, content="3")))[1].startswith("rate-limited:")
        await client.accept(other.sign(kind=1))


async def test_a_plug_in_decides_and_its_failure_refuses(start: Start, tmp_path: Path, key: SecretKey) -> None:
    (tmp_path / "mine.py").write_text(
        "from relay.policies import Reject\n"
        "def no_shouting(context, event):\n"
        "    if event.content == 'crash': raise RuntimeError('x')\n"
        "    return Reject('blocked: no shouting') if event.content.isupper() else None\n"
    )
    relay = await start(plugins=[f"{tmp_path}/mine.py:no_shouting"])
    async with relay.client() as client:
        assert await client.publish(key.sign(kind=1, content="LOUD")) == (False, "blocked: no shouting")
        assert (await client.publish(key.sign(kind=1, content="crash")))[1].startswith("error:")
        await client.accept(key.sign(kind=1, content="quiet"))


async def call(relay: Running, key: SecretKey, method: str, *params: Any, **changes: Any) -> tuple[int, Any]:
    body = orjson.dumps({"method": method, "params": list(params)})
    header = nip98.header(
        key, changes.get("url", relay.http), "POST", now=changes.get("now", int(time.time())), body=body
    )
    headers = {"Content-Type": "application/nostr+json+rpc", "Authorization": header}
    if "headers" in changes:
        headers |= changes["headers"]
    async with relay.session.post(relay.http, data=changes.get("body", body), headers=headers) as response:
        return response.status, orjson.loads(await response.read())


async def test_management(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start(admins=[key.public])
    assert (await call(relay, other, "supportedmethods"))[0] == 401
    assert (await call(relay, key, "supportedmethods", url="http://elsewhere.example"))[0] == 401
    assert (await call(relay, key, "supportedmethods", now=NOW - 999))[0] == 401
    assert (await call(relay, key, "supportedmethods", body=b'{"method":"banpubkey"}'))[0] == 401
    assert (await call(relay, key, "supportedmethods", headers={"Authorization": ""}))[0] == 401
    status, answer = await call(relay, key, "supportedmethods")
    assert status == 200
    assert {"banpubkey", "allowkind", "listblockedips"} <= set(answer["result"])
    async with relay.client() as client:
        bad, good = other.sign(kind=1, content="bad"), key.sign(kind=1, content="good")
        await client.accept(bad, good, key.sign(kind=1984, content="look", tags=[["e", bad.id, "spam"]]))
        waiting = (await call(relay, key, "listeventsneedingmoderation"))[1]["result"]
        assert waiting == [{"id": bad.id, "reason": "spam look"}]
        assert (await call(relay, key, "banevent", bad.id, "spam"))[1] == {"result": True}
        assert (await call(relay, key, "listeventsneedingmoderation"))[1]["result"] == []
        assert await client.ids({"ids": [bad.id]}) == []
        assert await client.publish(bad) == (False, "blocked: this event is banned here")
        await call(relay, key, "allowevent", bad.id)
        await client.accept(bad)
        await call(relay, key, "banpubkey", other.public, "spammer")
        assert (await call(relay, key, "listbannedpubkeys"))[1]["result"] == [
            {"pubkey": other.public, "reason": "spammer"}
        ]
        assert await client.ids({"authors": [other.public]}) == []
        assert (await client.publish(other.sign(kind=1)))[1].startswith("blocked:")
        await call(relay, key, "unbanpubkey", other.public)
        await client.accept(other.sign(kind=1))
        await call(relay, key, "disallowkind", 7)
        assert (await client.publish(key.sign(kind=7)))[1].startswith("blocked:")
        await call(relay, key, "allowkind", 7)
        await client.accept(key.sign(kind=7))
        await call(relay, key, "changerelayname", "New name")
        async with relay.session.get(relay.http, headers={"Accept": "application/nostr+json"}) as response:
            assert orjson.loads(await response.read())["name"] == "New name"
        assert "error" in (await call(relay, key, "banpubkey", "short"))[1]
        assert "error" in (await call(relay, key, "nonsense"))[1]
        assert (await call(relay, key, "compact"))[1]["result"]["after"] > 0
        assert await client.ids({"ids": [good.id]}) == [good.id]
        await call(relay, key, "blockip", "127.0.0.1", "x")
        with pytest.raises(AssertionError, match="socket ended"):
            await client.ids({})
    with pytest.raises(Exception, match="403"):
        async with relay.client():
            pass
    await call(relay, key, "unblockip", "127.0.0.1")
    async with relay.client() as client:
        await client.ids({})


async def test_settings_change_without_dropping_anyone(start: Start, key: SecretKey) -> None:
    relay = await start()
    async with relay.client() as client:
        await client.subscribe({"kinds": [1]}, name="live")
        changed = relay.relay.settings.model_copy(update={"blocked_kinds": [7], "name": "B"})
        relay.relay.apply_settings(changed)
        assert (await client.publish(key.sign(kind=7)))[1].startswith("blocked:")
        event = key.sign(kind=1)
        await client.say("EVENT", event.to_dict())
        assert {(await client.hear())[0] for _ in range(2)} == {"OK", "EVENT"}
