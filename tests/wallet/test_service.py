"""What the wallet service does for a proper client."""

import asyncio
import json

import orjson
import pytest

from tests.wallet.house import House
from tests.wallet.raw import Raw, bill
from wallet.interface import InvoiceState, Outcome
from wallet.nip47 import NwcError
from wallet.nwc import NwcWallet


async def test_an_invoice_is_made_paid_looked_up_listed_and_told(house: House) -> None:
    await house.give("buyer", 100_000)
    buyer, seller = await house.client("buyer"), await house.client("seller")
    hints = seller.settled()
    hint = asyncio.ensure_future(anext(hints))
    await asyncio.sleep(0)
    made = await seller.make_invoice(21_000, description="nip90:abc", expiry=600)
    before = await seller.lookup_invoice(made.payment_hash)
    assert before is not None and before.state is InvoiceState.OPEN and before.preimage is None
    result = await buyer.pay_invoice(made.bolt11)
    assert result.outcome is Outcome.SETTLED and result.fee_msat == 0
    assert await asyncio.wait_for(hint, 5) == made.payment_hash
    after = await seller.lookup_invoice(made.payment_hash)
    assert after is not None and after.state is InvoiceState.SETTLED and after.preimage == result.preimage
    assert (await buyer.balance(), await seller.balance()) == (79_000, 21_000)
    assert [i.payment_hash for i in await seller.list_settled(house.clock() - 10)] == [made.payment_hash]
    sent = (await buyer.call("list_transactions", {}))["transactions"]
    assert [(t["type"], t["state"], t["amount"]) for t in sent] == [("outgoing", "settled", 21_000)]
    assert (await seller.lookup_payment(made.payment_hash)).outcome is Outcome.UNKNOWN


async def test_metadata_survives_and_too_much_of_it_is_dropped(house: House, raw: Raw) -> None:
    small = await raw.ask("make_invoice", {"amount": 5_000, "metadata": {"comment": "hello"}})
    large = await raw.ask("make_invoice", {"amount": 5_000, "metadata": {"comment": "x" * 5_000}})
    assert small["result"]["metadata"] == {"comment": "hello"}  # type: ignore[index]
    assert "metadata" not in large["result"]  # type: ignore[operator]


async def test_a_page_of_transactions_fits_into_one_event(house: House, raw: Raw) -> None:
    for number in range(60):
        await raw.ask("make_invoice", {"amount": 5_000 + number, "metadata": {"comment": "x" * 3_000}})
    page = (await raw.ask("list_transactions", {"unpaid": True, "limit": 100}))["result"]["transactions"]  # type: ignore[index]
    assert 5 < len(page) < 50 and len(orjson.dumps(page)) < 48_000
    assert page[0]["created_at"] >= page[-1]["created_at"]
    second = await raw.ask("list_transactions", {"unpaid": True, "limit": 5, "offset": len(page)})
    hashes = {t["payment_hash"] for t in page}
    assert not hashes & {t["payment_hash"] for t in second["result"]["transactions"]}  # type: ignore[index]


async def test_the_owner_manages_connections_over_the_same_protocol(house: House) -> None:
    owner = await house.client("boss", account="owner")
    made = await owner.call("create_connection", {"name": "phone", "scopes": ["pay", "read"], "budget_msat": 5_000,
                                                  "renewal": "weekly"})  # fmt: skip
    async with NwcWallet(made["uri"], clock=house.clock) as phone:
        assert await phone.balance() == await owner.balance()
        assert (await phone.pay_invoice(await bill(house, 6_000))).code == "QUOTA_EXCEEDED"
        assert (await phone.pay_invoice(await bill(house, 5_000))).outcome is Outcome.SETTLED
        listed = (await owner.call("list_connections", {}))["connections"]
        row = next(row for row in listed if row["name"] == "phone")
        assert (row["spent_msat"], row["budget_msat"], row["scopes"]) == (5_000, 5_000, ["pay", "read"])
        with pytest.raises(NwcError, match="phone"):
            await owner.call("create_connection", {"name": "phone"})
        await owner.call("revoke_connection", {"name": "phone"})
        with pytest.raises(NwcError) as refused:
            await phone.balance()
        assert refused.value.code == "UNAUTHORIZED"
    await owner.call("transfer", {"source": "owner", "target": "fund", "amount": 7_000, "purpose": "a loan"})
    with pytest.raises(NwcError, match="moved already"):
        await owner.call("transfer", {"source": "owner", "target": "fund", "amount": 7_000, "purpose": "a loan"})
    with pytest.raises(NwcError, match="not moved by hand"):
        await owner.call("transfer", {"source": "issuance", "target": "fund", "amount": 7_000, "purpose": "x"})
    assert await house.holds("fund") == 7_000
    assert (await owner.call("books", {}))["sound"] is True


async def test_no_secret_is_in_a_log_or_a_repr(house: House, raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await raw.ask("pay_invoice", {"invoice": await bill(house, 5_000)})
    await raw.ask("pay_invoice", {"invoice": "junk"})
    secret = raw.uri.secret.hex
    service = house.service._lines[raw.uri.service]
    shown = caplog.text + repr(raw.uri) + repr(service) + repr(house.service) + json.dumps(str(raw.uri))
    assert secret not in shown and service.key.hex not in shown
    assert (house.folder / "ledger.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("account", ["transit", "backend", "issuance", "loss"])
async def test_no_connection_acts_for_the_accounts_that_balance_the_books(house: House, account: str) -> None:
    owner = await house.client("me", account="owner")
    with pytest.raises(NwcError, match="nobody's"):
        await owner.call("create_connection", {"name": "x", "account": account})
