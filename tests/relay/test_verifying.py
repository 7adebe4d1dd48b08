"""Signatures are checked on the spot or in threads: the answers and their order are the same."""

import time

import pytest

from nostr.key import SecretKey
from relay import writing
from tests.relay.conftest import Start

NOW = int(time.time())


@pytest.mark.parametrize("spare_cpus", [0, 2])
async def test_a_burst_is_verified_in_order(
    start: Start, key: SecretKey, monkeypatch: pytest.MonkeyPatch, spare_cpus: int
) -> None:
    monkeypatch.setattr(writing, "SPARE_CPUS", spare_cpus)
    events = [key.sign(kind=1, content=str(n), created_at=NOW - n).to_dict() for n in range(300)]
    for event in events[::7]:
        event["sig"] = "0" * 128
    relay = await start()
    async with relay.client() as client, relay.client() as reader:
        await reader.subscribe({"kinds": [1], "limit": 0})
        for event in events:
            await client.say("EVENT", event)
        answers = [await client.hear() for _ in events]
        assert {answer[1]: answer[2] for answer in answers} == {e["id"]: e["sig"] != "0" * 128 for e in events}
        good = [event["id"] for event in events if event["sig"] != "0" * 128]
        assert [(await reader.hear())[2]["id"] for _ in good] == good
