"""What the rules of retention let go, and what they must not touch."""

import hashlib
import time

from nostr.blossom import BlossomClient
from nostr.key import SecretKey
from tests.relay.conftest import Start

DAY = 86_400


async def test_events_go_by_age_and_by_number(start: Start, key: SecretKey) -> None:
    relay = await start(retention=[{"kinds": [7000], "max_age_days": 30}, {"kinds": [1, 7], "max_count": 3}])
    now = int(time.time())
    old = [key.sign(kind=7000, created_at=now - 31 * DAY), key.sign(kind=6050, created_at=now - 31 * DAY)]
    fresh = key.sign(kind=7000, created_at=now - 29 * DAY)
    notes = [key.sign(kind=1 if n % 2 else 7, content=str(n), created_at=now - n) for n in range(8)]
    async with relay.client() as client:
        await client.accept(*old, fresh, *notes)
        await relay.relay.tidy()
        assert set(await client.ids({"kinds": [7000, 6050]})) == {old[1].id, fresh.id}
        assert set(await client.ids({"kinds": [1, 7]})) == {event.id for event in notes[:3]}
        # No tombstones: what a rule let go may come again, from a relay it is synced with.
        assert await client.publish(old[0]) == (True, "")
        assert await client.ids({"ids": [old[0].id]}) == [old[0].id]


async def test_more_events_than_one_step(start: Start, key: SecretKey) -> None:
    relay = await start(retention=[{"kinds": [1], "max_count": 0}], key_rate=None, event_rate=None)
    async with relay.client() as client:
        for n in range(1100):
            await client.say("EVENT", key.sign(kind=1, content=str(n)).to_dict())
        for _ in range(1100):
            assert (await client.hear())[2] is True
        await relay.relay.tidy()
        assert await client.count({"kinds": [1]}) == 0


async def test_files_of_strangers_and_our_own_have_each_their_age(
    start: Start, key: SecretKey, other: SecretKey
) -> None:
    relay = await start(own_keys=[other.public], blob_days=2, own_blob_days=30)
    now = relay.relay.clock()
    async with BlossomClient(relay.http, key) as stranger, BlossomClient(relay.http, other) as own:
        for holder in (stranger, own):
            await holder.upload(b"of both")
        theirs, ours = await stranger.upload(b"theirs"), await own.upload(b"ours")
        both = hashlib.sha256(b"of both").hexdigest()

        async def there() -> list[bool]:
            found = []
            for name in (theirs.sha256, ours.sha256, both):
                async with relay.session.get(f"{relay.http}/{name}") as answer:
                    found.append(answer.status == 200)
            return found

        for days, left in ((1, [True, True, True]), (3, [False, True, True]), (31, [False, False, False])):
            relay.relay.clock = lambda days=days: now + days * DAY
            await relay.relay.tidy()
            assert await there() == left, days
