"""How a part of the node lives: logging, signals, one ready line."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import orjson

BEAT = 5.0  # seconds
ALIVE = Path("run", "alive")
QUIET = ("aiohttp.access", "asyncio", "aiosqlite")


class JsonLines(logging.Formatter):
    """One JSON object a line; what a call passes as `extra={"data": {...}}` goes beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"at": round(record.created, 3), "level": record.levelname.lower(), "part": record.name}
        line["message"] = record.getMessage()
        line.update(getattr(record, "data", {}))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class HumanLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno < logging.WARNING else record.levelname.lower() + " "
        text = f"{at} {record.name:<12} {level}{record.getMessage()}"
        return text + "\n" + self.formatException(record.exc_info) if record.exc_info else text


def set_up_logging(form: str = "human", level: int = logging.INFO) -> None:
    """Log to stderr. `form` is `human` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else HumanLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def ready(line: str, data: Path | None = None) -> None:
    """Say on stdout that the part is ready; whoever started it reads this line, whose first word is the part.

    As long as the event loop turns from now on, the file that TIMMY_ALIVE names is touched: a container's health. So
    is `DIR/run/alive/PART` where no supervisor keeps account of the part: `timmy status` looks there.
    """
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    files = [Path(os.environ["TIMMY_ALIVE"])] if os.environ.get("TIMMY_ALIVE") else []
    if data is not None and not os.environ.get("TIMMY_SUPERVISED"):
        (data / ALIVE).mkdir(parents=True, exist_ok=True)
        files.append(data / ALIVE / line.split()[0])
        files[-1].write_text(line)
    if files:
        _beat(asyncio.get_running_loop(), files)


def _beat(loop: asyncio.AbstractEventLoop, files: list[Path]) -> None:
    for file in files:
        file.touch()
    loop.call_later(BEAT, _beat, loop, files)


def run_until_signal(main: Coroutine[Any, Any, None]) -> None:
    """Run until done, or until SIGTERM or SIGINT, which cancel it so that it can put things away."""
    try:
        import uvloop
    except ImportError:
        runner = asyncio.Runner()
    else:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        try:
            runner.run(_guard(main))
        except asyncio.CancelledError:
            pass


async def _guard(main: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, task)
    if os.environ.get("TIMMY_SUPERVISED"):
        _follow_parent(loop, task)
    await task


def _stop(task: "asyncio.Task[None]") -> None:
    """Cancel once: a second signal must not cut the putting away short, which would leave threads behind."""
    if not task.cancelling():
        task.cancel()


def _follow_parent(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
    """Stop when the supervisor is gone: it holds our stdin open and never writes to it."""

    def gone() -> None:
        if not os.read(0, 1):
            loop.remove_reader(0)
            _stop(task)

    loop.add_reader(0, gone)
