"""Camera moves, from the words people use for them."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Move:
    """Zoom at start and end (1 is the whole picture), and how far to slide: -1..1 of the margin."""

    name: str
    zoom: tuple[float, float] = (1.0, 1.0)
    pan: tuple[float, float] = (0.0, 0.0)
    tilt: tuple[float, float] = (0.0, 0.0)

    def at(self, u: float) -> tuple[float, float, float]:
        """(zoom, pan x, pan y) at 0..1 of the clip, eased in and out."""
        e = u * u * (3 - 2 * u)
        blend = [a + (b - a) * e for a, b in (self.zoom, self.pan, self.tilt)]
        return blend[0], blend[1], blend[2]


MOVES = {
    m.name: m
    for m in (
        Move("still"),
        Move("push in", (1.0, 1.16)),
        Move("pull out", (1.18, 1.0)),
        Move("pan left", (1.06, 1.06), (0.9, -0.9)),
        Move("pan right", (1.06, 1.06), (-0.9, 0.9)),
        Move("tilt up", (1.06, 1.06), (0.0, 0.0), (0.8, -0.8)),
        Move("tilt down", (1.06, 1.06), (0.0, 0.0), (-0.8, 0.8)),
        Move("orbit", (1.05, 1.13), (-0.8, 0.7), (0.1, -0.1)),
        Move("drift", (1.03, 1.10), (-0.4, 0.5)),
    )
}
WORDS = (
    ("still", r"still|static|locked|no (camera )?mov|none|fixed"),
    ("pull out", r"pull|zoom(s|ing)? out|dolly out|back away|wide(n|ning)|reveal|track(s|ing)? back"),
    ("push in", r"push|zoom|dolly|close.?up|move in|approach|track(s|ing)? in|closer"),
    ("tilt up", r"tilt(s|ing)? up|pan(s|ning)? up|ris(e|es|ing)|crane up|upwards?|ascend"),
    ("tilt down", r"tilt(s|ing)? down|pan(s|ning)? down|descend|crane down|downwards?|fall"),
    ("pan left", r"pan(s|ning)?( slowly)?( to( the)?)? left|left|slide left"),
    ("orbit", r"orbit|arc|around|circl|rotat|spin"),
    ("pan right", r"pan|right|slide|sweep|truck|tracking"),
    ("drift", r"drift|float|handheld|sway|slow|gentle|parallax|dream"),
)


def move_named(words: str | None, seed: int) -> Move:
    """The move that the words ask for; one by the seed where they ask for none."""
    text = (words or "").lower()
    for name, pattern in WORDS:
        if re.search(rf"\b(?:{pattern})", text):
            return MOVES[name]
    return MOVES[("push in", "pan right", "pull out", "pan left", "orbit")[seed % 5]]
