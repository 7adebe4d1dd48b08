"""Audit of a receipt tree: every claim in it, checked against the events and files it names.

Green: checked and true. Grey: cannot be checked from here (hidden by policy, or gone from the relays). Red: false.
Nothing is believed that is not signed by the one who would have to lie against himself: what a provider billed comes
from the provider's bill, what he delivered from his result. The auditor needs a relay, no wallet and no trust in Timmy.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from market.errors import MarketError
from market.job import Feedback, JobResult
from market.kinds import RECEIPT, RECIPE, REVIEW
from market.purchase import proves
from nostr.event import Event, InvalidEvent
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from orchestrator.errors import AuditError
from orchestrator.receipts import open_receipt
from wallet import bolt11

Verdict = Literal["green", "grey", "red"]
FetchHash = Callable[[str], Awaitable[str | None]]
"""URL to the sha256 of what is there, or None where it cannot be had."""
Tags = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Line:
    """One checked claim. `step` is "" for the root."""

    verdict: Verdict
    what: str
    detail: str = ""
    step: str = ""


@dataclass(slots=True)
class Report:
    """All lines, and the sums. `ok` is true if nothing is red."""

    root: str
    recipe: str = ""
    price_msat: int | None = None
    cost_msat: int | None = None
    lines: list[Line] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not any(line.verdict == "red" for line in self.lines)

    def count(self, verdict: Verdict) -> int:
        return sum(line.verdict == verdict for line in self.lines)


async def audit(
    root_id: str, pool: Pool, *, key: SecretKey | None = None, fetch_hash: FetchHash | None = None
) -> Report:
    """Fetch the tree of a root receipt and check it line by line. Raises AuditError where it is not to be found.

    `key` (the buyer's or the seller's) opens private receipts; `fetch_hash` makes the artefact's bytes part of it.
    """
    root = await _one(pool, root_id)
    if root is None:
        raise AuditError(f"no receipt {root_id[:12]} on {', '.join(pool.relays)}")
    if root.kind != RECEIPT:
        raise AuditError(f"{root_id[:12]} is of kind {root.kind}, a receipt is {RECEIPT}")
    tags = open_receipt(root, key)
    children_ids = [tag[1] for tag in tags if tag[0] == "e" and len(tag) > 3 and tag[3] == "step"]
    children = await _many(pool, children_ids)
    opened = {event.id: open_receipt(event, key) for event in children.values()}
    wanted = [tag[1] for child in opened.values() for tag in child if tag[0] == "e" and len(tag) > 1]
    wanted += [tag[1] for tag in tags if tag[0] == "e" and len(tag) > 3 and tag[3] in ("request", "recipe")]
    seen = await _many(pool, wanted)
    report = Report(root_id, _value(tags, "d"), _amount(tags, "price"), _amount(tags, "cost"))
    check = _Check(report, root, seen)
    check.root(tags, children_ids, children, opened)
    for child_id in children_ids:
        if child_id in children:
            check.child(children[child_id], opened[child_id])
    check.lineage(list(opened.values()), tags)
    await check.delivery(pool, tags, fetch_hash)
    return report


class _Check:
    """Collects lines. Each method checks one part of the tree."""

    def __init__(self, report: Report, root: Event, seen: dict[str, Event]) -> None:
        self._report, self._root, self._seen = report, root, seen
        self._step = ""

    def say(self, verdict: Verdict, what: str, detail: str = "") -> None:
        self._report.lines.append(Line(verdict, what, detail, self._step))

    def judge(self, good: bool | None, what: str, detail: str = "", otherwise: str = "") -> None:
        """Green, red, or grey for None (`otherwise` says what is missing or wrong)."""
        verdict: Verdict = "grey" if good is None else "green" if good else "red"
        self.say(verdict, what, detail if good else otherwise or detail)

    def root(
        self, tags: Tags, children_ids: Sequence[str], children: dict[str, Event], opened: dict[str, Tags]
    ) -> None:
        self.judge(self._root.verify(), "signed", f"by {self._root.pubkey[:12]}")
        request = self._seen.get(_ref(tags, "request"))
        if request is None:
            self.say("grey", "request", "not on these relays")
        else:
            good = request.pubkey == _value(tags, "p") and self._root.pubkey in request.values("p")
            self.judge(good, "request", f"by buyer {request.pubkey[:12]}", "buyer or seller differ")
        recipe = self._seen.get(_ref(tags, "recipe"))
        self.judge(
            None if recipe is None else recipe.kind == RECIPE and recipe.verify(), "recipe",
            _value(tags, "d"), "not on these relays" if recipe is None else "no signed recipe",
        )  # fmt: skip
        missing = [child for child in children_ids if child not in children]
        if missing:
            self.say("grey", "steps", f"{len(missing)} of {len(children_ids)} receipts are not on these relays")
        cost, price = _amount(tags, "cost"), _amount(tags, "price")
        if cost is None:
            self.say("grey", "sum of costs", "hidden")
        elif missing:
            self.say("grey", "sum of costs", "steps are missing")
        else:
            parts = [(_amount(child, "amount") or 0) + (_amount(child, "fee") or 0) for child in opened.values()]
            self.judge(sum(parts) == cost, "sum of costs", f"{cost} msat", f"{sum(parts)} msat, claimed {cost}")
        if price is not None and cost is not None:
            self.say("green", "margin", f"price {price} - costs {cost} = {price - cost} msat")

    def child(self, event: Event, tags: Tags) -> None:
        name = next((f"{tag[1]}[{tag[2]}]" for tag in tags if tag[0] == "step" and len(tag) > 2), "?")
        self._step = name
        self.judge(event.verify() and event.pubkey == self._root.pubkey, "signed", "by the same seller", "another key")
        provider, request_id = _value(tags, "p"), _ref(tags, "request")
        request = self._seen.get(request_id)
        if request is None:
            self.say("grey", "request", "not on these relays")
        else:
            named = request.values("p")  # an open call names nobody
            good = request.pubkey == self._root.pubkey and (not named or provider in named)
            good = good and str(request.kind) == _value(tags, "k")
            self.judge(good, "request", f"kind {request.kind} to {provider[:12]}", "author, provider or kind differ")
        self._bill(tags, provider, request_id)
        self._result(tags, provider, request_id)
        preimage = _value(tags, "preimage")
        if preimage:
            self.judge(proves(preimage, _value(tags, "payment_hash")), "paid", "the preimage fits", "wrong preimage")
        self._step = ""

    def _bill(self, tags: Tags, provider: str, request_id: str) -> None:
        """The provider's own bill: his key, our request, an invoice of this hash and amount."""
        bill_id, payment_hash = _ref(tags, "bill"), _value(tags, "payment_hash")
        if not bill_id:
            free = _amount(tags, "amount") in (0, None)
            self.judge(free, "bill", "free of charge", "paid without a bill")
            return
        event = self._seen.get(bill_id) or _enclosed(tags, bill_id)
        if event is None:
            self.say("grey", "bill", "not on these relays")
            return
        try:
            word = Feedback.parse(event) if event.kind == 7000 else JobResult.parse(event)
            invoice = bolt11.decode(word.bolt11 or "")
        except (MarketError, bolt11.InvalidInvoice) as error:
            self.say("red", "bill", f"unreadable: {error}")
            return
        good = event.verify() and event.pubkey == provider and word.request_id == request_id
        self.judge(good, "bill", f"by {provider[:12]} for this request", "by another key or for another request")
        self.judge(invoice.payment_hash == payment_hash, "invoice", f"hash {payment_hash[:12]}", "another invoice")
        amount = _amount(tags, "amount")
        if amount is not None:
            fine = amount in (0, invoice.amount_msat)
            self.judge(fine, "amount", f"{amount} msat", f"receipt {amount}, invoice {invoice.amount_msat} msat")

    def _result(self, tags: Tags, provider: str, request_id: str) -> None:
        result_id = _ref(tags, "result")
        if not result_id:
            self.say("grey", "result", _status(tags) or "none was delivered")
            return
        event = self._seen.get(result_id)
        if event is None:
            self.say("grey", "result", "not on these relays")
            return
        try:
            result = JobResult.parse(event)
        except MarketError as error:
            self.say("red", "result", f"unreadable: {error}")
            return
        good = event.verify() and event.pubkey == provider and result.request_id == request_id
        self.judge(good, "result", f"by {provider[:12]} for this request", "by another key or for another request")
        said = next((media.sha256 for media in result.urls if media.sha256), "")
        sha = _value(tags, "x")
        if said and sha:
            self.judge(said == sha, "artefact", f"hash {sha[:12]}", f"receipt {sha[:12]}, result {said[:12]}")
        for tag in tags:
            if tag[0] == "gate" and len(tag) > 2:
                passed = tag[2] == "pass" or _status(tags) != "accepted"
                self.judge(passed, f"gate {tag[1]}", tag[3] if len(tag) > 3 else tag[2], "failed and accepted")

    def lineage(self, children: Sequence[Tags], root: Tags) -> None:
        """Each input of a request is the artefact of a step before it, or came from the buyer."""
        made = {_value(child, "x") for child in children} | {
            tag[3] for tag in root if tag[0] == "reused" and len(tag) > 3
        }
        made.discard("")
        parents = {_ref(child, "result") for child in children}
        for child in children:
            request = self._seen.get(_ref(child, "request"))
            if request is None:
                continue
            self._step = next((f"{tag[1]}[{tag[2]}]" for tag in child if tag[0] == "step" and len(tag) > 2), "?")
            for parent in request.values("prev"):
                self.judge(
                    parent in parents or None, "built on", f"result {parent[:12]}", f"{parent[:12]} is not in the tree"
                )
            files = [value for value in request.values("x") if value in made]
            if files:
                self.say("green", "inputs", f"{len(files)} made by earlier steps")
        self._step = ""
        self.judge(_value(root, "x") in made, "output", f"hash {_value(root, 'x')[:12]}", "no step made this file")

    async def delivery(self, pool: Pool, tags: Tags, fetch_hash: FetchHash | None) -> None:
        """The composite's own result event, and its bytes."""
        request_id, sha = _ref(tags, "request"), _value(tags, "x")
        found = await pool.fetch(Filter(authors=[self._root.pubkey], tags={"e": [request_id]}, kinds=[6260]), timeout=5)
        event = next((event for event in found if self._root.id in event.values("receipt")), None)
        if event is None:
            self.say("grey", "delivery", "no result event names this receipt (encrypted ones do not)")
            return
        result = JobResult.parse(event)
        media = next(iter(result.urls), None)
        if media is None:
            self.say("green", "delivery", "as text")
            return
        sealed = next(iter(event.tagged("sealed")), ())
        if len(sealed) > 4:
            self.judge(sealed[4] == sha, "delivery", f"sealed, hash {sha[:12]}", "the sealed file is another one")
            return
        self.judge(
            media.sha256 == sha, "delivery", f"hash {sha[:12]}", f"receipt {sha[:12]}, result {media.sha256[:12]}"
        )
        if fetch_hash is not None:
            real = await fetch_hash(media.url)
            self.judge(None if real is None else real == sha, "file", f"{media.url}", real or "cannot be had")


async def reviews_of(pool: Pool, receipt: Event) -> list[Event]:
    """Reviews (31117) of the steps of a root receipt by its author."""
    return await pool.fetch(Filter(kinds=[REVIEW], authors=[receipt.pubkey], limit=100), timeout=5)


async def _one(pool: Pool, event_id: str) -> Event | None:
    return (await _many(pool, [event_id])).get(event_id)


async def _many(pool: Pool, ids: Sequence[str]) -> dict[str, Event]:
    wanted = sorted({value for value in ids if len(value) == 64})
    if not wanted:
        return {}
    return {event.id: event for event in await pool.fetch(Filter(ids=wanted, limit=len(wanted)), timeout=5)}


def _enclosed(tags: Tags, bill_id: str) -> Event | None:
    """The bill that a receipt carries, if it is the one it names (the signature is checked like any other)."""
    try:
        event = Event.from_json(_value(tags, "bill"))
    except InvalidEvent:
        return None
    return event if event.id == bill_id and event.verify() else None


def _value(tags: Tags, name: str) -> str:
    return next((tag[1] for tag in tags if tag[0] == name and len(tag) > 1), "")


def _status(tags: Tags) -> str:
    return _value(tags, "status")


def _ref(tags: Tags, role: str) -> str:
    return next((tag[1] for tag in tags if tag[0] == "e" and len(tag) > 3 and tag[3] == role), "")


def _amount(tags: Tags, name: str) -> int | None:
    text = _value(tags, name)
    return int(text) if text.isascii() and text.isdigit() else None
