"""Templates, static files and the headers every page carries.

All text from the network is hostile: Jinja2 escapes it, the content security policy forbids every script that is not
ours by nonce, media of others is shown in elements that cannot run code, and links of others are marked.
"""

import gzip
import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from nostr import nip19
from wallet.msat import show
from web.art import pattern

HERE = Path(__file__).parent
STATIC = HERE / "static"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".json": "application/json",
         ".txt": "text/plain", ".woff2": "font/woff2", ".webp": "image/webp"}  # fmt: skip
MEMO = re.compile(r"\s*nip90:([0-9a-f]{64})")
PACKED = {".woff2", ".webp"}  # compressed as they are


@dataclass(frozen=True, slots=True)
class Asset:
    raw: bytes
    packed: bytes  # gzip; empty where that makes nothing smaller
    mime: str


class Static:
    """The files under `static/`, hashed, compressed once, immutable for the browser.

    `css/style.css` is made of the sheets beside it, in the order of their names: one request, several files to read.
    """

    def __init__(self, root: Path = STATIC) -> None:
        found = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.suffix in TYPES
        }
        found["css/style.css"] = b"\n".join(raw for name, raw in found.items() if name.startswith("css/"))
        self._files = {name: _asset(name, raw) for name, raw in found.items()}
        # One hash for all: an island imports its neighbours by relative URL, and must get the same generation.
        self.version = hashlib.sha256(b"".join(name.encode() + raw for name, raw in found.items())).hexdigest()[:12]

    def url(self, name: str) -> str:
        if name not in self._files:
            raise KeyError(name)
        return f"/static/{self.version}/{name}"

    async def serve(self, request: web.Request) -> web.Response:
        asset = self._files.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        fresh = request.match_info["version"] == self.version
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable" if fresh else "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Accept-Encoding",
            "Content-Type": f"{asset.mime}; charset=utf-8" if asset.packed else asset.mime,
        }
        if asset.packed and "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=asset.packed, headers=headers | {"Content-Encoding": "gzip"})
        return web.Response(body=asset.raw, headers=headers)


def _asset(name: str, raw: bytes) -> Asset:
    ending = Path(name).suffix
    return Asset(raw, b"" if ending in PACKED else gzip.compress(raw, 9, mtime=0), TYPES[ending])


class Renderer:
    """`page(request, template, **values)` makes a response; `.json` in the path gives the values as JSON instead."""

    def __init__(self, static: Static) -> None:
        self.jinja = Environment(
            loader=PackageLoader("web"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.jinja.globals.update(static=static.url, pattern=pattern)
        self.jinja.filters.update(
            sat=amount,
            money=balance,
            ago=ago,
            npub=nip19.npub,
            short=short,
            safe_url=safe_url,
            host=host,
            middle=middle,
            spell=spell,
            clock=clock,
            job_of=job_of,
            without_job=without_job,
            coded=coded,
        )

    def page(
        self, request: web.Request, template: str, values: Mapping[str, Any], *, status: int = 200
    ) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        text = self.jinja.get_template(template).render(nonce=nonce, here=request.path, **values)
        body = text.encode()
        headers = {
            "Content-Security-Policy": policy(nonce),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-cache",
            "Vary": "Accept-Encoding, Cookie",
        }
        if len(body) > 2000 and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 5)
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers, status=status)


def policy(nonce: str) -> str:
    """No script but ours, no frame, no third party but pictures and sound that a seller hosts elsewhere."""
    return "; ".join((
        "default-src 'self'",
        f"script-src 'nonce-{nonce}' 'strict-dynamic'",
        "style-src 'self'",
        "img-src 'self' data: blob: https:",  # blob: is what this tab has opened of sealed files
        "media-src 'self' blob: https:",
        "connect-src 'self' ws: wss: https:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ))  # fmt: skip


def json_response(value: Any, *, status: int = 200) -> web.Response:
    body = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    return web.Response(
        body=body, content_type="application/json", status=status, headers={"Cache-Control": "no-cache"}
    )


def amount(msat: int | None, unit: str = "sat") -> Markup:
    """`21 sat`, the exact msat as a tooltip; `free` for zero."""
    if msat is None:
        return Markup('<span class="soft">on request</span>')
    if msat == 0:
        return Markup('<span class="price">free</span>')
    return Markup('<span class="price" title="{} msat">{}</span>').format(f"{msat:,}", show(msat, unit))


def balance(msat: int | None, unit: str = "sat") -> Markup:
    """An amount that stands in books: zero is `0 sat` there, not free."""
    return amount(msat, unit) if msat else Markup('<span class="soft">0 {}</span>').format(unit)


def ago(at: int | None) -> Markup:
    """A time as people say it, with the exact one beside."""
    if not at:
        return Markup('<span class="soft">never</span>')
    exact = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, exact, spoken(int(time.time()) - at))


def spoken(seconds: int) -> str:
    if seconds < 0:
        return "in the future"
    for size, name in ((86400 * 365, "y"), (86400 * 30, "mo"), (86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {name} ago"
    return "just now"


def short(text: str, length: int = 12) -> str:
    return text if len(text) <= length + 1 else text[:length] + "…"


def job_of(text: str | None) -> str:
    """The job that the memo of an invoice names (`nip90:<id>`)."""
    found = MEMO.search(text or "")
    return found.group(1) if found else ""


def without_job(text: str) -> str:
    return MEMO.sub("", text).strip() or text


def coded(text: str) -> Markup:
    """A message of ours with its `commands` set as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def safe_url(url: str) -> str:
    """The URL where it is plain http(s) or a path of ours, else `#`."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that opens no IPv6 address
        return "#"
    return url if parts.scheme in ("http", "https") or (url.startswith("/") and not url.startswith("//")) else "#"


def host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0] or url


def middle(text: str) -> str:
    """A long key by its ends."""
    return text if len(text) < 24 else f"{text[:10]}…{text[-6:]}"


def spell(seconds: float) -> str:
    """A stretch of time as people say it: `40 s`, `2 min`, `3 h`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{round(whole / 60)} min" if whole < 6000 else f"{round(whole / 3600)} h"


def clock(seconds: float) -> str:
    """The length of a film or song: `0:32`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
