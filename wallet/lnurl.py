"""Paying a Lightning address or an LNURL (LUD-01, 06, 12, 16), and the zap that may go with it (NIP-57).

The address is a stranger's word and makes us fetch URLs of their choice, so every request goes through
`nostr.download`: public addresses only, no redirects, small, quick. What comes back is believed only where it agrees
with what was asked: amount, description hash, network, expiry.

WalletError
`- LnurlError        nothing was paid; the message says which rule the other side broke
   `- BadInvoice     it gave an invoice, and not the one that was asked for
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import orjson

from nostr.download import DownloadRefused, Limits, download
from nostr.event import Event, is_hex
from nostr.nip19 import InvalidNip19, bech32_decode, bech32_encode
from wallet import bolt11
from wallet.interface import WalletError

_LIMITS: Final = Limits(max_bytes=1 << 16, seconds=10, redirects=0)
_ADDRESS: Final = re.compile(r"^([a-z0-9._+-]{1,64})@([a-z0-9.-]{1,253}(?::\d{1,5})?)$", re.IGNORECASE)
_SECONDS_LEFT: Final = 10  # an invoice that expires sooner is not worth trying


class LnurlError(WalletError):
    pass


class BadInvoice(LnurlError):
    pass


@dataclass(frozen=True, slots=True)
class PayOffer:
    """What a payee's server offers. Amounts in msat; `metadata` is the text as it came, which invoices commit to."""

    url: str
    callback: str
    least_msat: int
    most_msat: int
    metadata: str
    comment_length: int
    zap_key: str | None  # signs the receipts of zaps; None where the server makes none

    @property
    def text(self) -> str:
        """What the payee says the payment is for. A stranger's words: show them as text, never as markup."""
        try:
            entries = orjson.loads(self.metadata)
            return next(str(value)[:500] for kind, value in entries if kind == "text/plain")
        except (orjson.JSONDecodeError, StopIteration, ValueError, TypeError):
            return ""


def looks_payable(place: str) -> bool:
    """True for a Lightning address or an LNURL."""
    place = place.strip().lower().removeprefix("lightning:")
    return place.startswith("lnurl1") or _ADDRESS.match(place) is not None


def pay_url(place: str) -> str:
    """The URL behind a Lightning address (LUD-16) or a bech32 LNURL (LUD-01). Raises LnurlError."""
    place = place.strip()
    if place[:10].lower() == "lightning:":
        place = place[10:]
    if match := _ADDRESS.match(place):
        name, domain = match.group(1).lower(), match.group(2).lower()
        host = domain.partition(":")[0]
        plain = host.endswith(".onion") or host in ("localhost", "127.0.0.1")
        return f"{'http' if plain else 'https'}://{domain}/.well-known/lnurlp/{name}"
    if not place.lower().startswith("lnurl1"):
        raise LnurlError("not a Lightning address (name@host) and not an LNURL")
    try:
        prefix, data = bech32_decode(place)
        url = data.decode()
    except (InvalidNip19, UnicodeDecodeError):
        raise LnurlError("the LNURL is damaged") from None
    if prefix != "lnurl":
        raise LnurlError("this is not an LNURL")
    return url


def encode(url: str) -> str:
    """A URL as an LNURL (LUD-01)."""
    return bech32_encode("lnurl", url.encode())


async def ask(place: str, *, allow_hosts: Iterable[str] = ()) -> PayOffer:
    """What the payee behind an address or LNURL takes. `allow_hosts` as in `nostr.download`. Raises LnurlError."""
    url = pay_url(place)
    said = await _get(url, allow_hosts)
    callback, metadata = said.get("callback"), said.get("metadata")
    least, most = said.get("minSendable"), said.get("maxSendable")
    if said.get("tag") != "payRequest" or not isinstance(callback, str) or not isinstance(metadata, str):
        raise LnurlError("the address does not take payments (no payRequest)")
    if not isinstance(least, int) or not isinstance(most, int) or not 0 < least <= most:
        raise LnurlError("the address names no sensible amounts")
    comment, key = said.get("commentAllowed"), said.get("nostrPubkey")
    zaps = said.get("allowsNostr") is True and isinstance(key, str) and is_hex(key.lower(), 64)
    return PayOffer(
        url, callback, least, most, metadata,
        comment_length=comment if isinstance(comment, int) else 0,
        zap_key=str(key).lower() if zaps else None,
    )  # fmt: skip


async def invoice_for(
    offer: PayOffer,
    amount_msat: int,
    *,
    network: str | None,
    now: int,
    comment: str = "",
    zap: Event | None = None,
    allow_hosts: Iterable[str] = (),
) -> bolt11.Bolt11:
    """An invoice over exactly this amount, checked and ready to pay. `network` None leaves that check to the caller.

    `zap` is a signed request of NIP-57; its invoice commits to it instead of the offer's metadata. Raises LnurlError.
    """
    if not offer.least_msat <= amount_msat <= offer.most_msat:
        raise LnurlError(f"the address takes {offer.least_msat} to {offer.most_msat} msat")
    query = {"amount": str(amount_msat)}
    committed = offer.metadata
    if zap is not None:
        if offer.zap_key is None:
            raise LnurlError("the address takes no zaps")
        committed = zap.to_json().decode()
        query |= {"nostr": committed, "lnurl": encode(offer.url)}
    if comment:
        if len(comment) > offer.comment_length:
            raise LnurlError(f"the address takes comments of up to {offer.comment_length} characters")
        query["comment"] = comment
    parts = urlsplit(offer.callback)
    joined = f"{parts.query}&{urlencode(query)}" if parts.query else urlencode(query)
    said = await _get(urlunsplit(parts._replace(query=joined)), allow_hosts)
    if not isinstance(text := said.get("pr"), str):
        raise LnurlError("the address gave no invoice")
    try:
        invoice = bolt11.decode(text)
        bolt11.check_payable(
            invoice,
            network=network or invoice.network,
            now=now,
            amount_msat=amount_msat,
            description_hash=hashlib.sha256(committed.encode()).hexdigest(),
            min_seconds_left=_SECONDS_LEFT,
        )
    except bolt11.InvalidInvoice as error:
        raise BadInvoice(f"the invoice of the address is refused: {error}") from None
    return invoice


async def _get(url: str, allow_hosts: Iterable[str]) -> dict[str, Any]:
    try:
        got = await download(url, _LIMITS, allow_hosts=allow_hosts)
        said = orjson.loads(got.read())
    except DownloadRefused as error:
        raise LnurlError(f"the address does not answer: {error}") from None
    except orjson.JSONDecodeError:
        raise LnurlError("the address answers something else than LNURL") from None
    if not isinstance(said, dict):
        raise LnurlError("the address answers something else than LNURL")
    if said.get("status") == "ERROR":
        raise LnurlError(f"the address refuses: {str(said.get('reason') or 'no reason')[:200]}")
    return said
