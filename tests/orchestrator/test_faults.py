"""What breaks inside Timmy breaks one run for a while, and never the money."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from orchestrator import runner as runner_module
from orchestrator import timmy as timmy_module
from orchestrator.run import Phase
from tests.orchestrator.test_money import BROKEN
from tests.orchestrator.test_runs import portraits
from tests.orchestrator.test_shell import market
from tests.orchestrator.world import Timmy, crowd
from wallet import bolt11
from wallet.interface import Outcome, PayResult, WalletRefused


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "AGAIN", 0.05)
    monkeypatch.setattr(timmy_module, "AGAIN", 0.05)


def breaks(times: int, work: Any, error: Exception) -> Any:
    """`work`, but the first calls after the third raise."""
    calls = iter(range(1000))

    async def broken(*args: Any, **more: Any) -> Any:
        if 3 <= next(calls) < 3 + times:
            raise error
        return await work(*args, **more)

    return broken


@pytest.mark.parametrize("where", ["journal.record", "hands.check", "hands.fetch", "hands.offers"])
async def test_a_run_that_breaks_off_begins_again_by_itself(tmp_path: Path, where: str) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        part, name = where.split(".")
        holder = getattr(timmy, part)
        error = sqlite3.OperationalError("database or disk is full")
        if part == "journal":
            timmy.runner.journal = _With(timmy.journal, record=breaks(3, timmy.journal.record, error))
        else:
            setattr(holder, name, breaks(2, getattr(holder, name), error))
        run = await timmy.until_over(await timmy.sell(portraits()))
        assert run.phase is Phase.DELIVERED


class _With:
    """An object with some of its methods replaced."""

    def __init__(self, real: Any, **methods: Any) -> None:
        self._real, self._methods = real, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods[name] if name in self._methods else getattr(self._real, name)


async def test_a_look_up_that_fails_is_no_failed_payment(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:

        async def refused(payment_hash: str) -> PayResult:
            raise WalletRefused("RATE_LIMITED", "too many requests")

        timmy.wallet.lookup_payment = refused  # type: ignore[method-assign]
        invoice = timmy.world.invoice("provider", 5_000)
        words = timmy.till.pay(invoice, bolt11.decode(invoice).payment_hash, 1000, purpose="x", again=True)
        assert (await anext(words)).outcome is Outcome.UNKNOWN


async def test_one_refund_invoice_for_two_runs_is_paid_once_and_does_not_spin(tmp_path: Path) -> None:
    async with Timmy(tmp_path, BROKEN, hold=False) as timmy:
        first = await timmy.sell(portraits(), price_msat=90_000)
        second = await timmy.sell(portraits(), price_msat=90_000, again=1)
        async with asyncio.timeout(20):
            while len(due := await timmy.journal.refunds_due()) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        invoice = timmy.world.invoice("buyer", 90_000)
        tried = 0
        real = timmy.journal.refund_intent

        async def counted(*args: Any) -> bool:
            nonlocal tried
            tried += 1
            return await real(*args)

        timmy.journal.refund_intent = counted  # type: ignore[method-assign]
        for run_id in (first, second):
            await timmy.journal.claim_refund(run_id, due[0]["buyer"], invoice)
        await asyncio.sleep(1)
        assert len(await timmy.journal.refunds_due()) == 1
        assert tried < 100


async def test_timmy_hears_again_after_an_event_that_broke_him(tmp_path: Path) -> None:
    async with market(tmp_path, {"price": 20_000, "name": "painter"}) as m:
        real, broke = m.timmy.hear, []

        async def fragile(event: Any) -> None:
            if not broke:
                broke.append(event)
                raise sqlite3.OperationalError("database or disk is full")
            await real(event)

        m.timmy.hear = fragile  # type: ignore[method-assign]
        with pytest.raises((TimeoutError, AssertionError)):
            async with asyncio.timeout(2):
                await m.buyer.buys(m.timmy)
        result, _ = await m.buyer.buys(m.timmy, "an owl again")
        assert broke and result.kind == 6260
