"""Bills that name an amount and no invoice: the customer zaps the bill, as Amethyst and Noogle do.

The invoice comes from the LNURL-pay service behind the provider's Lightning address (LUD-06, LUD-16), for a zap
request that names the bill (NIP-57). It must commit to exactly this zap request, or, where the service knows no zaps,
to its own metadata; after that it passes the same checks as any invoice (`purchase.check_bill`).
"""

from __future__ import annotations

from collections.abc import Iterable

from market.errors import BillRefused
from market.job import Feedback
from market.purchase import Refusal
from nostr import nip57
from nostr.key import SecretKey
from wallet import lnurl


async def zap_invoice(
    key: SecretKey,
    bill: Feedback,
    address: str,
    *,
    relays: Iterable[str],
    now: int,
    allow_hosts: Iterable[str] = (),
) -> str:
    """The invoice (BOLT 11) that pays this bill by a zap. `address` is a `lud16` or an LNURL. Raises BillRefused."""
    amount, hosts = bill.amount_msat, tuple(allow_hosts)
    if not amount:
        raise BillRefused("the bill names neither invoice nor amount", Refusal.NO_INVOICE)
    try:
        offer = await lnurl.ask(address, allow_hosts=hosts)
        zap = None
        if offer.zap_key is not None:
            zap = nip57.request(
                key, bill.provider, relays=relays, amount_msat=amount, created_at=now, target=bill.event
            )
        invoice = await lnurl.invoice_for(offer, amount, network=None, now=now, zap=zap, allow_hosts=hosts)
    except lnurl.BadInvoice as error:
        raise BillRefused(str(error), Refusal.BAD_INVOICE) from None
    except lnurl.LnurlError as error:
        why = f"the provider's Lightning address gives no invoice: {error}"
        raise BillRefused(why, Refusal.NO_INVOICE) from None
    return invoice.text
