"""Hand-made word lists of the Storybook engine, read from `vocabulary.toml` beside this file.

The file is data of this package, so a fault in it is a fault of ours: loading checks the shape and raises pydantic's
error with the place. Sprite names in it are CLDR labels; a test looks every one of them up.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

FILE = Path(__file__).with_name("vocabulary.toml")


def _joined(text: object) -> object:
    return text.replace("\n", "") if isinstance(text, str) else text


def _split(text: object) -> object:
    return text.split() if isinstance(text, str) else text


def _phrases(text: object) -> object:
    return [" ".join(part.split()) for part in text.split("|")] if isinstance(text, str) else text


Pattern = Annotated[str, BeforeValidator(_joined)]
Words = Annotated[frozenset[str], BeforeValidator(_split)]
Phrases = Annotated[tuple[str, ...], BeforeValidator(_phrases)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Named(_Table):
    """A name of the engine and the words for it."""

    name: str
    words: Pattern


class Rephrasing(_Table):
    """Words and what the engine reads in their place; groups as in `re.sub`."""

    words: Pattern
    instead: str


class Feeling(_Table):
    """A picture for what can't be seen: where, in which light and air, and who is in it (said as a prompt)."""

    words: Pattern
    scene: str
    small: bool = True


class Vocabulary(_Table):
    """The whole file."""

    nothing: Phrases
    scenery: Words
    abstract: Words
    irregular: Words
    filled: Words
    single: Words
    stop: Words
    portable: Pattern
    aliases: dict[str, Phrases]
    places: tuple[Named, ...]
    times: tuple[Named, ...]
    styles: tuple[Named, ...]
    framings: tuple[Named, ...]
    relations: tuple[Named, ...]
    rephrased: tuple[Rephrasing, ...]
    feelings: tuple[Feeling, ...]
    features: dict[str, Pattern]
    weather: dict[str, Pattern]
    poses: dict[str, Pattern]
    numbers: dict[str, int]
    colours: dict[str, tuple[float, float, float]]
    natural: dict[str, Words]
    sizes: dict[str, float]
    tools_of_trade: dict[str, tuple[str, str]]


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary.model_validate(tomllib.loads(FILE.read_text(encoding="utf-8")))


@cache
def aliases() -> dict[str, str | None]:
    """What people say -> the label of the sprite they mean; None where there is nothing to draw."""
    table: dict[str, str | None] = {word: label for label, words in vocabulary().aliases.items() for word in words}
    return table | dict.fromkeys(vocabulary().nothing)


VOCABULARY = vocabulary()
ALIASES = aliases()
