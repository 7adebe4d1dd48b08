"""A composite from request to delivery or refund, in a world of good and bad providers."""

import asyncio
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from market.errors import FetchRefused
from market.job import JobRequest
from market.sealed import bought_seal, open_file
from nostr import nip44
from nostr.event import Event
from orchestrator import purchase, turn, units
from orchestrator.effects import Cancel
from orchestrator.journal import Limits
from orchestrator.recipe import Recipe
from orchestrator.run import Phase, Run, State, rebuild
from orchestrator.schema import value_problems
from tests.orchestrator.world import BUYER, TIMMY, Provider, Timmy, crowd


def portraits(**step: Any) -> Recipe:
    """Text, then a picture of each shot; `step` changes the picture's step."""
    shots = {"type": "array", "items": {"type": "object", "properties": {"prompt": {"type": "string"}}}}
    return Recipe.parse({
        "d": "portraits", "title": "Portraits", "inputs": {"prompt": {"type": "string"}}, "output": "$cut",
        "seconds": 60,
        "steps": {
            "story": {
                "kind": 5050, "i": [["$inputs.prompt", "text"]],
                "out": {"mime": "application/json", "schema": {"type": "object", "properties": {"shots": shots}}},
            },
            "frame": {
                "kind": 5100, "each": "$story.shots", "i": [["$each.prompt", "text"]], "out": {"mime": "image/*"},
                "tries": 2, "seconds": 10, **step,
            },
            "cut": {"kind": 5203, "i": [["$frame", "url"]], "out": {"mime": "video/mp4"}},
        },
    })  # fmt: skip


def moving(**frame: Any) -> Recipe:
    """The same with a clip made of each picture."""
    doc = json.loads(portraits(**frame).dumps())
    clip = {"kind": 5202, "each": "$frame", "i": [["$each", "url"]], "out": {"mime": "video/mp4"}, "seconds": 10}
    cut = {**doc["steps"]["cut"], "i": [["$clip", "url"]]}
    return Recipe.parse({**doc, "d": "moving", "steps": {**doc["steps"], "clip": clip, "cut": cut}})


def results(timmy: Timmy) -> list[Event]:
    return [event for _, event in timmy.world.events(kind=6260, pubkey=TIMMY.public)]


def _ordered(timmy: Timmy, run_id: str, name: str) -> bool:
    run = timmy.runner.get(run_id)
    return run is not None and any(a.state is State.ORDERED for unit in run.units_of(name) for a in unit.attempts)


def won_by(run: Run, name: str) -> set[str]:
    return {a.provider.name for u in run.units_of(name) for a in u.attempts if a.state is State.ACCEPTED and a.provider}


async def test_a_music_video_is_bought_step_by_step_and_delivered(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        run = await timmy.until_over(await timmy.sell())
        assert run.phase is Phase.DELIVERED
        assert run.spent_msat == timmy.world.spent() == 7 * 10_000  # story, song, two frames, two clips, cut
        (result,) = results(timmy)
        cut = run.units["cut", 0].artefact
        assert cut is not None and result.first("x") == cut.sha256 and result.content.startswith("http://own.test/")
        assert rebuild(run.id, await timmy.journal.entries(run.id)) == run


async def test_the_first_clip_is_made_while_the_second_picture_is_still_painted(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        serve, held = timmy.world._serve, []

        def slowly(provider: Provider, request: JobRequest) -> None:
            if request.kind == 5100 and "hill" in request.inputs[0].value:
                held.append((provider, request))  # until somebody has ordered a clip
                return
            serve(provider, request)
            if request.kind == 5202 and held:
                serve(*held.pop())

        timmy.world._serve = slowly  # type: ignore[method-assign]
        run = await timmy.until_over(await timmy.sell(moving(), hedge=False))
        assert run.phase is Phase.DELIVERED and run.fans == {"story": 1, "frame": 2, "clip": 2, "cut": 1}
        clips = [unit.accepted for unit in run.units_of("clip")]
        frames = [unit.artefact for unit in run.units_of("frame")]
        for clip, frame in zip(clips, frames, strict=True):  # each was made of its own picture
            order = timmy.world.order(clip.request_id if clip else "")
            assert frame is not None and order.inputs[0].value == frame.url


async def test_a_picture_that_failed_is_no_clip_and_no_failure(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        serve = timmy.world._serve

        def serve_but_hills(provider: Provider, request: JobRequest) -> None:
            bad = request.kind == 5100 and "lantern" in request.inputs[0].value
            serve(Provider(provider.name, provider.kind, provider.price_msat, "error") if bad else provider, request)

        timmy.world._serve = serve_but_hills  # type: ignore[method-assign]
        run = await timmy.until_over(await timmy.sell(moving(least=1), hedge=False))
        assert run.phase is Phase.DELIVERED
        assert [unit.state for unit in run.units_of("frame")] == ["failed", "accepted"]
        assert [unit.state for unit in run.units_of("clip")] == ["skipped", "accepted"]
        assert timmy.world.spent() == 4 * 10_000


async def test_an_open_call_is_answered_by_many_and_paid_to_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "CALL_SECONDS", 0.7)
    sellers = [
        *crowd(),
        Provider("cheap", 5100, 6_000),
        Provider("dear", 5100, 14_000),
        Provider("quiet", 5100, 1, "silent"),
    ]
    async with Timmy(tmp_path, sellers) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits(ask="open"), hedge=False))
        assert run.phase is Phase.DELIVERED and won_by(run, "frame") == {"cheap"}
        assert timmy.world.spent() == 2 * 10_000 + 2 * 6_000
        for unit in run.units_of("frame"):
            (attempt,) = unit.attempts
            assert not timmy.world.order(attempt.request_id).providers
            told = [e for e in timmy.world.about(attempt.request_id) if e.first("status") == "declined"]
            assert {e.first("p") for e in told} == {p.key.public for p in sellers if p.name in ("image", "dear")}
        assert rebuild(run.id, await timmy.journal.entries(run.id)) == run


async def test_a_call_that_nobody_answers_goes_to_those_who_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "CALL_SECONDS", 0.05)
    async with Timmy(tmp_path, crowd()) as timmy:
        serve = timmy.world._serve
        timmy.world._serve = lambda p, r: serve(p, r) if r.providers else None  # type: ignore[method-assign]
        run = await timmy.until_over(await timmy.sell(portraits(ask="open"), hedge=False))
        assert run.phase is Phase.DELIVERED and won_by(run, "frame") == {"image"}
        assert all(attempt.uncalled for unit in run.units_of("frame") for attempt in unit.attempts)


async def test_who_was_away_does_not_call_the_others_late(tmp_path: Path) -> None:
    """Orders that were answered, or not even sent, while Timmy was down."""
    async with Timmy(tmp_path, crowd(image="silent")) as timmy:
        run_id = await timmy.sell(portraits(seconds=60), hedge=False)
        async with asyncio.timeout(10):
            while not _ordered(timmy, run_id, "frame"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        now = timmy.world.clock()
    later = Timmy(tmp_path, [replace(p, mood="good") for p in crowd(image="silent")], clock=lambda: now + 50)
    async with later:
        for request in later.world.orders(5100):
            later.world._serve(later.world.providers[request.event.first("p") or ""], request)
        run = await later.until_over(run_id)
        assert run.phase is Phase.DELIVERED and won_by(run, "frame") == {"silent image"}
        assert {stars for _, stars, _ in later.hands.reviews} == {5}


async def test_nobody_is_late_because_our_relay_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "ANSWER_SECONDS", 1)
    async with Timmy(tmp_path, crowd()) as timmy:
        serve, held = timmy.world._serve, []
        timmy.world._serve = lambda *order: held.append(order)  # type: ignore[method-assign,misc]
        run_id = await timmy.sell(portraits(), hedge=False)
        async with asyncio.timeout(5):
            while not held:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        timmy.hands.offline = True
        await asyncio.sleep(2.2)
        timmy.world._serve = serve  # type: ignore[method-assign]
        timmy.hands.offline = False
        serve(*held[0])
        run = await timmy.until_over(run_id)
        assert run.phase is Phase.DELIVERED
        assert {stars for _, stars, _ in timmy.hands.reviews} == {5}


@pytest.mark.parametrize("mood", ["error", "bad", "dear", "thief", "silent", "vanish"])
async def test_a_bad_provider_is_replaced(tmp_path: Path, mood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "ANSWER_SECONDS", 1 if mood == "silent" else 30)
    async with Timmy(tmp_path, crowd(image=mood)) as timmy:
        seconds = 2 if mood in ("silent", "vanish") else 10
        run = await timmy.until_over(await timmy.sell(portraits(seconds=seconds), hedge=False))
        assert run.phase is Phase.DELIVERED
        assert won_by(run, "frame") == {"image"}
        lost = 2 * 8_000 if mood in ("bad", "vanish") else 0  # they were paid before it showed
        assert timmy.world.spent() == 4 * 10_000 + lost
        if mood != "error" and mood != "silent":
            assert (f"{mood} image", 1) in {(who, stars) for who, stars, _ in timmy.hands.reviews}


async def test_what_was_paid_to_a_vanished_provider_is_bounded_by_its_exposure(tmp_path: Path) -> None:
    limits = Limits(exposure_msat=12_000, exposure_share=0.0)
    thief_only = [p for p in crowd(image="vanish") if p.name != "image"]
    async with Timmy(tmp_path, thief_only, limits=limits) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits(seconds=2), hedge=False))
        assert run.phase is Phase.REFUNDED
        assert timmy.world.spent() == 10_000 + 8_000  # the story, and one picture of the two that were billed


async def test_a_forged_result_is_ignored(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd(image="vanish")) as timmy:
        forged: list[str] = []
        real_react = timmy.world._react

        def react(event: Event) -> None:
            if event.kind == 5100 and event.pubkey == TIMMY.public:
                fake = BUYER.sign(
                    kind=6100, content="http://files.test/evil", tags=[["e", event.id], ["p", TIMMY.public]]
                )
                forged.append(fake.id)
                timmy.world.publish(fake)
            real_react(event)

        timmy.world._react = react  # type: ignore[method-assign]
        run = await timmy.until_over(await timmy.sell(portraits(seconds=2), hedge=False))
        assert run.phase is Phase.DELIVERED and forged
        assert not {attempt.result_id for _, attempt in run.attempts} & set(forged)


async def test_nobody_left_means_the_buyer_has_his_money_back(tmp_path: Path) -> None:
    async with Timmy(
        tmp_path, [p for p in crowd() if p.name != "video"] + [Provider("video", 5203, 1_000, "error")]
    ) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits()))
        assert run.phase is Phase.REFUNDED and "cut" in run.reason
        assert results(timmy) == []
        states = [s for (s,) in timmy.world.db.execute("SELECT state FROM invoice WHERE owner = 'timmy'")]
        assert states == ["cancelled"]
        errors = [e for _, e in timmy.world.events(kind=7000, pubkey=TIMMY.public) if e.first("status") == "error"]
        assert len(errors) == 1


async def test_our_own_worker_is_the_last_resort(tmp_path: Path) -> None:
    world = [p for p in crowd(image="error") if p.name != "image"] + [Provider("mine", 5100, 50_000, own=True)]
    async with Timmy(tmp_path, world) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits(tries=1)))
        assert run.phase is Phase.DELIVERED and won_by(run, "frame") == {"mine"}
        assert all(a.last_resort for _, a in run.attempts if a.provider and a.provider.name == "mine")


async def test_the_best_of_two_is_taken_and_both_are_paid(tmp_path: Path) -> None:
    async with Timmy(tmp_path, [*crowd(), Provider("other", 5100, 9_000)]) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits(buy=2, pick="best"), hedge=False))
        assert run.phase is Phase.DELIVERED
        for unit in run.units_of("frame"):
            assert {a.state for a in unit.attempts} == {State.ACCEPTED, State.SPARE}
        assert timmy.world.spent() == 10_000 + 2 * (10_000 + 9_000) + 10_000


async def test_a_slow_provider_is_hedged_and_the_fast_one_wins(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd(image="vanish")) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits(seconds=12), seconds=40), 30)
        assert run.phase is Phase.DELIVERED and won_by(run, "frame") == {"image"}
        slow = [a for _, a in run.attempts if a.provider and a.provider.name == "vanish image"]
        assert all(a.state is State.PAID for a in slow)  # not given up yet: the hedge was quicker


async def test_the_same_work_is_not_bought_twice(tmp_path: Path) -> None:
    """A run that failed at the end is tried again: what was accepted is taken from the cache."""
    broken = [p for p in crowd() if p.name != "video"] + [Provider("video", 5203, 1_000, "error")]
    async with Timmy(tmp_path, broken) as timmy:
        first = await timmy.until_over(await timmy.sell(portraits()))
        spent = timmy.world.spent()
        timmy.world.providers = {p.key.public: p for p in crowd()}
        second = await timmy.until_over(await timmy.sell(portraits(), again=1))
        assert (first.phase, second.phase) == (Phase.REFUNDED, Phase.DELIVERED)
        assert timmy.world.spent() - spent == 10_000  # the cut alone


async def test_cancelled_by_the_buyer(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd(image="vanish")) as timmy:
        run_id = await timmy.sell(portraits(seconds=30), hedge=False)
        while not any(a.state is State.PAID for _, a in timmy.runner.get(run_id).attempts if a.provider.kind == 5100):  # type: ignore
            break
        timmy.runner.feed(run_id, Cancel(timmy.world.clock(), "cancelled by the buyer"))
        run = await timmy.until_over(run_id)
        assert run.phase in (Phase.REFUNDED, Phase.CANCELLED) and results(timmy) == []
        assert "settled" not in [s for (s,) in timmy.world.db.execute("SELECT state FROM invoice WHERE owner='timmy'")]


async def test_free_providers_and_a_free_composite(tmp_path: Path) -> None:
    free = [Provider(p.name, p.kind, 0, "free") for p in crowd()]
    async with Timmy(tmp_path, free) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits(), price_msat=0))
        assert run.phase is Phase.DELIVERED and timmy.world.spent() == 0
        assert len(results(timmy)) == 1


async def test_the_request_a_second_time_changes_nothing(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        first = await timmy.sell(portraits())
        assert await timmy.sell(portraits()) == first
        await timmy.until_over(first)
        assert await timmy.sell(portraits()) == first
        assert len(results(timmy)) == 1 and timmy.world.spent() == 4 * 10_000


async def test_the_buyer_hears_of_every_step(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        await timmy.until_over(await timmy.sell(portraits()))
        told = [tag for event in timmy.hands.said for tag in event.tagged("step")]
        assert {(tag[1], tag[2]) for tag in told} == {("story", "0"), ("frame", "0"), ("frame", "1"), ("cut", "0")}
        assert all(len(tag) == 7 for tag in told) and {"ordered", "accepted"} <= {tag[3] for tag in told}
        (bill,) = [
            e for _, e in timmy.world.events(kind=7000, pubkey=TIMMY.public) if e.first("status") == "payment-required"
        ]
        assert bill.tagged("quote") and bill.tagged("recipe")


async def test_a_fan_out_may_lose_some(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        real = timmy.world.work

        def work(provider: Provider, request: Any) -> Any:
            if request.kind == 5100 and "hill" in request.inputs[0].value:
                provider = Provider(provider.name, provider.kind, provider.price_msat, "bad")
            return real(provider, request)

        timmy.world.work = work  # type: ignore[method-assign]
        run = await timmy.until_over(await timmy.sell(portraits(least=1)))
        assert run.phase is Phase.DELIVERED
        assert [unit.done for unit in run.units_of("frame")] == [True, False]


async def test_a_judge_is_hired_and_decides(tmp_path: Path) -> None:
    judge = {"kind": 5820, "ask": "Is it watchable?", "max_msat": 5_000, "seconds": 5}
    sellers = [*crowd(), Provider("other", 5100, 9_000), Provider("critic", 5820, 2_000)]
    async with Timmy(tmp_path, sellers) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits(gate={"judge": judge}), hedge=False))
        assert run.phase is Phase.DELIVERED
        assert won_by(run, "frame") == {"image"}  # the critic does not like the cheaper one
        refused = [a for _, a in run.attempts if a.provider and a.provider.name == "other"]
        assert all(a.state is State.REJECTED and "no, I have looked" in a.reason for a in refused)
        assert timmy.world.spent() == 2 * 10_000 + 2 * (9_000 + 10_000 + 2 * 2_000)
        assert rebuild(run.id, await timmy.journal.entries(run.id)) == run


async def test_without_a_verdict_an_optional_judge_counts_as_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purchase, "REST_SECONDS", 1)
    judge = {"kind": 5820, "ask": "Is it watchable?", "seconds": 5}
    async with Timmy(tmp_path, crowd()) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits(gate={"judge": judge}), hedge=False))
        assert run.phase is Phase.DELIVERED


async def test_sealed_delivery_the_payment_is_the_key(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits(), sealed=True))
        assert run.phase is Phase.DELIVERED and run.bill and run.bill.hold
        (result,) = results(timmy)
        scheme, nonce, for_the_buyer, plain, mime = result.tagged("sealed")[0][1:]
        assert scheme == "aes-gcm" and mime == "video/mp4" and result.content == run.seal[0]  # type: ignore[index]
        preimage = bytes.fromhex(nip44.decrypt(BUYER, TIMMY.public, for_the_buyer))
        assert hashlib.sha256(preimage).hexdigest() == run.bill.payment_hash
        row = timmy.world.db.execute("SELECT data FROM blob WHERE sha = ?", (result.content.rpartition("/")[2],))
        sealed = row.fetchone()[0]
        noise = tmp_path / "noise"
        noise.write_bytes(sealed)
        for tags, known in ((result.tags, None), (result.tags, preimage.hex())):
            opens = bought_seal(tags, BUYER, TIMMY.public, known)
            assert opens is not None and opens.nonce == nonce and open_file(noise, opens, tmp_path / "plain") == plain
        other = bought_seal(result.tags, BUYER, TIMMY.public, "00" * 32)
        with pytest.raises(FetchRefused):
            open_file(noise, other, tmp_path / "plain")  # type: ignore[arg-type]
        (bill,) = [e for _, e in timmy.world.events(kind=7000, pubkey=TIMMY.public) if e.tagged("amount")]
        assert bill.first("x") == plain and bill.first("ox") == hashlib.sha256(sealed).hexdigest()


async def test_a_sealed_composite_nobody_pays_for_is_not_delivered(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        timmy.world.buyer_pays = False
        run_id = await timmy.sell(portraits(), sealed=True)
        await asyncio.sleep(1)
        timmy.runner.feed(run_id, Cancel(timmy.world.clock(), "cancelled by the buyer"))
        run = await timmy.until_over(run_id)
        assert run.phase is Phase.CANCELLED and results(timmy) == []


def test_the_scenes_of_this_world_fit_the_recipe() -> None:
    from tests.orchestrator.world import RECIPES, SCENES

    schema = Recipe.parse((RECIPES / "music-video.json").read_text()).steps["story"].out.schema_
    assert schema is not None and list(value_problems(schema, SCENES, "$")) == []
