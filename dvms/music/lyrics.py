# ruff: noqa: E501  (tables read better in long lines)
"""The words of a song: sections from any way of writing them down, and how many syllables a word has."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

MOST_LINES: Final = 48
_LABEL = re.compile(
    r"^\s*(?:[\[(]\s*(?P<a>intro|verse|pre-?chorus|chorus|refrain|hook|bridge|outro|break|solo)\b[^\])]*[\])]"
    r"|(?P<b>intro|verse|pre-?chorus|chorus|refrain|hook|bridge|outro|break|solo)\s*\d*)\s*:?\s*$",
    re.I,
)
_NAMES: Final = {
    "refrain": "chorus",
    "hook": "chorus",
    "prechorus": "verse",
    "pre-chorus": "verse",
    "outro": "verse",
    "intro": "verse",
}


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines that belong together. `name` is verse, chorus or bridge."""

    name: str
    lines: tuple[str, ...]


def parse(text: str) -> tuple[Block, ...]:
    """Sections of a lyric: with labels like [Chorus], by blank lines, or four lines at a time.

    Also takes a JSON list of lines, or an object with `lines` or `lyrics`.
    """
    labelled: list[tuple[str, list[str]]] = [("", [])]
    for line in _plain(text).splitlines():
        label = _LABEL.match(line)
        if label:
            name = (label.group("a") or label.group("b")).lower()
            if name in ("break", "solo"):
                continue
            labelled.append((_NAMES.get(name, name), []))
        elif not line.strip():
            if labelled[-1][1]:
                labelled.append(("", []))
        else:
            words = re.sub(r"[\[(*_#>`].*?[\])*_`]|[#>*_`]", " ", line)
            words = " ".join(words.split()).strip("-–• ")
            if re.search(r"[^\W\d_]", words):
                labelled[-1][1].append(words)
    blocks = [(name, lines) for name, lines in labelled if lines]
    if len(blocks) == 1 and not blocks[0][0] and len(blocks[0][1]) > 5:
        lines = blocks[0][1]
        blocks = [("", lines[i : i + 4]) for i in range(0, len(lines), 4)]
        if len(blocks) > 1 and len(blocks[-1][1]) == 1:
            last = blocks.pop()
            blocks[-1] = ("", blocks[-1][1] + last[1])
    total, kept = 0, []
    for name, lines in blocks:
        lines = lines[: MOST_LINES - total]
        total += len(lines)
        if lines:
            kept.append((name, tuple(lines)))
    return _named(kept)


def _plain(text: str) -> str:
    stripped = text.strip()
    if stripped[:1] not in ("[", "{"):
        return text
    try:
        value = json.loads(stripped)
    except ValueError:
        return text
    if isinstance(value, dict):
        value = value.get("lines") or value.get("lyrics") or []
    if isinstance(value, list):
        return "\n".join(str(item.get("text", "") if isinstance(item, dict) else item) for item in value)
    return str(value)


def _named(blocks: list[tuple[str, tuple[str, ...]]]) -> tuple[Block, ...]:
    """Blocks without a label: one that comes twice is the chorus, else every second one."""
    if any(name for name, _ in blocks):
        return tuple(Block(name or "verse", lines) for name, lines in blocks)
    seen = [tuple(line.lower() for line in lines) for _, lines in blocks]
    twice = any(seen.count(lines) > 1 for lines in seen)
    return tuple(
        Block("chorus" if (seen.count(key) > 1 if twice else i % 2) else "verse", lines)
        for i, ((_, lines), key) in enumerate(zip(blocks, seen, strict=True))
    )


def syllables(word: str) -> int:
    """Syllables of an English word, by its letters; at least 1."""
    text = re.sub(r"[^a-z]", "", word.lower())
    if not text:
        return 1
    if text in _IRREGULAR:
        return _IRREGULAR[text]
    count = len(re.findall(r"[aeiouy]+", text))
    if text.endswith("e") and not text.endswith(("le", "ee", "ie", "oe", "ye")) and count > 1:
        count -= 1
    if text.endswith("le") and len(text) > 2 and text[-3] in "aeiouy" and count > 1:
        count -= 1
    if text.endswith("ed") and len(text) > 3 and text[-3] not in "td" and count > 1 and text[-3] not in "aeiouy":
        count -= 1
    if (
        text.endswith("es")
        and len(text) > 3
        and text[-3] not in "sxzhcg"
        and text[-3] not in "aeiouy"
        and count > 1
        and not text.endswith("les")
    ):
        count -= 1
    count += (
        len(re.findall(r"i[ao](?!u)(?=[a-z]*$)|eo(?=n|l)|[^qg]ua(?=l|t)|ying|iet", text))
        if not re.search(r"tion|sion|cian|tial|cial", text)
        else 0
    )
    return max(1, count)


_IRREGULAR: Final = {
    "every": 2, "everything": 3, "evening": 2, "fire": 1, "hour": 1, "our": 1, "flower": 2, "heaven": 2, "something": 2,
    "somewhere": 2, "someone": 2, "sometimes": 2, "rhythm": 2, "poem": 2, "quiet": 2, "lion": 2, "ocean": 2, "idea": 3,
    "being": 2, "doing": 2, "going": 2, "seeing": 2, "people": 2, "whole": 1, "forever": 3, "business": 2, "wednesday": 2,
    "lonely": 2, "lovely": 2, "safely": 2, "homemade": 2, "lighthouse": 2, "fireflies": 2, "firefly": 2, "spaceship": 2,
    "piano": 3, "violet": 3, "dragonfly": 3, "snowflake": 2, "snowflakes": 2, "snowfall": 2, "firelight": 2, "moonlight": 2, "colour": 2,
    "carefully": 3, "wire": 1, "tired": 1, "choir": 1, "real": 1, "realise": 2, "world": 1, "girl": 1, "pearl": 1, "beautiful": 3,
    "sidewalk": 2, "wherever": 3, "timeless": 2, "homeward": 2, "lifetime": 2, "ukulele": 4, "recipe": 3, "café": 2, "cafe": 2,
}  # fmt: skip


def line_syllables(line: str) -> int:
    return sum(syllables(word) for word in re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", line))
