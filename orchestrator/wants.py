"""What a step wants of its provider beyond the kind of job, as far as it is known before anything is bought.

An announcement may bound what a seller takes (`takes` tags, docs/kinds.md): languages it translates into, types of
files it reads. A recipe step whose inputs or parameters lie outside is not quoted on that seller and not sent to it: a
buyer learns that a composite cannot be had before any money moves.
"""

from collections.abc import Mapping
from typing import Any

from market.announcement import INPUT
from orchestrator.recipe import Recipe, Ref, StepDoc, literal

Wants = tuple[tuple[str, str], ...]


def wants_of(recipe: Recipe, step: StepDoc, inputs: Mapping[str, Any]) -> Wants:
    """(parameter, value) pairs, and (`input`, MIME type) of files; what only the run will know is left out.

    `inputs` are the buyer's; those that are missing stand at their defaults.
    """
    wants: list[tuple[str, str]] = []
    for name, value in step.param.items():
        known = _known(recipe, inputs, value)
        if known is not None:
            wants.append((name, known))
    for entry in step.i:
        if entry[1] == "url" and (mime := _mime(recipe, entry[0])):
            wants.append((INPUT, mime))
    return tuple(dict.fromkeys(wants))


def _known(recipe: Recipe, inputs: Mapping[str, Any], text: object) -> str | None:
    ref = Ref.read(text)
    if ref is None:
        return literal(text)
    if ref.root != "inputs" or len(ref.path) != 1:
        return None
    value = inputs.get(ref.path[0], recipe.doc.inputs[ref.path[0]].get("default"))
    return None if value is None or isinstance(value, list | dict) else literal(value)


def _mime(recipe: Recipe, text: str) -> str:
    """The type of a file that is given; "" where nobody has said."""
    ref = Ref.read(text)
    if ref is None:
        return ""
    if ref.root == "inputs":
        return str(recipe.doc.inputs[ref.path[0]].get("contentMediaType", ""))
    if ref.root in recipe.steps and not ref.path:
        return recipe.steps[ref.root].out.mime
    return ""
