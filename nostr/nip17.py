"""Private messages (NIP-17): kind 14 in a gift wrap for each receiver and one for the sender."""

from collections.abc import Iterable
from dataclasses import dataclass

from nostr import nip59
from nostr.event import Event
from nostr.key import SecretKey

CHAT, FILE, DM_RELAYS = 14, 15, 10050


@dataclass(frozen=True, slots=True)
class Message:
    """A message as read. `id` is the rumor's; replies name it in an `e` tag."""

    id: str
    sender: str
    receivers: tuple[str, ...]
    text: str
    created_at: int
    subject: str | None = None
    reply_to: str | None = None


def compose(
    key: SecretKey,
    receivers: Iterable[str],
    text: str,
    *,
    now: int,
    subject: str | None = None,
    reply_to: str | None = None,
) -> dict[str, Event]:
    """One gift wrap for each receiver and for ourselves, by public key. Publish each to its owner's DM relays only."""
    to = list(dict.fromkeys(receivers))
    tags = [["p", receiver] for receiver in to]
    if reply_to is not None:
        tags.append(["e", reply_to])
    if subject is not None:
        tags.append(["subject", subject])
    rumor = nip59.Rumor.make(key.public, kind=CHAT, content=text, tags=tags, created_at=now)
    return {owner: nip59.wrap(key, owner, rumor, now=now) for owner in dict.fromkeys([*to, key.public])}


def read(key: SecretKey, event: Event) -> Message:
    """Raises nip59.InvalidWrap where the event is no chat message for this key."""
    rumor = nip59.unwrap(key, event)
    if rumor.kind != CHAT:
        raise nip59.InvalidWrap(f"kind {rumor.kind} is not a chat message")

    def values(name: str) -> list[str]:
        return [tag[1] for tag in rumor.tags if len(tag) > 1 and tag[0] == name]

    subject, replied = values("subject"), values("e")
    return Message(
        rumor.id,
        rumor.pubkey,
        tuple(values("p")),
        rumor.content,
        rumor.created_at,
        subject[0] if subject else None,
        replied[0] if replied else None,
    )


def dm_relays(event: Event) -> list[str]:
    """The relays of a kind 10050 list."""
    return event.values("relay")
