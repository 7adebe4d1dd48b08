"""What strangers can make a worker do before they have paid anything."""

import os

from market.job import JobInput
from nostr.blossom import BlossomClient
from tests.dvms.conftest import a_worker
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
