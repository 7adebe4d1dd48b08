"""From a filter to SQL: one plan per shape, each reading an index in the order of the answer.

Ties: SQL orders by `created_at` alone, since an index with the id in it would cost a third of the write rate. Where
the limit cuts through a second, that second is read whole and sorted by id.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence, Sized
from heapq import heappush, heappushpop
from itertools import islice
from typing import Any

from nostr.event import is_addressable, is_replaceable
from relay.filters import Want
from relay.store.interface import Row, Scope
from relay.store.schema import short_hex, tag_key

UNION_AUTHORS = 8  # above it, fifty subselects cost more than one walk
UNION_VALUES = 64
UNION_KINDS = 100
RANKED = 1000
MANY = 1000  # (author, kind) ranges of one filter
WALK = 20  # rows of a time walk for each one wanted, before the plan looks at each author alone
NAMING_TAGS = "eaidq"  # letters whose values name one thing, hence few rows
_EXTENSION = re.compile(r"^[a-z]+:\S*$")
_WORD = re.compile(r"\w+", re.UNICODE)

_ROWS = "SELECT e.created_at, e.raw FROM event e"
_NEWEST = " ORDER BY e.created_at DESC LIMIT ?"

Connection = sqlite3.Connection
Clause = tuple[list[str], list[Any]]


def select(conn: Connection, wants: Sequence[Want], limit: int, scope: Scope, now: int | None) -> list[Row]:
    """The answer to a REQ: each filter's newest `limit` (or its own lower limit), merged without doubles.

    `now` set: events that expired by then are left out; None: the store knows that there are none.
    """
    if len(wants) == 1:
        return _answer(conn, wants[0], limit, scope, now)
    merged: dict[bytes, Row] = {}
    for want in wants:
        for row in _answer(conn, want, limit, scope, now):
            merged[row[1]] = row
    return in_order(list(merged.values()))


def in_order(rows: list[Row]) -> list[Row]:
    """Newest first, ties by the lower id (canonical JSON begins with it)."""
    rows.sort(key=lambda row: (-row[0], row[1]))
    return rows


def _answer(conn: Connection, want: Want, limit: int, scope: Scope, now: int | None) -> list[Row]:
    most = limit if want.limit is None else min(limit, want.limit)
    if most <= 0 or want.impossible:
        return []
    match = match_expression(want.search)
    if match:
        return _search(conn, want, match, most, scope, now)
    rows = _fetch(conn, want, most + 1, scope, now)
    if len(rows) > most:
        edge = rows[most - 1][0]
        if rows[most][0] == edge:
            rows = [row for row in rows if row[0] > edge] + _fetch(conn, want.at(edge), 2**31, scope, now)
        else:
            del rows[most:]
    if len({row[0] for row in rows}) < len(rows):
        in_order(rows)
        del rows[most:]
    return rows


def _fetch(conn: Connection, want: Want, n: int, scope: Scope, now: int | None) -> list[Row]:
    """The newest n, by `created_at` alone."""
    if want.ids is not None:
        return _by_ids(conn, want, n, scope, now)
    letter = _leading_tag(want)
    if letter is not None:
        return _by_tag(conn, want, letter, n, scope, now)
    if want.authors is not None:
        return _by_authors(conn, want, n, scope, now)
    if want.kinds is not None:
        return _by_kinds(conn, want, n, scope, now)
    return _by_time(conn, want, n, scope, now)


def _by_time(conn: Connection, want: Want, n: int, scope: Scope, now: int | None) -> list[Row]:
    where, params = conditions(want, scope, now)
    return conn.execute(f"{_ROWS} INDEXED BY event_time{_where(where)}{_NEWEST}", (*params, n)).fetchall()


def _by_ids(conn: Connection, want: Want, n: int, scope: Scope, now: int | None) -> list[Row]:
    where, params = conditions(want, scope, now)
    rows: list[Row] = conn.execute(f"SELECT e.created_at, e.raw FROM event e{_where(where)}", params).fetchall()
    return in_order(rows)[:n]


def _leading_tag(want: Want) -> str | None:
    """The tag letter to drive the plan by; None where authors or nothing narrows better."""
    if not want.tags:
        return None
    letter = min(want.tags, key=lambda name: (name not in NAMING_TAGS, name == "t", len(want.tags[name]), name))
    if want.authors is not None and len(want.authors) <= UNION_AUTHORS and letter not in "eaiq":
        return None
    return letter


def _by_tag(conn: Connection, want: Want, letter: str, n: int, scope: Scope, now: int | None) -> list[Row]:
    keys = [tag_key(letter, value) for _, value in want.tags[letter]]
    own, own_params = _range("t", want)
    if want.kinds is not None:
        own.append(f"t.kind IN ({_marks(want.kinds)})")
        own_params += want.kinds
    rest, rest_params = conditions(want, scope, now, without=(letter, "kinds", "range"))
    join = " CROSS JOIN event e ON e.n = t.event"
    if len(keys) == 1:
        where = _where(["t.key = ?", *own, *rest])
        sql = f"SELECT t.created_at, e.raw FROM tag t{join}{where} ORDER BY t.created_at DESC LIMIT ?"
        return conn.execute(sql, (keys[0], *own_params, *rest_params, n)).fetchall()
    if len(keys) <= UNION_VALUES:
        where = _where(["t.key = ?", *own, *rest])
        drive = f"FROM tag t{join if rest else ''}{where}"
        part = f"SELECT * FROM (SELECT t.created_at, t.event {drive} ORDER BY t.created_at DESC LIMIT ?)"
        inner = " UNION ".join([part] * len(keys))
        params: list[Any] = []
        for key in keys:
            params += [key, *own_params, *rest_params, n]
        sql = (
            f"SELECT x.created_at, e.raw FROM (SELECT * FROM ({inner}) ORDER BY 1 DESC LIMIT ?) x"
            " CROSS JOIN event e ON e.n = x.event ORDER BY x.created_at DESC"
        )
        return conn.execute(sql, (*params, n)).fetchall()
    inner = f"SELECT DISTINCT t.event AS event FROM tag t{_where([f't.key IN ({_marks(keys)})', *own])}"
    sql = (
        f"SELECT e.created_at, e.raw FROM ({inner}) x CROSS JOIN event e ON e.n = x.event"
        f"{_where(rest)} ORDER BY e.created_at DESC LIMIT ?"
    )
    return conn.execute(sql, (*keys, *own_params, *rest_params, n)).fetchall()


def _by_kinds(conn: Connection, want: Want, n: int, scope: Scope, now: int | None) -> list[Row]:
    assert want.kinds is not None
    if len(want.kinds) > UNION_KINDS:
        return _by_time(conn, want, n, scope, now)
    where, params = conditions(want, scope, now, without=("kinds",))
    part = f"{_ROWS} INDEXED BY event_kind{_where(['e.kind = ?', *where])}{_NEWEST}"
    return _union(conn, part, [(kind, *params, n) for kind in want.kinds], n)


def _by_authors(conn: Connection, want: Want, n: int, scope: Scope, now: int | None) -> list[Row]:
    """Few authors: their own ranges. Many: a bounded walk through time, then each author alone."""
    assert want.authors is not None
    authors = [short_hex(author) for author in want.authors]
    where, params = conditions(want, scope, now, without=("authors", "kinds"))
    if want.kinds is not None:
        kinds = want.kinds
        if all(is_replaceable(kind) for kind in kinds) and len(authors) > 1:
            sql = (
                f"SELECT e.created_at, e.raw FROM event e INDEXED BY event_author"
                f"{_where([f'e.author IN ({_marks(authors)})', f'e.kind IN ({_marks(kinds)})', *where])}"
                " ORDER BY e.created_at DESC LIMIT ?"
            )
            return conn.execute(sql, (*authors, *kinds, *params, n)).fetchall()
        size = len(authors) * len(kinds)
        if len(kinds) <= UNION_AUTHORS:
            pairs = ((author, kind) for author in authors for kind in kinds)
        else:  # an author has used few kinds, whatever was asked for
            pairs = ((author, kind) for author in authors for kind in _kinds_of(conn, author) if kind in kinds)
    else:
        pairs = ((author, kind) for author in authors for kind in _kinds_of(conn, author))
        size = len(authors) * 4  # unknown; authors of many kinds are rare
    if size <= UNION_AUTHORS:
        part = (
            "SELECT e.created_at, e.raw FROM event e INDEXED BY event_author"
            f"{_where(['e.author = ?', 'e.kind = ?', *where])} ORDER BY e.created_at DESC LIMIT ?"
        )
        return _union(conn, part, [(author, kind, *params, n) for author, kind in pairs], n)
    if len(authors) > UNION_AUTHORS or want.kinds is None or len(want.kinds) > UNION_AUTHORS:
        rows = _walk(conn, want, n, scope, now)
        if len(rows) >= n:
            return rows
    return _each_pair(conn, pairs, want, where, params, n)


def _walk(conn: Connection, want: Want, n: int, scope: Scope, now: int | None) -> list[Row]:
    """The newest n if they lie within the newest WALK * n events of the kind (or of all kinds)."""
    bounds, bound_params = _range("w", want)
    if want.kinds is not None and len(want.kinds) == 1:
        index, bounds = "event_kind", ["w.kind = ?", *bounds]
        bound_params = [*want.kinds, *bound_params]
    else:
        index = "event_time"
    where, params = conditions(want, scope, now, without=("range",))
    sql = (
        f"SELECT e.created_at, e.raw FROM (SELECT w.n, w.id, w.author, w.kind, w.created_at, w.expires, w.raw"
        f" FROM event w INDEXED BY {index}{_where(bounds)} ORDER BY w.created_at DESC LIMIT {WALK * n}) e"
        f"{_where(where)} LIMIT ?"
    )
    return conn.execute(sql, (*bound_params, *params, n)).fetchall()


def _each_pair(
    conn: Connection, pairs: Iterator[tuple[str, int]], want: Want, where: list[str], params: list[Any], n: int
) -> list[Row]:
    """Merge the newest of each (author, kind); the floor rises as better ones are found."""
    sql = (
        "SELECT e.created_at, e.n FROM event e INDEXED BY event_author"
        f"{_where(['e.author = ?', 'e.kind = ?', 'e.created_at >= ?', *where])} ORDER BY e.created_at DESC LIMIT ?"
    )
    best: list[tuple[int, int]] = []
    floor = want.since or 0
    for author, kind in pairs:
        for row in conn.execute(sql, (author, kind, floor, *params, n)):
            if len(best) < n:
                heappush(best, row)
            else:
                heappushpop(best, row)
        if len(best) >= n:
            floor = best[0][0]
    numbers = iter(number for _, number in best)
    rows: list[Row] = []
    while chunk := list(islice(numbers, 500)):
        rows += conn.execute(f"SELECT created_at, raw FROM event WHERE n IN ({_marks(chunk)})", chunk).fetchall()
    return in_order(rows)


def _kinds_of(conn: Connection, author: str) -> list[int]:
    """The kinds an author has used, one index seek each."""
    sql = (
        "WITH RECURSIVE k(x) AS (SELECT min(kind) FROM event WHERE author = ?1 UNION ALL"
        " SELECT (SELECT min(kind) FROM event WHERE author = ?1 AND kind > x) FROM k WHERE x IS NOT NULL)"
        " SELECT x FROM k WHERE x IS NOT NULL"
    )
    return [row[0] for row in conn.execute(sql, (author,))]


def _union(conn: Connection, part: str, runs: list[tuple[Any, ...]], n: int) -> list[Row]:
    """Merge runs that are each in order. One run needs no merge."""
    if not runs:
        return []
    if len(runs) == 1:
        return conn.execute(part, runs[0]).fetchall()
    rows: list[Row] = []
    for start in range(0, len(runs), 400):  # SQLite takes 500 terms in one compound
        chunk = runs[start : start + 400]
        sql = " UNION ALL ".join([f"SELECT * FROM ({part})"] * len(chunk)) + " ORDER BY 1 DESC LIMIT ?"
        rows += conn.execute(sql, (*(value for run in chunk for value in run), n)).fetchall()
    return rows if len(runs) <= 400 else in_order(rows)[:n]


def _search(conn: Connection, want: Want, match: str, most: int, scope: Scope, now: int | None) -> list[Row]:
    """Best match first among the newest RANKED matches: a word that everybody uses must not cost a full ranking."""
    where, params = conditions(want, scope, now)
    sql = (
        "SELECT e.created_at, e.raw FROM (SELECT s.rowid AS n, s.rank AS rank FROM search s CROSS JOIN event e"
        f" ON e.n = s.rowid{_where(['s.search MATCH ?', *where])} ORDER BY s.rowid DESC LIMIT {max(RANKED, most)}) x"
        " CROSS JOIN event e ON e.n = x.n ORDER BY x.rank, e.created_at DESC LIMIT ?"
    )
    return conn.execute(sql, (match, *params, most)).fetchall()


def match_expression(search: str) -> str:
    """An FTS5 expression that asks for every word; extensions (`key:value`, NIP-50) are left out. "" asks nothing."""
    words = [word for term in search.split() if not _EXTENSION.match(term) for word in _WORD.findall(term)]
    return " ".join(f'"{word}"' for word in words)


def source(want: Want, scope: Scope, now: int | None) -> tuple[str, list[Any]]:
    """`FROM ... WHERE ...` over all matching events `e`, in any order, each once; for counting and listing."""
    match = match_expression(want.search)
    if match:
        where, params = conditions(want, scope, now)
        return f" FROM search s CROSS JOIN event e ON e.n = s.rowid{_where(['s.search MATCH ?', *where])}", [
            match,
            *params,
        ]
    letter = _leading_tag(want) if want.ids is None else None
    if letter is None:
        where, params = conditions(want, scope, now)
        index = ""
        if want.ids is None:
            name = "author" if want.authors is not None else "kind" if want.kinds is not None else "time"
            index = f" INDEXED BY event_{name}"
        return f" FROM event e{index}{_where(where)}", params
    keys = [tag_key(letter, value) for _, value in want.tags[letter]]
    own, own_params = _range("t", want)
    if want.kinds is not None:
        own.append(f"t.kind IN ({_marks(want.kinds)})")
        own_params += want.kinds
    rest, rest_params = conditions(want, scope, now, without=(letter, "kinds", "range"))
    inner = f"SELECT DISTINCT t.event AS event FROM tag t{_where([f't.key IN ({_marks(keys)})', *own])}"
    return f" FROM ({inner}) x CROSS JOIN event e ON e.n = x.event{_where(rest)}", [*keys, *own_params, *rest_params]


def conditions(want: Want, scope: Scope, now: int | None, without: Sequence[str] = ()) -> Clause:
    """Conditions on `event e` that the chosen index does not prove itself."""
    where: list[str] = []
    params: list[Any] = []
    if want.ids is not None:
        where.append(f"e.id IN ({_marks(want.ids)})")
        params += [short_hex(ident) for ident in want.ids]
    if want.authors is not None and "authors" not in without:
        where.append(f"e.author IN ({_marks(want.authors)})")
        params += [short_hex(author) for author in want.authors]
    if want.kinds is not None and "kinds" not in without:
        where.append(f"e.kind IN ({_marks(want.kinds)})")
        params += want.kinds
    if "range" not in without:
        bounds, bound_params = _range("e", want)
        where += bounds
        params += bound_params
    for letter, pairs in want.tags.items():
        if letter not in without:
            where.append(
                f"EXISTS (SELECT 1 FROM tag f WHERE f.key IN ({_marks(pairs)})"
                " AND f.created_at = e.created_at AND f.event = e.n)"
            )
            params += [tag_key(letter, value) for _, value in pairs]
    if scope.hidden and (want.kinds is None or not want.kinds.isdisjoint(scope.hidden)):
        allowed = scope.condition
        if scope.viewers:
            allowed = (
                f"(({allowed}) OR e.author IN ({_marks(scope.viewers)}) OR EXISTS (SELECT 1 FROM tag v"
                f" WHERE v.key IN ({_marks(scope.viewers)}) AND v.created_at = e.created_at AND v.event = e.n))"
            )
            params += [short_hex(viewer) for viewer in scope.viewers]
            params += [tag_key("p", viewer) for viewer in scope.viewers]
        where.append(allowed)
    if now is not None:
        where.append("(e.expires IS NULL OR e.expires > ?)")
        params.append(now)
    return where, params


def _range(alias: str, want: Want) -> Clause:
    where: list[str] = []
    params: list[Any] = []
    if want.since is not None:
        where.append(f"{alias}.created_at >= ?")
        params.append(want.since)
    if want.until is not None:
        where.append(f"{alias}.created_at <= ?")
        params.append(want.until)
    return where, params


def _where(clauses: list[str]) -> str:
    return " WHERE " + " AND ".join(clauses) if clauses else ""


def _marks(values: Sized) -> str:
    return _MARKS[len(values)] if len(values) < len(_MARKS) else ",".join("?" * len(values))


_MARKS = tuple(",".join("?" * number) for number in range(129))


def keeps_one(kind: int) -> bool:
    """Replaceable or addressable: of each address only the newest is kept."""
    return is_replaceable(kind) or is_addressable(kind)


def is_small(want: Want) -> bool:
    """True where a plan has few enough ranges to try it on the event loop."""
    authors, kinds = want.authors, want.kinds
    return want.ids is not None or authors is None or len(authors) * min(len(kinds or (0,)), 4) <= MANY


def newest_of_kind(kind: int, count: int) -> Want:
    """The filter that fills a memory ring."""
    return Want(kinds=frozenset((kind,)), limit=count)
