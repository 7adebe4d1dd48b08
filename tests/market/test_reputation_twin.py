"""The benchmark's vectorised rule is the product's rule, and on a small market it keeps what it promises."""

import random

import pytest

from market.reputation import DAY, Evidence, Reputation, Viewpoint

np = pytest.importorskip("numpy", reason="numpy comes with the shop extra")

from benchmarks import reputation as bench  # noqa: E402


def evidence_of(world: "bench.World") -> list[Evidence]:
    made = []
    for raters, sellers, what, day in world.log:
        made += [
            Evidence(f"r{r}", f"s{s}", 1, 1.0 if w == 0 else 0.0, day * DAY, opinion=w == 2)
            for r, s, w in zip(raters, sellers, what, strict=True)
        ]
    return made


def viewpoint_of(world: "bench.World", node: int) -> Viewpoint:
    social = world.social[node]
    return Viewpoint(
        customers=frozenset(f"r{r}" for r in np.where(social >= 1.0)[0]),
        follows=frozenset(f"r{r}" for r in np.where(social == 0.7)[0]),
        second={f"r{r}": round(social[r] / 0.35 * 2) for r in np.where((social > 0) & (social <= 0.35))[0]},
    )


@pytest.mark.parametrize("kind", ["stuffing", "slander-paid"])
def test_the_benchmark_scores_as_the_product_does(kind: str) -> None:
    size = bench.Size(nodes=3, customers=25, honest=20, bad=4, days=12)
    world = bench.World(size, bench.Attack(kind, kind, sybils=40 if kind == "stuffing" else 0, victims=5), seed=3)
    for day in range(size.days):
        world.day = day
        world.fade()
        world.strike()
        world.trade(bench.ours)
    a, b, lately = bench.posterior(world)
    told = evidence_of(world)
    for node in range(size.nodes):
        book = Reputation(viewpoint_of(world, node), told, now=(size.days - 1) * DAY)
        for seller in random.Random(node).sample(range(world.sellers), 8):
            score = book.score(f"s{seller}", 1)
            assert score.a == pytest.approx(a[node, seller], rel=1e-6)
            assert score.b == pytest.approx(b[node, seller], rel=1e-6)
            assert score.short_mean == pytest.approx(lately[node, seller], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "success", "to_bad"),
    [("none", 0.88, 0.02), ("wash trades, 4000 sybils", 0.87, 0.03), ("camouflage", 0.86, 0.05),
     ("bad-mouthing, free", 0.87, 0.02), ("bad-mouthing, paid, same accounts", 0.85, 0.02),
     ("whitewash", 0.86, 0.05), ("milking", 0.80, 0.12)],
)  # fmt: skip
def test_thresholds_hold_in_a_small_market(attack: str, success: float, to_bad: float) -> None:
    chosen = bench.shrink(next(each for each in bench.ATTACKS if each.name == attack))
    runs = [bench.simulate(bench.ours, chosen, bench.SMALL, seed) for seed in (1, 2)]
    assert sum(run.success for run in runs) / 2 >= success
    assert sum(run.to_bad for run in runs) / 2 <= to_bad


@pytest.mark.slow
def test_paid_slander_moves_its_victims_less_than_without_the_filter() -> None:
    size = bench.SMALL
    slander = bench.shrink(next(each for each in bench.ATTACKS if each.name == "bad-mouthing, paid, same accounts"))
    world = bench.World(size, slander, seed=1)
    for day in range(size.days):
        world.day = day
        world.fade()
        world.strike()
        world.trade(bench.ours)
    a, b, _ = bench.posterior(world)
    plain_a, plain_b, _ = bench.posterior(world, filtered=False)
    ours, plain = (a / (a + b))[:, world.victims].mean(), (plain_a / (plain_a + plain_b))[:, world.victims].mean()
    assert ours > plain + 0.08
    assert (a / (a + b))[:, world.bad].mean() < 0.4


@pytest.mark.slow
def test_newcomers_get_work() -> None:
    fresh = next(each for each in bench.ATTACKS if each.name == "newcomers")
    shares = [bench.simulate(bench.ours, fresh, bench.SMALL, seed).newcomers for seed in (1, 2)]
    assert sum(shares) / 2 > 0.4
