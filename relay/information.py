"""What the relay says about itself over HTTP: NIP-11, health, metrics, and a short page for people."""

from html import escape
from typing import Any

from aiohttp import web

from relay import metrics
from relay.core import STATE, Relay
from relay.reading import NAME_LENGTH

NIPS = (1, 2, 4, 9, 11, 13, 17, 40, 42, 45, 50, 59, 62, 65, 70, 77, 86)
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, *",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE, OPTIONS",
}


def version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("timmy")
    except PackageNotFoundError:
        return "0"


def document(relay: Relay) -> dict[str, Any]:
    """The NIP-11 document: only what is true now."""
    settings = relay.settings
    off = {77} if not settings.max_sync_events else set()
    if not settings.search_kinds:
        off.add(50)
    made: dict[str, Any] = {
        "name": settings.name,
        "description": settings.description,
        "icon": settings.icon,
        "pubkey": settings.pubkey,
        "self": relay.key.public,
        "contact": settings.contact,
        "supported_nips": [nip for nip in NIPS if nip not in off],
        "software": "timmy",
        "version": version(),
        "limitation": {
            "max_message_length": settings.max_message_bytes,
            "max_subscriptions": settings.max_subscriptions,
            "max_limit": settings.max_limit,
            "default_limit": settings.default_limit,
            "max_subid_length": NAME_LENGTH,
            "max_event_tags": settings.max_tags,
            "max_content_length": settings.max_event_bytes,
            "min_pow_difficulty": settings.min_pow,
            "auth_required": settings.auth_to_read,
            "payment_required": False,
            "restricted_writes": bool(
                settings.allowed_pubkeys
                or settings.allowed_kinds
                or settings.trust_roots
                or settings.auth_to_write
                or settings.min_pow
                or settings.plugins
            ),
            "created_at_lower_limit": settings.past_seconds,
            "created_at_upper_limit": settings.future_seconds,
        },
    }
    limitation = {key: value for key, value in made["limitation"].items() if value is not None}
    return {key: value for key, value in made.items() if value is not None} | {"limitation": limitation}


def page(relay: Relay) -> str:
    """The page for a browser that opens the relay's address where no market page is mounted."""
    name, about = escape(relay.settings.name), escape(relay.settings.description)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{name}</title><style>body{{font:16px/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem}}"
        f"</style><h1>{name}</h1><p>{about}</p><p>This is a Nostr relay. Add <code>{escape(relay.ws_url)}</code>"
        " to your client.</p></html>"
    )


async def healthz(request: web.Request) -> web.Response:
    relay = request.app[STATE]
    return web.json_response({"status": "ok", "events_waiting": relay.writing.waiting}, headers=CORS)


async def metrics_text(request: web.Request) -> web.Response:
    relay = request.app[STATE]
    stats = await relay.store.stats()
    families = [
        *metrics.samples(relay.metrics),
        metrics.gauge("timmy_relay_connections", "open connections", len(relay.connections)),
        metrics.gauge("timmy_relay_subscriptions", "open subscriptions", relay.index.count),
        metrics.gauge(
            "timmy_relay_unsent_bytes", "bytes waiting for slow readers", sum(c.unsent for c in relay.connections)
        ),
        metrics.gauge("timmy_relay_events", "events stored", stats.events),
        metrics.gauge("timmy_relay_store_bytes", "size of the store on disk", stats.bytes_on_disk),
        metrics.gauge("timmy_relay_events_waiting", "events verified and waiting for a commit", stats.waiting),
    ]
    for more in relay.more_samples:
        families += more()
    return web.Response(text=metrics.text(families), headers=CORS | {"Cache-Control": "no-store"})


async def status(request: web.Request) -> web.Response:
    """What `timmy relay status` shows, as JSON."""
    relay = request.app[STATE]
    stats = await relay.store.stats()
    state = {
        "url": relay.ws_url,
        "name": relay.settings.name,
        "connections": len(relay.connections),
        "subscriptions": relay.index.count,
        "events": stats.events,
        "store_bytes": stats.bytes_on_disk,
        "events_waiting": stats.waiting,
        "events_accepted": relay.metrics.accepted.total(),
        "events_rejected": dict(relay.metrics.rejected),
        "events_delivered": relay.metrics.delivered,
        **{name: part() for name, part in relay.status_parts.items()},
    }
    return web.json_response(state, headers=CORS | {"Cache-Control": "no-store"})
