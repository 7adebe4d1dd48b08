"""What people built: skylines, rooms, stages, shelves. Each function returns one layer of the canvas."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dvms.image.storybook.nature import grid
from dvms.image.storybook.paint import (
    Array,
    Canvas,
    Colour,
    Layer,
    Palette,
    Rng,
    blur,
    mix,
    noise,
    ramp,
    rgb,
    stretch,
    to_image,
)

Box = tuple[float, float, float, float]


def _tone(colour: Colour) -> tuple[int, int, int]:
    r, g, b = (int(v * 255 + 0.5) for v in np.clip(rgb(colour), 0, 1))
    return r, g, b


def skyline(
    rng: Rng, c: Canvas, p: Palette, base: float, tall: float, fade: float, lit: float, name: str, depth: float
) -> Layer:
    """A row of towers with windows, lit at night, and a glow around them."""
    top = int(c.y(base - tall * 1.12))
    image = Image.new("RGBA", (c.w, c.h - top), (0, 0, 0, 0))
    glow = Image.new("L", image.size, 0)
    draw, shine = ImageDraw.Draw(image), ImageDraw.Draw(glow)
    unit = c.height / 720
    x = -20.0 * unit
    body = (
        [mix(p.land, p.land2, t) for t in (0.0, 0.25, 0.5)]
        if p.dark
        else [mix(p.land2, h, 0.55) for h in ("#c98f7a", "#8fa3c4", "#d8c39a", "#7f90a8")]
    )
    while x < c.w:
        w = c.height * (0.075 + 0.10 * rng.random())
        h = c.height * tall * (0.38 + 0.62 * rng.random())
        y = c.y(base) - top - h
        colour = mix(mix(body[int(rng.integers(len(body)))], p.ambient, 0.0) * rgb(p.ambient), p.haze, fade)
        shape = rng.random()
        draw.rectangle([x, y, x + w, image.height], fill=(*_tone(colour), 255))
        draw.rectangle([x + w * 0.72, y, x + w, image.height], fill=(*_tone(colour * 0.86), 255))
        draw.rectangle([x, y, x + w, y + 3 * unit], fill=(*_tone(mix(colour, p.sun, 0.35)), 255))
        if shape < 0.25:
            draw.rectangle([x + w * 0.2, y - h * 0.10, x + w * 0.8, y], fill=(*_tone(colour * 0.95), 255))
            draw.rectangle([x + w * 0.47, y - h * 0.22, x + w * 0.53, y - h * 0.10], fill=(*_tone(colour * 0.9), 255))
        elif shape < 0.4:
            draw.polygon([(x, y), (x + w, y), (x + w * 0.5, y - w * 0.55)], fill=(*_tone(colour * 0.92), 255))
        cell_w, cell_h = w / (4 + int(rng.integers(3))), 20 * unit
        wy = y + cell_h * 0.7
        while wy < image.height - c.pad * 0.3:
            wx = x + cell_w * 0.45
            while wx < x + w - cell_w * 0.6:
                box = [wx, wy, wx + cell_w * 0.52, wy + cell_h * 0.52]
                if rng.random() < lit:
                    warm = ("#ffdf94", "#ffc866", "#fff0c4", "#9fe3ff", "#ff9fd8")[
                        int(rng.integers(5 if p.name == "neon" else 3))
                    ]
                    draw.rectangle(box, fill=(*_tone(mix(warm, p.haze, fade * 0.5)), 255))
                    shine.rectangle(box, fill=200)
                else:
                    pane = mix(colour * 0.72, p.sky[1][1], 0.05 if p.dark else 0.45)
                    draw.rectangle(box, fill=(*_tone(pane), 255))
                wx += cell_w
            wy += cell_h
        x += w + c.height * 0.012 * rng.random()
    if lit > 0.3:
        halo = np.asarray(glow.filter(ImageFilter.GaussianBlur(7 * unit)), np.float32) / 255
        a = np.asarray(image, np.float32) / 255
        a[..., :3] += (rgb("#ffcf87" if p.name != "neon" else "#ff8fe0") - a[..., :3]) * np.clip(halo * 0.55, 0, 0.6)[
            ..., None
        ]
        image = to_image(a[..., :3], a[..., 3])
    return Layer(name, image, 0, top, depth)


def street(rng: Rng, c: Canvas, p: Palette, base: float) -> Layer:
    """Pavement and road; wet light at night."""
    first = int(c.y(base))
    h = c.h - first
    t = (np.arange(h, dtype=np.float32) / max(1, c.y(1.0) - first))[:, None]
    x = np.linspace(0, 1, c.w, dtype=np.float32)[None, :]
    grey = mix("#6d7280", p.land, 0.45 if p.dark else 0.1) * rgb(p.ambient)
    n = noise(rng, c.w, h, 50, 3, 0.6, 0.4)
    colours = (
        ramp(np.broadcast_to(t, (h, c.w)).copy(), [(0, mix(grey, p.haze, 0.4)), (0.3, grey), (1, grey * 0.72)])
        * (0.94 + 0.12 * n)[..., None]
    )
    kerb = np.exp(-(((t - 0.16) * 34) ** 2))
    colours = colours + (mix(grey, "#ffffff", 0.4) - colours) * (kerb * 0.5)[..., None]
    dash = (np.abs(t - 0.74) < 0.018) * ((np.sin(x * 46) > 0.1) * 1.0)
    colours = colours + (mix("#f4ecd0", p.haze, 0.3) - colours) * (dash * 0.8)[..., None]
    if p.dark:
        wet = stretch(rng.random((3, 26)).astype(np.float32), c.w, h)
        streak = np.clip((wet - 0.55) * 2.2, 0, 1) * np.exp(-t * 1.4)
        tone = ramp(
            stretch(rng.random((2, 18)).astype(np.float32), c.w, h), [(0, "#ffcf87"), (0.5, p.sky[2][1]), (1, p.sun)]
        )
        colours = colours + (tone - colours) * (streak * 0.45)[..., None]
    return Layer("street", to_image(colours).convert("RGBA"), 0, first, 0.4)


def _planks(rng: Rng, c: Canvas, base: float, near: Colour, far: Colour, p: Palette, name: str) -> Layer:
    first = int(c.y(base))
    h = c.h - first
    t = (np.arange(h, dtype=np.float32) / max(1, c.y(1.0) - first))[:, None]
    x = (((np.arange(c.w, dtype=np.float32) - c.pad) / c.width) - 0.5)[None, :]
    lane = x / (0.45 + 0.55 * t) * 15
    n = noise(rng, c.w, h, 14, 4, 0.6, 3.0)
    board = np.sin(np.floor(lane) * 12.9898) * 0.5 + 0.5
    colours = (
        ramp(np.broadcast_to(t, (h, c.w)).copy(), [(0, far), (1, near)])
        * (0.90 + 0.12 * board + 0.16 * (n - 0.5))[..., None]
    )
    gap = np.clip(1 - np.abs(lane - np.round(lane)) * 22, 0, 1) * 0.35
    colours = colours * (1 - gap)[..., None] * (rgb(p.ambient) * 0.4 + 0.6)
    return Layer(name, to_image(colours).convert("RGBA"), 0, first, 0.45)


def floor(rng: Rng, c: Canvas, p: Palette, base: float) -> Layer:
    return _planks(rng, c, base, "#c08a5a", "#8a5c3c", p, "floor")


def stage_floor(rng: Rng, c: Canvas, p: Palette, base: float) -> Layer:
    return _planks(rng, c, base, "#7c2f9a", "#2c1058", p, "floor")


def table(rng: Rng, c: Canvas, p: Palette, y: float) -> Layer:
    """A wooden table top that fills the foreground."""
    first = int(c.y(y))
    top = _planks(rng, c, y, "#d9a066", "#b97d48", p, "table").image
    h = top.height
    a = np.asarray(top, np.float32)[..., :3] / 255
    t = (np.arange(h, dtype=np.float32) / max(1, c.y(1.0) - first))[:, None, None]
    cloth = rgb(("#f7f3ea", "#e9f0f5", "#fbe9e4")[int(rng.integers(3))]) * (rgb(p.ambient) * 0.5 + 0.5)
    x = np.abs(((np.arange(c.w, dtype=np.float32) - c.pad) / c.width) - 0.5)[None, :, None]
    runner = np.clip((0.36 + 0.10 * t - x) * c.width * 0.5, 0, 1) * np.clip((t - 0.10) * 60, 0, 1)
    weave = 1 - 0.03 * (np.sin(t * 140) > 0.4)
    a = a * (1 - runner * 0.94) + cloth * weave * runner * 0.94
    edge = np.exp(-((t - 0.0) ** 2) * 4000) * 0.35
    return Layer("table", to_image(a + (1 - a) * edge).convert("RGBA"), 0, first, 0.58)


def rug(rng: Rng, c: Canvas, p: Palette, y: float) -> Layer:
    w, h = int(c.width * 0.62), int(c.height * 0.17)
    s = 2
    image = Image.new("RGBA", (w * s, h * s), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    tones = (("#b8504f", "#f0d9b5", "#7d2f3c"), ("#3f6f9f", "#e8e2cf", "#2b4a70"), ("#5f8f6a", "#f2e4c0", "#3c6248"))[
        int(rng.integers(3))
    ]
    for inset, tone in ((0, tones[2]), (0.04, tones[1]), (0.08, tones[0]), (0.26, tones[1]), (0.29, tones[0])):
        colour = _tone(rgb(tone) * rgb(p.ambient))
        draw.ellipse([w * s * inset, h * s * inset, w * s * (1 - inset), h * s * (1 - inset)], fill=(*colour, 255))
    return Layer("rug", image.resize((w, h), Image.Resampling.LANCZOS), int(c.x(0.5) - w / 2), int(c.y(y) - h / 2), 0.5)


def wall(rng: Rng, c: Canvas, p: Palette, base: float, view: Image.Image | None, side: float) -> Layer:
    """A papered wall with a window onto `view` (an RGB picture of what is outside)."""
    x, y = grid(c)
    paper = rgb(("#dfb992", "#a9c0d1", "#bccca6", "#dcb0a8", "#cbb5d6", "#e6cf9a")[int(rng.integers(6))])
    light = 1.02 - 0.20 * y - 0.10 * np.abs(x - side)
    stripes = 1 + 0.018 * (np.sin(x * 95) > 0.2)
    n = noise(rng, c.w, c.h, 5, 3)
    shade = (light * stripes * (1 + (n - 0.5) * 0.08))[..., None]
    colours = paper * shade * (rgb(p.ambient) * (0.55 if p.dark else 0.75) + 0.25)
    if view is None:
        lamp = np.exp(-(((x - side) ** 2) * 5 + ((y - 0.25) ** 2) * 6))
        colours = colours + (rgb("#ffdf9e") - colours) * (lamp * 0.30)[..., None]
    image = to_image(colours)
    if view is not None:
        _window(image, c, view, side, p)
    draw = ImageDraw.Draw(image)
    unit = c.height / 720
    y0 = c.y(base)
    draw.rectangle([0, y0 - 22 * unit, c.w, y0], fill=_tone(mix("#fbf5ea", p.haze, 0.12) * rgb(p.ambient)))
    draw.rectangle([0, y0 - 4 * unit, c.w, y0], fill=_tone(mix("#cbbfa9", p.haze, 0.1) * rgb(p.ambient)))
    return Layer("wall", image.convert("RGBA"), 0, 0, 0.0)


def _window(image: Image.Image, c: Canvas, view: Image.Image, side: float, p: Palette) -> None:
    x0, y0, x1, y1 = (int(v) for v in (c.x(side - 0.15), c.y(0.09), c.x(side + 0.15), c.y(0.53)))
    unit = c.height / 720
    glow = Image.new("L", image.size, 0)
    ImageDraw.Draw(glow).rectangle([x0, y0, x1, y1], fill=255)
    halo = blur(np.asarray(glow, np.float32) / 255, 60 * unit) * (0.18 if p.dark else 0.34)
    a = np.asarray(image, np.float32) / 255
    image.paste(to_image(a + (rgb(p.sun) - a) * halo[..., None]))
    image.paste(view.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR), (x0, y0))
    draw = ImageDraw.Draw(image)
    frame, shade = _tone(rgb("#fbf7ef") * rgb(p.ambient)), _tone(rgb("#cfc6b6") * rgb(p.ambient))
    thick = 10 * unit
    for box in (
        [x0 - thick, y0 - thick, x1 + thick, y0],
        [x0 - thick, y1, x1 + thick, y1 + thick],
        [x0 - thick, y0, x0, y1],
        [x1, y0, x1 + thick, y1],
        [(x0 + x1) / 2 - thick / 3, y0, (x0 + x1) / 2 + thick / 3, y1],
        [x0, (y0 + y1) / 2 - thick / 3, x1, (y0 + y1) / 2 + thick / 3],
    ):
        draw.rectangle(box, fill=frame)
    draw.rectangle([x0 - thick * 2, y1 + thick, x1 + thick * 2, y1 + thick * 2.4], fill=frame)
    draw.rectangle([x0 - thick * 2, y1 + thick * 2.4, x1 + thick * 2, y1 + thick * 3], fill=shade)


def shelves(rng: Rng, c: Canvas, p: Palette, box: Box, rows: int, jars: bool) -> Layer:
    """A bookcase, or a kitchen shelf with jars, within the frame units of `box`."""
    x0, y0, x1, y1 = c.x(box[0]), c.y(box[1]), c.x(box[2]), c.y(box[3])
    w, h = int(x1 - x0), int(y1 - y0)
    unit, light = c.height / 720, rgb(p.ambient) * 0.55 + 0.45
    image = Image.new("RGBA", (w, h), (*_tone(rgb("#5a3a26") * light), 255) if not jars else (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    wood, edge = _tone(rgb("#94623c") * light), _tone(rgb("#b27d4f") * light)
    tall = h / rows
    tones = (
        "#c8483f",
        "#d98b3a",
        "#e2c25a",
        "#4f8f6a",
        "#3f7fb0",
        "#6a5aa8",
        "#a84f78",
        "#8a6a4a",
        "#d9d2c0",
        "#2f4f6f",
    )
    for row in range(rows):
        floor_y, x = tall * (row + 1) - 10 * unit, 8 * unit
        while x < w - 14 * unit:
            colour = rgb(tones[int(rng.integers(len(tones)))]) * light
            if jars:
                jw, jh = (26 + 22 * rng.random()) * unit, tall * (0.42 + 0.3 * rng.random())
                draw.rounded_rectangle(
                    [x, floor_y - jh, x + jw, floor_y], 6 * unit, fill=(*_tone(mix(colour, "#ffffff", 0.25)), 255)
                )
                draw.rectangle(
                    [x + jw * 0.14, floor_y - jh * 0.85, x + jw * 0.26, floor_y - jh * 0.15], fill=(255, 255, 255, 130)
                )
                draw.rounded_rectangle(
                    [x + jw * 0.08, floor_y - jh - 7 * unit, x + jw * 0.92, floor_y - jh + 2],
                    3 * unit,
                    fill=(*wood, 255),
                )
                x += jw + 14 * unit * (0.3 + rng.random())
                continue
            bw, bh = (9 + 13 * rng.random()) * unit, tall * (0.58 + 0.27 * rng.random())
            draw.rectangle([x, floor_y - bh, x + bw, floor_y], fill=(*_tone(colour), 255))
            draw.rectangle([x + bw * 0.75, floor_y - bh, x + bw, floor_y], fill=(*_tone(colour * 0.75), 255))
            draw.rectangle(
                [x, floor_y - bh * 0.82, x + bw, floor_y - bh * 0.76], fill=(*_tone(mix(colour, "#ffe9b0", 0.6)), 255)
            )
            x += bw + (1 if rng.random() < 0.9 else 18) * unit
        draw.rectangle([0, floor_y, w, floor_y + 10 * unit], fill=(*wood, 255))
        draw.rectangle([0, floor_y, w, floor_y + 3 * unit], fill=(*edge, 255))
    if not jars:
        for a, b in ((0, 8 * unit), (w - 8 * unit, w)):
            draw.rectangle([a, 0, b, h], fill=(*wood, 255))
    return Layer("shelves", image, int(x0), int(y0), 0.05)


def counter(c: Canvas, p: Palette, top: float) -> Layer:
    """A kitchen counter along the wall."""
    y0, unit, light = c.y(top), c.height / 720, rgb(p.ambient) * 0.55 + 0.45
    h = int(c.y(0.80) - y0)
    image = Image.new("RGBA", (c.w, h), (*_tone(rgb("#efe6d6") * light), 255))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, 0, c.w, 16 * unit], fill=(*_tone(rgb("#9a6a44") * light), 255))
    draw.rectangle([0, 16 * unit, c.w, 22 * unit], fill=(*_tone(rgb("#cfc2aa") * light), 255))
    step = c.width / 7
    for k in range(9):
        x = k * step
        draw.rounded_rectangle(
            [x + 8 * unit, 32 * unit, x + step - 8 * unit, h - 8 * unit],
            8 * unit,
            outline=(*_tone(rgb("#cbbda2") * light), 255),
            width=max(1, int(3 * unit)),
        )
        draw.ellipse(
            [x + step - 30 * unit, h * 0.45, x + step - 22 * unit, h * 0.45 + 8 * unit],
            fill=(*_tone(rgb("#8a6a4a") * light), 255),
        )
    return Layer("counter", image, 0, int(y0), 0.3)


def stage(rng: Rng, c: Canvas) -> tuple[Layer, Layer, Layer]:
    """Back wall, beams of light, curtains."""
    x, y = grid(c)
    n = noise(rng, c.w, c.h, 3, 3)
    back = ramp(np.clip(y + (n - 0.5) * 0.25, 0, 1), [(0, "#140733"), (0.6, "#4a1480"), (1, "#b82a92")])
    beams = np.zeros((c.h, c.w), np.float32)
    tint: Array = np.zeros((c.h, c.w, 3), np.float32)
    for k, colour in enumerate(("#ff5fb0", "#56d8ff", "#ffdc5a", "#9a78ff", "#62ffa6", "#ff8a5a")):
        x0, lean = 0.06 + 0.176 * k, (rng.random() - 0.5) * 0.65
        width = 0.014 + 0.085 * np.clip(y, 0, 1.2)
        a = np.exp(-(((x - x0 - lean * y) / width) ** 2)) * np.clip(1.08 - y, 0, 1) * 0.62
        tint += rgb(colour) * a[..., None]
        beams += a
    light = Layer(
        "beams", to_image(tint / np.maximum(beams, 1e-3)[..., None], np.clip(beams, 0, 0.85)), 0, 0, 0.08, "twinkle"
    )
    s = max(1, int(c.w * 0.17))
    fold = np.arange(s, dtype=np.float32) / s
    wave = 0.72 + 0.28 * np.sin(fold * 30)[None, :] + np.zeros((c.h, 1), np.float32)
    edge = s * (0.70 + 0.26 * np.clip(np.abs(y - 0.35) * 1.2, 0, 1) ** 1.5)
    alpha = np.clip(edge - np.arange(s, dtype=np.float32)[None, :], 0, 1)
    cloth = to_image(rgb("#b3203f") * wave[..., None] * (1.05 - 0.35 * np.clip(y, 0, 1))[..., None], alpha)
    both = Image.new("RGBA", (c.w, c.h), (80, 0, 20, 0))
    both.paste(cloth, (0, 0))
    both.paste(cloth.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (c.w - s, 0))
    return Layer("back", to_image(back).convert("RGBA"), 0, 0, 0.0), light, Layer("curtains", both, 0, 0, 0.55)


def crowd(rng: Rng, c: Canvas) -> Layer:
    """Heads and raised hands in front of the stage."""
    top = int(c.y(0.86))
    image = Image.new("RGBA", (c.w * 2, (c.h - top) * 2), (14, 5, 34, 0))
    draw = ImageDraw.Draw(image)
    unit = c.height / 720 * 2
    for _ in range(int(46 * c.width / c.height / 1.78)):
        x, y, r = rng.random() * image.width, (46 + 46 * rng.random()) * unit, (20 + 8 * rng.random()) * unit
        draw.ellipse([x - r, y - r, x + r, y + r * 1.1], fill=(14, 5, 34, 255))
        draw.rounded_rectangle([x - r * 1.7, y + r * 0.9, x + r * 1.7, image.height + r], r, fill=(14, 5, 34, 255))
        if rng.random() < 0.35:
            reach = x + (rng.random() - 0.5) * r * 3
            draw.line([(x + r, y + r * 1.2), (reach, y - r * 1.9)], fill=(14, 5, 34, 255), width=int(r * 0.55))
            draw.ellipse([reach - r * 0.4, y - r * 2.3, reach + r * 0.4, y - r * 1.5], fill=(14, 5, 34, 255))
    return Layer("crowd", image.resize((c.w, c.h - top), Image.Resampling.BOX), 0, top, 0.95, "hop")
