"""What the buyer's commands make of their arguments, and what they say when something is missing."""

from pathlib import Path

import pytest

from node.commands import market
from node.errors import Unavailable, UsageComplaint
from node.hiring import as_kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [("5100", 5100), ("image", 5100), ("text", 5050), ("translation", 5002), ("text-generation", 5050), ("music", 5251),
     ("music-video", None)],
)  # fmt: skip
def test_kinds_have_names(text: str, kind: int | None) -> None:
    assert as_kind(text) == kind


def test_parameters() -> None:
    assert market._params(["a=1", "a=2", "b=x=y"]) == {"a": ["1", "2"], "b": ["x=y"]}
    with pytest.raises(UsageComplaint, match="name=value"):
        market._params(["seconds"])


def test_without_a_relay_it_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="timmy up"):
        market.services(data=tmp_path)
    with pytest.raises(Unavailable, match="timmy up"):
        market.buy("text", ["x"], data=tmp_path)


def test_a_result_that_could_not_be_saved_is_not_bought(tmp_path: Path) -> None:
    with pytest.raises(UsageComplaint, match="--out"):
        market.buy("text", ["x"], save=tmp_path / "nowhere" / "x.txt", data=tmp_path)


def test_a_wrong_key_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageComplaint, match="--to"):
        market.buy("text", ["x"], to="npub1nobody", data=tmp_path)


def test_jobs_before_the_first_purchase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    market.jobs(data=tmp_path)
    assert "nothing bought yet" in capsys.readouterr().out
    with pytest.raises(UsageComplaint):
        market.jobs("abcd", data=tmp_path)
