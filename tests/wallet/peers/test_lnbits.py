"""LNbits with our wallet service as its funding source: its users are paid and pay through our ledger."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nostr.key import SecretKey
from tests.peers import environments
from tests.wallet.conformance import BackendConformance
from tests.wallet.house import House
from tests.wallet.peers.conftest import household
from tests.wallet.test_conformance import nobody
from wallet.backends import open_backend
from wallet.backends.lnbits import LnbitsWallet
from wallet.interface import Outcome
from wallet.nwc import NwcWallet
from wallet.rest import Answer, Unanswered

PACKAGES = ("lnbits==1.6.2", "bitstring<5")


@pytest.fixture(scope="module")
def interpreter() -> Path:
    return environments.python(*PACKAGES)


class Api:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def __call__(self, method: str, path: str, key: str = "", **body: Any) -> Any:
        headers = {"X-Api-Key": key} if key else {}
        async with self.session.request(
            method, self.url + path, headers=headers, json=body if method == "POST" else None
        ) as answer:
            text = await answer.text()
            assert answer.status < 300, f"{method} {path}: {answer.status} {text[:500]}"
            return await answer.json()


@asynccontextmanager
async def lnbits(interpreter: Path, uri: str, folder: Path) -> AsyncIterator[Api]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site = next((interpreter.parents[1] / "lib").glob("python3*")) / "site-packages"
    env = os.environ | {
        "LNBITS_BACKEND_WALLET_CLASS": "NWCWallet", "NWC_PAIRING_URL": uri, "LNBITS_DATA_FOLDER": str(folder),
        "LNBITS_ADMIN_UI": "false", "HOST": "127.0.0.1", "PORT": str(port), "LNBITS_EXTENSIONS_DEFAULT_INSTALL": "",
        "LNBITS_EXTENSIONS_PATH": str(folder), "AUTH_SECRET_KEY": "0" * 32, "AUTH_HTTPS_ONLY": "false",
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        # It looks for its templates beside its working folder.
        process = await asyncio.create_subprocess_exec(
            str(interpreter.parent / "lnbits"), "--port", str(port), "--host", "127.0.0.1",
            cwd=site, env=env, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90)) as session:
            api = Api(session, f"http://127.0.0.1:{port}")
            await _up(api, process, folder / "log")
            yield api
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)  # it takes SIGTERM slowly
            await process.wait()


async def _up(api: Api, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(120):
        while True:
            assert process.returncode is None, f"LNbits ended: see {log}"
            try:
                await api("GET", "/api/v1/health")
                return
            except (aiohttp.ClientError, AssertionError):
                await asyncio.sleep(0.5)


async def _paid(api: Api, payment_hash: str, key: str) -> None:
    async with asyncio.timeout(40):
        while True:
            if (await api("GET", f"/api/v1/payments/{payment_hash}", key))["paid"]:
                return
            await asyncio.sleep(0.3)


async def test_its_users_are_paid_and_pay_through_our_ledger(interpreter: Path, tmp_path: Path) -> None:
    data = tmp_path / "lnbits"
    data.mkdir()
    async with household(tmp_path) as house:
        await house.give("lnbits", 1_000_000)
        await house.give("buyer", 200_000)
        buyer, shop = await house.client("buyer"), await house.client("shop")
        async with lnbits(interpreter, (await house.uri("lnbits")).text, data) as api:
            user = await api("POST", "/api/v1/account", name="ann")
            made = await api("POST", "/api/v1/payments", user["inkey"], out=False, amount=100, memo="in")
            result = await buyer.pay_invoice(made["bolt11"])
            assert result.outcome is Outcome.SETTLED
            await _paid(api, made["payment_hash"], user["inkey"])
            assert (await api("GET", "/api/v1/wallet", user["inkey"]))["balance"] == 100_000
            bill = await shop.make_invoice(30_000, description="out")
            sent = await api("POST", "/api/v1/payments", user["adminkey"], out=True, bolt11=bill.bolt11)
            assert sent["payment_hash"] == bill.payment_hash
            await _paid(api, bill.payment_hash, user["inkey"])
            assert (await api("GET", "/api/v1/wallet", user["inkey"]))["balance"] <= 70_000
        assert (await house.holds("shop"), await house.holds("buyer")) == (30_000, 100_000)
        assert await house.holds("lnbits") == 1_070_000
        assert await house.faults() == []


class LnbitsRig:
    """A wallet of a real LNbits, whose money lies with our service, and a stranger there."""

    def __init__(self, house: House, wallet: LnbitsWallet, stranger: NwcWallet) -> None:
        self.house, self.wallet, self.stranger = house, wallet, stranger
        self._ask = wallet.rest.ask

    async def foreign_invoice(self, amount_msat: int) -> str:
        return (await self.stranger.make_invoice(amount_msat)).bolt11

    async def stranger_pays(self, invoice: str) -> None:
        assert (await self.stranger.pay_invoice(invoice)).outcome is Outcome.SETTLED

    async def unroutable_invoice(self, amount_msat: int) -> str:
        return nobody(self.house.clock, amount_msat)

    async def break_answers(self) -> None:
        async def lossy(method: str, path: str, **more: Any) -> Answer:
            answer = await self._ask(method, path, **more)
            if method == "POST":
                raise Unanswered("lost on the way")
            return answer

        self.wallet.rest.ask = lossy  # type: ignore[method-assign]

    async def mend_answers(self) -> None:
        self.wallet.rest.ask = self._ask  # type: ignore[method-assign]


async def test_it_is_a_backend_that_passes_the_conformance_suite(interpreter: Path, tmp_path: Path) -> None:
    data = tmp_path / "lnbits"
    data.mkdir()
    suite = BackendConformance()
    async with household(tmp_path) as house:
        await house.give("stranger", 300_000_000)
        stranger = await house.client("stranger")
        async with lnbits(interpreter, (await house.uri("lnbits")).text, data) as api:
            user = await api("POST", "/api/v1/account", name="node")
            made = await api("POST", "/api/v1/payments", user["inkey"], out=False, amount=150_000, memo="in")
            await stranger.pay_invoice(made["bolt11"])
            await _paid(api, made["payment_hash"], user["inkey"])
            async with open_backend(f"lnbits:{api.url}?key={user['adminkey']}", key=SecretKey.generate()) as wallet:
                assert isinstance(wallet, LnbitsWallet)
                rig = LnbitsRig(house, wallet, stranger)
                for name in sorted(name for name in dir(suite) if name.startswith("test_")):
                    with contextlib.suppress(pytest.skip.Exception):
                        try:
                            await getattr(suite, name)(rig)
                        except Exception as error:
                            raise AssertionError(f"{name}: {error!r}") from error
        assert await house.faults() == []
