"""Faults between the bank of the box and the Lightning wallet behind it. Numbers as in the list of 23 cases."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nostr.key import SecretKey
from tests.fakes import FakeBank, FakeClock, FakeWallet
from tests.wallet.house import preimage
from wallet import books, ledger
from wallet.backends.ledger import LedgerWallet
from wallet.bank import Bank
from wallet.interface import Caps, InvoiceState, Outcome, WalletError, WalletRefused
from wallet.ledger import News, PaymentState, Report
from wallet.sending import Policy

OWNER_MSAT = 1_000_000_000


class Town:
    """A bank on a simulated Lightning wallet, and a stranger on the same network."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.clock = FakeClock()
        self.network = FakeBank()
        self.backend = FakeWallet(self.network, balance_msat=OWNER_MSAT, clock=self.clock)
        self.stranger = FakeWallet(self.network, clock=self.clock)
        self.policy = Policy(poll_seconds=0.05, watch_seconds=3600, pay_timeout=1)
        self.news: list[Report] = []

    @asynccontextmanager
    async def bank(self) -> AsyncIterator[Bank]:
        async with Bank.open(self.path, self.backend, clock=self.clock, policy=self.policy) as bank:
            self.owner = await bank.db.write(lambda conn: books.account_id(conn, "owner"))
            bank.listen(self.news.extend)
            yield bank

    async def foreign(self, msat: int = 50_000) -> str:
        return (await self.stranger.make_invoice(msat)).bolt11

    def times(self, news: News, payment_hash: str) -> int:
        return sum(1 for report in self.news if report.news is news and report.payment_hash == payment_hash)


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


async def holds(bank: Bank, name: str = "owner") -> int:
    return await bank.db.write(lambda conn: books.balance(conn, books.open_account(conn, name, 1)))


async def shop(bank: Bank) -> int:
    return await bank.db.write(lambda conn: books.open_account(conn, "shop", 1))


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if await what():
                return
            await asyncio.sleep(0.02)


async def sound(bank: Bank) -> None:
    assert await bank.db.write(ledger.audit) == []


async def test_what_the_backend_holds_at_the_first_start_is_the_owners(town: Town) -> None:
    async with town.bank() as bank:
        assert await holds(bank) == OWNER_MSAT
        await sound(bank)
    async with town.bank() as bank:
        assert await holds(bank) == OWNER_MSAT, "and it is counted once"


async def test_a_payment_through_the_backend_costs_its_amount_and_fee(town: Town) -> None:
    async with town.bank() as bank:
        payment = await bank.wait(await bank.pay(town.owner, await town.foreign()), 5)
        assert payment.state is PaymentState.SETTLED and payment.fee_msat == 0
        assert await holds(bank) == OWNER_MSAT - 50_000 == await town.backend.balance()
        await sound(bank)


async def test_06_a_hanging_backend_keeps_the_money_reserved_and_buys_nothing_else(town: Town) -> None:
    town.backend.mood = "hangs"
    async with town.bank() as bank:
        payment = await bank.pay(town.owner, await town.foreign(), purpose="job:1")
        async with asyncio.timeout(20):
            while (await bank.wait(payment, 0.2)).state is not PaymentState.SENT:
                pass
        assert await holds(bank) == OWNER_MSAT - 60_000, "amount and fee limit"
        with pytest.raises(WalletRefused, match="job:1"):
            await bank.pay(town.owner, await town.foreign(), purpose="job:1")
    town.backend.mood = "pays"
    async with town.bank() as bank:
        ended = await bank.wait(payment, 5)
        assert ended.state is PaymentState.SETTLED
        assert await holds(bank) == OWNER_MSAT - 50_000
        assert len(town.network.paid) == 1
        await sound(bank)


async def test_08_a_timeout_that_settles_later_is_one_payment(town: Town) -> None:
    town.backend.mood = "late"
    async with town.bank() as bank:
        payment = await bank.pay(town.owner, await town.foreign())
        ended = await bank.wait(payment, 5)
        assert ended.state is PaymentState.SETTLED and ended.preimage
        assert len(town.network.paid) == 1


async def test_08_an_unknown_payment_stays_unknown_while_nobody_knows(town: Town) -> None:
    town.backend.mood = "loses"
    async with town.bank() as bank:
        text = await town.foreign()
        payment = await bank.pay(town.owner, text, purpose="job:1")
        await asyncio.sleep(0.8)  # past the first look-up
        assert (await bank.wait(payment, 0.1)).state is PaymentState.UNKNOWN
        with pytest.raises(WalletRefused):
            await bank.pay(town.owner, await town.foreign(), purpose="job:1")
        again = await bank.pay(town.owner, text)
        assert again.id == payment.id, "the same invoice joins the payment that runs"
        await sound(bank)


async def test_10_a_false_proof_settles_nothing_and_is_an_alarm(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    town.backend.mood = "lies"
    async with town.bank() as bank:
        payment = await bank.pay(town.owner, await town.foreign())
        await asyncio.sleep(0.2)
        assert (await bank.wait(payment, 0.1)).state is PaymentState.UNKNOWN
        assert any(record.levelno == logging.CRITICAL for record in caplog.records)
        assert await holds(bank) == OWNER_MSAT - 60_000


async def test_15_a_certain_failure_frees_the_money_and_the_purpose(town: Town) -> None:
    town.backend.mood = "refuses"
    async with town.bank() as bank:
        text = await town.foreign()
        payment = await bank.wait(await bank.pay(town.owner, text, purpose="job:1"), 5)
        assert (payment.state, payment.detail) == (PaymentState.FAILED, "no route")
        assert await holds(bank) == OWNER_MSAT
        town.backend.mood = "pays"
        second = await bank.wait(await bank.pay(town.owner, text, purpose="job:1"), 5)
        assert second.state is PaymentState.SETTLED
        await sound(bank)


async def test_15_what_the_backend_refuses_before_sending_is_a_failure(town: Town) -> None:
    town.backend.msat = 10
    town.policy = Policy(poll_seconds=0.05)
    async with town.bank() as bank:
        await bank.db.write(
            lambda conn: books.transfer(
                conn, "gift", "x", 1, [(books.account_id(conn, "backend"), -90_000), (town.owner, 90_000)]
            )
        )
        payment = await bank.wait(await bank.pay(town.owner, await town.foreign()), 5)
        assert (payment.state, payment.code) == (PaymentState.FAILED, "INSUFFICIENT_BALANCE")


# --- 11: customers pay late, twice, under, over ---


async def bill(town: Town, bank: Bank, msat: int = 50_000) -> tuple[str, str]:
    made = await bank.make_invoice(await shop(bank), msat)
    return made.invoice.bolt11, made.invoice.payment_hash


async def received(bank: Bank, payment_hash: str) -> int:
    found = await bank.invoice(payment_hash)
    assert found is not None
    return found.invoice.received_msat or 0


async def test_11_paid_in_time_is_released_once(town: Town) -> None:
    async with town.bank() as bank:
        text, payment_hash = await bill(town, bank)
        await town.stranger.pay_invoice(text)
        await until(lambda: _is(bank, payment_hash, InvoiceState.SETTLED))
        await asyncio.sleep(0.2)
        assert await holds(bank, "shop") == 50_000
        assert town.times(News.RECEIVED, payment_hash) == 1


async def _is(bank: Bank, payment_hash: str, state: InvoiceState) -> bool:
    found = await bank.invoice(payment_hash)
    return found is not None and found.invoice.state is state


@pytest.mark.parametrize(("share", "news"), [(0.5, News.CREDITED), (1, News.RECEIVED), (2, News.RECEIVED)])
async def test_11_under_and_over(town: Town, share: float, news: News) -> None:
    async with town.bank() as bank:
        _, payment_hash = await bill(town, bank)
        msat = int(50_000 * share)
        for _ in range(3):  # the backend reports it again and again
            reports = await bank.db.write(lambda conn: ledger.receive(conn, payment_hash, msat, None, 5))
            town.news.extend(reports)
        assert await holds(bank, "shop") == msat
        assert town.times(news, payment_hash) == 1
        assert town.times(News.RECEIVED, payment_hash) == (1 if share >= 1 else 0)
        await sound(bank)


async def test_11_paid_late_is_credited_and_told(town: Town) -> None:
    async with town.bank() as bank:
        _, payment_hash = await bill(town, bank)
        town.clock.turn(10_000)
        assert (await bank.invoice(payment_hash)).invoice.state is InvoiceState.EXPIRED  # type: ignore[union-attr]
        await bank.db.write(lambda conn: ledger.receive(conn, payment_hash, 50_000, None, town.clock()))
        found = await bank.invoice(payment_hash)
        assert found is not None and found.invoice.settled_at == town.clock()
        assert found.invoice.settled_at > found.invoice.expires_at, "the seller sees that it came late"
        assert await holds(bank, "shop") == 50_000


async def test_11_money_that_came_while_we_were_away_is_found(town: Town) -> None:
    async with town.bank() as bank:
        text, payment_hash = await bill(town, bank)
    await town.stranger.pay_invoice(text)
    async with town.bank() as bank:
        await until(lambda: _is(bank, payment_hash, InvoiceState.SETTLED))
        assert await holds(bank, "shop") == 50_000
        await sound(bank)


# --- 17: our own invoice, paid inside and then outside ---


async def test_17_an_invoice_of_our_backend_is_paid_inside_the_box(town: Town) -> None:
    async with town.bank() as bank:
        text, _ = await bill(town, bank)
        payment = await bank.pay(town.owner, text)
        assert payment.state is PaymentState.SETTLED and payment.internal
        assert town.network.paid == [], "nothing left the box"
        assert (await holds(bank, "shop"), await holds(bank)) == (50_000, OWNER_MSAT - 50_000)


async def test_17_paid_inside_then_outside_is_credited_and_not_delivered_twice(town: Town) -> None:
    async with town.bank() as bank:
        text, payment_hash = await bill(town, bank)
        await bank.pay(town.owner, text)
        await town.stranger.pay_invoice(text)
        await until(lambda: _true(holds(bank, "shop"), 100_000))
        await asyncio.sleep(0.2)
        assert await holds(bank, "shop") == 100_000
        assert town.times(News.RECEIVED, payment_hash) == 1
        assert town.times(News.CREDITED, payment_hash) == 1
        await sound(bank)


async def _true(value: Awaitable[int], wanted: int) -> bool:
    return await value == wanted


async def test_17_paid_outside_then_inside_is_refused(town: Town) -> None:
    async with town.bank() as bank:
        text, payment_hash = await bill(town, bank)
        await town.stranger.pay_invoice(text)
        await until(lambda: _is(bank, payment_hash, InvoiceState.SETTLED))
        with pytest.raises(WalletRefused, match="settled"):
            await bank.pay(town.owner, text)
        assert await holds(bank) == OWNER_MSAT


# --- 16 with a backend that holds ---


async def test_16_a_hold_paid_from_outside(town: Town) -> None:
    async with town.bank() as bank:
        secret, payment_hash = preimage()
        account = await shop(bank)
        made = await bank.make_invoice(account, 50_000, payment_hash=payment_hash)
        await town.stranger.pay_invoice(made.invoice.bolt11)
        await until(lambda: _is(bank, payment_hash, InvoiceState.ACCEPTED))
        assert await holds(bank, "shop") == 0
        await bank.settle_hold(account, secret)
        assert await holds(bank, "shop") == 50_000
        await bank.settle_hold(account, secret)
        assert await holds(bank, "shop") == 50_000
        await sound(bank)


async def test_16_a_hold_from_outside_that_is_forgotten_goes_back(town: Town) -> None:
    async with town.bank() as bank:
        _, payment_hash = preimage()
        made = await bank.make_invoice(await shop(bank), 50_000, payment_hash=payment_hash)
        await town.stranger.pay_invoice(made.invoice.bolt11)
        await until(lambda: _is(bank, payment_hash, InvoiceState.ACCEPTED))
        town.clock.turn(town.policy.hold_seconds + 1)
        await until(lambda: _is(bank, payment_hash, InvoiceState.CANCELLED))
        assert town.network.invoices[payment_hash][1].state is InvoiceState.CANCELLED


async def test_16_a_hold_that_the_backend_gave_back_is_not_waited_for(town: Town) -> None:
    async with town.bank() as bank:
        _, payment_hash = preimage()
        made = await bank.make_invoice(await shop(bank), 50_000, payment_hash=payment_hash)
        await town.stranger.pay_invoice(made.invoice.bolt11)
        await until(lambda: _is(bank, payment_hash, InvoiceState.ACCEPTED))
        await town.backend.cancel_hold_invoice(payment_hash)
        await until(lambda: _is(bank, payment_hash, InvoiceState.CANCELLED))
        assert town.times(News.CANCELLED, payment_hash) == 1
        await sound(bank)


# --- 21: the disk ---


async def test_21_nothing_is_sent_before_its_intent_is_on_disk(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town.bank() as bank:
        text = await town.foreign()

        async def full(work: object) -> object:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(bank.db, "write", full)
        with pytest.raises(sqlite3.OperationalError):
            await bank.pay(town.owner, text)
        monkeypatch.undo()
        assert town.network.paid == []


# --- 23: solvency ---


async def test_23_a_tampered_balance_stops_outgoing_payments(tmp_path: Path) -> None:
    clock = FakeClock()
    backend = LedgerWallet(SecretKey.generate(), clock)
    async with Bank.open(tmp_path / "l.db", backend, clock=clock, policy=Policy(start_credits_msat=10**6)) as bank:
        owner = await bank.db.write(lambda conn: books.account_id(conn, "owner"))
        made = await bank.make_invoice(await shop(bank), 5_000)
        with sqlite3.connect(tmp_path / "l.db") as thief:
            thief.execute("UPDATE accounts SET balance = balance + 777 WHERE name = 'shop'")
        assert any("777" in fault for fault in await bank.check())
        with pytest.raises(WalletRefused, match="stopped"):
            await bank.pay(owner, made.invoice.bolt11)
    async with Bank.open(tmp_path / "l.db", backend, clock=clock) as bank:
        assert bank.stopped, "also after a restart"


async def test_23_a_balance_moved_by_hand_stays_stopped_though_the_sums_are_right(tmp_path: Path) -> None:
    backend = LedgerWallet(SecretKey.generate())
    async with Bank.open(tmp_path / "l.db", backend, policy=Policy(start_credits_msat=10**6)) as bank:
        await shop(bank)
    with sqlite3.connect(tmp_path / "l.db") as thief:
        thief.execute("UPDATE accounts SET balance = balance + 777 WHERE name = 'shop'")
        thief.execute("UPDATE accounts SET balance = balance - 777 WHERE name = 'owner'")
    async with Bank.open(tmp_path / "l.db", backend) as bank:
        assert "777" in bank.stopped
        assert await bank.check() == [], "the quick look sees nothing"
        assert bank.stopped, "and lets nothing go on"


async def test_23_a_posting_can_not_be_changed(tmp_path: Path) -> None:
    backend = LedgerWallet(SecretKey.generate())
    async with Bank.open(tmp_path / "l.db", backend, policy=Policy(start_credits_msat=10**6)) as bank:
        for sql in ("UPDATE postings SET msat = 1", "DELETE FROM postings", "DELETE FROM transfers"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                await bank.db.write(lambda conn, sql=sql: conn.execute(sql).rowcount)  # type: ignore[misc]


async def test_23_a_backend_that_lost_money_stops_outgoing_payments_until_it_is_back(town: Town) -> None:
    async with town.bank() as bank:
        assert await bank.check() == []
        town.backend.msat -= 1
        assert await bank.check()
        with pytest.raises(WalletRefused, match="stopped"):
            await bank.pay(town.owner, await town.foreign())
        town.backend.msat += 1
        assert await bank.check() == []
        assert (await bank.wait(await bank.pay(town.owner, await town.foreign()), 5)).state is PaymentState.SETTLED


async def test_23_the_owner_adopts_what_was_moved_behind_the_books(town: Town) -> None:
    async with town.bank() as bank:
        town.backend.msat -= 40_000
        assert await bank.check()
        assert await bank.adopt("a") == -40_000
        assert bank.stopped == "" and await holds(bank) == OWNER_MSAT - 40_000
        town.backend.msat += 90_000
        assert await bank.adopt("b") == 90_000
        assert await bank.adopt("c") == 0
        assert await holds(bank) == OWNER_MSAT + 50_000
        await sound(bank)


async def test_23_a_payment_on_its_way_is_no_shortfall(town: Town) -> None:
    town.backend.mood = "hangs"
    async with town.bank() as bank:
        await bank.pay(town.owner, await town.foreign())
        await asyncio.sleep(0.1)
        assert town.backend.msat < OWNER_MSAT
        assert await bank.check() == []


async def test_credits_and_real_money_never_share_a_file(town: Town) -> None:
    async with town.bank():
        pass
    with pytest.raises(WalletError, match="never mixed"):
        async with Bank.open(town.path, LedgerWallet(SecretKey.generate())):
            pass


async def test_a_backend_without_proofs_is_believed_only_where_it_says_so(town: Town) -> None:
    town.backend.caps = Caps(network="regtest", verifies_preimage=False, real_money=False)
    town.backend.mood = "lies"
    async with town.bank() as bank:
        payment = await bank.wait(await bank.pay(town.owner, await town.foreign()), 5)
        assert payment.result.outcome is Outcome.SETTLED
