"""Where the node's parts are born: one process that has read every room once, and forks each part from itself.

A part that starts as a program of its own spends half a second of CPU on reading modules and keeps them in memory
alone. Born here it starts at once and shares them, which is most of the start and half the memory of a whole node.
Linux only (it needs `pidfd`); elsewhere, and in containers, every part is a program.

The nursery holds nothing that matters: where it dies its children live on, and the next birth makes a new one.
"""

import asyncio
import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import orjson

ROOMS: Final = (
    "node.cli",
    "node.commands.relay",
    "node.commands.wallet",
    "node.commands.dvm",
    "node.commands.orchestrator",
    "node.page",
    "relay.app",
    "web.app",
    "wallet.serve",
    "wallet.backends.ledger",
    "wallet.backends.nwc",
    "dvms.serve",
    "orchestrator.timmy",
    "uvloop",
)
LONGEST: Final = 1 << 16  # bytes of a message; arguments and settings of one part
PATIENCE: Final = 30.0  # seconds until a birth has failed: the first one waits for the rooms
LAST_WORD: Final = 1.0  # seconds that the nursery has to tell a dead child's exit code
UNKNOWN: Final = -1  # the exit code of a child that outlived its nursery


def possible() -> bool:
    return hasattr(os, "pidfd_open") and sys.platform == "linux"


class Child:
    """A part that was born, as its supervisor sees it: the face of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, handle: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(handle, self._gone)

    async def wait(self) -> int:
        return await asyncio.shield(self._end)

    def send_signal(self, number: int) -> None:
        """Nothing happens to whoever has got the number of a dead child: the handle is its own."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def ended(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._end.set_result(code)

    def _gone(self) -> None:
        self._loop.remove_reader(self._handle)
        self._loop.call_later(LAST_WORD, self.ended, UNKNOWN)


class Nursery:
    """The supervisor's side."""

    def __init__(self) -> None:
        self._door: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._one_by_one = asyncio.Lock()
        self._birth: asyncio.Future[Child] | None = None
        self._children: dict[int, Child] = {}

    async def bear(self, arguments: Sequence[str], environ: Mapping[str, str], stdin: int, stdout: int) -> Child:
        """Fork `timmy ARGUMENTS` with these descriptors; stderr goes where stdout goes.

        Raises ChildProcessError where the nursery does not live long enough.
        """
        async with self._one_by_one:
            if self._door is None:
                await self._open()
            assert self._door is not None
            self._birth = asyncio.get_running_loop().create_future()
            request = orjson.dumps({"arguments": list(arguments), "environ": dict(environ)})
            try:
                socket.send_fds(self._door, [request], [stdin, stdout])
                child = await asyncio.wait_for(self._birth, PATIENCE)
            except (OSError, TimeoutError) as error:
                self.close()
                raise ChildProcessError(f"the nursery bears no parts: {error}") from None
            self._children[child.pid] = child
            return child

    def close(self) -> None:
        """End the nursery; its children live on."""
        if self._door is not None:
            asyncio.get_running_loop().remove_reader(self._door)
            self._door.close()
            self._door = None

    async def _open(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "node.nursery", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._door = ours
        asyncio.get_running_loop().add_reader(ours, self._hear)

    def _hear(self) -> None:
        assert self._door is not None
        try:
            raw, handles, _, _ = socket.recv_fds(self._door, LONGEST, 1)
        except ConnectionError:
            raw, handles = b"", []
        if not raw:
            self.close()
            if self._birth is not None and not self._birth.done():
                self._birth.set_exception(ConnectionError("it ended"))
            return
        word = orjson.loads(raw)
        if "born" in word:
            assert self._birth is not None
            self._birth.set_result(Child(word["born"], handles[0]))
        elif child := self._children.pop(word["ended"], None):
            child.ended(word["code"])


def main() -> None:
    """The process: `python -m node.nursery FD`. Every child leaves it as the `timmy` it was asked to be."""
    door = socket.socket(fileno=int(sys.argv[1]))
    for room in ROOMS:
        with contextlib.suppress(ImportError):  # an extra that is not installed: the part itself says so
            import_module(room)
    gc.disable()
    gc.collect()
    gc.freeze()  # what is here now is shared: no collection in a child shall touch, and so copy, these pages
    arguments = births(door)
    if arguments is not None:
        gc.enable()
        become(arguments)


def births(door: socket.socket) -> list[str] | None:
    """Fork for every request and report every end. Returns None when the supervisor is gone; a child's arguments in
    the child, which has its descriptors and its environment."""
    parts: dict[int, int] = {}  # handle -> pid
    with selectors.DefaultSelector() as watch, door:
        watch.register(door, selectors.EVENT_READ)
        while True:
            for key, _ in watch.select():
                if key.fileobj is not door:
                    handle = key.fd
                    pid = parts.pop(handle)
                    watch.unregister(handle)
                    os.close(handle)
                    _tell(door, {"ended": pid, "code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})
                    continue
                request, streams, _, _ = socket.recv_fds(door, LONGEST, 2)
                if not request:
                    return None
                pid = os.fork()
                if pid == 0:
                    for handle in parts:
                        os.close(handle)
                    return _settle(request, *streams)
                handle = os.pidfd_open(pid)
                parts[handle] = pid
                watch.register(handle, selectors.EVENT_READ)
                for stream in streams:
                    os.close(stream)
                _tell(door, {"born": pid}, handle)


def _tell(door: socket.socket, word: dict[str, int], *handles: int) -> None:
    with contextlib.suppress(ConnectionError):  # the supervisor has gone: the next look at the door ends us
        socket.send_fds(door, [orjson.dumps(word)], handles)


def _settle(request: bytes, stdin: int, stdout: int) -> list[str]:
    os.setsid()
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.dup2(stdout, 2)
    os.close(stdin)
    os.close(stdout)
    wanted = orjson.loads(request)
    os.environ.update(wanted["environ"])
    arguments: list[str] = wanted["arguments"]
    return arguments


def become(arguments: list[str]) -> None:
    """Be `timmy ARGUMENTS`, also for `ps`. Ends with SystemExit."""
    import setproctitle

    from node import cli

    setproctitle.setproctitle(" ".join(["timmy", *arguments]))
    sys.argv = ["timmy", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
