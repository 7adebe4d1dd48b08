"""Live subscriptions and the index that finds them.

Every filter is filed under one field, the rarest it names: ids, else authors, else one tag letter, else kinds, else
"everything". An event looks only into the drawers of its own id, author, tags and kind.
"""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import orjson

from relay.filters import Want
from relay.record import Record

if TYPE_CHECKING:
    from relay.connection import Connection

_RARE_FIRST = "eaiq"  # tags that name one thing come before those that name many


class Subscription:
    """One REQ of one connection. `held` collects live events until EOSE is out; None afterwards.

    `seen` holds ids that the stored answer already carried although their broadcast is still to come; it is valid for
    events up to number `seen_upto`.
    """

    __slots__ = ("connection", "filed", "held", "last", "name", "prefix", "seen", "seen_upto", "wants")

    def __init__(self, connection: "Connection", name: str, wants: tuple[Want, ...]) -> None:
        self.connection = connection
        self.name = name
        self.wants = wants
        self.prefix = b'["EVENT",' + orjson.dumps(name) + b","
        self.held: list[Record] | None = []
        self.last: Record | None = None
        self.seen: set[bytes] | None = None
        self.seen_upto = 0
        self.filed: list[tuple[dict[Any, dict[_Entry, None]], Hashable, _Entry]] = []


class _Entry:
    """A filter in a drawer. `exact`: the drawer alone proves the match."""

    __slots__ = ("exact", "subscription", "want")

    def __init__(self, subscription: Subscription, want: Want, exact: bool) -> None:
        self.subscription = subscription
        self.want = want
        self.exact = exact


_Drawers = dict[Any, dict[_Entry, None]]
_EVERYTHING = "*"


class Index:
    """All open subscriptions, by what they wait for."""

    def __init__(self) -> None:
        self.by_id: _Drawers = {}
        self.by_author: _Drawers = {}
        self.by_tag: _Drawers = {}
        self.by_kind: _Drawers = {}
        self.rest: _Drawers = {}
        self.count = 0

    def add(self, subscription: Subscription) -> None:
        for want in subscription.wants:
            if want.impossible or want.search:
                continue  # a search is answered from the store; nothing ranks an event that has just come
            drawers, keys, fields = self._place(want)
            entry = _Entry(subscription, want, want.conditions == fields)
            for key in keys:
                drawers.setdefault(key, {})[entry] = None
                subscription.filed.append((drawers, key, entry))
        self.count += 1

    def _place(self, want: Want) -> tuple[_Drawers, Any, int]:
        """(drawers, keys, how many conditions the drawer proves)."""
        if want.ids is not None:
            return self.by_id, want.ids, 1
        if want.authors is not None:
            return self.by_author, want.authors, 1
        if want.tags:
            letter = min(want.tags, key=lambda name: (name not in _RARE_FIRST, len(want.tags[name]), name))
            return self.by_tag, want.tags[letter], 1
        if want.kinds is not None:
            return self.by_kind, want.kinds, 1
        return self.rest, (_EVERYTHING,), 0

    def remove(self, subscription: Subscription) -> None:
        for drawers, key, entry in subscription.filed:
            drawer = drawers.get(key)
            if drawer is not None:
                drawer.pop(entry, None)
                if not drawer:
                    del drawers[key]
        subscription.filed.clear()
        self.count -= 1

    def matching(self, record: Record) -> list[Subscription]:
        """Every subscription that waits for this event, once each."""
        found: list[Subscription] = []
        drawer = self.by_kind.get(record.kind)
        if drawer:
            _collect(drawer, record, found)
        if self.by_author and (drawer := self.by_author.get(record.pubkey)):
            _collect(drawer, record, found)
        if self.by_tag:
            for pair in record.pairs:
                if drawer := self.by_tag.get(pair):
                    _collect(drawer, record, found)
        if self.by_id and (drawer := self.by_id.get(record.id)):
            _collect(drawer, record, found)
        if self.rest:
            _collect(self.rest[_EVERYTHING], record, found)
        return found


def _collect(drawer: dict[_Entry, None], record: Record, found: list[Subscription]) -> None:
    for entry in drawer:
        subscription = entry.subscription
        if subscription.last is not record and (entry.exact or entry.want.matches(record)):
            subscription.last = record
            found.append(subscription)
