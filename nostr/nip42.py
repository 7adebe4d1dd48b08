"""Authentication of a client to a relay (NIP-42)."""

from urllib.parse import urlsplit

from nostr.event import Event
from nostr.key import SecretKey

KIND = 22242
WINDOW = 600  # seconds that the event's time may be off


def auth_event(key: SecretKey, relay: str, challenge: str, created_at: int) -> Event:
    """The answer to a relay's challenge. `relay` is the URL that the client dialled."""
    return key.sign(kind=KIND, tags=[["relay", relay], ["challenge", challenge]], created_at=created_at)


def check(event: Event, *, challenge: str, hosts: frozenset[str] | set[str], now: int) -> str | None:
    """Why this event does not authenticate its author, or None. `hosts` are the names we answer to (`host[:port]`).

    The signature is checked here too, last.
    """
    if event.kind != KIND:
        return f"an AUTH event has kind {KIND}"
    if abs(event.created_at - now) > WINDOW:
        return "created_at is more than ten minutes off"
    if event.first("challenge") != challenge:
        return "the challenge is not the one this relay sent"
    if host_of(event.first("relay") or "") not in hosts:
        return "the relay tag does not name this relay"
    if not event.verify():
        return "the id or the signature is wrong"
    return None


def host_of(url: str) -> str:
    """`host` or `host:port` of a relay URL in lower case, the scheme's own port left out; empty if it has none."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if not host:
        return ""
    default = {"ws": 80, "wss": 443, "http": 80, "https": 443}.get(parts.scheme)
    return host if port is None or port == default else f"{host}:{port}"
