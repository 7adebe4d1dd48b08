"""Recipes: the list, one of them as a graph with its costs, and the editor's type check."""

import contextlib
from typing import Any

import orjson
from aiohttp import web
from markupsafe import Markup

from market.kinds import JOB_COMPOSITE, JOB_KINDS, RECIPE
from nostr import nip19
from nostr.event import Event, is_hex
from nostr.filter import Filter
from orchestrator.errors import RecipeError
from orchestrator.price import Line, Rules, expectation, simulate
from orchestrator.recipe import Recipe, from_event
from web.app import Site
from web.errors import BadRequest, Forbidden, NotFound
from web.graph import svg
from web.market import kind_title
from web.render import json_response
from web.session import same_site
from web.shop import drawing, parsed

LONGEST = 32_768
UNTRIED = 0.9  # chance of a try at a seller without history


async def index(site: Site, request: web.Request) -> web.StreamResponse:
    recipes, events = [], [event for event in site.shelf.recipes() if parsed(event) is not None]
    for event in events:
        sellers = site.shelf.by_recipe(event.first("d") or "")
        recipes.append({
            "address": event.address,
            "href": f"/recipe/{_naddr(event)}",
            "title": event.first("title") or event.first("d") or "untitled",
            "author": event.pubkey,
            "kinds": event.values("k"),
            "buys": [kind_title(int(k)) for k in event.values("k") if k.isascii() and k.isdigit() and len(k) < 6],
            "about": _about(event),
            "sellers": len(sellers),
            "price_msat": min((s.price_msat for s in sellers if s.price_msat is not None), default=None),
        })  # fmt: skip
    if request.path.endswith(".json"):
        return json_response({"recipes": recipes})
    shown = [{**told, "drawn": drawing(event)} for told, event in zip(recipes, events, strict=True)]
    return site.answer(request, "recipes.html", {"recipes": shown})


async def recipe(site: Site, request: web.Request) -> web.StreamResponse:
    event = await _find(site, request.match_info["address"])
    try:
        made = from_event(event)
    except RecipeError as error:
        raise NotFound(f"This recipe does not pass the type check here: {error}") from None
    steps: list[dict[str, Any]] = []
    for name in made.order:
        step = made.steps[name]
        sellers = site.shelf.services(kind=step.kind)
        steps.append({
            "name": name,
            "kind": step.kind,
            "needs": sorted(made.needs[name]),
            "each": step.each,
            "max_msat": step.max_msat * (step.most if step.each else 1) * step.buy,
            "tries": step.tries,
            "sellers": len(sellers),
            "cheapest": min((s.price_msat for s in sellers if s.price_msat is not None), default=None),
            "count": (step.most if step.each else 1) * step.buy,
            "title": kind_title(step.kind),
        })  # fmt: skip
    margins = _margins(site, made) if site.sessions.is_operator(request) else []
    values: dict[str, Any] = {
        "title": made.doc.title,
        "about": made.doc.about,
        "d": made.d,
        "author": event.pubkey,
        "steps": steps,
        "sellers": site.shelf.by_recipe(made.d),
        "source": orjson.dumps(orjson.loads(made.dumps()), option=orjson.OPT_INDENT_2).decode(),
        "naddr": _naddr(event),
        **_origin(site, event),
    }
    if request.path.endswith(".json"):
        return json_response({"event": event.to_dict(), "recipe": orjson.loads(made.dumps()), "steps": steps})
    values["margins"] = margins
    values["total_msat"] = sum((step["cheapest"] or 0) * step["count"] for step in steps)
    return site.answer(request, "recipe.html", values, graph=Markup(svg(made, site.unit)))


def _origin(site: Site, event: Event) -> dict[str, Any]:
    """Which recipe this one was forked from, with its page where this relay has it."""
    address = next((tag[1] for tag in event.tagged("a") if "fork" in tag), None)
    origin = site.shelf.recipe(address) if address else None
    return {
        "forked_from": address,
        "forked_href": f"/recipe/{_naddr(origin)}" if origin is not None else "",
        "forked_title": origin.first("title") if origin is not None else "",
    }


def _margins(site: Site, recipe: Recipe) -> list[dict[str, Any]]:
    """Price, profit and chance of loss at margins from 0 to 100 %, by the arithmetic that makes Timmy's quotes."""
    lines = []
    for name in recipe.order:
        step = recipe.steps[name]
        sellers = [s for s in site.shelf.services(kind=step.kind) if s.price_msat is not None]
        best = min(sellers, key=lambda s: (s.life != "live", s.price_msat or 0), default=None)
        chance = site.scores.chance(best.pubkey, step.kind) if best is not None else UNTRIED
        foreign = best is None or best.pubkey not in site.scores.own  # our own workers give the money back
        price = best.price_msat if best is not None and best.price_msat is not None else step.max_msat
        count = step.most if step.each else 1
        lines.append(
            Line(name, step.kind, count, price, chance, step.tries, step.buy, foreign, recipe.dispensable(name))
        )
    runs = simulate(lines, Rules(), recipe.d)
    expected, chance = expectation(lines)
    made = []
    for percent in range(0, 101, 5):
        price = -int(-expected / chance * (1 + percent / 100) // 1000) * 1000
        profits = [(price if delivered else 0) - spent for delivered, spent in runs]
        made.append({
            "margin": percent,
            "price_msat": price,
            "profit_msat": round(sum(profits) / len(profits)),
            "loss": round(sum(profit < 0 for profit in profits) / len(profits), 3),
        })  # fmt: skip
    return made


async def edit(site: Site, request: web.Request) -> web.StreamResponse:
    """A new recipe, or a fork of the one in `?from=`."""
    source, parent = EXAMPLE, None
    if request.path.endswith(".json"):
        return json_response({"example": orjson.loads(EXAMPLE), "kinds": sorted(JOB_KINDS)})
    if "from" in request.query:
        event = await _find(site, request.query["from"])
        source = orjson.dumps(orjson.loads(event.content), option=orjson.OPT_INDENT_2).decode()
        parent = event.address
    kinds = [(kind, known.title) for kind, known in JOB_KINDS.items() if kind != JOB_COMPOSITE]
    return site.answer(request, "edit.html", {"source": source, "parent": parent, "kinds": kinds})


async def check(site: Site, request: web.Request) -> web.StreamResponse:
    """The type check of `timmy recipe check`, for the editor: problems, or the graph."""
    if not same_site(request):
        raise Forbidden("This must come from the page itself.")
    body = await request.content.read(LONGEST + 1)
    if len(body) > LONGEST:
        raise BadRequest(f"A recipe has at most {LONGEST} bytes.")
    try:
        made = Recipe.parse(body)
    except RecipeError as error:
        return json_response({"problems": list(error.problems)})
    return json_response(
        {
            "problems": [],
            "graph": svg(made, site.unit),
            "canonical": made.dumps(),
            "kinds": sorted({step.kind for step in made.steps.values()}),
        }
    )


EXAMPLE = """{
  "recipe": 1,
  "d": "my-recipe",
  "title": "A picture with a voice",
  "inputs": {"prompt": {"type": "string", "maxLength": 500}},
  "steps": {
    "picture": {"kind": 5100, "i": [["$inputs.prompt", "text"]], "out": {"mime": "image/*"}, "max_msat": 30000},
    "voice": {"kind": 5250, "i": [["$inputs.prompt", "text"]], "out": {"mime": "audio/*"}, "max_msat": 20000},
    "cut": {"kind": 5203, "i": [["$picture", "url"], ["$voice", "url", "audio"]],
            "out": {"mime": "video/mp4"}, "max_msat": 50000}
  },
  "output": "$cut"
}"""


async def _find(site: Site, text: str) -> Event:
    """The recipe of an `naddr1...` or a `35990:<pubkey>:<name>`."""
    kind, pubkey, d = _parts(text)
    address = f"{kind}:{pubkey}:{d}"
    if site.shelf.recipe(address) is None and kind == RECIPE:
        await site.shelf.look(Filter(kinds=[RECIPE], authors=[pubkey], tags={"d": [d]}))
    event = site.shelf.recipe(address)
    if event is None:
        raise NotFound("This relay does not have that recipe.")
    return event


def _parts(address: str) -> tuple[int, str, str]:
    if address.startswith("naddr1"):
        with contextlib.suppress(nip19.InvalidNip19):
            _, value = nip19.decode(address)
            if isinstance(value, nip19.Address):
                return value.kind, value.pubkey, value.d
    else:
        kind, _, rest = address.partition(":")
        pubkey, colon, d = rest.partition(":")
        if kind == str(RECIPE) and is_hex(pubkey, 64) and colon:
            return RECIPE, pubkey, d
    raise NotFound("That is not the address of a recipe.")


def _naddr(event: Event) -> str:
    return nip19.naddr(event.first("d") or "", event.pubkey, event.kind)


def _about(event: Event) -> str:
    try:
        content = orjson.loads(event.content)
    except orjson.JSONDecodeError:
        return ""
    about = content.get("about") if isinstance(content, dict) else ""
    return str(about or "")[:300]


ROUTES = (
    ("GET", "/recipes", index),
    ("GET", "/recipes/edit", edit),
    ("POST", "/recipes/check", check),
    ("GET", "/recipe/{address}", recipe),
)
