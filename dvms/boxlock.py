"""One heavy job at a time per machine, fair between the worker processes of a node.

A ticket is a file in `DIR/run/heavy`, named by the time it was drawn and kept locked (flock) by its owner. The tickets
in order are the queue; the first `slots` of them may work. When a process dies the kernel drops its lock, and whoever
looks next throws the ticket away: nothing is left over after `kill -9`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LOOK_EVERY: Final = 0.15


class Ticket:
    """A place in the queue of this machine. Give it back with `release`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path, self._fd = path, fd

    def release(self) -> None:
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


class BoxLock:
    """The heavy slots of a machine. `folder` is shared by all workers of a node."""

    def __init__(self, folder: Path, slots: int = 1) -> None:
        self._folder, self._slots = folder, slots
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def acquire(self, on_place: Callable[[int], None] = lambda ahead: None) -> Ticket:
        """Wait for a slot. `on_place(ahead)` is called when the number of tickets before ours changes."""
        ticket = self._draw()
        try:
            told = 0
            while (ahead := self._ahead(ticket)) >= self._slots:
                if ahead != told:
                    told = ahead
                    on_place(ahead - self._slots + 1)
                await asyncio.sleep(_LOOK_EVERY)
        except BaseException:
            ticket.release()
            raise
        return ticket

    def waiting(self) -> int:
        """How many hold or wait for a slot now."""
        with self._mutex():
            return len(self._alive())

    def _draw(self) -> Ticket:
        with self._mutex():
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.ticket"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            return Ticket(path, fd)

    def _ahead(self, ticket: Ticket) -> int:
        with self._mutex():
            return sum(1 for path in self._alive(but=ticket.path) if path.name < ticket.path.name)

    def _alive(self, but: Path | None = None) -> list[Path]:
        found = []
        for path in sorted(self._folder.glob("*.ticket")):
            if path == but or _is_locked(path):
                found.append(path)
            else:
                path.unlink(missing_ok=True)
        return found

    @contextmanager
    def _mutex(self) -> Iterator[None]:
        """Held for microseconds: so that no ticket is seen between its making and its locking."""
        fd = os.open(self._folder / "mutex", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
