"""kill -9 at every point of a purchase: the next start finishes it, and the provider was paid exactly once."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from aiohttp import web

from market.buyer import MIGRATIONS
from market.purchases import Purchases, State
from nostr.clock import system_clock
from nostr.database import Database
from nostr.key import SecretKey
from tests.fakes import FakeBank, FakeWallet
from tests.nostr.small_relay import SmallRelay
from tests.providers import FakeProvider

CHILD = "tests.market.buying_child"
MOST_POINTS = 60


@asynccontextmanager
async def wallet_server(wallet: FakeWallet) -> AsyncIterator[str]:
    async def pay(request: web.Request) -> web.Response:
        return web.json_response(asdict(await wallet.pay_invoice(request.match_info["value"])))

    async def look(request: web.Request) -> web.Response:
        return web.json_response(asdict(await wallet.lookup_payment(request.match_info["value"])))

    app = web.Application()
    app.router.add_get("/pay/{value}", pay)
    app.router.add_get("/look/{value}", look)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def child(*words: str) -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", CHILD, *words, stderr=asyncio.subprocess.PIPE)
    _, complaint = await process.communicate()
    assert process.returncode in (0, -9), complaint.decode()
    return process.returncode


async def end_of(folder: Path, key: SecretKey) -> list[State]:
    db = await Database.open(folder / "market.db", MIGRATIONS)
    try:
        return [bought.state for bought in await Purchases(db, key).recent()]
    finally:
        await db.close()


@pytest.mark.slow
async def test_killed_anywhere_it_pays_once_and_delivers(tmp_path: Path) -> None:
    bank = FakeBank()
    wallet = FakeWallet(bank, clock=system_clock)  # type: ignore[arg-type]
    seller = FakeWallet(bank, balance_msat=0, clock=system_clock)  # type: ignore[arg-type]
    async with SmallRelay() as relay, wallet_server(wallet) as server, FakeProvider(relay.url, seller) as provider:
        limit = asyncio.Semaphore(3)

        async def one(point: int) -> tuple[int, list[State]]:
            folder, key = tmp_path / str(point), SecretKey.generate()
            folder.mkdir()
            async with limit:
                code = await child(relay.url, server, str(folder), key.hex, provider.pubkey, str(point))
                if code:
                    await child(relay.url, server, str(folder), key.hex, "", "0")
            return code, await end_of(folder, key)

        ends: list[list[State]] = []
        for start in range(1, MOST_POINTS, 6):
            batch = await asyncio.gather(*(one(point) for point in range(start, start + 6)))
            ends += [end for _, end in batch]
            if any(code == 0 for code, _ in batch):
                break
    begun = [end for end in ends if end]
    assert len(begun) > 8 and len(ends) - len(begun) <= 1  # killed before the first write, nothing had begun
    assert all(end == [State.DELIVERED] for end in begun)
    assert len(bank.paid) == len(begun)
    assert all(msat == 5_000 for _, msat in bank.paid)
