"""Scores of providers from reviews: a pure function of a viewpoint, the evidence and the time. See docs/reputation.md.

A score is a Beta posterior for "the next job of this kind is delivered well". What may move it: our own ledger; paid
reviews, weighted by how far the viewpoint trusts their author; a crowd of strangers, capped so low that a million keys
cannot lift a stranger above a modest bound; a weak prior where trusted keys vouch. Complaints weigh more than praise,
those that the public record bears out (nothing was delivered, the file fails its gate) more than bare opinions, and
opinions of an author on a spree of complaints against many sellers hardly at all.

Small jobs go by a random draw from the posterior, which lets newcomers in; large ones by its lower bound.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

DAY: Final = 86_400
PRIOR_WEIGHT: Final = 4.0
PRIOR_MEAN: Final = 0.5
BOUND: Final = 1.28  # standard deviations of the lower bound
HALF_LIFE: Final = 40.0  # days
SHORT_HALF_LIFE: Final = 6.0
SHORT_PRIOR: Final = 6.0
SHORT_PULL: Final = 1.5  # how far a worse short window lowers what a job goes by
NEGATIVE: Final = 1.5
OWN_CAP: Final = 30.0
HEARSAY: Final = 0.15
CROWD: Final = 0.02
CROWD_CAP: Final = 2.0
KNOWN: Final = 0.03  # trust below which a rater belongs to the crowd
FOLLOWED: Final = 0.7
SECOND_HAND: Final = 0.35
OPINION: Final = 0.15
SPREE_PRIOR: Final = 0.05
SPREE_DAYS: Final = 3
SPREE_LIES: Final = 0.5
BASE_FAILURE: Final = 0.15
VOUCH_CAP: Final = 1.0
SMALL_MSAT: Final = 1_000_000  # spends up to 1,000 sat go by a draw


@dataclass(frozen=True, slots=True)
class Evidence:
    """One job's outcome as one rater tells it. `value` from 0 (failed) to 1; `at` in seconds; `amount_msat` paid.

    `paid`: the review proves its payment. `opinion`: a complaint that nothing on public record bears out.
    """

    rater: str
    provider: str
    kind: int
    value: float
    at: int
    amount_msat: int = 1_000_000
    paid: bool = True
    opinion: bool = False


@dataclass(frozen=True, slots=True)
class Vouch:
    """A key stands up for another: `weight` 0.5 for a 31989, 0.3 for a zap-out (see docs/reputation.md)."""

    voucher: str
    provider: str
    weight: float


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """Whose eyes. `own` keys are our own ledger, `customers` buy through us, `second` counts paths of two hops."""

    own: frozenset[str] = frozenset()
    customers: frozenset[str] = frozenset()
    follows: frozenset[str] = frozenset()
    second: Mapping[str, int] = field(default_factory=dict)

    def social(self, rater: str) -> float:
        """Trust from 0 to 1 that comes from who we are and whom we follow."""
        if rater in self.own or rater in self.customers:
            return 1.0
        if rater in self.follows:
            return FOLLOWED
        return SECOND_HAND * min(1.0, self.second.get(rater, 0) / 2)


@dataclass(frozen=True, slots=True)
class Score:
    """The posterior Beta(a, b) of one provider for one kind, and where it comes from.

    `mean`, `bound` (lower bound) and `low` (the bound after the short window) are between 0 and 1. The parts are in
    units of evidence: what our own ledger, known raters and the crowd gave for and against.
    """

    provider: str
    kind: int
    a: float
    b: float
    mean: float
    bound: float
    low: float
    jobs: int
    raters: int
    own: tuple[float, float]
    known: tuple[float, float]
    crowd: tuple[float, float]
    vouched: float
    short_mean: float

    def draw(self, rng: random.Random) -> float:
        """A Thompson draw: as uncertain as the evidence, and lower where the last days were worse than the average."""
        return max(0.0, rng.betavariate(self.a, self.b) + min(0.0, SHORT_PULL * (self.short_mean - self.mean)))

    def for_spend(self, msat: int, rng: random.Random) -> float:
        """The value a purchase of this size goes by."""
        return self.draw(rng) if msat <= SMALL_MSAT else self.low

    @property
    def rank(self) -> int:
        """0 to 100, for NIP-85."""
        return round(100 * self.low)

    def explain(self) -> list[str]:
        """Why the score is what it is, a line a source."""
        lines = [f"{self.low:.2f} to go by for large jobs, {self.mean:.2f} expected, from {self.jobs} reviewed jobs"]
        for name, (good, ill) in (("own ledger", self.own), ("known raters", self.known), ("strangers", self.crowd)):
            if good or ill:
                lines.append(f"{name}: +{good:.1f} -{ill:.1f}" + (" (capped)" if name == "strangers" else ""))
        if self.vouched:
            lines.append(f"vouched for: +{self.vouched:.1f}")
        if self.short_mean < self.mean - 0.02:
            lines.append(f"lately worse: {self.short_mean:.2f}")
        return lines


def newcomer(provider: str, kind: int) -> Score:
    """The score of somebody of whom nothing is known."""
    a, b = PRIOR_WEIGHT * PRIOR_MEAN, PRIOR_WEIGHT * (1 - PRIOR_MEAN)
    bound = lower_bound(a, b)
    return Score(provider, kind, a, b, a / (a + b), bound, bound, 0, 0, (0, 0), (0, 0), (0, 0), 0.0, a / (a + b))


def lower_bound(a: float, b: float) -> float:
    m = a / (a + b)
    return m - BOUND * math.sqrt(m * (1 - m) / (a + b + 1))


def amount_weight(msat: int) -> float:
    """How much a job of this size tells: 0.2 for dust, 1 from 1,000 sat on."""
    return min(1.0, max(0.2, math.log2(1 + msat / 10_000) / math.log2(101)))


@dataclass(slots=True)
class _Pair:
    """What one rater says of one provider, faded: praise, all complaints, complaints as far as they are believed."""

    good: float = 0.0
    ill: float = 0.0
    believed: float = 0.0
    hearsay_good: float = 0.0
    hearsay_ill: float = 0.0
    short_good: float = 0.0
    short_ill: float = 0.0
    jobs: int = 0


class Reputation:
    """All scores of one viewpoint at one moment. Building takes time linear in the evidence; scores are cheap then."""

    def __init__(
        self, viewpoint: Viewpoint, evidence: Iterable[Evidence], *, now: int, vouches: Iterable[Vouch] = ()
    ) -> None:
        self._view = viewpoint
        told = list(evidence)
        guilt = _sprees(told, viewpoint.own)
        self._pairs: dict[tuple[str, int], dict[str, _Pair]] = defaultdict(dict)
        for one in told:
            pair = self._pairs[one.provider, one.kind].setdefault(one.rater, _Pair())
            _add(pair, one, now, guilt.get((one.rater, one.at // (SPREE_DAYS * DAY)), 0.0))
        self._trust = self._weigh_raters()
        self._vouched: dict[str, float] = defaultdict(float)
        for vouch in {(v.voucher, v.provider): v for v in vouches}.values():
            if vouch.voucher != vouch.provider:
                self._vouched[vouch.provider] += self.trust(vouch.voucher) * vouch.weight

    def trust(self, rater: str) -> float:
        """How far the viewpoint believes a rater, from 0 to 1."""
        return self._trust.get(rater, self._view.social(rater))

    def score(self, provider: str, kind: int) -> Score:
        """The score of one provider for one kind of job; a newcomer's where there is no evidence."""
        pairs = self._pairs.get((provider, kind), {})
        own, known, crowd, short = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
        for rater, pair in pairs.items():
            trust = self.trust(rater)
            if rater in self._view.own:
                own[0] += pair.good
                own[1] += pair.ill
            elif trust > KNOWN:
                known[0] += trust * (math.log1p(pair.good) + HEARSAY * math.log1p(pair.hearsay_good))
                known[1] += trust * (math.log1p(2 * pair.believed) + HEARSAY * math.log1p(2 * pair.hearsay_ill))
            else:
                crowd[0] += CROWD * math.log1p(pair.good)
                crowd[1] += CROWD * math.log1p(2 * pair.ill)
            if trust > KNOWN:
                short[0] += trust * pair.short_good
                short[1] += trust * pair.short_ill
        if (total := sum(own)) > OWN_CAP:
            own = [part * OWN_CAP / total for part in own]
        for_it, against = own[0] + known[0], own[1] + known[1]
        if total := sum(crowd):
            squeeze = min(1.0, CROWD_CAP / (1 + (for_it + against) / 2) / total)
            crowd = [part * squeeze for part in crowd]
        vouched = min(VOUCH_CAP, self._vouched.get(provider, 0.0))
        a = PRIOR_WEIGHT * PRIOR_MEAN + for_it + crowd[0] + vouched
        b = PRIOR_WEIGHT * (1 - PRIOR_MEAN) + NEGATIVE * against + crowd[1]
        mean, bound = a / (a + b), lower_bound(a, b)
        a2, b2 = SHORT_PRIOR * mean + short[0], SHORT_PRIOR * (1 - mean) + NEGATIVE * short[1]
        lately = a2 / (a2 + b2)
        return Score(
            provider, kind, a, b, mean, bound, max(0.0, min(bound, bound + SHORT_PULL * (lately - mean))),
            sum(pair.jobs for pair in pairs.values()), len(pairs),
            (own[0], own[1]), (known[0], known[1]), (crowd[0], crowd[1]), vouched, lately,
        )  # fmt: skip

    def scored(self) -> list[tuple[str, int]]:
        """Every (provider, kind) of which there is evidence."""
        return sorted(self._pairs)

    def _weigh_raters(self) -> dict[str, float]:
        """Social trust, lowered where a rater disagrees with our experience; agreement admits strangers a little."""
        first_hand = self._first_hand()
        seen: dict[str, list[float]] = defaultdict(list)
        raters: set[str] = set()
        for key, pairs in self._pairs.items():
            for rater, pair in pairs.items():
                raters.add(rater)
                total = pair.good + pair.ill
                if total > 0.3 and key in first_hand:
                    seen[rater].append((pair.good / total - first_hand[key]) ** 2)
        return {rater: self._weigh(rater, seen.get(rater, ())) for rater in raters}

    def _weigh(self, rater: str, differences: Sequence[float]) -> float:
        social = self._view.social(rater)
        n = len(differences)
        if social >= 1.0 or n < 3:
            return social
        agreement = max(0.0, 1 - math.sqrt(sum(differences) / n) / 0.6)
        sure = n / (n + 4)
        return max(social * (1 - sure * (1 - min(1.0, 2 * agreement))), 0.5 * agreement * sure)

    def _first_hand(self) -> dict[tuple[str, int], float]:
        made: dict[tuple[str, int], float] = {}
        for key, pairs in self._pairs.items():
            ours = [pair for rater, pair in pairs.items() if self._view.social(rater) >= 1.0]
            good, ill = sum(pair.good for pair in ours), sum(pair.ill for pair in ours)
            if good + ill > 0.8:
                made[key] = (good + 0.5) / (good + ill + 1)
        return made


def _add(pair: _Pair, one: Evidence, now: int, guilt: float) -> None:
    age = max(0, now - one.at) / DAY
    weight = 2 ** (-age / HALF_LIFE) * amount_weight(one.amount_msat)
    value = min(1.0, max(0.0, one.value))
    pair.jobs += 1
    if not one.paid:
        pair.hearsay_good += weight * value
        pair.hearsay_ill += weight * (1 - value)
        return
    believed = OPINION * (1 - guilt) if one.opinion else 1.0
    pair.good += weight * value
    pair.ill += weight * (1 - value)
    pair.believed += weight * (1 - value) * believed
    fresh = 2 ** (-age / SHORT_HALF_LIFE) * amount_weight(one.amount_msat)
    pair.short_good += fresh * value
    pair.short_ill += fresh * (1 - value) * believed


def _sprees(told: Iterable[Evidence], own: Collection[str]) -> dict[tuple[str, int], float]:
    """(rater, spell of three days) -> how likely the rater slandered then: complaints against many sellers at once.

    Of each seller one complaint and one praise count. A seller that fails everybody makes nobody look guilty.
    """
    spells: dict[tuple[str, int], set[tuple[str, bool]]] = defaultdict(set)
    for one in told:
        if one.paid and one.rater not in own:
            spells[one.rater, one.at // (SPREE_DAYS * DAY)].add((one.provider, one.value < 0.5))
    start = math.log(SPREE_PRIOR / (1 - SPREE_PRIOR))
    complaint = math.log((SPREE_LIES + (1 - SPREE_LIES) * BASE_FAILURE) / BASE_FAILURE)
    praise = math.log(1 - SPREE_LIES)
    return {
        spell: 1 / (1 + math.exp(-(start + sum(complaint if bad else praise for _, bad in said))))
        for spell, said in spells.items()
    }
