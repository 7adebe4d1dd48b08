"""Fixtures for every room. A test that takes more than 60 seconds has hung: it is ended with a stack trace."""

import faulthandler
from collections.abc import Iterator

import pytest

from tests.fakes import FakeBank, FakeClock, FakeWallet

CEILING = 60
SLOW_CEILING = 300


@pytest.fixture(autouse=True)
def ceiling(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ends the whole run, showing every thread, where one test hangs."""
    slow = any(request.node.get_closest_marker(name) for name in ("slow", "lightning", "peer", "browser", "torch"))
    faulthandler.dump_traceback_later(SLOW_CEILING if slow else CEILING, exit=True)
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
