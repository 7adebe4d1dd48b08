"""Pages of the operator: wallet, relay, admin. The relay's page is public and shows less to others."""

from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from market.kinds import JOB_KINDS
from nostr.event import is_hex
from nostr.filter import Filter
from relay import information
from relay.core import STATE, Relay
from wallet.interface import WalletError
from web.app import Site
from web.errors import BadRequest, Forbidden, Unready
from web.render import json_response
from web.session import proven, same_site
from web.workshop import Complaint, Knob

REPORT = 1984  # NIP-56
QUICK = (
    *(f"dvm.{trade}.price" for trade in ("text", "image", "animation", "video", "music", "speech", "feed")),
    "orchestrator.margin",
    "orchestrator.daily",
    "orchestrator.exposure",
    "dvm.queue_limit",
    "dvm.per_hour",
    "web.guest_credits",
)

KINDS = {
    0: "profiles", 3: "follow lists", 5: "deletions", 7: "reactions", 1059: "wrapped messages", 1984: "reports",
    1985: "labels", 7000: "job feedback", 7190: "receipts", 9734: "zap requests", 9735: "zaps", 10002: "relay lists",
    11998: "heartbeats", 13194: "wallet descriptions", 22242: "sign-in", 23194: "wallet requests",
    23195: "wallet answers", 23196: "wallet news", 23197: "wallet news", 24133: "remote signing", 24242: "file permits",
    27235: "HTTP sign-in", 30382: "ranks", 31117: "reviews", 31989: "recommendations", 31990: "announcements",
    35990: "recipes", **{kind: f"jobs: {known.title}" for kind, known in JOB_KINDS.items()},
    **{kind + 1000: f"results: {known.title}" for kind, known in JOB_KINDS.items()},
}  # fmt: skip


async def wallet(site: Site, request: web.Request) -> web.StreamResponse:
    _need_operator(site, request)
    try:
        info = await (await site.purse.open()).info()
        values: dict[str, Any] = {
            "alias": info.alias,
            "network": info.caps.network,
            "real": info.caps.real_money,
            "connections": (await site.purse.admin("list_connections"))["connections"],
            "accounts": [row for row in (await site.purse.admin("list_accounts"))["accounts"] if not row["world"]],
            "books": await site.purse.admin("books"),
            "history": (await site.purse.admin("list_transactions", {"limit": 30}))["transactions"],
            "timmy": await site.runs.books(),
        }
    except (WalletError, TimeoutError) as error:
        raise Unready(
            f"The wallet does not answer: {error or 'timeout'}. `timmy wallet doctor` looks closer."
        ) from None
    return site.answer(request, "wallet.html", values)


async def connections(site: Site, request: web.Request) -> web.StreamResponse:
    """POST: make a connection (name, budget, scopes) or revoke one. Answers with the connection's address, once."""
    _need_operator(site, request)
    if not same_site(request):
        raise Forbidden("This must come from the page itself.")
    try:
        wanted = orjson.loads(await request.read())
        action = wanted.pop("action")
    except (ValueError, KeyError, AttributeError):
        raise BadRequest("Say what to do: create or revoke.") from None
    if action not in ("create", "revoke"):
        raise BadRequest("Say what to do: create or revoke.")
    try:
        return json_response(await site.purse.admin(f"{action}_connection", wanted))
    except WalletError as error:
        raise BadRequest(str(error)) from None


async def relay(site: Site, request: web.Request) -> web.StreamResponse:
    """Connections, events by kind, storage, federation, policy: what the relay says of itself."""
    state = request.app[STATE]
    stats = await state.store.stats()
    values = {
        "numbers": {
            "connections": len(state.connections),
            "subscriptions": state.index.count,
            "events stored": stats.events,
            "on disk": f"{stats.bytes_on_disk / 1_000_000:.1f} MB",
            "accepted since start": state.metrics.accepted.total(),
            "delivered since start": state.metrics.delivered,
        },
        "kinds": [(kind, KINDS.get(kind, ""), count) for kind, count in state.metrics.accepted.most_common(20)],
        "upstreams": _upstreams(state),
        "rules": information.document(state).get("limitation", {}),
    }
    return site.answer(request, "relay.html", values)


async def admin(site: Site, request: web.Request) -> web.StreamResponse:
    _need_operator(site, request)
    try:
        parts = orjson.loads((site.data / "run" / "status.json").read_bytes())["parts"]
    except (FileNotFoundError, ValueError, KeyError):
        parts = {}
    logs = {path.stem: _tail(path) for path in sorted((site.data / "logs").glob("*.log"))}
    knobs = site.workshop.knobs() if site.workshop is not None else []
    sections: dict[str, list[Knob]] = {}
    for knob in knobs:
        sections.setdefault(knob.section, []).append(knob)
    values = {"parts": parts, "logs": logs, "where": str(site.data / "timmy.toml")}
    if request.path.endswith(".json"):
        shown = {knob.name: knob.value for knob in knobs}
        return site.answer(request, "", values | {"settings": shown})
    values |= {"parts_of_node": parts, "reports": await _reports(site)}
    quick = sorted((knob for knob in knobs if knob.name in QUICK), key=lambda knob: QUICK.index(knob.name))
    return site.answer(request, "admin.html", values, sections=sections, quick=quick)


async def _reports(site: Site) -> list[dict[str, Any]]:
    """What visitors reported (NIP-56), newest first."""
    found = []
    for event in sorted(await site.shelf.ask(Filter(kinds=[REPORT], limit=40)), key=lambda event: -event.created_at):
        about = next((tag for tag in event.tagged("p") if len(tag) > 1), ("p", ""))
        what = next((tag for tag in event.tagged("e") if len(tag) > 1 and is_hex(tag[1], 64)), None)
        if is_hex(about[1], 64):
            kind = (what if what and len(what) > 2 else about)[2:3]
            found.append({
                "by": event.pubkey, "at": event.created_at, "about": about[1], "event": what[1] if what else "",
                "type": (kind[0] if kind else "other")[:20], "text": event.content[:300],
            })  # fmt: skip
    return found


async def turn(site: Site, request: web.Request) -> web.StreamResponse:
    """POST {set, value} changes a setting; POST {part, action} restarts a part or switches it off and on."""
    _need_operator(site, request)
    if not same_site(request):
        raise Forbidden("This must come from the page itself.")
    if site.workshop is None:
        raise Unready("This page runs without its node: nothing can be changed here.")
    try:
        wanted = orjson.loads(await request.read())
        if "set" in wanted:
            return json_response({"said": site.workshop.turn(str(wanted["set"]), str(wanted["value"]))})
        return json_response({"said": site.workshop.switch(str(wanted["part"]), str(wanted["action"]))})
    except (ValueError, KeyError, TypeError):
        raise BadRequest("Say which setting or which part.") from None
    except Complaint as error:
        raise BadRequest(str(error)) from None


async def login(site: Site, request: web.Request) -> web.StreamResponse:
    """The one-time link of `timmy up` (GET with a token) or a NIP-98 proof by the owner's key (POST)."""
    answer: web.StreamResponse
    if request.method == "GET":
        token = request.query.get("token")
        if token is None:
            return site.answer(request, "login.html", {})
        if not site.sessions.redeem(token):
            raise Forbidden("This link was used already, or is older than an hour: `timmy link` prints a new one.")
        answer = web.HTTPSeeOther("/wallet")
    else:
        who, _ = await proven(request, "/login", site.clock())
        if who != (site.data / "keys" / "owner.pub").read_text().strip():
            raise Forbidden("This key is not the owner's of this node.")
        answer = json_response({"operator": True})
    site.sessions.open(answer, secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https")
    return answer


async def logout(site: Site, request: web.Request) -> web.StreamResponse:
    if not same_site(request):
        raise Forbidden("This must come from the page itself.")
    answer = web.HTTPSeeOther("/")
    site.sessions.close(answer)
    return answer


def _upstreams(state: Relay) -> list[dict[str, Any]]:
    """The federation's own account of its upstream relays, where it runs."""
    tell = state.status_parts.get("upstream")
    told = tell() if tell is not None else []
    return [upstream for upstream in told if isinstance(upstream, dict)] if isinstance(told, list) else []


def _need_operator(site: Site, request: web.Request) -> None:
    if not site.sessions.is_operator(request):
        raise Forbidden("Sign in with the one-time link that `timmy up` printed; `timmy link` prints a new one.")


def _tail(path: Path, size: int = 4000) -> str:
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - size))
        return file.read().decode(errors="replace").split("\n", 1)[-1]


ROUTES = (
    ("GET", "/wallet", wallet),
    ("POST", "/wallet/connections", connections),
    ("GET", "/relay", relay),
    ("GET", "/admin", admin),
    ("POST", "/admin", turn),
    ("GET", "/login", login),
    ("POST", "/login", login),
    ("POST", "/logout", logout),
)
