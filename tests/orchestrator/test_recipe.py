"""Recipes: what is accepted can run; what is refused says which step and which field."""

import json
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostr.key import SecretKey
from orchestrator.errors import InputError, RecipeError
from orchestrator.recipe import Recipe, editor_schema, from_event, royalty_keys
from orchestrator.shelf import read, shipped
from orchestrator.storefront import params_of, recipe_event

ROOT = Path(__file__).parents[2]
LIST = {"type": "array", "items": {"type": "object", "properties": {"prompt": {"type": "string"}}}}
GOOD: dict[str, Any] = {
    "d": "film", "title": "Film", "output": "$cut",
    "inputs": {
        "prompt": {"type": "string", "maxLength": 20},
        "seconds": {"type": "integer", "minimum": 8, "maximum": 60, "default": 20},
    },
    "steps": {
        "story": {
            "kind": 5050, "i": [["$inputs.prompt", "text"]],
            "out": {"mime": "application/json", "schema": {"type": "object", "properties": {"shots": LIST}}},
        },
        "frame": {"kind": 5100, "each": "$story.shots", "i": [["$each.prompt", "text"]], "out": {"mime": "image/png"}},
        "clip": {
            "kind": 5202, "each": "$frame", "i": [["$each", "url"]], "param": {"about": "$each.each.prompt"},
            "out": {"mime": "video/*"},
        },
        "cut": {
            "kind": 5203, "i": [["$clip", "url"]], "param": {"seconds": "$inputs.seconds"},
            "out": {"mime": "video/mp4"},
        },
    },
}  # fmt: skip


def changed(*path: str, to: object) -> dict[str, Any]:
    doc = deepcopy(GOOD)
    here: Any = doc
    for name in path[:-1]:
        here = here.setdefault(name, {})
    if to is None:
        del here[path[-1]]
    else:
        here[path[-1]] = to
    return doc


@pytest.mark.parametrize("path", shipped().values(), ids=lambda path: path.stem)
def test_shipped_recipes_fit_and_carry_their_name(path: Path) -> None:
    recipe = read(path)
    assert recipe.d == path.stem
    assert Recipe.parse(recipe.dumps()).doc == recipe.doc


def test_the_good_one_is_ordered_by_need() -> None:
    recipe = Recipe.parse(GOOD)
    assert recipe.order == ("story", "frame", "clip", "cut") and recipe.output_mime == "video/mp4"


@pytest.mark.parametrize(
    ("doc", "place", "words"),
    [
        (changed("steps", "frame", "i", to=[["$story.title", "text"]]), "steps.frame.i[0]", "no field 'title'"),
        (changed("steps", "frame", "i", to=[["$each.prompt", "url"]]), "steps.frame.i[0]", "not a file or URL"),
        (changed("steps", "clip", "i", to=[["$each", "text"]]), "steps.clip.i[0]", "type url"),
        (changed("steps", "frame", "out", to={"mime": "audio/mp4"}), "steps.clip.i[0]", "kind 5202 takes image/*"),
        (changed("steps", "clip", "each", to="$story"), "steps.clip.each", "not a list"),
        (changed("steps", "story", "i", to=[["$cut", "url"]]), "steps.story", "waits for itself"),
        (changed("steps", "cut", "i", to=[["$nowhere", "url"]]), "steps.cut.i[0]", "names no step"),
        (changed("steps", "cut", "i", to=[["$inputs.size", "text"]]), "steps.cut.i[0]", "names no input"),
        (changed("steps", "cut", "i", to=[["$clip", "job"]]), "steps.cut.i[0]", "plain inputs"),
        (changed("steps", "cut", "i", to=[["$each", "url"]]), "steps.cut.i[0]", "without `each`"),
        (changed("steps", "cut", "param", to={"x": "$clip"}), "steps.cut.param.x", "single value"),
        (changed("steps", "cut", "colour", to="red"), "steps.cut.colour", "extra"),
        (changed("steps", "cut", "kind", to="5203x"), "steps.cut.kind", "integer"),
        (changed("steps", "frame", "most", to=17), "steps.frame.most", "16"),
        (changed("steps", "frame", "least", to=9), "steps.frame.least", "at most `most`"),
        (changed("steps", "cut", "p", to=["nobody"]), "steps.cut.p", "no public key"),
        (changed("output", to="$clip"), "output", "fanned out"),
        (changed("output", to="$frame.x"), "output", "reference to a step"),
        (changed("inputs", "prompt", "format", to="date"), "inputs.prompt.format", "uri"),
        (changed("inputs", "prompt", "pattern", to="x"), "inputs.prompt", "unknown schema word"),
        (changed("price", to={"policy": "fixed"}), "price.msat", "needed"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_step_and_the_field(doc: dict[str, Any], place: str, words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        Recipe.parse(doc)
    assert any(problem.startswith(place) and words in problem for problem in refused.value.problems), refused.value


def test_a_step_nobody_needs_is_refused_unless_it_is_optional() -> None:
    nod = {"kind": 5820, "i": [["$cut", "url"], ["Is it good?", "text"]]}
    with pytest.raises(RecipeError, match="nothing in the output uses it"):
        Recipe.parse(changed("steps", "nod", to=nod))
    Recipe.parse(changed("steps", "nod", to={**nod, "optional": True}))


def test_a_recipe_of_more_than_16_kib_or_32_steps_is_refused() -> None:
    with pytest.raises(RecipeError, match="larger"):
        Recipe.parse(json.dumps({**GOOD, "about": "x" * 20_000}))
    steps = {f"s{n}": {"kind": 5050, "i": [["x", "text"]], "optional": True} for n in range(32)}
    with pytest.raises(RecipeError, match="32"):
        Recipe.parse({**GOOD, "steps": {**GOOD["steps"], **steps}})


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["$each", "$story.x"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
PLACES = [("steps", "clip"), ("steps", "story", "out"), ("steps", "cut", "i"), ("inputs", "prompt"), ("output",)]


@given(VALUES, st.sampled_from(PLACES))
def test_whatever_stands_there_it_is_a_recipe_or_a_recipe_error(value: object, path: tuple[str, ...]) -> None:
    doc = deepcopy(GOOD)
    here: Any = doc
    for name in path[:-1]:
        here = here[name]
    here[path[-1]] = value
    try:
        Recipe.parse(doc)
    except RecipeError as error:
        assert error.problems


def test_inputs_come_from_params_by_name_and_from_i_tags_in_order() -> None:
    recipe = Recipe.parse(GOOD)
    assert recipe.read_inputs([("an owl", "text")], {"seconds": ["30"]}) == {"prompt": "an owl", "seconds": 30}
    assert recipe.read_inputs([], {"prompt": ["an owl"]}) == {"prompt": "an owl", "seconds": 20}


@pytest.mark.parametrize(
    ("texts", "params", "words"),
    [
        ([], {}, "'prompt' is missing"),
        ([("x" * 21, "text")], {}, "at most 20"),
        ([("x", "text")], {"seconds": ["soon"]}, "must be an integer"),
        ([("x", "text")], {"seconds": ["7"]}, "at least 8"),
    ],
)
def test_wrong_inputs_are_said_in_the_buyers_words(texts: Any, params: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Recipe.parse(GOOD).read_inputs(texts, params)


def test_the_event_carries_it_and_a_fork_names_its_origin() -> None:
    author, other = SecretKey.generate(), SecretKey.generate()
    origin = recipe_event(author, Recipe.parse(GOOD), at=1_800_000_000)
    assert from_event(origin).doc == Recipe.parse(GOOD).doc and royalty_keys(origin) == [(author.public, 1)]
    assert origin.values("k") == ["5050", "5100", "5202", "5203"] and origin.first("K") == "5260"
    forked = Recipe.parse({**GOOD, "d": "mine", "forked": {"id": origin.id, "address": origin.address}})
    for fork in (
        recipe_event(other, forked, at=1_800_000_001, parent=origin),
        recipe_event(other, forked, at=1_800_000_001),
    ):
        assert ("e", origin.id, "", "fork") in fork.tags and ("a", origin.address, "", "fork") in fork.tags
        assert royalty_keys(fork) == [(author.public, 1)]


def test_its_parameters_are_shown_to_old_clients() -> None:
    params = params_of(Recipe.parse(GOOD))
    assert params["prompt"]["required"] and not params["seconds"]["required"]
    assert params["recipe"]["values"] == ["film"]


def test_the_schema_for_editors_is_the_models() -> None:
    written = json.loads((ROOT / "docs" / "recipe.schema.json").read_text())
    assert written == editor_schema(), "run: python -m orchestrator.recipe > docs/recipe.schema.json"


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return {"prompt": schema}


def chain(names: list[str]) -> dict[str, Any]:
    """Every step uses the fifteen before it: ways through it without number."""
    return {
        name: {"kind": 5050, "i": [["$inputs.prompt", "text"], *(["$" + m, "text"] for m in names[max(0, i - 15) : i])]}
        for i, name in enumerate(names)
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"title": "red\x1b[31m"}, "control character"),
        ({"about": "left\u202eright"}, "control character"),
        ({"inputs": {"prompt": {"type": "string", "description": "\x07"}}}, "control character"),
        ({"inputs": nested(400)}, "too deeply"),
        ({"inputs": {"prompt": {"type": "string", "default": {"a": 1}}}}, "default"),
        ({"inputs": {"prompt": {"type": "number", "minimum": float("nan")}}}, "minimum"),
        ({"steps": {"a": {"kind": 5000, "i": [["file:///etc/passwd", "url"]]}}}, "http"),
        ({"steps": {"a": {"kind": 5050, "i": [["$inputs.prompt", "text"]], "max_msat": 10**18}}}, "max_msat"),
        ({"price": {"margin": -0.5}}, "price.margin"),
        ({"price": {"margin": float("inf")}}, "price.margin"),
    ],
)
def test_a_strangers_recipe_is_refused_in_words(change: dict[str, Any], words: str) -> None:
    steps = {"a": {"kind": 5050, "i": [["$inputs.prompt", "text"]]}}
    document = {"d": "x", "title": "X", "inputs": {"prompt": {"type": "string"}}, "output": "$a", "steps": steps}
    with pytest.raises(RecipeError, match=words):
        Recipe.parse(json.dumps({**document, **change}))


@pytest.mark.parametrize(
    "text", ["[" * 16_000, "[" * 900 + "]" * 900, b"\xff\xfe{}", "{" * 100, '{"a": 1' + "0" * 5000 + "}"]
)
def test_what_is_hardly_json_is_refused_as_well(text: str | bytes) -> None:
    with pytest.raises(RecipeError):
        Recipe.parse(text)


def test_a_tangle_of_steps_is_read_at_once() -> None:
    names = [f"s{n}" for n in range(32)]
    began = time.process_time()
    Recipe.parse({
        "d": "x", "title": "X", "inputs": {"prompt": {"type": "string"}}, "output": "$s31", "steps": chain(names),
    })  # fmt: skip
    assert time.process_time() - began < 1
