"""Getting answers to customers: which relays hear them, and where the files of a result live."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dvms.artefacts import Made, MadeFile
from market.job import JobRequest
from market.kinds import RELAY_LIST
from market.media import Media
from market.sealed import seal_file
from market.tags import parse_relay
from nostr.address import public_address
from nostr.blossom import BlossomClient
from nostr.clock import Clock
from nostr.errors import BlossomError, RelayError
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool

log = logging.getLogger("dvms.delivery")

MAX_ANSWER_RELAYS: Final = 10  # of the customer's choice, beside our own
_INBOX_LIFE: Final = 3600
_INBOX_ENTRIES: Final = 2000
_DNS_SECONDS: Final = 2.0


class UploadFailed(Exception):
    """No file server took the file; trying again later may help."""


class AnswerRelays:
    """Where the answers to a request go: the relays it names, its author's inbox relays (10002), and our own.

    Relays of a customer's choice at private addresses are left out: nobody makes this machine talk to its own network.
    """

    def __init__(self, pool: Pool, clock: Clock, *, private: bool = False) -> None:
        self._pool, self._clock, self._private = pool, clock, private
        self._inboxes: OrderedDict[str, tuple[int, tuple[str, ...]]] = OrderedDict()
        self._hosts: OrderedDict[str, bool] = OrderedDict()

    async def of(self, request: JobRequest, *, inbox: bool) -> tuple[str, ...]:
        """Relays for the next answer. `inbox` also asks for the author's relay list, at most a second or so."""
        named = list(request.relays)
        if inbox or request.customer in self._inboxes:
            named += await self._inbox(request.customer)
        own = self._pool.relays
        foreign = await self.safe(url for url in dict.fromkeys(named) if url not in own)
        return (*own, *foreign[:MAX_ANSWER_RELAYS])

    async def safe(self, urls: Iterable[str]) -> list[str]:
        """Those of the relays that we may talk to on a stranger's word."""
        candidates = [url for text in urls if (url := parse_relay(text))]
        if self._private:
            return candidates
        verdicts = await asyncio.gather(*(self._is_public(url) for url in candidates))
        own = self._pool.relays
        return [url for url, public in zip(candidates, verdicts, strict=True) if public or url in own]

    async def _is_public(self, url: str) -> bool:
        host = urlsplit(url).hostname or ""
        known = self._hosts.get(host)
        if known is not None:
            return known
        verdict = await host_is_public(host)
        self._hosts[host] = verdict
        if len(self._hosts) > _INBOX_ENTRIES:
            self._hosts.popitem(last=False)
        return verdict

    async def _inbox(self, customer: str) -> tuple[str, ...]:
        now = self._clock()
        known = self._inboxes.get(customer)
        if known is not None and known[0] > now:
            return known[1]
        relays: tuple[str, ...] = ()
        try:
            events = await self._pool.fetch(Filter(kinds=[RELAY_LIST], authors=[customer], limit=1), timeout=1.0)
        except RelayError:
            events = []
        if events:
            reading = [tag[1] for tag in events[0].tagged("r") if len(tag) > 1 and (len(tag) == 2 or tag[2] != "write")]
            relays = tuple(url for text in reading if (url := parse_relay(text)))[:MAX_ANSWER_RELAYS]
        self._inboxes[customer] = (now + _INBOX_LIFE, relays)
        if len(self._inboxes) > _INBOX_ENTRIES:
            self._inboxes.popitem(last=False)
        return relays


async def host_is_public(host: str) -> bool:
    """True where every address of the host is one of the public internet. False for a name that can't be resolved."""
    addresses = await _addresses(host)
    return host.endswith(".onion") or (bool(addresses) and all(map(public_address, addresses)))


async def host_is_private(host: str) -> bool:
    """True where every address of the host is one of this machine or its network."""
    if host == "localhost" or host.endswith((".local", ".internal", ".localhost")):
        return True
    addresses = await _addresses(host)
    return bool(addresses) and not any(map(public_address, addresses))


async def _addresses(host: str) -> list[str]:
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    if host == "localhost" or host.endswith((".local", ".internal", ".localhost", ".onion")):
        return []
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_DNS_SECONDS):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


class FileShelf:
    """Puts files on Blossom: the first server that takes a file is where it lives."""

    def __init__(self, servers: Sequence[str], key: SecretKey, clock: Clock) -> None:
        self._servers = [BlossomClient(server, key, clock=clock) for server in servers]

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(client.server for client in self._servers)

    async def put(self, made: Made, *, seal: bool = False) -> tuple[Media, ...]:
        """Upload every file of a result, posters included; `seal`: under a key of its own each. Raises UploadFailed."""
        return tuple([await (self._put_sealed(item) if seal else self._put_one(item)) for item in made.files])

    async def _put_one(self, item: MadeFile) -> Media:
        poster = await self._upload(item.poster, "image/jpeg") if item.poster is not None else ""
        return _described(item, await self._upload(item.path, item.mime), poster=poster)

    async def _put_sealed(self, item: MadeFile) -> Media:
        """The file as noise that only the result's reader can open. A poster would tell too much: it stays here."""
        noise = item.path.with_name(f"{item.path.name}.sealed")
        try:
            sealed = await asyncio.to_thread(seal_file, item.path, noise)
            url = await self._upload(noise, "application/octet-stream")
        except OSError as error:
            raise UploadFailed(f"{item.path.name} could not be sealed: {error.strerror}") from None
        finally:
            noise.unlink(missing_ok=True)
        return replace(_described(item, url), sha256=sealed.sha256, size=sealed.size, seal=sealed.seal)

    async def _upload(self, path: Path, mime: str) -> str:
        reasons = []
        for client in self._servers:
            try:
                return (await client.upload(path, mime)).url
            except (BlossomError, OSError) as error:
                reasons.append(str(error))
        if not self._servers:
            reasons.append("no file server is configured: set `blossom` in [dvm]")
        raise UploadFailed("; ".join(reasons))


def _described(item: MadeFile, url: str, *, poster: str = "") -> Media:
    return Media(
        url=url,
        sha256=item.sha256,
        mime=item.mime,
        size=item.size,
        dim=item.dim,
        seconds=item.seconds,
        blurhash=item.blurhash,
        alt=item.alt,
        poster=poster,
    )
