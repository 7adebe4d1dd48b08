"""The examples of docs/kinds.md are events that our own readers accept."""

import json
import re
from pathlib import Path

import pytest

from market.announcement import Heartbeat
from market.job import Feedback, JobRequest, JobResult
from market.kinds import FEEDBACK, HEARTBEAT, RANK, REVIEW
from market.review import Review
from nostr.event import Event
from nostr.key import SecretKey

TEXT = (Path(__file__).parents[2] / "docs" / "kinds.md").read_text()
EXAMPLES = [
    json.loads(re.sub(r"<[a-z0-9 ]+>", "ab" * 32, block)) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
]


def signed(example: dict[str, object]) -> Event:
    return SecretKey.generate().sign(**example, created_at=1_800_000_000)  # type: ignore[arg-type]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example['kind']}")
def test_example_is_read(example: dict[str, object]) -> None:
    event = signed(example)
    if 5000 <= event.kind < 6000:
        request = JobRequest.parse(event)
        assert request.inputs and request.bid_msat and request.providers
    elif 6000 <= event.kind < 7000:
        assert JobResult.parse(event).urls
    elif event.kind == FEEDBACK:
        assert Feedback.parse(event).status == "refund" and Feedback.parse(event).amount_msat == 21_000
    elif event.kind == REVIEW:
        assert Review.parse(event).stars == 5
    elif event.kind == HEARTBEAT:
        assert Heartbeat.parse(event).alive(event.created_at)
    else:
        assert event.kind == RANK and event.first("rank") == "70"


def test_every_kind_has_its_example() -> None:
    assert {example["kind"] for example in EXAMPLES} >= {5050, 5202, 5203, 5251, 5260, 6260, 5820, 11998, 31117, 30382}
