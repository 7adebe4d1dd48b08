"""A store that an earlier version wrote: nothing in it is lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

import orjson

from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from relay.filters import parse_filter
from relay.store import Scope, SQLiteStore
from relay.store.schema import MIGRATIONS

KEY = SecretKey(b"\x05" * 32)


def first_version(path: Path, events: list[Event]) -> None:
    """The file as version 1 left it, without its tag table, which is made anew."""
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
        for number, event in enumerate(events, start=1):
            row = (number, bytes.fromhex(event.id), bytes.fromhex(event.pubkey), event.created_at, event.kind)
            conn.execute("INSERT INTO event VALUES(?, ?, ?, ?, ?, NULL, ?)", (*row, event.to_json()))
        conn.commit()


async def test_a_store_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    tags = [["e", "ab" * 32], ["t", 'Žlutý "kůň"'], ["t"], [], ["title", "x"], ["t", "y", "z"], ["t", "y"]]
    events = [KEY.sign(kind=1, content=f"{n}", tags=tags[:n], created_at=1000 + n) for n in range(8)]
    events.append(SecretKey(b"\x06" * 32).sign(kind=7, tags=[["p", KEY.public], ["d", "v" * 200]], created_at=2000))
    first_version(tmp_path / "relay.db", events)
    store = SQLiteStore(tmp_path / "relay.db")
    await store.open(lambda batch, removed: None)
    try:
        for wanted in (
            {},
            {"ids": [events[3].id, events[8].id]},
            {"authors": [KEY.public], "kinds": [1], "since": 1002},
            {"#e": ["ab" * 32], "limit": 3},
            {"#t": ['Žlutý "kůň"', "y"]},
            {"#p": [KEY.public], "#d": ["v" * 200]},
        ):
            want = parse_filter(wanted, 100)
            found = [orjson.loads(raw)["id"] for _, raw in await store.query([want], 100, Scope())]
            matching = [event.id for event in reversed(events) if Filter.from_dict(wanted).matches(event)]
            assert found == matching[: want.limit], wanted
    finally:
        await store.close()
