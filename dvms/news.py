"""What a customer hears while a job is under way: `processing` with how far it is, and `partial` previews.

News is worth something for seconds only: it is published once, to whoever listens, and kept nowhere. Bills, results and
endings go through the outbox instead (worker).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from dvms.artefacts import Made
from dvms.delivery import FileShelf, UploadFailed
from market.job import JobRequest, build_feedback
from market.media import Media
from nostr.clock import Clock
from nostr.event import Event
from nostr.key import SecretKey
from nostr.pool import Pool

EVERY: Final = 3.0  # seconds between two progress events of one job
STEP: Final = 0.1  # a gain worth telling
PREVIEW_EVERY: Final = 5.0
LIFE: Final = 3600  # seconds until relays may forget the news


class Newsroom:
    """Publishes news of all jobs of a worker, in the background."""

    def __init__(self, key: SecretKey, pool: Pool, shelf: FileShelf, clock: Clock) -> None:
        self._key, self._pool, self._shelf, self._clock = key, pool, shelf, clock
        self._tasks: set[asyncio.Task[Any]] = set()

    def tell(self, request: JobRequest, relays: Sequence[str], message: str, *, fraction: float | None = None) -> None:
        """Publish one `processing`."""
        tags = [["progress", f"{fraction:.2f}"]] if fraction is not None else []
        text = f"{fraction:.0%}: {message}" if fraction is not None else message
        self._publish(self._feedback(request, "processing", text, extra_tags=tags), relays)

    def claimed(self, request: JobRequest, relays: Sequence[str], until: int) -> None:
        """Publish that a person has taken the job until then (0: that it is open again)."""
        words = "a person has taken this task" if until else "this task waits for somebody again"
        self._publish(self._feedback(request, "processing", words, extra_tags=[["claim", str(until)]]), relays)

    def preview(self, request: JobRequest, relays: Sequence[str], what: str | Made) -> None:
        """Publish one `partial`; a file is put on the shelf first."""
        self._spawn(self._preview(request, relays, what))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _preview(self, request: JobRequest, relays: Sequence[str], what: str | Made) -> None:
        media: tuple[Media, ...] = ()
        if isinstance(what, Made):
            try:
                media = await self._shelf.put(what, seal=request.wants_seal)
            except UploadFailed:
                return
            what = media[0].url
        tags = [item.imeta() for item in media]
        event = self._feedback(request, "partial", "an unfinished result", content=what, extra_tags=tags)
        await self._pool.publish(event, relays)

    def _feedback(self, request: JobRequest, status: str, message: str, **more: Any) -> Event:
        now = self._clock()
        return build_feedback(self._key, request, status, message, expiration=now + LIFE, created_at=now, **more)

    def _publish(self, event: Event, relays: Sequence[str]) -> None:
        self._spawn(self._pool.publish(event, relays))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class JobReport:
    """The Report of one running job: thins its progress out to what is worth an event."""

    def __init__(
        self, newsroom: Newsroom, request: JobRequest, relays: Sequence[str], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._newsroom, self._request, self._relays, self._now = newsroom, request, relays, now
        self._told_at, self._shown_at = now(), now() - PREVIEW_EVERY
        self._told, self._words = 0.0, ""

    def progress(self, fraction: float, message: str) -> None:
        since = self._now() - self._told_at
        if since >= EVERY and (fraction - self._told >= STEP or message != self._words or since >= 10 * EVERY):
            self._told_at, self._told, self._words = self._now(), fraction, message
            self._newsroom.tell(self._request, self._relays, message, fraction=fraction)

    def preview(self, what: str | Made) -> None:
        if self._now() - self._shown_at >= PREVIEW_EVERY:
            self._shown_at = self._now()
            self._newsroom.preview(self._request, self._relays, what)

    def claimed(self, until: int) -> None:
        self._newsroom.claimed(self._request, self._relays, until)
