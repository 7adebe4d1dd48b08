"""Runs inside the environment of nostr-sdk: its NWC client (Rust) against our service. Prints one line of JSON."""

import asyncio
import hashlib
import json
import sys
from datetime import timedelta

import nostr_sdk as sdk


def wallet(uri: str) -> sdk.NostrWalletConnect:
    parsed = sdk.NostrWalletConnectUri.parse(uri)
    return sdk.NostrWalletConnectBuilder(parsed).timeout(timedelta(seconds=10)).build()


async def main(given: dict[str, str]) -> dict[str, object]:
    buyer, seller = wallet(given["buyer"]), wallet(given["seller"])
    info = await buyer.get_info()
    before = await buyer.get_balance()
    made = await seller.make_invoice(
        sdk.MakeInvoiceRequest(amount=21_000, description="from Rust", description_hash=None, expiry=600)
    )
    paid = await buyer.pay_invoice(sdk.PayInvoiceRequest(id=None, invoice=made.invoice, amount=None))
    again = await buyer.pay_invoice(sdk.PayInvoiceRequest(id=None, invoice=made.invoice, amount=None))
    found = await seller.lookup_invoice(sdk.LookupInvoiceRequest(payment_hash=made.payment_hash, invoice=None))
    listed = await buyer.list_transactions(
        sdk.ListTransactionsRequest(_from=None, until=None, limit=5, offset=None, unpaid=None, transaction_type=None)
    )
    after = await buyer.get_balance()
    try:
        await buyer.pay_invoice(sdk.PayInvoiceRequest(id=None, invoice="lnbcrt1junk", amount=None))
        refused = ""
    except Exception as error:
        refused = str(error)
    return {
        "network": info.network,
        "methods": len(info.methods),
        "spent": before.balance - after.balance,
        "proof": hashlib.sha256(bytes.fromhex(paid.preimage)).hexdigest() == made.payment_hash,
        "same": again.preimage == paid.preimage,
        "settled": found.settled_at is not None,
        "listed": [item.payment_hash == made.payment_hash for item in listed],
        "refused": refused,
    }


print(json.dumps(asyncio.run(main(json.loads(sys.argv[1]))), default=str))
