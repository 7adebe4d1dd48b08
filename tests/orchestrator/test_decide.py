"""`decide` under everything the world can do to it: inputs twice, late, out of order, forged; and crashes between."""

import hashlib
import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from market.job import build_feedback, build_result
from nostr.event import Event
from nostr.key import SecretKey
from orchestrator.decide import decide
from orchestrator.effects import (
    Ask,
    BillGone,
    BillMade,
    BillPaid,
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
    Publish,
    Record,
    Resumed,
    Returned,
    Take,
    Taken,
    Tick,
)
from orchestrator.orders import request_of
from orchestrator.recipe import Recipe
from orchestrator.run import Artefact, Attempt, Bill, Candidate, Entry, Phase, Run, State, Terms, Unit, Verdict, rebuild
from tests.orchestrator.world import TIMMY, key_of
from wallet import bolt11
from wallet.interface import Outcome, PayResult

NODE = key_of("node")
BUYER = key_of("buyer").public
SELLERS = [key_of(f"seller {n}") for n in range(4)]
RUN_ID = "aa" * 32
SHOTS = json.dumps({"shots": [{"prompt": "one"}, {"prompt": "two"}]})
RECIPE = Recipe.parse({
    "d": "small", "title": "Small", "inputs": {"prompt": {"type": "string"}}, "output": "$cut", "seconds": 600,
    "steps": {
        "story": {
            "kind": 5050, "i": [["$inputs.prompt", "text"]], "seconds": 60, "tries": 2,
            "out": {"mime": "application/json", "schema": {"type": "object", "properties": {"shots": {
                "type": "array", "items": {"type": "object", "properties": {"prompt": {"type": "string"}}}}}}},
        },
        "frame": {
            "kind": 5100, "each": "$story.shots", "i": [["$each.prompt", "text"]], "out": {"mime": "image/*"},
            "buy": 2, "pick": "best", "tries": 3, "seconds": 60, "least": 1,
        },
        "clip": {
            "kind": 5202, "each": "$frame", "i": [["$each", "url"]], "out": {"mime": "video/*"}, "seconds": 60,
            "tries": 2,
        },
        "cut": {"kind": 5203, "i": [["$clip", "url"]], "out": {"mime": "video/mp4"}, "seconds": 60, "tries": 2},
    },
})  # fmt: skip
TERMS = Terms(
    price_msat=100_000, soft_msat=90_000, hard_msat=120_000, seconds=600, valid_until=2_000, relays=("ws://r",)
)


class Rough(RuleBasedStateMachine):
    """Answers effects when it pleases, repeats old inputs, forges, turns the clock, and kills the process."""

    run: Run

    @initialize(hold=st.booleans())
    def begin(self, hold: bool) -> None:
        self.now = 1_000
        self.hold = hold
        self.entries: list[Entry] = []
        self.waiting: list[Effect] = []
        self.past: list[Input] = []
        self.paid: set[str] = set()
        self.known: dict[str, str] = {}  # payment hash -> preimage
        self.delivered = self.refunded = 0
        self._take(*decide(None, Open(1_000, RUN_ID, TIMMY.public, BUYER, RECIPE, "bb" * 32, {"prompt": "x"}, TERMS)))

    def _feed(self, given: Input) -> None:
        self.past.append(given)
        self._take(*decide(self.run, given))

    def _take(self, run: Run, effects: tuple[Effect, ...]) -> None:
        self.run = run
        for effect in effects:
            match effect:
                case Record(entry):
                    self.entries.append(entry)
                case Pay(payment_hash=payment_hash, again=False):
                    assert payment_hash not in self.paid, "an invoice is paid twice"
                    self.paid.add(payment_hash)
                    self.waiting.append(effect)
                case Deliver():
                    self.delivered += 1
                case GiveBack():
                    self.refunded += 1
                    self.waiting.append(effect)
                case MakeBill() | Ask() | Fetch() | Check() | Take() | Pay():
                    self.waiting.append(effect)
                case Publish():
                    pass

    # --- what the world does ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """Something that was asked for happens, well or badly."""
        effect = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        match effect:
            case MakeBill(amount, expires):
                bill = Bill("cc" * 32, "lnbcrt1", amount, self.hold, expires)
                self._feed(BillMade(self.now, bill))
                if data.draw(st.integers(0, 9)) > 0:
                    self._feed(BillPaid(self.now, amount))
            case Ask(step, idx, attempt):
                chosen = data.draw(st.permutations(SELLERS))[: data.draw(st.integers(0, 4))]
                price = data.draw(st.sampled_from([0, 5_000, 9_000, 30_000]))
                offers = tuple(
                    Candidate(key.public, price, own=n == 3) for n, key in enumerate(SELLERS) if key in chosen
                )
                self._feed(Offers(self.now, step, idx, attempt, offers))
            case Pay(step, idx, attempt, payment_hash=payment_hash):
                outcome = data.draw(st.sampled_from([Outcome.SETTLED, *Outcome]))
                preimage = self.known[payment_hash] if outcome is Outcome.SETTLED else None
                self._feed(Paid(self.now, step, idx, attempt, PayResult(outcome, payment_hash, preimage, 0)))
                if outcome in (Outcome.PENDING, Outcome.UNKNOWN):
                    self.waiting.append(effect)
            case Fetch(step, idx, attempt, source):
                if data.draw(st.booleans()):
                    text = str(source["text"])
                    sha = hashlib.sha256(f"{text}{source['url']}".encode()).hexdigest()
                    artefact = Artefact(sha, "x/y", 1, str(source["url"]), text or None)
                    self._feed(Fetched(self.now, step, idx, attempt, artefact))
                else:
                    self._feed(NotFetched(self.now, step, idx, attempt, "gone"))
            case Check(step, idx, attempt, artefact):
                good = data.draw(st.integers(0, 3)) > 0
                verdict = Verdict(good, (("decodes", good, ""),), data.draw(st.floats(0, 1)))
                self._feed(Gated(self.now, step, idx, attempt, verdict, artefact))
            case Take():
                self._feed(Taken(self.now, data.draw(st.integers(0, 5)) > 0))
            case GiveBack():
                self._feed(Returned(self.now, "returned"))

    @rule(steps=st.integers(1, 40))
    def a_quiet_while(self, steps: int) -> None:
        """Everybody does what is expected of him, so that the rough rules meet runs of every age."""
        for _ in range(steps):
            if self.waiting:
                self._answer_well(self.waiting.pop(0))
                continue
            idle = [(u, a) for u, a in self._orders() if a.state in (State.ORDERED, State.PAYING, State.PAID)]
            if not idle or self.run.phase is not Phase.RUNNING:
                return
            unit, attempt = idle[0]
            assert attempt.provider is not None
            owner = next(key for key in SELLERS if key.public == attempt.provider.pubkey)
            asks = attempt.state is State.ORDERED and attempt.cap_msat and not attempt.payment_hash
            self._feed(Heard(self.now, self._word(owner, unit, attempt, "bill" if asks else "result")))

    def _answer_well(self, effect: Effect) -> None:
        match effect:
            case MakeBill(amount, expires):
                self._feed(BillMade(self.now, Bill("cc" * 32, "lnbcrt1", amount, self.hold, expires)))
                self._feed(BillPaid(self.now, amount))
            case Ask(step, idx, attempt):
                offers = tuple(Candidate(key.public, 6_000, own=n == 3) for n, key in enumerate(SELLERS))
                self._feed(Offers(self.now, step, idx, attempt, offers))
            case Pay(step, idx, attempt, payment_hash=payment_hash):
                result = PayResult(Outcome.SETTLED, payment_hash, self.known[payment_hash], 0)
                self._feed(Paid(self.now, step, idx, attempt, result))
            case Fetch(step, idx, attempt, source):
                text, url = str(source["text"]), str(source["url"])
                sha = hashlib.sha256(f"{text}{url}".encode()).hexdigest()
                self._feed(Fetched(self.now, step, idx, attempt, Artefact(sha, "x/y", 1, url, text or None)))
            case Check(step, idx, attempt, artefact):
                self._feed(Gated(self.now, step, idx, attempt, Verdict(True, (("decodes", True, ""),), 0.5), artefact))
            case Take():
                self._feed(Taken(self.now, True))
            case GiveBack():
                self._feed(Returned(self.now, "returned"))

    def _orders(self) -> list[tuple[Unit, Attempt]]:
        return [(unit, attempt) for unit, attempt in self.run.attempts if attempt.request_id]

    @precondition(lambda self: self._orders())
    @rule(data=st.data(), what=st.sampled_from(["bill", "bill", "result", "result", "error", "processing", "dear"]))
    def seller_speaks(self, data: st.DataObject, what: str) -> None:
        """A provider of ours (or a forger) says something about an order of ours."""
        unit, attempt = data.draw(st.sampled_from(self._orders()))
        assert attempt.provider is not None
        owner = next(key for key in SELLERS if key.public == attempt.provider.pubkey)
        signer = data.draw(st.sampled_from([owner, owner, owner, key_of("forger")]))
        self._feed(Heard(self.now, self._word(signer, unit, attempt, what)))

    def _word(self, signer: SecretKey, unit: Unit, attempt: Attempt, what: str) -> Event:
        request = request_of(self.run, unit, attempt)
        if what in ("bill", "dear"):
            preimage = hashlib.sha256(f"{attempt.request_id}{len(self.known)}".encode()).hexdigest()
            payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
            self.known[payment_hash] = preimage
            amount = attempt.cap_msat + (1_000 if what == "dear" else 0)
            invoice = bolt11.encode(
                key=NODE, network="regtest", amount_msat=amount or 1_000, payment_hash=payment_hash, description="",
                created_at=self.now, expiry=600,
            )  # fmt: skip
            return build_feedback(
                signer,
                request,
                "payment-required",
                "pay",
                amount_msat=amount or 1_000,
                bolt11=invoice,
                created_at=self.now,
            )
        if what == "result":
            content = SHOTS if unit.name == "story" else f"http://files/{attempt.request_id[:8]}"
            return build_result(signer, request, content, created_at=self.now)
        return build_feedback(signer, request, what, "words", created_at=self.now)

    @rule(seconds=st.sampled_from([0, 0, 1, 1, 10, 31, 61, 300]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self._feed(Tick(self.now))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def once_more(self, data: st.DataObject) -> None:
        """Any input of the past, again."""
        self._feed(data.draw(st.sampled_from(self.past)))

    @precondition(lambda self: self.run.phase in (Phase.OPENED, Phase.BILLED, Phase.RUNNING))
    @rule(odds=st.integers(0, 9))
    def cancelled(self, odds: int) -> None:
        if odds == 0:
            self._feed(Cancel(self.now, "cancelled by the buyer"))
        elif odds == 1:
            self._feed(BillGone(self.now, "never paid"))

    @precondition(lambda self: self._orders())
    @rule(data=st.data())
    def capped(self, data: st.DataObject) -> None:
        unit, attempt = data.draw(st.sampled_from(self._orders()))
        self._feed(Capped(self.now, unit.name, unit.idx, attempt.number, "enough for today"))

    @rule()
    def killed(self) -> None:
        """The process is gone; a new one knows the journal only."""
        self.run = rebuild(RUN_ID, self.entries)
        self.waiting = []
        self.refunded = 0
        self._take(*decide(self.run, Resumed(self.now)))

    # --- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def the_entries_tell_the_run(self) -> None:
        assert rebuild(RUN_ID, self.entries) == self.run

    @invariant()
    def every_entry_is_unique(self) -> None:
        keys = [(entry.step, entry.idx, entry.attempt, entry.kind) for entry in self.entries]
        assert len(keys) == len(set(keys)), [key for key in keys if keys.count(key) > 1]

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert self.run.spent_msat <= self.run.committed_msat <= TERMS.hard_msat

    @invariant()
    def delivered_or_refunded_never_both(self) -> None:
        assert self.delivered <= 1
        assert not (self.delivered and self.run.phase in (Phase.REFUNDING, Phase.REFUNDED, Phase.CANCELLED))
        assert self.run.phase is not Phase.DELIVERED or self.delivered == 1

    @invariant()
    def unknown_blocks_a_second_purchase(self) -> None:
        for unit in self.run.units.values():
            for attempt in unit.attempts:
                if attempt.unsettled and not attempt.pending:
                    later = [a for a in unit.attempts if a.started_at > attempt.at and a.number > attempt.number]
                    assert not later, "bought again while a payment's outcome was unknown"

    @invariant()
    def only_the_hired_provider_delivers(self) -> None:
        for _, attempt in self.run.attempts:
            if attempt.state is State.ACCEPTED:
                assert attempt.provider is not None and attempt.result_id and attempt.verdict and attempt.verdict.ok


TestRough = Rough.TestCase
TestRough.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_run_that_is_never_paid_ends_cancelled() -> None:
    run, _ = decide(None, Open(1_000, RUN_ID, TIMMY.public, BUYER, RECIPE, "bb" * 32, {"prompt": "x"}, TERMS))
    run, _ = decide(run, BillMade(1_000, Bill("cc" * 32, "lnbcrt1", 100_000, True, 2_000)))
    run, effects = decide(run, BillGone(2_031, "the offer ended before it was paid"))
    assert run.phase is Phase.CANCELLED and not any(isinstance(effect, Ask | GiveBack) for effect in effects)


def test_money_that_comes_after_the_end_goes_back() -> None:
    run, _ = decide(None, Open(1_000, RUN_ID, TIMMY.public, BUYER, RECIPE, "bb" * 32, {"prompt": "x"}, TERMS))
    run, _ = decide(run, BillMade(1_000, Bill("cc" * 32, "lnbcrt1", 100_000, True, 2_000)))
    run, _ = decide(run, Cancel(1_100, "cancelled by the buyer"))
    run, effects = decide(run, BillPaid(1_101, 100_000))
    assert run.phase is Phase.REFUNDING and any(isinstance(effect, GiveBack) for effect in effects)
    run, effects = decide(run, Returned(1_102, "released"))
    assert run.phase is Phase.REFUNDED and not any(isinstance(effect, GiveBack) for effect in effects)
