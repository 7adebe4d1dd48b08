"""Versioned encryption between two keys (NIP-44, version 2): ECDH, HKDF, padding, ChaCha20, HMAC-SHA256, base64.

Decrypt only what came in an event whose signature was verified: the payload itself does not say who wrote it.
"""

import base64
import binascii
import hmac
import secrets

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from nostr.key import SecretKey

VERSION = 2
MAX_PLAINTEXT = 16 * 1024 * 1024  # bytes; the format allows 4 GiB, no message of this house comes near
_EXTENDED = 65536  # from this length on the length prefix has 6 bytes
_MAX_PAYLOAD = 4 * (MAX_PLAINTEXT + MAX_PLAINTEXT // 4) // 3


class DecryptionError(ValueError):
    """The payload is malformed, of an unknown version, or was not made for this pair of keys."""


def conversation_key(secret: SecretKey, pubkey: str) -> bytes:
    """The 32 bytes both sides share; the same with the roles swapped. Raises InvalidKey."""
    return hmac.digest(b"nip44-v2", secret.ecdh_x(pubkey), "sha256")


def encrypt(secret: SecretKey, pubkey: str, text: str) -> str:
    """Payload for `pubkey`. Raises ValueError for an empty or too long text, InvalidKey for a bad key."""
    return encrypt_with(conversation_key(secret, pubkey), text)


def decrypt(secret: SecretKey, pubkey: str, payload: str) -> str:
    """Text that `pubkey` wrote for us (or we for it). Raises DecryptionError, InvalidKey."""
    return decrypt_with(conversation_key(secret, pubkey), payload)


def encrypt_with(conversation: bytes, text: str, nonce: bytes | None = None) -> str:
    """As `encrypt`, with the key at hand. `nonce` (32 bytes) is for test vectors: never use one twice."""
    nonce = secrets.token_bytes(32) if nonce is None else nonce
    key, chacha_nonce, mac_key = message_keys(conversation, nonce)
    ciphertext = _chacha20(key, chacha_nonce, pad(text.encode()))
    mac = hmac.digest(mac_key, nonce + ciphertext, "sha256")
    return base64.b64encode(bytes((VERSION,)) + nonce + ciphertext + mac).decode()


def decrypt_with(conversation: bytes, payload: str) -> str:
    nonce, ciphertext, mac = _split(payload)
    key, chacha_nonce, mac_key = message_keys(conversation, nonce)
    if not hmac.compare_digest(hmac.digest(mac_key, nonce + ciphertext, "sha256"), mac):
        raise DecryptionError("invalid MAC: not for this pair of keys, or altered on the way")
    try:
        return unpad(_chacha20(key, chacha_nonce, ciphertext)).decode()
    except UnicodeDecodeError:
        raise DecryptionError("the text is not UTF-8") from None


def message_keys(conversation: bytes, nonce: bytes) -> tuple[bytes, bytes, bytes]:
    """(ChaCha key, ChaCha nonce, MAC key) of one message, by HKDF-expand of the conversation key."""
    if len(conversation) != 32 or len(nonce) != 32:
        raise ValueError("conversation key and nonce have 32 bytes each")
    block, output = b"", b""
    for counter in range(1, 4):
        block = hmac.digest(conversation, block + nonce + bytes((counter,)), "sha256")
        output += block
    return output[:32], output[32:44], output[44:76]


def padded_length(length: int) -> int:
    """Bytes that a text of `length` bytes takes up, without the length prefix."""
    if length <= 32:
        return 32
    power = 1 << (length - 1).bit_length()
    chunk = 32 if power <= 256 else power // 8
    return chunk * ((length - 1) // chunk + 1)


def pad(text: bytes) -> bytes:
    length = len(text)
    if not 0 < length <= MAX_PLAINTEXT:
        raise ValueError(f"a text to encrypt has 1 to {MAX_PLAINTEXT} bytes, not {length}")
    prefix = length.to_bytes(2) if length < _EXTENDED else b"\0\0" + length.to_bytes(4)
    return prefix + text + bytes(padded_length(length) - length)


def unpad(padded: bytes) -> bytes:
    start, length = 2, int.from_bytes(padded[:2])
    if length == 0:
        start, length = 6, int.from_bytes(padded[2:6])
        if length < _EXTENDED:
            raise DecryptionError("invalid padding")
    text = padded[start : start + length]
    if len(text) != length or len(padded) != start + padded_length(length):
        raise DecryptionError("invalid padding")
    return text


def _split(payload: str) -> tuple[bytes, bytes, bytes]:
    if payload.startswith("#"):
        raise DecryptionError("unknown encryption version")
    if not 132 <= len(payload) <= _MAX_PAYLOAD:
        raise DecryptionError("invalid payload length")
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise DecryptionError("the payload is not base64") from None
    if data[0] != VERSION:
        raise DecryptionError(f"unknown encryption version {data[0]}")
    if len(data) < 99:
        raise DecryptionError("invalid payload length")
    return data[1:33], data[33:-32], data[-32:]


def _chacha20(key: bytes, nonce: bytes, data: bytes) -> bytes:
    context = Cipher(ChaCha20(key, b"\0\0\0\0" + nonce), mode=None).encryptor()
    return context.update(data) + context.finalize()
