"""The things in the picture: bodies for heads, riders on mounts, hands that hold."""

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dvms.image.storybook import sprites
from dvms.image.storybook.anatomy import (
    BOARD,
    BUSTS,
    CARRIED_HIGH,
    CYCLE,
    HEADS,
    HULL,
    HUMAN,
    LONG,
    OWN_WATER,
    TALL,
    TALL_BY_FAMILY,
    TALL_BY_SUBGROUP,
    WHOLE_CATS,
)
from dvms.image.storybook.paint import Array, over, rgb
from dvms.image.storybook.sprites import Sprite
from dvms.image.storybook.vocabulary import VOCABULARY
from dvms.image.storybook.words import Subject

# -- single pictures


@lru_cache(128)
def figure(sprite_id: str, label: str, colour: str | None, outfit: int) -> Image.Image:
    """A sprite with the body it lacks and the colour asked for, cropped. `outfit` varies clothes."""
    image = sprites.picture(sprite_id)
    if label in OWN_WATER:
        image = _out_of_water(image, OWN_WATER[label])
    clothed = HUMAN.search(label) is not None and HEADS.match(label) is not None
    if colour and not clothed:
        image = recolour(image, colour)
    if HEADS.match(label) and label not in WHOLE_CATS:
        return _plush(image, label, outfit, colour)
    if BUSTS.match(label):
        return _lower_half(image)
    return image


def recolour(image: Image.Image, name: str) -> Image.Image:
    """Give the coloured parts another hue; white, black and skin highlights stay what they are."""
    tone, saturation, value = VOCABULARY.colours[name]
    hue = None if tone < 0 else tone
    a = np.asarray(image.convert("RGB").convert("HSV")).astype(np.float32)
    coloured = (
        np.clip((a[..., 1] - 34) / 40, 0, 1)
        if hue is not None or saturation > 0.1
        else np.ones(a.shape[:2], np.float32)
    )
    if hue is None:
        coloured = np.ones(a.shape[:2], np.float32) * (a[..., 2] > 30)
    target = a.copy()
    if hue is not None:
        solid = np.asarray(image.getchannel("A")) > 200
        pale = bool(solid.any()) and float(coloured[solid].mean()) < 0.35  # a grey thing takes colour all over
        target[..., 0] = hue * 255
        target[..., 1] = np.clip(a[..., 1] * saturation, 0, 255)
        if pale:
            target[..., 1] = np.where(a[..., 2] > 60, 125 * saturation, a[..., 1])
            coloured = np.clip((a[..., 2] - 50) / 40, 0, 1)
    else:
        target[..., 1] = a[..., 1] * saturation
    target[..., 2] = np.clip(a[..., 2] * value, 0, 255)
    if name == "white":  # light, but still with its shadows
        target[..., 2] = np.clip(128 + a[..., 2] * 0.50, 0, 250)
    new = np.asarray(Image.fromarray(target.astype(np.uint8), "HSV").convert("RGB"), np.float32)
    old = np.asarray(image.convert("RGB"), np.float32)
    mixed = old + (new - old) * coloured[..., None]
    out = Image.fromarray(mixed.astype(np.uint8))
    out.putalpha(image.getchannel("A"))
    return out


def _out_of_water(image: Image.Image, share: float) -> Image.Image:
    """A boat without the blue wave it comes with: what is blue in its lowest part becomes clear."""
    a = np.asarray(image).copy()
    first = int(a.shape[0] * share)
    low = a[first:].astype(np.int16)
    blue = (low[..., 2] > 130) & (low[..., 2] - low[..., 0] > 55) & (low[..., 2] >= low[..., 1])
    soft = (
        Image.fromarray((blue * 255).astype(np.uint8))
        .filter(ImageFilter.MaxFilter(3))
        .filter(ImageFilter.GaussianBlur(1))
    )
    a[first:, :, 3] = (low[..., 3] * (1 - np.asarray(soft, np.float32) / 255)).astype(np.uint8)
    out = Image.fromarray(a)
    return out.crop(out.getchannel("A").point(lambda v: 255 * (v > 40)).getbbox() or (0, 0, *out.size))


class _Clay:
    """Shaded ellipsoids on a transparent sheet, lit from the upper left like the sprites."""

    def __init__(self, w: float, h: float) -> None:
        self.scale = 2
        self.sheet = np.zeros((int(h * 2), int(w * 2), 4), np.float32)
        yy, xx = np.mgrid[0 : int(h * 2), 0 : int(w * 2)].astype(np.float32)
        self.x, self.y = xx / 2, yy / 2

    def blob(self, x: float, y: float, rx: float, ry: float, colour: np.ndarray, power: float = 2.0) -> None:
        part = (  # what the ellipsoid covers
            slice(max(0, int((y - ry - 2) * 2)), int((y + ry + 2) * 2)),
            slice(max(0, int((x - rx - 2) * 2)), int((x + rx + 2) * 2)),
        )
        sheet = self.sheet[part]
        u, v = (self.x[part] - x) / rx, (self.y[part] - y) / ry
        d = np.abs(u) ** power + np.abs(v) ** power
        alpha = np.clip((1 - d) * min(rx, ry) * 0.8, 0, 1)[..., None]
        light = np.clip(1.12 - 0.30 * ((u + 0.35) ** 2 + (v + 0.45) ** 2), 0.58, 1.14)[..., None]
        gloss = np.exp(-((u + 0.38) ** 2 + (v + 0.48) ** 2) * 9)[..., None] * 0.16
        sheet[..., :3] = sheet[..., :3] * (1 - alpha) + np.clip(colour * light + gloss, 0, 1) * alpha
        sheet[..., 3:] = 1 - (1 - sheet[..., 3:]) * (1 - alpha)

    def image(self) -> Image.Image:
        big = Image.fromarray((np.clip(self.sheet, 0, 1) * 255).astype(np.uint8))
        return big.resize((big.width // 2, big.height // 2), Image.Resampling.LANCZOS)


SHIRTS = ("#3f8fe0", "#e2574c", "#43a86b", "#f4f1ea", "#8a63d2", "#2fb3b0", "#e76aa5", "#3c6fc4")
TROUSERS = ("#3b4a6b", "#5a4636", "#44545c", "#6b5a8a")


def _plush(head: Image.Image, label: str, outfit: int, colour: str | None = None) -> Image.Image:
    """A toy body under a head: clothes (in `colour`) for people, fur in its own for animals, metal for robots."""
    hw, hh = head.size
    a = np.asarray(head, np.float32) / 255
    solid = a[..., 3] > 0.9
    lower = a[hh // 2 :][solid[hh // 2 :]][:, :3]
    upper = a[: hh // 2][solid[: hh // 2]][:, :3]
    human = HUMAN.search(label) is not None
    fur: Array = np.median(upper if len(upper) else lower, 0)
    light: Array = lower[lower.mean(1) >= np.quantile(lower.mean(1), 0.8)].mean(0)
    if label in ("panda",):
        fur, light = rgb("#4a4552"), rgb("#f4f1f4")
    if label == "robot":
        fur, light = rgb("#aebac8"), rgb("#dce5ee")
    if human:
        fur = rgb("#b3242d" if "Claus" in label else SHIRTS[outfit % len(SHIRTS)])
        if colour is not None:
            dyed = recolour(Image.new("RGBA", (2, 2), (226, 87, 76, 255)), colour)
            fur = np.asarray(dyed, np.float32)[0, 0, :3] / 255
        light = fur * 1.06
        skin: Array = np.median(upper, 0) if "smiling" in label else np.median(lower, 0)
        legs = rgb(TROUSERS[outfit % len(TROUSERS)])
    else:
        skin, legs = fur * 0.97, fur * 0.80
    clay = _Clay(hw * 1.30, hh * 1.86)
    cx, top = hw * 0.65, hh * 0.86
    if not human and not re.match(
        r"(robot|alien|frog|bear|koala|panda|hamster|polar|skull|ogre|goblin|chicken|pig)", label
    ):
        clay.blob(cx + hw * 0.44, top + hh * 0.50, hw * 0.20, hh * 0.15, fur)
    for side in (-1, 1):
        if human:
            clay.blob(cx + side * hw * 0.15, top + hh * 0.72, hw * 0.125, hh * 0.24, legs, 3.0)
            clay.blob(cx + side * hw * 0.17, top + hh * 0.93, hw * 0.165, hh * 0.075, rgb("#4a3328"))
        else:
            clay.blob(cx + side * hw * 0.20, top + hh * 0.86, hw * 0.17, hh * 0.12, legs)
    clay.blob(
        cx, top + hh * 0.40, hw * (0.33 if human else 0.37), hh * (0.38 if human else 0.48), fur, 2.6 if human else 2.0
    )
    if not human:
        clay.blob(cx, top + hh * 0.48, hw * 0.23, hh * 0.33, np.clip(light, 0, 1) * 0.99)
    for side in (-1, 1):
        clay.blob(cx + side * hw * 0.35, top + hh * 0.38, hw * 0.105, hh * 0.24, fur * 0.94)
        clay.blob(cx + side * hw * 0.37, top + hh * 0.58, hw * 0.10, hh * 0.095, skin)
    body = clay.image()
    body.alpha_composite(head, (int(cx - hw / 2), 0))
    return body.crop(body.getbbox() or (0, 0, *body.size))


def _lower_half(bust: Image.Image) -> Image.Image:
    """Hips and legs below a portrait that ends at the chest."""
    w, h = bust.size
    a = np.asarray(bust, np.float32) / 255
    strip = a[int(h * 0.90) : int(h * 0.985)]
    middle = strip[:, w // 4 : 3 * w // 4]
    solid = middle[middle[..., 3] > 0.9][:, :3]
    cloth = np.median(solid, 0) if len(solid) else rgb("#556")
    bottom = a[int(h * 0.96), :, 3] > 0.5
    span = np.where(bottom)[0]
    left, right = (int(span.min()), int(span.max())) if len(span) else (0, w)
    cx, half = (left + right) / 2, (right - left) / 2
    pad = w * 0.06
    clay = _Clay(w + 2 * pad, h * 1.62)
    cx += pad
    legs = cloth * (0.62 if cloth.mean() > 0.35 else 1.5)
    for side in (-1, 1):
        clay.blob(cx + side * half * 0.36, h * 1.33, half * 0.30, h * 0.24, legs, 3.2)
        clay.blob(cx + side * half * 0.42, h * 1.55, half * 0.40, h * 0.062, legs * 0.45)
    clay.blob(cx, h * 1.02, half * 0.90, h * 0.27, cloth, 2.8)
    body = clay.image()
    mask = np.asarray(bust.getchannel("A"), np.float32)
    fade = np.ones(h, np.float32)
    fade[int(h * 0.93) :] = np.linspace(1, 0, h - int(h * 0.93))
    soft = bust.copy()
    soft.putalpha(Image.fromarray((mask * fade[:, None]).astype(np.uint8)))
    body.alpha_composite(soft, (int(pad), 0))
    return body.crop(body.getbbox() or (0, 0, *body.size))


# -- things together


class Group:
    """Pictures glued into one: grows as pieces are put at (x, y) relative to an origin."""

    def __init__(self) -> None:
        self.pieces: list[tuple[Image.Image, float, float]] = []

    def put(self, image: Image.Image, centre: float, bottom: float) -> None:
        self.pieces.append((image, centre - image.width / 2, bottom - image.height))

    def image(self) -> tuple[Image.Image, float]:
        """(picture, x of the origin within it)."""
        x0 = min(x for _, x, _ in self.pieces)
        y0 = min(y for _, _, y in self.pieces)
        x1 = max(x + i.width for i, x, _ in self.pieces)
        y1 = max(y + i.height for i, _, y in self.pieces)
        sheet = Image.new("RGBA", (int(x1 - x0) + 2, int(y1 - y0) + 2), (0, 0, 0, 0))
        for piece, x, y in self.pieces:
            over(sheet, piece, int(x - x0), int(y - y0))
        return sheet, -x0


def scaled(image: Image.Image, height: float) -> Image.Image:
    """The picture at this height; edges that enlarging softens are firmed up again."""
    h = max(4, round(height))
    out = image.resize((max(4, round(image.width * h / image.height)), h), Image.Resampling.LANCZOS)
    if h > image.height * 1.25:
        radius = 0.9 * h / image.height
        out = out.filter(ImageFilter.UnsharpMask(radius, 70, 2))
    return out


def natural_height(subject: Subject) -> float:
    """How tall it stands beside others; 1 is a person."""
    tall = TALL.get(subject.sprite.label)
    if tall is None:
        tall = TALL_BY_SUBGROUP.get(subject.sprite.subgroup, TALL_BY_FAMILY.get(subject.sprite.family, 1.0))
    return tall * subject.size


def picture_of(subject: Subject, outfit: int) -> Image.Image:
    return figure(subject.sprite.id, subject.sprite.label, subject.colour, outfit)


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who can hold things. `side` is 0 for a figure seen from the front, -1 or 1: it looks left or right."""

    image: Image.Image
    side: int = 0

    def head(self) -> tuple[float, float, float]:
        """(x from the middle, height of the eyes above the foot, width of the head), in pixels."""
        w, h = self.image.size
        if not self.side:
            return 0.0, h * 0.70, w * 0.8
        alpha = np.asarray(self.image.getchannel("A"))
        front = slice(0, int(w * 0.5)) if self.side < 0 else slice(int(w * 0.5), w)
        rows = np.where((alpha[:, front] > 120).any(1))[0]
        top = int(rows.min()) if len(rows) else 0
        band = np.where((alpha[top : top + max(2, int(h * 0.16)), front] > 120).any(0))[0]
        left = int(band.min()) if len(band) else 0
        right = int(band.max()) if len(band) else w // 2
        return front.start + (left + right) / 2 - w / 2, h - top - h * 0.10, max(w * 0.2, float(right - left))


def with_item(
    holder: Holder, sprite: Sprite, item: Image.Image, relation: str, size: float = 1.0, other_hand: bool = False
) -> Image.Image:
    """The holder with a thing in hand or mouth, at the chest, on the head or before the eyes."""
    w, h = holder.image.size
    hand = -1.0 if other_hand else 1.0
    group = Group()
    label = sprite.label
    x, eyes, wide = holder.head()
    if relation == "wear":
        group.put(holder.image, 0, 0)
        small = 0.6 if holder.side else 1.0
        if re.search(r"glasses|goggles", label):
            group.put(
                scaled(item, max(h * 0.11, wide * 0.36 * small) if holder.side else h * 0.16), x, -eyes + h * 0.055
            )
        elif re.search(r"scarf|stethoscope", label):
            group.put(scaled(item, h * 0.26 * small), x, -eyes * 0.52)
        elif "headphone" in label:
            group.put(scaled(item, h * 0.44 * small), x, -eyes + h * 0.14)
        else:
            group.put(scaled(item, h * 0.25 * small), x, -h * 0.89 if not holder.side else -eyes - h * 0.05)
        return group.image()[0]
    if label == "umbrella":
        group.put(scaled(item, h * 0.85), w * 0.20, -h * 0.42)
        group.put(holder.image, 0, 0)
        return group.image()[0]
    if re.search(r"balloon|kite", label):
        x, up, size = (w * 1.05, h * 1.02, 0.44) if label == "kite" else (w * 0.52, h * 0.66, 0.50)
        if label == "kite":
            group.put(
                _string(w * 0.38, h * 0.30, x, up + h * 0.08, max(2, int(h * 0.008))), (w * 0.38 + x) / 2, -h * 0.30
            )
        group.put(scaled(item, h * size), x, -up)
        group.put(holder.image, 0, 0)
        return group.image()[0]
    group.put(holder.image, 0, 0)
    if holder.side:
        reach = holder.side * w * 0.44
        if LONG.search(label) or re.search(r"drum|keyboard", label):
            group.put(scaled(item, h * 0.46), reach * 0.9, 0)
        else:
            group.put(scaled(item, h * 0.34 * size), reach, -h * 0.26)
    elif LONG.search(label):
        turned = scaled(item, h * 0.48).rotate(-12, Image.Resampling.BICUBIC, expand=True)
        group.put(turned, w * (0.06 if "guitar" in label or "banjo" in label else 0.20), -h * 0.14)
    elif re.search(r"drum|keyboard", label):
        group.put(scaled(item, h * 0.42), 0, h * 0.05)
    elif re.search(r"book|laptop|scroll|newspaper|computer|palette", label):
        group.put(scaled(item, h * 0.34), 0, -h * 0.14)
    elif re.search(r"ball$|football", label):
        group.put(scaled(item, h * 0.28), w * 0.50, 0)
    elif CARRIED_HIGH.search(label):
        group.put(scaled(item, h * 0.46 * size), hand * w * 0.46, -h * 0.22)
    else:
        group.put(scaled(item, h * 0.32 * size), hand * w * 0.36, -h * 0.18)
    return group.image()[0]


def _string(x0: float, y0: float, x1: float, y1: float, thick: int) -> Image.Image:
    """A slack line from (x0, y0) up to (x1, y1)."""
    w, h = max(2, int(x1 - x0)), max(2, int(y1 - y0))
    image = Image.new("RGBA", (w, h), (250, 246, 236, 0))
    t = np.linspace(0, 1, 24)
    points = [(float(u * w), float(h * (1 - u + 0.16 * np.sin(np.pi * u)))) for u in t]
    ImageDraw.Draw(image).line(points, fill=(250, 246, 236, 210), width=thick, joint="curve")
    return image


def ridden(rider: Image.Image, mount: Image.Image, label: str, share: float) -> Image.Image:
    """Rider and mount as one; `share` is the rider's height against the mount's."""
    h = mount.height
    up = scaled(rider, h * share)
    group = Group()
    if CYCLE.search(label):
        group.put(up, h * 0.06, -h * 0.42)
        group.put(mount, 0, 0)
    elif "surfboard" in label:
        group.put(up, 0, -h * 0.55)
        group.put(mount, 0, 0)
    elif label == "broom":
        group.put(mount.rotate(-38, Image.Resampling.BICUBIC, expand=True), 0, 0)
        group.put(up, 0, -h * 0.30)
    elif BOARD.search(label):
        group.put(mount, 0, 0)
        group.put(up, 0, -h * 0.66)
    elif label == "hot air balloon":
        group.put(scaled(rider, h * 0.24), 0, -h * 0.06)
        group.put(mount, 0, 0)
    elif label == "rocket":
        group.put(up, -h * 0.10, -h * 0.36)
        group.put(mount, 0, 0)
    elif HULL.search(label):
        group.put(up, 0, -h * (0.22 if "boat" in label or label == "canoe" else 0.45))
        group.put(mount, 0, 0)
    else:
        group.put(up, h * 0.06, -h * 0.40)
        group.put(mount, 0, 0)
    return group.image()[0]
