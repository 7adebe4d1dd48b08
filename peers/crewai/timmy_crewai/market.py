"""The market for code that does not run in a loop: a desk (`node.agents.Desk`) on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from node.agents import Desk, Limits

T = TypeVar("T")


class Market:
    """Enter it. `budget_sat`: most in 24 hours, restarts included; `kinds`: what may be hired, empty: everything.

    `wallet`: a file with the crew's own wallet connection; None: the wallet of the node at `data`.
    """

    def __init__(
        self,
        data: str | Path,
        *,
        name: str = "crewai",
        budget_sat: int = 0,
        order_sat: int | None = None,
        kinds: Collection[int] = (),
        relays: Sequence[str] | None = None,
        wallet: str | None = None,
    ) -> None:
        limits = Limits(budget_sat * 1000, None if order_sat is None else order_sat * 1000, frozenset(kinds) or None)
        self.desk = Desk(Path(data).expanduser(), name=name, relays=relays, wallet=wallet, limits=limits)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"market {name}", daemon=True)

    def __enter__(self) -> Market:
        self._thread.start()
        self.call(self.desk.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self.call(self.desk.__aexit__(*error))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the desk's loop and wait, from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
