"""A job's page: readable without JavaScript, live with it. And the two posts it needs: pay with credits, audit."""

import contextlib
from typing import Any

import orjson
from aiohttp import web
from markupsafe import Markup

from market.errors import MarketError
from market.job import Feedback, JobRequest, JobResult
from market.kinds import FEEDBACK, JOB_KINDS, RECEIPT, result_kinds
from market.media import Media
from nostr.event import Event, InvalidEvent, is_hex
from nostr.filter import Filter
from orchestrator.errors import OrchestratorError, RecipeError
from orchestrator.recipe import from_event
from orchestrator.run import Run
from web.app import Site
from web.errors import BadRequest, NotFound, Unready
from web.graph import svg
from web.market import kind_title
from web.render import json_response
from web.runs import choices
from web.runs import steps as run_steps
from web.session import proven


async def job(site: Site, request: web.Request) -> web.StreamResponse:
    job_id = request.match_info["id"]
    events = await _events(site, job_id)
    asked = next((event for event in events if event.id == job_id), None) or _kept(events, job_id)
    if asked is None:
        raise NotFound("This relay knows no job of that name. It may have been asked elsewhere, or been deleted.")
    provider = asked.first("p") or ""
    service = site.shelf.ordered(asked)
    run = await site.runs.of(job_id)
    own = _run(site, run, public=not asked.tagged("encrypted"))
    story = _story(events, asked, provider)
    if request.path.endswith(".json"):
        return json_response(
            {"id": job_id, "state": story["state"], "events": [event.to_dict() for event in events], **own}
        )
    values = {
        "id": job_id,
        "provider": provider,
        "service": service,
        "price_msat": service.price_msat if service else None,
        "title": _title(asked),
        "kind": kind_title(asked.kind),
        "raw": orjson.dumps(asked.to_dict(), option=orjson.OPT_INDENT_2).decode(),
        "receipts": _receipts(events),
        "asked_by": asked.pubkey,
        "graph": Markup(svg(run.recipe, site.unit)) if run is not None else _graph(site, asked),
        "begun": {
            **own,
            "names": _names(site, events, own),
            "kinds": _kind_names(),
            "events": [event.to_dict() for event in {asked.id: asked, **{e.id: e for e in events}}.values()],
        },
        **own,
        **story,
    }
    return site.answer(request, "job.html", values)


def _names(site: Site, events: list[Event], own: dict[str, Any]) -> dict[str, str]:
    """What people call the keys that show up in this job."""
    keys = {event.pubkey for event in events} | {event.first("p") or "" for event in events}
    keys |= {step["provider"] for step in own["steps"]}
    return {key: site.shelf.name(key) for key in keys if key}


def _kind_names() -> dict[int, tuple[str, str]]:
    """Title and trade of each kind."""
    return {kind: (known.title, known.trade) for kind, known in JOB_KINDS.items()}


async def steps(site: Site, request: web.Request) -> web.StreamResponse:
    """Where each step of a composite stands, what it delivered and why its seller was chosen: for the live page."""
    job_id = request.match_info["id"]
    run = await site.runs.of(job_id)
    asked = await (await site.runs.journal()).request(job_id) if run is not None else None  # type: ignore[union-attr]
    told = _run(site, run, public=asked is not None and not asked.tagged("encrypted"))
    return json_response({**told, "names": _names(site, [], told)})


def _run(site: Site, run: Run | None, *, public: bool) -> dict[str, Any]:
    """What of Timmy's journal is shown. An encrypted order shows no artefacts to those who only know its id."""
    if run is None:
        return {"steps": [], "choices": []}
    made = run_steps(run, artefacts=public)
    for step in made:
        if artefact := step.get("artefact"):
            artefact["thumb"] = site.thumbs.url(artefact["url"] or "", artefact["mime"] or "")
    return {"steps": made, "choices": choices(run) if public else []}


def _graph(site: Site, asked: Event) -> Markup:
    """The recipe as a picture, for a composite of another node whose recipe this relay has."""
    wanted = {tag[2] for tag in asked.tagged("param") if len(tag) > 2 and tag[1] == "recipe"}
    for event in site.shelf.recipes():
        if event.first("d") in wanted and event.pubkey == asked.first("p"):
            with contextlib.suppress(RecipeError):
                return Markup(svg(from_event(event), site.unit))
    return Markup("")


async def audit(site: Site, request: web.Request) -> web.StreamResponse:
    """The receipt tree of a composite, checked line by line by the same code as `timmy audit`."""
    from orchestrator.audit import audit as check

    events = await _events(site, request.match_info["id"])
    root = next((event.first("receipt") for event in events if event.first("receipt")), None)
    if root is None or site.shelf.pool is None:
        raise NotFound("This job has no receipt.")
    try:
        report = await check(root, site.shelf.pool)
    except OrchestratorError as error:
        raise NotFound(str(error)) from None
    return json_response(
        {
            "lines": [
                {"verdict": line.verdict, "what": line.what, "detail": line.detail, "step": line.step}
                for line in report.lines
            ]
        }
    )


async def pay(site: Site, request: web.Request) -> web.StreamResponse:
    """Pay a bill with the node's credits, for a visitor who proves a key by NIP-98."""
    visitor, body = await proven(request, "/pay", site.clock())
    try:
        invoice = str(orjson.loads(body)["invoice"])
    except (ValueError, KeyError, TypeError):
        raise BadRequest("Say which invoice is to be paid.") from None
    preimage = await site.purse.treat(visitor, invoice)
    return json_response({"preimage": preimage})


async def left(site: Site, request: web.Request) -> web.StreamResponse:
    """How many credits a visitor's key may still spend today."""
    return json_response({"left": site.purse.left(request.match_info["who"]), "daily": site.settings.guest_credits})


async def me(site: Site, request: web.Request) -> web.StreamResponse:
    """Everything in it is between the browser and the relay: the page asks for what this key has signed."""
    return site.answer(request, "me.html", {"filter": {"kinds": list(JOB_KINDS), "authors": ["<your key>"]}})


async def _events(site: Site, job_id: str) -> list[Event]:
    if not is_hex(job_id, 64):
        raise NotFound("A job is named by 64 hex digits.")
    if site.shelf.pool is None:
        raise Unready("The relay is starting.")
    return await site.shelf.pool.fetch(Filter(ids=[job_id]), Filter(tags={"e": [job_id]}, limit=500), timeout=3)


def _kept(events: list[Event], job_id: str) -> Event | None:
    """The request as its seller kept it in the result: the relay forgets requests when they expire."""
    for event in events:
        with contextlib.suppress(InvalidEvent):
            if (text := event.first("request")) and (asked := Event.from_json(text)).id == job_id and asked.verify():
                return asked
    return None


def _title(asked: Event) -> str:
    with contextlib.suppress(MarketError):
        request = JobRequest.parse(asked, None)
        words = next((item.value for item in request.inputs if item.type == "text" and item.value.strip()), "")
        if words:
            return words[:120]
    return kind_title(asked.kind) + (", encrypted" if asked.tagged("encrypted") else "")


def _story(events: list[Event], asked: Event, provider: str) -> dict[str, Any]:
    """Timeline, state and files, from what the pinned seller signed."""
    lines: list[dict[str, Any]] = [{"text": "Asked", "at": asked.created_at, "bad": False}]
    state, files, content = "Waiting for the seller", list[Media](), ""
    for event in sorted(events, key=lambda item: item.created_at):
        if provider and event.pubkey != provider:
            continue
        with contextlib.suppress(MarketError):
            if event.kind == FEEDBACK:
                said = Feedback.parse(event)
                lines.append(
                    {"text": said.message or said.status, "at": event.created_at, "bad": said.status == "error"}
                )
                state = state if state == "Delivered" else said.message or said.status
            elif event.kind in result_kinds(asked.kind):
                result = JobResult.parse(event)
                files, content, state = list(result.urls), result.content, "Delivered"
                lines.append({"text": "Delivered", "at": event.created_at, "bad": False})
    return {"lines": lines[-40:], "state": state, "files": files, "content": content[:20000]}


def _receipts(events: list[Event]) -> list[dict[str, Any]]:
    found = []
    for event in events:
        if event.kind == RECEIPT:
            cost = event.first("amount") or event.first("price") or "0"
            found.append({
                "step": event.first("step") or event.first("k") or "whole",
                "provider": event.first("p") or event.pubkey,
                "msat": int(cost) if cost.isdigit() else None,
            })  # fmt: skip
    return found


ROUTES = (
    ("GET", "/job/{id:[0-9a-f]+}", job),
    ("GET", "/job/{id:[0-9a-f]+}/audit.json", audit),
    ("GET", "/job/{id:[0-9a-f]+}/steps.json", steps),
    ("POST", "/pay", pay),
    ("GET", "/pay/{who:[0-9a-f]{64}}.json", left),
    ("GET", "/me", me),
)
