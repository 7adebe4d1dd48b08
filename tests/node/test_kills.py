"""Every process of a node killed in the middle of a paid composite."""

from collections.abc import Iterator

import pytest

from tests.node.composite import TRADES, Buying, check_end, selling
from tests.whole import Node, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with selling(tmp_path_factory.mktemp("kills") / "node") as node:
        yield node


def kill(node: Node, part: str) -> None:
    """Kill a part and wait until the supervisor has started it again."""
    before = node.pid(part)
    node.kill(part)
    until(lambda: node.pid(part) not in (0, before), 30)


@pytest.mark.parametrize("part", ["orchestrator", "wallet", "relay"])
def test_a_part_that_all_stand_on_is_killed(node: Node, part: str) -> None:
    buying = Buying(node, f"a boat at dawn, {part}")
    buying.wait_for_run()
    kill(node, part)
    check_end(node, buying.outcome())


def test_every_worker_is_killed_at_its_work(node: Node) -> None:
    """All in one composite: whoever is paid for a step dies before it is delivered."""
    buying = Buying(node, "a mill by the river")
    buying.wait_for_run()
    alive = list(TRADES)
    while alive:
        trade = until(lambda: next((t for t in alive if buying.works(t)), None), 60, every=0.02)
        kill(node, trade)
        alive.remove(trade)
    bought = buying.outcome()
    check_end(node, bought)
    assert bought["state"] == "delivered"  # each did the job that it had been paid for, after its restart
