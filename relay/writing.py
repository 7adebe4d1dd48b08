"""The main path of an event: accept, verify, policy, store, OK after commit, broadcast."""

import asyncio
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from nostr.event import is_ephemeral
from relay.errors import Refused
from relay.policies import WALLET_KINDS, Buckets, Context
from relay.record import Record, parse, signed
from relay.store.interface import Removed

if TYPE_CHECKING:
    from relay.core import Relay

SPARE_CPUS = max(0, len(os.sched_getaffinity(0)) - 2)  # beside the event loop and the writer
SLICE = 32  # signatures that are checked on the spot before the loop looks around
BATCH = 128  # events that are worth a commit of their own while more of them wait
CHUNK = 48
REMEMBERED = 16_384
FORGED_COST = 20.0  # tokens that a bad signature costs its address
HELD = 5000
MOST_WAITING = 20_000  # events that may wait for a commit; a disk that has stopped must not fill the memory


class Source(Protocol):
    """Who offers an event and hears its OK."""

    ip: str
    loopback: bool
    trusted: bool
    authed: frozenset[str]

    def taken(self) -> None: ...

    def reply(self, ident: str, accepted: bool, message: str) -> None: ...

    def answered(self, ident: str, accepted: bool, message: str) -> None: ...


class Writing:
    """See the module. Lives on the event loop; `committed` is called by the store."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._pending: list[Record] = []
        self._scheduled = False
        self._recent: dict[str, str] = {}  # id -> signature of events that were taken
        self._checked: list[tuple[Record, bool]] = []
        self._verifiers = ThreadPoolExecutor(SPARE_CPUS, thread_name_prefix="relay-verify") if SPARE_CPUS else None
        self._lane: deque[_Chunk] = deque()
        self.delivered = 0  # the number of the newest event that was broadcast

    def offer(self, source: Source, value: Any) -> None:
        """Take one decoded event. The answer comes through `source`, once."""
        relay = self._relay
        ident = value.get("id") if type(value) is dict else None
        if type(ident) is not str:
            source.reply("", False, "invalid: event has no id")
            return
        if relay.store.waiting > MOST_WAITING:
            source.reply(ident[:64], False, "error: the relay has more to write than it can, try again later")
            return
        if ident in self._recent and self._recent[ident] == value.get("sig"):
            source.reply(ident, True, "duplicate: already have this event")
            return
        pubkey = value.get("pubkey")
        own = type(pubkey) is str and pubkey in relay.own_keys
        buckets = relay.event_buckets
        if buckets is not None and not own and relay.counts(source) and not buckets.take(source.ip, time.monotonic()):
            relay.metrics.rejected["rate-limited"] += 1
            source.reply(ident, False, "rate-limited: too many events, slow down")
            return
        try:
            record = parse(value)
        except Refused as refused:
            relay.metrics.rejected[refused.prefix] += 1
            source.reply(ident[:64], False, str(refused))
            return
        context = Context(source.ip, source.authed, relay.clock(), own, source.trusted)
        for policy in relay.policies:
            reject = policy(context, record)
            if reject is not None:
                relay.metrics.rejected[reject.message.partition(":")[0]] += 1
                source.reply(ident, False, reject.message)
                return
        record.source = source
        source.taken()
        self._pending.append(record)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Verify what came in, keeping its order."""
        if self._verifiers is not None and (self._lane or len(self._pending) > SLICE):
            self._verify_in_threads(self._verifiers)
        else:
            self._verify_here()

    def _verify_here(self) -> None:
        """One slice on the spot, the next after the loop has looked around."""
        batch = self._pending[:SLICE]
        del self._pending[:SLICE]
        self._scheduled = bool(self._pending)
        if self._scheduled:
            self._loop.call_soon(self._flush)
        self._checked += [(record, signed(record)) for record in batch]
        if not self._scheduled or len(self._checked) >= BATCH:
            checked, self._checked = self._checked, []
            self._verified(checked)

    def _verify_in_threads(self, verifiers: ThreadPoolExecutor) -> None:
        """Where there are CPUs to spare: libsecp256k1 runs outside Python's lock."""
        batch, self._pending, self._scheduled = self._pending, [], False
        for start in range(0, len(batch), CHUNK):
            chunk = _Chunk(batch[start : start + CHUNK])
            self._lane.append(chunk)
            verifiers.submit(self._verify, chunk)

    def _verify(self, chunk: "_Chunk") -> None:
        chunk.checked = [(record, signed(record)) for record in chunk.records]
        self._loop.call_soon_threadsafe(self._verified_in_order)

    def _verified_in_order(self) -> None:
        while self._lane and self._lane[0].checked is not None:
            self._verified(self._lane.popleft().checked or [])

    def _verified(self, checked: list[tuple[Record, bool]]) -> None:
        relay, storable = self._relay, list[Record]()
        buckets: Buckets | None = relay.key_buckets
        for record, ok in checked:
            source: Source = record.source
            if not ok:
                relay.metrics.rejected["invalid"] += 1
                if relay.event_buckets is not None:
                    relay.event_buckets.take(source.ip, time.monotonic(), FORGED_COST)
                source.answered(record.id, False, "invalid: bad signature")
            elif (
                buckets is not None
                and record.pubkey not in relay.own_keys
                and relay.counts(source)
                and not buckets.take(record.pubkey, time.monotonic())
            ):
                relay.metrics.rejected["rate-limited"] += 1
                source.answered(record.id, False, "rate-limited: this key writes too fast")
            elif is_ephemeral(record.kind) or record.kind in WALLET_KINDS:
                if record.kind not in WALLET_KINDS:  # a wallet that was away hears it when it is sent again
                    self._remember(record)
                source.answered(record.id, True, "")
                relay.metrics.accepted[record.kind] += 1
                self._broadcast(record)
            else:
                storable.append(record)
        if storable:
            relay.store.submit(storable)

    def committed(self, batch: list[Record], removed: list[Removed]) -> None:
        """The store has made this batch durable (or could not)."""
        relay = self._relay
        rings, metrics = relay.rings, relay.metrics
        for record in batch:
            record.source.answered(record.id, record.accepted, record.message)
            if record.number:
                self.delivered = record.number
                self._remember(record)
                metrics.accepted[record.kind] += 1
                rings.put(record)
                self._broadcast(record)
            elif not record.accepted:
                metrics.rejected[record.message.partition(":")[0]] += 1
        for kind, created_at, raw in removed:
            rings.drop(kind, created_at, raw)
            self._recent.pop(raw[7:71].decode(), None)

    def _remember(self, record: Record) -> None:
        recent = self._recent
        recent[record.id] = record.sig
        if len(recent) > REMEMBERED:
            del recent[next(iter(recent))]

    def _broadcast(self, record: Record) -> None:
        """Send to every live subscription that matches, and to the listeners inside the process."""
        relay = self._relay
        for listener in relay.listeners:
            listener(record)
        if not relay.index.count:
            return
        matching = relay.index.matching(record)
        if not matching:
            return
        tail = record.raw + b"]"
        private = record.kind in relay.private
        involved = {record.pubkey, *record.values("p")} if private else set()
        relay.metrics.delivered += len(matching)
        for subscription in matching:
            connection = subscription.connection
            if private and involved.isdisjoint(connection.authed):
                continue
            if subscription.held is not None:
                if len(subscription.held) >= HELD:
                    connection.drop(subscription.name)
                    connection.refuse(subscription.name, "error: more events came in than this query could wait for")
                else:
                    subscription.held.append(record)
                continue
            if subscription.seen is not None and record.number:
                if record.number > subscription.seen_upto:
                    subscription.seen = None
                elif record.id.encode() in subscription.seen:
                    continue
            connection.push(subscription.prefix, tail)

    @property
    def waiting(self) -> int:
        """Events that are being verified."""
        return len(self._pending) + len(self._checked) + sum(len(chunk.records) for chunk in self._lane)

    def close(self) -> None:
        if self._verifiers is not None:
            self._verifiers.shutdown(cancel_futures=True)


class _Chunk:
    __slots__ = ("checked", "records")

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.checked: list[tuple[Record, bool]] | None = None
