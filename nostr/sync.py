"""Reconciling with a relay over NIP-77, and paging through it where it does not speak that."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from nostr import message
from nostr.client import Connection
from nostr.errors import NotSupportedByRelay, RelayUnreachable
from nostr.event import Event
from nostr.filter import Filter
from nostr.negentropy import Initiator, InvalidNegentropy, Items

FRAME_LIMIT = 60_000  # bytes; twice that in hex still fits the smallest usual message limit of 128 KiB
_WHOLE_SECOND = 5000  # events asked for where one second fills an answer
_AHEAD = 4  # requests for events by id at a time
_CONNECT = 10.0  # seconds
_LATER_ANSWERS = 60.0


@dataclass(frozen=True, slots=True)
class Difference:
    """Ids (hex) that only we hold and that only the relay holds, and the round trips it took to know."""

    have: frozenset[str]
    need: frozenset[str]
    rounds: int


async def reconcile(connection: Connection, filter: Filter, items: Items, *, patience: float = 10) -> Difference:
    """Compare `items` (everything of ours that matches) with the relay's. Nothing is transferred.

    `patience`: seconds to wait for the first answer; a relay without NIP-77 may stay silent.

    Raises NotSupportedByRelay (no NIP-77, or it finds the set too large), RelayUnreachable.
    """
    initiator = Initiator(items, FRAME_LIMIT)
    sid = connection.new_id()
    answers = connection.open_talk(sid)
    rounds = 0
    try:
        if not await connection.connected(_CONNECT):
            raise RelayUnreachable(connection.url, "not connected")
        connection.send_raw(message.neg_open(sid, filter, initiator.begin()))
        while True:
            try:
                async with asyncio.timeout(patience):
                    answer = await answers.get()
            except TimeoutError:
                if rounds:
                    raise RelayUnreachable(connection.url, "the reconciliation got stuck") from None
                raise NotSupportedByRelay(connection.url, "no answer to NEG-OPEN") from None
            if answer is None:
                raise RelayUnreachable(connection.url, "the connection broke during reconciliation")
            if isinstance(answer, message.NegError):
                raise NotSupportedByRelay(connection.url, answer.text)
            rounds, patience = rounds + 1, _LATER_ANSWERS
            following = initiator.step(_bytes(answer.payload))
            if following is None:
                break
            connection.send_raw(message.neg_msg(sid, following))
    except InvalidNegentropy as error:
        raise NotSupportedByRelay(connection.url, str(error)) from None
    finally:
        connection.close_talk(sid)
    return Difference(
        frozenset(item.hex() for item in initiator.have), frozenset(item.hex() for item in initiator.need), rounds
    )


async def pages(
    connection: Connection, filter: Filter, *, size: int = 500, timeout: float = 20
) -> AsyncIterator[Event]:
    """Everything stored that matches, newest first, by REQ after REQ with a falling `until`.

    Whatever the relay's own limit is: it goes on until an answer brings nothing new. Of one second it can get no more
    events than the relay's limit allows; negentropy can. Raises RelayUnreachable, RelayRefused.
    """
    until, left = filter.until, filter.limit
    seen: set[str] = set()
    while left is None or left > 0:
        ask = _part(filter, filter.since, until, size if left is None else min(size, left + len(seen)))
        events = await connection.fetch(ask, timeout=timeout)
        fresh = [event for event in events if event.id not in seen]
        if events and events[0].created_at == events[-1].created_at and len(events) > 1:  # one second fills the answer
            second = events[0].created_at
            whole = await connection.fetch(_part(filter, second, second, _WHOLE_SECOND), timeout=timeout)
            fresh = [event for event in whole if event.id not in seen]
            events = [*whole, *events]
            if not fresh and second > (filter.since or 0):
                until, seen = second - 1, set()
                continue
        if not fresh:
            return
        fresh = fresh[:left]
        for event in fresh:
            yield event
        if left is not None:
            left -= len(fresh)
        until = events[-1].created_at
        seen = {event.id for event in events if event.created_at == until}


async def fetch_ids(
    connection: Connection, ids: frozenset[str], *, size: int = 200, verify: bool = True
) -> AsyncIterator[Event]:
    """The events with these ids, as far as the relay gives them out; a few requests are under way at a time.

    `verify=False` leaves ids and signatures to the caller. Raises RelayUnreachable, RelayRefused.
    """
    ordered = sorted(ids)
    parts = (Filter(ids=ordered[at : at + size]) for at in range(0, len(ordered), size))
    asked: deque[asyncio.Task[list[Event]]] = deque()
    try:
        while True:
            while len(asked) < _AHEAD and (part := next(parts, None)) is not None:
                asked.append(asyncio.create_task(connection.fetch(part, timeout=30, verify=verify)))
            if not asked:
                return
            for event in await asked.popleft():
                yield event
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


def _part(f: Filter, since: int | None, until: int | None, limit: int) -> Filter:
    return Filter(
        ids=f.ids,
        authors=f.authors,
        kinds=f.kinds,
        tags=f.tags,
        since=since,
        until=until,
        limit=limit,
        search=f.search,
    )


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidNegentropy("the payload is not hex") from None
