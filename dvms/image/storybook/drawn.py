"""Figures that the sprite set lacks, drawn as shaded shapes: lighthouse, windmill, hot air balloon, boards, a
submarine; and the coin, which in the set shows a bank."""

import math

import numpy as np
from PIL import Image, ImageDraw

SIZE, OVER = 256, 4


def _shade(image: Image.Image) -> Image.Image:
    """Turn flat colour into a lit solid: brighter left of the middle, darker at the rim."""
    a = np.asarray(image, np.float32) / 255
    mask = a[..., 3]
    columns = np.where(mask.max(0) > 0.5)[0]
    if len(columns) == 0:
        return image
    x = np.arange(a.shape[1], dtype=np.float32)
    rows = np.maximum(mask.sum(1), 1.0)
    centre = (mask * x).sum(1) / rows
    u = (x[None, :] - centre[:, None]) / (rows[:, None] / 2 + 1)
    light = np.clip(1.14 - 0.42 * (u + 0.35) ** 2, 0.5, 1.15)
    out = np.dstack([np.clip(a[..., :3] * light[..., None], 0, 1), mask])
    return Image.fromarray((out * 255).astype(np.uint8))


def _lighthouse(d: ImageDraw.ImageDraw, s: float) -> None:
    bands = 6
    for k in range(bands):
        y0, y1 = 78 + k * 26, 78 + (k + 1) * 26
        w0, w1 = 25 + (y0 - 78) * 0.13, 25 + (y1 - 78) * 0.13
        colour = "#f4f1ea" if k % 2 else "#e2413f"
        d.polygon(
            [(s * (128 - w0), s * y0), (s * (128 + w0), s * y0), (s * (128 + w1), s * y1), (s * (128 - w1), s * y1)],
            colour,
        )
    d.rectangle([s * 96, s * 70, s * 160, s * 80], "#4b5568")
    d.rectangle([s * 108, s * 38, s * 148, s * 70], "#ffe68a")
    for x in (108, 121, 134, 147):
        d.rectangle([s * x, s * 38, s * (x + 2), s * 70], "#4b5568")
    d.pieslice([s * 102, s * 14, s * 154, s * 62], 180, 360, "#c9302f")
    d.ellipse([s * 123, s * 6, s * 133, s * 18], "#c9302f")
    d.rounded_rectangle([s * 118, s * 204, s * 138, s * 236], s * 9, "#7a4a2e")
    d.ellipse([s * 120, s * 128, s * 136, s * 146], "#5d7690")
    d.polygon([(s * 74, s * 250), (s * 84, s * 234), (s * 172, s * 234), (s * 182, s * 250)], "#8d8f98")


def _windmill(d: ImageDraw.ImageDraw, s: float) -> None:
    d.polygon([(s * 98, s * 110), (s * 158, s * 110), (s * 176, s * 250), (s * 80, s * 250)], "#f1e6d2")
    d.pieslice([s * 92, s * 70, s * 164, s * 150], 180, 360, "#b5533c")
    d.rounded_rectangle([s * 114, s * 200, s * 142, s * 250], s * 13, "#7a4a2e")
    d.ellipse([s * 118, s * 150, s * 138, s * 172], "#6fa7d8")
    for k in range(4):
        angle = math.radians(28 + 90 * k)
        ux, uy = math.cos(angle), math.sin(angle)
        px, py = -uy, ux
        ends = [(18, -2), (98, -4), (98, 20), (18, 12)]
        d.polygon([(s * (128 + r * ux + o * px), s * (104 + r * uy + o * py)) for r, o in ends], "#fbf7ee")
        d.line([(s * 128, s * 104), (s * (128 + 100 * ux), s * (104 + 100 * uy))], "#8b5e3c", int(s * 5))
        for r in (36, 56, 76):
            a, b = (r, -2), (r, 16)
            d.line(
                [(s * (128 + q * ux + o * px), s * (104 + q * uy + o * py)) for q, o in (a, b)], "#c9b79a", int(s * 2)
            )
    d.ellipse([s * 120, s * 96, s * 136, s * 112], "#8b5e3c")


def _hot_air_balloon(d: ImageDraw.ImageDraw, s: float) -> None:
    colours = ["#ff5a5f", "#ffb13d", "#ffe45e", "#4fc3a1", "#3f9be0", "#8f6be8"]
    steps = 60
    for k, colour in enumerate(colours):
        left, right = [], []
        for i in range(steps + 1):
            t = i / steps
            y = 8 + 172 * t
            radius = (
                92 * math.sqrt(max(0.0, 1 - (2 * t / 1.25 - 1) ** 2))
                if t < 0.62
                else 92 - 66 * ((t - 0.62) / 0.38) ** 1.1
            )
            a, b = -1 + 2 * k / len(colours), -1 + 2 * (k + 1) / len(colours)
            left.append((s * (128 + radius * math.sin(a * math.pi / 2)), s * y))
            right.append((s * (128 + radius * math.sin(b * math.pi / 2)), s * y))
        d.polygon(left + right[::-1], colour)
    for x0, x1 in ((104, 112), (152, 144), (128, 128)):
        d.line([(s * x0, s * 178), (s * x1, s * 214)], "#6d4c33", int(s * 2))
    d.rounded_rectangle([s * 106, s * 212, s * 150, s * 248], s * 8, "#a86f3f")
    d.rectangle([s * 104, s * 210, s * 152, s * 219], "#7d4f2a")
    for y in (226, 234, 242):
        d.line([(s * 108, s * y), (s * 148, s * y)], "#8f5c31", int(s * 2))


def _surfboard(d: ImageDraw.ImageDraw, s: float) -> None:
    wave = [(s * x, s * (206 + 12 * math.sin(x / 17) + 0.04 * abs(x - 128))) for x in range(4, 253, 4)]
    d.ellipse([s * 10, s * 168, s * 246, s * 214], "#f6f0e0")
    d.ellipse([s * 18, s * 172, s * 238, s * 206], "#ff7a59")
    d.ellipse([s * 30, s * 178, s * 226, s * 200], "#ffd166")
    d.rectangle([s * 24, s * 187, s * 232, s * 191], "#fdf6e6")
    d.polygon([*wave, (s * 244, s * 232), (s * 128, s * 246), (s * 12, s * 232)], "#8fdcf2")
    d.line(wave, "#ffffff", int(s * 7))


def _skateboard(d: ImageDraw.ImageDraw, s: float) -> None:
    deck = [(8, 168), (30, 188), (226, 188), (248, 168), (252, 176), (230, 204), (26, 204), (4, 176)]
    d.polygon([(s * x, s * y) for x, y in deck], "#e2503f")
    d.rectangle([s * 28, s * 184, s * 228, s * 191], "#3b3f52")
    for x in (66, 190):
        d.rectangle([s * (x - 5), s * 202, s * (x + 5), s * 220], "#9aa0ad")
        d.ellipse([s * (x - 19), s * 206, s * (x + 19), s * 244], "#ffd166")
        d.ellipse([s * (x - 7), s * 218, s * (x + 7), s * 232], "#6b6f7d")


def _coin(d: ImageDraw.ImageDraw, s: float) -> None:
    d.ellipse([s * 14, s * 14, s * 242, s * 242], "#e09a1f")
    d.ellipse([s * 22, s * 18, s * 234, s * 230], "#ffcf4a")
    d.ellipse([s * 42, s * 38, s * 214, s * 210], "#e8a62a")
    d.ellipse([s * 47, s * 44, s * 209, s * 207], "#ffc23a")
    bolt = [(146, 58), (88, 138), (122, 138), (108, 198), (170, 112), (134, 112)]
    d.polygon([(s * (x + 3), s * (y + 4)) for x, y in bolt], "#c47f14")
    d.polygon([(s * x, s * y) for x, y in bolt], "#fff4cf")


def _submarine(d: ImageDraw.ImageDraw, s: float) -> None:
    d.rounded_rectangle([s * 122, s * 66, s * 130, s * 104], s * 3, "#d99a1c")
    d.rounded_rectangle([s * 122, s * 62, s * 150, s * 74], s * 5, "#d99a1c")
    d.rounded_rectangle([s * 92, s * 92, s * 162, s * 150], s * 16, "#f0b429")
    d.ellipse([s * 228, s * 138, s * 250, s * 164], "#c9861a")
    d.ellipse([s * 228, s * 164, s * 250, s * 190], "#c9861a")
    d.polygon([(s * 188, s * 132), (s * 232, s * 116), (s * 236, s * 212), (s * 188, s * 196)], "#e2a31f")
    d.ellipse([s * 8, s * 112, s * 226, s * 216], "#ffc83d")
    d.chord([s * 8, s * 112, s * 226, s * 216], 20, 160, "#e8a62a")
    for x in (48, 96, 144):
        d.ellipse([s * (x - 3), s * 137, s * (x + 37), s * 177], "#b8741a")
        d.ellipse([s * (x + 3), s * 143, s * (x + 31), s * 171], "#9be3f5")
        d.ellipse([s * (x + 8), s * 147, s * (x + 17), s * 156], "#eafaff")


DRAW = {
    "coin": _coin,
    "submarine": _submarine,
    "surfboard": _surfboard,
    "skateboard": _skateboard,
    "lighthouse": _lighthouse,
    "windmill": _windmill,
    "hot air balloon": _hot_air_balloon,
}


def draw(name: str) -> Image.Image:
    """The figure, RGBA, cropped."""
    image = Image.new("RGBA", (SIZE * OVER, SIZE * OVER), (0, 0, 0, 0))
    DRAW[name](ImageDraw.Draw(image), float(OVER))
    small = _shade(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    return small.crop(small.getbbox() or (0, 0, SIZE, SIZE))
