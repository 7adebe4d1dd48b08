"""The operator's session: a one-time link printed by `timmy up`, or a NIP-98 proof by the owner's key.

The cookie holds an expiry and its HMAC under a secret of this node (file 0600). Visitors need no session: their browser
signs their events.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from nostr import nip98
from nostr.clock import Clock, system_clock
from web.errors import BadRequest, Forbidden

COOKIE = "timmy_operator"
LIFE = 30 * 86400  # seconds
LINK_LIFE = 3600
MOST_BODY = 200_000  # bytes of what a visitor posts


class Sessions:
    """Makes and checks the operator's cookie. `data` is the node's data folder."""

    def __init__(self, data: Path, clock: Clock = system_clock) -> None:
        self._data = data
        self._clock = clock
        self._secret = _private(data / "web" / "session.secret", lambda: secrets.token_hex(32)).encode()

    def open(self, response: web.StreamResponse, *, secure: bool) -> None:
        """Sign the operator in on this response."""
        until = str(self._clock() + LIFE)
        response.set_cookie(
            COOKIE,
            f"{until}.{self._sign(until)}",
            max_age=LIFE,
            httponly=True,
            samesite="Strict",
            secure=secure,
            path="/",
        )

    def close(self, response: web.StreamResponse) -> None:
        response.del_cookie(COOKIE, path="/")

    def is_operator(self, request: web.Request) -> bool:
        until, _, mac = request.cookies.get(COOKIE, "").partition(".")
        good = hmac.compare_digest(mac.encode(), self._sign(until).encode())
        return good and int(until) > self._clock()

    def redeem(self, token: str) -> bool:
        """True once for the token of the link; the token is gone afterwards."""
        path = login_file(self._data)
        try:
            at, _, known = path.read_text().strip().partition(" ")
        except FileNotFoundError:
            return False
        if not hmac.compare_digest(token.encode(), known.encode()) or int(at) + LINK_LIFE < self._clock():
            return False
        path.unlink()
        return True

    def _sign(self, until: str) -> str:
        return hmac.new(self._secret, until.encode(), hashlib.sha256).hexdigest()


def login_file(data: Path) -> Path:
    return data / "web" / "login"


def new_link(data: Path, base_url: str, clock: Clock = system_clock) -> str:
    """A one-time address that signs the operator in; good for an hour."""
    token = secrets.token_urlsafe(24)
    path = login_file(data)
    path.unlink(missing_ok=True)
    _private(path, lambda: f"{clock()} {token}")
    return f"{base_url}/login?token={token}"


def same_site(request: web.Request) -> bool:
    """False for a request that another site made the browser send (CSRF)."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host


async def proven(request: web.Request, path: str, now: int) -> tuple[str, bytes]:
    """The key that signed this POST to `path` (NIP-98), and its body. Raises Forbidden or BadRequest."""
    if not same_site(request):
        raise Forbidden("This must come from the page itself.")
    body = await request.content.read(MOST_BODY + 1)
    if len(body) > MOST_BODY:
        raise BadRequest("That is too long.")
    proof, url = request.headers.get("Authorization"), own_url(request, path)
    try:
        return nip98.verify(proof, url=url, method="POST", body=body, now=now, payload_required=True), body
    except nip98.Unauthorized as error:
        raise Forbidden(f"Not signed by a key, as NIP-98 wants it: {error}") from None


def own_url(request: web.Request, path: str) -> str:
    """The URL of this page that a NIP-98 proof must name: as the browser says it, if that is us.

    A proof made for another site (which could pass it on here) names that site's host.
    """
    origin = request.headers.get("Origin", "")
    scheme, _, host = origin.partition("://")
    return f"{origin if scheme in ('http', 'https') and host == request.host else f'http://{request.host}'}{path}"


def _private(path: Path, make: Callable[[], str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    text = make()
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return text
