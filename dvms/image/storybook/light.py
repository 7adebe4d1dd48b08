"""The light of each time of day."""

from dvms.image.storybook.paint import Palette


def _palette(name: str, sky: str, **rest: object) -> Palette:
    stops = tuple((float(at), f"#{colour}") for at, colour in (pair.split(":") for pair in sky.split()))
    return Palette(name, stops, **rest)  # type: ignore[arg-type]


LIGHTS: dict[str, Palette] = {
    p.name: p
    for p in (
        _palette(
            "day",
            "0:2f86e4 .5:7cc0f8 .85:c6e6fb 1:eaf6ff",
            haze="#c4e2f6",
            sun="#fff4cf",
            ambient=(1.03, 1.02, 1.0),
            land="#4f9a46",
            land2="#a6d25f",
            sea=("#1673b4", "#5cc4de"),
        ),
        _palette(
            "dawn",
            "0:5d78c4 .4:b7a0d0 .7:f6b5a4 .9:ffd9a8 1:fff1d2",
            haze="#f7cfc0",
            sun="#fff0c4",
            ambient=(1.05, 0.95, 0.93),
            land="#5c8a5a",
            land2="#c7b268",
            sea=("#5a72b4", "#f4bda6"),
        ),
        _palette(
            "sunset",
            "0:2c2a6b .3:7c3a8c .58:e9576b .8:ff9d55 1:ffe29a",
            haze="#f79d72",
            sun="#ffefb0",
            ambient=(1.06, 0.88, 0.82),
            land="#43504c",
            land2="#a8914f",
            sea=("#3e3173", "#ff9660"),
            stars=0.15,
        ),
        _palette(
            "night",
            "0:060b2a .45:14276a .8:2a4f98 1:4676b4",
            haze="#33599a",
            sun="#eef2ff",
            ambient=(0.70, 0.78, 1.04),
            land="#163052",
            land2="#2e5a72",
            sea=("#0a1a42", "#34679f"),
            stars=1.0,
            dark=True,
        ),
        _palette(
            "storm",
            "0:1b222e .5:3c4858 .85:66747f 1:93a1a6",
            haze="#6b7984",
            sun="#dfe9ee",
            ambient=(0.76, 0.81, 0.88),
            land="#32453e",
            land2="#587064",
            sea=("#18303c", "#507480"),
        ),
        _palette(
            "fog",
            "0:7d95b3 .55:a9bfd2 1:d3dde4",
            haze="#c2d0da",
            sun="#f6f1e2",
            ambient=(0.95, 0.97, 0.99),
            land="#789082",
            land2="#a9bcae",
            sea=("#7d98a6", "#c2d2d8"),
        ),
        _palette(
            "neon",
            "0:0c0428 .5:3e0e70 .8:b8218f 1:ff66ad",
            haze="#8a2ea4",
            sun="#ffd3f4",
            ambient=(0.93, 0.78, 1.10),
            land="#180d3a",
            land2="#43186e",
            sea=("#0c0736", "#c82f9c"),
            stars=0.4,
            dark=True,
        ),
        _palette(
            "pastel",
            "0:aebcff .4:e2c4ff .72:ffd2e4 1:fff2da",
            haze="#f6dcee",
            sun="#fffbe4",
            ambient=(1.03, 1.0, 1.02),
            land="#9fd0a4",
            land2="#ecdfa2",
            sea=("#8cb6ea", "#f4d0e6"),
        ),
        _palette(
            "space",
            "0:030210 .6:0f0d33 1:22164c",
            haze="#2e2160",
            sun="#fff4dd",
            ambient=(0.95, 0.93, 1.05),
            land="#2e2848",
            land2="#665a86",
            sea=("#05030f", "#2a1d55"),
            stars=1.6,
            dark=True,
        ),
        _palette(
            "deep",
            "0:7fe0ec .3:2a9fc6 .7:0f5c92 1:08335e",
            haze="#1a6c9c",
            sun="#e6ffff",
            ambient=(0.78, 0.98, 1.06),
            land="#1c5670",
            land2="#d8c48c",
            sea=("#0a3a6a", "#2aa0c0"),
        ),
    )
}
