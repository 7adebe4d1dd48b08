"""`CrewService`: a crew as a DVM. The worker host bills, waits for the wallet's word, and runs it once a paid request.

class Writers(CrewService):
    name, about, kinds = "Two writers", "A story by a crew.", (5050,)
    budget_sat, may_hire = 2_000, (5100,)

    def crew(self, job, hire):
        writer = Agent(role="writer", goal="a story", backstory="...", llm=my_llm(), tools=[hire])
        return Crew(agents=[writer], tasks=[Task(description="{text}", expected_output="a story", agent=writer)])

timmy dvm ./writers.py --price 200          (in the environment of this package)
"""

from __future__ import annotations

from typing import Any, ClassVar

from crewai import Crew

from dvms.service import Engine, Failed, Job, Progress, Result, Service, Site
from timmy_crewai.hire import HireTool
from timmy_crewai.market import Market


class CrewService(Service):
    """Override `crew`; `name`, `about` and `kinds` as with every service. The answer is the crew's last output."""

    heavy = False  # a crew thinks elsewhere: its model is a server, its hands are hired
    deadline = 3600
    budget_sat: ClassVar[int] = 0  # most that the crew may spend in 24 hours; 0: it hires nobody
    may_hire: ClassVar[tuple[int, ...]] = ()  # kinds of jobs; empty: all

    def crew(self, job: Job[Any], hire: HireTool) -> Crew:
        """The crew for one job. `hire` buys each order once for this job, also where the host was restarted."""
        raise NotImplementedError

    def inputs(self, job: Job[Any]) -> dict[str, Any]:
        """What the tasks' placeholders stand for."""
        return {"text": job.text(), **job.params.model_dump()}

    def engine(self) -> Engine:
        return Engine("crewai")

    async def open(self, site: Site) -> None:
        name = site.name.replace("_", "-")
        market = Market(site.data, name=name, budget_sat=self.budget_sat, kinds=self.may_hire, relays=site.relays)
        self.market = market.__enter__()

    async def close(self) -> None:
        self.market.__exit__(None, None, None)

    async def run_async(self, job: Job[Any], progress: Progress) -> Result:
        progress(0.1, "the crew is at work")
        crew = self.crew(job, HireTool.of(self.market, scope=job.id))
        try:
            output = await crew.kickoff_async(inputs=self.inputs(job))
        except (ValueError, RuntimeError) as error:
            raise Failed(f"the crew gave up: {type(error).__name__}") from error
        return Result(output.raw)
