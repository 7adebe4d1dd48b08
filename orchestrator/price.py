"""What a composite costs, and what is asked for it: the arithmetic of a quote, as functions of values.

    price = expected spend, failed tries and routing included / chance of success * (1 + margin)

The margin starts at the recipe's or the operator's, whichever is more, scaled by how busy we are, and rises until the
chance of losing money on a run is at most `loss_chance`, measured on a few hundred simulated runs. Amounts in msat.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import QuoteError

DRAWS = 500
STEP = 0.05
LEAST_CHANCE = 0.2  # below it a promise would be a lie


@dataclass(frozen=True, slots=True)
class Line:
    """One step of the plan: `count` units at `price_msat` a try, each good with `chance`.

    `pays_for_failures`: the money is gone when a try fails. With locked payments it comes back.
    """

    step: str
    kind: int
    count: int
    price_msat: int
    chance: float
    tries: int = 3
    buy: int = 1
    pays_for_failures: bool = True
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's: least margin, most margin, chance of loss, insurance above the price, routing (ppm and base)."""

    min_margin: float = 0.15
    max_margin: float = 2.0
    loss_chance: float = 0.05
    insurance: float = 0.3
    fee_ppm: int = 5000
    fee_base_msat: int = 1000

    def with_fee(self, msat: int) -> float:
        return msat * (1 + self.fee_ppm / 1_000_000) + self.fee_base_msat if msat else 0.0


@dataclass(frozen=True, slots=True)
class Quote:
    """What is asked and why. `soft_msat` and `hard_msat` bound the run (see `decide`)."""

    price_msat: int
    expected_msat: int
    chance: float
    margin: float
    loss_chance: float
    soft_msat: int
    hard_msat: int
    lines: tuple[tuple[str, int, int], ...]


def quote(
    lines: Sequence[Line],
    rules: Rules = Rules(),
    *,
    margin: float = 0.0,
    load: float = 0.0,
    min_msat: int = 0,
    fixed_msat: int | None = None,
    seed: str = "",
) -> Quote:
    """The price of a plan; `load` is the share of our capacity in use. QuoteError if a fixed price loses money."""
    expected, chance = expectation(lines, rules)
    if chance < LEAST_CHANCE:
        raise QuoteError(f"it would succeed in {chance:.0%} of cases only; better providers are needed")
    spends = simulate(lines, rules, seed)
    wanted = max(rules.min_margin, max(rules.min_margin, margin) * load_factor(load))
    if fixed_msat is not None:
        price = fixed_msat
        if price < expected / chance * (1 + rules.min_margin):
            raise QuoteError("the fixed price of this recipe does not cover what its steps cost now")
    else:
        wanted = _safe_margin(expected / chance, wanted, spends, rules)
        price = _whole_sat(max(min_msat, expected / chance * (1 + wanted)))
    real = price / (expected / chance) - 1 if expected else 0.0
    return Quote(
        price_msat=price,
        expected_msat=round(expected),
        chance=round(chance, 4),
        margin=round(real, 4),
        loss_chance=round(_loss(price, spends), 4),
        soft_msat=int(price / (1 + rules.min_margin)),
        hard_msat=int(price * (1 + rules.insurance)),
        lines=_shares(lines, price),
    )


def expectation(lines: Sequence[Line], rules: Rules = Rules()) -> tuple[float, float]:
    """(expected spend of a run in which every unit is bought, chance that all of them succeed)."""
    spend, chance = 0.0, 1.0
    for line in lines:
        good = min(max(line.chance, 1e-6), 1.0)
        tries = max(line.tries, line.buy)
        success = 1 - (1 - good) ** tries
        paid = success / good if line.pays_for_failures else success
        paid = max(paid, line.buy if line.pays_for_failures else line.buy * good)
        spend += line.count * paid * rules.with_fee(line.price_msat)
        chance *= 1.0 if line.optional else success**line.count
    return spend, chance


def simulate(
    lines: Sequence[Line], rules: Rules = Rules(), seed: str = "", draws: int = DRAWS
) -> list[tuple[bool, float]]:
    """(delivered?, spent msat) of so many runs, the same for the same seed. A run stops at its first failed step."""
    chance = random.Random(f"timmy:{seed}").random
    runs = []
    for _ in range(draws):
        spent, delivered = 0.0, True
        for line in lines:
            cost = rules.with_fee(line.price_msat)
            for _ in range(line.count):
                good = 0
                for tried in range(max(line.tries, line.buy)):
                    if good and tried >= line.buy:
                        break
                    hit = chance() < line.chance
                    good += hit
                    spent += cost if hit or line.pays_for_failures else 0.0
                if not good and not line.optional:
                    delivered = False
                    break
            if not delivered:
                break
        runs.append((delivered, spent))
    return runs


def load_factor(load: float) -> float:
    """0.8 when idle, 2.0 when full: a busy Timmy is dearer."""
    return 0.8 + 1.2 * min(1.0, max(0.0, load))


def _safe_margin(base: float, margin: float, spends: Sequence[tuple[bool, float]], rules: Rules) -> float:
    """Raised until losing runs are rare enough, or to the operator's most."""
    while margin < rules.max_margin and _loss(base * (1 + margin), spends) > rules.loss_chance:
        margin += STEP
    return min(margin, max(rules.max_margin, rules.min_margin))


def _loss(price: float, spends: Sequence[tuple[bool, float]]) -> float:
    """Share of runs that end below zero: failed ones earn nothing."""
    return sum(spent > (price if delivered else 0.0) for delivered, spent in spends) / max(1, len(spends))


def _whole_sat(msat: float) -> int:
    return -int(-msat // 1000) * 1000


def _shares(lines: Sequence[Line], price: int) -> tuple[tuple[str, int, int], ...]:
    """The price, shared out over the steps by their cost: lines that add up to the quote."""
    costs = [line.count * line.buy * line.price_msat for line in lines]
    total = sum(costs)
    if not total:
        return tuple((line.step, line.kind, 0) for line in lines)
    parts = [price * cost // total for cost in costs]
    parts[-1] += price - sum(parts)
    return tuple((line.step, line.kind, part) for line, part in zip(lines, parts, strict=True))
