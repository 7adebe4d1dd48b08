"""Backup and restore: consistent while somebody writes, and nothing is restored from a damaged archive."""

import asyncio
import gzip
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from node import backup
from node.errors import UsageComplaint
from nostr.database import Database


async def test_a_backup_taken_under_load_restores_to_a_committed_state(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "keys").mkdir(parents=True)
    (data / "keys" / "owner.key").write_text("ab" * 32)
    (data / "run").mkdir()
    (data / "run" / "relay.url").write_text("ws://x")
    db = await Database.open(data / "wallet" / "ledger.db", ["CREATE TABLE pair (a INT, b INT)"])
    stop = asyncio.Event()

    async def load() -> int:
        done = 0
        while not stop.is_set():
            await db.write(lambda conn, n=done: conn.executemany("INSERT INTO pair VALUES (?, ?)", [(n, 1), (n, -1)]))
            done += 1
        return done

    writer = asyncio.create_task(load())
    await asyncio.sleep(0.2)
    archive = tmp_path / "backup.tar.gz"
    await asyncio.to_thread(backup.save, data, archive)
    stop.set()
    assert await writer > 0
    await db.close()
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600

    restored = tmp_path / "restored"
    backup.restore(archive, restored)
    with sqlite3.connect(restored / "wallet" / "ledger.db") as conn:
        count, total = conn.execute("SELECT count(*), sum(b) FROM pair").fetchone()
    assert count > 0
    assert total == 0
    assert (restored / "keys" / "owner.key").read_text() == "ab" * 32
    assert not (restored / "run").exists()


def test_a_backup_of_a_large_busy_database_ends(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "relay").mkdir(parents=True)
    path = data / "relay" / "relay.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("CREATE TABLE t (a)")
        conn.execute("INSERT INTO t VALUES (zeroblob(40000000))")
    busy = (
        "import sqlite3, sys, time\nconn = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "while True:\n    conn.execute('INSERT INTO t VALUES (1)')\n    time.sleep(0.002)"
    )
    writer = subprocess.Popen([sys.executable, "-c", busy, str(path)])
    try:
        saving = threading.Thread(target=backup.save, args=(data, tmp_path / "backup.tar.gz"), daemon=True)
        saving.start()
        saving.join(20)
        assert not saving.is_alive()
    finally:
        writer.kill()
        writer.wait()
        saving.join()
    assert backup.restore(tmp_path / "backup.tar.gz", tmp_path / "restored") == 1


def test_a_damaged_archive_changes_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "timmy.toml").write_text("[node]\n")
    archive = tmp_path / "backup.tar.gz"
    backup.save(data, archive)
    raw = gzip.decompress(archive.read_bytes()).replace(b"[node]", b"[n0de]")
    archive.write_bytes(gzip.compress(raw))
    with pytest.raises(UsageComplaint, match="does not match its hash"):
        backup.restore(archive, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    archive.write_bytes(gzip.compress(raw)[:60])
    with pytest.raises(UsageComplaint, match="not a backup"):
        backup.restore(archive, tmp_path / "new")
    archive.write_bytes(b"not an archive")
    with pytest.raises(UsageComplaint, match="not a backup"):
        backup.restore(archive, tmp_path / "new")
    with pytest.raises(UsageComplaint, match="no archive"):
        backup.restore(tmp_path / "nowhere", tmp_path / "new")


@pytest.mark.parametrize("manifest", ['{"made": "by another program"}', "[]", '{"version": 1, "at": 0, "files": {}}'])
def test_a_foreign_archive_changes_nothing(tmp_path: Path, manifest: str) -> None:
    (tmp_path / backup.MANIFEST).write_text(manifest)
    (tmp_path / "unlisted").write_text("what nobody has checked")
    with tarfile.open(tmp_path / "foreign.tar.gz", "w:gz") as archive:
        for name in (backup.MANIFEST, "unlisted"):
            archive.add(tmp_path / name, name)
    with pytest.raises(UsageComplaint, match=r"not a backup|unlisted does not match"):
        backup.restore(tmp_path / "foreign.tar.gz", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_restore_never_overwrites(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "timmy.toml").write_text("[node]\n")
    archive = tmp_path / "backup.tar.gz"
    backup.save(data, archive)
    with pytest.raises(UsageComplaint, match="not empty"):
        backup.restore(archive, data)
