"""One WebSocket client: reading frames, answering in joined writes, AUTH, and the bounds that keep it small.

All answers of one loop tick leave in one write. A client that does not read is cut off when `max_pending_bytes` wait
for it; one that asks faster than it reads is not read from until it has caught up.
"""

import asyncio
import re
import secrets
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import WSMsgType, web

from relay.errors import Refused
from relay.policies import AUTH_KIND
from relay.record import parse, signed
from relay.store.apply import host_of
from relay.store.interface import Scope
from relay.subscriptions import Subscription

if TYPE_CHECKING:
    from relay.core import Relay

IN_FLIGHT = 512  # events of one client that wait for their OK before it is not read from any more
SOFT_BYTES = 1 << 20
AUTH_SECONDS = 600
SLOW_TASKS = 8
AUTH_KEYS = 20
PING = b"\x89\x00"
GOING_AWAY = b"\x88\x02\x03\xe9"

HEADS = [bytes((0x81, n)) if n < 126 else b"\x81\x7e" + n.to_bytes(2, "big") for n in range(4096)]
_LONG_QUERY = re.compile(rb'\s*\[\s*"(?:REQ|COUNT)"\s*,\s*"([A-Za-z0-9:_.-]{1,64})"')
_LONG_EVENT = re.compile(rb'\s*\[\s*"EVENT"')
_EVENT_ID = re.compile(rb'"id"\s*:\s*"([0-9a-f]{64})"')
_dumps = orjson.dumps


def frame_head(size: int) -> bytes:
    """The header of an unmasked text frame (RFC 6455)."""
    if size < 4096:
        return HEADS[size]
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


class Outgoing:
    """Collects what has to be sent in this loop tick, then writes once per connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[Connection] = []

    def add(self, connection: "Connection") -> None:
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()


class Connection:
    """State of one client. `authed` holds the keys it has proved."""

    def __init__(self, relay: "Relay", request: web.Request, ip: str, loopback: bool) -> None:
        assert request.transport is not None
        self.relay = relay
        self.ip = ip
        self.loopback = loopback
        self.host = relay.believable_host(request)
        self.challenge = secrets.token_hex(16)
        self.authed: frozenset[str] = frozenset()
        self.subscriptions: dict[str, Subscription] = {}
        self.syncs: dict[str, Any] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.closed = False
        self.trusted = False
        self._transport = request.transport
        self._parts: list[bytes] = []
        self._in_flight = 0
        self._room: asyncio.Future[None] | None = None
        self._most_pending = relay.settings.max_pending_bytes
        self._scope: Scope | None = None
        self._behind = False
        self._quiet = 0
        self._ping_after = relay.settings.idle_ping_seconds

    # --- out ---------------------------------------------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Queue one text message for this tick's write."""
        if not self._parts:
            self.relay.outgoing.add(self)
        self._parts += (frame_head(len(payload)), payload)

    def push(self, prefix: bytes, tail: bytes) -> None:
        """Queue `prefix + tail` without making the whole."""
        if not self._parts:
            self.relay.outgoing.add(self)
        self._parts += (frame_head(len(prefix) + len(tail)), prefix, tail)

    def push_all(self, parts: list[bytes]) -> None:
        """Queue frames that are already made."""
        if not self._parts:
            self.relay.outgoing.add(self)
        self._parts += parts

    def flush(self) -> None:
        parts, self._parts = self._parts, []
        transport = self._transport
        if not parts or self.closed or transport.is_closing():
            return
        transport.write(b"".join(parts))
        unsent = transport.get_write_buffer_size()
        if unsent > SOFT_BYTES:
            self._behind = True
            if unsent > self._most_pending:
                self.relay.metrics.slow_readers += 1
                self.cut()

    def cut(self) -> None:
        """End the connection at once, dropping what has not been sent."""
        self.closed = True
        self._transport.abort()

    def hang_up(self) -> None:
        """End the connection because the relay stops: what is queued still goes out, then close code 1001."""
        self.push_all([GOING_AWAY])
        self.flush()
        self.closed = True
        self._transport.close()

    def notice(self, text: str) -> None:
        self.send(_dumps(["NOTICE", text]))

    def refuse(self, name: Any, message: str) -> None:
        """CLOSED for a subscription that can't be served; NOTICE where it has no usable name."""
        if type(name) is str:
            self.send(_dumps(["CLOSED", name, message]))
        else:
            self.notice(message)

    def reply(self, ident: str, accepted: bool, message: str) -> None:
        """The OK of one event or AUTH."""
        if accepted and not message:
            self.send(b'["OK","' + ident.encode() + b'",true,""]')
        else:
            self.send(_dumps(["OK", ident, accepted, message]))

    def answered(self, ident: str, accepted: bool, message: str) -> None:
        """The OK of an event that counted as in flight."""
        self._in_flight -= 1
        if self._room is not None and self._in_flight <= IN_FLIGHT // 2 and not self._room.done():
            self._room.set_result(None)
        self.reply(ident, accepted, message)

    def taken(self) -> None:
        """An event of this client is on its way to the store."""
        self._in_flight += 1

    @property
    def unsent(self) -> int:
        """Bytes that wait for this client."""
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    async def drained(self, below: int) -> bool:
        """Write what is queued and wait until at most so many bytes are unsent; False where the client has gone."""
        self.flush()
        while not self.closed and not self._transport.is_closing():
            if self._transport.get_write_buffer_size() <= below:
                return True
            await asyncio.sleep(0.01)
        return False

    # --- in ----------------------------------------------------------------------------------------------------

    async def serve(self, ws: web.WebSocketResponse) -> None:
        """Read until the client goes."""
        receive, text = ws.receive, WSMsgType.TEXT
        relay = self.relay
        if relay.greets:
            self.send(_dumps(["AUTH", self.challenge]))
        while True:
            message = await receive()
            self._quiet = 0
            if message.type is text:
                self.take(message.data)
            elif message.type is WSMsgType.BINARY:
                self.notice("invalid: binary frames carry no Nostr message")
            elif message.type is WSMsgType.PING:
                self.push_all([bytes((0x8A, len(message.data))), bytes(message.data)])
            elif message.type is not WSMsgType.PONG:
                return
            if self._in_flight >= IN_FLIGHT:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
                self._room = None
            if self._behind:
                if not await self.drained(SOFT_BYTES // 4):
                    return
                self._behind = False
            if len(self.tasks) >= SLOW_TASKS:
                await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)

    def second_passed(self) -> None:
        """Ping a client that has been quiet, cut one that does not answer."""
        self._quiet += 1
        if self._quiet >= self._ping_after:
            if self._quiet >= 1.5 * self._ping_after + 1:
                self.cut()
            elif self._quiet - self._ping_after < 1:
                self.push_all([PING])

    def take(self, data: bytes) -> None:
        """One client message. Whatever it is, the connection goes on."""
        relay = self.relay
        if len(data) > relay.settings.max_message_bytes:
            self._too_long(data)
            return
        try:
            message = orjson.loads(data)
        except (orjson.JSONDecodeError, RecursionError):
            self.notice("invalid: message is not JSON")
            return
        if type(message) is not list or len(message) < 2 or type(message[0]) is not str:
            self.notice("invalid: message is not an array that begins with a verb")
            return
        verb = message[0]
        if verb == "EVENT":
            relay.writing.offer(self, message[1])
        elif verb == "REQ":
            relay.reading.request(self, message)
        elif verb == "CLOSE":
            self.drop(message[1])
        elif verb == "COUNT":
            relay.reading.count(self, message)
        elif verb == "AUTH":
            self._authenticate(message[1])
        elif verb in ("NEG-OPEN", "NEG-MSG", "NEG-CLOSE"):
            relay.syncing.take(self, message)
        else:
            self.notice(f"invalid: unknown verb {verb[:20]!r}")

    def _too_long(self, data: bytes) -> None:
        """Answer without parsing: the sender of an event or query still learns which one it was."""
        reason = f"invalid: message is longer than {self.relay.settings.max_message_bytes} bytes"
        query, event = _LONG_QUERY.match(data), _LONG_EVENT.match(data)
        ident = _EVENT_ID.search(data) if event else None
        if query:
            self.refuse(query[1].decode(), reason)
        elif ident:
            self.reply(ident[1].decode(), False, reason)
        else:
            self.notice(reason)

    def run(self, work: Any) -> None:
        """Run a coroutine that answers later; it ends with the connection."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def drop(self, name: Any) -> None:
        """Forget a subscription."""
        if type(name) is not str:
            self.notice("invalid: subscription id is not a string")
            return
        subscription = self.subscriptions.pop(name, None)
        if subscription is not None:
            self.relay.index.remove(subscription)

    def _authenticate(self, value: Any) -> None:
        """NIP-42. Several keys may be proved one after the other."""
        try:
            event = parse(value)
        except Refused as refused:
            ident = value.get("id") if type(value) is dict else None
            if type(ident) is str:
                self.reply(ident, False, str(refused))
            else:
                self.notice(str(refused))
            return
        reason = ""
        if event.kind != AUTH_KIND:
            reason = "invalid: an AUTH event has kind 22242"
        elif abs(event.created_at - self.relay.clock()) > AUTH_SECONDS:
            reason = "invalid: created_at is more than ten minutes away"
        elif event.first("challenge") != self.challenge:
            reason = "invalid: that is not the challenge of this connection"
        elif host_of(event.first("relay") or "") not in self.relay.hosts_with(self.host):
            reason = "invalid: the relay tag names another relay"
        elif len(self.authed) >= AUTH_KEYS:
            reason = f"restricted: more than {AUTH_KEYS} keys on one connection"
        elif not signed(event):
            reason = "invalid: bad signature"
        if not reason:
            self.authed |= {event.pubkey}
            self._scope = None
        self.reply(event.id, not reason, reason)

    def scope(self) -> Scope:
        """What this client may see."""
        if self._scope is None:
            self._scope = Scope(self.relay.private, tuple(self.authed)) if self.relay.private else Scope()
        return self._scope

    def settings_changed(self) -> None:
        self._scope = None
        self._most_pending = self.relay.settings.max_pending_bytes
        self._ping_after = self.relay.settings.idle_ping_seconds

    def end(self) -> None:
        """The client has gone: forget everything it asked for."""
        self.closed = True
        for subscription in self.subscriptions.values():
            self.relay.index.remove(subscription)
        self.subscriptions.clear()
        self.syncs.clear()
        for task in self.tasks:
            task.cancel()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
