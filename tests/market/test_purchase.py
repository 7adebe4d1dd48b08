"""Which bill may be paid and which result is the one that was bought: every rule, one bent fact at a time."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import BillRefused, ResultRefused
from market.fetch import Fetched
from market.job import Feedback, JobInput, JobRequest, Media, build_feedback, build_request, build_result
from market.purchase import Order, check_bill, check_file, check_result, honest_outcome, wanted_file
from nostr.event import Event
from nostr.key import SecretKey
from wallet import bolt11
from wallet.interface import Outcome, PayResult

NOW = 1_800_000_000
BUYER, SELLER, THIEF = (SecretKey(bytes([n]) * 32) for n in (1, 2, 3))
HASH = "11" * 32


def order(kind: int = 5100, *, max_msat: int = 8_000, bid: int | None = None, **facts: Any) -> Order:
    event = build_request(
        BUYER, kind=kind, inputs=[JobInput("a lighthouse", "text")], providers=[SELLER.public], bid_msat=bid,
        created_at=NOW, **facts,
    )  # fmt: skip
    return Order(JobRequest.parse(event, BUYER), SELLER.public, max_msat, "regtest", NOW + 600)


def invoice(msat: int | None = 8_000, *, expiry: int = 600, **facts: Any) -> str:
    made = {"network": "regtest", "payment_hash": HASH, "created_at": NOW, "description": "x", **facts}
    return bolt11.encode(key=SELLER, amount_msat=msat, expiry=expiry, **made)


def bill(wanted: Order, text: str | None = None, *, key: SecretKey = SELLER, amount: int | None = 8_000) -> Feedback:
    event = build_feedback(
        key, wanted.request, "payment-required", "pay", amount_msat=amount,
        bolt11=invoice() if text is None else text, created_at=NOW,
    )  # fmt: skip
    return Feedback.parse(event, BUYER)


def refusal(wanted: Order, feedback: Feedback, **facts: Any) -> str:
    with pytest.raises(BillRefused) as refused:
        check_bill(wanted, feedback, now=facts.pop("now", NOW), **facts)
    return refused.value.kind


def test_an_honest_bill_passes_in_either_case() -> None:
    wanted = order()
    accepted = check_bill(wanted, bill(wanted), now=NOW)
    assert (accepted.amount_msat, accepted.payment_hash, accepted.provider) == (8_000, HASH, SELLER.public)
    shouted = check_bill(wanted, bill(wanted, invoice().upper()), now=NOW)
    assert shouted.payment_hash == HASH
    assert refusal(wanted, bill(wanted, invoice().upper()), seen_hashes={HASH}) == "invoice seen before"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (invoice(9_000), "amount differs"),
        (invoice(None), "bad invoice"),
        (invoice(network="bitcoin"), "wrong network"),
        (invoice(network="signet"), "wrong network"),
        (invoice(expiry=10), "expired"),
        (invoice(created_at=NOW - 3600), "expired"),
        (invoice(created_at=NOW + 4000), "bad invoice"),
        (invoice(description=f"nip90:{'ab' * 32}"), "other job"),
        (invoice()[:-1] + ("q" if invoice()[-1] != "q" else "p"), "bad invoice"),
        ("", "no invoice"),
    ],
)
def test_a_bent_invoice_is_never_paid(text: str, kind: str) -> None:
    wanted = order()
    assert refusal(wanted, bill(wanted, text)) == kind


def test_the_quote_and_the_bid_are_ceilings() -> None:
    dear = order(max_msat=7_999)
    assert refusal(dear, bill(dear)) == "too dear"
    bid = order(bid=5_000)
    assert refusal(bid, bill(bid)) == "too dear"


def test_only_the_pinned_provider_bills_and_only_for_this_request() -> None:
    wanted, other = order(), order(5050)
    assert refusal(wanted, bill(wanted, key=THIEF)) == "forged"
    assert refusal(wanted, bill(other)) == "other job"
    honest = bill(wanted)
    bent = replace(honest, event=replace(honest.event, content="more"))
    assert refusal(wanted, bent) == "forged"
    assert refusal(replace(wanted, deadline=NOW), honest) == "too late"


def test_a_bill_for_somebody_else_is_refused() -> None:
    wanted = order()
    tags = [["e", wanted.id], ["p", THIEF.public], ["status", "payment-required"], ["amount", "8000", invoice()]]
    assert refusal(wanted, Feedback.parse(SELLER.sign(kind=7000, tags=tags, created_at=NOW))) == "other job"


@given(msat=st.integers(1, 10**9), said=st.integers(1, 10**9), quote=st.integers(0, 10**9))
def test_what_is_paid_is_what_was_said_and_agreed(msat: int, said: int, quote: int) -> None:
    wanted = replace(order(), max_msat=quote)
    try:
        accepted = check_bill(wanted, bill(wanted, invoice(msat), amount=said), now=NOW)
    except BillRefused:
        assert msat != said or msat > quote
    else:
        assert accepted.amount_msat == msat == said <= quote


def result(wanted: Order, content: str = "https://x.example/a.png", key: SecretKey = SELLER, **facts: Any) -> Event:
    return build_result(key, wanted.request, content, created_at=NOW, **facts)


def test_results_of_others_for_others_or_without_a_file_are_refused() -> None:
    wanted = order()
    assert check_result(wanted, result(wanted)).urls[0].url == "https://x.example/a.png"
    for event, kind in [
        (result(wanted, key=THIEF), "forged"),
        (result(order(5050)), "other job"),
        (result(order(5100, output="image/png")), "other job"),
        (result(wanted, ""), "empty"),
        (result(wanted, "sorry, no picture today"), "wrong type"),
    ]:
        with pytest.raises(ResultRefused) as refused:
            check_result(wanted, event)
        assert refused.value.kind == kind, kind


def test_an_encrypted_result_that_does_not_open_is_unreadable() -> None:
    wanted = order(5050, encrypt_to=SELLER.public)
    good = build_result(SELLER, wanted.request, "hello", created_at=NOW)
    assert check_result(wanted, good, BUYER).content == "hello"
    junk = SELLER.sign(kind=6050, content="junk", tags=list(good.tags), created_at=NOW)
    with pytest.raises(ResultRefused) as refused:
        check_result(wanted, junk, BUYER)
    assert refused.value.kind == "unreadable"


def test_files_are_checked_by_type_and_hash() -> None:
    data = b"\x89PNG\r\n\x1a\n"
    fetched = Fetched("u", "image/png", hashlib.sha256(data).hexdigest(), len(data), data=data)
    check_file(order(), Media("u", fetched.sha256), fetched)
    for bent, media in [
        (replace(fetched, mime="text/html"), Media("u")),
        (fetched, Media("u", "00" * 32)),
        (replace(fetched, size=0), Media("u")),
    ]:
        with pytest.raises(ResultRefused):
            check_file(order(), media, bent)


def test_what_a_job_should_give() -> None:
    assert wanted_file(order().request) == "image/*"
    assert wanted_file(order(output="image/webp").request) == "image/webp"
    assert wanted_file(order(5050).request) is None
    assert wanted_file(order(5050, output="application/json").request) is None
    assert wanted_file(order(5251).request) == "audio/*"


def test_a_wallet_that_shows_a_wrong_preimage_is_not_believed() -> None:
    preimage = "22" * 32
    digest = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
    honest = PayResult(Outcome.SETTLED, digest, preimage, 0)
    assert honest_outcome(honest, digest).outcome is Outcome.SETTLED
    assert honest_outcome(replace(honest, preimage=None), digest).outcome is Outcome.SETTLED
    for lie in (replace(honest, preimage="00" * 32), replace(honest, preimage="zz"), replace(honest, preimage="")):
        assert honest_outcome(lie, digest).outcome is Outcome.UNKNOWN
