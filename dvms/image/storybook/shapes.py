"""Pictures of nothing but shape and colour: discs, rings, arcs and bars over a slow gradient, in the colours named."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from dvms.image.storybook.nature import grid
from dvms.image.storybook.paint import Array, Canvas, Layer, Rng, mix, noise, ramp, to_image
from dvms.image.storybook.vocabulary import VOCABULARY

# Harmonies for prompts that name no colour: hues from 0 to 1.
CHORDS = ((0.58, 0.07, 0.12), (0.92, 0.62, 0.12), (0.45, 0.55, 0.04), (0.72, 0.85, 0.10), (0.02, 0.10, 0.52))


def _colours(rng: Rng, words: frozenset[str]) -> list[Array]:
    """Three to six colours: those of the prompt and lighter and darker ones of the same hue, or a harmony."""
    named = [VOCABULARY.colours[word] for word in sorted(words & VOCABULARY.colours.keys())]
    if named:
        base = [
            (0.0 if hue < 0 else hue, 0.06 if hue < 0 else min(1.0, 0.72 * s), min(1.0, 0.85 * v))
            for hue, s, v in named
        ]
    else:
        base = [(hue, 0.68, 0.88) for hue in CHORDS[int(rng.integers(len(CHORDS)))]]
    out = []
    for hue, saturation, value in base:
        out.append(np.asarray(colorsys.hsv_to_rgb(hue, saturation, value), np.float32))
        out.append(np.asarray(colorsys.hsv_to_rgb(hue, saturation * 0.55, min(1.0, value * 1.12)), np.float32))
    return out


def composition(rng: Rng, c: Canvas, words: frozenset[str]) -> list[Layer]:
    """The ground and a dozen floating shapes, far ones first."""
    colours = _colours(rng, words)
    x, y = grid(c)
    n = noise(rng, c.w, c.h, 2, 3)
    dark = bool(words & {"dark", "black", "night", "neon"})
    first, second = (mix(colours[0], "#0b0d1e", 0.78), mix(colours[-2], "#0b0d1e", 0.55)) if dark else (
        mix(colours[1], "#ffffff", 0.55), mix(colours[-1], "#fff8ee", 0.62))  # fmt: skip
    ground = ramp(np.clip(0.6 * y + 0.4 * x + (n - 0.5) * 0.4, 0, 1), [(0, first), (1, second)])
    out = [Layer("ground", to_image(ground).convert("RGBA"), 0, 0, 0.0)]
    spots = [(0.5, 0.5)] + [(0.5 + 0.42 * np.cos(2.4 * k), 0.5 + 0.40 * np.sin(2.4 * k)) for k in range(1, 13)]
    for k, (px, py) in enumerate(spots):
        size = (0.46 if k == 0 else 0.10 + 0.20 * rng.random() ** 1.5) * c.unit
        colour = colours[int(rng.integers(len(colours)))] if k else colours[0]
        image = _shape(rng, int(size), colour, int(rng.integers(5)) if k else 0)
        depth = 0.3 + 0.05 * k
        at_x = c.x(px + 0.06 * (rng.random() - 0.5)) - image.width / 2
        at_y = c.y(py + 0.06 * (rng.random() - 0.5)) - image.height / 2
        edge = int(size * 0.16)
        room = ImageOps.expand(image.getchannel("A").point(lambda v: int(v * 0.30)), edge)
        shade = Image.new("RGBA", room.size, (20, 16, 50, 0))
        shade.putalpha(room.filter(ImageFilter.GaussianBlur(size / 22 + 1)))
        offset = int(size * 0.05)
        out.append(
            Layer("shade", shade, int(at_x) + offset - edge, int(at_y) + offset * 2 - edge, depth - 0.001, "float")
        )
        out.append(Layer("shape", image, int(at_x), int(at_y), depth, "float", float(rng.random() * 6.28)))
    return out


def _shape(rng: Rng, size: int, colour: Array, kind: int) -> Image.Image:
    """A disc, ring, half disc, triangle or bar with a soft gradient of its colour."""
    big = max(16, size) * 2
    mask = Image.new("L", (big, big), 0)
    draw = ImageDraw.Draw(mask)
    if kind == 0:
        draw.ellipse([4, 4, big - 4, big - 4], fill=255)
    elif kind == 1:
        draw.ellipse([4, 4, big - 4, big - 4], outline=255, width=big // 9)
    elif kind == 2:
        draw.pieslice([4, 4, big - 4, big - 4], 180, 360, fill=255)
    elif kind == 3:
        draw.polygon([(big / 2, 6), (big - 6, big * 0.86), (6, big * 0.86)], fill=255)
    else:
        draw.rounded_rectangle([4, big * 0.41, big - 4, big * 0.59], big * 0.09, fill=255)
    t = np.linspace(0, 1, big, dtype=np.float32)
    light = (0.5 * t[None, :] + 0.5 * t[:, None])[..., None]
    image = to_image(mix(colour, "#ffffff", 0.22) * (1 - light) + colour * 0.82 * light)
    image.putalpha(mask)
    turned = image.rotate(float(rng.random() * 360), Image.Resampling.BICUBIC)
    return turned.resize((max(8, size), max(8, size)), Image.Resampling.LANCZOS)
