"""The supervisor with real processes: start, restart after kill -9, stop in time, and what happens when it dies."""

import asyncio
import json
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest

from node.supervisor import Part, PartFailed, Supervisor

GOOD = "import sys, time; print('good ready', flush=True); time.sleep(100)"
STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('stubborn ready', flush=True); time.sleep(100)"
)


def part(name: str, code: str) -> Part:
    return Part(name, [sys.executable, "-c", code], ready=f"{name} ")


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(status=tmp_path / "status.json", logs=tmp_path / "logs", echo=False)


async def until(condition, seconds: float = 10) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


async def test_a_killed_part_comes_back(supervisor: Supervisor, tmp_path: Path) -> None:
    assert await supervisor.start(part("good", GOOD)) == "good ready"
    first = supervisor.pids()["good"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervisor.pids()["good"] != first)
    await until(lambda: json.loads((tmp_path / "status.json").read_text())["parts"]["good"]["state"] == "ready")
    assert json.loads((tmp_path / "status.json").read_text())["parts"]["good"]["restarts"] == 1
    await supervisor.stop()


@pytest.mark.parametrize(("code", "tries"), [(3, 1), (1, 3)])
async def test_a_part_that_cannot_start_says_why(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, tries: int
) -> None:
    """What it says it lacks (exit code 3) it lacks a second later too; another fault may pass."""
    monkeypatch.setattr("node.supervisor.FIRST_DELAY", 0.05)
    with pytest.raises(PartFailed, match="no such engine"):
        await supervisor.start(part("bad", f"import sys; print('no such engine', file=sys.stderr); sys.exit({code})"))
    assert (tmp_path / "logs" / "bad.log").read_text().count("no such engine") == tries
    await supervisor.stop()


async def test_a_part_that_stumbles_at_its_first_start_gets_another(supervisor: Supervisor, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    stumble = f"import pathlib, sys; p = pathlib.Path({str(mark)!r})\nif not p.exists(): p.touch(); sys.exit(1)\n{GOOD}"
    assert await supervisor.start(part("good", stumble)) == "good ready"
    await supervisor.stop()


async def test_stop_ends_even_a_stubborn_part_within_ten_seconds(supervisor: Supervisor) -> None:
    await asyncio.gather(supervisor.start(part("good", GOOD)), supervisor.start(part("stubborn", STUBBORN)))
    pids = supervisor.pids()
    began = time.monotonic()
    await supervisor.stop()
    assert time.monotonic() - began < 10
    for pid in pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_children_of_a_killed_supervisor_stop_by_themselves(tmp_path: Path) -> None:
    child = textwrap.dedent("""
        import asyncio
        from node.run import ready, run_until_signal
        async def main():
            ready("child ok")
            await asyncio.sleep(100)
        run_until_signal(main())
    """)
    code = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from node.supervisor import Part, Supervisor
        async def main():
            s = Supervisor(status=Path({str(tmp_path / "s.json")!r}), logs=Path({str(tmp_path / "l")!r}), echo=False)
            await s.start(Part("child", [sys.executable, "-c", {child!r}], ready="child "))
            print(s.pids()["child"], flush=True)
            await asyncio.sleep(100)
        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    process.kill()
    await process.wait()
    await until(lambda: not Path("/proc", str(pid)).exists())
