"""A sale, seen by its customer, through a real relay."""

import asyncio

import pytest

from market.job import JobInput, JobResult
from tests.dvms.conftest import Purse, a_worker


async def test_free_job_is_answered(tmp_path, relay, customer):
    async with a_worker("Echo", tmp_path, relay) as running:
        request = await customer.send(5050, "hello", to=running.key.public, params={"marks": "2"})
        said = await customer.hears(request, until=("success",))
        result = next(word for word in said if isinstance(word, JobResult))
        assert result.content == "hello!!" and result.provider == running.key.public
        assert result.fact("engine") == "echo" and result.fact("licence") == "MIT" and result.fact("seed")
        assert not any(word.amount_msat for word in said)


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("encrypt", [None, "nip44", "nip04"])
async def test_paid_job_is_billed_once_paid_and_delivered(tmp_path, relay, customer, bank, hold, encrypt):
    purse = Purse(bank, hold=hold, balance_msat=0)
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        secret = {"encrypt_to": running.key.public, "scheme": encrypt} if encrypt else {"to": running.key.public}
        request = await customer.send(5050, "hello", **secret)
        said = await customer.hears(request, until=("success",))
        bills = [word for word in said if getattr(word, "status", "") == "payment-required"]
        assert [bill.amount_msat for bill in bills] == [21000]
        assert next(word for word in said if isinstance(word, JobResult)).content == "hello"
        assert purse.msat == 21000 and len(bank.paid) == 1
        for word in said:
            assert bool(word.event.tagged("encrypted")) == bool(encrypt)


async def test_no_work_before_the_wallet_says_so(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21) as running:
        request = await customer.send(5050, "hello", to=running.key.public)
        await customer.hears(request, until=("payment-required",), pay=False)
        words = await customer.everything_about(request)
        assert [word.status for word in words] == ["payment-required"]


async def test_heavy_job_runs_in_a_child_and_delivers_a_file(tmp_path, relay, customer, bank):
    async with a_worker("Mill", tmp_path, relay, wallet=Purse(bank), price=5) as running:
        request = await customer.send(5100, "picture", to=running.key.public, params={"sleep": "0.2"})
        said = await customer.hears(request, until=("success",))
        result = next(word for word in said if isinstance(word, JobResult))
        media = result.urls[0]
        assert result.content == media.url and media.mime == "image/png" and media.dim == (32, 16)
        assert media.blurhash and media.size and media.alt == "a red card"
        assert media.url.startswith(relay.replace("ws", "http")) and media.sha256 in media.url
        assert "processing" in [getattr(word, "status", "") for word in said]


async def test_a_chain_waits_for_the_other_job(tmp_path, relay, customer):
    async with a_worker("Echo", tmp_path, relay) as running:
        first = await customer.send(5050, "first", to=running.key.public, params={"sleep": "0.5"})
        second = await customer.send(5050, to=running.key.public, inputs=[JobInput(first.id, "job")])
        said = await customer.hears(second)
        assert said[-1].content == "first"
        third = await customer.send(5050, to=running.key.public, inputs=[JobInput(said[-1].event.id, "job")])
        assert (await customer.hears(third))[-1].content == "first"
        await asyncio.sleep(0)
