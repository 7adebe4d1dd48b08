"""BOLT 11: every vector of the specification, round trips, and damage."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostr.key import SecretKey
from wallet import bolt11

VECTORS = json.loads((Path(__file__).parent / "data" / "bolt11.json").read_text())
KEY = SecretKey.from_hex(VECTORS["key"])
HASH = "0001020304050607080900010203040506070809000102030405060708090102"
COFFEE = VECTORS["valid"][1]["invoice"]


def sample(**changes: object) -> str:
    given = {"network": "regtest", "amount_msat": 21_000, "payment_hash": HASH, "created_at": 1_800_000_000,
             "description": "one song", "expiry": 600}  # fmt: skip
    return bolt11.encode(key=KEY, **(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["title"][:40])
def test_the_good_examples_are_read(vector: dict[str, str]) -> None:
    invoice = bolt11.decode(vector["invoice"])
    assert invoice.payment_secret == "11" * 32
    high_s = "high-S" in vector["title"]
    assert (invoice.payee == KEY_POINT) is not high_s
    assert invoice.created_at in (1496314658, 1572468703)


KEY_POINT = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad"


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["title"][:40])
def test_the_bad_examples_are_refused(vector: dict[str, str]) -> None:
    with pytest.raises(bolt11.InvalidInvoice):
        bolt11.decode(vector["invoice"])


def test_the_fields_of_the_examples_are_exact() -> None:
    pico = bolt11.decode(next(v["invoice"] for v in VECTORS["valid"] if "pico" in v["title"]))
    assert pico.amount_msat == 967_878_534
    assert pico.payment_hash == "462264ede7e14047e9b249da94fefc47f41f7d02ee9b091815a5506bc8abf75f"
    assert pico.expiry == 604_800 and pico.min_final_cltv == 10
    assert pico.routes == (
        (
            bolt11.Hop(
                "03d06758583bb5154774a6eb221b1276c9e82d65bbaceca806d90e20c108f4b1c7", "589390x3312x1", 1000, 2500, 40
            ),
        ),
    )
    hashed = bolt11.decode(VECTORS["valid"][3]["invoice"])
    assert hashed.description is None
    assert hashed.description_hash == "3925b6f67e2c340036ed12093dd44e0368df1b6ea26c53dbe4811f58fd5db8c1"
    assert bolt11.decode(VECTORS["valid"][0]["invoice"]).amount_msat is None
    assert bolt11.decode(VECTORS["valid"][14]["invoice"]).metadata == bytes.fromhex("01fafaf0")
    assert 99 in bolt11.decode(VECTORS["valid"][11]["invoice"]).features
    assert [f.version for v in VECTORS["valid"][4:10] for f in bolt11.decode(v["invoice"]).fallbacks] == [
        17, 17, 18, 0, 0, 1]  # fmt: skip


@given(
    amount=st.none() | st.integers(1, bolt11.MAX_MSAT),
    network=st.sampled_from(sorted(bolt11.NETWORKS)),
    text=st.text(max_size=150),
    created_at=st.integers(0, 2**35 - 1),
    expiry=st.integers(0, 10**9),
)
def test_what_is_written_is_read_back(
    amount: int | None, network: str, text: str, created_at: int, expiry: int
) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    made = sample(amount_msat=amount, network=network, description=text, created_at=created_at, expiry=expiry)
    read = bolt11.decode(made.upper())
    assert (read.amount_msat, read.network, read.description) == (amount, network, text)
    assert (read.created_at, read.expiry, read.payment_hash, read.payee) == (created_at, expiry, HASH, KEY_POINT)
    assert read.text == made


@given(st.integers(5, 200), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_one_changed_character_is_noticed(place: int, character: str) -> None:
    made = sample()
    damaged = made[:place] + character + made[place + 1 :]
    if damaged != made:
        with pytest.raises(bolt11.InvalidInvoice):
            bolt11.decode(damaged)


@given(st.text(max_size=300) | st.text("lnbcrt10qpzry9x8mu", max_size=300).map(lambda t: "lnbc1" + t))
def test_garbage_is_refused_and_never_crashes(text: str) -> None:
    with pytest.raises(bolt11.InvalidInvoice):
        bolt11.decode(text)


@pytest.mark.parametrize(
    ("msat", "prefix"), [(10**11, "lnbcrt1"), (250_000_000, "lnbcrt2500u"), (100, "lnbcrt1n"), (1, "lnbcrt10p")]
)
def test_the_amount_is_as_short_as_can_be(msat: int, prefix: str) -> None:
    assert sample(amount_msat=msat).rpartition("1")[0] == prefix


@pytest.mark.parametrize("amount", [0, -5, bolt11.MAX_MSAT + 1])
def test_amounts_that_no_invoice_can_carry(amount: int) -> None:
    with pytest.raises(bolt11.InvalidInvoice):
        sample(amount_msat=amount)


def test_a_route_hint_and_a_fallback_survive() -> None:
    hop = bolt11.Hop(KEY_POINT, "589390x3312x1", 1000, 2500, 40)
    home = bolt11.Fallback(17, "3172b5654f6683c8fb146959d347ce303cae4ca7")
    read = bolt11.decode(sample(routes=[[hop, hop], [hop]], fallbacks=[home], metadata=b"\x01\x02"))
    assert read.routes == ((hop, hop), (hop,)) and read.fallbacks == (home,) and read.metadata == b"\x01\x02"


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"network": "bitcoin"}, "is for regtest"),
        ({"amount_msat": 20_999}, "21000 msat"),
        ({"now": 1_800_000_600}, "has expired"),
        ({"now": 1_800_000_599, "min_seconds_left": 5}, "within 5 s"),
        ({"description_hash": "00" * 32}, "commit"),
    ],
)
def test_a_payer_refuses(terms: dict[str, object], reason: str) -> None:
    invoice = bolt11.decode(sample())
    agreed: dict[str, object] = {"network": "regtest", "now": 1_800_000_000, "amount_msat": 21_000}
    bolt11.check_payable(invoice, **agreed)  # type: ignore[arg-type]
    with pytest.raises(bolt11.InvalidInvoice, match=reason):
        bolt11.check_payable(invoice, **(agreed | terms))  # type: ignore[arg-type]


def test_an_invoice_without_an_amount_is_not_payable() -> None:
    with pytest.raises(bolt11.InvalidInvoice, match="no amount"):
        bolt11.check_payable(bolt11.decode(sample(amount_msat=None)), network="regtest", now=1_800_000_000)


def test_a_long_invoice_is_not_even_read() -> None:
    with pytest.raises(bolt11.InvalidInvoice, match="longer"):
        bolt11.decode("lnbc1" + "q" * 8000)
