"""Real Lightning: three nodes, alice - bob - carol, up for the whole session of tests."""

import signal
from collections.abc import Iterator

import pytest

from tests.wallet.lightning.lab import Lab, Plan
from tests.wallet.lightning.program import electrum


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "lightning" in item.path.parts:
            item.add_marker(pytest.mark.lightning)


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    electrum()
    with Lab(tmp_path_factory.mktemp("lightning"), "alice", "bob", "carol") as lab:
        lab.connect(Plan("alice", "bob", 5_000_000, 2_000_000), Plan("bob", "carol", 3_000_000, 1_000_000))
        yield lab


@pytest.fixture
def lab(nodes: Lab) -> Iterator[Lab]:
    """The three, awake and connected before and after each test."""
    yield nodes
    for node in nodes.nodes.values():
        if node.running:
            node.signal(signal.SIGCONT)
        else:
            node.start()
            node.ready()
