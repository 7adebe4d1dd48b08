"""Pieces of scenery that are drawn when the prompt names them: bridge, waterfall, road, lamps, a stadium's pitch."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dvms.image.storybook.nature import grid
from dvms.image.storybook.paint import (
    Canvas,
    Colour,
    Layer,
    Palette,
    Rng,
    blur,
    flat,
    line_noise,
    mix,
    noise,
    ramp,
    rgb,
    stretch,
    to_image,
)

DECK = 0.66  # where the road of a bridge runs, in frame units
STONE = "#b9a58c"


def _fill(colour: Colour) -> tuple[int, int, int]:
    r, g, b = (int(v * 255 + 0.5) for v in np.clip(rgb(colour), 0, 1))
    return r, g, b


def bridge(rng: Rng, c: Canvas, p: Palette) -> Layer:
    """A stone viaduct across the whole picture."""
    top, bottom = int(c.y(DECK)), int(c.y(0.98))
    w, h = c.w, bottom - top
    stone = mix(STONE, p.haze, 0.12) * rgb(p.ambient)
    x = (np.arange(w, dtype=np.float32) - c.pad) / c.width
    y = np.arange(h, dtype=np.float32)[:, None] / h
    n = noise(rng, w, h, 34, 3, 0.6, 1.6)
    blocks = 1 - 0.10 * (np.sin(y * 60) > 0.86) - 0.06 * (np.sin(x[None, :] * 160 + np.floor(y * 9.5) * 2.1) > 0.93)
    colours = stone * (1.06 - 0.30 * y + (n - 0.5) * 0.16)[..., None] * blocks[..., None]
    arch = 0.165 * c.height / c.width * 1.9  # width of an opening
    step = arch * 1.28
    u = ((x + rng.random() * step) % step - step / 2) / (arch / 2)
    crown = np.where(np.abs(u) < 1, 0.20 + 0.42 * (1 - np.sqrt(np.clip(1 - u**2, 0, 1))), 2.0)
    d = (crown[None, :] - y) * h
    alpha = np.clip(d + 0.5, 0, 1)
    rim = np.exp(-np.clip(d, 0, None) / (0.012 * c.height))[..., None] * (crown[None, :, None] < 1.5)
    colours = colours * (1 - 0.35 * rim)
    parapet = (y < 0.075)[..., None]
    colours = np.where(parapet, colours * 1.12 + 0.03, colours)
    fade = np.clip((1 - y) * 6, 0, 1)
    return Layer("bridge", to_image(colours * (1 - 0.06) + rgb(p.haze) * 0.06, alpha * fade), 0, top, 0.47)


def waterfall(rng: Rng, c: Canvas, p: Palette, horizon: float, side: float, depth: float) -> list[Layer]:
    """A cliff with water falling over it, and spray where it lands."""
    x, y = grid(c)
    wide, top = 0.34 * max(1.0, 1.1 * c.height / c.width), 0.20
    left = side - wide / 2
    jag = (line_noise(rng, c.h, 14, 4, 0.6)[:, None] - 0.5) * 0.08
    crest = top + (line_noise(rng, c.w, 9, 3)[None, :] - 0.5) * 0.10 + np.abs(x - side) * 0.25
    inside = np.minimum(x - left - jag - 0.10 * (y - top) * -1, left + wide - x - jag) * c.width
    mask = np.clip(inside + 0.5, 0, 1) * np.clip((y - crest) * c.height + 0.5, 0, 1)
    foot = horizon + 0.07
    mask = mask * np.clip((foot - y) * c.height / (0.03 * c.height), 0, 1)
    n = noise(rng, c.w, c.h, 22, 4, 0.6, 0.6)
    rock = mix("#76809a", p.land, 0.40) * rgb(p.ambient)
    tone = rock * (0.74 + 0.62 * n - 0.25 * np.clip((y - top) * 1.2, 0, 1))[..., None]
    tone = tone * (1 - 0.12) + rgb(p.haze) * 0.12
    grass = np.clip(1 - (y - crest) / 0.025, 0, 1)[..., None] * 0.8
    tone = tone + (rgb(p.land2) - tone) * grass
    cliff = Layer("cliff", to_image(tone, mask.astype(np.float32)), 0, 0, depth)
    half = 0.032 + 0.018 * np.clip((y - top) / (foot - top), 0, 1)
    fall = np.clip((half - np.abs(x - side)) * c.width / 3, 0, 1) * np.clip((y - top - 0.01) * c.height, 0, 1)
    fall = fall * np.clip((foot + 0.01 - y) * c.height, 0, 1)
    strands = stretch(rng.random((5, 90)).astype(np.float32), c.w, c.h)
    white = mix("#ffffff", p.sky[2][1], 0.12) * np.clip(rgb(p.ambient) + 0.08, 0, 1.05)
    water = mix(p.sea[1], "#ffffff", 0.35)
    streak = np.clip((strands - 0.35) * 2.0, 0, 1)[..., None]
    stream = Layer(
        "waterfall", to_image(water * (1 - streak) + white * streak, fall * 0.95), 0, 0, depth + 0.002, "shimmer"
    )
    spray = np.exp(-(((x - side) / 0.10) ** 2) - ((y - foot) / 0.035) ** 2) * 0.85
    return [cliff, stream, Layer("spray", flat(white, np.asarray(spray, np.float32)), 0, 0, 0.45, "drift")]


def road(rng: Rng, c: Canvas, p: Palette, horizon: float, snowy: bool) -> Layer:
    """A path that winds from the viewer's feet to the horizon."""
    first = int(c.y(horizon + 0.03))
    h = c.h - first
    t = np.linspace(0, 1, h, dtype=np.float32)[:, None]
    x = ((np.arange(c.w, dtype=np.float32) - c.pad) / c.width)[None, :]
    start, swing, phase = 0.5 + (rng.random() - 0.5) * 0.3, 0.10 + 0.08 * rng.random(), rng.random() * 6.28
    middle = start + (0.5 - start) * t + swing * np.sin(phase + 5.4 * (1 - t) ** 0.7) * (1 - t) ** 0.6 * t**0.25
    half = 0.006 + 0.135 * t**1.5
    n = noise(rng, c.w, h, 40, 3, 0.6, 0.5)
    d = (half - np.abs(x - middle)) * c.width + (n - 0.5) * 14 * c.height / 720 * (0.2 + t)
    alpha = np.clip(d / (1 + 5 * t), 0, 1) * np.clip(t * 14, 0, 1)
    earth = mix("#d9cdb8" if snowy else "#d3b184", p.land2, 0.18) * rgb(p.ambient)
    colours = ramp(
        np.broadcast_to(t, (h, c.w)).copy(), [(0, mix(earth, p.haze, 0.35)), (0.5, earth), (1, earth * 0.82)]
    )
    ruts = np.exp(-((np.abs(x - middle) / half - 0.5) ** 2) * 30) * 0.16
    return Layer("road", to_image(colours * (0.90 + 0.20 * n - ruts)[..., None], alpha * 0.92), 0, first, 0.44)


def lamp(c: Canvas, p: Palette, x: float, foot: float, height: float, depth: float) -> list[Layer]:
    """A street lamp; lit when it is dark, with the cone of light it throws."""
    lit = p.dark or p.name in ("storm", "fog", "sunset", "neon")
    h = int(height * c.unit)
    w, s = max(8, int(h * 0.22)), 2
    image = Image.new("RGBA", (w * s, h * s), (40, 44, 58, 0))
    draw = ImageDraw.Draw(image)
    iron = _fill(mix("#2b2f3e", p.haze, 0.06) * np.clip(rgb(p.ambient), 0, 1))
    mid, unit = w * s / 2, h * s / 100
    draw.rectangle([mid - unit, unit * 18, mid + unit, h * s], fill=(*iron, 255))
    draw.rounded_rectangle([mid - 2.2 * unit, unit * 88, mid + 2.2 * unit, h * s], unit, fill=(*iron, 255))
    draw.rectangle([mid - 4 * unit, unit * 22, mid + 4 * unit, unit * 23.5], fill=(*iron, 255))
    glass = (255, 232, 170, 255) if lit else (214, 224, 232, 255)
    draw.polygon(
        [
            (mid - 4 * unit, unit * 7),
            (mid + 4 * unit, unit * 7),
            (mid + 2.6 * unit, unit * 18),
            (mid - 2.6 * unit, unit * 18),
        ],
        fill=glass,
    )
    draw.polygon([(mid - 5 * unit, unit * 7), (mid + 5 * unit, unit * 7), (mid, unit * 1)], fill=(*iron, 255))
    post = image.resize((w, h), Image.Resampling.LANCZOS)
    px, py = c.x(x), c.y(foot)
    out = [Layer("lamp", post, int(px - w / 2), int(py - h), depth)]
    if lit:
        r = int(h * 0.75)
        yy, xx = np.mgrid[-r : int(h * 1.02), -r:r].astype(np.float32) / h
        halo = np.exp(-np.hypot(xx, yy) * 9) * 0.9 + np.exp(-np.hypot(xx, yy) * 3.2) * 0.35
        cone = (
            np.clip(1 - np.abs(xx) / (0.04 + 0.44 * np.clip(yy, 0, None)), 0, 1)
            * (yy > 0)
            * np.clip(1.0 - yy, 0, 1)
            * 0.34
        )
        pool = np.exp(-((xx / 0.34) ** 2) - ((yy - 0.90) / 0.045) ** 2) * 0.42
        glow = flat("#ffdf9a", np.clip(halo + cone + pool, 0, 0.92).astype(np.float32))
        out.append(Layer("lamplight", glow, int(px - r), int(py - h + h * 0.12 - r), depth + 0.001, "twinkle"))
    return out


def stadium(rng: Rng, c: Canvas, p: Palette, horizon: float) -> list[Layer]:
    """Stands full of people, floodlights, and a striped pitch with its lines."""
    top = int(c.y(horizon - 0.24))
    h = int(c.y(horizon + 0.01)) - top
    image = Image.new("RGB", (c.w, h), _fill(mix("#3c4664", p.haze, 0.15) * rgb(p.ambient)))
    draw = ImageDraw.Draw(image)
    unit = c.height / 720
    tones = [
        _fill(mix(t, p.haze, 0.18) * rgb(p.ambient)) for t in ("#e8513f", "#f6f1e4", "#3f7fd0", "#f2c14e", "#3d4a63")
    ]
    y = 14 * unit
    while y < h - 12 * unit:
        step = (5 + 7 * y / h) * unit
        for k in range(int(c.w / step) + 1):
            r = step * 0.36
            px = k * step + rng.random() * step * 0.4
            draw.ellipse([px - r, y - r, px + r, y + r], fill=tones[int(rng.integers(len(tones)))])
        y += step * 1.05
    draw.rectangle([0, 0, c.w, 9 * unit], fill=_fill(mix("#dfe6ee", p.haze, 0.2) * rgb(p.ambient)))
    draw.rectangle([0, h - 12 * unit, c.w, h], fill=_fill(mix("#2f6fd0", p.haze, 0.1) * rgb(p.ambient)))
    lights = np.zeros((c.h, c.w), np.float32)
    gx, gy = grid(c)
    for at in (0.10, 0.36, 0.64, 0.90):
        lights += np.exp(-(np.hypot((gx - at) * c.width / c.height, gy - (horizon - 0.30)) * 16)) * 0.9
    first = int(c.y(horizon))
    rows = c.h - first
    t = np.linspace(0, 1.08, rows, dtype=np.float32)[:, None]
    x = (((np.arange(c.w, dtype=np.float32) - c.pad) / c.width) - 0.5)[None, :]
    lane = x / (0.34 + 0.66 * t)
    green = mix("#3f9f45", p.land, 0.15) * rgb(p.ambient)
    stripes = 1 + 0.09 * np.sign(np.sin(lane * 26))
    n = noise(rng, c.w, rows, 60, 2)
    pitch = green * (stripes * (1.06 - 0.20 * t) * (0.95 + 0.10 * n))[..., None]
    line = np.zeros((rows, c.w), np.float32)
    for at, thick in ((0.07, 0.005), (0.66, 0.012)):
        line += np.clip(1 - np.abs(t - at) / thick, 0, 1) * (np.abs(lane) < 0.92)
    ring = np.abs(np.hypot(lane / 0.20, (t - 0.66) / 0.26) - 1)
    line += np.clip(1 - ring / 0.035, 0, 1)
    white = np.asarray((0.97, 0.98, 0.97), np.float32) * np.clip(rgb(p.ambient), 0, 1)
    pitch = pitch + (white - pitch) * np.clip(line, 0, 0.9)[..., None]
    out = [
        Layer("stands", image.filter(ImageFilter.GaussianBlur(0.8 * unit)).convert("RGBA"), 0, top, 0.22),
        Layer("pitch", to_image(pitch).convert("RGBA"), 0, first, 0.40),
    ]
    if p.dark or p.name in ("sunset", "storm", "fog"):
        out.append(Layer("floodlights", flat("#f4f8ff", blur(np.clip(lights, 0, 1), 2)), 0, 0, 0.24, "twinkle"))
    return out


def tufts(rng: Rng, c: Canvas, p: Palette, first: float, count: int = 520) -> Layer:
    """Blades of grass that catch the light, larger towards the viewer."""
    top = int(c.y(first))
    s = 2 if c.height < 500 else 1
    image = Image.new("RGBA", (c.w * s, (c.h - top) * s), (*_fill(p.land2), 0))
    draw = ImageDraw.Draw(image)
    light, dark = rgb(p.land2) * 1.10, rgb(p.land) * 0.80
    for t in np.sort(rng.random(count) ** 0.8):
        x, y = rng.random() * image.width, t * image.height
        long = (2.5 + 13 * t) * c.height / 720 * s * (0.6 + 0.8 * rng.random())
        lean = (rng.random() - 0.5) * long * 0.9
        colour = _fill(mix(dark, light, rng.random()))
        for k in (-0.5, 0.0, 0.55):
            draw.line(
                [(x + k * long * 0.3, y), (x + lean * 0.5 + k * long, y - long * (1 - 0.3 * abs(k)))],
                fill=(*colour, int(90 + 120 * t)),
                width=max(1, round((0.6 + 1.1 * t) * c.height / 720 * s)),
            )
    if s > 1:
        image = image.resize((c.w, c.h - top), Image.Resampling.BOX)
    return Layer("grass", image, 0, top, 0.435)


def glow(c: Canvas, p: Palette, sun: tuple[float, float], horizon: float) -> list[Layer]:
    """Light in the air: around the sun over the far land, and a band of haze along the horizon."""
    small = Canvas(max(2, c.width // 8), max(2, c.height // 8), max(1, c.pad // 8))
    x, y = grid(small)
    d = np.hypot((x - sun[0]) * c.width / c.height, y - sun[1])
    warm = {"sunset": 0.62, "dawn": 0.55, "day": 0.30, "pastel": 0.40, "neon": 0.30, "night": 0.26}.get(p.name, 0.18)
    around = np.exp(-d * 2.6) * warm
    band = np.exp(-(((y - horizon - 0.01) / 0.055) ** 2)) * (0.34 if not p.dark else 0.22) + x * 0
    size = (c.w, c.h)
    return [
        Layer("glow", flat(mix(p.sun, p.haze, 0.25), stretch(np.asarray(around, np.float32), *size)), 0, 0, 0.34),
        Layer("haze", flat(p.haze, np.clip(stretch(np.asarray(band, np.float32), *size), 0, 1)), 0, 0, 0.33),
    ]


def signs(rng: Rng, c: Canvas, horizon: float) -> list[Layer]:
    """Neon signs on the fronts of the houses: upright boards with strokes that spell nothing, and their glow."""
    image = Image.new("RGBA", (c.w, c.h), (255, 120, 220, 0))
    draw = ImageDraw.Draw(image)
    unit = c.height / 720
    tones = ("#ff4fa3", "#3df2ff", "#ffe14d", "#9a6bff", "#4dff9a", "#ff7a3d")
    for k in range(max(4, round(7 * c.width / c.height))):
        tone = _fill(tones[int(rng.integers(len(tones)))])
        w, h = (16 + 10 * rng.random()) * unit, (70 + 70 * rng.random()) * unit
        x = c.x((k + 0.2 + 0.6 * rng.random()) / max(4, round(7 * c.width / c.height)))
        y = c.y(horizon - 0.34 + 0.22 * rng.random())
        draw.rounded_rectangle(
            [x, y, x + w, y + h], 4 * unit, fill=(18, 8, 40, 235), outline=(*tone, 255), width=max(1, round(2.4 * unit))
        )
        rows = int(h / (w * 0.95))
        for row in range(rows):
            y0, m = y + (row + 0.16) * h / rows, w * 0.24
            for _ in range(3):
                xs, ys = rng.random(2) * (w - 2 * m), rng.random(2) * (h / rows * 0.66)
                ends = [(x + m + xs[0], y0 + ys[0]), (x + m + xs[1], y0 + (ys[0] if rng.random() < 0.6 else ys[1]))]
                draw.line(ends, fill=(*tone, 255), width=max(1, round(2.2 * unit)))
    a = np.asarray(image, np.float32) / 255
    halo = image.filter(ImageFilter.GaussianBlur(11 * unit))
    bright = np.asarray(halo, np.float32) / 255
    bright[..., 3] = np.clip(bright[..., 3] * 1.1, 0, 0.8)
    return [
        Layer("neon glow", to_image(np.clip(bright[..., :3] * 1.25, 0, 1), bright[..., 3]), 0, 0, 0.345, "twinkle"),
        Layer("signs", to_image(a[..., :3], a[..., 3]), 0, 0, 0.346),
    ]


def stalls(rng: Rng, c: Canvas, p: Palette) -> Layer:
    """Market stalls to the left and right: striped awnings over heaped tables."""
    s, unit = 2, c.height / 720 * 2
    image = Image.new("RGBA", (c.w * s, c.h * s), (60, 40, 30, 0))
    draw = ImageDraw.Draw(image)
    light = np.clip(rgb(p.ambient), 0, 1.05) * (0.9 if p.dark else 1.0)
    goods = ("#e2543f", "#f2b23d", "#7fb84a", "#f07fa0", "#f4e3c0", "#9a5fb0")
    for x0, x1 in ((-0.06, 0.14), (0.155, 0.30), (0.70, 0.845), (0.86, 1.06)):
        left, right = c.x(x0) * s, c.x(x1) * s
        wide, roof, table, foot = right - left, c.y(0.60) * s, c.y(0.755) * s, c.y(0.845) * s
        cloth = goods[int(rng.integers(4))]
        for x in (left + 6 * unit, right - 6 * unit):
            draw.rectangle([x - 2.5 * unit, roof, x + 2.5 * unit, foot], fill=(*_fill(rgb("#6d4a30") * light), 255))
        draw.rectangle([left + 8 * unit, roof, right - 8 * unit, table], fill=(*_fill(rgb("#3a2a2a") * light), 170))
        if p.dark:
            draw.ellipse([left + wide * 0.3, roof + 8 * unit, right - wide * 0.3, table], fill=(255, 214, 130, 90))
        draw.rectangle([left, table, right, foot], fill=(*_fill(rgb("#9a6a44") * light), 255))
        draw.rectangle([left, table, right, table + 5 * unit], fill=(*_fill(rgb("#c08a5a") * light), 255))
        for _ in range(26):
            gx, r = left + (0.06 + 0.88 * rng.random()) * wide, (5 + 4 * rng.random()) * unit
            gy = table - r * (0.4 + 1.3 * rng.random())
            draw.ellipse(
                [gx - r, gy - r, gx + r, gy + r], fill=(*_fill(rgb(goods[int((gx - left) / wide * 5.99)]) * light), 255)
            )
        stripes = 8
        for k in range(stripes):
            tone = _fill(rgb(cloth if k % 2 else "#fbf4e6") * light)
            a, b = left + wide * k / stripes, left + wide * (k + 1) / stripes
            lean = wide * 0.06 * (0.5 - k / stripes)
            draw.polygon(
                [
                    (a + lean, roof - 26 * unit),
                    (b + lean, roof - 26 * unit),
                    (b, roof + 8 * unit),
                    (a, roof + 8 * unit),
                ],
                fill=(*tone, 255),
            )
            draw.pieslice([a, roof, b, roof + 16 * unit], 0, 180, fill=(*tone, 255))
    return Layer("stalls", image.resize((c.w, c.h), Image.Resampling.BOX), 0, 0, 0.48)
