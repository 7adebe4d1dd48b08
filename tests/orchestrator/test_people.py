"""Recipes with people in them: stand-ins for what nobody does, judges that score and rank, and what people are owed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from market.job import JobRequest, build_result
from nostr.event import Event
from orchestrator import units
from orchestrator.errors import RecipeError
from orchestrator.judges import ranked, scored, yes
from orchestrator.recipe import Recipe
from orchestrator.run import Phase, Run, State, rebuild
from tests.orchestrator.world import Provider, Timmy


def read_aloud(judge: dict[str, Any] | None = None, **edited: Any) -> Recipe:
    """A machine writes, a person edits, a machine reads; `polish` is a spare."""
    steps = {
        "story": {"kind": 5050, "i": [["$inputs.prompt", "text"]]},
        "edited": {"kind": 5820, "i": [["$story", "text"]], "seconds": 2, "tries": 1, "instead": "$polish", **edited},
        "polish": {"kind": 5050, "i": [["$story", "text"], ["Make it better", "text"]], "instead": "$story"},
        "voice": {
            "kind": 5251, "i": [["$edited", "text"]], "out": {"mime": "audio/*"},
            **({"buy": 2, "pick": "best", "gate": {"judge": judge}} if judge else {}),
        },
    }  # fmt: skip
    if edited.get("instead") == "$story":
        del steps["polish"]
    return Recipe.parse({
        "d": "aloud", "title": "Read aloud", "inputs": {"prompt": {"type": "string"}}, "output": "$voice",
        "seconds": 60, "steps": steps,
    })  # fmt: skip


MACHINES = [Provider("text", 5050), Provider("text 2", 5050, 12_000), Provider("voice", 5251)]


async def ran(tmp_path: Path, recipe: Recipe, *people: Provider) -> tuple[Run, Timmy]:
    async with Timmy(tmp_path, [*MACHINES, *people]) as timmy:
        run = await timmy.until_over(await timmy.sell(recipe, price_msat=2_000_000))
        assert rebuild(run.id, await timmy.journal.entries(run.id)) == run
        assert run.spent_msat <= timmy.world.spent()
    return run, timmy


async def test_a_person_who_delivers_needs_no_stand_in(tmp_path: Path) -> None:
    run, timmy = await ran(tmp_path, read_aloud(), Provider("ann", 5820, 50_000))
    assert run.phase is Phase.DELIVERED and run.recipe.spares == {"polish"} and "polish" not in run.fans
    assert text_of(run, "edited").endswith("edited by ann") and timmy.world.spent() == 10_000 + 50_000 + 10_000


@pytest.mark.parametrize("mood", ["error", "vanish"])
async def test_a_machine_stands_in_for_a_person_who_says_no_or_takes_too_long(tmp_path: Path, mood: str) -> None:
    run, _ = await ran(tmp_path, read_aloud(seconds=1), Provider("ann", 5820, 50_000, mood))
    assert run.phase is Phase.DELIVERED and run.units["edited", 0].state == "replaced"
    polish = run.units["polish", 0].accepted
    assert polish is not None and text_of(run, "edited") == text_of(run, "polish")
    assert run.spent_msat == 30_000 + (50_000 if mood == "vanish" else 0)


async def test_a_person_may_take_longer_to_answer_than_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "ANSWER_SECONDS", 0)
    ann = Provider("ann", 5820, 40_000, "silent")
    async with Timmy(
        tmp_path, [Provider("text", 5050, mood="free"), Provider("voice", 5251, mood="free"), ann]
    ) as timmy:
        run_id = await timmy.sell(read_aloud(seconds=20, instead="$story"), price_msat=2_000_000)
        async with asyncio.timeout(10):
            while not (asked := [event for _, event in timmy.world.events(kind=5820)]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.2)  # a machine would have been passed over
        timmy.world.deliver(ann, JobRequest.parse(asked[0]))
        run = await timmy.until_over(run_id)
    assert len(asked) == 1 and text_of(run, "edited").endswith("edited by ann")


async def test_who_was_asked_and_delivered_is_paid_also_where_another_was_picked(tmp_path: Path) -> None:
    people = Provider("ann", 5820, 40_000, "silent"), Provider("ben", 5820, 50_000, "silent")
    free = [Provider(name, kind, mood="free") for name, kind in (("text", 5050), ("voice", 5251))]
    recipe = read_aloud(seconds=20, instead="$story", buy=2, pick="best", tries=2)
    async with Timmy(tmp_path, [*free, *people]) as timmy:
        run_id = await timmy.sell(recipe, price_msat=2_000_000)
        async with asyncio.timeout(10):
            while len(asked := [event for _, event in timmy.world.events(kind=5820)]) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for event in asked:
            person = timmy.world.providers[event.first("p") or ""]
            bill = timmy.world.invoice(person.name, person.price_msat)
            result = build_result(
                person.key, JobRequest.parse(event), f"edited by {person.name}",
                extra_tags=[["amount", str(person.price_msat), bill]], created_at=timmy.world.clock(),
            )  # fmt: skip
            timmy.world.publish(result)
        run = await timmy.until_over(run_id)
    assert run.phase is Phase.DELIVERED and timmy.world.spent() == run.spent_msat == 90_000
    states = {a.provider.name: a.state for a in run.units["edited", 0].attempts if a.provider}
    assert set(states.values()) == {State.ACCEPTED, State.SPARE}


async def test_another_person_comes_before_the_machine(tmp_path: Path) -> None:
    people = Provider("ann", 5820, 40_000, "error"), Provider("ben", 5820, 50_000)
    run, _ = await ran(tmp_path, read_aloud(tries=2), *people)
    assert text_of(run, "edited").endswith("edited by ben") and "polish" not in run.fans


async def test_without_people_and_machine_it_goes_on_with_what_there_is(tmp_path: Path) -> None:
    recipe = read_aloud(instead="$story", tries=1)
    run, _ = await ran(tmp_path, recipe, Provider("ann", 5820, 40_000, "error"))
    assert run.phase is Phase.DELIVERED and text_of(run, "edited") == text_of(run, "story") and not recipe.spares


async def test_a_score_lets_pass_and_picks_the_best(tmp_path: Path) -> None:
    judge = {"form": "score", "ask": "How good is it, 0 to 10?", "least": 5}
    others = Provider("other voice", 5251, 5_000), Provider("ann", 5820)
    run, _ = await ran(tmp_path, read_aloud(judge, instead="$story"), *others)
    verdicts = {a.provider.name: a.state for a in run.units["voice", 0].attempts if a.provider}
    assert verdicts == {"other voice": State.REJECTED, "voice": State.ACCEPTED}


async def test_a_rank_compares_all_of_them_once(tmp_path: Path) -> None:
    judge = {"form": "rank", "ask": "Which is better? The better one first"}
    others = Provider("other voice", 5251, 5_000), Provider("ann", 5820)
    run, timmy = await ran(tmp_path, read_aloud(judge, instead="$story"), *others)
    attempts = {a.provider.name: a for a in run.units["voice", 0].attempts if a.provider}
    assert attempts["voice"].state is State.ACCEPTED and attempts["other voice"].state is State.SPARE
    orders = [event for _, event in timmy.world.events(kind=5820) if _rank(event)]
    assert len(orders) == 1 and len(orders[0].tagged("i")) == 2


def _rank(event: Event) -> bool:
    return ("param", "form", "rank") in event.tags


@pytest.mark.parametrize(("optional", "phase"), [(True, Phase.DELIVERED), (False, Phase.REFUNDED)])
async def test_a_judge_who_does_not_come(tmp_path: Path, optional: bool, phase: Phase) -> None:
    judge = {"form": "rank", "ask": "Which?", "optional": optional, "seconds": 5}
    others = Provider("other voice", 5251, 5_000), Provider("ann", 5820, mood="error")
    run, _ = await ran(tmp_path, read_aloud(judge, instead="$story"), *others)
    assert run.phase is phase


def text_of(run: Run, step: str) -> str:
    artefact = run.units[step, 0].artefact
    assert artefact is not None
    return artefact.text or ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"instead": "$edited"}, "waits for this step itself"),
        ({"instead": "$voice"}, "waits for this step itself"),
        ({"instead": "polish"}, "must be a reference"),
        ({"instead": "$nothing"}, "names no step"),
        ({"out": {"mime": "image/*"}, "i": [["$story", "text"]]}, "this step gives image"),
        ({"optional": True}, "neither with `each` nor"),
        ({"max_msat": 10_000_001}, "paid in milestones"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        read_aloud(**change)


def test_a_rank_needs_several() -> None:
    with pytest.raises(RecipeError, match="needs buy of 2"):
        Recipe.parse({
            "d": "r", "title": "R", "inputs": {"p": {"type": "string"}}, "output": "$a", "steps": {"a": {
                "kind": 5050, "i": [["$inputs.p", "text"]], "gate": {"judge": {"ask": "Which?", "form": "rank"}}}},
        })  # fmt: skip


@pytest.mark.parametrize(
    ("words", "points"),
    [('{"score": 7, "of": 10}', 7), ('{"score": 4, "of": 5}', 8), ("8/10, bright", 8), ("Score: 6.5", 6.5), ("10", 10),
     ("good", None), ("", None), ("11", None), ('{"score": 11, "of": 10}', None), ('{"score": true}', None),
     ('{"score": 1, "of": 0}', None), ("[7]", 7)],
)  # fmt: skip
def test_scores(words: str, points: float | None) -> None:
    assert scored(words) == points


@pytest.mark.parametrize(
    ("words", "order"),
    [('{"order": [2, 1]}', [2, 1]), ("2 1 the second is warmer", [2, 1]), ("2>1", [2, 1]), ("[1, 2]", [1, 2]),
     ("1", None), ("1 1", None), ("the first", None), ('{"order": ["2", "1"]}', None), ('{"order": [1, 2, 3]}', None)],
)  # fmt: skip
def test_ranks(words: str, order: list[int] | None) -> None:
    assert ranked(words, 2) == order


def test_yes_is_the_word_or_the_form() -> None:
    assert yes("Yes, fine") and yes('{"answer": true}') and not yes('{"answer": false}') and not yes("I say yes")
