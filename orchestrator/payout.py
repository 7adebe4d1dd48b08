"""Money that leaves without a bill: where a refund can go, and the share of those who wrote the recipe.

A royalty is a part of the margin of a delivered run, shared by the weights of the recipe's `zap` tags (NIP-57 appendix
G). It is a row of the books from the moment of delivery, and is paid out to the author's lightning address, once.
"""

import json
import logging
from collections.abc import Iterable

from market.kinds import PROFILE
from nostr.clock import Clock
from nostr.errors import RelayError
from nostr.event import Event
from nostr.filter import Filter
from nostr.pool import Pool
from orchestrator.journal import Journal
from orchestrator.recipe import royalty_keys
from orchestrator.run import Run
from orchestrator.till import Till
from wallet import lnurl
from wallet.interface import Outcome, WalletError

log = logging.getLogger("timmy.payout")

LEAST_MSAT = 1_000  # smaller shares are not worth a payment; they add up


class Addresses:
    """Finds an invoice for a person: the one given, a lightning address or LNURL, else the `lud16` of the profile."""

    def __init__(self, pool: Pool, network: str, now: Clock, *, allow_hosts: Iterable[str] = ()) -> None:
        self._pool, self._network, self._now, self._allow = pool, network, now, tuple(allow_hosts)

    async def invoice(self, target: str, person: str, msat: int) -> str | None:
        """An invoice over exactly `msat`, or None. An invoice as target is given back as it is."""
        if target.lower().startswith(("lnbc", "lntb", "lnbcrt")):
            return target
        place = target or await self._address_of(person)
        if not place or not lnurl.looks_payable(place):
            return None
        try:
            offer = await lnurl.ask(place, allow_hosts=self._allow)
            made = await lnurl.invoice_for(offer, msat, network=self._network, now=self._now(), allow_hosts=self._allow)
            return made.text
        except WalletError as error:
            log.info("no invoice from %s: %s", place, error)
            return None

    async def _address_of(self, person: str) -> str:
        try:
            found = await self._pool.fetch(Filter(kinds=[PROFILE], authors=[person], limit=1), timeout=3)
        except RelayError:
            return ""
        try:
            profile = json.loads(found[0].content) if found else {}
        except ValueError:
            return ""
        return str(profile.get("lud16") or profile.get("lud06") or "") if isinstance(profile, dict) else ""


def shares(run: Run, recipe: Event, royalty: float) -> list[tuple[str, int]]:
    """(author, msat) of a delivered run: `royalty` of its margin, by the recipe's `zap` weights, without our own."""
    margin = max(0, run.received_msat - run.spent_msat)
    authors = royalty_keys(recipe)
    weights = sum(weight for _, weight in authors)
    if not margin or not weights:
        return []
    found = [(author, int(margin * royalty) * weight // weights) for author, weight in authors if author != run.me]
    return [(author, msat) for author, msat in found if msat > 0]


async def pay_royalties(journal: Journal, till: Till, addresses: Addresses) -> int:
    """Pay what is due and can be paid, each author once for all open rows; the number of payments made."""
    paid = 0
    for author, msat in await journal.royalties_due():
        if msat < LEAST_MSAT:
            continue
        row = await journal.open_royalty(author)
        if row is None:
            whole = msat - msat % 1000
            invoice = await addresses.invoice("", author, whole)
            if invoice is None or not await journal.royalty_intent(author, invoice, whole):
                continue
            row = await journal.open_royalty(author)
            again = False
        else:
            again = True
        assert row is not None
        purpose = f"royalty:{row['payment_hash'][:32]}"
        payment_hash = row["payment_hash"]
        async for result in till.pay(row["bolt11"], payment_hash, row["max_fee_msat"], purpose=purpose, again=again):
            if result.outcome in (Outcome.SETTLED, Outcome.FAILED):
                settled = result.outcome is Outcome.SETTLED
                await journal.royalty_outcome(author, payment_hash, settled=settled, fee_msat=result.fee_msat or 0)
                paid += settled
    return paid
