"""Fixtures for every room. A test that takes more than 60 seconds has hung: it is ended with a stack trace."""

import faulthandler
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.fakes import FakeBank, FakeClock, FakeWallet

CEILING = 60
SLOW_CEILING = 300
SLOW = ("slow", "lightning", "peer", "browser", "torch")


def is_slow(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in SLOW)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests first: handed out whole to several workers, a slow one at the end would lag."""
    slow = Counter(item.path for item in items if is_slow(item))
    items.sort(key=lambda item: -slow[item.path])


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
