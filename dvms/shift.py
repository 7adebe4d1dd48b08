"""A worker's working day: listening on the relays, the queue, the timers, and taking up what an earlier day left.

Tasks and what they own: `_listen` the subscription, `_serve` the queue and the engine, `_tick` the timers,
`_keep_leases` the leases, `_refresh_trust` the set of trusted keys. All of them may be killed at any point; the jobs
are on disk.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from dvms.boxlock import BoxLock
from dvms.jobs import Means, Sale, State
from dvms.worker import BILL_GRACE, Worker
from market.errors import BadFeedback
from market.job import Feedback, JobRequest
from market.kinds import CONTACTS, DELETION, FEEDBACK, ZAP_RECEIPT
from market.tags import parse_hex64
from nostr.errors import RelayError, RelayRefused
from nostr.event import Event
from nostr.filter import Filter
from wallet.interface import InvoiceState, WalletError

log = logging.getLogger("dvms.shift")

LEASE: Final = 60
RENEW_EVERY: Final = 15
TELL_PLACE_EVERY: Final = 15
TIDY_EVERY: Final = 60
AT_ONCE: Final = 64  # events being taken in
TRUST_EVERY: Final = 3600
HEAR_AGAIN: Final = (1, 5, 15, 60)  # seconds until an event is taken in again, where the disk was full
FULL_DISK: Final = 5  # seconds
_RESUMED_AT_ONCE: Final = 8


class Shift:
    """Runs one Worker until cancelled. `own_relays` are trusted to carry every deletion."""

    def __init__(self, worker: Worker, lock: BoxLock, *, trusted: Iterable[str] = ()) -> None:
        self._worker, self._lock = worker, lock
        self._owner = secrets.token_hex(8)
        self._trusted = frozenset(trusted)
        self._hearing = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._places: dict[str, int] = {}
        self.listening = asyncio.Event()  # set once a relay has sent what it had stored

    async def run(self) -> None:
        """Take up what is on disk, then listen and work. Exclusive: one Shift a data folder."""
        parts = self._worker.parts
        await self._resume()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen())
                serve = self._serve_heavy if parts.service.heavy else self._serve_light
                for loop in (parts.cashier.run, serve, self._tick, self._keep_leases):
                    group.create_task(_patiently(loop))
                if self._trusted:
                    group.create_task(self._refresh_trust())
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await parts.news.close()
            await parts.engine.close()
            await parts.jobs.hand_back(self._owner)

    # What an earlier day left.

    async def _resume(self) -> None:
        """Every open job has a next step; jobs that a killed host was doing go back to the head of the queue."""
        jobs = self._worker.parts.jobs
        returned = await jobs.recover(self._worker.parts.clock(), await jobs.owners())
        gate = asyncio.Semaphore(_RESUMED_AT_ONCE)
        left = await jobs.in_state((State.HEARD, State.PRICED, State.BILLED, State.FINISHED), limit=100_000)
        if returned or left:
            log.info("taking up %d unfinished jobs, %d of them were being done", returned + len(left), returned)
        for sale in left:
            self._spawn(self._gated(gate, self._look_at(sale)))
        self._worker.queue_news.set()

    async def _gated(self, gate: asyncio.Semaphore, work: Awaitable[None]) -> None:
        async with gate:
            await work

    # Listening.

    async def _listen(self) -> None:
        """Everything that concerns us, from all relays; each event is taken in by a task of its own."""
        parts = self._worker.parts
        since = parts.clock() - parts.settings.max_age
        key, kinds = parts.key.public, list(parts.service.kinds)
        filters = [Filter(kinds=[*kinds, FEEDBACK], tags={"p": [key]}, since=since)]
        filters.append(Filter(kinds=[DELETION], tags={"k": [str(kind) for kind in kinds]}, since=since))
        if parts.cashier.exists:
            filters.append(Filter(kinds=[ZAP_RECEIPT], tags={"p": [key]}, since=since))
        if parts.settings.open_jobs:
            filters.append(Filter(kinds=kinds, since=since))
        own = parts.pool.relays[:1]  # our own relay is small enough to be asked for every deletion
        everything = parts.pool.subscribe(Filter(kinds=[DELETION], since=since), relays=own)
        async with everything, asyncio.TaskGroup() as group:
            group.create_task(self._take_in(everything))
            while True:
                async with parts.pool.subscribe(*filters) as sub:
                    group.create_task(self._mark_listening(sub))
                    try:
                        await self._take_in(sub)
                    except RelayRefused as error:
                        log.warning("no relay lets us listen: %s", error)
                await asyncio.sleep(30)

    async def _mark_listening(self, sub: Any) -> None:
        try:
            await sub.eose()
        except RelayError:
            return
        self._worker.live = True
        self.listening.set()

    async def _take_in(self, sub: Any) -> None:
        async for event in sub:
            await self._hearing.acquire()
            task = self._spawn(self._hear(event))
            task.add_done_callback(lambda _: self._hearing.release())

    async def _hear(self, event: Event) -> None:
        """Take one event in; where the disk is full for a while, once there is room again."""
        for wait in HEAR_AGAIN:
            try:
                await self._take(event)
                return
            except sqlite3.Error as error:
                log.error("%s of kind %d is not taken in yet: %s", event.id[:8], event.kind, error)
            await asyncio.sleep(wait)
        await self._take(event)

    async def _take(self, event: Event) -> None:
        worker = self._worker
        if event.kind in worker.parts.service.kinds:
            await worker.hear(event)
        elif event.kind == DELETION:
            for value in event.values("e"):
                if (job := parse_hex64(value)) is not None:
                    await worker.cancel(job, event.pubkey)
        elif event.kind == ZAP_RECEIPT:
            await worker.zaps.hear(event)
        elif event.kind == FEEDBACK:
            await self._on_word_of_customer(event)

    async def _on_word_of_customer(self, event: Event) -> None:
        """A customer may answer a failed job with a 7000 `refund` that carries an invoice over the amount owed."""
        try:
            word = Feedback.parse(event, self._worker.parts.key)
        except BadFeedback:
            return
        if word.status == "refund" and word.bolt11 is not None:
            await self._worker.parts.cashier.offer_invoice(word.request_id, event.pubkey, word.bolt11)

    # The queue.

    async def _serve_heavy(self) -> None:
        """One job at a time on this machine, in turns with the other workers of the node."""
        worker, jobs, clock = self._worker, self._worker.parts.jobs, self._worker.parts.clock
        while True:
            worker.queue_news.clear()
            if not await jobs.waiting(1):
                await worker.queue_news.wait()
                continue
            self._spawn(self._tell_places(0))
            ticket = await self._lock.acquire(self._on_place)
            try:
                for sale in await jobs.claim(self._owner, clock(), LEASE):
                    self._places.pop(sale.id, None)
                    await self._do(sale)
            finally:
                ticket.release()

    async def _serve_light(self) -> None:
        """Many jobs at a time in the host's own loop."""
        worker, jobs, clock = self._worker, self._worker.parts.jobs, self._worker.parts.clock
        free = worker.parts.service.at_once or worker.parts.settings.light_jobs
        slots = asyncio.Semaphore(free)
        busy = 0

        def done(_: asyncio.Task[Any]) -> None:
            nonlocal busy
            busy -= 1
            slots.release()

        while True:
            await slots.acquire()
            slots.release()
            worker.queue_news.clear()
            claimed = await jobs.claim(self._owner, clock(), LEASE, limit=free - busy)
            for sale in claimed:
                await slots.acquire()
                busy += 1
                self._spawn(self._do(sale)).add_done_callback(done)
            if not claimed:
                await worker.queue_news.wait()

    async def _do(self, sale: Sale) -> None:
        """One claimed job. Where its end can't be written down, it goes back into the queue as soon as that can be."""
        try:
            await self._worker.work(sale)
            return
        except sqlite3.Error as error:
            log.error("job %s can't be ended: %s", sale.id[:8], error)

        async def put_back() -> None:
            await self._worker.parts.jobs.move(
                sale.id, (State.RUNNING,), State.PAID, owner=None, lease_until=None, due_at=sale.due_at
            )

        await _patiently(put_back, once=True)
        self._worker.queue_news.set()

    def _on_place(self, ahead: int) -> None:
        self._spawn(self._tell_places(ahead))

    async def _tell_places(self, before_us: int) -> None:
        """Tell waiting customers their place in the queue, where it changed."""
        ahead = before_us or self._worker.running
        for place, sale in enumerate(await self._worker.parts.jobs.waiting(50), start=1 + ahead):
            if place > 1 and self._places.get(sale.id) != place:
                self._places[sale.id] = place
                self._worker.tell(sale, f"place {place} in the queue")

    # Timers.

    async def _tick(self) -> None:
        """Once a second: what is due; now and then: places in the queue, folders and rows nobody needs any more."""
        worker, jobs, clock = self._worker, self._worker.parts.jobs, self._worker.parts.clock
        gate = asyncio.Semaphore(_RESUMED_AT_ONCE)
        turn = 0
        while True:
            await asyncio.sleep(1)
            turn += 1
            await asyncio.gather(*(self._gated(gate, self._look_at(sale)) for sale in await jobs.due(clock())))
            if turn % TELL_PLACE_EVERY == 0 and worker.parts.service.heavy and await jobs.waiting(1):
                await self._tell_places(0)
            if turn % TIDY_EVERY == 0:
                await worker.tidy()
                await jobs.prune(clock() - worker.parts.settings.keep_days * 86_400)

    async def _keep_leases(self) -> None:
        """Hold on to the jobs being done here; take over those of a replica that died."""
        worker, jobs, clock = self._worker, self._worker.parts.jobs, self._worker.parts.clock
        while True:
            await asyncio.sleep(RENEW_EVERY)
            await jobs.renew(self._owner, clock() + LEASE)
            if await jobs.recover(clock(), None):
                worker.queue_news.set()

    async def _look_at(self, sale: Sale) -> None:
        """A job whose time has come: what that means depends on where it stands."""
        worker, endings = self._worker, self._worker.parts.endings
        match sale.state:
            case State.HEARD | State.PRICED:
                self._spawn(worker.advance(sale))
            case State.BILLED:
                await self._look_at_bill(sale)
            case State.PAID if sale.expires_at is not None and sale.expires_at <= worker.parts.clock():
                request = JobRequest.parse(sale.event, worker.parts.key)
                await endings.fail(sale, request, "the request expired before its turn came", (State.PAID,))
            case State.PAID | State.RUNNING:
                await self._take_early(sale)
            case State.FINISHED:
                await worker.take_and_deliver(sale)
            case State.FAILED | State.EXPIRED | State.CANCELLED if sale.means is Means.HOLD:
                await endings.release(sale)
            case State.EXPIRED | State.CANCELLED if sale.payment_hash is not None:
                await self._look_once_more(sale)
            case _:
                await worker.parts.jobs.move(sale.id, (sale.state,), sale.state)
        worker.parts.outbox.wake()

    async def _look_at_bill(self, sale: Sale) -> None:
        """Ask the wallet before a bill is called unpaid."""
        worker, now = self._worker, self._worker.parts.clock()
        assert sale.payment_hash is not None and sale.bill_until is not None
        over = now >= sale.bill_until + BILL_GRACE
        try:
            invoice = await worker.parts.cashier.look_up(sale.payment_hash)
        except WalletError as error:
            log.info("job %s: the wallet can't be asked: %s", sale.id[:8], error)
            await worker.parts.jobs.move(sale.id, (State.BILLED,), State.BILLED, due_at=now + BILL_GRACE)
            return
        if invoice is not None and invoice.state in (InvoiceState.SETTLED, InvoiceState.ACCEPTED):
            await worker.payment(invoice)
        elif over:
            await worker.parts.endings.expire(sale, JobRequest.parse(sale.event, worker.parts.key))
        else:
            due = sale.bill_until + BILL_GRACE
            await worker.parts.jobs.move(sale.id, (State.BILLED,), State.BILLED, due_at=due)

    async def _look_once_more(self, sale: Sale) -> None:
        """Whether a bill was paid after all while nobody heard of it."""
        worker, jobs = self._worker, self._worker.parts.jobs
        assert sale.payment_hash is not None
        try:
            invoice = await worker.parts.cashier.look_up(sale.payment_hash)
        except WalletError:
            await jobs.move(sale.id, (sale.state,), sale.state, due_at=worker.parts.clock() + 10 * BILL_GRACE)
            return
        if invoice is not None and invoice.state is InvoiceState.SETTLED:
            await worker.payment(invoice)
        await jobs.move(sale.id, (sale.state,), sale.state)

    async def _take_early(self, sale: Sale) -> None:
        """A lock must not last for minutes: take the payment now. A failure is then paid back instead of released."""
        parts, now = self._worker.parts, self._worker.parts.clock()
        if sale.means is not Means.HOLD or sale.taken_at is not None:
            await parts.jobs.move(sale.id, (sale.state,), sale.state, due_at=_later(sale.expires_at, now))
            return
        try:
            ours = await parts.cashier.take(sale)
        except WalletError as error:
            log.info("job %s: the payment is not taken yet: %s", sale.id[:8], error)
            await parts.jobs.move(sale.id, (sale.state,), sale.state, due_at=now + 5)
            return
        if ours:
            due = _later(sale.expires_at, now)
            await parts.jobs.move(sale.id, (sale.state,), sale.state, taken_at=now, due_at=due)
        elif sale.state is State.PAID:
            request = JobRequest.parse(sale.event, parts.key)
            await parts.endings.fail(sale, request, "the payment was withdrawn", (State.PAID,))

    async def _refresh_trust(self) -> None:
        """Trusted: the keys of the settings, and whom they follow (NIP-02)."""
        pool = self._worker.parts.pool
        while True:
            try:
                lists = await pool.fetch(Filter(kinds=[CONTACTS], authors=self._trusted), timeout=10)
            except RelayError:
                lists = []
            followed = {value for event in lists for value in event.values("p")}
            self._worker.trusted = self._trusted | followed | frozenset(self._worker.trusted)
            await asyncio.sleep(TRUST_EVERY if lists else 60)

    def _spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task failed", exc_info=error)


async def _patiently(work: Callable[[], Awaitable[None]], *, once: bool = False) -> None:
    """Run a loop, or one thing until it is done; where the jobs' file can't be written, again a little later."""
    while True:
        try:
            await work()
            if once:
                return
        except* sqlite3.Error as errors:
            log.error("the jobs' file can't be written: %s", errors.exceptions[0])
        await asyncio.sleep(FULL_DISK)


def _later(at: int | None, now: int) -> int | None:
    return at if at is not None and at > now else None
