"""Mounts the page on the relay's application. One handler a noun; `.json` at the end of any address gives the data."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from nostr.clock import Clock, system_clock
from relay.app import HOME
from relay.core import STATE, Relay
from web.errors import PageError
from web.purse import Purse
from web.render import Renderer, Static, json_response
from web.runs import Runs
from web.score import Scores
from web.session import Sessions
from web.settings import WebSettings
from web.shelf import Shelf
from web.store import PageStore
from web.thumbs import Thumbs
from web.workshop import Workshop

log = logging.getLogger("web")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Node:
    """What the templates say of this node."""

    name: str
    about: str
    public: dict[str, Any]


class Site:
    """Everything a handler needs. Lives in `app[SITE]`."""

    def __init__(self, settings: WebSettings, data: Path, clock: Clock, workshop: Workshop | None) -> None:
        self.settings = settings
        self.data = data
        self.clock = clock
        self.static = Static()
        self.thumbs = Thumbs(data / "relay" / "blobs", data / "web" / "thumbs")
        self.render = Renderer(self.static)
        self.render.jinja.globals.update(small_of=self.thumbs.url, own_path=self.thumbs.own)
        self.sessions = Sessions(data, clock)
        self.runs = Runs(data)
        self.scores = Scores(data, self.runs, clock)
        self.store = PageStore(data, clock)
        self.shelf = Shelf(self.scores.of, clock, self.store.note_price, lambda: self.scores.own)
        self.render.jinja.filters["who"] = self.shelf.name
        self.purse = Purse(data, settings, clock, self.store)
        self.workshop = workshop
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, relay: Relay) -> None:
        """Open the page's store; become the relay's client as soon as it says where it listens."""
        await self.store.open()
        self._tasks.append(asyncio.create_task(self._follow(relay), name="page"))

    async def _follow(self, relay: Relay) -> None:
        from web.inbox import send_beats

        while not relay.base_url:  # noqa: ASYNC110  set once the port is known, a moment after start-up
            await asyncio.sleep(0.02)
        pool = await self.shelf.start(relay.base_url)
        self.scores.start(pool, self.shelf)
        self._tasks.append(asyncio.create_task(send_beats(self.store, pool), name="heartbeats of people"))
        await self.purse.start()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for part in (self.scores, self.shelf, self.runs, self.purse, self.thumbs, self.store):
            await part.close()

    @property
    def unit(self) -> str:
        return "credits" if self.purse.credits else "sat"

    def node(self, request: web.Request) -> Node:
        scheme = "wss" if request.secure or request.headers.get("X-Forwarded-Proto") == "https" else "ws"
        public = {
            "name": self.settings.name,
            "relay": f"{scheme}://{request.host}",
            "hosts": sorted({urlsplit(url).netloc for url in _addresses(request.app[STATE])}),
            "credits": self.purse.credits,
            "test": self.purse.test_network,
            "guestCredits": self.settings.guest_credits if self.purse.credits else 0,
        }
        return Node(self.settings.name, self.settings.about, public)

    def answer(
        self, request: web.Request, template: str, data: Any, *, status: int = 200, **values: Any
    ) -> web.Response:
        """HTML from `data` and `values`; where the address ends in `.json`, `data` alone."""
        if request.path.endswith(".json"):
            return json_response(data, status=status)
        shared = {
            "node": self.node(request),
            "operator": self.sessions.is_operator(request),
            "unit": self.unit,
        }
        shared |= data if isinstance(data, dict) else {"items": data}
        return self.render.page(request, template, {**shared, **values}, status=status)


def _addresses(relay: Relay) -> list[str]:
    """Under which this node's files may have been announced."""
    return [url for url in (relay.base_url, relay.settings.public_url) if url]


SITE: web.AppKey[Site] = web.AppKey("site", Site)


def mount(
    app: web.Application,
    *,
    settings: WebSettings,
    data: Path,
    clock: Clock = system_clock,
    workshop: Workshop | None = None,
    credits: bool = False,
) -> None:
    """Add the page's routes to the relay's application, and its front page at `/`.

    `credits`: the wallet is expected to hold credits, until it says so itself. `workshop` is the node's hand on
    settings and processes; without one the operator's page only shows them.
    """
    from web import docs, inbox, jobs, market, operator, recipes, shop

    site = app[SITE] = Site(settings, data, clock, workshop)
    site.purse.credits = credits
    app.router.add_get("/static/{version}/{name:.+}", site.static.serve)
    app.router.add_get("/thumb/{sha256:[0-9a-f]{64}}.webp", site.thumbs.serve)
    app[HOME] = guarded(site, shop.shop)
    for module in (shop, market, jobs, recipes, inbox, operator, docs):
        for method, path, handler in module.ROUTES:
            if method == "GET" and "." not in path.rsplit("/", 1)[-1]:
                app.router.add_route("GET", f"{path}.json", guarded(site, handler))
            app.router.add_route(method, path, guarded(site, handler))
    app.on_startup.append(_start)
    app.on_cleanup.append(_stop)


async def _start(app: web.Application) -> None:
    await app[SITE].start(app[STATE])


async def _stop(app: web.Application) -> None:
    await app[SITE].close()


def guarded(site: Site, handler: Callable[[Site, web.Request], Awaitable[web.StreamResponse]]) -> Handler:
    """Errors become a page (or JSON) that says what to do; a fault of ours is logged and shown without details."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(site, request)
        except web.HTTPException:
            raise
        except PageError as error:
            return failed(site, request, error.status, error.title, str(error))
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return failed(
                site, request, 500, "Something broke", "The fault is in the node's log. Your jobs and money are safe."
            )

    return handle


def failed(site: Site, request: web.Request, status: int, title: str, message: str) -> web.Response:
    if request.path.endswith(".json") or request.method != "GET":
        return json_response({"error": message}, status=status)
    return site.answer(request, "error.html", {"title": title, "message": message, "status": status}, status=status)
