"""Many relays as one: publish to several, subscribe to several, every event once.

    async with Pool(["ws://127.0.0.1:7777", "wss://relay.example"], key=key) as pool:
        answers = await pool.publish(event)

A call may name relays that are not configured (the `relays` tag of a job request, a NIP-65 list). These guests are
dialled on demand, at most `_MAX_GUESTS` at a time, and hung up on when idle.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from nostr.client import Connection, Ok, new_session
from nostr.clock import Clock, system_clock
from nostr.errors import RelayUnreachable
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.subscription import CAPACITY, OVERLAP, Subscription, gather_stored

log = logging.getLogger(__name__)

_MAX_GUESTS = 48
_GUEST_IDLE = 60.0  # seconds


class Pool:
    """`key` signs AUTH challenges of every relay. `on_change(url, state)` is called as relays come and go.

    Where guests are named by strangers, give `private_hosts`: then a guest at a private address is dialled only if it
    is one of these (`host:port`), so that nobody makes this machine talk to its own network.
    """

    def __init__(
        self,
        relays: Iterable[str],
        *,
        key: SecretKey | None = None,
        clock: Clock = system_clock,
        on_change: Callable[[str, str], None] | None = None,
        private_hosts: Iterable[str] | None = None,
    ) -> None:
        self._key = key
        self._clock = clock
        self._listeners = [on_change] if on_change is not None else []
        self._wanted = list(dict.fromkeys(normalise(url) for url in relays))
        self._homes: dict[str, Connection] = {}
        self._guests: dict[str, Connection] = {}
        self._used: dict[str, float] = {}
        self._everywhere: list[Subscription] = []
        self._private_hosts = None if private_hosts is None else frozenset(private_hosts)
        self._session: aiohttp.ClientSession | None = None
        self._public_session: aiohttp.ClientSession | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._session = new_session()
        self._public_session = new_session(public=True)
        for url in self._wanted:
            self._dial_home(url)
        self._sweeper = asyncio.create_task(self._sweep(), name="pool sweeper")
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        connections = [*self._homes.values(), *self._guests.values()]
        await asyncio.gather(*(connection.close() for connection in connections))
        self._homes.clear()
        self._guests.clear()
        for session in (self._session, self._public_session):
            if session is not None:
                await session.close()

    @property
    def relays(self) -> tuple[str, ...]:
        """The configured relays, without guests."""
        return tuple(self._wanted)

    def state(self) -> dict[str, str]:
        """`up` or `down` for each relay, guests included."""
        both = {**self._homes, **self._guests}
        return {url: connection.state for url, connection in both.items()}

    def add(self, url: str) -> None:
        """Configure one more relay; subscriptions without explicit relays spread to it. Raises ValueError."""
        url = normalise(url)
        if url in self._wanted:
            return
        self._wanted.append(url)
        if self._session is not None:
            self._dial_home(url)

    async def remove(self, url: str) -> None:
        url = normalise(url)
        if url in self._wanted:
            self._wanted.remove(url)
        connection = self._homes.pop(url, None)
        if connection is not None:
            await connection.close()

    def listen(self, on_change: Callable[[str, str], None]) -> None:
        self._listeners.append(on_change)

    async def connected(self, timeout: float, at_least: int = 1) -> bool:
        """Wait until so many configured relays are up, at most `timeout` seconds."""
        waits = [asyncio.ensure_future(c.connected(timeout)) for c in self._homes.values()]
        try:
            for done in asyncio.as_completed(waits):
                at_least -= await done
                if at_least <= 0:
                    return True
            return at_least <= 0
        finally:
            for wait in waits:
                wait.cancel()

    async def publish(self, event: Event, relays: Iterable[str] | None = None, timeout: float = 10) -> dict[str, Ok]:
        """Each relay's answer, by the URL as given. Never raises for a relay; `Ok.answered` tells silence from a no."""
        urls = list(self._wanted if relays is None else dict.fromkeys(relays))
        answers = await asyncio.gather(*(self._publish_one(url, event, timeout) for url in urls))
        return dict(zip(urls, answers, strict=True))

    def subscribe(
        self,
        *filters: Filter,
        relays: Iterable[str] | None = None,
        capacity: int = CAPACITY,
        overlap: int = OVERLAP,
    ) -> Subscription:
        """Verified events, each once, from all these relays. `overlap`: seconds asked for twice after a break."""
        sub = Subscription(filters, self._clock, capacity=capacity, overlap=overlap, verify=True)
        if relays is None:
            self._everywhere = [other for other in self._everywhere if not other.closed] + [sub]
        for connection in self._reachable(relays):
            connection.join(sub)
        return sub

    async def fetch(self, *filters: Filter, relays: Iterable[str] | None = None, timeout: float = 5) -> list[Event]:
        """Stored events, newest first, from every relay that answers in time.

        Raises RelayUnreachable (a TimeoutError) where none of them did, RelayRefused where all refused.
        """
        urls = list(self._wanted if relays is None else dict.fromkeys(relays))
        sub = Subscription(filters, self._clock, capacity=10 * CAPACITY, overlap=0, verify=True)
        for connection in self._reachable(urls):
            connection.join(sub)
        if not sub.feeds:
            raise RelayUnreachable(", ".join(urls) or "no relay", "nowhere to ask")
        return await gather_stored(sub, timeout, ", ".join(urls))

    def connection(self, url: str) -> Connection:
        """The connection to one relay, dialled as a guest if need be. Raises ValueError, RelayUnreachable."""
        url = normalise(url)
        known = self._homes.get(url) or self._guests.get(url)
        if known is None:
            self._make_room(url)
            known = self._guests[url] = self._dial(url, self._session_for(url))
        self._used[url] = asyncio.get_running_loop().time()
        return known

    async def _publish_one(self, url: str, event: Event, timeout: float) -> Ok:
        try:
            connection = self.connection(url)
        except ValueError as error:
            return Ok(False, f"invalid: {error}")
        except RelayUnreachable as error:
            return Ok(False, f"error: {error}", answered=False)
        return await connection.publish(event, timeout)

    def _reachable(self, relays: Iterable[str] | None) -> list[Connection]:
        found: dict[str, Connection] = {}
        for url in self._wanted if relays is None else relays:
            try:
                connection = self.connection(url)
            except (ValueError, RelayUnreachable) as error:
                log.warning("left out of a subscription: %s", error)
                continue
            found[connection.url] = connection
        return list(found.values())

    def _dial_home(self, url: str) -> None:
        if url in self._guests and self._session_for(url) is not self._session:
            self._hang_up(url)
        connection = self._guests.pop(url, None) or self._dial(url, self._session)
        self._homes[url] = connection
        for sub in self._everywhere:
            if not sub.closed and all(feed.connection is not connection for feed in sub.feeds):
                connection.join(sub)

    def _session_for(self, guest: str) -> aiohttp.ClientSession | None:
        parts = urlsplit(guest)
        place = f"{parts.hostname}:{parts.port or {'ws': 80, 'wss': 443}[parts.scheme]}"
        trusted = self._private_hosts is None or place in self._private_hosts
        return self._session if trusted else self._public_session

    def _dial(self, url: str, session: aiohttp.ClientSession | None) -> Connection:
        if session is None:
            raise RuntimeError("the pool is not entered: use `async with Pool(...)`")
        connection = Connection(url, key=self._key, clock=self._clock, session=session, on_change=self._tell_listeners)
        connection.start()
        return connection

    def _tell_listeners(self, connection: Connection) -> None:
        for listener in self._listeners:
            listener(connection.url, connection.state)

    def _make_room(self, url: str) -> None:
        if len(self._guests) < _MAX_GUESTS:
            return
        idle = [known for known, connection in self._guests.items() if connection.idle]
        if not idle:
            raise RelayUnreachable(url, f"already busy with {_MAX_GUESTS} relays that are not configured")
        self._hang_up(min(idle, key=lambda known: self._used.get(known, 0.0)))

    def _hang_up(self, url: str) -> None:
        connection = self._guests.pop(url)
        self._used.pop(url, None)
        closing = asyncio.ensure_future(connection.close())
        closing.add_done_callback(lambda done: done.exception())

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_GUEST_IDLE / 4)
            for url, connection in list(self._guests.items()):
                if connection.idle and loop.time() - self._used.get(url, 0.0) > _GUEST_IDLE:
                    self._hang_up(url)


def normalise(url: str) -> str:
    """One spelling for one relay: lower-case host, no default port, no trailing slash. Raises ValueError."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{url[:100]!r} is not a relay URL") from None
    if parts.scheme.lower() not in ("ws", "wss") or not host:
        raise ValueError(f"{url[:100]!r} is not a relay URL: it starts with ws:// or wss://")
    scheme = parts.scheme.lower()
    name = f"[{host}]" if ":" in host else host
    place = name if port is None or port == {"ws": 80, "wss": 443}[scheme] else f"{name}:{port}"
    return urlunsplit((scheme, place, parts.path.rstrip("/"), parts.query, ""))
