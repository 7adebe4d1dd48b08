"""Picture sizes as customers write them, for the trades that make pictures: `1024x768`, `16:9`, width and height."""

import re

from dvms.service import Refused

SMALLEST = 64
RATIOS = {
    "square": (1, 1),
    "landscape": (16, 9),
    "portrait": (9, 16),
    "wide": (16, 9),
    "widescreen": (16, 9),
    "tall": (9, 16),
}


def parse_size(text: str) -> tuple[int, int]:
    """`1024x768` (also `1024*768`, `1024 768`). Raises Refused."""
    found = re.fullmatch(r"\s*(\d{1,5})\s*[x×*, ]\s*(\d{1,5})\s*", text.lower())
    if found is None:
        raise Refused(f"size must be like 1024x768, not {text[:40]!r}")
    return int(found[1]), int(found[2])


def parse_ratio(text: str) -> float:
    """`16:9`, `4/3`, `1.5` or a word like `square`: width over height. Raises Refused."""
    words = text.strip().lower()
    if words in RATIOS:
        return RATIOS[words][0] / RATIOS[words][1]
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:\s*[:/x]\s*(\d+(?:\.\d+)?))?", words)
    ratio = float(found[1]) / float(found[2] or 1) if found and float(found[2] or 1) else 0.0
    if not 0.2 <= ratio <= 5:
        raise Refused(f"ratio must be like 16:9, between 1:5 and 5:1, not {text[:40]!r}")
    return ratio


def choose_size(
    *,
    size: str | None,
    ratio: str | None,
    width: int | None,
    height: int | None,
    default: tuple[int, int],
    largest: int,
    step: int = 2,
) -> tuple[int, int]:
    """The size asked for, sides multiples of `step`. A ratio keeps the default's area. Refused beyond `largest`."""
    if size:
        w, h = parse_size(size)
    elif width or height:
        w = width or round((height or 0) * default[0] / default[1])
        h = height or round((width or 0) * default[1] / default[0])
        if ratio and not (width and height):
            value = parse_ratio(ratio)
            w, h = (w, round(w / value)) if width else (round(h * value), h)
    elif ratio:
        value, area = parse_ratio(ratio), default[0] * default[1]
        w, h = round((area * value) ** 0.5), round((area / value) ** 0.5)
        shrink = min(1.0, largest / max(w, h))
        w, h = round(w * shrink), round(h * shrink)
    else:
        w, h = default
    if not (SMALLEST <= w <= largest and SMALLEST <= h <= largest):
        raise Refused(f"size must be from {SMALLEST}x{SMALLEST} to {largest}x{largest}, not {w}x{h}")
    return max(step, w // step * step), max(step, h // step * step)
