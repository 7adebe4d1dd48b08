"""One attempt to get one thing from one provider: offers, order, bill, payment, result, bytes, gates.

    asked -> quoted -> ordered -> billed -> paying -> paid -> delivered -> fetched -> gated -> (units) accepted

A provider may skip the bill (free), deliver before it is paid, or say no anywhere. What comes in is checked against the
attempt it claims to belong to: author, request, state. The rest is silence.
"""

from market.errors import MarketError
from market.job import Feedback, JobResult
from market.kinds import FEEDBACK, JOB_HUMAN, is_result
from market.purchase import Bill, Order, check_bill, check_result, honest_outcome
from market.tags import parse_msat
from nostr.event import Event
from orchestrator.effects import (
    Bids,
    Cached,
    Capped,
    Fetched,
    Gated,
    Heard,
    NotFetched,
    Offers,
    Paid,
    Progress,
    Publish,
    Repaid,
)
from orchestrator.orders import order_draft, request_of, withdrawal_draft
from orchestrator.run import Attempt, Candidate, Phase, Run, State, Unit
from orchestrator.turn import Turn, check_effect, claim_effect, decline, fetch_effect, pay_effect, review
from orchestrator.values import Unresolved
from wallet.interface import Outcome, PayResult

REST_SECONDS = 10  # before asking again where nobody sells a step
OWN_TRIES = 2  # a worker of this box may be asked again for the same unit; a stranger may not


BuyingInput = Offers | Bids | Cached | Heard | Paid | Capped | Repaid | Fetched | NotFetched | Gated


def take_in(turn: Turn, given: BuyingInput) -> None:
    if isinstance(given, Heard):
        _hear(turn, given.event)
        return
    unit = turn.run.units.get((given.step, given.idx))
    attempt = next((a for a in unit.attempts if a.number == given.attempt), None) if unit else None
    if unit is None or attempt is None:
        return
    if isinstance(given, Repaid):
        if attempt.owes_msat and 0 < given.msat <= attempt.paid_msat:
            turn.note("repaid", unit, attempt, msat=given.msat)
        return
    if isinstance(given, Paid):
        _settle(turn, unit, attempt, given.result)  # in every phase: the books want to know
        return
    if turn.run.phase is not Phase.RUNNING:
        return
    if isinstance(given, Capped) and (unit, attempt) in owed(turn.run):
        turn.note("declined", unit, attempt, reason=given.reason)
    if unit.over:
        return
    match given:
        case Offers() if attempt.state is State.ASKED:
            _order(turn, unit, attempt, given.candidates)
        case Bids() if attempt.state is State.ASKED and attempt.called_at:
            _take_bid(turn, unit, attempt, given)
        case Cached() if attempt.state is State.ASKED:
            turn.note("cached", unit, attempt, artefact=given.artefact.json())
        case Capped() if attempt.state is State.ORDERED:
            turn.note("refused", unit, attempt, reason=given.reason)
        case Fetched() if attempt.state is State.DELIVERED:
            turn.note("fetched", unit, attempt, artefact=given.artefact.json())
            turn.do(check_effect(turn.run, unit, turn.attempt(unit, attempt)))
        case NotFetched() if attempt.state is State.DELIVERED:
            turn.note("rejected", unit, attempt, reason=given.reason)
            review(turn, unit, attempt, 1, given.reason, "undelivered")
        case Gated() if attempt.state is State.FETCHED:
            turn.note(
                "gated", unit, attempt, ok=given.verdict.ok, score=given.verdict.score,
                checks=[list(check) for check in given.verdict.checks], artefact=given.artefact.json(),
            )  # fmt: skip
            if not given.verdict.ok:
                failed = next(name for name, ok, _ in given.verdict.checks if not ok)
                review(turn, unit, attempt, 1, given.verdict.reason, failed)


def _order(turn: Turn, unit: Unit, attempt: Attempt, candidates: tuple[Candidate, ...]) -> None:
    """Choose among the offers, and send the request; or call it out, where the recipe wants everybody asked."""
    run, doc = turn.run, turn.run.doc(unit)
    if doc.ask == "open" and not attempt.uncalled and not attempt.last_resort:
        _call(turn, unit, attempt)
        return
    turn.note("quoted", unit, attempt, candidates=[candidate.json() for candidate in candidates])
    fits, tried = _fitting(run, unit, attempt, candidates), tried_of(unit)
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


def _call(turn: Turn, unit: Unit, attempt: Attempt) -> None:
    try:
        draft = order_draft(turn.run, unit, None, turn.run.doc(unit).max_msat, attempt=attempt.number, at=turn.at)
    except Unresolved as error:
        turn.note("refused", unit, attempt, reason=f"its inputs are missing: {error}")
        return
    turn.note("called", unit, attempt, request_id=draft.id(turn.run.me))
    turn.do(Publish(draft))
    turn.ask(unit, attempt.number, own_only=False)


def _take_bid(turn: Turn, unit: Unit, attempt: Attempt, bids: Bids) -> None:
    """Pay the best of those who answered an open call; where none can be taken, ask those who are announced."""
    fits = _fitting(turn.run, unit, attempt, bids.candidates)
    shown = [candidate.json() for candidate in bids.candidates]
    if not fits:
        kind = turn.run.doc(unit).kind
        turn.do(Publish(withdrawal_draft(attempt.request_id, kind, at=turn.at, reason="no offer could be taken")))
        turn.note("uncalled", unit, attempt, candidates=shown)
        turn.ask(unit, attempt.number, own_only=False)
        return
    chosen, cap = fits[0], fits[0].price_msat
    turn.note("quoted", unit, attempt, candidates=shown)
    turn.note("ordered", unit, attempt, provider=chosen.json(), cap_msat=cap, request_id=attempt.request_id)
    decline(turn, attempt, [candidate.pubkey for candidate in bids.candidates if candidate is not chosen])
    for event in bids.events:
        if event.pubkey == chosen.pubkey:
            _hear(turn, event)


def _fitting(run: Run, unit: Unit, attempt: Attempt, candidates: tuple[Candidate, ...]) -> list[Candidate]:
    """Who of them may be hired, by the step's and the run's limits and by what was tried already."""
    room, tried, doc = run.terms.hard_msat - run.committed_msat, tried_of(unit), run.doc(unit)
    return [
        candidate
        for candidate in candidates
        if not candidate.excluded
        and tried.get(candidate.pubkey, 0) < (OWN_TRIES + attempt.last_resort if candidate.own else 1)
        and candidate.price_msat + run.terms.fee_limit(candidate.price_msat) <= room
        and candidate.price_msat <= doc.max_msat
    ]


def _hear(turn: Turn, event: Event) -> None:
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


def _hear_feedback(turn: Turn, unit: Unit, attempt: Attempt, said: Feedback) -> None:
    if turn.run.phase is not Phase.RUNNING or unit.over or attempt.state.over:
        return
    if not attempt.answered:
        turn.note("answered", unit, attempt, status=said.status)
    if said.status == "payment-required" and attempt.state is State.ORDERED and not attempt.payment_hash:
        order = as_order(turn.run, unit, attempt)
        try:
            bill = check_bill(order, said, now=turn.at, seen_hashes=hashes(turn.run))
        except MarketError as error:
            turn.note("refused", unit, attempt, reason=f"bill refused: {error.reason}")
            review(turn, unit, attempt, 1, f"bill refused: {error.reason}")
            return
        pay(turn, unit, attempt, bill)
    elif said.status == "error":
        paid = attempt.paid_msat > 0  # a payment that is only locked comes back by itself
        owes = min(_refund_due(said), attempt.amount_msat) if paid else 0
        reason = said.message or "the provider gave up"
        turn.note("lost" if paid else "refused", unit, attempt, reason=reason, owes_msat=owes)
        if paid:
            review(turn, unit, attempt, 1, f"took the money and gave up: {said.message}", "undelivered")
            if owes:
                turn.do(claim_effect(unit, turn.attempt(unit, attempt)))
        else:
            review(turn, unit, attempt, 2, f"gave up: {said.message}")
    elif said.status in ("processing", "partial"):
        turn.do(Progress((unit.key,), said.message, said_fraction(said)))


def _hear_result(turn: Turn, unit: Unit, attempt: Attempt, event: Event) -> None:
    late = attempt.state in (State.LATE, State.LOST)
    open_ = attempt.state in (State.ORDERED, State.BILLED, State.PAYING, State.PAID) or late
    if turn.run.phase is not Phase.RUNNING or unit.over or not open_:
        return
    result: JobResult = check_result(as_order(turn.run, unit, attempt), event, None)
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
    turn.do(fetch_effect(turn.run, unit, turn.attempt(unit, attempt)))


def pay(turn: Turn, unit: Unit, attempt: Attempt, bill: Bill) -> None:
    """Write the intent, if the run's money allows it."""
    fee = turn.run.terms.fee_limit(bill.amount_msat)
    others = turn.run.committed_msat - attempt.reserved_msat
    if others + bill.amount_msat + fee > turn.run.terms.hard_msat:
        kind = "declined" if attempt.state in (State.ACCEPTED, State.SPARE) else "refused"
        turn.note(kind, unit, attempt, reason="over this run's budget")
        return
    turn.note(
        "billed", unit, attempt, bill_id=bill.event.id, bolt11=bill.bolt11, payment_hash=bill.payment_hash,
        amount_msat=bill.amount_msat, event=bill.event.to_dict(),
    )  # fmt: skip
    turn.note("paying", unit, attempt, max_fee_msat=fee)
    turn.do(pay_effect(unit, turn.attempt(unit, attempt)))


def _settle(turn: Turn, unit: Unit, attempt: Attempt, result: PayResult) -> None:
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
            review(turn, unit, attempt, 5, "delivered as ordered")
    elif result.outcome is Outcome.PENDING and not attempt.pending:
        turn.note("pending", unit, attempt)
    elif result.outcome is Outcome.FAILED:
        turn.note("unpaid", unit, attempt, code=result.code or "", detail=result.detail or "")
        if not turn.attempt(unit, attempt).state.over and attempt.state is State.PAYING:
            turn.note(
                "refused", unit, attempt, reason=f"the payment failed: {result.detail or result.code or 'no route'}"
            )


def pay_what_is_owed(turn: Turn) -> None:
    """Providers that delivered first and billed on the result are paid once the artefact is accepted."""
    for unit, attempt in owed(turn.run):
        result = JobResult.parse(Event.from_dict(attempt.source["bill"]))
        try:
            bill = check_bill(as_order(turn.run, unit, attempt), result, now=turn.at, seen_hashes=hashes(turn.run))
        except MarketError as error:
            turn.note("declined", unit, attempt, reason=error.reason)
            continue
        pay(turn, unit, attempt, bill)
        return  # one intent a turn: a cap that forbids it then concerns this one


def owed(run: Run) -> list[tuple[Unit, Attempt]]:
    """Work whose bill came with the result and is neither paid nor declined: what was accepted, and what people did."""
    if run.phase is not Phase.RUNNING:
        return []
    return [
        (unit, attempt)
        for unit, attempt in run.attempts
        if taken_or_done(run, unit, attempt) and attempt.source.get("bill") and not attempt.payment_hash
        and not attempt.declined
    ]  # fmt: skip


def taken_or_done(run: Run, unit: Unit, attempt: Attempt) -> bool:
    """Whether this work is paid for: it was taken, or a person did it well and another one's was taken."""
    return attempt.state is State.ACCEPTED or (attempt.state is State.SPARE and run.doc(unit).kind == JOB_HUMAN)


def tried_of(unit: Unit) -> dict[str, int]:
    """How often each provider was tried for this unit."""
    tried: dict[str, int] = {}
    for attempt in unit.attempts:
        if attempt.provider is not None:
            tried[attempt.provider.pubkey] = tried.get(attempt.provider.pubkey, 0) + 1
    return tried


def _attempt_of(run: Run, event: Event) -> tuple[Unit, Attempt] | None:
    named = set(event.values("e"))
    return next(((u, a) for u, a in run.attempts if a.request_id and a.request_id in named), None)


def as_order(run: Run, unit: Unit, attempt: Attempt) -> Order:
    assert attempt.provider is not None
    return Order(
        request=request_of(run, unit, attempt),
        provider=attempt.provider.pubkey,
        max_msat=attempt.cap_msat,
        network=run.terms.network,
        deadline=min(attempt.ordered_at + run.doc(unit).seconds, run.deadline),
    )


def hashes(run: Run) -> frozenset[str]:
    ours = {run.bill.payment_hash} if run.bill else set()
    return frozenset(ours | {attempt.payment_hash for _, attempt in run.attempts if attempt.payment_hash})


def _refund_due(said: Feedback) -> int:
    """What a failed provider says it owes us, msat: `["refund", "due", msat]`."""
    for tag in said.tags:
        if tag[0] == "refund" and len(tag) > 2 and tag[1] == "due":
            return parse_msat(tag[2]) or 0
    return 0


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
