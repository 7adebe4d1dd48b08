"""What Nutshell is told of a payment: failed only where it certainly was not made."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.fakes import FakeBank, FakeClock, FakeWallet
from wallet.ecash import funding
from wallet.interface import Outcome, PayResult, WalletRefused, WalletUnreachable

KEY = "ab" * 16
Client = TestClient[Any, Any]


class Purse(FakeWallet):
    """A wallet that says of payments what the test wants."""

    said: Any = None
    found: Any = None
    limit: int | None = None

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        self.limit = max_fee_msat
        if isinstance(self.said, Exception):
            raise self.said
        return self.said  # type: ignore[no-any-return]

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found or PayResult(Outcome.UNKNOWN, payment_hash, code="NOT_FOUND")


@pytest.fixture
def purse(bank: FakeBank, clock: FakeClock) -> Purse:
    return Purse(bank, clock=clock)


@pytest.fixture
async def nutshell(purse: Purse, clock: FakeClock) -> AsyncIterator[Client]:
    app = funding.funding(purse, KEY, now=clock)
    async with TestClient(TestServer(app), headers={"Grpc-Metadata-macaroon": KEY}) as client:
        yield client


async def _bill(client: Client) -> tuple[str, str]:
    made = await (await client.post("/v1/invoices", json={"value": 21, "memo": "ecash"})).json()
    return made["payment_request"], base64.b64decode(made["r_hash"]).hex()


async def _pay(client: Client, bill: str) -> str:
    asked = {"payment_request": bill, "fee_limit_msat": "2000", "timeout_seconds": 60}
    answer = await client.post("/v2/router/send", json=asked)
    return str(json.loads(await answer.read())["result"]["status"])


async def _track(client: Client, payment_hash: str) -> str:
    name = base64.urlsafe_b64encode(bytes.fromhex(payment_hash)).decode()
    return str(json.loads(await (await client.get(f"/v2/router/track/{name}")).read())["result"]["status"])


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome.SETTLED, "SUCCEEDED"),
        (Outcome.FAILED, "FAILED"),
        (Outcome.PENDING, "IN_FLIGHT"),
        (Outcome.UNKNOWN, "IN_FLIGHT"),
    ],
)
async def test_unclear_is_in_flight(nutshell: Client, purse: Purse, outcome: Outcome, told: str) -> None:
    bill, payment_hash = await _bill(nutshell)
    purse.said = purse.found = PayResult(outcome, payment_hash, "00" * 32, 0)
    assert await _pay(nutshell, bill) == told == await _track(nutshell, payment_hash)
    assert purse.limit == 2000, "the fee limit is handed on"


async def test_a_payment_the_wallet_does_not_know_has_failed_once_it_can_no_longer_arrive(
    nutshell: Client, purse: Purse, clock: FakeClock
) -> None:
    bill, payment_hash = await _bill(nutshell)
    assert await _track(nutshell, payment_hash) == "IN_FLIGHT", "a request of an earlier process may be on its way"
    purse.said = PayResult(Outcome.UNKNOWN, payment_hash)
    assert await _pay(nutshell, bill) == "IN_FLIGHT"
    assert await _track(nutshell, payment_hash) == "IN_FLIGHT", "ours may be on its way"
    clock.turn(1000)
    purse.found = WalletUnreachable("nobody there")
    assert await _track(nutshell, payment_hash) == "IN_FLIGHT", "no answer proves nothing"
    purse.found = None
    assert await _track(nutshell, payment_hash) == "FAILED"


async def test_what_the_wallet_refuses_has_failed_at_once(nutshell: Client, purse: Purse) -> None:
    bill, payment_hash = await _bill(nutshell)
    purse.said = WalletRefused("INSUFFICIENT_BALANCE", "not enough")
    assert await _pay(nutshell, bill) == "FAILED" == await _track(nutshell, payment_hash)


async def test_nobody_without_the_key_is_answered(nutshell: Client) -> None:
    for headers in ({"Grpc-Metadata-macaroon": "cd" * 16}, {"Grpc-Metadata-macaroon": ""}):
        assert (await nutshell.get("/v1/balance/channels", headers=headers)).status == 401
    assert (await nutshell.get("/v2/router/track/nonsense")).status == 400
    bad = {"payment_request": "lnbcrt1nonsense", "fee_limit_msat": "0"}
    assert (await nutshell.post("/v2/router/send", json=bad)).status == 400
