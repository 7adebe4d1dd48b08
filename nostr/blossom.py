"""Files on Blossom servers: the client side of BUD-01, 02, 04, 06 and 11.

    blob = await BlossomClient("http://127.0.0.1:7777", key).upload(path, "image/png")

Uploads are streamed from disk. Downloads with all their guards are the market's business, not this module's.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import orjson

from nostr.clock import Clock, system_clock
from nostr.errors import BlossomError
from nostr.event import is_hex
from nostr.key import SecretKey

AUTH_KIND = 24242
SERVER_LIST_KIND = 10063
_CHUNK = 256 * 1024
_LIFE = 600  # seconds that an authorisation is valid


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob descriptor (BUD-02). `size` in bytes, `uploaded` in seconds."""

    url: str
    sha256: str
    size: int
    type: str
    uploaded: int = 0

    @classmethod
    def from_dict(cls, value: Any) -> "Blob":
        """Raises BlossomError where the server's answer is no descriptor."""
        if not isinstance(value, dict):
            raise BlossomError(0, "the server's answer is no blob descriptor")
        url, digest, size = value.get("url"), value.get("sha256"), value.get("size")
        if not isinstance(url, str) or not is_hex(digest, 64) or type(size) is not int:
            raise BlossomError(0, "the server's answer is no blob descriptor")
        uploaded = value.get("uploaded")
        kind = value.get("type")
        return cls(
            url,
            str(digest),
            size,
            kind if isinstance(kind, str) else "application/octet-stream",
            uploaded if type(uploaded) is int else 0,
        )


def authorization(
    key: SecretKey,
    verb: str,
    *,
    now: int,
    hashes: Iterable[str] = (),
    server: str = "",
    life: int = _LIFE,
    why: str = "",
) -> str:
    """The `Authorization` header of BUD-11. `verb` is get, upload, list or delete; `server` is a URL or empty."""
    tags = [["t", verb], ["expiration", str(now + life)], *(["x", digest] for digest in hashes)]
    host = urlsplit(server).hostname
    if host:
        tags.append(["server", host.lower()])
    event = key.sign(kind=AUTH_KIND, content=why or f"{verb} a blob", tags=tags, created_at=now)
    return "Nostr " + base64.urlsafe_b64encode(event.to_json()).decode().rstrip("=")


class BlossomClient:
    """One server, one key. Works as an async context manager; without it each call opens its own session."""

    def __init__(
        self,
        server: str,
        key: SecretKey,
        *,
        clock: Clock = system_clock,
        session: aiohttp.ClientSession | None = None,
        timeout: float = 300,
    ) -> None:
        self.server = server.rstrip("/")
        self._key, self._clock, self._session = key, clock, session
        self._own: aiohttp.ClientSession | None = None
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=10)

    async def __aenter__(self) -> Self:
        if self._session is None:
            self._own = self._session = _new_session()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._own is not None:
            await self._own.close()
            self._own = self._session = None

    async def upload(self, data: Path | bytes, mime: str = "application/octet-stream") -> Blob:
        """Store a file; a second upload of the same bytes gives the same blob. Raises BlossomError, OSError."""
        digest, size = await asyncio.to_thread(_digest, data)
        headers = {"Content-Type": mime, "Content-Length": str(size), "X-SHA-256": digest}
        body = data if isinstance(data, bytes) else _read(data)
        blob = Blob.from_dict(await self._call("PUT", "/upload", "upload", [digest], headers, body))
        if blob.sha256 != digest:
            raise BlossomError(0, f"{self.server} stored other bytes than were sent")
        return blob

    async def mirror(self, url: str, sha256: str) -> Blob:
        """Have the server fetch a blob from elsewhere (BUD-04)."""
        body = orjson.dumps({"url": url})
        headers = {"Content-Type": "application/json"}
        return Blob.from_dict(await self._call("PUT", "/mirror", "upload", [sha256], headers, body))

    async def has(self, sha256: str) -> bool:
        try:
            await self._call("HEAD", f"/{sha256}", None, [], {}, None)
        except BlossomError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def delete(self, sha256: str) -> None:
        await self._call("DELETE", f"/{sha256}", "delete", [sha256], {}, None)

    async def _call(
        self,
        method: str,
        path: str,
        verb: str | None,
        hashes: list[str],
        headers: dict[str, str],
        body: bytes | AsyncIterator[bytes] | None,
    ) -> Any:
        if verb is not None:
            headers["Authorization"] = authorization(
                self._key, verb, now=self._clock(), hashes=hashes, server=self.server
            )
        session = self._session or _new_session()
        try:
            async with session.request(
                method, self.server + path, headers=headers, data=body, timeout=self._timeout, allow_redirects=False
            ) as response:
                raw = await response.read()
                if response.status >= 300:
                    reason = response.headers.get("X-Reason") or raw[:200].decode(errors="replace")
                    raise BlossomError(response.status, f"{self.server}{path}: {response.status} {reason}".strip())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BlossomError(0, f"{self.server}: {str(error) or 'no answer in time'}") from None
        finally:
            if self._session is None:
                await session.close()
        try:
            return orjson.loads(raw) if raw else None
        except orjson.JSONDecodeError:
            raise BlossomError(0, f"{self.server}{path} did not answer in JSON") from None

    async def list(self, pubkey: str | None = None) -> list[Blob]:
        """Blobs of a key, by default our own, newest first."""
        answer = await self._call("GET", f"/list/{pubkey or self._key.public}", "list", [], {}, None)
        if not isinstance(answer, list):
            raise BlossomError(0, f"{self.server} sent no list")
        return [Blob.from_dict(item) for item in answer]


def _new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())


def _digest(data: Path | bytes) -> tuple[str, int]:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest(), len(data)
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


async def _read(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk
    finally:
        file.close()
