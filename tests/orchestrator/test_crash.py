"""After `kill -9` anywhere: delivered or refunded, never both; nothing paid or bought twice; budget kept."""

import json
import shutil
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


def in_memory() -> str | None:
    """A folder whose files are in memory, where there is room for the images of a sweep."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 1 << 30 else None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["delivers", "locks", "struggles", "fails", "prepaid", "sealed", "open"])
def test_killed_anywhere_it_ends_in_one_delivery_or_one_refund(mode: str) -> None:
    """Two processes share the points; every one of them is met."""
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        processes = [sweep(mode, first, 2, Path(folder)) for first in (1, 2)]
        reports = [json.loads(process.communicate(timeout=280)[0]) for process in processes]
    assert [problem for report in reports for problem in report["problems"]] == []
    assert all(report["points"] > 100 and report["killed"] > 0 for report in reports)
