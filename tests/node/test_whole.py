"""The whole node as its operator and its customers meet it: buying, status, backup, refusals, a full disk."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.composite import TIMMY, check_books, selling
from tests.whole import Node, running, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with selling(tmp_path_factory.mktemp("whole") / "node") as node:
        yield node


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


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_loses_nothing_and_heals(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], check=True)
    try:
        with running(disk / "node", "--only", "relay,wallet,text") as node:
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(b"x" * 65536)
            answer = subprocess.run(
                [*TIMMY, "buy", "5050", "a full disk", "--seconds", "20", "--json", "--data", str(node.data)],
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
