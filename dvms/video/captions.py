"""Words on the picture: the sung line filling like karaoke, the title card. Drawn once, pasted per frame."""

import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT = Path(__file__).resolve().parent / "assets" / "Nunito.ttf"
# Scripts that the shipped font lacks: the first of these that the system has.
FALLBACKS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc", "/usr/share/fonts/truetype/noto/NotoSansCJK-Bold.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc", "/usr/share/fonts/truetype/noto/NotoSans-Bold.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf", "/System/Library/Fonts/PingFang.ttc",
)  # fmt: skip
WHITE, GOLD = (255, 255, 255), (255, 209, 82)


@lru_cache(64)
def font(size: int, weight: int = 800, foreign: bool = False) -> ImageFont.FreeTypeFont:
    if foreign:
        for path in FALLBACKS:
            if Path(path).exists():
                return ImageFont.truetype(path, size)
    face = ImageFont.truetype(str(FONT), size)
    face.set_variation_by_axes([weight])
    return face


def _is_foreign(text: str) -> bool:
    """True where a letter is neither Latin nor Cyrillic."""
    return any(
        c.isalpha() and not unicodedata.name(c, "LATIN").startswith(("LATIN", "CYRILLIC", "MODIFIER")) for c in text
    )


def drawable(text: str) -> str:
    """The text without pictographs that no font here can draw."""
    kept = "".join(c for c in text if unicodedata.category(c) not in ("So", "Cs", "Co", "Cn", "Cf", "Cc"))
    return " ".join(kept.split())


def _fit(text: str, size: int, width: float, weight: int) -> tuple[list[str], ImageFont.FreeTypeFont]:
    """One line, or two where one would be too small; and the font that fits."""
    foreign = _is_foreign(text)
    smallest = size * 0.72
    while size > smallest and font(size, weight, foreign).getlength(text) > width:
        size -= 1
    face = font(size, weight, foreign)
    if face.getlength(text) <= width:
        return [text], face
    words = text.split() if " " in text else list(text)
    joiner = " " if " " in text else ""
    best = min(
        range(1, len(words)),
        key=lambda i: abs(face.getlength(joiner.join(words[:i])) - face.getlength(joiner.join(words[i:]))),
    )
    lines = [joiner.join(words[:best]), joiner.join(words[best:])]
    while size > 10 and max(font(size, weight, foreign).getlength(line) for line in lines) > width:
        size -= 1
    return lines, font(size, weight, foreign)


class Caption:
    """A line of the song at the foot of the picture: white, filling with gold from t0 to t1."""

    LEAD, TRAIL = 0.25, 0.35

    def __init__(self, text: str, t0: float, t1: float, width: int, height: int, until: float) -> None:
        self.t0, self.t1 = t0, t1
        self.start, self.end = max(0.0, t0 - self.LEAD), max(t0 + 0.2, min(until, t1 + self.TRAIL))
        lines, face = _fit(drawable(text), round(height * 0.072), width * 0.88, 800)
        step = face.size * 1.18
        pad = round(height * 0.03)
        tall = round(step * len(lines)) + 2 * pad
        plain = Image.new("RGBA", (width, tall), (0, 0, 0, 0))
        shade = Image.new("L", plain.size, 0)
        self.spans: list[tuple[float, float, int, int]] = []
        gold = Image.new("RGBA", plain.size, (0, 0, 0, 0))
        stroke = max(2, round(height * 0.005))
        for i, line in enumerate(lines):
            w = face.getlength(line)
            x, y = (width - w) / 2, pad + i * step
            self.spans.append((x, w, round(y - step * 0.1), round(y + step * 1.05)))
            ImageDraw.Draw(shade).text((x, y + stroke), line, font=face, fill=235, stroke_width=stroke * 2)
            for sheet, colour in ((plain, WHITE), (gold, GOLD)):
                ImageDraw.Draw(sheet).text(
                    (x, y), line, font=face, fill=(*colour, 255), stroke_width=stroke, stroke_fill=(24, 16, 40, 230)
                )
        shadow = Image.new("RGBA", plain.size, (10, 6, 24, 0))
        shadow.putalpha(shade.filter(ImageFilter.GaussianBlur(height * 0.012)).point(lambda v: v * 0.72))
        shadow.alpha_composite(plain)
        self.white, self.alpha = shadow.convert("RGB"), shadow.getchannel("A")
        self.gold_colours, self.gold_alpha = gold.convert("RGB"), gold.getchannel("A")
        self.y = round(height * 0.955 - tall + pad)
        self.total = sum(w for _, w, _, _ in self.spans) or 1.0

    def paint(self, frame: Image.Image, t: float) -> None:
        if not self.start <= t < self.end:
            return
        fade = min(1.0, (t - self.start) / 0.18 + 0.05, (self.end - t) / 0.22)
        frame.paste(self.white, (0, self.y), _faded(self.alpha, fade))
        filled = self.total * min(1.0, max(0.0, (t - self.t0) / max(0.1, self.t1 - self.t0)))
        for x, w, top, bottom in self.spans:
            part = min(filled, w)
            filled -= part
            if part > 1:
                box = (max(0, round(x) - 6), max(0, top), round(x + part), bottom)
                frame.paste(
                    self.gold_colours.crop(box), (box[0], self.y + box[1]), _faded(self.gold_alpha.crop(box), fade)
                )
            if filled <= 0:
                break


def _faded(alpha: Image.Image, fade: float) -> Image.Image:
    return alpha if fade >= 1 else alpha.point(lambda v: int(v * fade))


class Title:
    """A card over the picture, from `since` to `until`: there from the first frame of a film, else fading in."""

    def __init__(self, text: str, width: int, height: int, until: float, since: float = 0.0) -> None:
        self.since, self.until = since, until
        lines, face = _fit(drawable(text)[:110], round(height * 0.125), width * 0.84, 900)
        step = face.size * 1.12
        tall = round(step * len(lines) + height * 0.14)
        sheet = Image.new("RGBA", (width, tall), (0, 0, 0, 0))
        shade = Image.new("L", sheet.size, 0)
        stroke = max(2, round(height * 0.006))
        for i, line in enumerate(lines):
            x, y = (width - face.getlength(line)) / 2, height * 0.05 + i * step
            ImageDraw.Draw(shade).text((x, y + stroke * 2), line, font=face, fill=255, stroke_width=stroke * 3)
            ImageDraw.Draw(sheet).text(
                (x, y), line, font=face, fill=(*WHITE, 255), stroke_width=stroke, stroke_fill=(28, 18, 48, 220)
            )
        image = Image.new("RGBA", sheet.size, (10, 6, 24, 0))
        image.putalpha(shade.filter(ImageFilter.GaussianBlur(height * 0.022)).point(lambda v: v * 0.8))
        image.alpha_composite(sheet)
        self.colours, self.alpha = image.convert("RGB"), image.getchannel("A")
        self.y = round(height * 0.40 - tall / 2)

    def paint(self, frame: Image.Image, t: float) -> None:
        if not self.since <= t < self.until:
            return
        fade = max(0.0, min(1.0, (t - self.since) / 0.45 if self.since else 1.0, (self.until - t) / 0.45))
        if fade > 0:
            frame.paste(self.colours, (0, self.y + round((1 - fade) * 6)), _faded(self.alpha, fade))
