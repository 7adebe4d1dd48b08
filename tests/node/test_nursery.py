"""Parts that are forked: their exit codes, and what the death of the nursery, or of the supervisor, does to them."""

import asyncio
import json
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from node.nursery import possible
from node.supervisor import Part, PartFailed, Supervisor
from tests.node.test_supervisor import until

pytestmark = pytest.mark.skipif(not possible(), reason="parts are forked on Linux alone")


def relay(data: Path, *more: str) -> Part:
    return Part("relay", ["relay", "--data", str(data), "--port", "0", *more], ready="relay ", timmy=True)


def parent(pid: int) -> int:
    return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])


def words(pid: int) -> str:
    return Path("/proc", str(pid), "cmdline").read_text()


async def test_a_part_outlives_its_nursery_and_is_born_again_in_another(tmp_path: Path) -> None:
    supervisor = Supervisor(status=tmp_path / "status.json", logs=tmp_path / "logs", echo=False)
    await supervisor.start(relay(tmp_path / "node"))
    first = supervisor.pids()["relay"]
    nursery = parent(first)
    assert nursery != os.getpid()
    assert words(first).startswith("timmy relay --data")
    os.kill(nursery, signal.SIGKILL)
    await until(lambda: not Path("/proc", str(nursery)).exists())
    os.kill(first, 0)  # it lives
    os.kill(first, signal.SIGKILL)

    def back() -> bool:
        part = json.loads((tmp_path / "status.json").read_text())["parts"]["relay"]
        return bool(part["state"] == "ready" and part["restarts"] == 1)

    await until(back, 60)
    second = supervisor.pids()["relay"]
    assert parent(second) not in (os.getpid(), nursery)
    await supervisor.stop()
    await until(lambda: not Path("/proc", str(second)).exists())


async def test_a_refusal_is_told_once(tmp_path: Path) -> None:
    """Exit code 2, bad usage: the supervisor hears it through the nursery and does not try again."""
    supervisor = Supervisor(status=tmp_path / "status.json", logs=tmp_path / "logs", echo=False)
    with pytest.raises(PartFailed, match="--no-such-option"):
        await supervisor.start(relay(tmp_path / "node", "--no-such-option"))
    assert (tmp_path / "logs" / "relay.log").read_text().count("--no-such-option") == 1
    await supervisor.stop()


async def test_all_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from node.supervisor import Supervisor
        from tests.node.test_nursery import parent, relay
        async def main():
            s = Supervisor(status=Path({str(tmp_path / "s.json")!r}), logs=Path({str(tmp_path / "l")!r}), echo=False)
            await s.start(relay(Path({str(tmp_path / "node")!r})))
            print(s.pids()["relay"], parent(s.pids()["relay"]), flush=True)
            await asyncio.sleep(100)
        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pids = (await process.stdout.readline()).split()
    assert len(pids) == 2
    process.kill()
    await process.wait()
    await until(lambda: not any(Path("/proc", pid.decode()).exists() for pid in pids), 30)
