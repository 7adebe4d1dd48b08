"""Proof of work (NIP-13): leading zero bits of the id."""

import hashlib
from collections.abc import Callable, Iterable, Sequence

import orjson

from nostr.event import Event
from nostr.key import SecretKey

_LOOK = 4096  # hashes between two looks at `stop`


class Stopped(Exception):
    """The search was called off."""


def difficulty(event_id: str) -> int:
    """Leading zero bits of an id in hex."""
    return 256 - int(event_id, 16).bit_length()


def committed(event: Event) -> int:
    """The difficulty that counts: the id's, but no more than the target its nonce tag commits to (0 without one)."""
    tag = next((tag for tag in event.tags if len(tag) > 2 and tag[0] == "nonce"), None)
    if tag is None or not (tag[2].isascii() and tag[2].isdigit() and len(tag[2]) < 4):
        return 0
    return min(difficulty(event.id), int(tag[2]))


def mine(
    key: SecretKey,
    bits: int,
    *,
    kind: int,
    content: str = "",
    tags: Iterable[Sequence[str]] = (),
    created_at: int,
    stop: Callable[[], bool] = lambda: False,
) -> Event:
    """An event whose id begins with `bits` zero bits. Blocks for about 2**bits hashes: run it in a thread or process.

    Raises Stopped once `stop()` says True.
    """
    kept = [list(tag) for tag in tags if tag and tag[0] != "nonce"]
    text = orjson.dumps([0, key.public, created_at, kind, [*kept, ["nonce", "?", str(bits)]], content])
    head, mark, tail = text.partition(b'["nonce","?"')  # inside a string its quotes would be escaped
    begun = hashlib.sha256(head + mark[:-2])
    limit = 1 << (256 - bits)
    nonce = 0
    while True:
        for attempted in range(nonce, nonce + _LOOK):
            attempt = begun.copy()
            attempt.update(b'%d"' % attempted + tail)
            if int.from_bytes(attempt.digest()) < limit:
                return key.sign(
                    kind=kind,
                    content=content,
                    tags=[*kept, ["nonce", str(attempted), str(bits)]],
                    created_at=created_at,
                )
        nonce += _LOOK
        if stop():
            raise Stopped
