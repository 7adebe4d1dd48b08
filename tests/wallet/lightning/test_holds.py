"""Hold invoices over real channels: the payer's money is locked first, and taken or given back later, never both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.wallet.house import preimage
from tests.wallet.lightning.lab import Lab
from tests.wallet.lightning.test_money import QUICK, agree, holds, open_bank
from wallet import books
from wallet.bank import Bank
from wallet.interface import InvoiceState
from wallet.ledger import Bill
from wallet.sending import Policy

SAT = 2_000
BLOCKS = 152  # more than what lies between an HTLC of a hold invoice and the daemon giving it back


@pytest.fixture
def lab(lab: Lab) -> Lab:
    if not lab["alice"].holds:
        pytest.skip("HOLD INVOICES ON LIGHTNING NOT TESTED: this Electrum is older than 4.6.1")
    return lab


class Sale:
    """Bob buys at a shop with an account at alice's bank; his money is locked until the shop takes it or not."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.preimage, self.hash = preimage()
        self.paying: asyncio.Task[dict[str, Any]] | None = None
        self.before = self.bobs()

    def bobs(self) -> int:
        """Sat in bob's channels that are his."""
        return sum(channel["local_balance"] for channel in self.lab["bob"].channels())

    async def begin(self, bank: Bank) -> None:
        shop = await self.shop(bank)
        bill = await bank.make_invoice(shop, SAT * 1000, payment_hash=self.hash, description="a film")
        self.paying = asyncio.create_task(asyncio.to_thread(self.lab["bob"], "lnpay", bill.invoice.bolt11))
        await self.until(bank, InvoiceState.ACCEPTED)
        assert not self.paying.done()
        assert await holds(bank, shop) == 0, "locked is not taken"

    async def shop(self, bank: Bank) -> int:
        return await bank.db.write(lambda conn: books.open_account(conn, "shop", bank.clock()))

    async def until(self, bank: Bank, state: InvoiceState) -> Bill:
        async with asyncio.timeout(30):
            while True:
                bill = await bank.invoice(self.hash)
                assert bill is not None
                if bill.invoice.state is state:
                    return bill
                await asyncio.sleep(0.1)

    async def paid(self) -> bool:
        assert self.paying is not None
        async with asyncio.timeout(30):
            return bool((await self.paying)["success"])

    async def taken(self, bank: Bank) -> None:
        """The shop has the money, once, and bob his proof."""
        assert await self.paid()
        assert await holds(bank, await self.shop(bank)) == SAT * 1000
        assert self.bobs() == self.before - SAT
        assert self.lab["alice"].received(self.hash) == 1
        await agree(bank)

    async def given_back(self, bank: Bank) -> None:
        assert not await self.paid()
        assert await holds(bank, await self.shop(bank)) == 0
        assert self.bobs() == self.before
        assert self.lab["alice"].received(self.hash) == 0
        await agree(bank)


async def test_locked_money_is_taken_with_the_preimage(lab: Lab, tmp_path: Path) -> None:
    async with open_bank(lab, tmp_path) as (bank, _):
        sale = Sale(lab)
        await sale.begin(bank)
        await bank.settle_hold(await sale.shop(bank), sale.preimage)
        await sale.taken(bank)


async def test_cancelled_the_payer_is_free(lab: Lab, tmp_path: Path) -> None:
    async with open_bank(lab, tmp_path) as (bank, _):
        sale = Sale(lab)
        await sale.begin(bank)
        await bank.cancel_hold(await sale.shop(bank), sale.hash)
        await sale.given_back(bank)
        await bank.cancel_hold(await sale.shop(bank), sale.hash)  # said twice, done once


@asynccontextmanager
async def accepted_before_a_crash(lab: Lab, folder: Path, sale: Sale, policy: Policy = QUICK) -> AsyncIterator[Bank]:
    """The bank started again, and alice's node killed and started again, with bob's money locked all the while."""
    async with open_bank(lab, folder) as (bank, _):
        await sale.begin(bank)
        lab["alice"].kill()
    lab["alice"].start()
    await asyncio.to_thread(lab["alice"].ready)
    await asyncio.to_thread(lab["alice"].wait_until_connected)
    async with open_bank(lab, folder, policy) as (bank, _):
        yield bank


async def test_locked_money_outlives_a_crash_of_the_node_and_of_the_wallet(lab: Lab, tmp_path: Path) -> None:
    sale = Sale(lab)
    async with accepted_before_a_crash(lab, tmp_path, sale) as bank:
        await sale.until(bank, InvoiceState.ACCEPTED)
        await bank.settle_hold(await sale.shop(bank), sale.preimage)
        await sale.taken(bank)


async def test_a_hold_nobody_settles_is_given_back_before_the_chain_decides(lab: Lab, tmp_path: Path) -> None:
    async with open_bank(lab, tmp_path, Policy(poll_seconds=0.2, hold_seconds=10**6)) as (bank, _):
        sale = Sale(lab)
        await sale.begin(bank)
        lab.chain.mine(BLOCKS - 4)
        await sale.until(bank, InvoiceState.CANCELLED)
        await sale.given_back(bank)


async def test_what_the_node_gave_back_while_the_wallet_was_away_is_no_sale(lab: Lab, tmp_path: Path) -> None:
    sale = Sale(lab)
    async with open_bank(lab, tmp_path) as (bank, _):
        await sale.begin(bank)
    lab.chain.mine(BLOCKS)
    assert not await sale.paid()
    async with open_bank(lab, tmp_path) as (bank, _):
        await sale.until(bank, InvoiceState.CANCELLED)
        await sale.given_back(bank)
