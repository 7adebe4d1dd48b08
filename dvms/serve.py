"""A worker put together and run: key, database, relays, wallet, engine, and the tasks that use them."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dvms.boxlock import BoxLock
from dvms.cashier import REFUNDS, Cashier
from dvms.delivery import AnswerRelays, FileShelf, host_is_private
from dvms.endings import Endings
from dvms.engine import make_engine
from dvms.heartbeat import PAUSED, Herald, Pulse
from dvms.inputs import InputLimits, Inputs
from dvms.jobs import SCHEMA, ZAPS, SqliteJobs
from dvms.news import Newsroom
from dvms.payback import AddressBook
from dvms.policy import (
    Policy,
    bid_reaches_price,
    for_us,
    not_blocked,
    proof_of_work,
    timely,
    web_of_trust,
    within_limits,
)
from dvms.registry import Found
from dvms.service import Service, Site
from dvms.settings import SellerSettings
from dvms.shift import Shift
from dvms.worker import Parts, Worker
from market.announcement import Profile, nip90_params
from nostr import nip19
from nostr.clock import Clock, system_clock
from nostr.database import Database
from nostr.filter import Filter
from nostr.key import SecretKey, load_or_create
from nostr.outbox import OUTBOX_SCHEMA, Outbox
from nostr.pool import Pool, normalise
from wallet import open_wallet
from wallet.door import Door
from wallet.interface import Wallet, WalletError

log = logging.getLogger("dvms.serve")


class AlreadyRunning(Exception):
    """Another process works on this worker's data folder."""


@dataclass(frozen=True, slots=True)
class Running:
    """A worker at work, as tests and benchmarks look at it."""

    worker: Worker
    shift: Shift
    herald: Herald
    key: SecretKey
    db: Database
    pool: Pool


async def serve(
    found: Found,
    settings: SellerSettings,
    own_settings: dict[str, Any],
    *,
    data: Path,
    relays: Sequence[str],
    wallet: str | Wallet | None,
    ready: Callable[[Running], None] = lambda running: None,
    clock: Clock = system_clock,
) -> None:
    """Run a worker until cancelled. Raises AlreadyRunning."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(
            opened(found, settings, own_settings, data=data, relays=relays, wallet=wallet, clock=clock)
        )
        ready(running)
        await asyncio.Event().wait()


@asynccontextmanager
async def opened(
    found: Found,
    settings: SellerSettings,
    own_settings: dict[str, Any],
    *,
    data: Path,
    relays: Sequence[str],
    wallet: str | Wallet | None,
    clock: Clock = system_clock,
) -> AsyncIterator[Running]:
    """A worker that hears and works while the context lasts. It is entered once it listens, or after a few seconds."""
    folder = data / "dvms" / found.name
    with _exclusive(folder):
        service = found.service(found.service.Settings.model_validate(own_settings))
        key = load_or_create(data / "keys" / f"{found.name}.key")
        purse = open_wallet(wallet, key=key) if isinstance(wallet, str) else wallet
        async with AsyncExitStack() as stack:
            db = await Database.open(folder / "jobs.db", [OUTBOX_SCHEMA, SCHEMA, REFUNDS, ZAPS])
            stack.push_async_callback(db.close)
            near, far = await _near_and_far(relays, own=_own_relay(data))
            free = (settings.price or 0) == 0
            homes = [*near, *(far if free else [])]
            guests = None if settings.private_relays else ()
            pool = await stack.enter_async_context(Pool(homes, key=key, clock=clock, private_hosts=guests))
            outbox = Outbox(db, pool, clock)
            outbox.start()
            stack.push_async_callback(outbox.close)
            door = Door(purse)
            worker, shift = _assemble(found, service, key, settings, pool, outbox, db, door, data, clock)
            await service.open(_site(data, found.name, key, pool, clock))
            stack.push_async_callback(service.close)
            herald = _herald(service, settings, found.name, key, pool, worker, clock, announce_on=[*near, *far])
            async with _tasks() as spawn:
                spawn(door.run())
                spawn(shift.run())
                spawn(_appear(herald, door, pool, [] if free else far, announce=settings.announce, free=free))
                try:
                    async with asyncio.timeout(10):
                        await shift.listening.wait()
                except TimeoutError:
                    log.warning("no relay has answered yet; this worker goes on trying")
                try:
                    yield Running(worker, shift, herald, key, db, pool)
                finally:
                    if settings.announce:
                        await herald.withdraw()


def _assemble(
    found: Found,
    service: Service,
    key: SecretKey,
    settings: SellerSettings,
    pool: Pool,
    outbox: Outbox,
    db: Database,
    door: Door,
    data: Path,
    clock: Clock,
) -> tuple[Worker, Shift]:
    folder = data / "dvms" / found.name
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    jobs = SqliteJobs(db, lambda conn, event, urls: Outbox.put(conn, event, urls), clock)

    async def paid(invoice: Any) -> None:
        await worker.payment(invoice)

    cashier = Cashier(
        door,
        db,
        clock,
        on_paid=paid,
        unpaid=jobs.unpaid,
        resolve=AddressBook(pool).invoice,
    )
    shelf = FileShelf(settings.blossom or [own_files(pool.relays)] if pool.relays else settings.blossom, key, clock)
    answer_relays = AnswerRelays(pool, clock, private=settings.private_relays)
    limits = InputLimits(settings.input_seconds, settings.input_mib, settings.input_wait, settings.keep_free_mib)
    inputs = Inputs(
        pool,
        clock,
        limits,
        own_hosts=[*shelf.hosts, *(own_files([url]) for url in pool.relays)],
        own_keys=lambda: _own_keys(data),
        safe_relays=answer_relays.safe,
    )
    parts = Parts(
        service=service,
        key=key,
        settings=settings,
        pool=pool,
        outbox=outbox,
        jobs=jobs,
        cashier=cashier,
        endings=Endings(key, jobs, db, cashier, clock),
        engine=make_engine(service, found.where, idle=settings.child_idle),
        inputs=inputs,
        relays=answer_relays,
        shelf=shelf,
        news=Newsroom(key, pool, shelf, clock),
        clock=clock,
        folder=work,
        policies=policies(settings),
    )
    worker = Worker(parts)
    lock = BoxLock(data / "run" / "heavy", settings.heavy_slots)
    return worker, Shift(worker, lock, trusted=[nip19.parse_pubkey(text) for text in settings.trusted])


def policies(settings: SellerSettings) -> list[Policy]:
    """The gates of a worker, cheapest first."""
    return [
        for_us(open_jobs=settings.open_jobs),
        timely(settings.max_age),
        not_blocked(frozenset(nip19.parse_pubkey(text) for text in settings.blocked)),
        bid_reaches_price(),
        web_of_trust(settings.trusted_only),
        proof_of_work(settings.pow_bits),
        within_limits(
            open_per_key=settings.open_per_key,
            per_hour=settings.per_hour,
            cancelled_per_hour=settings.cancelled_per_hour,
            queue_limit=settings.queue_limit,
            bill_limit=settings.bill_limit,
        ),
    ]


def _herald(
    service: Service,
    settings: SellerSettings,
    name: str,
    key: SecretKey,
    pool: Pool,
    worker: Worker,
    clock: Clock,
    *,
    announce_on: Sequence[str],
) -> Herald:
    engine = service.engine()
    profile = Profile(
        d=name,
        kinds=tuple(service.kinds),
        name=settings.name or service.name,
        about=settings.about or service.about,
        price_msat=(settings.price or 0) * 1000,
        params=nip90_params(service.Params),
        relays=tuple(announce_on),
        picture=settings.picture or service.picture,
        lud16=settings.lud16,
        engine=engine.name,
        model=engine.model,
        licence=engine.licence,
        topics=service.topics or ((name, "ai") if service.heavy else (name,)),
        extra_tags=tuple(tuple(tag) for tag in service.announce_tags()),
    )

    def pulse() -> Pulse:
        if not service.available():
            return Pulse(PAUSED)
        return Pulse("busy" if worker.running else "ready", worker.running)

    return Herald(key, profile, pool, clock, pulse=pulse, bits=settings.announce_pow, every=settings.heartbeat)


async def _near_and_far(relays: Sequence[str], *, own: str) -> tuple[list[str], list[str]]:
    """Relays of this node (its own, and all at private addresses), and relays of the world."""
    urls = list(dict.fromkeys(normalise(url) for url in relays))
    private = [url == own or await host_is_private(urlsplit(url).hostname or "") for url in urls]
    near = [url for url, here in zip(urls, private, strict=True) if here]
    return near, [url for url in urls if url not in near]


def _own_relay(data: Path) -> str:
    """The relay that runs on this data folder, or an empty text."""
    try:
        return normalise((data / "run" / "relay.url").read_text())
    except (FileNotFoundError, ValueError):
        return ""


async def _appear(herald: Herald, door: Door, pool: Pool, far: Sequence[str], *, announce: bool, free: bool) -> None:
    """Step before the public: everywhere, or, with a price in credits of this box, nowhere but here.

    Credits mean nothing elsewhere. So without real money nothing priced is offered on public relays, and what is
    announced here carries the mark that keeps relays from passing it on (NIP-70).
    """
    if not free:
        while True:
            try:
                caps = (await door()).caps
                break
            except WalletError:
                await asyncio.sleep(0.5)
        herald.protected = not caps.real_money
        if caps.real_money:
            for url in far:
                pool.add(url)
        elif far:
            log.warning("the wallet holds credits, not Lightning: nothing priced is offered on %s", ", ".join(far))
    if announce:
        await herald.run()


def _site(data: Path, name: str, key: SecretKey, pool: Pool, clock: Clock) -> Site:
    async def ask(*filters: Filter, timeout: float = 3) -> list[Any]:
        return await pool.fetch(*filters, timeout=timeout)

    async def say(kind: int, content: str, tags: list[list[str]]) -> str:
        event = key.sign(kind=kind, content=content, tags=tags, created_at=clock())
        await pool.publish(event)
        return event.id

    return Site(data, name, key.public, pool.relays, clock, ask, say)


def own_files(relays: Sequence[str]) -> str:
    """The file server that lives on the first relay's port."""
    return "http" + relays[0].removeprefix("ws").rstrip("/")


def _own_keys(data: Path) -> frozenset[str]:
    return frozenset(path.read_text().strip() for path in (data / "keys").glob("*.pub"))


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """One host a folder. The kernel frees the lock on any death, so the next host may take all leases over at once."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(folder / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"a worker runs already on {folder}") from None
        yield
    finally:
        os.close(fd)


@asynccontextmanager
async def _tasks() -> AsyncIterator[Callable[[Any], None]]:
    """Background tasks that end with the block. One that dies ends the worker loudly."""
    owner = asyncio.current_task()
    running: set[asyncio.Task[Any]] = set()
    broken: list[BaseException] = []

    def done(task: asyncio.Task[Any]) -> None:
        running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            broken.append(error)
            if owner is not None:
                owner.cancel()

    def spawn(work: Any) -> None:
        task = asyncio.ensure_future(work)
        running.add(task)
        task.add_done_callback(done)

    try:
        yield spawn
    except asyncio.CancelledError:
        if broken:
            raise broken[0] from None
        raise
    finally:
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
