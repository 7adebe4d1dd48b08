"""Scores and checked reviews, as this node sees them: the market's own verification and arithmetic, kept fresh.

The viewpoint is the node's: its own keys' purchases count fully, those whom the owner follows count, strangers little.
"""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from market.errors import MarketError
from market.kinds import ANNOUNCEMENT, REVIEW
from market.reputation import Evidence, Reputation, Score, newcomer
from market.review import Review, Verdict
from market.witness import Witness
from nostr.clock import Clock
from nostr.errors import NostrError
from nostr.filter import Filter
from nostr.pool import Pool
from web.runs import Runs

if TYPE_CHECKING:
    from web.shelf import Shelf

log = logging.getLogger("web")
EVERY = 60  # seconds between two looks at everything; a new review or seller is looked at when it comes
TOGETHER = 0.5  # seconds that news is gathered before it is checked
REST = 2  # seconds between two looks at least, however much is said
TIMMY = "orchestrator"


class Scores:
    """`start` it with the page's pool; `of` and `reviews` answer from memory."""

    def __init__(self, data: Path, runs: Runs, clock: Clock) -> None:
        self._data, self._runs, self._clock = data, runs, clock
        self._witness: Witness | None = None
        self._book: Reputation | None = None
        self._ours: list[Evidence] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._own: tuple[int, frozenset[str]] = (0, frozenset())

    def start(self, pool: Pool, shelf: "Shelf") -> None:
        self._witness = Witness(pool, self._clock)
        self._tasks = [
            asyncio.create_task(self._keep_fresh(shelf), name="scores"),
            asyncio.create_task(self._listen(pool), name="reviews"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def own(self) -> frozenset[str]:
        """The public keys of this node's parts. Read again when a part has got one."""
        folder = self._data / "keys"
        changed = folder.stat().st_mtime_ns if folder.exists() else 0
        if changed != self._own[0]:
            self._own = changed, frozenset(path.read_text().strip() for path in folder.glob("*.pub"))
        return self._own[1]

    def of(self, provider: str, kind: int) -> Score:
        return self._book.score(provider, kind) if self._book is not None else newcomer(provider, kind)

    def chance(self, provider: str, kind: int) -> float:
        """Chance that one try at a seller is good, as Timmy reckons it for his quotes."""
        mine = [one.value >= 0.5 for one in self._ours if one.provider == provider and one.kind == kind]
        return (sum(mine) + 10 * (0.97 if provider in self.own else 0.9)) / (len(mine) + 10)

    def trust(self, rater: str) -> float:
        """How far this node believes a rater, 0 to 1."""
        return self._book.trust(rater) if self._book is not None else 0.0

    def reviews(self, provider: str) -> list[tuple[Review, Verdict]]:
        """Checked reviews of a seller, newest first."""
        return self._witness.reviews(provider) if self._witness is not None else []

    async def refresh(self, shelf: "Shelf") -> None:
        """Hear what is new and count again."""
        witness = self._witness
        if witness is None:
            return
        await witness.listen_to(shelf.sellers(), self._key("owner"))
        evidence = [one for one in witness.evidence if one.rater != self._key(TIMMY)]
        self._ours = await self._ledger(self._key(TIMMY) or TIMMY)
        evidence += self._ours
        view = witness.viewpoint(own=self.own)
        self._book = Reputation(view, evidence, now=self._clock(), vouches=witness.vouches)

    async def _ledger(self, me: str) -> list[Evidence]:
        """Timmy's own purchases: they count whether he published a review or not."""
        journal = await self._runs.journal()
        told = await journal.experience() if journal is not None else []
        return [
            Evidence(me, one.provider, one.kind, (one.stars - 1) / 4, one.at, max(one.paid_msat, 1)) for one in told
        ]

    async def _listen(self, pool: Pool) -> None:
        async for _ in pool.subscribe(Filter(kinds=[REVIEW, ANNOUNCEMENT], limit=0)):
            self._news.set()

    async def _keep_fresh(self, shelf: "Shelf") -> None:
        await asyncio.sleep(1)  # the shelf is filling
        while True:
            try:
                await self.refresh(shelf)
            except (MarketError, NostrError, TimeoutError) as error:
                log.warning("scores not refreshed: %s", error)
            await asyncio.sleep(REST)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._news.wait()
                    await asyncio.sleep(TOGETHER)
            self._news.clear()

    def _key(self, name: str) -> str | None:
        path = self._data / "keys" / f"{name}.pub"
        return path.read_text().strip() if path.exists() else None
