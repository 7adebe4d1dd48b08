"""Open calls: an order that names nobody, and the offers that come for it.

The order is an ordinary request with a bid and without a `p` tag. Whoever wants the job answers as always, with a bill
(7000 `payment-required`) or, free of charge, with the result. One of them is paid, the others are told (`declined`).
"""

from collections.abc import Iterable

from market.errors import MarketError
from market.job import Feedback, JobResult
from market.kinds import FEEDBACK, is_result
from nostr.event import Event
from wallet import bolt11

MOST_BIDS = 64


def answers_to(events: Iterable[Event], request_id: str, *, network: str, now: int) -> list[tuple[Event, int]]:
    """(event, price in msat) of each seller's first answer that could be taken: a payable bill, or a free result."""
    found: dict[str, tuple[Event, int]] = {}
    for event in events:
        if event.pubkey in found or len(found) >= MOST_BIDS or not event.verify():
            continue
        price = _price(event, request_id, network, now)
        if price is not None:
            found[event.pubkey] = (event, price)
    return list(found.values())


def _price(event: Event, request_id: str, network: str, now: int) -> int | None:
    """What the seller asks, msat; None where this is no offer."""
    try:
        if is_result(event.kind):
            return 0 if JobResult.parse(event).request_id == request_id else None
        said = Feedback.parse(event) if event.kind == FEEDBACK else None
        if said is None or said.request_id != request_id or said.status != "payment-required" or said.bolt11 is None:
            return None
        invoice = bolt11.decode(said.bolt11)
    except (MarketError, bolt11.InvalidInvoice):
        return None
    return invoice.amount_msat if invoice.network == network and invoice.expires_at > now else None
