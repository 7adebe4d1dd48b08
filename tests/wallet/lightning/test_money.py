"""Money of the bank over real channels: each case ends in one payment or none, and the books agree with the node."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nostr.key import SecretKey
from tests.wallet.lightning.lab import Lab
from wallet import bolt11, books, ledger
from wallet.backends import open_backend
from wallet.bank import Bank
from wallet.interface import InvoiceState, WalletRefused
from wallet.ledger import PaymentState, hash_of
from wallet.sending import Policy

QUICK = Policy(poll_seconds=0.2, pay_timeout=20, ask_again=(0.2,))


@asynccontextmanager
async def open_bank(lab: Lab, folder: Path, policy: Policy = QUICK) -> AsyncIterator[tuple[Bank, int]]:
    """The bank over alice, and the owner's account, which holds what she holds."""
    async with Bank.open(
        folder / "ledger.db", open_backend(lab["alice"].line, key=SecretKey.generate()), policy=policy
    ) as bank:
        yield bank, await bank.db.write(lambda conn: books.account_id(conn, "owner"))


async def holds(bank: Bank, account: int) -> int:
    row = await bank.db.fetch_one("SELECT balance FROM accounts WHERE id = ?", (account,))
    assert row is not None
    return int(row[0])


async def agree(bank: Bank) -> None:
    """To the msat: what the accounts own is what the node holds, and the history adds up."""
    assert await bank.check() == []
    assert await bank.db.write(ledger.audit) == []
    row = await bank.db.fetch_one("SELECT SUM(balance) FROM accounts WHERE NOT world")
    assert row is not None and row[0] == await bank.backend.balance()


async def begin(bank: Bank, account: int, lab: Lab, invoice: str, **terms: object) -> ledger.Payment:
    """A payment whose HTLC is out and hangs, because its receiver sleeps."""
    payment = await bank.pay(account, invoice, **terms)  # type: ignore[arg-type]
    await asyncio.to_thread(lab["alice"].wait_until_paying, invoice)
    return payment


async def test_a_payment_settles_with_proof_and_the_books_agree(lab: Lab, tmp_path: Path) -> None:
    async with open_bank(lab, tmp_path) as (bank, owner):
        before = await holds(bank, owner)
        invoice = lab["bob"].invoice(1_234)
        paid = await bank.wait(await bank.pay(owner, invoice), 30)
        assert paid.state is PaymentState.SETTLED and paid.fee_msat == 0
        assert hash_of(paid.preimage or "") == bolt11.decode(invoice).payment_hash
        assert await holds(bank, owner) == before - 1_234_000
        await agree(bank)


async def test_what_a_stranger_pays_is_credited_once(lab: Lab, tmp_path: Path) -> None:
    async with open_bank(lab, tmp_path) as (bank, _):
        shop = await bank.db.write(lambda conn: books.open_account(conn, "shop", bank.clock()))
        bill = await bank.make_invoice(shop, 777_000, description="a song")
        assert (await asyncio.to_thread(lab["carol"], "lnpay", bill.invoice.bolt11))["success"]
        async with asyncio.timeout(20):
            while True:
                if await holds(bank, shop):
                    break
                await asyncio.sleep(0.1)
        seen = await bank.invoice(bill.invoice.payment_hash)
        assert seen is not None and seen.invoice.state is InvoiceState.SETTLED
        await asyncio.sleep(0.5)  # the poll reads it again
        assert await holds(bank, shop) == 777_000
        await agree(bank)


async def test_a_route_over_three_nodes_costs_a_fee_and_it_is_booked_to_the_msat(lab: Lab, tmp_path: Path) -> None:
    async with open_bank(lab, tmp_path) as (bank, owner):
        before = await holds(bank, owner)
        paid = await bank.wait(await bank.pay(owner, lab["carol"].invoice(50_000)), 30)
        assert paid.state is PaymentState.SETTLED
        assert paid.fee_msat == 1_050  # bob: 1,000 msat and 1 millionth
        assert await holds(bank, owner) == before - 50_000_000 - 1_050
        await agree(bank)


async def test_what_no_route_carries_fails_for_certain_and_frees_the_money(lab: Lab, tmp_path: Path) -> None:
    async with open_bank(lab, tmp_path) as (bank, owner):
        await bank.db.write(lambda conn: _lend(conn, bank))
        before = await holds(bank, owner)
        payment = await bank.wait(await bank.pay(owner, lab["carol"].invoice(4_500_000), max_fee_msat=0), 60)
        assert payment.state is PaymentState.FAILED and payment.detail
        assert await holds(bank, owner) == before


def _lend(conn: object, bank: Bank) -> None:
    """Let the owner try more than the channels hold."""
    source, owner = books.account_id(conn, books.BACKEND), books.account_id(conn, "owner")  # type: ignore[arg-type]
    books.transfer(conn, "opening", "lent", bank.clock(), [(source, -(10**10)), (owner, 10**10)])  # type: ignore[arg-type]


async def test_a_hop_that_is_gone_fails_the_payment_for_certain(lab: Lab, tmp_path: Path) -> None:
    invoice = lab["carol"].invoice(2_000)
    lab["carol"].kill()
    async with open_bank(lab, tmp_path) as (bank, owner):
        payment = await bank.wait(await bank.pay(owner, invoice), 60)
        assert payment.state is PaymentState.FAILED, payment
        await agree(bank)


async def test_a_late_settlement_ends_the_payment_and_nothing_is_bought_twice(lab: Lab, tmp_path: Path) -> None:
    async with open_bank(lab, tmp_path, Policy(poll_seconds=0.2, pay_timeout=0.5, ask_again=(0.2,))) as (bank, owner):
        before = await holds(bank, owner)
        invoice, other = lab["bob"].invoice(3_000), lab["bob"].invoice(3_000)
        lab["bob"].signal(signal.SIGSTOP)
        payment = await begin(bank, owner, lab, invoice, purpose="job:7")
        assert not (await bank.wait(payment, 1.5)).ended
        with pytest.raises(WalletRefused, match="another invoice"):
            await bank.pay(owner, other, purpose="job:7")
        lab["bob"].signal(signal.SIGCONT)
        assert (await bank.wait(payment, 30)).state is PaymentState.SETTLED
        assert await holds(bank, owner) == before - 3_000_000
        await agree(bank)


async def test_a_node_killed_in_the_middle_of_a_payment_pays_exactly_once(lab: Lab, tmp_path: Path) -> None:
    async with open_bank(lab, tmp_path) as (bank, owner):
        before = await holds(bank, owner)
        invoice = lab["bob"].invoice(4_000)
        lab["bob"].signal(signal.SIGSTOP)
        payment = await begin(bank, owner, lab, invoice)
        lab["alice"].kill()
        await asyncio.sleep(1)
        assert not (await bank.wait(payment, 1)).ended, "a dead node says nothing about a payment"
        lab["bob"].signal(signal.SIGCONT)
        lab["alice"].start()
        await asyncio.to_thread(lab["alice"].ready)
        assert (await bank.wait(payment, 60)).state is PaymentState.SETTLED
        assert lab["bob"].received(payment.payment_hash) == 1
        assert await holds(bank, owner) == before - 4_000_000
        await agree(bank)


@pytest.mark.parametrize("moment", ["before it is sent", "while it hangs"])
async def test_a_wallet_killed_in_the_middle_of_a_payment_pays_exactly_once(
    lab: Lab, tmp_path: Path, moment: str
) -> None:
    async with open_bank(lab, tmp_path) as (bank, owner):
        before = await holds(bank, owner)
    invoice = lab["bob"].invoice(5_000)
    lab["alice" if moment == "before it is sent" else "bob"].signal(signal.SIGSTOP)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.wallet.lightning.payer", tmp_path / "ledger.db", lab["alice"].line, invoice,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    if moment == "while it hangs":
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"begun\n"
        await asyncio.to_thread(lab["alice"].wait_until_paying, invoice)
    else:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await process.stdout.readline()
    process.kill()
    await process.wait()
    for name in ("alice", "bob"):
        lab[name].signal(signal.SIGCONT)
    async with open_bank(lab, tmp_path) as (bank, owner):
        payment = await bank.pay(owner, invoice, purpose="job:1")
        assert (await bank.wait(payment, 60)).state is PaymentState.SETTLED
        assert lab["bob"].received(payment.payment_hash) == 1
        assert await holds(bank, owner) == before - 5_000_000
        await agree(bank)
