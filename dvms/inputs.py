"""From what a request names to what a service can read: text as it is, files downloaded, events and results resolved.

A `job` input is the output of another job (NIP-90, appendix 1). It may be named by its request or by its result. By
request, the result must come from a provider that the request was addressed to, or from a worker of this node: anybody
can publish an answer. Waiting for it ends with the request's expiration or after a fixed time.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dvms.service import Input, Refused
from market.errors import BadResult, FetchRefused
from market.fetch import Limits, fetch
from market.job import JobInput, JobRequest, JobResult
from market.kinds import is_result, result_kinds
from market.tags import is_http_url
from nostr.clock import Clock
from nostr.errors import RelayError
from nostr.event import Event
from nostr.filter import Filter
from nostr.pool import Pool

READ_AS_TEXT: Final = ("text/plain", "text/markdown", "text/vtt", "application/json")
_TEXT_LIMIT: Final = 1 << 20
_ASK_AGAIN: Final = 5.0
TOGETHER: Final = 4


@dataclass(frozen=True, slots=True)
class InputLimits:
    """`seconds` and `mib` for each download, `wait` in seconds for another job's result.

    Inputs are read before anything is paid. So the files of one job have TOGETHER times `mib` at most, and `keep_free`
    MiB of the disk are left alone.
    """

    seconds: float = 60
    mib: int = 200
    wait: float = 1800
    keep_free: int = 500


class Inputs:
    """Resolves the inputs of requests. `own_hosts` are this node's own file servers, the only private ones allowed."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        limits: InputLimits,
        *,
        own_hosts: Iterable[str] = (),
        own_keys: Callable[[], Collection[str]] = frozenset,
        safe_relays: Callable[[Iterable[str]], Awaitable[list[str]]],
    ) -> None:
        self._pool, self._clock, self._limits = pool, clock, limits
        self._own_hosts = tuple(own_hosts)
        self._own_keys = own_keys
        self._safe_relays = safe_relays
        self._arriving = 0  # bytes that downloads under way may still write

    async def resolve(self, request: JobRequest, folder: Path, on_wait: Callable[[str], None]) -> tuple[Input, ...]:
        """Every input, in order; files go into `folder`. Raises Refused with a reason for the customer.

        `on_wait` is told, in words for the customer, when another job's result is not there yet.
        """
        room = [self._limits.mib * TOGETHER << 20]
        tasks = [
            asyncio.ensure_future(self._one(item, folder / str(n), request, on_wait, room))
            for n, item in enumerate(request.inputs)
        ]
        try:
            return tuple(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _one(
        self, item: JobInput, folder: Path, request: JobRequest, on_wait: Callable[[str], None], room: list[int]
    ) -> Input:
        """`room[0]` is what the files of this job may still take, in bytes."""
        if item.type == "text":
            return Input("text", text=item.value, marker=item.marker)
        if item.type == "url":
            return await self._file(item.value, folder, item.marker, room)
        relays = await self._relays(item, request)
        event = await self._event(item.value, relays)
        if item.type == "event" and event is None:
            raise Refused(f"the event {item.value[:8]} was not found on the relays it should be on")
        if event is not None and is_result(event.kind):
            return await self._result(event, folder, item.marker, room)
        if item.type == "event" and event is not None:
            return Input("event", text=event.content, marker=item.marker)
        until = self._clock() + self._limits.wait
        if request.expiration is not None:
            until = min(until, request.expiration)
        on_wait(f"waiting for the result of job {item.value[:8]}")
        result = await self._wait(item.value, event, relays, until)
        return await self._result(result, folder, item.marker, room)

    async def _file(self, url: str, folder: Path, marker: str, room: list[int], sha256: str = "") -> Input:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        most = self._limits.mib << 20
        if shutil.disk_usage(folder).free - self._arriving - most < self._limits.keep_free << 20:
            raise Refused("this service is short of disk space: try again later")
        limits = Limits(max_bytes=most, seconds=self._limits.seconds)
        self._arriving += most
        try:
            got = await fetch(url, limits, allow_loopback_hosts=self._own_hosts, into=folder, sha256=sha256 or None)
        except FetchRefused as error:
            raise Refused(f"the input {url[:200]} can't be read: {error.reason}") from None
        finally:
            self._arriving -= most
        room[0] -= got.size
        if room[0] < 0:
            raise Refused(f"the inputs of one job have at most {self._limits.mib * TOGETHER} MiB together")
        text = None
        if got.path is not None and got.mime in READ_AS_TEXT and got.size <= _TEXT_LIMIT:
            text = got.path.read_text(errors="replace")
        return Input("url", text=text, path=got.path, mime=got.mime, url=url, marker=marker)

    async def _result(self, event: Event, folder: Path, marker: str, room: list[int]) -> Input:
        """The output of a finished job: the file its content names, or its text."""
        if event.tagged("encrypted"):
            raise Refused("the result named as input is encrypted for somebody else")
        try:
            result = JobResult.parse(event)
        except BadResult as error:
            raise Refused(f"the result named as input can't be read: {error.reason}") from None
        if result.urls and (is_http_url(result.content) or not result.content.strip()):
            return await self._file(result.urls[0].url, folder, marker, room, result.urls[0].sha256)
        return Input("job", text=result.content, marker=marker)

    async def _event(self, event_id: str, relays: Sequence[str]) -> Event | None:
        try:
            found = await self._pool.fetch(Filter(ids=[event_id]), relays=relays, timeout=5)
        except RelayError:
            return None
        return found[0] if found else None

    async def _wait(self, job: str, request: Event | None, relays: Sequence[str], until: float) -> Event:
        """The result of a job that is not done yet. Raises Refused at `until` (seconds of the clock)."""
        while request is None:
            if self._clock() >= until:
                raise Refused(f"the job {job[:8]} named as input was not found")
            await asyncio.sleep(_ASK_AGAIN)
            request = await self._event(job, relays)
            if request is not None and is_result(request.kind):
                return request
        if not 5000 <= request.kind <= 5999:
            raise Refused(f"the input {job[:8]} is no job")
        authors = set(request.values("p")) | set(self._own_keys())
        if not authors:
            raise Refused(f"job {job[:8]} was addressed to nobody: name its result instead")
        wanted = Filter(kinds=result_kinds(request.kind), authors=authors, tags={"e": [job]})
        try:
            async with (
                asyncio.timeout(max(0.0, until - self._clock())),
                self._pool.subscribe(wanted, relays=relays) as sub,
            ):
                async for event in sub:
                    if event.first("e") == job:
                        return event
        except (TimeoutError, RelayError):
            pass
        raise Refused(f"job {job[:8]}, named as input, had no result in time")

    async def _relays(self, item: JobInput, request: JobRequest) -> list[str]:
        named = [item.relay, *request.relays] if item.relay else list(request.relays)
        return [*self._pool.relays, *(url for url in await self._safe_relays(named) if url not in self._pool.relays)]
