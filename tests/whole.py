"""A whole node as its owner runs it: `timmy up` in a process of its own, on a free port, in a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Node:
    """`base` is the page's address, `process` the supervisor's; `environ` is what its commands see besides our own."""

    base: str
    data: Path
    process: subprocess.Popen[str]
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def relay(self) -> str:
        return self.base.replace("http", "ws", 1)

    def timmy(self, *arguments: str, timeout: float = 240, check: bool = True) -> str:
        """Run a command against this node and return what it printed."""
        command = [sys.executable, "-m", "node.cli", *arguments, "--data", str(self.data)]
        environ = {**os.environ, **self.environ}
        answer = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environ)
        assert not check or answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.timmy(*arguments, "--json"))

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.base + path, timeout=10) as answer:
            return json.load(answer)

    def pid(self, part: str) -> int:
        """The process of a part; 0 while it is down."""
        return int(json.loads((self.data / "run" / "status.json").read_text())["parts"][part]["pid"] or 0)

    def kill(self, part: str) -> None:
        os.kill(self.pid(part), signal.SIGKILL)


@contextmanager
def running(data: Path, *arguments: str, patience: float = 60, **environ: str) -> Iterator[Node]:
    """Start a node and give it; stop it in the end and show its log where the test failed on the way."""
    log = data.parent / f"{data.name}.log"
    command = [sys.executable, "-m", "node.cli", "up", "--data", str(data), "--port", "0", *arguments]
    with log.open("w") as errors:
        env = {**os.environ, "OMP_NUM_THREADS": "1", **environ}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("ready http://"), f"the node did not start: {log.read_text()[-3000:]}"
            yield Node(line.split()[1], data, process, environ)
        except BaseException:
            sys.stderr.write(log.read_text()[-6000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError("the node did not stop within 15 s of SIGTERM") from None


def until(condition: Any, seconds: float = 30, every: float = 0.2) -> Any:
    """The first true value of `condition()`, asked again and again for so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(every)
