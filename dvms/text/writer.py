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

from dvms.text.reader import Noun, Theme, read, title

LINES: Final = (8, 12, 16)
_LONGEST: Final = 11  # syllables that can be sung in a bar


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
            stanzas.append(_verse(theme, rng, used, first=i == 0))
    from dvms.music import styles

    chosen = styles.choose(style, theme.text if style is None else style)
    return Piece(title(theme), chosen.name, mood(theme), tuple(stanzas), names, theme)


def mood(theme: Theme) -> str:
    """One or two words for how it feels."""
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


def _verse(theme: Theme, rng: random.Random, used: set[str], *, first: bool) -> tuple[str, ...]:
    opening = _openings(theme) if first else _turns(theme)
    scenery = _scenery(theme, rng)
    lead = _take(opening, theme, rng, used) or _take(scenery, theme, rng, used)
    rest = _take(scenery, theme, rng, used) or _take([["close"]], theme, rng, used)
    return (*(lead or ()), *(rest or ()))


def _openings(theme: Theme) -> list[list[str]]:
    subject = theme.subject
    groups: list[list[str]] = []
    if theme.concept == "love" and subject.kind == "person":
        groups.append(["open person_love"])
    if subject.kind in ("vehicle", "food", "feeling"):
        groups.append([f"open {subject.kind}"])
    groups.append(["open alive"] if subject.alive else ["open thing"])
    return groups


def _turns(theme: Theme) -> list[list[str]]:
    groups: list[list[str]] = []
    if theme.wish:
        groups.append(["turn wish"])
    if theme.other is not None and not theme.doing:
        groups.append(["turn other"])
    if theme.doing and theme.subject.alive:
        groups.append(["turn doing"])
    if theme.other is not None:
        groups.append(["turn other"])
    groups.append(["turn alive"] if theme.subject.alive else ["turn thing"])
    return groups


def _scenery(theme: Theme, rng: random.Random) -> list[list[str]]:
    """Groups in the order of how much they say about the theme; those at the same height are mixed."""
    place, concept, time = f"land {theme.domain}", f"about {theme.concept}", f"time {theme.time}"
    first = [place] if theme.domain != "heart" else []
    if theme.concept:
        first.append(concept)
    second = [time] if theme.time else []
    rng.shuffle(first)
    groups = [[name] for name in first] + [[name] for name in second]
    return [*groups, [f"kind {theme.subject.kind}"], ["land heart"], ["close"]]


def _chorus(theme: Theme, rng: random.Random, used: set[str]) -> tuple[str, ...]:
    kind = theme.subject.kind
    groups = []
    if theme.concept == "love" and kind in ("person", "animal"):
        groups.append("chorus love")
    elif theme.concept not in ("love",):
        groups.append(f"chorus {theme.concept}")
    groups += [f"chorus {kind}", "chorus alive" if theme.subject.alive else "chorus thing"]
    for group in groups:
        blocks = list(bank().get(group, ()))
        rng.shuffle(blocks)
        for block in blocks:
            filled = [_fill(line, theme) for line in block]
            if all(line is not None for line in filled):
                lines = tuple(line for line in filled if line is not None)
                used.update(_last(line) for line in lines)
                used.update(line.lower() for line in lines)
                return lines
    return ("Sing it once and sing it twice",)


def _take(groups: Sequence[Sequence[str]], theme: Theme, rng: random.Random, used: set[str]) -> tuple[str, ...] | None:
    """A couplet from the first group that has one left. A group that has been drawn from goes to the back next time."""
    best: tuple[int, tuple[str, ...]] | None = None
    for rank, group in enumerate(groups):
        options = [couplet for name in group for couplet in bank().get(name, ())]
        rng.shuffle(options)
        for couplet in options:
            filled = [_fill(line, theme) for line in couplet]
            lines = tuple(line for line in filled if line is not None)
            if len(lines) != len(couplet) or any(line.lower() in used for line in lines):
                continue
            ends = {_last(line) for line in lines}
            if ends & used:
                continue
            cost = rank + 3 * sum(1 for line in lines if line.lower().split()[0] in used and rank > 0)
            drawn = sum(1 for name in group if f"#{name}" in used)
            cost += 2 * drawn
            if best is None or cost < best[0]:
                best = cost, (group[0], *lines)
            break
    if best is None:
        return None
    name, *lines_ = best[1]
    used.add(f"#{name}")
    used.update(line.lower() for line in lines_)
    used.update(_last(line) for line in lines_)
    return tuple(lines_)


# --- filling


def _fill(line: str, theme: Theme) -> str | None:
    """The line with the theme's words; None where the theme lacks one or the line grows too long to sing."""
    from dvms.music.lyrics import line_syllables

    subject, other = theme.subject, theme.other
    words: dict[str, str] = {
        "s": subject.the, "S": subject.the_long, "a": subject.a, "where": theme.where, "place": theme.place,
        "it": subject.it, "its": "their" if subject.plural else "its", "them": "them" if subject.plural else "it",
        "doing": theme.doing, "Doing": theme.doing, "wish": theme.wish, "wish_up": theme.wish,
        "t": other.the if other else "", "T": other.the if other else "",
    }  # fmt: skip
    needed = set(re.findall(r"\{(\w+)\}", line))
    if any(not words[name] for name in needed):
        return None
    text = re.sub(r"\[t:([^|\]]*)\|([^\]]*)\]", lambda m: m.group(2 if other is not None and other.plural else 1), line)
    text = re.sub(r"\[([^|\]]*)\|([^\]]*)\]", lambda m: m.group(2 if subject.plural else 1), text)
    text = _address(text, subject)
    short = re.sub(r"\{(\w+)\}", lambda m: words["s" if m.group(1) == "S" else m.group(1)], text)
    full = re.sub(r"\{(\w+)\}", lambda m: words[m.group(1)], text)
    text = full if line_syllables(full) <= _LONGEST - 1 else short
    if line_syllables(text) > _LONGEST:
        return None
    return text[:1].upper() + text[1:]


def _address(text: str, subject: Noun) -> str:
    """Spoken to, a thing loses its article: `Oh the fox, run` becomes `Oh little fox, run`."""
    called = subject.long if subject.proper or not subject.owner else f"{subject.owner} {subject.long}"
    if subject.owner in ("its", "their", "his", "her"):
        called = subject.long
    return re.sub(
        r"\b(Oh|oh|Hey, hey|Sleep now|Goodnight|Goodbye|Dance|Rise|Roll on|Go, go|Shine, shine|Happy birthday)(,?) \{s\}(?=,|$)",
        lambda m: f"{m.group(1)}{m.group(2)} {called}",
        text,
    )


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
