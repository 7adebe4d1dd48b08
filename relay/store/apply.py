"""What a batch of verified events does to the database: the rules of NIP-01, NIP-09, NIP-40 and NIP-62.

Runs on the writer thread inside one transaction. In-memory state changes in `committed` only, so a rolled back batch
leaves nothing behind.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson

from nostr.event import is_addressable
from relay.record import Record
from relay.store.interface import Removed
from relay.store.plan import keeps_one
from relay.store.schema import short, tag_key, tag_keys

DELETION, VANISH = 5, 62
DUPLICATE = "duplicate: already have this event"
T = TypeVar("T")
WRAPS = frozenset({1059, 21059})  # signed by a throw-away key: their receiver stands in for the author (NIP-59)
_SIZES = (64, 16, 4, 1)  # rows of one INSERT: few distinct statements, so that all stay in the cache
_HEX = frozenset("0123456789abcdef")


class Applier:
    """Applies batches to one connection. `hosts` tells the names under which this relay answers NIP-62."""

    def __init__(
        self, conn: sqlite3.Connection, searchable: Collection[int], hosts: Callable[[], Collection[str]]
    ) -> None:
        self.conn = conn
        self.searchable = frozenset(searchable)
        self.hosts = hosts
        row = conn.execute("SELECT value FROM fact WHERE space = 'store' AND key = 'indexed'").fetchone()
        self.indexed = int(row[0]) if row else 0
        highest: int | None = conn.execute("SELECT max(n) FROM event").fetchone()[0]
        self.assigned = max(highest or 0, self.indexed)
        self.vanished: dict[bytes, int] = dict(conn.execute("SELECT pubkey, until FROM vanished"))
        self.next_expiry: int | None = conn.execute(
            "SELECT min(expires) FROM event WHERE expires IS NOT NULL"
        ).fetchone()[0]
        self._gone: dict[bytes, set[bytes]] = {}  # id -> who deleted it, of the running batch
        self._tombstones: bool = conn.execute("SELECT EXISTS(SELECT 1 FROM deleted)").fetchone()[0] == 1
        self._leaving: dict[bytes, int] = {}
        self._fresh: list[Record] = []
        self._removed: list[Removed] = []

    def apply(self, batch: Sequence[Record]) -> list[Removed]:
        """Store what may be stored and fill in every record's answer. Returns what had to go."""
        self._fresh, self._removed, self._leaving = [], [], {}
        self._gone = self._deleters([record.digest for record in batch]) if self._tombstones else {}
        for record in batch:
            refusal = self._blocked(record) or self._act(record)
            record.number, record.message = 0, refusal
            record.accepted = not refusal or refusal is DUPLICATE
            if not refusal:
                self.assigned += 1
                record.number = self.assigned
                self._fresh.append(record)
        self._flush()
        return self._removed

    def _act(self, record: Record) -> str:
        """What an event of a special kind does to others; a reason where it is not to be stored itself."""
        kind = record.kind
        if kind not in (DELETION, VANISH) and not keeps_one(kind):
            return ""
        self._flush()
        if self.conn.execute("SELECT 1 FROM event WHERE id = ?", (short(record.digest),)).fetchone():
            return DUPLICATE
        if kind == DELETION:
            return self._delete(record)
        return self._vanish(record) if kind == VANISH else self._replace(record)

    def committed(self) -> None:
        """The transaction is durable."""
        self.vanished.update(self._leaving)
        self._leaving = {}

    def _deleters(self, digests: list[bytes]) -> dict[bytes, set[bytes]]:
        """Which of these ids were deleted, and by whom."""
        found: dict[bytes, set[bytes]] = {}
        for part in _runs(digests):
            rows = self.conn.execute(f"SELECT id, pubkey FROM deleted WHERE id IN ({','.join('?' * len(part))})", part)
            for ident, pubkey in rows:
                found.setdefault(ident, set()).add(pubkey)
        return found

    def _blocked(self, record: Record) -> str:
        deleters = self._gone.get(record.digest) if self._gone and record.kind != DELETION else None
        if deleters and (record.author in deleters or not deleters.isdisjoint(_receivers(record))):
            return "blocked: this event was deleted by its author"
        if self.vanished or self._leaving:
            for key in (record.author, *_receivers(record)):
                until = max(self.vanished.get(key, -1), self._leaving.get(key, -1))
                if record.created_at <= until:
                    return "blocked: its author has asked to vanish"
        return ""

    def _flush(self) -> None:
        """Insert what was accepted. An id that is there already shows in the number of rows: then look which."""
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return
        rows = [(r.number, short(r.digest), short(r.author), r.created_at, r.kind, r.expires, r.raw) for r in fresh]
        if self._insert("OR IGNORE INTO event(n, id, author, created_at, kind, expires, raw)", rows) < len(rows):
            span = (fresh[0].number, fresh[-1].number)
            stored = {row[0] for row in self.conn.execute("SELECT n FROM event WHERE n BETWEEN ? AND ?", span)}
            for record in fresh:
                if record.number not in stored:
                    record.number, record.message = 0, DUPLICATE
            fresh = [record for record in fresh if record.number]
        tags = [(key, r.created_at, r.number, r.kind) for r in fresh for key in tag_keys(r.tags)]
        self._insert("INTO tag(key, created_at, event, kind)", tags)
        expiries = [r.expires for r in fresh if r.expires is not None]
        if expiries:
            self.next_expiry = min(expiries if self.next_expiry is None else [*expiries, self.next_expiry])

    def _insert(self, into: str, rows: list[tuple[Any, ...]]) -> int:
        """Many rows a statement: SQLite runs through them without Python's lock. Returns how many went in."""
        done = 0
        for part in _runs(rows):
            marks = f"({','.join('?' * len(part[0]))})"
            sql = f"INSERT {into} VALUES{','.join([marks] * len(part))}"
            done += self.conn.execute(sql, list(chain.from_iterable(part))).rowcount
        return done

    def _replace(self, record: Record) -> str:
        """Make room for a newer version; a reason where this one is not newer."""
        pubkey = record.author
        d = record.d if is_addressable(record.kind) else ""
        address = (pubkey, record.kind, d)
        row = self.conn.execute(
            "SELECT until FROM deleted_address WHERE pubkey = ? AND kind = ? AND d = ?", address
        ).fetchone()
        if row is not None and record.created_at <= row[0]:
            return "blocked: this address was deleted by its author"
        row = self.conn.execute(
            "SELECT event, created_at, id FROM latest WHERE pubkey = ? AND kind = ? AND d = ?", address
        ).fetchone()
        if row is not None:
            number, created_at, ident = row
            if (record.created_at, ident) < (created_at, record.digest):
                return "duplicate: a newer version of this event is stored"
            self.remove([number])
        self.conn.execute(
            "INSERT INTO latest(pubkey, kind, d, event, created_at, id) VALUES(?, ?, ?, ?, ?, ?)",
            (*address, self.assigned + 1, record.created_at, record.digest),
        )
        return ""

    def _delete(self, record: Record) -> str:
        """NIP-09: own events by id, own addresses up to this second. A deletion of a deletion has no effect."""
        pubkey = record.author
        for value in record.values("e"):
            if len(value) != 64 or not _HEX.issuperset(value):
                continue
            ident = bytes.fromhex(value)
            row = self.conn.execute("SELECT n, kind, raw FROM event WHERE id = ?", (short(ident),)).fetchone()
            if row is not None:
                number, kind, event = row[0], row[1], orjson.loads(row[2])
                if kind in (DELETION, VANISH):
                    continue
                if event["pubkey"] != record.pubkey and not (kind in WRAPS and record.pubkey in _p_tags(event["tags"])):
                    continue
                self.remove([number])
            self.conn.execute("INSERT OR IGNORE INTO deleted(id, pubkey) VALUES(?, ?)", (ident, pubkey))
            self._gone.setdefault(ident, set()).add(pubkey)
            self._tombstones = True
        for value in record.values("a"):
            kind_text, _, rest = value.partition(":")
            owner_hex, _, d = rest.partition(":")
            if owner_hex != record.pubkey or not kind_text.isascii() or not kind_text.isdigit() or len(kind_text) > 5:
                continue
            kind = int(kind_text)
            if not keeps_one(kind):
                continue
            address = (pubkey, kind, d if is_addressable(kind) else "")
            self.conn.execute(
                "INSERT INTO deleted_address(pubkey, kind, d, until) VALUES(?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
                (*address, record.created_at),
            )
            row = self.conn.execute(
                "SELECT event, created_at FROM latest WHERE pubkey = ? AND kind = ? AND d = ?", address
            ).fetchone()
            if row is not None and row[1] <= record.created_at:
                self.remove([row[0]])
        return ""

    def _vanish(self, record: Record) -> str:
        """NIP-62: everything of this key up to this second, and the gift wraps sent to it."""
        pubkey = record.author
        named = record.values("relay")
        if "ALL_RELAYS" not in named and not any(host_of(url) in self.hosts() for url in named):
            return "invalid: this request to vanish names other relays"
        until = record.created_at
        own = self.conn.execute(
            "SELECT n FROM event WHERE author = ? AND created_at <= ?", (short(pubkey), until)
        ).fetchall()
        wraps = self.conn.execute(
            "SELECT event FROM tag WHERE key = ? AND created_at <= ? AND kind IN (1059, 21059)",
            (tag_key("p", record.pubkey), until),
        ).fetchall()
        self.remove([row[0] for row in own + wraps])
        self.conn.execute(
            "INSERT INTO vanished(pubkey, until) VALUES(?, ?)"
            " ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
            (pubkey, until),
        )
        self._leaving[pubkey] = max(until, self.vanished.get(pubkey, 0))
        return ""

    def remove(self, numbers: Sequence[int]) -> None:
        """Take events out of every table. Collected in the answer of the running `apply`."""
        for number in numbers:
            row = self.conn.execute("SELECT kind, created_at, raw FROM event WHERE n = ?", (number,)).fetchone()
            if row is None:
                continue
            kind, created_at, raw = row
            event = orjson.loads(raw)
            tags = event["tags"]
            self.conn.executemany(
                "DELETE FROM tag WHERE key = ? AND created_at = ? AND event = ?",
                [(key, created_at, number) for key in tag_keys(tags)],
            )
            if keeps_one(kind):
                d = next((tag[1] if len(tag) > 1 else "" for tag in tags if tag and tag[0] == "d"), "")
                self.conn.execute(
                    "DELETE FROM latest WHERE pubkey = ? AND kind = ? AND d = ? AND event = ?",
                    (bytes.fromhex(event["pubkey"]), kind, d if is_addressable(kind) else "", number),
                )
            if number <= self.indexed and kind in self.searchable:
                self.conn.execute(
                    "INSERT INTO search(search, rowid, text) VALUES('delete', ?, ?)", (number, search_text(event))
                )
            self.conn.execute("DELETE FROM event WHERE n = ?", (number,))
            self._removed.append((kind, created_at, raw))

    def remove_now(self, numbers: Sequence[int]) -> list[Removed]:
        """`remove` as a transaction of its own (expiry, retention)."""
        self._removed = []
        self.remove(numbers)
        return self._removed

    def index_range(self, upto: int) -> None:
        """Bring the full-text index up to event number `upto`; `mark_indexed` follows after the commit."""
        rows = self.conn.execute(
            "SELECT n, kind, raw FROM event WHERE n > ? AND n <= ? ORDER BY n", (self.indexed, upto)
        ).fetchall()
        texts = [(n, search_text(orjson.loads(raw))) for n, kind, raw in rows if kind in self.searchable]
        self.conn.executemany("INSERT INTO search(rowid, text) VALUES(?, ?)", texts)
        self.conn.execute(
            "INSERT INTO fact(space, key, value) VALUES('store', 'indexed', ?)"
            " ON CONFLICT DO UPDATE SET value = excluded.value",
            (str(upto),),
        )

    def mark_indexed(self, upto: int) -> None:
        self.indexed = upto

    def expiry_is(self, first: int | None) -> None:
        """The earliest expiry among stored events, None where none expires."""
        self.next_expiry = first


def search_text(event: dict[str, Any]) -> str:
    """What NIP-50 looks into: the content (for JSON profiles its values) and the tags that are written for people."""
    content = event["content"]
    if event["kind"] in (0, 31990) and content[:1] == "{":
        try:
            profile = orjson.loads(content)
        except orjson.JSONDecodeError:
            profile = None
        if isinstance(profile, dict):
            content = "\n".join(value for value in profile.values() if isinstance(value, str))
    named = [
        tag[1] for tag in event["tags"] if len(tag) > 1 and tag[0] in ("title", "name", "summary", "about", "alt", "t")
    ]
    return "\n".join([content, *named])


def host_of(url: str) -> str:
    """Host and port of a URL in lower case, without the default port; "" where it is none."""
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return ""
    default = 443 if parts.scheme in ("wss", "https") else 80
    return host if port in (None, default) else f"{host}:{port}"


def _p_tags(tags: list[list[str]]) -> set[str]:
    return {tag[1] for tag in tags if len(tag) > 1 and tag[0] == "p"}


def _runs(items: list[T]) -> Iterator[list[T]]:
    """The list in parts of a few lengths only."""
    at = 0
    while at < len(items):
        size = next(size for size in _SIZES if size <= len(items) - at)
        yield items[at : at + size]
        at += size


def _receivers(record: Record) -> list[bytes]:
    """The keys a gift wrap is for."""
    if record.kind not in WRAPS:
        return []
    return [bytes.fromhex(key) for key in _p_tags(record.tags) if len(key) == 64 and _HEX.issuperset(key)]
