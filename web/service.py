"""One thing for sale, and one piece of work that was sold: ready for a template."""

from dataclasses import dataclass
from typing import Any

from market.announcement import Announcement
from market.kinds import JOB_KINDS, RECIPE
from market.media import Media
from market.reputation import Score
from nostr import nip19
from nostr.event import Event

LIVE, LATE = 300, 900  # seconds since the last sign of life


@dataclass(frozen=True, slots=True)
class Work:
    """A public result: its file, or the beginning of its text; what was asked for, how long it took, what it cost."""

    event: Event
    media: Media | None
    text: str
    words: str
    seconds: int | None
    msat: int | None

    @property
    def job(self) -> str:
        return self.event.first("e") or ""


@dataclass(frozen=True, slots=True)
class Service:
    """One thing for sale, ready for a template. `seen` and `left` are the last sign of life and the last goodbye;
    `until` is how long a person has said to be there."""

    announcement: Announcement
    kind: int
    seen: int | None
    left: int
    sample: Work | None
    seconds: int | None
    score: Score
    now: int
    until: int = 0

    @property
    def pubkey(self) -> str:
        return self.announcement.pubkey

    @property
    def name(self) -> str:
        return self.announcement.name or nip19.npub(self.pubkey)[:16]

    @property
    def about(self) -> str:
        return self.announcement.about

    @property
    def title(self) -> str:
        known = JOB_KINDS.get(self.kind)
        return known.title if known else f"kind {self.kind}"

    @property
    def price_msat(self) -> int | None:
        return self.announcement.price_msat

    @property
    def engine(self) -> str:
        return self.announcement.engine

    @property
    def model(self) -> str:
        return self.announcement.model

    @property
    def unavailable(self) -> str:
        """Why it cannot be had now, in the seller's words; "" where it can."""
        return self.announcement.unavailable[:200]

    @property
    def human(self) -> bool:
        return self.announcement.human

    @property
    def recipe(self) -> str | None:
        """The name of the recipe a composite is made by."""
        addresses = (value.split(":", 2) for value in self.announcement.raw.values("a"))
        return next((parts[2] for parts in addresses if len(parts) == 3 and parts[0] == str(RECIPE)), None)

    @property
    def href(self) -> str:
        return f"/service/{nip19.npub(self.pubkey)}/{self.kind}" + (f"?d={self.announcement.d}" if self.recipe else "")

    @property
    def life(self) -> str:
        """`live`, `late` or `gone`: the class of the dot."""
        if self.left and self.left >= (self.seen or 0):  # in one second, the goodbye comes last
            return "gone"
        age = self.now - (self.seen or 0)
        return "live" if age <= LIVE or (self.human and self.now < self.until) else "late" if age <= LATE else "gone"

    @property
    def life_words(self) -> str:
        return {"live": "open now", "late": "was here minutes ago", "gone": "not seen lately"}[self.life]

    @property
    def score_short(self) -> str:
        return str(round(100 * self.score.mean)) if self.score.jobs else "new"

    @property
    def score_words(self) -> str:
        if not self.score.jobs:
            return "no verified reviews yet"
        jobs, raters = self.score.jobs, self.score.raters
        return (
            f"{round(100 * self.score.mean)} % of jobs expected to go well, from {jobs} reviewed job{'s' * (jobs != 1)}"
            f" by {raters} buyer{'s' * (raters != 1)}"
        )

    @property
    def picture(self) -> str:
        """The picture of the announcement, where it is a web address."""
        return self.announcement.picture if self.announcement.picture.startswith(("http://", "https://")) else ""

    def to_json(self) -> dict[str, Any]:
        media = self.sample.media if self.sample else None
        return {
            "pubkey": self.pubkey, "kind": self.kind, "name": self.name, "about": self.about, "title": self.title,
            "price_msat": self.price_msat, "engine": self.engine, "model": self.model, "alive": self.life == "live",
            "seen": self.seen, "score": {
                "mean": round(self.score.mean, 4), "low": round(self.score.low, 4), "jobs": self.score.jobs,
                "raters": self.score.raters, "why": self.score.explain(),
            }, "unavailable": self.unavailable, "median_seconds": self.seconds, "recipe": self.recipe,
            "params": self.announcement.params, "href": self.href, "sample": media.url if media else None,
        }  # fmt: skip
