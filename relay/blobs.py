"""Blossom on the relay's port: BUD-01 get, 02 upload, 04 mirror, 06 requirements, 11 tokens, 12 list and delete.

Whoever may write events may store files, each key up to its quota; the node's own keys without one. Nothing served here
can act in a browser: HTML comes as plain text, and every answer forbids scripts, frames and sniffing.
"""

import asyncio
import json
import logging
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from nostr import nip98
from nostr.blossom import AUTH_KIND
from nostr.download import DownloadFailed, DownloadRefused, Limits, download
from nostr.event import Event, is_hex
from nostr.sniff import extension
from relay.blob_store import ACTIVE, BlobStore, OverQuota, Part, Stored, TooLarge
from relay.core import STATE, Relay
from relay.metrics import Sample, gauge
from relay.moderation import KEYS_ALLOWED, KEYS_BANNED

log = logging.getLogger("relay")

_CHUNK = 256 * 1024
_SKEW = 60  # seconds that a token's created_at may lie in the future
_UPLOADS, _UPLOADS_OF_ONE = 64, 8  # at a time
_SECONDS = 900.0  # for one upload
_MIRROR_SECONDS = 120.0
_PAGE = 1000
_DAY = 86_400
_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "*, Content-Length, Content-Range, Accept-Ranges, X-Reason",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


class Refusal(Exception):
    """An HTTP answer: `status`, and a reason for a person."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Blobs:
    """The handlers of one application."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._store: BlobStore | None = None
        self._totals = (0, 0)
        self._busy: Counter[str] = Counter()
        self._arriving: Counter[str] = Counter()  # bytes that uploads under way may still add, by key

    @property
    def store(self) -> BlobStore:
        if self._store is None:
            raise RuntimeError("the relay has not started")
        return self._store

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        self._store = await BlobStore.open(self._relay.data / "relay" / "blobs", self._relay.clock)
        self._totals = await self._store.totals()
        self._relay.more_samples.append(self._samples)
        self._relay.more_retention.append(self._let_go)
        self._relay.status_parts["blobs"] = lambda: {"files": self._totals[0], "bytes": self._totals[1]}
        yield
        await self._store.close()

    # -- reading --------------------------------------------------------------------------------------------------

    async def get(self, request: web.Request) -> web.StreamResponse:
        stored = await self._found(request)
        inert = "text/plain; charset=utf-8" if stored.mime in ACTIVE - {"image/svg+xml"} else stored.mime
        headers = _HEADERS | {
            "Content-Type": inert,
            "Cache-Control": "public, max-age=31536000, immutable",
            "Accept-Ranges": "bytes",
        }
        if stored.mime in ACTIVE:
            headers["Content-Disposition"] = "attachment"
        return web.FileResponse(self.store.path(stored.sha256), chunk_size=_CHUNK, headers=headers)

    async def listing(self, request: web.Request) -> web.StreamResponse:
        pubkey, query = request.match_info["pubkey"], request.query
        if not is_hex(pubkey, 64):
            raise Refusal(400, "a public key is 64 lower-case hex digits")
        cursor = query.get("cursor")
        if cursor is not None and not is_hex(cursor, 64):
            raise Refusal(400, "cursor is the hash of a blob")
        found = await self.store.owned(
            pubkey,
            min(_number(query.get("limit"), _PAGE), _PAGE),
            cursor,
            _number(query.get("since"), 0),
            _number(query.get("until"), 2**53),
        )
        return web.json_response([self._descriptor(request, stored) for stored in found], headers=_HEADERS)

    # -- writing --------------------------------------------------------------------------------------------------

    async def requirements(self, request: web.Request) -> web.StreamResponse:
        """HEAD /upload: would this upload be taken? (BUD-06)"""
        digest = request.headers.get("X-SHA-256", "")
        if not is_hex(digest, 64):
            raise Refusal(400, "X-SHA-256 is 64 lower-case hex digits")
        if not request.headers.get("X-Content-Length"):
            raise Refusal(411, "X-Content-Length is missing")
        size = _number(request.headers.get("X-Content-Length"), 0)
        token = self._token(request, "upload")
        self._scoped(token, digest)
        self._may_write(token.pubkey)
        await self._room(token.pubkey, size)
        return web.Response(headers=_HEADERS)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        token = self._token(request, "upload")
        claimed = request.headers.get("X-SHA-256")
        if claimed is not None:
            if not is_hex(claimed, 64):
                raise Refusal(400, "X-SHA-256 is 64 lower-case hex digits")
            self._scoped(token, claimed)
        elif not token.values("x"):
            raise Refusal(401, "the token names no blob (x tag)")
        self._may_write(token.pubkey)
        size = request.content_length or 0
        most = await self._room(token.pubkey, size)
        async with _Turn(self, token.pubkey, size):
            part = await self._receive(request, most)
            if claimed is not None and part.sha256 != claimed:
                part.path.unlink(missing_ok=True)
                raise Refusal(409, "the body has another hash than X-SHA-256 says")
            return await self._adopt(request, part, token)

    async def mirror(self, request: web.Request) -> web.StreamResponse:
        token = self._token(request, "upload")
        if not token.values("x"):
            raise Refusal(401, "the token names no blob (x tag)")
        self._may_write(token.pubkey)
        try:
            body = json.loads(await request.read())
        except ValueError:
            raise Refusal(400, "the body is not JSON") from None
        url = body.get("url") if isinstance(body, dict) else None
        if not isinstance(url, str):
            raise Refusal(400, "the body has no url")
        most = await self._room(token.pubkey, 0)
        async with _Turn(self, token.pubkey, 0):
            scratch = self.store.scratch()
            try:
                part = await self._fetch(url, most, scratch)
                return await self._adopt(request, part, token, mismatch=409)
            finally:
                await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        token = self._token(request, "delete")
        stored = await self._found(request)
        self._scoped(token, stored.sha256)
        everyone = token.pubkey in self._relay.admins
        gone = await self.store.disown(stored.sha256, token.pubkey)
        if not gone and everyone:
            gone = await self.store.disown(stored.sha256, None)
        if not gone:
            raise Refusal(403, "another key stored this blob")
        self._totals = await self.store.totals()
        return web.Response(status=204, headers=_HEADERS)

    # -- steps ----------------------------------------------------------------------------------------------------

    async def _receive(self, request: web.Request, most: int) -> Part:
        try:
            async with asyncio.timeout(_SECONDS):
                chunks = request.content.iter_chunked(_CHUNK)
                return await self.store.receive(chunks, most, request.headers.get("Content-Type", ""))
        except TimeoutError:
            raise Refusal(408, f"the upload took longer than {_SECONDS:g} s") from None

    async def _fetch(self, url: str, most: int, scratch: Path) -> Part:
        limits = Limits(max_bytes=most, seconds=_MIRROR_SECONDS)
        try:
            fetched = await download(url, limits, allow_hosts=self._relay.settings.blob_mirror_hosts, into=scratch)
        except DownloadFailed as error:
            raise Refusal(502, str(error)) from None
        except DownloadRefused as error:
            raise Refusal(403, str(error)) from None
        assert fetched.path is not None
        return Part(fetched.path, fetched.sha256, fetched.size, fetched.mime)

    async def _adopt(self, request: web.Request, part: Part, token: Event, *, mismatch: int = 401) -> web.Response:
        if part.sha256 not in token.values("x"):
            part.path.unlink(missing_ok=True)
            raise Refusal(mismatch, "the token is for another blob (x tag)")
        quota = None if token.pubkey in self._relay.own_keys else self._relay.settings.blob_quota_bytes
        stored, new = await self.store.adopt(part, token.pubkey, quota)
        self._totals = await self.store.totals()
        log.info("blob %s %s %d bytes <- %s", part.sha256[:8], part.mime, part.size, token.pubkey[:8])
        return web.json_response(self._descriptor(request, stored), status=201 if new else 200, headers=_HEADERS)

    async def _found(self, request: web.Request) -> Stored:
        stored = await self.store.find(request.match_info["sha256"])
        if stored is None:
            raise Refusal(404, "no such blob here")
        return stored

    def _descriptor(self, request: web.Request, stored: Stored) -> dict[str, Any]:
        public = self._relay.settings.public_url
        base = f"http{public[2:]}" if public and public.startswith("ws") else public
        base = base or f"{request.scheme}://{request.host}"
        return {
            "url": f"{base}/{stored.sha256}{extension(stored.mime) or '.bin'}",
            "sha256": stored.sha256,
            "size": stored.size,
            "type": stored.mime,
            "uploaded": stored.uploaded,
        }

    # -- rules ----------------------------------------------------------------------------------------------------

    def _token(self, request: web.Request, verb: str) -> Event:
        """The authorisation of BUD-11, checked save for its x tags."""
        try:
            token = nip98.token(request.headers.get("Authorization"))
        except nip98.Unauthorized as error:
            raise Refusal(401, str(error)) from None
        now, servers = self._relay.clock(), {name.lower() for name in token.values("server")}
        hosts = {host.rsplit(":", 1)[0] for host in self._relay.hosts_with(self._relay.believable_host(request))}
        if token.kind != AUTH_KIND:
            raise Refusal(401, f"the token has kind {token.kind}, not {AUTH_KIND}")
        if token.created_at > now + _SKEW:
            raise Refusal(401, "the token's created_at is in the future")
        if token.expiration is None or token.expiration <= now:
            raise Refusal(401, "the token has expired, or names no expiration")
        if verb not in token.values("t"):
            raise Refusal(401, f"the token is not for {verb} (t tag)")
        if servers and servers.isdisjoint(hosts):
            raise Refusal(401, "the token is for another server")
        if not token.verify():
            raise Refusal(401, "the token's id or signature is wrong")
        return token

    @staticmethod
    def _scoped(token: Event, digest: str) -> None:
        if digest not in token.values("x"):
            raise Refusal(401, "the token is for another blob (x tag)")

    def _may_write(self, pubkey: str) -> None:
        relay, settings = self._relay, self._relay.settings
        if pubkey in relay.own_keys:
            return
        if pubkey in settings.blocked_pubkeys or pubkey in relay.moderation.facts[KEYS_BANNED]:
            raise Refusal(403, "this key is blocked here")
        named = pubkey in settings.allowed_pubkeys or pubkey in relay.moderation.facts[KEYS_ALLOWED]
        if (settings.allowed_pubkeys and not named) or not (settings.blob_open or named or pubkey in relay.admins):
            raise Refusal(403, "this key may not store files here")
        if relay.trust is not None and not named and pubkey not in relay.trust.trusted:
            raise Refusal(403, "this key is not trusted here yet")

    async def _room(self, pubkey: str, size: int) -> int:
        """Most bytes this key may send now. Raises Refusal where `size` is already too much."""
        settings = self._relay.settings
        if not settings.blob_max_bytes:
            raise Refusal(403, "this relay takes no files")
        if size > settings.blob_max_bytes:
            raise Refusal(413, f"files have at most {settings.blob_max_bytes} bytes here")
        if pubkey in self._relay.own_keys:
            return settings.blob_max_bytes
        keep = settings.keep_free_bytes
        if keep and shutil.disk_usage(self.store.folder).free - size < keep:
            raise Refusal(507, "the disk of this server is nearly full")
        room = settings.blob_quota_bytes - await self.store.used(pubkey) - self._arriving[pubkey]
        if size > room or room <= 0:
            raise Refusal(413, f"the quota of {settings.blob_quota_bytes} bytes would be exceeded")
        return min(settings.blob_max_bytes, room)

    def _samples(self) -> list[Sample]:
        return [
            gauge("timmy_relay_blobs", "files stored", self._totals[0]),
            gauge("timmy_relay_blob_bytes", "bytes of files stored", self._totals[1]),
        ]

    async def _let_go(self) -> None:
        """Files older than the settings keep them: strangers' and our own have each their age."""
        settings, own, now = self._relay.settings, self._relay.own_keys, self._relay.clock()
        if settings.blob_days is not None:
            await self.store.expire(now - int(settings.blob_days * _DAY), lambda key: key not in own)
        if settings.own_blob_days is not None:
            await self.store.expire(now - int(settings.own_blob_days * _DAY), lambda key: key in own)
        self._totals = await self.store.totals()

    # -- turns of uploads -----------------------------------------------------------------------------------------

    def enter(self, pubkey: str, size: int) -> None:
        if self._busy.total() >= _UPLOADS or self._busy[pubkey] >= _UPLOADS_OF_ONE:
            raise Refusal(429, "too many uploads at a time")
        self._busy[pubkey] += 1
        self._arriving[pubkey] += size

    def leave(self, pubkey: str, size: int) -> None:
        self._busy[pubkey] -= 1
        self._arriving[pubkey] -= size
        if not self._busy[pubkey]:
            del self._busy[pubkey], self._arriving[pubkey]


class _Turn:
    """One upload under way."""

    def __init__(self, blobs: Blobs, pubkey: str, size: int) -> None:
        self._blobs, self._pubkey, self._size = blobs, pubkey, size

    async def __aenter__(self) -> None:
        self._blobs.enter(self._pubkey, self._size)

    async def __aexit__(self, *error: object) -> None:
        self._blobs.leave(self._pubkey, self._size)


def mount(app: web.Application) -> None:
    """Add the routes to an application that carries a relay."""
    blobs = Blobs(app[STATE])
    app.cleanup_ctx.append(blobs.running)
    name = r"/{sha256:[0-9a-f]{64}}{ending:(\.[A-Za-z0-9]{1,12})?}"
    app.router.add_get(name, _told(blobs.get))
    app.router.add_delete(name, _told(blobs.delete))
    app.router.add_put("/upload", _told(blobs.upload))
    app.router.add_head("/upload", _told(blobs.requirements))
    app.router.add_put("/mirror", _told(blobs.mirror))
    app.router.add_get("/list/{pubkey}", _told(blobs.listing))


def _told(handler: Handler) -> Handler:
    """Refusals become answers with X-Reason and CORS, so that a page elsewhere can read them."""

    async def told(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            return _refused(refusal.status, refusal.reason)
        except TooLarge as error:
            return _refused(413, str(error))
        except OverQuota as error:
            return _refused(413, str(error))
        except ConnectionError:
            raise
        except OSError as error:
            log.error("blob not stored: %s", error)
            return _refused(507, "no room on the disk")

    return told


def _refused(status: int, reason: str) -> web.Response:
    text = " ".join(reason.split())[:300]
    headers = _HEADERS | {"X-Reason": text.encode("ascii", "replace").decode()}
    return web.json_response({"message": text}, status=status, headers=headers)


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        raise Refusal(400, f"{text[:20]!r} is not a number")
    return int(text)
