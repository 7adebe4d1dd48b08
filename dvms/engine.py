"""Running a service's work: in a child process (heavy) or in the host's loop (light).

Both give the same contract: `run` returns what was made, or raises Refused or Failed with a reason for the customer, or
Stopped where `stop` was set. No way of failing takes the host down.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import orjson
from pydantic import BaseModel

from dvms.artefacts import Made, measure, measure_file
from dvms.child import job_to_json
from dvms.service import Artefact, Failed, Job, Progress, Refused, Service, ServiceError

log = logging.getLogger("dvms.engine")

START_SECONDS: Final = 120  # importing torch on a cold disk
GRACE_SECONDS: Final = 5.0  # between asking a job to stop and killing its process
_LINE_LIMIT: Final = 16 * 1024 * 1024

T = TypeVar("T")
Preview = str | Made


class Stopped(ServiceError):
    """The job was stopped because nobody wants it any more (cancelled, or the host closes)."""


class Report(Protocol):
    """Where news of a running job goes. Cheap; called in the host's loop."""

    def progress(self, fraction: float, message: str) -> None: ...

    def preview(self, what: Preview) -> None: ...

    def claimed(self, until: int) -> None: ...


class Engine(Protocol):
    async def run(self, job: Job[Any], report: Report, stop: asyncio.Event, seconds: float) -> Made: ...

    async def close(self) -> None: ...


class ProcessEngine:
    """One child process, started for the first job, kept warm between jobs, ended after `idle` seconds without one.

    One job at a time. The process is killed on cancel and deadline if it does not stop by itself in time, and a new one
    serves the next job.
    """

    def __init__(self, where: str, settings: BaseModel, *, idle: float = 120, workdir: Path | None = None) -> None:
        self._hello = {"service": where, "settings": settings.model_dump(mode="json")}
        self._idle = idle
        self._cwd = workdir
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._retire: asyncio.TimerHandle | None = None
        self._busy = asyncio.Lock()
        self._sound = False  # the child has answered for its last job, and may be given another one

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def run(self, job: Job[Any], report: Report, stop: asyncio.Event, seconds: float) -> Made:
        async with self._busy:
            if self._retire is not None:
                self._retire.cancel()
            self._sound = False
            try:
                return await self._one(job, report, stop, seconds)
            finally:
                if not self._sound:
                    await asyncio.shield(self._kill())
                elif self._process is not None:
                    loop = asyncio.get_running_loop()
                    self._retire = loop.call_later(self._idle, lambda: loop.create_task(self._retire_now()))

    async def close(self) -> None:
        if self._retire is not None:
            self._retire.cancel()
        await self._kill()

    async def _one(self, job: Job[Any], report: Report, stop: asyncio.Event, seconds: float) -> Made:
        deadline = time.monotonic() + seconds
        stopping = asyncio.create_task(stop.wait())
        begun = False
        try:
            if self._process is None or self._process.returncode is not None:
                await _either(self._start(), stopping, deadline)
            begun = True
            self._write({"job": job_to_json(job)})
            return await _either(self._converse(report), stopping, deadline)
        except (Stopped, _DeadlinePassed) as ended:
            if begun:
                await self._ask_to_stop()
            if isinstance(ended, _DeadlinePassed):
                raise Failed(f"the work took longer than {seconds:g} s") from None
            raise
        finally:
            stopping.cancel()

    async def _start(self) -> None:
        await self._kill()
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "dvms.child",
                str(theirs.fileno()),
                str(os.getpid()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                cwd=self._cwd,
            )
        finally:
            theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=_LINE_LIMIT)
        self._write(self._hello)
        try:
            async with asyncio.timeout(START_SECONDS):
                answer = await self._read()
        except TimeoutError:
            raise Failed("the engine did not start in time") from None
        if "broken" in answer:
            log.error("engine does not start: %s", answer["broken"])
            raise Failed("the engine does not start here")

    async def _converse(self, report: Report) -> Made:
        while True:
            message = await self._read()
            if "progress" in message:
                report.progress(float(message["progress"]), str(message["message"]))
            elif "preview" in message:
                shown = message["preview"]
                report.preview(Made.from_json(shown["made"]) if "made" in shown else str(shown["text"]))
            else:
                return _outcome(message)

    async def _read(self) -> dict[str, Any]:
        assert self._reader is not None and self._process is not None
        try:
            raw = await self._reader.readline()
        except (ConnectionError, ValueError):
            raw = b""
        if not raw.endswith(b"\n"):
            code = await self._process.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise Failed(f"the engine process ended in the middle of the work ({how})")
        value: dict[str, Any] = orjson.loads(raw)
        self._sound = not value.keys().isdisjoint(("result", "refused", "failed"))
        return value

    def _write(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS) + b"\n")

    async def _ask_to_stop(self) -> None:
        """Let the job end by itself, which keeps nothing half-written; the caller kills what is left."""
        if self._process is None or self._writer is None or self._writer.is_closing():
            return
        self._write({"cancel": True})
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                while not self._sound:
                    await self._read()
        except (TimeoutError, Failed):
            return

    async def _retire_now(self) -> None:
        if not self._busy.locked():
            log.debug("engine process %s is idle and ends", self.pid)
            await self._kill()

    async def _kill(self) -> None:
        process, writer = self._process, self._writer
        self._process = self._reader = self._writer = None
        if writer is not None:
            writer.close()
        if process is not None and process.returncode is None:
            try:
                process.kill()
            except ProcessLookupError:
                pass
            await process.wait()


class LoopEngine:
    """Runs `run_async` of a light service in the host's own loop. Any number of jobs at a time."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def run(self, job: Job[Any], report: Report, stop: asyncio.Event, seconds: float) -> Made:
        def preview(what: Artefact | str) -> None:
            report.preview(what if isinstance(what, str) else Made(files=(measure_file(what),)))

        deadline = time.monotonic() + seconds
        progress = Progress(
            report.progress, preview, lambda: stop.is_set() or time.monotonic() >= deadline, report.claimed
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            result = await _either(self._service.run_async(job, progress), stopping, deadline)
            return await asyncio.to_thread(measure, result) if result.files else measure(result)
        except _DeadlinePassed:
            raise Failed(f"the work took longer than {seconds:g} s") from None
        except ServiceError:
            raise
        except Exception as error:  # somebody's code: whatever it raises ends this job, not the worker
            log.exception("job %s failed", job.id[:8])
            raise Failed(f"the service failed ({type(error).__name__})") from error
        finally:
            stopping.cancel()

    async def close(self) -> None:
        return


def make_engine(
    service: Service, where: str, *, idle: float, workdir: Path | None = None
) -> ProcessEngine | LoopEngine:
    """The right engine for a service; `where` is how a child finds its class (registry)."""
    return ProcessEngine(where, service.settings, idle=idle, workdir=workdir) if service.heavy else LoopEngine(service)


def _outcome(message: dict[str, Any]) -> Made:
    if "result" in message:
        return Made.from_json(message["result"])
    if "refused" in message:
        raise Refused(str(message["refused"]))
    raise Failed(str(message["failed"]))


class _DeadlinePassed(Exception):
    pass


async def _either(work: Coroutine[Any, Any, T], stopping: asyncio.Task[Any], deadline: float) -> T:
    """The work's value, unless the stop or the deadline (in monotonic seconds) comes first: then it is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        left = max(0.0, deadline - time.monotonic())
        await asyncio.wait({task, stopping}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Stopped("the job was stopped") if stopping.done() else _DeadlinePassed
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
