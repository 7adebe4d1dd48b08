"""The rules of a purchase, as functions of values: which bill may be paid, which result is the one that was bought.

A bill is paid only if it comes from the pinned provider, names our request, asks in one real invoice for exactly its
own amount, stays within the accepted quote, is for our wallet's network, leaves time to pay, and was never seen before.
The buyer and Timmy both decide by this module; neither has rules of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from market.errors import BadFeedback, BadResult, BillRefused, ResultRefused
from market.fetch import Fetched, mime_matches
from market.job import Feedback, JobRequest, JobResult, Media
from market.kinds import FEEDBACK, JOB_KINDS, result_kinds
from market.tags import is_http_url, parse_hex64
from nostr.event import Event
from nostr.key import SecretKey
from wallet import bolt11
from wallet.interface import Outcome, PayResult

MIN_SECONDS_LEFT: Final = 15
CLOCK_SKEW: Final = 600  # seconds an honest provider's clock may be off
_BOUND_JOB: Final = re.compile(r"nip90:([0-9a-fA-F]{64})")


class Refusal(StrEnum):
    """Why a bill or a result was turned down: what the history counts and reviews state."""

    FORGED = "forged"  # bad signature, or another key than the pinned one
    OTHER_JOB = "other job"  # names another request, or an invoice made for another job
    NO_INVOICE = "no invoice"
    BAD_INVOICE = "bad invoice"
    AMOUNT_DIFFERS = "amount differs"  # invoice and amount tag disagree
    TOO_DEAR = "too dear"
    WRONG_NETWORK = "wrong network"
    EXPIRED = "expired"
    SEEN = "invoice seen before"
    TOO_LATE = "too late"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    WRONG_TYPE = "wrong type"
    WRONG_HASH = "wrong hash"
    NOT_FETCHED = "not fetched"


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted, from whom, and for how much at most.

    `provider` None means open: the first accepted offer pins it. `max_msat` is the accepted quote, and a bill above it
    is refused however small the difference. `network` is the wallet's. `deadline` is in seconds; nothing is paid after.
    """

    request: JobRequest
    provider: str | None
    max_msat: int
    network: str
    deadline: int
    announced_msat: int | None = None

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def kind(self) -> int:
        return self.request.kind

    def pin(self, provider: str) -> Order:
        """The same order, given to one provider."""
        return replace(self, provider=provider)

    @property
    def cap_msat(self) -> int:
        """The most that will be paid: the quote, and never more than the bid."""
        bid = self.request.bid_msat
        return self.max_msat if bid is None else min(self.max_msat, bid)


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill that passed every check. Amount in msat, times in seconds."""

    event: Event
    provider: str
    amount_msat: int
    bolt11: str
    payment_hash: str
    expires_at: int


def check_bill(
    order: Order, feedback: Feedback | JobResult, *, now: int, seen_hashes: Collection[str] = (), min_left: int = 0
) -> Bill:
    """The bill in a feedback (or in a result that is paid afterwards), if it may be paid. Raises BillRefused.

    `seen_hashes` are the payment hashes of every invoice this wallet's owner met before for another purchase.
    """
    event = feedback.event
    _check_origin(order, event, feedback.request_id, BillRefused)
    if now >= order.deadline:
        raise _bill(Refusal.TOO_LATE, "the bill came after the deadline")
    if feedback.bolt11 is None:
        raise _bill(Refusal.NO_INVOICE, "the bill carries no Lightning invoice")
    try:
        invoice = bolt11.decode(feedback.bolt11)
    except bolt11.InvalidInvoice as error:
        raise _bill(Refusal.BAD_INVOICE, f"the invoice can't be read: {error}") from None
    if invoice.network != order.network:
        raise _bill(Refusal.WRONG_NETWORK, f"the invoice is for {invoice.network}, our wallet is on {order.network}")
    if invoice.amount_msat is None:
        raise _bill(Refusal.BAD_INVOICE, "the invoice names no amount")
    if feedback.amount_msat is not None and feedback.amount_msat != invoice.amount_msat:
        raise _bill(
            Refusal.AMOUNT_DIFFERS,
            f"the bill says {feedback.amount_msat} msat, its invoice {invoice.amount_msat} msat",
        )
    if invoice.amount_msat > order.cap_msat:
        raise _bill(Refusal.TOO_DEAR, f"the bill asks for {invoice.amount_msat} msat, at most {order.cap_msat} is paid")
    if now + (min_left or MIN_SECONDS_LEFT) >= invoice.expires_at:
        raise _bill(Refusal.EXPIRED, "the invoice has expired or is about to")
    if invoice.created_at > now + CLOCK_SKEW:
        raise _bill(Refusal.BAD_INVOICE, "the invoice is dated in the future")
    if invoice.payment_hash in seen_hashes:
        raise _bill(Refusal.SEEN, "the invoice was used before, for another job")
    bound = _BOUND_JOB.search(invoice.description or "")
    if bound and bound.group(1).lower() != order.id:
        raise _bill(Refusal.OTHER_JOB, "the invoice was made for another job")
    return Bill(event, event.pubkey, invoice.amount_msat, invoice.text, invoice.payment_hash, invoice.expires_at)


def check_result(order: Order, event: Event, key: SecretKey | None = None) -> JobResult:
    """The result, if it is the pinned provider's answer to our request. Raises ResultRefused.

    `key` opens an encrypted result. The file it points at is checked by `check_file` once it was fetched.
    """
    if event.kind not in result_kinds(order.kind):
        raise _result(Refusal.OTHER_JOB, f"kind {event.kind} is not a result of a job of kind {order.kind}")
    try:
        result = JobResult.parse(event, key)
    except BadResult as error:
        _check_origin(order, event, order.id, ResultRefused)
        raise _result(Refusal.UNREADABLE, error.reason) from None
    _check_origin(order, event, result.request_id, ResultRefused)
    if not result.content.strip() and not result.urls:
        raise _result(Refusal.EMPTY, "the result is empty")
    if wanted_file(order.request) and not result.urls:
        raise _result(Refusal.WRONG_TYPE, f"the result is no file, wanted was {wanted_file(order.request)}")
    return result


def check_file(order: Order, media: Media, fetched: Fetched) -> None:
    """The file is of the type that was ordered and has the hash that was promised. Raises ResultRefused."""
    wanted = wanted_file(order.request)
    if wanted and not mime_matches(fetched.mime, wanted):
        raise _result(Refusal.WRONG_TYPE, f"the file is {fetched.mime}, wanted was {wanted}")
    if fetched.size == 0:
        raise _result(Refusal.EMPTY, "the file is empty")
    if media.original and media.original != fetched.sha256:
        raise _result(Refusal.WRONG_HASH, "the file is not the one the result promised: its hash differs")


def wanted_file(request: JobRequest) -> str | None:
    """The MIME type of the file a job should give; None where its answer is text, or may be anything (a composite).

    An `output` tag decides; without one, the kind of job: `image/*` for pictures, whatever the exact format.
    """
    if request.output and "/" in request.output:
        wanted = request.output.partition(";")[0].strip().lower()
        return None if wanted.startswith("text/") or wanted == "application/json" else wanted
    job = JOB_KINDS.get(request.kind)
    usual = job.output_mime if job else "text/plain"
    family = usual.partition("/")[0]
    return f"{family}/*" if family in ("image", "audio", "video") else None


def read_feedback(order: Order, event: Event, key: SecretKey | None = None) -> Feedback:
    """A 7000 of the pinned provider on our request. Raises BillRefused, so that forgeries are counted as such."""
    if event.kind != FEEDBACK:
        raise _bill(Refusal.OTHER_JOB, f"kind {event.kind} is not feedback")
    try:
        feedback = Feedback.parse(event, key)
    except BadFeedback as error:
        _check_origin(order, event, order.id, BillRefused)
        raise _bill(Refusal.UNREADABLE, error.reason) from None
    _check_origin(order, event, feedback.request_id, BillRefused)
    return feedback


def honest_outcome(paid: PayResult, payment_hash: str) -> PayResult:
    """Our own wallet's word, unless it is caught lying: settled with a preimage that is not the hash's is UNKNOWN.

    UNKNOWN means that something may have been paid and nothing else may be paid in its place. A wallet that says
    settled and shows no preimage is believed: a payment inside one box, whose backend keeps its preimages to itself,
    has none to show. Such a payment can't prove a review.
    """
    if paid.outcome is not Outcome.SETTLED or paid.preimage is None or proves(paid.preimage, payment_hash):
        return paid
    return replace(paid, outcome=Outcome.UNKNOWN, preimage=None, detail="the wallet's preimage does not fit")


def proves(preimage: str, payment_hash: str) -> bool:
    """True if sha256(preimage) is the payment hash (BOLT 11)."""
    try:
        return len(preimage) == 64 and hashlib.sha256(bytes.fromhex(preimage)).hexdigest() == payment_hash
    except ValueError:
        return False


def links(result: JobResult) -> tuple[Media, ...]:
    """The files a result points at that can be fetched at all."""
    return tuple(media for media in result.urls if is_http_url(media.url))


def _check_origin(order: Order, event: Event, request_id: str, error: type[BillRefused] | type[ResultRefused]) -> None:
    if order.provider is not None and event.pubkey != order.provider:
        raise error("it comes from another key than the provider's", Refusal.FORGED)
    if not event.verify():
        raise error("its signature is wrong", Refusal.FORGED)
    if request_id != order.id:
        raise error("it answers another request", Refusal.OTHER_JOB)
    meant = [found for value in event.values("p") if (found := parse_hex64(value))]
    if meant and order.request.customer not in meant:
        raise error("it is addressed to somebody else", Refusal.OTHER_JOB)


def _bill(kind: Refusal, reason: str) -> BillRefused:
    return BillRefused(reason, kind)


def _result(kind: Refusal, reason: str) -> ResultRefused:
    return ResultRefused(reason, kind)
