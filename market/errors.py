"""Errors of the market room.

MarketError
├── BadRequest         a job request that cannot be read; `reason` is written for its customer
├── BadFeedback        a 7000 that names no request or carries no status
├── BadResult          a job result that names no request or cannot be read
├── BadAnnouncement    a 31990 or 11998 that cannot be read
├── BillRefused        a bill that must not be paid (purchase)
├── ResultRefused      a result that is not the one that was bought (purchase)
├── FetchRefused       a download that was not allowed or broke a limit (fetch)
│   └── FetchFailed    the other side did not deliver: another try may help
├── PurchaseError      a purchase that could not even be started (buyer)
└── BadReview          a review or label that cannot be read (review)
"""

from __future__ import annotations


class MarketError(Exception):
    """Base of the room; `reason` is one plain sentence that may be shown to the other side."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadRequest(MarketError):
    """A job request that cannot be read."""


class BadFeedback(MarketError):
    """A feedback event that cannot be read."""


class BadResult(MarketError):
    """A job result that cannot be read."""


class BadAnnouncement(MarketError):
    """An announcement or heartbeat that cannot be read."""


class BillRefused(MarketError):
    """A bill that must not be paid. `kind` is a `purchase.Refusal`, for counting."""

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(reason)
        self.kind = kind


class ResultRefused(MarketError):
    """A result that is not the one that was bought. `kind` is a `purchase.Refusal`."""

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(reason)
        self.kind = kind


class FetchRefused(MarketError):
    """A download that was not allowed or broke a limit."""


class FetchFailed(FetchRefused):
    """The other side did not deliver: no answer, 404, broken off, too slow."""


class PurchaseError(MarketError):
    """A purchase that could not even be started."""


class BadReview(MarketError):
    """A review or label that cannot be read."""
