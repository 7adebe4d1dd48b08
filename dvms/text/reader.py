# ruff: noqa: E501  (tables read better in long lines)
"""Understand a theme: who or what it is about, where, when, what happens. Pure functions of the text.

Word order tells who does what; which things and places words mean comes from the picture engine's dictionary, so that
what is written can be painted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dvms.text.lexicon import (
    ACTIONS,
    ADJECTIVES,
    CONCEPT_DOMAINS,
    CONCEPTS,
    CREATURES,
    DOERS,
    DOMAIN_PLACES,
    GERUND_NOUNS,
    HABITATS,
    KIN,
    NOT_GERUND,
    PEOPLE,
    PLACE_NAMES,
    PLACE_WORDS,
    PRONOUNS,
    STYLE_CLAUSE,
    TIME_WORDS,
    word_set,
)  # fmt: skip
from dvms.text.nouns import DETERMINERS, NOBODY, POSSESSIVES, Noun, article, noun

if TYPE_CHECKING:
    from dvms.image.storybook.words import Meaning, Subject

__all__ = ["Noun", "Theme", "article", "read", "tidy", "title"]

_JOINERS: Final = frozenset("\u200d\ufe0e\ufe0f")
_END: Final = "\0"  # where the words of an emoji end
_PREAMBLE: Final = re.compile(
    r"^\s*(please\s+)?((can|could|would) you\s+)?"
    r"((make|write|create|generate|compose|sing|draw|paint|show|give|tell|produce|do|i want|i would like|i'd like|imagine|render)\s+(me\s+|us\s+)?)?"
    r"((an?|the|some|my|our|one)\s+)?((\w+|lo-fi|hip-hop)[\s,]+){0,4}?"
    r"(song|songs|music ?video|video|clip|poem|verses?|lyrics?|story|tale|tune|ballad|lullaby|anthem|rap|track|ode|hymn|music|film|movie|scenes?|picture|image|shanty|"
    r"haikus?|sonnet|limerick|rhyme|jingle|elegy|psalm|couplet|((birthday|greeting|christmas|love)\s+)?(card|letter|note))"
    r"\s+(about|on|of|for|to|with|featuring|where|in which|called|named|set in)\s+",
    re.I,
)
_STYLE_TAIL: Final = re.compile(
    r"[,;.]\s*(in (the )?style of .*|(\w+[\s-]){0,3}(style|aesthetic|vibes?|mood|mode)|4k|8k|hd|highly detailed.*|digital art|"
    r"photo ?realistic|trending.*|masterpiece.*|\d+ ?(s|sec|seconds?)|" + STYLE_CLAUSE + r")\s*$",
    re.I,
)
_STYLE_HEAD: Final = re.compile(r"^" + STYLE_CLAUSE + r"[,;:.]\s*", re.I)
_PREPOSITIONS: Final = word_set(
    "in on at under over through across by near behind beneath above along into inside between with from to for among around beside "
    "toward towards past without after before during until below beyond against down up off underneath within onto amid atop about"
)
_WHERE: Final = word_set(
    "in on at under over through across by near behind beneath above along inside between among around beside below beyond past within "
    "underneath amid atop down up"
)
_STOPPERS: Final = word_set(
    "who that which whose where when while as is are was were has have had want wanted lives live lived dreams goes go went finds find found "
    "meets meet met learned falls fall fell loves loved can could will would tries try tried looks look looking gets get got becomes become "
    "became but because so if makes make made takes take took turns turn turned gives give gave comes come came sees saw knows knew"
)
_WISHES: Final = word_set("wants want wanted wishes longs tries learns learning dreaming hopes loves likes")
_ASKED: Final = word_set("how why when where what if")
_SMALL: Final = word_set("a an the and or of in on at by to with for from under over as but nor into")
_VERBS: Final = {
    (
        root[:-1] + "ies"
        if root.endswith("y") and root[-2] not in "aeiou"
        else root + ("es" if root.endswith(("sh", "ch", "s", "x")) else "s")
    ): gerund
    for gerund, root in ACTIONS.items()
}
_KIND_DOMAINS: Final = {
    "vehicle": "road", "food": "kitchen", "sky": "sky", "instrument": "stage", "feeling": "heart", "object": "heart", "building": "mount",
    "person": "heart", "place": "city", "water": "sea", "plant": "meadow",
}  # fmt: skip
_WHEN: Final = re.compile(
    r"(the )?(rainy |sunny |foggy |cold |warm |dark |summer |winter )*((mon|tues|wednes|thurs|fri|satur|sun)day )?(night|day|morning|evening|sunset|dawn|dusk|midnight|sunrise|noon|twilight|summer|winter|spring|autumn|afternoon|christmas|weekend|(mon|tues|wednes|thurs|fri|satur|sun)day)"
)


@dataclass(frozen=True, slots=True)
class Theme:
    """What a text is to be about. `text` is the theme itself, cleaned; `said` the same in the words it came in."""

    text: str
    subject: Noun
    other: Noun | None
    doing: str
    deed: str
    wish: str
    preposition: str
    place: str
    domain: str
    time: str
    concept: str
    language: str
    said: str = ""

    @property
    def where(self) -> str:
        """`in the snow`, `on the moon`."""
        return f"{self.preposition} {self.place}"

    @property
    def home(self) -> str:
        """The place for one who stays there: `through the forest` is `in the forest`."""
        stays = {
            "through": "in",
            "across": "by",
            "over": "near",
            "past": "near",
            "up": "on",
            "down": "at",
            "into": "in",
            "along": "by",
        }
        return f"{stays.get(self.preposition, self.preposition)} {self.place}"


def read(text: str) -> Theme:
    """Understand a theme. Any text gives one; what it does not say follows from what it does."""
    from dvms.image.storybook import languages, sprites, words

    clean = said = tidy(text)
    plain = sprites.plain(clean.replace("-", " "))
    language = languages.guess(plain)
    meaning = words.understand(clean)
    if language != "en":
        if re.search(r"\b(the|and|with|of|a)\b", plain) and not re.search(r"[^\x00-\x7f]", clean):
            language = "en"
        else:
            clean = _foreign(meaning, languages.to_english(clean.lower(), language)) or "a dreamer under the stars"
            meaning = words.understand(clean)
    labels = {item.word: item.sprite for item in meaning.subjects if not meaning.felt}
    names = _names(clean)
    head, doing, places, wish, around = _parts(clean)
    subject = noun(head, labels, names) if head else None
    if subject is not None and subject.head in ADJECTIVES:
        subject = None
    if subject is None and doing in DOERS:
        subject = noun([DOERS[doing]], labels, names)
    if subject is None and labels:
        subject = noun([next(iter(labels))], labels, names)
    if (
        subject is not None
        and subject.head in ("battle", "fight", "duel", "race", "friendship", "love", "war", "wedding")
        and places
        and places[0][0] == "between"
    ):
        pair = places.pop(0)[1]
        cut = pair.index("and") if "and" in pair else len(pair)
        subject = noun(pair[:cut], labels, names) or subject
        around.insert(0, pair[cut + 1 :])
    subject = subject or NOBODY
    others = [n for group in around if (n := noun(group, labels, names)) is not None]
    other = next(
        (n for n in others if n.head != subject.head and n.kind not in ("feeling", "place") and _is_known(n, labels)),
        None,
    )
    concept = _concept(clean.lower()) or next(
        (c for c in ("birthday", "lullaby", "christmas", "love") if _concept(text.lower()) == c), ""
    )
    domain, preposition, place = _where(places, meaning.place, subject, concept)
    time = next((name for name, pattern in TIME_WORDS if re.search(rf"\b(?:{pattern})\b", clean.lower())), "")
    if other is not None and other.head in place.split():
        other = None
    return Theme(
        clean,
        subject,
        other,
        doing,
        _deed(clean, doing) or _wished(clean),
        wish,
        preposition,
        place,
        domain,
        time or meaning.time or "",
        concept,
        language,
        said,
    )


def _is_known(thing: Noun, labels: Mapping[str, object]) -> bool:
    """True for what surely is a thing: the picture engine can paint it, or it has a kind or a name."""
    return thing.kind != "object" or thing.proper or any(word in labels for word in (thing.head, thing.long))


def _deed(text: str, doing: str) -> str:
    """What is done and to what, as in `playing saxophone`."""
    words = _tokens(text)
    root = ACTIONS.get(doing, "")
    at = next((i for i, w in enumerate(words) if w.lower() == doing or _VERBS.get(w.lower()) == doing), None)
    if not root or at is None:
        return doing
    end = next(
        (
            i
            for i in range(at + 1, len(words))
            if words[i].lower() in _PREPOSITIONS | _STOPPERS | {",", ";", ":", "and"}
        ),
        len(words),
    )
    return " ".join([doing, *words[at + 1 : min(end, at + 5)]])


def _wished(text: str) -> str:
    """What somebody learns or wants to do, as a doing that can be seen: `playing the violin`."""
    match = re.search(
        r"\b(?:learn(?:s|ing)?|wants?|wishes|tries|hopes|loves|likes|dreams?(?:ing)?)(?: of)? to (\w+)((?: \w+)*)", text
    )
    gerund = {root: name for name, root in ACTIONS.items()}.get(match[1]) if match else None
    if match is None or gerund is None:
        return ""
    rest = match[2].split()
    end = next((i for i, w in enumerate(rest) if w.lower() in _PREPOSITIONS | _STOPPERS | {"and"}), len(rest))
    return " ".join([gerund, *rest[: min(end, 4)]])


def _concept(text: str) -> str:
    return next((name for name, pattern in CONCEPTS if re.search(rf"\b(?:{pattern})\b", text)), "")


def tidy(text: str) -> str:
    """The theme itself: without `write me a song about`, and without words about style before and after it."""
    spoken = aloud(re.sub(r"<[^<>]{1,200}>", " ", text))
    flat = " ".join(spoken.replace("\n", ". ").split()).strip(" .!?\"'“”")
    flat = re.sub(r"\s*[.!?]+\s*\.\s*", ". ", flat)
    if len(flat) > 240:
        cut = flat[:240]
        flat = cut.rsplit(". ", 1)[0] if ". " in cut[60:] else cut.rsplit(" ", 1)[0]
    stripped = _PREAMBLE.sub("", flat, count=1)
    if not stripped.strip():
        stripped = flat
    stripped = _STYLE_HEAD.sub("", stripped, count=1) or stripped
    for _ in range(3):
        stripped = _STYLE_TAIL.sub("", stripped)
    stripped = " ".join(word[:30] for word in stripped.strip(" ,;.!?\"'“”").split())
    return stripped if re.search(r"[^\W\d_]{2}", stripped) else "a dreamer under the stars"


def aloud(text: str) -> str:
    """The text with every emoji as the words it stands for: a fox and a moon, not two pictures."""
    said: list[str] = []
    for sign in text.replace("❤", " love "):
        if unicodedata.category(sign) != "So" and sign not in _JOINERS:
            said.append(sign)
            continue
        name = re.sub(r"\b(face|heavy|black|white|symbol|sign|regional|indicator|letter|with)\b", " ",
                      unicodedata.name(sign, "").lower())  # fmt: skip
        if name.strip() and sign not in _JOINERS and len(name.strip()) > 1:
            said.append(f" {'and ' if said and said[-1].endswith(_END) else ''}{' '.join(name.split())}{_END}")
    return "".join(said).replace(_END, "")


def title(theme: Theme) -> str:
    """A title of a few words, from the theme's own first clause."""
    clause = re.split(r"[,;:.!?]", theme.text)[0]
    words = _tokens(clause)
    if words and words[0].lower() in ("a", "an"):
        words = [*(["The"] if {"who", "that"} & set(words) else []), *words[1:]]
    if not 0 < len(words) <= 7:
        words = _tokens(f"{theme.subject.the_long} {theme.where}")
        if len(words) > 7:
            words = _tokens(theme.subject.the_long)
    made = [w if w[:1].isupper() or (i and w.lower() in _SMALL) else w[:1].upper() + w[1:] for i, w in enumerate(words)]
    return " ".join(made)[:100]


def _foreign(meaning: Meaning, words: str) -> str:
    """An English sketch of a prompt in another language, from what the dictionary knew of it: `words`."""
    if meaning.felt:
        return words
    found, place = list(meaning.subjects), DOMAIN_PLACES.get(meaning.place or "", "")
    alive = [s for s in found if s.sprite.subgroup.startswith(("animal", "person", "face", "cat", "monkey"))]
    if not found:
        return f"a dreamer {place}" if place else ""
    first = (alive or found)[0]
    line = _indefinite(first)
    joined = [s for s in found if s is not first and (s.relation in _JOINED_BY or s in alive)][:1]
    for second in joined:
        line += f" {_JOINED_BY.get(second.relation or '', 'and')} {_indefinite(second)}"
    line = f"{line} {place}".strip()
    return line + (f" at {meaning.time}" if meaning.time in ("night", "sunset", "dawn") else "")


_JOINED_BY: Final = {"hold": "with", "play": "playing", "read": "reading", "ride": "riding", "wear": "wearing"}


def _indefinite(subject: Subject) -> str:
    words = f"{subject.colour or ''} {subject.sprite.label.replace(' face', '')}".strip()
    number = {2: "two", 3: "three", 4: "four", 5: "five"}.get(subject.count)
    return f"{number} {words}s" if number and not words.endswith("s") else f"{article(words)} {words}"


def _tokens(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’][^\W\d_]+)*(?:-[^\W\d_]+)*'?|[,;:]", text)


def _names(text: str) -> frozenset[str]:
    """Words written like names: capitals inside a text that is not written in capitals throughout."""
    words = _tokens(text)
    capital = [w for w in words if w[:1].isupper() and not (w.isupper() and len(w) > 1)]
    if len(capital) > len(words) * 0.6 and len(words) > 1:
        return frozenset()
    first = words[0] if words else ""
    follows = words[1].lower() if len(words) > 1 else ","
    alone = (
        {first}
        if first in capital and (follows in (",", "and", "is") or first.endswith("'s")) and len(words) > 2
        else set()
    )
    return frozenset(w for w in capital if w != first) | frozenset(alone)


def _is_gerund(word: str, following: str | None, *, first: bool) -> bool:
    low = word.lower()
    if not low.endswith("ing") or low in NOT_GERUND or len(low) < 5:
        return False
    if low in GERUND_NOUNS and (first or following is None):
        return False
    return not first or (following is not None and following.lower() in DETERMINERS | _PREPOSITIONS)


def _is_verb(head: list[str], low: str, following: str | None) -> bool:
    """True for a word that says what the thing named before it does: "my dog died", "an astronaut misses home"."""
    from dvms.image.storybook import sprites
    from dvms.image.storybook.vocabulary import ALIASES
    from dvms.image.storybook.words import singular

    if not head or head[-1].lower() in DETERMINERS | POSSESSIVES:
        return False
    before = head[-1].lower()
    if before not in PEOPLE | KIN | CREATURES and before not in ALIASES and sprites.named(before) is None:
        return False
    if re.search(r"[^e]ed$", low) or low in ("left", "lost", "sang", "ran", "flew", "told", "said", "thinks"):
        return True
    one = singular(low)
    known = one in PEOPLE | KIN | CREATURES or one in ALIASES or sprites.named(one) is not None
    return low.endswith("s") and not low.endswith(("ss", "'s")) and following is not None and not known


def _parts(text: str) -> tuple[list[str], str, list[tuple[str, list[str]]], str, list[list[str]]]:
    """(who, doing what, [(preposition, where)], what they want to do, with whom or what) as words."""
    head: list[str] = []
    around: list[list[str]] = []
    places: list[tuple[str, list[str]]] = []
    doing, wish = "", ""
    state, current = "head", head
    words = _tokens(text)
    if words and words[0].lower() in _ASKED:
        words = words[1:]
    if words and words[0].lower() in PRONOUNS:  # "I can't sleep": whoever sings it
        state, current = "other", []
    i = 0
    while i < len(words):
        word = words[i]
        low = word.lower()
        following = words[i + 1] if i + 1 < len(words) else None
        after = following.lower() if following is not None else ""
        if low in _WISHES and after == "to":
            rest = words[i + 2 : i + 6]
            ends = _PREPOSITIONS | {",", "and", "but"} | (set() if rest[:1] == ["be"] else {"a", "the"})
            cut = next((k for k, w in enumerate(rest) if w.lower() in ends), len(rest))
            wish = " ".join(rest[:cut]).lower()
            state, current = "other", []
            i += 2 + cut
            continue
        if low in (",", ";", ":"):
            state, current = "loose", []
        elif low in ("and", "&") and state in ("head", "object") and current:
            current = []
            around.append(current)
            state = "other"
        elif low in _PREPOSITIONS:
            current = []
            if low in ("with", "for", "to", "from", "without", "about"):
                around.append(current)
            else:
                places.append((low, current))
            state = "phrase"
        elif (
            low in _VERBS
            and state == "head"
            and len(head) > (head[0].lower() in DETERMINERS if head else 0)
            and (not after or after in DETERMINERS | POSSESSIVES | _PREPOSITIONS)
        ):
            doing, current, state = doing or _VERBS[low], [], "object"
            around.append(current)
        elif (low in _STOPPERS and (state != "head" or head)) or (state == "head" and _is_verb(head, low, following)):
            state, current = "other", []
            if low not in ("who", "that", "which", "whose", "as", "while"):
                around.append(current)
        elif (state == "head" or (state == "other" and not doing)) and _is_gerund(word, following, first=not head):
            doing = doing or low
            current, state = [], "object"
            around.append(current)
        else:
            current.append(word)
            if state == "loose" and not head:
                head.append(word)
        i += 1
    return head, doing if doing in ACTIONS else "", [(p, w) for p, w in places if w], wish, [w for w in around if w]


def _where(places: list[tuple[str, list[str]]], known: str | None, subject: Noun, concept: str) -> tuple[str, str, str]:
    """(domain, preposition, place with its article)."""
    for preposition, words in places:
        if preposition not in _WHERE:
            continue
        kept = [
            w if w[:1].isupper() and w.lower() not in DETERMINERS else w.lower() for w in words if w not in (",", ";")
        ]
        phrase = " ".join(kept)
        low = phrase.lower()
        if _WHEN.fullmatch(re.sub(r"^(an?|the) ", "", low)) or not kept:
            continue
        if (
            not (re.search(rf"\b(?:{PLACE_WORDS})\b", low) or set(low.split()) & PLACE_NAMES)
            and _painted_place(phrase) is None
        ):
            continue
        phrase = _definite(phrase)
        domain = (
            _painted_place(f"{preposition} {phrase}")
            or ("city" if set(low.split()) & PLACE_NAMES else known)
            or ("city" if subject.kind == "person" else "meadow")
        )
        return domain if domain in DOMAIN_PLACES else "heart", preposition, phrase
    if subject.kind == "place":
        return "city", "in", subject.head
    home = next(
        (name for name, things in HABITATS.items() if subject.head.split()[-1] in things or subject.head in things),
        None,
    )
    domain = known or home or CONCEPT_DOMAINS.get(concept) or _KIND_DOMAINS.get(subject.kind, "meadow")
    domain = domain if domain in DOMAIN_PLACES else "heart"
    preposition, _, place = DOMAIN_PLACES[domain].partition(" ")
    return domain, preposition, place


def _painted_place(phrase: str) -> str | None:
    """The place of the picture engine that these words name; None where they name none, but only a feeling."""
    from dvms.image.storybook.words import understand

    meaning = understand(phrase)
    return None if meaning.felt else meaning.place


def _definite(phrase: str) -> str:
    words = phrase.split()
    if "of" in words[1:]:  # "top of a volcano"
        at = words.index("of", 1)
        words = [*words[: at + 1], *_definite(" ".join(words[at + 1 :])).split()] if at + 1 < len(words) else words[:at]
    words = words[:6]
    low = words[0].lower()
    if low in ("a", "an", "some"):
        return " ".join(["the", *words[1:]])
    bare = (
        low in ("the", "space", "outer", "orbit", "heaven", *POSSESSIVES)
        or words[-1][:1].isupper()
        or low in PLACE_NAMES
    )
    if bare or re.search(r"['’]s$", words[0]):
        return " ".join(words)
    return " ".join(["the", *words])
