"""A relay, a worker and a customer, all real, in one loop; only the money is a fake bank."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dvms.registry import Found, load
from dvms.serve import opened
from dvms.settings import SellerSettings
from market.job import Feedback, JobInput, JobRequest, JobResult, build_feedback, build_request
from market.kinds import FEEDBACK, result_kinds
from nostr.clock import system_clock
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from relay.app import serve as serve_relay
from relay.settings import RelaySettings
from tests.fakes import FakeBank, FakeWallet

SERVICES = str(Path(__file__).with_name("services.py"))


@pytest.fixture
async def relay(tmp_path):
    async with a_relay(tmp_path / "relay-node") as url:
        yield url


@asynccontextmanager
async def a_relay(data, **settings):
    started = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve_relay(RelaySettings(**settings), data, host="127.0.0.1", port=0, ready=started.set_result)
    )
    await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield started.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Purse(FakeWallet):
    """A fake wallet on the real clock, in a bank of its own or a shared one."""

    def __init__(self, bank=None, **more):
        super().__init__(bank, clock=system_clock, **more)


@pytest.fixture
def bank():
    return FakeBank()


@asynccontextmanager
async def a_worker(service, data, relays, *, wallet=None, own=None, **settings):
    """The worker of one of the test services, listening."""
    where = f"{SERVICES}:{service}"
    found = Found(load(where), where, service.lower())
    settings = {"price": 0, **settings}
    relays = [relays] if isinstance(relays, str) else relays
    async with opened(found, SellerSettings(**settings), own or {}, data=data, relays=relays, wallet=wallet) as running:
        yield running


@dataclass
class Customer:
    """Asks, pays what it is asked if it has a wallet, and collects what it is told."""

    pool: Pool
    wallet: FakeWallet | None = None
    key: SecretKey = field(default_factory=SecretKey.generate)

    async def send(self, kind, text="", *, to=None, inputs=None, **more):
        inputs = inputs if inputs is not None else [JobInput(text, "text")]
        providers = [to] if to else []
        event = build_request(self.key, kind=kind, inputs=inputs, providers=providers, **more)
        answers = await self.pool.publish(event)
        assert any(ok.accepted for ok in answers.values()), answers
        return event

    async def hears(self, request, *, until=("result", "error"), pay=True, seconds=20, relays=None):
        """Everything said about a request up to one of these statuses."""
        said = []
        wanted = Filter(kinds=[FEEDBACK, *result_kinds(request.kind)], tags={"e": [request.id]})
        try:
            async with asyncio.timeout(seconds), self.pool.subscribe(wanted, relays=relays) as sub:
                async for event in sub:
                    word = self.read(event)
                    said.append(word)
                    status = "result" if isinstance(word, JobResult) else word.status
                    if status == "payment-required" and pay and self.wallet is not None:
                        await self.wallet.pay_invoice(word.bolt11)
                    if status in until:
                        return said
        except TimeoutError:
            raise AssertionError(f"heard only {[getattr(w, 'status', 'result') for w in said]}") from None

    async def buys(self, kind, text="", **more):
        """The last word on a job: its result, or its error."""
        return (await self.hears(await self.send(kind, text, **more)))[-1]

    def read(self, event):
        return Feedback.parse(event, self.key) if event.kind == FEEDBACK else JobResult.parse(event, self.key)

    async def cancels(self, request):
        event = self.key.sign(kind=5, tags=[["e", request.id], ["k", str(request.kind)]])
        await self.pool.publish(event)

    async def wants_refund_to(self, request, bolt11, msat, worker):
        parsed = JobRequest.parse(request, self.key)
        event = build_feedback(self.key, parsed, "refund", "please", amount_msat=msat, bolt11=bolt11,
                               extra_tags=[["p", worker]])  # fmt: skip
        await self.pool.publish(event)

    async def everything_about(self, request, settle=0.5):
        await asyncio.sleep(settle)
        wanted = Filter(kinds=[FEEDBACK, *result_kinds(request.kind)], tags={"e": [request.id]})
        return [self.read(event) for event in await self.pool.fetch(wanted)]


@pytest.fixture
async def customer(relay, bank):
    async with Pool([relay]) as pool:
        yield Customer(pool, Purse(bank))


async def until(check, seconds=15, every=0.05):
    """Wait for an (async) condition."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        value = check()
        value = await value if asyncio.iscoroutine(value) else value
        if value:
            return value
        assert asyncio.get_running_loop().time() < deadline, "it did not come true in time"
        await asyncio.sleep(every)
