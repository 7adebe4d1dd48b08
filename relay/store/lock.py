"""One process at a time writes a store."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def store_lock(data: Path) -> Iterator[bool]:
    """True while this process has the store to itself; False where another one (a running relay) has it.

    The lock goes with the process, however it ends.
    """
    path = data / "relay" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
