"""The old encryption (NIP-04): AES-256-CBC under the shared x, no authentication.

Only for peers that know no better.
"""

import base64
import binascii
import secrets

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from nostr.key import SecretKey
from nostr.nip44 import DecryptionError

_SEPARATOR = "?iv="


def looks_like(payload: str) -> bool:
    """True for the shape of NIP-04, which NIP-44 payloads never have."""
    return _SEPARATOR in payload


def encrypt(secret: SecretKey, pubkey: str, text: str) -> str:
    """`<base64>?iv=<base64>`. Raises InvalidKey."""
    iv = secrets.token_bytes(16)
    padder = PKCS7(128).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    cipher = Cipher(AES256(secret.ecdh_x(pubkey)), CBC(iv)).encryptor()
    sealed = cipher.update(padded) + cipher.finalize()
    return base64.b64encode(sealed).decode() + _SEPARATOR + base64.b64encode(iv).decode()


def decrypt(secret: SecretKey, pubkey: str, payload: str) -> str:
    """Raises DecryptionError, InvalidKey. With no authentication a wrong key is noticed only by chance."""
    sealed_text, found, iv_text = payload.partition(_SEPARATOR)
    try:
        sealed, iv = base64.b64decode(sealed_text, validate=True), base64.b64decode(iv_text, validate=True)
    except (binascii.Error, ValueError):
        raise DecryptionError("the payload is not base64") from None
    if not found or len(iv) != 16 or not sealed or len(sealed) % 16:
        raise DecryptionError("not a NIP-04 payload")
    cipher = Cipher(AES256(secret.ecdh_x(pubkey)), CBC(iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    try:
        text = unpadder.update(cipher.update(sealed) + cipher.finalize()) + unpadder.finalize()
        return text.decode()
    except ValueError:  # the padding or the UTF-8
        raise DecryptionError("not for this pair of keys") from None
