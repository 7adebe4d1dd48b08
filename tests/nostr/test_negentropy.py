"""Two-sided: whatever the sets and the frame limit are, the Initiator ends with exactly both differences."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nostr.negentropy import Initiator, InvalidNegentropy, Items, Responder, UnsupportedVersion, varint

Item = tuple[int, bytes]


def item(number: int, spread: int = 7) -> Item:
    return number // spread, hashlib.sha256(number.to_bytes(8)).digest()


def exchange(ours: set[Item], theirs: set[Item], limit: int = 0) -> tuple[set[bytes], set[bytes], int, int]:
    """(have, need, rounds, largest message)"""
    initiator, responder = Initiator(Items(ours), limit), Responder(Items(theirs), limit)
    message: bytes | None = initiator.begin()
    rounds = largest = 0
    while message is not None:
        answer = responder.answer(message)
        largest = max(largest, len(message), len(answer))
        message = initiator.step(answer)
        rounds += 1
        assert rounds < 500, "no end"
    return initiator.have, initiator.need, rounds, largest


def check(ours: set[Item], theirs: set[Item], limit: int = 0) -> tuple[int, int]:
    have, need, rounds, largest = exchange(ours, theirs, limit)
    assert have == {i for _, i in ours - theirs}
    assert need == {i for _, i in theirs - ours}
    if limit:
        assert largest <= limit
    return rounds, largest


SETS = st.sets(st.integers(0, 400), max_size=200)


@given(SETS, SETS, st.sampled_from([1, 7, 1000]), st.sampled_from([0, 4096]))
@settings(max_examples=150, deadline=None)
def test_any_two_sets(ours: set[int], theirs: set[int], spread: int, limit: int) -> None:
    check({item(n, spread) for n in ours}, {item(n, spread) for n in theirs}, limit)


@given(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=12), st.data())
@settings(max_examples=80, deadline=None)
def test_ids_with_long_common_prefixes(pairs: set[tuple[int, int]], data: st.DataObject) -> None:
    items = [(at, bytes(30) + bytes((200 + at, last))) for at, last in sorted(pairs)]
    padding = {(5, bytes(30) + n.to_bytes(2)) for n in range(60)}
    ours = {i for i in items if data.draw(st.booleans())} | padding
    check(ours, set(items) | padding)


@pytest.mark.parametrize("limit", [4096, 60_000])
def test_large_sets_in_small_frames(limit: int) -> None:
    common = {item(n) for n in range(20_000)}
    only_ours = {item(n) for n in range(30_000, 30_500)}
    only_theirs = {item(n, 13) for n in range(40_000, 41_000)}
    rounds, _ = check(common | only_ours, common | only_theirs, limit)
    assert rounds < 200


def test_one_side_empty_and_both_equal() -> None:
    some = {item(n) for n in range(5000)}
    check(set(), some, 60_000)
    check(some, set(), 60_000)
    rounds, largest = check(some, some)
    assert rounds == 1 and largest < 500


def test_differences_cost_far_less_than_the_sets() -> None:
    common = {item(n) for n in range(50_000)}
    have, need, rounds, largest = exchange(common | {item(99_999)}, common | {item(99_998)})
    assert (len(have), len(need)) == (1, 1) and rounds <= 5 and largest < 4000


def test_wire_format_of_small_messages() -> None:
    assert Initiator(Items([])).begin().hex() == "61" + "00" + "00" + "02" + "00"
    one = bytes(range(32))
    assert Initiator(Items([(5, one)])).begin().hex() == "61" + "0000" + "02" + "01" + one.hex()
    responder = Responder(Items([(5, one)]))
    assert responder.answer(bytes.fromhex("6100000200")).hex() == "61" + "0000" + "02" + "01" + one.hex()
    assert responder.answer(bytes.fromhex("62")).hex() == "61"
    fingerprint = hashlib.sha256(one + b"\x01").digest()[:16]
    assert Items([(5, one)]).fingerprint(0, 1) == fingerprint
    assert responder.answer(b"\x61\x00\x00\x01" + fingerprint) == b"\x61"


@pytest.mark.parametrize(
    ("number", "encoded"), [(0, "00"), (127, "7f"), (128, "8100"), (300, "822c"), (2**32, "9080808000")]
)
def test_varint(number: int, encoded: str) -> None:
    assert varint(number).hex() == encoded


@given(st.binary(max_size=200))
def test_garbage_never_does_more_than_raise(data: bytes) -> None:
    items = Items(item(n) for n in range(40))
    for body in (data, b"\x61" + data):
        for side in (Responder(items).answer, Initiator(items).step):
            try:
                side(body)
            except InvalidNegentropy:
                continue


def test_other_versions() -> None:
    with pytest.raises(UnsupportedVersion):
        Initiator(Items([])).step(b"\x62")
    with pytest.raises(InvalidNegentropy):
        Responder(Items([])).answer(b"\x70")
