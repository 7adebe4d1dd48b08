"""Zaps (NIP-57), as far as events go: requests, their checks, receipts.

A receipt is a claim of the receiver's wallet, never a proof: a seller looks the payment up in the wallet.
The BOLT 11 inside is opaque here; `wallet` decodes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from nostr.event import Event, InvalidEvent, is_hex
from nostr.key import SecretKey

REQUEST, RECEIPT = 9734, 9735


class InvalidZap(ValueError):
    """The zap request or receipt breaks a rule of NIP-57; the message says which."""


@dataclass(frozen=True, slots=True)
class ZapRequest:
    """A checked request. `amount_msat` is None where it names none; `address` is an event coordinate (`a` tag)."""

    event: Event
    receiver: str
    relays: tuple[str, ...]
    amount_msat: int | None
    event_id: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class ZapReceipt:
    """A parsed receipt. `signer` must be checked against the wallet's announced key by the caller."""

    event: Event
    request: ZapRequest
    signer: str
    bolt11: str
    description: str
    preimage: str | None


def request(
    key: SecretKey,
    receiver: str,
    *,
    relays: Iterable[str],
    amount_msat: int,
    created_at: int,
    lnurl: str | None = None,
    target: Event | None = None,
    comment: str = "",
) -> Event:
    """A zap request for a key, or for `target` (an event of that key)."""
    tags = [["relays", *relays], ["amount", str(amount_msat)], ["p", receiver]]
    if lnurl is not None:
        tags.append(["lnurl", lnurl])
    if target is not None:
        tags += [["e", target.id], ["k", str(target.kind)]]
        if 30000 <= target.kind < 40000:
            tags.append(["a", target.address])
    return key.sign(kind=REQUEST, content=comment, tags=tags, created_at=created_at)


def check_request(event: Event, *, amount_msat: int | None = None, receipt_key: str | None = None) -> ZapRequest:
    """Appendix D. `amount_msat` is what the payer's HTTP query says. Raises InvalidZap."""
    if event.kind != REQUEST or not event.verify():
        raise InvalidZap("not a signed zap request")
    receivers, ids, addresses = event.values("p"), event.values("e"), event.values("a")
    if len(receivers) != 1 or not is_hex(receivers[0], 64):
        raise InvalidZap("a zap request has exactly one p tag")
    if len(ids) > 1 or any(not is_hex(item, 64) for item in ids):
        raise InvalidZap("a zap request has at most one e tag")
    if any(not _is_address(item) for item in addresses):
        raise InvalidZap("the a tag is not an event coordinate")
    senders = event.values("P")
    if len(senders) > 1 or (senders and receipt_key is not None and senders[0] != receipt_key):
        raise InvalidZap("the P tag is not the key that signs the receipt")
    text = event.first("amount")
    amount = int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None
    if text is not None and amount is None:
        raise InvalidZap("the amount is not a whole number of msat")
    if amount is not None and amount_msat is not None and amount != amount_msat:
        raise InvalidZap("the amount tag and the amount asked for differ")
    relays = next((tag[1:] for tag in event.tags if tag and tag[0] == "relays"), ())
    return ZapRequest(
        event, receivers[0], tuple(relays), amount, ids[0] if ids else None, addresses[0] if addresses else None
    )


def receipt(
    key: SecretKey, zap: ZapRequest, *, bolt11: str, description: str, paid_at: int, preimage: str | None = None
) -> Event:
    """Appendix E. `description` is the request's JSON exactly as it went into the invoice's description hash."""
    tags = [["p", zap.receiver], ["P", zap.event.pubkey]]
    if zap.event_id is not None:
        tags.append(["e", zap.event_id])
    if zap.address is not None:
        tags.append(["a", zap.address])
    kind = zap.event.first("k")
    if kind is not None:
        tags.append(["k", kind])
    tags += [["bolt11", bolt11], ["description", description]]
    if preimage is not None:
        tags.append(["preimage", preimage])
    return key.sign(kind=RECEIPT, tags=tags, created_at=paid_at)


def parse_receipt(event: Event) -> ZapReceipt:
    """Raises InvalidZap. The amount and the signer (Appendix F) are for the caller, who has invoice and LNURL reply."""
    description, bolt11 = event.first("description"), event.first("bolt11")
    if event.kind != RECEIPT or description is None or bolt11 is None:
        raise InvalidZap("not a zap receipt")
    try:
        inner = Event.from_json(description)
    except InvalidEvent as error:
        raise InvalidZap(f"the description is no zap request: {error}") from None
    zap = check_request(inner)
    if event.first("p") != zap.receiver:
        raise InvalidZap("receipt and request name different receivers")
    return ZapReceipt(event, zap, event.pubkey, bolt11, description, event.first("preimage"))


def _is_address(text: str) -> bool:
    kind, _, rest = text.partition(":")
    pubkey, colon, _ = rest.partition(":")
    return kind.isascii() and kind.isdigit() and len(kind) < 6 and is_hex(pubkey, 64) and bool(colon)
