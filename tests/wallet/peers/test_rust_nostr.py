"""rust-nostr's wallet client on our service."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.peers import environments
from tests.wallet.peers.conftest import household


@pytest.fixture(scope="module")
def interpreter() -> Path:
    return environments.python("nostr-sdk==0.45.1")


async def test_it_is_paid_and_pays_on_our_service(interpreter: Path, tmp_path: Path) -> None:
    async with household(tmp_path) as house:
        await house.give("buyer", 100_000)
        given = {"buyer": (await house.uri("buyer")).text, "seller": (await house.uri("seller")).text}
        process = await asyncio.create_subprocess_exec(
            str(interpreter), str(Path(__file__).parent / "rust_nostr_client.py"), json.dumps(given),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()[-3000:]
        told = json.loads(out.decode().splitlines()[-1])
        assert (told["spent"], told["proof"], told["same"], told["settled"]) == (21_000, True, True, True)
        assert told["listed"] == [True] and told["methods"] > 5
        assert "invoice" in told["refused"].lower()
        assert (await house.holds("buyer"), await house.holds("seller")) == (79_000, 21_000)
        assert await house.faults() == []
