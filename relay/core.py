"""The relay's live state: one object that the message handlers, HTTP handlers and federation share."""

import asyncio
import gc
import ipaddress
import logging
import shutil
import sys
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from nostr.clock import Clock, system_clock
from nostr.key import load_or_create
from relay import retention
from relay.connection import Connection, Outgoing
from relay.errors import StoreError
from relay.management import Management
from relay.metrics import Metrics, Sample
from relay.moderation import IPS, KEYS_ALLOWED, KINDS_ALLOWED, Moderation
from relay.policies import Buckets, Policy, keeps_room, sane_defaults
from relay.reading import Reading
from relay.record import Record
from relay.rings import Rings
from relay.settings import RelaySettings
from relay.store import Scope, SQLiteStore, Store
from relay.store.apply import host_of
from relay.store.interface import Row
from relay.store.plan import newest_of_kind
from relay.subscriptions import Index
from relay.syncing import Syncing
from relay.trust import WebOfTrust
from relay.writing import Source, Writing

log = logging.getLogger("relay")
SWEEP = 1.0
GC_THRESHOLDS = (10_000, 20, 50)  # events are freed by reference counts: look for cycles seldom
SWITCH_SECONDS = 0.0005  # verifying and writing threads get their turn sooner than after Python's 5 ms


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an event: the two last fields of its OK."""

    accepted: bool
    message: str


class Relay:
    """Made before the loop runs; `start` opens the store. `apply_settings` takes new settings while running."""

    def __init__(
        self,
        settings: RelaySettings,
        data: Path,
        *,
        own_keys: Collection[str] = (),
        clock: Clock = system_clock,
    ) -> None:
        self.settings = settings
        self.data = data
        self.clock = clock
        self._given_keys = frozenset(own_keys)
        self._keys_seen = 0
        self.own_keys = self._given_keys
        self.metrics = Metrics()
        self.index = Index()
        self.connections: set[Connection] = set()
        self.listeners: list[Callable[[Record], None]] = []
        self.more_samples: list[Callable[[], list[Sample]]] = []
        self.status_parts: dict[str, Callable[[], Any]] = {}
        self.more_retention: list[Callable[[], Awaitable[None]]] = []
        self.base_url = ""
        self.key = load_or_create(data / "keys" / "relay.key")
        self.base_settings = settings
        self.on_settings: list[Callable[[RelaySettings], None]] = []
        self.allowed_kinds: frozenset[int] = frozenset()
        self.trust: WebOfTrust | None = None
        self.policies: list[Policy] = []
        self.private: tuple[int, ...] = ()
        self.greets = True
        self.event_buckets: Buckets | None = None
        self.key_buckets: Buckets | None = None
        self.query_buckets: Buckets | None = None
        self.blocked_ips: frozenset[str] = frozenset()
        self.short_of_disk = False
        self.store: Store = SQLiteStore(
            data / "relay" / "relay.db",
            searchable=settings.search_kinds,
            hosts=lambda: self.hosts_with(""),
            readers=settings.reader_threads,
            query_seconds=settings.query_seconds,
            cache_mb=settings.cache_mb,
            clock=clock,
        )
        self.moderation = Moderation(self.store)
        self.admins: set[str] = set()
        self._trust_due = False
        self._use(settings)

    async def start(self) -> None:
        """Open the store. Raises StoreError."""
        self.look_for_keys()
        self.outgoing = Outgoing(asyncio.get_running_loop())
        self.writing = Writing(self)
        self.reading = Reading(self)
        self.syncing = Syncing(self)
        self.management = Management(self)
        self.rings = Rings(self._newest)
        await self.store.open(self.writing.committed)
        self.writing.delivered = self.store.assigned
        await self.moderation.load()
        self._use(self.base_settings)
        self._look_at_disk()
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Answer what is in flight, close the store."""
        self._sweeper.cancel()
        for connection in list(self.connections):
            connection.cut()
        self.writing.close()
        await self.store.close()

    def may_manage(self, key: str) -> bool:
        """Admins of the settings, the operator's key, and this node's owner and relay keys."""
        self.look_for_keys()
        return key in self.admins or key in self._stored_keys("owner.pub", "relay.pub")

    def look_for_keys(self) -> None:
        """Parts make their keys when they first start: learn of them. Cheap when nothing is new."""
        folder = self.data / "keys"
        changed = folder.stat().st_mtime_ns if folder.is_dir() else 0
        if changed != self._keys_seen:
            self._keys_seen = changed
            self.own_keys = self._given_keys | self._stored_keys("*.pub")

    def _stored_keys(self, *patterns: str) -> set[str]:
        folder = self.data / "keys"
        return {path.read_text().strip() for pattern in patterns for path in folder.glob(pattern)}

    def apply_settings(self, settings: RelaySettings) -> None:
        """Take new settings; no connection is dropped. Raises BadSettings and keeps the old ones."""
        self._use(settings)
        self._tell_settings()

    def decisions_changed(self) -> None:
        """The management API has changed something."""
        self._use(self.base_settings)
        self._tell_settings()

    def _tell_settings(self) -> None:
        for connection in self.connections:
            connection.settings_changed()
        for hear in self.on_settings:
            hear(self.settings)

    def _use(self, base: RelaySettings) -> None:
        facts, settings = self.moderation.facts, self.moderation.settings(base)
        keys, kinds = set(settings.allowed_pubkeys), set(settings.allowed_kinds)
        if keys:
            keys |= set(facts[KEYS_ALLOWED])
        if kinds:
            kinds |= {int(kind) for kind in facts[KINDS_ALLOWED]}
        merged = settings.model_copy(update={"allowed_pubkeys": list(keys), "allowed_kinds": list(kinds)})
        policies = sane_defaults(merged) + self.moderation.policies()
        policies.append(keeps_room(lambda: self.short_of_disk))
        if settings.trust_roots:
            trust = WebOfTrust({*settings.trust_roots, *facts[KEYS_ALLOWED]}, settings.trust_depth)
            if self.trust is None or (self.trust.roots, self.trust.depth) != (trust.roots, trust.depth):
                self.trust = trust
                self._trust_due = True
            policies.append(self.trust.policy())
        else:
            self.trust = None
        self.policies = policies
        self.base_settings, self.settings = base, settings
        self.allowed_kinds = frozenset(kinds)
        self.admins = {*settings.admins, *([settings.pubkey] if settings.pubkey else [])}
        self.private = tuple(settings.private_kinds)
        self.greets = bool(settings.private_kinds) or settings.auth_to_read or settings.auth_to_write
        self.event_buckets = Buckets(settings.event_rate) if settings.event_rate else None
        self.key_buckets = Buckets(settings.key_rate) if settings.key_rate else None
        self.query_buckets = Buckets(settings.query_rate) if settings.query_rate else None
        self.blocked_ips = frozenset(facts[IPS])

    @property
    def ws_url(self) -> str:
        """The address clients should use."""
        public = self.settings.public_url
        return public.replace("http", "ws", 1) if public and public.startswith("http") else public or self.base_url

    def counts(self, source: Source) -> bool:
        """True if rates apply to this sender: not to our own parts, nor to the machine itself."""
        if source.trusted or not source.authed.isdisjoint(self.own_keys):
            return False
        return not source.loopback or self.settings.limit_loopback

    def believable_host(self, request: web.Request) -> str:
        """The Host header of a request, or "" where it proves nothing.

        A stranger's relay could pass our challenge on and name itself in the header. So once `public_url` says who we
        are, the header counts only for clients of our own network (containers know us by other names).
        """
        if self.settings.public_url and not is_private(client_ip(request, self.settings.proxy_header)):
            return ""
        return request.host

    def hosts_with(self, asked: str) -> frozenset[str]:
        """The names this relay answers to: public URL, listening address, and `asked`, a believable Host header."""
        names = {host_of(self.settings.public_url or ""), host_of(self.base_url), host_of(f"ws://{asked}")}
        return frozenset(name for name in names if name)

    def is_own_url(self, url: str, asked: str) -> bool:
        """True if this absolute URL is the relay's own root (any scheme), as named publicly or by the Host header."""
        parts = urlsplit(url)
        return parts.path in ("", "/") and host_of(url) in self.hosts_with(asked)

    async def ingest(self, event: Any) -> Verdict:
        """Offer one decoded event from inside the process (federation, import). All policies apply but the rates."""
        return await self.offer(event)

    def offer(self, event: Any) -> "asyncio.Future[Verdict]":
        """`ingest` for those who keep many events on their way."""
        ticket = _Ticket(asyncio.get_running_loop().create_future())
        self.writing.offer(ticket, event)
        return ticket.done

    def _newest(self, kind: int, count: int) -> list[Row] | None:
        try:
            return self.store.glance((newest_of_kind(kind, count),), count, Scope())
        except StoreError:
            return None

    async def _sweep(self) -> None:
        """Every second what has expired goes; every minute trust, retention and idle syncs are looked at."""
        for beat in count():
            try:
                if self.trust is not None and (self._trust_due or beat % 60 == 0):
                    self._trust_due = False
                    await self.trust.refresh(self.store)
                self.look_for_keys()
                self._look_at_disk()
                for connection in list(self.connections):
                    connection.second_passed()
                if beat % 60 == 30:
                    self.syncing.close_idle()
                if beat % 600 == 60:
                    await self.tidy()
                await self.store.expire()
            except StoreError as error:
                log.warning("the sweep waits: %s", error)
            await asyncio.sleep(SWEEP)

    async def tidy(self) -> None:
        """Let go of what the rules of retention say, events and files. Raises StoreError."""
        await retention.apply(self.store, self.settings.retention, self.clock())
        for let_go in self.more_retention:
            await let_go()

    def _look_at_disk(self) -> None:
        short = shutil.disk_usage(self.data / "relay").free < self.settings.keep_free_bytes
        if short is not self.short_of_disk:
            self.short_of_disk = short
            log.warning("the disk is nearly full: strangers' events are refused" if short else "there is room again")


class _Ticket:
    """A sender inside the process."""

    ip = "inside"
    loopback = True
    trusted = True
    authed: frozenset[str] = frozenset()

    def __init__(self, done: "asyncio.Future[Verdict]") -> None:
        self.done = done

    def taken(self) -> None:
        """Nothing to count: whoever awaits the verdict bounds itself."""

    def reply(self, ident: str, accepted: bool, message: str) -> None:
        if not self.done.done():
            self.done.set_result(Verdict(accepted, message))

    answered = reply


def tune_interpreter() -> None:
    """For a process that moves many events: the relay, or an import."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*GC_THRESHOLDS)


STATE: web.AppKey[Relay] = web.AppKey("relay", Relay)
"""Where an application keeps its relay."""


def client_ip(request: web.Request, header: str | None) -> str:
    """The sender's address; where a proxy is trusted, the last entry of its header: the one it wrote itself."""
    if header:
        told = request.headers.get(header, "")
        if told:
            return told.rsplit(",", 1)[-1].strip()
    return request.remote or ""


def is_private(ip: str) -> bool:
    """True for addresses that are not of the open internet."""
    try:
        return ipaddress.ip_address(ip).is_private
    except ValueError:
        return False


def is_loopback(ip: str) -> bool:
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return False
