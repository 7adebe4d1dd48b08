"""Understand a prompt: what is in the picture, where, when, in which style, and how the things stand to each other.

Pure functions of the prompt. English through labels, aliases and the lexicon; 24 other languages through the sprites'
names in them and a list of scene words.
"""

import itertools
import re
from dataclasses import dataclass, field, replace

from dvms.image.storybook import languages, sprites
from dvms.image.storybook.anatomy import RIDEABLE, VESSEL, WEATHER_SPRITES
from dvms.image.storybook.sprites import Sprite
from dvms.image.storybook.vocabulary import ALIASES, Named
from dvms.image.storybook.vocabulary import VOCABULARY as V

MOST_SUBJECTS = 4
DETERMINERS = frozenset(["a", "an", "the", "his", "her", "their", "my", "our", "its", "some", "two", "three"])
PAUSE = "_"  # stands for punctuation between words
PAIRS = re.compile(r"holding hands|couple|wrestling|with bunny ears|^kiss|family")
SMILEY = re.compile(r"face-(?!costume|negative|hat)")
CERTAIN, SURE, PERHAPS = 0.8, 0.64, 0.57


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
    framing: str | None = None
    features: frozenset[str] = frozenset()
    carpet: Subject | None = None  # what covers the ground: "a field of tulips"
    unwanted: frozenset[str] = frozenset()
    felt: bool = False  # the words named no thing; this is a picture of what they feel like


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
    """What to draw. Whatever `negative` names, or the prompt itself says is not there, is left out."""
    said = re.sub(r"['\u2019]s\b", "", prompt.replace("-", " "))
    text = sprites.plain(re.sub(r"[,;.!?:\n]+", f" {PAUSE} ", said))
    text, absent = _without(text)
    unwanted = set(sprites.plain(negative.replace("-", " ")).split()) | absent
    unwanted |= {singular(word) for word in unwanted}
    language = languages.guess(text)
    meaning = _english(text if language == "en" else languages.to_english(prompt.lower(), language))
    if not unwanted:
        return meaning
    dropped = {i for i, s in enumerate(meaning.subjects) if names_of(s) & unwanted}
    kept = [i for i in range(len(meaning.subjects)) if i not in dropped]
    renumber = {old: new for new, old in enumerate(kept)}
    subjects = tuple(_moved(meaning.subjects[i], renumber) for i in kept)
    weather = frozenset(w for w in meaning.weather if w not in unwanted and w.rstrip("s") not in unwanted)
    return replace(meaning, subjects=subjects, weather=weather, unwanted=frozenset(unwanted))


ABSENT = re.compile(
    r"\b(?:without|with no|no|minus) (?:(?:any|a|an|the|single|visible) )*"
    r"((?!one\b|longer\b|matter\b|end\b)\w+(?:(?: or| and| nor)(?: any| a| no)* \w+)?)"
)


def _without(text: str) -> tuple[str, set[str]]:
    """The text less "without any clouds" and the like, and the words that are not to be seen."""
    absent = {word for match in ABSENT.finditer(text) for word in match[1].split()} - {
        "or",
        "and",
        "nor",
        "any",
        "a",
        "no",
    }
    return ABSENT.sub(f" {PAUSE} ", text), absent


def _moved(subject: Subject, renumber: dict[int, int]) -> Subject:
    """The subject with its partner's new number, or without a relation where the partner is gone."""
    to = renumber.get(subject.to) if subject.to is not None else None
    return replace(subject, to=to, relation=None if to is None else subject.relation)


def names_of(subject: Subject) -> set[str]:
    """The words by which it may be refused."""
    words = set(subject.word.split()) | set(sprites.plain(subject.sprite.label).split()) | {singular(subject.word)}
    if subject.sprite.subgroup.startswith(("person", "family")):
        words |= {"people", "person", "human", "humans"}
    if subject.sprite.family == "animal":
        words |= {"animal", "animals"}
    return words


def singular(word: str) -> str:
    """The singular of a regular English plural; other words as they are."""
    if re.search(r"(lea|wol|kni|wi|cal|hal|el|shel|loa|thie|hoo|scar|dwar)ves$", word):
        return word[:-3] + ("fe" if word.endswith(("knives", "wives")) else "f")
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + instead
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def _scan(listed: tuple[Named, ...], text: str) -> str | None:
    return next((item.name for item in listed if _whole(item.words, text)), None)


def _whole(pattern: str, text: str) -> bool:
    return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text) is not None


def _english(text: str) -> Meaning:
    style = _scan(V.styles, text)
    for item in V.rephrased:
        text = re.sub(rf"(?<!\w)(?:{item.words})(?!\w)", item.instead, text)
    words = text.split()
    found = _mentions(words)
    drawn = {i for item in found for i in range(item.start, item.end)}
    others = [word for i, word in enumerate(words) if i not in drawn and word not in V.stop]
    timeless = [word for word in others if sprites.time_of(word) is None]
    place = _scan(V.places, text) or next((p for p in map(sprites.place_of, timeless) if p), None)
    time = _scan(V.times, text) or next((t for t in map(sprites.time_of, others) if t), None)
    if place in ("room", "kitchen", "library"):  # inside the house, not before it
        found = [item for item in found if item.sprite.subgroup != "place-building"] or found
    weather = frozenset(name for name, pattern in V.weather.items() if _whole(pattern, text))
    if "lightning" in weather and len(found) > 1:  # in the sky, not as a thing
        found = [item for item in found if item.sprite.label != "high voltage"]
    if place == "sky" and not _whole(ALOFT, text) and any(_walks(item) for item in found):
        place = "meadow"  # "a man under a blue sky" stands somewhere
    carpet = _carpet(words, found)
    subjects = _related(words, [item for item in found if item is not carpet])
    meaning = Meaning(
        tuple(subjects),
        place,
        time,
        style,
        weather,
        frozenset(words),
        _scan(V.framings, text),
        frozenset(name for name, pattern in V.features.items() if _whole(pattern, text)),
        None if carpet is None else Subject(carpet.sprite, carpet.word, colour=carpet.colour),
    )
    if carpet is not None or any(item.word not in V.abstract and item.score >= SURE for item in found):
        return meaning
    return _felt(text, meaning)


ALOFT = r"(above|among|over|through|on|in|into) (the |a )?(clouds|sky|air|heavens?)|fly\w*|float\w*|soar\w*|dream\w*"


def _walks(item: _Found) -> bool:
    """True for who needs ground under the feet."""
    return item.sprite.subgroup.startswith(("person", "animal-mammal", "face", "family", "place", "transport-ground"))


def _felt(text: str, meaning: Meaning) -> Meaning:
    """For words that name no thing: the picture of the feeling in them, in the place and light they name."""
    feeling = next((f for f in V.feelings if _whole(f.words, text)), None)
    if feeling is None:
        return meaning
    scene = _english(feeling.scene)
    kept_place = meaning.place or scene.place
    near = scene.subjects if not feeling.small else tuple(replace(s, size=s.size * 0.72) for s in scene.subjects)
    return replace(
        meaning,
        subjects=near,
        place=kept_place,
        time=meaning.time or scene.time,
        weather=meaning.weather | scene.weather,
        features=meaning.features | scene.features,
        carpet=scene.carpet,
        felt=True,
    )


def _carpet(words: list[str], found: list[_Found]) -> _Found | None:
    """What the ground is covered with: "a field of red tulips", "sunflower fields"."""
    for item in found:
        before = words[max(0, item.start - 4) : item.start]
        spread = "of" in before and V.filled.intersection(before[: before.index("of")])
        named_after = item.end < len(words) and words[item.end] in V.filled
        if item.sprite.family in ("plant", "food") and (spread or named_after):
            return item
    return None


class _Nothing:
    """A known word with nothing to draw."""


NOTHING = _Nothing()


def _look_up(phrase: str, last: str) -> tuple[Sprite, float] | _Nothing | None:
    """The sprite and how sure it is meant; NOTHING for a word with nothing to draw; None for an unknown word."""
    for key in (phrase, last):
        if key in ALIASES:
            label = ALIASES[key]
            return (sprites.by_label()[label], 1.0) if label else NOTHING
    for key in (phrase, last):
        if found := sprites.named(key):
            return NOTHING if WEATHER_SPRITES.match(found.label) else (found, 1.0)
    for key in (phrase, last):
        if meant := sprites.meant(key):
            return NOTHING if WEATHER_SPRITES.match(meant[0][0].label) else meant[0]
    return None


def _is_thing(word: str, answer: "tuple[Sprite, float] | _Nothing") -> bool:
    """False for what is no thing: a feeling with a smiley for a sign ("melting"), a verb with a tool ("diving")."""
    if isinstance(answer, _Nothing) or word in ALIASES:
        return True
    sprite = answer[0]
    if SMILEY.match(sprite.subgroup) and sprites.plain(sprite.label) != word:
        return False
    return not word.endswith("ing") or sprites.plain(sprite.label) == word


def _skipped(chunk: list[str]) -> bool:
    """True for words that are never looked up by themselves."""
    if len(chunk) == 1:
        word = chunk[0]
        return (
            word == PAUSE
            or word in V.stop
            or word in V.scenery
            or word in V.colours
            or word in V.numbers
            or len(word) < 2
        )
    for exact in (" ".join(chunk), " ".join([*chunk[:-1], singular(chunk[-1])])):
        if exact in ALIASES or sprites.named(exact):
            return False
    return (
        PAUSE in chunk
        or chunk[0] in V.stop
        or chunk[-1] in V.stop
        or chunk[0] in V.colours
        or chunk[-1] in V.scenery
        or chunk[0] in V.scenery
    )


def _mentions(words: list[str]) -> list[_Found]:
    """Things that are named, longest names first, in the order of the text; at most MOST_SUBJECTS."""
    used = [False] * len(words)
    found: list[_Found] = []
    weak: list[_Found] = []
    for length in (3, 2, 1):
        for i in range(len(words) - length + 1):
            chunk = words[i : i + length]
            if any(used[i : i + length]) or _skipped(chunk):
                continue
            if length == 1 and chunk[0].endswith("ing") and i + 1 < len(words) and words[i + 1] in DETERMINERS:
                continue  # a verb: "building a snowman"
            phrase = " ".join(chunk)
            answer = _look_up(phrase, " ".join([*chunk[:-1], singular(chunk[-1])]))
            if length == 1 and answer is not None and not _is_thing(phrase, answer):
                continue
            if isinstance(answer, _Nothing):
                used[i : i + length] = [True] * length
            elif answer is not None:
                sprite, score = answer
                item = _qualified(_Found(i, i + length, sprite, phrase, score), words)
                if score >= (SURE if length == 1 else CERTAIN):
                    used[i : i + length] = [True] * length
                    found.append(item)
                elif length == 1 and score >= PERHAPS and len(phrase) > 3:
                    weak.append(item)
    concrete = [item for item in found if item.word not in V.abstract]
    if not concrete:
        concrete = found or sorted(weak, key=lambda item: -item.score)[:2]
    concrete.sort(key=lambda item: item.start)
    concrete = [
        one
        for i, one in enumerate(concrete)  # "strawberry cake" is a cake
        if not (
            one.sprite.family == "food"
            and i + 1 < len(concrete)
            and concrete[i + 1].start == one.end
            and concrete[i + 1].sprite.family in ("food", "drink", "dishware")
        )
    ]
    for i in range(len(concrete) - 1):  # "samurai cat": the cat first, then its trade
        one, two = concrete[i], concrete[i + 1]
        if one.sprite.label in V.tools_of_trade and one.end == two.start and two.sprite.family == "animal":
            two.start, two.end, one.start, one.end = one.start, one.start + 1, one.start + 1, two.end
            two.count, concrete[i], concrete[i + 1] = max(one.count, two.count), two, one
    unique: dict[str, _Found] = {}
    for before, item in itertools.pairwise(concrete):  # "pirate captain" is one person
        if before.end == item.start and before.sprite.family == item.sprite.family == "person":
            item.word = ""
    for item in (item for item in concrete if item.word):
        unique.setdefault(item.sprite.id, item)
    return list(unique.values())[:MOST_SUBJECTS]


def _qualified(item: _Found, words: list[str]) -> _Found:
    """Count, colour and size from the few words before, as far as the previous noun or preposition."""
    for word in reversed(words[max(0, item.start - 4) : item.start]):
        if word in V.numbers:
            item.count = V.numbers[word]
        elif word in V.colours:
            item.colour = item.colour or word
        elif word in V.sizes:
            item.size = V.sizes[word]
        elif word == PAUSE or word in ("with", "and", "in", "on", "under", "over", "the", "a", "an"):
            if word in ("the", "a", "an"):
                continue
            break
        elif word.endswith("ing") or word in ALIASES or sprites.named(word) is not None:
            break
    if PAIRS.search(item.sprite.label):  # it shows two already
        item.count = max(1, item.count // 2)
    if item.colour and item.colour in V.natural.get(item.sprite.label, ()):
        item.colour = None
    last = item.word.split()[-1]
    if (item.count == 1 and singular(last) != last and last not in V.single and sprites.named(item.word) is None) or (
        item.count == 1 and last in V.irregular
    ):
        item.count, item.plural = (1 if PAIRS.search(item.sprite.label) else 3), True
    return item


def _portable(sprite: Sprite) -> bool:
    return re.match(rf"(?:{V.portable})", sprite.subgroup) is not None


def _related(words: list[str], found: list[_Found]) -> list[Subject]:
    """Join neighbours by the words that stand between them, and give each its pose."""
    subjects: list[Subject] = []
    for i, item in enumerate(found):
        if tool := _tool_of_trade(found, i):
            subjects.append(tool)
            continue
        nearest = found[i + 1].start if i + 1 < len(found) else len(words)
        after = " ".join(words[item.end : min(nearest, item.end + 5)])
        before = " ".join(words[max(found[i - 1].end if i else 0, item.start - 2) : item.start])
        pose = next((n for n, p in V.poses.items() if _whole(p, after) or _whole(p, before)), None)
        relation, to = None, None
        if i:
            between = " ".join(words[found[i - 1].end : item.start])
            relation = _last_relation(between)
            to = _partner(subjects)
            if relation == "made":
                item.count, item.size = 6, 0.35
            if relation is None and re.fullmatch(r"and( (a|an|the|his|her|its|their))?( \w+)?", between):
                relation = subjects[-1].relation if subjects[-1].relation in ("hold", "wear", "read") else None
            relation = _fitting(relation, found[to].sprite, item.sprite)
        subjects.append(
            Subject(
                item.sprite, item.word, item.count, item.colour, item.size, pose, relation, to if relation else None
            )
        )
    for i in range(len(subjects) - 2, -1, -1):  # "a fox and a rabbit dancing": both do
        between = " ".join(words[found[i].end : found[i + 1].start])
        if subjects[i].pose is None and re.fullmatch(r"and( (a|an|the|his|her))?( \w+)?", between):
            subjects[i] = replace(subjects[i], pose=subjects[i + 1].pose)
    return subjects


def _tool_of_trade(found: list[_Found], i: int) -> Subject | None:
    """For the second half of "panda chef" or the first of "samurai cat": what the animal has for it."""
    item = found[i]
    trade = V.tools_of_trade.get(item.sprite.label)
    if trade is None or i == 0 or found[i - 1].end != item.start:
        return None
    if found[i - 1].sprite.family not in ("animal", "cat", "monkey", "face"):
        return None
    return Subject(sprites.by_label()[trade[0]], item.word, relation=trade[1], to=i - 1)


def _last_relation(between: str) -> str | None:
    """The relation said last and straight before the thing; of two at the same place the earlier in the list."""
    best, where = None, -1
    for item in V.relations:
        name, pattern = item.name, item.words
        for match in re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", between):
            after = between[match.end() :].split()
            straight = len(after) <= 3 and PAUSE not in after and not V.scenery.intersection(after)
            if straight and match.start() > where:
                best, where = name, match.start()
    return best


def _partner(subjects: list[Subject]) -> int:
    """Whose relation it is: the last subject, or the one who holds that."""
    last = len(subjects) - 1
    while subjects[last].relation in ("hold", "play", "read", "wear"):
        to = subjects[last].to
        if to is None:
            break
        last = to
    return last


def _fitting(relation: str | None, first: Sprite, second: Sprite) -> str | None:
    """The relation, if these two can have it; a likelier one where the words are ambiguous."""
    animate = first.family in ("animal", "person", "face", "cat", "monkey", "family")
    label = second.label
    if relation in ("share", "made"):
        return relation
    if relation in ("ride", "atop") and RIDEABLE.search(label):
        return "ride" if animate else "atop"
    if relation == "inside":
        return "inside" if VESSEL.search(label) and animate else None
    if relation == "ride":
        return "atop" if second.family not in ("sky", "plant") else None
    if relation == "atop":
        return "atop" if not second.subgroup.startswith(("plant", "sky")) else None
    if relation in ("hold", "play", "read", "wear"):
        if not _portable(second) and label not in (
            "umbrella",
            "balloon",
            "kite",
            "red paper lantern",
            "broom",
            "rose",
            "leaf fluttering in wind",
        ):
            return None
        if second.subgroup == "clothing" and re.search(
            r"hat|cap|crown|glasses|goggles|helmet|scarf|headphone|helmet|mask", label
        ):
            return "wear"
        return relation if animate else None
    return relation


def style_named(style: str | None) -> str | None:
    """The look a word asks for: one of six, `storybook` for the plain one, None for no word or an unknown one."""
    if not style:
        return None
    text = sprites.plain(style.replace("-", " "))
    if text in ("storybook", "default", "plain", "none", "3d", "photo", "photographic", "cinematic"):
        return "storybook"
    return _scan(V.styles, text)
