"""Real Lightning: three nodes, alice - bob - carol, up for the whole session of tests."""

import signal
import warnings
from collections.abc import Iterator

import pytest

from tests.wallet.lightning.lab import PROGRAM, Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "lightning" in item.path.parts:
            item.add_marker(pytest.mark.lightning)


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if PROGRAM is None:
        why = "LIGHTNING NOT TESTED: `electrum` is not installed (apt-get install --no-install-recommends electrum)"
        warnings.warn(why, stacklevel=1)
        pytest.skip(why)
    with Lab(tmp_path_factory.mktemp("lightning"), "alice", "bob", "carol") as lab:
        lab.channel("alice", "bob", 5_000_000, push=2_000_000)
        lab.channel("bob", "carol", 3_000_000, push=1_000_000)
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
