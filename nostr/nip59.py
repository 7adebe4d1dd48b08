"""Gift wraps (NIP-59): a rumor, sealed by its author, wrapped by a key that is used once."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from nostr import nip44
from nostr.event import Event, InvalidEvent, event_id
from nostr.key import SecretKey

SEAL, WRAP, EPHEMERAL_WRAP = 13, 1059, 21059
_BLUR = 2 * 86_400  # seconds that the outer times may lie in the past


class InvalidWrap(ValueError):
    """Not a gift wrap for this key, or its layers contradict each other."""


@dataclass(frozen=True, slots=True)
class Rumor:
    """An unsigned event. Trust `pubkey` only if it came from `unwrap`: there it was checked against the seal."""

    id: str
    pubkey: str
    created_at: int
    kind: int
    tags: tuple[tuple[str, ...], ...]
    content: str

    @classmethod
    def make(
        cls, author: str, *, kind: int, content: str = "", tags: Iterable[Sequence[str]] = (), created_at: int
    ) -> "Rumor":
        frozen = tuple(tuple(tag) for tag in tags)
        return cls(event_id(author, created_at, kind, frozen, content), author, created_at, kind, frozen, content)

    def to_dict(self) -> dict[str, object]:
        return {
            "id": self.id,
            "pubkey": self.pubkey,
            "created_at": self.created_at,
            "kind": self.kind,
            "tags": [list(tag) for tag in self.tags],
            "content": self.content,
        }


def wrap(key: SecretKey, receiver: str, rumor: Rumor, *, now: int, relay: str = "", ephemeral: bool = False) -> Event:
    """`rumor` sealed by `key` (its author) for `receiver`; outer times are blurred up to two days into the past."""
    if rumor.pubkey != key.public:
        raise InvalidWrap("a rumor is sealed by its own author")
    once = SecretKey.generate()
    seal = key.sign(
        kind=SEAL,
        content=nip44.encrypt(key, receiver, orjson.dumps(rumor.to_dict()).decode()),
        created_at=now if ephemeral else now - secrets.randbelow(_BLUR),
    )
    return once.sign(
        kind=EPHEMERAL_WRAP if ephemeral else WRAP,
        content=nip44.encrypt(once, receiver, seal.to_json().decode()),
        tags=[["p", receiver, relay] if relay else ["p", receiver]],
        created_at=now if ephemeral else now - secrets.randbelow(_BLUR),
    )


def unwrap(key: SecretKey, event: Event) -> Rumor:
    """The rumor inside, its author proved by the seal's signature. Raises InvalidWrap."""
    if event.kind not in (WRAP, EPHEMERAL_WRAP):
        raise InvalidWrap(f"kind {event.kind} is not a gift wrap")
    try:
        seal = Event.from_json(nip44.decrypt(key, event.pubkey, event.content))
        if seal.kind != SEAL or not seal.verify():
            raise InvalidWrap("the seal is not valid")
        value = orjson.loads(nip44.decrypt(key, seal.pubkey, seal.content))
        if not isinstance(value, dict):
            raise InvalidWrap("the rumor is not an object")
        inner = Event.from_dict({**value, "id": value.get("id", "0" * 64), "sig": "0" * 128})
    except ValueError as error:  # DecryptionError, InvalidEvent, InvalidKey, JSON
        raise error if isinstance(error, InvalidWrap) else InvalidWrap(f"cannot be opened: {error}") from None
    if inner.pubkey != seal.pubkey:
        raise InvalidWrap("the rumor names another author than the one who sealed it")
    try:
        rumor = Rumor.make(
            inner.pubkey, kind=inner.kind, content=inner.content, tags=inner.tags, created_at=inner.created_at
        )
    except InvalidEvent as error:
        raise InvalidWrap(str(error)) from None
    if "id" in value and rumor.id != inner.id:
        raise InvalidWrap("the rumor's id is wrong")
    return rumor
