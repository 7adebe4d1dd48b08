"""A crew in one file: it plans, hires machines and a person, and sells the whole. No framework.

    timmy inbox here                           # somebody judges (or nobody: then it goes on without)
    timmy dvm ./examples/crew.py --price 700
    timmy buy 5299 "a lighthouse keeper and a fox" --out poster.png

Every hire has an idempotency key made of the job's id, so a crew that is killed goes on where it was and buys nothing
twice. The budget holds for all its jobs of 24 hours together.
"""

import asyncio
import json
import shutil

from pydantic import BaseModel, ConfigDict, Field

from dvms.service import Artefact, Engine, Failed, Job, Progress, Result, Service, Site
from node.agents import Desk, Limits, SpendRefused
from node.errors import Complaint
from node.hiring import Wish


class PosterCrew(Service):
    name = "Poster crew"
    about = (
        "Plans a poster, has two painted, and lets a person choose. What the crew spends is in its own list of jobs."
    )
    kinds = (5299,)  # ours, unassigned: whoever buys knows this crew
    heavy = False  # it only hires; it computes nothing
    deadline = 2 * 3600

    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid")
        budget: int = Field(20_000, ge=0, description="most sat spent in 24 hours")
        judge_seconds: int = Field(1800, ge=60, description="how long a person has to choose")

    def engine(self) -> Engine:
        return Engine("a crew of services and a person", licence="MIT")

    async def open(self, site: Site) -> None:
        limits = Limits(day_msat=self.settings.budget * 1000, kinds=frozenset({5050, 5100, 5820}))
        self.desk = Desk(site.data, name=site.name.replace("_", "-"), relays=site.relays, limits=limits)
        await self.desk.__aenter__()

    async def close(self) -> None:
        await self.desk.__aexit__(None, None, None)

    async def run_async(self, job: Job, progress: Progress) -> Result:
        try:
            progress(0.1, "planning")
            params = {"format": ["scenes"], "shots": ["4"]}
            _, plan = await self.desk.hire(Wish("text", (job.text(),), params), f"{job.id}:plan", 50)
            scenes = [shot["prompt"] for shot in json.loads(plan.content)["shots"]][:2]
            progress(0.3, "two painters are at work")
            painted = await asyncio.gather(
                *(
                    self.desk.hire(Wish("image", (scene,)), f"{job.id}:picture:{n}", 100)
                    for n, scene in enumerate(scenes)
                )
            )
            progress(0.7, "a person chooses")
            best = await self._choice(job.id, [result.urls[0].url for _, result in painted])
        except (Complaint, SpendRefused, KeyError, ValueError) as error:
            raise Failed(f"the crew could not finish: {error}") from None
        job.workdir.mkdir(parents=True, exist_ok=True)
        bought = painted[best][0]
        path = job.workdir / f"poster{bought.path.suffix}"
        shutil.copyfile(bought.path, path)
        return Result(files=(Artefact(path, bought.mime, alt=job.text()[:200]),), facts={"chosen": str(best + 1)})

    async def _choice(self, job_id: str, urls: list[str]) -> int:
        """The place of the picture a person likes best; the first where nobody is there in time."""
        params = {"form": ["rank"], "title": ["Which poster is better? The better one first"]}
        wish = Wish("5820", tuple(urls), params, seconds=self.settings.judge_seconds)
        try:
            _, answer = await self.desk.hire(wish, f"{job_id}:choice", 1000)
            return json.loads(answer.content)["order"][0] - 1
        except (Complaint, KeyError, ValueError):
            return 0
