"""What falls, rises and glows in the air: snow, rain, petals, bubbles, fireflies, fireworks, notes, lightning.

The still picture shows one moment; the animation moves the same kinds of particles itself (`PARTICLES`).
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dvms.image.storybook import sprites
from dvms.image.storybook.paint import Canvas, Layer, Palette, Rng, flat, noise, over, rgb
from dvms.image.storybook.words import Meaning

PARTICLES = frozenset({"flakes", "rain", "leaves", "petals", "bubbles", "fireflies"})


def layers(
    rng: Rng, c: Canvas, p: Palette, meaning: Meaning, banned: frozenset[str], inside: bool, place: str
) -> list[Layer]:
    """The weather the prompt asks for, where the place allows it."""
    asked = meaning.weather - banned
    out: list[Layer] = []
    outside = not inside and place not in ("space", "moon", "deep")
    if outside and "rain" in asked and "snow" not in asked:
        out.append(_rain(rng, c))
    if outside and ("snow" in asked or (place == "snow" and p.name in ("night", "storm", "fog"))) and place != "desert":
        out.append(_flakes(rng, c))
    if outside and "lightning" in asked:
        out.append(_lightning(rng, c))
    if outside and "fireworks" in asked:
        out.append(_fireworks(rng, c))
    if outside and "leaves" in asked:
        out.append(_scatter(rng, c, "leaves", ("fallen leaf", "maple leaf"), 26, 0.030))
    if outside and "petals" in asked and place in ("meadow", "forest", "city", "lake", "mount"):
        out.append(_scatter(rng, c, "petals", ("cherry blossom",), 24, 0.022))
    if place == "deep" or "bubbles" in asked:
        out.append(_scatter(rng, c, "bubbles", ("bubbles",), 14, 0.05))
    if not inside and ("fireflies" in asked or p.name == "pastel"):
        out.append(_fireflies(rng, c, "#fff2a0" if p.dark else "#ffffff"))
    if "notes" in asked and place != "space":
        out.append(_scatter(rng, c, "notes", ("musical note", "musical notes"), 7, 0.055, (0.08, 0.50), "#fff4c2"))
    if p.name == "fog":
        out.append(_mist(rng, c, p))
    return out


def _flakes(rng: Rng, c: Canvas) -> Layer:
    image = Image.new("RGBA", (c.w, c.h), (255, 255, 255, 0))
    draw = ImageDraw.Draw(image)
    unit = c.height / 720
    for _ in range(240):
        x, y, s = rng.random() * c.w, rng.random() * c.h, rng.random()
        r = (0.9 + 4.2 * s**3) * unit
        draw.ellipse([x - r, y - r, x + r, y + r], fill=(255, 255, 255, int(225 - 110 * s**3)))
    return Layer("flakes", image.filter(ImageFilter.GaussianBlur(0.7 * unit)), 0, 0, 0.96, "fall")


def _rain(rng: Rng, c: Canvas) -> Layer:
    image = Image.new("RGBA", (c.w, c.h), (225, 235, 245, 0))
    draw = ImageDraw.Draw(image)
    unit = c.height / 720
    for _ in range(330):
        x, y, s = rng.random() * c.w, rng.random() * c.h, rng.random()
        long = (16 + 34 * s) * unit
        draw.line(
            [x, y, x - long * 0.2, y + long], fill=(225, 235, 245, int(50 + 80 * s)), width=max(1, round(1.4 * unit))
        )
    return Layer("rain", image, 0, 0, 0.96, "fall")


def _scatter(
    rng: Rng,
    c: Canvas,
    name: str,
    labels: tuple[str, ...],
    count: int,
    size: float,
    rows: tuple[float, float] = (0.0, 1.0),
    colour: str | None = None,
) -> Layer:
    image = Image.new("RGBA", (c.w, c.h), (255, 255, 255, 0))
    for _ in range(count):
        source = sprites.picture(sprites.by_label()[labels[int(rng.integers(len(labels)))]].id)
        h = max(4, int(size * c.height * (0.5 + 0.9 * rng.random())))
        small = source.resize((max(3, source.width * h // source.height), h), Image.Resampling.LANCZOS)
        if colour:
            small = flat(colour, np.asarray(small.getchannel("A"), np.float32) / 255)
        small = small.rotate(
            (rng.random() - 0.5) * (40 if name == "notes" else 300), Image.Resampling.BICUBIC, expand=True
        )
        over(image, small, int(rng.random() * c.w), int(c.y(rows[0] + (rows[1] - rows[0]) * rng.random())))
    motion = {"bubbles": "rise", "notes": "float"}.get(name, "fall")
    return Layer(name, image, 0, 0, 0.93 if name != "notes" else 0.5, motion)


def _fireflies(rng: Rng, c: Canvas, colour: str) -> Layer:
    glow = np.zeros((c.h, c.w), np.float32)
    radius = max(3, int(c.height * 0.018))
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32) / radius
    spot = np.clip(1 - np.hypot(xx, yy), 0, 1)
    spot = spot**2.2 * 0.75 + (spot > 0.80) * 0.6
    for _ in range(34):
        x, y = int(rng.integers(radius, c.w - radius - 1)), int(c.y(0.35 + 0.62 * rng.random()))
        if radius <= y < c.h - radius - 1:
            part = glow[y - radius : y + radius + 1, x - radius : x + radius + 1]
            np.maximum(part, spot * (0.5 + 0.5 * rng.random()), out=part)
    plane = Image.fromarray((np.clip(glow, 0, 1) * 255).astype(np.uint8))
    image = Image.new("RGB", (c.w, c.h), tuple(int(v * 255) for v in rgb(colour)))
    image.putalpha(plane)
    return Layer("fireflies", image, 0, 0, 0.9, "twinkle")


def _fireworks(rng: Rng, c: Canvas) -> Layer:
    image = Image.new("RGBA", (c.w, c.h), (255, 220, 160, 0))
    draw = ImageDraw.Draw(image)
    unit = c.height / 720
    for k in range(4):
        x, y, r = (
            c.x(0.14 + 0.24 * k + 0.08 * rng.random()),
            c.y(0.12 + 0.22 * rng.random()),
            (70 + 60 * rng.random()) * unit,
        )
        tone = ((255, 120, 120), (255, 214, 110), (130, 220, 255), (200, 150, 255), (150, 255, 170))[
            int(rng.integers(5))
        ]
        rays = 26
        for ray in range(rays):
            angle = 2 * math.pi * ray / rays
            for step in range(7):
                t = 0.25 + 0.75 * step / 6
                px, py = x + r * t * math.cos(angle), y + r * t * math.sin(angle) + 12 * unit * t * t
                size = (2.6 - 1.5 * t) * unit
                draw.ellipse([px - size, py - size, px + size, py + size], fill=(*tone, int(255 - 90 * t)))
    bloom = image.filter(ImageFilter.GaussianBlur(5 * unit))
    bloom.alpha_composite(image)
    return Layer("fireworks", bloom, 0, 0, 0.05, "twinkle")


def _lightning(rng: Rng, c: Canvas) -> Layer:
    image = Image.new("RGBA", (c.w, c.h), (214, 226, 255, 0))
    draw = ImageDraw.Draw(image)
    unit = c.height / 720
    x, y = c.x(0.25 + 0.5 * rng.random()), 0.0
    points = [(x, y)]
    while y < c.y(0.58):
        x, y = x + (rng.random() - 0.5) * 70 * unit, y + (24 + 30 * rng.random()) * unit
        points.append((x, y))
        if rng.random() < 0.3:
            branch = [(x, y)]
            for _ in range(4):
                branch.append((branch[-1][0] + (rng.random() - 0.2) * 50 * unit, branch[-1][1] + 26 * unit))
            draw.line(branch, fill=(214, 226, 255, 190), width=max(1, round(2 * unit)))
    draw.line(points, fill=(244, 248, 255, 255), width=max(2, round(4.5 * unit)), joint="curve")
    bloom = image.filter(ImageFilter.GaussianBlur(9 * unit))
    bloom.alpha_composite(image)
    return Layer("lightning", bloom, 0, 0, 0.07, "twinkle")


def _mist(rng: Rng, c: Canvas, p: Palette) -> Layer:
    n = noise(rng, c.w, c.h, 2, 4, 0.5, 0.4)
    y = ((np.arange(c.h, dtype=np.float32) - c.pad) / c.height)[:, None]
    alpha = np.clip((n - 0.38) * 2.0, 0, 1) * np.exp(-(((y - 0.68) / 0.24) ** 2)) * 0.75
    return Layer("mist", flat(p.haze, alpha.astype(np.float32)), 0, 0, 0.66, "drift")
