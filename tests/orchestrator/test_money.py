"""Money: refunds that are paid once, payments nobody can tell the outcome of, caps across runs."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.journal import Limits
from orchestrator.payout import pay_royalties, shares
from orchestrator.run import Phase, State
from orchestrator.storefront import recipe_event
from tests.orchestrator.test_runs import portraits, results
from tests.orchestrator.world import TIMMY, Provider, Timmy, WorldWallet, crowd, key_of
from wallet.interface import Outcome, PayResult, WalletRefused, WalletUnreachable

BROKEN = [p for p in crowd() if p.name != "video"] + [Provider("video", 5203, 1_000, "error")]


class Moody(WorldWallet):
    """A wallet that is away, silent or unwilling for the first `times` payments of one size."""

    def __init__(self, timmy: Timmy, mood: str, times: int, msat: int = 8_000) -> None:
        super().__init__(timmy.world)
        self.mood, self.times, self.msat = mood, times, msat
        self.asked: list[str] = []

    async def pay_invoice(self, invoice: str, **terms: Any) -> PayResult:
        from wallet import bolt11

        read = bolt11.decode(invoice)
        self.asked.append(read.payment_hash)
        if read.amount_msat != self.msat or self.times <= 0:
            return await super().pay_invoice(invoice, **terms)
        self.times -= 1
        if self.mood == "away":
            raise WalletUnreachable("no answer")
        if self.mood == "no":
            raise WalletRefused("QUOTA_EXCEEDED", "over budget")
        if self.mood == "late":  # paid, but nobody says so
            await super().pay_invoice(invoice, **terms)
        return PayResult(Outcome.UNKNOWN, read.payment_hash)

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        if self.times > 0:
            self.times -= 1
            return PayResult(Outcome.UNKNOWN, payment_hash)
        return await super().lookup_payment(payment_hash)


async def test_a_prepaid_failure_is_paid_back_once_to_the_invoice_the_buyer_sends(tmp_path: Path) -> None:
    async with Timmy(tmp_path, BROKEN, hold=False) as timmy:
        run_id = await timmy.sell(portraits(), price_msat=90_000)
        async with asyncio.timeout(15):
            while not await timmy.journal.refunds_due():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        (due,) = await timmy.journal.refunds_due()
        assert due["amount_msat"] == 90_000
        invoice = timmy.world.invoice("buyer", 90_000)
        await timmy.journal.claim_refund(run_id, "somebody else", timmy.world.invoice("thief", 90_000))
        await timmy.journal.claim_refund(run_id, due["buyer"], timmy.world.invoice("buyer", 80_000))  # not what is owed
        await timmy.journal.claim_refund(run_id, due["buyer"], invoice)
        run = await timmy.until_over(run_id)
        assert run.phase is Phase.REFUNDED and await timmy.journal.refunds_due() == []
        refunds = timmy.world.db.execute(
            "SELECT owner, moved.msat FROM invoice JOIN moved USING(hash)"
            " WHERE payer = 'timmy' AND owner IN ('buyer', 'thief')"
        ).fetchall()
        assert refunds == [("buyer", 90_000)]
        said = [e for _, e in timmy.world.events(kind=7000, pubkey=TIMMY.public) if e.tagged("refund")]
        assert [e.tagged("refund")[0][1] for e in said] == ["due", "paid"]


async def test_an_unknown_payment_is_never_replaced(tmp_path: Path) -> None:
    """The wallet pays and does not say so: Timmy waits, buys nothing else for it, and goes on when it is known."""
    timmy = Timmy(tmp_path, crowd(image="good"))
    timmy.wallet = Moody(timmy, "late", 6)
    async with timmy:
        run = await timmy.until_over(await timmy.sell(portraits(), hedge=False))
        assert run.phase is Phase.DELIVERED
        assert timmy.world.spent() == 10_000 + 2 * 8_000 + 10_000
        assert all(len(unit.attempts) == 1 for unit in run.units.values())


async def test_a_wallet_that_is_away_is_waited_for(tmp_path: Path) -> None:
    timmy = Timmy(tmp_path, crowd(image="good"))
    timmy.wallet = Moody(timmy, "away", 3)
    async with timmy:
        run = await timmy.until_over(await timmy.sell(portraits(), hedge=False))
        assert run.phase is Phase.DELIVERED and timmy.world.spent() == 36_000


async def test_a_wallet_that_refuses_leads_elsewhere(tmp_path: Path) -> None:
    timmy = Timmy(tmp_path, crowd(image="good"))
    timmy.wallet = Moody(timmy, "no", 2)
    async with timmy:
        run = await timmy.until_over(await timmy.sell(portraits(), hedge=False))
        assert run.phase is Phase.DELIVERED and timmy.world.spent() == 40_000
        refused = [a for _, a in run.attempts if a.state is State.REFUSED]
        assert len(refused) == 2 and all("over budget" in a.reason for a in refused)


async def test_an_invoice_that_was_billed_before_is_not_paid_again(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        first = await timmy.until_over(await timmy.sell(portraits(cache="off")))
        old = next(a.bolt11 for u, a in first.attempts if u.name == "frame")
        world_invoice = timmy.world.invoice
        timmy.world.invoice = lambda owner, *given, **more: (  # type: ignore[method-assign]
            old if owner == "image" else world_invoice(owner, *given, **more)
        )
        spent = timmy.world.spent()
        second = await timmy.until_over(await timmy.sell(portraits(cache="off"), again=1))
        assert second.phase is Phase.REFUNDED
        assert timmy.world.spent() == spent  # the story came from the cache, the picture was not paid again


async def test_the_daily_limit_holds_for_all_runs_together(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd(), limits=Limits(daily_msat=60_000, exposure_msat=10**9)) as timmy:
        ids = [await timmy.sell(portraits(cache="off"), again=n) for n in range(3)]
        runs = [await timmy.until_over(run_id) for run_id in ids]
        assert timmy.world.spent() <= 60_000
        assert {run.phase for run in runs} <= {Phase.DELIVERED, Phase.REFUNDED}
        assert len(results(timmy)) == sum(run.phase is Phase.DELIVERED for run in runs) < 3


async def test_a_thief_with_many_keys_gets_what_one_would(tmp_path: Path) -> None:
    thieves = [Provider(f"thief {n}", 5100, 7_000 + n, "vanish") for n in range(40)]
    limits = Limits(unproven_msat=40_000)
    async with Timmy(tmp_path, [*thieves, *crowd()], limits=limits) as timmy:
        for name in ("text", "image", "animation", "music", "video"):
            timmy.journal.limits = replace(limits, own=limits.own | {key_of(name).public})
            limits = timmy.journal.limits
        for n in range(6):
            await timmy.until_over(await timmy.sell(portraits(cache="off", seconds=1), again=n))
        stolen = timmy.world.db.execute(
            "SELECT coalesce(sum(moved.msat), 0) FROM invoice JOIN moved USING(hash) WHERE owner LIKE 'thief%'"
        ).fetchone()[0]
        assert 0 < stolen <= 40_000


async def test_the_author_of_a_recipe_has_a_share_of_the_margin_once(tmp_path: Path) -> None:
    author, forker = key_of("author"), TIMMY
    origin = recipe_event(author, portraits(), at=1)
    fork = recipe_event(forker, portraits(), at=2, parent=origin)
    async with Timmy(tmp_path, crowd()) as timmy:
        run = await timmy.until_over(await timmy.sell(portraits()))
        margin = run.received_msat - run.spent_msat
        assert shares(run, fork, 0.1) == [(author.public, margin // 10)]
        assert shares(run, recipe_event(TIMMY, portraits(), at=3), 0.1) == []  # our own recipe
        for _ in range(2):
            await timmy.journal.owe_royalties(run.id, shares(run, fork, 0.1))

        class Addresses:
            async def invoice(self, target: str, person: str, msat: int) -> str | None:
                return timmy.world.invoice("author", msat)

        for expected in (1, 0):
            assert await pay_royalties(timmy.journal, timmy.till, Addresses()) == expected  # type: ignore[arg-type]
        paid = timmy.world.db.execute(
            "SELECT moved.msat FROM invoice JOIN moved USING(hash) WHERE owner = 'author'"
        ).fetchall()
        assert paid == [(margin // 10 - margin // 10 % 1000,)]
