"""Storybook pictures come alive: true layers, each moved by its depth, and things that sway, bob and fall."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dvms.animation.moves import Move
from dvms.image.storybook.compose import Scene, compose, finish
from dvms.image.storybook.paint import Canvas, Layer, over
from dvms.image.storybook.recipe import Recipe
from dvms.image.storybook.styles import pixel
from dvms.image.storybook.weather import PARTICLES

PLATE_DEPTHS = (0.07, 0.34, 0.56, 2.0)  # upper bounds of the bands that scenery is merged into
BEAT = 0.55  # seconds, of things that move in time


# Plates are kept enlarged, so that sampling the nearest pixel is precise to a fraction of a pixel of the clip: a
# twelfth of the cost of interpolating every frame.
FINE = 3
MOST_FINE_PIXELS = 16_000_000


@dataclass(slots=True)
class _Plate:
    """A picture that moves as one: RGB, or RGBA with what is behind showing through; at (x, y) of the canvas."""

    image: Image.Image
    x: int
    y: int
    depth: float
    motion: str
    phase: float
    fine: int = 1
    flat: bool = False  # a shadow: it slides along, but does not hop

    def refine(self, fine: int) -> None:
        self.image = self.image.resize((self.image.width * fine, self.image.height * fine), Image.Resampling.BILINEAR)
        self.fine = fine


class Parallax:
    """Frames of one scene under one camera move."""

    def __init__(self, recipe: Recipe, move: Move, seconds: float) -> None:
        self.scene = compose(recipe)
        self.move, self.seconds = move, seconds
        self.canvas = self.scene.canvas
        self.particles = {layer.name for layer in self.scene.layers} & PARTICLES
        rng = np.random.default_rng(recipe.seed)
        self.dust = rng.random((110, 4))
        self.glints = self._glints(rng)
        self.plates = _plates(self.scene)
        fine = FINE if self.canvas.w * self.canvas.h * FINE**2 <= MOST_FINE_PIXELS else 2
        for plate in self.plates:
            plate.refine(fine)

    def _glints(self, rng: np.random.Generator) -> list[tuple[float, float, float, float]]:
        """(x, y, size, phase) of lights that twinkle: stars, or the sun on water."""
        c, names = self.canvas, {layer.name for layer in self.scene.layers}
        out = []
        if "stars" in names:
            out += [(rng.random() * c.w, rng.random() * c.h * 0.5, 1.2, rng.random() * 6.28) for _ in range(16)]
        water = next((layer for layer in self.scene.layers if layer.name == "sea"), None)
        if water is not None:
            for _ in range(34):
                t = rng.random()
                out.append((rng.random() * c.w, water.y + t * (c.h - water.y), -(2 + 7 * t), rng.random() * 6.28))
        return out

    def frame(self, t: float) -> Image.Image:
        """The picture at t seconds."""
        c = self.canvas
        zoom, pan_x, pan_y = self.move.at(min(1.0, t / max(self.seconds, 0.01)))
        frame = Image.new("RGB", (c.width, c.height))
        lights_done = False
        for plate in self.plates:
            box = self._view(plate.depth, zoom, pan_x, pan_y)
            if not lights_done and plate.depth > 0.42 and self.glints:
                self._twinkle(frame, box, t)
                lights_done = True
            if plate.image.mode == "RGB":
                f = plate.fine
                frame = plate.image.resize(
                    (c.width, c.height), Image.Resampling.NEAREST, box=(box[0] * f, box[1] * f, box[2] * f, box[3] * f)
                )
            elif plate.motion == "scenery":
                _wide(frame, plate, box, 0.0)
            elif plate.motion in ("sway", "drift"):
                _wide(frame, plate, box, self._shift(plate, t))
            else:
                self._alive(frame, plate, box, t)
        if self.glints and not lights_done:
            self._twinkle(frame, self._view(0.1, zoom, pan_x, pan_y), t)
        if self.particles:
            self._fall(frame, t, pan_x)
        if self.scene.style == "pixel":
            frame = Image.fromarray(
                (pixel(np.asarray(frame, np.float32) / 255, np.random.default_rng(0)) * 255).astype(np.uint8)
            )
        return frame

    def _view(self, depth: float, zoom: float, pan_x: float, pan_y: float) -> tuple[float, float, float, float]:
        """What part of the canvas is seen at this depth: near things grow and slide more."""
        c = self.canvas
        near = 0.30 + 0.85 * depth
        scale = 1 + (zoom - 1) * near * 1.25
        w, h = c.width / scale, c.height / scale
        x = (c.w - w) / 2 + pan_x * c.pad * near * 0.9
        y = (c.h - h) / 2 + pan_y * c.pad * near * 0.7
        x, y = min(max(0.0, x), c.w - w), min(max(0.0, y), c.h - h)
        return x, y, x + w, y + h

    def _shift(self, plate: _Plate, t: float) -> float:
        """How far sideways a swaying or drifting plate is at t, in pixels."""
        if plate.motion == "sway":
            return math.sin(t * 1.7 + plate.phase) * 0.004 * self.canvas.width
        return (t - self.seconds / 2) * 0.006 * self.canvas.width

    def _alive(self, frame: Image.Image, plate: _Plate, box: tuple[float, float, float, float], t: float) -> None:
        """A thing with a life of its own: turned, scaled and placed in one sampling."""
        c = self.canvas
        scale = c.width / (box[2] - box[0])
        w, h = plate.image.width / plate.fine * scale, plate.image.height / plate.fine * scale
        x, y = (plate.x - box[0]) * scale, (plate.y - box[1]) * scale
        dx, dy, angle = self._life(plate, t)
        x, y = x + dx, y + dy
        pivot_x, pivot_y = w / 2, h * (0.92 if plate.motion in ("hop", "dance", "go left", "go right") else 0.5)
        margin = int(abs(math.sin(angle)) * max(w, h)) + 2
        left, top = math.floor(x) - margin, math.floor(y) - margin
        size = (int(w) + 2 * margin + 2, int(h) + 2 * margin + 2)
        k = plate.fine / scale
        cos, sin = math.cos(angle) * k, math.sin(angle) * k
        # Output pixel (ox, oy) is (ox + left - x - pivot) from the pivot; turn it back and look there.
        ox, oy = left - x - pivot_x, top - y - pivot_y
        matrix = (cos, sin, cos * ox + sin * oy + pivot_x * k, -sin, cos, -sin * ox + cos * oy + pivot_y * k)
        piece = plate.image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
        over(frame, piece, left, top)

    @property
    def focus(self) -> tuple[float, float] | None:
        """Where to look, in shares of the frame: the head of the first figure, the middle of the first group."""
        c = self.canvas
        figures = [layer for layer in self.scene.layers if layer.name.startswith("sub")]
        if not figures:
            return None
        first = min(layer.name.partition(".")[0] for layer in figures)
        group = [layer for layer in figures if layer.name.partition(".")[0] == first]
        x = (sum(layer.x + layer.image.width / 2 for layer in group) / len(group) - c.pad) / c.width
        y = (sum(layer.y + layer.image.height * 0.40 for layer in group) / len(group) - c.pad) / c.height
        return round(min(max(x, 0.0), 1.0), 3), round(min(max(y, 0.0), 1.0), 3)

    def _life(self, plate: _Plate, t: float) -> tuple[float, float, float]:
        """(pixels right, pixels down, radians) of a living thing at t."""
        c, wave = self.canvas, 2 * math.pi * t / (BEAT * 2) + plate.phase
        if plate.motion.startswith("go"):
            way = (-1 if plate.motion == "go left" else 1) * t * 0.017 * c.width
            if plate.flat:
                return way, 0.0, 0.0
            return way, -abs(math.sin(wave * 1.5)) * 0.010 * c.height, math.sin(wave * 1.5) * 0.014
        if plate.motion == "dance":
            side = math.sin(wave * 0.5) * 0.022 * c.width
            return side, -abs(math.sin(wave)) * 0.045 * c.height, math.sin(wave) * 0.085
        if plate.motion == "hop":
            return 0.0, -abs(math.sin(wave)) * 0.016 * c.height, math.sin(wave) * 0.026
        if plate.motion == "bob":
            return 0.0, math.sin(wave * 0.55) * 0.010 * c.height, math.sin(wave * 0.55 + 1) * 0.028
        if plate.motion == "float":
            side = math.sin(wave * 0.27) * 0.010 * c.width
            return side, math.sin(wave * 0.42) * 0.020 * c.height, math.sin(wave * 0.42 + 0.7) * 0.035
        if plate.motion == "shimmer":
            return math.sin(wave * 0.55) * 0.003 * c.width, 0.0, 0.0
        return 0.0, 0.0, 0.0

    def _twinkle(self, frame: Image.Image, box: tuple[float, float, float, float], t: float) -> None:
        draw = ImageDraw.Draw(frame, "RGBA")
        scale = self.canvas.width / (box[2] - box[0])
        for x, y, size, phase in self.glints:
            on = math.sin(t * 3.1 + phase)
            if on > 0.25:
                px, py, a = (x - box[0]) * scale, (y - box[1]) * scale, int(200 * (on - 0.25))
                if size > 0:
                    r = size * (0.6 + on)
                    draw.ellipse((px - r, py - r, px + r, py + r), fill=(255, 255, 255, a))
                else:
                    draw.line((px + size, py, px - size, py), fill=(255, 250, 235, a // 2 + 20), width=1)

    def _fall(self, frame: Image.Image, t: float, pan: float) -> None:
        draw = ImageDraw.Draw(frame, "RGBA")
        w, h = frame.size
        unit = h / 720
        for a, b, s, q in self.dust:
            if "rain" in self.particles:
                x, y = (a * w - t * 150 * unit - pan * 30) % w, (b * h + t * (780 + 420 * s) * unit) % h
                draw.line(
                    (x, y, x - 6 * unit, y + (26 + 16 * s) * unit), fill=(225, 235, 245, int(60 + 90 * s)), width=1
                )
            if "flakes" in self.particles:
                r = (1.2 + 4.6 * s * s) * unit
                x = (a * w + math.sin(t * (0.6 + q) + 6 * a) * 30 * unit + 22 * t * q * unit - pan * 40 * s) % w
                y = (b * h + t * (36 + 120 * s) * unit) % h
                draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255, int(130 + 100 * s)))
            if self.particles & {"leaves", "petals"} and q < 0.4:
                r = (3 + 5 * s) * unit
                x, y = (
                    (a * w + math.sin(t * 1.4 + 9 * q) * 46 * unit - t * 40 * s * unit) % w,
                    (b * h + t * (50 + 70 * s) * unit) % h,
                )
                flat = r * abs(math.cos(t * 2.2 + 7 * a)) * 0.7 + 1
                tone = (236, 122, 48) if "leaves" in self.particles else (255, 196, 218)
                draw.ellipse((x - r, y - flat, x + r, y + flat), fill=(*tone, 225))
            if "bubbles" in self.particles and q < 0.3:
                r = (2 + 6 * s) * unit
                x, y = (a * w + math.sin(t * 1.7 + 9 * a) * 12 * unit) % w, (b * h - t * (46 + 60 * s) * unit) % h
                draw.ellipse((x - r, y - r, x + r, y + r), outline=(225, 250, 255, 150), width=1)
                draw.ellipse((x - r * 0.5, y - r * 0.6, x - r * 0.1, y - r * 0.2), fill=(255, 255, 255, 150))
            if "fireflies" in self.particles and q < 0.45:
                glow = 0.5 + 0.5 * math.sin(t * 2.4 + 12 * a)
                r = (2.0 + 2.6 * s) * unit
                x = (a * w + math.sin(t * 0.7 + 9 * q) * 40 * unit) % w
                y = (0.30 + 0.66 * b) * h + math.sin(t * 0.9 + 5 * a) * 26 * unit
                draw.ellipse((x - 3 * r, y - 3 * r, x + 3 * r, y + 3 * r), fill=(255, 240, 150, int(36 * glow)))
                draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 250, 205, int(225 * glow)))


def _wide(frame: Image.Image, plate: _Plate, box: tuple[float, float, float, float], shift: float) -> None:
    """Paste the seen part of a wide plate, resized to the frame."""
    scale = frame.width / (box[2] - box[0])
    width, height = plate.image.width / plate.fine, plate.image.height / plate.fine
    left, top = max(box[0] + shift, plate.x), max(box[1], plate.y)
    right, bottom = min(box[2] + shift, plate.x + width), min(box[3], plate.y + height)
    if right - left < 2 or bottom - top < 2:
        return
    x0, y0 = round((left - box[0] - shift) * scale), round((top - box[1]) * scale)
    x1, y1 = round((right - box[0] - shift) * scale), round((bottom - box[1]) * scale)
    if x1 <= x0 or y1 <= y0:
        return
    # The exact source rectangle for the whole output pixels, so that slow moves don't jitter.
    part = (
        max(0.0, x0 / scale + box[0] + shift - plate.x) * plate.fine,
        max(0.0, y0 / scale + box[1] - plate.y) * plate.fine,
        min(width, x1 / scale + box[0] + shift - plate.x) * plate.fine,
        min(height, y1 / scale + box[1] - plate.y) * plate.fine,
    )
    piece = plate.image.resize((x1 - x0, y1 - y0), Image.Resampling.NEAREST, box=part)
    frame.paste(piece, (x0, y0), piece)


def _is_alive(layer: Layer) -> bool:
    if layer.name.startswith("shadow") and not layer.motion.startswith("go"):
        return False
    return layer.name.split()[-1].startswith("sub") or layer.name in ("planet", "shape")


def _plates(scene: Scene) -> list[_Plate]:
    """Merge scenery into a few plates and keep what lives apart; colours are those of the finished picture.

    Plate k takes its colours from the finished merge of everything up to it, so that at rest the clip shows the very
    picture, and what a moving thing uncovers is finished too.
    """
    layers = [layer for layer in scene.layers if layer.name not in PARTICLES]
    groups: list[tuple[str, list[Layer]]] = []
    band = -1
    for layer in layers:
        if _is_alive(layer):
            groups.append(("alive", [layer]))
            band = -1
            continue
        here = next(i for i, top in enumerate(PLATE_DEPTHS) if layer.depth <= top)
        loose = layer.motion in ("sway", "drift") and (layer.depth > 0.5 or layer.name in ("clouds", "aurora"))
        if groups and groups[-1][0] == "scenery" and here == band and not loose:
            groups[-1][1].append(layer)
        else:
            groups.append(("sway" if loose else "scenery", [layer]))
        band = -1 if loose else here
    sheet = Image.new("RGB", (scene.canvas.w, scene.canvas.h))
    plates: list[_Plate] = []
    waiting: list[tuple[_Plate, Layer]] = []

    def finished() -> Image.Image:
        return finish(sheet, scene) if scene.style != "pixel" else sheet

    def settle() -> None:
        if waiting:
            done = finished()
            for plate, layer in waiting:
                colours = done.crop((layer.x, layer.y, layer.x + layer.image.width, layer.y + layer.image.height))
                colours.putalpha(layer.image.getchannel("A"))
                plate.image = colours
            waiting.clear()

    for kind, members in groups:
        if kind == "alive":
            layer = members[0]
            over(sheet, layer.image, layer.x, layer.y)
            flat = layer.name.startswith("shadow")
            plate = _Plate(layer.image, layer.x, layer.y, layer.depth, layer.motion, layer.phase, flat=flat)
            plates.append(plate)
            waiting.append((plate, layer))
            continue
        settle()
        plates.append(_merged(kind, members, sheet, finished, scene.canvas, first=not plates))
    settle()
    return plates


def _merged(
    kind: str, members: list[Layer], sheet: Image.Image, finished: object, canvas: Canvas, first: bool
) -> _Plate:
    mask = Image.new("L", (canvas.w, canvas.h), 0)
    for layer in members:
        over(sheet, layer.image, layer.x, layer.y)
        alpha = layer.image.getchannel("A")
        mask.paste(255, (layer.x, layer.y), alpha)
    done: Image.Image = finished()  # type: ignore[operator]
    depth = (
        max(layer.depth for layer in members)
        if len(members) == 1
        else sum(layer.depth for layer in members) / len(members)
    )
    if first:
        return _Plate(done, 0, 0, 0.0, "scenery", 0.0)
    box = mask.getbbox() or (0, 0, 2, 2)
    image = done.crop(box)
    image.putalpha(mask.crop(box))
    return _Plate(image, box[0], box[1], depth, kind, members[0].phase)
