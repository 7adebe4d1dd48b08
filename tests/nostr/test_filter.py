"""The naive matcher, checked against a still more naive reading of NIP-01."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostr import Event, Filter, InvalidFilter

HEX = st.sampled_from(["0" * 64, "1" * 64, "2" * 64])
WORD = st.sampled_from(["", "a", "b", "é"])
TAGS = st.lists(
    st.one_of(st.just([]), st.tuples(st.sampled_from("etpx")), st.tuples(st.sampled_from("etpx"), WORD, WORD)),
    max_size=4,
)
EVENTS = st.builds(
    lambda i, p, at, kind, tags: Event(i, p, at, kind, tuple(tuple(t) for t in tags), "", "0" * 128),
    HEX,
    HEX,
    st.integers(0, 5),
    st.integers(0, 3),
    TAGS,
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "ids": st.lists(HEX, max_size=2),
        "authors": st.lists(HEX, max_size=2),
        "kinds": st.lists(st.integers(0, 3), max_size=2),
        "since": st.integers(0, 5),
        "until": st.integers(0, 5),
        "#t": st.lists(WORD, max_size=2),
        "#e": st.lists(WORD, max_size=2),
        "limit": st.integers(0, 3),
    },
)


def by_the_letter(wanted: dict[str, Any], event: Event) -> bool:
    for name, value in wanted.items():
        if name == "since":
            ok = event.created_at >= value
        elif name == "until":
            ok = event.created_at <= value
        elif name == "limit":
            ok = True
        elif name.startswith("#"):
            ok = any(len(tag) > 1 and tag[0] == name[1] and tag[1] in value for tag in event.tags)
        else:
            ok = {"ids": event.id, "authors": event.pubkey, "kinds": event.kind}[name] in value
        if not ok:
            return False
    return True


@given(FILTERS, EVENTS)
def test_matching(wanted: dict[str, Any], event: Event) -> None:
    parsed = Filter.from_dict(wanted)
    assert parsed.matches(event) is by_the_letter(wanted, event)


@given(FILTERS)
def test_round_trip(wanted: dict[str, Any]) -> None:
    parsed = Filter.from_dict(wanted)
    assert Filter.from_dict(parsed.to_dict()) == parsed
    assert hash(Filter.from_dict(parsed.to_dict())) == hash(parsed)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {"ids": "x"},
        {"ids": ["abc"]},
        {"ids": ["A" * 64]},
        {"authors": [1]},
        {"kinds": [65536]},
        {"kinds": [True]},
        {"kinds": ["1"]},
        {"kinds": 1},
        {"since": -1},
        {"until": 1.5},
        {"limit": True},
        {"limit": 2**60},
        {"#t": "x"},
        {"#t": [1]},
        {"#tt": ["x"]},
        {"search": 1},
        {"unknown": 1},
    ],
)
def test_malformed(bad: object) -> None:
    with pytest.raises(InvalidFilter):
        Filter.from_dict(bad)


def test_keyword_form_takes_any_iterable() -> None:
    made = Filter(kinds=range(2), authors={"0" * 64}, tags={"p": iter(["x"])}, limit=3)
    assert made.to_dict() == {"authors": ["0" * 64], "kinds": [0, 1], "#p": ["x"], "limit": 3}
