"""Secret keys under a password (NIP-49): scrypt, then XChaCha20-Poly1305, in bech32 as `ncryptsec1...`."""

import secrets
import struct
import unicodedata

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from nostr.key import InvalidKey, SecretKey
from nostr.nip19 import InvalidNip19, bech32_decode, bech32_encode

_PREFIX = "ncryptsec"
_VERSION = 2
_MOST_WORK = 22  # 4 GiB of memory: more is an attack, not a key
KNOWN_INSECURE, KNOWN_SECURE, UNTRACKED = 0, 1, 2


class WrongPassword(InvalidKey):
    """The password does not open this key (or the text was altered)."""


def encrypt(key: SecretKey, password: str, *, log_n: int = 16, security: int = UNTRACKED) -> str:
    """`log_n`: 16 takes 64 MiB and about 0.1 s, each step doubles both. `security`: how the key was handled so far."""
    salt, nonce, aad = secrets.token_bytes(16), secrets.token_bytes(24), bytes((security,))
    sealed = _cipher(_derive(password, salt, log_n), nonce).encrypt(_tail(nonce), bytes.fromhex(key.hex), aad)
    return bech32_encode(_PREFIX, bytes((_VERSION, log_n)) + salt + nonce + aad + sealed)


def decrypt(text: str, password: str) -> SecretKey:
    """Raises InvalidKey where the text is no such key, WrongPassword where the password does not fit."""
    try:
        prefix, data = bech32_decode(text.strip())
    except InvalidNip19 as error:
        raise InvalidKey(str(error)) from None
    if prefix != _PREFIX or len(data) != 91 or data[0] != _VERSION:
        raise InvalidKey("not an encrypted key of NIP-49")
    log_n, salt, nonce, aad, sealed = data[1], data[2:18], data[18:42], data[42:43], data[43:]
    if not 1 <= log_n <= _MOST_WORK:
        raise InvalidKey(f"the key asks for scrypt with log_n {log_n}, more than {_MOST_WORK} is not opened")
    try:
        return SecretKey(_cipher(_derive(password, salt, log_n), nonce).decrypt(_tail(nonce), sealed, aad))
    except InvalidTag:
        raise WrongPassword("wrong password") from None


def _derive(password: str, salt: bytes, log_n: int) -> bytes:
    text = unicodedata.normalize("NFKC", password).encode()
    return Scrypt(salt=salt, length=32, n=1 << log_n, r=8, p=1).derive(text)


def _cipher(key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hchacha20(key, nonce[:16]))


def _tail(nonce: bytes) -> bytes:
    return b"\0\0\0\0" + nonce[16:]


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """The subkey of XChaCha20 (draft-irtf-cfrg-xchacha, section 2.2): 32-byte key, 16-byte nonce, 32 bytes out."""
    state = [*struct.unpack("<4L", b"expand 32-byte k"), *struct.unpack("<8L", key), *struct.unpack("<4L", nonce)]
    for _ in range(10):
        for a, b, c, d in _ROUNDS:
            _quarter(state, a, b, c, d)
    return struct.pack("<8L", *state[:4], *state[12:])


_ROUNDS = (
    *((i, i + 4, i + 8, i + 12) for i in range(4)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)


def _quarter(s: list[int], a: int, b: int, c: int, d: int) -> None:
    for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & 0xFFFFFFFF
        mixed = s[z] ^ s[x]
        s[z] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF
