"""References at run time: what `$story.shots` or `$each.prompt` stands for once the steps before it are accepted.

A value is a JSON value or an `Artefact`; a fanned-out step is the list of its units' values, failed units left out.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from orchestrator.recipe import Ref, literal
from orchestrator.run import Artefact, Run, Unit, json_of


class Unresolved(Exception):
    """The reference leads nowhere: a field that the provider left out, or an optional step that failed."""


@dataclass(frozen=True, slots=True)
class Given:
    """One resolved input of an order. `sha256` is the hash of the file or text, for lineage."""

    value: str
    type: str
    marker: str
    sha256: str
    parent: str = ""  # result event of the step it came from


def resolve(run: Run, unit: Unit | None, text: object) -> Any:
    """The value of a reference or literal. Raises Unresolved."""
    ref = Ref.read(text)
    if ref is None:
        return literal(text)
    return _follow(run, unit, ref, str(text))


def count_of(run: Run, name: str) -> int:
    """How many units a step has: one, or with `each` one an item, cut to `most`. Raises Unresolved."""
    doc, source = run.doc(name), run.recipe.fanned_source(name)
    if doc.each is None:
        return 1
    return min(run.fans[source], doc.most) if source else len(_items(run, name))


def parent_of(run: Run, unit: Unit) -> Unit | None:
    """The unit of another fanned-out step on whose artefact this one works; None where it works on something else."""
    source = run.recipe.fanned_source(unit.name)
    return run.units.get((source, unit.idx)) if source else None


def _items(run: Run, name: str) -> list[Any]:
    """The values that a step with `each` runs on, cut to `most`."""
    doc = run.doc(name)
    value = resolve(run, None, doc.each)
    if not isinstance(value, list):
        raise Unresolved(f"{doc.each} is not a list")
    return value[: doc.most]


def as_text(value: Any) -> str:
    """A JSON value as the text of an input: lists of strings as lines, structures as JSON."""
    if isinstance(value, Artefact):
        return value.text or ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return json.dumps(value, ensure_ascii=False)


def inputs_of(run: Run, unit: Unit) -> list[Given]:
    """The `i` tags of an order. Entries of a failed optional step are left out. Raises Unresolved."""
    found: list[Given] = []
    for entry in run.doc(unit).i:
        marker = entry[2] if len(entry) > 2 else ""
        ref = Ref.read(entry[0])
        if "~" in unit.name and entry[0] == "$artefact":
            for artefact in run.judged(unit):
                shown = artefact.url if entry[1] == "url" else artefact.text or ""
                found.append(Given(shown, entry[1], marker, artefact.sha256))
            continue
        if ref is not None and ref.root in run.recipe.steps and _skipped(run, ref.root):
            continue
        value = resolve(run, unit, entry[0])
        many = isinstance(value, list) and entry[1] == "url"
        for one in value if many else [value]:
            shown = one.url if entry[1] == "url" and isinstance(one, Artefact) else as_text(one)
            if not shown:
                raise Unresolved(f"{entry[0]} is empty")
            sha = one.sha256 if isinstance(one, Artefact) else hashlib.sha256(shown.encode()).hexdigest()
            found.append(Given(shown, entry[1], marker, sha, _parent(run, sha)))
    return found


def params_of(run: Run, unit: Unit) -> dict[str, str]:
    """The `param` tags of an order; a parameter whose reference leads nowhere is left out."""
    params = {}
    for name, text in run.doc(unit).param.items():
        try:
            params[name] = as_text(resolve(run, unit, text))
        except Unresolved:
            continue
    return params


def number(run: Run, unit: Unit, text: int | str | None) -> float | None:
    """A gate's limit that may be a reference."""
    if text is None or isinstance(text, int):
        return text
    try:
        return float(as_text(resolve(run, unit, text)))
    except (Unresolved, ValueError):
        return None


def cache_key(run: Run, unit: Unit) -> str:
    """Signature of everything that goes into this unit: same key, same work (and nothing is bought twice)."""
    doc = run.doc(unit)
    signature = {
        "kind": doc.kind,
        "i": [[given.sha256, given.type, given.marker] for given in inputs_of(run, unit)],
        "param": params_of(run, unit),
        "out": doc.out.model_dump(by_alias=True, exclude_defaults=True),
        "gate": doc.gate.model_dump(exclude_defaults=True),
        "p": sorted(doc.p),
        "idx": unit.idx,
        "for": "" if doc.cache == "public" else run.buyer,
    }
    return hashlib.sha256(json.dumps(signature, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _follow(run: Run, unit: Unit | None, ref: Ref, text: str) -> Any:
    if ref.root == "inputs":
        return _walk(run.inputs, ref.path, text)
    if ref.root == "each":
        if unit is None:
            raise Unresolved(f"{text} outside a fan-out")
        return _each(run, unit.name, unit.idx, ref.path, text)
    if run.doc(ref.root).each is not None:
        return [unit.artefact for unit in run.units_of(ref.root) if unit.artefact is not None]
    units = run.units_of(ref.root)
    if not units or units[0].artefact is None:
        raise Unresolved(f"{text}: step {ref.root!r} has no result")
    return _value(run, ref.root, units[0].artefact, ref.path, text)


def _each(run: Run, name: str, idx: int, path: tuple[str, ...], text: str) -> Any:
    """The item of unit `idx`; `$each.each` is the item that the parent unit itself ran on."""
    if (source := run.recipe.fanned_source(name)) is not None:
        if path[:1] == ("each",):
            return _each(run, source, idx, path[1:], text)
        artefact = run.units[source, idx].artefact
        if artefact is None:
            raise Unresolved(f"{text}: {source}[{idx}] has no result")
        return _value(run, source, artefact, path, text)
    items = _items(run, name)
    if idx >= len(items):
        raise Unresolved(f"{text}: there is no item {idx}")
    return _walk(items[idx], path, text)


def _value(run: Run, name: str, artefact: Artefact, path: tuple[str, ...], text: str) -> Any:
    if run.doc(name).out.mime == "application/json" and path:
        return _walk(json_of(artefact), path, text)
    if path:
        raise Unresolved(f"{text}: a file has no fields")
    return artefact


def _walk(value: Any, path: tuple[str, ...], text: str) -> Any:
    for name in path:
        if not isinstance(value, dict | type(None)) and not hasattr(value, "get"):
            raise Unresolved(f"{text}: no field {name!r}")
        if value is None or name not in value:
            raise Unresolved(f"{text}: no field {name!r}")
        value = value[name]
    return value


def _skipped(run: Run, name: str) -> bool:
    units = run.units_of(name)
    return run.doc(name).optional and bool(units) and not any(unit.done for unit in units)


def _parent(run: Run, sha256: str) -> str:
    for unit in run.units.values():
        if unit.artefact is not None and unit.artefact.sha256 == sha256 and unit.accepted is not None:
            return unit.accepted.result_id
    return ""
