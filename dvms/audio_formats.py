"""The sound files the shop can write. Without numpy, so that a host can refuse before any bill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# MIME type -> (suffix, container, codec, bit rate of stereo).
FORMATS: Final[Mapping[str, tuple[str, str, str, int]]] = {
    "audio/mp4": (".m4a", "ipod", "aac", 160_000),
    "audio/mpeg": (".mp3", "mp3", "libmp3lame", 160_000),
    "audio/ogg": (".ogg", "ogg", "libopus", 128_000),
    "audio/flac": (".flac", "flac", "flac", 0),
    "audio/wav": (".wav", "wav", "pcm_s16le", 0),
}
_ALIASES: Final = {
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
    "audio/aac": "audio/mp4",
    "audio/mp3": "audio/mpeg",
    "audio/opus": "audio/ogg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-flac": "audio/flac",
}
_OPEN: Final = ("", "*/*", "audio/*", "audio", "url", "text/plain", "application/json")


def known_format(mime: str | None) -> str | None:
    """The type of FORMATS that a customer's `output` means: m4a where it is open, None where it is none of them."""
    wanted = (mime or "").partition(";")[0].strip().lower()
    wanted = _ALIASES.get(wanted, wanted)
    if wanted in FORMATS:
        return wanted
    if wanted in _OPEN:
        return "audio/mp4"
    by_suffix = {suffix[1:]: mime for mime, (suffix, *_) in FORMATS.items()}
    return by_suffix.get(wanted.lstrip("."))
