"""Files by hash on disk, and who stored them.

A file is written beside its place, synced, renamed, and only then entered in `blobs.db`: what is entered is whole. A
file may have several owners; it goes when the last one deletes it. What a crash leaves behind (parts, files without
an owner) is swept at the next start.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nostr.clock import Clock
from nostr.database import Database
from nostr.sniff import sniff
from relay.errors import RelayError

MIGRATIONS = (
    """
    CREATE TABLE blob(
        sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, mime TEXT NOT NULL, uploaded INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE owner(
        pubkey TEXT NOT NULL, sha256 TEXT NOT NULL REFERENCES blob(sha256) ON DELETE CASCADE,
        uploaded INTEGER NOT NULL, PRIMARY KEY(pubkey, sha256)) WITHOUT ROWID;
    CREATE INDEX owner_blob ON owner(sha256);
    CREATE INDEX owner_time ON owner(pubkey, uploaded);
    """,
)
_HEAD = 4096  # bytes the type is read from
_PART = ".part-"
VAGUE = frozenset({"application/octet-stream", "text/plain", "application/zip"})
ACTIVE = frozenset({"text/html", "image/svg+xml", "text/xml", "application/xml", "application/xhtml+xml"})


class TooLarge(RelayError):
    """The file is longer than allowed."""


class OverQuota(RelayError):
    """The key would store more than its quota."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One file. `size` in bytes, `uploaded` in seconds."""

    sha256: str
    size: int
    mime: str
    uploaded: int


@dataclass(frozen=True, slots=True)
class Part:
    """A file that has come in whole and has not been given its place yet."""

    path: Path
    sha256: str
    size: int
    mime: str


class BlobStore:
    """Use `await BlobStore.open(...)`."""

    def __init__(self, folder: Path, db: Database, clock: Clock) -> None:
        self.folder, self._db, self._clock = folder, db, clock
        self._places = asyncio.Lock()  # placing and removing files are never interleaved

    @classmethod
    async def open(cls, folder: Path, clock: Clock) -> "BlobStore":
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        store = cls(folder, await Database.open(folder.with_suffix(".db"), MIGRATIONS), clock)
        known = {row["sha256"] for row in await store._db.fetch("SELECT sha256 FROM blob")}
        await asyncio.to_thread(_sweep, folder, known)
        return store

    async def close(self) -> None:
        await self._db.close()

    def path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256

    async def find(self, sha256: str) -> Stored | None:
        row = await self._db.fetch_one("SELECT sha256, size, mime, uploaded FROM blob WHERE sha256 = ?", (sha256,))
        return Stored(*row) if row else None

    async def owned(self, pubkey: str, limit: int, cursor: str | None, since: int, until: int) -> list[Stored]:
        """Newest first. `cursor` is the last hash of the page before."""
        rows = await self._db.fetch(
            "SELECT b.sha256, b.size, b.mime, o.uploaded FROM owner o JOIN blob b USING(sha256)"
            " WHERE o.pubkey = :key AND o.uploaded BETWEEN :since AND :until AND (:cursor IS NULL OR"
            " (o.uploaded, o.sha256) < (SELECT uploaded, sha256 FROM owner WHERE pubkey = :key AND sha256 = :cursor))"
            " ORDER BY o.uploaded DESC, o.sha256 DESC LIMIT :limit",
            {"key": pubkey, "since": since, "until": until, "cursor": cursor, "limit": limit},
        )
        return [Stored(*row) for row in rows]

    async def used(self, pubkey: str) -> int:
        """Bytes this key stores."""
        row = await self._db.fetch_one(
            "SELECT coalesce(sum(size), 0) FROM owner JOIN blob USING(sha256) WHERE pubkey = ?", (pubkey,)
        )
        return int(row[0]) if row else 0

    async def totals(self) -> tuple[int, int]:
        """(files, bytes)"""
        row = await self._db.fetch_one("SELECT count(*), coalesce(sum(size), 0) FROM blob")
        return (int(row[0]), int(row[1])) if row else (0, 0)

    async def receive(self, chunks: AsyncIterator[bytes], most: int, declared: str) -> Part:
        """Write a stream beside its place. Raises TooLarge, OSError (a full disk), and whatever the stream raises."""
        digest, size, head = hashlib.sha256(), 0, b""
        handle, name = await asyncio.to_thread(tempfile.mkstemp, prefix=_PART, dir=self.folder)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > most:
                        raise TooLarge(f"the file is longer than {most} bytes")
                    if len(head) < _HEAD:
                        head += chunk[: _HEAD - len(head)]
                    await asyncio.to_thread(_write, file, digest, chunk)
                await asyncio.to_thread(_sync, file)
        except BaseException:
            _forget(path)
            raise
        return Part(path, digest.hexdigest(), size, kind_of(head, declared))

    def scratch(self) -> Path:
        """The name of a folder for one download; the next start removes it if the caller does not."""
        return self.folder / f"{_PART}{secrets.token_hex(8)}"

    async def adopt(self, part: Part, pubkey: str, quota: int | None) -> tuple[Stored, bool]:
        """Give a part its place and an owner: (file, True if it is new here). Raises OverQuota, OSError."""
        now = self._clock()

        def enter(conn: sqlite3.Connection) -> bool:
            new = conn.execute(
                "INSERT OR IGNORE INTO blob VALUES (?, ?, ?, ?)", (part.sha256, part.size, part.mime, now)
            ).rowcount
            conn.execute("INSERT OR IGNORE INTO owner VALUES (?, ?, ?)", (pubkey, part.sha256, now))
            used = conn.execute(
                "SELECT coalesce(sum(size), 0) FROM owner JOIN blob USING(sha256) WHERE pubkey = ?", (pubkey,)
            ).fetchone()[0]
            if quota is not None and used > quota:
                raise OverQuota(f"this key may store {quota} bytes, with this file it would be {used}")
            return bool(new)

        try:
            async with self._places:
                place = self.path(part.sha256)
                known = await self.find(part.sha256)
                if known is None:
                    await asyncio.to_thread(_place, part.path, place)
                try:
                    new = await self._db.write(enter)
                except BaseException:
                    if known is None:
                        place.unlink(missing_ok=True)
                    raise
        finally:
            part.path.unlink(missing_ok=True)
        return known or Stored(part.sha256, part.size, part.mime, now), new

    async def disown(self, sha256: str, pubkey: str | None) -> bool:
        """Take away one owner (None: all); the last one takes the file along. False if it was not theirs."""

        def leave(conn: sqlite3.Connection) -> tuple[bool, bool]:
            if pubkey is None:
                gone = conn.execute("DELETE FROM owner WHERE sha256 = ?", (sha256,)).rowcount
            else:
                gone = conn.execute("DELETE FROM owner WHERE sha256 = ? AND pubkey = ?", (sha256, pubkey)).rowcount
            left = conn.execute("SELECT 1 FROM owner WHERE sha256 = ?", (sha256,)).fetchone()
            if gone and left is None:
                conn.execute("DELETE FROM blob WHERE sha256 = ?", (sha256,))
            return bool(gone), left is None

        async with self._places:
            gone, last = await self._db.write(leave)
            if gone and last:
                await asyncio.to_thread(self.path(sha256).unlink, missing_ok=True)
        return gone

    async def expire(self, before: int, whose: Callable[[str], bool]) -> int:
        """Take away the owners that `whose` names and that uploaded before then. Returns how many."""
        rows = await self._db.fetch("SELECT sha256, pubkey FROM owner WHERE uploaded < ?", (before,))
        old = [(row["sha256"], row["pubkey"]) for row in rows if whose(row["pubkey"])]
        for sha256, pubkey in old:
            await self.disown(sha256, pubkey)
        return len(old)


def kind_of(head: bytes, declared: str) -> str:
    """The MIME type: what the bytes say; what the client says only where they say nothing and it is harmless."""
    seen, said = sniff(head), declared.partition(";")[0].strip().lower()
    kind, _, name = said.partition("/")
    if {kind, seen.partition("/")[0]} == {"audio", "video"} and name == seen.partition("/")[2]:
        return said  # one container for sound and pictures: the first bytes do not tell
    usable = bool(kind and name) and said.isascii() and len(said) < 100 and said.replace("/", "").isprintable()
    harmless = said not in ACTIVE and "script" not in said and "html" not in said and not said.endswith("xml")
    textual = kind == "text" or said.endswith("json")
    if seen in VAGUE and usable and harmless and (seen != "text/plain" or textual):
        return said
    return seen


def _sweep(folder: Path, known: set[str]) -> None:
    for path in folder.glob(f"{_PART}*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in folder.glob("??/*"):
        if path.name not in known:
            path.unlink(missing_ok=True)


def _write(file: BinaryIO, digest: "hashlib._Hash", chunk: bytes) -> None:
    digest.update(chunk)
    file.write(chunk)


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _place(part: Path, place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    part.chmod(0o640)
    part.replace(place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
