"""Downloads from addresses that strangers wrote: nothing on this machine or its network can be reached through them.

Every address a name resolves to is checked, and the connection goes to the address that was checked, so a name that
changes its mind in between (DNS rebinding) gains nothing. Redirects are followed by hand, each hop under the same
rules. Proxies of the environment are ignored. What was read is named by its bytes, not by what the server says.

DownloadRefused          not allowed, or a limit was broken; the message says which
|- DownloadFailed        the other side did not deliver (no answer, 404, broken off): trying again may help
"""

import asyncio
import hashlib
import ipaddress
import os
import socket
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from nostr.address import PrivateAddress, public_address
from nostr.sniff import extension, sniff

_CHUNK: Final = 1 << 16
_HEAD: Final = 4096  # bytes the type is read from
_MAX_URL: Final = 4096


class DownloadRefused(Exception):
    pass


class DownloadFailed(DownloadRefused):
    pass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one download. `seconds` is for the whole of it; `mimes` are sniffed types or `image/*`, empty = any."""

    max_bytes: int = 64 << 20
    seconds: float = 60
    redirects: int = 3
    mimes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came. Either `path` (the caller's file) or `data` is set; `mime` is sniffed, `sha256` in hex."""

    url: str
    mime: str
    sha256: str
    size: int
    path: Path | None = None
    data: bytes | None = None

    def read(self) -> bytes:
        if self.data is not None:
            return self.data
        return self.path.read_bytes() if self.path is not None else b""


async def download(
    url: str,
    limits: Limits = Limits(),
    *,
    allow_hosts: Iterable[str] = (),
    into: Path | None = None,
    sha256: str | None = None,
) -> Fetched:
    """GET one http(s) URL.

    `allow_hosts` are `host:port` or base URLs that may lie on a private address (the node's own file server); a
    redirect from elsewhere does not profit from it. `into` is a folder: the file is then named by its hash there,
    otherwise the bytes come back. `sha256`, if given, must be the hash of what came. Raises DownloadRefused.
    """
    allowed = frozenset(origin for text in allow_hosts if (origin := _origin_of(text)))
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(10.0, limits.seconds))
    connector = aiohttp.TCPConnector(resolver=_Resolver(allowed), use_dns_cache=False, force_close=True)
    try:
        async with (
            asyncio.timeout(limits.seconds),
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, trust_env=False, auto_decompress=False, cookie_jar=None
            ) as session,
        ):
            return await _follow(session, url, limits, allowed, into, sha256)
    except TimeoutError:
        raise DownloadFailed(f"the download took longer than {limits.seconds:g} s") from None
    except PrivateAddress as error:
        raise DownloadRefused(str(error)) from None
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, PrivateAddress):
            raise DownloadRefused(str(error.os_error)) from None
        raise DownloadFailed(f"no connection to {error.host}") from None
    except aiohttp.InvalidURL:
        raise DownloadRefused("not a web address of a public host") from None
    except (aiohttp.ClientError, OSError) as error:
        raise DownloadFailed(f"the download broke off ({type(error).__name__})") from None


def checked_url(url: str) -> URL:
    """The URL, parsed once for checking and for connecting. Raises DownloadRefused for all but plain http(s)."""
    if len(url) > _MAX_URL or any(ord(c) <= 0x20 or ord(c) == 0x7F for c in url.strip()):
        raise DownloadRefused("the address is too long or holds blanks")
    try:
        parsed = URL(url.strip())
        host, port = parsed.host, parsed.port
    except ValueError:
        raise DownloadRefused("not a web address") from None
    if parsed.scheme not in ("http", "https"):
        raise DownloadRefused("only http and https addresses are fetched")
    if not host or port is None or port == 0:
        raise DownloadRefused("the address names no host")
    if parsed.user is not None or parsed.password is not None:
        raise DownloadRefused("an address with a user name in it is not fetched")
    return parsed


async def _follow(
    session: aiohttp.ClientSession,
    url: str,
    limits: Limits,
    allowed: frozenset[tuple[str, int]],
    into: Path | None,
    sha256: str | None,
) -> Fetched:
    target = checked_url(url)
    first = _origin(target)
    for _ in range(limits.redirects + 1):
        origin = _origin(target)
        if origin in allowed and origin != first:
            raise DownloadRefused("a redirect leads into this node's own network")
        if origin not in allowed and (literal := _literal(target)) is not None and not public_address(literal):
            raise DownloadRefused("the address is not on the public internet")
        async with session.get(
            target, allow_redirects=False, headers={"Accept": "*/*", "Accept-Encoding": "identity"}
        ) as answer:
            if answer.status in (301, 302, 303, 307, 308) and (where := answer.headers.get("Location")):
                try:
                    target = checked_url(str(target.join(URL(where))))
                except ValueError:
                    raise DownloadRefused("a redirect leads to something that is not a web address") from None
                continue
            if answer.status != 200:
                raise DownloadFailed(f"the server answered {answer.status}")
            return await _receive(answer, str(target), limits, into, sha256)
    raise DownloadRefused(f"more than {limits.redirects} redirects")


async def _receive(
    answer: aiohttp.ClientResponse, url: str, limits: Limits, into: Path | None, sha256: str | None
) -> Fetched:
    if (answer.content_length or 0) > limits.max_bytes:
        raise DownloadRefused(f"the file has {answer.content_length} bytes, {limits.max_bytes} are allowed")
    unpack = _unpacker(answer.headers.get("Content-Encoding", ""), limits.max_bytes)
    sink = _Sink(into, limits)
    try:
        async for chunk in answer.content.iter_chunked(_CHUNK):
            sink.write(unpack(chunk))
        return sink.finish(url, sha256)
    finally:
        sink.discard()


class _Sink:
    """Counts, hashes, sniffs and stores; writes to a temporary file where a folder was given."""

    def __init__(self, into: Path | None, limits: Limits) -> None:
        self._limits, self._into = limits, into
        self._hash = hashlib.sha256()
        self._head = b""
        self._size = 0
        self._checked = False
        self._parts: list[bytes] = []
        self._file: IO[bytes] | None = None
        if into is not None:
            into.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.NamedTemporaryFile(dir=into, prefix=".part-", delete=False)  # noqa: SIM115

    def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limits.max_bytes:
            raise DownloadRefused(f"the file is larger than {self._limits.max_bytes} bytes")
        self._hash.update(data)
        if len(self._head) < _HEAD:
            self._head += data[: _HEAD - len(self._head)]
            if len(self._head) == _HEAD:
                self._check_type()
        if self._file is not None:
            self._file.write(data)
        else:
            self._parts.append(data)

    def finish(self, url: str, sha256: str | None) -> Fetched:
        self._check_type()
        digest = self._hash.hexdigest()
        if sha256 and digest != sha256.lower():
            raise DownloadRefused("the file is not the one that was promised: its hash differs")
        mime = sniff(self._head)
        if self._file is None:
            return Fetched(url, mime, digest, self._size, data=b"".join(self._parts))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        made = Path(self._file.name)
        path = made.with_name(digest + extension(mime))
        made.replace(path)
        self._file = None
        return Fetched(url, mime, digest, self._size, path=path)

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)

    def _check_type(self) -> None:
        if self._checked or not self._limits.mimes:
            return
        self._checked = True
        mime = sniff(self._head)
        if not any(mime_matches(mime, wanted) for wanted in self._limits.mimes):
            raise DownloadRefused(f"the file is {mime}, wanted was {' or '.join(self._limits.mimes)}")


def mime_matches(mime: str, wanted: str) -> bool:
    """`image/png` against `image/png`, `image/*` or `*/*`. Sound and pictures share containers, which the first bytes
    can't tell apart: audio/mp4 and video/mp4 match each other, so do the webm and ogg pairs."""
    mime, wanted = mime.partition(";")[0].strip().lower(), wanted.partition(";")[0].strip().lower()
    kind, _, name = mime.partition("/")
    wanted_kind, _, wanted_name = wanted.partition("/")
    if {kind, wanted_kind} == {"audio", "video"}:
        return name in ("mp4", "webm", "ogg", "x-matroska") and wanted_name in (name, "*")
    return wanted_kind in ("*", kind) and (wanted_name in ("*", name) or {name, wanted_name} == {"mp4", "x-m4a"})


def _unpacker(encoding: str, max_bytes: int) -> Callable[[bytes], bytes]:
    """Undo gzip or deflate, which some servers send unasked, without ever unpacking more than `max_bytes`."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return lambda data: data
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise DownloadRefused(f"the answer is packed as {encoding[:20]!r}")
    engine = zlib.decompressobj(wbits=47 if encoding != "deflate" else 15)
    left = [max_bytes + 1]

    def unpack(data: bytes) -> bytes:
        try:
            made = engine.decompress(data, left[0])
        except zlib.error:
            raise DownloadFailed("the answer is packed wrongly") from None
        left[0] = max(left[0] - len(made), 1)
        return made

    return unpack


class _Resolver(AbstractResolver):
    """Resolves a name and lets it through only if all its addresses are public: aiohttp connects to just these."""

    def __init__(self, allowed: frozenset[tuple[str, int]]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
        made: list[ResolveResult] = []
        for kind, _, proto, _, where in found:
            address = str(where[0])
            if (host.lower(), port) not in self._allowed and not public_address(address):
                raise PrivateAddress(f"{host} is not on the public internet")
            made.append(
                ResolveResult(
                    hostname=host, host=address, port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
                )
            )
        return made

    async def close(self) -> None:
        return None


def _origin(url: URL) -> tuple[str, int]:
    return (url.host or "").lower(), url.port or 0


def _origin_of(text: str) -> tuple[str, int] | None:
    """(host, port) of a base URL or of `host:port`."""
    text = text.strip()
    if "://" not in text:
        text = f"http://{text}"
    head, _, tail = text.partition("://")
    head = {"ws": "http", "wss": "https"}.get(head.lower(), head)
    try:
        return _origin(URL(f"{head}://{tail}"))
    except ValueError:
        return None


def _literal(url: URL) -> str | None:
    """The host where it is an IP address: aiohttp does not ask the resolver for those."""
    try:
        return str(ipaddress.ip_address((url.host or "").partition("%")[0]))
    except ValueError:
        return None
