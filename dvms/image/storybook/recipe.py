"""What a picture was made from: enough to make the very same picture, and its layers, again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

VERSION = 1
CHUNK = "timmy:recipe"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Prompt, seed, size in pixels, style (None: from the prompt), what to leave out, and the engine's version."""

    prompt: str
    seed: int = 0
    width: int = 1024
    height: int = 768
    style: str | None = None
    negative: str = ""
    version: int = VERSION

    def to_json(self) -> str:
        return json.dumps({"timmy": f"storybook/{self.version}", **asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Recipe | None":
        """The recipe, or None for text that is no recipe of this version."""
        try:
            found = json.loads(text)
            if found.get("timmy") != f"storybook/{VERSION}":
                return None
            sizes = int(found["width"]), int(found["height"])
            if not all(16 <= size <= 4096 for size in sizes):
                return None
            style = found.get("style")
            return cls(
                str(found["prompt"])[:2000],
                int(found["seed"]),
                *sizes,
                str(style) if style else None,
                str(found.get("negative") or "")[:500],
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def read(path: Path) -> Recipe | None:
    """The recipe inside a PNG, if there is one."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            text = getattr(image, "text", {}).get(CHUNK)
    except (OSError, UnidentifiedImageError, ValueError):
        return None
    return Recipe.from_json(text) if text else None
