"""Files that only one customer can read (NIP-17's file messages): AES-256-GCM, key and nonce inside the sealed result.

A customer who can open such files says so with the parameter `encryption-algorithm` = `aes-gcm`, inside the encrypted
request. What lies on the file server then is noise, named by its own hash; the original's hash goes along as `ox`.
The last 16 bytes of the file are GCM's tag, as WebCrypto and Java write it. A key is used for one file.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from market.errors import FetchRefused
from market.fetch import RESULT, Fetched, Limits, fetch
from market.job import Feedback
from market.media import Media, Seal, read_seal
from nostr import nip44
from nostr.key import SecretKey
from nostr.sniff import extension, sniff

PARAM: Final = "encryption-algorithm"
ALGORITHM: Final = "aes-gcm"
_TAG: Final = 16
_CHUNK: Final = 1 << 20
_HEAD: Final = 8192  # bytes that show a file's type


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A sealed copy. `sha256` and `size` are of the noise, `seal` opens it."""

    path: Path
    sha256: str
    size: int
    seal: Seal = field(repr=False)


def seal_file(path: Path, to: Path) -> SealedFile:
    """Write a sealed copy of `path` to `to`, under a key of its own. Raises OSError."""
    key, nonce = secrets.token_bytes(32), secrets.token_bytes(12)
    cipher = Cipher(AES(key), GCM(nonce)).encryptor()
    plain, noise = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as source, to.open("wb") as target:
        while chunk := source.read(_CHUNK):
            plain.update(chunk)
            sealed = cipher.update(chunk)
            noise.update(sealed)
            target.write(sealed)
        end = cipher.finalize() + cipher.tag
        noise.update(end)
        target.write(end)
    seal = Seal(key.hex(), nonce.hex(), plain.hexdigest())
    return SealedFile(to, noise.hexdigest(), to.stat().st_size, seal)


def open_file(path: Path, seal: Seal, to: Path) -> str:
    """Write the original of a sealed file to `to`, and return its hash. Raises FetchRefused if it can't be opened."""
    size = path.stat().st_size - _TAG
    if size < 0:
        raise FetchRefused("the sealed file is too short")
    digest = hashlib.sha256()
    fresh = to.with_name(f"{to.name}.opening")
    try:
        cipher = Cipher(AES(bytes.fromhex(seal.key)), GCM(bytes.fromhex(seal.nonce))).decryptor()
        with path.open("rb") as source, fresh.open("wb") as target:
            while size > 0:
                chunk = source.read(min(_CHUNK, size))
                size -= len(chunk)
                plain = cipher.update(chunk)
                digest.update(plain)
                target.write(plain)
            cipher.finalize_with_tag(source.read(_TAG))
    except (InvalidTag, ValueError):
        fresh.unlink(missing_ok=True)
        raise FetchRefused("the sealed file can't be opened with the key of the result") from None
    fresh.replace(to)
    return digest.hexdigest()


def bought_seal(tags: Iterable[Sequence[str]], buyer: SecretKey, seller: str, preimage: str | None) -> Seal | None:
    """What opens a file whose key is the preimage of its payment (docs/chaining.md 7), from the result's tags.

    A wallet that keeps its preimages is no hindrance: the result carries the key for the buyer as well. None where the
    file is not sold so, or the key is not to be had.
    """
    tag = next((tag for tag in tags if tag[0] == "sealed" and len(tag) > 4 and tag[1] == ALGORITHM), None)
    if tag is None:
        return None
    if preimage is None:
        with suppress(ValueError):
            preimage = nip44.decrypt(buyer, seller, tag[3])
    return read_seal(preimage or "", tag[2], tag[4])


def billed_file(bill: Feedback, preimage: str) -> Media | None:
    """The sealed file that a bill offered, openable with the payment's preimage: the result itself is not needed."""
    tags = {tag[0]: tag[1:] for tag in bill.tags if len(tag) > 1}
    if "sealed" not in tags or "url" not in tags or len(tags["sealed"]) < 2:
        return None
    seal = read_seal(preimage, tags["sealed"][1], tags.get("x", ("",))[0])
    return Media(tags["url"][0], tags.get("ox", ("",))[0], tags.get("m", ("",))[0], seal=seal) if seal else None


async def fetch_media(
    media: Media, limits: Limits = RESULT, *, allow_loopback_hosts: Iterable[str] = (), into: Path
) -> Fetched:
    """Download a file of a result, opened where it was sealed. Raises as `market.fetch.fetch`.

    A sealed file is described as what it is after opening: its type sniffed, its own size and hash.
    """
    got = await fetch(
        media.url, limits, allow_loopback_hosts=allow_loopback_hosts, into=into, sha256=media.sha256 or None
    )
    if media.seal is None:
        return got
    return await asyncio.to_thread(_opened, got, media.seal)


def _opened(got: Fetched, seal: Seal) -> Fetched:
    """The original takes the place of its sealed copy. Raises FetchRefused."""
    if got.path is None:
        raise TypeError("a sealed file is fetched into a folder")
    try:
        fresh = got.path.with_name(f"{got.path.name}.plain")
        digest = open_file(got.path, seal, fresh)
        if seal.sha256 and seal.sha256 != digest:
            fresh.unlink()
            raise FetchRefused("the opened file is not the one the result promised: its hash differs")
    finally:
        got.path.unlink()
    with fresh.open("rb") as file:
        mime = sniff(file.read(_HEAD))
    path = got.path.with_name(digest + extension(mime))
    fresh.replace(path)
    return replace(got, path=path, sha256=digest, size=path.stat().st_size, mime=mime)
