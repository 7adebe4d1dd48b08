import pytest

from nostr import Event, Filter, SecretKey
from nostr.client import Connection
from nostr.errors import NotSupportedByRelay
from nostr.negentropy import Items
from nostr.sync import fetch_ids, pages, reconcile
from tests.nostr.small_relay import SmallRelay

KEY = SecretKey.generate()


def events(*times: int) -> list[Event]:
    return [KEY.sign(kind=1, content=str(n), created_at=at) for n, at in enumerate(times)]


@pytest.mark.parametrize(
    ("times", "limit"),
    [
        ([], 10),
        ([5], 10),
        (list(range(100, 135)), 10),
        ([100 + n // 4 for n in range(90)], 10),
        ([100] * 10 + [101] * 3 + [102], 10),
        ([100] * 9 + [101] * 11 + [102] * 10, 11),
        ([0] * 5, 5),
    ],
)
async def test_pages_get_everything(times: list[int], limit: int) -> None:
    async with SmallRelay(events=events(*times), max_limit=limit) as relay, Connection(relay.url) as c:
        got = [event.content async for event in pages(c, Filter(kinds=[1]), size=500)]
        assert sorted(got, key=int) == [str(n) for n in range(len(times))]


async def test_a_full_second_is_asked_for_as_a_whole() -> None:
    async with SmallRelay(events=events(*[100] * 40, *[99] * 3, *[101] * 3)) as relay, Connection(relay.url) as c:
        got = [event.content async for event in pages(c, Filter(kinds=[1]), size=10)]
        assert sorted(got, key=int) == [str(n) for n in range(46)]


async def test_pages_keep_to_the_filter() -> None:
    async with SmallRelay(events=events(*range(100)), max_limit=10) as relay, Connection(relay.url) as c:
        wanted = Filter(kinds=[1], since=20, until=60, limit=25)
        assert [event.created_at async for event in pages(c, wanted)] == list(range(60, 35, -1))


async def test_a_relay_without_negentropy_says_nothing() -> None:
    async with SmallRelay() as relay, Connection(relay.url) as c:
        with pytest.raises(NotSupportedByRelay):
            await reconcile(c, Filter(kinds=[1]), Items([]), patience=0.3)


async def test_many_ids_are_fetched_in_parts() -> None:
    known = events(*range(450))
    async with SmallRelay(events=known, max_limit=250) as relay, Connection(relay.url) as c:
        wanted = frozenset(event.id for event in known)
        assert {event.id async for event in fetch_ids(c, wanted | {"0" * 64})} == wanted
