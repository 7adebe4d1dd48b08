"""Scores: the bounds that the rule promises, and its parts one by one."""

import random
import time

import pytest

from market.reputation import DAY, Evidence, Reputation, Score, Viewpoint, Vouch, amount_weight, newcomer

NOW = 1_800_000_000
ME = "me"


def told(rater: str, value: float = 1.0, *, provider: str = "p", age: float = 0, **facts: object) -> Evidence:
    return Evidence(rater, provider, 5100, value, int(NOW - age * DAY), **facts)  # type: ignore[arg-type]


def score(evidence: list[Evidence], view: Viewpoint | None = None, **facts: object) -> Score:
    return Reputation(view or Viewpoint(own=frozenset({ME})), evidence, now=NOW, **facts).score("p", 5100)  # type: ignore[arg-type]


def test_a_newcomer_stands_low_and_wide() -> None:
    assert score([]) == newcomer("p", 5100)
    assert score([]).bound == pytest.approx(0.214, abs=0.001)


@pytest.mark.slow
def test_a_flood_of_sybils_stays_under_the_cap() -> None:
    flooded = score([told(f"sybil {n}") for n in range(100_000)] * 2)
    assert flooded.mean <= 0.667 and flooded.bound <= 0.44 and flooded.low <= 0.44


def test_sybils_add_nothing_to_what_is_known() -> None:
    known = [told(f"friend {n}") for n in range(10)]
    view = Viewpoint(own=frozenset({ME}), follows=frozenset(f"friend {n}" for n in range(10)))
    alone = score(known, view)
    crowded = score(known + [told(f"sybil {n}", 0.0) for n in range(5000)], view)
    assert alone.bound == pytest.approx(0.60, abs=0.02)
    assert crowded.mean > alone.mean - 0.06


def test_the_own_ledger_counts_in_full_and_is_capped() -> None:
    ledger = [told(ME, 0.0 if n == 0 else 1.0) for n in range(20)]
    assert score(ledger).bound == pytest.approx(0.78, abs=0.03)
    assert sum(score(ledger * 20).own) == pytest.approx(30)


def test_many_reviews_by_one_friend_count_little() -> None:
    view = Viewpoint(follows=frozenset({"a", "b", "c"}))
    one = score([told("a") for _ in range(30)], view)
    three = score([told(rater) for rater in "abc"], view)
    assert three.known[0] > 0.8 * one.known[0] / 3 * 3 * 0.5
    assert one.known[0] < 0.7 * 3.5


def test_old_evidence_fades() -> None:
    fresh, old = score([told(ME)]), score([told(ME, age=40)])
    assert old.own[0] == pytest.approx(fresh.own[0] / 2, rel=0.01)


def test_strangers_without_payment_say_nothing() -> None:
    assert score([told(f"s{n}", 0.0, paid=False) for n in range(1000)]).mean == 0.5


def test_complaints_weigh_more_than_praise() -> None:
    mixed = score([told(ME, value) for value in (1.0, 0.0)])
    assert mixed.mean < 0.5


def test_a_proven_complaint_weighs_more_than_an_opinion() -> None:
    view = Viewpoint(follows=frozenset({"a"}))
    proven, opinion = score([told("a", 0.0)], view), score([told("a", 0.0, opinion=True)], view)
    assert proven.mean < opinion.mean < 0.5


def test_a_spree_of_complaints_discredits_its_author_not_its_victims() -> None:
    view = Viewpoint(follows=frozenset({"a"}))
    victim = told("a", 0.0, opinion=True)
    spree = [told("a", 0.0, opinion=True, provider=f"other {n}") for n in range(6)]
    assert score([victim, *spree], view).mean > score([victim], view).mean
    faults = [told(f"c{n}", 0.0, opinion=True) for n in range(6)]  # many raters against one seller is no spree
    crowd = Viewpoint(follows=frozenset(f"c{n}" for n in range(6)))
    assert score(faults, crowd).mean < 0.45


def test_a_spree_about_proven_failures_still_counts() -> None:
    view = Viewpoint(follows=frozenset({"a"}))
    spree = [told("a", 0.0, provider=f"other {n}") for n in range(6)]
    assert score([told("a", 0.0), *spree], view).known[1] == pytest.approx(score([told("a", 0.0)], view).known[1])


def test_disagreement_discounts_a_friend_and_agreement_admits_a_stranger() -> None:
    view = Viewpoint(own=frozenset({ME}), follows=frozenset({"liar"}))
    ours = [told(ME, 1.0, provider=f"good {n}") for n in range(6)]
    liar = [told("liar", 0.0, provider=f"good {n}") for n in range(6)]
    alike = [told("alike", 1.0, provider=f"good {n}") for n in range(6)]
    book = Reputation(view, ours + liar + alike, now=NOW)
    assert book.trust("liar") < 0.4 and 0.1 < book.trust("alike") <= 0.5
    assert book.trust("nobody") == 0.0


def test_a_seller_who_turned_bad_falls_fast() -> None:
    view = Viewpoint(own=frozenset({ME}))
    past = [told(ME, age=20 + n) for n in range(30)]
    fallen = score(past + [told(ME, 0.0) for _ in range(3)], view)
    assert fallen.low < fallen.bound < score(past, view).bound
    assert "lately worse" in " ".join(fallen.explain())


def test_vouching_is_weak_capped_and_needs_trust() -> None:
    view = Viewpoint(follows=frozenset(f"v{n}" for n in range(100)))
    one = score([], view, vouches=[Vouch("v0", "p", 0.5)])
    all_of_them = score([], view, vouches=[Vouch(f"v{n}", "p", 0.5) for n in range(100)])
    strangers = score([], view, vouches=[Vouch(f"x{n}", "p", 0.5) for n in range(100)])
    assert strangers.mean == 0.5 < one.mean < all_of_them.mean == pytest.approx(0.6)
    assert score([], view, vouches=[Vouch("p", "p", 0.5)] * 9).mean == 0.5


def test_dust_tells_less_than_a_real_job() -> None:
    assert amount_weight(0) == 0.2 and amount_weight(1_000_000) == 1.0
    assert 0.2 < amount_weight(50_000) < 1


def test_draws_scatter_around_the_mean_and_large_spends_use_the_bound() -> None:
    rng = random.Random(1)
    known = score([told(ME) for _ in range(20)])
    draws = [known.for_spend(1_000, rng) for _ in range(2000)]
    assert sum(draws) / 2000 == pytest.approx(known.mean, abs=0.02)
    assert known.for_spend(2_000_000, rng) == known.low


def test_a_hundred_thousand_reviews_are_scored_quickly() -> None:
    rng = random.Random(2)
    evidence = [
        told(
            f"r{rng.randrange(5000)}",
            float(rng.random() < 0.8),
            provider=f"p{rng.randrange(300)}",
            age=rng.random() * 90,
        )
        for _ in range(100_000)
    ]
    began = time.process_time()
    book = Reputation(Viewpoint(own=frozenset({ME})), evidence, now=NOW)
    assert len([book.score(*each) for each in book.scored()]) == 300
    assert time.process_time() - began < 5
