"""One upstream relay: what comes down, what goes up, and how both sides come to hold the same.

Down: a live subscription first, then a catch-up beside it: negentropy where the other side speaks it, else pages of REQ
from a kept moment on. Up: the same the other way round; live events go out as they are committed here, in order. Each
catch-up is repeated after every reconnect, after anything that could not be stored or sent, and once an hour.

No loops: an event is never sent to the relay it came from, and one that is already here is not broadcast again.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from nostr import message
from nostr.client import Connection, Ok
from nostr.errors import NotSupportedByRelay, RelayError, RelayUnreachable
from nostr.event import Event, is_ephemeral
from nostr.filter import Filter
from nostr.negentropy import Items
from nostr.sync import Difference, fetch_ids, pages, reconcile
from relay.errors import StoreError, TooExpensive
from relay.filters import Want, parse_filter
from relay.policies import WALLET_KINDS
from relay.record import Record
from relay.settings import Upstream
from relay.store.interface import Scope

if TYPE_CHECKING:
    from relay.core import Relay

log = logging.getLogger("relay")

SPACE = "federation"  # of the store's facts: how far a relay without negentropy was read and written
_AGAIN = 3600.0  # seconds between catch-ups that nothing calls for
_SOON = 10.0  # seconds until a failed catch-up is tried again; doubles up to _LONGEST
_LONGEST = 600.0
_OVERLAP = 3600  # seconds that pages ask for twice
_WRAPPED = 2 * 86_400  # gift wraps are dated up to two days back
_AT_ONCE = 64  # events under way in one direction
_CATCH_UP_AT_ONCE = 512
_WAITING = 5000  # live events that wait to go up; beyond it a catch-up finds them
_REFUSED = 20_000  # ids remembered as not wanted by one side
_PAGE = 500
_SURE, _UNSURE = 60.0, 5.0  # seconds for the first answer to NEG-OPEN, with and without 77 in NIP-11


@dataclass(slots=True)
class Counts:
    """Since the start. `held`: events that came down and were here already; `declined`: that either side refused."""

    received: int = 0
    accepted: int = 0
    held: int = 0
    refused_here: int = 0
    sent: int = 0
    refused_there: int = 0
    catch_ups: int = 0


@dataclass(slots=True)
class Progress:
    """How the last catch-up went. `method` is negentropy or pages; times in seconds, 0 where it never was."""

    method: str = ""
    finished: int = 0
    error: str = ""
    dirty: set[str] = field(default_factory=set)  # directions that need another one


class Remembered:
    """The newest ids of a kind, at most so many."""

    def __init__(self, most: int) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._most = most

    def add(self, ident: str) -> None:
        self._ids[ident] = None
        if len(self._ids) > self._most:
            self._ids.popitem(last=False)

    def __contains__(self, ident: object) -> bool:
        return ident in self._ids


class Link:
    """The exchange with one upstream; the relay's own key answers its AUTH. `start` and `stop` once each."""

    def __init__(self, relay: "Relay", settings: Upstream) -> None:
        self.settings = settings
        self.counts, self.progress = Counts(), Progress()
        self._relay = relay
        self._connection = Connection(settings.url, key=relay.key, clock=relay.clock, on_change=self._changed)
        self._down = [Filter.from_dict(wanted) for wanted in settings.down] if settings.direction != "up" else []
        self._goes_up = settings.direction != "down"
        self._came_from_there = Remembered(_REFUSED)
        self._not_here = Remembered(_REFUSED)
        self._not_there = Remembered(_REFUSED)
        self._went_there = Remembered(_REFUSED)
        self._offered = Remembered(_REFUSED)  # what we sent comes back through our own subscription
        self._patience = _UNSURE  # seconds for the first answer to NEG-OPEN; 0 once it is known not to come
        self._outgoing: asyncio.Queue[Event] = asyncio.Queue(_WAITING)
        self._due = asyncio.Event()
        self._catching_up = False
        self._wants: list[Want] = []
        self._wants_for: frozenset[str] | None = None  # the own keys that `_wants` was made for
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._connection.start()
        works = [self._keep_even()]
        if self._down:
            works.append(self._listen())
        if self._goes_up:
            works.append(self._send())
        self._tasks = [asyncio.create_task(work, name=f"upstream {self.settings.url}") for work in works]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.close()

    def hear(self, record: Record) -> None:
        """An event was accepted here: it goes up if it is wanted there and did not come from there."""
        if not self._goes_up or record.id in self._came_from_there or not self._may_leave(record):
            return
        if not any(want.matches(record) for want in self._up_wants()):
            return
        try:
            self._outgoing.put_nowait(Event.from_json(record.raw))
        except asyncio.QueueFull:
            self._mark("up")

    def state(self) -> dict[str, Any]:
        counts, progress = self.counts, self.progress
        return {
            "url": self.settings.url,
            "direction": self.settings.direction,
            "state": self._connection.state,
            "even": bool(progress.finished)
            and not (progress.dirty or self._catching_up)
            and self._outgoing.empty()
            and self._connection.state == "up",
            "method": progress.method,
            "caught_up_at": progress.finished,
            "received": counts.received,
            "accepted": counts.accepted,
            "refused_here": counts.refused_here,
            "sent": counts.sent,
            "refused_there": counts.refused_there,
            "waiting": self._outgoing.qsize(),
            "error": progress.error or (self._connection.last_error if self._connection.state == "down" else ""),
        }

    # -- live -----------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """What is published there from now on. The client asks again by itself after a break."""
        live = [_renewed(wanted, limit=0) for wanted in self._down]
        while True:
            sub = self._connection.subscribe(*live, verify=False)  # the write path verifies
            try:
                async for event in sub:
                    batch = [event, *sub.drain()]
                    for at in range(0, len(batch), _AT_ONCE):
                        await asyncio.gather(*map(self._take, batch[at : at + _AT_ONCE]))
            except RelayError as error:
                self.progress.error = str(error)
                await asyncio.sleep(_LONGEST)
            finally:
                await sub.close()

    async def _send(self) -> None:
        while True:
            batch = [await self._outgoing.get()]
            while len(batch) < _AT_ONCE and not self._outgoing.empty():
                batch.append(self._outgoing.get_nowait())
            await self._publish(batch)

    # -- catching up ----------------------------------------------------------------------------------------------

    async def _keep_even(self) -> None:
        delay = _SOON
        while True:
            await self._connection.connected(_AGAIN)
            if self._connection.state == "up":
                self._due.clear()
                self.progress.dirty.clear()
                self._catching_up = True
                if await self._catch_up():
                    delay = _SOON
                self._catching_up = False
            wait = _AGAIN
            if self.progress.dirty:
                wait, delay = delay, min(delay * 2, _LONGEST)
            try:
                async with asyncio.timeout(wait):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _catch_up(self) -> bool:
        """Both directions, filter by filter. True if nothing is left to do."""
        began = time.monotonic()
        try:
            await self._get_to_know()
            for wanted in self._down:
                await self._catch_up_down(wanted)
            for up in self._up_filters():
                await self._catch_up_up(up)
        except (RelayError, StoreError) as error:
            self.progress.error = str(error)
            self.progress.dirty |= {"down", "up"}
            log.warning("upstream %s: %s", self.settings.url, error)
            return False
        self.counts.catch_ups += 1
        self.progress.finished = self._relay.clock()
        if not self.progress.dirty:
            self.progress.error = ""
        log.info(
            "upstream %s is even by %s after %.1f s: %d down, %d up so far",
            self.settings.url,
            self.progress.method or "nothing to do",
            time.monotonic() - began,
            self.counts.accepted,
            self.counts.sent,
        )
        return not self.progress.dirty

    async def _get_to_know(self) -> None:
        """NIP-11: is it ourselves, does it speak negentropy?"""
        try:
            about = await self._connection.information()
        except RelayUnreachable:
            return  # a relay without NIP-11
        nips = about.get("supported_nips")
        if isinstance(nips, list):
            self._patience = _SURE if 77 in nips else 0
        if about.get("self") == self._relay.key.public:
            raise NotSupportedByRelay(self.settings.url, "this is the relay itself")

    async def _catch_up_down(self, wanted: Filter) -> None:
        try:
            difference = await self._compare(wanted, await self._items(wanted))
        except (NotSupportedByRelay, TooExpensive) as error:
            log.debug("upstream %s: %s; reading it page by page", self.settings.url, error)
            await self._read_pages(wanted)
            return
        self.progress.method = "negentropy"
        need = frozenset(ident for ident in difference.need if ident not in self._not_here)
        await self._take_all(fetch_ids(self._connection, need, verify=False))

    async def _compare(self, wanted: Filter, items: Items) -> Difference:
        if not self._patience:
            raise NotSupportedByRelay(self.settings.url, "no NIP-77")
        try:
            return await reconcile(self._connection, wanted, items, patience=self._patience)
        except NotSupportedByRelay:
            if self._patience == _UNSURE:
                self._patience = 0
            raise

    async def _read_pages(self, wanted: Filter) -> None:
        self.progress.method = "pages"
        key, began = self._cursor("down", wanted), self._relay.clock()
        since = await self._reached(key, wanted)
        await self._take_all(pages(self._connection, _renewed(wanted, since=since), size=_PAGE))
        if "down" not in self.progress.dirty:
            await self._relay.store.remember(SPACE, key, began)

    async def _catch_up_up(self, wanted: Filter) -> None:
        items = await self._items(wanted)
        try:
            difference = await self._compare(wanted, items)
        except NotSupportedByRelay as error:
            log.debug("upstream %s: %s; writing all that is new to it", self.settings.url, error)
            await self._write_all(wanted)
            return
        self.progress.method = "negentropy"
        have = [ident for ident in difference.have if ident not in self._not_there]
        for at in range(0, len(have), _PAGE):
            await self._publish_stored(Want(ids=frozenset(have[at : at + _PAGE]), limit=_PAGE))

    async def _write_all(self, wanted: Filter) -> None:
        self.progress.method = "pages"
        key, began = self._cursor("up", wanted), self._relay.clock()
        since = await self._reached(key, wanted)
        items = await self._items(_renewed(wanted, since=since))
        idents = [items.id(index).hex() for index in range(len(items))]
        for at in range(0, len(idents), _PAGE):
            await self._publish_stored(Want(ids=frozenset(idents[at : at + _PAGE]), limit=_PAGE))
        if "up" not in self.progress.dirty:
            await self._relay.store.remember(SPACE, key, began)

    async def _publish_stored(self, want: Want) -> None:
        rows = await self._relay.store.query((want,), _PAGE, Scope())
        events = [Event.from_json(raw) for _, raw in reversed(rows)]
        events = [event for event in events if self._may_leave(event)]
        for at in range(0, len(events), _AT_ONCE):
            await self._publish(events[at : at + _AT_ONCE])

    async def _items(self, wanted: Filter) -> Items:
        """Our side of a reconciliation. Raises TooExpensive where it is more than we answer ourselves."""
        relay = self._relay
        want = _want(wanted)
        want.limit = None
        found = await relay.store.items(want, Scope(), relay.settings.max_sync_events)
        return await asyncio.to_thread(Items, found)

    async def _reached(self, key: str, wanted: Filter) -> int | None:
        """From where on pages are needed; None for everything."""
        reached = (await self._relay.store.facts(SPACE)).get(key)
        if not isinstance(reached, int):
            return wanted.since
        wraps = wanted.kinds is None or not wanted.kinds.isdisjoint((1059, 21059))
        since = max(0, reached - _OVERLAP - (_WRAPPED if wraps else 0))
        return since if wanted.since is None else max(since, wanted.since)

    def _cursor(self, direction: str, wanted: Filter) -> str:
        shape = hashlib.sha256(orjson.dumps(wanted.to_dict(), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
        return f"{direction} {self.settings.url} {shape}"

    # -- single events --------------------------------------------------------------------------------------------

    async def _take_all(self, events: AsyncIterator[Event]) -> None:
        under_way: set[asyncio.Task[None]] = set()
        async for event in events:
            under_way.add(asyncio.create_task(self._take(event)))
            if len(under_way) >= _CATCH_UP_AT_ONCE:
                _, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*under_way)

    async def _take(self, event: Event) -> None:
        """Give one event of theirs to our write path."""
        if event.kind in WALLET_KINDS or event.id in self._not_here or event.id in self._offered:
            return
        self.counts.received += 1
        self._came_from_there.add(event.id)
        verdict = await self._relay.ingest(event.to_dict())
        if verdict.accepted and verdict.message.startswith("duplicate:"):
            self.counts.held += 1
        elif verdict.accepted:
            self.counts.accepted += 1
        elif message.prefix(verdict.message) == "error":  # a full disk, for instance: it is asked for again
            self.progress.error = verdict.message
            self._mark("down")
        else:
            self.counts.refused_here += 1
            self._not_here.add(event.id)

    async def _publish(self, events: Sequence[Event]) -> None:
        events = [event for event in events if event.id not in self._not_there and event.id not in self._went_there]
        for event in events:
            self._offered.add(event.id)
        answers = await asyncio.gather(*(self._connection.publish(event, 15) for event in events))
        for event, ok in zip(events, answers, strict=True):
            self._judge(event, ok)

    def _judge(self, event: Event, ok: Ok) -> None:
        word = message.prefix(ok.message)
        if ok.accepted or word == "duplicate":
            if event.id not in self._went_there:
                self.counts.sent += 1
            self._went_there.add(event.id)
        elif not ok.answered or word in ("rate-limited", "error", "auth-required"):
            self.progress.error = ok.message
            if not is_ephemeral(event.kind):
                self._mark("up")
        else:
            if event.id not in self._not_there:  # live and catching up may have sent it at the same time
                self.counts.refused_there += 1
                log.info("upstream %s refused %s: %s", self.settings.url, event.id[:8], ok.message)
            self._not_there.add(event.id)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _changed(self, connection: Connection) -> None:
        if connection.state == "up":
            self._due.set()

    def _mark(self, direction: str) -> None:
        """Something was left behind: the next catch-up, soon, finds it."""
        if not self.progress.dirty and not self._catching_up:
            asyncio.get_running_loop().call_later(_SOON, self._due.set)
        self.progress.dirty.add(direction)

    def _up_filters(self) -> list[Filter]:
        if not self._goes_up:
            return []
        if self.settings.up is not None:
            return [Filter.from_dict(wanted) for wanted in self.settings.up]
        return [Filter(authors=self._relay.own_keys)] if self._relay.own_keys else []

    def _up_wants(self) -> list[Want]:
        if self._wants_for is not self._relay.own_keys:
            if self._wants_for is not None and self.settings.up is None:
                self._mark("up")  # a part has a new key; what it wrote before now is still to go up
            self._wants_for = self._relay.own_keys
            self._wants = [_want(wanted) for wanted in self._up_filters()]
        return self._wants

    @staticmethod
    def _may_leave(event: Event | Record) -> bool:
        """Wallet traffic stays here, and so does what its author marked as not to be passed on (NIP-70)."""
        return event.kind not in WALLET_KINDS and not any(tag and tag[0] == "-" for tag in event.tags)


def _want(wanted: Filter) -> Want:
    return parse_filter(wanted.to_dict(), 1_000_000)


def _renewed(wanted: Filter, *, since: int | None = None, limit: int | None = None) -> Filter:
    """The same conditions with another beginning and limit."""
    return Filter(
        ids=wanted.ids,
        authors=wanted.authors,
        kinds=wanted.kinds,
        tags=wanted.tags,
        since=since if since is not None else wanted.since,
        until=wanted.until,
        limit=limit,
        search=wanted.search,
    )
