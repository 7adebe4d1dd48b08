"""A first draft of a recipe from a sentence: what is wanted is searched back, type by type, to what is given.

The sentence is read for three things: what comes out (film, song, picture, ...), what goes in (words, a recording, a
document), and which kinds of work it names. Then a search over the kinds of jobs that somebody sells finds the cheapest
graph that gives the wanted type, begins with what is given, and has all the named work in it. No language model is
needed; the draft fits together or there is none. A person reads it before it is published.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from market.kinds import (
    JOB_ANIMATION,
    JOB_EXTRACTION,
    JOB_HUMAN,
    JOB_IMAGE,
    JOB_KINDS,
    JOB_MUSIC,
    JOB_SPEECH,
    JOB_SUMMARY,
    JOB_TEXT,
    JOB_TRANSLATION,
    JOB_VIDEO,
)
from orchestrator.errors import DraftError
from orchestrator.recipe import Recipe

TEXT: Final = "text/plain"
AUDIO, IMAGE, VIDEO, FILM, DOCUMENT = "audio/*", "image/*", "video/*", "video/mp4", "application/pdf"
UNASKED: Final = 1_000_000  # msat: a step that nobody named must be worth this much in price
ROOM: Final = 2  # a step may cost so many times what it costs now

# Kind -> the types it makes something of, and what it makes. A film may have sound or not, from pictures or clips.
WAYS: Final[tuple[tuple[int, tuple[str, ...], str], ...]] = (
    (JOB_VIDEO, (VIDEO, AUDIO), FILM),
    (JOB_VIDEO, (IMAGE, AUDIO), FILM),
    (JOB_VIDEO, (VIDEO,), FILM),
    (JOB_VIDEO, (IMAGE,), FILM),
    (JOB_ANIMATION, (IMAGE,), VIDEO),
    (JOB_IMAGE, (TEXT,), IMAGE),
    (JOB_SPEECH, (TEXT,), AUDIO),
    (JOB_MUSIC, (TEXT,), AUDIO),
    (JOB_TEXT, (TEXT,), TEXT),
    (JOB_HUMAN, (TEXT,), TEXT),
    (JOB_TRANSLATION, (TEXT,), TEXT),
    (JOB_SUMMARY, (TEXT,), TEXT),
    (JOB_EXTRACTION, (AUDIO,), TEXT),
    (JOB_EXTRACTION, (DOCUMENT,), TEXT),
)
# What the words of a wish ask for. The first word decides where two would.
WORK: Final[tuple[tuple[int, str], ...]] = (
    (JOB_EXTRACTION, r"transcri\w*|write down|podcast|recording|interview|pdf|scan"),
    (JOB_SUMMARY, r"summar\w*|sum up|digest|shorten\w*|gist"),
    (JOB_TRANSLATION, r"translat\w*"),
    (JOB_TEXT, r"stor(?:y|ies)|tale|poem|lyrics|script|article|essay|write(?! down)|written|author"),
    (JOB_HUMAN, r"(?:edit|correct|proofread|revis|improv|rewrit)\w*"),
    (JOB_IMAGE, r"illustrat\w*|picture|image|paint\w*|draw\w*|cover|poster|storybook"),
    (JOB_ANIMATION, r"animat\w*|moving|moves|clips?"),
    (JOB_SPEECH, r"read aloud|read it|reads?|spoken|speech|voice|narrat\w*|audiobook|aloud"),
    (JOB_MUSIC, r"songs?|music|sung|sings?|singing|melody"),
    (JOB_VIDEO, r"videos?|films?|movies?|trailer"),
)
PEOPLE: Final = r"\b(?:person|people|human|somebody|someone|editor|by hand)\b"
APPROVES: Final = r"\b(?:approv|check|review|sign)\w*"
PICKS: Final = r"\b(?:pick|choos|chose|select)\w*|\bbest of\b"
OUTPUTS: Final = (
    (FILM, JOB_VIDEO),
    (VIDEO, JOB_ANIMATION),
    (AUDIO, JOB_MUSIC),
    (AUDIO, JOB_SPEECH),
    (IMAGE, JOB_IMAGE),
)
LANGUAGES: Final = {
    "english": "en", "german": "de", "french": "fr", "spanish": "es", "portuguese": "pt", "italian": "it",
    "dutch": "nl", "polish": "pl", "japanese": "ja", "chinese": "zh",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sentence asks for: types in and out, kinds of work in the order of the words, and what people judge."""

    sentence: str
    given: str
    gives: str
    work: tuple[int, ...]
    language: str = ""
    approve: bool = False
    pick: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """A step of the plan: a kind of job and what it works on; None is what is given."""

    kind: int
    gives: str
    of: tuple["Made | None", ...]

    def walk(self) -> Iterator["Made"]:
        """The steps before it, then itself."""
        for part in self.of:
            if part is not None:
                yield from part.walk()
        yield self


def understand(sentence: str, *, gives: str = "") -> Wanted:
    """Read a wish. `gives` overrides what it says of the result. Raises DraftError where it says nothing."""
    words = sentence.lower()
    people = re.search(PEOPLE, words) is not None
    found = [
        (match.start(), kind)
        for kind, pattern in WORK
        if (match := re.search(rf"\b(?:{pattern})\b", words)) and (kind != JOB_HUMAN or people)
    ]
    work = tuple(kind for _, kind in sorted(found))
    given = TEXT
    if JOB_EXTRACTION in work:
        given = DOCUMENT if re.search(r"\b(?:pdf|scan|document)\b", words) else AUDIO
    out = gives or next((mime for mime, kind in OUTPUTS if kind in work), TEXT)
    if not work and not gives:
        raise DraftError("say what should come out (a film, a song, a picture, a text), and what is done for it")
    language = next((code for name, code in LANGUAGES.items() if re.search(rf"\b{name}\b", words)), "")
    approve = people and re.search(APPROVES, words) is not None
    return Wanted(sentence, given, out, work, language, approve, people and re.search(PICKS, words) is not None)


def plan(wanted: Wanted, prices: Mapping[int, int]) -> Made:
    """The cheapest graph over the kinds that are sold (`prices`, msat). Raises DraftError with what is missing."""
    missing = [kind for kind in wanted.work if kind not in prices]
    if missing:
        names = ", ".join(f"{JOB_KINDS[kind].title} ({kind})" for kind in missing)
        raise DraftError(f"nobody sells this here now: {names}")
    found = [made for made in _ways(wanted, wanted.gives, frozenset(prices)) if made is not None]
    whole = [made for made in found if {step.kind for step in made.walk()} >= set(wanted.work)]
    if not whole:
        sold = ", ".join(map(str, sorted(prices)))
        raise DraftError(f"from {wanted.given} to {wanted.gives} with all of that: no way over what is sold ({sold})")

    def cost(made: Made) -> tuple[int, int]:
        steps = set(made.walk())
        unasked = sum(UNASKED for step in steps if step.kind not in wanted.work)
        return sum(prices[step.kind] for step in steps) + unasked, len(steps)

    return min(whole, key=cost)


def _ways(wanted: Wanted, goal: str, sold: frozenset[int]) -> Iterator[Made | None]:
    """Every way to the goal. Texts come by one chain, in the order of the words, so that all steps share it."""
    if goal == TEXT:
        yield from _texts(wanted, sold)
        return
    if _fits(wanted.given, goal):
        yield None
    for kind, needs, gives in WAYS:
        if kind in sold and _fits(gives, goal):
            for parts in _each(wanted, needs, sold - {kind}):
                yield Made(kind, gives, parts)


def _each(wanted: Wanted, needs: tuple[str, ...], sold: frozenset[int]) -> Iterator[tuple[Made | None, ...]]:
    if not needs:
        yield ()
        return
    for first in _ways(wanted, needs[0], sold):
        for rest in _each(wanted, needs[1:], sold):
            yield (first, *rest)


def _texts(wanted: Wanted, sold: frozenset[int]) -> Iterator[Made | None]:
    chain: Made | None = None
    order = [kind for kind in wanted.work if (kind, (TEXT,), TEXT) in WAYS or kind == JOB_EXTRACTION]
    if JOB_TEXT in order:  # what is to be edited or translated must be written first
        order.sort(key=lambda kind: kind != JOB_TEXT)
    if wanted.given != TEXT:
        order = [JOB_EXTRACTION, *(kind for kind in order if kind != JOB_EXTRACTION)]
    for kind in order:
        if kind not in sold:
            return
        chain = Made(kind, TEXT, (chain,))
    yield chain


def _fits(gives: str, goal: str) -> bool:
    return gives == goal or (goal.endswith("/*") and gives.startswith(goal[:-1]))


# --- the document ---------------------------------------------------------------------------------------------------

_NAMES: Final = {
    JOB_VIDEO: "film", JOB_ANIMATION: "clip", JOB_IMAGE: "picture", JOB_SPEECH: "voice", JOB_MUSIC: "song",
    JOB_TEXT: "story", JOB_HUMAN: "edited", JOB_TRANSLATION: "translation", JOB_SUMMARY: "summary",
    JOB_EXTRACTION: "transcript",
}  # fmt: skip
_STORY: Final[Mapping[str, Any]] = {
    "type": "object", "required": ["title", "pages", "text"],
    "properties": {
        "title": {"type": "string", "maxLength": 200}, "text": {"type": "string", "minLength": 10},
        "pages": {"type": "array", "minItems": 1, "maxItems": 16, "items": {
            "type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string", "maxLength": 2000}},
        }},
    },
}  # fmt: skip
_SECONDS: Final = {JOB_HUMAN: 7200, JOB_VIDEO: 300, JOB_MUSIC: 300, JOB_SPEECH: 300}
_PERSON_MSAT: Final = 2_000_000


def document(wanted: Wanted, made: Made, prices: Mapping[int, int], *, name: str) -> dict[str, Any]:
    """The plan as a recipe's JSON, checked. Raises RecipeError if it does not fit together (a fault of ours)."""
    draft = _Draft(wanted, prices, paged=_paged(made))
    for step in made.walk():
        draft.add(step)
    output = _NAMES[made.kind]
    if wanted.approve:
        ask = "Is this good enough to be delivered? Answer yes or no, and why"
        draft.judge(output, {"ask": ask, "form": "yes-no", "seconds": 3600})
    if wanted.pick and "picture" in draft.steps and "each" not in draft.steps["picture"]:
        draft.steps["picture"] |= {"buy": 2, "pick": "best"}
        ask = "Which picture is better? Name both, the better one first"
        draft.judge("picture", {"ask": ask, "form": "rank", "seconds": 3600})
    seconds = 600 + sum(step.get("seconds", 300) * step.get("tries", 2) for step in draft.steps.values())
    judged = sum(step.get("gate", {}).get("judge", {}).get("seconds", 0) for step in draft.steps.values())
    words = wanted.sentence.strip().rstrip(".")
    whole = {
        "recipe": 1, "d": name, "title": words[:1].upper() + words[1:119], "about": f"Drafted from: {words}"[:1000],
        "inputs": draft.inputs, "steps": draft.steps,
        "output": f"${output}", "price": {"policy": "cost-plus", "margin": 0.25}, "seconds": seconds + judged,
    }  # fmt: skip
    Recipe.parse(whole)
    return whole


def story_schema() -> dict[str, Any]:
    """The JSON Schema of a story in pages (kind 5050 with `format` story)."""
    return dict(_STORY)


def _paged(made: Made) -> bool:
    """A film of a written story shows a picture for each of its pages."""
    kinds = {step.kind for step in made.walk()}
    return {JOB_VIDEO, JOB_TEXT, JOB_IMAGE} <= kinds


class _Draft:
    """Collects steps by name; equal steps of the plan are one step of the recipe."""

    def __init__(self, wanted: Wanted, prices: Mapping[int, int], *, paged: bool) -> None:
        self.wanted, self.prices, self.paged = wanted, prices, paged
        self.steps: dict[str, dict[str, Any]] = {}
        if wanted.given == TEXT:
            self.inputs: dict[str, Any] = {
                "prompt": {"type": "string", "minLength": 3, "maxLength": 2000, "description": "what it is about"}
            }
        else:
            what = "recording" if wanted.given == AUDIO else "document"
            self.inputs = {
                "source": {
                    "type": "string",
                    "format": "uri",
                    "maxLength": 2000,
                    "description": f"address of the {what}",
                }
            }

    def judge(self, step: str, judge: dict[str, Any]) -> None:
        self.steps[step].setdefault("gate", {})["judge"] = {"max_msat": _PERSON_MSAT, **judge}

    def add(self, made: Made) -> None:
        name = _NAMES[made.kind]
        if name in self.steps:
            return
        step: dict[str, Any] = {"kind": made.kind, "i": self._inputs(made), "out": {"mime": made.gives}}
        if made.kind == JOB_HUMAN:
            step["i"].append([f"Please do this: {self.wanted.sentence.strip()[:400]}", "text"])
            step |= {
                "param": {"title": "Edit this text: hand in the whole of it"},
                "instead": step["i"][0][0],
                "tries": 2,
            }
        elif made.kind == JOB_TRANSLATION:
            step["param"] = {"language": self.wanted.language or "en"}
        elif made.kind == JOB_TEXT and self.paged:
            shape = {"mime": "application/json", "schema": story_schema()}
            step |= {"param": {"format": "story", "shots": 4}, "out": shape}
        elif made.kind == JOB_VIDEO:
            step["param"] = {"captions": "none"}
            step["gate"] = {"sound": True} if len(made.of) > 1 else {"silent": True}
        elif made.kind == JOB_ANIMATION:
            step["gate"] = {"silent": True}
        if self.paged and made.kind == JOB_IMAGE:
            step |= {"each": "$story.pages", "most": 4, "i": [["$each.prompt", "text"]]}
        elif self.paged and made.kind == JOB_ANIMATION:
            step |= {"each": "$picture", "most": 4, "i": [["$each", "url"]]}
        cap = _PERSON_MSAT if made.kind == JOB_HUMAN else max(20_000, ROOM * self.prices[made.kind])
        self.steps[name] = {**step, "max_msat": cap, "seconds": _SECONDS.get(made.kind, 240)}

    def _inputs(self, made: Made) -> list[list[str]]:
        entries = []
        for part in made.of:
            gives = part.gives if part is not None else self.wanted.given
            if part is None:
                name = "$inputs.prompt" if gives == TEXT else "$inputs.source"
            else:
                name = f"${_NAMES[part.kind]}{'.text' if part.kind == JOB_TEXT and self.paged else ''}"
            marker = ["audio"] if gives == AUDIO and made.kind == JOB_VIDEO else []
            entries.append([name, "text" if gives == TEXT else "url", *marker])
        return entries
