"""What a worker does beside single sales: one job from twenty relays, announcements, heartbeat, queue, restarts."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from dvms.boxlock import BoxLock
from dvms.heartbeat import Herald, Pulse
from dvms.serve import AlreadyRunning
from market.announcement import Announcement, Heartbeat, Profile
from market.job import JobInput, JobResult
from market.kinds import ANNOUNCEMENT, HEARTBEAT
from nostr import nip13
from nostr.blossom import BlossomClient
from nostr.client import Ok
from nostr.clock import system_clock
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from tests.dvms.conftest import Customer, Purse, a_relay, a_worker, until


async def test_the_same_request_through_twenty_relays_is_one_job(tmp_path, bank):
    async with AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(a_relay(tmp_path / f"relay{n}")) for n in range(20)]
        pool = await stack.enter_async_context(Pool(relays))
        running = await stack.enter_async_context(
            a_worker("Echo", tmp_path, relays, wallet=Purse(bank), price=21)
        )  # fmt: skip
        customer = Customer(pool, Purse(bank))
        request = await customer.send(5050, "hello", to=running.key.public, relays=relays)
        said = await customer.hears(request, until=("success",))
        assert len([word for word in said if isinstance(word, JobResult)]) == 1
        assert len(bank.invoices) == 1 and len(bank.paid) == 1
        outbox = running.worker.parts.outbox
        await until(lambda: _nothing_waits(outbox))
        result = next(word for word in said if isinstance(word, JobResult))
        for relay in relays:
            found = await pool.fetch(Filter(ids=[result.event.id]), relays=[relay])
            assert [event.id for event in found] == [result.event.id]


async def _nothing_waits(outbox):
    return await outbox.waiting() == 0


async def test_a_worker_makes_itself_known_and_withdraws(tmp_path, relay):
    async with Pool([relay]) as pool:
        async with a_worker("Echo", tmp_path, relay, price=0, about="mine") as running:
            key = running.key.public
            await until(lambda: _has(pool, key, {0, 10002, ANNOUNCEMENT, HEARTBEAT}))
            events = {event.kind: event for event in await pool.fetch(Filter(authors=[key]))}
            announced = Announcement.parse(events[ANNOUNCEMENT])
            assert (announced.name, announced.about, announced.price_msat) == ("Echo", "mine", 0)
            assert announced.kinds == (5050,) and "marks" in announced.params and announced.engine == "echo"
            assert announced.relays == (relay,)
            assert events[10002].tagged("r") == [("r", relay)]
            beat = Heartbeat.parse(events[HEARTBEAT])
            assert beat.alive(int(time.time())) and beat.expires_at == beat.created_at + 300
        left = await pool.fetch(Filter(authors=[key], kinds=[HEARTBEAT]))
        assert left == []
        assert await pool.fetch(Filter(authors=[key], kinds=[ANNOUNCEMENT]))


async def test_what_costs_credits_is_not_offered_to_the_world(tmp_path, relay, bank):
    async with Pool([relay]) as pool:
        far = "wss://relay.example.com"
        async with a_worker("Echo", tmp_path, [relay, far], wallet=Purse(bank), price=21) as running:
            key = running.key.public
            await until(lambda: _has(pool, key, {ANNOUNCEMENT, HEARTBEAT}))
            for event in await pool.fetch(Filter(authors=[key], kinds=[ANNOUNCEMENT, HEARTBEAT])):
                assert event.tagged("-") == [("-",)]
            assert running.pool.relays == (relay,)


async def _has(pool, key, kinds):
    return {event.kind for event in await pool.fetch(Filter(authors=[key], kinds=kinds))} == kinds


async def test_heartbeat_goes_out_every_240_seconds():
    naps, beats = [], []

    async def nap(seconds):
        naps.append(seconds)
        if len(naps) > 3:
            await asyncio.Event().wait()

    class Ear:
        relays = ("ws://r.example",)

        async def publish(self, event, relays=None, timeout=10):
            beats.append(event)
            return {"ws://r.example": Ok(True, "")}

    profile = Profile("x", (1,), "n", "a")
    herald = Herald(SecretKey.generate(), profile, Ear(), system_clock, pulse=lambda: Pulse("busy", 2), sleep=nap)
    task = asyncio.create_task(herald._beat())
    await until(lambda: len(naps) > 3)
    task.cancel()
    assert all(235 < seconds <= 240 for seconds in naps), naps
    assert len(beats) == 4 and beats[0].tagged("queue") == [("queue", "2")]


async def test_a_relay_that_wants_proof_of_work_gets_it():
    taken = {}

    class Strict:
        relays = ("ws://strict.example",)

        async def publish(self, event, relays=None, timeout=10):
            enough = event.kind != ANNOUNCEMENT or nip13.committed(event) >= 10
            if enough:
                taken[event.kind] = event
            return {"ws://strict.example": Ok(enough, "" if enough else "pow: 10 bits needed")}

    profile = Profile("x", (5050,), "n", "a")
    herald = Herald(SecretKey.generate(), profile, Strict(), system_clock)
    task = asyncio.create_task(herald._announce())
    await until(lambda: set(taken) == {0, 10002, ANNOUNCEMENT})
    task.cancel()
    assert taken[ANNOUNCEMENT].verify() and Announcement.parse(taken[ANNOUNCEMENT]).kinds == (5050,)


async def test_only_one_host_works_on_a_folder(tmp_path, relay):
    async with a_worker("Echo", tmp_path, relay):
        with pytest.raises(AlreadyRunning):
            async with a_worker("Echo", tmp_path, relay):
                pass


async def test_requests_of_a_time_away_are_done_after_it(tmp_path, relay, customer):
    async with a_worker("Echo", tmp_path, relay) as running:
        key = running.key.public
    request = await customer.send(5050, "while you slept", to=key)
    async with a_worker("Echo", tmp_path, relay):
        assert (await customer.hears(request))[-1].content == "while you slept"
        before = len(await customer.everything_about(request))
    async with a_worker("Echo", tmp_path, relay):
        await customer.buys(5050, "awake", to=key)
        assert len(await customer.everything_about(request)) == before


async def test_turns_are_fair_between_customers(tmp_path, relay, customer):
    async with a_worker("Mill", tmp_path, relay) as running:
        first = await customer.send(5100, "first", to=running.key.public, params={"sleep": "1"})
        await customer.hears(first, until=("processing",))
        greedy = [
            await customer.send(5100, f"greedy{n}", to=running.key.public, params={"sleep": "0.2"}) for n in range(4)
        ]
        other = Customer(customer.pool)
        modest = await other.send(5100, "modest", to=running.key.public)
        done = []

        async def note(who, request):
            await who.hears(request)
            done.append(request.id)

        await asyncio.gather(note(other, modest), *(note(customer, request) for request in greedy))
        assert done.index(modest.id) <= 1, "the second customer had to wait for all of the first one's jobs"
        waiting = await customer.everything_about(greedy[3], settle=0)
        assert any("in the queue" in getattr(word, "message", "") for word in waiting)


async def test_one_heavy_job_at_a_time_on_the_box(tmp_path):
    locks = [BoxLock(tmp_path, 1) for _ in range(4)]
    working = most = 0
    order = []

    async def job(number, lock):
        nonlocal working, most
        ticket = await lock.acquire()
        working += 1
        most = max(most, working)
        order.append(number)
        await asyncio.sleep(0.2)
        working -= 1
        ticket.release()

    tasks = []
    for number, lock in enumerate(locks):
        tasks.append(asyncio.create_task(job(number, lock)))
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)
    assert most == 1 and order == [0, 1, 2, 3] and locks[0].waiting() == 0


async def test_a_ticket_of_a_dead_process_is_thrown_away(tmp_path):
    (tmp_path / "00000000000000000001-1.ticket").touch()
    lock = BoxLock(tmp_path, 1)
    async with asyncio.timeout(2):
        (await lock.acquire()).release()


async def test_relays_at_private_addresses_are_not_dialled_on_a_customers_word(tmp_path, relay, customer):
    async with a_relay(tmp_path / "inner") as inner, a_worker("Echo", tmp_path, relay) as running:
        request = await customer.send(5050, "x", to=running.key.public, relays=[inner, "ws://192.168.1.1", relay])
        await customer.hears(request, until=("success",), relays=[relay])
        sale = await running.worker.parts.jobs.get(request.id)
        assert sale.relays == (relay,)
        assert inner not in running.pool.state()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "http://10.0.0.1/x", "http://169.254.169.254/latest/meta-data"]
)
async def test_inputs_at_private_addresses_are_refused(tmp_path, relay, customer, url):
    async with a_worker("Echo", tmp_path, relay) as running:
        word = await customer.buys(5050, to=running.key.public, inputs=[JobInput(url, "url")])
        assert word.status == "error" and "can't be read" in word.message


async def test_inputs_on_our_own_file_server_are_read(tmp_path, relay, customer):
    async with a_worker("Echo", tmp_path, relay) as running:
        blob = await BlossomClient(relay.replace("ws", "http"), running.key).upload(b"words in a file", "text/plain")
        word = await customer.buys(5050, to=running.key.public, inputs=[JobInput(blob.url, "url")])
        assert word.content == "words in a file"


async def test_forged_results_do_not_feed_a_chain(tmp_path, relay, customer):
    async with a_worker("Echo", tmp_path, relay) as running:
        first = await customer.send(5050, "slow", to=running.key.public, params={"sleep": "1"})
        forger = SecretKey.generate()
        await customer.pool.publish(forger.sign(kind=6050, content="forged", tags=[["e", first.id]]))
        second = await customer.send(5050, to=running.key.public, inputs=[JobInput(first.id, "job")])
        assert (await customer.hears(second))[-1].content == "slow"


async def test_service_settings_and_engine_reach_the_child(tmp_path, relay, customer):
    async with a_worker("Settled", tmp_path, relay, own={"word": "a", "engine": "b"}) as running:
        assert (await customer.buys(5050, "x", to=running.key.public)).content == "ab"


async def test_what_a_library_prints_does_not_disturb(tmp_path, relay, customer):
    async with a_worker("Mill", tmp_path, relay) as running:
        assert (await customer.buys(5100, "leak", to=running.key.public)).content.startswith("leak")


async def test_the_engine_process_stays_warm_and_then_gives_its_memory_back(tmp_path, relay, customer):
    async with a_worker("Mill", tmp_path, relay, child_idle=1) as running:
        first = (await customer.buys(5100, "a", to=running.key.public)).content
        second = (await customer.buys(5100, "a", to=running.key.public)).content
        assert first == second, "two jobs in a row share one process"
        await until(lambda: running.worker.parts.engine.pid is None, seconds=5)
        assert (await customer.buys(5100, "a", to=running.key.public)).content != first
