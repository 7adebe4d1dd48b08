"""BOLT 11 invoices: read, write, sign, and the checks of a payer.

The reader follows the specification where it must fail, and the specification's own example where text and example
differ: a `p`, `s`, `h` or `n` field of the wrong length counts as absent.

    InvalidInvoice            not a payable invoice, and the message says which rule it breaks
    |- ChecksumError          a typing or transport error
    |- UnsupportedInvoice     valid, but it asks for a feature that nobody here knows
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import xor

from coincurve import PrivateKey, PublicKey

from nostr.key import CURVE_ORDER, SecretKey

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {character: value for value, character in enumerate(_CHARSET)}
_DIGITS = bytes.maketrans(bytes(range(32)), b"0123456789abcdefghijklmnopqrstuv")
_PREFIXES = {"bc": "bitcoin", "tb": "testnet", "tbs": "signet", "bcrt": "regtest"}
NETWORKS = {network: prefix for prefix, network in _PREFIXES.items()}
_MSAT_PER_BTC = 10**11
# Units from the largest down, as (letter, divisor of one bitcoin).
_UNITS = (("", 1), ("m", 10**3), ("u", 10**6), ("n", 10**9), ("p", 10**12))
_DIVISORS = dict(_UNITS)
MAX_LENGTH = 7089  # what the largest QR code holds, and far above any real invoice
MAX_MSAT = 21_000_000 * _MSAT_PER_BTC
DEFAULT_EXPIRY = 3600
DEFAULT_CLTV = 18
# Feature bits (BOLT 9, context 9) that a payer may meet; each pair is the even bit and its odd twin.
_KNOWN_FEATURES = {8: "var_onion_optin", 14: "payment_secret", 16: "basic_mpp", 24: "route_blinding",
                   36: "attributable_failures", 48: "payment_metadata", 50: "keysend"}  # fmt: skip
_FEATURES = (8, 14)  # what our own invoices set: var_onion_optin and payment_secret, both required
_SIGNATURE_WORDS = 104
_CHECKSUM_WORDS = 6


class InvalidInvoice(ValueError):
    """Not a payable BOLT 11 invoice."""


class ChecksumError(InvalidInvoice):
    pass


class UnsupportedInvoice(InvalidInvoice):
    pass


@dataclass(frozen=True, slots=True)
class Hop:
    """One entry of a route hint. Fees in msat and millionths."""

    pubkey: str
    short_channel_id: str
    fee_base_msat: int
    fee_proportional_millionths: int
    cltv_expiry_delta: int


@dataclass(frozen=True, slots=True)
class Fallback:
    """An on-chain address: witness version 0..16, 17 for P2PKH, 18 for P2SH; `program` in hex."""

    version: int
    program: str


@dataclass(frozen=True, slots=True)
class Bolt11:
    """A decoded invoice. `amount_msat` is None where the payer chooses; hashes and keys in hex, times in seconds."""

    text: str
    network: str
    amount_msat: int | None
    payment_hash: str
    payment_secret: str
    payee: str
    created_at: int
    expiry: int
    description: str | None
    description_hash: str | None
    min_final_cltv: int
    features: frozenset[int]
    metadata: bytes | None
    routes: tuple[tuple[Hop, ...], ...]
    fallbacks: tuple[Fallback, ...]

    @property
    def expires_at(self) -> int:
        return self.created_at + self.expiry


def decode(text: str) -> Bolt11:
    """Read an invoice, upper or lower case, with or without `lightning:`. Raises InvalidInvoice."""
    text = text.strip()
    return _decode(text[10:] if text[:10].lower() == "lightning:" else text)


@lru_cache(maxsize=1024)  # whoever gets, shows, pays and looks up an invoice reads it each time, signature and all
def _decode(text: str) -> Bolt11:
    hrp, words = _bech32(text)
    network, amount = _human_readable(hrp)
    if len(words) < 7 + _SIGNATURE_WORDS:
        raise InvalidInvoice("the invoice is too short")
    body, signature = words[:-_SIGNATURE_WORDS], words[-_SIGNATURE_WORDS:]
    fields = _fields(body[7:])
    payment_hash = _hash(fields, "p", "payment hash")
    payment_secret = _hash(fields, "s", "payment secret")
    description = _description(fields)
    description_hash = _optional_hash(fields, "h")
    if (description is None) == (description_hash is None):
        raise InvalidInvoice("an invoice has a description or the hash of one, and not both")
    nodes = [words for words in fields.get("n", ()) if len(words) == 53]
    node = _bytes(nodes[0]).hex() if nodes else None
    return Bolt11(
        text=text.lower(),
        network=network,
        amount_msat=amount,
        payment_hash=payment_hash,
        payment_secret=payment_secret,
        payee=_signer(hrp, body, signature, node),
        created_at=_number(body[:7]),
        expiry=_minimal(fields, "x", DEFAULT_EXPIRY),
        description=description,
        description_hash=description_hash,
        min_final_cltv=_minimal(fields, "c", DEFAULT_CLTV),
        features=_feature_bits(fields),
        metadata=_bytes(fields["m"][0]) if "m" in fields else None,
        routes=tuple(_route(words) for words in fields.get("r", ())),
        fallbacks=_fallbacks(fields.get("f", ())),
    )


def encode(
    *,
    key: SecretKey,
    network: str,
    amount_msat: int | None,
    payment_hash: str,
    created_at: int,
    description: str | None = None,
    description_hash: str | None = None,
    expiry: int = DEFAULT_EXPIRY,
    payment_secret: str | None = None,
    min_final_cltv: int = DEFAULT_CLTV,
    features: Sequence[int] = _FEATURES,
    metadata: bytes | None = None,
    routes: Sequence[Sequence[Hop]] = (),
    fallbacks: Sequence[Fallback] = (),
) -> str:
    """A signed invoice. Raises InvalidInvoice for an amount, text or network that an invoice can't carry."""
    if (description is None) == (description_hash is None):
        raise InvalidInvoice("give a description or the hash of one, and not both")
    if not 0 <= created_at < 1 << 35:
        raise InvalidInvoice("the time does not fit in 35 bits")
    if expiry < 0:
        raise InvalidInvoice("the expiry is negative")
    hrp = f"ln{_prefix(network)}{_write_amount(amount_msat)}"
    words = _words_of(created_at, 7)
    words += _field("p", _to_words(_hex32(payment_hash, "payment hash")))
    words += _field("s", _to_words(_hex32(payment_secret or secrets.token_hex(32), "payment secret")))
    if description is not None:
        words += _field("d", _to_words(description.encode()))
    if description_hash is not None:
        words += _field("h", _to_words(_hex32(description_hash, "description hash")))
    if metadata is not None:
        words += _field("m", _to_words(metadata))
    words += _field("x", _words_of(expiry))
    words += _field("c", _words_of(min_final_cltv))
    for fallback in fallbacks:
        words += _field("f", [fallback.version, *_to_words(bytes.fromhex(fallback.program))])
    for route in routes:
        words += _field("r", _to_words(b"".join(_hop_bytes(hop) for hop in route)))
    if features:
        words += _field("9", _words_of(sum(1 << bit for bit in set(features))))
    signed = PrivateKey(bytes.fromhex(key.hex)).sign_recoverable(_digest(hrp, words), hasher=None)
    words += _to_words(signed)
    return hrp + "1" + "".join(_CHARSET[word] for word in words + _checksum(hrp, words))


def check_payable(
    invoice: Bolt11,
    *,
    network: str,
    now: int,
    amount_msat: int | None = None,
    description_hash: str | None = None,
    min_seconds_left: int = 0,
) -> None:
    """The checks of a payer that need no wallet. Raises InvalidInvoice with the reason, in words for people.

    `amount_msat` is what was agreed: the invoice must say exactly that. Without it the invoice must name an amount.
    """
    if invoice.network != network:
        raise InvalidInvoice(f"the invoice is for {invoice.network}, this wallet is on {network}")
    if invoice.amount_msat is None:
        raise InvalidInvoice("the invoice names no amount")
    if amount_msat is not None and invoice.amount_msat != amount_msat:
        raise InvalidInvoice(f"the invoice asks for {invoice.amount_msat} msat, {amount_msat} msat was agreed")
    if now + min_seconds_left >= invoice.expires_at:
        late = now >= invoice.expires_at
        raise InvalidInvoice("the invoice has expired" if late else f"the invoice expires within {min_seconds_left} s")
    if description_hash is not None and invoice.description_hash != description_hash:
        raise InvalidInvoice("the invoice does not commit to the description that was shown")


# --- bech32 (BIP 173, without the length limit) ---


def _generated(top: int) -> int:
    generator = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
    return reduce(xor, (generator[bit] for bit in range(5) if top >> bit & 1), 0)


_GENERATED = tuple(_generated(top) for top in range(32))


def _polymod(values: Sequence[int]) -> int:
    checksum = 1
    for value in values:
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value ^ _GENERATED[checksum >> 25]
    return checksum


def _expand(hrp: str) -> list[int]:
    return [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp]


def _checksum(hrp: str, words: list[int]) -> list[int]:
    mod = _polymod(_expand(hrp) + words + [0] * _CHECKSUM_WORDS) ^ 1
    return [(mod >> 5 * (5 - place)) & 31 for place in range(_CHECKSUM_WORDS)]


def _bech32(text: str) -> tuple[str, list[int]]:
    if len(text) > MAX_LENGTH:
        raise InvalidInvoice(f"an invoice longer than {MAX_LENGTH} characters is not read")
    if text != text.lower() and text != text.upper():
        raise InvalidInvoice("upper and lower case are mixed")
    hrp, separator, data = text.lower().rpartition("1")
    if not separator or not hrp.startswith("ln"):
        raise InvalidInvoice("this is not a Lightning invoice: it does not start with ln...1")
    if not hrp.isascii() or len(data) < _CHECKSUM_WORDS:
        raise InvalidInvoice("this is not a Lightning invoice")
    try:
        words = [_VALUES[character] for character in data]
    except KeyError as error:
        raise InvalidInvoice(f"the character {error.args[0]!r} does not occur in invoices") from None
    if _polymod(_expand(hrp) + words) != 1:
        raise ChecksumError("the checksum is wrong: the invoice was damaged or cut off")
    return hrp, words[:-_CHECKSUM_WORDS]


def _to_words(data: bytes) -> list[int]:
    bits = len(data) * 8
    pad = -bits % 5
    number = int.from_bytes(data) << pad
    return _words_of(number, (bits + pad) // 5)


def _words_of(number: int, length: int | None = None) -> list[int]:
    """Big-endian 5-bit words; the fewest where no length is given."""
    size = (number.bit_length() + 4) // 5 if length is None else length
    words = [0] * size
    for place in range(size - 1, -1, -1):
        words[place] = number & 31
        number >>= 5
    return words


def _number(words: Sequence[int]) -> int:
    return int(bytes(words).translate(_DIGITS), 32) if words else 0


def _bytes(words: Sequence[int]) -> bytes:
    """The whole bytes in these words; the padding bits are dropped."""
    bits = len(words) * 5
    return (_number(words) >> bits % 8).to_bytes(bits // 8)


# --- the human-readable part ---


def _prefix(network: str) -> str:
    try:
        return NETWORKS[network]
    except KeyError:
        raise InvalidInvoice(f"unknown network {network!r}: one of {', '.join(NETWORKS)}") from None


def _human_readable(hrp: str) -> tuple[str, int | None]:
    # The longest prefix wins: bcrt before bc, tbs before tb.
    for prefix in sorted(_PREFIXES, key=len, reverse=True):
        if hrp.startswith(f"ln{prefix}"):
            return _PREFIXES[prefix], _read_amount(hrp[2 + len(prefix) :])
    raise InvalidInvoice("the invoice is for an unknown currency")


def _read_amount(text: str) -> int | None:
    if not text:
        return None
    unit = text[-1] if not text[-1].isdigit() else ""
    digits = text[: len(text) - len(unit)]
    if unit not in _DIVISORS or not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        raise InvalidInvoice("the amount is not a number with m, u, n or p")
    if digits[0] == "0":
        raise InvalidInvoice("the amount is zero or has leading zeros")
    msat, rest = divmod(int(digits) * _MSAT_PER_BTC, _DIVISORS[unit])
    if rest:
        raise InvalidInvoice("the amount has a fraction of a millisatoshi")
    if msat > MAX_MSAT:
        raise InvalidInvoice("the amount is more than there will ever be")
    return msat


def _write_amount(msat: int | None) -> str:
    if msat is None:
        return ""
    if not 0 < msat <= MAX_MSAT:
        raise InvalidInvoice("an invoice asks for at least 1 msat and at most 21 million bitcoin")
    for unit, divisor in _UNITS:
        amount, rest = divmod(msat * divisor, _MSAT_PER_BTC)
        if not rest:
            return f"{amount}{unit}"
    raise AssertionError("pico-bitcoin divide every msat")


# --- tagged fields ---


def _fields(words: Sequence[int]) -> dict[str, list[list[int]]]:
    fields: dict[str, list[list[int]]] = {}
    place = 0
    while place < len(words):
        if place + 3 > len(words):
            raise InvalidInvoice("a field is cut off")
        length = words[place + 1] << 5 | words[place + 2]
        value = list(words[place + 3 : place + 3 + length])
        if len(value) < length:
            raise InvalidInvoice("a field is cut off")
        fields.setdefault(_CHARSET[words[place]], []).append(value)
        place += 3 + length
    return fields


def _field(name: str, words: list[int]) -> list[int]:
    if len(words) > 1023:
        raise InvalidInvoice(f"the field {name} is longer than 639 bytes")
    return [_VALUES[name], len(words) >> 5, len(words) & 31, *words]


def _optional_hash(fields: dict[str, list[list[int]]], name: str) -> str | None:
    for words in fields.get(name, ()):
        if len(words) == 52:
            return _bytes(words).hex()
    return None


def _hash(fields: dict[str, list[list[int]]], name: str, what: str) -> str:
    value = _optional_hash(fields, name)
    if value is None:
        raise InvalidInvoice(f"the invoice has no {what}")
    return value


def _description(fields: dict[str, list[list[int]]]) -> str | None:
    if "d" not in fields:
        return None
    try:
        return _bytes(fields["d"][0]).decode()
    except UnicodeDecodeError:
        raise InvalidInvoice("the description is not text") from None


def _minimal(fields: dict[str, list[list[int]]], name: str, default: int) -> int:
    if name not in fields:
        return default
    words = fields[name][0]
    if len(words) > 12:  # 60 bits: seconds beyond any calendar
        raise InvalidInvoice(f"the field {name} is too large")
    if words and words[0] == 0 and len(words) > 1:
        raise InvalidInvoice(f"the field {name} has leading zeros")
    return _number(words)


def _feature_bits(fields: dict[str, list[list[int]]]) -> frozenset[int]:
    if "9" not in fields:
        return frozenset()
    words = fields["9"][0]
    if words and words[0] == 0:
        raise InvalidInvoice("the field 9 has leading zeros")
    number = _number(words)
    bits = frozenset(bit for bit in range(number.bit_length()) if number >> bit & 1)
    unknown = sorted(bit for bit in bits if bit % 2 == 0 and bit not in _KNOWN_FEATURES)
    if unknown:
        raise UnsupportedInvoice(f"the invoice requires the unknown feature {unknown[0]}")
    if bits & {16, 17} and not bits & {14, 15}:
        raise InvalidInvoice("the invoice offers multi-part payment without a payment secret")
    return bits


def _route(words: Sequence[int]) -> tuple[Hop, ...]:
    data = _bytes(words)
    hops = []
    for start in range(0, len(data) - 50, 51):
        entry = data[start : start + 51]
        channel = int.from_bytes(entry[33:41])
        hops.append(
            Hop(
                pubkey=entry[:33].hex(),
                short_channel_id=f"{channel >> 40}x{channel >> 16 & 0xFFFFFF}x{channel & 0xFFFF}",
                fee_base_msat=int.from_bytes(entry[41:45]),
                fee_proportional_millionths=int.from_bytes(entry[45:49]),
                cltv_expiry_delta=int.from_bytes(entry[49:51]),
            )
        )
    return tuple(hops)


def _hop_bytes(hop: Hop) -> bytes:
    block, transaction, output = (int(part) for part in hop.short_channel_id.split("x"))
    return (
        bytes.fromhex(hop.pubkey)
        + (block << 40 | transaction << 16 | output).to_bytes(8)
        + hop.fee_base_msat.to_bytes(4)
        + hop.fee_proportional_millionths.to_bytes(4)
        + hop.cltv_expiry_delta.to_bytes(2)
    )


def _fallbacks(fields: Sequence[Sequence[int]]) -> tuple[Fallback, ...]:
    return tuple(Fallback(words[0], _bytes(words[1:]).hex()) for words in fields if words and words[0] <= 18)


def _hex32(text: str, what: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise InvalidInvoice(f"the {what} is not 32 bytes in hex")
    return value


# --- the signature ---


def _digest(hrp: str, words: Sequence[int]) -> bytes:
    pad = -len(words) * 5 % 8
    bits = len(words) * 5 + pad
    return hashlib.sha256(hrp.encode() + (_number(words) << pad).to_bytes(bits // 8)).digest()


def _signer(hrp: str, body: Sequence[int], signature: Sequence[int], node: str | None) -> str:
    """The compressed key that signed. With an `n` field the signature must be that node's, and low-S."""
    signed = _bytes(signature)
    digest = _digest(hrp, body)
    if signed[64] > 3:
        raise InvalidInvoice("the signature has no valid recovery id")
    high = int.from_bytes(signed[32:64]) > CURVE_ORDER // 2
    if node is not None and high:
        raise InvalidInvoice("the signature is not in its canonical form (high S)")
    if node is None:
        recovered = _recover(signed, digest)
        if recovered is None:
            raise InvalidInvoice("the signature is not valid")
        return recovered
    # Validate against the named node: any recovery id may lead to it, the one that is written down need not be right.
    if any(_recover(signed[:64] + bytes([identity]), digest) == node for identity in range(4)):
        return node
    raise InvalidInvoice("the signature is not that of the payee")


def _recover(signature: bytes, digest: bytes) -> str | None:
    try:
        return str(PublicKey.from_signature_and_message(signature, digest, hasher=None).format(compressed=True).hex())
    except ValueError:
        return None
    except Exception as error:  # coincurve raises a bare Exception where no key fits the signature
        if type(error) is not Exception:
            raise
        return None
