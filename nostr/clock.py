"""Time as an argument, so that tests can turn it."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


def system_clock() -> int:
    """Seconds since 1970, whole (the unit of every Nostr timestamp)."""
    return int(time.time())
