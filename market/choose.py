"""Which provider to hire: the least risk-adjusted cost, with every factor kept so that anyone can ask "why this one".

    pi   = reputation x liveness x chance to deliver in time
    cost = pay / pi  (paid before)   or   pay + (1 - pi) x redo  (paid after)
           + seconds x price of a second + exposure x risk

Pure: the page and Timmy call it with the same facts and see the same table.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from market.reputation import Score

FEE_SHARE: Final = 0.005
FEE_BASE_MSAT: Final = 1_000
_LATENCY_PRIOR: Final = 5  # deliveries that the kind's usual latency counts for
_SPREAD: Final = 0.7  # standard deviation of the logarithm of a latency


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of one provider at this moment. Prices in msat, latencies in seconds.

    `latencies` are its deliveries to us; `exposure_msat` is what it holds of ours already, `exposure_limit_msat` what
    it may; `excluded` is a reason why it can't be taken at all (muted, wrong schema), empty where it can.
    """

    provider: str
    price_msat: int | None
    score: Score
    liveness: float
    latencies: tuple[int, ...] = ()
    pays_after: bool = False
    exposure_msat: int = 0
    exposure_limit_msat: int | None = None
    name: str = ""
    local: bool = False
    excluded: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """What the step can bear. `seconds` until its deadline, `delay_msat` a second of waiting costs, `redo_msat` what a
    failure costs where it is paid after; `usual_seconds` the kind's ordinary latency."""

    cap_msat: int
    seconds: float
    delay_msat: float = 0.0
    redo_msat: int = 0
    exposure_price: float = 0.0
    usual_seconds: float = 30.0
    floor_msat: int = 10_000_000  # spends above it ask for a lower bound of at least 0.45
    floor: float = 0.45


@dataclass(frozen=True, slots=True)
class Factors:
    """One row of "why this one": every number that went into the cost, or why the candidate was out."""

    provider: str
    name: str
    price_msat: int
    pay_msat: int
    reputation: float
    liveness: float
    in_time: float
    success: float
    seconds: float
    cost: float
    excluded: str = ""
    local: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The winner (None where nobody can be taken) and the whole table, best first."""

    winner: Candidate | None
    table: tuple[Factors, ...]


def choose(candidates: Sequence[Candidate], need: Need, rng: random.Random) -> Choice:
    """The candidate with the least risk-adjusted cost. `rng` draws the reputations of small spends."""
    rows = [(weigh(candidate, need, rng), candidate) for candidate in candidates]
    rows.sort(key=lambda row: (bool(row[0].excluded), row[0].cost, row[0].provider))
    winner = next((candidate for factors, candidate in rows if not factors.excluded), None)
    return Choice(winner, tuple(factors for factors, _ in rows))


def weigh(candidate: Candidate, need: Need, rng: random.Random) -> Factors:
    """One row of the table."""
    price = candidate.price_msat if candidate.price_msat is not None else need.cap_msat
    pay = price + int(price * FEE_SHARE) + FEE_BASE_MSAT if price and not candidate.local else price
    reputation = min(0.999, max(0.001, candidate.score.for_spend(pay, rng)))
    seconds, in_time = timeliness(candidate.latencies, need)
    success = max(1e-6, reputation * candidate.liveness * in_time)
    cost = pay + (1 - success) * (need.redo_msat or pay) if candidate.pays_after else max(pay, 1) / success
    cost += need.delay_msat * seconds
    cost += need.exposure_price * candidate.exposure_msat * (1 - reputation)
    return Factors(
        provider=candidate.provider,
        name=candidate.name,
        price_msat=price,
        pay_msat=pay,
        reputation=reputation,
        liveness=candidate.liveness,
        in_time=in_time,
        success=success,
        seconds=seconds,
        cost=cost,
        excluded=_excluded(candidate, need, price),
        local=candidate.local,
    )


def timeliness(latencies: Sequence[int], need: Need) -> tuple[float, float]:
    """(expected seconds, chance to deliver before the deadline): own log, shrunk to a log-normal of the kind."""
    logs = [math.log(max(1, seconds)) for seconds in latencies]
    n = len(logs)
    middle = (_LATENCY_PRIOR * math.log(max(1.0, need.usual_seconds)) + sum(logs)) / (_LATENCY_PRIOR + n)
    spread = _SPREAD
    if n >= 2:
        own = sum((value - sum(logs) / n) ** 2 for value in logs) / n
        spread = math.sqrt((_LATENCY_PRIOR * _SPREAD**2 + n * own) / (_LATENCY_PRIOR + n))
    if need.seconds <= 0:
        return math.exp(middle), 0.0
    in_time = 0.5 * (1 + math.erf((math.log(need.seconds) - middle) / (spread * math.sqrt(2))))
    return math.exp(middle + spread**2 / 2), max(0.0, min(1.0, in_time))


def _excluded(candidate: Candidate, need: Need, price: int) -> str:
    if candidate.excluded:
        return candidate.excluded
    if price > need.cap_msat:
        return "dearer than the step may cost"
    limit = candidate.exposure_limit_msat
    if limit is not None and candidate.exposure_msat + price > limit:
        return "holds as much of our money as it may"
    if candidate.liveness < 0.01:
        return "gave no sign of life"
    if price > need.floor_msat and candidate.score.low < need.floor:
        return "not proven enough for so large a job"
    return ""


def exposure_limit(settled_msat: int, reputation: float, most_msat: int) -> int:
    """What one provider may hold of ours: 2,000 sat and a fifth of what it settled well, at most `most_msat`."""
    return min(most_msat, 2_000_000 + int(0.2 * settled_msat * reputation))
