"""The arithmetic of a quote, against the worked example of its design and by its properties."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import QuoteError
from orchestrator.price import Line, Rules, expectation, load_factor, quote, simulate

SONG = Line("song", 5251, 1, 30_000, 0.90, tries=2)
IMAGES = Line("image", 5100, 4, 8_000, 0.93, tries=3, pays_for_failures=False)
CLIPS = Line("clip", 5202, 4, 20_000, 0.85, tries=3)
VIDEO = [SONG, IMAGES, CLIPS]


def test_expected_spend_and_chance_count_failed_tries() -> None:
    spend, chance = expectation(VIDEO)
    assert round(spend) == 169_372 and round(chance, 3) == 0.975


def test_the_simulation_agrees_with_the_arithmetic() -> None:
    runs = simulate(VIDEO, seed="x", draws=20_000)
    assert abs(sum(ok for ok, _ in runs) / len(runs) - 0.975) < 0.005
    whole = [spent for ok, spent in runs if ok]
    assert abs(sum(whole) / len(whole) - 169_372) < 2_500


def test_the_margin_rises_until_losing_runs_are_rare() -> None:
    bold, careful = quote(VIDEO, Rules(0.0, 0.0)), quote(VIDEO, Rules(0.0, 2.0))
    assert bold.loss_chance > 0.2 and careful.loss_chance <= 0.05
    assert careful.price_msat > bold.price_msat and careful.margin > 0.15


def test_a_quote_takes_less_than_50_ms() -> None:
    many = [Line(f"s{n}", 5100, 4, 8_000, 0.9) for n in range(8)]
    best = min(_seconds(lambda: quote(many)) for _ in range(5))
    assert best < 0.05


def _seconds(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began


def test_a_busy_timmy_is_dearer_and_never_below_his_least_margin() -> None:
    idle, full = quote(VIDEO, margin=0.4, load=0.0), quote(VIDEO, margin=0.4, load=1.0)
    assert full.price_msat > idle.price_msat
    assert load_factor(-1) == 0.8 and load_factor(2) == pytest.approx(2.0)
    assert quote(VIDEO, Rules(min_margin=0.3), load=0.0).margin >= 0.299


def test_a_fixed_price_that_does_not_cover_the_costs_is_refused() -> None:
    with pytest.raises(QuoteError):
        quote(VIDEO, fixed_msat=150_000)
    assert quote(VIDEO, fixed_msat=250_000).price_msat == 250_000


def test_free_steps_make_a_free_composite() -> None:
    free = quote([Line("a", 5050, 1, 0, 0.9)])
    assert free.price_msat == 0 == free.hard_msat and free.lines == (("a", 5050, 0),)


LINES = st.lists(
    st.builds(
        Line, step=st.just("s"), kind=st.just(5100), count=st.integers(1, 6), price_msat=st.integers(1, 10**6),
        chance=st.floats(0.05, 1), tries=st.integers(1, 4), pays_for_failures=st.booleans(),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(LINES)
def test_every_quote_covers_its_costs_and_adds_up(lines: list[Line]) -> None:
    if expectation(lines)[1] < 0.2:
        with pytest.raises(QuoteError):
            quote(lines)
        return
    offer = quote(lines)
    assert offer.price_msat % 1000 == 0
    assert offer.price_msat * offer.chance >= offer.expected_msat * 0.999
    assert offer.soft_msat <= offer.price_msat <= offer.hard_msat
    assert sum(msat for _, _, msat in offer.lines) == offer.price_msat
    assert quote(lines) == offer
