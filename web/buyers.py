"""What a worker sees of a buyer before the claim: of the work that was delivered for a price, how much was paid."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from market.kinds import FEEDBACK, RECEIPT, is_result
from market.tags import parse_hex64, parse_msat
from nostr.event import Event


@dataclass(frozen=True, slots=True)
class Habits:
    """`asked` jobs, `owed`: those of them that were delivered for a price, `paid`: those of these that were paid."""

    asked: int
    owed: int
    paid: int


def habits(buyer: str, events: Iterable[Event]) -> Habits:
    """From the buyer's requests and receipts, and from the bills and results addressed to them.

    A seller who billed first and then delivered was paid; one who delivered first was paid if the buyer's receipt shows
    the preimage. What the buyer writes of a payment without one counts nothing.
    """
    asked: set[str] = set()
    billed: set[tuple[str, str]] = set()
    delivered: dict[tuple[str, str], int] = {}
    shown: set[tuple[str, str]] = set()
    for event in events:
        job = event.first("e") or ""
        if event.pubkey == buyer and 5000 <= event.kind < 6000:
            asked.add(event.id)
        elif event.pubkey == buyer and event.kind == RECEIPT and _proven(event):
            shown.add((job, event.first("p") or ""))
        elif event.kind == FEEDBACK and event.first("status") == "payment-required":
            billed.add((job, event.pubkey))
        elif is_result(event.kind):
            delivered[job, event.pubkey] = parse_msat(event.first("amount") or "") or 0
    mine = {key: msat for key, msat in delivered.items() if key[0] in asked}
    owed = {key for key, msat in mine.items() if msat or key in billed}
    return Habits(len(asked), len(owed), sum(key in billed or key in shown for key in owed))


def _proven(receipt: Event) -> bool:
    preimage = parse_hex64(receipt.first("preimage") or "")
    return preimage is not None and hashlib.sha256(bytes.fromhex(preimage)).hexdigest() == receipt.first("payment_hash")
