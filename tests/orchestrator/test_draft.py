"""Recipes drafted from a sentence: by search over what is sold, and by a language model that is held to the check."""

import json
from typing import Any

import pytest

from dvms.text.server import Server
from orchestrator import draft_model
from orchestrator.draft import document, plan, understand
from orchestrator.errors import DraftError
from orchestrator.recipe import Recipe
from tests.dvms.openai_server import Chat, serving

PRICES = {
    5000: 5_000, 5001: 5_000, 5002: 5_000, 5050: 5_000, 5100: 21_000, 5202: 15_000, 5203: 30_000, 5250: 10_000,
    5251: 60_000, 5820: 500_000,
}  # fmt: skip


def drafted(sentence: str, prices: dict[int, int] = PRICES) -> dict[str, Any]:
    wanted = understand(sentence)
    return document(wanted, plan(wanted, prices), prices, name="x")


@pytest.mark.parametrize(
    ("sentence", "steps", "mime"),
    [
        ("An illustrated bedtime story, read aloud, as a film", "story picture voice film", "video/mp4"),
        ("Translate my text into German and read it aloud", "translation voice", "audio/*"),
        ("Summarise it, then translate it to English, and speech", "summary translation voice", "audio/*"),
        ("A summary of a podcast, read aloud", "transcript summary voice", "audio/*"),
        ("A picture of what I say, moving", "picture clip", "video/*"),
        ("A song about my dog", "song", "audio/*"),
        ("A music video about a city at night", "picture song film", "video/mp4"),
        ("An animated music video", "picture clip song film", "video/mp4"),
        ("Summarise this PDF", "transcript summary", "text/plain"),
        ("A poem, corrected by a person", "story edited", "text/plain"),
        ("An edited poem", "story", "text/plain"),  # nobody says that a person edits
    ],
)
def test_a_sentence_becomes_a_graph_that_fits(sentence: str, steps: str, mime: str) -> None:
    made = drafted(sentence)
    recipe = Recipe.parse(made)
    assert list(recipe.order) == steps.split() and recipe.output_mime == mime


def test_people_edit_approve_and_pick() -> None:
    made = drafted("A poster picked by a person")
    assert made["steps"]["picture"]["buy"] == 2 and made["steps"]["picture"]["gate"]["judge"]["form"] == "rank"
    made = drafted("A story edited by a person, read aloud, approved by somebody")
    assert made["steps"]["edited"]["instead"] == "$story" and made["steps"]["edited"]["kind"] == 5820
    assert made["steps"]["voice"]["gate"]["judge"]["form"] == "yes-no"
    assert made["seconds"] > 2 * 7200


def test_what_nobody_sells_is_said() -> None:
    with pytest.raises(DraftError, match="Music generation"):
        drafted("a song", {kind: msat for kind, msat in PRICES.items() if kind != 5251})
    with pytest.raises(DraftError, match="what should come out"):
        understand("hello there")
    with pytest.raises(DraftError, match="no way"):
        plan(understand("a film of a talk", gives="video/mp4"), {5203: 1, 5250: 1})


def test_the_cheapest_way_is_taken() -> None:
    wanted = understand("a film", gives="video/mp4")
    assert [step.kind for step in plan(wanted, PRICES).walk()] == [5100, 5203]
    assert [step.kind for step in plan(understand("a talking film, spoken"), PRICES).walk()] == [5100, 5250, 5203]


def by_model(*answers: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with serving(Chat(*(json.dumps(answer) for answer in answers))) as state:
        server = Server(state.url, "m", pause=0)
        made = draft_model.draft(server, "a spoken story", PRICES, name="spoken")
        return made, [asked.body for asked in state.asked]


def step(name: str, kind: int, value: str, gives: str, **more: Any) -> dict[str, Any]:
    entry = {"value": value, "type": "text", "marker": ""}
    return {
        "name": name,
        "kind": kind,
        "inputs": [entry],
        "params": [],
        "gives": gives,
        "each": "",
        "instead": "",
        **more,
    }


def answer(*steps: dict[str, Any]) -> dict[str, Any]:
    inputs = [{"name": "prompt", "description": "theme"}]
    return {"title": "Spoken", "about": "", "inputs": inputs, "steps": list(steps), "output": "voice"}


STORY = step("story", 5050, "$inputs.prompt", "text/plain", params=[{"name": "format", "value": "story"}])


def test_a_model_drafts_and_mends_what_does_not_fit() -> None:
    wrong = answer(STORY, step("voice", 5250, "$story.words", "audio/*"))
    made, asked = by_model(wrong, answer(STORY, step("voice", 5250, "$story.text", "audio/*")))
    assert Recipe.parse(made).order == ("story", "voice")
    assert asked[0]["response_format"]["json_schema"]["strict"]
    assert "has no field 'words'" in asked[1]["messages"][-1]["content"]


def test_a_model_may_not_use_what_nobody_sells() -> None:
    with pytest.raises(DraftError, match="nobody sells kind 5999"):
        by_model(answer(STORY, step("voice", 5999, "$story.text", "audio/*")))
