"""Painting with arrays: noise, ramps, soft shapes. Floats are 0..1, RGB(A) last; sizes are pixels.

Noise comes from small lattices whose size does not depend on the resolution, so that a seed looks the same at any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Array: TypeAlias = NDArray[np.floating[Any]]
Colour: TypeAlias = str | Sequence[float] | Array
Rng: TypeAlias = np.random.Generator


@dataclass(slots=True)
class Layer:
    """A piece of the picture: RGBA at (x, y) of the canvas. `depth` is 0 far to 1 near.

    `motion` says how it lives when animated: still, drift, twinkle, shimmer, sway, bob, float, hop,
    dance, go left, go right, fall, rise.
    """

    name: str
    image: Image.Image
    x: int
    y: int
    depth: float
    motion: str = "still"
    phase: float = 0.0


@dataclass(frozen=True, slots=True)
class Canvas:
    """The frame (what is seen) with a margin around it, so that a camera can move: frame units are 0..1."""

    width: int
    height: int
    pad: int

    @property
    def w(self) -> int:
        return self.width + 2 * self.pad

    @property
    def h(self) -> int:
        return self.height + 2 * self.pad

    @property
    def unit(self) -> float:
        """What sizes of things are measured in: the height, less in pictures that are taller than wide."""
        return min(float(self.height), self.width * 1.15)

    def x(self, unit: float) -> float:
        return self.pad + unit * self.width

    def y(self, unit: float) -> float:
        return self.pad + unit * self.height


@dataclass(frozen=True, slots=True)
class Palette:
    """The light of a time of day. `ambient` multiplies what stands in it."""

    name: str
    sky: tuple[tuple[float, str], ...]
    haze: str
    sun: str
    ambient: tuple[float, float, float]
    land: str
    land2: str
    sea: tuple[str, str]
    stars: float = 0.0
    dark: bool = field(default=False)


def rgb(colour: Colour) -> Array:
    if isinstance(colour, str):
        text = colour.lstrip("#")
        return np.array([int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)], np.float32)
    return np.asarray(colour, np.float32)


def mix(a: Colour, b: Colour, t: float) -> Array:
    return np.asarray(rgb(a) * (1 - t) + rgb(b) * t, np.float32)


def ramp(t: Array, stops: Sequence[tuple[float, Colour]]) -> Array:
    """Colours along `stops` (position, colour) for every value of t."""
    at, colours = [s[0] for s in stops], np.array([rgb(s[1]) for s in stops])
    return np.stack([np.interp(t, at, colours[:, k]) for k in range(3)], -1).astype(np.float32)


def stretch(a: Array, w: int, h: int) -> Array:
    return np.asarray(Image.fromarray(a.astype(np.float32)).resize((w, h), Image.Resampling.BICUBIC))


def noise(
    rng: Rng, w: int, h: int, cells: int = 4, octaves: int = 4, gain: float = 0.5, stretch_x: float = 1.0
) -> Array:
    """Value noise, about 0..1, of `cells` lumps across. `stretch_x` below 1 draws the lumps out sideways."""
    small_w, small_h = min(w, 480), max(2, round(min(w, 480) * h / w))
    out, amp, total = np.zeros((small_h, small_w), np.float32), 1.0, 0.0
    for octave in range(octaves):
        count = cells * 2**octave
        lattice = rng.random((max(2, round(count * h / w)) + 2, max(2, round(count * stretch_x)) + 2))
        out += amp * stretch(lattice.astype(np.float32), small_w, small_h)
        total += amp
        amp *= gain
    out /= total
    return out if (small_w, small_h) == (w, h) else stretch(out, w, h)


def line_noise(rng: Rng, n: int, cells: int = 4, octaves: int = 5, gain: float = 0.5) -> Array:
    """A smooth random line of n points, about 0..1."""
    out, x, amp, total = np.zeros(n, np.float32), np.linspace(0, 1, n), 1.0, 0.0
    for octave in range(octaves):
        knots = rng.random(cells * 2**octave + 2)
        t = x * (len(knots) - 1)
        i = np.minimum(t.astype(int), len(knots) - 2)
        f = t - i
        f = f * f * (3 - 2 * f)
        out += amp * (knots[i] * (1 - f) + knots[i + 1] * f)
        total += amp
        amp *= gain
    return np.asarray(out / total, np.float32)


def blur(a: Array, radius: float) -> Array:
    """Gaussian blur of a 2-D array in 0..1, at reduced size where the radius allows."""
    h, w = a.shape
    step = max(1, int(radius // 3))
    image = Image.fromarray((np.clip(a, 0, 1) * 255).astype(np.uint8))
    if step > 1:
        image = image.resize((max(2, w // step), max(2, h // step)), Image.Resampling.BOX)
    image = image.filter(ImageFilter.GaussianBlur(radius / step))
    return np.asarray(image.resize((w, h), Image.Resampling.BICUBIC), np.float32) / 255


def to_image(colours: Array, alpha: Array | None = None) -> Image.Image:
    data = (np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8)
    if alpha is None:
        return Image.fromarray(data)
    plane = (np.clip(alpha, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(np.dstack([data, plane]))


def flat(colour: Colour, alpha: Array) -> Image.Image:
    """One colour through an alpha mask."""
    image = Image.new("RGB", (alpha.shape[1], alpha.shape[0]), tuple(int(v * 255) for v in np.clip(rgb(colour), 0, 1)))
    image.putalpha(Image.fromarray((np.clip(alpha, 0, 1) * 255).astype(np.uint8)))
    return image


def tint(
    image: Image.Image, factor: Colour, haze: Colour = (0, 0, 0), amount: float = 0.0, top_light: float = 0.0
) -> Image.Image:
    """Multiply by the ambient light, then fade into the haze; `top_light` brightens the upper part."""
    a = np.asarray(image, np.float32) / 255
    colours = a[..., :3] * rgb(factor)
    if top_light:
        colours = colours * (1 + top_light * np.linspace(1, -1, a.shape[0], dtype=np.float32)[:, None, None])
    colours = colours * (1 - amount) + rgb(haze) * amount
    return to_image(colours, a[..., 3])


def over(base: Image.Image, layer: Image.Image, x: int, y: int) -> None:
    """Alpha-composite in place, clipped to the base (RGB or RGBA)."""
    left, top = max(0, -x), max(0, -y)
    right, bottom = min(layer.width, base.width - x), min(layer.height, base.height - y)
    if right <= left or bottom <= top:
        return
    part = layer if (left, top, right, bottom) == (0, 0, *layer.size) else layer.crop((left, top, right, bottom))
    if base.mode == "RGBA":
        base.alpha_composite(part, (x + left, y + top))
    else:
        base.paste(part, (x + left, y + top), part)
