# ruff: noqa: E501  (tables read better in long lines)
"""Shots of a film about a theme: what the camera sees, in words a picture engine can paint, one shot unlike the next."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dvms.text.lexicon import HE, KIN, SHE
from dvms.text.nouns import NOBODY
from dvms.text.reader import Noun, Theme, article
from dvms.text.writer import Piece

MOTIONS: Final = ("push in", "pan right", "pull back", "pan left", "rise", "drift")

# What may be met in a place: things that can be painted, and the place in words that paint it.
COMPANIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "snow": (
        "an owl on a pine tree",
        "a snowman",
        "a reindeer",
        "a wooden cabin with lit windows",
        "a polar bear",
        "a sled",
    ),
    "sea": ("a sailing boat", "a lighthouse", "a dolphin", "a whale", "seagulls", "an island with palm trees"),
    "beach": ("a crab", "a sandcastle", "palm trees", "a sailing boat", "a seashell", "a beach umbrella"),
    "lake": ("a swan", "a small boat", "a frog", "ducks", "a dragonfly", "a fishing rod"),
    "deep": ("a whale", "colourful fish and coral", "a sea turtle", "an octopus", "a treasure chest", "jellyfish"),
    "forest": ("an owl", "a deer", "mushrooms", "a squirrel", "a campfire", "a butterfly"),
    "city": ("a taxi", "a bicycle", "a cat", "a train", "a street lamp", "pigeons"),
    "space": ("a rocket", "a ringed planet", "a satellite", "a comet", "a flying saucer", "an astronaut"),
    "moon": ("a rocket", "the blue earth", "a flag", "a flying saucer", "an alien", "a satellite"),
    "desert": ("a camel", "a cactus", "a lizard", "a tent", "an eagle", "a scorpion"),
    "mount": ("an eagle", "a goat", "a castle", "a tent", "a hot air balloon", "a bear"),
    "meadow": ("butterflies", "a rabbit", "sunflowers", "a bee", "a windmill", "a horse"),
    "sky": ("a hot air balloon", "birds", "a kite", "an airplane", "a rainbow", "balloons"),
    "room": ("a cat", "a teapot and a cup", "an armchair", "books", "a potted plant", "a candle"),
    "library": ("a stack of books", "an owl", "a candle", "a globe", "a cat", "an open book"),
    "kitchen": ("a teapot", "a loaf of bread", "a birthday cake", "a basket of apples", "a cat", "a pot of soup"),
    "stage": ("a guitar", "a drum", "a microphone", "a piano", "a saxophone", "a trumpet"),
    "road": ("a signpost", "a bicycle", "a bus", "a horse", "a windmill", "birds"),
    "stadium": ("a trophy", "balloons", "a dog", "a drum", "a megaphone", "a bird"),
    "heart": ("two birds", "a bunch of flowers", "balloons", "a butterfly", "a kite", "a bench"),
}
_PAINTED: Final[Mapping[str, str]] = {
    "snow": "in snowy mountains", "sea": "on the sea", "beach": "on a beach with palm trees", "lake": "by a quiet lake", "deep": "at a coral reef underwater",
    "forest": "in a deep forest", "city": "in a city street", "space": "in outer space", "moon": "on the moon surface", "desert": "in desert dunes",
    "mount": "in high mountains", "meadow": "in a flower meadow", "sky": "in a sky full of clouds", "room": "in a cosy room", "library": "in an old library",
    "kitchen": "in a warm kitchen", "stage": "on a concert stage", "road": "on a country road between hills", "stadium": "in a football stadium", "heart": "in a garden with flowers",
}  # fmt: skip
# What lies beside a place: its kind, and words that paint it.
_NEXT_DOOR: Final[Mapping[str, tuple[str, str]]] = {
    "snow": ("snow", "in a snowy forest in winter"), "sea": ("beach", "on a beach with palm trees"), "beach": ("sea", "on the open sea"),
    "lake": ("forest", "in a green forest"), "deep": ("sea", "on the open sea with waves"), "forest": ("meadow", "in a flower meadow"),
    "city": ("city", "on the rooftops of the city"), "space": ("moon", "on the moon surface"), "moon": ("space", "in outer space among the stars"),
    "desert": ("mount", "in a rocky canyon in the mountains"), "mount": ("meadow", "in a green valley"), "meadow": ("forest", "in a green forest"),
    "sky": ("mount", "over high mountains"), "room": ("meadow", "in a garden with flowers"), "library": ("room", "in a cosy room"),
    "kitchen": ("meadow", "in a garden with flowers"), "stage": ("city", "in a city street"), "road": ("meadow", "in wide fields"), "heart": ("beach", "on a beach by the sea"),
    "stadium": ("city", "in a city street"),
}  # fmt: skip
# From the light the theme asks for, how it may change from shot to shot.
_LIGHTS: Final[Mapping[str, tuple[str, ...]]] = {
    "night": (
        "at night",
        "under a full moon at night",
        "at dusk",
        "under the stars at night",
        "with fireflies at night",
        "at dawn",
    ),
    "sunset": ("at sunset", "in the golden evening", "at dusk", "under the first stars", "at sunset", "at night"),
    "dawn": ("at dawn", "at sunrise", "on a sunny morning", "at noon", "at sunrise", "at sunset"),
    "day": ("on a sunny day", "on a bright morning", "at noon", "in the afternoon", "at sunset", "under a rainbow"),
    "storm": (
        "in the rain",
        "in a thunderstorm",
        "under dark clouds",
        "in the fog",
        "in the rain at night",
        "under a rainbow at sunrise",
    ),
    "fog": ("in the fog", "in the morning mist", "at dawn", "in the fog", "at dusk", "on a sunny day"),
    "neon": (
        "in neon light at night",
        "under neon signs",
        "at midnight",
        "in neon light",
        "under neon lights in the rain",
        "at dawn",
    ),
    "pastel": (
        "in a dreamy pastel sky",
        "in a magical sunrise",
        "under a rainbow",
        "in pastel clouds",
        "with magic sparkles",
        "in a magical sunset",
    ),
    "space": (
        "among the stars",
        "beside a nebula",
        "under a galaxy",
        "among the stars",
        "at the edge of a galaxy",
        "under a bright nebula",
    ),
    "deep": (
        "underwater",
        "in the deep blue underwater",
        "underwater with bubbles",
        "under the sea",
        "underwater with rays of light",
        "underwater",
    ),
    "": ("on a sunny day", "at sunrise", "in the afternoon", "at sunset", "at night under the stars", "at dawn"),
}
_CELEBRATION: Final[Mapping[str, str]] = {
    "deep": "in a swirl of bubbles", "space": "under a bright nebula", "moon": "under a bright nebula", "city": "under fireworks at night",
    "stage": "under fireworks", "snow": "under the northern lights", "sea": "under a rainbow", "beach": "under fireworks at night",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shot:
    """`prompt` for the picture, `motion` of the camera, `caption` to show."""

    prompt: str
    motion: str
    caption: str


def shots(piece: Piece, seed: int, count: int = 6) -> tuple[Shot, ...]:
    """`count` shots (4 to 8) in the order of a story: the theme itself, a meeting, somewhere else, the end; with more
    shots also the place, a closer look, who else lives there."""
    theme = piece.theme
    rng = random.Random(f"shots:{theme.text}:{seed}")
    prompts = _prompts(theme, rng)
    order = [0, 3, 5, 7, 2, 1, 4, 6]  # setting, event, turn and ending before all else
    chosen = [prompts[i] for i in sorted(order[: max(4, min(8, count))])]
    lines = piece.lines
    offset = rng.randrange(len(MOTIONS))
    return tuple(
        Shot(prompt, MOTIONS[(i + offset) % len(MOTIONS)], lines[i * len(lines) // len(chosen)])
        for i, prompt in enumerate(chosen)
    )


def _prompts(theme: Theme, rng: random.Random) -> list[str]:
    domain = theme.domain
    lights = _lights(theme)
    met = _met(theme, domain, rng)
    beside, next_door = _NEXT_DOOR[domain]
    strangers = [c for c in _met(theme, beside, rng) if c not in met[:4]] or met
    who = _painted_subject(theme)
    painted = _PAINTED[domain]
    here = painted if domain in ("heart", "space") or theme.subject.kind == "place" else theme.where
    home = here if here == painted else theme.home
    deed = f" {theme.deed}" if theme.deed and theme.subject.alive else ""
    wished = re.match(r"be an? (\w+)", theme.wish)
    fulfilled = f"{who} {wished[1]}" if wished else who
    other = met[0]
    if theme.other is not None and theme.other.head not in theme.deed:
        other = theme.other.a
    scenery = painted.split(" ", 1)[1]
    return [
        theme.said
        if theme.language != "en"  # the picture engine reads it itself, and better than our sketch of it
        else theme.text
        if len(theme.text.split()) > 2
        else f"{who}{deed} {here} {lights[0]}",
        f"{scenery} {lights[1]}, {met[1 % len(met)]}",
        f"{who}{deed} {here} {lights[3]}, close up",
        f"{who} and {other} {painted} {lights[2]}",
        f"{strangers[0]} {next_door} {lights[4]}",
        f"{who}{deed} {next_door} {lights[5]}, close up",
        f"{who} and {met[3 % len(met)]} {home} {lights[0]}",
        f"{fulfilled}{deed} {here} {_ending(theme)}",
    ]


def _met(theme: Theme, domain: str, rng: random.Random) -> list[str]:
    """What may be met there, without what the theme has already."""
    known = set(theme.text.lower().split()) | {theme.subject.head.split()[-1]}
    met = [
        c
        for c in COMPANIONS[domain]
        if not known & set(c.split())
        or len(known & set(c.split()) - {"a", "an", "the", "of", "and", "on", "in", "with"}) == 0
    ]
    rng.shuffle(met)
    return met or list(COMPANIONS["meadow"])


def _ending(theme: Theme) -> str:
    wish = _CELEBRATION.get(theme.domain, "under the stars at night")
    return wish if wish.split()[-1] not in theme.text.lower() else "under fireworks at night"


def _lights(theme: Theme) -> Sequence[str]:
    if theme.domain == "deep":
        return _LIGHTS["deep"]
    if theme.domain == "space":
        return _LIGHTS["space"]
    return _LIGHTS.get(theme.time, _LIGHTS[""])


def _unowned(subject: Noun) -> str:
    return subject.long if subject.plural else f"{article(subject.long)} {subject.long}"


def _painted_subject(theme: Theme) -> str:
    """The subject in words that can be painted: a feeling becomes its sign."""
    from dvms.image.storybook.words import understand

    subject = theme.subject
    if subject.kind == "place":
        return f"the old town of {subject.head}"
    if subject.proper and subject.head.lower() in KIN:
        return "a woman" if subject.head.lower() in SHE else "a man" if subject.head.lower() in HE else "a person"
    if subject.proper and subject.kind == "person":  # nobody knows what they look like
        return (
            "a birthday cake"
            if theme.concept == "birthday"
            else "a child"
            if theme.concept == "lullaby"
            else "a person"
        )
    if subject is NOBODY:
        return "a person"
    if subject.kind == "object" and not understand(subject.long).subjects:
        known = understand(theme.text).subjects
        return _indefinite(known[0].sprite.label) if known else "a person"
    if subject.kind != "feeling":
        return (
            subject.a
            if not subject.owner
            else f"{article(subject.long)} {subject.long}"
            if not subject.plural
            else subject.long
        )
    signs = {"love": "a red heart", "freedom": "a white dove", "birthday": "a birthday cake", "christmas": "a christmas tree", "money": "a gold coin",
             "music": "a guitar", "dance": "a dancer", "goodbye": "a letter", "lullaby": "a teddy bear", "machine": "a robot"}  # fmt: skip
    return signs.get(theme.concept) or _shown(theme.text) or subject.the_long


def _shown(text: str) -> str:
    """Whom the picture engine shows for a feeling: `a person walking`."""
    from dvms.image.storybook.words import understand

    meaning = understand(text)
    return _indefinite(meaning.subjects[0].sprite.label) if meaning.felt and meaning.subjects else ""


def _indefinite(label: str) -> str:
    return f"{article(label)} {label}"
