"""Receipts (kind 7190): one for every bought artefact, one root for the composite; a tree that anyone can audit.

A child names the request, the bill, the result, the payment's hash, what was paid, the artefact's hash and the gates
it passed. The root names its children, the recipe's event, the price and the sum of the costs. Lineage needs no extra
word: the `x` tags of each request are the hashes of its inputs, and those are artefacts of the children before it.

Policy `public` shows all of it, `buyer` keeps amounts and gates for the buyer (NIP-44) and shows ids and hashes alone,
`off` writes nothing. Preimages prove payment to whoever sees them, so a public receipt carries none: the invoice's hash
and the provider's own bill are there, and the preimage is in the buyer's copy and in the review.
"""

import json
from collections.abc import Mapping, Sequence

from market.kinds import RECEIPT, RECIPE
from nostr import nip44
from nostr.event import Event
from nostr.key import SecretKey
from orchestrator.run import Attempt, Run, State, Unit

_PRIVATE = frozenset({"amount", "fee", "preimage", "gate", "cost", "price", "time", "judge", "bill"})


def build_receipts(run: Run, key: SecretKey, *, relay: str, at: int) -> list[Event]:
    """The signed tree, children first, root last. Empty with policy `off`."""
    if run.terms.receipts == "off":
        return []
    children: list[tuple[Unit, Attempt, Event]] = []
    for unit, attempt in run.attempts:
        if attempt.provider is None or (attempt.state is not State.ACCEPTED and not attempt.paid_msat):
            continue
        tags = child_tags(run, unit, attempt, relay)
        children.append((unit, attempt, _sign(run, key, tags, at)))
    root = _sign(run, key, root_tags(run, [(unit, event) for unit, _, event in children], relay), at)
    return [*(event for _, _, event in children), root]


def child_tags(run: Run, unit: Unit, attempt: Attempt, relay: str) -> list[list[str]]:
    """What was asked, billed, paid and delivered in one attempt, accepted or paid in vain."""
    assert attempt.provider is not None
    tags = [["e", attempt.request_id, relay, "request"]]
    if attempt.result_id:
        tags.append(["e", attempt.result_id, relay, "result"])
    if attempt.bill_id:
        tags.append(["e", attempt.bill_id, relay, "bill"])
    if attempt.bill:
        tags.append(["bill", json.dumps(attempt.bill, ensure_ascii=False, separators=(",", ":"))])
    tags += [["p", attempt.provider.pubkey], ["k", str(run.doc(unit).kind)], ["step", unit.name, str(unit.idx)]]
    tags.append(["status", str(attempt.state), *([attempt.reason] if attempt.reason else [])])
    tags += [["amount", str(attempt.paid_msat - attempt.fee_msat)], ["fee", str(attempt.fee_msat)]]
    if attempt.payment_hash:
        tags.append(["payment_hash", attempt.payment_hash])
    if attempt.preimage:
        tags.append(["preimage", attempt.preimage])
    if attempt.artefact is not None:
        tags += [["x", attempt.artefact.sha256], ["m", attempt.artefact.mime]]
    if attempt.verdict is not None:
        tags += [["gate", name, "pass" if ok else "fail", words] for name, ok, words in attempt.verdict.checks]
    tags.append(["time", str(attempt.ordered_at), str(attempt.delivered_at or "")])
    return tags


def root_tags(run: Run, children: Sequence[tuple[Unit, Event]], relay: str) -> list[list[str]]:
    """The composite: who bought it, from which recipe, for how much, out of what."""
    artefact = run.units[run.recipe.output, 0].artefact
    assert artefact is not None
    tags = [["e", run.id, relay, "request"], ["p", run.buyer], ["k", "5260"], ["d", run.recipe.d]]
    if run.recipe_event:
        tags.append(["e", run.recipe_event, relay, "recipe"])
    tags += [["e", event.id, relay, "step", unit.name, str(unit.idx)] for unit, event in children]
    tags += [["x", artefact.sha256], ["m", artefact.mime]]
    tags += [["cost", str(run.spent_msat)], ["price", str(run.received_msat)]]
    if run.bill is not None:
        tags.append(["payment_hash", run.bill.payment_hash])
    for unit in run.units.values():
        if any(attempt.cached for attempt in unit.attempts) and unit.artefact is not None:
            tags.append(["reused", unit.name, str(unit.idx), unit.artefact.sha256])
    tags.append(["time", str(run.paid_at or run.opened_at), str(run.ended_at)])
    return tags


def open_receipt(event: Event, key: SecretKey | None) -> list[tuple[str, ...]]:
    """All tags of a receipt, the private ones too where `key` (buyer's or seller's) opens them."""
    tags = [tuple(tag) for tag in event.tags]
    if not event.content or key is None:
        return tags
    other = event.pubkey if key.public != event.pubkey else (event.first("buyer") or event.first("p") or "")
    try:
        secret = json.loads(nip44.decrypt(key, other, event.content))
    except ValueError:
        return tags
    return tags + [tuple(map(str, tag)) for tag in secret if isinstance(tag, list)]


def _sign(run: Run, key: SecretKey, tags: list[list[str]], at: int) -> Event:
    alt = ["alt", "Receipt of a job bought over NIP-90"]
    if run.terms.receipts == "public":
        shown = [tag for tag in tags if tag[0] != "preimage"]
        return key.sign(kind=RECEIPT, tags=[*shown, alt], created_at=at)
    shown = [tag[:2] if tag[0] == "status" else tag for tag in tags if tag[0] not in _PRIVATE]
    secret = [tag for tag in tags if tag[0] in _PRIVATE]
    content = nip44.encrypt(key, run.buyer, json.dumps(secret, ensure_ascii=False))
    return key.sign(kind=RECEIPT, content=content, tags=[*shown, ["buyer", run.buyer], alt], created_at=at)


def recipe_address(author: str, d: str) -> str:
    return f"{RECIPE}:{author}:{d}"


def sums(tags: Sequence[Sequence[str]]) -> Mapping[str, int]:
    """The amounts of a receipt's tags, by name; only those that are whole numbers."""
    names = ("amount", "fee", "cost", "price")
    return {tag[0]: int(tag[1]) for tag in tags if len(tag) > 1 and tag[0] in names and tag[1].isdigit()}
