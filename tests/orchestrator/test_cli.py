"""`timmy recipe`, `timmy books`, `timmy audit` as a user types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.errors import Complaint
from orchestrator.shelf import shipped


def timmy(*words: str) -> str:
    """What a command prints. Raises the complaint that the command would show in one line."""
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIMMY_DATA", str(tmp_path / "node"))


def test_the_shipped_recipes_are_listed_and_fit() -> None:
    listed = json.loads(timmy("recipe", "list", "--json"))
    assert {row["d"] for row in listed} == set(shipped())
    assert "It fits" in timmy("recipe", "check", "music-video")


def test_a_new_recipe_is_written_and_what_is_wrong_with_it_is_said(tmp_path: Path) -> None:
    timmy("recipe", "new", "my-film", "--like", "music-video")
    path = tmp_path / "my-film.json"
    assert "It fits" in timmy("recipe", "check", str(path))
    document = json.loads(path.read_text())
    document["steps"]["clip"]["i"] = [["$song", "url"]]
    path.write_text(json.dumps(document))
    with pytest.raises(Complaint, match=r"my-film\.json: steps\.clip\.i\[0\]: \$song is a file of audio"):
        timmy("recipe", "check", str(path))
    with pytest.raises(Complaint, match="exists already"):
        timmy("recipe", "new", "my-film")


def test_a_run_is_simulated_with_given_prices() -> None:
    prices = [f"--price={step}=10" for step in ("summary", "translation")]
    report = json.loads(
        timmy("recipe", "simulate", "translated-summary", *prices, "--chance", "summary=0.99", "--json")
    )
    assert report["quote"]["price_msat"] > report["quote"]["expected_msat"] > 20_000
    assert [row["margin"] for row in report["margins"]] == [0.0, 0.1, 0.2, 0.3, 0.5]
    with pytest.raises(Complaint, match="STEP=NUMBER"):
        timmy("recipe", "simulate", "translated-summary", "--price", "summary")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("recipe", "check", "nothing"), "no recipe 'nothing'"),
        (("books",), "Timmy has not run"),
        (("audit", "xyz", "--relay", "ws://127.0.0.1:1"), "not an event id"),
        (("audit", "ab" * 32), "no relay runs"),
        (("orchestrator",), "no relay runs"),
        (("recipe", "fork", "nonsense", "mine", "--relay", "ws://127.0.0.1:1"), "neither an event id nor an address"),
    ],
)
def test_complaints_say_what_to_do(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(Complaint, match=complaint):
        timmy(*words)
