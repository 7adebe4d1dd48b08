# ruff: noqa: E501  (tables read better in long lines)
"""A short illustrated tale: six pages of two or three sentences, each with a picture to paint."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from dvms.text.lexicon import word_set
from dvms.text.reader import Theme, title
from dvms.text.scenes import COMPANIONS, MOTIONS, shots
from dvms.text.writer import Piece, mood

_QUESTS: Final = {
    "snow": ("the warmest light in the north", "a lantern that never goes out"), "sea": ("the island that is on no map", "a blue glass bottle with a letter in it"),
    "beach": ("the song inside the biggest shell", "a shell that hummed"), "lake": ("the place where the river begins", "a spring as clear as glass"),
    "deep": ("the pearl that glows in the dark", "a pearl the size of the moon"), "forest": ("the tree where all stories start", "a tree hung with lights"),
    "city": ("the highest roof in town", "a roof garden full of flowers"), "space": ("the star that had stopped shining", "a small star, only asleep"),
    "moon": ("the far side of the moon", "a garden of silver flowers"), "desert": ("the well that sings at noon", "a well with the coolest water in the world"),
    "mount": ("the echo that had got lost", "the echo, asleep behind a rock"), "meadow": ("the end of the rainbow", "a field of flowers in every colour"),
    "sky": ("the cloud that rains music", "a cloud that hummed like a choir"), "room": ("a story nobody had told yet", "an empty book and a golden pen"),
    "library": ("the book without an ending", "the last page, folded into a bird"), "kitchen": ("the taste of the perfect day", "a recipe with only one line: share it"),
    "stage": ("the note that nobody could play", "the note, waiting in the quiet"), "road": ("the place where all roads meet", "a small inn with its door wide open"),
    "heart": ("a reason to smile on a grey day", "a friend who had been looking for the same thing"),
}  # fmt: skip
_TROUBLE: Final = {
    "snow": "the wind rose, and snow covered every path", "sea": "a storm came up, and the waves grew as tall as houses",
    "beach": "the tide came in and washed the footprints away", "lake": "fog lay down on the water, and there was no shore to be seen",
    "deep": "the light faded, and the current pulled the wrong way", "forest": "the path split in three, and then in nine",
    "city": "the lights went out in every street at once", "space": "a cloud of dust hid all the stars", "moon": "a shower of pebbles fell from the black sky",
    "desert": "the sand began to blow, and the sun was only a pale coin", "mount": "stones came rolling down and blocked the way",
    "meadow": "thunder rolled over the hills, and rain fell in ropes", "sky": "the clouds closed like a curtain", "room": "the lamp went out with a sigh",
    "library": "the shelves moved when nobody looked", "kitchen": "the last of the sugar was gone", "stage": "a string broke with a bang",
    "road": "the bridge ahead was gone", "heart": "the day grew so grey that even the clocks felt tired",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    text: str
    prompt: str
    motion: str


@dataclass(frozen=True, slots=True)
class Story:
    title: str
    style: str
    mood: str
    pages: tuple[Page, ...]

    @property
    def text(self) -> str:
        return "\n\n".join(page.text for page in self.pages)


def tell(piece: Piece, seed: int) -> Story:
    """The tale of a theme: a wish, a way, a trouble, a helper, a find, and home. The same seed tells it the same way."""
    theme = piece.theme
    rng = random.Random(f"story:{theme.text}:{seed}")
    s, it = theme.subject, theme.subject.it
    its, was = s.its, "were" if s.plural or it == "they" else "was"
    there = "were" if s.plural else "was"
    if not s.alive:
        return _found(piece, theme, rng, seed)
    quest, found = _QUESTS[theme.domain]
    if theme.wish:
        quest, found = f"a way to {theme.wish}", f"that to {theme.wish} you only have to begin"
    helpers = [c for c in COMPANIONS[theme.domain] if s.head.split()[-1] not in c and _living(c)]
    helper = (
        theme.other.a
        if theme.other is not None and theme.other.alive
        else rng.choice(helpers or ["an old owl", "a small mouse", "a wandering fiddler"])
    )
    helper = helper.split(" on ")[0]
    the_helper = (
        helper
        if helper.split()[0] in ("his", "her", "my", "your", "its", "their")
        else "the " + helper.split(" ", 1)[-1]
    )
    scene = [shot.prompt for shot in shots(piece, seed, 8)]
    one = (
        f"Once there {there} {s.a} who lived {theme.home}."
        if not s.proper and not s.owner
        else f"Once upon a time, {s.the} lived {theme.home}."
    )
    habit = (
        f"Every day {it} went out {theme.doing} until the light was gone."
        if theme.doing
        else f"{it.capitalize()} knew every corner of it, and still {it} dreamed of something more."
    )
    texts = [
        f"{one} {habit} But more than anything {it} wanted to find {quest}.",
        f"So one morning {s.the} packed a small bag, took a deep breath, and set out. {rng.choice(['The world was bigger than it looked from home.', 'Nobody waved, except the wind.', 'The first step was the longest.'])}",
        f"For a while all went well. Then {_TROUBLE[theme.domain]}. {s.the[:1].upper() + s.the[1:]} sat down and did not know what to do.",
        f"Just then {helper} came by. “You look lost,” said {the_helper}. “So am I. Let us be lost together, that is half as bad.” And it was.",
        f"They went on side by side, and where they least expected it they found {found}. {s.the[:1].upper() + s.the[1:]} laughed out loud."
        if not theme.wish
        else f"Side by side they tried, and fell, and tried again, and at last {s.the} learned {found}. {s.the[:1].upper() + s.the[1:]} laughed out loud.",
        f"When {s.the} came home, everything was as it had been, only {it} {was} not. And some evenings, if you listen {theme.home}, you can still hear {its} laughter.",
    ]
    pictures = [scene[0], scene[2], scene[1], f"{s.a} and {helper} {theme.home}", scene[3], scene[7]]
    return Story(title(theme), piece.style, mood(theme), _pages(texts, pictures, rng))


def _found(piece: Piece, theme: Theme, rng: random.Random, seed: int) -> Story:
    """The tale of a thing: somebody finds out what it is good for."""
    s = theme.subject
    child, she = rng.choice((("a girl called Mira", "she"), ("a boy called Timo", "he")))
    name = child.split()[-1]
    her = "her" if she == "she" else "his"
    scene = [shot.prompt for shot in shots(piece, seed, 8)]
    thing, was = s.the, "were" if s.plural else "was"
    them = "them" if s.plural else "it"
    texts = [
        f"In a town not far from here lived {child}. Every evening {she} heard people talk about {thing}, but nobody could tell {('her' if she == 'she' else 'him')} what {'they' if s.plural else 'it'} really {was}.",
        f"“Then I will find out myself,” said {name}, and set off before breakfast, with an apple in each pocket.",
        f"{name} asked the baker, who shrugged, and the captain, who pointed at the horizon. Then {_TROUBLE[theme.domain]}.",
        f"Under an old tree sat a woman with silver hair. “You cannot look for {thing},” she said. “You can only stop, and be quiet, and see what is there.”",
        f"So {name} stopped. It grew very quiet. And there, {theme.home}, {was} {thing}, plain as day, as if {'they' if s.plural else 'it'} had been waiting all along.",
        f"{name} told nobody the secret, only smiled. But ever since, when people in that town speak of {thing}, they lower their voices and look up. And {name} is glad to have found {them} with {her} own eyes.",
    ]
    pictures = [
        "a child in a small town at sunset",
        "a child walking on a road between hills at sunrise",
        scene[1],
        "an old woman under a tree in a meadow",
        scene[0],
        scene[7],
    ]
    return Story(title(theme), piece.style, mood(theme), _pages(texts, pictures, rng))


def _pages(texts: list[str], pictures: list[str], rng: random.Random) -> tuple[Page, ...]:
    offset = rng.randrange(len(MOTIONS))
    return tuple(
        Page(text, picture, MOTIONS[(i + offset) % len(MOTIONS)])
        for i, (text, picture) in enumerate(zip(texts, pictures, strict=True))
    )


def _living(companion: str) -> bool:
    alive = word_set(
        "owl reindeer bear dolphin whale crab swan frog turtle octopus deer squirrel cat camel lizard eagle goat rabbit horse alien astronaut"
    )
    return companion.startswith(("a ", "an ")) and any(word in companion.split() for word in alive)
