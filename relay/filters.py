"""Filters inside the relay: checked once, kept in the shape that matching and planning want."""

from typing import Any

from nostr.event import MAX_KIND, MAX_TIMESTAMP
from relay.errors import Refused
from relay.record import Record, unhex

SEARCH_LENGTH = 256


class Want:
    """One filter. Same meaning as `nostr.filter.Filter`; an empty set matches nothing.

    `tags` holds, per letter, the (letter, value) pairs of which an event must carry one. `conditions` counts what
    is asked besides `limit` and `search`; `impossible` is true where no event can match. Not to be changed once made,
    save `limit`.
    """

    __slots__ = ("authors", "conditions", "ids", "impossible", "kinds", "limit", "search", "since", "tags", "until")

    def __init__(
        self,
        *,
        ids: frozenset[str] | None = None,
        authors: frozenset[str] | None = None,
        kinds: frozenset[int] | None = None,
        tags: dict[str, frozenset[tuple[str, str]]] | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int | None = None,
        search: str = "",
    ) -> None:
        self.ids = ids
        self.authors = authors
        self.kinds = kinds
        self.tags = tags or {}
        self.since = since
        self.until = until
        self.limit = limit
        self.search = search
        self._weigh()

    def _weigh(self) -> None:
        ids, authors, kinds, since, until = self.ids, self.authors, self.kinds, self.since, self.until
        self.conditions = len(self.tags) + sum([field is not None for field in (ids, authors, kinds, since, until)])
        self.impossible = (
            (ids is not None and not ids)
            or (authors is not None and not authors)
            or (kinds is not None and not kinds)
            or (since is not None and until is not None and since > until)
            or (bool(self.tags) and not all(self.tags.values()))
        )

    def matches(self, record: Record) -> bool:
        """True if the event meets every condition except `limit` and `search`."""
        if self.kinds is not None and record.kind not in self.kinds:
            return False
        if self.authors is not None and record.pubkey not in self.authors:
            return False
        if self.since is not None and record.created_at < self.since:
            return False
        if self.until is not None and record.created_at > self.until:
            return False
        if self.ids is not None and record.id not in self.ids:
            return False
        if self.tags:
            pairs = record.pairs
            for wanted in self.tags.values():
                if wanted.isdisjoint(pairs):
                    return False
        return True

    def at(self, second: int) -> "Want":
        """The same conditions, for one second only."""
        return Want(
            ids=self.ids,
            authors=self.authors,
            kinds=self.kinds,
            tags=self.tags,
            since=second,
            until=second,
            search=self.search,
        )


def parse_filter(value: Any, max_values: int) -> Want:
    """Check one decoded filter. Raises Refused("invalid", ...).

    Unknown fields are refused: ignoring a condition would send events the client did not ask for.
    """
    if type(value) is not dict:
        raise Refused("invalid", "filter is not an object")
    ids = authors = kinds = since = until = limit = None
    tags: dict[str, frozenset[tuple[str, str]]] = {}
    search = ""
    count = 0
    for name, field in value.items():
        if name == "kinds":
            if type(field) is not list or not all(type(item) is int and 0 <= item <= MAX_KIND for item in field):
                raise Refused("invalid", "kinds must be an array of integers from 0 to 65535")
            kinds = frozenset(field)
            count += len(field)
        elif name in ("ids", "authors"):
            if name == "ids":
                ids = _hexes(name, field)
            else:
                authors = _hexes(name, field)
            count += len(field)
        elif len(name) == 2 and name[0] == "#":
            if type(field) is not list or not all(type(item) is str for item in field):
                raise Refused("invalid", f"{name} must be an array of strings")
            letter = name[1]
            if not (letter.isascii() and letter.isalpha()):
                raise Refused("invalid", f"{name} is no tag that relays index")
            tags[letter] = frozenset([(letter, item) for item in field])
            count += len(field)
        elif name in ("since", "until", "limit"):
            if type(field) is not int or not 0 <= field <= MAX_TIMESTAMP:
                raise Refused("invalid", f"{name} must be a number from 0 to 2^53-1")
            if name == "since":
                since = field
            elif name == "until":
                until = field
            else:
                limit = field
        elif name == "search":
            if type(field) is not str or len(field) > SEARCH_LENGTH:
                raise Refused("invalid", f"search must be a string of at most {SEARCH_LENGTH} characters")
            search = field
        else:
            raise Refused("invalid", f"unknown field {name[:20]!r} in filter")
    if count > max_values:
        raise Refused("invalid", f"more than {max_values} values in one filter")
    return Want(ids=ids, authors=authors, kinds=kinds, tags=tags, since=since, until=until, limit=limit, search=search)


def _hexes(name: str, field: Any) -> frozenset[str]:
    if type(field) is not list:
        raise Refused("invalid", f"{name} is not an array")
    for item in field:
        if unhex(item, 64) is None:
            raise Refused("invalid", f"{name} must be 64 lower-case hex digits each")
    return frozenset(field)
