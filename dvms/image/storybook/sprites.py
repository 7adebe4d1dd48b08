"""The sprite library: pictures, their names, and the tables that lead from a word to a picture.

Built by `scripts/vendor-sprites` into one zip that is read lazily: names in about 30 ms, each picture on first use.
"""

import io
import json
import re
import zipfile
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "storybook.zip"
DRAWN = (
    "lighthouse",
    "windmill",
    "hot air balloon",
    "surfboard",
    "skateboard",
    "coin",
    "submarine",
)  # made by `drawn.py`, not in the zip
AS_SUBGROUP = {
    "lighthouse": "place-building",
    "windmill": "place-building",
    "hot air balloon": "transport-air",
    "surfboard": "transport-water",
    "skateboard": "transport-ground",
    "coin": "money",
    "submarine": "transport-water",
}


@dataclass(frozen=True, slots=True)
class Sprite:
    """One picture by its CLDR label. `box` is what is not transparent, in pixels of the 256 px square."""

    id: str
    label: str
    tags: tuple[str, ...]
    subgroup: str
    box: tuple[int, int, int, int]

    @property
    def family(self) -> str:
        return self.subgroup.split("-")[0]


@cache
def _zip() -> zipfile.ZipFile:
    return zipfile.ZipFile(ASSETS)


def _json(name: str) -> Any:
    return json.loads(_zip().read(name))


@cache
def sprites() -> tuple[Sprite, ...]:
    """All sprites in the order of the tables; the drawn ones follow at the end."""
    listed = [Sprite(i, label, tuple(tags), sub, tuple(box)) for i, label, tags, sub, box in _json("sprites.json")]
    drawn = {n: Sprite(f"drawn:{n}", n, (), AS_SUBGROUP[n], (0, 0, 256, 256)) for n in DRAWN}
    return (*(drawn.pop(sprite.label, sprite) for sprite in listed), *drawn.values())


@cache
def by_label() -> dict[str, Sprite]:
    return {sprite.label: sprite for sprite in sprites()}


@cache
def _names() -> dict[str, Sprite]:
    """Spoken names: the label in plain words, and without 'face' and the like where that is free."""
    names: dict[str, Sprite] = {}
    for sprite in sprites():
        names.setdefault(plain(sprite.label), sprite)
    for sprite in sprites():
        bare = re.sub(r"\b(face|person|emoji|button)\b", "", plain(sprite.label))
        names.setdefault(" ".join(bare.split()), sprite)
    names.pop("", None)
    return names


@cache
def _lexicon() -> dict[str, Any]:
    table: dict[str, Any] = _json("lexicon.json")
    return table


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w' ]", " ", text.lower()).split())


def named(words: str) -> Sprite | None:
    """The sprite whose very name this is."""
    return _names().get(words)


def meant(word: str) -> list[tuple[Sprite, float]]:
    """Sprites that a word may mean, best first, with a confidence from 0.33 to 1."""
    listed = sprites()
    return [(listed[i], score / 100) for i, score in _lexicon()["words"].get(word, ())]


def place_of(word: str) -> str | None:
    place: str | None = _lexicon()["places"].get(word)
    return place


def time_of(word: str) -> str | None:
    time: str | None = _lexicon()["times"].get(word)
    return time


@cache
def foreign(language: str) -> dict[str, list[tuple[int, float]]]:
    """word or phrase -> (sprite index, confidence) for one language other than English."""
    table: dict[str, list[tuple[int, float]]] = {}
    for i, (label, tags) in enumerate(_json(f"locale/{language}.json")):
        parts = label.split()
        halves = [(part, 0.8) for part in parts] if len(parts) == 2 else []  # "bear face" in many languages
        for name, score in ((label, 1.0), *halves, *((tag, 0.7) for tag in tags)):
            if name:
                table.setdefault(" ".join(name.replace(":", " ").split()), []).append((i, score))
    return table


@lru_cache(256)
def picture(sprite_id: str) -> "Image":
    """The picture cropped to what is visible, RGBA."""
    from PIL import Image

    if sprite_id.startswith("drawn:"):
        from dvms.image.storybook.drawn import draw

        return draw(sprite_id.removeprefix("drawn:"))
    with Image.open(io.BytesIO(_zip().read(f"sprites/{sprite_id}.webp"))) as opened:
        whole = opened.convert("RGBA")
    return whole.crop(whole.getchannel("A").point(lambda v: 255 * (v > 12)).getbbox() or (0, 0, *whole.size))
