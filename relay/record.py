"""An event on its way through the relay: checked by hand, hashed once, serialised once.

The check is the same as `nostr.event.Event.from_dict`, written for speed: one pass, no copies, exceptions only for
the bad ones. The bytes made here are stored and sent to everybody verbatim.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson
from coincurve import PublicKeyXOnly

from nostr.event import MAX_KIND, MAX_TIMESTAMP
from relay.errors import Refused

_dumps = orjson.dumps
_sha256 = hashlib.sha256
KEYS_REMEMBERED = 20_000


class Record:
    """One event. `raw` is its canonical JSON and begins with `{"id":"<64 hex>"`, which plans and sorts rely on.

    `expires` is NIP-40's second, `protected` NIP-70's dash, `d` the first d tag ("" where there is none).
    `number`, `accepted` and `message` are filled in by the store; `source` takes the OK.
    """

    __slots__ = (
        "accepted",
        "author",
        "content",
        "created_at",
        "d",
        "digest",
        "expires",
        "id",
        "kind",
        "message",
        "number",
        "pairs_made",
        "protected",
        "pubkey",
        "raw",
        "sig",
        "signature",
        "source",
        "tags",
    )

    id: str
    pubkey: str
    created_at: int
    kind: int
    tags: list[list[str]]
    content: str
    sig: str
    author: bytes
    signature: bytes
    raw: bytes
    digest: bytes
    d: str
    expires: int | None
    protected: bool
    number: int
    accepted: bool
    message: str
    source: Any
    pairs_made: frozenset[tuple[str, str]] | None

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """(name, value) of every tag, made on first use."""
        if self.pairs_made is None:
            self.pairs_made = frozenset((tag[0], tag[1]) for tag in self.tags if len(tag) > 1)
        return self.pairs_made

    def first(self, name: str) -> str | None:
        """The value of the first tag of this name, if it has one."""
        for tag in self.tags:
            if len(tag) > 1 and tag[0] == name:
                return tag[1]
        return None

    def values(self, name: str) -> list[str]:
        return [tag[1] for tag in self.tags if len(tag) > 1 and tag[0] == name]


def parse(value: Any) -> Record:
    """Check types, hex and ranges of one decoded event and hash it. Raises Refused("invalid", ...).

    Fields beyond the seven are dropped: nobody signed them.
    """
    if type(value) is not dict:
        raise Refused("invalid", "event is not an object")
    record = Record()
    ident, pubkey, sig = value.get("id"), value.get("pubkey"), value.get("sig")
    created_at, kind, tags, content = (
        value.get("created_at"),
        value.get("kind"),
        value.get("tags"),
        value.get("content"),
    )
    if type(ident) is not str or len(ident) != 64:
        raise Refused("invalid", "id is not 64 lower-case hex digits")
    author, signature = unhex(pubkey, 64), unhex(sig, 128)
    if author is None or type(pubkey) is not str:
        raise Refused("invalid", "pubkey is not 64 lower-case hex digits")
    if signature is None or type(sig) is not str:
        raise Refused("invalid", "sig is not 128 lower-case hex digits")
    if type(created_at) is not int or not 0 <= created_at <= MAX_TIMESTAMP:
        raise Refused("invalid", "created_at is not a timestamp in seconds")
    if type(kind) is not int or not 0 <= kind <= MAX_KIND:
        raise Refused("invalid", "kind is not an integer from 0 to 65535")
    if type(content) is not str:
        raise Refused("invalid", "content is not a string")
    if type(tags) is not list:
        raise Refused("invalid", "tags is not an array")
    record.expires = None
    record.protected = False
    record.d = ""
    d_seen = False
    for tag in tags:
        if type(tag) is not list:
            raise Refused("invalid", "a tag is not an array")
        for item in tag:
            if type(item) is not str:
                raise Refused("invalid", "a tag holds something other than strings")
        if tag:
            name = tag[0]
            if name == "d":
                if not d_seen:
                    d_seen = True
                    record.d = tag[1] if len(tag) > 1 else ""
            elif name == "-":
                record.protected = True
            elif name == "expiration" and record.expires is None and len(tag) > 1:
                text = tag[1]
                if text.isascii() and text.isdigit() and len(text) < 17:
                    record.expires = int(text)
    record.id = ident
    record.pubkey = pubkey
    record.created_at = created_at
    record.kind = kind
    record.tags = tags
    record.content = content
    record.sig = sig
    record.author = author
    record.signature = signature
    record.number = 0
    record.accepted = False
    record.message = ""
    record.pairs_made = None
    try:
        record.digest = _sha256(_dumps([0, pubkey, created_at, kind, tags, content])).digest()
    except orjson.JSONEncodeError:
        raise Refused("invalid", "event holds text that is not Unicode") from None
    if record.digest.hex() != ident:
        is_hex = unhex(ident, 64) is not None
        raise Refused("invalid", f"id is not {'the hash of this event' if is_hex else '64 lower-case hex digits'}")
    record.raw = _dumps(
        {
            "id": ident,
            "pubkey": pubkey,
            "created_at": created_at,
            "kind": kind,
            "tags": tags,
            "content": content,
            "sig": sig,
        }
    )
    return record


def unhex(text: Any, digits: int) -> bytes | None:
    """The bytes of so many lower-case hex digits; None for anything else."""
    if type(text) is not str or len(text) != digits:
        return None
    try:
        made = bytes.fromhex(text)
    except ValueError:
        return None
    return made if made.hex() == text else None


@lru_cache(maxsize=KEYS_REMEMBERED)
def _verifier(author: bytes) -> Callable[[bytes, bytes], bool] | None:
    """The parsed key's `verify`; None where 32 bytes are no point of the curve."""
    try:
        verify: Callable[[bytes, bytes], bool] = PublicKeyXOnly(author).verify
    except ValueError:
        return None
    return verify


def signed(record: Record) -> bool:
    """True if the signature is the author's (BIP-340 over the id that `parse` has already proved)."""
    verify = _verifier(record.author)
    return verify is not None and bool(verify(record.signature, record.digest))
