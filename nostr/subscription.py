"""A subscription at one relay or many: verified events, each once, in a bounded queue.

A `Feed` is one subscription at one relay; a `Subscription` merges its feeds. What survives what:

- the connection breaks: it is asked again from a little before the break on, and repeats are left out
- the consumer is slow: past `capacity` waiting events the feed is closed at the relay, and asked again from that moment
  on once half of the queue is consumed. Live events are late then, but neither lost nor piled up in memory
- the relay refuses: after a passing reason (`rate-limited`, `error`) it is asked again, else this feed ends
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Self

from nostr.clock import Clock
from nostr.errors import RelayRefused, RelayUnreachable
from nostr.event import Event, InvalidEvent
from nostr.filter import Filter

if TYPE_CHECKING:
    from nostr.client import Connection

log = logging.getLogger(__name__)

CAPACITY = 20_000
OVERLAP = 600  # seconds that are asked for twice after a break, for events that reached the relay late
_REMEMBERED = 50_000  # ids
_SUSPECT = 100  # events in a catch-up from which on the relay may have had more


class Stage(Enum):
    WAITING = auto()  # no answer yet
    DOWN = auto()  # the relay cannot be reached
    LIVE = auto()  # stored events are through
    PAUSED = auto()  # closed by us for a slow consumer
    REFUSED = auto()


class Feed:
    """One subscription at one relay. Driven by the Connection that holds it."""

    __slots__ = (
        "behind",
        "connection",
        "count",
        "id",
        "oldest",
        "owner",
        "page",
        "parent",
        "reached",
        "reason",
        "stage",
        "tries",
    )

    def __init__(self, connection: "Connection", sid: str, owner: "Subscription") -> None:
        self.connection, self.id, self.owner = connection, sid, owner
        self.stage = Stage.DOWN if connection.last_error and connection.state == "down" else Stage.WAITING
        self.reached: int | None = None  # everything up to this time was received
        self.reason = ""
        self.tries = 0
        self.count = 0  # events of the running answer, and the time of the oldest
        self.oldest = 0
        self.page: list[Filter] | None = None  # set for one more page of a catch-up; closed at its EOSE
        self.parent: Feed | None = None  # of a page: the feed it completes
        self.behind: int | None = None  # while pages are on their way: `reached` as it was before them

    def to_ask(self) -> Sequence[Filter]:
        """The filters for the next REQ: what is new since the last one was live."""
        self.count = 0
        if self.page is not None:
            return self.page
        if self.reached is None:
            return self.owner.filters
        return [_within(f, max(0, self.reached - self.owner.overlap), None) for f in self.owner.filters]

    def next_page(self) -> list[Filter] | None:
        """The filters for the rest of a catch-up that the relay may have cut at its own limit, or None.

        Relays do not say that they cut an answer, so every answer of some size is suspected.
        """
        if self.count < _SUSPECT or (self.page is None and self.reached is None):
            return None
        asked = self.owner.filters if self.page is None else self.page
        if self.page is not None and all(f.until is not None and self.oldest >= f.until for f in asked):
            return None
        since = max(0, (self.reached or 0) - self.owner.overlap) if self.page is None else 0
        return [_within(f, since, self.oldest) for f in asked]

    def mark(self, now: int) -> None:
        """Remember how far a live feed got, before it stops for a while."""
        if self.stage is Stage.LIVE:
            self.reached = now if self.behind is None else self.behind
            self.behind = None


class Subscription:
    """`async for event in sub`. End it with `close()` or use it as a context manager.

    Iteration ends after `close()`; it raises RelayRefused when every relay has refused for good.
    """

    def __init__(self, filters: Sequence[Filter], clock: Clock, *, capacity: int, overlap: int, verify: bool) -> None:
        self.filters = list(filters)
        self.overlap = overlap
        self.dropped = 0  # stored events that did not fit; live ones are asked for again
        self.feeds: list[Feed] = []
        self._clock = clock
        self._capacity = capacity
        self._verify = verify
        self._queue: deque[Event] = deque()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._news = asyncio.Event()
        self._settled = asyncio.Event()
        self._closed = False

    async def eose(self) -> None:
        """Return once the stored events are in the queue: every relay that can be reached has sent all of them.

        Waits as long as no relay can be reached; put it under `asyncio.timeout`. Raises RelayRefused.
        """
        await self._settled.wait()
        self._raise_if_refused()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def complete(self) -> bool:
        """True if at least one relay has sent all its stored events."""
        return any(feed.reached is not None or feed.stage is Stage.LIVE for feed in self.feeds)

    def drain(self) -> list[Event]:
        """All events that wait now, in order of arrival, without waiting."""
        events = list(self._queue)
        self._queue.clear()
        self._resume_if_room()
        return events

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for feed in self.feeds:
            feed.connection.drop_feed(feed)
        self._settled.set()
        self._news.set()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._raise_if_refused()
            self._news.clear()
            await self._news.wait()
        event = self._queue.popleft()
        self._resume_if_room()
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    # -- called by the connections --------------------------------------------------------------------------------

    def receive(self, feed: Feed, value: Any) -> None:
        """An event of a relay: checked, and queued if it is new and wanted."""
        if self._closed or (feed.parent or feed).stage in (Stage.PAUSED, Stage.REFUSED):
            return
        try:
            event = Event.from_dict(value)
        except InvalidEvent as error:
            log.debug("%s sent no event: %s", feed.connection.url, error)
            return
        feed.oldest = event.created_at if feed.count == 0 else min(feed.oldest, event.created_at)
        feed.count += 1
        if event.id in self._seen:
            return
        if not any(wanted.matches(event) for wanted in self.filters):
            log.debug("%s sent %s, which was not asked for", feed.connection.url, event.id)
            return
        if self._verify and not event.verify():
            log.warning("%s sent %s with a wrong id or signature", feed.connection.url, event.id)
            return
        if len(self._queue) >= self._capacity:
            self._overflow(feed)
            return
        self._remember(event.id)
        self._queue.append(event)
        self._news.set()

    def lose(self, feed: Feed) -> None:
        """This relay is gone for good; the subscription ends with its last one."""
        self.feeds.remove(feed)
        if not self.feeds:
            self._closed = True
            self._news.set()
        self.settle()

    def settle(self) -> None:
        """Look whether the stored events are through, or all hope is gone."""
        stages = [feed.stage for feed in self.feeds]
        if not stages or (Stage.WAITING not in stages and self.complete) or set(stages) == {Stage.REFUSED}:
            self._settled.set()
        if stages and all(stage is Stage.REFUSED for stage in stages):
            self._news.set()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _overflow(self, feed: Feed) -> None:
        whole = feed.parent or feed
        if whole.reached is None and whole.stage is not Stage.LIVE:
            if not self.dropped:
                log.warning("more than %d stored events wait for a slow reader; the rest is dropped", self._capacity)
            self.dropped += 1
            return
        whole.mark(self._clock())
        whole.stage = Stage.PAUSED
        whole.connection.pause_feed(whole)

    def _resume_if_room(self) -> None:
        if len(self._queue) * 2 > self._capacity:
            return
        for feed in self.feeds:
            if feed.stage is Stage.PAUSED:
                feed.stage = Stage.WAITING
                feed.connection.ask(feed)

    def _remember(self, event_id: str) -> None:
        self._seen[event_id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _raise_if_refused(self) -> None:
        if self.feeds and all(feed.stage is Stage.REFUSED for feed in self.feeds):
            feed = self.feeds[0]
            raise RelayRefused(feed.connection.url, feed.reason)


def _within(f: Filter, since: int, until: int | None) -> Filter:
    """The filter narrowed to a stretch of time, without its limit."""
    return Filter(
        ids=f.ids,
        authors=f.authors,
        kinds=f.kinds,
        tags=f.tags,
        since=max(since, f.since or 0) or None,
        until=f.until if until is None else min(until, until if f.until is None else f.until),
        search=f.search,
    )


def newest_first(events: list[Event]) -> list[Event]:
    """Sorted as a relay answers (NIP-01): newest first, the lower id first among equals."""
    return sorted(events, key=lambda event: (-event.created_at, event.id))


async def gather_stored(sub: Subscription, timeout: float, url: str) -> list[Event]:
    """All stored events of a fresh subscription, newest first; closes it. Raises RelayUnreachable, RelayRefused."""
    async with sub:
        try:
            async with asyncio.timeout(timeout):
                await sub.eose()
        except TimeoutError:
            if not sub.complete:
                raise RelayUnreachable(url, f"no answer within {timeout:g} s") from None
        return newest_first(sub.drain())
