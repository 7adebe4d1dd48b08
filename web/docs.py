"""One page that says how the place works, for a visitor who has never heard of Nostr."""

from aiohttp import web

from web.app import Site

PAGES = {
    "/index.json": "what is for sale; ?kind= and ?q= narrow it",
    "/service/{npub}/{kind}.json": "one service: price, score, checked reviews, prices billed and announced",
    "/new/{kind or recipe}.json": "what an order must say, and what a composite is made of",
    "/job/{id}.json": "the events of a job, and its steps where Timmy of this node made it",
    "/job/{id}/audit.json": "its receipts, checked claim by claim",
    "/recipes.json": "recipes; /recipe/{naddr}.json is one",
    "/inbox.json": "open tasks for people",
    "/relay.json": "what the relay says of itself",
}


async def docs(site: Site, request: web.Request) -> web.StreamResponse:
    return site.answer(request, "docs.html", {"relay": site.node(request).public["relay"], "pages": PAGES})


ROUTES = (("GET", "/docs", docs),)
