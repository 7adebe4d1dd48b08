"""Sealed delivery: pay for the key. The file lies encrypted on our Blossom; the preimage of the bill is its key.

The composite is made first, then billed with a hold invoice whose payment hash is the hash of the file's key, so the
payment and the key change hands in one step, without a third party. What it does not give: a look at the content before
paying (that is what the gates, the hash in the bill and the seller's reviews are for), or secrecy of the key from the
Lightning nodes of the route, which learn the preimage too. See `docs/threat-model.md`.

The file is as `market.sealed` has it (AES-256-GCM, the tag at its end), and buyers open it with that.
"""

import hashlib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def seal(data: bytes, key: bytes) -> tuple[bytes, bytes]:
    """(nonce, sealed bytes). The key is used for nothing else; the same input gives the same bytes, crash or not."""
    nonce = hashlib.sha256(b"timmy:nonce:" + key).digest()[:12]
    return nonce, AESGCM(key).encrypt(nonce, data, None)
