"""The naive matcher is the oracle: stored answers, counts, sync lists and live delivery agree with it on anything."""

import asyncio
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from relay.core import Relay
from relay.filters import Want, parse_filter
from relay.record import parse
from relay.settings import RelaySettings
from relay.store.interface import Scope
from relay.subscriptions import Index, Subscription

KEYS = [SecretKey.from_hex(f"{n:064x}") for n in range(1, 14)]
KINDS = [1, 2, 7, 1111, 5050, 6050, 7000, 9999]
VALUES = ["a", "b", "c", "", "A", "ü", "x" * 200, "y" * 200, KEYS[0].public, KEYS[1].public, KEYS[0].public.upper()]
VALUES += [bytes.fromhex(KEYS[0].public).decode("latin1"), "q" * 32, (b"q" * 32).hex()]
BASE = int(time.time()) - 10_000
ROUNDS = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))

tags = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("etpdaT"), st.sampled_from(VALUES)),
        st.tuples(st.sampled_from(["e", "p"]), st.sampled_from([key.public for key in KEYS[:4]]), st.just("extra")),
        st.tuples(st.sampled_from(["e", "emoji", ""])),
    ),
    max_size=5,
)


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    """Few seconds, few authors: ties and overlaps everywhere."""
    number = draw(st.integers(1, 60))
    return [
        draw(st.sampled_from(KEYS)).sign(
            kind=draw(st.sampled_from(KINDS)),
            content=str(n),
            tags=draw(tags),
            created_at=BASE + draw(st.integers(0, 12)),
        )
        for n in range(number)
    ]


@st.composite
def filters(draw: st.DrawFn, known: list[Event]) -> Filter:
    def some(of: st.SearchStrategy[object], most: int) -> st.SearchStrategy[object]:
        return st.one_of(st.none(), st.none(), st.lists(of, max_size=most))

    ids = [event.id for event in known] + ["0" * 64]
    few = st.lists(st.sampled_from("etpdaTx"), max_size=2, unique=True)
    letters = draw(st.one_of(st.just([]), st.just([]), few))  # mostly none: answers longer than their limit matter
    return Filter(
        ids=draw(some(st.sampled_from(ids), 30)),
        authors=draw(some(st.sampled_from([key.public for key in KEYS]), 12)),
        kinds=draw(some(st.sampled_from([*KINDS, 65535]), 6)),
        tags={letter: draw(st.lists(st.sampled_from(VALUES), max_size=4)) for letter in letters},
        since=draw(st.one_of(st.none(), st.integers(BASE - 2, BASE + 14))),
        until=draw(st.one_of(st.none(), st.integers(BASE - 2, BASE + 14))),
        limit=draw(st.one_of(st.none(), st.integers(0, 70))),
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Event], list[list[Filter]]]:
    made = draw(events())
    groups = draw(st.lists(st.lists(filters(made), min_size=1, max_size=3), min_size=1, max_size=8))
    return made, groups


def expected(stored: list[Event], group: list[Filter]) -> list[str]:
    """NIP-01 by the letter: each filter's newest `limit`, united, newest first, ties by the lowest id."""
    found: dict[str, Event] = {}
    for one in group:
        hits = sorted((e for e in stored if one.matches(e)), key=lambda e: (-e.created_at, e.id))
        found.update((e.id, e) for e in hits[: 500 if one.limit is None else one.limit])
    return [e.id for e in sorted(found.values(), key=lambda e: (-e.created_at, e.id))]


def wants_of(group: list[Filter]) -> tuple[Want, ...]:
    return tuple(parse_filter(one.to_dict(), 10_000) for one in group)


def ids_in(rows: list[tuple[int, bytes]]) -> list[str]:
    return [raw[7:71].decode() for _, raw in rows]


async def filled(folder: Path, stored: list[Event]) -> Relay:
    relay = Relay(RelaySettings(private_kinds=[]), folder)
    await relay.start()
    verdicts = await asyncio.gather(*(relay.ingest(event.to_dict()) for event in stored))
    assert all(verdict.accepted for verdict in verdicts)
    return relay


@ROUNDS
@given(worlds())
def test_stored_answers_equal_the_naive_matcher(
    tmp_path_factory: object, world: tuple[list[Event], list[list[Filter]]]
) -> None:
    stored, groups = world
    folder: Path = tmp_path_factory.mktemp("store")  # type: ignore[attr-defined]

    async def check() -> None:
        relay = await filled(folder, stored)
        try:
            for group in groups:
                wants, want = wants_of(group), expected(stored, group)
                rows = relay.store.glance(wants, 500, Scope())
                assert rows is not None
                assert ids_in(rows) == want, group
                assert ids_in(await relay.store.query(wants, 500, Scope())) == want
                unlimited = [e for e in stored if any(one.matches(e) for one in group)]
                assert await relay.store.count(wants, Scope()) == len({e.id for e in unlimited})
                if len(group) == 1:
                    items = await relay.store.items(wants[0], Scope(), 1000)
                    assert items == sorted((e.created_at, bytes.fromhex(e.id)) for e in unlimited)
                    if wants[0].kinds and not group[0].ids and not group[0].authors and not group[0].tags:
                        limit = 500 if group[0].limit is None else group[0].limit
                        one = wants[0]
                        if limit and not one.impossible and one.ids is None and one.authors is None:
                            newest = relay.rings.newest(one.kinds or (), limit, one.since, one.until)
                            assert newest is not None
                            assert ids_in(newest) == want
        finally:
            await relay.stop()

    asyncio.run(check())


@ROUNDS
@given(worlds(), st.randoms(use_true_random=False))
def test_the_live_index_equals_the_naive_matcher(world: tuple[list[Event], list[list[Filter]]], random: object) -> None:
    stored, groups = world
    index = Index()
    open_now: dict[int, tuple[Subscription, list[Filter]]] = {}
    for at, event in enumerate(stored):
        if at % 3 == 0:
            for number, group in enumerate(groups):
                if number in open_now and random.random() < 0.3:  # type: ignore[attr-defined]
                    index.remove(open_now.pop(number)[0])
                elif number not in open_now:
                    made = Subscription(None, str(number), wants_of(group))  # type: ignore[arg-type]
                    index.add(made)
                    open_now[number] = (made, group)
        found = index.matching(parse(event.to_dict()))
        assert len(found) == len(set(found))
        want = {str(n) for n, (_, group) in open_now.items() if any(one.matches(event) for one in group)}
        assert {subscription.name for subscription in found} == want
    for made, _ in open_now.values():
        index.remove(made)
    assert not (index.by_id or index.by_author or index.by_tag or index.by_kind or index.rest or index.count)
