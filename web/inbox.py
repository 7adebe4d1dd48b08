"""The inbox for people: everything in it happens in the browser, with the person's key; the server gives the frame."""

from aiohttp import web

from market.kinds import JOB_HUMAN, JOB_KINDS
from web.app import Site


async def inbox(site: Site, request: web.Request) -> web.StreamResponse:
    kinds = [(kind, known.title) for kind, known in JOB_KINDS.items() if kind != 5260]
    kinds.sort(key=lambda pair: pair[0] != JOB_HUMAN)
    return site.answer(request, "inbox.html", {"kinds": kinds})


ROUTES = (("GET", "/inbox", inbox),)
