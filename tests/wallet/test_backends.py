"""Backends on servers that answer as the real ones: the conformance suite, and what each answer means for money."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nostr.key import SecretKey
from tests.wallet.conformance import BackendConformance, Rig
from tests.wallet.doubles import KEY, Cln, Double, Lnbits, Lnd, Phoenixd
from wallet.backends import KINDS, open_backend
from wallet.interface import Outcome, PayResult, WalletError
from wallet.settings import WalletSettings

DOUBLES: dict[str, type[Double]] = {double.kind: double for double in (Lnd, Cln, Phoenixd, Lnbits)}


class TestLnd(BackendConformance):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        async with Lnd() as rig:
            yield rig


class TestCln(BackendConformance):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        async with Cln() as rig:
            yield rig


class TestPhoenixd(BackendConformance):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        async with Phoenixd() as rig:
            yield rig


class TestLnbits(BackendConformance):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        async with Lnbits() as rig:
            yield rig


SURE, OPEN = "nothing was paid, for certain", "not known"
ANSWERS: list[tuple[str, int, Any, str]] = [
    ("lnd", 200, {"result": {"status": "FAILED", "failure_reason": "FAILURE_REASON_TIMEOUT"}}, SURE),
    ("lnd", 200, {"result": {"status": "IN_FLIGHT"}}, OPEN),
    ("lnd", 200, {"result": {"status": "SOMETHING_NEW"}}, OPEN),
    ("lnd", 400, {"code": 3, "message": "invalid payment request"}, SURE),
    ("lnd", 403, {"code": 7, "message": "permission denied"}, SURE),
    ("lnd", 500, {"code": 2, "message": "database is locked"}, OPEN),
    ("lnd", 200, {"error": {"grpc_code": 2, "message": "unknown"}}, OPEN),
    ("lnd", 502, "bad gateway", OPEN),
    ("cln", 500, {"code": 203, "message": "permanent failure at destination"}, SURE),
    ("cln", 500, {"code": 205, "message": "no route"}, SURE),
    ("cln", 500, {"code": 206, "message": "route too expensive"}, SURE),
    ("cln", 500, {"code": 200, "message": "a payment is in progress"}, OPEN),
    ("cln", 500, {"code": -1, "message": "catch-all"}, OPEN),
    ("cln", 201, {"status": "pending"}, OPEN),
    ("cln", 401, {"code": 1501, "message": "not authorised"}, SURE),
    ("cln", 503, "busy", OPEN),
    ("phoenixd", 200, {"paymentHash": "00", "reason": "not enough funds"}, SURE),
    ("phoenixd", 400, "bad request", SURE),
    ("phoenixd", 500, "internal error", OPEN),
    ("phoenixd", 200, {"surprise": True}, OPEN),
    ("lnbits", 401, {"detail": "invalid key"}, SURE),
    ("lnbits", 404, {"detail": "no wallet"}, SURE),
    ("lnbits", 400, {"detail": "bolt11 is wrong"}, SURE),
    ("lnbits", 520, {"detail": "insufficient balance", "status": "failed"}, SURE),
    ("lnbits", 520, {"detail": "already in flight", "status": "pending"}, OPEN),
    ("lnbits", 520, {"detail": "already paid", "status": "success"}, OPEN),
    ("lnbits", 500, "oops", OPEN),
    ("lnbits", 201, {"payment_hash": "00"}, OPEN),
]


async def outcome(rig: Double) -> PayResult | WalletError:
    try:
        return await rig.wallet.pay_invoice(await rig.foreign_invoice(5_000), max_fee_msat=1_000, timeout=5)
    except WalletError as error:
        return error


@pytest.mark.parametrize(("kind", "status", "body", "meaning"), ANSWERS)
async def test_what_an_answer_to_pay_means(kind: str, status: int, body: Any, meaning: str) -> None:
    async with DOUBLES[kind]() as rig:
        rig.say = [(status, body)]
        found = await outcome(rig)
        if meaning is SURE:
            assert isinstance(found, WalletError) or found.outcome is Outcome.FAILED, found
        else:
            assert isinstance(found, PayResult) and found.outcome in (Outcome.UNKNOWN, Outcome.PENDING), found
        assert KEY not in str(found)


@pytest.mark.parametrize("kind", DOUBLES)
async def test_a_server_that_is_gone_before_anything_was_sent_is_a_certain_failure(kind: str) -> None:
    async with DOUBLES[kind]() as rig:
        text = await rig.foreign_invoice(5_000)
        await rig._server.close()
        with pytest.raises(WalletError):
            await rig.wallet.pay_invoice(text, timeout=5)
        with pytest.raises((WalletError, OSError)):
            await rig.wallet.lookup_payment("00" * 32)


@pytest.mark.parametrize("kind", DOUBLES)
async def test_a_wrong_key_is_told_at_the_start_and_never_shown(kind: str) -> None:
    async with DOUBLES[kind]() as rig:
        line = f"{kind}:http://127.0.0.1:{rig._server.port}?key=guessed"
        with pytest.raises(WalletError, match="does not accept our key") as told:
            async with open_backend(line, key=SecretKey.generate()):
                raise AssertionError("it opened")
        assert "guessed" not in str(told.value)


@pytest.mark.parametrize("kind", ["phoenixd", "lnbits"])
async def test_parts_of_a_sat_are_refused_where_the_wallet_knows_none(kind: str) -> None:
    async with DOUBLES[kind]() as rig:
        with pytest.raises(WalletError, match="whole sat"):
            await rig.wallet.make_invoice(1_001)


@pytest.mark.parametrize("kind", ["lnd", "cln"])
async def test_we_choose_the_preimage_where_we_may_so_that_payments_inside_have_their_proof(kind: str) -> None:
    async with DOUBLES[kind]() as rig:
        assert (await rig.wallet.make_invoice(1_000)).preimage


async def test_a_key_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    async with Lnbits() as rig:
        line = f"lnbits:http://127.0.0.1:{rig._server.port}?key=@{path}"
        async with open_backend(line, key=SecretKey.generate(), clock=rig.clock) as wallet:
            assert await wallet.balance() == rig.node.msat


@pytest.mark.parametrize("kind", DOUBLES)
@pytest.mark.parametrize(
    "rest", ["", "localhost", "ftp://x?key=y", "http://127.0.0.1:1", "http://h?key=@/no/such/file"]
)
def test_lines_that_cannot_work_are_told_in_words(kind: str, rest: str) -> None:
    with pytest.raises(WalletError, match=kind):
        open_backend(f"{kind}:{rest}", key=SecretKey.generate())


def test_the_settings_offer_every_backend() -> None:
    assert set(KINDS) == {"ledger", "nwc", "electrum", *DOUBLES}
    for kind in KINDS:
        assert WalletSettings(backend=f"{kind}:x").backend
