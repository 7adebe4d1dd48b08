"""The market: the vocabulary of jobs and announcements (NIP-89, NIP-90) and the buyer's side of a purchase.

Owns: kinds, announcements, job requests, feedback, results, heartbeats; the directory of providers, the buyer, safe
downloads, reviews and reputation. Stands on `nostr/` and on the interface of `wallet/`; knows no worker and no page.
"""

from market.announcement import Announcement, Heartbeat
from market.errors import BadRequest, MarketError
from market.job import Feedback, JobInput, JobRequest, JobResult
from market.media import Media

__all__ = [
    "Announcement",
    "BadRequest",
    "Feedback",
    "Heartbeat",
    "JobInput",
    "JobRequest",
    "JobResult",
    "MarketError",
    "Media",
]
