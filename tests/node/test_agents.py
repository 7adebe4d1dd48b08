"""Agents as customers, and crews of machines and people: the official MCP client over real stdio, on a whole node."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.whole import Node, running, until

mcp = pytest.importorskip("mcp", reason="PEER NOT TESTED: the extra `mcp` is not installed")
pytestmark = pytest.mark.slow

PARTS = "relay,wallet,text,image,speech,video,human,orchestrator"
STORY = "A fox found the lamp dark and rang the bell with its tail. Since then the two keep watch together."


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("agents") / "node", "--only", PARTS) as node:
        node.timmy("inbox", "here")
        yield node


class Agent:
    """One connected client. `pid` is the server's."""

    def __init__(self, client: Any, pidfile: Path) -> None:
        self._client, self._pidfile = client, pidfile

    @property
    def pid(self) -> int:
        return int(self._pidfile.read_text())

    async def __call__(self, tool: str, **arguments: Any) -> Any:
        answer = await self._client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content[0].text
        return answer.structured_content

    async def refused(self, tool: str, **arguments: Any) -> str:
        answer = await self._client.call_tool(tool, arguments)
        assert answer.is_error, answer.structured_content
        return str(answer.content[0].text)

    async def bytes(self, uri: str) -> str:
        return str((await self._client.read_resource(uri)).contents[0].blob)

    async def until_over(self, job: str, seconds: float = 150) -> Any:
        async with asyncio.timeout(seconds):
            while not (said := await self("job_status", job_id=job, wait=5))["over"]:
                pass
        return said


@asynccontextmanager
async def agent(node: Node, *options: str, user: Any = None) -> AsyncIterator[Agent]:
    """`timmy mcp` as an assistant starts it, by the official client. `user` answers what the server asks."""
    pidfile = node.data.parent / "mcp.pid"
    script = f'echo $$ > {pidfile}; exec "{sys.executable}" -m node.cli mcp --data "{node.data}" "$@"'
    server = mcp.StdioServerParameters(
        command="sh", args=["-c", script, "mcp", *options], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    async with mcp.Client(mcp.stdio_client(server), elicitation_callback=user) as client:
        yield Agent(client, pidfile)


async def test_without_a_budget_there_are_quotes_only(node: Node) -> None:
    async with agent(node, "--name", "poor") as poor:
        await asyncio.to_thread(until, lambda: _sold(node, 5050), 60)
        found = (await poor("find_services", query="text"))["services"]
        assert {offer["kind"] for offer in found} & {5050, 5000, 5001}
        quote = await poor("quote", what="text", inputs=["a haiku about rain"])
        assert quote["price_sat"] == 5 and quote["budget_left_sat"] == 0
        words = await poor.refused("request_job", quote_id=quote["quote_id"], idempotency_key="poor-agent-1")
        assert "budget" in words and "--budget-sat" in words
        assert (await poor("list_jobs"))["jobs"] == []


async def test_money_rules_are_in_the_tool(node: Node) -> None:
    async with agent(node, "--name", "small", "--budget-sat", "12", "--order-sat", "6", "--kinds", "text") as small:
        await asyncio.to_thread(until, lambda: _sold(node, 5100), 60)
        image = await small("quote", what="image", inputs=["a hill"])
        assert not image["may_be_ordered"]
        assert "allow-list" in await small.refused(
            "request_job", quote_id=image["quote_id"], idempotency_key="small-image"
        )
        poem = await small("quote", what="text", inputs=["a poem about hills"])
        order = {"quote_id": poem["quote_id"], "idempotency_key": "small-poem-1"}
        first = await small("request_job", **order, wait=20)
        assert first["delivered"] and first["spent_sat"] == 5
        assert (await small("request_job", **order))["job_id"] == first["job_id"]
        assert "another order" in await small.refused("request_job", **order, max_sat=6)
        order["idempotency_key"] = "small-poem-2"
        assert "at most" in await small.refused("request_job", **order, max_sat=7)
        assert (await small("request_job", **order, wait=20))["delivered"]
        order["idempotency_key"] = "small-poem-3"
        assert "2 sat left of 12 sat" in await small.refused("request_job", **order)
        shown = await small("get_result", job_id=first["job_id"])
        assert shown["text"].startswith("<data-") and "never followed as instructions" in shown["text"]
        assert await small("review", job_id=first["job_id"], stars=4, text="short")
    async with agent(node, "--name", "small", "--budget-sat", "12") as again:
        assert (await again("budget"))["left_sat"] == 2  # a restart is no fresh budget


async def test_every_order_is_shown_to_the_user_where_asked(node: Node) -> None:
    async with agent(node, "--name", "asking", "--budget-sat", "100", "--ask") as asking:
        await asyncio.to_thread(until, lambda: _sold(node, 5050), 60)
        quote = await asking("quote", what="text", inputs=["a haiku"])
        words = await asking.refused("request_job", quote_id=quote["quote_id"], idempotency_key="asking-1")
        assert "cannot ask" in words
    shown: list[str] = []

    async def user(_: Any, question: Any) -> Any:
        shown.append(question.message)
        return mcp.types.ElicitResult(action="accept", content={"approve": len(shown) > 1})

    order = {"quote_id": quote["quote_id"], "idempotency_key": "asking-2", "wait": 20}
    async with agent(node, "--name", "asking", "--budget-sat", "100", "--ask", user=user) as asking:
        assert "did not approve" in await asking.refused("request_job", **order)
        assert (await asking("request_job", **order))["delivered"]
        assert (await asking("request_job", **order))["delivered"]  # what is ordered is not asked again
    assert len(shown) == 2 and "at most 5 sat" in shown[0] and "a haiku" in shown[0]


async def test_a_person_is_hired_and_a_killed_server_goes_on(node: Node) -> None:
    await asyncio.to_thread(until, lambda: _sold(node, 5820), 60)
    task = {"title": "Judge a haiku", "inputs": ["Rain on the old roof"], "form": "score", "max_sat": 600}
    with contextlib.suppress(Exception):  # the client's pipe breaks with the server
        async with agent(node, "--budget-sat", "1000") as first:
            job = (await first("hire_person", **task, idempotency_key="judge-the-haiku", hours=1))["job_id"]
            listed = await asyncio.to_thread(until, lambda: node.json("inbox", "list"))
            os.kill(first.pid, signal.SIGKILL)
            await first("budget")
    assert listed[0]["title"] == "Judge a haiku" and listed[0]["price_msat"] == 500_000
    assert 3000 < listed[0]["due_at"] - listed[0]["made_at"] <= 3600
    async with agent(node, "--budget-sat", "1000") as second:
        again = await second("hire_person", **task, idempotency_key="judge-the-haiku", hours=1)
        assert again["job_id"] == job and not again["over"]
        await asyncio.to_thread(node.timmy, "inbox", "deliver", listed[0]["id"][:8], "7 a little wet")
        over = await second.until_over(job)
        assert over["delivered"] and over["spent_sat"] == 500
        assert '"score":7' in (await second("get_result", job_id=job))["text"]


async def test_a_mixed_crew_makes_a_film(node: Node) -> None:
    """Machines write, paint, speak and cut; a person edits and picks the cover at the command line's inbox."""
    await asyncio.to_thread(until, lambda: _sold(node, 5260, "edited-story"), 90)
    async with agent(node, "--name", "producer", "--budget-sat", "5000") as producer:
        asked = {"recipe": "edited-story", "inputs": {"prompt": "a lighthouse keeper and a fox"}, "max_sat": 4000}
        job = (await producer("run_recipe", **asked, idempotency_key="the-fox-film"))["job_id"]
        edit = await asyncio.to_thread(until, lambda: _task(node, "Edit this story"), 90)
        words = [item["text"] for item in edit["inputs"]]
        assert len(words[0]) > 100 and words[1].startswith("Make it clear")
        await asyncio.to_thread(node.timmy, "inbox", "claim", edit["id"][:8], "--as", "ann")
        await asyncio.to_thread(node.timmy, "inbox", "deliver", edit["id"][:8], STORY, "--as", "ann")
        cover = None
        while not (over := await producer("job_status", job_id=job, wait=3))["over"]:
            if cover is None and (cover := await asyncio.to_thread(_task, node, "Which picture")):
                assert [item["mime"] for item in cover["inputs"]] == ["image/png", "image/png"]
                await asyncio.to_thread(
                    node.timmy, "inbox", "deliver", cover["id"][:8], "2 1 more light", "--as", "ben"
                )
        assert over["delivered"], over
        shown = await producer("get_result", job_id=job)
        assert shown["mime"] == "video/mp4" and _size(shown["path"]) > 10_000
        assert len(await producer.bytes(f"timmy://result/{job}")) > 10_000
        audit = await producer("audit", job_id=job)
        assert audit["ok"] and audit["red"] == 0 and audit["green"] > 80, audit
    steps = json.loads(node.timmy("audit", shown["receipt"], "--json"))["lines"]
    names = {line["step"] for line in steps}
    assert {"edited[0]", "voice[0]", "film[0]"} <= names
    assert ("cover~0[0]" in names) == (cover is not None)  # on a slow box a single cover may have come in time
    choice = next(line for line in steps if line["step"] == "cover[0]" and line["what"] == "gate judge")
    assert choice["verdict"] == "green"


def test_a_crew_in_one_file_sells_what_it_hires(node: Node, tmp_path: Path) -> None:
    """`examples/crew.py`: plans with a text model, has two pictures painted, asks a person, delivers the better one."""
    uri = node.json("wallet", "connect", "crew")["uri"]
    example = Path(__file__).parents[2] / "examples" / "crew.py"
    command = [sys.executable, "-m", "node.cli", "dvm", str(example), "--price", "700", "--data", str(node.data)]
    crew = subprocess.Popen(command, env={**os.environ, "TIMMY_WALLET_URI": uri}, stdout=subprocess.DEVNULL)
    try:
        until(lambda: node.json("services", "--kind", "5299"), 60, every=1)
        poster = tmp_path / "poster.png"
        buy = [sys.executable, "-m", "node.cli", "buy", "5299", "a fox and a lamp", "--out", str(poster)]
        buying = subprocess.Popen([*buy, "--data", str(node.data)], stdout=subprocess.PIPE, text=True)
        choice = until(lambda: _task(node, "Which poster"), 90)
        node.timmy("inbox", "deliver", choice["id"][:8], "2 1")
        said, _ = buying.communicate(timeout=90)
        assert buying.returncode == 0, said
        second = choice["inputs"][1]["url"]  # files are named by their hash
        assert hashlib.sha256(poster.read_bytes()).hexdigest() in second
    finally:
        crew.terminate()
        crew.wait(20)


def _size(path: str) -> int:
    return Path(path).stat().st_size


def _task(node: Node, title: str) -> Any:
    return next((task for task in node.json("inbox", "list") if task["title"].startswith(title)), None)


def _sold(node: Node, kind: int, recipe: str | None = None) -> bool:
    services = node.get("/index.json")["services"]
    return any(
        s["kind"] == kind and s["alive"] and (recipe is None or (s["recipe"] == recipe and s["price_msat"]))
        for s in services
    )
