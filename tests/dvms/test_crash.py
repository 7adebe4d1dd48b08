"""kill -9 of the host at every step of a sale, with the real wallet service: one delivery or one refund, never both."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from market.job import JobResult
from nostr.pool import Pool
from tests.dvms.conftest import Customer, a_relay, until
from wallet import open_wallet
from wallet.interface import InvoiceState
from wallet.serve import running as running_wallet
from wallet.settings import WalletSettings

ROOT = Path(__file__).parents[2]
PRICE = 21000

MOVES = [f"{when}:{state}" for state in ("billed", "paid", "delivered") for when in ("before", "after")]
SALE = [*MOVES, "after:running", "before:make_bill", "after:make_bill"]
HOLD_SALE = [*SALE, "before:finished", "after:finished", "before:take", "after:take"]
FAILING = ["before:refunded", "after:refunded", "before:pay_invoice", "after:pay_invoice"]
HOLD_FAILING = ["before:failed", "after:failed", "before:release", "after:release"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def zygote():
    command = [sys.executable, "-m", "tests.dvms.crash_host"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


class Host:
    def __init__(self, zygote, config):
        self.zygote, self.config, self.pid = zygote, config, 0

    def start(self):
        self.zygote.stdin.write(json.dumps(self.config) + "\n")
        self.zygote.stdin.flush()
        self.pid = int(self.zygote.stdout.readline())

    def alive(self):
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self):
        if self.pid and self.alive():
            os.kill(self.pid, signal.SIGKILL)


@asynccontextmanager
async def a_house(tmp_path):
    """Relay, wallet service, and a purse full of credits."""
    settings = WalletSettings(parts=["owner", "text"])
    async with a_relay(tmp_path / "node") as relay, running_wallet(settings, tmp_path / "node", relays=[relay]):
        folder = tmp_path / "node" / "wallet" / "connections"
        async with Pool([relay]) as pool, open_wallet((folder / "owner.uri").read_text().strip()) as purse:
            yield House(relay, (folder / "text.uri").read_text().strip(), pool, purse)


@dataclass
class House:
    relay: str
    uri: str
    pool: Pool
    purse: object


@asynccontextmanager
async def a_host(house, folder, zygote, point, hold, service="Echo"):
    """A worker that will die at the point and be started again, and a customer of it."""
    config = {
        "data": str(folder), "relay": house.relay, "wallet": house.uri, "point": point, "hold": hold,
        "marker": str(folder / "died"), "service": service, "log": str(folder / "log"),
    }  # fmt: skip
    folder.mkdir()
    host = Host(zygote, config)
    host.start()
    key_file = folder / "keys" / "text.pub"
    await until(lambda: key_file.exists() and key_file.read_text(), seconds=30)
    keeper = asyncio.create_task(restarts(host))
    try:
        yield host, Customer(house.pool, house.purse), key_file.read_text().strip()
    finally:
        keeper.cancel()
        host.kill()


async def restarts(host):
    """Start the host again after its death."""
    await until(lambda: not host.alive(), seconds=100)
    host.start()


def words(said):
    return [getattr(word, "status", "result") for word in said]


async def everywhere(points, one):
    """Run one check for every (hold, point), a few at a time."""
    gate = asyncio.Semaphore(5)

    async def gated(number, hold, point):
        async with gate:
            try:
                await one(number, hold, point)
            except Exception as error:
                error.add_note(f"with hold={hold}, killed {point}")
                raise

    async with asyncio.TaskGroup() as group:
        for number, (hold, point) in enumerate(points):
            group.create_task(gated(number, hold, point))


async def test_a_sale_survives_the_death_of_its_host(tmp_path, zygote):
    points = [*(("never", point) for point in SALE), *(("auto", point) for point in HOLD_SALE)]
    async with a_house(tmp_path) as house:
        before = await house.purse.balance()

        async def one(number, hold, point):
            folder = tmp_path / str(number)
            async with a_host(house, folder, zygote, point, hold) as (_, customer, worker):
                request = await customer.send(5050, "hello", to=worker)
                pay = asyncio.create_task(pay_every_bill(customer, request))
                said = await customer.hears(request, until=("success",), pay=False, seconds=60)
                await pay
                assert (folder / "died").exists()
                assert [word.content for word in said if isinstance(word, JobResult)] == ["hello"]
                told = words(await customer.everything_about(request, settle=1))
                assert told.count("result") == 1 and told.count("payment-required") == 1, told
                assert told.count("error") == 0

        await everywhere(points, one)
        assert before - await house.purse.balance() == PRICE * len(points)


async def test_a_refund_survives_the_death_of_its_host(tmp_path, zygote):
    points = [*(("never", point) for point in FAILING), *(("auto", point) for point in HOLD_FAILING)]
    async with a_house(tmp_path) as house:
        before = await house.purse.balance()

        async def one(number, hold, point):
            folder = tmp_path / str(number)
            async with a_host(house, folder, zygote, point, hold) as (_, customer, worker):
                invoice = await house.purse.make_invoice(PRICE)
                request = await customer.send(5050, "fails", to=worker, params={"refund": invoice.bolt11})
                pay = asyncio.create_task(pay_every_bill(customer, request))
                await customer.hears(request, until=("error",), pay=False, seconds=60)
                await pay
                await until((folder / "died").exists)
                if hold == "never":
                    await until(lambda: _is_settled(house.purse, invoice), seconds=30, every=0.3)
                else:
                    database = folder / "dvms" / "text" / "jobs.db"
                    await until(lambda: _state(database, request) == "refunded", seconds=30, every=0.3)
                told = words(await customer.everything_about(request, settle=1))
                assert told.count("error") == 1 and "result" not in told

        await everywhere(points, one)
        assert await house.purse.balance() == before


async def _is_settled(purse, invoice):
    found = await purse.lookup_invoice(invoice.payment_hash)
    return found is not None and found.state is InvoiceState.SETTLED


def _state(database, request):
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as conn:
        return conn.execute("SELECT state FROM jobs WHERE id = ?", (request.id,)).fetchone()[0]


async def pay_every_bill(customer, request):
    said = await customer.hears(request, until=("payment-required",), pay=False, seconds=40)
    await customer.wallet.pay_invoice(said[-1].bolt11, timeout=60)


async def test_kill_of_host_and_child_in_the_middle_of_the_work(tmp_path, zygote):
    async with a_house(tmp_path) as house, a_host(house, tmp_path / "0", zygote, "", "never", "Mill") as made:
        host, customer, worker = made
        request = await customer.send(5100, "x", to=worker, params={"sleep": "1.5"})
        pay = asyncio.create_task(pay_every_bill(customer, request))
        started = tmp_path / "0" / "dvms" / "text" / "work" / request.id / "out" / "started"
        await until(started.exists)
        child = int(await until(started.read_text))
        host.kill()
        await until(lambda: _is_gone(child))
        said = await customer.hears(request, until=("success",), pay=False, seconds=40)
        assert words(said).count("result") == 1 and words(said).count("payment-required") == 1
        await pay


def _is_gone(pid):
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
