"""A worker makes itself known: profile, relay list, announcement, and a heartbeat that no inference can block.

It runs in the host process, whose loop never computes: engines are child processes with a lower priority. Announcements
go to one relay after the other, with a pause, because public relays limit their rate; a relay that asks for proof of
work gets it, mined in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from market.announcement import (
    HEARTBEAT_EVERY,
    Profile,
    build_announcement,
    build_heartbeat,
    build_profile,
    build_relay_list,
    build_withdrawal,
)
from nostr import message, nip13
from nostr.clock import Clock, sleep_or_jump
from nostr.event import Event
from nostr.key import SecretKey
from nostr.pool import Pool

log = logging.getLogger("dvms.heartbeat")

REFRESH: Final = 20 * 3600  # a new announcement at least once a day keeps it in clients' lists
RETRY: Final = 60
PAUSED: Final = "paused"
_LOOK_AGAIN: Final = 5.0
MOST_BITS: Final = 24
_WITHDRAW_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a heartbeat says beside being one."""

    status: str = "ready"
    queue: int = 0


class Herald:
    """`run` until cancelled, then `withdraw`. `spacing`: seconds between two relays."""

    def __init__(
        self,
        key: SecretKey,
        profile: Profile,
        pool: Pool,
        clock: Clock,
        *,
        pulse: Callable[[], Pulse] = Pulse,
        bits: int = 0,
        every: int = HEARTBEAT_EVERY,
        spacing: float = 2.0,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._key, self._profile, self._pool, self._clock = key, profile, pool, clock
        self._pulse, self._bits, self._every, self._spacing = pulse, bits, every, spacing
        self._sleep = sleep or partial(sleep_or_jump, clock)
        self.protected = False  # NIP-70: for this node only, no relay may carry it on
        self._last_beat: Event | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            group.create_task(self._announce())

    async def withdraw(self, *, retire: bool = False) -> None:
        """Take the heartbeat back (and for good the announcement), so that nobody sends jobs to a worker that stops."""
        gone = build_withdrawal(
            self._key,
            created_at=self._clock(),
            beat=self._last_beat.id if self._last_beat else None,
            retire=[self._profile.d] if retire else [],
        )
        await self._pool.publish(gone, timeout=_WITHDRAW_SECONDS)

    @property
    def _mark(self) -> list[list[str]]:
        return [["-"]] if self.protected else []

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            pulse = self._pulse()
            if pulse.status == PAUSED:
                await self._sleep(_LOOK_AGAIN)
                continue
            tags = [["queue", str(pulse.queue)], *self._mark]
            beat = build_heartbeat(
                self._key, self._profile.d, created_at=self._clock(), status=pulse.status, extra_tags=tags
            )
            self._last_beat = beat
            answers = await self._pool.publish(beat, timeout=30)
            if not any(ok.accepted for ok in answers.values()):
                log.info("the heartbeat reached no relay")
                await self._sleep(RETRY / 4)
            else:
                await self._sleep(max(0.0, began + self._every - loop.time()))

    async def _announce(self) -> None:
        while True:
            now = self._clock()
            profile = replace(self._profile, extra_tags=(*self._profile.extra_tags, *map(tuple, self._mark)))
            events = [
                build_profile(self._key, self._profile, created_at=now),
                build_relay_list(self._key, self._profile.relays, created_at=now),
                build_announcement(self._key, profile, created_at=now),
            ]
            if self._bits:
                events = [await self._mined(event, self._bits) for event in events]
            missing = set(self._pool.relays)
            tries = 0
            while missing and tries < 30:
                missing = await self._tell(events, missing)
                tries += 1
                await self._sleep(min(RETRY, 2.0**tries) if missing else 0)
            await self._sleep(REFRESH)

    async def _tell(self, events: list[Event], relays: set[str]) -> set[str]:
        """Publish to one relay after the other. Returns those to be tried again."""
        again = set()
        for n, relay in enumerate(sorted(relays)):
            if n:
                await self._sleep(self._spacing)
            for event in events:
                ok = (await self._pool.publish(event, [relay], timeout=20))[relay]
                if not ok.accepted and message.prefix(ok.message) == "pow":
                    event = await self._mined(event, _asked_bits(ok.message))
                    ok = (await self._pool.publish(event, [relay], timeout=20))[relay]
                if ok.accepted or message.prefix(ok.message) == "duplicate":
                    continue
                if ok.answered and message.prefix(ok.message) not in ("rate-limited", "error"):
                    log.warning("%s does not take the announcement: %s", relay, ok.message)
                    break
                again.add(relay)
                break
        return again

    async def _mined(self, event: Event, bits: int) -> Event:
        """The same event with proof of work (NIP-13)."""
        bits = min(bits, MOST_BITS)
        log.info("mining %d bits for kind %d", bits, event.kind)
        return await asyncio.to_thread(
            nip13.mine,
            self._key,
            bits,
            kind=event.kind,
            content=event.content,
            tags=event.tags,
            created_at=event.created_at,
        )


def _asked_bits(text: str) -> int:
    numbers = [int(word) for word in re.findall(r"\d+", text) if int(word) <= 64]
    return max(numbers, default=28)
