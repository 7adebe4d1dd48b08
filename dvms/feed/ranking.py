"""Which works are shown first: a function of the works and of what was said about them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from market.job import JobResult
from market.kinds import JOB_ANIMATION, JOB_COMPOSITE, JOB_IMAGE, JOB_MUSIC, JOB_VIDEO, REACTION, REVIEW
from nostr.event import Event

HALF_LIFE: Final = 3 * 86_400  # seconds
PER_CUSTOMER: Final = 3
# What is worth looking at: a finished composite before the clips and pictures it was made from.
WEIGHTS: Final[Mapping[int, float]] = MappingProxyType(
    {
        JOB_COMPOSITE + 1000: 3.0,
        JOB_VIDEO + 1000: 2.0,
        JOB_MUSIC + 1000: 1.5,
        JOB_ANIMATION + 1000: 1.0,
        JOB_IMAGE + 1000: 1.0,
    }
)


@dataclass(frozen=True, slots=True)
class Work:
    """A public result of this node, and its score."""

    result: JobResult
    score: float


def rank(results: Iterable[Event], opinions: Iterable[Event], now: int, own: Collection[str] = ()) -> list[Work]:
    """Public works, best first, no more than three of one customer.

    A review counts where the buyer of the very work wrote it; a like counts little, and less with each one more, since
    keys cost nothing. The node's own keys have no say.
    """
    liked: dict[str, set[str]] = defaultdict(set)
    rated: dict[tuple[str, str], int] = {}
    for event in opinions:
        if event.pubkey in own:
            continue
        for target in event.values("e"):
            if event.kind == REACTION and event.content != "-":
                liked[target].add(event.pubkey)
            elif event.kind == REVIEW:
                rated[target, event.pubkey] = _rating(event)
    works = []
    for event in results:
        if event.kind not in WEIGHTS or event.tagged("encrypted"):
            continue
        result = JobResult.parse(event)
        if not result.urls:
            continue
        buyer = event.first("p") or ""
        stars = rated.get((event.id, buyer)) or rated.get((result.request_id, buyer)) or 3
        fresh = 0.5 ** (max(0, now - event.created_at) / HALF_LIFE)
        score = WEIGHTS[event.kind] * fresh * (1 + math.log1p(len(liked[event.id])) / 2) * stars / 3
        works.append(Work(result, score))
    works.sort(key=lambda work: (-work.score, work.result.event.id))
    return _varied(works)


def _varied(works: list[Work]) -> list[Work]:
    shown: dict[str, int] = defaultdict(int)
    files: set[str] = set()
    chosen = []
    for work in works:
        customer, file = work.result.event.first("p") or "", work.result.urls[0].sha256 or work.result.urls[0].url
        if shown[customer] < PER_CUSTOMER and file not in files:
            shown[customer] += 1
            files.add(file)
            chosen.append(work)
    return chosen


def _rating(event: Event) -> int:
    text = event.first("rating") or ""
    return min(5, max(1, int(text))) if text.isascii() and text.isdigit() else 3
