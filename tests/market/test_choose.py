"""The choice of a provider: cost, risk, time, and the table that explains it."""

import random

from market.choose import Candidate, Need, choose, exposure_limit, timeliness
from market.reputation import Evidence, Reputation, Score, Viewpoint, newcomer

NOW = 1_800_000_000


def proven(provider: str, good: int, bad: int = 0) -> Score:
    told = [Evidence("me", provider, 5100, 1.0, NOW)] * good + [Evidence("me", provider, 5100, 0.0, NOW)] * bad
    return Reputation(Viewpoint(own=frozenset({"me"})), told, now=NOW).score(provider, 5100)


def candidate(provider: str, price: int, score: Score | None = None, **facts: object) -> Candidate:
    return Candidate(provider, price, score or newcomer(provider, 5100), facts.pop("liveness", 1.0), **facts)  # type: ignore[arg-type]


NEED = Need(cap_msat=100_000, seconds=120)


def share(first: Candidate, second: Candidate, need: Need = NEED) -> float:
    """How often the first wins, over many draws."""
    wins = [choose([first, second], need, random.Random(seed)).winner == first for seed in range(300)]
    return sum(wins) / len(wins)


def test_cheaper_wins_between_equals() -> None:
    assert share(candidate("a", 10_000, proven("a", 30)), candidate("b", 20_000, proven("b", 30))) > 0.95


def test_a_proven_seller_is_worth_more() -> None:
    assert share(candidate("a", 12_000, proven("a", 30)), candidate("b", 10_000, proven("b", 3, 12))) > 0.95


def test_newcomers_get_some_small_jobs_and_no_large_ones() -> None:
    old, new = candidate("a", 10_000, proven("a", 30, 4)), candidate("b", 10_000)
    assert 0.7 < share(old, new) < 0.99
    large = Need(cap_msat=50_000_000, seconds=120)
    choice = choose([candidate("b", 20_000_000)], large, random.Random(0))
    assert choice.winner is None and "proven" in choice.table[0].excluded


def test_the_silent_and_the_slow_lose() -> None:
    assert share(candidate("a", 10_000, liveness=0.05), candidate("b", 10_000)) < 0.2
    slow = candidate("a", 10_000, proven("a", 30), latencies=(300,) * 10)
    assert share(slow, candidate("b", 10_000, proven("b", 30), latencies=(20,) * 10)) < 0.01


def test_exclusions_are_said() -> None:
    table = choose(
        [
            candidate("dear", 200_000),
            candidate("dead", 10_000, liveness=0.0),
            candidate("muted", 10_000, excluded="muted"),
            candidate("owes", 10_000, exposure_msat=50_000, exposure_limit_msat=55_000),
            candidate("fine", 10_000),
        ],
        NEED,
        random.Random(0),
    ).table
    assert table[0].provider == "fine"
    assert {row.provider: row.excluded for row in table} == {
        "fine": "",
        "dear": "dearer than the step may cost",
        "dead": "gave no sign of life",
        "muted": "muted",
        "owes": "holds as much of our money as it may",
    }


def test_own_worker_costs_no_routing() -> None:
    (row,) = choose([candidate("a", 10_000, local=True)], NEED, random.Random(0)).table
    assert row.pay_msat == row.price_msat == 10_000


def test_the_same_seed_gives_the_same_table() -> None:
    both = [candidate("a", 10_000), candidate("b", 11_000)]
    assert choose(both, NEED, random.Random(7)) == choose(both, NEED, random.Random(7))


def test_timeliness_learns_from_the_own_log() -> None:
    assert timeliness((), NEED)[1] > 0.9
    assert timeliness((200,) * 20, NEED)[1] < 0.4 < timeliness((200,) * 3, NEED)[1]
    assert timeliness((), Need(cap_msat=1, seconds=0))[1] == 0.0


def test_exposure_grows_with_settled_work() -> None:
    assert exposure_limit(0, 0.5, 10**9) == 2_000_000
    assert exposure_limit(100_000_000, 0.9, 10**9) == 20_000_000
    assert exposure_limit(10**12, 1.0, 10_000_000) == 10_000_000
