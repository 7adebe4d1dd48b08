"""The conformance suite on the wallets that need no server: the fake of the tests, and our own service over a relay."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nostr.key import SecretKey
from tests.fakes import FakeBank, FakeClock, FakeWallet
from tests.wallet.conformance import BackendConformance, Rig
from tests.wallet.house import House
from wallet import bolt11
from wallet.nwc import NwcWallet


def nobody(clock: FakeClock, msat: int) -> str:
    """An invoice of a node that nobody can reach."""
    return bolt11.encode(
        key=SecretKey.generate(), network="regtest", amount_msat=msat, payment_hash="ab" * 32, created_at=clock(),
        description="nobody",
    )  # fmt: skip


class FakeRig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        bank = FakeBank()
        self.wallet = FakeWallet(bank, clock=self.clock)
        self.stranger = FakeWallet(bank, clock=self.clock)

    async def foreign_invoice(self, amount_msat: int) -> str:
        return (await self.stranger.make_invoice(amount_msat)).bolt11

    async def stranger_pays(self, invoice: str) -> None:
        await self.stranger.pay_invoice(invoice)

    async def unroutable_invoice(self, amount_msat: int) -> str:
        return nobody(self.clock, amount_msat)

    async def break_answers(self) -> None:
        self.wallet.mood = "late"

    async def mend_answers(self) -> None:
        self.wallet.mood = "pays"


class TestFakeWallet(BackendConformance):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        yield FakeRig()


class ServiceRig:
    """Our service and two of its connections, each with an account of its own."""

    def __init__(self, house: House, wallet: NwcWallet, stranger: NwcWallet) -> None:
        self.house, self.wallet, self.stranger = house, wallet, stranger

    async def foreign_invoice(self, amount_msat: int) -> str:
        return (await self.stranger.make_invoice(amount_msat)).bolt11

    async def stranger_pays(self, invoice: str) -> None:
        await self.stranger.pay_invoice(invoice, timeout=0.3)

    async def unroutable_invoice(self, amount_msat: int) -> str:
        return nobody(self.house.clock, amount_msat)

    async def break_answers(self) -> None:
        self.wallet._take_answer = lambda event: None  # type: ignore[method-assign]

    async def mend_answers(self) -> None:
        del self.wallet._take_answer


class TestNwc(BackendConformance):
    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[Rig]:
        async with House(tmp_path) as house:
            await house.give("a", 200_000_000)
            await house.give("b", 200_000_000)
            yield ServiceRig(house, await house.client("a"), await house.client("b"))
            assert await house.faults() == []
