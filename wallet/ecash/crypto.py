"""Blind signatures of Cashu: NUT-00 (blinding), NUT-02 (keyset ids), NUT-11 (locks to a key), NUT-12 (DLEQ proofs).

Points are compressed public keys in hex, scalars and digests 32 bytes in hex.
"""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import orjson
from coincurve import PublicKey

from nostr.key import CURVE_ORDER, SecretKey
from wallet.ecash.errors import EcashRefused

_DOMAIN = b"Secp256k1_HashToCurve_Cashu_"


def hash_to_curve(message: bytes) -> str:
    """The point Y of a secret."""
    digest = hashlib.sha256(_DOMAIN + message).digest()
    for counter in range(1 << 16):
        candidate = b"\x02" + hashlib.sha256(digest + counter.to_bytes(4, "little")).digest()
        try:
            return PublicKey(candidate).format().hex()
        except ValueError:
            continue
    raise AssertionError("no point found")  # one in 2**65536


def blind(secret: str, r: str) -> str:
    """B_ = Y + rG."""
    return _add(hash_to_curve(secret.encode()), _times_g(r))


def unblind(signed: str, r: str, mint_key: str) -> str:
    """C = C_ - rK."""
    return _add(signed, _negate(_times(mint_key, r)))


def random_scalar() -> str:
    return (secrets.randbelow(CURVE_ORDER - 1) + 1).to_bytes(32).hex()


def check_signature_proof(dleq: Mapping[str, Any], blinded: str, signed: str, mint_key: str) -> bool:
    """Whether the mint signed with the key it publishes (NUT-12)."""
    try:
        e, s = str(dleq["e"]), str(dleq["s"])
        r1 = _add(_times_g(s), _negate(_times(mint_key, e)))
        r2 = _add(_times(blinded, s), _negate(_times(signed, e)))
        return hash_points(r1, r2, mint_key, signed) == e
    except (KeyError, ValueError):
        return False


def check_proof(proof: Mapping[str, Any], mint_key: str) -> bool:
    """The same for a proof that came from somebody else, who adds the blinding factor `r`."""
    try:
        dleq, c = proof["dleq"], str(proof["C"])
        r = str(dleq["r"])
        blinded = blind(str(proof["secret"]), r)
        return check_signature_proof(dleq, blinded, _add(c, _times(mint_key, r)), mint_key)
    except (KeyError, ValueError, TypeError):
        return False


def hash_points(*points: str) -> str:
    text = "".join(PublicKey(bytes.fromhex(point)).format(compressed=False).hex() for point in points)
    return hashlib.sha256(text.encode()).hexdigest()


def keyset_id(keys: Mapping[int, str], unit: str, fee_ppk: int, final_expiry: int | None, version: str) -> str:
    """The id that a keyset with these keys must have; `version` is `00` or `01`."""
    ordered = sorted(keys.items())
    if version == "00":
        return "00" + hashlib.sha256(b"".join(bytes.fromhex(key) for _, key in ordered)).hexdigest()[:14]
    text = ",".join(f"{amount}:{key.lower()}" for amount, key in ordered) + f"|unit:{unit.lower()}"
    if fee_ppk:
        text += f"|input_fee_ppk:{fee_ppk}"
    if final_expiry:
        text += f"|final_expiry:{final_expiry}"
    return "01" + hashlib.sha256(text.encode()).hexdigest()


def unlock(secret: str, key: SecretKey) -> str | None:
    """The witness that opens a proof locked to `key` (NUT-11); None where it is not locked. Raises EcashRefused.

    A lock with further conditions (several signatures, a time, signatures over outputs) is not opened: what it is
    worth depends on others.
    """
    if not secret.lstrip().startswith("["):
        return None
    try:
        kind, body = orjson.loads(secret)
        owner, tags = str(body["data"]), [str(tag[0]) for tag in body.get("tags") or []]
    except (orjson.JSONDecodeError, ValueError, KeyError, TypeError, IndexError):
        raise EcashRefused("the ecash is locked in a way that is not known here") from None
    if kind != "P2PK" or any(tag in ("locktime", "n_sigs", "refund", "pubkeys") for tag in tags):
        raise EcashRefused("the ecash is locked with conditions that are not accepted here")
    if _flag(body) == "SIG_ALL" or owner[2:] != key.public:
        raise EcashRefused("the ecash is locked to another key")
    digest = hashlib.sha256(secret.encode()).digest()
    return orjson.dumps({"signatures": [key.sign_digest(digest).hex()]}).decode()


def _flag(body: Mapping[str, Any]) -> str:
    return next((str(tag[1]) for tag in body.get("tags") or [] if tag[0] == "sigflag" and len(tag) > 1), "SIG_INPUTS")


def _add(left: str, right: str) -> str:
    keys = [PublicKey(bytes.fromhex(left)), PublicKey(bytes.fromhex(right))]
    return PublicKey.combine_keys(keys).format().hex()


def _negate(point: str) -> str:
    raw = bytes.fromhex(point)
    return (bytes([raw[0] ^ 1]) + raw[1:]).hex()


def _times(point: str, scalar: str) -> str:
    return PublicKey(bytes.fromhex(point)).multiply(bytes.fromhex(scalar)).format().hex()


def _times_g(scalar: str) -> str:
    return PublicKey.from_secret(bytes.fromhex(scalar)).format().hex()
