"""A relay of a hundred lines for client tests: in memory, on a real socket, with faults that can be switched on."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from nostr.event import Event, is_ephemeral
from nostr.filter import Filter


@dataclass
class SmallRelay:
    """`stop()` and `start()` again keep port and events. Faults: `mute` (no OK), `refusal` (text for every event),
    `auth` (challenge; nothing without it), `close_reqs` (text for every REQ), `max_limit`.
    `nip11` is the information document, where it has one."""

    events: list[Event] = field(default_factory=list)
    port: int = 0
    mute: bool = False
    refusal: str = ""
    auth: bool = False
    close_reqs: str = ""
    max_limit: int = 10_000
    nip11: dict[str, Any] | None = None
    heard: list[list[Any]] = field(default_factory=list)
    sockets: dict[Any, dict[str, list[Filter]]] = field(default_factory=dict)
    authed: set[Any] = field(default_factory=set)
    runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def start(self) -> "SmallRelay":
        app = web.Application()
        app.router.add_get("/", self._serve)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self.runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        for ws in list(self.sockets):
            await ws.close()
        if self.runner is not None:
            await self.runner.cleanup()

    async def cut(self) -> None:
        """Break every connection, go on listening."""
        for ws in list(self.sockets):
            ws._req.transport.abort()
        await asyncio.sleep(0)

    async def __aenter__(self) -> "SmallRelay":
        return await self.start()

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def accept(self, event: Event) -> None:
        """As if somebody had published it here."""
        if not is_ephemeral(event.kind):
            self.events.append(event)
        for ws, subs in list(self.sockets.items()):
            for sid, filters in list(subs.items()):
                if any(f.matches(event) for f in filters):
                    await self._send(ws, ["EVENT", sid, event.to_dict()])

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.nip11 is not None and "nostr+json" in request.headers.get("Accept", ""):
            return web.json_response(self.nip11)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.sockets[ws] = {}
        try:
            if self.auth:
                await self._send(ws, ["AUTH", "a challenge"])
            async for frame in ws:
                if frame.type is WSMsgType.TEXT:
                    message = json.loads(frame.data)
                    self.heard.append(message)
                    await self._answer(ws, message)
        finally:
            self.sockets.pop(ws, None)
        return ws

    async def _send(self, ws: web.WebSocketResponse, message: list[Any]) -> None:
        try:
            await ws.send_str(json.dumps(message))
        except ConnectionError:
            self.sockets.pop(ws, None)

    async def _answer(self, ws: web.WebSocketResponse, message: list[Any]) -> None:
        match message:
            case ["AUTH", event]:
                assert Event.from_dict(event).verify() and ["challenge", "a challenge"] in event["tags"]
                self.authed.add(ws)
                await self._send(ws, ["OK", event["id"], True, ""])
            case ["EVENT", value]:
                await self._on_event(ws, Event.from_dict(value))
            case ["REQ", sid, *filters]:
                if self.auth and ws not in self.authed:
                    await self._send(ws, ["CLOSED", sid, "auth-required: who are you?"])
                elif self.close_reqs:
                    await self._send(ws, ["CLOSED", sid, self.close_reqs])
                else:
                    await self._on_req(ws, sid, [Filter.from_dict(f) for f in filters])
            case ["COUNT", sid, *filters]:
                wanted = [Filter.from_dict(f) for f in filters]
                number = sum(any(f.matches(e) for f in wanted) for e in self.events)
                await self._send(ws, ["COUNT", sid, {"count": number}])
            case ["CLOSE", sid]:
                self.sockets[ws].pop(sid, None)

    async def _on_event(self, ws: web.WebSocketResponse, event: Event) -> None:
        if self.mute:
            return
        if self.auth and ws not in self.authed:
            await self._send(ws, ["OK", event.id, False, "auth-required: who are you?"])
        elif self.refusal:
            await self._send(ws, ["OK", event.id, False, self.refusal])
        elif event in self.events:
            await self._send(ws, ["OK", event.id, True, "duplicate: seen"])
        else:
            await self._send(ws, ["OK", event.id, True, ""])
            await self.accept(event)

    async def _on_req(self, ws: web.WebSocketResponse, sid: str, filters: list[Filter]) -> None:
        self.sockets[ws][sid] = filters
        found: dict[str, Event] = {}
        for f in filters:
            matching = sorted((e for e in self.events if f.matches(e)), key=lambda e: (-e.created_at, e.id))
            limit = self.max_limit if f.limit is None else min(f.limit, self.max_limit)
            found.update((e.id, e) for e in matching[:limit])
        for event in found.values():
            await self._send(ws, ["EVENT", sid, event.to_dict()])
        await self._send(ws, ["EOSE", sid])
