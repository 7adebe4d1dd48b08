"""A published file and its NIP-92 / NIP-94 description."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from market.tags import Tag, is_http_url, parse_hex64

_NONCE = re.compile(r"^([0-9a-fA-F]{2}){12,16}$")
_DIM = re.compile(r"^(\d{1,5})x(\d{1,5})$")


@dataclass(frozen=True, slots=True)
class Seal:
    """What opens a sealed file (market.sealed): AES-GCM key and nonce in hex, and the hash of the original."""

    key: str = field(repr=False)
    nonce: str = field(repr=False)
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Media:
    """One file at a URL. `size` in bytes, `dim` = (width, height) in pixels, `seconds` for audio and video.

    With a `seal`, `sha256` and `size` are those of the sealed file at the URL, everything else is of the original.
    """

    url: str
    sha256: str = ""
    mime: str = ""
    size: int | None = None
    dim: tuple[int, int] | None = None
    seconds: float | None = None
    blurhash: str = ""
    alt: str = ""
    poster: str = ""
    seal: Seal | None = None

    @property
    def original(self) -> str:
        """The hash of the file as its reader has it."""
        return self.seal.sha256 if self.seal is not None else self.sha256

    def imeta(self) -> list[str]:
        """The NIP-92 tag of this file."""
        fields = [
            ("url", self.url),
            ("m", self.mime),
            ("x", self.sha256),
            ("size", str(self.size) if self.size is not None else ""),
            ("dim", f"{self.dim[0]}x{self.dim[1]}" if self.dim else ""),
            ("duration", f"{self.seconds:g}" if self.seconds is not None else ""),
            ("blurhash", self.blurhash),
            ("image", self.poster),
            ("alt", " ".join(self.alt.split())),
        ]
        if self.seal is not None:
            fields += [
                ("encryption-algorithm", "aes-gcm"),
                ("decryption-key", self.seal.key),
                ("decryption-nonce", self.seal.nonce),
                ("ox", self.seal.sha256),
            ]
        return ["imeta", *(f"{name} {value}" for name, value in fields if value)]

    @classmethod
    def from_imeta(cls, tag: Tag) -> Media | None:
        """Read an `imeta` tag; None without a http(s) URL. Unknown fields are skipped."""
        fields: dict[str, str] = {}
        for item in tag[1:]:
            name, _, value = item.strip().partition(" ")
            fields.setdefault(name.lower(), value.strip())
        return _media(fields)


def _media(fields: dict[str, str]) -> Media | None:
    if not is_http_url(fields.get("url", "")):
        return None
    dim = _DIM.match(fields.get("dim", ""))
    return Media(
        url=fields["url"].strip(),
        sha256=parse_hex64(fields.get("x", "")) or "",
        mime=fields.get("m", "").lower(),
        size=int(fields["size"]) if fields.get("size", "").isascii() and fields.get("size", "").isdigit() else None,
        dim=(int(dim.group(1)), int(dim.group(2))) if dim else None,
        seconds=_seconds(fields.get("duration", "")),
        blurhash=fields.get("blurhash", ""),
        alt=fields.get("alt", ""),
        poster=fields.get("image", "") or fields.get("thumb", ""),
        seal=_seal(fields),
    )


def _seal(fields: dict[str, str]) -> Seal | None:
    """What opens the file; None where it is not sealed, or in a way nobody here can open."""
    if fields.get("encryption-algorithm", "").lower() != "aes-gcm":
        return None
    return read_seal(fields.get("decryption-key", ""), fields.get("decryption-nonce", ""), fields.get("ox", ""))


def read_seal(key: str, nonce: str, sha256: str) -> Seal | None:
    """Key, nonce and hash in hex, from a stranger; None where key or nonce cannot be such."""
    if parse_hex64(key) is None or not _NONCE.match(nonce):
        return None
    return Seal(key.lower(), nonce.lower(), parse_hex64(sha256) or "")


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e7 else None


def read_media(tags: Iterable[Tag], content: str) -> tuple[Media, ...]:
    """Every file a result points at, in order.

    `imeta` tags come first; then NIP-94 style single tags (`x`, `m`, `dim`, `size`) that describe the content's URL;
    then bare URLs in the content (one, a line each, or a JSON array the caller has already joined by lines).
    """
    tags = list(tags)
    found: dict[str, Media] = {}
    for tag in tags:
        if tag and tag[0] == "imeta" and (media := Media.from_imeta(tag)):
            found.setdefault(media.url, media)
    single = {
        tag[0]: tag[1] for tag in reversed(tags) if len(tag) > 1 and tag[0] in ("x", "m", "dim", "size", "blurhash")
    }
    bare = [line.strip() for line in content.splitlines() if line.strip()]
    if bare and len(bare) <= 64 and all(is_http_url(line) for line in bare):
        for index, url in enumerate(bare):
            described = _media({"url": url, **(single if index == 0 else {})})
            if described and url not in found:
                found[url] = described
    return tuple(found.values())
