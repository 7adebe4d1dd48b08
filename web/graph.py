"""A recipe as a picture: layers from left to right, an SVG made on the server, no script.

The live page finds the parts by name: `data-step` a box, `shot` its picture, `who` and `note` its lines, `pips` one
mark for each time the step runs.
"""

import itertools
from html import escape
from typing import NamedTuple

from market.kinds import JOB_KINDS
from orchestrator.recipe import Recipe
from web.art import pattern

WIDTH, HEIGHT, GAP_X, GAP_Y, EDGE = 208, 84, 46, 24, 10
SHOT = 60  # side of the picture in a box
PIP, PIPS = 11, 16


class Box(NamedTuple):
    """One step, placed. `runs`: how often it runs at most."""

    name: str
    kind: int
    max_msat: int
    runs: int
    x: int
    y: int

    @property
    def title(self) -> str:
        known = JOB_KINDS.get(self.kind)
        return known.title if known else f"kind {self.kind}"


class Edge(NamedTuple):
    """What one step gives another; `points` lead from the right side of a box to the left side of the other."""

    need: str
    name: str
    points: list[tuple[int, int]]


class Layout(NamedTuple):
    boxes: list[Box]
    edges: list[Edge]


def layout(recipe: Recipe) -> Layout:
    """A step stands right of all it needs; an edge over several columns has a row of its own in those between."""
    depth: dict[str, int] = {}
    for name in recipe.order:
        depth[name] = 1 + max((depth[need] for need in recipe.needs[name] if need in depth), default=-1)
    edges = [
        (need, name)
        for name in recipe.order
        for need in sorted(recipe.needs[name])
        if need in depth and not _leads(recipe, need, name)
    ]
    columns = _columns(recipe, depth, edges)
    tallest = max(len(column) for column in columns)
    place: dict[tuple[str, int], tuple[int, int]] = {}
    for at, column in enumerate(columns):
        top = EDGE + (tallest - len(column)) * (HEIGHT + GAP_Y) // 2
        for row, name in enumerate(column):
            place[name, at] = (EDGE + at * (WIDTH + GAP_X), top + row * (HEIGHT + GAP_Y))
    boxes = []
    for name in recipe.order:
        step = recipe.steps[name]
        runs = (step.most if step.each else 1) * step.buy
        boxes.append(Box(name, step.kind, step.max_msat, runs, *place[name, depth[name]]))
    drawn = []
    for need, name in edges:
        stops = [place[need, depth[need]]]
        stops += [place[_lane(need, name), column] for column in range(depth[need] + 1, depth[name])]
        middles = [(x, y + HEIGHT // 2) for x, y in [*stops, place[name, depth[name]]]]
        through = [point for x, y in middles for point in ((x, y), (x + WIDTH, y))]
        drawn.append(Edge(need, name, through[1:-1]))
    return Layout(boxes, drawn)


def _lane(need: str, name: str) -> str:
    return f"{need}>{name}"


def _columns(recipe: Recipe, depth: dict[str, int], edges: list[tuple[str, str]]) -> list[list[str]]:
    """Who stands in each column from top to bottom, passing edges too: each as high as what it comes from."""
    columns: list[list[str]] = []
    for at in range(max(depth.values()) + 1):
        before = columns[-1] if columns else []
        comes_from: dict[str, list[str]] = {name: [] for name in recipe.order if depth[name] == at}
        for need, name in edges:
            source = need if depth[need] == at - 1 else _lane(need, name)
            if depth[need] < at < depth[name]:
                comes_from[_lane(need, name)] = [source]
            elif depth[name] == at:
                comes_from[name].append(source)
        heights = {
            name: sum(map(before.index, sources)) / len(sources) if sources else 0.0
            for name, sources in comes_from.items()
        }
        columns.append(sorted(comes_from, key=lambda name, known=heights: known[name]))  # type: ignore[misc]
    return columns


def _leads(recipe: Recipe, start: str, end: str) -> bool:
    """True if `end` needs `start` by way of another step too: the direct edge says nothing new."""
    seen, todo = set[str](), [need for need in recipe.needs[end] if need != start]
    while todo:
        name = todo.pop()
        if name == start:
            return True
        if name not in seen:
            seen.add(name)
            todo += recipe.needs.get(name, ())
    return False


def svg(recipe: Recipe, unit: str = "sat") -> str:
    """The picture. All text in it is escaped: recipes come from strangers."""
    boxes, edges = layout(recipe)
    width = max(box.x for box in boxes) + WIDTH + EDGE
    height = max(box.y for box in boxes) + HEIGHT + EDGE + 4
    parts = [
        f'<svg class="recipe" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' xmlns="http://www.w3.org/2000/svg" aria-hidden="true">'
    ]
    for need, name, points in edges:  # first, so that boxes lie on them
        ends = f'data-from="{escape(need)}" data-to="{escape(name)}"'
        parts.append(f'<path class="edge" {ends} d="{_curve(points)}"/>')
    parts += [_draw(box, unit, f"shot{number}") for number, box in enumerate(boxes)]
    return "".join([*parts, "</svg>"])


def _curve(points: list[tuple[int, int]]) -> str:
    made = f"M{points[0][0]} {points[0][1]}"
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        middle = (x1 + x2) // 2
        made += f"C{middle} {y1} {middle} {y2} {x2} {y2}"
    return made


def _draw(box: Box, unit: str, clip: str) -> str:
    x, y, at = box.x, box.y, box.x + SHOT + 22
    parts = [f'<g class="step" data-step="{escape(box.name)}">']
    if box.runs > 1:  # a second sheet behind: this step runs several times
        parts.append(f'<rect class="box" x="{x + 5}" y="{y + 5}" width="{WIDTH}" height="{HEIGHT}" rx="14"/>')
    parts.append(f'<rect class="box top" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="14"/>')
    frame = f'x="{x + 12}" y="{y + 12}" width="{SHOT}" height="{SHOT}"'
    drawn = str(pattern(box.kind, box.name)).replace('<svg class="pattern', f'<svg {frame} class="pattern', 1)
    shot = f'<image class="shot" {frame} preserveAspectRatio="xMidYMid slice"/>'
    parts.append(
        f'<clipPath id="{clip}"><rect {frame} rx="9"/></clipPath><g clip-path="url(#{clip})">{drawn}{shot}</g>'
    )
    price = f"up to {box.max_msat // 1000:,} {unit}" + (f" × {box.runs}" if box.runs > 1 else "")
    for offset, style, text in ((28, "name", box.name), (46, "who", box.title), (63, "note", price)):
        parts.append(f'<text class="{style}" x="{at}" y="{y + offset}">{escape(text[:20])}</text>')
    parts.append('<g class="pips">')
    for pip in range(min(box.runs, PIPS)) if box.runs > 1 else ():
        parts.append(f'<rect x="{at + pip * PIP}" y="{y + 71}" width="{PIP - 3}" height="4" rx="2"/>')
    return "".join([*parts, "</g></g>"])


def small(recipe: Recipe) -> str:
    """The same as a motif of 320 x 180 without words, for a card: a tile a step, in the colour of its trade."""
    boxes, edges = layout(recipe)
    right, low = max(box.x for box in boxes), max(box.y for box in boxes)
    tall = len({box.y for box in boxes}) > 1

    def spot(x: float, y: float) -> tuple[int, int]:
        across = round(50 + 220 * (x - EDGE) / (right - EDGE)) if right > EDGE else 160
        return across, round(48 + 84 * y / low) if tall else 90

    parts = [
        '<svg class="pattern t-composite" viewBox="0 0 320 180" preserveAspectRatio="xMidYMid slice"'
        ' xmlns="http://www.w3.org/2000/svg" aria-hidden="true"><rect class="p0" width="320" height="180"/>'
    ]
    for _, _, points in edges:
        x1, y1 = spot(points[0][0] - WIDTH, points[0][1] - HEIGHT // 2)
        x2, y2 = spot(points[-1][0], points[-1][1] - HEIGHT // 2)
        middle = (x1 + x2) // 2
        parts.append(f'<path class="l2" d="M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"/>')
    for box in boxes:
        x, y = spot(box.x, box.y)
        trade = JOB_KINDS[box.kind].trade if box.kind in JOB_KINDS else "other"
        parts.append(f'<g class="pattern t-{trade}">')
        for sheet in reversed(range(min(box.runs, 3))):
            left, top, faint = x - 19 + sheet * 5, y - 15 + sheet * 5, 1 - sheet * 0.35
            tile = f'x="{left}" y="{top}" width="38" height="30" rx="9" opacity="{faint:.2f}"'
            parts.append(f'<rect class="p1" {tile}/>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])
