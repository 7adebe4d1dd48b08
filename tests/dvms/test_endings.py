"""Every sale that is not delivered: it says why, and the money comes back exactly once."""

import asyncio
import time

import pytest

from dvms.jobs import State
from market.job import Feedback, JobResult
from tests.dvms.conftest import Purse, a_worker, until
from wallet.interface import InvoiceState, WalletUnreachable


def error_of(said):
    assert isinstance(said[-1], Feedback) and said[-1].status == "error", said[-1]
    return said[-1]


def refund_tag(word):
    return next((list(tag) for tag in word.tags if tag[0] == "refund"), None)


async def state_of(running, request):
    sale = await running.worker.parts.jobs.get(request.id)
    return sale.state if sale else None


@pytest.mark.parametrize(
    ("kind", "text", "more", "words"),
    [
        (5050, "forbidden", {}, "not that word"),
        (5050, "x", {"params": {"marks": "9"}}, "marks"),
        (5050, "x", {"params": {"marks": "many"}}, "marks"),
        (5050, "x", {"bid_msat": 1000}, "your bid was 1 sat"),
        (5050, "", {}, "text input"),
    ],
)
async def test_refused_before_any_bill(tmp_path, relay, customer, bank, kind, text, more, words):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21) as running:
        said = await customer.hears(await customer.send(kind, text, to=running.key.public, **more))
        assert words in error_of(said).message and len(said) == 1
        assert not bank.invoices


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("text", ["fails", "broken"])
async def test_failed_work_is_paid_back(tmp_path, relay, customer, bank, hold, text):
    purse = Purse(bank, hold=hold, balance_msat=0)
    before = customer.wallet.msat
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        request = await customer.send(5050, text, to=running.key.public)
        word = error_of(await customer.hears(request))
        if hold:
            assert refund_tag(word) == ["refund", "cancelled"]
            await until(lambda: next(iter(bank.invoices.values()))[1].state is InvoiceState.CANCELLED)
            await until(lambda: _is(running, request, State.REFUNDED))
            return
        assert refund_tag(word) == ["refund", "due", "21000"] and "back" in word.message
        assert await state_of(running, request) is State.REFUNDED
        invoice = await customer.wallet.make_invoice(21000)
        await customer.wants_refund_to(request, invoice.bolt11, 21000, running.key.public)
        await until(lambda: customer.wallet.msat == before)
        assert purse.msat == 0
        again = await customer.wallet.make_invoice(21000)
        await customer.wants_refund_to(request, again.bolt11, 21000, running.key.public)
        await asyncio.sleep(0.5)
        assert purse.msat == 0 and customer.wallet.msat == before


async def _is(running, request, state):
    return await state_of(running, request) is state


async def test_refund_goes_to_the_target_in_the_request(tmp_path, relay, customer, bank):
    before = customer.wallet.msat
    invoice = await customer.wallet.make_invoice(21000)
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank, hold=False), price=21) as running:
        request = await customer.send(5050, "fails", to=running.key.public, params={"refund": invoice.bolt11})
        error_of(await customer.hears(request))
        await until(lambda: customer.wallet.msat == before)


async def test_one_invoice_for_two_refunds_pays_one_and_stops_nothing(tmp_path, relay, customer, bank):
    purse = Purse(bank, hold=False)
    invoice = await customer.wallet.make_invoice(21000)
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        for order in "12":
            params = {"refund": invoice.bolt11, "order": order}
            error_of(await customer.hears(await customer.send(5050, "fails", to=running.key.public, params=params)))
        await until(lambda: _refund_states(running, {"paid", "due"}))
        said = await customer.hears(await customer.send(5050, "hello", to=running.key.public))
        assert said[-1].content == "hello"


async def _refund_states(running, wanted):
    return {row["state"] for row in await running.worker.parts.cashier.refunds()} == wanted


async def test_a_refund_invoice_of_another_amount_is_not_paid(tmp_path, relay, customer, bank):
    purse = Purse(bank, hold=False)
    invoice = await customer.wallet.make_invoice(22000)
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        request = await customer.send(5050, "fails", to=running.key.public, params={"refund": invoice.bolt11})
        error_of(await customer.hears(request))
        await asyncio.sleep(1)
        assert len(bank.paid) == 1


async def test_credit_pays_for_the_next_job_and_is_not_paid_out_too(tmp_path, relay, customer, bank):
    purse = Purse(bank, hold=False, balance_msat=0)
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        failed = await customer.send(5050, "fails", to=running.key.public)
        error_of(await customer.hears(failed))
        request = await customer.send(5050, "hello", to=running.key.public)
        said = await customer.hears(request)
        assert said[-1].content == "hello" and len(bank.paid) == 1
        invoice = await customer.wallet.make_invoice(21000)
        await customer.wants_refund_to(failed, invoice.bolt11, 21000, running.key.public)
        await asyncio.sleep(1)
        assert purse.msat == 21000 and len(bank.paid) == 1


async def test_prepaid_credit_is_one_bill_for_many_jobs(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=10) as running:
        request = await customer.send(5050, "one", to=running.key.public, params={"prepay": "30000"})
        said = await customer.hears(request)
        assert said[0].amount_msat == 30000 and said[-1].content == "one"
        for text in ("two", "three"):
            assert (await customer.buys(5050, text, to=running.key.public)).content == text
        assert len(bank.paid) == 1
        fourth = await customer.hears(await customer.send(5050, "four", to=running.key.public))
        assert fourth[0].amount_msat == 10000


async def test_failed_job_paid_from_credit_returns_the_credit(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=10) as running:
        await customer.buys(5050, "one", to=running.key.public, params={"prepay": "20000"})
        word = error_of(await customer.hears(await customer.send(5050, "fails", to=running.key.public)))
        assert refund_tag(word) == ["refund", "credit", "10000"]
        assert (await customer.buys(5050, "two", to=running.key.public)).content == "two"
        assert len(bank.paid) == 1


@pytest.mark.parametrize("unsure", ["late", "hangs", "loses"])
async def test_a_refund_of_unknown_outcome_is_never_sent_twice(tmp_path, relay, customer, bank, unsure, monkeypatch):
    monkeypatch.setattr("dvms.cashier.RETRIES", (1,))
    purse = Purse(bank, hold=False)
    before = customer.wallet.msat
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        invoice = await customer.wallet.make_invoice(21000)
        purse.mood = unsure
        request = await customer.send(5050, "fails", to=running.key.public, params={"refund": invoice.bolt11})
        error_of(await customer.hears(request))
        other = await customer.wallet.make_invoice(21000)
        await asyncio.sleep(0.5)
        await customer.wants_refund_to(request, other.bolt11, 21000, running.key.public)
        await asyncio.sleep(0.5)
        purse.mood = "pays"
        if unsure != "hangs":
            await until(lambda: customer.wallet.msat == before, seconds=20)
        assert len(bank.paid) == 2


async def test_cancelled_before_payment(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21) as running:
        request = await customer.send(5050, "x", to=running.key.public)
        await customer.hears(request, until=("payment-required",), pay=False)
        await customer.cancels(request)
        assert "cancelled" in error_of(await customer.hears(request, pay=False)).message
        await until(lambda: next(iter(bank.invoices.values()))[1].state is InvoiceState.CANCELLED)


async def test_cancelled_while_running_kills_the_child_and_refunds(tmp_path, relay, customer, bank):
    purse = Purse(bank, hold=False, balance_msat=0)
    async with a_worker("Mill", tmp_path, relay, wallet=purse, price=21) as running:
        request = await customer.send(5100, "x", to=running.key.public, params={"sleep": "30"})
        await customer.hears(request, until=("processing",))
        await until(lambda: running.worker.running)
        await customer.cancels(request)
        word = error_of(await customer.hears(request))
        assert refund_tag(word) == ["refund", "due", "21000"]
        assert (await customer.buys(5100, "next", to=running.key.public)).content.startswith("next")


async def test_somebody_else_cannot_cancel(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank)) as running:
        request = await customer.send(5050, "x", to=running.key.public, params={"sleep": "1"})
        thief = type(customer)(customer.pool)
        await thief.cancels(request)
        assert (await customer.hears(request))[-1].content == "x"


async def test_a_bill_that_nobody_pays_expires(tmp_path, relay, customer, bank, monkeypatch):
    monkeypatch.setattr("dvms.worker.BILL_GRACE", 1)
    monkeypatch.setattr("dvms.shift.BILL_GRACE", 1)
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21, bill_seconds=2) as running:
        request = await customer.send(5050, "x", to=running.key.public)
        said = await customer.hears(request, pay=False)
        assert [word.status for word in said] == ["payment-required", "error"]
        assert "not paid in time" in said[-1].message


class MutePurse(Purse):
    """A wallet that tells nobody of what it was paid."""

    async def settled(self):
        await asyncio.Event().wait()
        yield ""


@pytest.mark.parametrize("kind_of_purse", [Purse, MutePurse])
async def test_money_that_comes_after_the_end_goes_back(tmp_path, relay, customer, bank, monkeypatch, kind_of_purse):
    monkeypatch.setattr("dvms.endings.LATE", 0)
    purse = kind_of_purse(bank, hold=False, balance_msat=0)
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21, bill_seconds=5) as running:
        request = await customer.send(5050, "x", to=running.key.public)
        bill = (await customer.hears(request, until=("payment-required",), pay=False))[-1]
        await customer.cancels(request)
        await customer.hears(request, pay=False)
        await customer.wallet.pay_invoice(bill.bolt11)
        await until(lambda: _is(running, request, State.REFUNDED))
        words = await customer.everything_about(request)
        assert any(refund_tag(word) == ["refund", "due", "21000"] for word in words)
        assert await running.worker.parts.jobs.credit(customer.key.public) == 21000


async def test_an_expired_or_foreign_or_blocked_request_gets_no_word(tmp_path, relay, customer):
    blocked = type(customer)(customer.pool)
    settings = {"blocked": [blocked.key.public]}
    async with a_worker("Echo", tmp_path, relay, **settings) as running:
        silent = [
            await customer.send(5050, "x", to="ab" * 32),
            await blocked.send(5050, "x", to=running.key.public),
            await customer.send(5050, "x", to=running.key.public, created_at=int(time.time()) - 7200),
        ]
        await customer.buys(5050, "y", to=running.key.public)
        for request in silent:
            assert await customer.everything_about(request, settle=0.1) == []


async def test_open_jobs_need_a_bid_that_reaches_the_price(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21):
        cheap = await customer.send(5050, "x", bid_msat=20000)
        none = await customer.send(5050, "x")
        good = await customer.send(5050, "x", bid_msat=21000)
        assert (await customer.hears(good))[-1].content == "x"
        assert await customer.everything_about(cheap, settle=0.1) == []
        assert await customer.everything_about(none, settle=0.1) == []


async def test_free_quota_then_a_bill(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21, free_per_day=2) as running:
        for text in ("one", "two"):
            said = await customer.hears(await customer.send(5050, text, to=running.key.public))
            assert said[-1].content == text and not bank.paid
        said = await customer.hears(await customer.send(5050, "three", to=running.key.public))
        assert said[0].amount_msat == 21000 and said[-1].content == "three"


async def test_the_free_quota_holds_for_many_at_once(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21, free_per_day=2) as running:
        requests = await asyncio.gather(*(customer.send(5050, str(n), to=running.key.public) for n in range(6)))
        first = await asyncio.gather(
            *(customer.hears(one, until=("payment-required", "result"), pay=False) for one in requests)
        )
        assert sum(isinstance(said[-1], JobResult) for said in first) == 2


async def test_limits_of_one_customer(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21, open_per_key=2) as running:
        requests = [await customer.send(5050, str(n), to=running.key.public) for n in range(3)]
        last = [(await customer.hears(r, until=("payment-required", "error"), pay=False))[-1] for r in requests]
        assert sorted(word.status for word in last) == ["error", "payment-required", "payment-required"]


async def test_strangers_bills_do_not_shut_out_who_has_paid_before(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21, bill_limit=4) as running:
        to = running.key.public
        assert (await customer.buys(5050, "first", to=to)).content == "first"
        strangers = [type(customer)(customer.pool) for _ in range(5)]
        heard = [(await one.hears(await one.send(5050, "x", to=to), until=("payment-required", "error"), pay=False))[-1]
                 for one in strangers]  # fmt: skip
        assert [word.status for word in heard] == ["payment-required"] * 4 + ["error"]
        assert "for 1 min" in heard[3].message and "unpaid" in heard[4].message
        assert (await customer.buys(5050, "again", to=to)).content == "again"


@pytest.mark.parametrize(("text", "words"), [("die", "signal 9"), ("raise", "RuntimeError"), ("refuse", "looked at it"),
                                             ("empty", "made nothing")])  # fmt: skip
async def test_a_crash_of_the_engine_is_an_error_and_a_refund_not_the_end(tmp_path, relay, customer, bank, text, words):
    async with a_worker("Mill", tmp_path, relay, wallet=Purse(bank, hold=False), price=21) as running:
        word = error_of(await customer.hears(await customer.send(5100, text, to=running.key.public)))
        assert words in word.message and refund_tag(word) == ["refund", "due", "21000"]
        assert (await customer.buys(5100, "alive", to=running.key.public)).content.startswith("alive")


async def test_deadline_kills_a_deaf_engine(tmp_path, relay, customer, monkeypatch):
    monkeypatch.setattr("dvms.engine.GRACE_SECONDS", 0.3)
    async with a_worker("Mill", tmp_path, relay, job_seconds=2) as running:
        request = await customer.send(5100, "deaf", to=running.key.public, params={"sleep": "60"})
        word = error_of(await customer.hears(request, seconds=30))
        assert "longer than 2 s" in word.message


async def test_a_wallet_that_is_away_makes_the_bill_late_not_lost(tmp_path, relay, customer, bank, monkeypatch):
    monkeypatch.setattr("dvms.worker.TRY_AGAIN", 1)
    purse = Purse(bank)
    good = purse.make_hold_invoice

    async def away(*args, **more):
        raise WalletUnreachable("down")

    purse.make_hold_invoice = away
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        request = await customer.send(5050, "x", to=running.key.public)
        await until(lambda: _is(running, request, State.PRICED))
        purse.make_hold_invoice = good
        assert (await customer.hears(request))[-1].content == "x"


async def test_a_lock_is_taken_early_where_the_work_takes_long(tmp_path, relay, customer, bank):
    purse = Purse(bank, balance_msat=0)
    async with a_worker("Mill", tmp_path, relay, wallet=purse, price=21, hold_seconds=2) as running:
        request = await customer.send(5100, "x", to=running.key.public, params={"sleep": "5"})
        await customer.hears(request, until=("processing",))
        await until(lambda: purse.msat == 21000, seconds=10)
        assert await state_of(running, request) is State.RUNNING
        assert (await customer.hears(request))[-1].content.startswith("x")
        assert purse.msat == 21000
