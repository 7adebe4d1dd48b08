"""Our buyer hires a worker of nostr-dvm, the framework behind most live DVMs: free, billed, plain, encrypted."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from market.buyer import MIGRATIONS, Buyer
from market.directory import Directory
from market.job import JobInput
from market.purchases import Purchase, State
from nostr.clock import system_clock
from nostr.database import Database
from nostr.key import SecretKey
from nostr.pool import Pool
from tests.fakes import FakeBank, FakeWallet
from tests.nostr.small_relay import SmallRelay
from tests.peers import environments
from wallet.interface import InvoiceState

WORKER = Path(__file__).with_name("worker_nostrdvm.py")


@asynccontextmanager
async def lnbits(wallet: FakeWallet) -> AsyncIterator[str]:
    """The two calls of LNbits that nostr-dvm makes, answered out of a fake wallet."""

    async def make(request: web.Request) -> web.Response:
        asked = await request.json()
        invoice = await wallet.make_invoice(int(asked["amount"]) * 1000, description=asked["memo"])
        return web.json_response({"payment_request": invoice.bolt11, "payment_hash": invoice.payment_hash})

    async def look(request: web.Request) -> web.Response:
        invoice = await wallet.lookup_invoice(request.match_info["hash"])
        return web.json_response({"paid": invoice is not None and invoice.state is InvoiceState.SETTLED})

    app = web.Application()
    app.router.add_post("/api/v1/payments", make)
    app.router.add_get("/api/v1/payments/{hash}", look)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def worker(relay: SmallRelay, url: str, price: int, folder: Path) -> AsyncIterator[SecretKey]:
    python, key = environments.python("nostr-dvm==1.1.8"), SecretKey.generate()
    (folder / "db").mkdir()
    process = await asyncio.create_subprocess_exec(
        str(python), str(WORKER), relay.url, url, str(price), key.hex, cwd=folder,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(300):  # it listens once it has sent its first heartbeat
            if any(event.kind == 11998 for event in relay.events):
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        yield key
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.mark.parametrize("price", [0, 7])
@pytest.mark.parametrize("encrypt", [False, True])
async def test_a_worker_of_nostr_dvm_is_hired(tmp_path: Path, price: int, encrypt: bool) -> None:
    bank = FakeBank()
    # nostr-dvm reads amounts only out of invoices that begin with lnbc and a number.
    ours = FakeWallet(bank, clock=system_clock, network="bitcoin")  # type: ignore[arg-type]
    theirs = FakeWallet(bank, balance_msat=0, clock=system_clock, network="bitcoin")  # type: ignore[arg-type]
    async with SmallRelay() as relay, lnbits(theirs) as url, worker(relay, url, price, tmp_path) as seller:
        bought, name = await hire(relay, ours, seller.public, price, encrypt, tmp_path)
    assert bought.state is State.DELIVERED, bought.reason
    assert bought.result is not None and bought.result.content == "echo: a lighthouse"
    assert bought.spent_msat == price * 1000 == theirs.msat
    assert name == "Echo"


async def hire(
    relay: SmallRelay, wallet: FakeWallet, seller: str, price: int, encrypt: bool, folder: Path
) -> tuple[Purchase, str]:
    key = SecretKey.generate()
    db = await Database.open(folder / "market.db", MIGRATIONS)
    try:
        async with (
            Pool([relay.url], key=key) as pool,
            Buyer(key, pool, wallet, db=db, files=folder / "files") as buyer,
        ):
            directory = Directory(pool)
            await directory.load([5050])
            (offer,) = directory.offers(5050)
            assert offer.provider == seller and offer.alive
            order = buyer.order(
                5050, [JobInput("a lighthouse", "text")], provider=seller, max_msat=price * 1000, encrypt=encrypt,
                seconds=30,
            )  # fmt: skip
            return await buyer.buy(order), offer.name
    finally:
        await db.close()
