"""A recipe as a picture: layers from left to right, an SVG made on the server, no script."""

from collections.abc import Mapping
from html import escape
from typing import NamedTuple

from market.kinds import JOB_KINDS
from orchestrator.recipe import Recipe

WIDTH, HEIGHT, GAP_X, GAP_Y = 150, 58, 60, 22


class Box(NamedTuple):
    name: str
    about: str
    note: str
    x: int
    y: int


def layout(recipe: Recipe) -> tuple[list[Box], list[tuple[str, str]]]:
    """Boxes with positions and the edges between them; a step stands right of everything it needs."""
    depth: dict[str, int] = {}
    for name in recipe.order:
        depth[name] = 1 + max((depth[need] for need in recipe.needs[name] if need in depth), default=-1)
    columns: dict[int, list[str]] = {}
    for name in recipe.order:
        columns.setdefault(depth[name], []).append(name)
    tallest = max(len(names) for names in columns.values())
    boxes = []
    for column, names in columns.items():
        top = (tallest - len(names)) * (HEIGHT + GAP_Y) // 2
        for row, name in enumerate(names):
            step = recipe.steps[name]
            kind = JOB_KINDS.get(step.kind)
            note = f"up to {step.max_msat // 1000} sat" + (f" × {step.most}" if step.each else "")
            about = kind.title if kind else f"kind {step.kind}"
            boxes.append(Box(name, about, note, 8 + column * (WIDTH + GAP_X), 8 + top + row * (HEIGHT + GAP_Y)))
    edges = [(need, name) for name in recipe.order for need in sorted(recipe.needs[name]) if need in depth]
    return boxes, edges


def svg(recipe: Recipe) -> str:
    """The picture. All text in it is escaped: recipes come from strangers."""
    boxes, edges = layout(recipe)
    at: Mapping[str, Box] = {box.name: box for box in boxes}
    width = max(box.x for box in boxes) + WIDTH + 8
    height = max(box.y for box in boxes) + HEIGHT + 14
    parts = [f'<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" aria-hidden="true">']
    for start, end in edges:  # drawn first, so that boxes lie on them
        a, b = at[start], at[end]
        x1, y1, x2, y2 = a.x + WIDTH, a.y + HEIGHT // 2, b.x, b.y + HEIGHT // 2
        middle = (x1 + x2) // 2
        parts.append(f'<path class="edge" d="M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"/>')
    for box in boxes:
        parts.append(f'<g data-step="{escape(box.name)}">')
        if recipe.steps[box.name].each:  # a second sheet behind: this step runs several times
            parts.append(
                f'<rect class="box" x="{box.x + 5}" y="{box.y + 5}" width="{WIDTH}" height="{HEIGHT}" rx="10"/>'
            )
        parts.append(f'<rect class="box" x="{box.x}" y="{box.y}" width="{WIDTH}" height="{HEIGHT}" rx="10"/>')
        for offset, style, text in ((20, "name", box.name), (36, "soft", box.about), (50, "soft", box.note)):
            parts.append(f'<text class="{style}" x="{box.x + 10}" y="{box.y + offset}">{escape(text[:24])}</text>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])
