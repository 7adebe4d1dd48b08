"""What the pages know of the market: a Nostr client of our own relay that keeps announcements, heartbeats, recipes,
names, bills and recent works in memory, as the relay sends them.
"""

import asyncio
import contextlib
import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import orjson

from market.announcement import Announcement, Heartbeat
from market.errors import MarketError
from market.job import JobResult
from market.kinds import (
    ANNOUNCEMENT,
    DELETION,
    HEARTBEAT,
    JOB_COMPOSITE,
    JOB_KINDS,
    PROFILE,
    RECIPE,
    result_kind,
)
from market.reputation import Score
from market.tags import parse_hex64
from nostr import nip19
from nostr.clock import Clock, system_clock
from nostr.errors import NostrError
from nostr.event import Event
from nostr.filter import Filter
from nostr.pool import Pool
from web.service import Service, Work

WORKS = 24  # recent works kept per seller
PRICES = 60  # bills kept per seller
MOST = 3000  # entries of each kind: strangers can sign with as many keys as they like
LONGEST = 32_768  # characters of an announcement or recipe that is shown
PriceNote = Callable[[str, str, int, int | None], None]  # seller, d, time, msat
RESULTS = tuple(result_kind(kind) for kind in JOB_KINDS)


class Shelf:
    """`start` it with the relay's URL; then ask. Every answer is from memory. `score` says how good a seller is, `own`
    which keys are this node's."""

    def __init__(
        self,
        score: Callable[[str, int], Score],
        clock: Clock = system_clock,
        note_price: PriceNote = lambda *_: None,
        own: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._score, self._clock, self._note_price, self._own = score, clock, note_price, own
        self._announcements: dict[tuple[str, str], Announcement] = {}
        self._withdrawn: dict[str, int] = {}
        self._names: dict[str, tuple[int, str]] = {}
        self._seen: dict[str, int] = {}
        self._left: dict[str, int] = {}  # when a seller said goodbye
        self._beats: dict[str, Heartbeat] = {}
        self._works: dict[tuple[str, int, str], deque[Work]] = defaultdict(lambda: deque(maxlen=WORKS))
        self._times: dict[tuple[str, int, str], deque[int]] = defaultdict(lambda: deque(maxlen=50))
        self._prices: dict[tuple[str, int, str], dict[str, tuple[int, int]]] = defaultdict(dict)
        self._recipes: dict[str, Event] = {}
        self._task: asyncio.Task[None] | None = None
        self.pool: Pool | None = None

    async def start(self, url: str) -> Pool:
        """Become a client of this relay, and give the connection to whoever needs it too."""
        self.pool = Pool([url])
        await self.pool.__aenter__()
        self._task = asyncio.create_task(self._follow(self.pool), name="shelf")
        return self.pool

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
            Filter(kinds=[PROFILE], limit=2000),
            Filter(kinds=[DELETION], limit=500),  # many do not say what kinds they delete
            Filter(kinds=RESULTS, limit=1000),
        )
        async for event in pool.subscribe(*wanted):
            with contextlib.suppress(MarketError):
                self.take(event)

    async def ask(self, *filters: Filter) -> list[Event]:
        """Stored events, from the relay itself; nothing where it does not answer."""
        if self.pool is None:
            return []
        try:
            return await self.pool.fetch(*filters, timeout=2)
        except (NostrError, TimeoutError):
            return []

    async def look(self, *filters: Filter) -> None:
        """Take what the relay has now: whoever has just published sees it, even if the subscription lags."""
        for event in await self.ask(*filters):
            with contextlib.suppress(MarketError):
                self.take(event)

    def take(self, event: Event) -> None:
        """File one event. Order does not matter; older versions never replace newer ones."""
        if event.kind in (ANNOUNCEMENT, RECIPE) and _length(event) > LONGEST:
            return
        if event.kind == ANNOUNCEMENT:
            made = Announcement.parse(event)
            before = self._announcements.get((event.pubkey, made.d))
            if before is None or before.created_at <= made.created_at:
                self._announcements[event.pubkey, made.d] = made
                self._note_price(event.pubkey, made.d, made.created_at, made.price_msat)
            if len(self._announcements) > MOST:  # whoever has not been seen for the longest time goes
                del self._announcements[min(self._announcements, key=lambda who: self._seen.get(who[0], 0))]
        elif event.kind == HEARTBEAT:
            beat = Heartbeat.parse(event)
            if (known := self._beats.get(event.pubkey)) is None or known.created_at <= beat.created_at:
                self._beats[event.pubkey] = beat
            if beat.status in ("offline", "stopped"):
                self._leave(event)
            else:
                self._saw(event.pubkey, beat.created_at)
        elif event.kind == RECIPE:
            before_event = self._recipes.get(event.address)
            if before_event is None or before_event.created_at <= event.created_at:
                self._recipes[event.address] = event
        elif event.kind == PROFILE:
            self._take_profile(event)
        elif event.kind == DELETION:
            self._take_deletion(event)
        else:
            self._take_result(event)
        for kept in (
            self._withdrawn,
            self._names,
            self._seen,
            self._left,
            self._beats,
            self._works,
            self._times,
            self._prices,
            self._recipes,
        ):
            _bound(kept)

    def _take_deletion(self, event: Event) -> None:
        """Only its author takes something back: by its address, or by its id."""
        for address in event.values("a"):
            if address.startswith(f"{HEARTBEAT}:{event.pubkey}:"):
                self._leave(event)
            elif address.split(":")[1:2] == [event.pubkey] and address.startswith((f"{ANNOUNCEMENT}:", f"{RECIPE}:")):
                self._withdrawn[address] = max(event.created_at, self._withdrawn.get(address, 0))
        gone = set(event.values("e"))
        mine = (made.raw for (who, _), made in self._announcements.items() if who == event.pubkey)
        recipes = (kept for kept in self._recipes.values() if kept.pubkey == event.pubkey)
        for kept in [kept for kept in (*mine, *recipes) if kept.id in gone]:
            self._withdrawn[kept.address] = max(kept.created_at, self._withdrawn.get(kept.address, 0))

    def _take_profile(self, event: Event) -> None:
        try:
            name = orjson.loads(event.content).get("name")
        except (orjson.JSONDecodeError, AttributeError):
            return
        if isinstance(name, str) and self._names.get(event.pubkey, (-1,))[0] < event.created_at:
            self._names[event.pubkey] = (event.created_at, " ".join(name.split())[:60])

    def _take_result(self, event: Event) -> None:
        request = _request(event)
        kind = event.kind - 1000
        key = (event.pubkey, kind, _recipe_of(request) if kind == JOB_COMPOSITE else "")
        self._saw(event.pubkey, event.created_at)
        asked = request.get("created_at")
        took = event.created_at - asked if isinstance(asked, int) and 0 <= event.created_at - asked < 86400 else None
        if took is not None:
            self._times[key].append(took)
        result = JobResult.parse(event)
        if result.amount_msat:
            self._price(key, result.request_id, event.created_at, result.amount_msat)
        if not event.tagged("encrypted"):
            media = result.urls[0] if result.urls else None
            slim = replace(event, content="", tags=tuple(tag for tag in event.tags if tag[:1] in (("e",), ("p",))))
            text = "" if media else excerpt(result.content)
            self._works[key].append(Work(slim, media, text, _words_of(request), took, result.amount_msat))

    def _price(self, key: tuple[str, int, str], job: str, at: int, msat: int) -> None:
        known = self._prices[key]
        known.setdefault(job, (at, msat))
        while len(known) > PRICES:
            known.pop(next(iter(known)))

    def _saw(self, pubkey: str, at: int) -> None:
        self._seen[pubkey] = max(self._seen.pop(pubkey, 0), min(at, self._clock()))  # the longest silent stand first

    def _leave(self, event: Event) -> None:
        """A seller says goodbye: nothing it signed before makes it live again."""
        self._left[event.pubkey] = max(event.created_at, self._left.get(event.pubkey, 0))

    def services(self, *, kind: int | None = None, words: str = "") -> list[Service]:
        """What is for sale: the living first, this node's own before strangers', composites before parts; ours with
        works to show before ours without, the proven stranger before the unproven, whatever name it gave itself."""
        found = [
            self._service(announcement, number)
            for announcement in self._standing()
            for number in announcement.kinds
            if number in JOB_KINDS and kind in (None, number)
        ]
        wanted = words.lower().split()
        matching = [s for s in found if all(word in f"{s.name} {s.about} {s.title}".lower() for word in wanted)]
        order, own = {"live": 0, "late": 1, "gone": 2}, self._own()

        def place(s: Service) -> tuple[Any, ...]:
            merit = s.sample is None if s.pubkey in own else -s.score.low
            return (order[s.life], s.pubkey not in own, s.kind != JOB_COMPOSITE, merit, s.kind, s.name)

        return sorted(matching, key=place)

    def of(self, pubkey: str, kind: int, d: str | None = None) -> Service | None:
        for announcement in self._standing():
            if announcement.pubkey == pubkey and kind in announcement.kinds and d in (None, announcement.d):
                return self._service(announcement, kind)
        return None

    def ordered(self, request: Event) -> Service | None:
        """The service that a request is addressed to: a seller may offer several of one kind."""
        pubkey, names = request.first("p") or "", set(request.values("a"))
        mine = [a for a in self._standing() if a.pubkey == pubkey and request.kind in a.kinds]
        wanted = _recipe_tag(request.tags)
        made = [self._service(announcement, request.kind) for announcement in mine]
        exact = [s for s in made if s.announcement.address in names or (wanted and s.recipe == wanted)]
        return next(iter(exact or made), None)

    def by_recipe(self, name: str) -> list[Service]:
        return [
            service for service in self.services(kind=JOB_COMPOSITE) if name in (service.recipe, service.announcement.d)
        ]

    def works(self, service: Service) -> list[Work]:
        """Recent works of a service, newest first."""
        return self._works_of((service.pubkey, service.kind, service.recipe or ""))

    def prices(self, service: Service) -> list[tuple[int, int]]:
        """(time, msat) of what was really billed, oldest first."""
        return sorted(self._prices[service.pubkey, service.kind, service.recipe or ""].values())

    def sellers(self) -> set[str]:
        return {announcement.pubkey for announcement in self._standing()}

    def name(self, pubkey: str) -> str:
        """What people call a key: its profile's name, its announcement's, or the beginning of its npub."""
        known = self._names.get(pubkey, (0, ""))[1]
        if not known:
            known = next((a.name for a in self._standing() if a.pubkey == pubkey and a.name), "")
        if not known and parse_hex64(pubkey):
            known = nip19.npub(pubkey)[:12] + "…"
        return known or "somebody"

    def names(self) -> dict[str, str]:
        """Names of all sellers, for the scripts of a page."""
        return {pubkey: self.name(pubkey) for pubkey in self.sellers()}

    def _standing(self) -> list[Announcement]:
        return [a for a in self._announcements.values() if self._withdrawn.get(a.address, -1) < a.created_at]

    def _works_of(self, key: tuple[str, int, str]) -> list[Work]:
        return sorted(self._works[key], key=lambda work: -work.event.created_at)

    def recipes(self) -> list[Event]:
        standing = [e for e in self._recipes.values() if self._withdrawn.get(e.address, -1) < e.created_at]
        return sorted(standing, key=lambda event: (event.first("title") or "").lower())

    def recipe_of(self, service: Service) -> Event | None:
        """The recipe that a composite is made by."""
        return self._recipes.get(f"{RECIPE}:{service.pubkey}:{service.recipe}") if service.recipe else None

    def recipe(self, address: str) -> Event | None:
        return self._recipes.get(address)

    def kinds(self) -> list[tuple[int, str]]:
        """Kinds that somebody sells, with their titles."""
        there = {number for announcement in self._standing() for number in announcement.kinds}
        return [(number, kind.title) for number, kind in JOB_KINDS.items() if number in there]

    def _service(self, announcement: Announcement, kind: int) -> Service:
        pubkey = announcement.pubkey
        seen, left = self._seen.get(pubkey), self._left.get(pubkey, 0)
        now, beat = self._clock(), self._beats.get(pubkey)
        until = beat.expires_at or 0 if beat is not None and beat.on_shift(now) else 0
        made = Service(announcement, kind, seen, left, None, None, self._score(pubkey, kind), now, until)
        key = (pubkey, kind, made.recipe or "")
        works = self._works_of(key)
        sample = next((work for work in works if work.media is not None), works[0] if works else None)
        times = self._times[key]
        return replace(made, sample=sample, seconds=round(statistics.median(times)) if times else None)


def _bound(kept: dict[Any, Any]) -> None:
    """Forget the oldest entry of one too many."""
    if len(kept) > MOST:
        del kept[next(iter(kept))]


def _length(event: Event) -> int:
    return len(event.content) + sum(len(value) for tag in event.tags for value in tag)


def excerpt(text: str) -> str:
    """The beginning of a text; of a story in JSON its title and first lines."""
    try:
        story = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text[:300]
    if not isinstance(story, dict) or not isinstance(story.get("lines"), list):
        return ""
    return "\n".join(str(line)[:80] for line in [story.get("title", ""), *story["lines"][:6]] if line)


def _request(result: Event) -> dict[str, Any]:
    """The copy of the request in a result; empty where there is none."""
    try:
        request = orjson.loads(result.first("request") or "")
    except orjson.JSONDecodeError:
        return {}
    return request if isinstance(request, dict) else {}


def _words_of(request: dict[str, Any]) -> str:
    """The first text that was given with a request."""
    tags = request.get("tags")
    for tag in tags if isinstance(tags, list) else []:
        if isinstance(tag, list) and len(tag) > 1 and tag[0] == "i" and (len(tag) < 3 or tag[2] == "text"):
            return " ".join(str(tag[1])[:300].split())
    return ""


def _recipe_of(request: dict[str, Any]) -> str:
    """Which recipe a composite was ordered by; "" for everything else."""
    tags = request.get("tags")
    return _recipe_tag(tags if isinstance(tags, list) else [])


def _recipe_tag(tags: Iterable[Any]) -> str:
    """By its `recipe` parameter, else by the announcement that the request names: its `d` is the recipe's."""
    named = ""
    for tag in tags:
        if isinstance(tag, list | tuple) and len(tag) > 1 and all(isinstance(value, str) for value in tag[:3]):
            if len(tag) > 2 and tuple(tag[:2]) == ("param", "recipe"):
                return str(tag[2])
            if tag[0] == "a" and tag[1].startswith(f"{ANNOUNCEMENT}:"):
                named = tag[1].split(":", 2)[-1]
    return named
