"""Does a recipe fit together? Every reference, followed through the types of what the steps deliver.

Three types meet here: JSON with a schema, text, and a file of some MIME type; and a list of either, from `each`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from market.kinds import (
    JOB_ANIMATION,
    JOB_EXTRACTION,
    JOB_HUMAN,
    JOB_IMAGE,
    JOB_MUSIC,
    JOB_SPEECH,
    JOB_SUMMARY,
    JOB_TRANSLATION,
    JOB_VIDEO,
)
from market.tags import is_http_url
from orchestrator.recipe import Document, Ref, StepDoc, stand_in, stand_ins, waits_for

# What url inputs each kind can use, by marker ("" = none). A kind that is not listed takes anything.
URL_INPUTS: Final[Mapping[int, Mapping[str, tuple[str, ...]]]] = {
    JOB_ANIMATION: {"": ("image/*",)},
    JOB_VIDEO: {"": ("image/*", "video/*", "audio/*"), "audio": ("audio/*",)},
    JOB_EXTRACTION: {"": ("audio/*", "video/*", "image/*", "application/pdf", "text/*")},
}
# Kinds that want at least one text input.
TEXT_ONLY: Final = frozenset({JOB_IMAGE, JOB_MUSIC, JOB_SPEECH, JOB_SUMMARY, JOB_TRANSLATION})
MILESTONE_MSAT: Final = 10_000_000  # a person waits for no more than this until something is paid


@dataclass(frozen=True, slots=True)
class Type:
    """What a reference stands for. `schema` for JSON and text, `mime` for a file, `many` for a list of it."""

    schema: Mapping[str, Any] | None = None
    mime: str | None = None
    many: bool = False
    item: "Type | None" = None  # what a fanned-out step ran on, for `$each.each`

    @property
    def is_file(self) -> bool:
        return self.mime is not None

    @property
    def is_url(self) -> bool:
        return self.is_file or (self.schema is not None and self.schema.get("format") == "uri" and not self.many)

    @property
    def words(self) -> str:
        one = f"a file of {self.mime}" if self.is_file else str((self.schema or {}).get("type"))
        return f"a list of {one}" if self.many else one


class _Unfit(Exception):
    """A reference that leads nowhere; the message says why."""


def type_problems(doc: Document, needs: Mapping[str, frozenset[str]], spares: frozenset[str]) -> Iterator[str]:
    """Everything that would go wrong when the recipe runs."""
    order = waits_for(doc, needs, spares)
    loop = _circular(needs) or _circular(order)
    if loop:
        yield f"steps.{loop[0]}: waits for itself through {' -> '.join(loop)}"
        return
    for name in doc.steps:
        yield from _step_problems(doc, needs, name)
    output = Ref.read(doc.output)
    if output is None or output.path or output.root not in doc.steps:
        yield "output: must be a reference to a step, such as $cut"
        return
    if doc.steps[output.root].each:
        yield f"output: {output.root!r} is fanned out; the output is one artefact"
    if doc.steps[output.root].optional:
        yield f"output: {output.root!r} is optional"
    wanted = _ancestors(output.root, order)
    for name, step in doc.steps.items():
        if name not in wanted and not step.optional and name not in spares:
            yield f"steps.{name}: nothing in the output uses it; remove it or mark it optional"
    if doc.price.policy == "fixed" and doc.price.msat is None:
        yield "price.msat: is needed with policy fixed"


def _step_problems(doc: Document, needs: Mapping[str, frozenset[str]], name: str) -> Iterator[str]:
    at, step = f"steps.{name}", doc.steps[name]
    if step.out.schema_ is not None and step.out.mime != "application/json":
        yield f"{at}.out.mime: must be application/json where a schema is given"
    if step.ask == "open" and (step.p or step.buy > 1):
        yield f"{at}.ask: open goes neither with `p` nor with `buy` above 1"
    if step.buy > 1 and step.pick == "first" and step.buy > step.tries:
        yield f"{at}.tries: must be at least buy ({step.buy})"
    yield from _people_problems(step, at)
    if step.instead is not None:
        yield from _stand_in_problems(doc, needs, name)
    if step.least is not None and (step.each is None or step.least > step.most):
        yield f"{at}.least: needs `each`, and at most `most` ({step.most})"
    if step.each is not None:
        try:
            source = _type_of(doc, step, step.each)
            if not (source.many or (source.schema or {}).get("type") == "array"):
                yield f"{at}.each: {step.each} is {source.words}, not a list"
        except _Unfit as error:
            yield f"{at}.each: {error}"
            return
    for index, entry in enumerate(step.i):
        yield from _input_problems(doc, step, entry, f"{at}.i[{index}]")
    if (
        step.kind in TEXT_ONLY
        and all(entry[1] == "url" for entry in step.i)
        and step.kind not in (JOB_SUMMARY, JOB_TRANSLATION)
    ):
        yield f"{at}.i: kind {step.kind} needs a text input"
    for key, value in (
        *step.param.items(),
        ("min_seconds", step.gate.min_seconds),
        ("max_seconds", step.gate.max_seconds),
    ):
        try:
            found = _type_of(doc, step, value) if Ref.read(value) else None
        except _Unfit as error:
            yield f"{at}.param.{key}: {error}"
            continue
        if found is not None and (found.is_file or found.many):
            yield f"{at}.param.{key}: {value} is {found.words}; a parameter is a single value"


def _people_problems(step: StepDoc, at: str) -> Iterator[str]:
    """What people are owed: large sums in parts; and judges that can do what they are asked."""
    judge = step.gate.judge
    for who, part in ((at, step), (f"{at}.gate.judge", judge)):
        if part is not None and part.kind == JOB_HUMAN and part.max_msat > MILESTONE_MSAT:
            words = f"work by people above {MILESTONE_MSAT // 1000} sat is paid in milestones"
            yield f"{who}.max_msat: {words}: make steps of it, each paid when it is delivered"
    if judge is not None and judge.form == "rank" and (step.buy < 2 or step.pick != "best"):
        yield f"{at}.gate.judge.form: rank compares several: it needs buy of 2 or more, and pick best"


def _stand_in_problems(doc: Document, needs: Mapping[str, frozenset[str]], name: str) -> Iterator[str]:
    at, step = f"steps.{name}.instead", doc.steps[name]
    ref = stand_in(step)
    if ref is None:
        yield f"{at}: must be a reference, such as $story.text or $another_step"
        return
    if step.each is not None or step.optional:
        yield f"{at}: goes neither with `each` nor with `optional`"
        return
    try:
        found = _type_of(doc, None, step.instead)
    except _Unfit as error:
        yield f"{at}: {error}"
        return
    if name in stand_ins(doc, name) or (ref.root in doc.steps and name in _ancestors(ref.root, needs)):
        yield f"{at}: {step.instead} waits for this step itself"
    if doc.output == f"${name}" and (ref.path or ref.root not in doc.steps):
        yield f"{at}: the output needs a whole step in its place"
    if step.out.mime == "application/json":
        fits = found.schema == (step.out.schema_ or {"type": "string"})
    elif _is_text(step.out.mime):
        fits = (found.schema or {}).get("type") == "string"
    else:
        fits = found.is_file and _overlap(found.mime or "", step.out.mime)
    if found.many or not fits:
        yield f"{at}: {step.instead} is {found.words}; this step gives {step.out.mime}"


def _input_problems(doc: Document, step: StepDoc, entry: list[str], at: str) -> Iterator[str]:
    value, kind = entry[0], entry[1]
    marker = entry[2] if len(entry) > 2 else ""
    if kind not in ("text", "url"):
        yield f"{at}: type {kind!r} is not text or url (a step gets plain inputs, so that every provider can serve it)"
        return
    if Ref.read(value) is None:
        if kind == "url" and not is_http_url(value):
            yield f"{at}: {value[:80]!r} is not a http(s) address"
        return
    try:
        found = _type_of(doc, step, value)
    except _Unfit as error:
        yield f"{at}: {error}"
        return
    if kind == "text" and found.is_file:
        yield f"{at}: {value} is {found.words}; give it as type url"
    if kind == "url" and not found.is_url:
        yield f"{at}: {value} is {found.words}, not a file or URL"
    taken = URL_INPUTS.get(step.kind, {})
    if kind == "url" and found.mime and taken:
        globs = taken.get(marker, taken[""])
        if not any(_overlap(found.mime, glob) for glob in globs):
            yield f"{at}: {value} is {found.words}; kind {step.kind} takes {' or '.join(globs)}"


def _type_of(doc: Document, step: StepDoc | None, text: object) -> Type:
    ref = Ref.read(text)
    assert ref is not None
    if ref.root == "inputs":
        if len(ref.path) < 1 or ref.path[0] not in doc.inputs:
            raise _Unfit(f"{text} names no input; known are {', '.join(doc.inputs)}")
        return _walk(Type(schema=doc.inputs[ref.path[0]]), ref.path[1:], text)
    if ref.root == "each":
        if step is None or step.each is None:
            raise _Unfit(f"{text} stands in a step without `each`")
        return _walk(_element(_type_of(doc, None, step.each), step.each), ref.path, text)
    if ref.root not in doc.steps:
        raise _Unfit(f"{text} names no step; known are {', '.join(doc.steps)}")
    source = doc.steps[ref.root]
    mime = source.out.mime
    one = Type(schema=source.out.schema_ or {"type": "string"}) if _is_text(mime) else Type(mime=mime)
    if source.each is not None:
        if ref.path:
            raise _Unfit(f"{text}: {ref.root!r} is fanned out, so it is a list and has no fields")
        return Type(one.schema, one.mime, many=True, item=_element(_type_of(doc, None, source.each), source.each))
    return _walk(one, ref.path, text)


def _element(source: Type, text: object) -> Type:
    if source.many:
        return Type(source.schema, source.mime, item=source.item)
    if (source.schema or {}).get("type") != "array":
        raise _Unfit(f"{text} is {source.words}, not a list")
    items = (source.schema or {}).get("items")
    if items is None:
        raise _Unfit(f"{text}: its schema does not say what the items are")
    return Type(schema=items)


def _walk(start: Type, path: tuple[str, ...], text: object) -> Type:
    here = start
    for name in path:
        if name == "each" and here.item is not None:
            here = here.item
            continue
        properties = (here.schema or {}).get("properties", {})
        if here.is_file or name not in properties:
            raise _Unfit(f"{text}: {here.words} has no field {name!r}")
        here = Type(schema=properties[name])
    return here


def _is_text(mime: str) -> bool:
    return mime.startswith("text/") or mime == "application/json"


def _overlap(one: str, other: str) -> bool:
    return fnmatchcase(one, other) or fnmatchcase(other, one)


def _circular(needs: Mapping[str, frozenset[str]]) -> list[str] | None:
    rest = dict(needs)
    while free := [name for name, parts in rest.items() if not parts & rest.keys()]:
        for name in free:
            del rest[name]
    if not rest:
        return None
    path = [next(iter(rest))]
    while True:
        step = next(iter(sorted(rest[path[-1]] & rest.keys())))
        if step in path:
            return [*path[path.index(step) :], step]
        path.append(step)


def _ancestors(name: str, needs: Mapping[str, frozenset[str]]) -> set[str]:
    """The step and everything it waits for; each is looked at once, however many ways lead to it."""
    found, rest = {name}, [name]
    while rest:
        fresh = needs[rest.pop()] - found
        found |= fresh
        rest += fresh
    return found
