"""One purchase under way: what it knows, what it tells, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from market.fetch import Fetched
from market.job import Feedback, JobResult
from market.purchase import Bill, Order
from market.purchases import Purchase, State
from nostr.event import Event
from wallet.interface import PayResult


@dataclass(frozen=True, slots=True)
class Update:
    """Something happened: the purchase as it now stands, a line for people, and the feedback that said so, if any."""

    purchase: Purchase
    message: str
    feedback: Feedback | None = None


OnUpdate = Callable[[Update], Awaitable[None] | None]
Answer = Bill | JobResult
Choose = Callable[[Sequence[Answer]], Answer]
Reviewer = Callable[[Purchase], Iterable[Event]]
Inspect = Callable[[Order, Fetched], Awaitable[tuple[str, str] | None]]


class End(Exception):
    """Unwinds to the end of a purchase."""

    def __init__(self, state: State, reason: str, refusal: str | None = None) -> None:
        super().__init__(reason)
        self.state, self.reason, self.refusal = state, reason, refusal


@dataclass(slots=True)
class Run:
    """One purchase under way. `news` carries events, the wallet's word and cancellation to the one that waits."""

    order: Order
    relays: tuple[str, ...]
    tell: OnUpdate | None
    lightning: str = ""
    news: asyncio.Queue[Event | PayResult | None] = field(default_factory=asyncio.Queue)
    paying: asyncio.Task[None] | None = None
    bill: Bill | None = None  # what is being paid
    paid: PayResult | None = None
    locked: bool = False  # the payment was pending: money is held, not yet taken
    cancelled: bool = False
    result: JobResult | None = None
    fetched: Fetched | None = None

    def facts(self) -> dict[str, object]:
        """What goes into the purchase's row at its end."""
        made: dict[str, object] = {"provider": self.order.provider}
        if self.result is not None:
            made["result"] = self.result.event.to_json()
        if self.fetched is not None:
            made |= {"path": str(self.fetched.path), "mime": self.fetched.mime, "sha256": self.fetched.sha256}
        return made
