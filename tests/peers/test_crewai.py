"""CrewAI on the market, in its own environment (a gigabyte): `pytest -m crewai`. The language model is a fake."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import environments
from tests.whole import Node, running, until

pytestmark = [pytest.mark.crewai, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
CHECKS = ROOT / "tests" / "peers" / "crewai_checks.py"
PACKAGES = (
    "crewai==1.15.30", "aiohttp>=3.11", "coincurve>=21", "cryptography>=43", "jinja2>=3.1", "orjson>=3.10",
    "segno>=1.6", "uvloop>=0.21",
)  # fmt: skip


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> str:
    """The interpreter with crewai; the node's own code comes by path."""
    if "crewai" not in (request.config.option.markexpr or ""):
        environments.skip("crewai is a gigabyte: it is tested with `pytest -m crewai`")
    if sys.version_info >= (3, 14):
        environments.skip("crewai has no release for this Python")
    return str(environments.python(*PACKAGES))


@pytest.fixture(scope="module")
def node(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("crewai") / "node", "--only", "relay,wallet,text,human") as node:
        node.timmy("inbox", "here")
        until(lambda: {5050, 5820} <= {s["kind"] for s in node.json("services", "--alive")}, 60, every=1)
        yield node


def environ() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "peers" / "crewai")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def check(python: str, name: str, node: Node, *arguments: str) -> Any:
    command = [python, str(CHECKS), name, str(node.data), *arguments]
    done = subprocess.run(
        command, env=environ(), capture_output=True, text=True, timeout=240, check=False, cwd=node.data
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    assert line, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(line.removeprefix("RESULT "))


def test_a_crew_hires_within_the_tools_budget(python: str, node: Node) -> None:
    said = check(python, "hire", node)
    assert said["output"] == "done" and "<data-" in said["heard"] and "never followed as instructions" in said["heard"]
    assert [job["job_id"] for job in said["jobs"]] == [said["job"]]  # asked for twice, bought once
    assert "budget" in said["over"] and "allow-list" in said["person"]


def test_a_flow_waits_for_a_person_and_goes_on_in_another_process(python: str, node: Node, tmp_path: Path) -> None:
    paused = check(python, "pause", node, str(tmp_path))
    assert paused["waits"] == "HumanFeedbackPending"
    task = until(lambda: next(iter(node.json("inbox", "list")), None), 60, every=1)
    assert task["inputs"][0]["text"] == "The bridge holds the river's breath."
    node.timmy("inbox", "deliver", task["id"][:8], "yes, let it stand")
    (tmp_path / "flow.id").write_text(paused["flow"])
    resumed = check(python, "resume", node, str(tmp_path))
    assert "let it stand" in resumed["result"] and resumed["jobs"] == 1


def test_a_crew_is_sold_as_a_service(python: str, node: Node) -> None:
    command = [python, "-m", "node.cli", "dvm", f"{CHECKS}:Poets", "--price", "0", "--data", str(node.data)]
    worker = subprocess.Popen(command, env=environ(), stdout=subprocess.PIPE, text=True)
    try:
        assert worker.stdout is not None and worker.stdout.readline().startswith("crewai_checks npub1")
        until(lambda: node.json("services", "--kind", "5299"), 60, every=1)
        assert "A poem about a bridge, hired for 5 sat" in node.timmy("buy", "5299", "a bridge")
    finally:
        worker.terminate()
        worker.wait(20)
