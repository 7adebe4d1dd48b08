"""HTTP and WebSocket on one port: the relay, its information, and whatever is mounted beside it."""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from relay import blobs, federation, information
from relay.connection import Connection
from relay.core import STATE, Relay, client_ip, is_loopback, tune_interpreter
from relay.errors import RelayError, StoreError
from relay.management import CONTENT_TYPE
from relay.settings import RelaySettings
from relay.store.lock import store_lock

__all__ = ["HOME", "STATE", "build", "serve"]

log = logging.getLogger("relay")

HOME: web.AppKey[Handler] = web.AppKey("home")
"""What a browser gets at `/`; the page's mount sets it."""
BUSY: set[object] = set()
"""Protocols whose request has come in whole and is being answered."""
Mount = Callable[[web.Application], None]
HARD_FACTOR = 4  # a message up to so many times the limit gets a NOTICE, beyond it the socket is closed with 1009


def build(
    settings: RelaySettings,
    data: Path,
    *,
    own_keys: Collection[str] = (),
    mounts: Sequence[Mount] = (),
) -> web.Application:
    """The application. Its live state is `app[STATE]`; `mounts` add routes (the page) before it starts."""
    relay = Relay(settings, data, own_keys=own_keys)
    app = web.Application(middlewares=[_cors], client_max_size=1 << 20)
    app[STATE] = relay
    app.cleanup_ctx.append(_running)
    app.on_shutdown.append(_hang_up)
    app.router.add_get("/healthz", information.healthz)
    app.router.add_get("/metrics", information.metrics_text)
    app.router.add_get("/status", information.status)
    for mount in mounts:
        mount(app)
    blobs.mount(app)
    federation.mount(app, relay)
    app.router.add_route("*", "/", _root)
    return app


async def _running(app: web.Application) -> AsyncIterator[None]:
    relay = app[STATE]
    await relay.start()
    yield
    await relay.stop()


async def _hang_up(app: web.Application) -> None:
    """Before the server waits for its handlers: sockets live for days."""
    for connection in list(app[STATE].connections):
        connection.hang_up()


@web.middleware
async def _cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method == "OPTIONS":
        return web.Response(status=204, headers=information.CORS | {"Access-Control-Max-Age": "86400"})
    protocol = request.protocol
    BUSY.add(protocol)
    try:
        return await handler(request)
    except web.HTTPException as error:
        error.headers.setdefault("Access-Control-Allow-Origin", "*")
        raise
    finally:
        BUSY.discard(protocol)


async def _root(request: web.Request) -> web.StreamResponse:
    relay = request.app[STATE]
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await _socket(relay, request)
    if request.method == "POST" and request.content_type == CONTENT_TYPE:
        return await relay.management.answer(request)
    if "application/nostr+json" in request.headers.get("Accept", ""):
        return web.json_response(
            information.document(relay), content_type="application/nostr+json", headers=information.CORS
        )
    if request.method not in ("GET", "HEAD"):
        raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD", "POST"])
    home = request.app.get(HOME)
    if home is not None:
        return await home(request)
    return web.Response(text=information.page(relay), content_type="text/html", headers=information.CORS)


async def _socket(relay: Relay, request: web.Request) -> web.StreamResponse:
    settings = relay.settings
    ip = client_ip(request, settings.proxy_header)
    loopback = is_loopback(ip)
    if ip in relay.blocked_ips:
        raise web.HTTPForbidden(text="blocked: this address may not connect\n")
    if len(relay.connections) >= settings.max_connections:
        raise web.HTTPServiceUnavailable(text="rate-limited: too many connections\n")
    if (not loopback or settings.limit_loopback) and sum(
        connection.ip == ip for connection in relay.connections
    ) >= settings.max_connections_per_ip:
        raise web.HTTPTooManyRequests(text="rate-limited: too many connections from this address\n")
    ws = web.WebSocketResponse(
        compress=False,
        autoping=False,
        max_msg_size=settings.max_message_bytes * HARD_FACTOR,
        decode_text=False,
        timeout=2.0,
    )
    await ws.prepare(request)
    connection = Connection(relay, request, ip, loopback)
    relay.connections.add(connection)
    relay.metrics.connections += 1
    try:
        await connection.serve(ws)
    except ConnectionResetError:
        log.debug("%s reset its connection", ip)
    finally:
        relay.connections.discard(connection)
        connection.end()
    return ws


async def serve(
    settings: RelaySettings,
    data: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7777,
    own_keys: Collection[str] = (),
    mounts: Sequence[Mount] = (),
    reload: Callable[[], RelaySettings] | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run until cancelled. `ready` hears the address (`ws://host:port`); `reload` gives new settings on SIGHUP.

    Raises RelayError where the store can't be opened and OSError where the port is taken.
    """
    tune_interpreter()
    with store_lock(data) as alone:
        if not alone:
            raise StoreError(f"another process has the store in {data / 'relay'}: a relay runs on it already")
        app = build(settings, data, own_keys=own_keys, mounts=mounts)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=False, shutdown_timeout=2.0)
        try:
            await runner.setup()
            await _listen(runner, app[STATE], host, port)
            (data / "run").mkdir(parents=True, exist_ok=True)
            (data / "run" / "relay.url").write_text(app[STATE].base_url + "\n")
            if reload is not None:
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, app[STATE], reload)
            gc.freeze()
            if ready is not None:
                ready(app[STATE].base_url)
            log.info("relay at %s, store %s", app[STATE].base_url, data / "relay" / "relay.db")
            await _reap(runner, app[STATE])
        finally:
            (data / "run" / "relay.url").unlink(missing_ok=True)
            await runner.cleanup()


async def _listen(runner: web.AppRunner, relay: Relay, host: str, port: int) -> None:
    await web.TCPSite(runner, host, port, backlog=4096).start()
    bound: int = runner.addresses[0][1]
    name = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host
    relay.base_url = f"ws://{name}:{bound}"


def _reload(relay: Relay, reload: Callable[[], RelaySettings]) -> None:
    try:
        relay.apply_settings(reload())
    except (RelayError, ValueError) as error:
        log.error("settings not reloaded: %s", error)
    else:
        log.info("settings reloaded")


async def _reap(runner: web.AppRunner, relay: Relay) -> None:
    """Cut connections that take too long to send a request (slow-loris)."""
    first_seen: dict[int, float] = {}
    while True:
        await asyncio.sleep(1.0)
        server = runner.server
        if server is None:
            continue
        now = time.monotonic()
        alive: dict[int, float] = {}
        for protocol in server.connections:
            if protocol in BUSY:
                continue
            alive[id(protocol)] = since = first_seen.get(id(protocol), now)
            if now - since > relay.settings.header_seconds and protocol.transport is not None:
                relay.metrics.slow_clients += 1
                protocol.transport.close()
        first_seen = alive
