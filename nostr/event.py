"""Events and their ids (NIP-01).

The canonical form is what `JSON.stringify` writes: the short escapes of NIP-01, `\\u00xx` for the other
control characters, everything else verbatim. orjson writes exactly that, and refuses lone surrogates.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from nostr.key import verify_schnorr

_LOWER_HEX = frozenset("0123456789abcdef")
MAX_KIND = 65535
MAX_TIMESTAMP = 2**53 - 1  # beyond it a JSON number is not exact everywhere


class InvalidEvent(ValueError):
    """The value is not an event; the message names the field at fault."""


@dataclass(frozen=True, slots=True)
class Event:
    """A signed event as it stands on the wire. Construction does not check it; `from_dict` and `verify` do."""

    id: str
    pubkey: str
    created_at: int
    kind: int
    tags: tuple[tuple[str, ...], ...]
    content: str
    sig: str

    @classmethod
    def from_dict(cls, value: object) -> "Event":
        """Check types, hex and ranges (not id and signature). Raises InvalidEvent."""
        if not isinstance(value, Mapping):
            raise InvalidEvent("event is not an object")
        created_at, kind, content = value.get("created_at"), value.get("kind"), value.get("content")
        if type(created_at) is not int or not 0 <= created_at <= MAX_TIMESTAMP:
            raise InvalidEvent("created_at is not a timestamp in seconds")
        if type(kind) is not int or not 0 <= kind <= MAX_KIND:
            raise InvalidEvent("kind is not an integer from 0 to 65535")
        if not isinstance(content, str):
            raise InvalidEvent("content is not a string")
        return cls(
            id=_hex(value, "id", 64),
            pubkey=_hex(value, "pubkey", 64),
            created_at=created_at,
            kind=kind,
            tags=_tags(value.get("tags")),
            content=content,
            sig=_hex(value, "sig", 128),
        )

    @classmethod
    def from_json(cls, raw: bytes | str) -> "Event":
        """Parse one event. Raises InvalidEvent."""
        try:
            value = orjson.loads(raw)
        except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
            raise InvalidEvent(f"event is not JSON: {error}") from None
        return cls.from_dict(value)

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "pubkey": self.pubkey,
            "created_at": self.created_at,
            "kind": self.kind,
            "tags": [list(tag) for tag in self.tags],
            "content": self.content,
            "sig": self.sig,
        }

    def to_json(self) -> bytes:
        """The bytes that go on the wire: seven fields, NIP-01 order, no whitespace."""
        return orjson.dumps(self.to_dict())

    def verify(self) -> bool:
        """True if the id is the hash of the content and the signature is the author's."""
        try:
            expected = event_id(self.pubkey, self.created_at, self.kind, self.tags, self.content)
        except InvalidEvent:
            return False
        return self.id == expected and verify_schnorr(self.pubkey, bytes.fromhex(self.id), bytes.fromhex(self.sig))

    def first(self, name: str) -> str | None:
        """The value of the first tag of this name, if it has one."""
        for tag in self.tags:
            if len(tag) > 1 and tag[0] == name:
                return tag[1]
        return None

    def values(self, name: str) -> list[str]:
        return [tag[1] for tag in self.tags if len(tag) > 1 and tag[0] == name]

    def tagged(self, name: str) -> list[tuple[str, ...]]:
        """All tags of this name, whole."""
        return [tag for tag in self.tags if tag and tag[0] == name]

    @property
    def expiration(self) -> int | None:
        """NIP-40, in seconds; None where the tag is absent or not a number."""
        value = self.first("expiration")
        return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 17 else None

    @property
    def address(self) -> str:
        """`kind:pubkey:d` of a replaceable or addressable event."""
        d = (self.first("d") or "") if is_addressable(self.kind) else ""
        return f"{self.kind}:{self.pubkey}:{d}"


def event_id(pubkey: str, created_at: int, kind: int, tags: Iterable[Sequence[str]], content: str) -> str:
    """sha256 of the canonical serialisation, in hex. Raises InvalidEvent where the text is not valid Unicode."""
    try:
        canonical = orjson.dumps([0, pubkey, created_at, kind, [list(tag) for tag in tags], content])
    except orjson.JSONEncodeError as error:
        raise InvalidEvent(f"event cannot be serialised: {error}") from None
    return hashlib.sha256(canonical).hexdigest()


def is_replaceable(kind: int) -> bool:
    return kind in (0, 3) or 10000 <= kind < 20000


def is_ephemeral(kind: int) -> bool:
    return 20000 <= kind < 30000


def is_addressable(kind: int) -> bool:
    return 30000 <= kind < 40000


def is_hex(value: object, length: int) -> bool:
    """True for a string of `length` lower-case hex digits."""
    return isinstance(value, str) and len(value) == length and _LOWER_HEX.issuperset(value)


def _hex(value: Mapping[Any, Any], field: str, length: int) -> str:
    text = value.get(field)
    if not is_hex(text, length):
        raise InvalidEvent(f"{field} is not {length} lower-case hex digits")
    return str(text)


def _tags(value: object) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list | tuple):
        raise InvalidEvent("tags is not an array")
    for tag in value:
        if not isinstance(tag, list | tuple) or not all(isinstance(item, str) for item in tag):
            raise InvalidEvent("tags is not an array of arrays of strings")
    return tuple(tuple(tag) for tag in value)
