"""What the pages know of the market: a Nostr client of our own relay that keeps announcements, heartbeats, recipes,
reviews and recent works in memory, as the relay sends them.
"""

import asyncio
import contextlib
import statistics
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from typing import Any

import orjson

from market.announcement import Announcement, Heartbeat
from market.errors import MarketError
from market.job import JobResult
from market.kinds import ANNOUNCEMENT, HEARTBEAT, JOB_COMPOSITE, JOB_HUMAN, JOB_KINDS, RECIPE, REVIEW, result_kind
from market.media import Media
from nostr import nip19
from nostr.clock import Clock, system_clock
from nostr.event import Event
from nostr.filter import Filter
from nostr.pool import Pool

LIVE, LATE = 300, 900  # seconds since the last sign of life
WORKS = 24  # recent works kept per seller
RESULTS = tuple(result_kind(kind) for kind in JOB_KINDS)


@dataclass(frozen=True, slots=True)
class Service:
    """One thing for sale, ready for a template."""

    announcement: Announcement
    kind: int
    seen: int | None
    sample: Media | None
    seconds: int | None
    stars: tuple[int, ...]
    now: int

    @property
    def pubkey(self) -> str:
        return self.announcement.pubkey

    @property
    def name(self) -> str:
        return self.announcement.name or nip19.npub(self.pubkey)[:16]

    @property
    def about(self) -> str:
        return self.announcement.about

    @property
    def title(self) -> str:
        known = JOB_KINDS.get(self.kind)
        return known.title if known else f"kind {self.kind}"

    @property
    def price_msat(self) -> int | None:
        return self.announcement.price_msat

    @property
    def engine(self) -> str:
        return self.announcement.engine

    @property
    def model(self) -> str:
        return self.announcement.model

    @property
    def human(self) -> bool:
        return self.kind == JOB_HUMAN or "human" in self.announcement.topics

    @property
    def recipe(self) -> str | None:
        """The name of the recipe a composite is made by."""
        return next(
            (tag[1].split(":", 2)[2] for tag in self.announcement.raw.tagged("a") if tag[1].startswith("35990:")), None
        )

    @property
    def href(self) -> str:
        return f"/service/{nip19.npub(self.pubkey)}/{self.kind}" + (f"?d={self.announcement.d}" if self.recipe else "")

    @property
    def life(self) -> str:
        """`live`, `late` or `gone`: the class of the dot."""
        age = self.now - (self.seen or 0)
        return "live" if age <= LIVE else "late" if age <= LATE else "gone"

    @property
    def life_words(self) -> str:
        return {"live": "open now", "late": "was here minutes ago", "gone": "not seen lately"}[self.life]

    @property
    def score_short(self) -> str:
        return f"★ {sum(self.stars) / len(self.stars):.1f} ({len(self.stars)})" if self.stars else "new"

    @property
    def score_words(self) -> str:
        if not self.stars:
            return "no reviews yet"
        return (
            f"{sum(self.stars) / len(self.stars):.1f} of 5 from {len(self.stars)} review{'s' * (len(self.stars) != 1)}"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "pubkey": self.pubkey, "kind": self.kind, "name": self.name, "about": self.about, "title": self.title,
            "price_msat": self.price_msat, "engine": self.engine, "model": self.model, "alive": self.life == "live",
            "seen": self.seen, "stars": self.stars, "median_seconds": self.seconds, "recipe": self.recipe,
            "params": self.announcement.params, "href": self.href, "sample": self.sample.url if self.sample else None,
        }  # fmt: skip


class Shelf:
    """`start` it with the relay's URL; then ask. Every answer is from memory."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._announcements: dict[tuple[str, str], Announcement] = {}
        self._seen: dict[str, int] = {}
        self._works: dict[tuple[str, int], deque[tuple[Event, Media | None]]] = defaultdict(lambda: deque(maxlen=WORKS))
        self._times: dict[tuple[str, int], deque[int]] = defaultdict(lambda: deque(maxlen=50))
        self._reviews: dict[str, OrderedDict[tuple[str, str], Event]] = defaultdict(OrderedDict)
        self._recipes: dict[str, Event] = {}
        self._task: asyncio.Task[None] | None = None
        self.pool: Pool | None = None

    async def start(self, url: str) -> None:
        self.pool = Pool([url])
        await self.pool.__aenter__()
        self._task = asyncio.create_task(self._follow(self.pool), name="shelf")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.pool is not None:
            await self.pool.__aexit__(None, None, None)

    async def _follow(self, pool: Pool) -> None:
        wanted = (
            Filter(kinds=[ANNOUNCEMENT, HEARTBEAT, RECIPE], limit=3000),
            Filter(kinds=[REVIEW], limit=2000),
            Filter(kinds=RESULTS, limit=1000),
        )
        async for event in pool.subscribe(*wanted):
            with contextlib.suppress(MarketError):
                self.take(event)

    def take(self, event: Event) -> None:
        """File one event. Order does not matter; older versions never replace newer ones."""
        if event.kind == ANNOUNCEMENT:
            made = Announcement.parse(event)
            before = self._announcements.get((event.pubkey, made.d))
            if before is None or before.created_at <= made.created_at:
                self._announcements[event.pubkey, made.d] = made
        elif event.kind == HEARTBEAT:
            beat = Heartbeat.parse(event)
            self._saw(event.pubkey, beat.created_at if beat.status not in ("offline", "stopped") else 0)
        elif event.kind == RECIPE:
            before_event = self._recipes.get(event.address)
            if before_event is None or before_event.created_at <= event.created_at:
                self._recipes[event.address] = event
        elif event.kind == REVIEW:
            for pubkey in event.values("p"):
                self._reviews[pubkey][event.pubkey, event.first("d") or ""] = event
        else:
            self._take_result(event)

    def _take_result(self, event: Event) -> None:
        key = (event.pubkey, event.kind - 1000)
        self._saw(event.pubkey, event.created_at)
        asked = _asked_at(event)
        if asked is not None and 0 <= event.created_at - asked < 86400:
            self._times[key].append(event.created_at - asked)
        if not event.tagged("encrypted"):
            media = JobResult.parse(event).urls
            self._works[key].append((event, media[0] if media else None))

    def _saw(self, pubkey: str, at: int) -> None:
        self._seen[pubkey] = max(self._seen.get(pubkey, 0), min(at, self._clock()))

    def services(self, *, kind: int | None = None, words: str = "") -> list[Service]:
        """What is for sale: living first, composites before parts, then by name."""
        found = [
            self._service(announcement, number)
            for announcement in self._announcements.values()
            for number in announcement.kinds
            if number in JOB_KINDS and kind in (None, number)
        ]
        wanted = words.lower().split()
        matching = [s for s in found if all(word in f"{s.name} {s.about} {s.title}".lower() for word in wanted)]
        order = {"live": 0, "late": 1, "gone": 2}
        return sorted(matching, key=lambda s: (order[s.life], s.kind != JOB_COMPOSITE, s.kind, s.name.lower()))

    def of(self, pubkey: str, kind: int, d: str | None = None) -> Service | None:
        for announcement in self._announcements.values():
            if announcement.pubkey == pubkey and kind in announcement.kinds and d in (None, announcement.d):
                return self._service(announcement, kind)
        return None

    def by_recipe(self, name: str) -> list[Service]:
        return [
            service for service in self.services(kind=JOB_COMPOSITE) if name in (service.recipe, service.announcement.d)
        ]

    def works(self, pubkey: str, kind: int) -> list[tuple[Event, Media | None]]:
        """Recent works of a seller, newest first."""
        return sorted(self._works[pubkey, kind], key=lambda work: -work[0].created_at)

    def reviews(self, pubkey: str) -> list[Event]:
        return sorted(self._reviews[pubkey].values(), key=lambda event: -event.created_at)

    def recipes(self) -> list[Event]:
        return sorted(self._recipes.values(), key=lambda event: (event.first("title") or "").lower())

    def recipe(self, address: str) -> Event | None:
        return self._recipes.get(address)

    def kinds(self) -> list[tuple[int, str]]:
        """Kinds that somebody sells, with their titles."""
        there = {number for announcement in self._announcements.values() for number in announcement.kinds}
        return [(number, kind.title) for number, kind in JOB_KINDS.items() if number in there]

    def _service(self, announcement: Announcement, kind: int) -> Service:
        key = (announcement.pubkey, kind)
        sample = next((media for _, media in self.works(*key) if media is not None), None)
        stars = tuple(star for event in self._reviews[announcement.pubkey].values() if (star := stars_of(event)))
        times = self._times[key]
        seconds = round(statistics.median(times)) if times else None
        return Service(announcement, kind, self._seen.get(announcement.pubkey), sample, seconds, stars, self._clock())


def stars_of(review: Event) -> int | None:
    """1 to 5, or None where the review names no sane rating."""
    text = review.first("rating") or ""
    return int(text) if text in ("1", "2", "3", "4", "5") else None


def _asked_at(result: Event) -> int | None:
    """When the job was asked, from the copy of the request in the result."""
    try:
        request = orjson.loads(result.first("request") or "")
    except orjson.JSONDecodeError:
        return None
    at = request.get("created_at") if isinstance(request, dict) else None
    return at if isinstance(at, int) else None
