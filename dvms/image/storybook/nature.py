"""Painted nature: sky, stars, clouds, hills, mountains, water. Each function returns one layer of the canvas."""

import numpy as np
from PIL import Image, ImageDraw

from dvms.image.storybook.paint import (
    Array,
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
    over,
    ramp,
    rgb,
    stretch,
    to_image,
)


def grid(c: Canvas) -> tuple[Array, Array]:
    """Frame units (x, y) of every pixel of the canvas: 0..1 inside the frame."""
    x = (np.arange(c.w, dtype=np.float32) - c.pad) / c.width
    y = (np.arange(c.h, dtype=np.float32) - c.pad) / c.height
    return x[None, :], y[:, None]


def _small(c: Canvas, size: int = 320) -> Canvas:
    """The same canvas at low resolution, for soft things."""
    k = min(1.0, size / c.w)
    return Canvas(max(2, round(c.width * k)), max(2, round(c.height * k)), round(c.pad * k))


def _enlarge(colours: Array, c: Canvas) -> Array:
    return np.dstack([stretch(colours[..., k], c.w, c.h) for k in range(colours.shape[2])])


def sky(rng: Rng, c: Canvas, p: Palette, horizon: float, sun: tuple[float, float]) -> Layer:
    s = _small(c)
    x, y = grid(s)
    clouds = noise(rng, s.w, s.h, 2, 3)
    colours = ramp(np.clip(y / max(horizon, 0.2) + (clouds - 0.5) * 0.10, 0, 1), p.sky)
    distance = np.hypot((x - sun[0]) * c.width / c.height, y - sun[1])
    glow = np.exp(-distance * 3.0) * 0.5 + np.exp(-distance * 8) * 0.5
    strength = 0.5 if p.dark else 0.62 if p.name in ("day", "pastel") else 0.80
    colours = colours + (rgb(p.sun) - colours) * (np.clip(glow, 0, 1) * strength)[..., None]
    full = _enlarge(colours, c) + rng.normal(0, 0.004, (c.h, c.w, 1)).astype(np.float32)
    return Layer("sky", to_image(full).convert("RGBA"), 0, 0, 0.0)


def stars(rng: Rng, c: Canvas, amount: float, horizon: float) -> Layer:
    image = Image.new("RGBA", (c.w, c.h), (244, 247, 255, 0))
    draw = ImageDraw.Draw(image)
    unit = c.height / 720
    for _ in range(int(420 * amount)):
        sx, sy, b = rng.random() * 1.2 - 0.1, rng.random() ** 1.2 * min(1.1, horizon * 1.05) - 0.06, rng.random() ** 3
        px, py, r = c.x(sx), c.y(sy), (0.6 + 1.5 * b) * unit
        tone = ((255, 244, 214), (214, 228, 255), (255, 255, 255))[int(rng.integers(3))]
        draw.ellipse([px - r, py - r, px + r, py + r], fill=(*tone, int(90 + 165 * b)))
        if b > 0.72:
            long, thin = 5.5 * unit * b, 0.7 * unit
            draw.polygon([(px - long, py), (px, py - thin), (px + long, py), (px, py + thin)], fill=(*tone, 200))
            draw.polygon([(px, py - long), (px - thin, py), (px, py + long), (px + thin, py)], fill=(*tone, 200))
    return Layer("stars", image, 0, 0, 0.02, "twinkle")


def disc(
    c: Canvas, x: float, y: float, radius: float, colour: Colour, name: str, texture: Array | None = None
) -> Layer:
    """A sun or moon with a soft edge; frame units, the radius in heights."""
    r = radius * c.unit
    size = int(2 * r + 6)
    grid_y, grid_x = np.mgrid[0:size, 0:size].astype(np.float32)
    distance = np.hypot(grid_x - size / 2, grid_y - size / 2)
    alpha = np.clip(r - distance + 0.5, 0, 1)
    colours = np.ones((size, size, 3), np.float32) * rgb(colour)
    if texture is not None:
        colours *= (0.82 + 0.3 * stretch(texture, size, size))[..., None]
    return Layer(name, to_image(colours, alpha), int(c.x(x) - size / 2), int(c.y(y) - size / 2), 0.03)


def planet(rng: Rng, c: Canvas, x: float, y: float, radius: float, ring: bool) -> Layer:
    r = radius * c.unit
    size = int(2 * r * (1.9 if ring else 1.0) + 6)
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32)
    dx, dy = (xx - size / 2) / r, (yy - size / 2) / r
    distance = np.hypot(dx, dy)
    bands = noise(rng, size, size, 5, 4, 0.55, 0.25)
    first = ("#d98a4f", "#4f7fd9", "#52b59a", "#c65f8f")[int(rng.integers(4))]
    second = ("#f5e0b8", "#dff1ff", "#f2d5ff")[int(rng.integers(3))]
    lit = np.clip(1.12 - np.hypot(dx + 0.5, dy + 0.5) / 1.75, 0.08, 1)[..., None]
    colours = ramp(np.clip((bands - 0.3) * 2, 0, 1), [(0, first), (1, second)]) * lit * 1.25
    alpha = np.clip((1 - distance) * r + 0.5, 0, 1)
    if ring:
        u, v = dx * 0.95 + dy * 0.31, (dy * 0.95 - dx * 0.31) * 3.4
        q = np.hypot(u, v)
        band = np.clip((q - 1.25) * 12, 0, 1) * np.clip((1.8 - q) * 12, 0, 1) * (0.75 + 0.25 * np.sin(q * 34))
        front = (v > 0) | (distance > 1)
        a = band * 0.85 * front
        colours = colours * (1 - a[..., None]) + mix(second, "#ffffff", 0.2) * a[..., None]
        alpha = np.maximum(alpha, a)
    return Layer("planet", to_image(colours, alpha), int(c.x(x) - size / 2), int(c.y(y) - size / 2), 0.06, "float")


def nebula(rng: Rng, c: Canvas) -> Layer:
    s = _small(c, 400)
    lumps, hue = noise(rng, s.w, s.h, 3, 5, 0.55), noise(rng, s.w, s.h, 2, 3)
    colours = ramp(np.clip((hue - 0.3) * 2.4, 0, 1), [(0, "#3a2390"), (0.5, "#d04a98"), (1, "#43b6ee")])
    alpha = np.clip((lumps - 0.46) * 3.4, 0, 0.85)
    return Layer("nebula", to_image(_enlarge(colours, c), stretch(alpha, c.w, c.h)), 0, 0, 0.015)


def aurora(rng: Rng, c: Canvas, horizon: float) -> Layer:
    s = _small(c, 420)
    _, y = grid(s)
    colours, alpha = np.zeros((s.h, s.w, 3), np.float32), np.zeros((s.h, s.w), np.float32)
    for colour, offset, height in (
        ("#45ffae", 0.52, 0.30),
        ("#38e0ff", 0.40, 0.26),
        ("#b06cff", 0.28, 0.24),
        ("#5dffb8", 0.66, 0.2),
    ):
        base = offset * horizon * 1.05 + (line_noise(rng, s.w, 2, 3) - 0.5) * 0.30
        streak = 0.30 + 0.95 * line_noise(rng, s.w, 34, 3, 0.8) ** 1.3
        t = (y - base[None, :]) / height
        a = np.where(t < 0, np.exp(np.minimum(t, 0) * 3.6), np.exp(-np.maximum(t, 0) * 16)) * streak[None, :] * 0.66
        colours = colours * (1 - a[..., None]) + rgb(colour) * a[..., None]
        alpha = 1 - (1 - alpha) * (1 - a)
    colours /= np.maximum(alpha, 1e-3)[..., None]
    return Layer("aurora", to_image(_enlarge(colours, c), stretch(blur(alpha, 1.2), c.w, c.h)), 0, 0, 0.03, "drift")


def cloud(rng: Rng, width: float, p: Palette, shade: float) -> Image.Image:
    """One soft cloud, `width` pixels wide: round heads above, lit from above, frayed and thin below."""
    w, h = max(24, int(width)), max(16, int(width * 0.52))
    mask = Image.new("L", (w * 2, h * 2), 0)
    draw = ImageDraw.Draw(mask)
    heads = int(rng.integers(3, 6))
    for k in range(heads * 3):
        u = 0.16 + 0.68 * ((k % heads) + 0.15 + 0.7 * rng.random()) / heads
        swell = np.sin(np.pi * (u - 0.08) / 0.84)
        r = h * 2 * (0.09 + 0.17 * swell * (0.55 + 0.45 * rng.random())) * (1.0 if k < heads else 0.72)
        rise = h * 2 * 0.30 * swell * rng.random()
        px, py = w * 2 * u, h * 2 * 0.64 - rise
        draw.ellipse([px - r, max(2, py - r), px + r, py + r], fill=255)
    draw.ellipse([w * 0.20, h * 1.10, w * 1.80, h * 1.52], fill=255)
    body = np.asarray(mask.resize((w, h), Image.Resampling.BOX), np.float32) / 255
    soft = blur(body, w / 34)
    fray = noise(rng, w, h, 9, 3, 0.6)
    down = np.linspace(0, 1, h, dtype=np.float32)[:, None]
    wispy = np.clip((down - 0.50) * 3.2, 0, 1)
    alpha = np.clip((soft - 0.42 - (fray - 0.5) * (0.28 + 0.55 * wispy)) * (5.2 - 3.2 * wispy) + 0.35, 0, 1)
    alpha *= np.clip(soft * 3, 0, 1) * (1 - 0.75 * np.clip((down - 0.62) * 3.4, 0, 1))
    volume = blur(body, w / 13)
    light = volume - np.roll(volume, max(1, h // 6), 0)
    lit = np.clip(0.66 + light * 1.25 + (fray - 0.5) * 0.20 - 0.55 * (down - 0.35), 0, 1)[..., None]
    low = mix(mix(p.haze, p.sky[1][1], 0.25 + shade), "#ffffff", 0.0 if p.dark else 0.18)
    high = mix("#ffffff", p.sun, 0.30) * np.clip(rgb(p.ambient) + 0.06, 0, 1)
    if p.dark or p.name == "storm":
        high = mix(high, p.haze, 0.62)
    return to_image(low * (1 - lit) + high * lit, alpha * (0.55 if p.dark else 0.95))


def clouds(
    rng: Rng, c: Canvas, p: Palette, horizon: float, amount: int, name: str = "clouds", low: float = 0.05
) -> Layer:
    image = Image.new("RGBA", (c.w, c.h), (*(int(v * 255) for v in mix(p.haze, "#ffffff", 0.5)), 0))
    shade = 0.25 if p.name == "storm" else 0.0
    spots = sorted((low + (horizon * 0.80 - low) * rng.random() ** 0.8, rng.random()) for _ in range(amount))
    for i, (y, jitter) in enumerate(spots):
        x = ((i * 0.381966 + jitter * 0.25) % 1.0) * 1.2 - 0.1
        size = c.width * (0.34 - 0.24 * y / max(horizon, 0.3)) * (0.6 + 0.8 * rng.random())
        puff = cloud(rng, max(30.0, size), p, shade)
        over(image, puff, int(c.x(x) - puff.width / 2), int(c.y(y) - puff.height / 2))
    return Layer(name, image, 0, 0, 0.08, "drift")


def _below(c: Canvas, edge: Array, first: int) -> Array:
    """Distance in pixels below a line of heights (one per column), for the rows from `first` down."""
    rows = np.arange(first, c.h, dtype=np.float32)[:, None]
    return rows - edge[None, :]


def hill(
    rng: Rng, c: Canvas, base: float, amp: float, lumps: int, top: Colour, bottom: Colour, haze: Colour, fade: float,
    name: str, depth: float, texture: float = 0.10, grain: int = 22,
) -> Layer:  # fmt: skip
    """A rolling ridge that fills the canvas below it: light along its edge, darker and hazier downwards."""
    edge = c.y(base) - (line_noise(rng, c.w, lumps, 3, 0.45) - 0.35) * amp * c.height
    first = max(0, int(edge.min()) - 1)
    d = _below(c, edge, first)
    alpha = np.clip(d + 0.5, 0, 1)
    t = np.clip(d / (0.42 * c.height), 0, 1)
    colours = ramp(t, [(0, top), (1, bottom)])
    n = noise(rng, c.w, c.h - first, grain, 3, 0.6)
    colours = colours * (1 + (n - 0.5)[..., None] * texture * 2)
    rim = np.exp(-np.clip(d, 0, None) / (0.012 * c.height))[..., None] * 0.22
    colours = colours + (1 - colours) * rim
    mist = np.clip(fade + 0.10 * t, 0, 0.95)[..., None]
    return Layer(name, to_image(colours * (1 - mist) + rgb(haze) * mist, alpha), 0, first, depth)


def mountains(
    rng: Rng, c: Canvas, base: float, height: float, peaks: int, colour: Colour, p: Palette, fade: float, snow: bool,
    name: str, depth: float,
) -> Layer:  # fmt: skip
    """Peaks one before another, each with a lit and a shaded flank and snow above a ragged line."""
    x = (np.arange(c.w, dtype=np.float32) - c.pad) / c.width
    at = (np.arange(peaks) + 0.5 + (rng.random(peaks) - 0.5) * 0.8) / peaks * 1.4 - 0.2
    tall = height * (0.50 + 0.50 * rng.random(peaks))
    first = max(0, int(c.y(base - height * 1.04)))
    last = min(c.h, int(c.y(base + 0.16)))
    rows = np.arange(first, last, dtype=np.float32)[:, None]
    n = noise(rng, c.w, last - first, 26, 3, 0.6)
    foot = c.y(base)
    colours = np.broadcast_to(rgb(p.haze), (last - first, c.w, 3)).astype(np.float32)
    alpha = np.zeros((last - first, c.w), np.float32)
    white = mix("#ffffff", p.haze, 0.12) * np.clip(rgb(p.ambient), 0, 1.02)
    for k in np.argsort(-tall):
        wide = tall[k] * (0.80 + 0.5 * rng.random()) * c.height / c.width * 1.3
        jag = (line_noise(rng, c.w, 24, 4, 0.6) - 0.5) * 0.06 * tall[k] / height
        edge = foot - (tall[k] * (1 - np.abs(x - at[k]) / wide) + jag) * c.height
        span = np.where(edge < foot + 0.16 * c.height)[0]
        if not len(span):
            continue
        a, b = int(span.min()), int(span.max()) + 1
        mask = np.clip(rows - edge[None, a:b] + 0.5, 0, 1)
        fall = np.clip((rows - (foot - tall[k] * c.height)) / (tall[k] * c.height), 0, 1)
        crest = (line_noise(rng, last - first, 16, 4, 0.6)[:, None] - 0.5) * 0.10 * wide * (0.3 + fall)
        side = np.clip(((x[None, a:b] - at[k]) - crest) / 0.012 + 0.5, 0, 1)
        grain = n[:, a:b]
        tone = rgb(colour) * (1.20 - 0.46 * side + (grain - 0.5) * 0.26)[..., None]
        if snow:
            line = 0.30 + (grain - 0.5) * 0.55 + 0.10 * side
            s = np.clip((line - fall) * 12, 0, 1)[..., None]
            tone = tone * (1 - s) + white * (1.06 - 0.30 * side)[..., None] * s
        mist = np.clip(fade + 0.50 * fall, 0, 0.95)[..., None]
        tone = tone * (1 - mist) + rgb(p.haze) * mist
        m = mask[..., None]
        colours[:, a:b] = colours[:, a:b] * (1 - m) + tone * m
        alpha[:, a:b] = np.maximum(alpha[:, a:b], mask)
    alpha *= np.clip((last - rows) / (0.10 * c.height), 0, 1)
    return Layer(name, to_image(colours, alpha), 0, first, depth)


def water(rng: Rng, c: Canvas, p: Palette, horizon: float, sun_x: float, calm: bool, name: str = "sea") -> Layer:
    """Sea or lake below the horizon: bands of waves with crests, the light's path on it."""
    first = int(c.y(horizon))
    h = c.h - first
    t = (np.arange(h, dtype=np.float32) / max(1, c.y(1.0) - first))[:, None]
    x = ((np.arange(c.w, dtype=np.float32) - c.pad) / c.width)[None, :]
    colours = ramp(
        np.broadcast_to(t, (h, c.w)).copy(),
        [(0, mix(p.sea[1], p.haze, 0.35)), (0.3, mix(p.sea[0], p.sea[1], 0.55)), (1, p.sea[0])],
    )
    bands = 11
    aspect = c.width / c.height
    for k in range(bands):
        u = (k + 0.6) / bands
        base, size = u**1.6 * 1.12, (0.004 + 0.020 * u**1.5) * (0.35 if calm else 1.0)
        waves = (2.5 + 15 * (1 - u)) * aspect
        phase, second = rng.random(2) * 6.28
        curve = base + size * (np.sin(x * waves * 2 + phase) * 0.6 + np.abs(np.sin(x * waves + second)) * 0.9 - 0.5)
        d = (t - curve) * c.height
        lit = np.exp(-np.clip(d, 0, None) / (2 + 26 * u)) * (d > -1) * (0.30 if calm else 0.42)
        foam = (
            np.clip(1 - np.abs(d - 1.2) / (0.8 + 2.0 * u), 0, 1)
            * (0.28 if calm else 0.62)
            * (0.5 + 0.5 * np.sin(x * waves * 0.7 + phase * 2))
        )
        colours += (mix(p.sea[1], "#ffffff", 0.35) - colours) * (lit * 0.55)[..., None]
        colours += (mix("#ffffff", p.haze, 0.25) * np.clip(rgb(p.ambient), 0, 1) - colours) * np.clip(foam, 0, 1)[
            ..., None
        ]
    ripple = noise(rng, c.w, h, 60, 2, 0.5, 0.22)
    path = (
        np.exp(-(((x - sun_x) / (0.035 + 0.16 * t)) ** 2))
        * np.clip((ripple - 0.45) * 9, 0, 1)
        * np.clip(1.15 - t, 0, 1)
    )
    colours += (rgb(p.sun) - colours) * (path * (0.9 if p.name != "storm" else 0.25))[..., None]
    return Layer(name, to_image(colours).convert("RGBA"), 0, first, 0.4, "shimmer")


def rays(rng: Rng, c: Canvas, colour: Colour, strength: float, spread: float = 0.25) -> Layer:
    """Shafts of light from above."""
    s = _small(c, 360)
    x, y = grid(s)
    total = np.zeros((s.h, s.w), np.float32)
    for _ in range(8):
        x0, lean = rng.random() * 1.2 - 0.1, spread * (rng.random() - 0.5)
        total += (
            np.exp(-(((x - x0 - lean * y) / (0.012 + 0.05 * y)) ** 2))
            * np.clip(1.05 - y / 0.9, 0, 1)
            * (0.4 + 0.6 * rng.random())
        )
    alpha = stretch(np.clip(total * strength, 0, 0.6), c.w, c.h)
    return Layer("rays", flat(colour, alpha), 0, 0, 0.35, "twinkle")


def ground_speckle(rng: Rng, c: Canvas, first: int, count: int, colours: tuple[str, ...], size: float) -> Image.Image:
    """Small dots that grow towards the viewer: flowers, pebbles, shells."""
    image = Image.new("RGBA", (c.w, c.h - first), (255, 255, 255, 0))
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        t = rng.random() ** 0.6
        px, py, r = rng.random() * c.w, t * (c.h - first), max(0.7, size * c.height * (0.25 + t))
        tone = tuple(int(v * 255) for v in rgb(colours[int(rng.integers(len(colours)))]))
        draw.ellipse([px - r, py - r * 0.8, px + r, py + r * 0.8], fill=(*tone, 235))
    return image
