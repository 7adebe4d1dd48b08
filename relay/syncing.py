"""Negentropy (NIP-77), the server's side: a frozen list of (created_at, id) per session, answered range by range."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from nostr.negentropy import InvalidNegentropy, Items, Responder
from relay.errors import Refused, StoreError, TooExpensive
from relay.filters import Want
from relay.store.interface import Scope

if TYPE_CHECKING:
    from relay.connection import Connection
    from relay.core import Relay

FRAME_LIMIT = 60_000  # bytes; twice that in hex fits a message of 128 KiB
SESSIONS = 5  # of one connection
ITEMS_HELD = 3_000_000  # of all sessions together: 40 bytes each
IDLE_SECONDS = 300.0
_dumps = orjson.dumps


@dataclass(slots=True)
class _Session:
    responder: Responder | None = None
    used: float = field(default_factory=time.monotonic)
    busy: bool = False


class Syncing:
    """Answers NEG-OPEN, NEG-MSG and NEG-CLOSE of all connections. Session names are apart from those of REQ."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay

    def take(self, connection: "Connection", message: list[Any]) -> None:
        """One message of the NEG family."""
        verb, name = message[0], message[1]
        if type(name) is not str:
            connection.notice("invalid: a negentropy session id is a string")
        elif verb == "NEG-CLOSE":
            connection.syncs.pop(name, None)
        elif verb == "NEG-OPEN":
            self._open(connection, name, message)
        else:
            self._continue(connection, name, message)

    def _open(self, connection: "Connection", name: str, message: list[Any]) -> None:
        relay = self._relay
        most = relay.settings.max_sync_events
        connection.syncs.pop(name, None)
        try:
            if not most:
                raise Refused("blocked", "negentropy is off on this relay")
            if len(connection.syncs) >= SESSIONS:
                raise Refused("blocked", f"more than {SESSIONS} sessions")
            if self._held() > ITEMS_HELD:
                raise Refused("blocked", "too many sessions at the moment, try again later")
            if len(message) < 4:
                raise Refused("invalid", "NEG-OPEN takes an id, a filter and a message")
            (want,) = relay.reading.check(connection, name, [message[2]])
            if message[2].get("limit") is None:
                want.limit = None
            scope = relay.reading.permit(connection, (want,))
            opening = _payload(message[3])
        except Refused as refused:
            self._error(connection, name, str(refused))
            return
        relay.metrics.syncs += 1
        session = connection.syncs[name] = _Session(busy=True)
        connection.run(self._begin(connection, name, session, want, scope, opening))

    async def _begin(
        self, connection: "Connection", name: str, session: _Session, want: Want, scope: Scope, opening: bytes
    ) -> None:
        most = self._relay.settings.max_sync_events
        try:
            found = await self._relay.store.items(want, scope, most)
        except TooExpensive:
            self._error(connection, name, "blocked: this query is too big", most)
            return
        except StoreError as error:
            self._error(connection, name, f"error: {error}")
            return
        if want.limit is not None:
            found = sorted(found, key=lambda item: (-item[0], item[1]))[: want.limit]
        session.responder = Responder(await asyncio.to_thread(Items, found), FRAME_LIMIT)
        await self._answer(connection, name, session, opening)

    def _continue(self, connection: "Connection", name: str, message: list[Any]) -> None:
        session: _Session | None = connection.syncs.get(name)
        if session is None:
            self._error(connection, name, "closed: no such session")
            return
        try:
            if session.busy or len(message) < 3:
                raise Refused("invalid", "messages of a session follow one another")
            payload = _payload(message[2])
        except Refused as refused:
            self._error(connection, name, str(refused))
            return
        session.busy = True
        connection.run(self._answer(connection, name, session, payload))

    async def _answer(self, connection: "Connection", name: str, session: _Session, payload: bytes) -> None:
        assert session.responder is not None
        try:
            answer = await asyncio.to_thread(session.responder.answer, payload)
        except InvalidNegentropy as error:
            self._error(connection, name, f"invalid: {error}")
            return
        if connection.syncs.get(name) is session:
            session.busy, session.used = False, time.monotonic()
            connection.send(_dumps(["NEG-MSG", name, answer.hex()]))

    @staticmethod
    def _error(connection: "Connection", name: str, reason: str, *more: int) -> None:
        connection.syncs.pop(name, None)
        connection.send(_dumps(["NEG-ERR", name, reason, *more]))

    def _held(self) -> int:
        sessions = (session for connection in self._relay.connections for session in connection.syncs.values())
        return sum(len(session.responder.items) for session in sessions if session.responder is not None)

    def close_idle(self) -> None:
        """End sessions that nobody goes on with: each holds 40 bytes an event."""
        now = time.monotonic()
        for connection in self._relay.connections:
            for name, session in list(connection.syncs.items()):
                if not session.busy and now - session.used > IDLE_SECONDS:
                    self._error(connection, name, "closed: you took too long to respond")


def _payload(value: Any) -> bytes:
    if type(value) is not str:
        raise Refused("invalid", "a negentropy message is a string of hex digits")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise Refused("invalid", "a negentropy message is a string of hex digits") from None
