"""A composite, from the buyer's request to delivery or refund: `decide(run, input) -> (run, effects)`, a pure function.

    opened -> billed -> running -> settling -> delivered
                 |         '---------'-> refunding -> refunded
                 '-> cancelled

Every turn does two things: take in what happened, then press on with whatever has become possible. What it decides is
written down as entries (`Record`); the new run is the old one with these entries applied, so the journal alone rebuilds
it. Duplicated, late, reordered or forged inputs change nothing: each input is checked against the state it claims to
belong to.

The rules for money: a bill is paid only after `market.purchase` has checked it; while a payment's outcome is open, no
second one is made for the same unit; new attempts start below the soft cap, nothing is paid beyond the hard cap; the
buyer's money is taken only when everything is accepted, and goes back in every other case.
"""

from market.errors import MarketError
from market.job import Feedback, JobResult
from market.kinds import FEEDBACK, is_result
from market.purchase import Bill, Order, check_bill, check_result, honest_outcome
from nostr.event import Event
from orchestrator.effects import (
    Ask,
    BillGone,
    BillMade,
    BillPaid,
    Cached,
    Cancel,
    Capped,
    Check,
    Deliver,
    Effect,
    Fetch,
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
    Pay,
    Progress,
    Publish,
    Recall,
    Record,
    Returned,
    Review,
    Take,
    Taken,
    Tell,
    Tick,
    Wake,
    WatchBill,
)
from orchestrator.orders import order_draft, request_of, withdrawal_draft
from orchestrator.run import Attempt, Candidate, Entry, Phase, Run, State, Unit, apply, opened
from orchestrator.values import Unresolved, cache_key, items_of, number
from wallet.interface import Outcome, PayResult

ANSWER_SECONDS = 30  # a provider that says nothing at all for this long after an order is passed over
REST_SECONDS = 10  # before asking again where nobody sells a step
EMPTY_ASKS = 6  # so often, then the step has failed
HEDGE_SHARE = 0.6  # of a step's time: without a record of the provider, "late" begins here
OWN_TRIES = 2  # a worker of this box may be asked again for the same unit; a stranger may not
LAST_RESORT = 1  # attempts with the box's own worker once all others have failed


def decide(run: Run | None, given: Input) -> tuple[Run, tuple[Effect, ...]]:
    """The next state of the run and what to do about it. `run` is None for `Open` alone."""
    if run is None:
        assert isinstance(given, Open), "a run begins with Open"
        return _open(given)
    turn = _Turn(run, given.at)
    match given:
        case BillMade() | BillPaid() | BillGone() | Taken() | Returned() | Cancel():
            _take_in_sale(turn, given)
        case Offers() | Cached() | Heard() | Paid() | Capped() | Fetched() | NotFetched() | Gated():
            _take_in_purchase(turn, given)
        case Open() | Tick():
            pass
    _press_on(turn)
    if isinstance(given, Tick):
        _pay_what_is_owed(turn)
    return turn.finish()


def resume(run: Run, at: int) -> tuple[Effect, ...]:
    """What a process that finds this run has to do: everything that was under way, each looking before it acts."""
    turn = _Turn(run, at)
    match run.phase:
        case Phase.OPENED:
            turn.do(MakeBill(run.terms.price_msat, run.terms.valid_until, run.terms.hold))
        case Phase.BILLED if run.bill:
            turn.do(WatchBill(run.bill))
        case Phase.SETTLING if run.bill:
            turn.do(Take(run.bill))
        case Phase.REFUNDING if run.bill:
            turn.do(GiveBack(run.bill, run.refund_to))
    for unit, attempt in run.attempts:
        if attempt.unsettled:
            turn.do(_pay_effect(unit, attempt, again=True))
        if run.phase is not Phase.RUNNING or unit.over:
            continue
        match attempt.state:
            case State.ASKED | State.QUOTED:
                turn.do(_ask_effect(run, unit, attempt.number, own_only=attempt.last_resort))
            case State.ORDERED | State.BILLED | State.PAYING | State.PAID | State.LATE | State.LOST:
                turn.do(Recall(attempt.request_id, attempt.provider.relays if attempt.provider else ()))
            case State.DELIVERED:
                turn.do(_fetch_effect(run, unit, attempt))
            case State.FETCHED:
                turn.do(_check_effect(run, unit, attempt))
    turn.do(Wake(at))
    return tuple(turn.effects)


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
    turn = _Turn(opened(given.id, entry), given.at)
    turn.effects.append(Record(entry))
    if given.terms.price_msat:
        turn.do(MakeBill(given.terms.price_msat, given.terms.valid_until, given.terms.hold))
    else:
        turn.note("paid", received_msat=0)
        _press_on(turn)
    return turn.finish()


def _take_in_sale(turn: "_Turn", given: BillMade | BillPaid | BillGone | Taken | Returned | Cancel) -> None:
    run, phase = turn.run, turn.run.phase
    match given:
        case BillMade() if phase is Phase.OPENED:
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
        case BillPaid() if phase is Phase.CANCELLED and run.bill:
            # The money came after we had given up on it: it goes back.
            turn.note("paid", received_msat=given.received_msat)
            _fail(turn, run.reason or "paid after the offer had ended")
        case BillGone() if phase in (Phase.OPENED, Phase.BILLED):
            turn.note("cancelled", reason=given.reason)
            turn.do(Tell("error", given.reason))
        case Taken(ok=True) if phase is Phase.SETTLING:
            _deliver(turn)
        case Taken(ok=False) if phase is Phase.SETTLING:
            _fail(turn, "the locked payment went back before it could be taken")
        case Returned() if phase is Phase.REFUNDING:
            turn.note("refunded", how=given.how)
            back = "cancelled" if run.bill and run.bill.hold else "paid"
            turn.do(Tell("error", f"{run.reason}. {given.how}", (("refund", back, str(run.received_msat)),)))
        case Cancel() if phase in (Phase.OPENED, Phase.BILLED, Phase.RUNNING):
            if phase is Phase.RUNNING:
                _fail(turn, given.reason, by_buyer=given.by_buyer)
            else:
                turn.note("cancelled", reason=given.reason)
                turn.do(Tell("error", given.reason))


def _finish_or_fail(turn: "_Turn") -> None:
    """The end of a running run, when it has come."""
    run = turn.run
    failed = next((reason for name in run.recipe.order if (reason := _failure(run, name))), None)
    if failed:
        _fail(turn, failed)
    elif turn.at >= run.deadline:
        _fail(turn, f"not finished within {run.terms.seconds} s")
    elif (
        all(_over(run, name) for name in run.recipe.order)
        and not _owed(run)
        and not any(attempt.unsettled for _, attempt in run.attempts if attempt.state is State.ACCEPTED)
    ):
        if run.bill and run.bill.hold:
            turn.note("settling")
            turn.do(Take(run.bill))
        else:
            _deliver(turn)


def _deliver(turn: "_Turn") -> None:
    artefact = turn.run.units[turn.run.recipe.output, 0].artefact
    assert artefact is not None
    turn.note("delivered")
    turn.do(Deliver(artefact))


def _fail(turn: "_Turn", reason: str, *, by_buyer: bool = False) -> None:
    """Stop buying, and give the buyer's money back."""
    for unit, attempt in turn.run.attempts:
        _withdraw(turn, unit, attempt)
    turn.note("refunding", reason=reason, by_buyer=by_buyer)
    if turn.run.bill is None:
        turn.note("refunded", how="nothing was paid")
        turn.do(Tell("error", reason))
        return
    if not turn.run.bill.hold and turn.run.received_msat:
        owed = ("refund", "due", str(turn.run.received_msat))
        turn.do(Tell("error", f"{reason}. Your payment comes back: send an invoice for it", (owed,)))
    turn.do(GiveBack(turn.run.bill, turn.run.refund_to))


# --- a purchase: one attempt at one unit ----------------------------------------------------------------------------


def _take_in_purchase(
    turn: "_Turn", given: Offers | Cached | Heard | Paid | Capped | Fetched | NotFetched | Gated
) -> None:
    if isinstance(given, Heard):
        _hear(turn, given.event)
        return
    unit = turn.run.units.get((given.step, given.idx))
    attempt = next((a for a in unit.attempts if a.number == given.attempt), None) if unit else None
    if unit is None or attempt is None:
        return
    if isinstance(given, Paid):
        _settle(turn, unit, attempt, given.result)  # in every phase: the books want to know
        return
    if turn.run.phase is not Phase.RUNNING:
        return
    if isinstance(given, Capped) and (unit, attempt) in _owed(turn.run):
        turn.note("declined", unit, attempt, reason=given.reason)
    if unit.over:
        return
    match given:
        case Offers() if attempt.state is State.ASKED:
            _order(turn, unit, attempt, given.candidates)
        case Cached() if attempt.state is State.ASKED:
            turn.note("cached", unit, attempt, artefact=given.artefact.json())
        case Capped() if attempt.state is State.ORDERED:
            turn.note("refused", unit, attempt, reason=given.reason)
        case Fetched() if attempt.state is State.DELIVERED:
            turn.note("fetched", unit, attempt, artefact=given.artefact.json())
            turn.do(_check_effect(turn.run, unit, turn.attempt(unit, attempt)))
        case NotFetched() if attempt.state is State.DELIVERED:
            turn.note("rejected", unit, attempt, reason=given.reason)
            _review(turn, unit, attempt, 1, given.reason, "undelivered")
        case Gated() if attempt.state is State.FETCHED:
            turn.note(
                "gated", unit, attempt, ok=given.verdict.ok, score=given.verdict.score,
                checks=[list(check) for check in given.verdict.checks], artefact=given.artefact.json(),
            )  # fmt: skip
            if not given.verdict.ok:
                failed = next(name for name, ok, _ in given.verdict.checks if not ok)
                _review(turn, unit, attempt, 1, given.verdict.reason, failed)


def _order(turn: "_Turn", unit: Unit, attempt: Attempt, candidates: tuple[Candidate, ...]) -> None:
    """Choose among the offers, and send the request."""
    run, doc = turn.run, turn.run.doc(unit)
    turn.note("quoted", unit, attempt, candidates=[candidate.json() for candidate in candidates])
    room = run.terms.hard_msat - run.committed_msat
    tried = _tried(unit)
    fits = [
        candidate
        for candidate in candidates
        if not candidate.excluded
        and tried.get(candidate.pubkey, 0) < (OWN_TRIES + attempt.last_resort if candidate.own else 1)
        and candidate.price_msat + run.terms.fee_limit(candidate.price_msat) <= room
        and candidate.price_msat <= doc.max_msat
    ]
    if not fits:
        if candidates or attempt.last_resort:
            turn.note("refused", unit, attempt, reason="no other provider within its limits", exhausted=True)
        else:
            words = f"nobody sells kind {doc.kind} now"
            turn.note("refused", unit, attempt, reason=words, rest_until=turn.at + REST_SECONDS)
        return
    chosen = min(fits, key=lambda candidate: tried.get(candidate.pubkey, 0))  # stable: the best of the untried
    cap = chosen.price_msat
    try:
        draft = order_draft(run, unit, chosen, cap, attempt=attempt.number, at=turn.at)
    except Unresolved as error:
        turn.note("refused", unit, attempt, reason=f"its inputs are missing: {error}")
        return
    turn.note("ordered", unit, attempt, provider=chosen.json(), cap_msat=cap, request_id=draft.id(run.me))
    turn.do(Publish(draft, chosen.relays))


def _hear(turn: "_Turn", event: Event) -> None:
    """An event about one of our orders. Only its provider's word counts; everybody else's is ignored."""
    found = _attempt_of(turn.run, event)
    if found is None:
        return
    unit, attempt = found
    if attempt.provider is None or event.pubkey != attempt.provider.pubkey:
        return
    try:
        if event.kind == FEEDBACK:
            _hear_feedback(turn, unit, attempt, Feedback.parse(event))
        elif is_result(event.kind):
            _hear_result(turn, unit, attempt, event)
    except MarketError:
        return  # unreadable, or not an answer to this order: as good as silence


def _hear_feedback(turn: "_Turn", unit: Unit, attempt: Attempt, said: Feedback) -> None:
    if turn.run.phase is not Phase.RUNNING or unit.over or attempt.state.over:
        return
    if not attempt.answered:
        turn.note("answered", unit, attempt, status=said.status)
    if said.status == "payment-required" and attempt.state is State.ORDERED and not attempt.payment_hash:
        order = _as_order(turn.run, unit, attempt)
        try:
            bill = check_bill(order, said, now=turn.at, seen_hashes=_hashes(turn.run))
        except MarketError as error:
            turn.note("refused", unit, attempt, reason=f"bill refused: {error.reason}")
            _review(turn, unit, attempt, 1, f"bill refused: {error.reason}")
            return
        _pay(turn, unit, attempt, bill)
    elif said.status == "error":
        paid = attempt.paid_msat > 0  # a payment that is only locked comes back by itself
        turn.note("lost" if paid else "refused", unit, attempt, reason=said.message or "the provider gave up")
        if paid:
            _review(turn, unit, attempt, 1, f"took the money and gave up: {said.message}", "undelivered")
        else:
            _review(turn, unit, attempt, 2, f"gave up: {said.message}")
    elif said.status in ("processing", "partial"):
        turn.do(Progress((unit.key,), said.message, said_fraction(said)))


def _hear_result(turn: "_Turn", unit: Unit, attempt: Attempt, event: Event) -> None:
    late = attempt.state in (State.LATE, State.LOST)
    open_ = attempt.state in (State.ORDERED, State.BILLED, State.PAYING, State.PAID) or late
    if turn.run.phase is not Phase.RUNNING or unit.over or not open_:
        return
    result: JobResult = check_result(_as_order(turn.run, unit, attempt), event, None)
    media = result.urls[0] if result.urls else None
    source: dict[str, object] = {
        "url": media.url if media else "",
        "sha256": media.sha256 if media else "",
        "mime": media.mime if media else "",
        "text": "" if media else result.content,
    }
    if result.bolt11 and not attempt.payment_hash:
        source["bill"] = event.to_dict()
    turn.note("delivered", unit, attempt, result_id=event.id, source=source)
    turn.do(_fetch_effect(turn.run, unit, turn.attempt(unit, attempt)))


def _pay(turn: "_Turn", unit: Unit, attempt: Attempt, bill: Bill) -> None:
    """Write the intent, if the run's money allows it."""
    fee = turn.run.terms.fee_limit(bill.amount_msat)
    others = turn.run.committed_msat - attempt.reserved_msat
    if others + bill.amount_msat + fee > turn.run.terms.hard_msat:
        kind = "declined" if attempt.state is State.ACCEPTED else "refused"
        turn.note(kind, unit, attempt, reason="over this run's budget")
        return
    turn.note(
        "billed", unit, attempt, bill_id=bill.event.id, bolt11=bill.bolt11, payment_hash=bill.payment_hash,
        amount_msat=bill.amount_msat,
    )  # fmt: skip
    turn.note("paying", unit, attempt, max_fee_msat=fee)
    turn.do(_pay_effect(unit, turn.attempt(unit, attempt)))


def _settle(turn: "_Turn", unit: Unit, attempt: Attempt, result: PayResult) -> None:
    """The outcome of a payment. Pending and unknown are no outcome: the shell goes on looking.

    Pending is worth noting, though: the money is locked (a hold invoice) and comes back if nothing is delivered.
    """
    if not attempt.unsettled or result.payment_hash != attempt.payment_hash:
        return
    result = honest_outcome(result, attempt.payment_hash)
    if result.outcome is Outcome.SETTLED:
        fee = min(result.fee_msat or 0, attempt.max_fee_msat)
        turn.note("paid", unit, attempt, preimage=result.preimage or "", fee_msat=fee)
        if attempt.state in (State.ACCEPTED, State.SPARE):  # locked until delivery: the proof of payment comes last
            _review(turn, unit, attempt, 5, "delivered as ordered")
    elif result.outcome is Outcome.PENDING and not attempt.pending:
        turn.note("pending", unit, attempt)
    elif result.outcome is Outcome.FAILED:
        turn.note("unpaid", unit, attempt, code=result.code or "", detail=result.detail or "")
        if not turn.attempt(unit, attempt).state.over and attempt.state is State.PAYING:
            turn.note(
                "refused", unit, attempt, reason=f"the payment failed: {result.detail or result.code or 'no route'}"
            )


# --- pressing on: whatever has become possible ----------------------------------------------------------------------


def _press_on(turn: "_Turn") -> None:
    if turn.run.phase is not Phase.RUNNING:
        return
    for name in turn.run.recipe.order:
        _open_units(turn, name)
        for unit in turn.run.units_of(name):
            _press_unit(turn, unit)
    _finish_or_fail(turn)


def _open_units(turn: "_Turn", name: str) -> None:
    """Give a step its units once all it needs is there."""
    run = turn.run
    if name in run.fans or not all(_over(run, need) for need in run.recipe.needs[name]):
        return
    if any(_failure(run, need) for need in run.recipe.needs[name]):
        return
    try:
        count = len(items_of(run, name))
    except Unresolved:
        count = 0
    turn.note_step("fanned", name, count=count)


def _press_unit(turn: "_Turn", unit: Unit) -> None:
    """Time out what is late, accept what is good, start what is missing."""
    if unit.over:
        return
    for attempt in unit.live:
        _time_out(turn, unit, attempt)
    unit, doc = turn.unit(unit), turn.run.doc(unit)
    good = [attempt for attempt in unit.attempts if attempt.state is State.GATED]
    live = [attempt for attempt in unit.live if attempt.state is not State.GATED]
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


def _accept(turn: "_Turn", unit: Unit, good: list[Attempt]) -> None:
    best = max(good, key=lambda attempt: (attempt.verdict.score if attempt.verdict else 0, -attempt.number))
    assert best.artefact is not None
    turn.note_unit("accepted", unit, attempt=best.number, artefact=best.artefact.json())
    for attempt in good:
        if not attempt.cached and not attempt.unsettled:
            _review(turn, unit, attempt, 5, "delivered as ordered")
    for attempt in turn.unit(unit).attempts:
        _withdraw(turn, unit, attempt)


def _pay_what_is_owed(turn: "_Turn") -> None:
    """Providers that delivered first and billed on the result are paid once the artefact is accepted."""
    for unit, attempt in _owed(turn.run):
        result = JobResult.parse(Event.from_dict(attempt.source["bill"]))
        try:
            bill = check_bill(_as_order(turn.run, unit, attempt), result, now=turn.at, seen_hashes=_hashes(turn.run))
        except MarketError as error:
            turn.note("declined", unit, attempt, reason=error.reason)
            continue
        _pay(turn, unit, attempt, bill)
        return  # one intent a turn: a cap that forbids it then concerns this one


def _owed(run: Run) -> list[tuple[Unit, Attempt]]:
    """Accepted work whose bill came with the result and is neither paid nor declined."""
    if run.phase is not Phase.RUNNING:
        return []
    return [
        (unit, attempt)
        for unit, attempt in run.attempts
        if attempt.state is State.ACCEPTED and attempt.source.get("bill") and not attempt.payment_hash
        and not attempt.declined
    ]  # fmt: skip


def _blocked(unit: Unit) -> bool:
    """Unknown is not failed: no second purchase while nobody can say what became of a payment.

    A pending one is known: it may be bought again beside, as far as the run's budget bears both.
    """
    return any(attempt.unsettled and not attempt.pending for attempt in unit.attempts)


def _withdraw(turn: "_Turn", unit: Unit, attempt: Attempt) -> None:
    """Take an order back that nobody has been paid for and nobody has delivered."""
    waits = attempt.state in (State.ORDERED, State.BILLED, State.LATE)
    if waits and attempt.provider and not attempt.payment_hash:
        draft = withdrawal_draft(attempt.request_id, turn.run.doc(unit).kind, at=turn.at, reason="no longer needed")
        turn.do(Publish(draft, attempt.provider.relays))


def _may_start(turn: "_Turn", unit: Unit) -> bool:
    """Whether another ordinary attempt is allowed now."""
    run, doc = turn.run, turn.run.doc(unit)
    if _blocked(unit):
        return False
    used = sum(1 for attempt in unit.attempts if attempt.provider is not None or attempt.cached)
    empty = sum(1 for attempt in unit.attempts if attempt.state is State.REFUSED and attempt.provider is None)
    return (
        not any(attempt.exhausted for attempt in unit.attempts)
        and used < doc.tries
        and empty < EMPTY_ASKS
        and turn.at >= unit.rest_until
        and (run.committed_msat < run.terms.soft_msat or not run.terms.price_msat)
    )


def _start(turn: "_Turn", unit: Unit, *, last_resort: bool = False) -> None:
    number_ = len(unit.attempts) + 1
    turn.note_attempt("asked", unit, number_, last_resort=last_resort)
    turn.do(_ask_effect(turn.run, unit, number_, own_only=last_resort))


def _last_resort(turn: "_Turn", unit: Unit) -> None:
    """No ordinary attempt is allowed any more and none is under way: our own worker, or else the unit has failed."""
    if _blocked(unit) or turn.at < unit.rest_until:
        return
    if sum(attempt.last_resort for attempt in unit.attempts) < LAST_RESORT:
        _start(turn, unit, last_resort=True)
        return
    reasons = [attempt.reason for attempt in unit.attempts if attempt.reason and attempt.provider is not None]
    reasons = reasons or [attempt.reason for attempt in unit.attempts if attempt.reason]
    turn.note_unit("failed", unit, reason=reasons[-1] if reasons else "no provider")


def _time_out(turn: "_Turn", unit: Unit, attempt: Attempt) -> None:
    until = _late_at(turn.run, unit, attempt)
    if until is None or turn.at < until:
        return
    if attempt.paid_msat:
        turn.note("lost", unit, attempt, reason=f"paid, and nothing for {turn.at - attempt.paid_at} s")
        _review(turn, unit, attempt, 1, "took the money and did not deliver in time", "undelivered")
    else:
        words = "no delivery in time" if attempt.answered else "no answer"
        turn.note("late", unit, attempt, reason=words)
        _review(turn, unit, attempt, 1, words, "undelivered")
    turn.do(Recall(attempt.request_id, attempt.provider.relays if attempt.provider else ()))


def _late_at(run: Run, unit: Unit, attempt: Attempt) -> int | None:
    """When this attempt is given up; None where that is not a question of time."""
    seconds = run.doc(unit).seconds
    match attempt.state:
        case State.ORDERED if not attempt.answered:
            return attempt.ordered_at + min(ANSWER_SECONDS, seconds)
        case State.ORDERED:
            return attempt.ordered_at + seconds
        case State.PAID:
            return attempt.paid_at + seconds
        case State.PAYING if attempt.pending:
            return attempt.at + seconds
    return None


def _hedge_due(turn: "_Turn", unit: Unit, attempt: Attempt) -> bool:
    at = _hedge_at(turn.run, unit, attempt)
    return at is not None and turn.at >= at


def _hedge_at(run: Run, unit: Unit, attempt: Attempt) -> int | None:
    """When a second provider is tried beside a slow one: past its p95, with the price of a retry to spare."""
    working = attempt.state in (State.ORDERED, State.PAID) or attempt.pending
    if not run.terms.hedge or attempt.provider is None or not working or attempt.state.over:
        return None
    slow = attempt.provider.p95_s if attempt.provider.p95_s is not None else run.doc(unit).seconds * HEDGE_SHARE
    return (attempt.paid_at or attempt.ordered_at) + max(5, int(slow))


def _next_wake(run: Run, at: int) -> int:
    """The earliest second at which time alone changes something."""
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


# --- helpers --------------------------------------------------------------------------------------------------------


class _Turn:
    """One call of `decide`: collects entries and effects. Nothing of it outlives the call."""

    def __init__(self, run: Run, at: int) -> None:
        self.run = run
        self.at = at
        self.effects: list[Effect] = []
        self._before = run

    def do(self, effect: Effect) -> None:
        self.effects.append(effect)

    def note(self, kind: str, unit: Unit | None = None, attempt: Attempt | None = None, **data: object) -> None:
        name, idx = unit.key if unit else ("", 0)
        self._record(Entry(kind, self.at, name, idx, attempt.number if attempt else 0, data))

    def note_unit(self, kind: str, unit: Unit, **data: object) -> None:
        self._record(Entry(kind, self.at, unit.name, unit.idx, 0, data))

    def note_attempt(self, kind: str, unit: Unit, number_: int, **data: object) -> None:
        self._record(Entry(kind, self.at, unit.name, unit.idx, number_, data))

    def note_step(self, kind: str, name: str, **data: object) -> None:
        self._record(Entry(kind, self.at, name, 0, 0, data))

    def unit(self, unit: Unit) -> Unit:
        """The same unit after what was noted."""
        return self.run.units[unit.key]

    def attempt(self, unit: Unit, attempt: Attempt) -> Attempt:
        return self.run.units[unit.key].attempts[attempt.number - 1]

    def finish(self) -> tuple[Run, tuple[Effect, ...]]:
        changed = [key for key, unit in self.run.units.items() if _shown(unit) != _shown(self._before.units.get(key))]
        if changed and self.run.phase is Phase.RUNNING:
            self.do(Progress(tuple(changed)))
        if self.run.phase is Phase.RUNNING:
            self.do(Wake(self.at if _owed(self.run) else _next_wake(self.run, self.at)))
        return self.run, tuple(self.effects)

    def _record(self, entry: Entry) -> None:
        self.run = apply(self.run, entry)
        self.effects.append(Record(entry))


def _over(run: Run, name: str) -> bool:
    """Every unit of the step has come to an end, and enough of them well."""
    return name in run.fans and all(unit.over for unit in run.units_of(name)) and _failure(run, name) is None


def _failure(run: Run, name: str) -> str | None:
    """Why this step can no longer succeed; None while it can, and for an optional step always."""
    doc = run.doc(name)
    if doc.optional or name not in run.fans:
        return None
    units = run.units_of(name)
    if not units:
        return f"step {name!r} has nothing to work on ({doc.each})"
    failed = [unit for unit in units if unit.failed]
    if len(units) - len(failed) >= (min(doc.least, len(units)) if doc.least else len(units)):
        return None
    return f"step {name!r} failed: {failed[0].reason}"


def _tried(unit: Unit) -> dict[str, int]:
    """How often each provider was tried for this unit."""
    tried: dict[str, int] = {}
    for attempt in unit.attempts:
        if attempt.provider is not None:
            tried[attempt.provider.pubkey] = tried.get(attempt.provider.pubkey, 0) + 1
    return tried


def _attempt_of(run: Run, event: Event) -> tuple[Unit, Attempt] | None:
    named = set(event.values("e"))
    return next(((u, a) for u, a in run.attempts if a.request_id and a.request_id in named), None)


def _as_order(run: Run, unit: Unit, attempt: Attempt) -> Order:
    assert attempt.provider is not None
    return Order(
        request=request_of(run, unit, attempt),
        provider=attempt.provider.pubkey,
        max_msat=attempt.cap_msat,
        network=run.terms.network,
        deadline=min(attempt.ordered_at + run.doc(unit).seconds, run.deadline),
    )


def _hashes(run: Run) -> frozenset[str]:
    ours = {run.bill.payment_hash} if run.bill else set()
    return frozenset(ours | {attempt.payment_hash for _, attempt in run.attempts if attempt.payment_hash})


def _review(turn: _Turn, unit: Unit, attempt: Attempt, stars: int, text: str, grounds: str = "") -> None:
    turn.do(Review(unit.name, unit.idx, attempt.number, stars, text, grounds))


def _ask_effect(run: Run, unit: Unit, number_: int, *, own_only: bool) -> Ask:
    doc = run.doc(unit)
    try:
        key = "" if doc.cache == "off" else cache_key(run, unit)
    except Unresolved:
        key = ""
    return Ask(unit.name, unit.idx, number_, doc.kind, doc.max_msat, doc.seconds, tuple(doc.p), own_only, key)


def _pay_effect(unit: Unit, attempt: Attempt, *, again: bool = False) -> Pay:
    provider = attempt.provider.pubkey if attempt.provider else ""
    return Pay(
        unit.name, unit.idx, attempt.number, provider, attempt.bolt11, attempt.payment_hash,
        attempt.amount_msat, attempt.max_fee_msat, again,
    )  # fmt: skip


def _fetch_effect(run: Run, unit: Unit, attempt: Attempt) -> Fetch:
    doc = run.doc(unit)
    return Fetch(unit.name, unit.idx, attempt.number, attempt.source, doc.out, doc.gate.max_bytes)


def _check_effect(run: Run, unit: Unit, attempt: Attempt) -> Check:
    assert attempt.artefact is not None
    doc = run.doc(unit)
    low, high = number(run, unit, doc.gate.min_seconds), number(run, unit, doc.gate.max_seconds)
    return Check(unit.name, unit.idx, attempt.number, attempt.artefact, doc.out, doc.gate, low, high)


def _shown(unit: Unit | None) -> tuple[str, str, int]:
    if unit is None:
        return str(State.PLANNED), "", 0
    provider = next((a.provider.pubkey for a in reversed(unit.attempts) if a.provider), "")
    return unit.state, provider, unit.paid_msat


def _quote_words(run: Run) -> str:
    sats = run.terms.price_msat / 1000
    return f"{run.recipe.doc.title}: {sats:g} sat for {len(run.recipe.steps)} steps; returned if it cannot be delivered"


def _quote_tags(run: Run) -> tuple[tuple[str, ...], ...]:
    quote = ("quote", run.id, str(run.terms.valid_until), str(run.terms.seconds))
    lines = tuple(("line", step, str(kind), str(msat)) for step, kind, msat in run.terms.lines)
    return (quote, *lines, ("recipe", run.recipe_event))


def said_fraction(said: Feedback) -> float | None:
    """How far the provider says it is, 0 to 1: a `progress` tag, or a percentage in its words."""
    for tag in said.tags:
        if tag[0] == "progress" and len(tag) > 1:
            try:
                return min(1.0, max(0.0, float(tag[1])))
            except ValueError:
                return None
    number_ = said.message.partition("%")[0].rpartition(" ")[2] if "%" in said.message else ""
    return min(1.0, int(number_) / 100) if number_.isascii() and number_.isdigit() else None
