"""Reviews of bought jobs: 31117, mirrored as 1985, and what proves that their author really paid.

A review counts as paid if its author asked for the job, the provider billed that author for it with an invoice, the
review shows the preimage of that invoice, and no other review shows the same. So a stranger cannot complain without
having bought, while praise by a seller's own keys costs only fees: reputation weighs the two accordingly.

A complaint is borne out by the public record where the provider signed no result before the review, or where the file
it delivered fails its gate again; everything else is an opinion. `docs/kinds.md` shows the events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from market.errors import BadFeedback, BadResult, BadReview
from market.job import Feedback, JobResult
from market.kinds import FEEDBACK, LABEL, PROFILE, RANK, RECOMMENDATION, REVIEW, is_result
from market.purchase import proves
from market.purchases import Purchase, State, Stats
from market.reputation import Evidence, Score, Vouch
from market.tags import Tag, parse_hex64, parse_msat
from nostr import nip57
from nostr.event import Event, InvalidEvent
from nostr.key import SecretKey
from wallet import bolt11

LABEL_SPACE: Final = "ai.wot"
RECOMMENDED: Final = 0.5
ZAPPED: Final = 0.3
SMALLEST_ZAP_MSAT: Final = 1_000
MOST_SHOWN: Final = 12_000  # characters of a request or bill that a review carries


@dataclass(frozen=True, slots=True)
class Bought:
    """The facts of one bought job that a review tells. `stars` 1 to 5; complaints need a `text`.

    `grounds`: `undelivered`, or the name of the gate that the artefact failed; empty for an opinion.
    """

    request_id: str
    provider: str
    kind: int
    stars: int
    text: str = ""
    grounds: str = ""
    result_id: str | None = None
    receipt_id: str | None = None
    payment_hash: str | None = None
    preimage: str | None = None
    amount_msat: int = 0
    sha256: str | None = None
    request: Event | None = None  # both are shown in the review, so that it can be checked when relays forgot them
    bill: Event | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A 31117 as it says of itself; `check_review` finds out what of it is true."""

    event: Event
    request_id: str
    provider: str
    kind: int
    stars: int
    role: str
    grounds: str
    result_id: str | None
    payment_hash: str | None
    preimage: str | None
    amount_msat: int
    sha256: str | None
    text: str

    @property
    def author(self) -> str:
        return self.event.pubkey

    @property
    def value(self) -> float:
        return (self.stars - 1) / 4

    @property
    def shown_request(self) -> Event | None:
        """The request as the review shows it, if it is genuine."""
        return _shown(self.event, "request", self.request_id)

    @property
    def shown_bill(self) -> Event | None:
        return _shown(self.event, "bill", None)

    @property
    def proven_hash(self) -> str | None:
        """The payment hash that the shown preimage belongs to."""
        return hashlib.sha256(bytes.fromhex(self.preimage)).hexdigest() if self.preimage else None

    @classmethod
    def parse(cls, event: Event) -> Review:
        """Raises BadReview where the event is no review of a job."""
        request_id = parse_hex64(event.first("d") or "") or parse_hex64(event.first("e") or "")
        provider = parse_hex64(event.first("p") or "")
        stars = event.first("rating") or ""
        kind = event.first("k") or ""
        if event.kind != REVIEW or request_id is None or provider is None:
            raise BadReview("no review of a job: it names no request or no provider")
        if stars not in ("1", "2", "3", "4", "5"):
            raise BadReview("the rating is not a number from 1 to 5")
        role = event.first("role") or "customer"
        if role == "customer" and event.pubkey == provider:
            raise BadReview("a provider does not review itself")
        return cls(
            event=event,
            request_id=request_id,
            provider=provider,
            kind=int(kind) if kind.isascii() and kind.isdigit() and len(kind) < 6 else 0,
            stars=int(stars),
            role=role,
            grounds=event.first("grounds") or "",
            result_id=next((tag[1] for tag in event.tagged("e") if len(tag) > 3 and tag[3] == "result"), None),
            payment_hash=parse_hex64(event.first("payment_hash") or ""),
            preimage=parse_hex64(event.first("preimage") or ""),
            amount_msat=parse_msat(event.first("amount") or "") or 0,
            sha256=parse_hex64(event.first("x") or ""),
            text=event.content[:4000],
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What of a review is true. `why` says what is missing for `paid`; `recheck`: a failed gate that can be re-run."""

    paid: bool
    delivered: bool
    opinion: bool
    why: str = ""
    recheck: bool = False


def build_review(key: SecretKey, bought: Bought, *, relay: str = "", created_at: int) -> list[Event]:
    """The 31117 and its 1985 mirror, signed by the customer. One job has one review by one author."""
    if bought.stars < 3 and not bought.text:
        raise BadReview("a complaint needs words")
    tags: list[list[str]] = [["d", bought.request_id], ["e", bought.request_id, relay, "request"]]
    if bought.result_id:
        tags.append(["e", bought.result_id, relay, "result"])
    if bought.receipt_id:
        tags.append(["e", bought.receipt_id, relay, "receipt"])
    tags += [["p", bought.provider], ["k", str(bought.kind)], ["rating", str(bought.stars)], ["role", "customer"]]
    if bought.grounds:
        tags.append(["grounds", bought.grounds])
    if bought.payment_hash:
        tags.append(["payment_hash", bought.payment_hash])
        tags.append(["amount", str(bought.amount_msat)])
    if bought.preimage:
        tags.append(["preimage", bought.preimage])
    if bought.sha256:
        tags.append(["x", bought.sha256])
    for name, event in (("request", bought.request), ("bill", bought.bill)):
        if event is not None and len(text := event.to_json().decode()) <= MOST_SHOWN:
            tags.append([name, text])
    tags.append(["alt", f"Review of a job of kind {bought.kind}: {bought.stars} of 5"])
    review = key.sign(kind=REVIEW, content=bought.text, tags=tags, created_at=created_at)
    label = "service-quality" if bought.stars >= 3 else "dispute" if bought.payment_hash else "warning"
    mirror = [["L", LABEL_SPACE], ["l", label, LABEL_SPACE], ["p", bought.provider], ["e", review.id, relay, "review"]]
    if bought.result_id:
        mirror.append(["e", bought.result_id, relay, "result"])
    mirror.append(["alt", f"Label: {label}"])
    return [review, key.sign(kind=LABEL, content=bought.text, tags=mirror, created_at=created_at)]


def build_answer(key: SecretKey, review: Event, text: str, *, offer: str = "", created_at: int) -> Event:
    """A seller's answer to a review: its own 31117 with role `provider`. `offer`: `redo` or `refund`, for instance."""
    about = Review.parse(review)
    if key.public != about.provider:
        raise BadReview("only the reviewed provider answers a review")
    tags = [["d", about.request_id], ["e", about.request_id, "", "request"], ["e", review.id, "", "review"]]
    tags += [["p", review.pubkey], ["k", str(about.kind)], ["rating", "3"], ["role", "provider"]]
    if offer:
        tags.append(["offer", offer])
    return key.sign(kind=REVIEW, content=text, tags=[*tags, ["alt", "Answer to a review"]], created_at=created_at)


def check_review(
    review: Review, request: Event | None, said: Iterable[Event], *, seen_hashes: Iterable[str] = ()
) -> Verdict:
    """What of a review is true.

    `request` is the job's request, `said` the feedback and results that name it (of anybody: only the provider's
    count), `seen_hashes` the payment hashes of earlier reviews. These events must be verified already; what the review
    itself shows of them is verified here.
    """
    request = request or review.shown_request
    shown = review.shown_bill
    heard = {event.id: event for event in [*said, *([shown] if shown is not None else [])]}
    theirs = [event for event in heard.values() if event.pubkey == review.provider]
    results = [event for event in theirs if is_result(event.kind) and _answers(event, review)]
    delivered = any(event.created_at <= review.event.created_at for event in results)
    complaint = review.stars < 3
    opinion = complaint and delivered
    recheck = opinion and review.sha256 is not None and review.grounds not in ("", "undelivered")
    why = _unpaid(review, request, theirs, frozenset(seen_hashes))
    if not why and not complaint and not results:
        why = "praise for something that was never delivered"
    return Verdict(not why, delivered, opinion, why, recheck)


def evidence(review: Review, verdict: Verdict) -> Evidence:
    """What the review contributes to a score."""
    return Evidence(
        rater=review.author,
        provider=review.provider,
        kind=review.kind,
        value=review.value,
        at=review.event.created_at,
        amount_msat=review.amount_msat,
        paid=verdict.paid,
        opinion=verdict.opinion,
    )


def review_of(purchase: Purchase, *, receipt_id: str | None = None) -> Bought | None:
    """What a finished purchase says of its seller; None where it says nothing fair (our own failure, no payment)."""
    provider = purchase.provider
    stars = {State.DELIVERED: 5, State.LOST: 1, State.REJECTED: 1, State.REFUNDED: 2}.get(purchase.state)
    payment = purchase.payment
    if provider is None or stars is None or payment is None:
        return None
    grounds, encrypted = "", purchase.order.request.encrypted is not None
    if purchase.state in (State.LOST, State.REFUNDED):
        grounds = "undelivered"
    elif purchase.state is State.REJECTED:
        grounds = purchase.refusal or ""
    return Bought(
        request_id=purchase.id,
        provider=provider,
        kind=purchase.order.kind,
        stars=stars,
        text="delivered as ordered" if stars == 5 else purchase.reason or "not delivered",
        grounds=grounds,
        result_id=purchase.result.event.id if purchase.result else None,
        receipt_id=receipt_id,
        payment_hash=payment.payment_hash,
        # A preimage proves the payment to everybody, so it goes out only once the payment is settled for good.
        # An encrypted job keeps it: its bill is secret, so it would prove nothing and link the payment to the job.
        preimage=payment.preimage if payment.state == "settled" and not encrypted else None,
        amount_msat=payment.amount_msat,
        sha256=purchase.sha256,
        request=None if encrypted else purchase.order.request.event,
        bill=None if encrypted else payment.bill,
    )


def recommendations(event: Event) -> list[Vouch]:
    """The providers a 31989 vouches for."""
    if event.kind != RECOMMENDATION:
        return []
    keys = {address.split(":")[1] for address in event.values("a") if address.count(":") >= 2}
    return [Vouch(event.pubkey, key, RECOMMENDED) for key in sorted(keys) if parse_hex64(key)]


def zap_out(receipt: Event, payee_keys: Mapping[str, str]) -> Vouch | None:
    """The vouch of a zap, if its receipt is signed by the key that the payee's LNURL service announces.

    `payee_keys` maps a provider to that `nostrPubkey`. Invoice, amount and description hash must agree (NIP-57); a
    receipt is no proof that money moved, which is why a vouch is weak and counts only from keys one trusts.
    """
    try:
        zap = nip57.parse_receipt(receipt)
        invoice = bolt11.decode(zap.bolt11)
    except (nip57.InvalidZap, bolt11.InvalidInvoice):
        return None
    request = zap.request
    expected = payee_keys.get(request.receiver)
    if expected is None or zap.signer != expected or not receipt.verify():
        return None
    amount = invoice.amount_msat or 0
    if amount < SMALLEST_ZAP_MSAT or (request.amount_msat is not None and request.amount_msat != amount):
        return None
    if invoice.description_hash != _sha256(zap.description):
        return None
    return Vouch(request.event.pubkey, request.receiver, ZAPPED)


def build_recommendation(key: SecretKey, kind: int, addresses: Sequence[str], *, created_at: int) -> Event:
    """A 31989: `addresses` are the announcements that this key recommends for a kind of job."""
    tags: list[Tag] = [["d", str(kind)], *(["a", address] for address in addresses)]
    return key.sign(kind=RECOMMENDATION, tags=[*tags, ["alt", "Recommended services"]], created_at=created_at)


def build_ranks(
    key: SecretKey, scores: Iterable[Score], stats: Mapping[tuple[str, int], Stats], *, created_at: int
) -> list[Event]:
    """NIP-85 assertions (30382) by a score key, one a provider: the rank of its most reviewed kind of job."""
    best: dict[str, Score] = {}
    kinds: dict[str, list[int]] = {}
    for score in scores:
        kinds.setdefault(score.provider, []).append(score.kind)
        if score.provider not in best or best[score.provider].jobs < score.jobs:
            best[score.provider] = score
    made = []
    for provider, score in sorted(best.items()):
        seen = stats.get((provider, score.kind), Stats())
        half = seen.percentile(0.5)
        tags = [["d", provider], ["rank", str(score.rank)], *(["k", str(kind)] for kind in sorted(kinds[provider]))]
        tags += [["jobs", str(score.jobs)], *([["p50_s", f"{half:.0f}"]] if half is not None else [])]
        made.append(key.sign(kind=RANK, tags=tags, created_at=created_at))
    return made


def build_rank_profile(key: SecretKey, *, created_at: int) -> Event:
    """The kind 0 of a score key: what its ranks mean and how to recompute them."""
    content = {
        "name": "Timmy scores",
        "about": "Ranks (NIP-85, 30382) of NIP-90 sellers: the lower bound, in hundredths, of a Beta posterior over"
        " payment-bound reviews as one node sees them; strangers' praise is capped. How: docs/reputation.md of Timmy.",
        "bot": True,
    }
    return key.sign(kind=PROFILE, content=orjson.dumps(content).decode(), created_at=created_at)


def _shown(event: Event, name: str, wanted: str | None) -> Event | None:
    text = event.first(name)
    if text is None or len(text) > MOST_SHOWN:
        return None
    try:
        inner = Event.from_json(text)
    except InvalidEvent:
        return None
    return inner if wanted in (None, inner.id) and inner.verify() else None


def _answers(event: Event, review: Review) -> bool:
    try:
        return JobResult.parse(event).request_id == review.request_id
    except BadResult:
        return False


def _unpaid(review: Review, request: Event | None, theirs: Sequence[Event], seen: frozenset[str]) -> str:
    """Why the review proves no payment; empty where it does."""
    if request is None or request.id != review.request_id:
        return "the request is not known"
    if request.pubkey != review.author:
        return "the reviewer did not ask for this job"
    if review.preimage is None:
        return "no preimage is shown"
    for event in theirs:
        invoice = _invoice_for(event, review)
        if invoice is None or not proves(review.preimage, invoice.payment_hash):
            continue
        if invoice.payment_hash in seen:
            return "another review shows the same payment"
        if review.event.created_at < invoice.created_at:
            return "the review is older than the invoice"
        if review.amount_msat and invoice.amount_msat != review.amount_msat:
            return "the amount is not the invoice's"
        return ""
    return "the provider billed nobody with this preimage"


def _invoice_for(event: Event, review: Review) -> bolt11.Bolt11 | None:
    """The invoice of a bill that this provider wrote for this reviewer and job."""
    try:
        bill = Feedback.parse(event) if event.kind == FEEDBACK else JobResult.parse(event)
    except (BadFeedback, BadResult):
        return None
    if bill.request_id != review.request_id or bill.bolt11 is None or review.author not in event.values("p"):
        return None
    try:
        return bolt11.decode(bill.bolt11)
    except bolt11.InvalidInvoice:
        return None


def _sha256(text: str) -> str:

    return hashlib.sha256(text.encode()).hexdigest()
