"""Write policies: functions `(context, event) -> Reject | None`, made by named constructors.

`sane_defaults` lists what the settings ask for, cheap ones first. They run after the id is proved and before the
signature is, except the rate of a key, which counts only what the key has really signed.
"""

import importlib
import importlib.util
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nostr.event import is_ephemeral
from relay.errors import BadSettings
from relay.record import Record
from relay.settings import Rate, RelaySettings

WALLET_KINDS = frozenset({23194, 23195, 23196, 23197})
AUTH_KIND = 22242


@dataclass(frozen=True, slots=True)
class Reject:
    """`message` begins with a prefix of NIP-01 or NIP-42: `blocked: ...`."""

    message: str


@dataclass(slots=True)
class Context:
    """Who sends: address, keys proved by AUTH, the second it is, and whether the event claims one of our own keys."""

    ip: str
    authed: frozenset[str]
    now: int
    own: bool = False
    trusted_source: bool = False


Policy = Callable[[Context, Record], Reject | None]


@dataclass(slots=True)
class Buckets:
    """Token buckets by key. Full ones are forgotten, so memory follows the number of active senders."""

    rate: Rate
    most: int = 50_000
    _state: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, key: str, now: float, tokens: float = 1.0) -> bool:
        """Take tokens; False where there are not enough."""
        level, at = self._state.get(key, (float(self.rate.burst), now))
        level = min(float(self.rate.burst), level + (now - at) * self.rate.per_second)
        if level < tokens:
            self._state[key] = (level, now)
            return False
        if key not in self._state and len(self._state) >= self.most:
            self._forget(now)
        self._state[key] = (level - tokens, now)
        return True

    def _forget(self, now: float) -> None:
        burst, per_second = self.rate.burst, self.rate.per_second
        self._state = {k: v for k, v in self._state.items() if v[0] + (now - v[1]) * per_second < burst}
        while len(self._state) >= self.most:
            del self._state[next(iter(self._state))]


def basics(settings: RelaySettings) -> Policy:
    """What always applies, in one function since every event pays for it: size, number of tags, time (and
    NIP-40), no AUTH events (NIP-42), protected events from their author alone (NIP-70)."""
    most_bytes, most_tags = settings.max_event_bytes, settings.max_tags
    future, past = settings.future_seconds, settings.past_seconds
    long = Reject(f"invalid: event is longer than {most_bytes} bytes")
    many = Reject(f"invalid: event has more than {most_tags} tags")
    late = Reject(f"invalid: created_at is more than {future} seconds in the future")
    old = Reject(f"invalid: created_at is more than {past} seconds in the past")
    expired = Reject("invalid: event has expired")
    smuggled = Reject("invalid: kind 22242 belongs in an AUTH message")
    ask = Reject("auth-required: this event may only be published by its author")
    refuse = Reject("restricted: this event may only be published by its author")

    def check(context: Context, event: Record) -> Reject | None:
        if len(event.raw) > most_bytes:
            return long
        if len(event.tags) > most_tags:
            return many
        if event.created_at > context.now + future:
            return late
        if past is not None and event.created_at < context.now - past:
            return old
        if event.expires is not None and event.expires <= context.now:
            return expired
        if event.kind == AUTH_KIND:
            return smuggled
        if event.protected and event.pubkey not in context.authed:
            return refuse if context.authed else ask
        return None

    return check


def keeps_room(short_of_disk: Callable[[], bool]) -> Policy:
    """Strangers may not fill the disk that the wallet and the jobs of this node write to."""
    reject = Reject("error: the disk of this relay is nearly full")

    def check(context: Context, event: Record) -> Reject | None:
        if context.own or not short_of_disk() or is_ephemeral(event.kind) or event.kind in WALLET_KINDS:
            return None
        return reject

    return check


def auth_to_write() -> Policy:
    reject = Reject("auth-required: this relay takes events after AUTH only")
    return lambda context, _: None if context.authed or context.trusted_source else reject


def proof_of_work(bits: int) -> Policy:
    """NIP-13: so many leading zero bits, and a nonce tag that commits to at least as many."""
    reject = Reject(f"pow: {bits} leading zero bits are needed")

    def check(context: Context, event: Record) -> Reject | None:
        if context.own:
            return None
        if 256 - int.from_bytes(event.digest).bit_length() < bits:
            return reject
        committed = next((tag[2] for tag in event.tags if len(tag) > 2 and tag[0] == "nonce"), "")
        if committed and (not committed.isdigit() or int(committed[:4]) < bits):
            return Reject(f"pow: the nonce tag commits to less than {bits} bits")
        return None

    return check


def allowed_kinds(kinds: Collection[int]) -> Policy:
    allowed = frozenset(kinds)
    reject = Reject("blocked: this kind is not taken here")
    return lambda _, event: None if event.kind in allowed else reject


def blocked_kinds(kinds: Collection[int]) -> Policy:
    blocked = frozenset(kinds)
    reject = Reject("blocked: this kind is not taken here")
    return lambda _, event: reject if event.kind in blocked else None


def allowed_pubkeys(keys: Collection[str]) -> Policy:
    """Only these keys may write; a gift wrap counts for the one it is for, since its own key means nothing."""
    allowed = frozenset(keys)
    reject = Reject("restricted: this key may not write here")

    def check(context: Context, event: Record) -> Reject | None:
        if context.own or event.pubkey in allowed:
            return None
        if event.kind in (1059, 21059) and not allowed.isdisjoint(event.values("p")):
            return None
        return reject

    return check


def blocked_pubkeys(keys: Collection[str]) -> Policy:
    blocked = frozenset(keys)
    reject = Reject("blocked: this key may not write here")
    return lambda _, event: reject if event.pubkey in blocked else None


def plugin(path: str) -> Policy:
    """A policy from outside: `module:function` or `/path/file.py:function`. Raises BadSettings.

    What it raises counts as a rejection with `error`, so a broken plug-in never lets everything in.
    """
    where, _, name = path.rpartition(":")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            if spec is None or spec.loader is None:
                raise ImportError(where)
            module: Any = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
        function: Policy = getattr(module, name)
    except (ImportError, AttributeError, OSError, SyntaxError, ValueError) as error:
        raise BadSettings(f"relay.plugins: {path!r} can't be loaded: {error}") from error

    def check(context: Context, event: Record) -> Reject | None:
        try:
            return function(context, event)
        except Exception as error:  # foreign code: whatever it raises, the answer is no
            return Reject(f"error: policy {name} failed: {type(error).__name__}")

    return check


def sane_defaults(settings: RelaySettings) -> list[Policy]:
    """The policies that these settings ask for, cheapest first. Raises BadSettings for a plug-in that can't load."""
    made = [basics(settings)]
    if settings.auth_to_write:
        made.append(auth_to_write())
    if settings.min_pow:
        made.append(proof_of_work(settings.min_pow))
    if settings.allowed_kinds:
        made.append(allowed_kinds(settings.allowed_kinds))
    if settings.blocked_kinds:
        made.append(blocked_kinds(settings.blocked_kinds))
    if settings.allowed_pubkeys:
        made.append(allowed_pubkeys(settings.allowed_pubkeys))
    if settings.blocked_pubkeys:
        made.append(blocked_pubkeys(settings.blocked_pubkeys))
    return made + [plugin(path) for path in settings.plugins]
