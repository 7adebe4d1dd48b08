"""The messages between client and relay (NIP-01, 42, 45, 77) as a client writes and reads them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from nostr.event import Event
from nostr.filter import Filter


class InvalidMessage(ValueError):
    """A relay sent something that is no message of the protocol."""


@dataclass(frozen=True, slots=True)
class EventMessage:
    subscription: str
    event: Any  # as parsed from JSON, not yet checked


@dataclass(frozen=True, slots=True)
class OkMessage:
    event_id: str
    accepted: bool
    text: str


@dataclass(frozen=True, slots=True)
class EoseMessage:
    subscription: str


@dataclass(frozen=True, slots=True)
class ClosedMessage:
    subscription: str
    text: str


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    text: str


@dataclass(frozen=True, slots=True)
class AuthMessage:
    challenge: str


@dataclass(frozen=True, slots=True)
class CountMessage:
    subscription: str
    count: int


@dataclass(frozen=True, slots=True)
class NegMessage:
    subscription: str
    payload: str  # hex


@dataclass(frozen=True, slots=True)
class NegError:
    subscription: str
    text: str


RelayMessage = (
    EventMessage
    | OkMessage
    | EoseMessage
    | ClosedMessage
    | NoticeMessage
    | AuthMessage
    | CountMessage
    | NegMessage
    | NegError
)


def parse(raw: bytes | str) -> RelayMessage:
    """One message of a relay. Raises InvalidMessage."""
    try:
        parts = orjson.loads(raw)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        raise InvalidMessage(f"not JSON: {error}") from None
    if not isinstance(parts, list) or not parts:
        raise InvalidMessage("not an array")
    match parts:
        case ["EVENT", str(sid), event, *_]:
            return EventMessage(sid, event)
        case ["OK", str(event_id), bool(accepted), *rest]:
            return OkMessage(event_id, accepted, _text(rest))
        case ["EOSE", str(sid), *_]:
            return EoseMessage(sid)
        case ["CLOSED", str(sid), *rest]:
            return ClosedMessage(sid, _text(rest))
        case ["NOTICE", *rest]:
            return NoticeMessage(_text(rest))
        case ["AUTH", str(challenge), *_]:
            return AuthMessage(challenge)
        case ["COUNT", str(sid), {"count": int(count)}, *_]:
            return CountMessage(sid, count)
        case ["NEG-MSG", str(sid), str(payload), *_]:
            return NegMessage(sid, payload)
        case ["NEG-ERR", str(sid), *rest]:
            return NegError(sid, _text(rest))
    raise InvalidMessage(f"unknown or malformed message {str(parts[0])[:20]!r}")


def event(item: Event) -> str:
    return _dumps(["EVENT", item.to_dict()])


def auth(item: Event) -> str:
    return _dumps(["AUTH", item.to_dict()])


def req(subscription: str, filters: Iterable[Filter]) -> str:
    return _dumps(["REQ", subscription, *(item.to_dict() for item in filters)])


def count(subscription: str, filters: Iterable[Filter]) -> str:
    return _dumps(["COUNT", subscription, *(item.to_dict() for item in filters)])


def close(subscription: str) -> str:
    return _dumps(["CLOSE", subscription])


def neg_open(subscription: str, filter: Filter, payload: bytes) -> str:
    return _dumps(["NEG-OPEN", subscription, filter.to_dict(), payload.hex()])


def neg_msg(subscription: str, payload: bytes) -> str:
    return _dumps(["NEG-MSG", subscription, payload.hex()])


def neg_close(subscription: str) -> str:
    return _dumps(["NEG-CLOSE", subscription])


def prefix(text: str) -> str:
    """The machine-readable word before the colon (`blocked`, `duplicate`, ...), or an empty string."""
    word, colon, _ = text.partition(":")
    return word if colon and word.isascii() and " " not in word else ""


def _text(rest: list[Any]) -> str:
    return rest[0] if rest and isinstance(rest[0], str) else ""


def _dumps(parts: list[Any]) -> str:
    return orjson.dumps(parts).decode()
