"""Event kinds of the marketplace and what each job kind sells.

Job kinds are explicit lists, never the range 5000-5999: other standards have moved into it (5128, 5129).
Sources: NIP-90, the data-vending-machines registry, and `docs/kinds.md` for the kinds that are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

# Identity and discovery.
PROFILE: Final = 0
CONTACTS: Final = 3
DELETION: Final = 5
REACTION: Final = 7
RELAY_LIST: Final = 10002
BLOSSOM_SERVERS: Final = 10063
HEARTBEAT: Final = 11998
RECOMMENDATION: Final = 31989
ANNOUNCEMENT: Final = 31990

# Jobs: requests; a result is the request's kind + 1000.
JOB_EXTRACTION: Final = 5000
JOB_SUMMARY: Final = 5001
JOB_TRANSLATION: Final = 5002
JOB_TEXT: Final = 5050
JOB_IMAGE: Final = 5100
JOB_ANIMATION: Final = 5202
JOB_VIDEO: Final = 5203
JOB_SPEECH: Final = 5250
JOB_MUSIC: Final = 5251
JOB_COMPOSITE: Final = 5260
JOB_FEED: Final = 5300
JOB_HUMAN: Final = 5820
FEEDBACK: Final = 7000

# Composites, receipts and reputation.
RECIPE: Final = 35990
RECEIPT: Final = 7190
REVIEW: Final = 31117
LABEL: Final = 1985
RANK: Final = 30382
REPORT: Final = 1984
ZAP_REQUEST: Final = 9734
ZAP_RECEIPT: Final = 9735

# nostr-dvm answers music jobs with this kind instead of 6251.
RESULT_MUSIC_NOSTRDVM: Final = 5651


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of job: the trade that sells it, a title for people, the usual MIME type of a result (or `*/*`)."""

    kind: int
    trade: str
    title: str
    output_mime: str

    @property
    def result(self) -> int:
        return self.kind + 1000


JOB_KINDS: Final[Mapping[int, JobKind]] = MappingProxyType(
    {
        entry.kind: entry
        for entry in (
            JobKind(JOB_EXTRACTION, "text", "Text extraction", "text/plain"),
            JobKind(JOB_SUMMARY, "text", "Summary", "text/plain"),
            JobKind(JOB_TRANSLATION, "text", "Translation", "text/plain"),
            JobKind(JOB_TEXT, "text", "Text generation", "text/plain"),
            JobKind(JOB_IMAGE, "image", "Image generation", "image/png"),
            JobKind(JOB_ANIMATION, "animation", "Image to clip", "video/mp4"),
            JobKind(JOB_VIDEO, "video", "Video assembly", "video/mp4"),
            JobKind(JOB_SPEECH, "speech", "Text to speech", "audio/mp4"),
            JobKind(JOB_MUSIC, "music", "Music generation", "audio/mp4"),
            JobKind(JOB_COMPOSITE, "composite", "Composite by recipe", "*/*"),
            JobKind(JOB_FEED, "feed", "Content discovery", "application/json"),
            JobKind(JOB_HUMAN, "human", "Human task", "text/plain"),
        )
    }
)


def result_kind(kind: int) -> int:
    """Kind of the result of a job of `kind` (NIP-90)."""
    return kind + 1000


def result_kinds(kind: int) -> frozenset[int]:
    """Every kind under which the wild publishes results of a job of `kind`: read all of them, write `result_kind`."""
    if kind == JOB_MUSIC:
        return frozenset({result_kind(kind), RESULT_MUSIC_NOSTRDVM})
    return frozenset({result_kind(kind)})


def is_result(kind: int) -> bool:
    """True for 6000-6999 and the one stray result kind met in the wild."""
    return 6000 <= kind <= 6999 or kind == RESULT_MUSIC_NOSTRDVM
