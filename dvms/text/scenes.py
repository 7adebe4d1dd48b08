# ruff: noqa: E501  (tables read better in long lines)
"""Shots of a film about a theme: what the camera sees, in words a picture engine can paint, one shot unlike the next."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

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
    "moon": ("a rocket", "the earth in the sky", "a flag", "a flying saucer", "an alien", "a satellite"),
    "desert": ("a camel", "a cactus", "a lizard", "a tent", "an eagle", "a scorpion"),
    "mount": ("an eagle", "a goat", "a castle", "a tent", "a hot air balloon", "a bear"),
    "meadow": ("butterflies", "a rabbit", "sunflowers", "a bee", "a windmill", "a horse"),
    "sky": ("a hot air balloon", "birds", "a kite", "an airplane", "a rainbow", "balloons"),
    "room": ("a cat", "a teapot and a cup", "an armchair", "books", "a potted plant", "a candle"),
    "library": ("a stack of books", "an owl", "a candle", "a globe", "a cat", "an open book"),
    "kitchen": ("a teapot", "a loaf of bread", "a birthday cake", "a basket of apples", "a cat", "a pot of soup"),
    "stage": ("a guitar", "a drum", "a microphone", "a piano", "a saxophone", "a trumpet"),
    "road": ("a signpost", "a bicycle", "a bus", "a horse", "a windmill", "birds"),
    "heart": ("a red heart", "two birds", "a bunch of flowers", "balloons", "a butterfly", "a star"),
}
_PAINTED: Final[Mapping[str, str]] = {
    "snow": "snowy mountains", "sea": "the sea", "beach": "a beach with palm trees", "lake": "a quiet lake", "deep": "a coral reef underwater",
    "forest": "a deep forest", "city": "a city street", "space": "outer space with stars", "moon": "the surface of the moon", "desert": "desert dunes",
    "mount": "high mountains", "meadow": "a flower meadow", "sky": "a sky full of clouds", "room": "a cosy room", "library": "an old library",
    "kitchen": "a warm kitchen", "stage": "a concert stage", "road": "a country road between hills", "heart": "a flower meadow",
}  # fmt: skip
_NEXT_DOOR: Final[Mapping[str, str]] = {
    "snow": "a frozen forest in winter", "sea": "a beach with palm trees", "beach": "the open sea", "lake": "a green forest by the river",
    "deep": "the open sea with waves", "forest": "a flower meadow", "city": "rooftops of the city", "space": "the surface of the moon",
    "moon": "outer space with stars", "desert": "a canyon in the desert", "mount": "a green valley", "meadow": "a green forest", "sky": "high mountains",
    "room": "a garden", "library": "a cosy room", "kitchen": "a garden", "stage": "a city street", "road": "high mountains", "heart": "the sea",
}  # fmt: skip
# From the light the theme asks for, how it may change from shot to shot.
_LIGHTS: Final[Mapping[str, tuple[str, ...]]] = {
    "night": (
        "at night",
        "under a full moon at night",
        "at dusk",
        "under a starry night sky",
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
        "among shooting stars",
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
    "deep": "in a swirl of bubbles", "space": "among shooting stars", "moon": "under shooting stars", "city": "under fireworks at night",
    "stage": "under fireworks", "snow": "under the northern lights", "sea": "under a rainbow", "beach": "under fireworks at night",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shot:
    """`prompt` for the picture, `motion` of the camera, `caption` to show."""

    prompt: str
    motion: str
    caption: str


def shots(piece: Piece, seed: int, count: int = 6) -> tuple[Shot, ...]:
    """`count` shots (4 to 8). The first is the theme itself; then the place, a closer look, a meeting, another light, the end."""
    theme = piece.theme
    rng = random.Random(f"shots:{theme.text}:{seed}")
    prompts = _prompts(theme, rng)
    order = [0, 1, 2, 3, 4, 7, 5, 6]
    chosen = [prompts[i] for i in sorted(order[: max(4, min(8, count))])]
    lines = piece.lines
    offset = rng.randrange(len(MOTIONS))
    return tuple(
        Shot(prompt, MOTIONS[(i + offset) % len(MOTIONS)], lines[i * len(lines) // len(chosen)])
        for i, prompt in enumerate(chosen)
    )


def _prompts(theme: Theme, rng: random.Random) -> list[str]:
    subject = theme.subject
    domain = theme.domain
    lights = _lights(theme)
    met = [
        c
        for c in COMPANIONS[domain]
        if subject.head.split()[-1] not in c and (theme.other is None or theme.other.head not in c)
    ]
    rng.shuffle(met)
    who = subject.a if not subject.proper or subject.kind == "person" else subject.the
    who = _painted_subject(theme)
    here = f"{theme.preposition} {theme.place}" if theme.domain not in ("heart",) else f"in {_PAINTED[domain]}"
    painted = _PAINTED[domain]
    doing = f" {theme.doing}" if theme.doing and theme.subject.alive else ""
    other = theme.other.a if theme.other is not None else met[0]
    return [
        theme.text,
        f"{painted} {lights[1]}, {met[1 % len(met)]}",
        f"{who}{doing} {here} {lights[2]}, close up",
        f"{who} and {other} in {painted} {lights[3]}",
        f"{met[2 % len(met)]} in {_NEXT_DOOR[domain]} {lights[4]}",
        f"{who} in {_NEXT_DOOR[domain]} {lights[5]}",
        f"{who} and {met[3 % len(met)]} {here} {lights[0]}",
        f"{who}{doing} {here} {_ending(theme)}",
    ]


def _ending(theme: Theme) -> str:
    wish = _CELEBRATION.get(theme.domain, "under a starry night sky")
    return wish if wish.split()[-1] not in theme.text.lower() else "with fireworks in the sky"


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
    subject = theme.subject
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
    return signs.get(theme.concept, subject.the_long)
