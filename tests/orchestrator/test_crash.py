"""After `kill -9` anywhere: delivered or refunded, never both; nothing paid or bought twice; budget kept."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def sweep(mode: str, first: int, stride: int, base: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "tests.orchestrator.sweep",
        str(base / f"{mode}-{first}"),
        mode,
        str(first),
        str(stride),
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "stride"),
    [("delivers", 2), ("locks", 10), ("struggles", 10), ("fails", 10), ("prepaid", 10), ("sealed", 10)],
)
def test_killed_anywhere_it_ends_in_one_delivery_or_one_refund(mode: str, stride: int) -> None:
    """Two processes share the points: with stride 2 every one of them is met."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        processes = [sweep(mode, first, stride, Path(folder)) for first in (1, stride // 2 + 1)]
        reports = [json.loads(process.communicate(timeout=280)[0]) for process in processes]
    assert [problem for report in reports for problem in report["problems"]] == []
    assert all(report["points"] > 100 and report["killed"] > 0 for report in reports)
