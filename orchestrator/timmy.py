"""Timmy in the shell: hears requests for his recipes (5260), quotes, and has `Runner` do the rest.

What he stands on, and what becomes of it on `kill -9`: the journal (durable, see there), the outbox in the same file
(sent again), the files folder (by hash, fetched again if torn), relays and wallet (asked again). Nothing else is kept.
"""

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from dvms.serve import own_files
from market.directory import Directory
from market.errors import BadFeedback, BadRequest
from market.job import Feedback, JobRequest, build_feedback
from market.kinds import ANNOUNCEMENT, DELETION, FEEDBACK, JOB_COMPOSITE, JOB_KINDS, result_kinds
from market.review import Review
from market.witness import Witness
from nostr.clock import Clock, system_clock
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey, load_or_create
from nostr.outbox import Outbox
from nostr.pool import Pool
from orchestrator.advice import Adviser, reviewer
from orchestrator.effects import Cancel, Open
from orchestrator.errors import InputError, OrchestratorError, QuoteError, RecipeError
from orchestrator.hands import Files, TimmysHands
from orchestrator.journal import Journal
from orchestrator.payout import Addresses, pay_royalties, shares
from orchestrator.quoting import Quoter
from orchestrator.recipe import Recipe
from orchestrator.run import Run, Terms
from orchestrator.runner import Runner
from orchestrator.settings import OrchestratorSettings
from orchestrator.shelf import files_of, read, recipes_for_sale
from orchestrator.storefront import Storefront, recipe_event
from orchestrator.till import Till
from wallet import open_wallet
from wallet.door import Door
from wallet.interface import Wallet, WalletUnreachable
from wallet.msat import show

log = logging.getLogger("timmy")

CREDITS_HELD = 3000  # seconds: the box's own wallet gives locked credits back after an hour (wallet.hold_minutes)
MAX_AGE = 3600  # seconds that a request may be old when it is heard, also after a time away
LEARN_SECONDS = 600
AGAIN = 5  # seconds until a loop that broke off begins again
RESTOCK_SECONDS = 5
DAY = 86_400


class AlreadyRunning(OrchestratorError):
    """Another process works on this data folder."""


class Timmy:
    """One orchestrator at work. Made by `opened`."""

    def __init__(
        self,
        *,
        key: SecretKey,
        settings: OrchestratorSettings,
        pool: Pool,
        outbox: Outbox,
        journal: Journal,
        directory: Directory,
        hands: TimmysHands,
        till: Till,
        own: Callable[[], frozenset[str]],
        clock: Clock,
    ) -> None:
        self.key, self.settings, self.pool, self.journal, self.clock = key, settings, pool, journal, clock
        self._outbox, self._directory, self._hands, self._till = outbox, directory, hands, till
        relay = pool.relays[0] if pool.relays else ""
        self.runner = Runner(key, journal, till, hands, clock, relay=relay)
        self.recipes: dict[str, Recipe] = {}
        self.events: dict[str, Event] = {}
        self.quoter = Quoter(journal, settings, candidates=hands.candidates, own=own, load=self._load)
        self._hearing: set[str] = set()

    def _load(self) -> float:
        return self.runner.running / self.settings.max_runs

    async def stock(self, recipes: Sequence[Recipe]) -> None:
        """Put these recipes up for sale."""
        for recipe in recipes:
            sign = partial(recipe_event, self.key, recipe, at=self.clock())
            self.events[recipe.d] = await self.journal.shelf(recipe, sign)
            self.recipes[recipe.d] = recipe

    # --- requests ---------------------------------------------------------------------------------------------------

    async def hear(self, event: Event) -> None:
        """A 5260, a cancellation, or an answer to one of our orders."""
        if event.kind == JOB_COMPOSITE:
            await self._request(event)
        elif event.kind == DELETION:
            self._cancellation(event)
        elif event.kind == FEEDBACK and event.first("status") == "refund":
            await self._refund_claim(event)
        else:
            self.runner.hear(event)

    async def _request(self, event: Event) -> None:
        """Sell, or say why not. Once for each request."""
        if event.id in self._hearing or event.pubkey == self.key.public:
            return
        if event.created_at < self.clock() - MAX_AGE or (event.expiration or self.clock() + 1) <= self.clock():
            return
        self._hearing.add(event.id)
        try:
            if await self.journal.known(event.id):
                return
            request = JobRequest.parse(event, self.key)
            if self.key.public not in request.providers:
                return
            await self.runner.open(await self._opening(request), request)
        except (BadRequest, InputError, QuoteError) as error:
            await self._refuse(event, str(error))
        finally:
            self._hearing.discard(event.id)

    async def _opening(self, request: JobRequest) -> Open:
        """Terms for this request. Raises InputError and QuoteError in words for the buyer."""
        recipe = self._recipe_of(request)
        inputs = recipe.read_inputs([(item.value, item.type) for item in request.inputs], request.params)
        if await self.journal.open_runs_of(request.customer) >= self.settings.per_key:
            raise QuoteError(f"you have {self.settings.per_key} composites under way already; please wait for one")
        offer = await self.quoter.quote(recipe, inputs)
        price = self.quoter.agreed(recipe, offer)
        if request.bid_msat is not None and request.bid_msat < price:
            raise QuoteError(f"this costs {show(price)}, your bid was {show(request.bid_msat)}")
        now, caps = self.clock(), self._till.wallet.caps
        short = recipe.doc.seconds <= (self.settings.hold_seconds if caps.real_money else CREDITS_HELD)
        terms = Terms(
            price_msat=price,
            soft_msat=min(offer.soft_msat, price),
            hard_msat=max(offer.hard_msat, price),
            seconds=recipe.doc.seconds,
            valid_until=now + self.settings.quote_seconds,
            network=caps.network,
            hedge=self.settings.hedge,
            hold=self.settings.hold == "auto" and short,
            receipts=self.settings.receipts,
            sealed=self.settings.sealed and caps.hold and price > 0,
            relays=self.pool.relays,
            lines=offer.lines,
        )
        refund_to = request.param("refund") or request.event.first("refund") or ""
        return Open(
            now,
            request.id,
            self.key.public,
            request.customer,
            recipe,
            self.events[recipe.d].id,
            inputs,
            terms,
            refund_to,
        )

    def _recipe_of(self, request: JobRequest) -> Recipe:
        """Named by a parameter `recipe` (name, address, event id), or by an `a` or `e` tag of recipe or announcement.

        Where only one is sold, that one.
        """
        named = {*request.params.get("recipe", []), *request.event.values("a")}
        named |= {tag[1] for tag in request.event.tagged("e") if len(tag) > 3 and tag[3] == "recipe"}
        if not named and len(self.recipes) == 1:
            return next(iter(self.recipes.values()))
        for d, recipe in self.recipes.items():
            announced = f"{ANNOUNCEMENT}:{self.key.public}:{d}"
            if named & {d, announced, self.events[d].id, self.events[d].address}:
                return recipe
        raise InputError(f"name a recipe in the parameter `recipe`: {', '.join(self.recipes)}")

    async def _refuse(self, event: Event, reason: str) -> None:
        try:
            request = JobRequest.parse(event, self.key)
        except BadRequest:
            request = JobRequest.outline(event)
        answer = build_feedback(self.key, request, "error", reason, created_at=self.clock())
        if await self.journal.refuse(event, answer, self._hands.relays_for(request), reason):
            log.info("request %s refused: %s", event.id[:8], reason)
            self._outbox.wake()

    def _cancellation(self, event: Event) -> None:
        """A kind 5 of the buyer (NIP-09)."""
        for named in event.values("e"):
            run = self.runner.get(named)
            if run is not None and run.buyer == event.pubkey:
                self.runner.feed(named, Cancel(self.clock(), "cancelled by the buyer"))

    async def _refund_claim(self, event: Event) -> None:
        """A buyer to whom we owe money sends an invoice for it (the same as with every worker)."""
        try:
            claim = Feedback.parse(event, self.key)
        except BadFeedback:
            return
        if claim.bolt11 is not None:
            await self.journal.claim_refund(claim.request_id, event.pubkey, claim.bolt11)

    # --- the loops --------------------------------------------------------------------------------------------------

    async def listen(self, started: asyncio.Event) -> None:
        """Take in what is addressed to us, for ever."""
        kinds = {FEEDBACK, JOB_COMPOSITE}.union(*(result_kinds(kind) for kind in JOB_KINDS))
        for recipe in self.recipes.values():
            for step in recipe.steps.values():
                kinds |= result_kinds(step.kind)
        since = self.clock() - MAX_AGE
        mine = Filter(kinds=kinds, tags={"p": [self.key.public]}, since=since)
        withdrawals = Filter(kinds=[DELETION], tags={"k": [str(JOB_COMPOSITE)]}, since=since)
        async with self.pool.subscribe(mine, withdrawals) as sub, asyncio.TaskGroup() as group:
            group.create_task(self._until_stored(sub.eose, started))
            async for event in sub:
                if event.kind == JOB_COMPOSITE:
                    group.create_task(self._hear_safely(event))
                else:
                    await self._hear_safely(event)

    async def _hear_safely(self, event: Event) -> None:
        """One event that breaks something must not end the others."""
        try:
            await self.hear(event)
        except Exception:
            log.exception("event %s could not be dealt with", event.id[:8])

    @staticmethod
    async def _until_stored(eose: Callable[[], Awaitable[object]], started: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(10):
                await eose()
        except TimeoutError:
            log.warning("no relay has answered yet; Timmy goes on trying")
        started.set()

    async def learn(self, witness: Witness, adviser: Adviser, score_key: SecretKey) -> None:
        """Now and then: what others say of the sellers we could hire; once a day, what we say of them (NIP-85)."""
        told = 0
        while True:
            kinds = {step.kind for recipe in self.recipes.values() for step in recipe.steps.values()}
            sellers = {offer.provider for kind in kinds for offer in self._directory.offers(kind)}
            await witness.listen_to(sellers - {self.key.public}, self.key.public)
            if self.settings.reviews and self.clock() - told >= DAY and await self.journal.experience():
                told = self.clock()
                for event in await adviser.ranks(score_key):
                    await self.pool.publish(event)
            await asyncio.sleep(LEARN_SECONDS if sellers else 10)

    async def share(self, addresses: Addresses) -> None:
        """Every so often: note what authors of recipes have earned, and pay what can be paid."""
        while True:
            for run_id in await self.journal.without_royalty():
                run = await self.journal.load(run_id)
                recipe = self.events.get(run.recipe.d) if run else None
                if run is not None and recipe is not None:
                    await self.journal.owe_royalties(run_id, shares(run, recipe, self.settings.royalty))
            paid = await pay_royalties(self.journal, self._till, addresses)
            if paid:
                log.info("%d royalties paid", paid)
            await asyncio.sleep(LEARN_SECONDS)

    async def restock(self, folder: Path) -> None:
        """Recipes that are put into the node's folder while he runs are sold from then on."""
        seen = await asyncio.to_thread(files_of, folder)
        while True:
            await asyncio.sleep(RESTOCK_SECONDS)
            found = await asyncio.to_thread(files_of, folder)
            fresh, seen = [path for path in found if seen.get(path) != found[path]], found
            for path in fresh:
                try:
                    recipe = read(path)
                except RecipeError as error:
                    log.warning("not for sale: %s", error)
                    continue
                await self.stock([recipe])
                self.quoter.moved.set()
                log.info("%s is new on the shelf", recipe.d)

    async def tidy(self, files: Files) -> None:
        """Once a day: artefacts that nobody asked for in a while go."""
        while True:
            gone = await asyncio.to_thread(files.prune, time.time() - self.settings.keep_days * DAY)
            if gone:
                log.info("%d old artefacts removed", gone)
            await asyncio.sleep(DAY)


@asynccontextmanager
async def opened(
    settings: OrchestratorSettings,
    *,
    data: Path,
    relays: Sequence[str],
    wallet: str | Wallet,
    clock: Clock = system_clock,
    recipes: Sequence[Recipe] | None = None,
) -> AsyncIterator[Timmy]:
    """A Timmy that sells while the context lasts. Raises AlreadyRunning, RecipeError."""
    folder = data / "orchestrator"
    for_sale = list(recipes) if recipes is not None else recipes_for_sale(settings.recipes, folder / "recipes")
    with _exclusive(folder):
        key = load_or_create(data / "keys" / "orchestrator.key")
        async with AsyncExitStack() as stack:
            limits = settings.limits(own_keys(data))
            journal = await Journal.open(folder / "timmy.db", limits=limits, clock=clock)
            stack.push_async_callback(journal.close)
            pool = await stack.enter_async_context(
                Pool(relays, key=key, clock=clock, private_hosts=settings.allow_hosts)
            )
            purse = await _enter_wallet(stack, wallet, key)
            outbox = Outbox(journal.db, pool, clock)
            outbox.start()
            stack.push_async_callback(outbox.close)
            directory = Directory(pool, clock)
            directory.watch()
            stack.push_async_callback(directory.close)
            files = Files(folder / "files")
            addresses = Addresses(pool, purse.caps.network, clock, allow_hosts=settings.allow_hosts)
            till = Till(purse, clock, resolve=addresses.invoice)
            till.start()
            stack.push_async_callback(till.close)

            def own() -> frozenset[str]:
                return own_keys(data)

            async def recheck(review: Review, said: Sequence[Event]) -> bool:
                return await hands.recheck(review, said)

            witness = Witness(pool, clock, recheck=recheck)
            score_key = load_or_create(data / "keys" / "score.key")
            adviser = Adviser(journal, key.public, clock, own=own, witness=witness)
            relay = pool.relays[0] if pool.relays else ""
            hands = TimmysHands(
                key=key,
                pool=pool,
                outbox=outbox,
                directory=directory,
                files=files,
                servers=[settings.blossom] if settings.blossom else [own_files(relays)],
                allow=settings.allow_hosts,
                own=own,
                rank=adviser.rank,
                reviewer=reviewer(key, relay, clock, publish=settings.reviews),
                clock=clock,
            )
            timmy = Timmy(
                key=key, settings=settings, pool=pool, outbox=outbox, journal=journal, directory=directory,
                hands=hands, till=till, own=own, clock=clock,
            )  # fmt: skip
            await timmy.stock(for_sale)
            stack.push_async_callback(timmy.runner.close)
            taken_up = await timmy.runner.start()
            if taken_up:
                log.info("%d runs taken up again", taken_up)
            storefront = Storefront(
                key,
                pool,
                clock,
                timmy.recipes,
                timmy.events,
                quoter=timmy.quoter,
                busy=lambda: timmy.runner.running,
                name=settings.name,
                picture=settings.picture,
                lud16=settings.lud16,
            )
            started = asyncio.Event()
            loops: dict[str, Callable[[], Awaitable[None]]] = {
                "listen": partial(timmy.listen, started),
                "tidy": partial(timmy.tidy, files),
                "learn": partial(timmy.learn, witness, adviser, score_key),
                "share": partial(timmy.share, addresses),
                "restock": partial(timmy.restock, folder / "recipes"),
            }
            if settings.announce:
                loops["storefront"] = storefront.run
            tasks = [asyncio.create_task(_kept(name, loop), name=name) for name, loop in loops.items()]
            stack.push_async_callback(_stop, tasks)
            await started.wait()
            try:
                yield timmy
            finally:
                if settings.announce:
                    await storefront.withdraw()


async def serve(
    settings: OrchestratorSettings,
    *,
    data: Path,
    relays: Sequence[str],
    wallet: str | Wallet,
    ready: Callable[[Timmy], None] = lambda timmy: None,
) -> None:
    """Sell until cancelled."""
    async with opened(settings, data=data, relays=relays, wallet=wallet) as timmy:
        ready(timmy)
        await asyncio.Event().wait()


def own_keys(data: Path) -> frozenset[str]:
    """Public keys of this box's parts."""
    return frozenset(path.read_text().strip() for path in (data / "keys").glob("*.pub"))


async def _enter_wallet(stack: AsyncExitStack, wallet: str | Wallet, key: SecretKey) -> Wallet:
    """The wallet, entered; waited for as long as it takes."""
    door = Door(open_wallet(wallet, key=key) if isinstance(wallet, str) else wallet)
    stack.push_async_callback(_stop, [asyncio.create_task(door.run(), name="wallet")])
    while True:
        try:
            return await door()
        except WalletUnreachable as error:
            log.warning("%s", error)


async def _kept(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop that never ends; should it break, say so and begin it again: a Timmy who is deaf looks alive."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("%s broke off; it begins again", name)
        await asyncio.sleep(AGAIN)


async def _stop(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """One Timmy a folder. The kernel frees the lock on any death."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(folder / "timmy.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"an orchestrator runs already on {folder}") from None
        yield
    finally:
        os.close(fd)


__all__ = ["AlreadyRunning", "Run", "Timmy", "opened", "own_keys", "serve"]
