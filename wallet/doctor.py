"""Looks at a wallet from end to end, through its own front door, and says in words what is wrong."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from wallet import bolt11
from wallet.interface import InvoiceState, NotSupported, Outcome, WalletError
from wallet.msat import show
from wallet.nwc import NwcWallet


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    fine: bool
    detail: str


async def examine(wallet: NwcWallet) -> AsyncIterator[Finding]:
    """Every check in turn. With credits it also pays itself 1 credit; real money is not moved."""
    started = time.monotonic()
    try:
        info = await wallet.info()
    except WalletError as error:
        yield Finding("service", False, f"does not answer: {error}")
        return
    yield Finding("service", True, f"{info.alias} answers in {(time.monotonic() - started) * 1000:.0f} ms")
    unit = "sat" if info.caps.real_money else "credits"
    try:
        yield Finding("balance", True, show(await wallet.balance(), unit))
    except WalletError as error:
        yield Finding("balance", False, str(error))
    try:
        books = await wallet.call("books", {}, timeout=30)
    except WalletError as error:
        yield Finding("books", False, f"not shown to this connection: {error}")
    else:
        words = "; ".join([*books.get("faults", []), *([books["stopped"]] if books.get("stopped") else [])])
        yield Finding("books", bool(books.get("sound")), words or "every transfer sums to zero, nothing is missing")
        held = books.get("backend_msat")
        if held is not None:
            yield Finding("backend", True, f"{books['backend']} holds {show(held, unit)} on {books['network']}")
    async for finding in _invoice(wallet):
        yield finding


async def _invoice(wallet: NwcWallet) -> AsyncIterator[Finding]:
    try:
        made = await wallet.make_invoice(1000, description="timmy wallet doctor", expiry=60)
        read = bolt11.decode(made.bolt11)
        seen = await wallet.lookup_invoice(made.payment_hash)
    except (WalletError, bolt11.InvalidInvoice) as error:
        yield Finding("invoices", False, f"cannot make or read one: {error}")
        return
    right = read.network == wallet.caps.network and seen is not None and seen.state is InvoiceState.OPEN
    yield Finding("invoices", right, f"made and found again on {read.network}")
    if wallet.caps.real_money:
        return
    try:
        paid = await wallet.pay_invoice(made.bolt11, timeout=15)
        after = await wallet.lookup_invoice(made.payment_hash)
    except (WalletError, NotSupported) as error:
        yield Finding("payments", False, str(error))
        return
    fine = paid.outcome is Outcome.SETTLED and after is not None and after.state is InvoiceState.SETTLED
    yield Finding("payments", fine, "one credit paid to ourselves" if fine else f"{paid.outcome}: {paid.detail}")
