"""The tables of the relay's SQLite file, and how values become index keys."""

import hashlib
from binascii import b2a_base64
from string import ascii_letters

_LETTERS = frozenset(ascii_letters)

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
    # Short keys in the indexes. `short` and `tag_key` are the functions below.
    """
    ALTER TABLE event RENAME TO wide;
    CREATE TABLE event(
        n INTEGER PRIMARY KEY, id TEXT NOT NULL, author TEXT NOT NULL, created_at INTEGER NOT NULL,
        kind INTEGER NOT NULL, expires INTEGER, raw BLOB NOT NULL);
    INSERT INTO event SELECT n, short(id), short(pubkey), created_at, kind, expires, raw FROM wide ORDER BY n;
    DROP TABLE wide;
    CREATE UNIQUE INDEX event_id ON event(id);
    CREATE INDEX event_time ON event(created_at);
    CREATE INDEX event_kind ON event(kind, created_at);
    CREATE INDEX event_author ON event(author, kind, created_at);
    CREATE INDEX event_expires ON event(expires) WHERE expires IS NOT NULL;
    DROP TABLE tag;
    CREATE TABLE tag(
        key TEXT NOT NULL, created_at INTEGER NOT NULL, event INTEGER NOT NULL, kind INTEGER NOT NULL,
        PRIMARY KEY(key, created_at, event)) WITHOUT ROWID;
    INSERT OR IGNORE INTO tag
        SELECT tag_key(json_extract(t.value, '$[0]'), json_extract(t.value, '$[1]')), e.created_at, e.n, e.kind
        FROM event e, json_each(CAST(e.raw AS TEXT), '$.tags') t
        WHERE json_extract(t.value, '$[0]') GLOB '[A-Za-z]' AND json_array_length(t.value) > 1;
    """,
)


def short(digest: bytes) -> str:
    """Index key of an event id or public key: 96 of its bits as text.

    SQLite compares text faster than blobs, and twice as many fit on a page. Nobody can make an event or a key that
    collides with another's; whoever spends 2^48 hashes on two of his own has two that count as one.
    """
    return b2a_base64(digest[:12], newline=False).decode()


def short_hex(digest: str) -> str:
    """`short` of 64 hex digits."""
    return short(bytes.fromhex(digest))


def tag_key(letter: str, value: str) -> str:
    """Index key of a tag: 96 bits of a hash."""
    return short(hashlib.blake2b((letter + value).encode(), digest_size=12).digest())


def tag_keys(tags: list[list[str]]) -> set[str]:
    """The index keys of an event: single-letter tags that have a value."""
    return {tag_key(tag[0], tag[1]) for tag in tags if len(tag) > 1 and tag[0] in _LETTERS}
