"""HTTP requests signed by a Nostr key (NIP-98)."""

import base64
import binascii
import hashlib

from nostr.event import Event, InvalidEvent
from nostr.key import SecretKey

KIND = 27235
WINDOW = 60  # seconds that the event's time may be off


class Unauthorized(ValueError):
    """The Authorization header does not prove this request; the message says why (HTTP 401)."""


def header(key: SecretKey, url: str, method: str, *, now: int, body: bytes | None = None) -> str:
    """The value of `Authorization` for one request to this absolute URL."""
    tags = [["u", url], ["method", method.upper()]]
    if body:
        tags.append(["payload", hashlib.sha256(body).hexdigest()])
    event = key.sign(kind=KIND, tags=tags, created_at=now)
    return "Nostr " + base64.b64encode(event.to_json()).decode()


def verify(
    value: str | None, url: str, method: str, *, now: int, body: bytes | None = None, payload_required: bool = False
) -> str:
    """The public key that signed this request. Raises Unauthorized.

    `payload_required`: a request with a body must commit to it (NIP-86 demands that).
    """
    event = token(value)
    if event.kind != KIND:
        raise Unauthorized(f"the event has kind {event.kind}, not {KIND}")
    if abs(event.created_at - now) > WINDOW:
        raise Unauthorized("created_at is more than a minute off")
    if event.first("u") != url:
        raise Unauthorized(f"the u tag does not name {url}")
    if (event.first("method") or "").upper() != method.upper():
        raise Unauthorized("the method tag names another method")
    payload = event.first("payload")
    if payload is None and body and payload_required:
        raise Unauthorized("the payload tag is missing")
    if payload is not None and body is not None and payload.lower() != hashlib.sha256(body).hexdigest():
        raise Unauthorized("the payload tag does not match the body")
    if not event.verify():
        raise Unauthorized("the id or the signature is wrong")
    return event.pubkey


def token(value: str | None) -> Event:
    """The event in an `Authorization: Nostr <base64>` header, not yet verified. Raises Unauthorized.

    Takes both alphabets of base64, padded or not: clients of NIP-98 and of Blossom differ.
    """
    scheme, _, text = (value or "").strip().partition(" ")
    if scheme.lower() != "nostr" or not text:
        raise Unauthorized("an Authorization header with the scheme Nostr is needed")
    text = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return Event.from_json(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (binascii.Error, InvalidEvent, UnicodeDecodeError, ValueError) as error:
        raise Unauthorized(f"the token is not an event in base64: {error}") from None
