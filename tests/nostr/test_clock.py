"""Waiting that a jump of the wall clock ends."""

import asyncio
import time

import pytest

from nostr import clock


@pytest.mark.parametrize("jump", [7200, -7200])
async def test_a_jump_of_the_clock_ends_the_wait(monkeypatch: pytest.MonkeyPatch, jump: int) -> None:
    monkeypatch.setattr(clock, "LOOK", 0.01)
    offset = 0
    waiting = asyncio.create_task(clock.sleep_or_jump(lambda: int(time.time()) + offset, 600))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    offset = jump
    await asyncio.wait_for(waiting, 5)


async def test_without_a_jump_it_waits_its_time() -> None:
    began = time.monotonic()
    await clock.sleep_or_jump(clock.system_clock, 0.2)
    assert 0.2 <= time.monotonic() - began < 5
