"""The mint on real Lightning: sat come in over a channel, are ecash for a while, and leave over another."""

import asyncio
from pathlib import Path

import pytest

from nostr.clock import system_clock
from nostr.key import SecretKey
from tests.peers import environments
from tests.wallet.house import House
from tests.wallet.lightning.lab import Lab
from tests.wallet.test_mint import Customer
from wallet import bolt11
from wallet.backends import open_backend
from wallet.ecash import nutshell
from wallet.sending import Policy

pytestmark = [pytest.mark.peer, pytest.mark.slow]
SAT = 1000


class Shop:
    """What a customer of the mint needs to know: where it is, and how invoices are paid."""

    def __init__(self, folder: Path, python: Path, url: str, lab: Lab) -> None:
        self.folder, self.python, self.url, self.lab = folder, python, url, lab

    def pay(self, bill: str) -> None:
        assert self.lab["bob"]("lnpay", bill)["success"]


async def test_sat_become_ecash_and_leave_over_another_channel(lab: Lab, tmp_path: Path) -> None:
    python = await asyncio.to_thread(environments.python, *nutshell.PACKAGES)
    backend = open_backend(lab["alice"].line, key=SecretKey.generate())
    policy = Policy(poll_seconds=0.5, watch_seconds=3600)
    async with House(tmp_path, backend=backend, clock=system_clock, policy=policy) as house:
        account = await house.client("mint")
        async with nutshell.running(python, tmp_path / "mint", account) as mint:
            ann = Customer("ann", Shop(tmp_path, python, mint.url, lab))  # type: ignore[arg-type]
            await asyncio.to_thread(ann.buy, 500)
            assert await house.holds("mint") == 500 * SAT
            assert await asyncio.to_thread(ann.balance) == 500

            bill = lab["carol"].invoice(200)
            said = await asyncio.to_thread(ann.run, "pay", "-y", bill)
            assert lab["carol"].received(bolt11.decode(bill).payment_hash) == 1, said
            routing = 500 * SAT - 200 * SAT - await house.holds("mint")
            assert 0 < routing <= 2 * SAT, "bob's fee, within what the customer paid for"
            left = await asyncio.to_thread(ann.balance)
            assert 300 - 4 <= left <= 300 and left * SAT <= await house.holds("mint"), "every token is backed"
        assert await house.bank.check() == []
