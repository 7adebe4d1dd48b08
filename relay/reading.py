"""Queries: REQ and COUNT. Subscribe first, then look, then EOSE, so that no event falls between."""

import hashlib
import time
from typing import TYPE_CHECKING, Any

import orjson

from relay.connection import HEADS, SOFT_BYTES, Connection, frame_head
from relay.errors import Refused, StoreError
from relay.filters import Want, parse_filter
from relay.store.interface import Row, Scope, ids_of
from relay.subscriptions import Subscription

if TYPE_CHECKING:
    from relay.core import Relay

NAME_LENGTH = 64
SLICE = 256 * 1024
VALUES_HELD = 25_000  # filter values that all subscriptions of one connection may wait for
_dumps = orjson.dumps
_HEX = frozenset("0123456789abcdef")


class Reading:
    """Answers REQ and COUNT of all connections."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay

    def request(self, connection: Connection, message: list[Any]) -> None:
        """REQ: stored events, EOSE, then live ones until CLOSE."""
        relay = self._relay
        relay.metrics.requests += 1
        name = message[1]
        try:
            wants = self.check(connection, name, message[2:])
            scope = self.permit(connection, wants)
            open_now = connection.subscriptions
            if name not in open_now and len(open_now) >= relay.settings.max_subscriptions:
                raise Refused("rate-limited", f"more than {relay.settings.max_subscriptions} open subscriptions")
        except Refused as refused:
            if type(name) is str:
                connection.drop(name)
            connection.refuse(name, str(refused))
            return
        if name in open_now:
            connection.drop(name)
        subscription = Subscription(connection, name, wants)
        open_now[name] = subscription
        relay.index.add(subscription)
        if len(subscription.filed) > 100 and sum(len(one.filed) for one in open_now.values()) > VALUES_HELD:
            connection.drop(name)
            connection.refuse(name, f"rate-limited: more than {VALUES_HELD} values in all open subscriptions")
            return
        started = time.perf_counter()
        rows = self._from_rings(wants)
        if rows is None and not any(want.search for want in wants):
            try:
                rows = relay.store.glance(wants, relay.settings.max_limit, scope)
            except StoreError as error:
                self._fail(subscription, error)
                return
        if rows is None:
            connection.run(self._answer_later(subscription, scope))
            return
        relay.metrics.query_seconds += time.perf_counter() - started
        self._answer(subscription, rows)

    def check(self, connection: Connection, name: Any, filters: list[Any]) -> tuple[Want, ...]:
        """The filters of a query. Raises Refused."""
        relay, settings = self._relay, self._relay.settings
        if type(name) is not str or not 0 < len(name) <= NAME_LENGTH:
            raise Refused("invalid", f"a subscription id is a string of 1 to {NAME_LENGTH} characters")
        if not filters:
            raise Refused("invalid", "no filter")
        if len(filters) > settings.max_filters:
            raise Refused("invalid", f"more than {settings.max_filters} filters")
        buckets = relay.query_buckets
        if buckets is not None and relay.counts(connection) and not buckets.take(connection.ip, time.monotonic()):
            raise Refused("rate-limited", "too many queries, slow down")
        wants = tuple(parse_filter(value, settings.max_filter_values) for value in filters)
        for want in wants:
            if want.limit is None:
                want.limit = settings.default_limit
        return wants

    def permit(self, connection: Connection, wants: tuple[Want, ...]) -> Scope:
        """What of this the client may see. Raises Refused where it must AUTH first."""
        relay = self._relay
        if relay.settings.auth_to_read and not connection.authed:
            raise Refused("auth-required", "this relay answers after AUTH only")
        private = relay.private
        if private and not connection.authed:
            for want in wants:
                if want.kinds is not None and want.kinds and want.kinds.issubset(private):
                    raise Refused("auth-required", "these kinds are served to their sender and receiver only")
        return connection.scope()

    def _from_rings(self, wants: tuple[Want, ...]) -> list[Row] | None:
        """`kinds` with a limit, and nothing else but time, comes from memory."""
        if len(wants) != 1:
            return None
        want, relay = wants[0], self._relay
        if (
            want.kinds is None
            or not want.kinds
            or want.ids is not None
            or want.authors is not None
            or want.tags
            or want.search
            or len(want.kinds) > 16
            or relay.store.has_expired()
            or not want.kinds.isdisjoint(relay.private)
        ):
            return None
        limit = min(want.limit or 0, relay.settings.max_limit)
        if limit <= 0 or want.impossible:
            return []
        return relay.rings.newest(want.kinds, limit, want.since, want.until)

    async def _answer_later(self, subscription: Subscription, scope: Scope) -> None:
        relay, connection = self._relay, subscription.connection
        started = time.perf_counter()
        try:
            rows = await relay.store.query(subscription.wants, relay.settings.max_limit, scope)
        except StoreError as error:
            self._fail(subscription, error)
            return
        finally:
            relay.metrics.query_seconds += time.perf_counter() - started
            relay.metrics.slow_queries += 1
        if connection.subscriptions.get(subscription.name) is subscription:
            self._answer(subscription, rows)

    def _fail(self, subscription: Subscription, error: StoreError) -> None:
        connection = subscription.connection
        if connection.subscriptions.get(subscription.name) is subscription:
            connection.drop(subscription.name)
            connection.refuse(subscription.name, f"error: {error}")

    def _answer(self, subscription: Subscription, rows: list[Row]) -> None:
        relay, connection, prefix = self._relay, subscription.connection, subscription.prefix
        relay.metrics.events_sent += len(rows)
        assigned = relay.store.assigned
        if assigned != relay.writing.delivered or subscription.held:
            subscription.seen, subscription.seen_upto = ids_of(rows), assigned
        parts: list[bytes] = []
        fixed, size, heads = len(prefix) + 1, 0, HEADS
        for at, (_, raw) in enumerate(rows):
            length = fixed + len(raw)
            size += length
            parts += (heads[length] if length < 4096 else frame_head(length), prefix, raw, b"]")
            if size > SOFT_BYTES:
                connection.run(self._send_slowly(subscription, parts, rows[at + 1 :]))
                return
        connection.push_all(parts)
        self._finish(subscription)

    async def _send_slowly(self, subscription: Subscription, parts: list[bytes], rows: list[Row]) -> None:
        """A long answer, in slices no faster than the client reads."""
        connection, prefix = subscription.connection, subscription.prefix
        fixed = len(prefix) + 1
        size = SLICE
        for _, raw in rows:
            if size >= SLICE:
                if not await self._sent(subscription, parts):
                    return
                parts, size = [], 0
            size += fixed + len(raw)
            parts += (frame_head(fixed + len(raw)), prefix, raw, b"]")
        if await self._sent(subscription, parts):
            self._finish(subscription)
        elif not connection.closed:
            connection.drop(subscription.name)

    @staticmethod
    async def _sent(subscription: Subscription, parts: list[bytes]) -> bool:
        connection = subscription.connection
        if connection.subscriptions.get(subscription.name) is not subscription:
            return False
        if parts:
            connection.push_all(parts)
        return await connection.drained(SOFT_BYTES)

    def _finish(self, subscription: Subscription) -> None:
        """EOSE, then what came in meanwhile."""
        connection = subscription.connection
        connection.send(b'["EOSE",' + _dumps(subscription.name) + b"]")
        held, subscription.held = subscription.held or [], None
        seen = subscription.seen or set()
        for record in held:
            if record.id.encode() not in seen:
                connection.push(subscription.prefix, record.raw + b"]")

    def count(self, connection: Connection, message: list[Any]) -> None:
        """NIP-45: how many events match, with HyperLogLog registers where one tag value is asked for."""
        self._relay.metrics.counts += 1
        name = message[1]
        try:
            wants = self.check(connection, name, message[2:])
            scope = self.permit(connection, wants)
        except Refused as refused:
            connection.refuse(name, str(refused))
            return
        connection.run(self._count_later(connection, name, wants, scope))

    async def _count_later(self, connection: Connection, name: str, wants: tuple[Want, ...], scope: Scope) -> None:
        store = self._relay.store
        try:
            answer: dict[str, Any] = {"count": await store.count(wants, scope)}
            offset = _hll_offset(wants)
            if offset is not None:
                answer["hll"] = _hll(await store.authors(wants[0], scope), offset)
        except StoreError as error:
            connection.refuse(name, f"error: {error}")
            return
        connection.send(_dumps(["COUNT", name, answer]))


def _hll_offset(wants: tuple[Want, ...]) -> int | None:
    """NIP-45: where in the public key the register is read, for a filter that names exactly one tag value."""
    if len(wants) != 1 or len(wants[0].tags) != 1:
        return None
    (pairs,) = wants[0].tags.values()
    if len(pairs) != 1:
        return None
    ((_, value),) = pairs
    if value.count(":") >= 2:
        value = value.split(":", 2)[1]
    if len(value) != 64 or not _HEX.issuperset(value):
        value = hashlib.sha256(value.encode()).hexdigest()
    return int(value[32], 16) + 8


def _hll(pubkeys: list[bytes], offset: int) -> str:
    registers = bytearray(256)
    for pubkey in pubkeys:
        rest = pubkey[offset + 1 :]
        zeros = len(rest) * 8 - int.from_bytes(rest).bit_length()
        index = pubkey[offset]
        registers[index] = max(registers[index], zeros + 1)
    return registers.hex()
