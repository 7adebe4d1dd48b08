"""Runs, alive: one task a run feeds `decide`, writes the turn, then carries out its effects.

The order is always the same: decide; write (entries, signed events and payment intents in one durable transaction);
act. Each effect that waits for the world is a task of its own and comes back as an input; so a run never blocks, and
whatever is lost in a crash is begun again (`Resumed`).
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from market.job import JobRequest
from market.kinds import FEEDBACK
from nostr.clock import Clock
from nostr.event import Event
from nostr.key import SecretKey
from orchestrator.answers import Answers
from orchestrator.calls import answers_to
from orchestrator.decide import decide
from orchestrator.effects import (
    Ask,
    Bids,
    BillGone,
    BillMade,
    BillPaid,
    Cached,
    Cancel,
    Capped,
    Check,
    ClaimRefund,
    Collect,
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
    Repaid,
    Resumed,
    Returned,
    Review,
    Seal,
    Sealed,
    Take,
    Taken,
    Tell,
    Tick,
    Wake,
    WatchBill,
)
from orchestrator.errors import CapReached
from orchestrator.journal import Journal, Outcome, Page
from orchestrator.run import Artefact, Attempt, Bill, Candidate, Entry, Phase, Run, Unit, Verdict, apply
from orchestrator.sealed import seal
from orchestrator.till import Till
from orchestrator.values import cache_key

log = logging.getLogger("timmy")

AGAIN = 10.0  # seconds until a run that broke off begins again


class FetchError(Exception):
    """The bytes of a result could not be had, or are not what was promised."""


class Hands(Protocol):
    """What a run needs from the world besides money: the shell's, or a test's."""

    async def offers(self, run: Run, ask: Ask) -> tuple[Candidate, ...]:
        """Who could do it, best first."""
        ...

    async def bids(self, run: Run, ask: Ask, prices: Mapping[str, int]) -> tuple[Candidate, ...]:
        """Those who answered an open call at these prices (msat), best first."""
        ...

    @property
    def relays(self) -> tuple[str, ...]:
        """Our own relays."""
        ...

    @property
    def offline(self) -> bool:
        """True while none of them can be reached."""
        ...

    async def recall(self, request_id: str, relays: Sequence[str]) -> list[Event]:
        """Everything the relays hold about an order, oldest first."""
        ...

    async def fetch(self, run: Run, fetch: Fetch) -> Artefact:
        """Download, hash, store and re-host. Raises FetchError."""
        ...

    async def check(self, check: Check) -> tuple[Verdict, Artefact]:
        """Gates G0 and G1."""
        ...

    async def read(self, artefact: Artefact) -> bytes:
        """The bytes of a stored artefact. Raises FetchError."""
        ...

    async def put(self, data: bytes, mime: str) -> str:
        """Bytes on our own Blossom; their URL. Raises FetchError."""
        ...

    async def present(self, artefact: Artefact) -> bool:
        """Whether a stored artefact is still here."""
        ...

    def review(self, run: Run, unit: Unit, attempt: Attempt, review: Review) -> list[Event]:
        """The signed events that say how a purchase went."""
        ...

    def relays_for(self, request: JobRequest) -> tuple[str, ...]:
        """Where the buyer hears us."""
        ...

    async def whisper(self, event: Event, relays: Sequence[str]) -> None:
        """Publish something whose loss does no harm."""
        ...

    def stirred(self) -> None:
        """Something was put in the outbox."""
        ...


@dataclass(slots=True)
class _Live:
    """A run in this process. `told` keeps the last fraction of each unit for progress messages."""

    run: Run
    request: JobRequest
    inbox: asyncio.Queue[Input]
    timer: asyncio.TimerHandle | None = None
    wake_at: int = 0
    task: asyncio.Task[None] | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    fractions: dict[tuple[str, int], float] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    left: bool = False
    broken: bool = False
    away: bool = False  # our relays were out of reach when it was last its turn


class Runner:
    """All runs of one Timmy. `hook(point)` is called before every write and every effect; tests kill there."""

    def __init__(
        self,
        key: SecretKey,
        journal: Journal,
        till: Till,
        hands: Hands,
        clock: Clock,
        *,
        relay: str = "",
        hook: Callable[[str], None] = lambda point: None,
    ) -> None:
        self.key, self.journal, self.till, self.hands, self.clock = key, journal, till, hands, clock
        self.answers = Answers(key, relay)
        self._hook = hook
        self._live: dict[str, _Live] = {}
        self._orders: dict[str, str] = {}  # request id of an order -> run id

    # --- coming and going -------------------------------------------------------------------------------------------

    async def start(self) -> int:
        """Take up every run that is not over; the number of them."""
        found = await self.journal.unfinished()
        for run, event in found:
            live = self._adopt(run, JobRequest.parse(event, self.key))
            await self._turn(live, Resumed(self.clock()))
        return len(found)

    async def open(self, given: Open, request: JobRequest) -> None:
        """Begin a run. The same request a second time changes nothing."""
        if given.id in self._live or await self.journal.load(given.id) is not None:
            return
        run, effects = decide(None, given)
        live = self._adopt(run, request)
        try:
            await self._write_and_act(live, None, run, effects, given.at)
        except BaseException:
            if await self.journal.load(given.id) is None and live.task is not None:  # as if it had not been heard
                live.task.cancel()
                self._live.pop(given.id, None)
            raise

    def feed(self, run_id: str, given: Input) -> None:
        """Something happened to this run. Runs that are not alive here are left alone."""
        live = self._live.get(run_id)
        if live is not None:
            live.inbox.put_nowait(given)

    def hear(self, event: Event) -> None:
        """An event that names one of our orders, with a verified signature."""
        for named in event.values("e"):
            if (run_id := self._orders.get(named)) is not None:
                self.feed(run_id, Heard(self.clock(), event))
                return

    def cares(self, request_id: str) -> bool:
        return request_id in self._orders

    def get(self, run_id: str) -> Run | None:
        live = self._live.get(run_id)
        return live.run if live else None

    @property
    def running(self) -> int:
        """How many runs are being worked on (bills that wait for their buyer not counted)."""
        return sum(live.run.phase in (Phase.RUNNING, Phase.SETTLING) for live in self._live.values())

    async def finished(self, run_id: str) -> None:
        """Wait until a run is over."""
        live = self._live.get(run_id)
        if live is not None:
            await live.done.wait()

    async def close(self) -> None:
        """Stop working; everything is in the journal."""
        for live in self._live.values():
            if live.timer is not None:
                live.timer.cancel()
            for task in (live.task, *live.tasks):
                if task is not None:
                    task.cancel()
        tasks = [task for live in self._live.values() for task in (live.task, *live.tasks) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._live.clear()

    # --- one turn ---------------------------------------------------------------------------------------------------

    def _adopt(self, run: Run, request: JobRequest) -> _Live:
        live = _Live(run, request, asyncio.Queue())
        live.task = asyncio.create_task(self._live_on(live), name=f"run {run.id[:8]}")
        self._live[run.id] = live
        return live

    async def _live_on(self, live: _Live) -> None:
        while not live.left:
            given = await live.inbox.get()
            try:
                if isinstance(given, Resumed):
                    self._drop_tasks(live)
                if live.broken:
                    await self._begin_again(live)
                await self._turn(live, given)
            except Exception:  # a full disk, a fault of ours: other runs go on, and the journal knows where this one is
                log.exception("run %s broke off; it begins again from the journal", live.run.id[:8])
                self._break_off(live)

    def _break_off(self, live: _Live) -> None:
        live.broken = True
        live.inbox.put_nowait(Tick(self.clock()))

    async def _begin_again(self, live: _Live) -> None:
        """As after a restart of the process, for one run."""
        await asyncio.sleep(AGAIN)
        self._drop_tasks(live)
        live.run = await self.journal.load(live.run.id) or live.run
        live.broken = False
        await self._turn(live, Resumed(self.clock()))

    async def _turn(self, live: _Live, given: Input) -> None:
        before = live.run
        run, effects = decide(before, given)
        try:
            await self._write_and_act(live, before, run, effects, given.at)
        except CapReached as error:
            capped = Capped(given.at, error.step, error.idx, error.attempt, str(error))
            await self._turn(live, capped)

    async def _write_and_act(
        self, live: _Live, before: Run | None, run: Run, effects: Sequence[Effect], at: int
    ) -> None:
        """Write first; then act."""
        page = self._page(live.request, before, run, effects, at)
        if page.entries or page.events:
            self._hook("write " + ",".join(entry.kind for entry in page.entries))
            await self.journal.record(page)
            self._hook("written")
        live.run = page.after
        for _, attempt in page.after.attempts:
            if attempt.request_id:
                self._orders[attempt.request_id] = run.id
        if page.events:
            self.hands.stirred()
        for effect in effects:
            self._act(live, effect)
        self._story(before, page.after)
        if page.after.phase.over:
            self._leave(live)

    def _page(self, request: JobRequest, before: Run | None, run: Run, effects: Sequence[Effect], at: int) -> Page:
        """Everything of a turn that is written: entries, signed events, intents, outcomes."""
        entries = [effect.entry for effect in effects if isinstance(effect, Record)]
        events: list[tuple[Event, tuple[str, ...]]] = []
        outcomes: list[Outcome] = []
        own = self.hands.relays_for(request)
        for effect in effects:
            match effect:
                case Publish(draft, relays):
                    event = self.key.sign(
                        kind=draft.kind, content=draft.content, tags=draft.tags, created_at=draft.created_at
                    )
                    events.append((event, (*run.terms.relays, *relays)))
                case Tell():
                    events.append((self.answers.feedback(request, effect, at), own))
                case Review():
                    unit = run.units[effect.step, effect.idx]
                    attempt = unit.attempts[effect.attempt - 1]
                    outcomes.append(_outcome(run, unit, attempt, effect.stars))
                    for event in self.hands.review(run, unit, attempt, effect):
                        events.append((event, run.terms.relays))
                case Deliver(artefact):
                    signed, root, result = self.answers.delivery(request, run, artefact, at)
                    events += [(event, own) for event in signed]
                    entry = Entry("receipted", at, data={"receipt_id": root, "result_id": result})
                    entries.append(entry)
                    run = apply(run, entry)
        return Page(
            before=before,
            after=run,
            entries=tuple(entries),
            events=tuple(events),
            pays=tuple(effect for effect in effects if isinstance(effect, Pay) and not effect.again),
            outcomes=tuple(outcomes),
            cache=tuple(_cacheable(before, run)),
            request=request.event,
        )

    # --- effects ----------------------------------------------------------------------------------------------------

    def _act(self, live: _Live, effect: Effect) -> None:
        work: Coroutine[Any, Any, Input | None] | None = None
        match effect:
            case MakeBill():
                work = self._make_bill(live, effect)
            case WatchBill(bill):
                work = self._watch_bill(bill)
            case Ask():
                work = self._ask(live, effect)
            case Collect():
                work = self._collect(live, effect)
            case Pay():
                work = self._pay(live, effect)
            case ClaimRefund():
                work = self._claim_refund(live, effect)
            case Recall():
                work = self._recall(live, effect)
            case Fetch():
                work = self._fetch(live, effect)
            case Check():
                work = self._check(effect)
            case Seal(artefact):
                work = self._seal(live, artefact)
            case Take(bill):
                work = self._take(live, bill)
            case GiveBack(bill, refund_to):
                work = self._give_back(live, bill, refund_to)
            case Progress():
                work = self._progress(live, effect)
            case Wake(at):
                self._wake(live, at)
        if work is not None:
            self._hook(f"effect {type(effect).__name__}")
            name = f"{type(effect).__name__} {live.run.id[:8]}"
            task = asyncio.create_task(self._carry_out(live, work, name), name=name)
            live.tasks.add(task)
            task.add_done_callback(live.tasks.discard)

    async def _carry_out(self, live: _Live, work: Coroutine[Any, Any, Input | None], name: str) -> None:
        try:
            given = await work
        except Exception:  # nobody waits for this task: the run must hear of it, since money may hang on it
            log.exception("run %s: %s failed", live.run.id[:8], name)
            if not name.startswith("Progress"):
                self._break_off(live)
            return
        if given is not None:
            live.inbox.put_nowait(given)
        elif live.run.phase.over and not live.left:
            live.inbox.put_nowait(Tick(self.clock()))  # it may be all that the run still waited for

    async def _make_bill(self, live: _Live, effect: MakeBill) -> Input:
        run = live.run
        bill = await self.till.make_bill(
            effect.amount_msat, effect.expires_at, self.answers.secret(run.id), _words(run), hold=effect.hold
        )
        if bill is None:
            return BillGone(self.clock(), "our wallet could not make an invoice; please try again later")
        return BillMade(self.clock(), bill)

    async def _watch_bill(self, bill: Bill) -> Input:
        received = await self.till.wait_for(bill)
        if received is None:
            return BillGone(self.clock(), "the offer ended before it was paid")
        return BillPaid(self.clock(), received)

    async def _ask(self, live: _Live, ask: Ask) -> Input:
        if ask.cache_key and (kept := await self.journal.cached(ask.cache_key)) is not None:
            artefact, _ = kept
            if await self.hands.present(artefact):
                return Cached(self.clock(), ask.step, ask.idx, ask.attempt, artefact)
        candidates = await self.hands.offers(live.run, ask)
        return Offers(self.clock(), ask.step, ask.idx, ask.attempt, candidates)

    async def _collect(self, live: _Live, call: Collect) -> Input:
        """Who answered in time, ranked by the market's rules."""
        ask = call.ask
        await asyncio.sleep(call.seconds)
        events = await self.hands.recall(call.request_id, live.run.terms.relays)
        answers = answers_to(events, call.request_id, network=live.run.terms.network, now=self.clock())
        candidates = await self.hands.bids(live.run, ask, {event.pubkey: msat for event, msat in answers})
        return Bids(self.clock(), ask.step, ask.idx, ask.attempt, candidates, tuple(event for event, _ in answers))

    async def _pay(self, live: _Live, pay: Pay) -> None:
        purpose = f"run:{live.run.id}:{pay.step}:{pay.idx}:{pay.attempt}"
        async for result in self.till.pay(
            pay.bolt11, pay.payment_hash, pay.max_fee_msat, purpose=purpose, again=pay.again
        ):
            self._hook("effect Paid")
            live.inbox.put_nowait(Paid(self.clock(), pay.step, pay.idx, pay.attempt, result))

    async def _claim_refund(self, live: _Live, claim: ClaimRefund) -> Input | None:
        """One invoice a claim, on disk before it is sent: after a crash the same one is waited for."""
        invoice = await self.journal.open_claim(claim.request_id)
        if invoice is None:
            invoice = await self.till.invoice(claim.msat, f"refund of {claim.request_id[:16]}")
            if invoice is None:
                return None
            words = [["status", "refund", "please pay this back"], ["amount", str(claim.msat), invoice.bolt11]]
            event = self.key.sign(
                kind=FEEDBACK, tags=[["e", claim.request_id], ["p", claim.provider], *words], created_at=self.clock()
            )
            await self.journal.put_claim(live.run, claim, invoice, event)
            self.hands.stirred()
        received = await self.till.wait_for(invoice)
        if received is None:
            await self.journal.drop_claim(invoice.payment_hash)
            return None
        return Repaid(self.clock(), claim.step, claim.idx, claim.attempt, received)

    async def _recall(self, live: _Live, recall: Recall) -> None:
        for event in await self.hands.recall(recall.request_id, (*live.run.terms.relays, *recall.relays)):
            live.inbox.put_nowait(Heard(self.clock(), event))

    async def _fetch(self, live: _Live, fetch: Fetch) -> Input:
        try:
            artefact = await self.hands.fetch(live.run, fetch)
        except FetchError as error:
            return NotFetched(self.clock(), fetch.step, fetch.idx, fetch.attempt, str(error))
        return Fetched(self.clock(), fetch.step, fetch.idx, fetch.attempt, artefact)

    async def _check(self, check: Check) -> Input:
        verdict, artefact = await self.hands.check(check)
        return Gated(self.clock(), check.step, check.idx, check.attempt, verdict, artefact)

    async def _seal(self, live: _Live, artefact: Artefact) -> Input:
        for pause in (1, 3, 10, 30):
            try:
                data = await self.hands.read(artefact)
                nonce, sealed = await asyncio.to_thread(seal, data, self.answers.secret(live.run.id))
                url = await self.hands.put(sealed, "application/octet-stream")
                return Sealed(self.clock(), url, hashlib.sha256(sealed).hexdigest(), nonce.hex())
            except FetchError as error:
                log.warning("run %s cannot be sealed yet: %s", live.run.id[:8], error)
            await asyncio.sleep(pause)
        return Cancel(self.clock(), "our own file server does not take the sealed file", by_buyer=False)

    async def _take(self, live: _Live, bill: Bill) -> Input:
        return Taken(self.clock(), await self.till.take(bill, self.answers.secret(live.run.id)))

    async def _give_back(self, live: _Live, bill: Bill, refund_to: str) -> Input | None:
        if bill.hold and await self.till.release(bill):
            return Returned(self.clock(), "The locked payment was released.")
        if live.run.received_msat == 0:
            received = await self.till.wait_for(bill)  # as long as it can still be paid
            if received is None:
                return Returned(self.clock(), "Nothing was paid.")
            return BillPaid(self.clock(), received)
        await self.journal.owe(live.run, live.run.received_msat, refund_to, live.run.reason)
        how = await self.till.refund(self.journal, live.run, refund_to)
        return Returned(self.clock(), how)

    async def _progress(self, live: _Live, progress: Progress) -> None:
        event = self.answers.progress(live.request, live.run, progress, live.fractions, self.clock())
        await self.hands.whisper(event, self.hands.relays_for(live.request))

    # --- small things -----------------------------------------------------------------------------------------------

    def _wake(self, live: _Live, at: int) -> None:
        if live.timer is not None:
            live.timer.cancel()
        delay = max(0.0, at - self.clock())
        live.timer = asyncio.get_running_loop().call_later(delay, self._tick, live)

    def _tick(self, live: _Live) -> None:
        """Time is told only while we can be heard: nobody is late because our relays are away."""
        if self.hands.offline:
            live.away = True
            live.timer = asyncio.get_running_loop().call_later(1, self._tick, live)
            return
        now = self.clock()
        live.inbox.put_nowait(Resumed(now) if live.away else Tick(now))
        live.away = False

    @staticmethod
    def _drop_tasks(live: _Live) -> None:
        """What waits is begun again by `Resumed`, each effect looking before it acts."""
        for task in live.tasks:
            task.cancel()

    def _leave(self, live: _Live) -> None:
        """The run is over; payments whose outcome is open, and money owed to us, are still looked after."""
        if live.timer is not None:
            live.timer.cancel()
        live.done.set()
        claims = any(task.get_name().startswith("ClaimRefund") and not task.done() for task in live.tasks)
        if not claims and not any(attempt.unsettled for _, attempt in live.run.attempts):
            live.left = True
            self._live.pop(live.run.id, None)
            for _, attempt in live.run.attempts:
                self._orders.pop(attempt.request_id, None)

    def _story(self, before: Run | None, run: Run) -> None:
        name = f"run {run.id[:4]}"
        if before is None or before.phase is not run.phase:
            log.info("%s %s: %s%s", name, run.recipe.d, run.phase, f" ({run.reason})" if run.reason else "")
        for key, unit in run.units.items():
            old = before.units.get(key) if before else None
            if unit.over and not (old and old.over):
                won = unit.accepted
                who = won.provider.name or won.provider.pubkey[:8] if won and won.provider else "cache"
                how = f"<- {who} {unit.paid_msat / 1000:g} sat" if unit.done else f"{unit.state} {unit.reason}"
                log.info("%s %s[%d] %s", name, *key, how)


def _words(run: Run) -> str:
    return f"{run.recipe.doc.title} nip90:{run.id}"


def _outcome(run: Run, unit: Unit, attempt: Attempt, stars: int) -> Outcome:
    provider = attempt.provider.pubkey if attempt.provider else ""
    seconds = max(0, (attempt.delivered_at or attempt.at) - attempt.ordered_at)
    kind = run.doc(unit).kind
    return Outcome(provider, kind, unit.name, unit.idx, attempt.number, stars, seconds, attempt.paid_msat)


def _cacheable(before: Run | None, run: Run) -> list[tuple[str, Artefact, str]]:
    """Artefacts accepted in this turn, under the signature of what went into them."""
    found = []
    for key, unit in run.units.items():
        old = before.units.get(key) if before else None
        won = unit.accepted
        if unit.artefact is None or (old and old.done) or won is None or won.cached or run.doc(unit).cache == "off":
            continue
        found.append((cache_key(run, unit), unit.artefact, won.result_id))
    return found
