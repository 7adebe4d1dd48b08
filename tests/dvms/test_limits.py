"""What strangers can make a worker do before they have paid anything."""

import asyncio
import os

import pytest

from market.job import JobInput, JobResult
from nostr.blossom import BlossomClient
from tests.dvms.conftest import Purse, a_worker
from tests.dvms.test_endings import error_of


async def _files(relay, customer, count, size):
    async with BlossomClient(relay.replace("ws", "http", 1), customer.key) as client:
        return [JobInput((await client.upload(os.urandom(size))).url, "url") for _ in range(count)]


async def test_the_files_of_one_job_have_a_bound_together(tmp_path, relay, customer):
    inputs = await _files(relay, customer, 5, 900_000)
    async with a_worker("Echo", tmp_path, relay, input_mib=1) as running:
        word = error_of(await customer.hears(await customer.send(5050, inputs=inputs, to=running.key.public)))
        assert word.message == "the inputs of one job have at most 4 MiB together"


async def test_inputs_leave_room_on_the_disk(tmp_path, relay, customer):
    inputs = await _files(relay, customer, 1, 1000)
    async with a_worker("Echo", tmp_path, relay, keep_free_mib=2**40) as running:
        word = error_of(await customer.hears(await customer.send(5050, inputs=inputs, to=running.key.public)))
        assert word.message == "this service is short of disk space: try again later"


@pytest.mark.parametrize("when", ["before", "during"])
async def test_a_full_disk_makes_jobs_wait_and_loses_none(tmp_path, relay, customer, bank, monkeypatch, when):
    monkeypatch.setattr("dvms.shift.HEAR_AGAIN", (0.2,) * 50)
    monkeypatch.setattr("dvms.shift.FULL_DISK", 0.2)
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21) as running:
        to = running.key.public

        async def fill():
            pages = (await running.db.fetch_one("PRAGMA page_count"))[0]
            await running.db.write(lambda conn: conn.execute(f"PRAGMA max_page_count={pages}") and None)

        if when == "before":
            await fill()
        requests = [await customer.send(5050, f"{number} " * 900, to=to) for number in range(3)]
        if when == "during":
            await asyncio.gather(*(customer.hears(one, until=("payment-required",), pay=False) for one in requests))
            await fill()
            jobs = [await running.worker.parts.jobs.get(one.id) for one in requests]
            await asyncio.gather(*(customer.wallet.pay_invoice(job.bolt11) for job in jobs))
        await asyncio.sleep(1)
        said = [word for one in requests for word in await customer.everything_about(one, settle=0)]
        assert not any(isinstance(word, JobResult) or word.status == "error" for word in said)
        await running.db.write(lambda conn: conn.execute("PRAGMA max_page_count=1000000") and None)
        heard = await asyncio.gather(*(customer.hears(one) for one in requests))
        assert all(isinstance(said[-1], JobResult) for said in heard) and len(bank.paid) == 3
