"""What a run is, as values; and how each entry of the journal changes it.

A run is a fold over its entries: `rebuild(entries)` gives the same `Run` that the process held when it was killed.
There is no other source: states in tables are projections of this one. `apply` never decides anything and never fails
on an entry that an older version wrote; what to do next is `decide.py`'s business.

    Run                one composite, id = the buyer's request event
    |- Unit            one (step, idx): a step without `each` has one unit, a fanned-out step has several
       |- Attempt      one try to get it from one provider
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from orchestrator.recipe import Recipe, StepDoc

UnitKey = tuple[str, int]
LOOK_SECONDS = 30  # for looking around after a restart


class Phase(StrEnum):
    OPENED = "opened"  # accepted, no bill yet
    BILLED = "billed"  # the buyer has our invoice
    RUNNING = "running"  # the buyer's money is there (held or received)
    SETTLING = "settling"  # everything is accepted; the held money is being taken
    DELIVERED = "delivered"
    REFUNDING = "refunding"  # it failed or was cancelled; the money goes back
    REFUNDED = "refunded"
    CANCELLED = "cancelled"  # never paid
    DEAD = "dead"  # needs the operator

    @property
    def over(self) -> bool:
        return self in (Phase.DELIVERED, Phase.REFUNDED, Phase.CANCELLED, Phase.DEAD)


class State(StrEnum):
    """Of an attempt. `planned` is a unit without attempts."""

    PLANNED = "planned"
    ASKED = "asked"  # who sells it?
    QUOTED = "quoted"  # these do
    ORDERED = "ordered"  # the request is out
    BILLED = "billed"  # a good bill came; not paid yet
    PAYING = "paying"  # the intent is written; the outcome is not known
    PAID = "paid"
    DELIVERED = "delivered"  # the result event is here
    FETCHED = "fetched"  # the bytes are here, hashed and stored
    GATED = "gated"  # they passed the gates
    ACCEPTED = "accepted"
    REFUSED = "refused"  # the provider (or a cap) said no
    LATE = "late"  # not in time; still welcome if nothing better came
    LOST = "lost"  # paid for and gone
    REJECTED = "rejected"  # delivered, and did not pass
    SPARE = "spare"  # good, but another one was taken

    @property
    def over(self) -> bool:
        return self in _OVER

    @property
    def failed(self) -> bool:
        return self in (State.REFUSED, State.LATE, State.LOST, State.REJECTED)


_OVER = frozenset({State.ACCEPTED, State.REFUSED, State.LATE, State.LOST, State.REJECTED, State.SPARE})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal. Unique by (step, idx, attempt, kind); run-level entries have step ""."""

    kind: str
    at: int
    step: str = ""
    idx: int = 0
    attempt: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artefact:
    """A stored file or text. `url` is on our own Blossom; `text` is there for text up to 64 KiB."""

    sha256: str
    mime: str
    size: int
    url: str = ""
    text: str | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None

    def json(self) -> dict[str, Any]:
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) not in (None, "")}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> "Artefact":
        known: dict[str, Any] = {k: v for k, v in data.items() if k in cls.__slots__}
        return cls(**{"sha256": "", "mime": "", "size": 0, **known})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider that could serve a unit, best first in its list. `factors` explain its place ("why this one")."""

    pubkey: str
    price_msat: int
    name: str = ""
    relays: tuple[str, ...] = ()
    own: bool = False
    p50_s: float | None = None
    p95_s: float | None = None
    excluded: str = ""  # why it cannot be taken, if it cannot
    factors: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        made = {name: getattr(self, name) for name in self.__slots__}
        return {**made, "relays": list(self.relays), "factors": dict(self.factors)}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> "Candidate":
        known = {k: v for k, v in data.items() if k in cls.__slots__}
        return cls(**{**known, "relays": tuple(known.get("relays", ()))})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates said. `checks` are (name, passed, measured); `score` ranks good ones, 0 to 1."""

    ok: bool
    checks: tuple[tuple[str, bool, str], ...] = ()
    score: float = 1.0

    @property
    def reason(self) -> str:
        return "; ".join(f"{name}: {measured}" for name, ok, measured in self.checks if not ok)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try. Times in seconds since 1970, amounts in msat."""

    number: int
    state: State
    at: int = 0  # when the present state began
    started_at: int = 0
    candidates: tuple[Candidate, ...] = ()
    provider: Candidate | None = None
    cap_msat: int = 0
    request_id: str = ""
    ordered_at: int = 0
    bill_id: str = ""
    bill: Mapping[str, Any] = field(default_factory=dict)  # the event itself: relays forget bills
    bolt11: str = ""
    payment_hash: str = ""
    amount_msat: int = 0
    max_fee_msat: int = 0
    paid_msat: int = 0  # with fees; only what really left
    fee_msat: int = 0
    preimage: str = ""
    paid_at: int = 0
    unsettled: bool = False  # an intent is written and its outcome is not known yet
    pending: bool = False  # the wallet knows it as locked or on its way
    result_id: str = ""
    delivered_at: int = 0
    source: Mapping[str, Any] = field(default_factory=dict)  # what the result points at, to fetch
    artefact: Artefact | None = None
    verdict: Verdict | None = None
    judged: bool = False  # gate G2 has spoken
    reason: str = ""
    cached: bool = False
    answered: bool = False  # the provider has said anything at all
    declined: bool = False  # its bill came with the result and was not paid
    owes_msat: int = 0  # what its provider says it will pay back
    exhausted: bool = False  # everybody who sells it was tried
    uncalled: bool = False  # it was called out, and nobody came
    called_at: int = 0  # when its order was called out to everybody; 0: it was addressed to its provider
    last_resort: bool = False  # our own worker, after all others

    @property
    def reserved_msat(self) -> int:
        """What this attempt may still cost beyond what it has."""
        if self.unsettled:
            return self.amount_msat + self.max_fee_msat
        return self.cap_msat if self.state is State.ORDERED else 0


@dataclass(frozen=True, slots=True)
class Unit:
    name: str
    idx: int
    attempts: tuple[Attempt, ...] = ()
    artefact: Artefact | None = None
    of: tuple[int, ...] = ()  # of a unit that judges: the attempts it looks at
    replaced: bool = False  # the artefact is its stand-in's: nobody delivered this one
    failed: bool = False  # no attempt is left
    reason: str = ""
    rest_until: int = 0
    skipped: bool = False  # the item it was to work on has failed, and the recipe does without

    @property
    def key(self) -> UnitKey:
        return self.name, self.idx

    @property
    def done(self) -> bool:
        return self.artefact is not None

    @property
    def over(self) -> bool:
        return self.done or self.failed or self.skipped

    @property
    def live(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if not attempt.state.over]

    @property
    def accepted(self) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.state is State.ACCEPTED), None)

    @property
    def state(self) -> str:
        """One word for people: that of the attempt that is furthest."""
        if self.replaced:
            return "replaced"
        if self.failed or self.skipped:
            return "failed" if self.failed else "skipped"
        if not self.attempts:
            return "accepted" if self.done else str(State.PLANNED)
        return str(max(self.attempts, key=lambda attempt: (not attempt.state.failed, attempt.number)).state)

    @property
    def paid_msat(self) -> int:
        return sum(attempt.paid_msat for attempt in self.attempts)


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed with the buyer, and what the operator allows for this run. Amounts msat, times seconds."""

    price_msat: int
    soft_msat: int  # no new attempt is started once this much is spent or promised
    hard_msat: int  # never more than this, whatever happens
    seconds: int
    valid_until: int
    network: str = "regtest"
    hedge: bool = True
    hold: bool = True  # the buyer's payment is locked, where our wallet can, and taken at the end
    fee_ppm: int = 5000
    fee_base_msat: int = 1000
    receipts: str = "public"
    sealed: bool = False
    relays: tuple[str, ...] = ()
    lines: tuple[tuple[str, int, int], ...] = ()  # (step, kind, msat) as quoted

    def json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> "Terms":
        known = {k: v for k, v in data.items() if k in cls.__slots__}
        lines = tuple((step, kind, msat) for step, kind, msat in known.get("lines", ()))
        return cls(**{**known, "relays": tuple(known.get("relays", ())), "lines": lines})

    def fee_limit(self, amount_msat: int) -> int:
        """Most routing fee for a payment of this size: a share and a base."""
        return self.fee_base_msat + amount_msat * self.fee_ppm // 1_000_000 if amount_msat else 0


@dataclass(frozen=True, slots=True)
class Bill:
    """Our invoice to the buyer. `hold`: the money is locked, not taken, until everything is accepted."""

    payment_hash: str
    bolt11: str
    amount_msat: int
    hold: bool
    expires_at: int


@dataclass(frozen=True, slots=True)
class Run:
    """`me` is Timmy's public key. `units` appear as their inputs become known."""

    id: str
    me: str
    buyer: str
    recipe: Recipe
    recipe_event: str
    inputs: Mapping[str, Any]
    terms: Terms
    opened_at: int
    phase: Phase = Phase.OPENED
    units: Mapping[UnitKey, Unit] = field(default_factory=dict)
    fans: Mapping[str, int] = field(default_factory=dict)
    bill: Bill | None = None
    bill_event: str = ""
    paid_at: int = 0
    received_msat: int = 0
    reason: str = ""
    receipt_id: str = ""
    result_id: str = ""
    ended_at: int = 0
    refund_to: str = ""
    sealing: bool = False
    seal: tuple[str, str, str] | None = None  # URL, hash and nonce of the encrypted composite
    cancelled_by_buyer: bool = False
    resumes: int = 0  # how often a process took it up again
    resumed_at: int = 0

    @property
    def deadline(self) -> int:
        return max((self.paid_at or self.opened_at) + self.terms.seconds, self.back_at)

    @property
    def back_at(self) -> int:
        """Until then nothing is late: after an absence of ours, what came meanwhile is looked at first."""
        return self.resumed_at + LOOK_SECONDS if self.resumed_at else 0

    @property
    def chain(self) -> str:
        """The pseudonym of this run in sub-requests: it links our orders to each other, not to the buyer."""
        import hashlib

        return hashlib.sha256(f"chain:{self.id}:{self.me}".encode()).hexdigest()[:16]

    @property
    def attempts(self) -> Iterator[tuple[Unit, Attempt]]:
        for unit in self.units.values():
            for attempt in unit.attempts:
                yield unit, attempt

    @property
    def spent_msat(self) -> int:
        return sum(attempt.paid_msat for _, attempt in self.attempts)

    @property
    def committed_msat(self) -> int:
        """Spent, on its way, or promised."""
        return sum(attempt.paid_msat + attempt.reserved_msat for _, attempt in self.attempts)

    def doc(self, unit: Unit | str) -> StepDoc:
        """The step's document; for the judge of an attempt (`song~1`) the one made from the step's gate."""
        name, _, judges = (unit if isinstance(unit, str) else unit.name).partition("~")
        step = self.recipe.steps[name]
        return step.judged_by() if judges else step

    def judge_of(self, unit: Unit, attempt: Attempt | None = None) -> Unit | None:
        """The unit that judges an attempt, or without one all good ones together (gate G2), once it is asked."""
        return self.units.get((f"{unit.name}~{attempt.number if attempt else 0}", unit.idx))

    def judged(self, unit: Unit) -> list[Artefact]:
        """What a judging unit looks at, in its order."""
        attempts = self.units[unit.name.partition("~")[0], unit.idx].attempts
        found = [attempts[number - 1].artefact for number in unit.of]
        return [artefact for artefact in found if artefact is not None]

    def units_of(self, name: str) -> list[Unit]:
        return [self.units[name, idx] for idx in range(self.fans.get(name, 0))]


# --- entries --------------------------------------------------------------------------------------------------------


def rebuild(run_id: str, entries: Iterable[Entry]) -> Run:
    """The run these entries tell. The first one must be `opened`."""
    it = iter(entries)
    run = opened(run_id, next(it))
    for entry in it:
        run = apply(run, entry)
    return run


def opened(run_id: str, entry: Entry) -> Run:
    """The run that the first entry begins."""
    data = entry.data
    return Run(
        id=run_id,
        me=data["me"],
        buyer=data["buyer"],
        recipe=Recipe.parse(data["recipe"]),
        recipe_event=data["recipe_event"],
        inputs=data["inputs"],
        terms=Terms.load(data["terms"]),
        opened_at=entry.at,
        refund_to=data.get("refund_to", ""),
    )


def apply(run: Run, entry: Entry) -> Run:
    """The run after this entry."""
    if not entry.step:
        return _apply_to_run(run, entry)
    if entry.kind == "fanned":
        units = {(entry.step, idx): Unit(entry.step, idx) for idx in range(entry.data["count"])}
        return replace(run, units={**run.units, **units}, fans={**run.fans, entry.step: entry.data["count"]})
    key = (entry.step, entry.idx)
    if entry.kind == "judging":
        of = entry.data.get("of") or [int(entry.step.partition("~")[2])]
        return replace(run, units={**run.units, key: Unit(*key, of=tuple(of))})
    unit = run.units.get(key)
    if unit is None:
        return run
    unit = _apply_to_unit(unit, entry) if entry.attempt == 0 else _with_attempt(unit, entry)
    return replace(run, units={**run.units, key: unit})


def _apply_to_run(run: Run, entry: Entry) -> Run:
    data, at = entry.data, entry.at
    match entry.kind:
        case "billed":
            bill = Bill(data["payment_hash"], data["bolt11"], data["amount_msat"], data["hold"], data["expires_at"])
            return replace(run, phase=Phase.BILLED, bill=bill)
        case "started":
            return replace(run, phase=Phase.RUNNING, paid_at=at)
        case "sealing":
            return replace(run, sealing=True)
        case "sealed":
            return replace(run, seal=(data["url"], data["sha256"], data["nonce"]))
        case "paid":
            return replace(run, phase=Phase.RUNNING, paid_at=run.paid_at or at, received_msat=data["received_msat"])
        case "received":
            return replace(run, received_msat=data["received_msat"])
        case "settling":
            return replace(run, phase=Phase.SETTLING)
        case "delivered":
            return replace(run, phase=Phase.DELIVERED, ended_at=at)
        case "receipted":
            return replace(run, receipt_id=data["receipt_id"], result_id=data["result_id"])
        case "refunding":
            by_buyer = bool(data.get("by_buyer"))
            return replace(run, phase=Phase.REFUNDING, reason=data["reason"], cancelled_by_buyer=by_buyer)
        case "refunded":
            return replace(run, phase=Phase.REFUNDED, ended_at=at)
        case "cancelled":
            return replace(run, phase=Phase.CANCELLED, reason=data["reason"], ended_at=at)
        case "resumed":
            return replace(run, resumed_at=at, resumes=entry.idx + 1)
        case "dead":
            return replace(run, phase=Phase.DEAD, reason=data["reason"], ended_at=at)
    return run


def _apply_to_unit(unit: Unit, entry: Entry) -> Unit:
    match entry.kind:
        case "accepted":
            winner = entry.data["attempt"]
            attempts = tuple(
                replace(a, state=State.ACCEPTED if a.number == winner else State.SPARE, at=entry.at)
                if a.number == winner or a.state is State.GATED
                else a
                for a in unit.attempts
            )
            return replace(unit, attempts=attempts, artefact=Artefact.load(entry.data["artefact"]))
        case "skipped":
            return replace(unit, skipped=True)
        case "failed":
            return replace(unit, failed=True, reason=entry.data["reason"])
        case "replaced":
            return replace(unit, failed=False, replaced=True, artefact=Artefact.load(entry.data["artefact"]))
    return unit


def _with_attempt(unit: Unit, entry: Entry) -> Unit:
    if entry.kind == "asked":
        last = bool(entry.data.get("last_resort"))
        fresh = Attempt(entry.attempt, State.ASKED, at=entry.at, started_at=entry.at, last_resort=last)
        return replace(unit, attempts=(*unit.attempts, fresh))
    attempts = tuple(_apply_to_attempt(a, entry) if a.number == entry.attempt else a for a in unit.attempts)
    rest_until = max(unit.rest_until, int(entry.data.get("rest_until", 0)))
    return replace(unit, attempts=attempts, rest_until=rest_until)


def _apply_to_attempt(attempt: Attempt, entry: Entry) -> Attempt:
    data, at = entry.data, entry.at
    match entry.kind:
        case "quoted":
            candidates = tuple(Candidate.load(item) for item in data["candidates"])
            return replace(attempt, state=State.QUOTED, at=at, candidates=candidates)
        case "uncalled":
            return replace(attempt, uncalled=True, request_id="", called_at=0)
        case "called":
            return replace(attempt, at=at, called_at=at, request_id=data["request_id"])
        case "cached":
            artefact = Artefact.load(data["artefact"])
            return replace(attempt, state=State.GATED, at=at, cached=True, artefact=artefact, verdict=Verdict(True))
        case "ordered":
            provider = Candidate.load(data["provider"])
            return replace(
                attempt, state=State.ORDERED, at=at, ordered_at=attempt.called_at or at, provider=provider,
                cap_msat=data["cap_msat"], request_id=data["request_id"],
            )  # fmt: skip
        case "billed":
            return replace(
                attempt, state=_forward(attempt, State.BILLED), at=at, bill_id=data["bill_id"], bolt11=data["bolt11"],
                bill=data.get("event", {}),
                payment_hash=data["payment_hash"], amount_msat=data["amount_msat"],
            )  # fmt: skip
        case "paying":
            return replace(
                attempt, state=_forward(attempt, State.PAYING), at=at, max_fee_msat=data["max_fee_msat"], unsettled=True
            )
        case "paid":
            return replace(
                attempt, state=_forward(attempt, State.PAID), at=at, paid_at=at, unsettled=False,
                preimage=data.get("preimage") or "", fee_msat=data["fee_msat"],
                paid_msat=attempt.amount_msat + data["fee_msat"],
            )  # fmt: skip
        case "answered":
            return replace(attempt, answered=True)
        case "pending":
            return replace(attempt, pending=True)
        case "repaid":
            return replace(attempt, paid_msat=max(0, attempt.paid_msat - data["msat"]), owes_msat=0)
        case "declined":
            return replace(attempt, declined=True)
        case "unpaid":
            return replace(attempt, unsettled=False)
        case "delivered":
            return replace(
                attempt, state=_forward(attempt, State.DELIVERED), at=at, delivered_at=at,
                result_id=data["result_id"], source=data["source"],
            )  # fmt: skip
        case "fetched":
            return replace(attempt, state=State.FETCHED, at=at, artefact=Artefact.load(data["artefact"]))
        case "gated":
            checks = tuple((name, bool(ok), measured) for name, ok, measured in data["checks"])
            verdict = Verdict(data["ok"], checks, data["score"])
            stored = Artefact.load(data["artefact"]) if "artefact" in data else attempt.artefact
            state = State.GATED if verdict.ok else State.REJECTED
            return replace(attempt, state=state, at=at, verdict=verdict, artefact=stored, reason=verdict.reason)
        case "judged":
            checks = (*(attempt.verdict.checks if attempt.verdict else ()), ("judge", bool(data["ok"]), data["words"]))
            measured = attempt.verdict.score if attempt.verdict else 1.0
            verdict = Verdict(bool(data["ok"]), checks, data.get("score", measured))
            state = State.GATED if verdict.ok else State.REJECTED
            return replace(attempt, state=state, at=at, verdict=verdict, judged=True, reason=verdict.reason)
        case "refused" | "late" | "lost" | "rejected":
            return replace(
                attempt, state=State(entry.kind), at=at, reason=data["reason"],
                exhausted=bool(data.get("exhausted")), owes_msat=data.get("owes_msat", 0),
            )  # fmt: skip
    return attempt


# A late attempt may come back to life by what its provider still sends; otherwise states only go forward.
_ORDER = (
    State.ASKED, State.QUOTED, State.ORDERED, State.LATE, State.BILLED, State.PAYING, State.PAID, State.LOST,
    State.DELIVERED, State.FETCHED, State.GATED,
)  # fmt: skip


def _forward(attempt: Attempt, to: State) -> State:
    here = attempt.state
    if here not in _ORDER:
        return here
    if to in (State.BILLED, State.PAYING, State.PAID) and here in (State.LATE, State.LOST):
        return here
    return to if _ORDER.index(to) > _ORDER.index(here) else here


# --- references -----------------------------------------------------------------------------------------------------


def json_of(artefact: Artefact) -> Any:
    """The JSON value of a text artefact; its text where it is none."""
    try:
        return json.loads(artefact.text or "")
    except ValueError:
        return artefact.text or ""
