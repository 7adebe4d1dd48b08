"""The relay as its own process, started as a user starts it; it can be killed and measured."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from relay.app import serve
from relay.settings import RelaySettings

WAIT = 40.0


class RelayProcess:
    """`timmy relay --port 0 --data DIR`. Ready when constructed."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.data = data
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process object
        self.process = subprocess.Popen(
            [sys.executable, "-m", "node.cli", "relay", "--port", "0", "--data", str(data)],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **environment},
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("relay ws://"), f"{line!r}\n{self.stderr()}"
        self.url = line.split()[1]

    def stderr(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_seconds(self) -> float:
        """CPU time so far: what a start costs, whatever else the machine has to do."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a power cut would, as far as a process can tell."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(WAIT)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def relay_process(data: Path, **environment: str) -> Iterator[RelayProcess]:
    running = RelayProcess(data, **environment)
    try:
        yield running
    finally:
        running.stop()


class ForkedRelay:
    """The same relay without the start of an interpreter, for tests that kill many. Ready when constructed."""

    _server = multiprocessing.get_context("forkserver")
    _server.set_forkserver_preload(["tests.relay.process"])

    def __init__(self, data: Path) -> None:
        ours, theirs = self._server.Pipe()
        self.process = self._server.Process(target=_serve, args=(data, theirs), daemon=True)
        self.process.start()
        theirs.close()
        assert ours.poll(WAIT), "the relay does not start"
        self.url: str = ours.recv()

    def kill(self) -> None:
        self.process.kill()
        self.process.join(WAIT)


def _serve(data: Path, address: Connection) -> None:
    asyncio.run(serve(RelaySettings(), data, port=0, ready=address.send))


@contextmanager
def forked_relay(data: Path) -> Iterator[ForkedRelay]:
    running = ForkedRelay(data)
    try:
        yield running
    finally:
        running.kill()
