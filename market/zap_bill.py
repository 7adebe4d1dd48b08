"""Bills that name an amount and no invoice: the customer zaps the bill, as Amethyst and Noogle do.

The invoice comes from the LNURL-pay service behind the provider's Lightning address (LUD-06, LUD-16), for a zap
request that names the bill (NIP-57). It must commit to exactly this zap request, or, where the service knows no zaps,
to its own metadata; after that it passes the same checks as any invoice (`purchase.check_bill`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from market.errors import BillRefused, FetchRefused
from market.fetch import Limits, fetch
from market.job import Feedback
from market.purchase import Refusal
from nostr import nip19, nip57
from nostr.key import SecretKey
from wallet import bolt11

_LIMITS: Final = Limits(max_bytes=1 << 16, seconds=8, redirects=1)
_LUD16: Final = re.compile(r"^([a-z0-9._+-]{1,64})@([a-z0-9.-]+(?::\d{1,5})?)$", re.IGNORECASE)


async def zap_invoice(
    key: SecretKey,
    bill: Feedback,
    address: str,
    *,
    relays: Iterable[str],
    now: int,
    allow_hosts: Iterable[str] = (),
) -> str:
    """The invoice (BOLT 11) that pays this bill by a zap. `address` is a `lud16` or an LNURL. Raises BillRefused."""
    amount = bill.amount_msat
    if not amount:
        raise _refuse("the bill names neither invoice nor amount")
    try:
        service = _object((await fetch(service_url(address), _LIMITS, allow_loopback_hosts=allow_hosts)).read())
        if not _int(service.get("minSendable")) <= amount <= _int(service.get("maxSendable")):
            raise _refuse("the provider's Lightning address does not take this amount")
        commitment = str(service.get("metadata") or "")
        query = {"amount": str(amount)}
        if service.get("allowsNostr") is True:
            zap = nip57.request(
                key, bill.provider, relays=relays, amount_msat=amount, created_at=now, target=bill.event
            )
            commitment = query["nostr"] = zap.to_json().decode()
        callback = str(service.get("callback") or "")
        joint = "&" if "?" in callback else "?"
        answer = _object(
            (await fetch(f"{callback}{joint}{urlencode(query)}", _LIMITS, allow_loopback_hosts=allow_hosts)).read()
        )
    except FetchRefused as error:
        raise _refuse(f"the provider's Lightning address gives no invoice: {error.reason}") from None
    text = answer.get("pr")
    if not isinstance(text, str):
        raise _refuse("the provider's Lightning address gives no invoice")
    try:
        invoice = bolt11.decode(text)
    except bolt11.InvalidInvoice as error:
        raise BillRefused(f"the invoice can't be read: {error}", Refusal.BAD_INVOICE) from None
    if invoice.description_hash != hashlib.sha256(commitment.encode()).hexdigest():
        raise BillRefused("the invoice does not commit to this zap", Refusal.BAD_INVOICE)
    return invoice.text


def service_url(address: str) -> str:
    """The LNURL-pay address behind `name@host` or a bech32 LNURL. Raises BillRefused."""
    address = address.strip()
    if match := _LUD16.match(address):
        return f"https://{match.group(2).lower()}/.well-known/lnurlp/{match.group(1).lower()}"
    try:
        prefix, data = nip19.bech32_decode(address.removeprefix("lightning:"))
        if prefix == "lnurl":
            return data.decode()
    except (nip19.InvalidNip19, UnicodeDecodeError):
        pass
    raise _refuse("the provider has no usable Lightning address")


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict) or value.get("status") == "ERROR":
        raise _refuse("the provider's Lightning address answers with an error")
    return value


def _int(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _refuse(reason: str) -> BillRefused:
    return BillRefused(reason, Refusal.NO_INVOICE)
