"""The same draft by a language model on any OpenAI-compatible server, held to a JSON schema and to the recipe's check.

What the model gives is a plan of steps, not yet a recipe. It becomes one here, `Recipe.parse` says what does not fit,
and the model may mend it. It never sees money, and what it drafts is published by nobody but a person.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from dvms.text.server import Server, ServerError
from market.kinds import JOB_HUMAN, JOB_KINDS, JOB_TEXT
from orchestrator.draft import story_schema
from orchestrator.errors import DraftError, RecipeError
from orchestrator.recipe import Recipe

TRIES: Final = 3

RULES: Final = """\
You draft recipes: graphs of jobs that are bought one by one. Rules:
- `$inputs.NAME` is an input of the buyer; `$STEP` is what an earlier step gave. Inputs are of type text or url; a file
  is given as url, words as text. Sound for a film has the marker "audio".
- Kind 5050 with the parameter format=story gives JSON: title, text, pages (a list of {prompt}). Use `$STEP.text` and
  `$STEP.title`; with `each` = `$STEP.pages` a step is bought once a page, and its input is `$each.prompt`.
- Where a step has `each`, later steps that take its files get all of them. The output is one step without `each`.
- 5820 is a person. Give such a step `instead`: a reference that takes its place when nobody does it in time.
- Use only the kinds that are sold. Every step must lead to the output. Do no more than what is asked for."""


class InputPart(BaseModel):
    name: str = Field(description="lower case, a-z and _")
    description: str


class EntryPart(BaseModel):
    value: str = Field(description="a reference such as $inputs.prompt, or words")
    type: Literal["text", "url"]
    marker: str = Field(description="audio, or empty")


class ParamPart(BaseModel):
    name: str
    value: str


class StepPart(BaseModel):
    name: str = Field(description="lower case, a-z and _")
    kind: int
    inputs: list[EntryPart]
    params: list[ParamPart]
    gives: str = Field(description="MIME type: text/plain, application/json, image/*, audio/*, video/mp4")
    each: str = Field(description="reference to a list, or empty")
    instead: str = Field(description="reference, or empty")


class PlanPart(BaseModel):
    title: str
    about: str
    inputs: list[InputPart]
    steps: list[StepPart]
    output: str = Field(description="name of the step that is delivered")


def draft(server: Server, sentence: str, prices: Mapping[int, int], *, name: str) -> dict[str, Any]:
    """A checked recipe's JSON. Raises DraftError where the model makes none in three tries; ServerError."""
    sold = "\n".join(
        f"{kind}: {JOB_KINDS[kind].title if kind in JOB_KINDS else 'unknown'}, {msat / 1000:g} sat"
        for kind, msat in sorted(prices.items())
    )
    talk: list[dict[str, str]] = [
        {"role": "system", "content": RULES},
        {"role": "user", "content": f"Sold here:\n{sold}\n\nDraft a recipe for: {sentence}"},
    ]
    problems: Sequence[str] = ()
    for _ in range(TRIES):
        try:
            plan = server.shaped(PlanPart, talk, max_tokens=3000, temperature=0.2)
        except ServerError as error:
            raise DraftError(str(error)) from None
        try:
            made = document(plan, prices, name=name)
            Recipe.parse(made)
        except RecipeError as error:
            problems = error.problems
        else:
            return made
        talk += [
            {"role": "assistant", "content": plan.model_dump_json()},
            {
                "role": "user",
                "content": "It does not fit together:\n" + "\n".join(problems) + "\nGive the whole again.",
            },
        ]
    raise DraftError(f"the language model made no recipe that fits in {TRIES} tries: {problems[0]}")


def document(plan: PlanPart, prices: Mapping[int, int], *, name: str) -> dict[str, Any]:
    """The plan as a recipe's JSON, not checked but for kinds that nobody sells. Raises RecipeError for those."""
    unsold = [
        f"steps.{step.name}: nobody sells kind {step.kind} here" for step in plan.steps if step.kind not in prices
    ]
    if unsold:
        raise RecipeError(unsold)
    return {
        "recipe": 1, "d": name, "title": plan.title[:120], "about": plan.about[:1000],
        "inputs": {
            part.name: {"type": "string", "maxLength": 2000, "description": part.description[:200]}
            for part in plan.inputs
        },
        "steps": {step.name: _step(step, prices) for step in plan.steps},
        "output": f"${plan.output.removeprefix('$')}",
        "price": {"policy": "cost-plus", "margin": 0.25},
        "seconds": 900 + sum(2 * _seconds(step) for step in plan.steps),
    }  # fmt: skip


def _step(step: StepPart, prices: Mapping[int, int]) -> dict[str, Any]:
    params = {part.name: part.value for part in step.params if part.name}
    out: dict[str, Any] = {"mime": step.gives}
    if step.kind == JOB_TEXT and params.get("format") == "story":
        out = {"mime": "application/json", "schema": story_schema()}
        params.setdefault("shots", "4")
    made: dict[str, Any] = {
        "kind": step.kind, "param": params, "out": out, "seconds": _seconds(step),
        "i": [[part.value, part.type, *([part.marker] if part.marker else [])] for part in step.inputs],
        "max_msat": max(20_000, 2 * prices[step.kind]),
    }  # fmt: skip
    if step.gives == "video/mp4":
        made["gate"] = {"silent": True}
    made |= {"each": step.each} if step.each else {}
    return made | ({"instead": step.instead} if step.instead else {})


def _seconds(step: StepPart) -> int:
    return 7200 if step.kind == JOB_HUMAN else 300
