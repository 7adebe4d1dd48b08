"""Reviews: what is written after a purchase, what proves a payment, and every way to fake one."""

import hashlib
import secrets
from dataclasses import replace

import pytest

from market.errors import BadReview
from market.job import JobInput, JobRequest, build_feedback, build_request, build_result
from market.purchases import Stats
from market.reputation import newcomer
from market.review import (
    Bought,
    Review,
    build_answer,
    build_ranks,
    build_recommendation,
    build_review,
    check_review,
    evidence,
    recommendations,
    zap_out,
)
from nostr import nip57
from nostr.event import Event
from nostr.key import SecretKey
from wallet import bolt11

NOW = 1_800_000_000


class Deal:
    """One honest purchase, all its events, ready to be bent."""

    def __init__(self, *, delivered: bool = True) -> None:
        self.buyer, self.seller = SecretKey.generate(), SecretKey.generate()
        self.preimage = secrets.token_hex(32)
        self.payment_hash = hashlib.sha256(bytes.fromhex(self.preimage)).hexdigest()
        event = build_request(
            self.buyer, kind=5100, inputs=[JobInput("a lighthouse", "text")], providers=[self.seller.public],
            created_at=NOW,
        )  # fmt: skip
        self.request = JobRequest.parse(event)
        self.invoice = self.bill_of(8_000)
        self.bill = self.bill_event(self.seller, self.invoice)
        self.result = build_result(self.seller, self.request, "https://x.example/a.png", created_at=NOW + 20)
        self.said = [self.bill, *([self.result] if delivered else [])]
        self.bought = Bought(
            self.request.id, self.seller.public, 5100, 5, "fine", result_id=self.result.id,
            payment_hash=self.payment_hash, preimage=self.preimage, amount_msat=8_000,
        )  # fmt: skip

    def bill_of(self, msat: int) -> str:
        return bolt11.encode(
            key=self.seller, network="regtest", amount_msat=msat, payment_hash=self.payment_hash, description="x",
            created_at=NOW + 1,
        )  # fmt: skip

    def bill_event(self, key: SecretKey, invoice: str) -> Event:
        return build_feedback(
            key, self.request, "payment-required", "pay", amount_msat=8_000, bolt11=invoice, created_at=NOW + 1
        )

    def review(self, key: SecretKey | None = None, at: int = NOW + 60, **changes: object) -> Review:
        return Review.parse(build_review(key or self.buyer, replace(self.bought, **changes), created_at=at)[0])  # type: ignore[arg-type]


def test_an_honest_review_is_paid_and_mirrored() -> None:
    deal = Deal()
    review, label = build_review(deal.buyer, deal.bought, relay="wss://r", created_at=NOW + 60)
    assert review.first("d") == deal.request.id and label.kind == 1985
    assert ("l", "service-quality", "ai.wot") in label.tags
    verdict = check_review(Review.parse(review), deal.request.event, deal.said)
    assert (verdict.paid, verdict.delivered, verdict.opinion) == (True, True, False)
    told = evidence(Review.parse(review), verdict)
    assert told.value == 1.0 and told.paid and told.amount_msat == 8_000


def test_a_review_proves_itself_when_relays_forgot_request_and_bill() -> None:
    deal, other = Deal(), Deal()
    review = deal.review(request=deal.request.event, bill=deal.bill)
    assert check_review(review, None, [deal.result]).paid
    assert not check_review(deal.review(), None, [deal.result]).paid
    bent = replace(deal.bill, content="another")
    for changes in ({"bill": bent}, {"bill": other.bill}, {"request": other.request.event}):
        shown = {"request": deal.request.event, "bill": deal.bill, **changes}
        assert not check_review(deal.review(**shown), None, [deal.result]).paid


def test_a_stranger_cannot_review() -> None:
    deal = Deal()
    verdict = check_review(deal.review(SecretKey.generate()), deal.request.event, deal.said)
    assert not verdict.paid and "did not ask" in verdict.why


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"preimage": None}, "no preimage"),
        ({"preimage": "00" * 32}, "billed nobody"),
        ({"amount_msat": 9_000}, "amount"),
    ],
)
def test_a_false_payment_is_seen(changes: dict[str, object], why: str) -> None:
    deal = Deal()
    verdict = check_review(deal.review(**changes), deal.request.event, deal.said)
    assert not verdict.paid and why in verdict.why


def test_a_bill_by_another_key_proves_nothing() -> None:
    deal = Deal()
    forged = deal.bill_event(SecretKey.generate(), deal.invoice)
    assert not check_review(deal.review(), deal.request.event, [forged, deal.result]).paid


def test_a_bill_for_another_customer_proves_nothing() -> None:
    deal, other = Deal(), Deal()
    stolen = replace(other.bill, tags=other.bill.tags)
    assert not check_review(deal.review(preimage=other.preimage), deal.request.event, [stolen, deal.result]).paid


def test_one_payment_carries_one_review_and_no_review_comes_before_its_invoice() -> None:
    deal = Deal()
    seen = check_review(deal.review(), deal.request.event, deal.said, seen_hashes=[deal.payment_hash])
    assert not seen.paid and "another review" in seen.why
    early = check_review(deal.review(at=NOW), deal.request.event, deal.said)
    assert not early.paid and "older" in early.why


def test_praise_needs_a_delivery() -> None:
    deal = Deal(delivered=False)
    assert not check_review(deal.review(), deal.request.event, deal.said).paid


def test_a_complaint_about_nothing_delivered_is_borne_out_and_one_about_a_delivery_is_an_opinion() -> None:
    complaint = {"stars": 1, "text": "junk", "grounds": "undelivered"}
    lost, served = Deal(delivered=False), Deal()
    proven = check_review(lost.review(**complaint), lost.request.event, lost.said)
    denied = check_review(served.review(**complaint), served.request.event, served.said)
    assert proven.paid and not proven.opinion
    assert denied.paid and denied.opinion and not denied.recheck
    gate = check_review(
        served.review(stars=1, text="blank", grounds="blank image", sha256="ab" * 32), served.request.event, served.said
    )
    assert gate.recheck


def test_a_delivery_after_the_complaint_does_not_refute_it() -> None:
    deal = Deal(delivered=False)
    late = build_result(deal.seller, deal.request, "https://x.example/a.png", created_at=NOW + 999)
    verdict = check_review(deal.review(stars=1, text="nothing came"), deal.request.event, [deal.bill, late])
    assert verdict.paid and not verdict.opinion


def test_complaints_need_words_and_sellers_do_not_review_themselves() -> None:
    deal = Deal()
    with pytest.raises(BadReview):
        build_review(deal.buyer, replace(deal.bought, stars=1, text=""), created_at=NOW)
    with pytest.raises(BadReview):
        deal.review(deal.seller)
    event = deal.buyer.sign(kind=31117, tags=[["d", deal.request.id], ["p", deal.seller.public], ["rating", "11"]])
    with pytest.raises(BadReview):
        Review.parse(event)


def test_a_seller_answers_only_its_own_reviews() -> None:
    deal = Deal()
    review = deal.review().event
    answer = build_answer(deal.seller, review, "we will do it again", offer="redo", created_at=NOW + 90)
    assert Review.parse(answer).role == "provider" and answer.first("offer") == "redo"
    with pytest.raises(BadReview):
        build_answer(SecretKey.generate(), review, "me too", created_at=NOW)


def test_recommendations_vouch() -> None:
    fan, seller = SecretKey.generate(), SecretKey.generate().public
    event = build_recommendation(fan, 5100, [f"31990:{seller}:x"], created_at=NOW)
    assert [(v.voucher, v.provider, v.weight) for v in recommendations(event)] == [(fan.public, seller, 0.5)]


def description_of(request: Event) -> str:
    return request.to_json().decode()


def zap(amount: int = 21_000, *, invoice_msat: int = 21_000, text: str | None = None, signer: SecretKey | None = None):  # type: ignore[no-untyped-def]
    fan, seller, service = SecretKey.generate(), SecretKey.generate(), SecretKey.generate()
    request = nip57.request(fan, seller.public, relays=["wss://r"], amount_msat=amount, created_at=NOW)
    description = text or description_of(request)
    invoice = bolt11.encode(
        key=service, network="regtest", amount_msat=invoice_msat, payment_hash="11" * 32, created_at=NOW,
        description_hash=hashlib.sha256((text or description).encode()).hexdigest(),
    )  # fmt: skip
    receipt = nip57.receipt(
        signer or service,
        nip57.check_request(request),
        bolt11=invoice,
        description=request.to_json().decode(),
        paid_at=NOW,
    )
    return receipt, fan.public, seller.public, service.public


def test_a_zap_vouches_and_forged_ones_do_not() -> None:
    receipt, fan, seller, service = zap()
    vouch = zap_out(receipt, {seller: service})
    assert vouch is not None and (vouch.voucher, vouch.provider, vouch.weight) == (fan, seller, 0.3)
    assert zap_out(receipt, {}) is None
    for bent in (zap(signer=SecretKey.generate()), zap(invoice_msat=1_000_000), zap(text="other words")):
        receipt, fan, seller, service = bent
        assert zap_out(receipt, {seller: service}) is None


def test_ranks_are_one_event_a_provider() -> None:
    key, seller = SecretKey.generate(), SecretKey.generate().public
    scores = [newcomer(seller, 5100), newcomer(seller, 5050)]
    (event,) = build_ranks(key, scores, {(seller, 5100): Stats(latencies=(7, 9, 30))}, created_at=NOW)
    assert event.kind == 30382 and event.first("d") == seller and event.first("rank") == "21"
    assert event.values("k") == ["5050", "5100"]
