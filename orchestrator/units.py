"""What a unit still needs: its first attempts, another provider, a hedge beside a slow one, a judge, the last resort.

All rules about starting and giving up are here. Money bounds them: new attempts below the run's soft cap only, none at
all while nobody can say what became of a payment.
"""

import hashlib

from market.kinds import JOB_HUMAN
from orchestrator.effects import Recall
from orchestrator.judges import ranked, scored, yes
from orchestrator.purchase import owed
from orchestrator.recipe import Judge, stand_in
from orchestrator.run import Artefact, Attempt, Run, State, Unit
from orchestrator.turn import Turn, review, withdraw
from orchestrator.values import Unresolved, as_text, parent_of, resolve

ANSWER_SECONDS = 30  # a provider that says nothing at all for this long after an order is passed over
EMPTY_ASKS = 6  # so often is asked where nobody sells a step
HEDGE_SHARE = 0.6  # of a step's time: without a record of the provider, "late" begins here
LAST_RESORT = 1  # attempts with the box's own worker once all others have failed


def press_unit(turn: Turn, unit: Unit) -> None:
    """Time out what is late, accept what is good, start what is missing."""
    if unit.over:
        return
    for attempt in unit.live:
        _time_out(turn, unit, attempt)
    unit, doc = turn.unit(unit), turn.run.doc(unit)
    if doc.gate.judge is not None and doc.gate.judge.form == "rank" and turn.run.judge_of(unit) is not None:
        return  # they are being compared: nothing is added any more, and `hear_judges` accepts the first
    passed = [attempt for attempt in unit.attempts if attempt.state is State.GATED]
    good = [attempt for attempt in passed if attempt.judged or attempt.cached or doc.gate.judge is None]
    live = [attempt for attempt in unit.live if attempt not in good]
    enough = len(good) >= doc.buy or not _may_start(turn, unit)
    if good and (doc.pick == "first" or (enough and not live)):
        _accept(turn, unit, good)
        return
    missing = doc.buy - len(good) - len(live)
    if missing <= 0 and len(live) == 1 and _hedge_due(turn, unit, live[0]):
        missing = 1
    for _ in range(missing):
        unit = turn.unit(unit)
        if _may_start(turn, unit):
            _start(turn, unit)
        elif not turn.unit(unit).live and not good:
            _last_resort(turn, unit)
            return


def _accept(turn: Turn, unit: Unit, good: list[Attempt]) -> None:
    best = max(good, key=lambda attempt: (attempt.verdict.score if attempt.verdict else 0, -attempt.number))
    assert best.artefact is not None
    turn.note_unit("accepted", unit, attempt=best.number, artefact=best.artefact.json())
    for attempt in good:
        if not attempt.cached and not attempt.unsettled:
            review(turn, unit, attempt, 5, "delivered as ordered")
    for attempt in turn.unit(unit).attempts:
        withdraw(turn, unit, attempt)


def _blocked(unit: Unit) -> bool:
    """Unknown is not failed: no second purchase while nobody can say what became of a payment.

    A pending one is known: it may be bought again beside, as far as the run's budget bears both.
    """
    return any(attempt.unsettled and not attempt.pending for attempt in unit.attempts)


def _may_start(turn: Turn, unit: Unit) -> bool:
    """Whether another ordinary attempt is allowed now."""
    run, doc = turn.run, turn.run.doc(unit)
    if _blocked(unit):
        return False
    used = sum(1 for attempt in unit.attempts if attempt.provider is not None or attempt.cached)
    empty = sum(1 for attempt in unit.attempts if attempt.state is State.REFUSED and attempt.provider is None)
    return (
        not any(attempt.exhausted for attempt in unit.attempts)
        and used < doc.tries
        and (empty == 0 or (empty < EMPTY_ASKS and turn.at < unit.attempts[0].started_at + doc.seconds))
        and turn.at >= unit.rest_until
        and (run.committed_msat < run.terms.soft_msat or not run.terms.price_msat)
    )


def _start(turn: Turn, unit: Unit, *, last_resort: bool = False) -> None:
    number_ = len(unit.attempts) + 1
    turn.note_attempt("asked", unit, number_, last_resort=last_resort)
    turn.ask(unit, number_, own_only=last_resort)


def _last_resort(turn: Turn, unit: Unit) -> None:
    """No ordinary attempt is allowed any more and none is under way: our own worker, or else the unit has failed."""
    if _blocked(unit) or turn.at < unit.rest_until:
        return
    if sum(attempt.last_resort for attempt in unit.attempts) < LAST_RESORT:
        _start(turn, unit, last_resort=True)
        return
    reasons = [attempt.reason for attempt in unit.attempts if attempt.reason and attempt.provider is not None]
    reasons = reasons or [attempt.reason for attempt in unit.attempts if attempt.reason]
    turn.note_unit("failed", unit, reason=reasons[-1] if reasons else "no provider")


def _time_out(turn: Turn, unit: Unit, attempt: Attempt) -> None:
    until = _late_at(turn.run, unit, attempt)
    if until is None or turn.at < until:
        return
    if attempt.paid_msat:
        turn.note("lost", unit, attempt, reason=f"paid, and nothing for {turn.at - attempt.paid_at} s")
        review(turn, unit, attempt, 1, "took the money and did not deliver in time", "undelivered")
    else:
        words = "no delivery in time" if attempt.answered else "no answer"
        turn.note("late", unit, attempt, reason=words)
        review(turn, unit, attempt, 1, words, "undelivered")
    turn.do(Recall(attempt.request_id, attempt.provider.relays if attempt.provider else ()))


def _late_at(run: Run, unit: Unit, attempt: Attempt) -> int | None:
    """When this attempt is given up; None where that is not a question of time."""
    seconds = run.doc(unit).seconds
    match attempt.state:
        case State.ORDERED if not attempt.answered:
            soon = min(ANSWER_SECONDS, seconds)
            person = run.doc(unit).kind == JOB_HUMAN  # who has to see the task first
            at = attempt.ordered_at + (max(soon, seconds // 2) if person else soon)
        case State.ORDERED:
            at = attempt.ordered_at + seconds
        case State.PAID:
            at = attempt.paid_at + seconds
        case State.PAYING if attempt.pending:
            at = attempt.at + seconds
        case _:
            return None
    return max(at, run.back_at)


def _hedge_due(turn: Turn, unit: Unit, attempt: Attempt) -> bool:
    at = _hedge_at(turn.run, unit, attempt)
    return at is not None and turn.at >= at


def _hedge_at(run: Run, unit: Unit, attempt: Attempt) -> int | None:
    """When a second provider is tried beside a slow one: past its p95, with the price of a retry to spare."""
    working = attempt.state in (State.ORDERED, State.PAID) or attempt.pending
    if not run.terms.hedge or attempt.provider is None or not working or attempt.state.over:
        return None
    if run.doc(unit).kind == JOB_HUMAN:
        return None  # two people are not set to the same work because one takes the time he was given
    slow = attempt.provider.p95_s if attempt.provider.p95_s is not None else run.doc(unit).seconds * HEDGE_SHARE
    return max((attempt.paid_at or attempt.ordered_at) + max(5, int(slow)), run.back_at)


def hear_judges(turn: Turn, unit: Unit) -> None:
    """Gate G2: what passed G0 and G1 is shown to the judge the recipe names, one by one or all of it together."""
    judge = turn.run.doc(unit).gate.judge
    if judge is None or unit.over:
        return
    waiting = [a for a in unit.attempts if a.state is State.GATED and not a.judged and not a.cached]
    if judge.form == "rank":
        _compare(turn, unit, judge, waiting)
        return
    for attempt in waiting:
        if turn.run.judge_of(unit, attempt) is None:
            turn.note_step("judging", f"{unit.name}~{attempt.number}", unit.idx)
        asked = turn.run.judge_of(unit, attempt)
        assert asked is not None
        press_unit(turn, asked)
        asked = turn.unit(asked)
        if asked.artefact is not None:
            words = (asked.artefact.text or "").strip()
            if judge.form == "score":
                points = scored(words)
                ok, score = (judge.optional, 0.0) if points is None else (points >= judge.least, points / 10)
                turn.note("judged", unit, attempt, ok=ok, words=words[:200], score=score)
            else:
                turn.note("judged", unit, attempt, ok=yes(words), words=words[:200])
        elif asked.failed:
            turn.note("judged", unit, attempt, ok=judge.optional, words=f"no verdict: {asked.reason}")


def _compare(turn: Turn, unit: Unit, judge: Judge, waiting: list[Attempt]) -> None:
    """Ask once, when nothing more is to come; the order that is given decides. One alone needs no comparison."""
    asked = turn.run.judge_of(unit)
    if asked is None:
        more = len(unit.live) > len(waiting) or (_may_start(turn, unit) and len(waiting) < turn.run.doc(unit).buy)
        if more or not waiting:
            return
        if len(waiting) == 1:
            turn.note("judged", unit, waiting[0], ok=True, words="the only one")
            return
        turn.note_step("judging", f"{unit.name}~0", unit.idx, of=[attempt.number for attempt in waiting])
        asked = turn.run.judge_of(unit)
        assert asked is not None
    press_unit(turn, asked)
    asked = turn.unit(asked)
    if not asked.over:
        return
    words = (asked.artefact.text or "").strip() if asked.artefact else f"no verdict: {asked.reason}"
    order = ranked(words, len(asked.of))
    for place, number in enumerate(asked.of):
        attempt = unit.attempts[number - 1]
        score = {"score": round(1 - order.index(place + 1) / len(order), 3)} if order else {}
        turn.note("judged", unit, attempt, ok=bool(order) or judge.optional, words=words[:200], **score)
    unit = turn.unit(unit)
    if good := [attempt for attempt in unit.attempts if attempt.state is State.GATED and attempt.judged]:
        _accept(turn, unit, good)
    else:
        turn.note_unit("failed", unit, reason=words)


def replace_failed(turn: Turn, name: str) -> None:
    """What stands in for a step that nobody delivered takes its place, as soon as it is there."""
    run = turn.run
    ref = stand_in(run.doc(name))
    failed = [unit for unit in run.units_of(name) if unit.failed] if ref else []
    if ref is None or not failed:
        return
    if ref.root in run.recipe.steps:
        replace_failed(turn, ref.root)
        if not over(turn.run, ref.root):
            return
    try:
        value = resolve(turn.run, None, run.doc(name).instead)
    except Unresolved:
        return
    if not isinstance(value, Artefact):
        data = as_text(value).encode()
        value = Artefact(hashlib.sha256(data).hexdigest(), run.doc(name).out.mime, len(data), "", data.decode())
    turn.note_unit("replaced", failed[0], artefact=value.json())


def needed(run: Run, name: str) -> bool:
    """A spare is bought only once a step it stands in for has failed."""
    return name not in run.recipe.spares or any(
        (ref := stand_in(step)) is not None and ref.root == name and any(unit.failed for unit in run.units_of(other))
        for other, step in run.recipe.steps.items()
    )


def has_its_item(turn: Turn, unit: Unit) -> bool:
    """Whether what this unit works on is there. A unit whose item has failed is left out."""
    if unit.over or (parent := parent_of(turn.run, unit)) is None or parent.done:
        return True
    if parent.over:
        turn.note_unit("skipped", unit)
    return False


def over(run: Run, name: str) -> bool:
    """Every unit of the step has come to an end, and enough of them well."""
    ended = name in run.fans and all(unit.over for unit in run.units_of(name))
    waits = ended and run.doc(name).instead is not None and any(unit.failed for unit in run.units_of(name))
    return ended and not waits and failure(run, name) is None


def failure(run: Run, name: str) -> str | None:
    """Why this step can no longer succeed; None while it can, and for an optional step always."""
    doc = run.doc(name)
    if doc.optional or name not in run.fans:
        return None
    units = [unit for unit in run.units_of(name) if not unit.skipped]
    if not units:
        return f"step {name!r} has nothing to work on ({doc.each})"
    failed = [unit for unit in units if unit.failed]
    ref = stand_in(doc)
    if failed and ref is not None:  # `replace_failed` comes before this question
        if ref.root not in run.recipe.steps or not over(run, ref.root):
            return failure(run, ref.root) if ref.root in run.recipe.steps else None
        return f"step {name!r} failed, and {doc.instead} is not there"
    if len(units) - len(failed) >= (min(doc.least, len(units)) if doc.least else len(units)):
        return None
    return f"step {name!r} failed: {failed[0].reason}"


def next_wake(run: Run, at: int) -> int:
    """The earliest second at which time alone changes something."""
    if owed(run):
        return at
    times = [run.deadline]
    for unit in run.units.values():
        if unit.over:
            continue
        if unit.rest_until > at:
            times.append(unit.rest_until)
        for attempt in unit.live:
            for when in (_late_at(run, unit, attempt), _hedge_at(run, unit, attempt)):
                if when is not None and when > at:
                    times.append(when)
    return max(at + 1, min(times))
