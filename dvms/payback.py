"""Where a refund can go: from a lightning address or LNURL of the customer to an invoice over what is owed.

LUD-06 and LUD-16, the payer's side. The address is the customer's word and makes us fetch URLs of their choice: the
same guards as for any other download apply. Invoices are checked again by the cashier (amount, network, expiry).
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import orjson

from market.errors import FetchRefused
from market.fetch import Limits, fetch
from market.kinds import PROFILE
from nostr.errors import RelayError
from nostr.filter import Filter
from nostr.nip19 import InvalidNip19, bech32_decode
from nostr.pool import Pool
from wallet import bolt11

log = logging.getLogger("dvms.payback")

_LIMITS: Final = Limits(max_bytes=1 << 16, seconds=10, redirects=0)
_ADDRESS: Final = re.compile(r"^([a-z0-9._+-]{1,64})@([a-z0-9.-]{3,200})$", re.IGNORECASE)


class AddressBook:
    """Finds out how a customer can be paid. `allow_hosts` as in `market.fetch`."""

    def __init__(self, pool: Pool, *, allow_hosts: Iterable[str] = ()) -> None:
        self._pool, self._allow = pool, tuple(allow_hosts)

    async def invoice(self, customer: str, target: str | None, msat: int) -> str | None:
        """A BOLT11 invoice over `msat` from the target, else from the customer's profile; None where there is none."""
        for place in [target] if target else await self._profile(customer):
            url = pay_url(place or "")
            if url is None:
                continue
            try:
                return await self._ask(url, msat)
            except (FetchRefused, bolt11.InvalidInvoice, ValueError) as error:
                log.info("no refund through %s: %s", (place or "")[:60], error)
        return None

    async def _profile(self, customer: str) -> list[str]:
        try:
            events = await self._pool.fetch(Filter(kinds=[PROFILE], authors=[customer], limit=1), timeout=3)
        except RelayError:
            return []
        content = _object(events[0].content.encode()) if events else {}
        return [place for name in ("lud16", "lud06") if isinstance(place := content.get(name), str) and place]

    async def _ask(self, url: str, msat: int) -> str:
        """Raises ValueError where the address does not give such an invoice."""
        offer = _object((await fetch(url, _LIMITS, allow_loopback_hosts=self._allow)).read())
        callback, metadata = offer.get("callback"), offer.get("metadata")
        least, most = offer.get("minSendable"), offer.get("maxSendable")
        if offer.get("tag") != "payRequest" or not isinstance(callback, str) or not isinstance(metadata, str):
            raise ValueError("it is no pay request")
        if not isinstance(least, int) or not isinstance(most, int) or not least <= msat <= most:
            raise ValueError(f"it does not take {msat} msat")
        parts = urlsplit(callback)
        query = f"{parts.query}&" if parts.query else ""
        asked = urlunsplit(parts._replace(query=query + urlencode({"amount": msat})))
        answer = _object((await fetch(asked, _LIMITS, allow_loopback_hosts=self._allow)).read())
        invoice = answer.get("pr")
        if not isinstance(invoice, str):
            raise ValueError(str(answer.get("reason") or "it gives no invoice")[:200])
        read = bolt11.decode(invoice)
        if read.description_hash != hashlib.sha256(metadata.encode()).hexdigest() or read.amount_msat != msat:
            raise ValueError("its invoice is not the one that was asked for")
        return invoice


def pay_url(place: str) -> str | None:
    """The URL behind a lightning address (LUD-16) or a bech32 LNURL (LUD-01); None for anything else."""
    place = place.strip().removeprefix("lightning:")
    if match := _ADDRESS.match(place):
        name, domain = match.group(1).lower(), match.group(2).lower()
        scheme = "http" if domain.endswith(".onion") else "https"
        return f"{scheme}://{domain}/.well-known/lnurlp/{name}"
    if not place.lower().startswith("lnurl1"):
        return None
    try:
        _, data = bech32_decode(place)
        return data.decode()
    except (InvalidNip19, UnicodeDecodeError):
        return None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
