"""One page that says how the place works, for a visitor who has never heard of Nostr."""

from aiohttp import web

from web.app import Site


async def docs(site: Site, request: web.Request) -> web.StreamResponse:
    return site.answer(request, "docs.html", {})


ROUTES = (("GET", "/docs", docs),)
