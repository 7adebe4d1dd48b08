"""One turn of `decide`: what was decided, written down, and the effects that follow from a state.

A `Turn` applies each entry as it is noted, so whoever decides next within the turn sees the run as it now is.
"""

from collections.abc import Iterable

from orchestrator.effects import (
    Ask,
    Check,
    ClaimRefund,
    Collect,
    Effect,
    Fetch,
    Pay,
    Progress,
    Publish,
    Record,
    Review,
    Wake,
)
from orchestrator.orders import declined_draft, withdrawal_draft
from orchestrator.run import Attempt, Entry, Phase, Run, State, Unit, apply
from orchestrator.values import Unresolved, cache_key, number
from orchestrator.wants import wants_of

CALL_SECONDS = 4.0  # so long an open call waits for offers


class Turn:
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

    def note_step(self, kind: str, name: str, idx: int = 0, **data: object) -> None:
        self._record(Entry(kind, self.at, name, idx, 0, data))

    def unit(self, unit: Unit) -> Unit:
        """The same unit after what was noted."""
        return self.run.units[unit.key]

    def attempt(self, unit: Unit, attempt: Attempt) -> Attempt:
        return self.run.units[unit.key].attempts[attempt.number - 1]

    def ask(self, unit: Unit, number_: int, *, own_only: bool) -> None:
        """Look for somebody who does it; where an order is called out already, go on listening."""
        ask = ask_effect(self.run, unit, number_, own_only=own_only)
        attempt = self.run.units[unit.key].attempts[number_ - 1]
        self.do(Collect(ask, attempt.request_id, CALL_SECONDS) if attempt.called_at else ask)

    def finish(self, wake_at: int) -> tuple[Run, tuple[Effect, ...]]:
        """The outcome of the turn; `wake_at` is when time alone changes something."""
        changed = [key for key, unit in self.run.units.items() if _shown(unit) != _shown(self._before.units.get(key))]
        if changed and self.run.phase is Phase.RUNNING:
            self.do(Progress(tuple(changed)))
        if self.run.phase is Phase.RUNNING:
            self.do(Wake(wake_at))
        return self.run, tuple(self.effects)

    def _record(self, entry: Entry) -> None:
        self.run = apply(self.run, entry)
        self.effects.append(Record(entry))


def ask_effect(run: Run, unit: Unit, number_: int, *, own_only: bool) -> Ask:
    doc = run.doc(unit)
    try:
        key = "" if doc.cache == "off" else cache_key(run, unit)
    except Unresolved:
        key = ""
    wants = wants_of(run.recipe, doc, run.inputs)
    return Ask(unit.name, unit.idx, number_, doc.kind, doc.max_msat, doc.seconds, doc.pinned, own_only, key, wants)


def pay_effect(unit: Unit, attempt: Attempt, *, again: bool = False) -> Pay:
    provider = attempt.provider.pubkey if attempt.provider else ""
    return Pay(
        unit.name, unit.idx, attempt.number, provider, attempt.bolt11, attempt.payment_hash,
        attempt.amount_msat, attempt.max_fee_msat, again,
    )  # fmt: skip


def claim_effect(unit: Unit, attempt: Attempt) -> ClaimRefund:
    assert attempt.provider is not None
    return ClaimRefund(*unit.key, attempt.number, attempt.provider.pubkey, attempt.request_id, attempt.owes_msat)


def fetch_effect(run: Run, unit: Unit, attempt: Attempt) -> Fetch:
    doc = run.doc(unit)
    return Fetch(unit.name, unit.idx, attempt.number, attempt.source, doc.out, doc.gate.max_bytes)


def check_effect(run: Run, unit: Unit, attempt: Attempt) -> Check:
    assert attempt.artefact is not None
    doc = run.doc(unit)
    low, high = number(run, unit, doc.gate.min_seconds), number(run, unit, doc.gate.max_seconds)
    return Check(unit.name, unit.idx, attempt.number, attempt.artefact, doc.out, doc.gate, low, high)


def review(turn: Turn, unit: Unit, attempt: Attempt, stars: int, text: str, grounds: str = "") -> None:
    turn.do(Review(unit.name, unit.idx, attempt.number, stars, text, grounds))


def withdraw(turn: Turn, unit: Unit, attempt: Attempt) -> None:
    """Take an order back that nobody has been paid for and nobody has delivered."""
    waits = attempt.state in (State.ORDERED, State.BILLED, State.LATE)
    if waits and attempt.provider and not attempt.payment_hash:
        draft = withdrawal_draft(attempt.request_id, turn.run.doc(unit).kind, at=turn.at, reason="no longer needed")
        turn.do(Publish(draft, attempt.provider.relays))


def decline(turn: Turn, attempt: Attempt, bidders: Iterable[str]) -> None:
    """Tell those who bid in vain, so that they need not wait for our money."""
    for pubkey in bidders:
        turn.do(Publish(declined_draft(attempt.request_id, pubkey, at=turn.at)))


def _shown(unit: Unit | None) -> tuple[str, str, int]:
    if unit is None:
        return str(State.PLANNED), "", 0
    provider = next((a.provider.pubkey for a in reversed(unit.attempts) if a.provider), "")
    return unit.state, provider, unit.paid_msat
