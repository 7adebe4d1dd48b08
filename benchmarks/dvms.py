"""How much does the worker host bear? Paid jobs a second, a long queue, and the heartbeat under full load.

    .venv/bin/python -m benchmarks.dvms                    all of it (about two minutes)
    .venv/bin/python -m benchmarks.dvms --only jobs        paid jobs a second with a no-op service
    .venv/bin/python -m benchmarks.dvms --jobs 2000 --at-once 100

Real parts, each in a process of its own: relay, wallet service (credits), worker. The customer is this process: it
asks, pays each bill from its own connection and waits for the result. Every job is a bill, a settled payment, a result
and an ending, each durable (synchronous=FULL) before anybody is told. Rates drift with the machine; CPU milliseconds
per job, read from the kernel for each process, are steadier. The last line is JSON.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import uvloop

from market.job import Feedback, JobInput, build_request
from market.kinds import FEEDBACK, HEARTBEAT
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from wallet import open_wallet
from wallet.interface import Wallet

PRICE = 1000  # msat
NOOP = """
from dvms.service import Result, Service

class Noop(Service):
    name, about, kinds, heavy = "No-op", "does nothing", (5050,), False

    async def run_async(self, job, progress):
        return Result("done")
"""
BURN = """
import time
from pydantic import BaseModel
from dvms.service import Result, Service

class Burn(Service):
    name, about, kinds = "Burn", "burns both cores", (5050,)

    class Params(BaseModel):
        seconds: float = 1

    def run(self, job, progress):
        import threading
        end = time.monotonic() + job.params.seconds
        def burn():
            while time.monotonic() < end:
                sum(range(100000))
        others = [threading.Thread(target=burn) for _ in range(3)]
        for other in others: other.start()
        while time.monotonic() < end:
            progress(1 - (end - time.monotonic()) / job.params.seconds, "burning")
            sum(range(100000))
        return Result("burnt")
"""
SETTINGS = """
[wallet]
start_credits = 100000000
requests_per_second = 100000
max_open_invoices = 100000
"""


class Part:
    """One process of the node."""

    def __init__(self, process: asyncio.subprocess.Process, line: str) -> None:
        self.process, self.line = process, line

    def cpu(self) -> float:
        """Seconds of CPU so far, children included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(fields[n]) for n in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0


@asynccontextmanager
async def part(data: Path, *command: str) -> AsyncIterator[Part]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "node.cli", *command, "--data", str(data),
        stdout=asyncio.subprocess.PIPE, stderr=(data / f"{command[0]}.log").open("ab"),
    )  # fmt: skip
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    if not line:
        raise SystemExit(f"{command[0]} did not start: {(data / f'{command[0]}.log').read_text()[-2000:]}")
    try:
        yield Part(process, line)
    finally:
        process.terminate()
        await process.wait()


class Shop:
    """A node with one worker, and a customer's purse."""

    def __init__(self, relay: Part, wallet: Part, worker: Part, pool: Pool, purse: Wallet, key: str) -> None:
        self.relay, self.wallet, self.worker = relay, wallet, worker
        self.pool, self.purse, self.key = pool, purse, key

    def parts(self) -> dict[str, Part]:
        return {"relay": self.relay, "wallet": self.wallet, "worker": self.worker}


@asynccontextmanager
async def shop(service: str, *, price: int, stack: AsyncExitStack, **more: Any) -> AsyncIterator[Shop]:
    data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="timmy-bench-")))
    dvm = "\n".join(f"{name} = {value}" for name, value in more.items())
    (data / "timmy.toml").write_text(f"{SETTINGS}[dvm]\n{dvm}\n")
    file = data / "service.py"
    file.write_text(service)
    async with part(data, "relay", "--port", "0") as relay, part(data, "wallet") as wallet:
        uri = (data / "wallet" / "connections" / "text.uri").read_text().strip()
        async with part(data, "dvm", str(file), "--price", str(price), "--wallet", uri) as worker:
            url = relay.line.split()[1]
            owner = (data / "wallet" / "connections" / "owner.uri").read_text().strip()
            async with Pool([url]) as pool, open_wallet(owner) as purse:
                await pool.connected(10)
                yield Shop(relay, wallet, worker, pool, purse, (data / "keys" / "service.pub").read_text().strip())


class Customer:
    """Follows all its jobs through one subscription."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._jobs: dict[str, asyncio.Future[None]] = {}
        self._keys = [SecretKey.generate() for _ in range(64)]
        self._tasks: set[asyncio.Task[Any]] = set()
        self._made = 0

    async def listen(self) -> None:
        since = int(time.time()) - 1
        wanted = Filter(kinds=[FEEDBACK, 6050], authors=[self._shop.key], since=since)
        async for event in self._shop.pool.subscribe(wanted):
            self._hear(event)

    async def ask(self, **params: str) -> str:
        """Publish one request; its id."""
        self._made += 1
        key = self._keys[self._made % len(self._keys)]
        request = build_request(
            key, kind=5050, inputs=[JobInput(f"job {self._made}", "text")], params=params, providers=[self._shop.key]
        )
        self._jobs[request.id] = asyncio.get_running_loop().create_future()
        ok = next(iter((await self._shop.pool.publish(request)).values()))
        if not ok.accepted:
            raise SystemExit(f"the relay refused a request: {ok.message}")
        return request.id

    async def buy(self, **params: str) -> float:
        """One job from request to result, in seconds."""
        began = time.perf_counter()
        await self._jobs[await self.ask(**params)]
        return time.perf_counter() - began

    def _hear(self, event: Event) -> None:
        job = self._jobs.get(event.first("e") or "")
        if job is None or job.done():
            return
        if event.kind != FEEDBACK:
            job.set_result(None)
            return
        word = Feedback.parse(event)
        if word.status == "payment-required" and word.bolt11:
            task = asyncio.ensure_future(self._shop.purse.pay_invoice(word.bolt11))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif word.status == "error":
            job.set_exception(SystemExit(f"a job failed: {word.message}"))


async def jobs_a_second(number: int, at_once: int, hold: str) -> dict[str, Any]:
    """Paid no-op jobs, `at_once` of them under way at any time."""
    async with AsyncExitStack() as stack, shop(
        NOOP, price=1, stack=stack, hold=f'"{hold}"', open_per_key=10000, per_hour=1000000, light_jobs=64
    ) as made:  # fmt: skip
        customer = Customer(made)
        listener = asyncio.create_task(customer.listen())
        await asyncio.sleep(0.5)
        for _ in range(5):
            await customer.buy()
        gate = asyncio.Semaphore(at_once)
        seconds: list[float] = []

        async def one() -> None:
            async with gate:
                seconds.append(await customer.buy())

        before = {name: each.cpu() for name, each in made.parts().items()}
        own, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one() for _ in range(number)))
        took = time.perf_counter() - began
        cpu = {name: round((each.cpu() - before[name]) / number * 1000, 2) for name, each in made.parts().items()}
        cpu["customer"] = round((time.process_time() - own) / number * 1000, 2)
        listener.cancel()
        seconds.sort()
        return {
            "jobs": number,
            "at_once": at_once,
            "hold": hold,
            "per_second": round(number / took, 1),
            "median_s": round(statistics.median(seconds), 3),
            "p95_s": round(seconds[int(len(seconds) * 0.95)], 3),
            "cpu_ms_per_job": cpu,
            "worker_mib": round(made.worker.memory(), 1),
        }


async def long_queue(number: int) -> dict[str, Any]:
    """Memory of the worker with so many jobs waiting in its queue."""
    async with AsyncExitStack() as stack, shop(
        BURN, price=0, stack=stack, open_per_key=100000, per_hour=1000000, queue_limit=100000
    ) as made:  # fmt: skip
        customer = Customer(made)
        await customer.ask(seconds="600")
        await asyncio.sleep(2)
        empty = made.worker.memory()
        gate = asyncio.Semaphore(32)

        async def one() -> None:
            async with gate:
                await customer.ask()

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(number)))
        await asyncio.sleep(3)
        return {
            "queued": number,
            "seconds": round(time.perf_counter() - began, 1),
            "mib_before": round(empty, 1),
            "mib_after": round(made.worker.memory(), 1),
        }


async def heartbeat(seconds: int, every: int) -> dict[str, Any]:
    """How late the heartbeat is while an engine burns every core. Beats every `every` seconds for the measurement."""
    async with AsyncExitStack() as stack, shop(BURN, price=0, stack=stack, heartbeat=every) as made:
        customer = Customer(made)
        await customer.ask(seconds=str(seconds + 5))
        beats: list[float] = []
        wanted = Filter(kinds=[HEARTBEAT], authors=[made.key], since=int(time.time()))
        try:
            async with asyncio.timeout(seconds), made.pool.subscribe(wanted) as sub:
                async for _ in sub:
                    beats.append(time.perf_counter())
        except TimeoutError:
            pass
        gaps = [later - earlier for earlier, later in pairwise(beats)]
        late = [gap - every for gap in gaps]
        return {"every_s": every, "beats": len(beats), "largest_jitter_s": round(max(map(abs, late), default=-1.0), 3)}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("jobs", "queue", "heartbeat"))
    parser.add_argument("--jobs", type=int, default=1500)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--queue", type=int, default=1000)
    parser.add_argument("--beat-seconds", type=int, default=30)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    if given.only in (None, "jobs"):
        for hold in ("never", "auto"):
            results[f"jobs_{hold}"] = await jobs_a_second(given.jobs, given.at_once, hold)
            sys.stdout.write(f"{results[f'jobs_{hold}']}\n")
    if given.only in (None, "queue"):
        results["queue"] = await long_queue(given.queue)
        sys.stdout.write(f"{results['queue']}\n")
    if given.only in (None, "heartbeat"):
        results["heartbeat"] = await heartbeat(given.beat_seconds, 3)
        sys.stdout.write(f"{results['heartbeat']}\n")
    sys.stdout.write(orjson.dumps(results).decode() + "\n")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
