"""Bills paid by a zap: the receipt may come from anybody, the own wallet decides."""

import hashlib

import pytest

from dvms.jobs import State
from market.job import JobResult
from nostr import nip57
from nostr.key import SecretKey
from tests.dvms.conftest import Purse, a_worker, until

STRANGER = SecretKey.generate()


async def zap(customer, purse, target, msat, *, pays=True):
    """Ask the worker's Lightning address for an invoice (here: its wallet), pay it, and tell the world."""
    worker = target.pubkey if target.kind == 7000 else target.first("p")
    asked = nip57.request(customer.key, worker, relays=customer.pool.relays, amount_msat=msat,
                          created_at=target.created_at, target=target)  # fmt: skip
    if target.kind != 7000:  # nip57.request names the author of its target; here the zapped request is the customer's
        tags = [tag for tag in asked.tags if tag[0] != "p"] + [("p", worker)]
        asked = customer.key.sign(kind=9734, tags=tags, created_at=target.created_at)
    text = asked.to_json().decode()
    invoice = await purse.make_invoice(msat, description_hash=hashlib.sha256(text.encode()).hexdigest())
    if pays:
        await customer.wallet.pay_invoice(invoice.bolt11)
    receipt = nip57.receipt(
        STRANGER, nip57.check_request(asked), bolt11=invoice.bolt11, description=text, paid_at=target.created_at
    )
    await customer.pool.publish(receipt)


async def billed(customer, running, text="hello"):
    request = await customer.send(5050, text, to=running.key.public)
    return request, (await customer.hears(request, until=("payment-required",), pay=False))[-1].event


async def credit(customer, running):
    return await running.worker.parts.jobs.credit(customer.key.public)


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("what", ["bill", "request"])
async def test_a_zapped_bill_is_paid(tmp_path, relay, customer, bank, hold, what):
    purse = Purse(bank, hold=hold, balance_msat=0)
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        request, bill = await billed(customer, running)
        await zap(customer, purse, bill if what == "bill" else request, 25_000)
        said = await customer.hears(request, pay=False)
        assert isinstance(said[-1], JobResult) and said[-1].content == "hello"
        assert purse.msat == 25_000 and await credit(customer, running) == 4_000


async def test_a_receipt_without_a_payment_starts_nothing(tmp_path, relay, customer, bank):
    purse, other = Purse(bank, hold=False, balance_msat=0), Purse(bank)
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        request, bill = await billed(customer, running)
        await zap(customer, purse, bill, 21_000, pays=False)
        await zap(customer, other, bill, 21_000)  # paid, but to a wallet that is not ours
        words = await customer.everything_about(request)
        assert [word.status for word in words] == ["payment-required"] and await credit(customer, running) == 0


async def test_too_little_too_late_and_twice_become_credit(tmp_path, relay, customer, bank):
    purse = Purse(bank, hold=False, balance_msat=0)
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        jobs = running.worker.parts.jobs
        request, bill = await billed(customer, running)
        await zap(customer, purse, bill, 1_000)
        await until(lambda: _is(credit(customer, running), 1_000))
        assert (await jobs.get(request.id)).state is State.BILLED
        await zap(customer, purse, bill, 21_000)
        await customer.hears(request, pay=False)
        await customer.wallet.pay_invoice((await jobs.get(request.id)).bolt11)  # the bill too
        await until(lambda: _is(credit(customer, running), 22_000))
        await zap(customer, purse, bill, 2_000)
        await until(lambda: _is(credit(customer, running), 24_000))
        assert purse.msat == 45_000


async def _is(value, wanted):
    return await value == wanted
