"""Fixtures for every room. A test that takes more than 60 seconds has hung: it is ended with a stack trace."""

import faulthandler
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeBank, FakeClock, FakeWallet

CEILING = 60
SLOW_CEILING = 300
SLOW = ("slow", "lightning", "peer", "browser", "torch")


def is_slow(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in SLOW)


LONGEST = (  # files of a minute and more, the longest first
    "web/test_page.py", "node/test_outages.py", "orchestrator/test_crash.py", "node/test_kills.py",
    "test_two_nodes.py", "node/test_whole.py", "web/test_people.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then those with slow tests: files go whole to a worker, a long one at the end lags."""
    here = Path(__file__).parent
    first = {here / name: place for place, name in enumerate(LONGEST)}
    slow = {item.path for item in items if is_slow(item)}
    items.sort(key=lambda item: (first.get(item.path, len(first)), item.path not in slow))


@pytest.fixture(autouse=True)
def ceiling(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ends the whole run, showing every thread, where one test hangs."""
    faulthandler.dump_traceback_later(SLOW_CEILING if is_slow(request.node) else CEILING, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bank() -> FakeBank:
    return FakeBank()


@pytest.fixture
def wallet(bank: FakeBank, clock: FakeClock) -> FakeWallet:
    return FakeWallet(bank, clock=clock)
