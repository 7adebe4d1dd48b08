"""The store of sales: compare-and-set, one booking once, fair turns, leases of several replicas."""

import asyncio
import sqlite3

import pytest

from dvms.jobs import SCHEMA, ZAPS, Answer, Booking, Means, NoCredit, Sale, SqliteJobs, State
from nostr.database import Database
from nostr.key import SecretKey
from nostr.outbox import OUTBOX_SCHEMA, Outbox

KEY = SecretKey.generate()
RELAY = "ws://r.example"


@pytest.fixture
async def jobs(tmp_path, clock):
    db = await Database.open(tmp_path / "jobs.db", [OUTBOX_SCHEMA, SCHEMA, ZAPS])
    yield SqliteJobs(db, lambda conn, event, relays: Outbox.put(conn, event, relays), clock)
    await db.close()


def sale(number, customer="c", state=State.HEARD, **more):
    return Sale(f"{number:064x}", customer, 5050, b"{}", state, number, number, **more)


async def test_a_request_is_taken_in_once(jobs):
    assert [await jobs.add(sale(1)), await jobs.add(sale(1))] == [True, False]
    assert (await asyncio.gather(*(jobs.add(sale(2)) for _ in range(20)))).count(True) == 1


async def test_a_move_is_a_compare_and_set(jobs):
    await jobs.add(sale(1))
    results = await asyncio.gather(
        *(jobs.move(sale(1).id, (State.HEARD,), State.PRICED, price_msat=n) for n in range(1, 9))
    )
    assert sum(result is not None for result in results) == 1
    assert await jobs.move(sale(1).id, (State.HEARD,), State.REFUSED) is None
    assert await jobs.move("ff" * 32, (State.HEARD,), State.REFUSED) is None


async def test_a_move_carries_its_answers_and_bookings_or_nothing(jobs):
    await jobs.add(sale(1))
    event = KEY.sign(kind=7000, content="x")
    with pytest.raises(NoCredit):
        await jobs.move(
            sale(1).id, (State.HEARD,), State.PAID, answers=[Answer(event, (RELAY,))], bookings=[Booking("job", -5)]
        )
    assert (await jobs.get(sale(1).id)).state is State.HEARD and await jobs.answers(sale(1).id) == []
    await jobs.move(sale(1).id, (State.HEARD,), State.PAID, answers=[Answer(event, (RELAY,))])
    assert await jobs.answers(sale(1).id) == [event]


async def test_a_booking_happens_once(jobs):
    await jobs.add(sale(1))
    for state in (State.PRICED, State.BILLED):
        await jobs.move(sale(1).id, (State.HEARD, State.PRICED), state, bookings=[Booking("surplus", 700)])
    assert await jobs.credit("c") == 700
    assert (await jobs.usage("c", 10)).credit_msat == 700


async def test_credit_is_never_spent_twice(jobs):
    await jobs.add(sale(1))
    await jobs.move(sale(1).id, (State.HEARD,), State.PRICED, bookings=[Booking("surplus", 1000)])
    for number in range(2, 12):
        await jobs.add(sale(number))

    async def spend(number):
        try:
            await jobs.move(sale(number).id, (State.HEARD,), State.PAID, bookings=[Booking("job", -400)])
        except NoCredit:
            return False
        return True

    assert sum(await asyncio.gather(*(spend(number) for number in range(2, 12)))) == 2
    assert await jobs.credit("c") == 200


async def test_a_payment_hash_belongs_to_one_job(jobs):
    for number in (1, 2):
        await jobs.add(sale(number))
    await jobs.move(sale(1).id, (State.HEARD,), State.BILLED, payment_hash="aa" * 32)
    with pytest.raises(sqlite3.IntegrityError):
        await jobs.move(sale(2).id, (State.HEARD,), State.BILLED, payment_hash="aa" * 32)
    assert (await jobs.by_payment("aa" * 32)).id == sale(1).id


async def test_replicas_never_share_a_job(jobs):
    for number in range(1, 41):
        await jobs.add(sale(number, f"c{number % 7}"))
        await jobs.move(sale(number).id, (State.HEARD,), State.PAID, means=Means.FREE)
    taken = await asyncio.gather(*(jobs.claim(f"replica{n % 4}", 0, 60, limit=3) for n in range(20)))
    ids = [one.id for some in taken for one in some]
    assert len(ids) == len(set(ids)) == 40


async def test_turns_go_round_the_customers(jobs):
    for number in range(1, 7):
        await jobs.add(sale(number, "greedy"))
        await jobs.move(sale(number).id, (State.HEARD,), State.PAID, paid_at=number)
    for number, who in ((10, "b"), (11, "c")):
        await jobs.add(sale(number, who))
        await jobs.move(sale(number).id, (State.HEARD,), State.PAID, paid_at=number)
    order = [(await jobs.claim("me", 0, 60))[0].customer for _ in range(8)]
    assert order[:3].count("greedy") == 1 and set(order[:3]) == {"greedy", "b", "c"}
    assert [one.customer for one in await jobs.waiting()] == []


async def test_a_dead_replicas_job_goes_to_another_one(jobs, clock):
    await jobs.add(sale(1))
    await jobs.move(sale(1).id, (State.HEARD,), State.PAID)
    await jobs.claim("a", 100, 60)
    assert await jobs.recover(159, None) == 0
    await jobs.renew("a", 200)
    assert await jobs.recover(199, None) == 0 and await jobs.recover(201, None) == 1
    assert (await jobs.claim("b", 201, 60))[0].attempts == 2
    await jobs.hand_back("b")
    assert (await jobs.get(sale(1).id)).attempts == 1
    await jobs.claim("c", 201, 60)
    assert await jobs.recover(0, {"c"}) == 1


async def test_due_jobs_and_usage(jobs, clock):
    for number in range(1, 5):
        await jobs.add(sale(number, due_at=number * 10))
    assert [one.id for one in await jobs.due(20)] == [sale(1).id, sale(2).id]
    await jobs.move(sale(1).id, (State.HEARD,), State.PAID, means=Means.QUOTA)
    usage = await jobs.usage("c", 5, sale(1).id)
    assert (usage.open_jobs, usage.queued_all, usage.unpaid_all, usage.free_today, usage.known) == (4, 1, 3, 1, True)
    assert (await jobs.usage("other", 5, "ff" * 32)).known is False


async def test_old_jobs_are_forgotten_unless_money_is_open(jobs, clock):
    ends = (State.DELIVERED, State.REFUSED, State.REFUNDED, State.FAILED, State.HEARD)
    for number, state in enumerate(ends, start=1):
        await jobs.add(sale(number))
        event = KEY.sign(kind=7000, content=str(number))
        await jobs.move(sale(number).id, (State.HEARD,), state, answers=[Answer(event, (RELAY,))])
    assert await jobs.prune(clock()) == 0
    assert await jobs.prune(clock() + 1) == 2
    assert await jobs.get(sale(1).id) is None and await jobs.answers(sale(1).id) == []
    assert (await jobs.get(sale(3).id)).state is State.REFUNDED
