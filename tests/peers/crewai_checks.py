"""Runs in the environment of `peers/crewai`, against a running node: `python crewai_checks.py CHECK DATA [ARGUMENT]`.

The language model is a fake that is scripted; everything else is real. Prints one line of JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

from crewai import Agent, Crew, Task
from crewai.flow.flow import Flow, listen, start
from crewai.flow.human_feedback import human_feedback
from crewai.flow.persistence import SQLiteFlowPersistence
from crewai.llms.base_llm import BaseLLM
from pydantic import Field
from timmy_crewai import CrewService, HireTool, Market, NostrInbox, resume


class Scripted(BaseLLM):
    """Says the scripted lines, one after the other; keeps what it was told."""

    lines: list[str] = Field(default_factory=list)
    told: list[str] = Field(default_factory=list)

    def call(self, messages: Any, *_: Any, **__: Any) -> str:
        self.told.append(json.dumps(messages, default=str))
        return self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]


def crew_of(tool: HireTool, action: dict[str, Any], final: str) -> tuple[Crew, Scripted]:
    llm = Scripted(model="scripted")
    llm.lines = [
        f"Thought: I hire.\nAction: hire\nAction Input: {json.dumps(action)}",
        f"Thought: I now know the final answer\nFinal Answer: {final}",
    ]
    agent = Agent(role="producer", goal="a poem", backstory="you hire", llm=llm, tools=[tool], max_iter=4)
    task = Task(description="Get a poem about {text}", expected_output="a poem", agent=agent)
    return Crew(agents=[agent], tasks=[task]), llm


POEM = {"what": "text", "inputs": ["a haiku about a bridge"], "params": {}, "max_sat": 5}


def hire(data: str, *_: str) -> dict[str, Any]:
    """A crew hires a text service; the same order again is bought once; a dear or forbidden one not at all."""
    with Market(data, budget_sat=8, kinds=[5050]) as market:
        crew, llm = crew_of(HireTool.of(market, scope="poem-1"), POEM, "done")
        output = crew.kickoff(inputs={"text": "a bridge"})
        heard = llm.told[-1]
        again = HireTool.of(market, scope="poem-1")
        twice = json.loads(again.run(**POEM))["job_id"]
        over = HireTool.of(market, scope="poem-2").run(**POEM)
        person = again.run(what="5820", inputs=["Is it good?"], max_sat=600)
        jobs = market.call(market.desk.jobs())
    return {"output": output.raw, "heard": heard, "job": twice, "over": over, "person": person, "jobs": jobs}


def flow_of(inbox: NostrInbox, folder: str) -> type[Flow[Any]]:
    class Review(Flow[Any]):
        @start()
        @human_feedback(message="Is this line good? yes or no", provider=inbox)
        def draft(self) -> str:
            return "The bridge holds the river's breath."

        @listen(draft)
        def publish(self, result: Any) -> str:
            return f"published after: {getattr(result, 'feedback', result)}"

    Review.__name__ = Review.__qualname__ = "Review"
    return Review


def pause(data: str, folder: str) -> dict[str, Any]:
    """The flow asks a person and stops."""
    with Market(data, name="flow", budget_sat=1000) as market:
        inbox = NostrInbox(market, max_sat=600, seconds=3600, form="yes-no")
        flow = flow_of(inbox, folder)(persistence=SQLiteFlowPersistence(str(Path(folder) / "flows.db")))
        waiting = flow.kickoff()
    return {"waits": type(waiting).__name__, "flow": waiting.context.flow_id, "job": waiting.callback_info["job"]}


def go_on(data: str, folder: str) -> dict[str, Any]:
    """Another process waits for the person and lets the flow go on."""
    flow_id = (Path(folder) / "flow.id").read_text()
    with Market(data, name="flow", budget_sat=1000) as market:
        inbox = NostrInbox(market, max_sat=600, seconds=3600, form="yes-no")
        store = SQLiteFlowPersistence(str(Path(folder) / "flows.db"))
        result = resume(inbox, flow_of(inbox, folder), flow_id, store)
        jobs = market.call(market.desk.jobs())
    return {"result": str(result), "jobs": len(jobs)}


class Poets(CrewService):
    """Sold by `timmy dvm tests/peers/crewai_checks.py:Poets`."""

    name, about, kinds = "Poets", "A poem by a crew that hires one.", (5299,)
    budget_sat, may_hire = 100, (5050,)

    def crew(self, job: Any, hire: HireTool) -> Crew:
        return crew_of(hire, {**POEM, "inputs": [job.text()]}, f"A poem about {job.text()}, hired for 5 sat")[0]


if __name__ == "__main__":
    check = {"hire": hire, "pause": pause, "resume": go_on}[sys.argv[1]]
    print("RESULT " + json.dumps(check(*sys.argv[2:])))
