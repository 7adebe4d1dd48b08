"""Six looks besides the plain one. Each is a function of an RGB array (0..1) that keeps its size."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from dvms.image.storybook.paint import Array, blur, noise, rgb

Look = Callable[[Array, np.random.Generator], Array]


def _u8(a: Array) -> Image.Image:
    return Image.fromarray((np.clip(a, 0, 1) * 255).astype(np.uint8))


def _f(image: Image.Image) -> Array:
    return np.asarray(np.asarray(image, np.float32) / 255)


def _edges(a: Array, radius: float) -> Array:
    """How much the picture changes at each pixel, 0..1."""
    lum = blur(a.mean(-1), radius)
    gy, gx = np.gradient(lum)
    colour = a - a.mean(-1, keepdims=True)
    cy, cx = np.gradient(colour[..., 0] - colour[..., 2])
    return np.asarray(np.clip((np.hypot(gx, gy) + 0.5 * np.hypot(cx, cy)) * 9, 0, 1), np.float32)


WORK_HEIGHT = 640


def _patches(image: Image.Image, median: int, mode: int) -> Image.Image:
    """Flat patches of colour with firm edges; worked out on a small copy."""
    k = min(1.0, WORK_HEIGHT / image.height)
    small = image.resize((max(8, round(image.width * k)), max(8, round(image.height * k))), Image.Resampling.BOX)
    unit = small.height / 720
    flat = small.filter(ImageFilter.MedianFilter(max(3, int(median * unit) | 1)))
    return flat.filter(ImageFilter.ModeFilter(max(3, int(mode * unit)))).resize(image.size, Image.Resampling.BICUBIC)


def watercolour(a: Array, rng: np.random.Generator) -> Array:
    """Flooded patches, darker where they dry, on rough paper."""
    h, w = a.shape[:2]
    unit = h / 720
    smooth = _f(_patches(_u8(a), 9, 7))
    dx = ((noise(rng, w, h, 40, 2) - 0.5) * 14 * unit).astype(int)
    dy = ((noise(rng, w, h, 40, 2) - 0.5) * 14 * unit).astype(int)
    rows = np.clip(np.arange(h)[:, None] + dy, 0, h - 1)
    columns = np.clip(np.arange(w)[None, :] + dx, 0, w - 1)
    wash = smooth[rows, columns]
    wash = wash + (1 - wash) * 0.16
    wash = wash * (1 - 0.34 * _edges(wash, 1.4 * unit))[..., None]
    pools = noise(rng, w, h, 7, 4)
    wash = wash + (1 - wash) * np.clip((pools - 0.5) * 0.75, -0.06, 0.28)[..., None]
    grain = noise(rng, w, h, 230, 2, 0.6)
    wash = wash * (0.955 + 0.09 * grain)[..., None]
    yy, xx = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    rough = (noise(rng, w, h, 12, 4) - 0.5) * 0.16
    border = np.clip((np.maximum(np.abs(xx), np.abs(yy)) + rough - 0.93) * 14, 0, 1)[..., None]
    return np.asarray(wash * (1 - border) + rgb("#fbf6ea") * border, np.float32)


def pixel(a: Array, rng: np.random.Generator) -> Array:
    """Big square pixels of a few dozen colours."""
    h, w = a.shape[:2]
    small_h = 120 if h <= w else 160
    small = _u8(np.clip((a - 0.5) * 1.12 + 0.52, 0, 1)).resize(
        (max(8, round(w * small_h / h)), small_h), Image.Resampling.BOX
    )
    indexed = small.quantize(40, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return _f(indexed.convert("RGB").resize((w, h), Image.Resampling.NEAREST))


def poster(a: Array, rng: np.random.Generator) -> Array:
    """A screen print: few flat inks and a dark line."""
    h = a.shape[0]
    unit = h / 720
    few = _patches(_u8(a), 5, 4).quantize(18, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    inked = _f(few.convert("RGB"))
    mean = inked.mean(-1, keepdims=True)
    vivid = np.clip(mean + (inked - mean) * 1.35, 0, 1)
    line = np.clip(_edges(inked, 1.0 * unit) * 1.3 - 0.25, 0, 1)[..., None]
    out = vivid * (1 - line * 0.55) + rgb("#1c1830") * line * 0.55
    dots = noise(rng, a.shape[1], h, 240, 1)
    return np.asarray(out * (0.975 + 0.05 * dots[..., None]), np.float32)


def noir(a: Array, rng: np.random.Generator) -> Array:
    """Black and white film: hard contrast, glow, grain."""
    lum = a @ rgb((0.36, 0.48, 0.16))
    low, high = np.quantile(lum, 0.03), np.quantile(lum, 0.985)
    lum = np.clip((lum - low) / max(high - low, 0.1), 0, 1)
    lum = lum * lum * (3 - 2 * lum)
    lum = lum + blur(np.clip(lum - 0.62, 0, 1), 14 * a.shape[0] / 720) * 0.8
    h, w = lum.shape
    yy, xx = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    lum = lum * (1.05 - 0.55 * np.clip(np.hypot(xx * 0.9, yy) - 0.35, 0, 1))
    lum = lum + rng.normal(0, 0.035, (h, w))
    return np.asarray(np.clip(lum, 0, 1)[..., None] * rgb("#fbfaf4"), np.float32)


def pastel(a: Array, rng: np.random.Generator) -> Array:
    """Chalk: pale, soft, on tinted paper."""
    h, w = a.shape[:2]
    mean = a.mean(-1, keepdims=True)
    soft = mean + (a - mean) * 0.92
    low, high = np.quantile(mean, 0.02), np.quantile(mean, 0.98)
    soft = np.clip((soft - low) / max(float(high - low), 0.25), 0, 1)
    soft = (0.34 + 0.62 * soft**1.15) * 0.93 + rgb("#fff0f4") * 0.07
    chalk = noise(rng, w, h, 300, 1) * 0.6 + noise(rng, w, h, 90, 2, 0.6, 0.3) * 0.4
    return np.asarray(np.clip(soft + (chalk[..., None] - 0.5) * 0.10, 0, 1), np.float32)


def ink(a: Array, rng: np.random.Generator) -> Array:
    """A comic page: ink lines over light colour, hatching in the dark."""
    h, w = a.shape[:2]
    unit = h / 720
    lum = a.mean(-1)
    line = np.clip(_edges(a, 1.3 * unit) * 1.9 - 0.34, 0, 1)
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    stripes = np.sin((xx + yy) * (1.15 / max(unit, 0.4)))
    second = np.sin((xx - yy) * (1.15 / max(unit, 0.4)))
    hatch = (
        np.clip((0.36 - lum) * 5, 0, 1) * (stripes > 0.25) * 0.55
        + np.clip((0.20 - lum) * 6, 0, 1) * (second > 0.3) * 0.5
    )
    levels = np.floor(np.clip(a, 0, 0.999) * 6) / 5.4 * 0.5 + a * 0.5
    page = 0.22 + 0.80 * levels
    dark = np.clip(line + hatch, 0, 1)[..., None]
    return np.asarray(np.clip(page * (1 - dark) + rgb("#17131f") * dark, 0, 1) * rgb("#fffcf2"), np.float32)


LOOKS: dict[str, Look] = {
    "watercolour": watercolour, "pixel": pixel, "poster": poster, "noir": noir, "pastel": pastel, "ink": ink,
}  # fmt: skip


def grade(a: Array, rng: np.random.Generator, grain: float = 0.010) -> Array:
    """The plain look: a little bloom, contrast, vignette and grain."""
    h, w = a.shape[:2]
    lum = a.mean(-1)
    bloom = blur(np.clip(lum - 0.55, 0, 1), 20 * h / 720)[..., None]
    out = a + bloom * 0.26 * a
    yy = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    xx = np.linspace(-1, 1, w, dtype=np.float32)[None, :]
    out *= (1 - 0.20 * np.clip(np.sqrt((xx * 0.9) ** 2 + yy**2) - 0.6, 0, 1))[..., None]
    out += rng.normal(0, grain, (h, w, 1)).astype(np.float32)
    out = np.clip(out, 0, 1)
    return np.asarray(out * out * (3 - 2 * out) * 0.32 + out * 0.68, np.float32)
