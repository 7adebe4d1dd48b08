"""Kind 5300: the node's best works, from a list that is always ready, so the answer takes milliseconds.

Clients show notes, not job results: each work on the list is also published as a note of the feed's key (kind 1 with
NIP-92), once, and the answer names the notes. Only works whose request and result were public are shown.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field

from dvms.feed.ranking import WEIGHTS, Work, rank
from dvms.service import Engine, Job, Progress, Result, Service, Site
from market.kinds import JOB_FEED, REACTION, REVIEW
from nostr.errors import RelayError
from nostr.event import Event
from nostr.filter import Filter

log = logging.getLogger("dvms.feed")

NOTE: Final = 1
MOST: Final = 200


class FeedSettings(BaseModel):
    """Settings of the shop window."""

    model_config = ConfigDict(extra="forbid")

    works: int = Field(100, ge=1, le=MOST, description="how many works the window holds")
    refresh: int = Field(60, ge=5, description="seconds between two looks at the relay")
    notes: bool = Field(True, description="publish a note for each work shown, which is what feed clients can display")


class FeedService(Service):
    """Best works of this node."""

    class Params(BaseModel):
        model_config = ConfigDict(extra="ignore")

        max_results: int = Field(50, ge=1, description="at most so many works")
        user: str = Field("", description="hex key of the reader; the list is the same for everybody")

    name = "Best of this node"
    about = "Pictures, songs and films made on this node, the best first. Free."
    kinds = (JOB_FEED,)
    Settings: ClassVar[type[BaseModel]] = FeedSettings
    heavy = False
    topics = ("feed", "art")

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self._ready: list[list[str]] = []
        self._notes: dict[str, str] = {}  # result id -> note id
        self._task: asyncio.Task[None] | None = None

    def engine(self) -> Engine:
        return Engine("window", "1", "MIT")

    async def open(self, site: Site) -> None:
        self._task = asyncio.create_task(self._keep_fresh(site))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def run_async(self, job: Job[Any], progress: Progress) -> Result:
        chosen = self._ready[: min(job.params.max_results, MOST)]
        return Result(orjson.dumps(chosen).decode())

    async def _keep_fresh(self, site: Site) -> None:
        while True:
            try:
                self._ready = await self._look(site)
            except RelayError as error:
                log.debug("no look at the relay: %s", error)
            await asyncio.sleep(self.settings.refresh if self._ready else min(5, self.settings.refresh))

    async def _look(self, site: Site) -> list[list[str]]:
        own = {path.read_text().strip() for path in (site.data / "keys").glob("*.pub")}
        results: list[Event] = await site.ask(Filter(kinds=WEIGHTS, authors=own, limit=500))
        if not results:
            return []
        ids = {event.id for event in results}
        about = ids | {event.first("e") or "" for event in results} - {""}
        opinions: list[Event] = await site.ask(Filter(kinds=[REACTION, REVIEW], tags={"e": about}, limit=5000))
        works = rank(results, opinions, site.clock(), own)[: self.settings.works]
        if not self.settings.notes:
            return [["e", work.result.event.id, *site.relays[:1]] for work in works]
        await self._know_notes(site)
        return [["e", await self._note(site, work), *site.relays[:1]] for work in works]

    async def _know_notes(self, site: Site) -> None:
        """Notes of an earlier life."""
        if self._notes:
            return
        for event in await site.ask(Filter(kinds=[NOTE], authors=[site.pubkey], limit=1000)):
            for quoted in event.values("q"):
                self._notes.setdefault(quoted, event.id)

    async def _note(self, site: Site, work: Work) -> str:
        result = work.result
        known = self._notes.get(result.event.id)
        if known is None:
            media = result.urls[0]
            words = media.alt or " ".join((result.event.first("i") or "").split())[:200]
            tags = [media.imeta(), ["q", result.event.id, *site.relays[:1], result.provider], ["p", result.provider]]
            known = self._notes[result.event.id] = await site.say(NOTE, f"{words}\n\n{media.url}".strip(), tags)
        return known
