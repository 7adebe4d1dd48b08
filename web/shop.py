"""The shop window: what can be ordered in one sentence, the newest film, and everything for sale as cards."""

import functools
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from markupsafe import Markup

from market.kinds import JOB_COMPOSITE, JOB_KINDS
from nostr.event import Event
from orchestrator.errors import RecipeError
from orchestrator.recipe import Recipe, from_event
from web.app import Site
from web.graph import small
from web.service import Service, Work

PROUDEST = ("music-video", "illustrated-story", "captioned-image")  # stand first in the box on top
OFFERED = 3  # composites to choose from in the box on top
# Shipped pictures of what the built-in engines make: shown for this node's own workers until they have works to show.
SAMPLES = {
    (5100, "Storybook"): "image.webp",
    (5202, "Parallax"): "animation.webp",
    (5203, "Cutting room"): "video.webp",
    (JOB_COMPOSITE, "music-video"): "music-video.webp",
    (JOB_COMPOSITE, "illustrated-story"): "illustrated-story.webp",
    (JOB_COMPOSITE, "captioned-image"): "captioned-image.webp",
}
STRIP = ("image.webp", "illustrated-story.webp", "animation.webp", "music-video.webp")


@dataclass(frozen=True, slots=True)
class Card:
    """One announcement: a service of it, the titles of all its kinds, and what to show without a work of its own."""

    service: Service
    titles: list[str]
    sample: str
    drawn: Markup | None


async def shop(site: Site, request: web.Request) -> web.StreamResponse:
    number = request.query.get("kind", "")
    kind = int(number) if number.isascii() and number.isdigit() else None
    words = request.query.get("q", "")[:100]
    services = site.shelf.services(kind=kind, words=words)
    if request.path.endswith(".json"):
        found = [service.to_json() | {"works": _jobs(site, service)} for service in services]
        return site.answer(request, "", {"services": found})
    everything = services if kind is None and not words else site.shelf.services()
    living = [s for s in everything if s.recipe and s.life == "live" and s.price_msat and not s.unavailable]
    living.sort(key=lambda s: (PROUDEST.index(s.recipe) if s.recipe in PROUDEST else len(PROUDEST), s.name))
    makes = [s for s in living if _from_words(s)][:OFFERED]
    show = _show(site, everything)
    values = {"cards": _cards(site, services), "kinds": site.shelf.kinds(), "kind": kind, "q": words}
    return site.answer(
        request, "shop.html", values, examples=site.settings.examples, show=show,
        makes=[{"what": s.recipe, "title": _title(site, s), "price_msat": s.price_msat} for s in makes],
        samples=STRIP if show is None and any(_sample(site, s) for s in everything) else (),
        path=lines(site, makes[0]) if makes and kind is None and not words else [],
    )  # fmt: skip


def _from_words(service: Service) -> bool:
    """True if one text is all it must be given."""
    wanted = [name for name, about in service.announcement.params.items() if _needed(about) and name != "recipe"]
    return wanted == ["prompt"]


def _needed(about: Any) -> bool:
    return isinstance(about, dict) and bool(about.get("required"))


def _title(site: Site, service: Service) -> str:
    event = site.shelf.recipe_of(service)
    return (event.first("title") if event is not None else None) or service.name


def _jobs(site: Site, service: Service) -> list[str]:
    """The jobs whose results are public, newest first."""
    return [work.job for work in site.shelf.works(service)]


def _cards(site: Site, services: list[Service]) -> list[Card]:
    """A seller's kinds of one announcement share a card, in the order of `services`."""
    together: dict[str, list[Service]] = {}
    for service in services:
        together.setdefault(service.announcement.address, []).append(service)
    made = []
    for group in together.values():
        first = next((s for s in group if s.sample is not None), group[0])
        shown = first.sample is not None and (first.sample.media is not None or bool(first.sample.text))
        recipe = None if shown else site.shelf.recipe_of(first)
        sample = "" if shown else _sample(site, first)
        made.append(Card(first, [s.title for s in group], sample, drawing(recipe) if recipe is not None else None))
    return made


def _sample(site: Site, service: Service) -> str:
    """The shipped picture for a worker of this very node, made by the engine that it names."""
    if service.pubkey not in site.scores.own:
        return ""
    return SAMPLES.get((service.kind, service.recipe or service.engine), "")


def _show(site: Site, services: list[Service]) -> dict[str, Any] | None:
    """The newest film, else the newest picture, that somebody ordered in words and that lies on this node."""
    best: tuple[bool, int, Service, Work] | None = None
    for service in services:
        for work in site.shelf.works(service):
            media = work.media
            if media is None or not work.words or not site.thumbs.url(media.url, media.mime):
                continue
            film = media.mime.startswith("video/") and service.kind == JOB_COMPOSITE
            if film or media.mime.startswith("image/"):
                best = max(best or (False, 0, service, work), (film, work.event.created_at, service, work),
                           key=lambda found: found[:2])  # fmt: skip
    if best is None:
        return None
    film, _, service, work = best
    return {
        "href": f"/job/{work.job}", "seller": service.href, "name": site.shelf.name(service.pubkey), "film": film,
        "kind": service.kind, "title": _title(site, service), "work": work, "words": work.words,
    }  # fmt: skip


def lines(site: Site, seller: Service) -> list[dict[str, Any]]:
    """What a composite is made of at today's announced prices."""
    event = site.shelf.recipe_of(seller)
    made = parsed(event) if event is not None else None
    if made is None:
        return []
    found = []
    for name in made.order:
        step = made.steps[name]
        prices = [s.price_msat for s in site.shelf.services(kind=step.kind) if s.price_msat is not None]
        known = JOB_KINDS.get(step.kind)
        found.append({
            "name": name, "title": known.title if known else f"kind {step.kind}",
            "trade": known.trade if known else "other", "count": (step.most if step.each else 1) * step.buy,
            "each_msat": min(prices, default=None),
        })  # fmt: skip
    return found


@functools.lru_cache(maxsize=256)
def parsed(event: Event) -> Recipe | None:
    """None for what does not pass the type check."""
    try:
        return from_event(event)
    except RecipeError:
        return None


@functools.lru_cache(maxsize=256)
def drawing(event: Event) -> Markup | None:
    made = parsed(event)
    return Markup(small(made)) if made is not None else None


ROUTES = (("GET", "/index.json", shop),)
