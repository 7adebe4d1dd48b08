"""Filters (NIP-01, NIP-50) and the naive matcher that every index is tested against."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from nostr.event import MAX_KIND, MAX_TIMESTAMP, Event, is_hex


class InvalidFilter(ValueError):
    """The value is not a filter; the message names the field at fault."""


class Filter:
    """Conditions joined by AND; within a field, values joined by OR. Immutable by convention, hashable by content.

    An empty `ids`, `authors`, `kinds` or tag set matches nothing. `since` and `until` are inclusive, in seconds.
    """

    __slots__ = ("authors", "ids", "kinds", "limit", "search", "since", "tags", "until")

    def __init__(
        self,
        *,
        ids: Iterable[str] | None = None,
        authors: Iterable[str] | None = None,
        kinds: Iterable[int] | None = None,
        tags: Mapping[str, Iterable[str]] | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int | None = None,
        search: str | None = None,
    ) -> None:
        self.ids = None if ids is None else frozenset(ids)
        self.authors = None if authors is None else frozenset(authors)
        self.kinds = None if kinds is None else frozenset(kinds)
        self.tags: Mapping[str, frozenset[str]] = {name: frozenset(values) for name, values in (tags or {}).items()}
        self.since = since
        self.until = until
        self.limit = limit
        self.search = search

    @classmethod
    def from_dict(cls, value: object) -> Self:
        """Check types and ranges; unknown fields are an error, since ignoring a condition would send too much."""
        if not isinstance(value, Mapping):
            raise InvalidFilter("filter is not an object")
        tags: dict[str, list[str]] = {}
        known: dict[str, Any] = {}
        for name, field in value.items():
            if name in ("ids", "authors"):
                known[name] = _hexes(name, field)
            elif name == "kinds":
                known[name] = _kinds(field)
            elif name in ("since", "until", "limit"):
                known[name] = _number(name, field)
            elif name == "search":
                if not isinstance(field, str):
                    raise InvalidFilter("search is not a string")
                known[name] = field
            elif isinstance(name, str) and len(name) == 2 and name[0] == "#":
                tags[name[1]] = _strings(name, field)
            else:
                raise InvalidFilter(f"unknown field {str(name)[:20]!r} in filter")
        return cls(tags=tags, **known)

    def to_dict(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name in ("ids", "authors", "kinds"):
            values = getattr(self, name)
            if values is not None:
                made[name] = sorted(values)
        for name, wanted in self.tags.items():
            made[f"#{name}"] = sorted(wanted)
        for name in ("since", "until", "limit", "search"):
            if getattr(self, name) is not None:
                made[name] = getattr(self, name)
        return made

    def matches(self, event: Event) -> bool:
        """The reference matcher. `limit` and `search` are no conditions here: they need a store."""
        return (
            (self.ids is None or event.id in self.ids)
            and (self.authors is None or event.pubkey in self.authors)
            and (self.kinds is None or event.kind in self.kinds)
            and (self.since is None or event.created_at >= self.since)
            and (self.until is None or event.created_at <= self.until)
            and all(not wanted.isdisjoint(event.values(name)) for name, wanted in self.tags.items())
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.ids, self.authors, self.kinds, frozenset(self.tags.items()), self.since, self.until))

    def __repr__(self) -> str:
        return f"Filter({self.to_dict()})"


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise InvalidFilter(f"{name} is not an array")
    return list(value)


def _hexes(name: str, value: object) -> list[str]:
    values = _list(name, value)
    if not all(is_hex(item, 64) for item in values):
        raise InvalidFilter(f"{name} must be 64 lower-case hex digits each")
    return values


def _kinds(value: object) -> list[int]:
    values = _list("kinds", value)
    if not all(type(item) is int and 0 <= item <= MAX_KIND for item in values):
        raise InvalidFilter("kinds must be integers from 0 to 65535")
    return values


def _strings(name: str, value: object) -> list[str]:
    values = _list(name, value)
    if not all(isinstance(item, str) for item in values):
        raise InvalidFilter(f"{name} is not an array of strings")
    return values


def _number(name: str, value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_TIMESTAMP:
        raise InvalidFilter(f"{name} is not a number from 0 to 2^53-1")
    return value
