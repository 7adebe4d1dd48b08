# ruff: noqa: E501  (tables read better in long lines)
"""Nouns of a theme: who or what stands in a group of words, and the forms a sentence needs of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final

from dvms.text.lexicon import (
    CREATURES,
    HE,
    HOLLOW,
    INVARIANT,
    KIN,
    KINDS,
    NO_ARTICLE,
    PEOPLE,
    PLACE_NAMES,
    SHE,
    word_set,
)

DETERMINERS: Final = word_set("a an the this that these those some any every each")
POSSESSIVES: Final = word_set("my your his her its our their")
_NUMBERS: Final = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "both": 2,
    "several": 5, "many": 9, "hundred": 100, "thousand": 1000, "million": 1000,
}  # fmt: skip
_ONLY: Final = word_set("last first only next same best biggest smallest greatest oldest youngest whole")
_GROUPS: Final = word_set("group bunch pair flock herd pack crowd couple band lot")
_PLURALS: Final = word_set("people children mice geese men women feet teeth wolves photos pianos folks kids")
_ABSTRACT: Final = re.compile(
    r"(ness|(?:free|wis|star|bore)dom|ity|tion|(?:friend|relation|hard|companion)ship|ment|hood|ism)$"
)
_BY_GROUP: Final = (
    ("animal", "animal"), ("person-fantasy", "creature"), ("face-costume", "creature"), ("monkey-face", "animal"), ("cat-face", "animal"),
    ("person", "person"), ("family", "person"), ("transport", "vehicle"), ("food", "food"), ("drink", "food"), ("plant", "plant"), ("sky", "sky"),
    ("musical", "instrument"), ("place", "building"), ("heart", "feeling"), ("emotion", "feeling"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Noun:
    """A thing, in the forms a sentence needs. `kind`: animal, person, creature, vehicle, food, plant, sky, instrument,
    building, place, water, feeling or object."""

    head: str
    long: str
    owner: str
    plural: bool
    proper: bool
    kind: str
    count: int = 1

    @property
    def alive(self) -> bool:
        return self.kind in ("animal", "person", "creature")

    @property
    def the(self) -> str:
        """Definite and short: `the fox`, `my mother`, `Rex`, `freedom`."""
        return self._with(self.head)

    @property
    def the_long(self) -> str:
        return self._with(self.long)

    @property
    def a(self) -> str:
        """Indefinite: `a little fox`, `three pandas`, `my mother`, `the last train`."""
        if self.proper or self.owner or self._bare:
            return self.the_long
        if self.plural:
            number = next((w for w, n in _NUMBERS.items() if n == self.count and n < 11), "") if self.count > 1 else ""
            return f"{number} {self.long}".strip()
        first = self.long.split()[0]
        return (
            f"the {self.long}"
            if first in _ONLY or self.kind in ("sky", "water")
            else f"{article(self.long)} {self.long}"
        )

    @property
    def called(self) -> str:
        """How it is spoken to: `little fox`, `my mother`, `Rex`."""
        return f"{self.owner} {self.long}" if self.owner in ("my", "our") else self.long

    @property
    def it(self) -> str:
        """he, she, it or they."""
        if self.plural or (self.proper and self.alive):
            return "they"
        last = self.head.split()[-1].lower()
        if self.kind != "person":
            return "it"
        return "he" if last in HE else "she" if last in SHE else "they"

    @property
    def its(self) -> str:
        return {"he": "his", "she": "her", "they": "their", "it": "its"}[self.it]

    @property
    def them(self) -> str:
        return {"he": "him", "she": "her", "they": "them", "it": "it"}[self.it]

    @property
    def _bare(self) -> bool:
        return not self.owner and (self.kind == "feeling" or self.head in NO_ARTICLE)

    def _with(self, words: str) -> str:
        return words if self.proper or self._bare else f"{self.owner or 'the'} {words}"


NOBODY: Final = Noun("dreamer", "dreamer", "", False, False, "person")


def noun(words: list[str], labels: Mapping[str, object], names: Set[str]) -> Noun | None:
    """The thing named by some words of a theme; None where there is none.

    `labels` are the words that the picture engine knows in this theme, `names` those that are surely somebody's name.
    """
    owner, count, rest = _before(words)
    rest = _about(rest)[:4]
    if not rest:
        return None
    last = rest[-1]
    low = last.lower()
    if low in PLACE_NAMES or (len(rest) > 1 and rest[-2].lower() in ("new", "los", "san", "las", "hong", "rio")):
        name = " ".join(
            w[:1].upper() + w[1:]
            for w in rest[-2:]
            if w.lower() in PLACE_NAMES or w.lower() in ("new", "los", "san", "las")
        )
        return Noun(name, name, "", False, True, "place")
    if low in NO_ARTICLE and low not in labels and len(rest) == 1:
        return Noun(last, last, owner, False, False, "feeling")
    capital = last[:1].isupper() and not (last.isupper() and len(last) > 1)
    if last in names or (capital and low not in labels and not _looks_common(low)):
        known = " ".join(rest[:-1]).lower()
        kind = kind_of(known, labels) if known else "person"
        if len(rest) > 1 and rest[-2][:1].isupper() and rest[-2] in names:
            last = f"{rest[-2]} {last}"
        return Noun(last, last, "", False, True, kind if kind in ("animal", "creature", "vehicle") else "person")
    if low in KIN and len(rest) == 1 and not owner and not any(w.lower() in DETERMINERS for w in words):
        return Noun(last.capitalize(), last.capitalize(), "", False, True, "person")  # "mom" is her name
    lowered = [w if w.isupper() and len(w) > 1 else w.lower() for w in rest]
    long = " ".join(lowered)
    plural = count > 1 or is_plural(lowered[-1])
    return Noun(_head(lowered, labels), long, owner, plural, False, kind_of(long, labels), count)


def _before(words: list[str]) -> tuple[str, int, list[str]]:
    """(whose, how many, the rest)"""
    owner, count, article_ = "", 1, ""
    left = [w for w in words if w not in (",", ";", ":")]
    while left:
        low = left[0].lower()
        if low in DETERMINERS:
            article_ = "the" if low == "the" else "a"
        elif low in POSSESSIVES:
            owner = low
        elif low in _NUMBERS or low.isdigit():
            count = _NUMBERS.get(low) or max(1, int(low[:4]))
        elif re.search(r"['’]s?$", left[0]) and len(left) > 1:
            whose = left[0]
            if not owner and (article_ or whose[:1].islower()):
                owner = "the"
            owner = f"{owner} {whose}".strip()
        elif low != "of" and not (low in _GROUPS and "of" in [w.lower() for w in left[1:2]]):
            break
        left = left[1:]
    return owner, count, left


def _about(words: list[str]) -> list[str]:
    """`adventures of a snail` -> `snail`; `light of home` -> `light`."""
    lowered = [w.lower() for w in words]
    if "of" in lowered[1:]:
        at = lowered.index("of", 1)
        if lowered[at - 1] in HOLLOW and at + 1 < len(words):
            return _before(words[at + 1 :])[2]
        return words[:at]
    return words


def _looks_common(low: str) -> bool:
    low = low[:-1] if is_plural(low) else low
    return (
        low in PEOPLE
        or low in CREATURES
        or low in KIN
        or low in NO_ARTICLE
        or low in HOLLOW
        or low in KINDS
        or bool(_ABSTRACT.search(low))
    )


def _head(words: list[str], labels: Mapping[str, object]) -> str:
    """The noun without its adjectives: the last word, or more where that names one known thing."""
    for size in (3, 2):
        if len(words) >= size and " ".join(words[-size:]) in labels:
            return " ".join(words[-size:])
    if len(words) >= 2 and words[-1] in PEOPLE and words[-2] in labels and words[-2] not in ("old", "young"):
        return " ".join(words[-2:])
    return words[-1]


def is_plural(word: str) -> bool:
    low = word.lower()
    if low in INVARIANT:
        return False
    return low in _PLURALS or (
        low.endswith("s") and len(low) > 3 and not low.endswith(("ss", "us", "is", "'s", "as", "os"))
    )


def kind_of(long: str, labels: Mapping[str, object]) -> str:
    """What kind of thing a noun is."""
    words = long.split()
    last = words[-1]
    single = last[:-1] if is_plural(last) else last
    if last in PEOPLE or single in PEOPLE or last in KIN:
        return "person"
    if last in CREATURES or single in CREATURES:
        return "creature"
    if last in KINDS or single in KINDS:
        return KINDS.get(last) or KINDS[single]
    if last in NO_ARTICLE or (_ABSTRACT.search(last) and last not in ("station", "city", "nation", "apartment")):
        return "feeling"
    sprite = next((labels[w] for w in (long, " ".join(words[-2:]), last) if w in labels), None)
    group = str(getattr(sprite, "subgroup", ""))
    return next((kind for start, kind in _BY_GROUP if group.startswith(start)), "object")


def article(words: str) -> str:
    low = words.lower()
    silent = low.startswith(("hour", "honest", "heir", "honour"))
    return "an" if silent or (low[:1] in "aeiou" and not re.match(r"(uni|use|eu|one\b|u[rt][aeio])", low)) else "a"
