"""The middle of a paid composite: the relay is away for a minute, every clock jumps, the power is cut."""

import contextlib
import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.commands.up import free_port
from tests.node.composite import PARTS, Buying, check_end, selling
from tests.whole import Node, until

pytestmark = pytest.mark.slow

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"))), None)
OUTAGE = 60  # seconds


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the offset of the wall clock of every process of the node and its customers."""
    file = tmp_path_factory.mktemp("clock") / "offset"
    file.write_text("+0\n")
    return file


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, clock: Path) -> Iterator[Node]:
    wound = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with selling(tmp_path_factory.mktemp("outages") / "node", **(wound if FAKETIME else {})) as node:
        yield node


def goes_on(node: Node) -> None:
    """The next customer is served."""
    until(lambda: Buying(node, "a harbour at noon").outcome()["state"] == "delivered", 60, every=2)
    check_end(node, node.json("jobs")[0])


def jump(clock: Path, hours: int) -> None:
    if FAKETIME is None:
        why = "CLOCK JUMPS NOT TESTED: `faketime` is not installed (apt-get install faketime)"
        warnings.warn(why, stacklevel=1)
        pytest.skip(why)
    fresh = clock.with_suffix(".new")
    fresh.write_text(f"{hours:+d}h\n" if hours else "+0\n")
    fresh.replace(clock)


def test_the_relay_is_away_for_a_minute(node: Node) -> None:
    """First it hangs, then nobody listens on its port. The parts live on, connect again, and trade goes on."""
    buying = Buying(node, "a bridge in the fog")
    buying.wait_for_run()
    others = {part: node.pid(part) for part in PARTS if part != "relay"}
    began = time.monotonic()
    os.kill(node.pid("relay"), signal.SIGSTOP)
    time.sleep(OUTAGE / 3)
    off = node.data / "run" / "off" / "relay"
    off.parent.mkdir(exist_ok=True)
    off.touch()
    node.kill("relay")
    time.sleep(max(0.0, began + OUTAGE - time.monotonic()))
    off.unlink()
    bought = buying.outcome()
    check_end(node, bought)
    assert bought["state"] == "delivered", bought["reason"]
    assert others == {part: node.pid(part) for part in others}
    goes_on(node)


@pytest.mark.parametrize("hours", [2, 0])  # two hours ahead, then back
def test_every_clock_jumps(node: Node, clock: Path, hours: int) -> None:
    """What is under way ends as always (the jump may cost it its deadline), and trade goes on."""
    buying = Buying(node, f"a harbour clock, {hours}", patience=3 * 3600)
    buying.wait_for_run()
    jump(clock, hours)
    check_end(node, buying.outcome())
    goes_on(node)


def test_power_cut(tmp_path: Path) -> None:
    """Everything is killed at once, also the buyer; after a new start both ends come to the same end."""
    port = str(free_port("127.0.0.1"))  # links and requests name it: a node keeps its address
    with contextlib.suppress(AssertionError), selling(tmp_path / "node", "--port", port) as node:
        buying = Buying(node, "a mill by the river")
        buying.wait_for_run()
        buying.process.kill()
        for pid in [node.process.pid, *(node.pid(part) for part in PARTS)]:
            os.kill(pid, signal.SIGKILL)
    with selling(tmp_path / "node", "--port", port) as node:
        node.timmy("jobs", "--resume")
        bought = node.json("jobs")[0]
        assert bought["state"] in ("delivered", "refunded", "cancelled"), bought
        check_end(node, bought)
