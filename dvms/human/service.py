"""Tasks for people. A paid job waits in the inbox until somebody claims and delivers it, or its time is over.

The heartbeat beats only while somebody is there (`timmy inbox here`, or the switch on the page); without anybody,
requests are refused before they are billed. Delivered work survives a restart of the worker: it lies in the inbox.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from dvms.human.inbox import Inbox, Task, TaskState, default_title
from dvms.service import Artefact, Engine, Failed, Job, Progress, Refused, Result, Service, Site
from market.kinds import JOB_HUMAN

WEEK = 7 * 86_400
_LOOK_EVERY = 1.0


class HumanSettings(BaseModel):
    """Settings of the people who work here."""

    model_config = ConfigDict(extra="forbid")

    kinds: list[int] = Field(
        default_factory=lambda: [JOB_HUMAN], description="job kinds done by people: 5820, or any other such as 5100"
    )
    skills: list[str] = Field(default_factory=list, description="skills, announced as topics: voice-over, translation")
    languages: list[str] = Field(default_factory=list, description="languages spoken, as en, de, pt")
    eta: int = Field(86_400, ge=60, description="usual time until delivery in seconds, announced")


class HumanService(Service):
    """A person's work."""

    class Params(BaseModel):
        model_config = ConfigDict(extra="ignore")

        title: str = Field("", max_length=200, description="the task in one line")
        accept: str = Field("", max_length=200, description="MIME types of files you take, as image/*,audio/*")
        form: Literal["", "yes-no", "rank", "score"] = Field("", description="for a judge: the form of the answer")
        seconds: int = Field(WEEK, ge=30, le=WEEK, description="how long the person has, in seconds from payment")
        content_warning: str = Field("", max_length=200, description="what the person should be warned of")

    name = "People of this node"
    about = "Tasks done by a person: judging, drawing, speaking, writing. You get your money back if nobody does it."
    Settings: ClassVar[type[BaseModel]] = HumanSettings
    heavy = False
    deadline = WEEK
    at_once = 1000

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.kinds = tuple(self.settings.kinds)
        self.topics = ("human", *self.settings.skills)
        self._inbox: Inbox | None = None
        self._site: Site | None = None
        self._present = False
        self._watch: asyncio.Task[None] | None = None

    def engine(self) -> Engine:
        return Engine("a person")

    def announce_tags(self) -> list[list[str]]:
        return [
            ["eta", str(self.settings.eta)],
            *(["l", language, "ISO-639-1"] for language in self.settings.languages),
        ]

    def available(self) -> bool:
        return self._present

    async def open(self, site: Site) -> None:
        self._site = site
        self._inbox = await Inbox.open(site.data, site.clock)
        self._present = await self._inbox.present() > site.clock()
        self._watch = asyncio.create_task(self._watch_presence())

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._inbox is not None:
            await self._inbox.close()

    def check(self, job: Job[Any]) -> None:
        if not self._present:
            raise Refused("nobody is here to work just now: look for the heartbeat and ask again")
        if not job.inputs and not job.params.title:
            raise Refused("say what is to be done: a text input or a `title`")
        if job.params.form == "rank" and len(job.inputs) < 2:
            raise Refused("a ranking needs at least two inputs")

    async def run_async(self, job: Job[Any], progress: Progress) -> Result:
        assert self._inbox is not None and self._site is not None
        inbox, clock = self._inbox, self._site.clock
        task = await inbox.put(self._as_task(job, clock()))
        told = 0
        try:
            while task.state is not TaskState.DELIVERED:
                if task.state is TaskState.WITHDRAWN or clock() >= task.due_at:
                    raise Failed(task.content or "nobody did this task in time")
                claim = (task.claimed_until or 0) if task.state is TaskState.CLAIMED else 0
                if claim != told:
                    progress.claimed(claim)
                    told = claim
                await asyncio.sleep(_LOOK_EVERY)
                task = await inbox.get(task.id)
        except (Failed, asyncio.CancelledError):  # overdue and declined work is nobody's any more
            if progress.cancelled or clock() >= task.due_at:
                await asyncio.shield(inbox.withdraw(task.id))
            raise
        files = tuple(
            Artefact(Path(item["path"]), item["mime"], alt=task.title if item["mime"].startswith("image/") else "")
            for item in task.files
        )
        return Result(task.content, files, {"by": "human"})

    def _as_task(self, job: Job[Any], now: int) -> Task:
        inputs = tuple(
            {
                "type": item.type,
                "text": item.text,
                "url": item.url,
                "path": str(item.path) if item.path else None,
                "mime": item.mime,
                "marker": item.marker,
            }
            for item in job.inputs
        )
        words = next((item.text for item in job.inputs if item.text), "")
        title = job.params.title or default_title(job.kind, words)
        return Task(
            job.id, job.kind, title, inputs, job.params.model_dump(exclude={"seconds"}), job.price_msat,
            TaskState.OPEN, now, now + job.params.seconds, customer=job.customer,
        )  # fmt: skip

    async def _watch_presence(self) -> None:
        assert self._inbox is not None and self._site is not None
        while True:
            self._present = await self._inbox.present() > self._site.clock()
            await asyncio.sleep(2)
