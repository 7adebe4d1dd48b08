"""Relay lists (NIP-65) and the outbox model: read a key's events where it writes, reach a key where it reads."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from nostr.client import Ok
from nostr.clock import Clock, system_clock
from nostr.errors import RelayError
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool, normalise

KIND = 10002
_FRESH = 3600  # seconds that a fetched list is believed
_KEPT = 10_000  # keys
_MOST = 4  # relays of one key that are used in each direction


@dataclass(frozen=True, slots=True)
class RelayList:
    """Where a key reads (is reached) and writes (is read), in its own order of preference."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    @classmethod
    def parse(cls, event: Event) -> "RelayList":
        """Tolerant: entries that are no relay URL are left out."""
        read: list[str] = []
        write: list[str] = []
        for tag in event.tagged("r"):
            try:
                url = normalise(tag[1]) if len(tag) > 1 else ""
            except ValueError:
                continue
            marker = tag[2] if len(tag) > 2 else ""
            if url and marker != "write":
                read.append(url)
            if url and marker != "read":
                write.append(url)
        return cls(tuple(dict.fromkeys(read)), tuple(dict.fromkeys(write)))


def build(key: SecretKey, relays: RelayList, created_at: int) -> Event:
    tags = []
    for url in dict.fromkeys([*relays.write, *relays.read]):
        both = url in relays.read and url in relays.write
        tags.append(["r", url] if both else ["r", url, "read" if url in relays.read else "write"])
    return key.sign(kind=KIND, tags=tags, created_at=created_at)


class Router:
    """Finds out where keys live and sends and asks there. Unknown keys are looked for on the pool's own relays."""

    def __init__(self, pool: Pool, clock: Clock = system_clock) -> None:
        self._pool, self._clock = pool, clock
        self._known: OrderedDict[str, tuple[int, RelayList]] = OrderedDict()

    async def lists(self, pubkeys: Collection[str]) -> Mapping[str, RelayList]:
        """The relay list of each key; empty where none was found."""
        now = self._clock()
        stale = [key for key in dict.fromkeys(pubkeys) if key not in self._known or now - self._known[key][0] > _FRESH]
        if stale:
            try:
                found = await self._pool.fetch(Filter(kinds=[KIND], authors=stale))
            except RelayError:
                found = []
            newest: dict[str, Event] = {}
            for event in found:  # newest first
                newest.setdefault(event.pubkey, event)
            for key in stale:
                self._remember(key, now, RelayList.parse(newest[key]) if key in newest else RelayList())
        return {key: self._known[key][1] if key in self._known else RelayList() for key in pubkeys}

    async def reach(self, event: Event) -> list[str]:
        """Where an event belongs: the author's write relays, the read relays of everybody it names, our own relays."""
        named = [key for key in event.values("p") if len(key) == 64]
        lists = await self.lists([event.pubkey, *named])
        relays = [*self._pool.relays, *lists[event.pubkey].write[:_MOST]]
        for key in named:
            relays += lists[key].read[:_MOST]
        return list(dict.fromkeys(relays))

    async def publish(self, event: Event, timeout: float = 10) -> dict[str, Ok]:
        return await self._pool.publish(event, await self.reach(event), timeout)

    async def sources(self, authors: Iterable[str]) -> dict[str, list[str]]:
        """Relay -> authors to ask it for: each author at up to four write relays and at our own."""
        wanted = list(dict.fromkeys(authors))
        lists = await self.lists(wanted)
        plan: dict[str, list[str]] = {url: list(wanted) for url in self._pool.relays}
        for author in wanted:
            for url in lists[author].write[:_MOST]:
                if author not in plan.setdefault(url, []):
                    plan[url].append(author)
        return plan

    def _remember(self, key: str, now: int, relays: RelayList) -> None:
        self._known[key] = (now, relays)
        self._known.move_to_end(key)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
