"""The places: each builds its layers, far to near, from painted nature, built things and small sprites as props."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dvms.image.storybook import built, features, nature, shapes
from dvms.image.storybook.paint import Canvas, Layer, mix, over, rgb, to_image
from dvms.image.storybook.place import Place


class Scenery(Place):
    """One method for each place, named `in_<place>`."""

    def in_meadow(self) -> None:
        p, rng, c = self.p, self.rng, self.c
        self._heavens()
        land, light = rgb(p.land), rgb(p.land2)
        self.add(
            nature.hill(rng, c, self.horizon - 0.03, 0.20, 2, mix(land, p.haze, 0.35), land, p.haze, 0.50, "far", 0.12)
        )
        self.add(nature.hill(rng, c, self.horizon, 0.13, 3, mix(light, p.haze, 0.2), land, p.haze, 0.25, "mid", 0.22))
        self.props(
            ("deciduous tree", "evergreen tree", "deciduous tree"),
            16,
            (self.horizon - 0.03, self.horizon + 0.03),
            (0.07, 0.12),
            0.26,
            "trees",
            0.30,
        )
        self._ground(light, land)
        self._flowers(("#fff3b0", "#ff9ec7", "#ffffff", "#c8a4ff"), 150, self.horizon + 0.08)
        self.props(
            ("blossom", "tulip", "herb"),
            10,
            (0.90, 1.04),
            (0.05, 0.10),
            0.86,
            "blooms",
            0.0,
            0.95,
            keep_clear=0.45,
            motion="sway",
        )
        self._frame_leaves()

    def in_mount(self) -> None:
        p, rng, c = self.p, self.rng, self.c
        self._heavens(4)
        rock = mix("#6f7fa6", p.land, 0.35) * rgb(p.ambient)
        self.add(nature.mountains(rng, c, self.horizon + 0.02, 0.50, 5, rock, p, 0.38, True, "far", 0.10))
        self.add(
            nature.mountains(rng, c, self.horizon + 0.04, 0.30, 6, mix(rock, p.land, 0.5), p, 0.20, False, "mid", 0.20)
        )
        self.props(("evergreen tree",), 26, (self.horizon, self.horizon + 0.05), (0.06, 0.11), 0.28, "trees", 0.22)
        self._ground(rgb(p.land2), rgb(p.land))
        self.props(("rock",), 5, (0.80, 0.98), (0.04, 0.08), 0.55, "rocks", 0.03, 0.9, keep_clear=0.4)
        self.props(
            ("evergreen tree",),
            4,
            (0.92, 1.05),
            (0.24, 0.34),
            0.84,
            "near trees",
            0.0,
            0.85,
            keep_clear=0.75,
            motion="sway",
        )

    def in_snow(self) -> None:
        p, rng, c = self.p, self.rng, self.c
        self._heavens(4)
        rock = mix("#7d92b8", p.land, 0.25) * rgb(p.ambient)
        self.add(nature.mountains(rng, c, self.horizon + 0.02, 0.36, 6, rock, p, 0.34, True, "far", 0.10))
        white, blue = rgb("#f7fbff") * rgb(p.ambient), rgb("#a9c3e8") * rgb(p.ambient)
        self.add(nature.hill(rng, c, self.horizon, 0.10, 3, white, blue, p.haze, 0.30, "mid", 0.20, 0.05))
        self._snow_trees(18, (self.horizon - 0.02, self.horizon + 0.04), (0.08, 0.15), 0.27, "trees", 0.26)
        self._ground(white, blue, 3, 0.05, 0.05)
        self._snow_trees(5, (0.80, 1.0), (0.24, 0.38), 0.62, "near trees", 0.04, 0.72)

    def _snow_trees(
        self,
        count: int,
        y: tuple[float, float],
        size: tuple[float, float],
        depth: float,
        name: str,
        fade: float,
        clear: float = 0.0,
    ) -> None:
        """Evergreens with snow on them: the sprite's lighter upper sides turned white."""
        before = len(self.layers)
        self.props(("evergreen tree",), count, y, size, depth, name, fade, keep_clear=clear)
        if len(self.layers) > before:
            layer = self.layers[-1]
            a = np.asarray(layer.image, np.float32) / 255
            lum = a[..., :3].mean(-1)
            up = np.clip((lum - np.roll(lum, -max(2, self.c.height // 90), 0)) * 5 + 0.25, 0, 0.85) * (a[..., 3] > 0.4)
            white = mix("#ffffff", self.p.haze, fade) * np.clip(rgb(self.p.ambient), 0, 1)
            layer.image = to_image(a[..., :3] + (white - a[..., :3]) * up[..., None], a[..., 3])

    def in_forest(self) -> None:
        p, rng = self.p, self.rng
        jungle = bool(self.meaning.words & {"jungle", "rainforest", "tropical"})
        autumn = self._wants("leaves")
        kinds = (
            ("deciduous tree", "palm tree", "deciduous tree")
            if jungle
            else ("evergreen tree", "evergreen tree", "deciduous tree")
        )
        self._heavens(3)
        self.add(
            nature.hill(
                rng, self.c, self.horizon - 0.10, 0.10, 3, mix(p.land, p.haze, 0.5), p.land, p.haze, 0.55, "far", 0.1
            )
        )
        for k, (y, size, count, fade, dark) in enumerate(
            ((0.58, 0.24, 34, 0.60, 0.9), (0.63, 0.32, 26, 0.36, 0.85), (0.69, 0.44, 15, 0.14, 0.8))
        ):
            self.props(kinds, count, (y, y + 0.03), (size * 0.8, size * 1.15), 0.14 + 0.10 * k, f"trees{k}", fade, dark)
            if autumn:
                self._turn(self.layers[-1])
        if not p.dark:
            self.add(nature.rays(rng, self.c, p.sun, 0.28))
        self._ground(mix(p.land2, p.land, 0.35), rgb(p.land) * 0.8, 3, 0.03, 0.2)
        self.props(
            ("mushroom", "herb", "herb"), 9, (0.80, 0.98), (0.035, 0.07), 0.60, "undergrowth", 0.02, 0.9, keep_clear=0.4
        )
        self.props(kinds[:1], 2, (1.0, 1.06), (0.70, 0.86), 0.9, "near trees", 0.0, 0.70, (-0.12, -0.03), motion="sway")
        self.props(kinds[:1], 2, (1.0, 1.06), (0.70, 0.86), 0.9, "near trees", 0.0, 0.70, (1.03, 1.12), motion="sway")
        self._frame_leaves()

    def _turn(self, layer: Layer) -> None:
        """Green leaves to autumn colours."""
        hsv = np.asarray(layer.image.convert("RGB").convert("HSV")).copy()
        green = (hsv[..., 0] > 30) & (hsv[..., 0] < 125)
        shift = (np.sin(np.arange(hsv.shape[1]) / 37.0) * 9 + 18).astype(np.int16)
        hsv[..., 0] = np.where(green, np.broadcast_to(shift[None, :], green.shape).clip(4, 30), hsv[..., 0]).astype(
            np.uint8
        )
        hsv[..., 1] = np.where(green, np.minimum(hsv[..., 1].astype(np.int16) + 60, 235), hsv[..., 1]).astype(np.uint8)
        turned = Image.fromarray(hsv, "HSV").convert("RGB")
        turned.putalpha(layer.image.getchannel("A"))
        layer.image = turned

    def in_city(self) -> None:
        p, rng, c = self.p, self.rng, self.c
        self._heavens(4)
        lit = 0.52 if p.dark or p.name in ("storm", "sunset") else 0.06
        for k, (y, tall, fade) in enumerate(((0.72, 0.50, 0.62), (0.74, 0.40, 0.36), (0.77, 0.29, 0.10))):
            self.add(built.skyline(rng, c, p, y, tall, fade, lit, f"towers{k}", 0.12 + 0.10 * k))
        self.add(built.street(rng, c, p, 0.77))
        self.props(("deciduous tree",), 5, (0.80, 0.81), (0.11, 0.15), 0.46, "trees", 0.05, 0.85)

    def in_sea(self) -> None:
        p, rng, c = self.p, self.rng, self.c
        self._heavens(5)
        if rng.random() < 0.6:
            self.add(
                nature.hill(
                    rng,
                    c,
                    self.horizon - 0.005,
                    0.09,
                    3,
                    mix(p.land, p.haze, 0.5),
                    mix(p.land, p.haze, 0.3),
                    p.haze,
                    0.5,
                    "far",
                    0.12,
                )
            )
        self.add(nature.water(rng, c, p, self.horizon, self.sun[0], False))
        if any(s.sprite.subgroup == "place-building" for s in self.meaning.subjects):
            self._cliff()
        elif self.ashore:
            self._shore()

    def _shore(self) -> None:
        """Land in front of the water, for those who don't swim."""
        p = self.p
        pale = mix(p.land2, "#f3dcae", 0.45) * rgb(p.ambient)
        self.add(nature.hill(self.rng, self.c, 0.80, 0.05, 2, pale, rgb(p.land), p.haze, 0.0, "ground", 0.5, 0.14, 30))
        self.props(("rock", "herb"), 5, (0.90, 1.0), (0.04, 0.09), 0.62, "stones", 0.0, 0.9, keep_clear=0.45)

    def _cliff(self) -> None:
        """A rock in the sea for what can't swim."""
        self.props(("rock",), 9, (0.80, 0.94), (0.12, 0.26), 0.45, "rocks", 0.05, 0.8, (0.22, 0.78))

    def in_lake(self) -> None:
        p, rng, c = self.p, self.rng, self.c
        self._heavens(4)
        self.add(
            nature.mountains(
                rng,
                c,
                self.horizon + 0.01,
                0.30,
                5,
                mix("#6f7fa6", p.land, 0.5) * rgb(p.ambient),
                p,
                0.45,
                True,
                "far",
                0.10,
            )
        )
        self.props(
            ("evergreen tree", "deciduous tree"),
            34,
            (self.horizon - 0.01, self.horizon + 0.012),
            (0.07, 0.13),
            0.24,
            "trees",
            0.34,
        )
        self.add(nature.water(rng, c, p, self.horizon, self.sun[0], True))
        self.props(
            ("sheaf of rice", "herb"),
            12,
            (0.98, 1.08),
            (0.14, 0.24),
            0.92,
            "reeds",
            0.0,
            0.6,
            keep_clear=0.7,
            motion="sway",
        )
        if self.ashore:
            self._shore()

    def in_beach(self) -> None:
        p, rng, c = self.p, self.rng, self.c
        self._heavens(5)
        self.add(
            nature.hill(
                rng, c, self.horizon - 0.005, 0.08, 2, mix(p.land, p.haze, 0.45), p.land, p.haze, 0.45, "far", 0.12
            )
        )
        self.add(nature.water(rng, c, p, self.horizon, self.sun[0], False))
        sand, wet = rgb("#f3dcae") * rgb(p.ambient), rgb("#d9b884") * rgb(p.ambient)
        self.add(
            nature.hill(rng, c, 0.74, 0.05, 2, mix(wet, "#ffffff", 0.25), sand, p.haze, 0.0, "ground", 0.5, 0.06, 40)
        )
        cold = p.name in ("storm", "fog") or self.meaning.weather & {"rain", "snow"}
        shore = self.meaning.words & {"shore", "coast", "seaside", "shores", "lighthouse"}
        if shore:
            self.props(("rock",), 7, (0.80, 0.98), (0.05, 0.12), 0.6, "rocks", 0.02, 0.85, keep_clear=0.4)
        elif not cold:
            self.props(
                ("palm tree",), 2, (0.86, 0.90), (0.48, 0.60), 0.6, "palms", 0.0, 0.95, (-0.02, 0.12), motion="sway"
            )
            self.props(
                ("palm tree",), 1, (0.84, 0.86), (0.42, 0.48), 0.6, "palms", 0.0, 0.95, (0.90, 1.0), motion="sway"
            )
        self.props(
            ("spiral shell", "crab", "umbrella on ground"),
            3,
            (0.90, 0.97),
            (0.05, 0.09),
            0.7,
            "shells",
            0.0,
            1.0,
            keep_clear=0.5,
        )

    def in_desert(self) -> None:
        p, rng, c = self.p, self.rng, self.c
        self._heavens(2)
        warm, pale = rgb("#c8854a") * rgb(p.ambient), rgb("#f2c888") * rgb(p.ambient)
        self.add(
            nature.mountains(
                rng, c, self.horizon + 0.02, 0.22, 4, rgb("#b5683f") * rgb(p.ambient), p, 0.45, False, "far", 0.10
            )
        )
        for k, (y, amp) in enumerate(((0.60, 0.10), (0.66, 0.12), (0.74, 0.10))):
            self.add(
                nature.hill(
                    rng,
                    c,
                    y,
                    amp,
                    2 + k % 2,
                    pale,
                    warm,
                    p.haze,
                    0.36 - 0.16 * k,
                    ("dunes", "dunes", "ground")[k],
                    0.2 + 0.1 * k,
                    0.05,
                )
            )
        self.props(("cactus",), 4, (0.70, 0.80), (0.08, 0.16), 0.46, "cacti", 0.12, 0.95, keep_clear=0.35)
        self.props(("cactus", "rock"), 3, (0.94, 1.05), (0.18, 0.30), 0.85, "near cacti", 0.0, 0.8, keep_clear=0.8)

    def in_moon(self) -> None:
        p, rng, c = self.p, self.rng, self.c
        self._space_back(2 if "two_moons" in self.meaning.features else 1)
        grey, dark = rgb("#b9b6c8") * rgb(p.ambient), rgb("#56526e") * rgb(p.ambient)
        self.add(
            nature.hill(rng, c, self.horizon - 0.02, 0.16, 4, mix(grey, dark, 0.4), dark, p.haze, 0.25, "far", 0.15)
        )
        self._ground(grey, dark, 3, 0.06, 0.25)
        self._craters()

    def _craters(self) -> None:
        c, rng = self.c, self.rng
        image = Image.new("RGBA", (c.w, c.h), (30, 26, 50, 0))
        draw = ImageDraw.Draw(image)
        for _ in range(16):
            t = rng.random()
            x, y, r = (
                c.x(rng.random() * 1.1 - 0.05),
                c.y(self.horizon + 0.07 + t * 0.36),
                c.height * (0.012 + 0.07 * t * rng.random()),
            )
            draw.ellipse([x - r, y - r * 0.34, x + r, y + r * 0.34], fill=(46, 42, 66, 190))
            draw.ellipse([x - r * 0.92, y - r * 0.18, x + r * 0.92, y + r * 0.36], fill=(112, 108, 134, 200))
        self._cropped("craters", image.filter(ImageFilter.GaussianBlur(c.height / 500)), 0.43)

    def in_stadium(self) -> None:
        self._heavens(4)
        self.add(*features.stadium(self.rng, self.c, self.p, self.horizon))

    def _space_back(self, planets: int) -> None:
        p, rng, c = self.p, self.rng, self.c
        self.add(nature.sky(rng, c, p, 1.0, (2.0, -1.0)), nature.nebula(rng, c), nature.stars(rng, c, p.stars, 1.1))
        spots = [(0.16, 0.20), (0.84, 0.26), (0.80, 0.80)]
        rng.shuffle(spots)
        for k in range(planets):
            x, y = spots[k]
            self.add(nature.planet(rng, c, x, y, 0.08 + 0.09 * rng.random(), bool(k == 0 and rng.random() < 0.6)))

    def in_abstract(self) -> None:
        self.add(*shapes.composition(self.rng, self.c, self.meaning.words))

    def in_space(self) -> None:
        self._space_back(2)

    def _sky_layers(self, low: float, count: int, name: str, depth: float) -> None:
        layer = nature.clouds(self.rng, self.c, self.p, 1.2, count, name, low)
        layer.depth = depth
        self.add(layer)

    def in_deep(self) -> None:
        p, rng, c = self.p, self.rng, self.c
        self.add(nature.sky(rng, c, p, 0.95, (self.sun[0], -0.1)))
        self.add(nature.hill(rng, c, 0.70, 0.24, 4, mix(p.land, p.haze, 0.4), p.land, p.haze, 0.55, "far", 0.12))
        self.props(("tropical fish", "fish"), 9, (0.25, 0.62), (0.03, 0.055), 0.18, "far fish", 0.45, motion="drift")
        self.add(nature.rays(rng, c, "#d8fbff", 0.30))
        self._ground(rgb(p.land2) * 0.9, rgb("#7d8f78"), 3, 0.05, 0.12, 0.82)
        self.props(
            ("coral", "coral", "herb", "spiral shell"),
            12,
            (0.84, 1.02),
            (0.09, 0.19),
            0.6,
            "corals",
            0.10,
            0.95,
            keep_clear=0.32,
            motion="sway",
        )
        self.props(
            ("coral",), 3, (1.04, 1.10), (0.28, 0.36), 0.92, "near coral", 0.0, 0.5, keep_clear=0.85, motion="sway"
        )

    def in_sky(self) -> None:
        self._heavens(5)
        self._sky_layers(0.62, 7, "clouds below", 0.3)
        self._sky_layers(0.90, 6, "clouds near", 0.85)

    def _view(self) -> Image.Image:
        """What the window shows: sky and a hill at small size."""
        small = Canvas(240, 260, 0)
        view = nature.sky(self.rng, small, self.p, 0.8, (0.7, 0.3)).image.convert("RGB")
        if self.p.stars:
            over(view, nature.stars(self.rng, small, 0.3, 0.9).image, 0, 0)
        ridge = nature.hill(self.rng, small, 0.78, 0.2, 2, self.p.land2, self.p.land, self.p.haze, 0.25, "h", 0.1)
        over(view, ridge.image, ridge.x, ridge.y)
        if self._wants("rain"):
            view = view.filter(ImageFilter.GaussianBlur(2))
        return view

    def in_room(self) -> None:
        side = 0.24 if self.sun[0] < 0.5 else 0.76
        self.add(built.wall(self.rng, self.c, self.p, self.horizon, self._view(), side))
        self.add(built.floor(self.rng, self.c, self.p, self.horizon), built.rug(self.rng, self.c, self.p, 0.88))
        far = (0.86, 0.93) if side < 0.5 else (0.07, 0.14)
        self.props(("couch and lamp",), 1, (0.78, 0.78), (0.40, 0.40), 0.5, "couch", 0.0, 0.95, far)
        self.props(
            ("potted plant",),
            1,
            (0.80, 0.80),
            (0.24, 0.24),
            0.52,
            "plant",
            0.0,
            0.95,
            (0.03, 0.06) if side > 0.5 else (0.94, 0.97),
        )

    def in_library(self) -> None:
        side = 0.5
        self.add(built.wall(self.rng, self.c, self.p, self.horizon, self._view(), side))
        self.add(built.shelves(self.rng, self.c, self.p, (-0.10, 0.0, 0.30, self.horizon), 4, False))
        self.add(built.shelves(self.rng, self.c, self.p, (0.70, 0.0, 1.10, self.horizon), 4, False))
        self.add(built.floor(self.rng, self.c, self.p, self.horizon), built.rug(self.rng, self.c, self.p, 0.88))
        self.props(("books",), 2, (0.80, 0.86), (0.10, 0.13), 0.5, "book piles", 0.0, 1.0, keep_clear=0.5)

    def in_kitchen(self) -> None:
        self.add(built.wall(self.rng, self.c, self.p, self.horizon, self._view(), self.sun[0]))
        other = (0.50, 0.10, 1.06, 0.42) if self.sun[0] < 0.5 else (-0.06, 0.10, 0.50, 0.42)
        self.add(built.shelves(self.rng, self.c, self.p, other, 2, True))
        self.add(built.floor(self.rng, self.c, self.p, 0.78), built.counter(self.c, self.p, 0.58))
        self.props(
            ("pot of food", "teapot", "bowl with spoon", "bread", "amphora"),
            5,
            (0.595, 0.60),
            (0.09, 0.12),
            0.32,
            "pots",
            0.0,
            1.0,
            keep_clear=0.3,
        )

    def in_stage(self) -> None:
        back, beams, curtains = built.stage(self.rng, self.c)
        self.add(back, beams, built.stage_floor(self.rng, self.c, self.p, self.horizon), curtains)
        if "people" not in self.banned:
            self.add(built.crowd(self.rng, self.c))
