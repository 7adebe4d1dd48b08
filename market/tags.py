"""Tolerant readers for the tags of job events: what the wild writes into them, not only what NIP-90 asks for.

Each reader takes attacker text and gives a clean value or nothing; none of them raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final
from urllib.parse import urlsplit

from nostr import nip19

Tag = Sequence[str]

MAX_MSAT: Final = 21_000_000 * 100_000_000 * 1000
MAX_RELAYS: Final = 20

_HEX64 = re.compile(r"^[0-9a-f]{64}$")
_BOLT11 = re.compile(r"(?:lightning:)?(ln(?:bcrt|tbs|bc|tb|sb)[0-9]*[munp]?1[02-9ac-hj-np-z]{50,})", re.IGNORECASE)


def parse_hex64(text: str) -> str | None:
    """64 hex digits in lower case, or None."""
    value = text.strip().lower()
    return value if _HEX64.match(value) else None


def parse_id(text: str) -> tuple[str, str] | None:
    """(event id, relay hint) from hex, `note1...`, `nevent1...` or a `nostr:` URI of those; None if it is neither."""
    value = text.strip()
    if (plain := parse_hex64(value)) is not None:
        return plain, ""
    value = value.removeprefix("nostr:")
    if not value.startswith(("note1", "nevent1")):
        return None
    try:
        _, decoded = nip19.decode(value)
    except ValueError:
        return None
    if isinstance(decoded, str):
        return decoded, ""
    if not isinstance(decoded, nip19.EventPointer):
        return None
    hints = [url for relay in decoded.relays if (url := parse_relay(relay))]
    return decoded.id, hints[0] if hints else ""


def parse_msat(text: str) -> int | None:
    """A non-negative amount in msat; underscores, commas, spaces, `msat` and a fraction (dropped) are forgiven."""
    value = text.strip().lower().removesuffix("msats").removesuffix("msat").strip()
    value = value.replace("_", "").replace(",", "").replace(" ", "")
    if not value or len(value) > 32:
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    if not number.is_finite() or number < 0 or number > MAX_MSAT:
        return None
    return int(number)


def parse_relay(text: str) -> str | None:
    """A ws:// or wss:// URL in normal form (lower-case host, no trailing slash, no fragment), or None."""
    value = text.strip()
    if not value.lower().startswith(("ws://", "wss://")) or len(value) > 300:
        return None
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.username or parts.password or any(c.isspace() for c in value):
        return None
    where = f"[{host}]" if ":" in host else host
    if port is not None and port != {"ws": 80, "wss": 443}[parts.scheme]:
        where = f"{where}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}{query}"


def parse_relays(tags: Iterable[Tag]) -> tuple[str, ...]:
    """Relay URLs of all `relays` and `relay` tags and of tags whose very name is a relay URL: at most 20, each once."""
    found: dict[str, None] = {}
    for tag in tags:
        if not tag:
            continue
        if tag[0] in ("relays", "relay"):
            words = [word for item in tag[1:] for word in re.split(r"[\s,]+", item)]
        elif tag[0].lower().startswith(("ws://", "wss://")):
            words = list(tag)
        else:
            continue
        for word in words:
            if (url := parse_relay(word)) is not None:
                found.setdefault(url)
    return tuple(found)[:MAX_RELAYS]


def parse_bolt11(text: str) -> str | None:
    """The first thing in `text` that has the shape of a BOLT11 invoice (not decoded here), in lower case."""
    match = _BOLT11.search(text)
    return match.group(1).lower() if match else None


def is_http_url(text: str) -> bool:
    """True for one bare http(s) URL with a host and nothing else."""
    value = text.strip()
    if not value.lower().startswith(("http://", "https://")) or any(c.isspace() for c in value):
        return False
    try:
        return bool(urlsplit(value).hostname)
    except ValueError:
        return False
