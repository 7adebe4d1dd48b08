"""A recipe: a graph of steps that Timmy buys, as JSON in an addressable event of kind 35990.

The whole language is `$name.path` references and `each`; no expressions, no loops. `Recipe.parse` accepts a document
only if it can run: every reference resolves, every type fits, nothing is circular, limits hold. What is refused says
which step and which field. `docs/chaining.md` describes the format; `docs/recipe.schema.json` is made from this model.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from market.kinds import JOB_COMPOSITE, RECIPE
from nostr.event import Event
from nostr.nip19 import parse_pubkey
from orchestrator.errors import InputError, RecipeError
from orchestrator.schema import from_text, schema_problems, value_problems

MAX_STEPS: Final = 32
MAX_FAN: Final = 16
MAX_BYTES: Final = 16 * 1024
MAX_AUTHORS: Final = 16

_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Amount = Annotated[int, Field(ge=0, le=10**12)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Out(_Part):
    """What a step delivers."""

    mime: str = Field(
        default="text/plain", pattern=r"^[a-z0-9.+-]+/([a-z0-9.+-]+|\*)$", description="MIME type or `audio/*`."
    )
    schema_: dict[str, Any] | None = Field(
        default=None, alias="schema", description="For application/json: the JSON Schema of the answer (subset)."
    )


class Judge(_Part):
    """Another service or a person who looks at the artefact before it is accepted (gate G2).

    yes-no  each artefact by itself: yes passes
    score   each by itself, 0 to 10: `least` passes, and `pick: best` takes the highest
    rank    all of `buy` beside each other, once: `pick: best` takes the first
    """

    kind: int = Field(
        default=5820, ge=5000, le=5999, description="Job kind of the judge: 5820 a person, 5050 a text model."
    )
    ask: str = Field(
        min_length=1, max_length=500, description="The question. The answer begins with yes or no, a number, or 2 1 3."
    )
    form: Literal["yes-no", "score", "rank"] = Field(default="yes-no", description="What kind of answer is asked for.")
    least: int = Field(default=6, ge=0, le=10, description="With form score: what passes.")
    max_msat: Amount = Field(default=10_000, description="Most to pay for one verdict, msat.")
    seconds: int = Field(default=600, ge=5, le=86400, description="How long to wait for the verdict.")
    optional: bool = Field(default=True, description="True: without a verdict in time, the other gates decide.")


class Gate(_Part):
    """What an artefact must hold. Blank pictures and silent sound never pass unless allowed here."""

    min_seconds: int | str | None = Field(
        default=None, description="Least duration; a tenth less is forgiven. May be a reference."
    )
    max_seconds: int | str | None = Field(
        default=None, description="Most duration; a tenth more is forgiven. May be a reference."
    )
    min_width: int | None = Field(default=None, ge=1, description="Least width in pixels.")
    min_height: int | None = Field(default=None, ge=1, description="Least height in pixels.")
    min_chars: int | None = Field(default=None, ge=1, description="Least length of a text.")
    max_chars: int | None = Field(default=None, ge=1, description="Most length of a text.")
    max_bytes: int = Field(default=64 * 2**20, ge=1, le=2**31, description="Largest file that is downloaded.")
    blank: bool = Field(default=False, description="True: a picture of one colour is fine.")
    silent: bool = Field(
        default=False, description="True: sound may be silence, and a video may have no sound track at all."
    )
    sound: bool = Field(default=False, description="True: a video must carry a sound track.")
    judge: Judge | None = Field(default=None, description="Ask somebody (gate G2).")


class StepDoc(_Part):
    """One thing to buy."""

    kind: int = Field(ge=5000, le=5999, description="Job kind (NIP-90).")
    each: str | None = Field(default=None, description="Reference to a list: the step is bought once for every item.")
    most: int = Field(default=8, ge=1, le=MAX_FAN, description="Items beyond this many are dropped.")
    least: int | None = Field(
        default=None, ge=1, le=MAX_FAN, description="With `each`: this many good items are enough."
    )
    i: list[Annotated[list[str], Field(min_length=2, max_length=3)]] = Field(
        min_length=1, max_length=16, description="Inputs: [value or reference, text|url, marker]."
    )
    param: dict[str, str | int | float | bool] = Field(default={}, description="Parameters: values or references.")
    out: Out = Out()
    gate: Gate = Gate()
    max_msat: Amount = Field(default=100_000, description="Most to pay for one try, msat.")
    tries: int = Field(default=3, ge=1, le=10, description="Providers tried before the step fails.")
    seconds: int = Field(default=300, ge=1, le=7 * 86400, description="How long one try may take.")
    buy: int = Field(default=1, ge=1, le=4, description="Bought this many times at once, from different providers.")
    pick: Literal["first", "best"] = Field(
        default="first", description="Of several: the first good one, or the best by its gates."
    )
    optional: bool = Field(default=False, description="The composite is delivered without it if need be.")
    instead: str | None = Field(
        default=None,
        description="What takes its place where nobody delivered it: a reference to a text, or to a step."
        " A step that is named by nothing else is a spare: it is bought only then.",
    )
    ask: Literal["listed", "open"] = Field(
        default="listed",
        description="open: the order is called out to everybody, and the best of the bills that come is paid.",
    )
    p: list[str] = Field(default=[], max_length=16, description="Only these providers (hex or npub).")
    cache: Literal["buyer", "public", "off"] = Field(
        default="buyer", description="Who may be served from an earlier run."
    )

    @property
    def pinned(self) -> tuple[str, ...]:
        """The providers of `p`, in hex."""
        return tuple(parse_pubkey(key) for key in self.p)

    def judged_by(self) -> "StepDoc":
        """The step that hires this step's judge; its inputs are the artefact and the question."""
        judge = self.gate.judge
        assert judge is not None
        kind = "text" if self.out.mime.startswith("text/") or self.out.mime == "application/json" else "url"
        question = [[judge.ask, "text"]] if judge.form != "rank" else []  # whoever ranks numbers the inputs
        return StepDoc(
            kind=judge.kind, i=[["$artefact", kind], *question], param={"form": judge.form, "title": judge.ask[:200]},
            max_msat=judge.max_msat, seconds=judge.seconds, tries=1, cache="off",
        )  # fmt: skip


class Price(_Part):
    """How the composite is priced."""

    policy: Literal["cost-plus", "fixed"] = "cost-plus"
    margin: float | None = Field(
        default=None, ge=0, le=10, description="Margin over break-even; the operator's minimum holds."
    )
    min_msat: Amount = Field(default=0, description="Never cheaper than this.")
    msat: Amount | None = Field(default=None, description="The price, with policy fixed.")


class Origin(_Part):
    """The published recipe that this one was forked from."""

    id: str = Field(pattern=r"^[0-9a-f]{64}$", description="Its event id.")
    address: str = Field(default="", max_length=200, description="Its address, 35990:key:name.")


class Document(_Part):
    """The recipe's JSON, as it stands in the event's content."""

    recipe: Literal[1] = Field(default=1, description="Version of this format.")
    d: Slug = Field(description="Its name in addresses.")
    title: str = Field(min_length=1, max_length=120)
    about: str = Field(default="", max_length=1000)
    inputs: dict[Name, dict[str, Any]] = Field(min_length=1, max_length=16, description="JSON Schema of each input.")
    steps: dict[Name, StepDoc] = Field(min_length=1, max_length=MAX_STEPS)
    output: str = Field(description="Reference to the step whose artefact is delivered.")
    price: Price = Price()
    seconds: int = Field(default=900, ge=10, le=30 * 86400, description="How long the whole run may take once paid.")
    license: str = Field(default="CC0-1.0", max_length=64)
    forked: Origin | None = Field(default=None, description="Where it comes from.")


@dataclass(frozen=True, slots=True)
class Ref:
    """`$root.path`: an input, a step, or the item of a fan-out."""

    root: str
    path: tuple[str, ...]

    @classmethod
    def read(cls, text: object) -> "Ref | None":
        """None for a literal. `$$` begins a literal dollar."""
        if not isinstance(text, str) or not text.startswith("$") or text.startswith("$$"):
            return None
        root, *path = text[1:].split(".")
        return cls(root, tuple(path))


def literal(text: object) -> str:
    """A literal as the text of a tag."""
    if isinstance(text, bool):
        return "true" if text else "false"
    return str(text).replace("$$", "$", 1) if str(text).startswith("$$") else str(text)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A checked recipe. `order` lists the steps so that each comes after what it needs.

    `spares` are the steps that only stand in for others (`instead`).
    """

    doc: Document
    order: tuple[str, ...]
    needs: Mapping[str, frozenset[str]]
    spares: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, source: str | bytes | Mapping[str, Any]) -> "Recipe":
        """Read and check a document. Raises RecipeError with every problem found."""
        if isinstance(source, str | bytes) and len(source) > MAX_BYTES:
            raise RecipeError([f"recipe: larger than {MAX_BYTES} bytes"])
        try:
            source = json.loads(source) if isinstance(source, str | bytes) else source
            problems = list(_text_problems(source, "recipe"))
        except ValueError as error:
            raise RecipeError([f"recipe: not JSON: {error}"]) from None
        except RecursionError:
            raise RecipeError(["recipe: nested too deeply"]) from None
        if problems:
            raise RecipeError(problems)
        try:
            doc = Document.model_validate(source)
        except ValidationError as error:
            raise RecipeError([_pydantic_problem(item) for item in error.errors()]) from None
        problems = [p for name, schema in doc.inputs.items() for p in schema_problems(schema, f"inputs.{name}")]
        for name, step in doc.steps.items():
            problems += schema_problems(step.out.schema_, f"steps.{name}.out.schema") if step.out.schema_ else []
            problems += [f"steps.{name}.p: {key!r} is no public key" for key in step.p if not _is_pubkey(key)]
        if problems:
            raise RecipeError(problems)
        needs = {
            name: frozenset(ref.root for ref in step_refs(step)) & doc.steps.keys() for name, step in doc.steps.items()
        }
        from orchestrator.typecheck import type_problems

        spares = spare_steps(doc, needs)
        problems = list(type_problems(doc, needs, spares))
        if problems:
            raise RecipeError(problems)
        return cls(doc, tuple(_sorted(waits_for(doc, needs, spares))), needs, spares)

    @property
    def d(self) -> str:
        return self.doc.d

    @property
    def steps(self) -> Mapping[str, StepDoc]:
        return self.doc.steps

    @property
    def output(self) -> str:
        """Name of the step whose artefact is the composite."""
        ref = Ref.read(self.doc.output)
        assert ref is not None
        return ref.root

    @property
    def output_mime(self) -> str:
        return self.steps[self.output].out.mime

    def fanned_source(self, name: str) -> str | None:
        """The fanned-out step whose artefacts this step's `each` runs over, unit by unit; None for any other list."""
        ref = Ref.read(self.steps[name.partition("~")[0]].each)
        return ref.root if ref is not None and ref.root in self.steps and self.steps[ref.root].each else None

    def stream(self, name: str) -> str | None:
        """The same where nothing else of the step needs all of it: each unit begins as soon as its item is there."""
        source = self.fanned_source(name)
        return source if sum(ref.root == source for ref in step_refs(self.steps[name])) == 1 else None

    def dispensable(self, name: str) -> bool:
        """Whether the composite can be sold while nobody offers this step."""
        return self.steps[name].optional or self.steps[name].instead is not None or name in self.spares

    def dumps(self) -> str:
        """The document as compact JSON, defaults left out: the content of its event."""
        return json.dumps(self.doc.model_dump(by_alias=True, exclude_defaults=True) | {"recipe": 1}, ensure_ascii=False)

    def check_inputs(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Inputs with defaults filled in. Raises InputError in the buyer's words."""
        unknown = sorted(given.keys() - self.doc.inputs.keys())
        if unknown:
            raise InputError(f"unknown input {', '.join(unknown)}; known are {', '.join(self.doc.inputs)}")
        values: dict[str, Any] = {}
        for name, schema in self.doc.inputs.items():
            if name in given:
                values[name] = given[name]
            elif "default" in schema:
                values[name] = schema["default"]
            else:
                raise InputError(f"input {name!r} is missing")
            problem = next(value_problems(schema, values[name], name), None)
            if problem:
                raise InputError(problem)
        return values

    def read_inputs(self, texts: list[tuple[str, str]], params: Mapping[str, list[str]]) -> dict[str, Any]:
        """Inputs from a job request: parameters by name; `i` tags fill what is left, in order, by type.

        `texts` are (value, type) pairs with type text or url. Raises InputError.
        """
        given: dict[str, Any] = {}
        for name, schema in self.doc.inputs.items():
            if params.get(name):
                try:
                    given[name] = from_text(schema, params[name][0])
                except ValueError as error:
                    raise InputError(f"{name} {error}") from None
        rest = list(texts)
        for name, schema in self.doc.inputs.items():
            wanted = "url" if schema.get("format") == "uri" else "text"
            place = next((n for n, (_, kind) in enumerate(rest) if kind == wanted), None)
            if name not in given and place is not None and schema["type"] == "string":
                given[name] = rest.pop(place)[0]
        return self.check_inputs(given)


def stand_in(step: StepDoc) -> Ref | None:
    """What takes the place of a step that nobody delivered."""
    return Ref.read(step.instead)


def spare_steps(doc: Document, needs: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Steps that are named by `instead` and by nothing else."""
    used = frozenset().union(*needs.values())
    named = {ref.root for step in doc.steps.values() if (ref := stand_in(step))}
    output = Ref.read(doc.output)
    return frozenset(named & doc.steps.keys() - used - ({output.root} if output else set()))


def stand_ins(doc: Document, name: str) -> list[str]:
    """The steps that follow each other in place of this one, the first first."""
    found: list[str] = []
    while (ref := stand_in(doc.steps[name])) is not None and ref.root in doc.steps and ref.root not in found:
        name = ref.root
        found.append(name)
    return found


def waits_for(
    doc: Document, needs: Mapping[str, frozenset[str]], spares: frozenset[str]
) -> Mapping[str, frozenset[str]]:
    """`needs` as an order of buying: a spare comes after the step it stands in for, and before whoever uses that."""
    before: dict[str, frozenset[str]] = {}
    for name, parts in needs.items():
        substitutes = {other for part in parts for other in stand_ins(doc, part) if other != name}
        helped = {other for other in doc.steps if name in spares and stand_ins(doc, other)[:1] == [name]}
        before[name] = parts | substitutes | helped
    return before


def step_refs(step: StepDoc) -> Iterator[Ref]:
    """Every reference of a step but its stand-in, for which it does not wait."""
    for value in (
        step.each,
        *(entry[0] for entry in step.i),
        *step.param.values(),
        step.gate.min_seconds,
        step.gate.max_seconds,
    ):
        if (ref := Ref.read(value)) is not None:
            yield ref


# --- the event ------------------------------------------------------------------------------------------------------


def recipe_tags(recipe: Recipe, author: str, *, parent: Event | None = None, relay: str = "") -> list[list[str]]:
    """Tags of the recipe's event (35990). `parent` is the recipe it was forked from, whose author gets the zap tag."""
    doc = recipe.doc
    tags = [["d", doc.d], ["title", doc.title]]
    tags += [["k", str(kind)] for kind in sorted({step.kind for step in doc.steps.values()})]
    tags.append(["K", str(JOB_COMPOSITE)])
    tags += [["in", name, str(schema["type"])] for name, schema in doc.inputs.items()]
    tags.append(["out", recipe.output_mime])
    if parent is not None:
        tags.append(["a", parent.address, relay, "fork"])
        tags.append(["e", parent.id, relay, "fork"])
        tags += [list(tag) for tag in parent.tagged("zap")[:MAX_AUTHORS]] or [["zap", parent.pubkey, relay, "1"]]
    elif doc.forked is not None:
        origin = doc.forked.address.split(":")
        tags += [["a", doc.forked.address, relay, "fork"]] if len(origin) > 2 else []
        tags.append(["e", doc.forked.id, relay, "fork"])
        tags.append(["zap", origin[1] if len(origin) > 2 and _is_pubkey(origin[1]) else author, relay, "1"])
    else:
        tags.append(["zap", author, relay, "1"])
    return [*tags, ["license", doc.license], ["alt", f"Recipe: {doc.title}"]]


def from_event(event: Event) -> Recipe:
    """The recipe of a 35990 event. Raises RecipeError."""
    if event.kind != RECIPE:
        raise RecipeError([f"recipe: kind {event.kind} is not {RECIPE}"])
    recipe = Recipe.parse(event.content)
    if event.first("d") != recipe.d:
        raise RecipeError([f"d: the tag says {event.first('d')!r}, the content {recipe.d!r}"])
    return recipe


def royalty_keys(event: Event) -> list[tuple[str, int]]:
    """(public key, weight) of those who share the royalty: the first `zap` tags of NIP-57 appendix G."""
    found = []
    for tag in event.tagged("zap")[:MAX_AUTHORS]:
        weight = tag[3] if len(tag) > 3 else "1"
        if len(tag) > 1 and _is_pubkey(tag[1]) and weight.isascii() and weight.isdigit() and int(weight) > 0:
            found.append((parse_pubkey(tag[1]), int(weight)))
    return found


# --- helpers --------------------------------------------------------------------------------------------------------


def editor_schema() -> dict[str, Any]:
    """The JSON Schema of the document, for editors (`docs/recipe.schema.json`)."""
    schema = Document.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Timmy recipe", **schema}


def _sorted(needs: Mapping[str, frozenset[str]]) -> Iterator[str]:
    done: set[str] = set()
    while len(done) < len(needs):
        for name in needs:
            if name not in done and needs[name] <= done:
                done.add(name)
                yield name


def _text_problems(value: object, at: str) -> Iterator[str]:
    """Texts of a stranger that command a terminal or turn the direction of a line."""
    if isinstance(value, str) and (bad := _UNSEEN.search(value)):
        yield f"{at}: holds a control character (U+{ord(bad.group()):04X})"
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _text_problems(str(name), at)
            yield from _text_problems(part, f"{at}.{name}" if at != "recipe" else str(name))
    elif isinstance(value, list):
        for part in value:
            yield from _text_problems(part, at)


def _is_pubkey(text: str) -> bool:
    try:
        parse_pubkey(text)
    except ValueError:
        return False
    return True


def _pydantic_problem(error: Any) -> str:
    place = ""
    for part in error["loc"]:
        if part == "[key]":
            continue
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    return f"{place or 'recipe'}: {error['msg'][:1].lower()}{error['msg'][1:]}"


if __name__ == "__main__":
    print(json.dumps(editor_schema(), indent=2))
