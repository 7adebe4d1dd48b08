"""Backup and restore of a data folder, consistent while the node runs.

Every SQLite file is copied through SQLite's own backup, so each is a committed state. The wallet's ledger comes last:
no job in the archive is newer than the money it refers to, and after a restore every part looks its payments up as it
does after a crash. Files of the blob store are named by their hash and never change. The archive holds the keys: it is
written with mode 0600 and belongs in a safe place.
"""

import hashlib
import io
import os
import sqlite3
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from node.errors import UsageComplaint

MANIFEST = "timmy-backup.json"
SKIP = {"run", "logs"}
DATABASES = {".db", ".sqlite3"}
REBUILT = Path("mint", "env")  # what Nutshell runs in: built anew where it is missing
VERSION = 1


class Manifest(BaseModel):
    """`timmy-backup.json`: every file of the archive by its SHA-256, and when it was made (seconds since 1970)."""

    version: int
    at: int
    files: dict[str, str]


def save(data: Path, target: Path) -> int:
    """Write the archive (tar.gz) and return the number of files in it. The target appears only when it is complete."""
    files: dict[str, str] = {}
    fresh = target.with_name(target.name + ".part")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            tarfile.open(fileobj=file, mode="w:gz", compresslevel=5) as archive,
            tempfile.TemporaryDirectory(dir=data) as scratch,
        ):
            for path in _files(data):
                name = path.relative_to(data).as_posix()
                source = _snapshot(path, Path(scratch) / "copy.db") if path.suffix in DATABASES else path
                try:
                    files[name] = _digest(source)
                    archive.add(source, name)
                except FileNotFoundError:  # an upload or a temporary file that went away meanwhile
                    files.pop(name, None)
            manifest = Manifest(version=VERSION, at=int(time.time()), files=files)
            _add_text(archive, MANIFEST, manifest.model_dump_json())
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return len(files)


def restore(archive_path: Path, data: Path) -> int:
    """Unpack into an empty data folder, checking every hash. Raises UsageComplaint and leaves the folder as it was."""
    if not archive_path.is_file():
        raise UsageComplaint(f"there is no archive {archive_path}")
    if data.exists() and any(data.iterdir()):
        raise UsageComplaint(f"{data} is not empty: restore into a new folder with --data, then compare")
    data.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.parent) as scratch:
        fresh = Path(scratch) / "data"
        fresh.mkdir(mode=0o700)
        try:
            with tarfile.open(archive_path) as archive:
                archive.extractall(fresh, filter="data")
            manifest = Manifest.model_validate_json((fresh / MANIFEST).read_bytes())
        except (tarfile.TarError, OSError, EOFError, zlib.error, ValidationError) as error:
            why = "its list of files is not one of ours" if isinstance(error, ValidationError) else error
            raise UsageComplaint(f"{archive_path} is not a backup of a node, or it is damaged: {why}") from None
        if manifest.version != VERSION:
            raise UsageComplaint(f"{archive_path} was written by another version ({manifest.version})")
        (fresh / MANIFEST).unlink()
        found = {path.relative_to(fresh).as_posix(): path for path in fresh.rglob("*") if path.is_file()}
        for name in sorted(found.keys() | manifest.files.keys()):
            if name not in found or manifest.files.get(name) != _digest(found[name]):
                raise UsageComplaint(f"{archive_path} is damaged: {name} does not match its hash")
        if data.exists():
            data.rmdir()
        fresh.rename(data)
        fresh.mkdir()  # what the temporary folder expects to remove
    return len(manifest.files)


def _files(data: Path) -> Iterator[Path]:
    """All files worth saving; the ledger last."""
    found = [
        path
        for path in sorted(data.rglob("*"))
        if path.is_file()
        and path.relative_to(data).parts[0] not in SKIP
        and not path.relative_to(data).is_relative_to(REBUILT)
        and not path.name.endswith(("-wal", "-shm", ".part", ".new"))
        and not path.relative_to(data).parts[0].startswith("tmp")
    ]
    return iter(sorted(found, key=lambda path: path.name == "ledger.db"))


def _snapshot(path: Path, copy: Path) -> Path:
    copy.unlink(missing_ok=True)
    source = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    target = sqlite3.connect(copy)
    try:
        source.execute("BEGIN")  # one snapshot: without it every write of the running node starts the copy anew
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(target, pages=1000, sleep=0.005)
    finally:
        source.close()
        target.close()
    return copy


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(text.encode())
    info.mode = 0o600
    archive.addfile(info, io.BytesIO(text.encode()))
