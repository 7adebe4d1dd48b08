"""Receipts: a tree that anyone can audit, and in which no lie stays green."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nostr.event import Event
from nostr.filter import Filter
from orchestrator.audit import Report, audit
from orchestrator.errors import AuditError
from orchestrator.receipts import build_receipts, open_receipt
from orchestrator.run import Run, State
from tests.orchestrator.test_runs import portraits
from tests.orchestrator.world import BUYER, TIMMY, Timmy, crowd, key_of


class Relay:
    """The stored events of a world, as a pool that can be asked."""

    relays = ("ws://relay.test",)

    def __init__(self, events: list[Event]) -> None:
        self.events = {event.id: event for event in events}

    async def fetch(self, *filters: Filter, timeout: float = 5) -> list[Event]:
        return [event for event in self.events.values() if any(one.matches(event) for one in filters)]

    async def audit(self, root: str, **more: Any) -> Report:
        return await audit(root, self, **more)  # type: ignore[arg-type]


async def sold(tmp_path: Path, **terms: Any) -> tuple[Run, Relay]:
    async with Timmy(tmp_path, crowd(image="bad")) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits(), hedge=False, **terms))
        events = [event for _, event in timmy.world.events()]
    return run, Relay(events)


def red(report: Report) -> set[tuple[str, str]]:
    return {(line.step, line.what) for line in report.lines if line.verdict == "red"}


async def test_an_honest_tree_is_green_and_its_sums_match(tmp_path: Path) -> None:
    run, relay = await sold(tmp_path)
    report = await relay.audit(run.receipt_id)
    assert report.ok and (report.price_msat, report.cost_msat) == (200_000, run.spent_msat)
    grey = {(line.what, line.detail) for line in report.lines if line.verdict == "grey"}
    assert grey == {("recipe", "not on these relays")}  # this world publishes no recipe
    steps = {line.step for line in report.lines if line.step}
    assert steps == {"story[0]", "frame[0]", "frame[1]", "cut[0]"}
    assert sum(line.what == "bill" for line in report.lines) == 6  # two pictures were paid for in vain
    assert all(tag[0] != "preimage" for event in relay.events.values() for tag in event.tags if event.kind == 7190)


@pytest.mark.parametrize(
    ("change", "caught"),
    [
        (lambda tags: [["cost", "1"] if t[0] == "cost" else t for t in tags], ("", "sum of costs")),
        (lambda tags: [["p", key_of("x").public] if t[0] == "p" else t for t in tags], ("", "request")),
        (lambda tags: [["x", "00" * 32] if t[0] == "x" else t for t in tags], ("", "output")),
    ],
)
async def test_a_lie_in_the_root_is_red(tmp_path: Path, change: Any, caught: tuple[str, str]) -> None:
    run, relay = await sold(tmp_path)
    root = relay.events[run.receipt_id]
    lie = TIMMY.sign(kind=7190, tags=change([list(tag) for tag in root.tags]), created_at=root.created_at)
    relay.events[lie.id] = lie
    assert caught in red(await relay.audit(lie.id))


@pytest.mark.parametrize(
    ("change", "caught"),
    [
        (lambda a: replace(a, paid_msat=a.paid_msat + 500), "amount"),
        (lambda a: replace(a, payment_hash="ab" * 32), "invoice"),
        (lambda a: replace(a, provider=replace(a.provider, pubkey=key_of("friend").public)), "request"),
        (lambda a: replace(a, provider=replace(a.provider, pubkey=key_of("friend").public)), "bill"),
        (lambda a: replace(a, artefact=replace(a.artefact, sha256="cd" * 32)), "artefact"),
        (lambda a: replace(a, bill_id=""), "bill"),
        (lambda a: replace(a, result_id=a.bill_id), "result"),
    ],
)
async def test_a_lie_in_a_step_is_red(tmp_path: Path, change: Any, caught: str) -> None:
    """Timmy signs what he likes; the provider's own events say otherwise."""
    run, relay = await sold(tmp_path)
    unit = run.units["frame", 0]
    attempts = tuple(change(a) if a.state is State.ACCEPTED else a for a in unit.attempts)
    lying = replace(run, units={**run.units, unit.key: replace(unit, attempts=attempts)})
    tree = build_receipts(lying, TIMMY, relay="ws://relay.test", at=run.ended_at + 1)
    relay.events.update({event.id: event for event in tree})
    assert ("frame[0]", caught) in red(await relay.audit(tree[-1].id))


async def test_a_child_by_another_key_is_red(tmp_path: Path) -> None:
    run, relay = await sold(tmp_path)
    root = relay.events[run.receipt_id]
    child = relay.events[next(tag[1] for tag in root.tags if tag[0] == "e" and tag[3] == "step")]
    forged = key_of("forger").sign(kind=7190, tags=child.tags, created_at=child.created_at)
    tags = [[forged.id if item == child.id else item for item in tag] for tag in root.tags]
    lie = TIMMY.sign(kind=7190, tags=tags, created_at=root.created_at)
    relay.events |= {forged.id: forged, lie.id: lie}
    assert ("story[0]", "signed") in red(await relay.audit(lie.id))


async def test_for_the_buyer_alone(tmp_path: Path) -> None:
    run, relay = await sold(tmp_path, receipts="buyer")
    public, private = await relay.audit(run.receipt_id), await relay.audit(run.receipt_id, key=BUYER)
    assert public.ok and public.price_msat is None and public.cost_msat is None
    assert private.ok and private.price_msat == 200_000 and private.cost_msat == run.spent_msat
    assert ("paid", "the preimage fits") in {(line.what, line.detail) for line in private.lines}
    assert open_receipt(relay.events[run.receipt_id], key_of("stranger")) == list(relay.events[run.receipt_id].tags)


async def test_switched_off(tmp_path: Path) -> None:
    run, relay = await sold(tmp_path, receipts="off")
    assert run.receipt_id == "" and not any(event.kind == 7190 for event in relay.events.values())
    with pytest.raises(AuditError):
        await relay.audit("ab" * 32)


async def test_the_file_itself_is_part_of_the_audit(tmp_path: Path) -> None:
    run, relay = await sold(tmp_path)

    async def other(url: str) -> str | None:
        return "00" * 32

    async def gone(url: str) -> str | None:
        return None

    assert red(await relay.audit(run.receipt_id, fetch_hash=other)) == {("", "file")}
    assert (await relay.audit(run.receipt_id, fetch_hash=gone)).ok


async def test_orders_show_their_lineage_and_hide_the_buyer(tmp_path: Path) -> None:
    run, relay = await sold(tmp_path)
    orders = [event for event in relay.events.values() if event.pubkey == TIMMY.public and 5000 <= event.kind < 6000]
    assert orders and all(BUYER.public not in json.dumps(event.to_dict()) for event in orders)
    assert len({event.first("chain") for event in orders}) == 1
    made = {unit.artefact.sha256 for unit in run.units.values() if unit.artefact}
    cut = next(event for event in orders if event.kind == 5203)
    assert set(cut.values("x")) <= made and len(cut.values("prev")) == 2
