# ruff: noqa: E501  (tables read better in long lines)
"""The writer: a theme becomes stanzas of rhymed, singable lines. The same theme and seed give the same piece.

Couplets are whole thoughts that rhyme (`verses.txt`); they are chosen by what the theme is about and filled with its
own words. No line is used twice except in a chorus, and no two couplets of a piece end on the same word.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from dvms.text.lexicon import MOODS, TRAITS
from dvms.text.reader import Theme, read, title

LINES: Final = (8, 12, 16)
_LONGEST: Final = 12  # syllables that can be sung in a bar


@dataclass(frozen=True, slots=True)
class Piece:
    """A lyric. `stanzas` in order; `names` says verse, chorus or bridge for each."""

    title: str
    style: str
    mood: str
    stanzas: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    theme: Theme

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(line for stanza in self.stanzas for line in stanza)


def write(text: str, seed: int, *, lines: int = 8, style: str | None = None) -> Piece:
    """A lyric of 8, 12 or 16 lines about a theme."""
    theme = read(text)
    rng = random.Random(f"verses:{theme.text}:{seed}")
    used: set[str] = set()
    names = {8: ("verse", "chorus"), 12: ("verse", "chorus", "verse"), 16: ("verse", "chorus", "verse", "chorus")}[
        min(LINES, key=lambda n: (n < lines, abs(n - lines)))
    ]
    chorus = _chorus(theme, rng, used)
    stanzas: list[tuple[str, ...]] = []
    for i, name in enumerate(names):
        if name == "chorus":
            stanzas.append(chorus)
        else:
            stanzas.append(_verse(theme, rng, used, first=i == 0, only=names.count("verse") == 1))
    from dvms.music import styles

    chosen = styles.choose(style, theme.text if style is None else style)
    return Piece(title(theme), chosen.name, mood(theme), tuple(stanzas), names, theme)


def mood(theme: Theme) -> str:
    """One or two words for how it feels: the theme's own, else what follows from it."""
    said = [word for word in re.findall(r"[a-z]+", theme.text.lower()) if word in MOODS]
    if said:
        return str(said[-1])
    by_concept = {
        "birthday": "joyful", "christmas": "warm and festive", "lullaby": "tender", "money": "bold and bright", "machine": "curious",
        "goodbye": "wistful", "love": "warm", "freedom": "hopeful", "fight": "heroic", "dance": "ecstatic", "music": "exuberant",
        "autumn": "wistful", "spring": "fresh", "food": "cosy",
    }  # fmt: skip
    by_time = {
        "night": "dreamy",
        "storm": "brooding",
        "sunset": "golden",
        "dawn": "hopeful",
        "neon": "electric",
        "fog": "mysterious",
        "pastel": "sweet",
    }
    by_domain = {
        "snow": "magical",
        "deep": "mysterious",
        "space": "full of wonder",
        "sea": "adventurous",
        "stage": "exuberant",
        "room": "calm",
    }
    return by_concept.get(theme.concept) or by_time.get(theme.time) or by_domain.get(theme.domain) or "playful"


# --- choosing


def _verse(theme: Theme, rng: random.Random, used: set[str], *, first: bool, only: bool) -> tuple[str, ...]:
    """Two couplets: who it is and where; later, what happens. A song of one verse tells both in it."""
    opening = _openings(theme) if first else _turns(theme)
    scenery = _scenery(theme, rng)
    if only and (theme.wish or theme.doing or theme.other):
        scenery = [*_turns(theme)[:1], *scenery]
    lead = _take(opening, theme, rng, used) or _take(scenery, theme, rng, used)
    rest = _take(scenery, theme, rng, used) or _take(["close"], theme, rng, used)
    return (*(lead or ()), *(rest or ()))


def _openings(theme: Theme) -> list[str]:
    kind = theme.subject.kind
    if theme.concept == "goodbye":
        return ["about goodbye", "open alive" if theme.subject.alive else "open thing"]
    groups = ["open person_love"] if theme.concept == "love" and kind == "person" else []
    return [*groups, "open alive"] if theme.subject.alive else [*groups, f"open {kind}", "open thing"]


def _turns(theme: Theme) -> list[str]:
    groups = ["turn wish"] if theme.wish else []
    acts = [f"act {theme.doing}", "turn doing"] if theme.doing and theme.subject.alive else []
    other = ["turn other"] if theme.other is not None else []
    traits = [f"trait {trait}" for trait in traits_of(theme)]
    kind = [] if theme.subject.alive else [f"turn {theme.subject.kind}"]
    return [*groups, *acts, *traits, *other, *kind, "turn alive" if theme.subject.alive else "turn thing"]


def traits_of(theme: Theme) -> list[str]:
    """What kind of subject it is, by its adjectives."""
    adjectives = set(theme.subject.long.lower().split()) | set(theme.text.lower().split()[:4])
    return [name for name, words in TRAITS.items() if adjectives & words]


def _scenery(theme: Theme, rng: random.Random) -> list[str]:
    """Groups in the order of how much they say about the theme; the two closest ones in any order."""
    first = [f"land {theme.domain}"] if theme.domain != "heart" else []
    if theme.concept:
        first.append(f"about {theme.concept}")
    rng.shuffle(first)
    acts = [f"act {theme.doing}"] if theme.doing and not theme.subject.alive else []
    time = [f"time {theme.time}"] if theme.time else []
    return [*first, *acts, *time, f"kind {theme.subject.kind}", "land heart", "close"]


PLAIN_CHORUS = (
    "Oh, light in the window again",
    "Footsteps and laughter and smell of the rain",
    "Oh, whatever the weather may do",
    "All of the small roads are leading to you",
)


def _chorus(theme: Theme, rng: random.Random, used: set[str]) -> tuple[str, ...]:
    kind, concept = theme.subject.kind, theme.concept
    sunny = theme.domain in ("meadow", "beach") and theme.time in ("storm", "night", "fog")
    near = [f"chorus {theme.domain}"] if theme.domain != "heart" and not sunny else []
    if concept and (concept != "love" or kind in ("person", "animal", "feeling")):
        near.append(f"chorus {concept}")
    if kind in ("vehicle", "food", "feeling"):
        near.append(f"chorus {kind}")
    if concept in ("birthday", "lullaby", "goodbye"):
        near = [f"chorus {concept}"]
    rng.shuffle(near)
    for group in [*near, "chorus heart"]:
        blocks = list(bank().get(group, ()))
        rng.shuffle(blocks)
        for block in blocks:
            lines = tuple(line for line in (_fill(line, theme) for line in block) if line is not None)
            if len(lines) == len(block):
                used.update(_last(line) for line in lines)
                used.update(line.lower() for line in lines)
                return lines
    used.update(_last(line) for line in PLAIN_CHORUS)  # no chorus has room for so long a name
    return PLAIN_CHORUS


def _take(groups: Sequence[str], theme: Theme, rng: random.Random, used: set[str]) -> tuple[str, ...] | None:
    """A couplet of the first group that has one left; a group is drawn from again only when the next ones are far off."""
    best: tuple[int, str, tuple[str, ...]] | None = None
    for rank, group in enumerate(groups):
        options = list(bank().get(group, ()))
        rng.shuffle(options)
        for couplet in options:
            lines = tuple(line for line in (_fill(line, theme) for line in couplet) if line is not None)
            if len(lines) != len(couplet) or any(line.lower() in used for line in lines):
                continue
            if {_last(line) for line in lines} & used:
                continue
            cost = rank + (2 if f"#{group}" in used else 0)
            if best is None or cost < best[0]:
                best = cost, group, lines
            break
    if best is None:
        return None
    _, group, taken = best
    used.add(f"#{group}")
    used.update(line.lower() for line in taken)
    used.update(_last(line) for line in taken)
    return taken


# --- filling


def _fill(line: str, theme: Theme) -> str | None:
    """The line with the theme's words; None where the theme lacks one or the line grows too long to sing."""
    from dvms.music.lyrics import line_syllables

    subject, other = theme.subject, theme.other
    words: dict[str, str] = {
        "s": subject.the, "S": subject.the_long, "a": subject.a, "where": theme.where, "place": theme.place,
        "it": subject.it, "its": subject.its, "them": subject.them,
        "v": subject.called, "doing": theme.doing, "Doing": theme.doing, "wish": theme.wish,
        "t": other.the if other else "", "T": other.the if other else "",
    }  # fmt: skip
    needed = set(re.findall(r"\{(\w+)\}", line))
    if any(not words[name] for name in needed):
        return None
    text = re.sub(r"\[t:([^|\]]*)\|([^\]]*)\]", lambda m: m.group(2 if other is not None and other.plural else 1), line)
    text = re.sub(r"\[([^|\]]*)\|([^\]]*)\]", lambda m: m.group(2 if subject.plural else 1), text)
    words_short = {**words, "S": words["s"], "v": subject.head}
    short = re.sub(r"\{(\w+)\}", lambda m: words_short[m.group(1)], text)
    full = re.sub(r"\{(\w+)\}", lambda m: words[m.group(1)], text)
    text = full if line_syllables(full) <= _LONGEST - 1 else short
    if line_syllables(text) > _LONGEST:
        return None
    return text[:1].upper() + text[1:]


def _last(line: str) -> str:
    words = re.findall(r"[\w']+", line.lower())
    return words[-1] if words else ""


@cache
def bank() -> dict[str, tuple[tuple[str, ...], ...]]:
    """The couplets and choruses of `verses.txt` by section."""
    sections: dict[str, list[tuple[str, ...]]] = {}
    current: list[tuple[str, ...]] = []
    for raw in Path(__file__).with_name("verses.txt").read_text(encoding="utf-8").splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("= "):
            current = sections.setdefault(line[2:], [])
        else:
            current.append(tuple(part.strip() for part in line.split(" / ")))
    return {name: tuple(rows) for name, rows in sections.items()}
