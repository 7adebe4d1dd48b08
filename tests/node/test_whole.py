"""The whole node, killed, stopped, cut off and filled up in the middle of a paid composite.

Whatever happens, the end is the same: each paid job is delivered once or refunded once, and the books balance.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.commands.up import free_port
from tests.whole import Node, running, until

pytestmark = pytest.mark.slow

RECIPE = "captioned-image"
KINDS = {5050, 5100, 5203, 5250, 5260}
TIMMY = [sys.executable, "-m", "node.cli"]


def on_sale(node: Node) -> bool:
    """Timmy and everyone he hires have announced themselves."""
    services = node.get("/index.json")["services"]
    priced = {s["recipe"] for s in services if s["price_msat"]}  # a price: Timmy has found someone for every step
    return {s["kind"] for s in services if s["alive"]} >= KINDS and RECIPE in priced


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("whole") / "node") as node:
        until(lambda: on_sale(node), 60)
        yield node


class Buying:
    """`timmy buy` of a composite in a process of its own, as a customer runs it."""

    def __init__(self, node: Node, words: str) -> None:
        self.node = node
        command = [*TIMMY, "buy", RECIPE, words, "--json", "--data", str(node.data), "--seconds", "240"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for_run(self, state: str = "running") -> None:
        """Until Timmy has been paid and works."""
        until(lambda: newest_run(self.node)["state"] == state, 60, every=0.05)

    def outcome(self) -> dict[str, Any]:
        out, errors = self.process.communicate(timeout=280)
        assert out, errors
        bought: dict[str, Any] = json.loads(out)
        return bought


def newest_run(node: Node) -> dict[str, Any]:
    path = node.data / "orchestrator" / "timmy.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        conn.row_factory = sqlite3.Row
        row = conn.execute("SELECT * FROM run ORDER BY opened_at DESC, rowid DESC LIMIT 1").fetchone()
    return dict(row) if row else {"state": "none", "id": ""}


def check_books(data: Path) -> None:
    """Postings sum to zero, every balance is the sum of its postings, nobody but the world outside is below zero."""
    with contextlib.closing(sqlite3.connect(f"file:{data / 'wallet' / 'ledger.db'}?mode=ro", uri=True)) as conn:
        assert conn.execute("SELECT coalesce(sum(msat), 0) FROM postings").fetchone() == (0,)
        wrong = conn.execute(
            "SELECT a.name, a.balance, coalesce(sum(p.msat), 0) AS s FROM accounts a LEFT JOIN postings p"
            " ON p.account = a.id GROUP BY a.id HAVING a.balance != s OR (a.balance < 0 AND NOT a.world)"
        ).fetchall()
        assert wrong == []


def check_end(node: Node, bought: dict[str, Any]) -> None:
    """Delivered or refunded, never both and never neither; nothing paid twice; books in balance."""
    run = until(lambda: (r := newest_run(node))["state"] in ("delivered", "refunded", "cancelled") and r, 120)
    if bought["state"] == "delivered":
        assert run["state"] == "delivered"
        assert run["received_msat"] > 0
        # A buyer that was killed while its money was locked may not have heard yet that the lock was taken.
        assert bought["payment"] != "settled" or bought["spent_msat"] == run["received_msat"]
    else:
        assert run["state"] in ("refunded", "cancelled"), (bought, run)
    results = [e for e in node.get(f"/job/{bought['id']}.json")["events"] if e["kind"] == 6260]
    assert len(results) == (run["state"] == "delivered")
    check_books(node.data)


@pytest.mark.parametrize("part", ["orchestrator", "wallet", "relay", "image", "speech"])
def test_a_part_killed_in_the_middle_of_a_paid_composite(node: Node, part: str) -> None:
    buying = Buying(node, f"a boat at dawn, {part}")
    buying.wait_for_run()
    before = node.pid(part)
    node.kill(part)
    until(lambda: node.pid(part) not in (0, before), 30)
    check_end(node, buying.outcome())


def test_a_relay_that_hangs_for_a_while_costs_only_time(node: Node) -> None:
    buying = Buying(node, "a bridge in the fog")
    buying.wait_for_run()
    os.kill(node.pid("relay"), signal.SIGSTOP)
    time.sleep(20)
    os.kill(node.pid("relay"), signal.SIGCONT)
    check_end(node, buying.outcome())


def test_power_cut(tmp_path: Path) -> None:
    """Everything is killed at once, also the buyer; after a new start both ends come to the same end."""
    port = str(free_port("127.0.0.1"))  # links and requests name it: a node keeps its address
    with contextlib.suppress(AssertionError), running(tmp_path / "node", "--port", port) as node:
        until(lambda: on_sale(node), 60)
        buying = Buying(node, "a mill by the river")
        buying.wait_for_run()
        buying.process.kill()
        pids = [node.pid(part) for part in ("relay", "wallet", "text", "image", "speech", "video", "orchestrator")]
        for pid in [node.process.pid, *pids]:
            os.kill(pid, signal.SIGKILL)
    with running(tmp_path / "node", "--port", port) as node:
        until(lambda: on_sale(node), 60)
        node.timmy("jobs", "--resume")
        bought = node.json("jobs")[0]
        assert bought["state"] in ("delivered", "refunded", "cancelled"), bought
        check_end(node, bought)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_loses_nothing_and_heals(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], check=True)
    try:
        with running(disk / "node") as node:
            until(lambda: on_sale(node), 60)
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(b"x" * 65536)
            answer = subprocess.run(
                [*TIMMY, "buy", "5100", "a full disk", "--seconds", "20", "--json", "--data", str(node.data)],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert answer.returncode != 0
            ballast.unlink()

            def sold() -> bool:
                node.timmy("buy", "5050", "a poem about rain", "--seconds", "20", check=False)
                return any(job["state"] == "delivered" for job in node.json("jobs"))

            until(sold, 120)
            check_books(node.data)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_every_trade_sells_from_the_command_line(node: Node, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    for what, words, target in (
        ("text", "a haiku about the sea", None),
        ("image", "a lighthouse at night", picture),
        ("speech", "Good evening, sailors.", tmp_path / "speech.m4a"),
    ):
        node.timmy("buy", what, words, *(["--out", str(target)] if target else []))
        assert target is None or target.stat().st_size > 1000
    node.timmy("buy", "animation", str(picture), "-p", "seconds=2", "--out", str(tmp_path / "clip.mp4"))
    assert (tmp_path / "clip.mp4").stat().st_size > 10_000
    assert {"delivered"} == {job["state"] for job in node.json("jobs", "--limit", "4")}


def test_status_tells_of_every_part(node: Node) -> None:
    parts = {part["part"]: part for part in node.json("status")["parts"]}
    assert {"relay", "wallet", "image", "orchestrator"} <= parts.keys()
    assert all(part["state"] == "ready" for part in parts.values()), parts


def test_a_second_node_on_the_same_folder_is_refused(node: Node) -> None:
    answer = subprocess.run(
        [*TIMMY, "up", "--data", str(node.data), "--port", "0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 3
    assert "runs already" in answer.stderr


def test_a_public_address_with_credits_is_refused(tmp_path: Path) -> None:
    answer = subprocess.run(
        [*TIMMY, "up", "--data", str(tmp_path / "n"), "--port", "0", "--public", "wss://example.org"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "credits, not Lightning" in answer.stderr


def test_a_backup_of_the_running_node_restores(node: Node, tmp_path: Path) -> None:
    node.timmy("backup", str(tmp_path / "b.tar.gz"))
    subprocess.run(
        [*TIMMY, "restore", str(tmp_path / "b.tar.gz"), "--data", str(tmp_path / "again")], check=True, timeout=60
    )
    check_books(tmp_path / "again")
    assert (tmp_path / "again" / "keys" / "owner.key").read_text() == (node.data / "keys" / "owner.key").read_text()
