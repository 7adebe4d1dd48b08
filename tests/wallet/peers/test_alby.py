"""Alby's SDK: its client on our wallet service, and our client on its wallet service."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nostr.clock import system_clock
from nostr.key import SecretKey
from tests.peers import environments
from tests.relay.conftest import running
from tests.wallet.house import preimage
from tests.wallet.peers.conftest import household
from wallet import bolt11
from wallet.connections import Scope
from wallet.interface import Outcome, PayResult
from wallet.nwc import NwcWallet

PACKAGES = ("@getalby/sdk@7.0.0", "nostr-tools@2.25.2", "ws@8.23.0")
HERE = Path(__file__).parent
CHECKS = (
    "reads what is offered",
    "is paid and pays",
    "pays one invoice once, however often it asks",
    "holds, settles, cancels",
    "gets the right errors",
    "makes a connection with a budget and is held to it",
)


@pytest.fixture(scope="module")
def modules() -> Path:
    return environments.node_modules(*PACKAGES)


@asynccontextmanager
async def script(name: str, given: dict[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE / name), json.dumps(given), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture(scope="module")
def results(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    async def drive() -> dict[str, dict[str, Any]]:
        async with household(tmp_path_factory.mktemp("alby")) as house:
            await house.give("buyer", 1_000_000)
            given = {
                "modules": str(modules),
                "url": house.relay.url,
                "buyer": (await house.uri("buyer")).text,
                "seller": (await house.uri("seller")).text,
                "reader": (await house.uri("reader", scopes=frozenset({Scope.READ}))).text,
                "owner": (await house.uri("boss", account="owner")).text,
            }
            async with script("alby_client.mjs", given) as process:
                out, err = await process.communicate()
            assert await house.faults() == []
            assert await house.count("requests", "NOT delivered AND answer IS NOT NULL") == 0
        lines = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
        assert lines, err.decode()[-3000:]
        return {line["name"]: line for line in lines}

    return asyncio.run(drive())


@pytest.mark.parametrize("name", CHECKS)
def test_its_client_on_our_service(results: dict[str, dict[str, Any]], name: str) -> None:
    assert name in results, "the script died before it came to this"
    assert results[name]["ok"], results[name]["value"]


def foreign(mood: str) -> tuple[str, dict[str, str]]:
    secret, payment_hash = preimage()
    text = bolt11.encode(
        key=SecretKey.generate(), network="regtest", amount_msat=5_000, payment_hash=payment_hash,
        created_at=system_clock(), description=mood,
    )  # fmt: skip
    return text, {"mood": mood, "preimage": secret, "payment_hash": payment_hash}


@pytest.fixture(scope="module")
def paid(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PayResult]:
    """What our client makes of each behaviour of the service."""
    moods = ("pays", "silent", "late", "lies", "broke", "wrong")

    async def drive() -> dict[str, PayResult]:
        invoices = {mood: foreign(mood) for mood in moods}
        async with running(tmp_path_factory.mktemp("relay")) as relay:
            given = {"modules": str(modules), "url": relay.url, "invoices": dict(invoices.values())}
            async with script("alby_service.mjs", given) as process:
                assert process.stdout is not None and process.stderr is not None
                line = b"..."
                while line and not line.startswith(b"{"):  # it also tells what it does
                    line = await process.stdout.readline()
                assert line, (await process.stderr.read()).decode()[-3000:]
                async with NwcWallet(json.loads(line)["uri"]) as wallet:
                    assert wallet.caps.network == "regtest"
                    assert await wallet.balance() == 123_000
                    assert await wallet.lookup_invoice("00" * 32) is None
                    results = await asyncio.gather(
                        *(wallet.pay_invoice(invoices[mood][0], timeout=3) for mood in moods)
                    )
        return dict(zip(moods, results, strict=True))

    return asyncio.run(drive())


@pytest.mark.parametrize(
    ("mood", "outcome"),
    [
        ("pays", Outcome.SETTLED),
        ("silent", Outcome.PENDING),
        ("late", Outcome.SETTLED),
        ("lies", Outcome.UNKNOWN),
        ("broke", Outcome.FAILED),
        ("wrong", Outcome.SETTLED),
    ],
)
def test_our_client_on_its_service_tells_four_outcomes_apart(
    paid: dict[str, PayResult], mood: str, outcome: Outcome
) -> None:
    assert paid[mood].outcome is outcome, paid[mood]
