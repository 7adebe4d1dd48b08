"""The inbox for people. They sign in the browser; the server lists what is open, says how a buyer pays, and sends a
person's heartbeats, signed in advance, while their page is closed."""

import asyncio
import contextlib
import logging
from typing import Any

import orjson
from aiohttp import web
from yarl import URL

from market.announcement import ALIVE_FOR, SHIFT
from market.errors import MarketError
from market.job import JobRequest
from market.kinds import FEEDBACK, HEARTBEAT, JOB_COMPOSITE, JOB_HUMAN, JOB_KINDS, RECEIPT, result_kind
from nostr.errors import NostrError
from nostr.event import Event, InvalidEvent
from nostr.filter import Filter
from nostr.pool import Pool
from web.app import Site
from web.buyers import habits
from web.errors import BadRequest, Unready
from web.render import json_response
from web.session import proven
from web.store import BEATS, PageStore

log = logging.getLogger("web")
EVERY = 15
WEEK, QUARTER = 7 * 86_400, 90 * 86_400


async def inbox(site: Site, request: web.Request) -> web.StreamResponse:
    kinds = [(kind, known.title) for kind, known in JOB_KINDS.items() if kind != JOB_COMPOSITE]
    kinds.sort(key=lambda pair: pair[0] != JOB_HUMAN)
    return site.answer(request, "inbox.html", {"kinds": kinds, "tasks": await _open_tasks(site)})


async def _open_tasks(site: Site) -> list[dict[str, Any]]:
    """Tasks for people that nobody has delivered, newest first."""
    since = site.clock() - WEEK
    wanted = Filter(kinds=[JOB_HUMAN], since=since, limit=60)
    found = await site.shelf.ask(wanted, Filter(kinds=[result_kind(JOB_HUMAN)], since=since, limit=300))
    done = {event.first("e") for event in found if event.kind == result_kind(JOB_HUMAN)}
    tasks = []
    for event in sorted(found, key=lambda event: -event.created_at):
        expired = event.expiration is not None and event.expiration <= site.clock()
        if event.kind != JOB_HUMAN or event.id in done or expired or event.tagged("encrypted"):
            continue
        with contextlib.suppress(MarketError):
            asked = JobRequest.parse(event, None)
            words = next((item.value for item in asked.inputs if item.type == "text"), "")
            title = next((tag[2] for tag in event.tagged("param") if len(tag) > 2 and tag[1] == "title"), words)
            tasks.append({
                "id": event.id, "title": (title or "A task")[:120], "at": event.created_at, "bid_msat": asked.bid_msat,
                "kind_title": JOB_KINDS[JOB_HUMAN].title, "until": event.expiration,
            })  # fmt: skip
    return tasks


async def buyer(site: Site, request: web.Request) -> web.StreamResponse:
    """How a buyer pays, as far as this relay knows: {asked, owed, paid}."""
    pubkey, since = request.match_info["who"], site.clock() - QUARTER
    results = [result_kind(kind) for kind in JOB_KINDS]
    found = await site.shelf.ask(
        Filter(kinds=[*JOB_KINDS, RECEIPT], authors=[pubkey], since=since, limit=1000),
        Filter(kinds=[FEEDBACK, *results], tags={"p": [pubkey]}, since=since, limit=2000),
    )
    known = habits(pubkey, found)
    return json_response({"asked": known.asked, "owed": known.owed, "paid": known.paid})


async def leave_beats(site: Site, request: web.Request) -> web.StreamResponse:
    """POST {beats: [11998...]} with a NIP-98 proof of their key: nobody sends in the public heartbeats of another.

    They replace what the key left before, and each is sent when it is due; an empty list takes all back.
    """
    person, body = await proven(request, "/inbox/beats", site.clock())
    try:
        beats = [Event.from_dict(each) for each in orjson.loads(body)["beats"]]
    except (ValueError, KeyError, TypeError, InvalidEvent):
        raise BadRequest("Heartbeats are a list of signed events.") from None
    now = site.clock()
    if len(beats) > BEATS:
        raise BadRequest(f"One key leaves up to {BEATS} heartbeats.")
    for beat in beats:
        dies = beat.expiration
        if beat.kind != HEARTBEAT or not now - ALIVE_FOR <= beat.created_at <= now + SHIFT + ALIVE_FOR:
            raise BadRequest("A heartbeat is of kind 11998 and due within twelve hours.")
        if dies is None or dies > now + SHIFT + ALIVE_FOR:
            raise BadRequest("A heartbeat that is left here expires within twelve hours.")
        if beat.pubkey != person or not await asyncio.to_thread(beat.verify):
            raise BadRequest("A heartbeat is not signed by the key that leaves it.")
    if not await site.store.leave_beats(person, beats):
        raise Unready("Too many people have left heartbeats here. Keep this page open instead.")
    return json_response({"left": await site.store.beats_left(person)})


async def wallet(site: Site, request: web.Request) -> web.StreamResponse:
    """POST with a NIP-98 proof: {uri}, the wallet connection of an account of one's own at a node that uses credits."""
    person, _ = await proven(request, "/inbox/wallet", site.clock())
    uri = URL(await site.purse.account(person))
    # As this visitor sees the relay: from elsewhere the node's own name for it may lead nowhere.
    return json_response({"uri": str(uri.update_query(relay=site.node(request).public["relay"]))})


async def send_beats(store: PageStore, pool: Pool) -> None:
    """For ever: what is due goes to the relay."""
    while True:
        for beat in await store.due_beats():
            try:
                await pool.publish(beat)
            except (NostrError, TimeoutError) as error:
                log.info("heartbeat of %s not sent: %s", beat.pubkey[:8], error)
        await asyncio.sleep(EVERY)


ROUTES = (
    ("GET", "/inbox", inbox),
    ("GET", "/buyer/{who:[0-9a-f]{64}}.json", buyer),
    ("POST", "/inbox/beats", leave_beats),
    ("POST", "/inbox/wallet", wallet),
)
