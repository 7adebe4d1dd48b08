"""The words of Nostr Wallet Connect (NIP-47): kinds, URIs, encryption, requests, answers, transactions.

NwcError           an error answer: `code` of NIP-47, a message for people, whether it is certain that nothing moved
InvalidUri         not a connection URI
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, quote, urlsplit

import orjson

from nostr import nip04, nip44
from nostr.event import Event, is_hex
from nostr.key import InvalidKey, SecretKey
from wallet.interface import InvoiceState, WalletRefused
from wallet.ledger import Bill, Payment, PaymentState

INFO, REQUEST, RESPONSE, NOTIFICATION_NIP04, NOTIFICATION = 13194, 23194, 23195, 23196, 23197
Scheme = Literal["nip44_v2", "nip04"]
NIP44: Scheme = "nip44_v2"
NIP04: Scheme = "nip04"
URI_SCHEMES = ("nostr+walletconnect", "nostrwalletconnect")
MAX_METADATA = 4096  # characters; more is dropped
# Error codes that say the payment was not even tried.
CERTAIN = frozenset(
    {
        "RATE_LIMITED",
        "NOT_IMPLEMENTED",
        "INSUFFICIENT_BALANCE",
        "QUOTA_EXCEEDED",
        "RESTRICTED",
        "UNAUTHORIZED",
        "UNSUPPORTED_ENCRYPTION",
    }
)


class InvalidUri(ValueError):
    """Not a connection URI; the message never repeats the secret."""


class NwcError(WalletRefused):
    """`certain` means that no money moved and none will for this request."""

    def __init__(self, code: str, message: str, *, certain: bool | None = None) -> None:
        super().__init__(code, message)
        self.certain = code in CERTAIN if certain is None else certain


@dataclass(frozen=True, slots=True)
class Uri:
    """A connection URI. The secret is the client's; repr hides it, `text` shows it."""

    service: str
    relays: tuple[str, ...]
    secret: SecretKey
    lud16: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Uri":
        """Accepts the forms met in the wild: two scheme names, with and without `//`."""
        scheme, colon, rest = text.strip().partition(":")
        if not colon or scheme.lower() not in URI_SCHEMES:
            raise InvalidUri("a connection starts with nostr+walletconnect://")
        parts = urlsplit("nwc://" + rest.removeprefix("//"))
        query = parse_qs(parts.query)
        service = (parts.hostname or "").lower()
        if not is_hex(service, 64):
            raise InvalidUri("the connection names no wallet service (64 hex digits after ://)")
        relays = tuple(relay for relay in query.get("relay", []) if relay.startswith(("ws://", "wss://")))
        if not relays:
            raise InvalidUri("the connection names no relay")
        try:
            secret = SecretKey.from_hex(query.get("secret", [""])[0])
        except InvalidKey:
            raise InvalidUri("the connection has no valid secret") from None
        return cls(service, relays, secret, query.get("lud16", [None])[0])

    @property
    def text(self) -> str:
        relays = "&".join(f"relay={quote(relay, safe='')}" for relay in self.relays)
        lud16 = f"&lud16={quote(self.lud16, safe='')}" if self.lud16 else ""
        return f"nostr+walletconnect://{self.service}?{relays}&secret={self.secret.hex}{lud16}"


class Channel:
    """Encryption between two keys, either scheme; the shared key is computed once."""

    __slots__ = ("_conversation", "_peer", "_secret")

    def __init__(self, secret: SecretKey, peer: str) -> None:
        self._secret, self._peer = secret, peer
        self._conversation = nip44.conversation_key(secret, peer)

    def seal(self, scheme: str, value: Mapping[str, Any]) -> str:
        text = orjson.dumps(value).decode()
        if scheme == NIP04:
            return nip04.encrypt(self._secret, self._peer, text)
        return nip44.encrypt_with(self._conversation, text)

    def seal_text(self, scheme: str, text: str) -> str:
        if scheme == NIP04:
            return nip04.encrypt(self._secret, self._peer, text)
        return nip44.encrypt_with(self._conversation, text)

    def open(self, scheme: str, content: str) -> dict[str, Any]:
        """Raises ValueError for anything that is not an encrypted JSON object."""
        if scheme == NIP04:
            text = nip04.decrypt(self._secret, self._peer, content)
        else:
            text = nip44.decrypt_with(self._conversation, content)
        value = orjson.loads(text)
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return value


def scheme_of(event: Event) -> str:
    """The encryption a request names; none named means NIP-04."""
    return event.first("encryption") or NIP04


def words(text: str) -> list[str]:
    """A list in an info event: separated by spaces, by commas with some services."""
    return text.replace(",", " ").split()


def result_text(method: str, result: Mapping[str, Any]) -> str:
    """The plain JSON of a good answer."""
    return orjson.dumps({"result_type": method, "error": None, "result": result}).decode()


def error_text(method: str, error: WalletRefused) -> str:
    """The plain JSON of an error answer. `certain` is ours: true where no money moved and none will."""
    certain = error.certain if isinstance(error, NwcError) else True
    body = {"code": error.code, "message": str(error), "certain": certain}
    return orjson.dumps({"result_type": method, "error": body, "result": None}).decode()


def payment_text(payment: Payment, method: str = "pay_invoice") -> str:
    """The plain JSON that answers `pay_invoice` once the payment has ended."""
    if payment.state is PaymentState.SETTLED:
        result: dict[str, Any] = {"preimage": payment.preimage or "", "fees_paid": payment.fee_msat or 0}
        if payment.internal:
            result["internal"] = True
        return result_text(method, result)
    return error_text(
        method, NwcError(payment.code or "PAYMENT_FAILED", payment.detail or "the payment failed", certain=True)
    )


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if item is not None}


def _metadata(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def invoice_object(bill: Bill) -> dict[str, Any]:
    """Our invoice as a NIP-47 transaction."""
    invoice = bill.invoice
    state = {
        InvoiceState.OPEN: "pending",
        InvoiceState.ACCEPTED: "accepted",
        InvoiceState.SETTLED: "settled",
        InvoiceState.EXPIRED: "expired",
        InvoiceState.CANCELLED: "failed",
    }[invoice.state]
    return _without_none(
        {
            "type": "incoming",
            "state": state,
            "invoice": invoice.bolt11,
            "description": invoice.description,
            "description_hash": bill.description_hash,
            "preimage": invoice.preimage,
            "payment_hash": invoice.payment_hash,
            "amount": invoice.amount_msat,
            "fees_paid": 0,
            "received": invoice.received_msat,
            "created_at": invoice.created_at,
            "expires_at": invoice.expires_at,
            "settled_at": invoice.settled_at,
            "settle_by": invoice.settle_deadline,
            "metadata": _metadata(bill.metadata),
        }
    )


def payment_object(payment: Payment) -> dict[str, Any]:
    """A payment of ours as a NIP-47 transaction."""
    state = {PaymentState.SETTLED: "settled", PaymentState.FAILED: "failed"}.get(payment.state, "pending")
    return _without_none(
        {
            "type": "outgoing",
            "state": state,
            "invoice": payment.bolt11,
            "description": payment.description,
            "preimage": payment.preimage,
            "payment_hash": payment.payment_hash,
            "amount": payment.amount_msat,
            "fees_paid": payment.fee_msat or 0,
            "created_at": payment.created_at,
            "expires_at": payment.expires_at,
            "settled_at": payment.settled_at,
            "metadata": _metadata(payment.metadata),
        }
    )


def transaction_object(row: Bill | Payment) -> dict[str, Any]:
    return invoice_object(row) if isinstance(row, Bill) else payment_object(row)


def metadata_text(value: object) -> str | None:
    """Metadata as stored; dropped where it is larger than the protocol allows."""
    if value is None:
        return None
    text = orjson.dumps(value).decode()
    return text if len(text) <= MAX_METADATA else None


def clip(items: Sequence[dict[str, Any]], budget: int = 40_000) -> list[dict[str, Any]]:
    """As many transactions as fit into one event of a careful relay."""
    kept: list[dict[str, Any]] = []
    for item in items:
        budget -= len(orjson.dumps(item))
        if budget < 0 and kept:
            break
        kept.append(item)
    return kept
