"""bech32 names of keys, events and addresses (NIP-19)."""

from collections.abc import Iterable
from dataclasses import dataclass

from nostr.event import is_hex

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_MAX_LENGTH = 5000


class InvalidNip19(ValueError):
    """Not a NIP-19 name; the message never repeats the text, which may be a secret."""


@dataclass(frozen=True, slots=True)
class Profile:
    pubkey: str
    relays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventPointer:
    id: str
    relays: tuple[str, ...] = ()
    author: str | None = None
    kind: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    d: str
    pubkey: str
    kind: int
    relays: tuple[str, ...] = ()


Value = str | Profile | EventPointer | Address


def npub(pubkey: str) -> str:
    return _encode("npub", bytes.fromhex(pubkey))


def nsec(secret: str) -> str:
    return _encode("nsec", bytes.fromhex(secret))


def note(event_id: str) -> str:
    return _encode("note", bytes.fromhex(event_id))


def nprofile(pubkey: str, relays: Iterable[str] = ()) -> str:
    return _encode("nprofile", _tlv((0, bytes.fromhex(pubkey)), *((1, relay.encode()) for relay in relays)))


def nevent(event_id: str, relays: Iterable[str] = (), author: str | None = None, kind: int | None = None) -> str:
    parts = [(0, bytes.fromhex(event_id)), *((1, relay.encode()) for relay in relays)]
    if author is not None:
        parts.append((2, bytes.fromhex(author)))
    if kind is not None:
        parts.append((3, kind.to_bytes(4)))
    return _encode("nevent", _tlv(*parts))


def naddr(d: str, pubkey: str, kind: int, relays: Iterable[str] = ()) -> str:
    hints = ((1, relay.encode()) for relay in relays)
    return _encode("naddr", _tlv((0, d.encode()), *hints, (2, bytes.fromhex(pubkey)), (3, kind.to_bytes(4))))


def decode(text: str) -> tuple[str, Value]:
    """`(prefix, value)`: hex for npub, nsec and note; a pointer for the others. Raises InvalidNip19."""
    prefix, data = bech32_decode(text.removeprefix("nostr:"))
    if prefix in ("npub", "nsec", "note"):
        if len(data) != 32:
            raise InvalidNip19(f"an {prefix} holds 32 bytes")
        return prefix, data.hex()
    fields = _untlv(data)
    relays = tuple(value.decode(errors="replace") for kind, value in fields if kind == 1)
    first = next((value for kind, value in fields if kind == 0), None)
    author = next((value.hex() for kind, value in fields if kind == 2 and len(value) == 32), None)
    number = next((int.from_bytes(value) for kind, value in fields if kind == 3 and len(value) == 4), None)
    if first is None:
        raise InvalidNip19(f"{prefix} lacks its main field")
    if prefix == "nprofile" and len(first) == 32:
        return prefix, Profile(first.hex(), relays)
    if prefix == "nevent" and len(first) == 32:
        return prefix, EventPointer(first.hex(), relays, author, number)
    if prefix == "naddr" and author is not None and number is not None:
        return prefix, Address(first.decode(errors="replace"), author, number, relays)
    raise InvalidNip19("unknown or incomplete NIP-19 name")


def parse_pubkey(text: str) -> str:
    """The hex key of an npub, an nprofile or 64 hex digits. Raises InvalidNip19."""
    text = text.strip()
    if is_hex(text.lower(), 64):
        return text.lower()
    prefix, value = decode(text)
    if prefix == "npub" and isinstance(value, str):
        return value
    if isinstance(value, Profile):
        return value.pubkey
    raise InvalidNip19(f"{prefix} is not a public key: give an npub, an nprofile or 64 hex digits")


def bech32_encode(prefix: str, data: bytes) -> str:
    """BIP-173 with no length limit (NIP-19, NIP-49, LUD-01)."""
    return _encode(prefix, data)


def bech32_decode(text: str) -> tuple[str, bytes]:
    """Checksum-verified `(prefix, bytes)`. Raises InvalidNip19."""
    if len(text) > _MAX_LENGTH:
        raise InvalidNip19("too long for a NIP-19 name")
    if text.lower() != text and text.upper() != text:
        raise InvalidNip19("bech32 mixes upper and lower case")
    text = text.lower()
    split = text.rfind("1")
    if split < 1 or len(text) - split < 7 or any(character not in _ALPHABET for character in text[split + 1 :]):
        raise InvalidNip19("not bech32")
    prefix, values = text[:split], [_ALPHABET.index(character) for character in text[split + 1 :]]
    if _polymod([*_expand(prefix), *values]) != 1:
        raise InvalidNip19("the checksum is wrong: a character was mistyped")
    return prefix, _regroup(values[:-6])


def _encode(prefix: str, data: bytes) -> str:
    bits = int.from_bytes(data) << (-len(data) * 8 % 5)
    count = -(-len(data) * 8 // 5)
    values = [(bits >> 5 * (count - 1 - i)) & 31 for i in range(count)]
    check = _polymod([*_expand(prefix), *values, 0, 0, 0, 0, 0, 0]) ^ 1
    values += [(check >> 5 * (5 - i)) & 31 for i in range(6)]
    return prefix + "1" + "".join(_ALPHABET[value] for value in values)


def _regroup(values: list[int]) -> bytes:
    bits = 0
    for value in values:
        bits = bits << 5 | value
    spare = len(values) * 5 % 8
    if spare > 4 or bits & ((1 << spare) - 1):
        raise InvalidNip19("bech32 padding is wrong")
    return (bits >> spare).to_bytes(len(values) * 5 // 8)


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i in range(5):
            if top >> i & 1:
                check ^= _GENERATOR[i]
    return check


def _tlv(*fields: tuple[int, bytes]) -> bytes:
    for _, value in fields:
        if len(value) > 255:
            raise InvalidNip19("a field of a NIP-19 name holds at most 255 bytes")
    return b"".join(bytes((kind, len(value))) + value for kind, value in fields)


def _untlv(data: bytes) -> list[tuple[int, bytes]]:
    fields, at = [], 0
    while at + 2 <= len(data):
        kind, length = data[at], data[at + 1]
        if at + 2 + length > len(data):
            raise InvalidNip19("a field of the name is cut off")
        fields.append((kind, data[at + 2 : at + 2 + length]))
        at += 2 + length
    return fields
