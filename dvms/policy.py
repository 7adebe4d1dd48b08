"""Who is served, as functions of values: `(context, request) -> None | Reject`, made by named constructors.

A reject may be silent (the request was for somebody else, or from somebody blocked) or carry a reason, which goes to
the customer as an `error`. The first reject of a list counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from dvms.jobs import Usage
from market.job import JobRequest
from nostr import nip13


@dataclass(frozen=True, slots=True)
class Context:
    """What is known when a request is heard. `price_msat` is the base price; `trusted` who is trusted just now."""

    now: int
    own_key: str
    price_msat: int
    usage: Usage
    credit_msat: int = 0
    trusted: Collection[str] = ()

    def addressed(self, request: JobRequest) -> bool:
        return self.own_key in request.providers


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str = ""

    @property
    def silent(self) -> bool:
        return not self.reason


Policy = Callable[[Context, JobRequest], Reject | None]

SILENT = Reject()


def judge(policies: Sequence[Policy], context: Context, request: JobRequest) -> Reject | None:
    """The first objection, or None."""
    return next((reject for policy in policies if (reject := policy(context, request)) is not None), None)


def for_us(*, open_jobs: bool) -> Policy:
    """Take jobs addressed to us; open ones only if wanted, and never one that names other providers."""

    def policy(context: Context, request: JobRequest) -> Reject | None:
        if context.addressed(request):
            return None
        return None if open_jobs and not request.providers and not request.encrypted else SILENT

    return policy


def timely(max_age: int, max_future: int = 900) -> Policy:
    """Neither older than `max_age` seconds, nor from the future, nor past its own expiration."""

    def policy(context: Context, request: JobRequest) -> Reject | None:
        if request.expiration is not None and request.expiration <= context.now:
            return SILENT
        if request.event.created_at < context.now - max_age:
            return SILENT
        if request.event.created_at > context.now + max_future:
            return Reject("the request is dated in the future: check your clock")
        return None

    return policy


def not_blocked(blocked: Collection[str]) -> Policy:
    def policy(context: Context, request: JobRequest) -> Reject | None:
        return SILENT if request.customer in blocked or request.customer == context.own_key else None

    return policy


def bid_reaches_price() -> Policy:
    """A bid below the base price is refused at once; an open job needs a bid where the price is not zero."""

    def policy(context: Context, request: JobRequest) -> Reject | None:
        if not context.addressed(request):
            enough = context.price_msat == 0 or (request.bid_msat or 0) >= context.price_msat
            return None if enough else SILENT
        return None

    return policy


def within_limits(
    *, open_per_key: int, per_hour: int, cancelled_per_hour: int, queue_limit: int, bill_limit: int
) -> Policy:
    """Bounds on what one customer, and all of them, may have open.

    Bills cost their askers nothing, and new keys cost nothing either. So unpaid bills never fill the queue, and where
    strangers hold too many of them, those who have paid here before are still served.
    """

    def policy(context: Context, request: JobRequest) -> Reject | None:
        usage = context.usage
        if usage.queued_all >= queue_limit:
            return Reject("the queue is full: try again later") if context.addressed(request) else SILENT
        if usage.unpaid_all >= bill_limit and not usage.has_paid and usage.credit_msat < context.price_msat:
            words = "too many bills are unpaid here just now: try again in a minute"
            return Reject(words) if context.addressed(request) else SILENT
        if usage.open_jobs >= open_per_key:
            return Reject(f"you have {usage.open_jobs} unfinished jobs here, which is the limit: wait for one to end")
        if usage.last_hour >= per_hour:
            return Reject(f"more than {per_hour} jobs an hour from one key: try again later")
        if usage.cancelled_last_hour >= cancelled_per_hour:
            return Reject("too many paid jobs were cancelled from this key: try again in an hour")
        return None

    return policy


def proof_of_work(bits: int) -> Policy:
    """NIP-13 for requests that cost their sender nothing: free ones and open ones."""

    def policy(context: Context, request: JobRequest) -> Reject | None:
        if not bits or (context.price_msat and context.addressed(request)):
            return None
        have = nip13.committed(request.event)
        return (
            None
            if have >= bits
            else Reject(f"this needs {bits} bits of proof of work (NIP-13), the request has {have}")
        )

    return policy


def web_of_trust(scope: str) -> Policy:
    """Only trusted customers, for `free` jobs, `open` jobs or `all`."""

    def policy(context: Context, request: JobRequest) -> Reject | None:
        gated = (
            scope == "all"
            or (scope == "free" and context.price_msat == 0)
            or (scope == "open" and not context.addressed(request))
        )
        if not gated or request.customer in context.trusted:
            return None
        return Reject("only customers known to this node's owner are served") if context.addressed(request) else SILENT

    return policy
