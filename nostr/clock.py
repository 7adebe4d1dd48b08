"""Time as an argument, so that tests can turn it."""

import asyncio
import time
from collections.abc import Callable

Clock = Callable[[], int]

JUMP = 30  # seconds that the wall clock may stray from the time that passed
LOOK = 5.0  # seconds between two looks at it


def system_clock() -> int:
    """Seconds since 1970, whole (the unit of every Nostr timestamp)."""
    return int(time.time())


async def sleep_or_jump(clock: Clock, seconds: float) -> None:
    """Wait that long, or until the wall clock has jumped: after a jump what was said before it looks old to others."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    ahead = clock() - loop.time()
    while (left := end - loop.time()) > 0 and abs(clock() - loop.time() - ahead) < JUMP:  # noqa: ASYNC110  a clock has no event
        await asyncio.sleep(min(left, LOOK))
