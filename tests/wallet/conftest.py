"""A wallet service at work, and a client of it that breaks the rules."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nostr.pool import Pool
from tests.wallet.house import House
from tests.wallet.raw import Raw


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as house:
        yield house
        assert await house.faults() == []


@pytest.fixture
async def raw(house: House) -> AsyncIterator[Raw]:
    await house.give("app", 1_000_000)
    uri = await house.uri("app")
    async with Pool([house.relay.url]) as pool:
        client = Raw(house, uri, pool)
        await client.sub.eose()
        yield client
