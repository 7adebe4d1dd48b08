"""A node's data folder: what is where, and what the first start puts there."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node.errors import Unavailable
from node.run import ALIVE, BEAT
from node.settings import FILE, template
from nostr.key import SecretKey, load_or_create

OWNER = "owner"
RELAY_URL = Path("run", "relay.url")
STATUS = Path("run", "status.json")
LOGS = Path("logs")


def prepare(data: Path) -> bool:
    """Make settings and the owner's key where they are missing. True on the first start."""
    path = data / FILE
    fresh = not path.exists()
    if fresh:
        write_private(path, template())
    owner_key(data)
    (data / "run").mkdir(exist_ok=True)
    return fresh


def write_private(path: Path, text: str) -> None:
    """Write a file that only the owner reads (0600): the settings may hold the secret of a wallet."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


def owner_key(data: Path) -> SecretKey:
    """The operator's own key, which signs in as owner and buys from the command line."""
    return load_or_create(data / "keys" / f"{OWNER}.key")


def public_keys(data: Path) -> dict[str, str]:
    """Part name -> public key (hex) of every key of this node."""
    return {path.stem: path.read_text().strip() for path in sorted((data / "keys").glob("*.pub"))}


def parts_of_last_run(data: Path) -> dict[str, dict[str, Any]]:
    """What the supervisor last wrote of each part: state, pid, restarts, ready line. Empty where none has run."""
    try:
        parts: dict[str, dict[str, Any]] = json.loads((data / STATUS).read_text())["parts"]
    except (FileNotFoundError, ValueError, KeyError):
        return {}
    return parts


def parts_alone(data: Path) -> dict[str, dict[str, Any]]:
    """The same of the parts that live now without a supervisor: each in its container, or started by hand."""
    now = time.time()
    return {
        path.name: {"state": "ready", "pid": None, "restarts": 0, "line": path.read_text()}
        for path in (data / ALIVE).glob("*")
        if now - path.stat().st_mtime < 3 * BEAT
    }


@contextmanager
def only_one(data: Path, name: str) -> Iterator[None]:
    """Hold `DIR/run/NAME.lock`; Unavailable where another process has it. The kernel frees it on any death."""
    path = data / "run" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Unavailable(f"{name} runs already on {data} (process {file.read().strip() or '?'})") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
