"""Federation: one Link for each upstream in the settings, and the node's relay list (NIP-65).

Settings may change while the relay runs: links whose settings stay the same go on undisturbed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from nostr import nip65
from nostr.event import Event
from nostr.pool import normalise
from relay.errors import StoreError
from relay.filters import Want
from relay.metrics import Sample
from relay.settings import RelaySettings, Upstream
from relay.store.interface import Scope
from relay.upstream import Link

if TYPE_CHECKING:
    from relay.core import Relay
    from relay.record import Record

log = logging.getLogger("relay")


class Federation:
    """Made and started by `running`; ends with the application."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._links: dict[str, Link] = {}
        self._changes: asyncio.Queue[RelaySettings] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        relay = self._relay
        relay.listeners.append(self._hear)
        relay.more_samples.append(self._samples)
        relay.status_parts["upstream"] = self.state
        relay.on_settings.append(self._changes.put_nowait)
        self._changes.put_nowait(relay.settings)
        self._task = asyncio.create_task(self._follow_settings(), name="federation")

    async def stop(self) -> None:
        self._relay.listeners.remove(self._hear)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(link.stop() for link in self._links.values()))
        self._links.clear()

    def state(self) -> list[dict[str, Any]]:
        """One object for each upstream: what `timmy relay status` shows."""
        return [link.state() for link in self._links.values()]

    async def _follow_settings(self) -> None:
        while True:
            settings = await self._changes.get()
            await self._relink(settings.upstream)
            if settings.upstream or settings.public_url:
                await self._publish_list(settings)

    async def _relink(self, wanted: list[Upstream]) -> None:
        chosen = {normalise(upstream.url): upstream for upstream in wanted}
        for url, link in list(self._links.items()):
            if chosen.get(url) != link.settings:
                await self._links.pop(url).stop()
        for url, upstream in chosen.items():
            if url not in self._links:
                link = self._links[url] = Link(self._relay, upstream)
                link.start()

    def _hear(self, record: "Record") -> None:
        for link in self._links.values():
            link.hear(record)

    async def _publish_list(self, settings: RelaySettings) -> None:
        """Kind 10002 of this relay's key: where it is reached, what it reads from and writes to."""
        public = settings.public_url
        own = [f"ws{public[4:]}" if public.startswith("http") else public] if public else []
        relays = nip65.RelayList(
            read=(*own, *(up.url for up in settings.upstream if up.direction != "up")),
            write=(*own, *(up.url for up in settings.upstream if up.direction != "down")),
        )
        event = nip65.build(self._relay.key, relays, self._relay.clock())
        try:
            before = await self._stored_list(event)
            if before is not None and sorted(before.tags) == sorted(event.tags):
                return
            verdict = await self._relay.ingest(event.to_dict())
        except StoreError as error:
            log.warning("the relay list was not published: %s", error)
            return
        if not verdict.accepted:
            log.warning("the relay list was not published: %s", verdict.message)

    async def _stored_list(self, event: Event) -> Event | None:
        want = Want(authors=frozenset((event.pubkey,)), kinds=frozenset((event.kind,)), limit=1)
        rows = await self._relay.store.query((want,), 1, Scope())
        return Event.from_dict(orjson.loads(rows[0][1])) if rows else None

    def _samples(self) -> list[Sample]:
        states = self.state()
        if not states:
            return []

        def family(name: str, kind: str, help_: str, field: str) -> Sample:
            values = tuple((f'{{url="{state["url"]}"}}', float(state[field] in (True, "up") or 0)) for state in states)
            if kind == "counter" or field in ("waiting", "caught_up_at"):
                values = tuple((f'{{url="{state["url"]}"}}', float(state[field])) for state in states)
            return Sample(f"timmy_relay_upstream_{name}", kind, help_, values)

        return [
            family("up", "gauge", "1 while the upstream is connected", "state"),
            family("even", "gauge", "1 while nothing is known to be missing on either side", "even"),
            family("caught_up_seconds", "gauge", "time of the last complete catch-up", "caught_up_at"),
            family("received_total", "counter", "events that came down", "received"),
            family("accepted_total", "counter", "events that came down and were new", "accepted"),
            family("sent_total", "counter", "events that went up", "sent"),
            family("waiting", "gauge", "events that wait to go up", "waiting"),
        ]


def mount(app: web.Application, relay: "Relay") -> None:
    """Federate as long as the application runs; to be called after the relay's own start was registered."""

    async def running(_: web.Application) -> AsyncIterator[None]:
        federation = Federation(relay)
        await federation.start()
        yield
        await federation.stop()

    app.cleanup_ctx.append(running)
