"""Where to cut: pure functions of the song's sheet and of the material's lengths."""

from collections.abc import Sequence
from dataclasses import dataclass

from dvms.video.sheet import Sheet

DISSOLVE = 0.35
SHORTEST, LONGEST = 1.6, 3.6


@dataclass(frozen=True, slots=True)
class Shot:
    """Material number `source` from t0 to t1 of the film; `take` counts its uses (0 first); `join` how it begins."""

    source: int
    t0: float
    t1: float
    take: int
    join: str  # cut, dissolve or open

    @property
    def seconds(self) -> float:
        return self.t1 - self.t0


def plan(sheet: Sheet, sources: int, seconds: float, lengths: Sequence[float]) -> list[Shot]:
    """Shots that fill the film, cut on bars (on beats where bars are too far apart), every source shown once at least.

    The material keeps its order, for it tells a story; one that is shown longer is cut in two, the second time from
    nearer. Sections of the song and nearer looks begin with a straight cut, new material dissolves in.
    """
    grid = [t for t in sheet.bars if SHORTEST * 0.6 < t < seconds - SHORTEST * 0.6]
    usable = [length for length in lengths if length > 0]
    wish = max(SHORTEST, min(sum(usable) / len(usable) if usable else 4.0, LONGEST))
    wanted = max(sources, round(seconds / wish))
    if len(grid) < wanted - 1:
        beats = [t for t in sheet.beats if SHORTEST * 0.6 < t < seconds - SHORTEST * 0.6]
        grid = beats if len(beats) >= wanted - 1 else grid
    cuts = _choose(grid, wanted, seconds)
    edges = [0.0, *cuts, seconds]
    starts = [t0 for _, t0, _ in sheet.sections]
    takes: dict[int, int] = {}
    shots = []
    for i in range(len(edges) - 1):
        source = i * sources // (len(edges) - 1) if len(edges) > sources else i
        section = any(abs(edges[i] - t) < sheet.beat / 2 for t in starts)
        join = "open" if i == 0 else "cut" if section or source in takes else "dissolve"
        shots.append(Shot(source, edges[i], edges[i + 1], takes.get(source, 0), join))
        takes[source] = takes.get(source, 0) + 1
    return shots


def _choose(grid: list[float], wanted: int, seconds: float) -> list[float]:
    """wanted - 1 cuts as even as the grid allows; even spacing where there is no grid."""
    cuts: list[float] = []
    for k in range(1, wanted):
        ideal = seconds * k / wanted
        after = [t for t in grid if (not cuts or t - cuts[-1] >= SHORTEST * 0.9)]
        if not grid:
            cuts.append(ideal)
        elif after:
            near = min(after, key=lambda t: abs(t - ideal))
            if not cuts or near > cuts[-1]:
                cuts.append(near)
    return [t for t in cuts if seconds - t >= SHORTEST * 0.6]
