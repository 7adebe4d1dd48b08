"""Why a score is what it is, in sentences for a buyer, each with where its evidence stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from market.reputation import Score

REVIEWS = "#reviews"
Reason = Mapping[str, str]  # text, href ("" where there is nothing to show)


def reasons(score: Score, reviews: Sequence[Mapping[str, Any]]) -> list[Reason]:
    """What was counted. Weights are of jobs: old ones fade, large ones and known buyers tell more."""
    made: list[tuple[str, str]] = []
    if score.jobs and score.low < score.mean - 0.02:
        jobs = "1 reviewed job leaves" if score.jobs == 1 else f"{score.jobs} reviewed jobs leave"
        made.append((f"For a large job this node reckons with {round(100 * score.low)} of 100: {jobs} doubt.", ""))
    if any(score.own):
        made.append((f"This node's own purchases: {_weighed(score.own)}.", ""))
    if any(score.known):
        made.append((f"Buyers whom this node trusts: {_weighed(score.known)}.", REVIEWS))
    if any(score.crowd):
        many = f"Buyers whom nobody here knows: {_weighed(score.crowd)}. Their praise counts little, however many."
        made.append((many, REVIEWS))
    if reviews:
        proven = sum(bool(review["paid"]) for review in reviews)
        some = f"{proven} of {len(reviews)} reviews prove that their authors paid; the others change nothing."
        made.append((some if proven < len(reviews) else "Every review proves that its author paid.", REVIEWS))
    if score.vouched:
        made.append(("Somebody whom this node trusts recommends it.", ""))
    if score.short_mean < score.mean - 0.02:
        lately = f"Lately it went worse: by the last weeks alone it would be {round(100 * score.short_mean)} of 100."
        made.append((lately, REVIEWS))
    return [{"text": text, "href": href} for text, href in made]


def _weighed(evidence: tuple[float, float]) -> str:
    """`they weigh like 12 good and 1 bad jobs`"""
    good, bad = (_count(part) for part in evidence)
    if bad == "0":
        return f"they weigh like {good} good {'job' if good == '1' else 'jobs'}, none bad"
    return f"they weigh like {good} good and {bad} bad jobs"


def _count(weight: float) -> str:
    return f"{weight:.0f}" if weight >= 10 or round(weight, 1) == round(weight) else f"{weight:.1f}"
