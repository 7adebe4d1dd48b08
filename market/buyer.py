"""The buyer: ask, check the bill, pay, receive, verify, review. Works with every NIP-90 provider.

Each purchase is a row before anything is sent and ends in exactly one of the states of `market.purchases`. The request
waits in the outbox in the same transaction as its row; the payment's intent is committed before the wallet hears of it.
So a buyer that was killed goes on with `resume()`: the request goes out again under the same id, the same invoice is
looked up or paid again (which every Lightning node answers without paying twice), the result is read from the relays.

A payment whose outcome is unknown is looked up until it is known; nothing is ever paid in its place.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from market.buying import Answer, Choose, End, Inspect, OnUpdate, Reviewer, Run, Update
from market.choose import Factors
from market.errors import BillRefused, PurchaseError, ResultRefused
from market.fetch import RESULT, Fetched, Limits
from market.goods import Goods
from market.job import Feedback, JobInput, JobRequest, JobResult, build_request
from market.kinds import DELETION, FEEDBACK, result_kinds
from market.payer import Payer, bill_of
from market.purchase import (
    Bill,
    Order,
    Refusal,
    check_bill,
    check_result,
    read_feedback,
)
from market.purchases import (
    CLAIMS_SCHEMA,
    IN_DOUBT,
    OPEN,
    PURCHASES_SCHEMA,
    WHY_SCHEMA,
    Purchase,
    Purchases,
    State,
    finish,
)
from market.zap_bill import zap_invoice
from nostr.clock import Clock, system_clock
from nostr.database import Database
from nostr.errors import RelayRefused, RelayUnreachable
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.outbox import OUTBOX_SCHEMA, Outbox
from nostr.pool import Pool
from wallet.interface import Invoice, Outcome, PayResult, Wallet, WalletError

__all__ = ["MIGRATIONS", "Answer", "Buyer", "Choose", "Inspect", "OnUpdate", "Reviewer", "Update"]

log = logging.getLogger("buyer")

MIGRATIONS: Final = (OUTBOX_SCHEMA, PURCHASES_SCHEMA, WHY_SCHEMA, CLAIMS_SCHEMA)
DEFAULT_DEADLINE: Final = 900  # seconds
OFFER_SECONDS: Final = 4.0  # how long an open request collects bills before one is chosen
SETTLE_SECONDS: Final = 10.0  # how long a delivered purchase waits for its payment's last word
LATE_SECONDS: Final = 7 * 86_400  # how long a lost result is looked for
LAST_WORDS: Final = 15  # tenths of a second
_NOT_OURS: Final = frozenset({Refusal.FORGED, Refusal.OTHER_JOB, Refusal.UNREADABLE})


class Buyer:
    """Buys with one key, one wallet and one database. Enter it; `pool` and `wallet` are the caller's to enter.

    `files` is the folder for downloads. `allow_hosts` may lie on private addresses (this node's own file server).
    `review` turns an ended purchase into the events that tell the world, published with it. `inspect` looks into a
    bought file and names the gate it fails, with words for people.
    """

    def __init__(
        self,
        key: SecretKey,
        pool: Pool,
        wallet: Wallet,
        *,
        db: Database,
        files: Path,
        clock: Clock = system_clock,
        allow_hosts: Collection[str] = (),
        limits: Limits = RESULT,
        review: Reviewer | None = None,
        inspect: Inspect | None = None,
    ) -> None:
        self.key, self.pool, self.wallet, self.clock = key, pool, wallet, clock
        self.purchases = Purchases(db, key)
        self.db, self._allow, self._review = db, tuple(allow_hosts), review
        self._goods = Goods(
            key, self.purchases, clock, files=files, allow_hosts=self._allow, limits=limits, inspect=inspect
        )
        self._outbox = Outbox(db, pool, clock)
        self._payer = Payer(wallet, self.purchases, clock)
        self._runs: dict[str, Run] = {}

    async def __aenter__(self) -> Buyer:
        self._outbox.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        for _ in range(LAST_WORDS):  # a review that was just written gets a moment; what waits longer goes next time
            if error[0] is not None or not await self._outbox.waiting():
                break
            await asyncio.sleep(0.1)
        await self._outbox.close()

    def order(
        self,
        kind: int,
        inputs: Sequence[JobInput],
        *,
        provider: str | None,
        max_msat: int,
        params: Mapping[str, str | Sequence[str]] | None = None,
        output: str | None = None,
        encrypt: bool = False,
        seconds: int = DEFAULT_DEADLINE,
        announced_msat: int | None = None,
        extra_tags: Iterable[Sequence[str]] = (),
    ) -> Order:
        """A signed order. Raises PurchaseError for one that can't be written (encryption needs a provider)."""
        if encrypt and provider is None:
            raise PurchaseError("an encrypted request needs a provider: name one")
        deadline = self.clock() + seconds
        event = build_request(
            self.key,
            kind=kind,
            inputs=inputs,
            params=params,
            output=output,
            bid_msat=max_msat,
            providers=[provider] if provider else [],
            relays=self.pool.relays,
            expiration=deadline,
            encrypt_to=provider if encrypt else None,
            extra_tags=[["order", secrets.token_hex(8)], *extra_tags],  # the same words twice are two orders
            created_at=self.clock(),
        )
        request = JobRequest.parse(event, self.key)
        return Order(request, provider, max_msat, self.wallet.caps.network, deadline, announced_msat)

    async def buy(
        self,
        order: Order,
        on_update: OnUpdate | None = None,
        *,
        title: str = "",
        relays: Iterable[str] = (),
        choose: Choose | None = None,
        why: Sequence[Factors] = (),
        lightning: str = "",
        out: Path | None = None,
    ) -> Purchase:
        """See an order through to its end. Never raises for what a provider or the wallet does.

        `relays` are asked besides the pool's (the provider's own). `choose` picks among the answers to an open order
        (default: the cheapest); `why` is the table this provider was chosen by, kept with the purchase. `lightning` is
        the provider's address (lud16), zapped where its bill has no invoice. `out`: also copy the result there. A
        cancelled task leaves a purchase that `resume` takes up again.
        """
        where = self._where([*order.request.relays, *relays])
        now = self.clock()

        def ask(conn: sqlite3.Connection) -> None:
            if Purchases.insert(conn, order, title, where, now, [asdict(row) for row in why]):
                Outbox.put(conn, order.request.event, where, now=now)

        await self.db.write(ask)
        self._outbox.wake()
        return await self._drive(Run(order, where, on_update, lightning), choose, out)

    async def resume(self, on_update: OnUpdate | None = None, *, only: Collection[str] | None = None) -> list[Purchase]:
        """Take up every purchase that a crash or an interrupt left open, and look again at payments in doubt.

        What was paid and lost is looked for too: a result that came late is still ours. `only`: these purchases, where
        other processes still work on the rest.
        """
        open_ones = await self.purchases.recent(limit=1000, unfinished=True)
        since = self.clock() - LATE_SECONDS
        lost = [each for each in await self.purchases.lost(since) if each.id not in {one.id for one in open_ones}]
        if only is not None:
            open_ones = [each for each in open_ones if each.id in only]
            lost = [each for each in lost if each.id in only]
        runs = [
            self._drive(Run(each.order, self._where(each.relays), on_update), None, None)
            for each in open_ones
            if each.state in OPEN and each.id not in self._runs
        ]
        doubtful = [self._clear_up(each) for each in open_ones if each.state not in OPEN]
        return list(await asyncio.gather(*runs, *doubtful, *(self._collect_late(each) for each in lost)))

    async def open(self, bought: Purchase) -> Purchase:
        """Get the file of a purchase again. A sealed one needs its bill and the preimage alone: the seller may be gone.

        Raises PurchaseError, FetchRefused.
        """
        fetched, now = await self._goods.open(bought), self.clock()
        facts = {"path": str(fetched.path), "mime": fetched.mime, "sha256": fetched.sha256, "reason": None}
        await self.db.write(lambda conn: finish(conn, bought.id, State.DELIVERED, now, **facts))
        return replace(await self.purchases.get(bought.id) or bought, path=fetched.path)

    async def cancel(self, purchase_id: str) -> None:
        """Take a request back (kind 5). What is paid already ends in a result, a refund or a loss all the same."""
        bought = await self.purchases.get(purchase_id)
        if bought is None:
            raise PurchaseError("there is no such purchase")
        event = self.key.sign(
            kind=DELETION,
            tags=[["e", purchase_id], ["k", str(bought.order.kind)]],
            content="cancelled by the customer",
            created_at=self.clock(),
        )
        run, now = self._runs.get(purchase_id), self.clock()

        def work(conn: sqlite3.Connection) -> None:
            Outbox.put(conn, event, bought.relays)
            if run is None and bought.state is State.ASKED:
                finish(conn, purchase_id, State.CANCELLED, now, reason="taken back before payment")

        await self.db.write(work)
        self._outbox.wake()
        if run is not None:
            run.cancelled = True
            run.news.put_nowait(None)

    # -- the path of one purchase ---------------------------------------------------------------------------------

    async def _drive(self, run: Run, choose: Choose | None, out: Path | None) -> Purchase:
        self._runs[run.order.id] = run
        try:
            async with self._listen(run):
                try:
                    await self._pick_up(run)
                    result = None
                    if run.paying is None:
                        answer = await self._answer(run, choose)
                        if isinstance(answer, Bill):
                            await self._pay(run, answer)
                        else:
                            result = answer
                    result = result or await self._result(run)
                    await self._goods.receive(run, result, self._tell)
                    await self._pay_afterwards(run, result)
                    return await self._delivered(run, result, out)
                except End as end:
                    return await self._ended(run, end)
        finally:
            self._runs.pop(run.order.id, None)
            if run.paying is not None:
                run.paying.cancel()

    @asynccontextmanager
    async def _listen(self, run: Run) -> AsyncIterator[None]:
        """Every event that answers the request, stored or live, goes to `run.news`."""
        wanted = Filter(kinds=[FEEDBACK, *result_kinds(run.order.kind)], tags={"e": [run.order.id]})

        async def read() -> None:
            async for event in sub:
                run.news.put_nowait(event)

        async with self.pool.subscribe(wanted, relays=run.relays) as sub:
            reader = asyncio.create_task(read(), name=f"answers to {run.order.id[:8]}")
            try:
                yield
            finally:
                reader.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await reader

    def _where(self, relays: Iterable[str]) -> tuple[str, ...]:
        """Our relays as they are now, and those of the order: a relay may have moved while we were away."""
        return tuple(dict.fromkeys([*self.pool.relays, *relays]))

    async def _pick_up(self, run: Run) -> None:
        """After a restart: the payment that was intended goes on first."""
        known = await self.purchases.get(run.order.id)
        if known is None or known.payment is None:
            return
        payment = known.payment
        run.order = known.order
        run.locked = payment.state == Outcome.PENDING
        if payment.state in IN_DOUBT:
            run.paying = asyncio.create_task(self._pay_on(run, bill_of(payment), look_first=True))
            return
        run.paid = PayResult(Outcome(payment.state), payment.payment_hash, payment.preimage, payment.fee_msat)
        run.paying = asyncio.create_task(asyncio.sleep(0))
        run.news.put_nowait(run.paid)

    async def _answer(self, run: Run, choose: Choose | None) -> Answer:
        """The bill to pay, or a result that came without one. An open order collects both for a while."""
        offers: dict[str, Answer] = {}
        until: float | None = None
        loop = asyncio.get_running_loop()
        while until is None or loop.time() < until:
            event = await self._next(run, until)
            if event is None:
                continue
            try:
                answer = await self._offer(run, event)
            except (BillRefused, ResultRefused) as refused:
                await self._refused(run, event, refused)
                continue
            if answer is None:
                continue
            if run.order.provider is not None:
                return answer
            offers.setdefault(event.pubkey, answer)
            until = until if until is not None else loop.time() + OFFER_SECONDS
        chosen = (choose or _cheapest)(list(offers.values()))
        run.order = run.order.pin(chosen.provider)
        if run.order.request.providers == frozenset():
            await self._decline(run, offers.keys() - {chosen.provider})
        return chosen

    async def _decline(self, run: Run, bidders: Collection[str]) -> None:
        """Tell those who bid for an open order in vain, so that they need not wait for our money."""
        words, now = "another offer was taken", self.clock()
        events = [
            self.key.sign(
                kind=FEEDBACK, content=words, created_at=now,
                tags=[["e", run.order.id], ["p", bidder], ["status", "declined", words]],
            )
            for bidder in bidders
        ]  # fmt: skip
        await self.db.write(lambda conn: [Outbox.put(conn, event, run.relays) for event in events])
        self._outbox.wake()

    async def _offer(self, run: Run, event: Event) -> Answer | None:
        if event.kind != FEEDBACK:
            return check_result(run.order, event, self.key)
        feedback = await self._heard(run, event)
        if feedback is None or feedback.status != "payment-required":
            return None
        if feedback.bolt11 is None and run.lightning and run.order.provider is not None:
            now = self.clock()
            invoice = await zap_invoice(
                self.key, feedback, run.lightning, relays=run.relays, now=now, allow_hosts=self._allow
            )
            feedback = replace(feedback, bolt11=invoice)
        seen = await self.purchases.seen_hashes(run.order.id)
        return check_bill(run.order, feedback, now=self.clock(), seen_hashes=seen)

    async def _result(self, run: Run) -> JobResult:
        """The provider's result, once there is one; the payment goes on beside."""
        while True:
            event = await self._next(run, None)
            if event is None:
                continue
            try:
                if event.kind != FEEDBACK:
                    return check_result(run.order, event, self.key)
                await self._heard(run, event)
            except (BillRefused, ResultRefused) as refused:
                await self._refused(run, event, refused)

    async def _next(self, run: Run, until: float | None) -> Event | None:
        """The next event; None where it is time to look at the clock. Raises End at the deadline and on failures."""
        left = run.order.deadline - self.clock()
        if left <= 0:
            raise self._too_late(run)
        if run.cancelled and run.paying is None:
            raise End(State.CANCELLED, "taken back before payment")
        if until is not None:
            left = min(left, max(0.0, until - asyncio.get_running_loop().time()))  # type: ignore[assignment]
        try:
            async with asyncio.timeout(min(float(left), 1.0)):
                news = await run.news.get()
        except TimeoutError:
            return None
        if isinstance(news, PayResult):
            if news.outcome is Outcome.FAILED:
                state = State.REFUNDED if run.locked else State.UNPAID
                raise End(state, f"the payment did not go through: {news.detail or news.code or 'no reason given'}")
            await self._tell(run, "paid" if news.outcome is Outcome.SETTLED else "payment locked until delivery")
            return None
        return news

    async def _heard(self, run: Run, event: Event) -> Feedback | None:
        """Feedback, checked and told. An `error` of the pinned provider ends the purchase."""
        feedback = read_feedback(run.order, event, self.key)
        if feedback.status == "error":
            if run.order.provider is None:
                return None
            why = feedback.message or "the provider gave no reason"
            if run.paying is None:
                raise End(State.REFUSED, why, "declined")
            await self._settle(run, 2.0)
            back = (run.paid is not None and run.paid.outcome is Outcome.FAILED) or await self._claim(run, feedback)
            raise End(State.REFUNDED if back else self._too_late(run).state, why, "failed")
        await self._tell(run, feedback.message, feedback)
        return feedback

    async def _refused(self, run: Run, event: Event, refused: BillRefused | ResultRefused) -> None:
        """Keep the reason. Strangers' events are nothing more; the provider's own fault ends an unpaid purchase."""
        await self.purchases.note_incident(run.order.id, event, refused.kind, refused.reason, self.clock())
        log.info("%s: refused %s of %s: %s", run.order.id[:8], event.id[:8], event.pubkey[:8], refused.reason)
        if run.order.provider != event.pubkey or refused.kind in _NOT_OURS:
            return
        if isinstance(refused, ResultRefused):
            raise End(State.REJECTED, refused.reason, refused.kind)
        if run.paying is None:
            raise End(State.REFUSED, refused.reason, refused.kind)

    # -- money ----------------------------------------------------------------------------------------------------

    async def _pay(self, run: Run, bill: Bill) -> None:
        """Commit the intent, then let the wallet pay beside everything else."""
        try:
            await self.purchases.intend(run.order, bill, self.clock())
        except BillRefused as refused:
            await self.purchases.note_incident(run.order.id, bill.event, refused.kind, refused.reason, self.clock())
            raise End(State.REFUSED, refused.reason, refused.kind) from None
        await self._tell(run, f"paying {bill.amount_msat} msat")
        run.paying = asyncio.create_task(self._pay_on(run, bill, look_first=False))

    async def _pay_on(self, run: Run, bill: Bill, *, look_first: bool) -> None:
        """The payment, beside everything else; its word goes to `run.news`."""

        def locked(paid: PayResult) -> None:
            run.locked = True
            run.news.put_nowait(paid)

        deadline, run.bill = run.order.deadline, bill
        run.paid = await self._payer.until_known(run.order.id, bill, deadline, look_first=look_first, on_pending=locked)
        run.news.put_nowait(run.paid)

    async def _pay_afterwards(self, run: Run, result: JobResult) -> None:
        """A provider that delivered first and asks in its result is paid now, under the same rules."""
        if run.paying is not None or result.bolt11 is None:
            return
        try:
            seen = await self.purchases.seen_hashes(run.order.id)
            bill = check_bill(run.order, result, now=self.clock(), seen_hashes=seen)
        except BillRefused as refused:
            await self.purchases.note_incident(run.order.id, result.event, refused.kind, refused.reason, self.clock())
            return
        await self._pay(run, bill)

    async def _claim(self, run: Run, feedback: Feedback) -> bool:
        """A provider that owes a refund gets an invoice over it."""

        async def send(event: Event, invoice: Invoice) -> None:
            def work(conn: sqlite3.Connection) -> None:
                self.purchases.put_claim(conn, run.order.id, invoice, self.clock())
                Outbox.put(conn, event, run.relays)

            await self.db.write(work)
            self._outbox.wake()
            await self._tell(run, "asking for the money back")

        if run.paid is None or run.paid.outcome is not Outcome.SETTLED:
            return False
        return await self._payer.claim_refund(self.key, run.order.id, feedback, send)

    async def _settle(self, run: Run, seconds: float) -> None:
        """Wait a moment for the payment's last word. Money that was locked is looked at now, not in its turn."""
        if run.locked and run.bill is not None and run.paying is not None and not run.paying.done():
            run.paying.cancel()
            run.paying = asyncio.create_task(self._pay_on(run, run.bill, look_first=True))
        if run.paying is not None:
            await asyncio.wait([run.paying], timeout=seconds)

    # -- ends -----------------------------------------------------------------------------------------------------

    async def _delivered(self, run: Run, result: JobResult, out: Path | None) -> Purchase:
        await self._settle(run, SETTLE_SECONDS)
        if out is not None:
            await asyncio.to_thread(_copy, run.fetched, result, out)
        return await self._close(run, State.DELIVERED, "delivered", {**run.facts(), "refusal": None, "reason": None})

    async def _ended(self, run: Run, end: End) -> Purchase:
        return await self._close(
            run, end.state, end.reason, {**run.facts(), "refusal": end.refusal, "reason": end.reason}
        )

    async def _close(self, run: Run, state: State, message: str, facts: Mapping[str, object]) -> Purchase:
        now = self.clock()
        await self.db.write(lambda conn: finish(conn, run.order.id, state, now, **facts))
        bought = await self.purchases.get(run.order.id)
        if bought is None:
            raise PurchaseError("the purchase vanished from its database")
        if self._review is not None and (events := list(self._review(bought))):
            await self.db.write(lambda conn: [Outbox.put(conn, event, run.relays) for event in events])
            self._outbox.wake()
        await self._tell(run, message, bought=bought)
        return bought

    def _too_late(self, run: Run) -> End:
        if run.paying is None:
            return End(State.EXPIRED, "no usable answer in time")
        if run.paid is None and not run.locked:
            return End(State.DOUBTFUL, "the payment's outcome is still unknown; it will be looked up again")
        if run.paid is not None and run.paid.outcome is Outcome.FAILED:
            return End(State.REFUNDED if run.locked else State.UNPAID, "the payment did not go through")
        if run.paid is None:
            return End(State.DOUBTFUL, "the money is locked and nothing was delivered; it will be looked up again")
        return End(State.LOST, "paid, and nothing came in time", "late")

    async def _clear_up(self, bought: Purchase) -> Purchase:
        """An ended purchase whose payment was in doubt: ask the wallet again and, where it settled, the relays."""
        payment = bought.payment
        if payment is None or payment.state not in IN_DOUBT:
            return bought
        paid = await self._payer.look_up(bill_of(payment))
        await self.purchases.note_payment(bought.id, paid, self.clock())
        ends = {Outcome.SETTLED: State.LOST, Outcome.FAILED: State.UNPAID}
        if bought.state is State.DOUBTFUL and paid.outcome in ends:
            state = ends[paid.outcome]
            if state is State.UNPAID and payment.state == Outcome.PENDING:
                state = State.REFUNDED
            now = self.clock()
            await self.db.write(lambda conn: finish(conn, bought.id, state, now, reason="known after a later look"))
        bought = await self.purchases.get(bought.id) or bought
        return await self._collect_late(bought) if bought.state is State.LOST else bought

    async def _collect_late(self, bought: Purchase) -> Purchase:
        """A paid purchase without a result: is the money back? Else ask the relays once more, for refund and result."""
        run = Run(bought.order, self._where(bought.relays), None)
        wanted = Filter(kinds=[FEEDBACK, *result_kinds(bought.order.kind)], tags={"e": [bought.id]}, limit=50)
        payment = bought.payment
        if payment is not None and payment.state == Outcome.SETTLED:
            run.paid = PayResult(Outcome.SETTLED, payment.payment_hash, payment.preimage, payment.fee_msat)
        try:
            if await self._payer.refunded(bought.id):
                return await self._close(run, State.REFUNDED, "the money is back", {"reason": "the money is back"})
            events = await self.pool.fetch(wanted, relays=run.relays)
            for event in events:
                if event.kind == FEEDBACK:
                    with suppress(BillRefused):
                        said = read_feedback(run.order, event, self.key)
                        if said.status == "error" and await self._claim(run, said):
                            return await self._close(run, State.REFUNDED, said.message, {"reason": said.message})
                    continue
                with suppress(ResultRefused):
                    result = check_result(bought.order, event, self.key)
                    await self._goods.receive(_late(run, self.clock()), result, self._tell)
                    return await self._delivered(run, result, None)
        except (RelayUnreachable, RelayRefused, WalletError, End) as error:
            log.info("%s: still nothing: %s", bought.id[:8], error)
        return bought

    async def _tell(
        self, run: Run, message: str, feedback: Feedback | None = None, bought: Purchase | None = None
    ) -> None:
        if run.tell is None:
            return
        bought = bought or await self.purchases.get(run.order.id)
        if bought is None:
            return
        said = run.tell(Update(bought, message, feedback))
        if said is not None:
            await said


def _late(run: Run, now: int) -> Run:
    """The same purchase with a new minute for its download."""
    run.order = replace(run.order, deadline=now + 60)
    return run


def _cheapest(offers: Sequence[Answer]) -> Answer:
    return min(offers, key=lambda offer: offer.amount_msat or 0)


def _copy(fetched: Fetched | None, result: JobResult, out: Path) -> None:
    if fetched is not None and fetched.path is not None:
        shutil.copyfile(fetched.path, out)
    else:
        out.write_text(result.content)
