"""What all places share: sky, ground, props, weather, and who stands where."""

import numpy as np
from PIL import Image, ImageFilter

from dvms.image.storybook import built, features, figures, nature, sprites, weather
from dvms.image.storybook.anatomy import SWIMMERS
from dvms.image.storybook.paint import (
    Canvas,
    Colour,
    Layer,
    Palette,
    Rng,
    flat,
    mix,
    noise,
    over,
    ramp,
    rgb,
    tint,
    to_image,
)
from dvms.image.storybook.sprites import Sprite
from dvms.image.storybook.words import Meaning, Subject

Span = tuple[float, float]
VILLAGE = ("house", "house with garden", "house", "derelict house", "hut")
HORIZON = {
    "sea": 0.56,
    "beach": 0.50,
    "lake": 0.56,
    "snow": 0.62,
    "desert": 0.60,
    "city": 0.74,
    "forest": 0.66,
    "mount": 0.66,
    "meadow": 0.60,
    "moon": 0.66,
    "space": 1.05,
    "deep": 0.86,
    "sky": 1.05,
    "stage": 0.76,
    "room": 0.70,
    "library": 0.72,
    "kitchen": 0.74,
    "stadium": 0.56,
    "abstract": 1.05,
}
INDOORS = ("room", "library", "kitchen", "stage")
OPEN = ("meadow", "mount", "forest", "lake", "snow", "desert", "beach", "sea", "city", "stadium")


def standing(meaning: Meaning) -> list[Subject]:
    """The subjects that stand on their own feet: not those who ride, nor what is held."""
    carried = {s.to for s in meaning.subjects if s.relation in ("ride", "inside")}
    return [
        s
        for i, s in enumerate(meaning.subjects)
        if i not in carried
        and s.relation not in ("hold", "play", "read", "wear")
        and s.pose not in ("fly", "jump", "swim")
    ]


def needs_land(sprite: Sprite) -> bool:
    """True for what would sink."""
    if sprite.subgroup in (
        "animal-marine",
        "transport-water",
        "transport-air",
        "sky-weather",
        "animal-bird",
        "animal-bug",
    ):
        return False
    return SWIMMERS.search(sprite.label) is None and not sprite.subgroup.startswith("place")


def _fits_table(sprite: Sprite) -> bool:
    return (
        sprite.family in ("food", "drink", "dishware", "writing", "money", "science", "game", "light", "book")
        and sprite.label != "ladder"
    )


class Place:
    """A place in the making: collects layers."""

    def __init__(self, rng: Rng, canvas: Canvas, palette: Palette, meaning: Meaning, banned: frozenset[str]) -> None:
        self.rng, self.c, self.p, self.meaning, self.banned = rng, canvas, palette, meaning, banned
        self.layers: list[Layer] = []
        self.name = meaning.place or "meadow"
        self.ashore = (
            self.name in ("sea", "lake") and not self.bridged and any(needs_land(s.sprite) for s in standing(meaning))
        )
        self.tabletop = meaning.place in ("room", "library", "kitchen") and all(
            _fits_table(s.sprite) for s in meaning.subjects
        )
        side = float(rng.choice([0.2, 0.27, 0.73, 0.8]))
        self.horizon = HORIZON[self.name]
        height = {"sunset": 0.10, "dawn": 0.12}.get(palette.name, 0.40)
        self.sun = (side, max(0.12, min(self.horizon, 0.75) - height))

    def add(self, *layers: Layer) -> None:
        self.layers += layers

    def build(self) -> list[Layer]:
        getattr(self, f"in_{self.name}")()
        if self.name in OPEN:
            self.add(*features.glow(self.c, self.p, self.sun, self.horizon))
            self._features()
        if self.tabletop:
            self.add(built.table(self.rng, self.c, self.p, 0.72))
        self._weather()
        return self.layers

    def _features(self) -> None:
        """What the prompt names besides the place: a village in it, a bridge over it."""
        rng, c, p, asked = self.rng, self.c, self.p, self.meaning.features - self.banned
        far_side = 0.74 if self.sun[0] < 0.5 else 0.26
        if "waterfall" in asked and self.name not in ("city", "stadium", "sea"):
            self.add(*features.waterfall(rng, c, p, self.horizon, far_side, 0.375 if self.name == "forest" else 0.30))
        if "village" in asked and self.name not in ("city", "stadium"):
            y = self.horizon + (0.0 if self.name in ("lake", "sea") else 0.02)
            self.props(VILLAGE, 9, (y, y + 0.035), (0.085, 0.13), 0.36, "village", 0.14)
            self.props(("church",), 1, (y, y), (0.17, 0.17), 0.355, "church", 0.18, span=(far_side - 0.08, far_side))
        if "road" in asked and self.name in ("meadow", "mount", "forest", "snow", "desert"):
            self.add(features.road(rng, c, p, self.horizon, self.name == "snow"))
        if self.bridged:
            self.add(features.bridge(rng, c, p))
        if self.name == "city" and (p.name == "neon" or self.meaning.words & {"signs", "billboards", "neon"}):
            self.add(*features.signs(rng, c, self.horizon))
        if "market" in asked and self.name in ("city", "meadow", "desert", "snow", "beach"):
            self.add(features.stalls(rng, c, p))
        if "lamps" in asked:
            for x, tall, depth in ((0.5 + (0.15 if far_side > 0.5 else -0.15), 0.62, 0.7), (1 - far_side, 0.36, 0.5)):
                self.add(*features.lamp(c, p, x, 0.92 if depth > 0.6 else 0.85, tall, depth))
        if self.meaning.carpet is not None and self.name in ("meadow", "mount", "forest", "lake", "desert", "snow"):
            sprite, colour = self.meaning.carpet.sprite, self.meaning.carpet.colour
            near = self.horizon + 0.05
            self.props((sprite.label,), 150, (near, 1.04), (0.035, 0.13), 0.5, "field", 0.0, 0.97, colour=colour)
            self.props(
                (sprite.label,), 9, (1.05, 1.12), (0.18, 0.24), 0.9, "near field", 0.0, 0.8,
                keep_clear=0.34, motion="sway", colour=colour,
            )  # fmt: skip

    @property
    def bridged(self) -> bool:
        """True where a bridge crosses the picture."""
        crossable = ("lake", "mount", "meadow", "forest", "snow", "sea", "city", "desert")
        return "bridge" in self.meaning.features - self.banned and self.name in crossable

    # -- shared pieces

    def _wants(self, name: str) -> bool:
        return name in self.meaning.weather and name not in self.banned

    def _heavens(self, clouds: int = 5) -> None:
        p, c, rng = self.p, self.c, self.rng
        self.add(nature.sky(rng, c, p, self.horizon, self.sun))
        if p.stars:
            self.add(nature.stars(rng, c, p.stars * (1.3 if self._wants("stars") else 1.0), self.horizon))
        if self._wants("aurora"):
            self.add(nature.aurora(rng, c, self.horizon))
        if p.dark and "moon" not in self.banned and self.name not in ("space", "moon"):
            texture = noise(rng, 64, 64, 5, 3)
            size = 0.15 if "full_moon" in self.meaning.features else 0.075
            self.add(self._halo(size * 2.7), nature.disc(c, *self.sun, size, "#fbf7e4", "moon", texture))
            if "two_moons" in self.meaning.features:
                self.add(nature.disc(c, 1 - self.sun[0], self.sun[1] * 0.6, 0.045, "#f3d9c0", "moon", texture))
        elif not p.dark and p.name not in ("storm", "fog") and "sun" not in self.banned:
            self.add(
                nature.disc(c, *self.sun, 0.075 if p.name == "sunset" else 0.055, mix(p.sun, "#ffffff", 0.3), "sun")
            )
        if self._wants("rainbow") and not any(s.sprite.label == "rainbow" for s in self.meaning.subjects):
            self.add(self._rainbow())
        if "clouds" not in self.banned:
            count = {"storm": 11, "fog": 4, "night": 2, "neon": 2, "space": 0}.get(p.name, clouds)
            if count:
                self.add(nature.clouds(rng, c, p, self.horizon, count))

    def _halo(self, radius: float) -> Layer:
        r = int(radius * self.c.unit)
        yy, xx = np.mgrid[-r:r, -r:r].astype(np.float32) / r
        alpha = np.clip(1 - np.hypot(xx, yy), 0, 1) ** 2 * 0.55
        return Layer(
            "halo", flat("#dfe8ff", alpha), int(self.c.x(self.sun[0]) - r), int(self.c.y(self.sun[1]) - r), 0.03
        )

    def _rainbow(self) -> Layer:
        c = self.c
        x, y = nature.grid(c)
        d = np.hypot((x - 0.5) * c.width / c.height, y - (self.horizon + 0.12)) - 0.58
        t = np.clip(d / 0.10 + 0.5, 0, 1)
        stops = [(0, "#8a4fd8"), (0.2, "#4f7fe8"), (0.4, "#4fc878"), (0.6, "#f8e45a"), (0.8, "#ff9a3d"), (1, "#f0504f")]
        alpha = np.clip(1 - np.abs(d) / 0.055, 0, 1) ** 0.6 * 0.62 * np.clip((self.horizon + 0.02 - y) * 8, 0, 1)
        return Layer("rainbow", to_image(ramp(t, stops), alpha), 0, 0, 0.05)

    def props(
        self,
        labels: tuple[str, ...],
        count: int,
        y: Span,
        size: Span,
        depth: float,
        name: str,
        fade: float = 0.0,
        dark: float = 1.0,
        span: Span = (-0.08, 1.08),
        keep_clear: float = 0.0,
        motion: str = "still",
        colour: str | None = None,
    ) -> None:
        """Many copies of small sprites in one layer: far ones first, none in the middle `keep_clear` of the frame."""
        rng, c, p = self.rng, self.c, self.p
        image = Image.new("RGBA", (c.w, c.h), (*(int(v * 255) for v in rgb(p.haze)), 0))
        ready: dict[tuple[str, int], Image.Image] = {}
        for t in np.sort(rng.random(count)):
            label = labels[int(rng.integers(len(labels)))]
            x = span[0] + (span[1] - span[0]) * rng.random()
            if abs(x - 0.5) < keep_clear / 2:
                x = x - keep_clear / 2 if x < 0.5 else x + keep_clear / 2
            scale = (size[0] + (size[1] - size[0]) * t) * (0.8 + 0.4 * rng.random())
            height = max(6, round(scale * c.unit / 6) * 6) if c.height > 400 else max(6, round(scale * c.unit))
            if (label, height) not in ready:
                source = sprites.picture(sprites.by_label()[label].id)
                if colour:
                    source = figures.recolour(source, colour)
                w = max(2, round(source.width * height / source.height))
                small = source.resize(
                    (w, height), Image.Resampling.LANCZOS if height < 200 else Image.Resampling.BICUBIC
                )
                ready[label, height] = tint(small, rgb(p.ambient) * dark, p.haze, fade, 0.10)
            sprite = ready[label, height]
            if rng.random() < 0.5:
                sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            foot = y[0] + (y[1] - y[0]) * t
            over(image, sprite, int(c.x(x) - sprite.width / 2), int(c.y(foot) - sprite.height * 0.97))
        self._cropped(name, image, depth, motion)

    def _cropped(self, name: str, image: Image.Image, depth: float, motion: str = "still") -> None:
        box = image.getchannel("A").getbbox()
        if box:
            self.add(Layer(name, image.crop(box), box[0], box[1], depth, motion))

    def _frame_leaves(self, labels: tuple[str, ...] = ("herb",)) -> None:
        """Large dark blurred leaves in the lower corners: something near, to look past."""
        c, rng = self.c, self.rng
        image = Image.new("RGBA", (c.w, c.h), (10, 30, 20, 0))
        for x in (-0.03, 0.05, 0.97, 1.04):
            source = sprites.picture(sprites.by_label()[labels[int(rng.integers(len(labels)))]].id)
            height = int(c.height * (0.22 + 0.10 * rng.random()))
            leaf = source.resize((int(source.width * height / source.height), height), Image.Resampling.BICUBIC)
            leaf = tint(leaf, rgb(self.p.ambient) * 0.42, self.p.haze, 0.04).rotate(
                (rng.random() - 0.5) * 50, expand=True
            )
            over(image, leaf, int(c.x(x) - leaf.width / 2), int(c.y(1.07) - leaf.height))
        box = image.getchannel("A").getbbox()
        if box:
            soft = image.crop(box).filter(ImageFilter.GaussianBlur(c.height / 190))
            self.add(Layer("foliage", soft, box[0], box[1], 1.0, "sway"))

    def _ground(
        self,
        top: Colour,
        bottom: Colour,
        lumps: int = 3,
        amp: float = 0.03,
        texture: float = 0.12,
        base: float | None = None,
    ) -> None:
        y = (self.horizon if base is None else base) + 0.02
        self.add(
            nature.hill(self.rng, self.c, y, amp, lumps, top, bottom, self.p.haze, 0.02, "ground", 0.42, texture, 30)
        )
        if self.name in ("meadow", "mount", "forest"):
            self.add(features.tufts(self.rng, self.c, self.p, y + 0.04))

    def _flowers(self, colours: tuple[str, ...], count: int, first: float) -> None:
        c = self.c
        dots = nature.ground_speckle(self.rng, c, int(c.y(first)), count, colours, 0.004)
        self.add(Layer("flowers", tint(dots, self.p.ambient), 0, int(c.y(first)), 0.45))

    def _weather(self) -> None:
        inside = self.name in INDOORS
        self.add(*weather.layers(self.rng, self.c, self.p, self.meaning, self.banned, inside, self.name))
