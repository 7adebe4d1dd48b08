"""The requests Timmy sends to providers: plain NIP-90 jobs with resolved `text` and `url` inputs.

Every DVM that exists can serve them, for nothing in them needs to be understood beyond NIP-90. Provenance rides in tags
that others skip: `chain` (a pseudonym of the run), `prev` (the results this step builds on) and `x` (hashes of the
inputs). The buyer's key and the composite's price are not in them.
"""

from collections.abc import Sequence

from market.job import JobRequest
from market.kinds import DELETION, FEEDBACK, JOB_HUMAN
from nostr.event import Event
from orchestrator.effects import Draft
from orchestrator.run import Attempt, Candidate, Run, Unit
from orchestrator.values import inputs_of, params_of

KEPT = 90 * 86_400  # seconds a request stays on relays: whoever audits the receipt wants to see it


def order_draft(run: Run, unit: Unit, provider: Candidate | None, cap_msat: int, *, attempt: int, at: int) -> Draft:
    """The request of one attempt, addressed to one provider or (None) to everybody. Raises Unresolved."""
    doc = run.doc(unit)
    inputs = inputs_of(run, unit)
    tags: list[Sequence[str]] = []
    for given in inputs:
        tags.append(
            ("i", given.value, given.type, "", given.marker) if given.marker else ("i", given.value, given.type)
        )
    params = params_of(run, unit)
    if doc.kind == JOB_HUMAN:  # people see before they claim how long they have: a little less than we wait
        params.setdefault("seconds", str(max(1, doc.seconds - min(60, doc.seconds // 10))))
    tags += [("param", name, value) for name, value in params.items()]
    if "*" not in doc.out.mime:
        tags.append(("output", doc.out.mime))
    tags.append(("bid", str(cap_msat)))
    if provider is not None:
        tags.append(("p", provider.pubkey))
    if run.terms.relays:
        tags.append(("relays", *run.terms.relays))
    tags.append(("expiration", str(at + KEPT)))
    tags += [("x", given.sha256) for given in inputs]
    tags += [("prev", parent) for parent in dict.fromkeys(given.parent for given in inputs) if parent]
    tags.append(("chain", run.chain, f"{unit.name}.{unit.idx}.{attempt}"))
    tags.append(("alt", f"NIP-90 job request of kind {doc.kind}"))
    return Draft(doc.kind, tuple(tuple(tag) for tag in tags), at)


def withdrawal_draft(request_id: str, kind: int, *, at: int, reason: str) -> Draft:
    """A kind 5 that takes an order back (NIP-09)."""
    return Draft(DELETION, (("e", request_id), ("k", str(kind))), at, reason)


def declined_draft(request_id: str, provider: str, *, at: int) -> Draft:
    """A word to whoever bid for an open order and was not chosen (docs/kinds.md)."""
    status = ("status", "declined", "another offer was taken")
    return Draft(FEEDBACK, (("e", request_id), ("p", provider), status), at, "another offer was taken")


def request_of(run: Run, unit: Unit, attempt: Attempt) -> JobRequest:
    """The order as the buyer's checks want it: identity, customer and kind; its inputs are not repeated."""
    event = Event(attempt.request_id, run.me, attempt.ordered_at, run.doc(unit).kind, (), "", "")
    provider = attempt.provider.pubkey if attempt.provider else ""
    return JobRequest(
        event=event, customer=run.me, kind=event.kind, inputs=(), params={}, output=run.doc(unit).out.mime,
        bid_msat=attempt.cap_msat, relays=(), providers=frozenset({provider}), encrypted=None, expiration=None,
    )  # fmt: skip
