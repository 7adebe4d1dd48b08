"""Mounts the page on the relay's application. One handler a noun; `.json` at the end of any address gives the data."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from nostr.clock import Clock, system_clock
from relay.app import HOME
from relay.core import STATE
from web.errors import PageError
from web.purse import Purse
from web.render import Renderer, Static, json_response
from web.runs import Runs
from web.score import Scores
from web.session import Sessions
from web.settings import WebSettings
from web.shelf import Shelf
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
        self.render = Renderer(self.static)
        self.sessions = Sessions(data, clock)
        self.runs = Runs(data)
        self.scores = Scores(data, self.runs, clock)
        self.shelf = Shelf(self.scores.of, clock)
        self.purse = Purse(data, settings, clock)
        self.workshop = workshop

    def node(self, request: web.Request) -> Node:
        scheme = "wss" if request.secure or request.headers.get("X-Forwarded-Proto") == "https" else "ws"
        public = {
            "name": self.settings.name,
            "relay": f"{scheme}://{request.host}",
            "credits": self.purse.credits,
            "guestCredits": self.settings.guest_credits if self.purse.credits else 0,
        }
        return Node(self.settings.name, self.settings.about, public)

    def answer(
        self, request: web.Request, template: str, data: Any, *, status: int = 200, **values: Any
    ) -> web.Response:
        """HTML from `data` and `values`; where the address ends in `.json`, `data` alone."""
        if request.path.endswith(".json"):
            return json_response(data, status=status)
        self.render.jinja.filters["who"] = self.shelf.name
        shared = {
            "node": self.node(request),
            "operator": self.sessions.is_operator(request),
            "unit": "credits" if self.purse.credits else "sat",
        }
        shared |= data if isinstance(data, dict) else {"items": data}
        return self.render.page(request, template, {**shared, **values}, status=status)


SITE: web.AppKey[Site] = web.AppKey("site", Site)


def mount(
    app: web.Application,
    *,
    settings: WebSettings,
    data: Path,
    clock: Clock = system_clock,
    workshop: Workshop | None = None,
) -> None:
    """Add the page's routes to the relay's application, and its front page at `/`.

    `workshop` is the node's hand on settings and processes; without one the operator's page only shows them.
    """
    from web import docs, inbox, jobs, market, operator, recipes

    site = app[SITE] = Site(settings, data, clock, workshop)
    app.router.add_get("/static/{version}/{name:.+}", site.static.serve)
    app[HOME] = guarded(site, market.shop)
    for module in (market, jobs, recipes, inbox, operator, docs):
        for method, path, handler in module.ROUTES:
            if method == "GET" and "." not in path.rsplit("/", 1)[-1]:
                app.router.add_route("GET", f"{path}.json", guarded(site, handler))
            app.router.add_route(method, path, guarded(site, handler))
    app.on_startup.append(_start)
    app.on_cleanup.append(_stop)


async def _start(app: web.Application) -> None:
    app[FOLLOWER] = asyncio.create_task(_follow_relay(app), name="page")


async def _follow_relay(app: web.Application) -> None:
    """Wait until the relay says where it listens, then become its client."""
    site, relay = app[SITE], app[STATE]
    while not relay.base_url:  # noqa: ASYNC110  set once the port is known, a moment after start-up
        await asyncio.sleep(0.02)
    await site.shelf.start(relay.base_url)
    if site.shelf.pool is not None:
        site.scores.start(site.shelf.pool, site.shelf)
    await site.purse.start()


async def _stop(app: web.Application) -> None:
    app[FOLLOWER].cancel()
    await app[SITE].scores.close()
    await app[SITE].shelf.close()
    await app[SITE].runs.close()
    await app[SITE].purse.close()


FOLLOWER: web.AppKey[Any] = web.AppKey("page-follower", object)


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
    return site.answer(request, "error.html", {"title": title, "message": message}, status=status)
