"""Secret keys and Schnorr signatures (BIP-340, through libsecp256k1).

Public keys are plain strings of 64 hex digits everywhere. A `SecretKey` never shows itself: not in repr, not in an
error, not in a log. `hex` is the one explicit way out, for files of mode 0600 and for NIP-49.
"""

import os
import secrets
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coincurve import PrivateKey, PublicKey, PublicKeyXOnly
from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

from nostr.clock import system_clock

if TYPE_CHECKING:
    from nostr.event import Event

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class InvalidKey(ValueError):
    """Not a secp256k1 key. The message never repeats the key."""


class SecretKey:
    """A secp256k1 secret key. `public` is its x-only public key in hex."""

    __slots__ = ("_key", "_pair", "public")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret) < CURVE_ORDER:
            raise InvalidKey("a secret key is 32 bytes, not zero and below the order of the curve")
        self._key = PrivateKey(secret)
        self._pair: Any = None  # libsecp256k1's form of the key for signing, made once: it costs as much as a signature
        self.public: str = self._key.public_key.format(compressed=True)[1:].hex()

    @classmethod
    def generate(cls) -> "SecretKey":
        while True:
            secret = secrets.token_bytes(32)
            if 0 < int.from_bytes(secret) < CURVE_ORDER:
                return cls(secret)

    @classmethod
    def from_hex(cls, text: str) -> "SecretKey":
        try:
            return cls(bytes.fromhex(text.strip()))
        except ValueError:
            raise InvalidKey("a secret key in hex is 64 digits") from None

    @classmethod
    def from_nsec(cls, text: str) -> "SecretKey":
        from nostr.nip19 import InvalidNip19, decode

        try:
            prefix, value = decode(text.strip())
        except InvalidNip19:
            raise InvalidKey("not a valid nsec") from None
        if prefix != "nsec" or not isinstance(value, str):
            raise InvalidKey("not an nsec")
        return cls.from_hex(value)

    @property
    def hex(self) -> str:
        """The secret itself. For key files and encryption of them only."""
        return str(self._key.to_hex())

    def sign_digest(self, digest: bytes) -> bytes:
        """A 64-byte BIP-340 signature over 32 bytes, with fresh randomness. Raises ValueError for another length.

        `PrivateKey.sign_schnorr` does the same three times slower: it derives the key pair anew for every signature.
        """
        if len(digest) != 32:
            raise ValueError("a digest to sign has 32 bytes")
        if self._pair is None:
            pair = ffi.new("secp256k1_keypair *")
            if not lib.secp256k1_keypair_create(GLOBAL_CONTEXT.ctx, pair, self._key.secret):
                raise InvalidKey("not a secret key")
            self._pair = pair
        signature = ffi.new("unsigned char[64]")
        noise = secrets.token_bytes(32)
        if not lib.secp256k1_schnorrsig_sign32(GLOBAL_CONTEXT.ctx, signature, digest, self._pair, noise):
            raise ValueError("libsecp256k1 could not sign")
        return bytes(signature)

    def sign(
        self, *, kind: int, content: str = "", tags: Iterable[Sequence[str]] = (), created_at: int | None = None
    ) -> "Event":
        """A signed event. `created_at` is in seconds; None means now."""
        from nostr.event import Event, event_id

        at = system_clock() if created_at is None else created_at
        frozen = tuple(tuple(tag) for tag in tags)
        digest = event_id(self.public, at, kind, frozen, content)
        return Event(digest, self.public, at, kind, frozen, content, self.sign_digest(bytes.fromhex(digest)).hex())

    def ecdh_x(self, pubkey: str) -> bytes:
        """The x coordinate of the shared point, unhashed (what NIP-04 and NIP-44 start from)."""
        try:
            point = PublicKey(b"\x02" + bytes.fromhex(pubkey))
        except ValueError:
            raise InvalidKey("not a public key") from None
        return bytes(point.multiply(self._key.secret).format(compressed=True)[1:])

    def __repr__(self) -> str:
        return f"SecretKey(public={self.public})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a SecretKey is not pickled: pass the path of its file")


@lru_cache(maxsize=4096)
def _x_only(pubkey: str) -> PublicKeyXOnly | None:
    try:
        return PublicKeyXOnly(bytes.fromhex(pubkey))
    except ValueError:
        return None


def verify_schnorr(pubkey: str, digest: bytes, signature: bytes) -> bool:
    """BIP-340 verification; False also where the key is not on the curve."""
    key = _x_only(pubkey)
    return key is not None and len(signature) == 64 and bool(key.verify(signature, digest))


def load_or_create(path: Path) -> SecretKey:
    """The key in this file (hex, mode 0600), made on first use; `<name>.pub` beside it where it is missing."""
    try:
        key = SecretKey.from_hex(path.read_text())
    except FileNotFoundError:
        key = _create(path)
    except InvalidKey as error:
        raise InvalidKey(f"{path}: {error}") from None
    public = path.with_suffix(".pub")
    if not public.exists():
        fresh = path.with_name(f"{public.name}.{os.getpid()}.new")
        fresh.write_text(key.public + "\n")
        fresh.replace(public)  # at once and whole: other parts read it while we write
    return key


def _create(path: Path) -> SecretKey:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = SecretKey.generate()
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key.hex + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)  # fails where another process was first: then its key is the key
    except FileExistsError:
        key = SecretKey.from_hex(path.read_text())
    finally:
        fresh.unlink()
    return key
