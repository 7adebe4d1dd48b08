"""Runs the parts of a node as processes: start in order, restart with backoff, stop in order.

The supervisor owns processes and nothing else: every part keeps its own state on disk, so killing any of them, or the
supervisor, loses no job and no money. Children that outlive a killed supervisor notice that their parent is gone (their
stdin closes) and stop by themselves.
"""

import asyncio
import contextlib
import json
import logging
import logging.handlers
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from node.errors import Unavailable, UsageComplaint
from node.nursery import Nursery, possible

log = logging.getLogger("node")

FIRST_DELAY, LAST_DELAY = 0.5, 30.0  # seconds between restarts
TRIES = 3  # starts of a part that has never been ready
HOPELESS = (UsageComplaint.exit_code, Unavailable.exit_code)  # exit codes that a second try does not change
STEADY = 60.0  # a part that ran this long starts again without delay
GRACES = (4.5, 6.0, 9.5)  # seconds since the stop began until SIGKILL: those on top, the wallet, the relay


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the node. `ready` is the prefix of the stdout line that says it is up.

    `command` is a program with its arguments, or the arguments of `timmy` alone where `timmy` is true.
    """

    name: str
    command: Sequence[str]
    ready: str
    environ: Mapping[str, str] = field(default_factory=dict)
    timmy: bool = False


class Process(Protocol):
    """What the supervisor does with a process, however it came into the world."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def send_signal(self, signal: int) -> None: ...


@dataclass(slots=True)
class Running:
    part: Part
    process: Process | None = None
    started: float = 0.0
    restarts: int = 0
    state: str = "starting"
    line: str = ""
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class PartFailed(Unavailable):
    """A part did not get ready; the message holds its last words."""


class Supervisor:
    """`start` each part, `wait` until told to stop, `stop` them in reverse order within ten seconds.

    State is written to `status` (a JSON file) at every change, for `timmy status`. A file `off/NAME` beside it keeps a
    part from starting again until it is removed; a new supervisor begins with all parts on.
    """

    def __init__(self, *, status: Path, logs: Path, echo: bool = True) -> None:
        self._status = status
        self._logs = logs
        self._echo = echo
        self._parts: dict[str, Running] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._nursery = Nursery() if possible() else None
        self._off = status.parent / "off"
        shutil.rmtree(self._off, ignore_errors=True)
        logs.mkdir(parents=True, exist_ok=True)

    async def start(self, part: Part, *, timeout: float = 60) -> str:
        """Start a part and wait until it is ready; returns its ready line. Raises PartFailed."""
        running = self._parts[part.name] = Running(part)
        keeper = self._keepers[part.name] = asyncio.create_task(self._keep(running), name=f"keep-{part.name}")
        waiter = asyncio.create_task(running.ready.wait())
        try:
            done, _ = await asyncio.wait({waiter, keeper}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        if waiter not in done:
            raise PartFailed(f"{part.name} did not start: {self._last_words(part.name)}")
        return running.line

    async def stop(self) -> None:
        """SIGTERM to all that stand on the others first, so that they can say goodbye; SIGKILL after the grace."""
        self._stopping.set()
        everyone = list(self._parts.values())
        began = time.monotonic()
        for wave, until in zip((everyone[2:], everyone[1:2], everyone[:1]), GRACES, strict=True):
            grace = began + until - time.monotonic()
            await asyncio.gather(*(self._end(running, grace) for running in wave))
        if self._nursery is not None:
            self._nursery.close()
        self._write_status()

    async def _end(self, running: Running, grace: float) -> None:
        process, keeper = running.process, self._keepers[running.part.name]
        if process is None or process.returncode is not None or running.state == "off":
            keeper.cancel()
        else:
            _signal(process, signal.SIGTERM)
            await asyncio.wait({keeper}, timeout=grace)
            if process.returncode is None:
                log.warning("%s did not stop in time: killed", running.part.name)
                _signal(process, signal.SIGKILL)
        await asyncio.wait({keeper}, timeout=1)
        running.state = "stopped"

    def pids(self) -> dict[str, int]:
        """Process ids of what runs now."""
        return {name: item.process.pid for name, item in self._parts.items() if item.process is not None}

    async def _keep(self, running: Running) -> None:
        """Run the part again and again until the supervisor stops, or it does not even get ready once."""
        delay = FIRST_DELAY
        tries = 0
        while not self._stopping.is_set():
            tries += 1
            running.started = time.monotonic()
            running.state = "starting"
            code = await self._run_once(running)
            if self._stopping.is_set():
                return
            if not running.ready.is_set() and (code in HOPELESS or tries == TRIES):
                running.state = "failed"
                self._write_status()
                return
            running.state, running.restarts = "restarting", running.restarts + 1
            self._write_status()
            steady = time.monotonic() - running.started > STEADY
            delay = FIRST_DELAY if steady else min(delay * 2, LAST_DELAY)
            if await self._rests(running):
                delay = FIRST_DELAY
                continue
            log.warning("%s ended with %s; again in %.1f s", running.part.name, code, delay)
            await asyncio.sleep(delay)

    async def _rests(self, running: Running) -> bool:
        """Wait as long as the operator has switched this part off; False where it is on."""
        marker = self._off / running.part.name
        if not marker.exists():
            return False
        running.state = "off"
        self._write_status()
        log.info("%s is switched off", running.part.name)
        while marker.exists() and not self._stopping.is_set():  # noqa: ASYNC110  the marker is a file
            await asyncio.sleep(0.3)
        return True

    async def _run_once(self, running: Running) -> int:
        """One life of the part, its words to its log. Its stdin is held open and never written: that it ends tells
        the part that we are gone."""
        part = running.part
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        with os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb") as words:
            try:
                process = running.process = await self._spawn(part, theirs_in, theirs_out)
            finally:
                os.close(theirs_in)
                os.close(theirs_out)
            self._write_status()
            journal = logging.handlers.RotatingFileHandler(
                self._logs / f"{part.name}.log", maxBytes=10_000_000, backupCount=1, delay=True
            )
            with contextlib.closing(journal):
                async for line in _lines(words):
                    journal.emit(logging.makeLogRecord({"msg": line}))
                    if line.startswith(part.ready) and running.state == "starting":
                        running.line, running.state = line, "ready"
                        running.ready.set()
                        self._write_status()
                    elif self._echo:
                        sys.stderr.write(f"{line}\n")
            return await process.wait()

    async def _spawn(self, part: Part, stdin: int, stdout: int) -> Process:
        environ = {**part.environ, "TIMMY_SUPERVISED": "1", "PYTHONUNBUFFERED": "1"}
        if part.timmy and self._nursery is not None:
            with contextlib.suppress(ChildProcessError):
                return await self._nursery.bear(part.command, environ, stdin, stdout)
        return await asyncio.create_subprocess_exec(
            *([sys.executable, "-m", "node.cli"] if part.timmy else []),
            *part.command,
            stdin=stdin,
            stdout=stdout,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environ},
            start_new_session=True,
        )

    def _last_words(self, name: str) -> str:
        path = self._logs / f"{name}.log"
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        return lines[-1].removeprefix("timmy: ") if lines else "it said nothing"

    def _write_status(self) -> None:
        state = {
            name: {
                "state": item.state,
                "pid": item.process.pid if item.process and item.process.returncode is None else None,
                "restarts": item.restarts,
                "line": item.line,
            }
            for name, item in self._parts.items()
        }
        fresh = self._status.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk must not stop the node
            self._status.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps({"supervisor": os.getpid(), "parts": state}))
            fresh.replace(self._status)


async def _lines(pipe: IO[bytes]) -> AsyncIterator[str]:
    stream = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    with contextlib.closing(transport):
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the limit: not a log line
                continue
            if not line:
                return
            yield line.decode(errors="replace").rstrip()


def _signal(process: Process | None, number: int) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
