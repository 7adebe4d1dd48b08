"""What is kept, replaced, deleted, expired and forgotten: NIP-01, 09, 40, 59, 62, 70 through real sockets."""

import asyncio
import time

import pytest

from nostr.key import SecretKey
from tests.relay.conftest import Client, Start

NOW = int(time.time())
DELETED = (False, "blocked: this event was deleted by its author")
OLDER = (False, "duplicate: a newer version of this event is stored")


@pytest.mark.parametrize("kind", [0, 3, 10002, 19999, 30000, 31990, 39999])
async def test_the_newest_version_stays(start: Start, key: SecretKey, other: SecretKey, kind: int) -> None:
    relay = await start()
    d = [["d", "x"]] if kind >= 30000 else []
    old = key.sign(kind=kind, content="old", tags=d, created_at=NOW - 10)
    new = key.sign(kind=kind, content="new", tags=d, created_at=NOW)
    strangers = other.sign(kind=kind, content="theirs", tags=d, created_at=NOW - 20)
    async with relay.client() as client:
        await client.accept(old, new, strangers)
        assert set(await client.ids({"kinds": [kind]})) == {new.id, strangers.id}
        assert await client.ids({"ids": [old.id]}) == []
        assert await client.publish(old) == OLDER
        assert await client.count({"kinds": [kind]}) == 2
        assert await client.ids({"#d": ["x"]}) == ([new.id, strangers.id] if d else [])


async def test_d_counts_for_addressable_kinds_only(start: Start, key: SecretKey) -> None:
    relay = await start()
    async with relay.client() as client:
        a = key.sign(kind=10003, tags=[["d", "a"]], created_at=NOW - 1)
        b = key.sign(kind=10003, tags=[["d", "b"]], created_at=NOW)
        await client.accept(a, b)
        assert await client.ids({"kinds": [10003]}) == [b.id]
        one = key.sign(kind=30003, tags=[["d", "1"]], created_at=NOW)
        two = key.sign(kind=30003, tags=[["d", "2"]], created_at=NOW)
        none = key.sign(kind=30003, content="no d", created_at=NOW - 5)
        empty = key.sign(kind=30003, tags=[["d", ""]], created_at=NOW)
        bare = key.sign(kind=30003, tags=[["d"]], created_at=NOW - 7)
        await client.accept(one, two, none, empty)
        assert await client.publish(bare) == OLDER
        assert set(await client.ids({"kinds": [30003]})) == {one.id, two.id, empty.id}
        plain = [key.sign(kind=1, tags=[["d", "1"]], content=str(n), created_at=NOW) for n in range(2)]
        await client.accept(*plain)
        assert len(await client.ids({"kinds": [1]})) == 2


@pytest.mark.parametrize("first_wins", [True, False])
async def test_of_one_second_the_lowest_id_stays(start: Start, key: SecretKey, first_wins: bool) -> None:
    relay = await start()
    low, high = sorted((key.sign(kind=0, content=str(n), created_at=NOW) for n in range(2)), key=lambda e: e.id)
    async with relay.client() as client:
        if first_wins:
            await client.accept(low)
            assert await client.publish(high) == OLDER
        else:
            await client.accept(high, low)
        assert await client.ids({"kinds": [0]}) == [low.id]


async def test_older_and_newer_in_one_burst(start: Start, key: SecretKey) -> None:
    """Replacement inside one commit: what is answered, stored and served from memory agree."""
    relay = await start()
    versions = [key.sign(kind=0, content=str(n), created_at=NOW + n % 7) for n in range(20)]
    async with relay.client() as client:
        await client.ids({"kinds": [0], "limit": 5})  # opens the memory ring
        for event in versions:
            await client.say("EVENT", event.to_dict())
        for _ in versions:
            assert (await client.hear())[0] == "OK"
        newest = min((e for e in versions if e.created_at == NOW + 6), key=lambda e: e.id)
        assert await client.ids({"kinds": [0], "limit": 5}) == [newest.id]
        assert await client.ids({"authors": [key.public]}) == [newest.id]


async def test_deletion_by_id(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start()
    mine, mine2 = (key.sign(kind=1, content=str(n)) for n in range(2))
    theirs = other.sign(kind=1, content="theirs")
    async with relay.client() as client, relay.client() as watcher:
        await client.accept(mine, mine2, theirs)
        await client.ids({"kinds": [1], "limit": 5})
        await watcher.subscribe({"kinds": [5]})
        deletion = key.sign(kind=5, tags=[["e", mine.id], ["e", theirs.id], ["e", "nonsense"], ["k", "1"]])
        await client.accept(deletion)
        assert (await watcher.hear())[2]["id"] == deletion.id
        assert set(await client.ids({"kinds": [1], "limit": 5})) == {mine2.id, theirs.id}
        assert await client.ids({"ids": [mine.id]}) == []
        assert await client.publish(mine) == DELETED
        assert await client.publish(theirs) == (True, "duplicate: already have this event")
        again = key.sign(kind=5, tags=[["e", deletion.id]])
        await client.accept(again)
        assert set(await client.ids({"kinds": [5]})) == {deletion.id, again.id}
        assert (await client.publish(deletion))[0]


async def test_a_deletion_may_come_before_its_event(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start()
    event = key.sign(kind=1, content="later")
    async with relay.client() as client:
        await client.accept(other.sign(kind=5, tags=[["e", event.id]]))
        await client.accept(event)
        second = key.sign(kind=1, content="later still")
        await client.accept(key.sign(kind=5, tags=[["e", second.id]]))
        assert await client.publish(second) == DELETED


async def test_deletion_by_address(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start()
    async with relay.client() as client:
        kept = [
            key.sign(kind=30023, tags=[["d", "other"]], created_at=NOW - 10),
            key.sign(kind=30024, tags=[["d", "x"]], created_at=NOW - 10),
            other.sign(kind=30023, tags=[["d", "x"]], created_at=NOW - 10),
        ]
        gone = key.sign(kind=30023, tags=[["d", "x"]], created_at=NOW - 10)
        await client.accept(*kept, gone)
        tags = [["a", f"30023:{key.public}:x"], ["a", f"30023:{other.public}:x"], ["a", "junk"], ["a", "1:2:3"]]
        await client.accept(key.sign(kind=5, tags=tags, created_at=NOW - 5))
        assert set(await client.ids({"kinds": [30023, 30024]})) == {event.id for event in kept}
        assert await client.publish(gone) == (False, "blocked: this address was deleted by its author")
        older = key.sign(kind=30023, tags=[["d", "x"]], content="older", created_at=NOW - 6)
        assert await client.publish(older) == (False, "blocked: this address was deleted by its author")
        newer = key.sign(kind=30023, tags=[["d", "x"]], content="newer", created_at=NOW - 4)
        await client.accept(newer)
        await client.accept(key.sign(kind=5, tags=[["a", f"30023:{key.public}:x"]], created_at=NOW - 5, content="2"))
        assert newer.id in await client.ids({"kinds": [30023]})
        profile = key.sign(kind=0, created_at=NOW - 9)
        await client.accept(profile, key.sign(kind=5, tags=[["a", f"0:{key.public}:"]], created_at=NOW - 8))
        assert await client.ids({"kinds": [0]}) == []


async def test_a_gift_wrap_may_be_deleted_by_its_receiver(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start(private_kinds=[])
    thrown_away = SecretKey.generate()
    wrap = thrown_away.sign(kind=1059, tags=[["p", key.public]])
    async with relay.client() as client:
        await client.accept(wrap, other.sign(kind=5, tags=[["e", wrap.id]]))
        assert await client.ids({"kinds": [1059]}) == [wrap.id]
        await client.accept(key.sign(kind=5, tags=[["e", wrap.id]]))
        assert await client.ids({"kinds": [1059]}) == []
        assert await client.publish(wrap) == DELETED


async def test_deleted_stays_deleted_after_a_restart(start: Start, tmp_path, key: SecretKey) -> None:  # type: ignore[no-untyped-def]
    from tests.relay.conftest import running

    event = key.sign(kind=1)
    async with running(tmp_path) as relay, relay.client() as client:
        await client.accept(event, key.sign(kind=5, tags=[["e", event.id]]))
        await client.accept(key.sign(kind=62, tags=[["relay", "ALL_RELAYS"]], created_at=NOW - 100))
    async with running(tmp_path) as relay, relay.client() as client:
        assert await client.publish(event) == DELETED
        old = key.sign(kind=1, created_at=NOW - 200)
        assert await client.publish(old) == (False, "blocked: its author has asked to vanish")


async def test_request_to_vanish(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start(private_kinds=[], public_url="wss://relay.example")
    async with relay.client() as client:
        mine = [key.sign(kind=kind, created_at=NOW - 10) for kind in (0, 1, 5, 30000)]
        wrap = other.sign(kind=1059, tags=[["p", key.public]], created_at=NOW - 10)
        letter = other.sign(kind=1, tags=[["p", key.public]], created_at=NOW - 10)
        later = key.sign(kind=1, created_at=NOW)
        await client.accept(*mine, wrap, letter, later)
        elsewhere = key.sign(kind=62, tags=[["relay", "wss://elsewhere.example"]], created_at=NOW - 5)
        assert not (await client.publish(elsewhere))[0]
        assert len(await client.ids({"authors": [key.public]})) == 5
        vanish = key.sign(kind=62, tags=[["relay", "wss://Relay.Example/"]], created_at=NOW - 5)
        await client.accept(vanish)
        assert await client.ids({"authors": [key.public]}) == [later.id, vanish.id]
        assert await client.ids({"#p": [key.public]}) == [letter.id]
        for event in (*mine, wrap):
            assert await client.publish(event) == (False, "blocked: its author has asked to vanish")
        await client.accept(key.sign(kind=5, tags=[["e", vanish.id]]))
        assert vanish.id in await client.ids({"kinds": [62]})


async def test_expired_events_are_neither_taken_nor_served(start: Start, key: SecretKey) -> None:
    relay = await start()
    async with relay.client() as client:
        late = key.sign(kind=1, tags=[["expiration", str(int(time.time()) - 1)]])
        assert await client.publish(late) == (False, "invalid: event has expired")
        end = int(time.time()) + 3
        soon = key.sign(kind=1, tags=[["expiration", str(end)], ["t", "soon"]])
        never = key.sign(kind=1, tags=[["expiration", "never"]])
        await client.accept(soon, never)
        assert set(await client.ids({"kinds": [1], "limit": 9})) == {soon.id, never.id}
        await asyncio.sleep(end - time.time() + 0.02)
        for query in ({"kinds": [1], "limit": 9}, {"ids": [soon.id, never.id]}, {"authors": [key.public]}):
            assert await client.ids(query) == [never.id]
        assert await client.ids({"#t": ["soon"]}) == []
        assert await client.count({"kinds": [1]}) == 1
        for _ in range(100):
            if (await relay.relay.store.stats()).events == 1:
                break
            await asyncio.sleep(0.2)
        assert (await relay.relay.store.stats()).events == 1
        assert (await client.publish(soon)) == (False, "invalid: event has expired")


async def test_protected_events_come_from_their_author_only(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start()
    event = key.sign(kind=1, tags=[["-"]])
    async with relay.client() as client:
        assert (await client.publish(event))[1].startswith("auth-required:")
        assert await client.authenticate(other, relay.url) == (True, "")
        assert (await client.publish(event))[1].startswith("restricted:")
        assert await client.authenticate(key, relay.url) == (True, "")
        assert await client.publish(event) == (True, "")


async def test_kinds_from_0_to_65535(start: Start, key: SecretKey) -> None:
    relay = await start()
    async with relay.client() as client:
        top = key.sign(kind=65535)
        await client.accept(top)
        assert await client.ids({"kinds": [65535]}) == [top.id]
        bad = key.sign(kind=65536)
        assert await client.publish(bad) == (False, "invalid: kind is not an integer from 0 to 65535")


async def _search(client: Client, text: str, **more: object) -> set[str]:
    return set(await client.ids({"search": text, **more}))


async def test_search(start: Start, key: SecretKey) -> None:
    relay = await start()
    whale = key.sign(kind=1, content="A white Whale at sea; Ünïcode", tags=[["t", "moby"]], created_at=NOW - 1)
    profile = key.sign(kind=0, content='{"name":"Ishmael","about":"sailor of the sea"}')
    job = key.sign(kind=5050, content="whale")
    async with relay.client() as client:
        await client.accept(whale, profile, job)
        assert await _search(client, "whale") == {whale.id}
        assert await _search(client, "SEA") == {whale.id, profile.id}
        assert await _search(client, "sea", kinds=[0]) == {profile.id}
        assert await _search(client, "unicode white") == {whale.id}
        assert await _search(client, "moby language:en include:spam") == {whale.id}
        assert await _search(client, "nothing here") == set()
        assert await _search(client, '" OR * ( NEAR') == set()
        assert await _search(client, "name") == set()
        assert await _search(client, "language:en", kinds=[5050]) == {job.id}
        assert await client.count({"search": "sea"}) == 2
        await client.accept(
            key.sign(kind=5, tags=[["e", whale.id]]), key.sign(kind=0, content="{}", created_at=profile.created_at + 1)
        )
        assert await _search(client, "sea") == set()
        fresh = key.sign(kind=1, content="sea again")
        await client.accept(fresh)
        assert await _search(client, "sea") == {fresh.id}
