"""Sealed delivery: pay for the key. The file lies encrypted on our Blossom; the preimage of the bill is its key.

The composite is made first, then billed with a hold invoice whose payment hash is the hash of the file's key, so the
payment and the key change hands in one step, without a third party. What it does not give: a look at the content before
paying (that is what the gates, the hash in the bill and the seller's reviews are for), or secrecy of the key from the
Lightning nodes of the route, which learn the preimage too. See `docs/threat-model.md`.
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SCHEME = "aes-256-gcm"
_MAGIC = b"TSD1"


class NotSealed(ValueError):
    """The bytes are not a sealed file, or the key is another one's."""


def seal(data: bytes, key: bytes) -> bytes:
    """Encrypt with a key used for nothing else; the same input gives the same bytes, so a crash costs nothing."""
    nonce = hashlib.sha256(b"timmy:nonce:" + key).digest()[:12]
    return _MAGIC + nonce + AESGCM(key).encrypt(nonce, data, _MAGIC)


def unseal(data: bytes, key: bytes) -> bytes:
    """The file again. Raises NotSealed."""
    if not data.startswith(_MAGIC) or len(data) < 32 or len(key) != 32:
        raise NotSealed("these bytes are no sealed file")
    try:
        return AESGCM(key).decrypt(data[4:16], data[16:], _MAGIC)
    except InvalidTag:
        raise NotSealed("this is not the key of this file") from None
