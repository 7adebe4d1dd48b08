"""What operators decide while the relay runs (NIP-86), kept in the store and joined with the settings."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from relay import policies
from relay.filters import Want
from relay.policies import Policy
from relay.record import Record
from relay.settings import RelaySettings
from relay.store.interface import Store

KEYS_BANNED, KEYS_ALLOWED, EVENTS_BANNED, EVENTS_ALLOWED = "banned_key", "allowed_key", "banned_event", "allowed_event"
KINDS_ALLOWED, KINDS_BANNED, IPS, TEXTS = "allowed_kind", "banned_kind", "blocked_ip", "text"
SPACES = (
    KEYS_BANNED,
    KEYS_ALLOWED,
    EVENTS_BANNED,
    EVENTS_ALLOWED,
    KINDS_ALLOWED,
    KINDS_BANNED,
    IPS,
    TEXTS,
)
REMOVED_AT_ONCE = 100_000


@dataclass(slots=True)
class Moderation:
    """Facts by space: `facts[KEYS_BANNED]["<hex>"] = "reason"`. `TEXTS` overrides name, description and icon."""

    store: Store
    facts: dict[str, dict[str, Any]] = field(default_factory=lambda: {space: {} for space in SPACES})

    async def load(self) -> None:
        for space in SPACES:
            self.facts[space] = await self.store.facts(space)

    async def set(self, space: str, key: str, value: Any) -> None:
        """Keep a fact; None forgets it. Durable when this returns."""
        await self.store.remember(space, key, value)
        if value is None:
            self.facts[space].pop(key, None)
        else:
            self.facts[space][key] = value

    def settings(self, base: RelaySettings) -> RelaySettings:
        """The settings with what was changed over the management API."""
        return base.model_copy(update=self.facts[TEXTS]) if self.facts[TEXTS] else base

    def policies(self) -> list[Policy]:
        """What the decisions ask for, beside the policies of the settings."""
        made: list[Policy] = []
        if self.facts[EVENTS_BANNED]:
            made.append(_banned_events(frozenset(self.facts[EVENTS_BANNED])))
        if self.facts[KEYS_BANNED]:
            made.append(policies.blocked_pubkeys(self.facts[KEYS_BANNED]))
        if self.facts[KINDS_BANNED]:
            made.append(policies.blocked_kinds([int(kind) for kind in self.facts[KINDS_BANNED]]))
        return made

    async def purge(self, want: Want) -> int:
        """Remove what a ban is about."""
        total = 0
        while removed := await self.store.remove(want, 1000):
            total += removed
            if total >= REMOVED_AT_ONCE:
                break
            await asyncio.sleep(0)
        return total


def _banned_events(ids: frozenset[str]) -> Policy:
    reject = policies.Reject("blocked: this event is banned here")

    def check(_: policies.Context, event: Record) -> policies.Reject | None:
        return reject if event.id in ids else None

    return check
