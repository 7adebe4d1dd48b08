"""A composite, from the buyer's request to delivery or refund: `decide(run, input) -> (run, effects)`, a pure function.

    opened -> billed -> running -> settling -> delivered
                 |         '---------'-> refunding -> refunded
                 '-> cancelled             (sealed delivery: opened -> running -> billed -> running -> settling ...)

Every turn does two things: take in what happened, then press on with whatever has become possible. What it decides is
written down as entries (`Record`); the new run is the old one with these entries applied, so the journal alone rebuilds
it. Duplicated, late, reordered or forged inputs change nothing: each input is checked against the state it claims to
belong to.

The rules for money: a bill is paid only after `market.purchase` has checked it; while a payment's outcome is open, no
second one is made for the same unit; new attempts start below the soft cap, nothing is paid beyond the hard cap; the
buyer's money is taken only when everything is accepted, and goes back in every other case.
"""

from market.sealed import ALGORITHM as SEALED
from orchestrator.effects import (
    Bids,
    BillGone,
    BillMade,
    BillPaid,
    Cached,
    Cancel,
    Capped,
    Deliver,
    Effect,
    Fetched,
    Gated,
    GiveBack,
    Heard,
    Input,
    MakeBill,
    NotFetched,
    Offers,
    Open,
    Paid,
    Recall,
    Record,
    Repaid,
    Resumed,
    Returned,
    Seal,
    Sealed,
    Take,
    Taken,
    Tell,
    Tick,
    Wake,
    WatchBill,
)
from orchestrator.purchase import owed, pay_what_is_owed, take_in, taken_or_done
from orchestrator.run import Artefact, Entry, Phase, Run, State, opened
from orchestrator.turn import Turn, check_effect, claim_effect, fetch_effect, pay_effect, withdraw
from orchestrator.units import failure, has_its_item, hear_judges, needed, next_wake, over, press_unit, replace_failed
from orchestrator.values import Unresolved, count_of


def decide(run: Run | None, given: Input) -> tuple[Run, tuple[Effect, ...]]:
    """The next state of the run and what to do about it. `run` is None for `Open` alone."""
    if run is None:
        assert isinstance(given, Open), "a run begins with Open"
        return _open(given)
    turn = Turn(run, given.at)
    match given:
        case Resumed():
            _resume(turn)
            return turn.run, tuple(turn.effects)
        case BillMade() | BillPaid() | BillGone() | Sealed() | Taken() | Returned() | Cancel():
            _take_in_sale(turn, given)
        case Offers() | Bids() | Cached() | Heard() | Paid() | Repaid() | Capped() | Fetched() | NotFetched() | Gated():
            take_in(turn, given)
        case Open() | Tick():
            pass
    _press_on(turn)
    if isinstance(given, Tick):
        pay_what_is_owed(turn)
    return turn.finish(next_wake(turn.run, turn.at))


def _resume(turn: Turn) -> None:
    """Everything that was under way goes on, each effect looking before it acts; nobody is late for our absence."""
    turn.note_step("resumed", "", turn.run.resumes)
    run = turn.run
    match run.phase:
        case Phase.OPENED:
            turn.do(MakeBill(run.terms.price_msat, run.terms.valid_until, run.terms.hold))
        case Phase.BILLED if run.bill:
            turn.do(WatchBill(run.bill))
        case Phase.SETTLING if run.bill:
            turn.do(Take(run.bill))
        case Phase.REFUNDING if run.bill:
            turn.do(GiveBack(run.bill, run.refund_to))
    if run.phase is Phase.RUNNING and run.sealing and run.bill is None:
        turn.do(_bill_for_the_seal(run, turn.at) if run.seal else Seal(_output(run)))
    for unit, attempt in run.attempts:
        if attempt.unsettled:
            turn.do(pay_effect(unit, attempt, again=True))
        if attempt.owes_msat:
            turn.do(claim_effect(unit, attempt))
        if run.phase is not Phase.RUNNING or unit.over:
            continue
        match attempt.state:
            case State.ASKED | State.QUOTED:
                turn.ask(unit, attempt.number, own_only=attempt.last_resort)
            case State.ORDERED | State.BILLED | State.PAYING | State.PAID | State.LATE | State.LOST:
                turn.do(Recall(attempt.request_id, attempt.provider.relays if attempt.provider else ()))
            case State.DELIVERED:
                turn.do(fetch_effect(run, unit, attempt))
            case State.FETCHED:
                turn.do(check_effect(run, unit, attempt))
    turn.do(Wake(turn.at))


# --- the sale: bill, money, delivery, refund ------------------------------------------------------------------------


def _open(given: Open) -> tuple[Run, tuple[Effect, ...]]:
    data = {
        "me": given.me,
        "buyer": given.buyer,
        "recipe": given.recipe.dumps(),
        "recipe_event": given.recipe_event,
        "inputs": dict(given.inputs),
        "terms": given.terms.json(),
        "refund_to": given.refund_to,
    }
    entry = Entry("opened", given.at, data=data)
    turn = Turn(opened(given.id, entry), given.at)
    turn.effects.append(Record(entry))
    if given.terms.sealed or not given.terms.price_msat:
        turn.note("started")
        _press_on(turn)
    else:
        turn.do(MakeBill(given.terms.price_msat, given.terms.valid_until, given.terms.hold))
    return turn.finish(next_wake(turn.run, turn.at))


SaleInput = BillMade | BillPaid | BillGone | Sealed | Taken | Returned | Cancel


def _take_in_sale(turn: Turn, given: SaleInput) -> None:
    run, phase = turn.run, turn.run.phase
    match given:
        case Sealed() if phase is Phase.RUNNING and run.seal is None:
            turn.note("sealed", url=given.url, sha256=given.sha256, nonce=given.nonce)
            turn.do(_bill_for_the_seal(turn.run, turn.at))
        case BillMade() if phase is Phase.OPENED or (phase is Phase.RUNNING and run.seal and not run.bill):
            bill = given.bill
            turn.note(
                "billed", payment_hash=bill.payment_hash, bolt11=bill.bolt11, amount_msat=bill.amount_msat,
                hold=bill.hold, expires_at=bill.expires_at,
            )  # fmt: skip
            turn.do(Tell("payment-required", _quote_words(run), _quote_tags(run), bill))
            turn.do(WatchBill(bill))
        case BillPaid() if phase is Phase.BILLED:
            turn.note("paid", received_msat=given.received_msat)
            turn.do(Tell("processing", f"paid; {len(run.recipe.steps)} steps to go"))
        case BillPaid() if phase is Phase.REFUNDING and run.bill and not run.received_msat:
            # The money came after we had given up on it: it goes back.
            turn.note("received", received_msat=given.received_msat)
            _say_why(turn)
            turn.do(GiveBack(run.bill, run.refund_to))
        case BillGone() if phase in (Phase.OPENED, Phase.BILLED) or (phase is Phase.RUNNING and run.seal):
            turn.note("cancelled", reason=given.reason)
            turn.do(Tell("error", given.reason))
        case Taken(ok=True) if phase is Phase.SETTLING:
            _deliver(turn)
        case Taken(ok=False) if phase is Phase.SETTLING:
            _fail(turn, "the locked payment went back before it could be taken")
        case Returned() if phase is Phase.REFUNDING and not run.received_msat:
            turn.note("cancelled", reason=run.reason)
        case Returned() if phase is Phase.REFUNDING:
            turn.note("refunded", how=given.how)
            if run.bill and not run.bill.hold:
                turn.do(Tell("error", f"{run.reason}. {given.how}", (("refund", "paid", str(run.received_msat)),)))
        case Cancel() if phase in (Phase.OPENED, Phase.BILLED, Phase.RUNNING):
            _fail(turn, given.reason, by_buyer=given.by_buyer)


# --- what has become possible ---------------------------------------------------------------------------------------


def _press_on(turn: Turn) -> None:
    if turn.run.phase is not Phase.RUNNING:
        return
    for name in turn.run.recipe.order:
        for need in turn.run.recipe.needs[name]:
            replace_failed(turn, need)
        _open_units(turn, name)
        for unit in turn.run.units_of(name):
            if has_its_item(turn, unit):
                hear_judges(turn, unit)
                press_unit(turn, turn.unit(unit))
    replace_failed(turn, turn.run.recipe.output)
    _finish_or_fail(turn)


def _open_units(turn: Turn, name: str) -> None:
    """Give a step its units once all it needs is there; what it takes one by one may still be on its way."""
    run, stream = turn.run, turn.run.recipe.stream(name)
    if name in run.fans or not needed(run, name):
        return
    for need in run.recipe.needs[name]:
        if failure(run, need) or not (over(run, need) or (need == stream and need in run.fans)):
            return
    try:
        count = count_of(run, name)
    except Unresolved:
        count = 0
    turn.note_step("fanned", name, count=count)


def _finish_or_fail(turn: Turn) -> None:
    """The end of a running run, when it has come."""
    run = turn.run
    failed = next((reason for name in run.recipe.order if (reason := failure(run, name))), None)
    if failed:
        _fail(turn, failed)
    elif (
        all(over(run, name) or not needed(run, name) for name in run.recipe.order)
        and not owed(run)
        and not any(attempt.unsettled for unit, attempt in run.attempts if taken_or_done(run, unit, attempt))
    ):
        _hand_over(turn)
    elif turn.at >= run.deadline:
        _fail(turn, f"not finished within {run.terms.seconds} s")


def _hand_over(turn: Turn) -> None:
    """Everything is accepted: money against work."""
    run = turn.run
    if run.terms.sealed and run.bill is None:
        if not run.sealing:
            turn.note("sealing")
            turn.do(Seal(_output(run)))
    elif run.bill and run.bill.hold:
        turn.note("settling")
        turn.do(Take(run.bill))
    else:
        _deliver(turn)


def _deliver(turn: Turn) -> None:
    artefact = _output(turn.run)
    turn.note("delivered")
    turn.do(Deliver(artefact))


def _fail(turn: Turn, reason: str, *, by_buyer: bool = False) -> None:
    """Stop buying, and give the buyer's money back."""
    for unit, attempt in turn.run.attempts:
        withdraw(turn, unit, attempt)
    turn.note("refunding", reason=reason, by_buyer=by_buyer)
    if turn.run.bill is None:
        turn.note("cancelled", reason=reason)
        turn.do(Tell("error", reason))
        return
    _say_why(turn)
    turn.do(GiveBack(turn.run.bill, turn.run.refund_to))


def _say_why(turn: Turn) -> None:
    """The end, and what becomes of the money; said before the lock is opened, so that the buyer knows why."""
    run, msat = turn.run, str(turn.run.received_msat)
    if not run.received_msat:
        turn.do(Tell("error", run.reason))
    elif run.bill and run.bill.hold:
        turn.do(
            Tell(
                "error", f"{run.reason}. Your payment was only locked and is released", (("refund", "cancelled", msat),)
            )
        )
    else:
        words = f"{run.reason}. Your payment comes back: send an invoice for it"
        turn.do(Tell("error", words, (("refund", "due", msat),)))


def _output(run: Run) -> Artefact:
    artefact = run.units[run.recipe.output, 0].artefact
    assert artefact is not None
    return artefact


def _bill_for_the_seal(run: Run, at: int) -> MakeBill:
    """Work that is done is billed as long as the first quote was to hold."""
    return MakeBill(run.terms.price_msat, at + run.terms.valid_until - run.opened_at, hold=True)


def _quote_words(run: Run) -> str:
    sats = run.terms.price_msat / 1000
    return f"{run.recipe.doc.title}: {sats:g} sat for {len(run.recipe.steps)} steps; returned if it cannot be delivered"


def _quote_tags(run: Run) -> tuple[tuple[str, ...], ...]:
    quote = ("quote", run.id, str(run.terms.valid_until), str(run.terms.seconds))
    lines = tuple(("line", step, str(kind), str(msat)) for step, kind, msat in run.terms.lines)
    tags = (quote, *lines, ("recipe", run.recipe_event))
    if run.seal is None:
        return tags
    artefact, (url, sha256, nonce) = _output(run), run.seal
    return (
        *tags, ("sealed", SEALED, nonce), ("url", url), ("ox", sha256), ("x", artefact.sha256),
        ("m", artefact.mime), ("size", str(artefact.size)),
    )  # fmt: skip
