# ruff: noqa: E501  (tables read better in long lines)
"""Understand a theme: who or what it is about, where, when, what happens. Pure functions of the text.

Word order tells who does what; which things and places words mean comes from the picture engine's dictionary, so that
what is written can be painted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dvms.text.lexicon import (
    ACTIONS,
    CONCEPTS,
    DOMAIN_PLACES,
    GERUND_NOUNS,
    INVARIANT,
    KIN,
    NOT_GERUND,
    PEOPLE,
    PLACE_WORDS,
    TIME_WORDS,
    word_set,
)  # fmt: skip

_PREAMBLE: Final = re.compile(
    r"^\s*(please\s+)?((can|could|would) you\s+)?"
    r"((make|write|create|generate|compose|sing|draw|paint|show|give|tell|produce|do|i want|i would like|i'd like|imagine|render)\s+(me\s+|us\s+)?)?"
    r"((an?|the|some|my|our|one)\s+)?((\w+|lo-fi|hip-hop)[\s,]+){0,4}?"
    r"(song|songs|music ?video|video|clip|poem|verses?|lyrics?|story|tale|tune|ballad|lullaby|anthem|rap|track|ode|hymn|music|film|movie|scenes?|picture|image|shanty|rock song)"
    r"\s+(about|on|of|for|to|with|featuring|where|in which|called|named|set in)\s+",
    re.I,
)
_STYLE_TAIL: Final = re.compile(
    r"[,;.]\s*(in (the )?style of .*|(\w+[\s-]){0,3}(style|aesthetic|vibes?|mood|mode)|4k|8k|hd|cinematic( lighting)?|highly detailed.*|"
    r"digital art|photo ?realistic|trending.*|masterpiece.*|\d+ ?(s|sec|seconds?))\s*$",
    re.I,
)
_PREPOSITIONS: Final = word_set(
    "in on at under over through across by near behind beneath above along into inside between with from to for "
    "among around beside toward towards past without after before during until below beyond against down up off "
    "underneath within onto amid atop"
)
_WHERE: Final = word_set(
    "in on at under over through across by near behind beneath above along inside between among around beside "
    "below beyond past within underneath amid atop down up"
)
_STOPPERS: Final = word_set(
    "who that which whose where when while as is are was were has have had wants want wanted lives live lived "
    "dreams goes go went finds find found meets meet met learns learn learned falls fall fell loves love loved "
    "can could will would tries try tried looks look looking gets get got becomes become but because so if"
)  # fmt: skip
_DETERMINERS: Final = word_set("a an the this that these those some any every each")
_POSSESSIVES: Final = word_set("my your his her its our their")
_NUMBERS: Final = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "both": 2,
                   "several": 5, "many": 9, "twin": 2, "couple": 2, "hundred": 100, "thousand": 1000, "million": 1000}  # fmt: skip
_ONLY: Final = word_set("last first only next same best biggest smallest greatest oldest youngest whole")
_SMALL: Final = word_set("a an the and or of in on at by to with for from under over as but nor into")


@dataclass(frozen=True, slots=True)
class Noun:
    """A thing, in the forms a sentence needs. `kind`: animal, person, creature, vehicle, food, plant, sky, instrument,
    building, object, feeling."""

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
        """Indefinite: `a little fox`, `three pandas`, `my mother`."""
        if self.proper or self.owner or self.kind == "feeling":
            return self.the_long
        if self.plural:
            number = next((w for w, n in _NUMBERS.items() if n == self.count and n < 11), "") if self.count > 1 else ""
            return f"{number} {self.long}".strip()
        return f"the {self.long}" if self.long.split()[0] in _ONLY else f"{article(self.long)} {self.long}"

    def _with(self, words: str) -> str:
        if self.proper or (self.kind == "feeling" and not self.owner):
            return words
        return f"{self.owner or 'the'} {words}"

    @property
    def it(self) -> str:
        return "they" if self.plural else "it"


@dataclass(frozen=True, slots=True)
class Theme:
    """What a text is to be about."""

    text: str
    subject: Noun
    other: Noun | None
    doing: str
    wish: str
    preposition: str
    place: str
    domain: str
    time: str
    weather: frozenset[str]
    concept: str
    language: str

    @property
    def where(self) -> str:
        """`in the snow`, `on the moon`."""
        return f"{self.preposition} {self.place}"


def read(text: str) -> Theme:
    """Understand a theme. Any text gives one; what it does not say follows from what it does."""
    from dvms.image.storybook import languages, sprites, words

    clean = tidy(text)
    plain = sprites.plain(clean.replace("-", " "))
    language = languages.guess(plain)
    meaning = words.understand(clean)
    if language != "en" and not re.search(r"\b(the|and|with|of|a)\b", plain):
        clean = _foreign(meaning) or clean
    labels = {item.word: item.sprite for item in meaning.subjects}
    head, action, places, wish, with_whom = _parts(clean)
    subject = _noun(head, labels) if head else None
    if subject is None and meaning.subjects:
        first = meaning.subjects[0]
        subject = _noun([first.word], labels)
    subject = subject or Noun("dreamer", "dreamer", "", False, False, "person")
    other = next((n for words_ in with_whom if (n := _noun(words_, labels)) and n.head != subject.head), None)
    domain, preposition, place = _where(places, meaning.place, subject)
    concept = next((name for name, pattern in CONCEPTS if re.search(rf"\b(?:{pattern})\b", text.lower())), "")
    time = next((name for name, pattern in TIME_WORDS if re.search(rf"\b(?:{pattern})\b", clean.lower())), "") or (
        meaning.time or ""
    )
    if other is not None and other.head in place.split():
        other = None
    return Theme(
        clean, subject, other, action, wish, preposition, place, domain, time, meaning.weather, concept, language
    )


def tidy(text: str) -> str:
    """The theme itself: the first sentence or two, without `write me a song about` and style words at the end."""
    flat = " ".join(text.replace("\n", ". ").split()).strip(" .!?\"'“”")
    flat = re.sub(r"\s*[.!?]+\s*\.\s*", ". ", flat)
    if len(flat) > 240:
        cut = flat[:240]
        flat = cut.rsplit(". ", 1)[0] if ". " in cut[60:] else cut.rsplit(" ", 1)[0]
    stripped = _PREAMBLE.sub("", flat, count=1)
    if not stripped.strip():
        stripped = flat
    for _ in range(3):
        stripped = _STYLE_TAIL.sub("", stripped)
    stripped = " ".join(word[:30] for word in stripped.strip(" ,;.!?\"'“”").split())
    return stripped if re.search(r"[^\W\d_]{2}", stripped) else "a dreamer under the stars"


def _foreign(meaning: object) -> str:
    """An English sketch of a prompt in another language, from what the dictionary knew of it."""
    subjects = [s.sprite.label for s in getattr(meaning, "subjects", ())][:2]
    place = getattr(meaning, "place", None)
    if not subjects:
        return ""
    line = f"a {subjects[0]}" + (f" with a {subjects[1]}" if len(subjects) > 1 else "")
    if isinstance(place, str) and place in DOMAIN_PLACES:
        line += " " + DOMAIN_PLACES[place]
    time = getattr(meaning, "time", None)
    return line + (f" at {time}" if time in ("night", "sunset", "dawn") else "")


def _tokens(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’][^\W\d_]+)*(?:-[^\W\d_]+)*'?|[,;:]", text)


def _is_gerund(word: str, following: str | None, first: bool) -> bool:
    low = word.lower()
    if not low.endswith("ing") or low in NOT_GERUND or len(low) < 5:
        return False
    if low in GERUND_NOUNS and (first or following is None):
        return False
    return not first or (following is not None and following.lower() in _DETERMINERS | _PREPOSITIONS)


def _parts(text: str) -> tuple[list[str], str, list[tuple[str, list[str]]], str, list[list[str]]]:
    """(who, doing what, [(preposition, where)], what they want, with whom or what) as words."""
    head: list[str] = []
    others: list[list[str]] = []
    places: list[tuple[str, list[str]]] = []
    action, wish = "", ""
    state, current = "head", head
    words = _tokens(text)
    i = 0
    while i < len(words):
        word = words[i]
        low = word.lower()
        following = words[i + 1] if i + 1 < len(words) else None
        if low in (
            "wants",
            "want",
            "dreams",
            "dreaming",
            "wishes",
            "longs",
            "tries",
            "learns",
            "learning",
        ) and following in ("to", "of"):
            rest = words[i + 2 : i + 6]
            cut = next((k for k, w in enumerate(rest) if w.lower() in _PREPOSITIONS | {",", "and", "but"}), len(rest))
            verb = rest[:cut]
            if verb and following == "to":
                wish = " ".join(verb).lower()
            state, current = "other", []
            i += 2 + cut
            continue
        if low in (",", ";", ":"):
            state = "loose"
            current = []
        elif low in ("and", "&") and state == "head" and head:
            current = []
            others.append(current)
            state = "other"
        elif low in _PREPOSITIONS:
            current = []
            if low in ("with", "for", "to", "from", "without"):
                others.append(current)
            else:
                places.append((low, current))
            state = "phrase"
        elif low in _STOPPERS and (state != "head" or head):
            state, current = "other", []
            if low not in ("who", "that", "which", "whose", "as", "while"):
                others.append(current)
        elif (state == "head" or (state == "other" and not action)) and _is_gerund(word, following, first=not head):
            action = action or low
            current = []
            others.append(current)
            state = "object"
        else:
            current.append(word)
            if state == "loose" and not head:
                head.append(word)
        i += 1
    return head, action, [(p, w) for p, w in places if w], wish, [w for w in others if w]


def _noun(words: list[str], labels: Mapping[str, object]) -> Noun | None:
    owner, count = "", 1
    left = [w for w in words if w not in (",", ";", ":")]
    while left:
        low = left[0].lower()
        if low in _DETERMINERS:
            pass
        elif low in _POSSESSIVES:
            owner = low
        elif low in _NUMBERS or low.isdigit():
            count = _NUMBERS.get(low) or max(1, int(low[:4]))
        elif re.search(r"['’]s?$", left[0]) and len(left) > 1:
            owner = f"{owner} {left[0]}".strip()
        elif low == "of" or (low in ("group", "bunch", "pair", "flock", "herd", "pack", "crowd") and len(left) > 2):
            pass
        else:
            break
        left = left[1:]
    if "of" in [w.lower() for w in left[1:]]:  # "the light of home": the thing is what stands before
        left = left[: [w.lower() for w in left].index("of", 1)]
    left = left[:4]
    if not left:
        return None
    last = left[-1]
    named = (
        last[:1].isupper()
        and not last.isupper()
        and (last.lower() not in labels or (len(left) > 1 and left[-2].islower()))
    )
    proper = named and (len(left) == 1 or left[-2][:1].isupper())
    if named and not proper:  # "my dog Rex"
        return Noun(last, last, "", False, True, _kind(" ".join(left[:-1]).lower(), labels, count))
    if proper and len(left) > 1:
        return Noun(" ".join(left), " ".join(left), "", False, True, _kind(last.lower(), labels, count))
    lowered = [
        w
        if w[:1].isupper() and w[1:].islower() and i == len(left) - 1 and proper
        else (w if w.isupper() and len(w) > 1 else w.lower())
        for i, w in enumerate(left)
    ]
    long = " ".join(lowered)
    head = _head(lowered, labels)
    kind = _kind(long, labels, count)
    plural = count > 1 or _is_plural(lowered[-1])
    if proper:
        kind = "person" if kind in ("feeling", "object") else kind
    return Noun(head, long, owner, plural, proper, kind, count)


def _head(words: list[str], labels: Mapping[str, object]) -> str:
    """The noun without its adjectives: the last word, or more where that names one known thing."""
    for size in (3, 2):
        if len(words) >= size and " ".join(words[-size:]) in labels:
            return " ".join(words[-size:])
    if len(words) >= 2 and words[-1] in PEOPLE and words[-2] in labels and words[-2] not in ("old", "young"):
        return " ".join(words[-2:])
    return words[-1]


def _is_plural(word: str) -> bool:
    low = word.lower()
    if low in INVARIANT:
        return False
    return (low.endswith("s") and not low.endswith(("ss", "us", "is", "'s", "as", "os"))) or low in (
        "people",
        "children",
        "mice",
        "geese",
        "men",
        "women",
        "feet",
        "teeth",
        "wolves",
        "us",
        "photos",
        "pianos",
    )


def _kind(long: str, labels: Mapping[str, object], count: int) -> str:
    words = long.split()
    last = words[-1]
    single = last[:-1] if last.endswith("s") else last
    if last in PEOPLE or single in PEOPLE or last in KIN:
        return "person"
    sprite = next((labels[w] for w in (long, " ".join(words[-2:]), last) if w in labels), None)
    if sprite is None:
        return (
            "feeling"
            if len(words) == 1
            and not _is_plural(last)
            and re.search(
                r"(ness|dom|ity|tion|ship|ment|hood|ism|love|peace|hope|joy|time|life|home|summer|winter|spring|autumn|music|bitcoin|courage|silence|sorrow|truth|magic|sleep)$",
                last,
            )
            else "object"
        )
    group = str(getattr(sprite, "subgroup", ""))
    label = str(getattr(sprite, "label", ""))
    if re.search(r"(ness|dom|ity|tion|ship|ment|hood|ism)$", last) or last in (
        "love",
        "hope",
        "peace",
        "joy",
        "time",
        "music",
        "birthday",
    ):
        return "feeling"
    if group.startswith("animal"):
        return "creature" if label in ("dragon", "unicorn", "dragon face", "T-Rex", "sauropod") else "animal"
    if group.startswith("person-fantasy") or group in ("face-costume", "monkey-face", "cat-face"):
        return "creature"
    if group.startswith(("person", "family")):
        return "person"
    for start, kind in (
        ("transport", "vehicle"),
        ("food", "food"),
        ("drink", "food"),
        ("plant", "plant"),
        ("sky", "sky"),
        ("musical", "instrument"),
        ("place", "building"),
        ("heart", "feeling"),
        ("emotion", "feeling"),
        ("event", "object"),
    ):
        if group.startswith(start):
            return kind
    return "object"


def _where(places: list[tuple[str, list[str]]], known: str | None, subject: Noun) -> tuple[str, str, str]:
    """(domain, preposition, place with its article)."""
    from dvms.image.storybook import words as dictionary

    for preposition, words in places:
        if preposition not in _WHERE:
            continue
        phrase = " ".join(
            w.lower() if not w[:1].isupper() or w.lower() in ("the", "a", "an") else w
            for w in words
            if w not in (",", ";")
        )
        if re.search(rf"\b(?:{PLACE_WORDS})\b", phrase.lower()) is None and dictionary.understand(phrase).place is None:
            continue
        if re.fullmatch(
            r"(the )?(night|day|morning|evening|sunset|dawn|dusk|midnight|sunrise|noon|twilight|summer|winter|spring|autumn)",
            phrase,
        ):
            continue
        phrase = _definite(phrase)
        domain = dictionary.understand(f"{preposition} {phrase}").place or known or "meadow"
        return domain, preposition, phrase
    domain = known or {
        "vehicle": "road",
        "food": "kitchen",
        "sky": "sky",
        "instrument": "stage",
        "feeling": "heart",
        "object": "heart",
        "building": "mount",
        "person": "heart",
    }.get(subject.kind, "meadow")
    preposition, _, place = DOMAIN_PLACES.get(domain, DOMAIN_PLACES["meadow"]).partition(" ")
    return domain, preposition, place


def _definite(phrase: str) -> str:
    words = phrase.split()[:4]
    low = words[0].lower()
    if low in ("a", "an", "some"):
        return " ".join(["the", *words[1:]])
    if (
        low in ("the", *_POSSESSIVES)
        or words[-1][:1].isupper()
        or low in ("space", "outer", "orbit", "heaven", "winter")
    ):
        return " ".join(words)
    if re.search(r"['’]s$", words[0]):
        return " ".join(words)
    return " ".join(["the", *words])


def article(words: str) -> str:
    low = words.lower()
    vowel = (low[:1] in "aeiou" and not re.match(r"(uni|use|eu|one\b|u[rt][aeio])", low)) or low.startswith(
        ("hour", "honest", "heir")
    )
    return "an" if vowel else "a"


def title(theme: Theme) -> str:
    """A title of a few words, from the theme's own."""
    words = _tokens(theme.text)
    words = [w for w in words if w not in (",", ";", ":")]
    if words and words[0].lower() in ("a", "an"):
        words = words[1:]
    if len(words) > 7:
        words = _tokens(f"{theme.subject.the_long} {theme.where}")
        if len(words) > 7:
            words = _tokens(theme.subject.the_long)
    return " ".join(
        w if w[:1].isupper() else w.lower() if i and w.lower() in _SMALL else w[:1].upper() + w[1:]
        for i, w in enumerate(words)
    )


def gerund_root(word: str) -> str:
    """`dancing` -> `dance`; the word itself where that is not known."""
    return ACTIONS.get(word, word)
