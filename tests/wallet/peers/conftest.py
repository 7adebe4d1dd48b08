"""Somebody else's wallet software on one side, ours on the other, over our own relay."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from nostr.clock import system_clock
from tests.relay.conftest import running
from tests.wallet.house import House


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "peers" in item.path.parts:
            item.add_marker(pytest.mark.peer)


@asynccontextmanager
async def household(folder: Path) -> AsyncIterator[House]:
    """A relay of ours and a wallet service on it."""
    async with running(folder / "relay") as relay:
        front = SimpleNamespace(url=relay.url, port=1)
        async with House(folder, clock=system_clock, relay=front) as house:  # type: ignore[arg-type]
            yield house
