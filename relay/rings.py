"""The newest events per kind, in memory: `kinds + limit`, the question of every marketplace feed, needs no SQL.

A ring is filled from the store when its kind is first asked for, then fed with every committed event. It is complete
down to its floor, and an answer is given only where that suffices.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from heapq import merge
from itertools import islice

from relay.record import Record

Row = tuple[int, bytes]  # (created_at, canonical JSON)
_Key = tuple[int, bytes]  # (-created_at, canonical JSON): sorts newest first, then by id


class _Ring:
    __slots__ = ("floor", "keys")

    def __init__(self, keys: list[_Key], floor: _Key | None) -> None:
        self.keys = keys
        self.floor = floor  # nothing after this key is known; None: the ring holds all there is


class Rings:
    """`size` newest events of at most `most` kinds; `load(kind, n)` reads a kind's newest n rows from the store."""

    def __init__(self, load: Callable[[int, int], list[Row] | None], *, size: int = 512, most: int = 64) -> None:
        self._load = load
        self._size = size
        self._most = most
        self._rings: dict[int, _Ring] = {}

    def put(self, record: Record) -> None:
        """A committed event."""
        ring = self._rings.get(record.kind)
        if ring is None:
            return
        key = (-record.created_at, record.raw)
        if ring.floor is not None and key > ring.floor:
            return
        at = bisect_left(ring.keys, key)
        if at < len(ring.keys) and ring.keys[at] == key:
            return
        ring.keys.insert(at, key)
        if len(ring.keys) > self._size:
            ring.floor = ring.keys[self._size - 1]
            del ring.keys[self._size :]

    def drop(self, kind: int, created_at: int, raw: bytes) -> None:
        """An event that has been deleted, replaced or has expired."""
        ring = self._rings.get(kind)
        if ring is not None:
            key = (-created_at, raw)
            at = bisect_left(ring.keys, key)
            if at < len(ring.keys) and ring.keys[at] == key:
                del ring.keys[at]

    def clear(self) -> None:
        """Forget everything: the store changed behind our back (import, retention)."""
        self._rings.clear()

    def newest(self, kinds: Iterable[int], limit: int, since: int | None, until: int | None) -> list[Row] | None:
        """The newest `limit` events of these kinds in NIP-01 order; None where the rings can't tell."""
        rings: list[_Ring] = []
        for kind in kinds:
            ring = self._rings.get(kind) or self._open(kind)
            if ring is None:
                return None
            rings.append(ring)
        after: _Key = (-until if until is not None else -(2**62), b"")
        before: _Key = (-since, b"\xff") if since is not None else (2**62, b"")
        runs = [ring.keys if until is None else ring.keys[bisect_left(ring.keys, after) :] for ring in rings]
        picked = list(islice(runs[0] if len(runs) == 1 else merge(*runs), limit))
        full = len(picked) == limit
        if since is not None and picked and picked[-1] > before:
            picked = picked[: bisect_left(picked, before)]
            full = False
        edge = picked[-1] if full else before
        for ring in rings:
            if ring.floor is not None and ring.floor < edge:
                return None
        return [(-key[0], key[1]) for key in picked]

    def _open(self, kind: int) -> _Ring | None:
        if len(self._rings) >= self._most:
            return None
        rows = self._load(kind, self._size)
        if rows is None:
            return None
        keys: list[_Key] = []
        for created_at, raw in rows:
            insort(keys, (-created_at, raw))
        ring = self._rings[kind] = _Ring(keys, keys[-1] if len(keys) >= self._size else None)
        return ring
