"""One service, and the form that orders from it."""

import re
from typing import Any

from aiohttp import web
from yarl import URL

from market.kinds import ANNOUNCEMENT, JOB_COMPOSITE, JOB_KINDS, REVIEW
from market.review import Review, Verdict
from nostr import nip19
from nostr.filter import Filter
from web.app import Site
from web.art import sparkline
from web.errors import NotFound
from web.service import Service
from web.shop import lines
from web.why import reasons

# Number, title and what to write, for the inputs of each kind.
ASKS = {
    5000: ("What to read", "The address of a page, a PDF or a sound file."),
    5001: ("What to summarise", "A text, or the address of one."),
    5002: ("What to translate", "The text; the language goes below."),
    5050: ("What to write about", "A sentence or two."),
    5100: ("What to paint", "Things, a place, a mood: “a fox reading under a lamp in the snow”."),
    5202: ("Which picture to move", "The address of an image."),
    5203: ("Which pictures to cut", "The address of an image or clip."),
    5250: ("What to say", "The words, as they should be spoken."),
    5251: ("What the song is about", "A mood, a place, or the whole lyric."),
    5260: ("In one sentence", "Timmy hires the others and puts it together."),
    5300: ("Anything", "The feed needs no input."),
    5820: ("The task", "What is to be done, and how you will know it is done."),
}
AT_FIRST = 4  # fields of an order form that are seen at once; a seller's other wishes fold away


async def service(site: Site, request: web.Request) -> web.StreamResponse:
    pubkey = _pubkey(request.match_info["who"])
    number = request.match_info.get("kind")
    if number is None:
        kinds = [found.kind for found in site.shelf.services() if found.pubkey == pubkey]
        if not kinds:
            raise NotFound("This key sells nothing that this relay knows of.")
        raise web.HTTPFound(f"/service/{nip19.npub(pubkey)}/{kinds[0]}")
    found = site.shelf.of(pubkey, int(number), request.query.get("d"))
    if found is None:
        await site.shelf.look(Filter(kinds=[ANNOUNCEMENT], authors=[pubkey]))
        found = site.shelf.of(pubkey, int(number), request.query.get("d"))
    if found is None:
        raise NotFound("This service has not announced itself on this relay.")
    answers = await _answers(site, pubkey)
    reviews = [_review(site, *told, answers.get(told[0].event.id, [])) for told in site.scores.reviews(pubkey)]
    prices = site.shelf.prices(found)
    asked = site.store.prices(pubkey, found.announcement.d)
    why = reasons(found.score, [review for review in reviews if review["kind"] == found.kind])
    shown = {"reviews": reviews, "stars": _histogram(reviews), "prices": prices, "asked": asked, "why": why}
    if request.path.endswith(".json"):
        return site.answer(request, "", found.to_json() | shown)
    works = [work for work in site.shelf.works(found) if work.media is not None or work.text]
    values = {
        "s": found,
        "works": works,
        "grouped": _grouped(reviews),
        "raw": found.announcement.raw.to_dict(),
        **shown,
    }
    others = [one for one in site.shelf.services(kind=found.kind) if one.pubkey != pubkey][:5]
    return site.answer(request, "service.html", values, others=others, spark=sparkline(prices, asked, site.clock()))


def _histogram(reviews: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """How many paid reviews gave five stars, four, and so on."""
    return [(stars, sum(r["stars"] == stars and r["paid"] for r in reviews)) for stars in range(5, 0, -1)]


def _grouped(reviews: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same words of the same buyer stand once, with how often."""
    made: dict[tuple[Any, ...], dict[str, Any]] = {}
    for review in reviews:
        key = (review["by"], review["stars"], review["text"], review["paid"], review["opinion"])
        if review["answers"] or key not in made:
            made[(*key, review["id"]) if review["answers"] else key] = {**review, "times": 1}
        else:
            made[key]["times"] += 1
    return list(made.values())


async def _answers(site: Site, seller: str) -> dict[str, list[dict[str, Any]]]:
    """What a seller answered to reviews, by the review's id: 31117 with the role of the provider."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in await site.shelf.ask(Filter(kinds=[REVIEW], authors=[seller], limit=200)):
        if event.first("role") == "provider" and event.content.strip():
            about = next((tag[1] for tag in event.tagged("e") if len(tag) > 3 and tag[3] == "review"), "")
            found.setdefault(about, []).append({"text": event.content[:500], "at": event.created_at})
    return found


def _review(site: Site, review: Review, verdict: Verdict, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """A review with what of it was found true, and the seller's answers."""
    return {
        "id": review.event.id,
        "answers": answers,
        "by": review.author,
        "stars": review.stars,
        "text": review.text[:500],
        "at": review.event.created_at,
        "kind": review.kind,
        "paid": verdict.paid,
        "opinion": verdict.opinion,
        "why": verdict.why,
        "trust": round(site.scores.trust(review.author), 2),
        "amount_msat": review.amount_msat,
        "job": review.request_id,
    }


async def new(site: Site, request: web.Request) -> web.StreamResponse:
    """The order form for a kind, or for a recipe by its name; `?to=npub` chooses the seller."""
    what = request.match_info["what"]
    found = site.shelf.services(kind=int(what)) if what.isascii() and what.isdigit() else site.shelf.by_recipe(what)
    to = request.query.get("to")
    chosen = _pubkey(to) if to else None
    found.sort(key=lambda item: (item.pubkey != chosen, item.life == "gone", bool(item.unavailable)))
    if not found:
        raise NotFound("Nobody sells this on this relay at the moment. Timmy and the workers may still be starting.")
    seller = found[0]
    label, hint = ASKS.get(seller.kind, ("Input", "Text or an address."))
    values: dict[str, Any] = {
        "s": _Order(seller, label, hint),
        "fields": _fields_beside_the_input(seller),
        "others": found[1:6],
        "input": request.query.get("input", "")[:2000],
        "wire": {
            "provider": seller.pubkey,
            "kind": seller.kind,
            "announcement": seller.announcement.address,
            "price_msat": seller.price_msat,
            "output": "",
        },
    }
    shown = [field for field in values["fields"] if not (field["required"] and len(field["values"]) == 1)]
    shown.sort(key=lambda field: not field["required"])
    seen = max(AT_FIRST, sum(field["required"] for field in shown))
    values |= {"first": shown[:seen], "more": shown[seen:]}
    parts = lines(site, seller)
    if request.path.endswith(".json"):
        return site.answer(request, "", {"service": seller.to_json(), "fields": values["fields"], "lines": parts})
    known = sum((line["each_msat"] or 0) * line["count"] for line in parts)
    return site.answer(request, "new.html", values, lines=parts, known=known)


async def choose(site: Site, request: web.Request) -> web.StreamResponse:
    """Where the box on the first page leads: `?what=` a recipe or kind, `?input=` the words."""
    what = request.query.get("what", "music-video")
    if not re.fullmatch(r"[a-z0-9-]{1,64}", what):
        raise NotFound("There is no such order form.")
    raise web.HTTPSeeOther(URL(f"/new/{what}").with_query(input=request.query.get("input", "")[:2000]))


def _fields_beside_the_input(seller: Service) -> list[dict[str, Any]]:
    """A composite's first required input is what the box on top asks for: it is not asked for twice."""
    made = fields(seller.announcement.params)
    if seller.kind == JOB_COMPOSITE:
        main = next((field for field in made if field["required"] and not field["values"]), None)
        made = [field for field in made if field is not main]
    return made


class _Order:
    """A service with what the form says around its fields."""

    def __init__(self, seller: Service, label: str, hint: str) -> None:
        self._seller = seller
        self.input_label, self.input_hint = label, hint
        self.optional_input = seller.kind == 5300
        self.encryption = seller.announcement.encryption

    def __getattr__(self, name: str) -> Any:
        return getattr(self._seller, name)


def fields(params: Any) -> list[dict[str, Any]]:
    """Form fields from `nip90Params`, which is the seller's own word: only sane names and short texts pass."""
    made = []
    for name, about in list(params.items())[:24]:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", str(name)) or not isinstance(about, dict):
            continue
        values = about.get("values")
        made.append({
            "name": name,
            "label": str(name).replace("_", " ").capitalize(),
            "required": bool(about.get("required")),
            "values": [str(value)[:60] for value in values[:40]] if isinstance(values, list) else [],
            "description": str(about.get("description") or "")[:200],
            "default": str(about.get("default") or "")[:60],
        })  # fmt: skip
    return made


def _pubkey(text: str) -> str:
    try:
        return nip19.parse_pubkey(text)
    except nip19.InvalidNip19:
        raise NotFound("That is not a Nostr key.") from None


def kind_title(kind: int) -> str:
    return "A composite" if kind == JOB_COMPOSITE else JOB_KINDS[kind].title if kind in JOB_KINDS else f"Kind {kind}"


ROUTES = (
    ("GET", "/new", choose),
    ("GET", r"/service/{who:[^/.]+}", service),
    ("GET", r"/service/{who:[^/.]+}/{kind:\d+}", service),
    ("GET", r"/new/{what:[a-z0-9-]+}", new),
)
