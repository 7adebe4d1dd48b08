"""Small pictures of files on this node's own store: a picture made smaller, a film's frame, a sound's shape.

Made once for each hash, by a child process that limits itself (`web.thumbchild`): what strangers upload is never
decoded in the relay's process. Files elsewhere get none: nothing is fetched for a visitor who only looks around.
"""

import asyncio
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

WIDTH, HEIGHT = 480, 270
CHILD_SECONDS = 20
AT_ONCE, MOST_WAITING = 2, 64
MOST_BYTES = 256 << 20  # of a file that is looked at
FAMILIES = ("image/", "video/", "audio/")
NAMED = re.compile(r"/([0-9a-f]{64})(?:\.[A-Za-z0-9]{1,12})?(?=$|[?#])")
EMPTY = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)  # a clear dot


class Thumbs:
    """`url(file)` is the address of a file's small picture; `serve` answers it. `blobs` and `cache` are folders."""

    def __init__(self, blobs: Path, cache: Path) -> None:
        self._blobs, self._cache = blobs, cache
        self._able = find_spec("PIL") is not None and find_spec("av") is not None
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._making: dict[str, asyncio.Task[None]] = {}
        self._tired: set[str] = set()

    def own(self, url: str) -> str:
        """The path of a file on this node, whatever name its address has for us: the hash says which. "" for others."""
        found = NAMED.search(url)
        return found.group(0) if found and self._file(found.group(1)).exists() else ""

    def url(self, url: str, mime: str) -> str:
        """Empty where there is nothing to show."""
        path = self.own(url) if self._able and mime.startswith(FAMILIES) else ""
        if not path:
            return ""
        self._begin(path[1:65])  # the browser will ask in a moment
        return f"/thumb/{path[1:65]}.webp"

    async def close(self) -> None:
        for task in (waiting := list(self._making.values())):
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def _file(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256

    async def serve(self, request: web.Request) -> web.StreamResponse:
        sha256 = request.match_info["sha256"]
        headers = {"X-Content-Type-Options": "nosniff"}
        if await self._made(sha256):
            headers |= {"Cache-Control": "public, max-age=31536000, immutable", "Content-Type": "image/webp"}
            return web.FileResponse(self._cache / sha256, headers=headers)
        headers["Cache-Control"] = "public, max-age=60"
        return web.Response(body=EMPTY, content_type="image/gif", headers=headers)  # the drawing behind shows through

    async def _made(self, sha256: str) -> bool:
        """True once the picture is there. Callers who want the same one wait for one child."""
        place, source = self._cache / sha256, self._file(sha256)
        if not source.exists():  # deleted: its picture is not shown any more
            return False
        if (task := self._begin(sha256)) is not None:
            await asyncio.shield(task)
        return place.exists() and place.stat().st_size > 0

    def _begin(self, sha256: str) -> "asyncio.Task[None] | None":
        """The making of a picture that is not there yet; None where there is nothing to make."""
        place, source = self._cache / sha256, self._file(sha256)
        if sha256 not in self._making:
            if not self._able or place.exists() or not source.exists() or source.stat().st_size > MOST_BYTES:
                return None
            if len(self._making) >= MOST_WAITING or sha256 in self._tired:
                return None
            self._making[sha256] = task = asyncio.create_task(self._make(source, place))
            task.add_done_callback(lambda _: self._making.pop(sha256, None))
        return self._making[sha256]

    async def _make(self, source: Path, place: Path) -> None:
        """An empty file is kept for what can't be shown. What only took too long is tried again after a restart."""
        self._cache.mkdir(parents=True, exist_ok=True)
        async with self._turns:
            made = await _run_child(source)
        if made is None:
            self._tired.add(place.name)
            return
        fresh = place.with_suffix(".new")
        fresh.write_bytes(made)
        fresh.replace(place)


async def _run_child(source: Path) -> bytes | None:
    """The picture; b"" where the child says that there is none, None where it did not get that far."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(part for part in sys.path if part)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "web.thumbchild", str(source), str(WIDTH), str(HEIGHT),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )  # fmt: skip
    try:
        async with asyncio.timeout(CHILD_SECONDS):
            made, _ = await child.communicate()
    except TimeoutError:
        return None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return made if child.returncode == 0 else b"" if child.returncode == 1 else None
