"""The tables of the relay's SQLite file, and how values become index keys."""

import hashlib
from string import ascii_letters

_LETTERS = frozenset(ascii_letters)
LONG_VALUE = 96

MIGRATIONS = (
    """
    CREATE TABLE event(
        n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, pubkey BLOB NOT NULL, created_at INTEGER NOT NULL,
        kind INTEGER NOT NULL, expires INTEGER, raw BLOB NOT NULL);
    CREATE INDEX event_time ON event(created_at);
    CREATE INDEX event_kind ON event(kind, created_at);
    CREATE INDEX event_author ON event(pubkey, kind, created_at);
    CREATE INDEX event_expires ON event(expires) WHERE expires IS NOT NULL;
    CREATE TABLE tag(
        key BLOB NOT NULL, created_at INTEGER NOT NULL, event INTEGER NOT NULL, kind INTEGER NOT NULL,
        PRIMARY KEY(key, created_at, event)) WITHOUT ROWID;
    CREATE TABLE latest(
        pubkey BLOB NOT NULL, kind INTEGER NOT NULL, d TEXT NOT NULL, event INTEGER NOT NULL,
        created_at INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY(pubkey, kind, d)) WITHOUT ROWID;
    CREATE TABLE deleted(id BLOB NOT NULL, pubkey BLOB NOT NULL, PRIMARY KEY(id, pubkey)) WITHOUT ROWID;
    CREATE TABLE deleted_address(
        pubkey BLOB NOT NULL, kind INTEGER NOT NULL, d TEXT NOT NULL, until INTEGER NOT NULL,
        PRIMARY KEY(pubkey, kind, d)) WITHOUT ROWID;
    CREATE TABLE vanished(pubkey BLOB PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE fact(
        space TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(space, key)) WITHOUT ROWID;
    CREATE VIRTUAL TABLE search USING fts5(text, content='', tokenize="unicode61 remove_diacritics 2");
    """,
)


def tag_key(letter: str, value: str) -> bytes:
    """Index key of a tag: 32 bytes for hex of 64 digits, a hash for a long value; a marker tells the forms apart."""
    size = len(value)
    if size == 64:
        try:
            digest = bytes.fromhex(value)
        except ValueError:
            digest = b""
        if digest.hex() == value:
            return letter.encode() + b"\x00" + digest
    if size <= LONG_VALUE:
        encoded = value.encode()
        if len(encoded) <= LONG_VALUE:
            return letter.encode() + b"\x01" + encoded
    return letter.encode() + b"\x02" + hashlib.sha256(value.encode()).digest()


def tag_keys(tags: list[list[str]]) -> set[bytes]:
    """The index keys of an event: single-letter tags that have a value."""
    return {tag_key(tag[0], tag[1]) for tag in tags if len(tag) > 1 and tag[0] in _LETTERS}
