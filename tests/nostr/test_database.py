import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nostr.database import Database, DatabaseClosed, DatabaseTooNew

SCHEMA = "CREATE TABLE t(x INTEGER PRIMARY KEY) STRICT;"


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    db = await Database.open(tmp_path / "x.db", [SCHEMA])
    yield db
    await db.close()


def insert(x: int) -> object:
    return lambda conn: conn.execute("INSERT INTO t VALUES (?)", (x,)).lastrowid


async def test_writes_share_commits_and_fail_alone(db: Database) -> None:
    results = await asyncio.gather(*(db.write(insert(n % 90)) for n in range(100)), return_exceptions=True)
    assert sum(isinstance(r, sqlite3.IntegrityError) for r in results) == 10
    assert [row["x"] for row in await db.fetch("SELECT x FROM t ORDER BY x")] == list(range(90))
    assert (await db.fetch_one("SELECT count(*) FROM t"))[0] == 90


async def test_readers_cannot_write_and_the_file_is_private(db: Database) -> None:
    with pytest.raises(sqlite3.OperationalError):
        await db.fetch("INSERT INTO t VALUES (1)")
    assert db.path.stat().st_mode & 0o077 == 0


async def test_migrations_run_once_and_never_backwards(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    for steps in ([SCHEMA], [SCHEMA, "INSERT INTO t VALUES (7);"], [SCHEMA, "INSERT INTO t VALUES (7);"]):
        db = await Database.open(path, steps)
        await db.close()
    db = await Database.open(path, [SCHEMA, "INSERT INTO t VALUES (7);"])
    assert len(await db.fetch("SELECT * FROM t")) == 1
    await db.close()
    with pytest.raises(DatabaseTooNew):
        await Database.open(path, [SCHEMA])


async def test_processes_that_make_a_file_at_once_make_it_once(tmp_path: Path) -> None:
    steps = [SCHEMA, "INSERT INTO t VALUES (7);", "CREATE TRIGGER g BEFORE DELETE ON t BEGIN SELECT 1; SELECT 2; END;"]
    code = f"""
import asyncio, sys
from nostr.database import Database

async def main():
    for n in range(10):
        sys.stdin.readline()
        db = await Database.open(f"{{sys.argv[1]}}/{{n}}.db", {steps!r})
        await db.write(lambda conn: conn.execute("SELECT 1"))
        await db.close()
        print("fine", flush=True)

asyncio.run(main())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipe = asyncio.subprocess.PIPE
    crowd = [await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe) for _ in range(4)]
    for _ in range(10):
        for process in crowd:
            process.stdin.write(b"go\n")
        assert {await process.stdout.readline() for process in crowd} == {b"fine\n"}
    assert [await process.wait() for process in crowd] == [0] * 4


async def test_a_failing_migration_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        await Database.open(tmp_path / "m.db", [SCHEMA, "CREATE TABLE u(x); INSERT INTO missing VALUES (1);"])
    db = await Database.open(tmp_path / "m.db", [SCHEMA])
    assert [row[0] for row in await db.fetch("SELECT name FROM sqlite_master WHERE type='table'")] == ["t"]
    await db.close()


async def test_closed_is_said(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "x.db", [SCHEMA])
    await db.close()
    with pytest.raises(DatabaseClosed):
        await db.write(insert(1))


KILLED = """
import asyncio, os, sys
from pathlib import Path
from nostr.database import Database
async def main():
    db = await Database.open(Path(sys.argv[1]), ["CREATE TABLE t(x INTEGER PRIMARY KEY) STRICT;"])
    for n in range(10_000):
        await db.write(lambda conn: conn.execute("INSERT INTO t VALUES (?)", (n,)))
        print(n, flush=True)
asyncio.run(main())
"""


async def test_what_write_returned_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(path), stdout=subprocess.PIPE)
    told = b""
    while told.count(b"\n") < 50:
        told += await process.stdout.read(64)
    process.kill()
    told += await process.stdout.read()
    await process.wait()
    last = told.count(b"\n") - 1
    db = await Database.open(path, [SCHEMA])
    kept = [row[0] for row in await db.fetch("SELECT x FROM t ORDER BY x")]
    assert kept[: last + 1] == list(range(last + 1)) and len(kept) <= last + 2
    await db.close()
