"""Case 7: kill -9 at every write of the money path, and again while that is put right. Nothing is lost or doubled."""

import asyncio
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SIDES = 4  # processes that share the sweep


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: what -9 leaves behind is the same, and nothing waits for a disk."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        yield Path(made)


@pytest.mark.slow
async def test_07_killed_at_every_write_each_payment_still_happens_once(folder: Path) -> None:
    root = Path(__file__).parents[2]

    async def sweep(first: int) -> str:
        place = folder / str(first)
        place.mkdir()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.wallet.killer", str(place), str(first), "10000", str(SIDES),
            cwd=root, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        told = (await process.communicate())[0].decode()
        assert process.returncode == 0, told
        return told

    told = await asyncio.gather(*(sweep(first) for first in range(1, SIDES + 1)))
    killed = sum(int(found[1]) for text in told if (found := re.search(r"(\d+) lives killed", text)))
    assert killed > 100, "the story shrank: it no longer walks the money path"
