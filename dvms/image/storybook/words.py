"""Understand a prompt: what is in the picture, where, when, in which style, and how the things stand to each other.

Pure functions of the prompt. English through labels, aliases and the lexicon; 24 other languages through the sprites'
names in them and a list of scene words.
"""

import re
from dataclasses import dataclass, field

from dvms.image.storybook import languages, sprites
from dvms.image.storybook.sprites import Sprite
from dvms.image.storybook.vocabulary import (
    ALIASES,
    COLOURS,
    NUMBERS,
    PLACES,
    PORTABLE,
    POSES,
    RELATIONS,
    SIZES,
    STOP,
    STYLES,
    TIMES,
    WEATHER,
)

MOST_SUBJECTS = 4
SURE, LIKELY, PERHAPS = 0.66, 0.52, 0.4


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing in the picture. `relation` says how it stands to subject number `to`."""

    sprite: Sprite
    word: str
    count: int = 1
    colour: str | None = None
    size: float = 1.0
    pose: str | None = None
    relation: str | None = None
    to: int | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """A prompt, understood."""

    subjects: tuple[Subject, ...]
    place: str | None
    time: str | None
    style: str | None
    weather: frozenset[str]
    words: frozenset[str]


@dataclass(slots=True)
class _Found:
    start: int
    end: int
    sprite: Sprite
    word: str
    score: float
    count: int = 1
    colour: str | None = None
    size: float = 1.0
    plural: bool = field(default=False)


def understand(prompt: str, negative: str = "") -> Meaning:
    """What to draw. Whatever `negative` names is left out."""
    text = sprites.plain(prompt.replace("-", " "))
    unwanted = set(sprites.plain(negative.replace("-", " ")).split())
    unwanted |= {singular(word) for word in unwanted}
    language = languages.guess(text)
    meaning = _english(text if language == "en" else languages.to_english(prompt.lower(), language))
    if not unwanted:
        return meaning
    dropped = {i for i, s in enumerate(meaning.subjects) if _names_of(s) & unwanted}
    kept = [i for i in range(len(meaning.subjects)) if i not in dropped]
    renumber = {old: new for new, old in enumerate(kept)}
    subjects = tuple(_moved(meaning.subjects[i], renumber) for i in kept)
    weather = frozenset(w for w in meaning.weather if w not in unwanted and w.rstrip("s") not in unwanted)
    return Meaning(subjects, meaning.place, meaning.time, meaning.style, weather, meaning.words)


def _moved(subject: Subject, renumber: dict[int, int]) -> Subject:
    keep = subject.to in renumber if subject.to is not None else False
    return Subject(
        subject.sprite, subject.word, subject.count, subject.colour, subject.size, subject.pose,
        subject.relation if keep else None, renumber[subject.to] if keep and subject.to is not None else None,
    )  # fmt: skip


def _names_of(subject: Subject) -> set[str]:
    words = set(subject.word.split()) | set(sprites.plain(subject.sprite.label).split()) | {singular(subject.word)}
    if subject.sprite.subgroup.startswith(("person", "family")):
        words |= {"people", "person", "human", "humans"}
    if subject.sprite.family == "animal":
        words |= {"animal", "animals"}
    return words


def singular(word: str) -> str:
    """The singular of a regular English plural; other words as they are."""
    for ending, instead in (("ves", "f"), ("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + instead
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def _scan(pairs: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next(
        (name for name, pattern in pairs if re.search(rf"\b(?:{pattern})", text) and _whole(pattern, text)), None
    )


def _whole(pattern: str, text: str) -> bool:
    return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text) is not None


def _english(text: str) -> Meaning:
    words = text.split()
    style = _scan(STYLES, text)
    place = _scan(PLACES, text) or next((p for p in map(sprites.place_of, words) if p), None)
    time = _scan(TIMES, text) or next((t for t in map(sprites.time_of, words) if t), None)
    weather = frozenset(name for name, pattern in WEATHER.items() if _whole(pattern, text))
    found = _mentions(words)
    subjects = _related(words, found)
    return Meaning(tuple(subjects), place, time, style, weather, frozenset(words))


def _look_up(phrase: str, last: str) -> tuple[Sprite, float] | None | bool:
    """(sprite, confidence); False for a word with nothing to draw; None for an unknown word."""
    for key in (phrase, last):
        if key in ALIASES:
            label = ALIASES[key]
            return (sprites.by_label()[label], 1.0) if label else False
    for key in (phrase, last):
        if found := sprites.named(key):
            return found, 1.0
    for key in (phrase, last):
        if meant := sprites.meant(key):
            return meant[0]
    return None


def _mentions(words: list[str]) -> list[_Found]:
    used = [False] * len(words)
    found: list[_Found] = []
    weak: list[_Found] = []
    for length in (3, 2, 1):
        for i in range(len(words) - length + 1):
            if any(used[i : i + length]):
                continue
            chunk = words[i : i + length]
            if length == 1 and (chunk[0] in STOP or chunk[0] in COLOURS or chunk[0] in NUMBERS):
                continue
            if length > 1 and (
                (chunk[0] in STOP and chunk[0] not in ("light", "shooting", "steam", "hot")) or chunk[-1] in STOP
            ):
                continue
            phrase = " ".join(chunk)
            answer = _look_up(phrase, " ".join([*chunk[:-1], singular(chunk[-1])]))
            if answer is None or (length > 1 and answer is not False and answer[1] < 0.8):  # type: ignore[index]
                continue
            if answer is False:
                used[i : i + length] = [True] * length
                continue
            sprite, score = answer  # type: ignore[misc]
            item = _qualified(_Found(i, i + length, sprite, phrase, score), words)
            if score >= SURE or (score >= LIKELY and len(chunk[0]) > 3):
                used[i : i + length] = [True] * length
                found.append(item)
            elif score >= PERHAPS and len(chunk[0]) > 3:
                weak.append(item)
    if not found:
        found = sorted(weak, key=lambda f: -f.score)[:2]
    found.sort(key=lambda f: f.start)
    unique: dict[str, _Found] = {}
    for item in found:
        unique.setdefault(item.sprite.id, item)
    return list(unique.values())[:MOST_SUBJECTS]


def _qualified(item: _Found, words: list[str]) -> _Found:
    """Count, colour and size from the few words before, as far as the previous noun or preposition."""
    for word in reversed(words[max(0, item.start - 4) : item.start]):
        if word in NUMBERS:
            item.count = NUMBERS[word]
        elif word in COLOURS:
            item.colour = item.colour or word
        elif word in SIZES:
            item.size = SIZES[word]
        elif word in ("with", "and", "in", "on", "under", "over", "the", "a", "an"):
            if word in ("the", "a", "an"):
                continue
            break
        elif word not in STOP and word != "of":
            continue
    last = item.word.split()[-1]
    if item.count == 1 and singular(last) != last and sprites.named(item.word) is None:
        item.count, item.plural = 3, True
    return item


def _portable(sprite: Sprite) -> bool:
    return re.match(rf"(?:{PORTABLE})", sprite.subgroup) is not None


def _related(words: list[str], found: list[_Found]) -> list[Subject]:
    """Join neighbours by the words that stand between them, and give each its pose."""
    subjects: list[Subject] = []
    for i, item in enumerate(found):
        nearest = found[i + 1].start if i + 1 < len(found) else len(words)
        after = " ".join(words[item.end : min(nearest, item.end + 5)])
        before = " ".join(words[max(found[i - 1].end if i else 0, item.start - 2) : item.start])
        pose = next((n for n, p in POSES.items() if _whole(p, after) or _whole(p, before)), None)
        relation = None
        if i:
            between = " ".join(words[found[i - 1].end : item.start])
            relation = next((n for n, p in RELATIONS if _whole(p, between)), None)
            relation = _fitting(relation, found[i - 1].sprite, item.sprite)
        subjects.append(
            Subject(
                item.sprite, item.word, item.count, item.colour, item.size, pose, relation, i - 1 if relation else None
            )
        )
    return subjects


RIDEABLE = re.compile(
    r"horse|unicorn|elephant|camel|donkey|whale|dolphin|dragon|dinosaur|T-Rex|sauropod|turtle|llama|zebra|giraffe|bison|ox\b"
    r"|rocket|saucer|bicycle|motorcycle|scooter|skateboard|sled|sailboat|canoe|boat|ship|tractor|tiger|lion|bear|wolf|deer"
    r"|snail|swan|goose|eagle|duck|shark|fish|seal|cow|pig\b|ram|ewe|goat|rhino|hippo|mammoth|kangaroo|automobile|car\b|balloon"
    r"|broom|comet|cloud|moon|locomotive|carousel|taxi|minibus|truck|airplane|helicopter|wheelchair|crocodile|moose|octopus|skates?"
)
VESSEL = re.compile(
    r"boat|canoe|ship|balloon|basket|bucket|hot beverage|teacup|car\b|automobile|taxi|minibus|bus|locomotive|rocket|saucer|bathtub|sled"
    r"|package|hat|bowl|truck|airplane|nest|tractor"
)


def _fitting(relation: str | None, first: Sprite, second: Sprite) -> str | None:
    """The relation, if these two can have it; a likelier one where the words are ambiguous."""
    animate = first.family in ("animal", "person", "face", "cat", "monkey", "family")
    label = second.label
    if relation in ("ride", "atop") and RIDEABLE.search(label):
        return "ride" if animate else "atop"
    if relation == "inside":
        return "inside" if VESSEL.search(label) and animate else None
    if relation == "ride":
        return "atop" if second.family not in ("sky", "plant") else None
    if relation == "atop":
        return "atop" if not second.subgroup.startswith(("plant", "sky")) else None
    if relation in ("hold", "play", "read", "wear"):
        if not _portable(second):
            return None
        if second.subgroup == "clothing" and re.search(r"hat|cap|crown|glasses|goggles|helmet|scarf|headphone", label):
            return "wear"
        return relation if animate else None
    return relation


def style_named(style: str | None) -> str | None:
    """The look a customer's word asks for: one of six, `storybook` for the plain one, None for no or an unknown word."""
    if not style:
        return None
    text = sprites.plain(style.replace("-", " "))
    if text in ("storybook", "default", "plain", "none", "3d", "photo", "photographic", "cinematic"):
        return "storybook"
    return _scan(STYLES, text)
