"""A worker: one service, one key, and the sale of its jobs from the request heard to the result delivered.

The main path, top to bottom: `hear` - `_price` - `_bill` - `payment` - `_work` - `_deliver`. Between two steps a job
rests on disk (jobs), so a worker that is killed goes on where it stopped: each paid job ends in exactly one delivery or
one refund. The other endings are in `endings`, the wallet in `cashier`, queues and timers in `shift`.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import orjson
from pydantic import BaseModel, ValidationError

from dvms.artefacts import Made
from dvms.cashier import Cashier
from dvms.delivery import AnswerRelays, FileShelf, UploadFailed
from dvms.endings import TRY_AGAIN, Endings
from dvms.engine import Engine, Stopped
from dvms.inputs import Inputs
from dvms.jobs import CANCELLED_BY_CUSTOMER, ENDED, Answer, Booking, Means, NoCredit, Sale, SqliteJobs, State, Usage
from dvms.news import JobReport, Newsroom
from dvms.policy import Context, Policy, judge
from dvms.service import Job, Refused, Service, ServiceError
from dvms.settings import SellerSettings
from dvms.zapped import Zaps
from market.errors import BadRequest
from market.job import JobRequest, Media, build_feedback, build_result
from market.tags import parse_msat
from nostr.clock import Clock
from nostr.event import Event
from nostr.key import SecretKey
from nostr.outbox import Outbox
from nostr.pool import Pool
from wallet.interface import Invoice, InvoiceState, WalletError
from wallet.msat import show

log = logging.getLogger("dvms.worker")

UNBILLED: Final = (State.HEARD, State.PRICED)
ATTEMPTS: Final = 3  # a job that took the host down this often is given up
PREPARED: Final = 256  # jobs kept ready in memory; others are read again when their turn comes
PREPARING: Final = 16  # requests whose inputs are read at once
QUIET_SECONDS: Final = 1.0  # after so long without a bill or a result the customer hears `processing`
BILL_GRACE: Final = 30  # seconds a bill's payment may be on its way when the bill ends
SHORTEST_BILL: Final = 5  # seconds
RUSH_BILL: Final = 60  # seconds that a stranger's bill lasts while very many are unpaid
BILL_PATIENCE: Final = 120  # seconds a request waits for a wallet that is away
UPLOAD_PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker stands on, made by `serve`."""

    service: Service
    key: SecretKey
    settings: SellerSettings
    pool: Pool
    outbox: Outbox
    jobs: SqliteJobs
    cashier: Cashier
    endings: Endings
    engine: Engine
    inputs: Inputs
    relays: AnswerRelays
    shelf: FileShelf
    news: Newsroom
    clock: Clock
    folder: Path
    policies: Sequence[Policy]


class Worker:
    """`hear` takes events in; `payment` takes the wallet's word; `work` does one claimed job."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.price_msat = (parts.settings.price or 0) * 1000
        self.zaps = Zaps(parts.key.public, parts.jobs, parts.cashier, parts.clock, lambda: self.queue_news.set())
        self.trusted: Collection[str] = frozenset()
        self.queue_news = asyncio.Event()  # set when a job was paid
        self.live = False  # stored requests are through; what comes now is being asked now
        self._prepared: OrderedDict[str, tuple[JobRequest, Job[Any]]] = OrderedDict()
        self._running: dict[str, asyncio.Event] = {}
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._quota = asyncio.Lock()
        self._preparing = asyncio.Semaphore(PREPARING)
        self._moving: set[str] = set()  # jobs that `advance` is busy with

    # Heard.

    async def hear(self, event: Event) -> None:
        """A job request: taken in once, refused, or none of our business."""
        parts = self.parts
        try:
            request, reject_reason = JobRequest.parse(event, parts.key), ""
        except BadRequest as error:
            request, reject_reason = JobRequest.outline(event), error.reason
        async with self._door(request.customer):  # one request of a customer after the other: limits are exact
            usage = await parts.jobs.usage(request.customer, parts.clock(), request.id)
            if usage.known:
                await self._say_again(event.id)
                return
            context = Context(parts.clock(), parts.key.public, self.price_msat, usage, trusted=self.trusted)
            reject = judge(parts.policies, context, request)
            if reject is not None and reject.silent:
                return
            if reject_reason and not context.addressed(request):
                return
            relays = await parts.relays.of(request, inbox=False)
            now = parts.clock()
            sale = Sale(
                event.id, request.customer, request.kind, event.to_json(), State.HEARD, now, now,
                relays=relays, expires_at=request.expiration,
            )  # fmt: skip
            if not await parts.jobs.add(sale):
                return
            if reason := reject_reason or (reject.reason if reject is not None else ""):
                await parts.endings.refuse(sale, request, relays, reason)
                parts.outbox.wake()
                return
        log.info("job %s kind %d from %s", sale.id[:8], sale.kind, sale.customer[:8])
        await self.advance(sale, request, usage)

    async def _say_again(self, job: str) -> None:
        """The same request once more, well after we answered it: it gets the same answer."""
        sale = await self.parts.jobs.get(job)
        if sale is None or not self.live or self.parts.clock() - sale.changed_at < BILL_GRACE:
            return
        for event in await self.parts.jobs.answers(sale.id):
            await self.parts.pool.publish(event, sale.relays, timeout=5)

    # Priced and billed.

    async def advance(self, sale: Sale, request: JobRequest | None = None, usage: Usage | None = None) -> None:
        """From heard (or priced) to the next rest. Also the way on after a restart."""
        if sale.id in self._moving:
            return
        self._moving.add(sale.id)
        try:
            request = request or JobRequest.parse(sale.event, self.parts.key)
            now: Sale | None = sale
            if sale.state is State.HEARD:
                now = await self._price(sale, request, usage)
            if now is not None and now.state is State.PRICED:
                now = await self._bill(now, request, usage)
            if now is not None and now.state is State.PAID:
                self.queue_news.set()
        except Refused as error:
            await self.parts.endings.refuse(sale, request, sale.relays, str(error))  # type: ignore[arg-type]
        except BadRequest as error:
            await self.parts.endings.refuse(sale, JobRequest.outline(sale.event), sale.relays, error.reason)
        finally:
            self._moving.discard(sale.id)
            self.parts.outbox.wake()

    async def _price(self, sale: Sale, request: JobRequest, usage: Usage | None) -> Sale | None:
        """Read the inputs, let the service look at the job, and settle how it is paid. Raises Refused."""
        parts = self.parts
        job = await self._prepare(sale, request, quiet=QUIET_SECONDS)
        price = parts.service.price_msat(job, self.price_msat)
        if request.bid_msat is not None and request.bid_msat < price:
            raise Refused(f"this costs {show(price)}, your bid was {show(request.bid_msat)}")
        self._prepared[sale.id] = request, job
        if len(self._prepared) > PREPARED:
            self._prepared.popitem(last=False)
        fields: dict[str, Any] = {"price_msat": price, "bill_msat": max(price, prepayment(request))}
        if price == 0:
            return await self._pay(sale, Means.FREE, fields)
        if parts.settings.free_per_day and (free := await self._pay_from_quota(sale, fields)) is not None:
            return free
        usage = usage or await parts.jobs.usage(request.customer, parts.clock())
        if usage.credit_msat >= price:
            try:
                return await self._pay(sale, Means.CREDIT, fields, [Booking("job", -price)])
            except NoCredit:  # another job of the same customer was quicker
                pass
        return replace(sale, state=State.PRICED, **fields)

    async def _pay(
        self, sale: Sale, means: Means, fields: dict[str, Any], bookings: Sequence[Booking] = ()
    ) -> Sale | None:
        """Nothing has to be paid for this job: it goes straight into the queue."""
        paid = fields["price_msat"] if means is Means.CREDIT else 0
        return await self.parts.jobs.move(
            sale.id, (State.HEARD,), State.PAID, bookings=bookings, means=means, paid_msat=paid,
            paid_at=self.parts.clock(), due_at=sale.expires_at, **fields,
        )  # fmt: skip

    async def _pay_from_quota(self, sale: Sale, fields: dict[str, Any]) -> Sale | None:
        """One of the customer's free jobs of the day; None where they are used up."""
        async with self._quota:
            usage = await self.parts.jobs.usage(sale.customer, self.parts.clock())
            settings = self.parts.settings
            if usage.free_today >= settings.free_per_day or usage.free_today_all >= settings.free_per_day_all:
                return None
            return await self._pay(sale, Means.QUOTA, fields)

    def _door(self, customer: str) -> asyncio.Lock:
        return self._doors.setdefault(customer, asyncio.Lock())

    async def _prepare(self, sale: Sale, request: JobRequest, *, quiet: float) -> Job[Any]:
        """Inputs fetched, parameters validated, looked at by the service. Raises Refused."""
        parts = self.parts
        params = read_params(parts.service.Params, request)
        loop = asyncio.get_running_loop()
        slow = loop.call_later(quiet, self._tell, request, sale, "reading your request")
        try:
            if any(item.type != "text" for item in request.inputs):
                waits = any(item.type == "job" for item in request.inputs)
                async with _no_limit if waits else self._preparing:
                    inputs = await parts.inputs.resolve(
                        request, parts.folder / sale.id / "in", lambda words: self._tell(request, sale, words)
                    )
            else:
                inputs = await parts.inputs.resolve(request, parts.folder, lambda words: None)
            job = Job(sale.id, sale.kind, inputs, params, parts.folder / sale.id / "out", request.output)
            if any(item.path is not None for item in inputs):
                await asyncio.to_thread(parts.service.check, job)
            else:
                parts.service.check(job)
            return job
        finally:
            slow.cancel()

    async def _bill(self, sale: Sale, request: JobRequest, usage: Usage | None) -> Sale | None:
        """Exactly one bill: the invoice and the event that shows it are put down together. Raises Refused."""
        parts, now = self.parts, self.parts.clock()
        expiry = parts.settings.bill_seconds
        if usage is not None and usage.unpaid_all > parts.settings.bill_limit // 4 and not usage.has_paid:
            expiry = min(expiry, RUSH_BILL)
        if sale.expires_at is not None:
            expiry = min(expiry, sale.expires_at - now)
            if expiry < SHORTEST_BILL:
                raise Refused("the request expires before it could be paid")
        price: dict[str, Any] = {"price_msat": sale.price_msat, "bill_msat": sale.bill_msat}
        hold = parts.settings.hold == "auto" and sale.bill_msat == sale.price_msat
        words = f"{parts.service.name}: job {sale.id[:8]}"
        try:
            bill = await parts.cashier.make_bill(sale, sale.bill_msat, words, expiry, hold=hold)
        except WalletError as error:
            log.warning("job %s: no bill yet: %s", sale.id[:8], error)
            if now - sale.heard_at > BILL_PATIENCE:
                raise Refused("this service can't reach its wallet: try again later") from None
            return await parts.jobs.move(sale.id, UNBILLED, State.PRICED, due_at=now + TRY_AGAIN, **price)
        prepaid = sale.bill_msat - sale.price_msat
        message = f"{show(sale.bill_msat)}, payable for {expiry // 60 or 1} min"
        message += f"; {show(prepaid)} of it stay as your credit" if prepaid else ""
        answer = build_feedback(
            parts.key, request, "payment-required", message, amount_msat=bill.amount_msat, bolt11=bill.bolt11,
            relays=parts.pool.relays, relay_hint=next(iter(parts.pool.relays), ""), expiration=now + expiry + 3600,
            created_at=now,
        )  # fmt: skip
        means = Means.HOLD if bill.preimage else Means.INVOICE
        return await parts.jobs.move(
            sale.id, UNBILLED, State.BILLED, answers=[Answer(answer, sale.relays)], **price, bolt11=bill.bolt11,
            payment_hash=bill.payment_hash, preimage=bill.preimage, means=means,
            bill_until=bill.expires_at, due_at=bill.expires_at + BILL_GRACE,
        )  # fmt: skip

    # Paid.

    async def payment(self, invoice: Invoice) -> None:
        """The wallet's word on an invoice: only this starts work."""
        parts = self.parts
        sale = await parts.jobs.by_payment(invoice.payment_hash)
        if sale is None or invoice.state not in (InvoiceState.SETTLED, InvoiceState.ACCEPTED):
            return
        if sale.state is State.BILLED:
            received = invoice.received_msat or invoice.amount_msat
            if received < sale.bill_msat:
                log.error("job %s: the wallet reports %d of %d msat", sale.id[:8], received, sale.bill_msat)
                return
            locked = invoice.state is InvoiceState.ACCEPTED
            now = parts.clock()
            due = [at for at in (sale.expires_at, now + parts.settings.hold_seconds if locked else None) if at]
            surplus = received - sale.price_msat
            paid = await parts.jobs.move(
                sale.id, (State.BILLED,), State.PAID, bookings=[Booking("surplus", surplus)] if surplus else [],
                paid_msat=received, paid_at=now, due_at=min(due, default=None), taken_at=None if locked else now,
            )  # fmt: skip
            if paid is not None:
                log.info("job %s paid %s", sale.id[:8], show(received))
                self.queue_news.set()
        elif sale.state in (State.EXPIRED, State.CANCELLED, State.REFUSED):
            await parts.endings.late_payment(sale, JobRequest.parse(sale.event, parts.key), invoice)
            parts.outbox.wake()
        elif sale.zap_hash is not None:
            await self.zaps.bill_too(sale, invoice)

    # Running.

    async def work(self, sale: Sale) -> None:
        """Do one claimed job and deliver it, or end it. Never raises for the job's sake."""
        parts = self.parts
        request, job = self._prepared.pop(sale.id, None) or (JobRequest.parse(sale.event, parts.key), None)
        stop = self._running[sale.id] = asyncio.Event()
        out = parts.folder / sale.id / "out"
        try:
            if parts.service.heavy and sale.attempts > ATTEMPTS:
                raise ServiceError("the work broke off several times")
            job = job or await self._prepare(sale, request, quiet=QUIET_SECONDS)
            if parts.service.heavy or out.exists():
                _empty(out)
            seconds = float(parts.service.deadline or parts.settings.job_seconds)
            if sale.expires_at is not None:
                seconds = min(seconds, sale.expires_at - parts.clock())
            if seconds <= 0:
                raise ServiceError("the request expired before its turn came")
            job = replace(job, customer=sale.customer, price_msat=sale.price_msat)
            made = await self._run(sale, request, job, stop, seconds)
            await self._deliver(sale, request, made)
        except Stopped:
            await parts.endings.fail(sale, request, CANCELLED_BY_CUSTOMER)
        except ServiceError as error:
            await parts.endings.fail(sale, request, str(error))
        finally:
            self._running.pop(sale.id, None)
            parts.outbox.wake()
        if (parts.folder / sale.id).exists():
            await asyncio.to_thread(shutil.rmtree, parts.folder / sale.id, ignore_errors=True)

    async def _run(self, sale: Sale, request: JobRequest, job: Job[Any], stop: asyncio.Event, seconds: float) -> Made:
        parts = self.parts
        report = JobReport(parts.news, request, sale.relays)
        loop = asyncio.get_running_loop()
        late = loop.call_later(0 if parts.service.heavy else QUIET_SECONDS, self._tell, request, sale, "working on it")
        try:
            return await parts.engine.run(job, report, stop, seconds)
        finally:
            late.cancel()

    # Delivered.

    async def _deliver(self, sale: Sale, request: JobRequest, made: Made) -> None:
        """Files first, then the signed result, then (for a locked payment) the money, then the customer."""
        parts = self.parts
        media = await self._put_files(made, seal=request.wants_seal)
        now = parts.clock()
        engine = parts.service.engine()
        facts = {"engine": engine.name, "model": engine.model, "licence": engine.licence} | dict(made.facts)
        hint = next(iter(parts.pool.relays), "")
        tags = [[name, value] for name, value in facts.items() if value]
        content = made.content if made.content is not None else media[0].url
        result = build_result(
            parts.key, request, content, media=media, relay_hint=hint, extra_tags=tags, created_at=now,
            amount_msat=sale.price_msat or None,
        )  # fmt: skip
        success = build_feedback(parts.key, request, "success", "done", relay_hint=hint, created_at=now)
        relays = tuple(dict.fromkeys((*sale.relays, *await parts.relays.of(request, inbox=True))))
        if sale.means is Means.HOLD and sale.taken_at is None:
            packed = orjson.dumps([result.to_dict(), success.to_dict()])
            finished = await parts.jobs.move(
                sale.id, (State.RUNNING,), State.FINISHED, result=packed, relays=relays, owner=None, lease_until=None
            )
            if finished is not None:
                await self.take_and_deliver(finished)
            return
        done = await parts.jobs.move(
            sale.id, (State.RUNNING,), State.DELIVERED, relays=relays, owner=None, lease_until=None,
            answers=[Answer(result, relays), Answer(success, relays)],
        )  # fmt: skip
        if done is not None:
            log.info("job %s delivered after %d s", sale.id[:8], now - sale.heard_at)

    async def take_and_deliver(self, sale: Sale) -> None:
        """The result is on disk: take the locked payment, and only then show it."""
        parts = self.parts
        assert sale.result is not None
        try:
            ours = sale.taken_at is not None or await parts.cashier.take(sale)
        except WalletError as error:
            log.warning("job %s: the payment is not taken yet: %s", sale.id[:8], error)
            await parts.jobs.move(sale.id, (State.FINISHED,), State.FINISHED, due_at=parts.clock() + TRY_AGAIN)
            return
        if not ours:
            request = JobRequest.parse(sale.event, parts.key)
            await parts.endings.fail(sale, request, "the payment was withdrawn before the work was done")
            return
        events = [Event.from_dict(item) for item in orjson.loads(sale.result)]
        answers = [Answer(event, sale.relays) for event in events]
        await parts.jobs.move(
            sale.id, (State.FINISHED,), State.DELIVERED, answers=answers, taken_at=parts.clock(), result=None
        )
        parts.outbox.wake()
        log.info("job %s delivered after %d s", sale.id[:8], parts.clock() - sale.heard_at)

    async def _put_files(self, made: Made, *, seal: bool) -> Sequence[Media]:
        """On the shelf, with patience: the file server may be restarting."""
        if not made.files:
            return ()
        deadline = asyncio.get_running_loop().time() + UPLOAD_PATIENCE
        delay = 0.5
        while True:
            try:
                return await self.parts.shelf.put(made, seal=seal)
            except UploadFailed as error:
                log.warning("upload: %s", error)
                if asyncio.get_running_loop().time() + delay > deadline:
                    raise ServiceError("the result could not be stored on the file server") from None
            await asyncio.sleep(delay)
            delay = min(delay * 2, 15)

    # Cancelled.

    async def cancel(self, job: str, customer: str) -> None:
        """The customer deleted the request (kind 5)."""
        sale = await self.parts.jobs.get(job)
        if sale is None or sale.customer != customer:
            return
        request = JobRequest.parse(sale.event, self.parts.key)
        if sale.state in (State.HEARD, State.PRICED, State.BILLED):
            await self.parts.endings.cancel_unpaid(sale, request)
        elif sale.state is State.PAID:
            await self.parts.endings.fail(sale, request, CANCELLED_BY_CUSTOMER, (State.PAID,))
        elif (stop := self._running.get(job)) is not None:
            stop.set()
        self.parts.outbox.wake()

    async def tidy(self) -> None:
        """Remove the folders of jobs that are over."""
        for folder in await asyncio.to_thread(lambda: list(self.parts.folder.iterdir())):
            sale = await self.parts.jobs.get(folder.name)
            if sale is None or sale.state in ENDED:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    @property
    def running(self) -> int:
        """Jobs being done now."""
        return len(self._running)

    def tell(self, sale: Sale, message: str) -> None:
        """A `processing` with these words."""
        self._tell(JobRequest.parse(sale.event, self.parts.key), sale, message)

    def _tell(self, request: JobRequest, sale: Sale, message: str) -> None:
        self.parts.news.tell(request, sale.relays, message)


def read_params(model: type[BaseModel], request: JobRequest) -> BaseModel:
    """The request's parameters as the service wants them; unknown ones are left out. Raises Refused."""
    given: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        for spelling in (name, info.alias or name):
            values = request.params.get(spelling.lower().replace("-", "_"))
            if values:
                many = "list" in str(info.annotation) or "tuple" in str(info.annotation)
                given[spelling] = values if many else values[0]
                break
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise Refused(f"parameter {where}: {first['msg']}") from None


def prepayment(request: JobRequest) -> int:
    """What the customer wants to pay in advance (`prepay` parameter, msat): the rest is credit for later jobs."""
    return parse_msat(request.param("prepay") or "0") or 0


def _empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, mode=0o700)


class _NoLimit:
    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, *error: object) -> None:
        return


_no_limit = _NoLimit()
