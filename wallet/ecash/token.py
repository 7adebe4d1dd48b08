"""Tokens as people paste them: `cashuA` (JSON) and `cashuB` (CBOR), NUT-00."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import orjson

from wallet.ecash.errors import EcashRefused

_MAX_TEXT = 1 << 20
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Token:
    """Proofs of one mint as the protocol writes them (`amount`, `id`, `secret`, `C`, `dleq`, `witness`)."""

    mint: str
    unit: str
    proofs: tuple[dict[str, Any], ...]
    memo: str = ""

    @property
    def amount(self) -> int:
        return sum(int(proof["amount"]) for proof in self.proofs)


def parse(text: str) -> Token:
    """Raises EcashRefused."""
    text = text.strip().removeprefix("cashu:")
    if len(text) > _MAX_TEXT:
        raise EcashRefused("the token is too long")
    try:
        if text.startswith("cashuA"):
            return _parse_json(_decode(text[6:]))
        if text.startswith("cashuB"):
            value, end = _cbor(data := _decode(text[6:]), 0, 0)
            if end != len(data):
                raise ValueError("bytes after the token")
            return _parse_cbor(value)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, binascii.Error):
        raise EcashRefused("the token is damaged") from None
    raise EcashRefused("a token begins with cashuA or cashuB")


def encode(token: Token) -> str:
    """A `cashuA` token; every wallet reads it."""
    body = {"token": [{"mint": token.mint, "proofs": list(token.proofs)}], "unit": token.unit}
    return "cashuA" + base64.urlsafe_b64encode(orjson.dumps(body)).decode().rstrip("=")


def _decode(text: str) -> bytes:
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))


def _parse_json(raw: bytes) -> Token:
    body = orjson.loads(raw)
    entries = body["token"]
    if len({entry["mint"] for entry in entries}) != 1:
        raise EcashRefused("a token of several mints is not accepted: paste one after the other")
    proofs = [read_proof(proof) for entry in entries for proof in entry["proofs"]]
    return Token(
        str(entries[0]["mint"]).rstrip("/"), str(body.get("unit") or "sat"), tuple(proofs), body.get("memo") or ""
    )


def _parse_cbor(body: dict[str, Any]) -> Token:
    proofs = []
    for entry in body["t"]:
        for item in entry["p"]:
            proof = {"amount": item["a"], "id": entry["i"].hex(), "secret": item["s"], "C": item["c"].hex()}
            if item.get("d"):
                proof["dleq"] = {name: item["d"][name].hex() for name in ("e", "s", "r") if name in item["d"]}
            if item.get("w"):
                proof["witness"] = item["w"]
            proofs.append(read_proof(proof))
    return Token(str(body["m"]).rstrip("/"), str(body["u"]), tuple(proofs), body.get("d") or "")


def read_proof(proof: dict[str, Any]) -> dict[str, Any]:
    """The fields that count. Raises ValueError, KeyError, TypeError."""
    if not isinstance(proof["amount"], int) or proof["amount"] <= 0 or not isinstance(proof["secret"], str):
        raise ValueError("no proof")
    bytes.fromhex(proof["id"])
    if len(bytes.fromhex(proof["C"])) != 33:
        raise ValueError("no point")
    return {name: proof[name] for name in ("amount", "id", "secret", "C", "dleq", "witness") if proof.get(name)}


def _cbor(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The part of CBOR (RFC 8949) that tokens use. Raises ValueError, IndexError."""
    if depth > _DEPTH:
        raise ValueError("too deep")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        number = info
    elif info < 28:
        size = 1 << (info - 24)
        number = int.from_bytes(data[at : at + size])
        at += size
    else:
        raise ValueError("indefinite lengths are not used")
    if major == 0:
        return number, at
    if major in (2, 3):
        raw = data[at : at + number]
        if len(raw) != number:
            raise ValueError("cut off")
        return (raw if major == 2 else raw.decode()), at + number
    if major == 4:
        items = []
        for _ in range(number):
            item, at = _cbor(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        found: dict[str, Any] = {}
        for _ in range(number):
            name, at = _cbor(data, at, depth + 1)
            found[str(name)], at = _cbor(data, at, depth + 1)
        return found, at
    if major == 7 and info in (20, 21, 22):
        return {20: False, 21: True, 22: None}[info], at
    raise ValueError("unknown type")
