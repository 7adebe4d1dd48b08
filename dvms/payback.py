"""Where a refund can go: from a lightning address or LNURL of the customer to an invoice over what is owed.

The address is the customer's word and makes us fetch URLs of their choice: see `wallet.lnurl` for the guards. Invoices
are checked again by the cashier (amount, network, expiry).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import orjson

from market.kinds import PROFILE
from nostr.clock import Clock, system_clock
from nostr.errors import RelayError
from nostr.filter import Filter
from nostr.pool import Pool
from wallet import lnurl

log = logging.getLogger("dvms.payback")


class AddressBook:
    """Finds out how a customer can be paid. `allow_hosts` as in `nostr.download`."""

    def __init__(self, pool: Pool, *, allow_hosts: Iterable[str] = (), clock: Clock = system_clock) -> None:
        self._pool, self._allow, self._clock = pool, tuple(allow_hosts), clock

    async def invoice(self, customer: str, target: str | None, msat: int) -> str | None:
        """A BOLT11 invoice over `msat` from the target, else from the customer's profile; None where there is none."""
        for place in [target] if target else await self._profile(customer):
            try:
                offer = await lnurl.ask(place, allow_hosts=self._allow)
                bill = await lnurl.invoice_for(offer, msat, network=None, now=self._clock(), allow_hosts=self._allow)
            except lnurl.LnurlError as error:
                log.info("no refund through %s: %s", place[:60], error)
            else:
                return bill.text
        return None

    async def _profile(self, customer: str) -> list[str]:
        try:
            events = await self._pool.fetch(Filter(kinds=[PROFILE], authors=[customer], limit=1), timeout=3)
        except RelayError:
            return []
        content = _object(events[0].content.encode()) if events else {}
        return [place for name in ("lud16", "lud06") if isinstance(place := content.get(name), str) and place]


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
