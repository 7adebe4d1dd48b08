"""Nutzaps (NIP-61): ecash locked to a key of ours, in a public event. Having swapped it is being paid, nothing else is.

The same proofs may be published many times at no cost, so what was tried once is not tried again.
"""

from collections.abc import Sequence

import orjson

from nostr.event import Event
from nostr.key import SecretKey
from wallet.ecash.errors import EcashRefused
from wallet.ecash.purse import Purse
from wallet.ecash.token import Token, read_proof

INFO, NUTZAP = 10019, 9321
_MOST_PROOFS = 100


def information(owner: SecretKey, lock: str, mints: Sequence[str], relays: Sequence[str], *, created_at: int) -> Event:
    """What senders need to know: relays, mints, and the key to lock to, which is not the owner's own."""
    tags = [*(["relay", url] for url in relays), *(["mint", url, "sat"] for url in mints), ["pubkey", "02" + lock]]
    return owner.sign(kind=INFO, tags=tags, created_at=created_at)


def read(event: Event, owner: str) -> Token:
    """The ecash of a nutzap to `owner`. Raises EcashRefused."""
    if event.kind != NUTZAP or event.values("p") != [owner] or not event.verify():
        raise EcashRefused("not a nutzap to this key")
    mints, proofs = event.values("u"), event.values("proof")
    if len(mints) != 1 or not 0 < len(proofs) <= _MOST_PROOFS:
        raise EcashRefused("a nutzap names one mint and holds some proofs")
    try:
        read = tuple(read_proof(orjson.loads(proof)) for proof in proofs)
    except (orjson.JSONDecodeError, ValueError, KeyError, TypeError):
        raise EcashRefused("the nutzap is damaged") from None
    return Token(mints[0], event.first("unit") or "sat", read, event.content)


async def take(purse: Purse, event: Event, owner: str) -> int:
    """Swap a nutzap once; the sat gained, 0 for one that was tried before. Raises EcashRefused, EcashOpen."""
    found = read(event, owner)
    if await purse.tried(found):
        return 0
    return await purse.receive(found, locked=True)
