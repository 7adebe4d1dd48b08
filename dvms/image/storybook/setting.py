"""A figure set into the scene: lit by its sun, in its haze, with the shadow or the mirror image it throws."""

import numpy as np
from PIL import Image, ImageFilter

from dvms.image.storybook.paint import Canvas, Layer, Palette, Rng, mix, rgb, to_image

SOFT = ("storm", "fog", "space", "deep")  # light without a direction: no long shadows


def lit(image: Image.Image, p: Palette, sun_x: float, haze: float) -> Image.Image:
    """The picture in the light of the place: ambient colour, bright towards the sun, darker away and at the foot."""
    a = np.asarray(image, np.float32) / 255
    h, w = a.shape[:2]
    alpha = a[..., 3]
    down = np.linspace(0, 1, h, dtype=np.float32)[:, None, None]
    across = np.linspace(0, 1, w, dtype=np.float32)[None, :, None]
    side = across if sun_x > 0.5 else 1 - across
    hard = 0.08 if p.name in SOFT else 0.24 if p.name in ("sunset", "dawn", "night", "neon") else 0.16
    ambient = np.clip(rgb(p.ambient) * (1.0 if p.dark else 0.98) + (0.06 if p.dark else 0.03), 0, 1.15)
    foot = 1 - 0.16 * np.clip((down - 0.84) / 0.16, 0, 1)
    colours = a[..., :3] * ambient * (1.07 - 0.17 * down) * (1 + hard * (side - 0.52)) * foot
    colours = colours + rgb(p.sun) * (0.05 + 0.30 * hard) * side**2 * (1 - 0.7 * down)
    step = max(1, h // 80)
    shifted = np.roll(np.roll(alpha, step if sun_x < 0.5 else -step, 1), step, 0)
    rim = np.clip(alpha - shifted, 0, 1)[..., None] * (0.42 + 1.2 * hard)
    colours = colours + (rgb(p.sun) - colours) * np.clip(rim, 0, 0.85)
    colours = colours * (1 - haze) + rgb(p.haze) * haze
    return to_image(colours, alpha)


def shadow(width: float, c: Canvas, p: Palette, strength: float = 0.5) -> Image.Image:
    """A soft contact shadow, `width` pixels wide."""
    w, h = max(8, int(width * 1.25)), max(5, int(width * 0.20))
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    d = np.hypot((xx - w / 2) / (w / 2), (yy - h / 2) / (h / 2))
    alpha = np.clip(1 - d, 0, 1) ** 0.8 * strength
    return to_image(np.broadcast_to(mix(p.land, "#000000", 0.72), (h, w, 3)), alpha)


def thrown(image: Image.Image, p: Palette, away: float) -> tuple[Image.Image, float]:
    """The long shadow towards the viewer, leaning `away` (-1..1) from the sun; and where its foot is in it."""
    long = 0.42 if p.name in ("sunset", "dawn") else 0.26
    small = max(1.0, image.height / 160)  # soft anyway: worked out small
    w, h = max(4, int(image.width / small)), max(4, int(image.height / small * long))
    flat = image.getchannel("A").transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((w, h), Image.Resampling.BOX)
    lean = int(abs(away) * h * 1.5)
    pad = max(2, h // 8)
    sheet = Image.new("L", (w + lean + 2 * pad, h + pad), 0)
    shift = away * h * 1.5 / h  # columns per row
    start = pad + (lean if away < 0 else 0)
    sheet.paste(flat, (start, 0))
    sheet = sheet.transform(
        sheet.size, Image.Transform.AFFINE, (1, -shift, 0, 0, 1, 0), Image.Resampling.BILINEAR
    ).filter(ImageFilter.GaussianBlur(max(0.8, h / 14)))
    a = np.asarray(sheet, np.float32) / 255
    a *= (np.linspace(0.46, 0.06, a.shape[0], dtype=np.float32) * (0.7 if p.dark else 1.0))[:, None]
    size = (max(4, int(sheet.width * small)), max(4, int(sheet.height * small)))
    plane = Image.fromarray((np.clip(a, 0, 1) * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    dark = Image.new("RGB", size, tuple(int(v * 255) for v in mix(p.land, "#0a0a24", 0.72)))
    dark.putalpha(plane)
    return dark, (start + w / 2) * small


def reflection(image: Image.Image, amount: float = 0.42) -> Image.Image:
    """The upside-down image in water, wavering and fading."""
    a = np.asarray(image.transpose(Image.Transpose.FLIP_TOP_BOTTOM), np.float32) / 255
    h = a.shape[0]
    fade = np.linspace(amount, 0, h, dtype=np.float32)
    sway = (np.sin(np.arange(h) * 40 / max(h, 1)) * max(1.0, h / 90)).astype(int)
    out = np.stack([np.roll(a[i], sway[i], 0) for i in range(h)])
    out[..., 3] *= fade[:, None]
    return to_image(out[..., :3] * 0.85, out[..., 3]).resize(
        (image.width, max(2, int(image.height * 0.7))), Image.Resampling.BILINEAR
    )


def foam(width: int, x: float, y: float, depth: float, name: str) -> Layer:
    """Light water around something that floats, in front of its waterline."""
    w, h = max(10, int(width * 1.12)), max(6, int(width * 0.12))
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    d = np.hypot((xx - w / 2) / (w / 2), (yy - h / 2) / (h / 2))
    ripple = 0.6 + 0.4 * np.sin(xx / w * 40 + yy / h * 5)
    alpha = np.clip(1 - np.abs(d - 0.72) / 0.28, 0, 1) * 0.55 * ripple
    white = np.ones((h, w, 3), np.float32)
    return Layer(f"foam {name}", to_image(white, alpha), int(x - w / 2), int(y - h * 0.62), depth + 0.0004, "shimmer")


def layer_for(
    name: str,
    image: Image.Image,
    c: Canvas,
    p: Palette,
    rng: Rng,
    x: float,
    foot: float,
    depth: float,
    ground: str,
    sun_x: float,
    motion: str,
    indoors: bool = False,
) -> list[Layer]:
    """The picture set at frame position x, its foot at `foot`, on `ground` (earth, water or air)."""
    seen = lit(image, p, sun_x, max(0.0, 0.5 - depth) * 0.8)
    px, py = c.x(x), c.y(foot)
    out: list[Layer] = []
    phase = float(rng.random() * 6.28)
    along = motion if motion.startswith("go") else "still"
    if ground == "earth":
        a = np.asarray(image.getchannel("A"))[int(image.height * 0.86) :]
        columns = np.where(a.max(0) > 100)[0]
        left, right = (int(columns.min()), int(columns.max())) if len(columns) else (0, image.width)
        middle = px - image.width / 2 + (left + right) / 2
        if p.name not in SOFT and not indoors:
            long, foot_x = thrown(image, p, float(np.clip((x - sun_x) * 1.6, -1, 1)))
            out.append(
                Layer(f"shadow {name}", long, int(px - foot_x), int(py - image.height * 0.012), depth - 0.0008, along)
            )
        dark = shadow(max(10.0, (right - left) * 1.02), c, p)
        at = int(middle - dark.width / 2), int(py - dark.height * 0.56)
        out.append(Layer(f"shadow {name}", dark, *at, depth - 0.0005, along))
    elif ground == "water":
        mirror = reflection(seen)
        at = int(px - mirror.width / 2), int(py - mirror.height * 0.06)
        out.append(Layer(f"mirror {name}", mirror, *at, depth - 0.0005, "shimmer", phase))
    out.append(Layer(name, seen, int(px - seen.width / 2), int(py - seen.height), depth, motion, phase))
    if ground == "water":
        out.append(foam(seen.width, px, py, depth, name))
    return out
