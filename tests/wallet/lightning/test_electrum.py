"""The Electrum backend on real channels: the conformance suite, with a stranger one channel away."""

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nostr.clock import system_clock
from nostr.key import SecretKey
from tests.wallet.conformance import BackendConformance, Rig
from tests.wallet.lightning.lab import Lab
from wallet import bolt11
from wallet.backends import open_backend
from wallet.interface import Wallet, WalletError


class ElectrumRig:
    def __init__(self, lab: Lab, wallet: Wallet) -> None:
        self.lab, self.wallet = lab, wallet
        self.stranger = lab["bob"]
        self.paying: asyncio.Task[dict[str, Any]] | None = None

    async def foreign_invoice(self, amount_msat: int) -> str:
        return self.stranger.invoice(amount_msat // 1000)

    async def stranger_pays(self, invoice: str) -> None:
        """Returns after a second where the money hangs in a hold invoice."""
        self.paying = asyncio.create_task(asyncio.to_thread(self.stranger, "lnpay", invoice))
        await asyncio.wait({self.paying}, timeout=1)

    async def unroutable_invoice(self, amount_msat: int) -> str:
        return bolt11.encode(
            key=SecretKey.generate(), network="regtest", amount_msat=amount_msat, payment_hash="ab" * 32,
            created_at=system_clock(), description="nobody",
        )  # fmt: skip

    async def break_answers(self) -> None:
        """The payee sleeps: the money is on its way and no word comes."""
        self.stranger.signal(signal.SIGSTOP)

    async def mend_answers(self) -> None:
        self.stranger.signal(signal.SIGCONT)


class TestElectrum(BackendConformance):
    @pytest.fixture
    async def rig(self, lab: Lab) -> AsyncIterator[Rig]:
        async with open_backend(lab["alice"].line, key=SecretKey.generate()) as wallet:
            rig = ElectrumRig(lab, wallet)
            yield rig
            if rig.paying is not None:
                await rig.paying


async def test_parts_of_a_sat_are_refused(lab: Lab) -> None:
    async with open_backend(lab["alice"].line, key=SecretKey.generate()) as wallet:
        with pytest.raises(WalletError, match="whole sat"):
            await wallet.make_invoice(1_500)


async def test_a_wrong_password_is_told_and_not_shown(lab: Lab) -> None:
    url = f"electrum:http://user:s3cret@127.0.0.1:{lab['alice'].rpc_port}"
    with pytest.raises(WalletError) as told:
        async with open_backend(url, key=SecretKey.generate()):
            raise AssertionError("it opened")
    assert "key" in str(told.value) and "s3cret" not in str(told.value)
