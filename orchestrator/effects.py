"""What goes into `decide` and what comes out: values only.

Inputs tell what happened; each carries `at`, the second it was noticed. Effects tell the shell what to do; before it
does anything it writes every `Record`, outgoing event and payment intent of the turn in one transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nostr.event import Event, event_id
from orchestrator.recipe import Gate, Out, Recipe
from orchestrator.run import Artefact, Bill, Candidate, Entry, Terms, Verdict
from orchestrator.wants import Wants
from wallet.interface import PayResult

Tags = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """An event of ours that is not signed yet; its id is known already."""

    kind: int
    tags: Tags
    created_at: int
    content: str = ""

    def id(self, pubkey: str) -> str:
        return event_id(pubkey, self.created_at, self.kind, self.tags, self.content)


# --- inputs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """A buyer's request was accepted at these terms."""

    at: int
    id: str  # the request event's
    me: str
    buyer: str
    recipe: Recipe
    recipe_event: str
    inputs: Mapping[str, Any]
    terms: Terms
    refund_to: str = ""


@dataclass(frozen=True, slots=True)
class BillMade:
    at: int
    bill: Bill


@dataclass(frozen=True, slots=True)
class BillPaid:
    """Our own wallet says so: the money is received, or locked by a hold invoice."""

    at: int
    received_msat: int


@dataclass(frozen=True, slots=True)
class BillGone:
    """The bill expired or was cancelled without being paid."""

    at: int
    reason: str


@dataclass(frozen=True, slots=True)
class Offers:
    """Who could serve a unit, best first. Chance (Thompson draws) has had its say before, and is in the factors."""

    at: int
    step: str
    idx: int
    attempt: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Bids:
    """What came of an open call: who would do it, best first, each with the event that says so (bill or result)."""

    at: int
    step: str
    idx: int
    attempt: int
    candidates: tuple[Candidate, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Cached:
    """The same work was bought before for this buyer, and its artefact is still here."""

    at: int
    step: str
    idx: int
    attempt: int
    artefact: Artefact


@dataclass(frozen=True, slots=True)
class Heard:
    """An event with a good signature that names one of our orders; by whom and whether true is decided here."""

    at: int
    event: Event


@dataclass(frozen=True, slots=True)
class Paid:
    """The outcome of a payment to a provider."""

    at: int
    step: str
    idx: int
    attempt: int
    result: PayResult


@dataclass(frozen=True, slots=True)
class Capped:
    """A payment intent was not written because a cap beyond this run forbids it."""

    at: int
    step: str
    idx: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Repaid:
    """A provider that gave up has paid us back; our own wallet says so."""

    at: int
    step: str
    idx: int
    attempt: int
    msat: int


@dataclass(frozen=True, slots=True)
class Fetched:
    at: int
    step: str
    idx: int
    attempt: int
    artefact: Artefact


@dataclass(frozen=True, slots=True)
class NotFetched:
    at: int
    step: str
    idx: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Gated:
    at: int
    step: str
    idx: int
    attempt: int
    verdict: Verdict
    artefact: Artefact


@dataclass(frozen=True, slots=True)
class Sealed:
    """The encrypted composite is on our Blossom. `nonce` in hex."""

    at: int
    url: str
    sha256: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The held payment: ours now (`ok`), or gone back to the buyer before we could take it."""

    at: int
    ok: bool


@dataclass(frozen=True, slots=True)
class Returned:
    """The buyer has the money back; `how` is for the books."""

    at: int
    how: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop: the buyer's kind 5, or the operator."""

    at: int
    reason: str
    by_buyer: bool = True


@dataclass(frozen=True, slots=True)
class Resumed:
    """A process has taken the run up again: whatever was under way may have moved on meanwhile."""

    at: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened but time."""

    at: int


Input = (
    Open | BillMade | BillPaid | BillGone | Offers | Bids | Cached | Heard | Paid | Repaid | Capped | Fetched
    | NotFetched | Gated | Sealed | Taken | Returned | Cancel | Resumed | Tick
)  # fmt: skip

# --- effects --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """Write this entry; durable before any other effect of the turn."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Publish:
    """Sign, store, then send until every relay has answered. `relays` are added to our own."""

    draft: Draft
    relays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MakeBill:
    """Ask our wallet for an invoice to the buyer (a hold invoice where it can)."""

    amount_msat: int
    expires_at: int
    hold: bool


@dataclass(frozen=True, slots=True)
class WatchBill:
    """Look until the buyer's payment is there or can no longer come."""

    bill: Bill


@dataclass(frozen=True, slots=True)
class Ask:
    """Who sells this, for how much? `own_only` asks for the box's own workers; `cache_key` may save the question.

    `wants` is what a seller must take (see `orchestrator.wants`).
    """

    step: str
    idx: int
    attempt: int
    kind: int
    cap_msat: int
    seconds: int
    pinned: tuple[str, ...] = ()
    own_only: bool = False
    cache_key: str = ""
    wants: Wants = ()


@dataclass(frozen=True, slots=True)
class Collect:
    """Listen for some seconds to who answers an order that was called out to everybody."""

    ask: Ask
    request_id: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pay:
    """Pay a provider's bill, once. With `again` the intent is older than this process: look before paying."""

    step: str
    idx: int
    attempt: int
    provider: str
    bolt11: str
    payment_hash: str
    amount_msat: int
    max_fee_msat: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class ClaimRefund:
    """A provider owes us money for what it did not do: send it an invoice, and see whether it is paid."""

    step: str
    idx: int
    attempt: int
    provider: str
    request_id: str
    msat: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Ask the relays again for anything about this order: after a restart, and before giving it up."""

    request_id: str
    relays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get the bytes of a result, check its hash, store it, put it on our own Blossom."""

    step: str
    idx: int
    attempt: int
    source: Mapping[str, Any]
    out: Out
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Check:
    """Run gates G0 and G1 over a stored artefact. `min_seconds` and `max_seconds` are the gate's, resolved."""

    step: str
    idx: int
    attempt: int
    artefact: Artefact
    out: Out
    gate: Gate
    min_seconds: float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """Remember how a bought step went (1 to 5 stars), and say so in public where it was paid for.

    `grounds`: `undelivered`, or the gate that failed; "" otherwise.
    """

    step: str
    idx: int
    attempt: int
    stars: int
    text: str
    grounds: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Tell the buyer how a unit is doing; a loss of this message does no harm."""

    units: tuple[tuple[str, int], ...]
    note: str = ""
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """A feedback to the buyer that must arrive."""

    status: str
    message: str
    tags: Tags = ()
    bill: Bill | None = None


@dataclass(frozen=True, slots=True)
class Deliver:
    """Sign the receipts and the result, in the transaction that says delivered."""

    artefact: Artefact


@dataclass(frozen=True, slots=True)
class Seal:
    """Encrypt the composite with the preimage of the bill to come, and put it on our Blossom."""

    artefact: Artefact


@dataclass(frozen=True, slots=True)
class Take:
    """Settle the held payment."""

    bill: Bill


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Cancel the hold, or pay the buyer back."""

    bill: Bill
    refund_to: str = ""


@dataclass(frozen=True, slots=True)
class Wake:
    """Send a `Tick` at this second, instead of any earlier wish."""

    at: int


Effect = (
    Record | Publish | MakeBill | WatchBill | Ask | Collect | Pay | ClaimRefund | Recall | Fetch | Check | Review
    | Progress | Tell | Deliver | Seal | Take | GiveBack | Wake
)  # fmt: skip
