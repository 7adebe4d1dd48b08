"""The process in which a heavy service works: `python -m dvms.child FD`.

Speaks JSON lines over the socket it inherits. The host writes

    {"service": "module:Class", "settings": {...}}     first; answered by {"ready": true} or {"broken": "why"}
    {"job": {...}}                                     one at a time
    {"cancel": true}                                   the running job is no longer wanted

and reads {"progress": 0.4, "message": "..."}, {"preview": ...}, then one of {"result": ...}, {"refused": "..."},
{"failed": "..."}. When the host is gone (end of the socket, death signal) the process ends at once: an engine never
works on without the host that would deliver.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from dvms.artefacts import Made, measure, measure_file
from dvms.registry import load
from dvms.service import Artefact, Input, Job, Progress, Refused, Service, ServiceError

PROGRESS_EVERY: Final = 0.25  # seconds between two progress lines
_NICENESS: Final = 10  # the host, its heartbeat and the relay go first
_PR_SET_PDEATHSIG: Final = 1


class Line:
    """One end of the socket, in whole JSON lines. Writing is safe from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._in = sock.makefile("rb")
        self._out = sock.makefile("wb")
        self._lock = threading.Lock()

    def read(self) -> dict[str, Any] | None:
        raw = self._in.readline()
        return orjson.loads(raw) if raw else None

    def write(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            self._out.write(orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS) + b"\n")
            self._out.flush()


class Worker:
    """One service and the job it is doing."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._last = 0.0

    def run(self) -> None:
        first = self._line.read()
        if first is None:
            return
        try:
            kind = load(first["service"])
            service = kind(kind.Settings.model_validate(first["settings"]))
        except Exception as error:  # whatever keeps a service from starting is told, not guessed at
            self._line.write({"broken": f"{type(error).__name__}: {error}"})
            raise
        self._line.write({"ready": True})
        threading.Thread(target=self._listen, name="host", daemon=True).start()
        while True:
            self._work(service, self._jobs.get())

    def _listen(self) -> None:
        while (message := self._line.read()) is not None:
            if "cancel" in message:
                self._cancelled.set()
            else:
                self._jobs.put(message["job"])
        os._exit(0)

    def _work(self, service: Service, message: Mapping[str, Any]) -> None:
        self._cancelled.clear()
        self._last = 0.0
        progress = Progress(self._progress, self._preview, self._cancelled.is_set)
        try:
            job = job_from_json(message, service)
            made = measure(service.run(job, progress))
        except Refused as error:
            self._line.write({"refused": str(error)})
        except ServiceError as error:
            self._line.write({"failed": str(error)})
        except MemoryError:
            self._line.write({"failed": "the engine ran out of memory"})
        except Exception as error:  # somebody's code: whatever it raises ends this job, not the process
            traceback.print_exc()
            self._line.write({"failed": f"the engine failed ({type(error).__name__})"})
        else:
            self._line.write({"result": made.to_json()})

    def _progress(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        if now - self._last >= PROGRESS_EVERY:
            self._last = now
            self._line.write({"progress": fraction, "message": message[:500]})

    def _preview(self, what: Artefact | str) -> None:
        if isinstance(what, str):
            self._line.write({"preview": {"text": what[:20_000]}})
        else:
            self._line.write({"preview": {"made": Made(files=(measure_file(what),)).to_json()}})


def job_to_json(job: Job[Any]) -> dict[str, Any]:
    inputs = [
        {
            "type": item.type,
            "text": item.text,
            "path": str(item.path) if item.path else None,
            "mime": item.mime,
            "url": item.url,
            "marker": item.marker,
        }
        for item in job.inputs
    ]
    return {
        "id": job.id,
        "kind": job.kind,
        "inputs": inputs,
        "params": job.params.model_dump(mode="json", exclude_unset=True),
        "workdir": str(job.workdir),
        "output": job.output,
        "customer": job.customer,
        "price_msat": job.price_msat,
    }


def job_from_json(value: Mapping[str, Any], service: Service) -> Job[Any]:
    inputs = tuple(Input(**{**item, "path": Path(item["path"]) if item["path"] else None}) for item in value["inputs"])
    params = service.Params.model_validate(value["params"])
    return Job(
        value["id"],
        value["kind"],
        inputs,
        params,
        Path(value["workdir"]),
        value["output"],
        value["customer"],
        value["price_msat"],
    )


def _die_with(parent: int) -> None:
    """Ask the kernel to end us when the host dies (Linux); elsewhere the end of the socket does."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            Path("/proc/self/oom_score_adj").write_text("500")  # short of memory, the engine goes, not the host
        except OSError:
            pass
    if os.getppid() != parent:
        os._exit(0)


def main() -> None:
    fd, parent = int(sys.argv[1]), int(sys.argv[2])
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the host, which then ends us
    os.nice(_NICENESS)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) - 1)))
    sys.stdout = sys.stderr  # what a library prints belongs in the log
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(message)s")
    Worker(Line(socket.socket(fileno=fd))).run()


if __name__ == "__main__":
    main()
