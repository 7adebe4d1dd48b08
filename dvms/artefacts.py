"""What came out of a job, measured: hashes, sizes, picture dimensions, a blurhash for the placeholder.

Runs where the work ran (in the child process of a heavy service), so that no picture is decoded in the host.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dvms.service import Artefact, Failed, Result

_BASE83 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
_COMPONENTS = (4, 3)


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A finished file. `size` in bytes, `dim` in pixels, `poster` a still of a video."""

    path: Path
    mime: str
    sha256: str
    size: int
    dim: tuple[int, int] | None = None
    seconds: float | None = None
    blurhash: str = ""
    alt: str = ""
    poster: Path | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A finished job: a text, or files, or both; `facts` are tags of the result."""

    content: str | None = None
    files: tuple[MadeFile, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        files = [
            {**asdict(item), "path": str(item.path), "poster": str(item.poster) if item.poster else None}
            for item in self.files
        ]
        return {"content": self.content, "files": files, "facts": dict(self.facts)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Made:
        files = tuple(
            MadeFile(
                **{
                    **item,
                    "path": Path(item["path"]),
                    "dim": tuple(item["dim"]) if item["dim"] else None,
                    "poster": Path(item["poster"]) if item["poster"] else None,
                }
            )
            for item in value["files"]
        )
        return cls(value["content"], files, {str(k): str(v) for k, v in value["facts"].items()})


def measure(result: Result) -> Made:
    """Hash and measure every file of a result. Raises Failed where there is nothing, or a file is missing or empty."""
    if result.content is None and not result.files:
        raise Failed("the service made nothing")
    facts = {str(name): str(value) for name, value in result.facts.items() if str(value)}
    return Made(result.content, tuple(measure_file(item) for item in result.files), facts)


def measure_file(artefact: Artefact) -> MadeFile:
    try:
        size = artefact.path.stat().st_size
    except OSError:
        raise Failed(f"the service did not write {artefact.path.name}") from None
    if size == 0:
        raise Failed(f"the service wrote an empty {artefact.path.name}")
    with artefact.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    dim = (artefact.width, artefact.height) if artefact.width and artefact.height else None
    still = artefact.poster or (artefact.path if artefact.mime.startswith("image/") else None)
    seen, blurhash = _look(still) if still is not None else (None, "")
    if artefact.mime.startswith("image/"):
        dim = dim or seen
    return MadeFile(
        artefact.path, artefact.mime, digest, size, dim, artefact.seconds, blurhash, artefact.alt, artefact.poster
    )


def _look(path: Path) -> tuple[tuple[int, int] | None, str]:
    """Dimensions and blurhash of a picture; nothing where Pillow is not installed or can't read it."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        return None, ""
    try:
        with Image.open(path) as image:
            dim = image.size
            small = image.convert("RGB").resize((32, 32))
    except (OSError, UnidentifiedImageError, ValueError):
        return None, ""
    raw = small.tobytes()
    return dim, blurhash([tuple(raw[i : i + 3]) for i in range(0, len(raw), 3)], 32, 32)


def blurhash(pixels: Sequence[Sequence[int]], width: int, height: int) -> str:
    """The blurhash of sRGB pixels (rows from the top), 4 by 3 components."""
    linear = [[_to_linear(value) for value in pixel] for pixel in pixels]
    across, down = _COMPONENTS
    factors: list[tuple[float, float, float]] = []
    for j in range(down):
        rows = [math.cos(math.pi * j * y / height) for y in range(height)]
        for i in range(across):
            columns = [math.cos(math.pi * i * x / width) for x in range(width)]
            total = [0.0, 0.0, 0.0]
            for y in range(height):
                for x in range(width):
                    weight = columns[x] * rows[y]
                    pixel = linear[y * width + x]
                    total[0] += weight * pixel[0]
                    total[1] += weight * pixel[1]
                    total[2] += weight * pixel[2]
            scale = (1 if i == j == 0 else 2) / (width * height)
            factors.append((total[0] * scale, total[1] * scale, total[2] * scale))
    mean, rest = factors[0], factors[1:]
    largest = max(abs(value) for factor in rest for value in factor)
    quantised = max(0, min(82, math.floor(largest * 166 - 0.5)))
    limit = (quantised + 1) / 166
    text = _base83((across - 1) + (down - 1) * 9, 1) + _base83(quantised, 1)
    text += _base83(_to_srgb(mean[0]) << 16 | _to_srgb(mean[1]) << 8 | _to_srgb(mean[2]), 4)
    for factor in rest:
        r, g, b = (max(0, min(18, math.floor(_signed_root(value / limit) * 9 + 9.5))) for value in factor)
        text += _base83(r * 361 + g * 19 + b, 2)
    return text


def _to_linear(value: int) -> float:
    v = value / 255
    return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4


def _to_srgb(value: float) -> int:
    v = max(0.0, min(1.0, value))
    return int((v * 12.92 if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055) * 255 + 0.5)


def _signed_root(value: float) -> float:
    return math.copysign(math.sqrt(abs(value)), value)


def _base83(value: int, length: int) -> str:
    return "".join(_BASE83[value // 83 ** (length - i) % 83] for i in range(1, length + 1))
