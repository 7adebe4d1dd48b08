"""Reputation under attack: thousands of simulated agents, our scores against the rules of other projects.

A market of nodes with their customers, honest sellers of mixed quality, dishonest ones, and sybils. Every day customers
choose among ten random candidates by their node's scores, buy, and review. Each attack of docs/reputation.md is run
against four rules: the mean of all ratings, an additive score without bound, a lower bound of a Beta with all paid
reviews equal, and ours (market/reputation.py; `tests/market/test_reputation_twin.py` holds the vectorised form below
to the product's own code).

    python benchmarks/reputation.py [--small] [--seeds N] [--first N] [--rules ours,mean] [--attacks none,stuffing]
                                    [--json FILE]

Needs numpy. The full table takes some ten minutes on one core, `--small` about fifteen seconds.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Size:
    """How large the market is and how long it runs (days)."""

    nodes: int = 25
    customers: int = 100  # of each node
    honest: int = 200
    bad: int = 20
    days: int = 80
    activity: float = 0.3  # jobs a customer buys a day
    candidates: int = 10
    watched: int = 20  # last days, which are measured
    price: float = 100.0
    fee: float = 0.01
    provable: float = 0.7  # share of real failures that the public record shows


SMALL = Size(nodes=6, customers=60, honest=70, bad=8, days=50, watched=15)


@dataclass(frozen=True)
class Attack:
    name: str
    kind: str = "none"
    sybils: int = 0
    followed: float = 0.0  # share of sybils that some honest users were tricked into following
    camouflage: float = 0.0  # share of sybils that buy good service each day, to look alike
    victims: int = 60
    plausible: bool = False  # dishonest sellers always deliver something that passes the gates


ATTACKS = (
    Attack("none"),
    Attack("wash trades, 1000 sybils", "stuffing", 1000),
    Attack("wash trades, 4000 sybils", "stuffing", 4000),
    Attack("followed sybils", "stuffing", 1000, followed=0.02),
    Attack("camouflage", "stuffing", 1000, camouflage=0.1),
    Attack("bad-mouthing, free", "slander-free", 1000),
    Attack("bad-mouthing, paid", "slander-paid"),
    Attack("bad-mouthing, paid, same accounts", "slander-ring"),
    Attack("bad-mouthing, paid, spread thin", "slander-thin"),
    Attack("whitewash", "whitewash"),
    Attack("milking", "milk"),
    Attack("newcomers", "newcomer"),
    Attack("junk that passes every gate", plausible=True),
)


@dataclass(frozen=True)
class Outcome:
    """`success`: share of jobs delivered; `to_bad`: share of spending on dishonest sellers; cost in sat."""

    success: float
    to_bad: float
    newcomers: float
    cost: float
    revenue: float


class World:
    """The market's state: who follows whom, every review so far, and the decayed sums that rules read."""

    def __init__(self, size: Size, attack: Attack, seed: int) -> None:
        self.size, self.attack = size, attack
        self.rng = rng = np.random.default_rng(seed)
        self.customers = size.nodes * size.customers
        self.raters = self.customers + attack.sybils
        self.sellers = size.honest + size.bad
        self.bad = np.arange(size.honest, self.sellers)
        self.quality = np.concatenate([rng.beta(8, 2, size.honest), np.full(size.bad, 0.10)])
        self.node = np.repeat(np.arange(size.nodes), size.customers)
        self.social = self._follow()
        self.victims = np.argsort(-self.quality[: size.honest])[: min(attack.victims, size.honest * 3 // 10)]
        self.newcomers = np.arange(0, min(20, size.honest // 10))
        self.hired = max(8, self.customers * 60 // 2500)  # accounts that tell paid lies on one day
        self.ring = rng.choice(self.customers, self.hired, replace=False)
        shape = (self.raters, self.sellers)
        self.good, self.ill = np.zeros(shape), np.zeros(shape)  # paid, decayed with 40 days
        self.opinion = np.zeros(shape)  # the part of `ill` that no public record bears out
        self.lately = np.zeros(shape)  # praise, faded with 6 days
        self.hearsay_good, self.hearsay_ill = np.zeros(shape), np.zeros(shape)
        self.jobs, self.zaps = np.zeros(self.sellers), np.zeros(self.sellers)
        self.trusted_by = np.zeros(self.sellers)
        self.log: list[tuple[Ints, Ints, Ints, int]] = []  # raters, sellers, good 0 proven ill 1 opinion 2, day
        self.day = 0
        self.cost = self.revenue = 0.0

    def _follow(self) -> Array:
        """Trust of each node in each rater from follow lists: customers 1, followed .7, two hops .35."""
        rng, size = self.rng, self.size
        social = np.zeros((size.nodes, self.raters))
        follows = [rng.choice(self.customers, 10, replace=False) for _ in range(self.customers)]
        for node in range(size.nodes):
            first = rng.choice(self.customers, 15, replace=False)
            second = np.bincount(np.concatenate([follows[i] for i in first]), minlength=self.raters)
            social[node] = np.minimum(1, second / 2) * 0.35
            social[node, first] = 0.7
            social[node, self.node.size :][rng.random(self.attack.sybils) < self.attack.followed] = 0.35
            social[node, : self.customers][self.node == node] = 1.0
        return social

    def review(self, raters: Ints, sellers: Ints, good: bool, proven: float = 0.0) -> None:
        """`proven`: share of complaints that the public record bears out (nothing delivered, a file that fails)."""
        np.add.at(self.good if good else self.ill, (raters, sellers), 1)
        if good:
            np.add.at(self.lately, (raters, sellers), 1)
        bare = np.full(len(raters), not good) & (self.rng.random(len(raters)) >= proven)
        np.add.at(self.opinion, (raters[bare], sellers[bare]), 1)
        self.log.append((raters, sellers, np.where(bare, 2, 0 if good else 1), self.day))

    def forget(self, sellers: Ints) -> None:
        """These sellers are under new keys: nothing is known of them."""
        for table in (self.good, self.ill, self.opinion, self.lately, self.hearsay_good, self.hearsay_ill):
            table[:, sellers] = 0
        self.jobs[sellers] = self.zaps[sellers] = 0
        gone = np.isin(np.arange(self.sellers), sellers)
        self.log = [(r[~gone[s]], s[~gone[s]], what[~gone[s]], day) for r, s, what, day in self.log]

    def fade(self) -> None:
        for table in (self.good, self.ill, self.opinion, self.hearsay_good, self.hearsay_ill):
            table *= 2 ** (-1 / HALF_LIFE)
        self.lately *= 2 ** (-1 / SHORT_HALF_LIFE)

    # -- the attacks ----------------------------------------------------------------------------------------------

    def strike(self) -> None:
        """What the attackers do today."""
        attack, rng, size = self.attack, self.rng, self.size
        if attack.kind == "stuffing":
            self._stuff()
        elif attack.kind == "slander-free":
            for victim in self.victims:
                liars = self.customers + rng.choice(attack.sybils, attack.sybils // 20, replace=False)
                self.hearsay_ill[liars, victim] += 1
        elif attack.kind in ("slander-paid", "slander-ring", "slander-thin"):
            # The same money a day: two paid lies about each victim, told by one in forty customers (others each day, or
            # always the same) or by all of them.
            hired = {
                "slander-paid": rng.choice(self.customers, self.hired, replace=False),
                "slander-ring": self.ring,
                "slander-thin": np.arange(self.customers),
            }[attack.kind]
            for victim in self.victims:
                # Where the victim happens to fail its false customer, the lie is the truth and may even be provable.
                proven = (1 - self.quality[victim]) * size.provable
                self.review(rng.choice(hired, 2, replace=False), np.full(2, victim), good=False, proven=proven)
                self.cost += 2 * size.price
        elif attack.kind == "whitewash" and self.day and self.day % 8 == 0:
            self.forget(self.bad)
        elif attack.kind == "milk":
            self.quality[self.bad] = 0.95 if self.day < size.days // 2 else 0.05
        elif attack.kind == "newcomer" and self.day == size.days // 2:
            self.forget(self.newcomers)

    def _stuff(self) -> None:
        attack, rng, size = self.attack, self.rng, self.size
        each = max(1, attack.sybils // size.bad)
        for place, seller in enumerate(self.bad):
            mine = self.customers + np.arange(place * each, min((place + 1) * each, attack.sybils))
            liars = rng.choice(mine, max(1, len(mine) // 4), replace=False)
            self.review(liars, np.full(len(liars), seller), good=True)
            self.cost += len(liars) * size.price * size.fee
            self.jobs[seller] += len(liars)
            self.zaps[seller] += len(liars) * size.price
        self.trusted_by[self.bad] = attack.sybils / size.bad
        if attack.camouflage:
            best = np.argsort(-self.quality[: size.honest])[:40]
            disguised = self.customers + rng.choice(
                attack.sybils, int(attack.sybils * attack.camouflage), replace=False
            )
            for seller in rng.choice(best, 3, replace=False):
                self.review(disguised, np.full(len(disguised), seller), good=True)
                self.cost += len(disguised) * size.price

    # -- a day of honest trade ------------------------------------------------------------------------------------

    def trade(self, rule: "Rule") -> tuple[float, float, float]:
        """Customers choose, buy and review. Share of success, of bad sellers, of newcomers."""
        rng, size = self.rng, self.size
        buyers = np.where(rng.random(self.customers) < size.activity)[0]
        shown = rng.integers(0, self.sellers, (len(buyers), size.candidates))
        chosen = shown[np.arange(len(buyers)), rule(self, self.node[buyers], shown).argmax(1)]
        served = rng.random(len(buyers)) < self.quality[chosen]
        self.review(buyers[served], chosen[served], good=True)
        crooked = chosen[~served] >= size.honest
        lost, cheated = buyers[~served], chosen[~served]
        self.review(lost[~crooked], cheated[~crooked], good=False, proven=size.provable)
        self.review(lost[crooked], cheated[crooked], good=False, proven=0.0 if self.attack.plausible else size.provable)
        np.add.at(self.jobs, chosen, 1)
        np.add.at(self.zaps, chosen[served], size.price)
        counted = slice(None, size.honest) if self.attack.kind == "stuffing" else slice(None)
        self.trusted_by[counted] = np.minimum(5, self.jobs[counted] / 40)
        to_bad = chosen >= size.honest
        self.revenue += float(to_bad.sum()) * size.price
        return float(served.mean()), float(to_bad.mean()), float(np.isin(chosen, self.newcomers).mean())


Rule = Callable[[World, Ints, Ints], Array]


# -- rules of others ------------------------------------------------------------------------------------------------


def _explore(world: World, values: Array) -> Array:
    """One choice in twenty at random, and ties broken at random: without it these rules never learn."""
    values = values + world.rng.normal(0, 1e-3, values.shape)
    lost = world.rng.random(len(values)) < 0.05
    values[lost] = world.rng.random((int(lost.sum()), values.shape[1]))
    return values


def mean_stars(world: World, nodes: Ints, shown: Ints) -> Array:
    good = (world.good + world.hearsay_good).sum(0)
    ill = (world.ill + world.hearsay_ill).sum(0)
    return _explore(world, ((good + 0.5) / (good + ill + 1))[shown])


def additive(world: World, nodes: Ints, shown: Ints) -> Array:
    """Trusters x 100 + log10(zaps) x 10 + jobs x 5 + stars x 20, without bound."""
    good = (world.good + world.hearsay_good).sum(0)
    ill = (world.ill + world.hearsay_ill).sum(0)
    stars = 1 + 4 * good / np.maximum(good + ill, 1e-9)
    value = world.trusted_by * 100 + np.log10(1 + world.zaps) * 10 + world.jobs * 5 + stars * 20
    return _explore(world, (value / (value.max() + 1e-9))[shown])


def beta_bound(world: World, nodes: Ints, shown: Ints) -> Array:
    """Lower bound of one global Beta; every paid review counts the same, unpaid ones 0.15."""
    a = 2 + world.good.sum(0) + 0.15 * world.hearsay_good.sum(0)
    b = 2 + world.ill.sum(0) + 0.15 * world.hearsay_ill.sum(0)
    m = a / (a + b)
    return _explore(world, (m - 1.28 * np.sqrt(m * (1 - m) / (a + b + 1)))[shown])


# -- our rule, vectorised over nodes --------------------------------------------------------------------------------

HALF_LIFE = 40.0
SHORT_HALF_LIFE, SHORT_PRIOR, SHORT_PULL = 6.0, 6.0, 1.5
PRIOR = 4.0
CROWD, CROWD_CAP = 0.02, 2.0
HEARSAY = 0.15
NEGATIVE = 1.5
SLANDER_PRIOR, SLANDER_DAYS, SLANDER_LIES, BASE_FAILURE = 0.05, 3, 0.5, 0.15
OPINION = 0.15
KNOWN = 0.03


def trust(world: World) -> Array:
    """Node x rater: social trust, lowered by disagreement with the node's own experience, or earned by agreement."""
    size = world.size
    own_good, own_ill = np.zeros((size.nodes, world.sellers)), np.zeros((size.nodes, world.sellers))
    np.add.at(own_good, world.node, world.good[: world.customers])
    np.add.at(own_ill, world.node, world.ill[: world.customers])
    known = (own_good + own_ill) > 0.8
    first_hand = np.where(known, (own_good + 0.5) / (own_good + own_ill + 1), 0)
    total = world.good + world.ill
    has = (total > 0.3).astype(float)
    theirs = np.where(total > 0.3, world.good / np.maximum(total, 1e-9), 0)
    n = has @ known.T.astype(float)
    square = (has * theirs**2) @ known.T - 2 * (has * theirs) @ (known * first_hand).T + has @ (known * first_hand**2).T
    agreement = np.clip(1 - np.sqrt(np.maximum(square, 0) / np.maximum(n, 1)) / 0.6, 0, 1)
    sure = n / (n + 4)
    earned = np.where(n >= 3, agreement * sure * 0.5, 0).T
    kept = np.where(n >= 3, 1 - sure * (1 - np.clip(agreement * 2, 0, 1)), 1).T
    trusted = np.maximum(world.social * kept, earned)
    trusted[world.social >= 1.0] = 1.0
    return trusted


def posterior(world: World, *, filtered: bool = True) -> tuple[Array, Array, Array]:
    """(a, b, mean of the short window) for every node and seller."""
    trusted = trust(world)
    known = np.where(trusted > KNOWN, trusted, 0)
    crowd = (trusted <= KNOWN) * CROWD
    positive, negative = np.log1p(world.good), np.log1p(2 * world.ill)
    p = known @ positive + HEARSAY * (known @ np.log1p(world.hearsay_good))
    heard = HEARSAY * (known @ np.log1p(2 * world.hearsay_ill))
    pc, nc = crowd @ positive, crowd @ negative
    believed, fresh = _believed(world)
    n = known @ (believed if filtered else negative) + heard
    squeeze = np.minimum(1, CROWD_CAP / (1 + (p + n) / 2) / np.maximum(pc + nc, 1e-9))
    a = PRIOR / 2 + p + pc * squeeze
    b = PRIOR / 2 + NEGATIVE * n + nc * squeeze
    m = a / (a + b)
    a2, b2 = SHORT_PRIOR * m + known @ world.lately, SHORT_PRIOR * (1 - m) + NEGATIVE * (known @ fresh)
    return a, b, a2 / (a2 + b2)


def _believed(world: World) -> tuple[Array, Array]:
    """Weight of complaints, rater x seller, over the long and the short window.

    Bare opinions count a part, and less the likelier their author lies.
    """
    if not world.log:
        return np.log1p(2 * world.ill), np.zeros(world.ill.shape)
    raters = np.concatenate([r for r, _, _, _ in world.log])
    sellers = np.concatenate([s for _, s, _, _ in world.log])
    what = np.concatenate([w for _, _, w, _ in world.log])
    days = np.concatenate([np.full(len(r), day) for r, _, _, day in world.log])
    spells, spell = np.unique(raters * 10_000 + days // SLANDER_DAYS, return_inverse=True)
    _, once = np.unique((spell * world.sellers + sellers) * 2 + (what > 0), return_index=True)
    failing = BASE_FAILURE
    accused = np.log((SLANDER_LIES + (1 - SLANDER_LIES) * failing) / failing)
    odds = np.where(what[once] > 0, accused, np.log(1 - SLANDER_LIES))
    start = np.log(SLANDER_PRIOR / (1 - SLANDER_PRIOR))
    guilt = 1 / (1 + np.exp(-(start + np.bincount(spell[once], odds, len(spells)))))
    ill = what > 0
    where, age = (raters[ill], sellers[ill]), world.day - days[ill]
    weight = np.where(what == 1, 1.0, OPINION * (1 - guilt[spell]))[ill]
    told, fresh = np.zeros(world.ill.shape), np.zeros(world.ill.shape)
    np.add.at(told, where, weight * 2.0 ** (-age / HALF_LIFE))
    np.add.at(fresh, where, weight * 2.0 ** (-age / SHORT_HALF_LIFE))
    return np.log1p(2 * told), fresh


def ours(world: World, nodes: Ints, shown: Ints) -> Array:
    """A Thompson draw from the posterior of the buyer's node, lower where the seller was worse lately."""
    a, b, lately = posterior(world)
    worse = np.minimum(0, SHORT_PULL * (lately - a / (a + b)))
    return world.rng.beta(a[nodes[:, None], shown], b[nodes[:, None], shown]) + worse[nodes[:, None], shown]


def unfiltered(world: World, nodes: Ints, shown: Ints) -> Array:
    """Ours without the slander filter: the reference's best rule."""
    a, b, _ = posterior(world, filtered=False)
    return world.rng.beta(a[nodes[:, None], shown], b[nodes[:, None], shown])


def blind(world: World, nodes: Ints, shown: Ints) -> Array:
    return world.rng.random(shown.shape)


RULES: dict[str, Rule] = {
    "random": blind,
    "mean": mean_stars,
    "additive": additive,
    "beta": beta_bound,
    "unfiltered": unfiltered,
    "ours": ours,
}


def simulate(rule: Rule, attack: Attack, size: Size = Size(), seed: int = 1) -> Outcome:
    """One market from the first day to the last."""
    world = World(size, attack, seed)
    history = []
    for day in range(size.days):
        world.day = day
        world.fade()
        world.strike()
        history.append(world.trade(rule))
    watched = np.array(history)
    half = size.days // 2
    span = slice(half + 2, half + 2 + size.watched) if attack.kind == "milk" else slice(-size.watched, None)
    success, to_bad, newcomers = watched[span].mean(0)
    share = newcomers * world.sellers / max(1, len(world.newcomers))
    return Outcome(float(success), float(to_bad), float(share), world.cost, world.revenue)


def table(rules: list[str], attacks: list[Attack], size: Size, seeds: range) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    print(f"{'attack':<36}{'rule':<12}{'success':>8}{'to bad':>8}{'newcomers':>10}{'cost':>11}{'revenue':>10}{'s':>6}")
    for attack in attacks:
        for name in rules:
            began = time.perf_counter()
            runs = [simulate(RULES[name], attack, size, seed) for seed in seeds]
            mean = Outcome(*(float(np.mean([asdict(run)[field] for run in runs])) for field in asdict(runs[0])))
            took = time.perf_counter() - began
            print(
                f"{attack.name:<36}{name:<12}{mean.success:>8.3f}{mean.to_bad:>8.3f}{mean.newcomers:>10.2f}"
                f"{mean.cost:>11,.0f}{mean.revenue:>10,.0f}{took:>6.1f}",
                flush=True,
            )
            rows.append({"attack": attack.name, "rule": name, **asdict(mean)})
    return rows


def shrink(attack: Attack) -> Attack:
    """The attack for the small market: a tenth of the sybils, an eighth of the victims."""
    return replace(attack, sybils=attack.sybils // 10, victims=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a market of a few hundred agents, as in the tests")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=1, help="the first seed: others than 1 and 2 are fresh ones")
    parser.add_argument("--rules", default="mean,additive,beta,ours")
    parser.add_argument("--attacks", default="", help="only attacks whose name begins with one of these words")
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    wanted = [a for a in ATTACKS if not options.attacks or a.name.startswith(tuple(options.attacks.split(",")))]
    if options.small:
        wanted = [shrink(attack) for attack in wanted]
    seeds = range(options.first, options.first + options.seeds)
    rows = table(options.rules.split(","), wanted, SMALL if options.small else Size(), seeds)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    sys.exit(main())
