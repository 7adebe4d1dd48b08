"""One relay, as a client sees it: a connection that comes back by itself.

    async with Connection("ws://127.0.0.1:7777", key=key) as relay:
        ok = await relay.publish(event)
        async for event in relay.subscribe(Filter(kinds=[5100], since=now)):
            ...

Entering does not wait for the relay and never fails for its absence. A background task dials, with jittered exponential
backoff; after each connect it answers AUTH (if there is a key), repeats what waits for an `OK`, and asks every open
subscription again.
"""

import asyncio
import itertools
import logging
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from nostr import message, nip42
from nostr.address import public_socket
from nostr.clock import Clock, system_clock
from nostr.errors import RelayRefused, RelayUnreachable
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.subscription import CAPACITY, OVERLAP, Feed, Stage, Subscription, gather_stored

log = logging.getLogger(__name__)

_FIRST_RETRY, _LONGEST_RETRY = 0.2, 60.0  # seconds
_SHORTEST_WAIT = 1.0  # between two dials, however many callers wait
_HEARTBEAT = 25.0
_DIAL_TIMEOUT = 10.0
_MAX_MESSAGE = 4 * 1024 * 1024  # bytes
_STEADY = 10.0  # a connection that lasted this long makes the next backoff start small again
_PASSING = frozenset({"rate-limited", "error"})  # refusals worth another try


@dataclass(frozen=True, slots=True)
class Ok:
    """A relay's word on an event. `answered` is False where none came in time: the event may still arrive there."""

    accepted: bool
    message: str
    answered: bool = True


@dataclass(slots=True)
class _Pending:
    event: Event
    waiters: set["asyncio.Future[Ok]"] = field(default_factory=set)
    after_auth: bool = False  # refused with auth-required; goes out again once AUTH is through


class Connection:
    """`key` signs AUTH challenges; without one they are left unanswered. `state` is `up` or `down`."""

    def __init__(
        self,
        url: str,
        *,
        key: SecretKey | None = None,
        clock: Clock = system_clock,
        session: aiohttp.ClientSession | None = None,
        on_change: Callable[["Connection"], None] | None = None,
    ) -> None:
        self.url = url
        self.state = "down"
        self.last_error = ""
        self._key = key
        self._clock = clock
        self._session = session
        self._own_session = session is None
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._up = asyncio.Event()
        self._hurry = asyncio.Event()  # somebody waits for the relay: do not sleep out a long backoff
        self._ids = itertools.count(1)
        self._feeds: dict[str, Feed] = {}
        self._pending: dict[str, _Pending] = {}
        self._counts: dict[str, asyncio.Future[int]] = {}
        self._talks: dict[str, asyncio.Queue[message.NegMessage | message.NegError | None]] = {}
        self._auth_id: str | None = None
        self._authed = False
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._timers: set[asyncio.TimerHandle] = set()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep_connected(), name=f"relay {self.url}")

    async def close(self) -> None:
        """Hang up. Subscriptions end, publishes that wait are answered with `answered=False`."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for timer in self._timers:
            timer.cancel()
        for feed in list(self._feeds.values()):
            if feed.parent is None:
                feed.owner.lose(feed)
        self._feeds.clear()
        for pending in list(self._pending.values()):
            _settle(pending, Ok(False, "error: the connection was closed", answered=False))
        if self._own_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def connected(self, timeout: float) -> bool:
        """Wait for the connection to be up, at most `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    @property
    def idle(self) -> bool:
        """Nothing is open or under way on this connection."""
        return not (self._feeds or self._pending or self._counts or self._talks)

    async def publish(self, event: Event, timeout: float = 10) -> Ok:
        """Send until the relay answers, across reconnects, at most `timeout` seconds. Never raises for the relay."""
        waiter: asyncio.Future[Ok] = asyncio.get_running_loop().create_future()
        pending = self._pending.get(event.id)
        if pending is None:
            pending = self._pending[event.id] = _Pending(event)
            self._send(message.event(event))
            self._hurry.set()
        pending.waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            why = self.last_error if self.state == "down" and self.last_error else "no answer"
            return Ok(False, f"error: {why} within {timeout:g} s", answered=False)
        finally:
            pending.waiters.discard(waiter)
            if not pending.waiters and self._pending.get(event.id) is pending:
                del self._pending[event.id]

    def subscribe(
        self, *filters: Filter, capacity: int = CAPACITY, overlap: int = OVERLAP, verify: bool = True
    ) -> Subscription:
        """Stored events, then live ones, until closed. Survives reconnects; see nostr.subscription for how."""
        sub = Subscription(filters, self._clock, capacity=capacity, overlap=overlap, verify=verify)
        self.join(sub)
        return sub

    async def fetch(self, *filters: Filter, timeout: float = 5, verify: bool = True) -> list[Event]:
        """Stored events, newest first. Raises RelayUnreachable, RelayRefused."""
        sub = self.subscribe(*filters, capacity=10 * CAPACITY, verify=verify)
        return await gather_stored(sub, timeout, self.url)

    async def count(self, *filters: Filter, timeout: float = 5) -> int:
        """NIP-45. Raises RelayUnreachable, RelayRefused."""
        sid = self.new_id()
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._counts[sid] = answer
        self._hurry.set()
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
                self._send(message.count(sid, filters))
                return await answer
        except TimeoutError:
            raise RelayUnreachable(self.url, f"no count within {timeout:g} s") from None
        finally:
            del self._counts[sid]

    async def information(self, timeout: float = 5) -> dict[str, Any]:
        """The relay's NIP-11 document; empty if it has none. Raises RelayUnreachable."""
        url = "http" + self.url.removeprefix("ws")
        try:
            async with self._http().get(
                url,
                headers={"Accept": "application/nostr+json"},
                timeout=aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
            ) as response:
                value = await response.json(content_type=None) if response.status == 200 else {}
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RelayUnreachable(self.url, str(error) or "no NIP-11 document in time") from None
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    # -- for Subscription, Pool and sync --------------------------------------------------------------------------

    def new_id(self) -> str:
        return f"t{next(self._ids)}"

    def join(self, sub: Subscription) -> Feed:
        """Open one more feed of a subscription here."""
        feed = Feed(self, self.new_id(), sub)
        self._feeds[feed.id] = feed
        sub.feeds.append(feed)
        self.ask(feed)
        self._hurry.set()
        return feed

    def ask(self, feed: Feed) -> None:
        if self._ws is not None and feed.id in self._feeds:
            self._send(message.req(feed.id, feed.to_ask()))

    def pause_feed(self, feed: Feed) -> None:
        """Close it at the relay. It gets a new id, so that a late EOSE to the old one means nothing."""
        for other in list(self._feeds.values()):
            if other is feed or other.parent is feed:
                del self._feeds[other.id]
                self._send(message.close(other.id))
        feed.id = self.new_id()
        self._feeds[feed.id] = feed

    def drop_feed(self, feed: Feed) -> None:
        if self._feeds.pop(feed.id, None) is not None and feed.stage is not Stage.REFUSED:
            self._send(message.close(feed.id))

    def open_talk(self, sid: str) -> "asyncio.Queue[message.NegMessage | message.NegError | None]":
        """Answers to a negentropy exchange; None comes when the connection breaks. Close with `close_talk`."""
        queue: asyncio.Queue[message.NegMessage | message.NegError | None] = asyncio.Queue()
        self._talks[sid] = queue
        return queue

    def close_talk(self, sid: str) -> None:
        if self._talks.pop(sid, None) is not None:
            self._send(message.neg_close(sid))

    def send_raw(self, text: str) -> None:
        """Queue one message; it is forgotten if the relay is down."""
        self._send(text)

    # -- the task -------------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        delay = _FIRST_RETRY
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._one_connection()
                self.last_error = "the relay hung up"
            except (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError, ValueError) as error:
                self.last_error = _one_line(error)
            finally:
                self._mark_down()
            if loop.time() - began > _STEADY:
                delay = _FIRST_RETRY
            log.debug("%s is down (%s); again in about %.1f s", self.url, self.last_error, delay)
            await self._pause(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _LONGEST_RETRY)

    async def _pause(self, delay: float) -> None:
        await asyncio.sleep(min(delay, _SHORTEST_WAIT))
        if delay > _SHORTEST_WAIT:
            self._hurry.clear()
            try:
                async with asyncio.timeout(delay - _SHORTEST_WAIT):
                    await self._hurry.wait()
            except TimeoutError:
                return

    async def _one_connection(self) -> None:
        async with asyncio.timeout(_DIAL_TIMEOUT):
            ws = await self._http().ws_connect(self.url, heartbeat=_HEARTBEAT, max_msg_size=_MAX_MESSAGE, compress=0)
        async with ws:
            self._ws = ws
            self._outgoing = asyncio.Queue()
            self._auth_id, self._authed = None, False
            self.state = "up"
            self._changed()
            self._up.set()
            for pending in self._pending.values():
                pending.after_auth = False
                self._send(message.event(pending.event))
            for feed in self._feeds.values():
                if feed.stage not in (Stage.PAUSED, Stage.REFUSED):
                    feed.stage = Stage.WAITING
                    self.ask(feed)
            sender = asyncio.create_task(self._send_all(ws, self._outgoing))
            try:
                async for frame in ws:
                    if frame.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                        self._dispatch(frame.data)
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)

    async def _send_all(self, ws: aiohttp.ClientWebSocketResponse, outgoing: "asyncio.Queue[str]") -> None:
        try:
            while True:
                await ws.send_str(await outgoing.get())
        except (ConnectionError, aiohttp.ClientError):
            await ws.close()  # the reader sees it and dials again

    def _send(self, text: str) -> None:
        if self._ws is not None:
            self._outgoing.put_nowait(text)

    def _mark_down(self) -> None:
        self._ws = None
        self._up.clear()
        now = self._clock()
        was, self.state = self.state, "down"
        for feed in list(self._feeds.values()):
            if feed.parent is not None:  # asked for again from the feed's own `reached` on
                del self._feeds[feed.id]
                continue
            feed.mark(now)
            if feed.stage is not Stage.REFUSED and feed.stage is not Stage.PAUSED:
                feed.stage = Stage.DOWN
            feed.owner.settle()
        for answer in self._counts.values():
            if not answer.done():
                answer.set_exception(RelayUnreachable(self.url, "the connection broke"))
        for talk in self._talks.values():
            talk.put_nowait(None)
        if was == "up":
            self._changed()

    def _changed(self) -> None:
        log.debug("%s is %s", self.url, self.state)
        if self._on_change is not None:
            self._on_change(self)

    # -- messages -------------------------------------------------------------------------------------------------

    def _dispatch(self, raw: bytes | str) -> None:
        try:
            parsed = message.parse(raw)
        except message.InvalidMessage as error:
            log.debug("%s: %s", self.url, error)
            return
        match parsed:
            case message.EventMessage(sid, value):
                feed = self._feeds.get(sid)
                if feed is not None:
                    feed.owner.receive(feed, value)
            case message.OkMessage(event_id, accepted, text):
                self._on_ok(event_id, Ok(accepted, text))
            case message.EoseMessage(sid):
                feed = self._feeds.get(sid)
                if feed is not None and feed.stage is not Stage.PAUSED:
                    self._on_eose(feed)
            case message.ClosedMessage(sid, text):
                self._on_closed(sid, text)
            case message.AuthMessage(challenge):
                self._on_challenge(challenge)
            case message.CountMessage(sid, number):
                answer = self._counts.get(sid)
                if answer is not None and not answer.done():
                    answer.set_result(number)
            case message.NegMessage(sid, _) | message.NegError(sid, _):
                if sid in self._talks:
                    self._talks[sid].put_nowait(parsed)
            case message.NoticeMessage(text):
                log.info("%s says: %s", self.url, text[:200])

    def _on_eose(self, feed: Feed) -> None:
        whole = feed.parent or feed
        rest = None if feed.owner.closed else feed.next_page()
        if rest is not None:
            page = Feed(self, self.new_id(), feed.owner)
            page.page, page.parent = rest, whole
            if whole is feed:
                whole.behind = feed.reached
            self._feeds[page.id] = page
            self.ask(page)
        else:
            whole.behind = None
        if feed.parent is not None:
            self.drop_feed(feed)
            return
        feed.stage, feed.tries = Stage.LIVE, 0
        feed.owner.settle()

    def _on_challenge(self, challenge: str) -> None:
        if self._key is None:
            return
        event = nip42.auth_event(self._key, self.url, challenge, self._clock())
        self._auth_id, self._authed = event.id, False
        self._send(message.auth(event))

    def _on_ok(self, event_id: str, ok: Ok) -> None:
        if event_id == self._auth_id:
            self._auth_id, self._authed = None, ok.accepted
            self._after_auth(ok)
            return
        pending = self._pending.get(event_id)
        if pending is None:
            return
        if not ok.accepted and message.prefix(ok.message) == "auth-required" and self._hope_for_auth(pending):
            return
        _settle(pending, ok)

    def _hope_for_auth(self, pending: _Pending) -> bool:
        """True if this event will go out again: once when AUTH is through, never twice."""
        if self._key is None or pending.after_auth:
            return False
        if self._authed:
            pending.after_auth = True
            self._send(message.event(pending.event))
            return True
        pending.after_auth = self._auth_id is not None
        return pending.after_auth

    def _after_auth(self, ok: Ok) -> None:
        if not ok.accepted:
            log.warning("%s refused our AUTH: %s", self.url, ok.message)
        for pending in list(self._pending.values()):
            if pending.after_auth:
                if ok.accepted:
                    self._send(message.event(pending.event))
                else:
                    _settle(pending, Ok(False, f"auth-required: {ok.message}"))
        for feed in list(self._feeds.values()):
            if feed.stage is Stage.WAITING and message.prefix(feed.reason) == "auth-required":
                if ok.accepted:
                    self.ask(feed)
                else:
                    self._refuse(feed, feed.reason)

    def _on_closed(self, sid: str, text: str) -> None:
        answer = self._counts.get(sid)
        if answer is not None and not answer.done():
            answer.set_exception(RelayRefused(self.url, text))
            return
        feed = self._feeds.get(sid)
        if feed is None or feed.stage is Stage.PAUSED:
            return
        if feed.parent is not None:
            del self._feeds[sid]
            return
        word, first_time = message.prefix(text), feed.reason != text
        feed.mark(self._clock())
        feed.reason = text
        if word == "auth-required" and self._key is not None and first_time:
            if self._authed:
                feed.stage = Stage.WAITING
                self.ask(feed)
                return
            if self._auth_id is not None:
                feed.stage = Stage.WAITING
                return
        if word in _PASSING or (word != "auth-required" and feed.reached is not None):
            feed.tries += 1
            feed.stage = Stage.DOWN
            feed.owner.settle()
            self._later(min(2.0**feed.tries, 300.0) * random.uniform(0.5, 1.0), feed)
            return
        self._refuse(feed, text)

    def _refuse(self, feed: Feed, reason: str) -> None:
        log.info("%s refuses a subscription: %s", self.url, reason)
        feed.stage, feed.reason = Stage.REFUSED, reason
        feed.owner.settle()

    def _later(self, delay: float, feed: Feed) -> None:
        def again() -> None:
            self._timers.discard(timer)
            if self._ws is not None and feed.stage is Stage.DOWN and feed.id in self._feeds:
                feed.stage = Stage.WAITING
                self.ask(feed)

        timer = asyncio.get_running_loop().call_later(delay, again)
        self._timers.add(timer)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session()
        return self._session


def new_session(*, public: bool = False) -> aiohttp.ClientSession:
    """An HTTP session fit for relays: no cookies, no total timeout (sockets live for days), many hosts.

    With `public` it connects to addresses of the public internet only.
    """
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_DIAL_TIMEOUT),
        connector=aiohttp.TCPConnector(limit=0, socket_factory=public_socket if public else None),
    )


def _settle(pending: _Pending, ok: Ok) -> None:
    for waiter in pending.waiters:
        if not waiter.done():
            waiter.set_result(ok)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
