import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from nostr import Event, SecretKey
from nostr.database import Database
from nostr.outbox import OUTBOX_SCHEMA, Outbox
from nostr.pool import Pool
from tests.fakes import FakeClock
from tests.nostr.small_relay import SmallRelay

KEY = SecretKey.generate()
NOW = 1_800_000_000


def note(text: str, kind: int = 1, tags: list[list[str]] | None = None) -> Event:
    return KEY.sign(kind=kind, content=text, tags=tags or [], created_at=NOW)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    db = await Database.open(tmp_path / "x.db", [OUTBOX_SCHEMA])
    yield db
    await db.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 (the state lies in a file)
            await asyncio.sleep(0.02)


async def put(db: Database, outbox: Outbox, event: Event, *relays: str) -> None:
    await db.write(lambda conn: Outbox.put(conn, event, relays))
    outbox.wake()


async def state(outbox: Outbox, event: Event) -> dict[str, str]:
    return {d.relay: d.state for d in await outbox.status(event.id)}


async def test_events_go_out_in_order_to_every_relay(db: Database, clock: FakeClock) -> None:
    async with SmallRelay() as a, SmallRelay() as b, Pool([a.url, b.url]) as pool:
        outbox = Outbox(db, pool, clock)
        outbox.start()
        events = [note(str(n)) for n in range(100)]
        await db.write(lambda conn: [Outbox.put(conn, event, [a.url, b.url + "/", "nonsense"]) for event in events])
        outbox.wake()
        await until(lambda: _none_waits(outbox))
        assert a.events == events and b.events == events
        assert await state(outbox, events[0]) == {a.url: "sent", b.url: "sent"}
        await outbox.close()


async def _none_waits(outbox: Outbox) -> bool:
    return await outbox.waiting() == 0


async def test_a_relay_that_is_away_gets_its_events_when_it_is_back(db: Database, clock: FakeClock) -> None:
    away = await SmallRelay().start()
    await away.stop()
    async with Pool([away.url]) as pool:
        outbox = Outbox(db, pool, clock)
        outbox.start()
        event = note("x")
        await put(db, outbox, event, away.url)
        await asyncio.sleep(0.3)
        assert await outbox.waiting() == 1
        async with away:
            await until(lambda: _none_waits(outbox))
            assert away.events == [event]
        await outbox.close()


async def test_a_refusal_ends_it_and_keeps_the_reason(db: Database, clock: FakeClock) -> None:
    async with SmallRelay(refusal="blocked: not here") as relay, Pool([relay.url]) as pool:
        outbox = Outbox(db, pool, clock)
        outbox.start()
        event = note("x")
        await put(db, outbox, event, relay.url)
        await until(lambda: _none_waits(outbox))
        (delivery,) = await outbox.status(event.id)
        assert (delivery.state, delivery.reason, delivery.tries) == ("refused", "blocked: not here", 1)
        await outbox.close()


async def test_a_passing_refusal_is_tried_again_later(db: Database, clock: FakeClock) -> None:
    async with SmallRelay(refusal="rate-limited: slowly") as relay, Pool([relay.url]) as pool:
        outbox = Outbox(db, pool, clock)
        outbox.start()
        event = note("x")
        await put(db, outbox, event, relay.url)

        async def tried() -> bool:
            return (await outbox.status(event.id))[0].tries == 1

        await until(tried)
        relay.refusal = ""
        outbox.wake()
        await asyncio.sleep(0.1)
        assert await outbox.waiting() == 1, "too early"
        clock.turn(3)
        outbox.wake()
        await until(lambda: _none_waits(outbox))
        assert relay.events == [event]
        await outbox.close()


@pytest.mark.parametrize(
    ("event", "turn"),
    [
        (note("old"), 8 * 86400),
        (note("wallet", kind=23194), 121),
        (note("expired", tags=[["expiration", str(NOW + 10)]]), 11),
    ],
)
async def test_what_makes_no_sense_any_more_is_given_up(
    db: Database, clock: FakeClock, event: Event, turn: int
) -> None:
    async with SmallRelay(refusal="error: disk full") as relay, Pool([relay.url]) as pool:
        clock.turn(turn)
        outbox = Outbox(db, pool, clock)
        outbox.start()
        await put(db, outbox, event, relay.url)
        await until(lambda: _none_waits(outbox))
        assert await state(outbox, event) == {relay.url: "given-up"}
        await outbox.close()


async def test_rolled_back_work_sends_nothing(db: Database, clock: FakeClock) -> None:
    async with SmallRelay() as relay, Pool([relay.url]) as pool:
        outbox = Outbox(db, pool, clock)
        outbox.start()

        def fails(conn: object) -> None:
            Outbox.put(conn, note("never"), [relay.url])  # type: ignore[arg-type]
            raise LookupError

        with pytest.raises(LookupError):
            await db.write(fails)
        await put(db, outbox, note("ever"), relay.url)
        await until(lambda: _none_waits(outbox))
        assert [e.content for e in relay.events] == ["ever"]
        await outbox.close()


async def test_finished_rows_are_cleared_away_after_a_day(db: Database, clock: FakeClock) -> None:
    async with SmallRelay() as relay, Pool([relay.url]) as pool:
        outbox = Outbox(db, pool, clock)
        outbox.start()
        event = note("x")
        await put(db, outbox, event, relay.url)
        await until(lambda: _none_waits(outbox))
        clock.turn(2 * 86400)
        outbox.wake()

        async def gone() -> bool:
            return not await outbox.status(event.id)

        await until(gone)
        await outbox.close()


KILLED = """
import asyncio, os, sys
from pathlib import Path
from nostr import Event
from nostr.database import Database
from nostr.outbox import OUTBOX_SCHEMA, Outbox
async def main():
    db = await Database.open(Path(sys.argv[1]), [OUTBOX_SCHEMA])
    event = Event.from_json(sys.argv[2])
    await db.write(lambda conn: Outbox.put(conn, event, [sys.argv[3]]))
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


async def test_kill_between_commit_and_sending_loses_nothing(tmp_path: Path, clock: FakeClock) -> None:
    event = note("x")
    async with SmallRelay() as relay:
        command = [sys.executable, "-c", KILLED, str(tmp_path / "x.db"), event.to_json().decode(), relay.url]
        died = await asyncio.to_thread(subprocess.run, command, check=False)
        assert died.returncode == -9 and relay.events == []
        db = await Database.open(tmp_path / "x.db", [OUTBOX_SCHEMA])
        async with Pool([]) as pool:
            outbox = Outbox(db, pool, clock)
            outbox.start()
            await until(lambda: _none_waits(outbox))
            assert relay.events == [event]
            await outbox.close()
        await db.close()
