"""Who sells what, from announcements (31990), profiles (0), relay lists (10002), heartbeats (11998) and likes (31989).

`feed` takes events and is the whole truth of this module; `load` and `watch` bring them from many relays, and then from
the relays the sellers themselves name. Everything in an announcement is its author's word: what a provider really
bills, how often and how fast it delivers comes from our own purchases.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import orjson

from market.announcement import ALIVE_FOR, Announcement, Heartbeat
from market.errors import BadAnnouncement
from market.kinds import (
    ANNOUNCEMENT,
    DELETION,
    FEEDBACK,
    HEARTBEAT,
    JOB_COMPOSITE,
    PROFILE,
    RECOMMENDATION,
    RELAY_LIST,
    is_result,
)
from market.purchases import Stats
from market.tags import parse_relay
from nostr.clock import Clock, system_clock
from nostr.errors import RelayRefused, RelayUnreachable
from nostr.event import Event
from nostr.filter import Filter
from nostr.pool import Pool

log = logging.getLogger("directory")

FRESH: Final = 300  # seconds after which a silent provider is less than certainly alive
_MANY: Final = 500
_MOST: Final = 2000  # entries of each kind: strangers can sign with as many keys as they like
_SELLER_KINDS: Final = (PROFILE, RELAY_LIST, HEARTBEAT)


@dataclass(frozen=True, slots=True)
class Offer:
    """One provider's offer of one kind of job.

    `price_msat` is announced (0 free, None flexible), `billed_msat` the median of what we were really billed. `alive`
    means a heartbeat within 900 s, or a person's that has not expired; `liveness` falls from 1 towards 0 as the last
    sign of life ages.
    """

    provider: str
    kind: int
    name: str
    announcement: Announcement
    alive: bool
    liveness: float
    last_seen: int | None
    price_msat: int | None
    billed_msat: int | None
    relays: tuple[str, ...]
    stats: Stats
    recommended_by: frozenset[str]

    @property
    def expected_msat(self) -> int | None:
        """What a job will probably cost: what is announced, unless experience says otherwise."""
        return self.billed_msat if self.billed_msat is not None else self.price_msat


class Directory:
    """`stats` are our own purchases by (provider, kind), see `Purchases.stats`; assign it anew as they grow."""

    def __init__(self, pool: Pool, clock: Clock = system_clock) -> None:
        self._pool, self._clock = pool, clock
        self.stats: Mapping[tuple[str, int], Stats] = {}
        self._announced: dict[str, Announcement] = {}
        self._sold_by: dict[str, dict[str, None]] = {}  # provider -> addresses of its announcements
        self._withdrawn: dict[str, int] = {}
        self._beats: dict[str, Heartbeat] = {}
        self._signs: dict[str, int] = {}
        self._profiles: dict[str, tuple[int, dict[str, Any]]] = {}
        self._relays: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._recommended: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        self._task: asyncio.Task[None] | None = None

    def feed(self, event: Event) -> None:
        """Take in one verified event; older or irrelevant ones change nothing."""
        if event.kind == ANNOUNCEMENT:
            self._feed_announcement(event)
        elif event.kind == HEARTBEAT:
            beat = Heartbeat.parse(event)
            if (known := self._beats.get(event.pubkey)) is None or known.created_at < beat.created_at:
                self._beats.pop(event.pubkey, None)  # the longest silent stand first
                self._beats[event.pubkey] = beat
        elif event.kind == PROFILE:
            if self._profiles.get(event.pubkey, (-1,))[0] < event.created_at:
                self._profiles[event.pubkey] = (event.created_at, _object(event.content))
        elif event.kind == RELAY_LIST:
            if self._relays.get(event.pubkey, (-1,))[0] < event.created_at:
                self._relays[event.pubkey] = (event.created_at, _takes_jobs_at(event))
        elif event.kind == RECOMMENDATION:
            who = (event.pubkey, event.first("d") or "")
            if self._recommended.get(who, (-1,))[0] < event.created_at:
                self._recommended[who] = (event.created_at, tuple(event.values("a")))
        elif event.kind == DELETION:
            for address in event.values("a"):
                if address.startswith(f"{ANNOUNCEMENT}:{event.pubkey}:"):
                    self._withdrawn[address] = max(event.created_at, self._withdrawn.get(address, 0))
                if address.startswith(f"{HEARTBEAT}:{event.pubkey}:"):
                    self._stop(event)
        elif event.kind == FEEDBACK or is_result(event.kind):
            self._signs[event.pubkey] = max(self._signs.get(event.pubkey, 0), min(event.created_at, self._clock()))
        for kept in (self._withdrawn, self._beats, self._signs, self._profiles, self._relays, self._recommended):
            _bound(kept)

    async def load(self, kinds: Collection[int] | None = None, *, timeout: float = 4) -> None:
        """Ask all relays for who sells these kinds, then everything about those sellers, also at their own relays.

        Relays that do not answer in `timeout` seconds are left out. Raises RelayUnreachable where none answered.
        """
        wanted = {"k": [str(kind) for kind in kinds]} if kinds is not None else None
        for event in await self._pool.fetch(Filter(kinds=[ANNOUNCEMENT], tags=wanted, limit=_MANY), timeout=timeout):
            self.feed(event)
        sellers = {announcement.pubkey for announcement in self._announced.values()}
        if not sellers:
            return
        about = [
            Filter(kinds=_SELLER_KINDS, authors=sellers),
            Filter(kinds=[DELETION], authors=sellers, limit=_MANY),
            Filter(kinds=[RECOMMENDATION], tags={"a": list(self._announced)}, limit=_MANY),
            Filter(kinds=[FEEDBACK], authors=sellers, since=self._clock() - ALIVE_FOR, limit=_MANY),
        ]
        await self._collect(about, self._pool.relays, timeout)
        elsewhere = {url for seller in sellers for url in self._where(seller)} - set(self._pool.relays)
        if elsewhere:
            await self._collect(about[:2], sorted(elsewhere)[:16], timeout)

    def watch(self) -> None:
        """Keep the directory live from now on, until `close`."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name="directory")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def offers(self, kind: int | None = None, *, dead: bool = True) -> list[Offer]:
        """Offers of one kind or of all: the living first, then the cheaper. `dead=False` leaves the silent out."""
        found = [offer for announcement in self._standing() for offer in self._offers_of(announcement, kind)]
        if not dead:
            found = [offer for offer in found if offer.alive]
        return sorted(found, key=lambda o: (not o.alive, o.kind, o.expected_msat is None, o.expected_msat or 0))

    def offer(self, provider: str, kind: int, d: str | None = None) -> Offer | None:
        """The offer of one provider, if it announces this kind (under this `d`)."""
        found = [o for o in self.offers(kind) if o.provider == provider and d in (None, o.announcement.d)]
        return found[0] if found else None

    def relays_of(self, provider: str) -> tuple[str, ...]:
        """Where a provider takes jobs: its announcements' relays and its relay list."""
        return tuple(self._where(provider))

    def liveness(self, provider: str) -> float:
        """1 while the last sign of life is at most 300 s old, falling by a factor e every 600 s after."""
        last = self._last_seen(provider)
        if last is None:
            return 0.0
        age = self._clock() - last
        return 1.0 if age <= FRESH else 2.718281828 ** (-(age - FRESH) / 600)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _offers_of(self, announcement: Announcement, kind: int | None) -> Iterator[Offer]:
        pubkey = announcement.pubkey
        beat = self._beats.get(pubkey)
        for each in announcement.kinds:
            if kind is not None and each != kind:
                continue
            stats = self.stats.get((pubkey, each), Stats())
            there = beat is not None and announcement.human and beat.on_shift(self._clock())
            # One key sells many recipes under one kind: what one of them cost says nothing about another.
            billed = stats.billed[-10:] if each != JOB_COMPOSITE else []
            yield Offer(
                provider=pubkey,
                kind=each,
                name=announcement.name or str(self._profiles.get(pubkey, (0, {}))[1].get("name") or ""),
                announcement=announcement,
                alive=there or (beat is not None and beat.alive(self._clock())),
                liveness=1.0 if there else self.liveness(pubkey),
                last_seen=self._last_seen(pubkey),
                price_msat=announcement.price_msat,
                billed_msat=int(median(billed)) if billed else None,
                relays=self.relays_of(pubkey),
                stats=stats,
                recommended_by=frozenset(
                    who for (who, _), (_, liked) in self._recommended.items() if announcement.address in liked
                ),
            )

    def _standing(self) -> Iterator[Announcement]:
        for address, announcement in self._announced.items():
            if self._withdrawn.get(address, -1) < announcement.created_at:
                yield announcement

    def _feed_announcement(self, event: Event) -> None:
        try:
            announcement = Announcement.parse(event)
        except BadAnnouncement:
            return
        if event.expiration is not None and event.expiration <= self._clock():
            return
        known = self._announced.get(announcement.address)
        if known is None or known.created_at < announcement.created_at:
            self._announced[announcement.address] = announcement
            self._sold_by.setdefault(announcement.pubkey, {})[announcement.address] = None
        if len(self._announced) > _MOST:  # whoever has been silent for the longest time goes
            self._forget(min(self._announced.values(), key=lambda one: self._last_seen(one.pubkey) or 0))

    def _forget(self, announcement: Announcement) -> None:
        del self._announced[announcement.address]
        addresses = self._sold_by[announcement.pubkey]
        del addresses[announcement.address]
        if not addresses:
            del self._sold_by[announcement.pubkey]

    def _stop(self, event: Event) -> None:
        beat = self._beats.get(event.pubkey)
        if beat is None or beat.created_at <= event.created_at:
            self._beats[event.pubkey] = Heartbeat(event.pubkey, "", "stopped", event.created_at, None)
            self._signs.pop(event.pubkey, None)

    def _last_seen(self, provider: str) -> int | None:
        beat = self._beats.get(provider)
        signs = [self._signs[provider]] if provider in self._signs else []
        if beat is not None and beat.status != "stopped":
            signs.append(min(beat.created_at, self._clock()))
        return max(signs) if signs else None

    def _where(self, provider: str) -> list[str]:
        urls = [url for address in self._sold_by.get(provider, ()) for url in self._announced[address].relays]
        urls += self._relays.get(provider, (0, ()))[1]
        return list(dict.fromkeys(urls))

    async def _collect(self, filters: Iterable[Filter], relays: Iterable[str], timeout: float) -> None:
        try:
            events = await self._pool.fetch(*filters, relays=relays, timeout=timeout)
        except (RelayUnreachable, RelayRefused) as error:
            log.info("the directory goes without: %s", error)
            return
        for event in events:
            self.feed(event)

    async def _watch(self) -> None:
        kinds = [ANNOUNCEMENT, HEARTBEAT, PROFILE, RELAY_LIST, RECOMMENDATION]
        since = self._clock() - ALIVE_FOR
        deletions = Filter(kinds=[DELETION], tags={"k": [str(ANNOUNCEMENT), str(HEARTBEAT)]}, since=since)
        async with self._pool.subscribe(Filter(kinds=kinds, since=since), deletions) as sub:
            async for event in sub:
                self.feed(event)


def _bound(kept: dict[Any, Any]) -> None:
    """Forget the oldest entry of one too many."""
    if len(kept) > _MOST:
        del kept[next(iter(kept))]


def _takes_jobs_at(event: Event) -> tuple[str, ...]:
    """The read relays of a 10002 (NIP-65): where mentions, and so jobs, reach its author."""
    urls = [parse_relay(tag[1]) for tag in event.tagged("r") if len(tag) > 1 and (len(tag) < 3 or tag[2] != "write")]
    return tuple(url for url in urls if url)[:10]


def _object(content: str) -> dict[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
