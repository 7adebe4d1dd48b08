"""What the relay asks of a store. SQLite is the embedded one; another database implements the same protocol."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from relay.filters import Want
from relay.record import Record

Row = tuple[int, bytes]  # (created_at, canonical JSON)
Removed = tuple[int, int, bytes]  # (kind, created_at, canonical JSON) of an event that is gone
OnCommit = Callable[[list[Record], list[Removed]], None]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a reader may see: events of `hidden` kinds only where one of `viewers` wrote them or is named by a p tag."""

    hidden: tuple[int, ...] = ()
    viewers: tuple[str, ...] = ()
    condition: str = field(init=False, default="")
    """SQL over `event e` that keeps hidden kinds out."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "condition", " AND ".join(f"e.kind <> {int(kind)}" for kind in self.hidden))


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Sizes for metrics and `timmy relay status`."""

    events: int
    bytes_on_disk: int
    waiting: int


class Store(Protocol):
    """Events, durable. Every answer is in NIP-01 order: newest first, ties by the lower id.

    `submit` never blocks; each record comes back through `on_commit` (on the event loop, in order) after the durable
    commit, with `accepted`, `message` and `number` (0 where it was not stored) filled in.
    """

    @property
    def assigned(self) -> int:
        """The highest number given to any event so far; a query sees no event above it."""
        ...

    @property
    def waiting(self) -> int:
        """Events submitted and not yet committed."""
        ...

    async def open(self, on_commit: OnCommit) -> None: ...

    async def close(self) -> None: ...

    def submit(self, batch: list[Record]) -> None: ...

    def glance(self, wants: Sequence[Want], limit: int, scope: Scope) -> list[Row] | None:
        """An answer given at once, or None where it would take more than a few milliseconds."""
        ...

    def has_expired(self) -> bool:
        """True while stored events have expired and are not removed yet."""
        ...

    async def query(self, wants: Sequence[Want], limit: int, scope: Scope) -> list[Row]:
        """Like `glance`, off the event loop. Raises TooExpensive."""
        ...

    async def count(self, wants: Sequence[Want], scope: Scope) -> int: ...

    async def authors(self, want: Want, scope: Scope) -> list[bytes]:
        """Public keys (32 bytes) of all matching events, for NIP-45's HyperLogLog."""
        ...

    async def items(self, want: Want, scope: Scope, most: int) -> list[tuple[int, bytes]]:
        """(created_at, id of 32 bytes) in ascending order, for negentropy. Raises TooExpensive beyond `most`."""
        ...

    async def remove(self, want: Want, most: int) -> int:
        """Delete matching events without leaving a tombstone (retention, bans). Returns how many."""
        ...

    async def expire(self) -> int:
        """Delete what has expired by now (NIP-40)."""
        ...

    async def remember(self, table: str, key: str, value: Any) -> None:
        """Keep one small fact of management (`table` is a namespace); None forgets it."""
        ...

    async def facts(self, table: str) -> dict[str, Any]: ...

    async def compact(self) -> None:
        """Give unused room back to the file system."""
        ...

    async def stats(self) -> StoreStats: ...


def ids_of(rows: Iterable[Row]) -> set[bytes]:
    """The ids in hex of an answer, cut out of the canonical JSON."""
    return {raw[7:71] for _, raw in rows}
