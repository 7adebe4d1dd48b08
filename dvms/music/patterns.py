# ruff: noqa: E501  (tables read better in long lines)
"""What the parts of a band play in one bar. Plain data; positions and lengths in beats, weights as MIDI velocities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

ALL: Final = -1  # the whole chord
LEADING: Final = 99  # the tone that leads to the next bar's root

Step = tuple[float, float, int, float]
Hit = tuple[float, str, float]


def _run(tones: Sequence[int], step: float, length: float, weight: float, accent: float = 8) -> tuple[Step, ...]:
    return tuple((i * step, length, tone, weight + (accent if i % 2 == 0 else 0)) for i, tone in enumerate(tones))


# (position, length, index into the chord and its octave above, weight); a figure may alternate between bars.
FIGURES: Final[Mapping[str, tuple[tuple[Step, ...], ...]]] = {
    "sixteenths": (_run((0, 2, 3, 2, 1, 2, 4, 2, 0, 2, 3, 2, 1, 4, 3, 2), 0.25, 0.22, 44),),
    "offbeat": (((0.5, 0.4, ALL, 54), (1.5, 0.4, ALL, 58), (2.5, 0.4, ALL, 54), (3.5, 0.4, ALL, 60)),
                ((0.5, 0.4, ALL, 54), (1.5, 0.4, ALL, 58), (2.5, 0.4, ALL, 54), (3, 0.4, ALL, 50), (3.5, 0.4, ALL, 60))),
    "chords": (((0, 1.4, ALL, 58), (1.5, 0.4, ALL, 46), (2.5, 1.2, ALL, 54)),
               ((0, 1.4, ALL, 58), (2.5, 0.4, ALL, 48), (3, 0.9, ALL, 52), (3.75, 0.25, 4, 44))),
    "strum": (((0, 0.9, ALL, 62), (1, 0.4, ALL, 50), (1.5, 0.4, 4, 44), (2, 0.9, ALL, 58), (2.5, 0.4, 3, 44), (3, 0.4, ALL, 52), (3.5, 0.4, ALL, 46)),
              ((0, 0.9, ALL, 62), (1, 0.4, ALL, 50), (1.5, 0.4, ALL, 46), (2.5, 0.4, ALL, 54), (3, 0.4, 4, 50), (3.5, 0.4, 5, 46))),
    "harp": (_run((0, 1, 2, 3, 4, 5, 4, 2), 0.5, 0.9, 52), _run((0, 2, 3, 5, 4, 3, 2, 1), 0.5, 0.9, 52)),
    "stabs": (((0, 0.3, ALL, 60), (0.75, 0.3, ALL, 56), (1.5, 0.3, ALL, 60), (2.25, 0.3, ALL, 54), (3, 0.3, ALL, 60), (3.5, 0.3, ALL, 52)),),
    "power": (tuple((i * 0.5, 0.45, ALL, 66 if i % 4 == 0 else 54) for i in range(8)),),
    "drops": (((0, 2, 2, 46), (1, 2, 4, 40), (2.5, 2, 3, 44), (3.5, 1.5, 5, 36)), ((0.5, 2, 3, 44), (2, 2, 5, 42), (3, 1.5, 2, 38))),
    "comping": (((0, 0.4, ALL, 54), (1.5, 0.4, ALL, 60), (3.5, 0.4, ALL, 52)), ((0.5, 0.4, ALL, 54), (2, 0.4, ALL, 58), (2.5, 0.4, ALL, 46))),
    "music box": (_run((0, 2, 4, 2, 3, 2, 4, 2), 0.5, 0.8, 48, 6), _run((0, 2, 4, 5, 3, 4, 2, 1), 0.5, 0.8, 48, 6)),
    "bossa": (((0, 0.4, ALL, 56), (0.5, 0.3, ALL, 44), (1.5, 0.4, ALL, 56), (2.5, 0.6, ALL, 54), (3.5, 0.4, ALL, 50)),
              ((0.5, 0.4, ALL, 54), (1, 0.4, ALL, 48), (2, 0.4, ALL, 56), (3, 0.6, ALL, 54))),
}  # fmt: skip

# (position, length, semitones above the root, weight)
BASS: Final[Mapping[str, tuple[Step, ...]]] = {
    "pulse": ((0, 0.9, 0, 92), (1, 0.45, 0, 74), (1.5, 0.45, 0, 80), (2, 0.9, 0, 86), (3, 0.45, 7, 76), (3.5, 0.45, LEADING, 72)),
    "octaves": tuple((i * 0.5, 0.42, 12 if i % 2 else 0, 82 if i % 2 else 92) for i in range(8)),
    "lazy": ((0, 1.4, 0, 88), (1.75, 0.25, 0, 62), (2.5, 1, 7, 76), (3.5, 0.45, LEADING, 66)),
    "folk": ((0, 1.8, 0, 86), (2, 1.2, 7, 76), (3.5, 0.45, LEADING, 62)),
    "long": ((0, 3.9, 0, 84),),
    "offbeat": tuple((i + 0.5, 0.42, 0, 92) for i in range(4)),
    "eighths": tuple((i * 0.5, 0.45, 0, 94 if i % 2 == 0 else 84) for i in range(8)),
    "walking": ((0, 0.95, 0, 86), (1, 0.95, 7, 78), (2, 0.95, 12, 80), (3, 0.95, LEADING, 76)),
    "bossa": ((0, 1.4, 0, 88), (1.5, 0.5, 7, 72), (2, 1.4, 7, 82), (3.5, 0.5, 0, 72)),
}  # fmt: skip

PIECES: Final[Mapping[str, int]] = {
    "kick": 36, "rim": 37, "snare": 38, "clap": 39, "brush": 40, "hat": 42, "open": 46, "tom low": 45, "tom": 47, "tom high": 50,
    "crash": 49, "ride": 51, "shaker": 70,
}  # fmt: skip


def _hats(piece: str, weight: float, step: float = 0.5, open_at: float | None = None) -> tuple[Hit, ...]:
    spots = [i * step for i in range(int(4 / step))]
    return tuple((at, "open" if at == open_at else piece, weight if at % 1 == 0 else weight * 0.78) for at in spots)


KITS: Final[Mapping[str, tuple[Hit, ...]]] = {
    "pop": (*((at, "kick", 104) for at in (0, 1.75, 2, 2.5)), (1, "snare", 94), (3, "snare", 96), (3, "clap", 60), *_hats("hat", 66)),
    "four": (*((at, "kick", 110) for at in (0, 1, 2, 3)), (1, "clap", 84), (3, "clap", 88), (1, "snare", 60), (3, "snare", 62),
             *((at, "open", 50) for at in (0.5, 1.5, 2.5, 3.5)), *_hats("hat", 44, 0.25)),
    "dusty": (*((at, "kick", 98) for at in (0, 1.75, 2.5)), (1, "rim", 80), (3, "rim", 84), *_hats("hat", 48)),
    "brush": ((0, "kick", 80), (2, "kick", 76), (1, "brush", 70), (3, "brush", 74), *_hats("shaker", 46)),
    "toms": ((0, "kick", 100), (2.5, "kick", 84), (2, "tom", 86), (3.5, "tom low", 66), (0, "tom low", 70), (1.5, "tom high", 48)),
    "rock": (*((at, "kick", 108) for at in (0, 1.5, 2, 2.5)), (1, "snare", 102), (3, "snare", 104), *_hats("hat", 70, 0.5, 3.5)),
    "swing": ((0, "ride", 66), (1, "ride", 72), (1.5, "ride", 54), (2, "ride", 66), (3, "ride", 72), (3.5, "ride", 54), (0, "kick", 60), (2, "kick", 52),
              (1, "brush", 56), (3, "brush", 60)),
    "bossa": ((0, "kick", 84), (1.5, "kick", 66), (2, "kick", 80), (3.5, "kick", 66), (0, "rim", 62), (1.5, "rim", 60), (3, "rim", 62), *_hats("shaker", 48)),
    "none": (),
}  # fmt: skip

FILLS: Final[Mapping[str, tuple[Hit, ...]]] = {
    "full": ((3, "snare", 78), (3.25, "tom high", 84), (3.5, "tom", 90), (3.75, "tom low", 98)),
    "soft": ((3, "brush", 60), (3.5, "brush", 66), (3.75, "rim", 60)),
}
