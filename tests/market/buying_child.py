"""A buyer in a process of its own, which dies of SIGKILL at the n-th point: around each write and each call to the
wallet. Arguments: relay, wallet server, folder, key, provider ("" to resume), n (0 to live)."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from market.buyer import MIGRATIONS, Buyer
from market.job import JobInput
from nostr.database import Database
from nostr.key import SecretKey
from nostr.pool import Pool
from wallet.interface import Caps, Outcome, PayResult

relay, server, folder, secret, provider, point = sys.argv[1:7]
passed = 0


def here() -> None:
    global passed
    passed += 1
    if passed == int(point):
        os.kill(os.getpid(), signal.SIGKILL)


class HttpWallet:
    """The two calls a buyer makes, answered by the test."""

    caps = Caps(network="regtest", real_money=False)

    async def pay_invoice(self, bolt11: str, **_: Any) -> PayResult:
        here()
        paid = await self._ask("pay", bolt11)
        here()
        return paid

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        return await self._ask("look", payment_hash)

    async def _ask(self, what: str, value: str) -> PayResult:
        async with aiohttp.ClientSession() as session, session.get(f"{server}/{what}/{value}") as answer:
            said = await answer.json()
        return PayResult(Outcome(said.pop("outcome")), **said)


class MortalDatabase(Database):
    async def write(self, work: Any) -> Any:
        here()
        value = await super().write(work)
        here()
        return value


async def main() -> None:
    key = SecretKey.from_hex(secret)
    db = await MortalDatabase.open(Path(folder) / "market.db", MIGRATIONS)
    async with Pool([relay], key=key) as pool:
        buyer = Buyer(key, pool, HttpWallet(), db=db, files=Path(folder) / "files")  # type: ignore[arg-type]
        async with buyer:
            if provider:
                order = buyer.order(5050, [JobInput("x", "text")], provider=provider, max_msat=5_000, seconds=120)
                await buyer.buy(order)
            else:
                await buyer.resume()
    await db.close()


asyncio.run(main())
