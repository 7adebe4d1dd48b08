"""The wallet service of the node (NIP-47): every part, page and outside app speaks to the bank through it.

One subscription on the relays hears all requests. A request that may change something is recorded in the transaction
that changes it, together with its answer; the answer is sent until a relay says OK, also after a restart. A replayed
request gets the recorded answer. Requests are heard from a bounded past only.
"""

import asyncio
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from nostr.clock import Clock, system_clock
from nostr.database import DatabaseError
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import InvalidKey, SecretKey
from nostr.pool import Pool
from wallet import books, connections, nip47
from wallet.bank import Bank, Claim
from wallet.connections import Connection, Renewal, Replayed, Scope
from wallet.interface import WalletError, WalletInfo, WalletRefused
from wallet.ledger import News, Report
from wallet.methods import METHODS, NOTIFICATIONS, Call, methods_of, notifications_of, told
from wallet.nip47 import Channel, NwcError, Uri

log = logging.getLogger("wallet")

STALE = 600  # seconds: a request that waited longer for us to come up is not carried out
SKEW = 3900  # seconds: how far the clock of a live client may be off, either way
_SEEN = 20_000  # request ids in memory; the ledger's file remembers those that changed something
_RESEND = (1, 2, 5, 15, 60, 300)  # seconds between attempts to deliver an answer
_GIVE_UP = 86400  # seconds after which nobody waits for an answer any more
_FRESH = 30  # seconds for which the backend's word on itself is good
_FLUSH = 0.05  # seconds in which delivery notes are gathered


@dataclass(slots=True)
class Line:
    """A connection at work: its row, its service key, its channel, its allowance of requests.

    `speaks_nip44`: its client has shown that it needs no notifications in the older encryption.
    """

    row: Connection
    key: SecretKey
    channel: Channel
    allowance: "Allowance"
    speaks_nip44: bool = False


class Allowance:
    """A token bucket: `rate` a second, two seconds' worth at once."""

    __slots__ = ("_left", "_rate", "_refilled")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._left = 2 * rate
        self._refilled = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._left = min(self._left + (now - self._refilled) * self._rate, 2 * self._rate)
        self._refilled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Ignored(Exception):
    """The request gets no answer."""


class WalletService:
    """An async context manager; serves from entry to exit. `relays` are what connection URIs name."""

    def __init__(
        self,
        bank: Bank,
        pool: Pool,
        *,
        alias: str = "timmy",
        pubkey: str | None = None,
        relays: Sequence[str] = (),
        clock: Clock = system_clock,
        requests_per_second: float = 500,
    ) -> None:
        self.bank = bank
        self.pool = pool
        self.alias = alias
        self.pubkey = pubkey
        self.clock = clock
        self.relays = tuple(relays) or pool.relays
        self._rate = requests_per_second
        self._strangers = Allowance(5)
        self._lines: dict[str, Line] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._waiting: dict[str, list[tuple[str, int, str, str]]] = {}
        self._delivered: list[str] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._subscription: Any = None
        self._listener: asyncio.Task[None] | None = None
        self._live = False
        self._info: WalletInfo | None = None
        self._informed = 0.0

    async def __aenter__(self) -> Self:
        for row, secret in await self.bank.db.write(connections.every):
            self._add_line(row, secret)
        await self._resume()
        self.bank.listen(self._hear_bank)
        self.pool.listen(self._relay_changed)
        await self._listen()
        self._spawn(self._publish_infos())
        self._spawn(self._note_deliveries())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._subscription is not None:
            await self._subscription.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._flush()

    # --- connections ---

    async def connect(
        self,
        name: str,
        *,
        account: str,
        scopes: frozenset[Scope],
        budget_msat: int | None = None,
        renewal: Renewal = Renewal.NEVER,
        nip04: bool = True,
        client_pubkey: str | None = None,
        client: SecretKey | None = None,
        claim: Claim | None = None,
    ) -> Uri | Connection:
        """A new connection; its URI, unless the client brought its own public key. Raises WalletRefused, Replayed."""
        if account in (*books.WORLD, books.TRANSIT):
            raise WalletRefused("RESTRICTED", f"{account} is nobody's account")
        service = SecretKey.generate()
        client = client or SecretKey.generate()
        now = self.clock()

        def work(conn: Any) -> Connection:
            if claim is not None:
                connections.claim(conn, claim.event_id, claim.connection, claim.method, claim.scheme, now)
            identity = connections.add(
                conn,
                name=name,
                account=books.open_account(conn, account, now),
                service_secret=service.hex,
                service_pubkey=service.public,
                client_pubkey=client_pubkey or client.public,
                scopes=scopes,
                now=now,
                budget_msat=budget_msat,
                renewal=renewal,
                nip04=nip04,
            )
            return connections.get(conn, identity)

        row = await self.bank.db.write(work)
        self._add_line(row, service.hex)
        await self._listen()
        await self._publish_info(self._lines[row.service_pubkey])
        if client_pubkey is not None:
            return row
        return Uri(service.public, self.relays, client)

    async def revoke(self, name: str) -> Connection:
        """Raises WalletRefused where there is no such connection."""
        row = await self.bank.db.write(lambda conn: connections.revoke(conn, name, self.clock()))
        self._lines[row.service_pubkey].row = row
        return row

    def _add_line(self, row: Connection, secret: str) -> None:
        key = SecretKey.from_hex(secret)
        try:
            channel = Channel(key, row.client_pubkey)
        except InvalidKey:
            log.error("the connection %s has a client key that is no key", row.name)
            return
        self._lines[row.service_pubkey] = Line(row, key, channel, Allowance(self._rate))

    async def backend_info(self) -> WalletInfo:
        """What the backend says of itself, asked at most every half minute; the last word where it is away."""
        now = time.monotonic()
        if self._info is None or now - self._informed > _FRESH:
            try:
                self._info = await self.bank.backend.info()
                self._informed = now
            except (WalletError, OSError, TimeoutError) as error:
                log.warning("the backend does not answer: %s", error)
                return self._info or WalletInfo("the wallet behind this service is away", self.bank.caps)
        return self._info

    # --- listening ---

    async def _listen(self) -> None:
        """(Re)subscribe for the connections there are now."""
        old = self._subscription
        self._subscription = self.pool.subscribe(
            Filter(kinds=[nip47.REQUEST], tags={"p": list(self._lines)}, since=self.clock() - SKEW), overlap=STALE
        )
        self._listener = self._spawn(self._read(self._subscription))
        if old is not None:
            await old.close()

    async def ready(self) -> None:
        """Return once a relay forwards requests to us."""
        await self._subscription.eose()

    async def _read(self, subscription: Any) -> None:
        live = self._spawn(self._become_live(subscription))
        try:
            async for event in subscription:
                self._accept(event)
        finally:
            live.cancel()

    async def _become_live(self, subscription: Any) -> None:
        await subscription.eose()
        await asyncio.sleep(1)
        self._live = True

    def _accept(self, event: Event) -> None:
        now = self.clock()
        age = now - event.created_at
        line = self._lines.get(event.first("p") or "")
        if event.kind != nip47.REQUEST or line is None or event.id in self._seen:
            return
        if event.expiration is not None and event.expiration < now:
            return
        if abs(age) > SKEW or (not self._live and age > STALE):
            log.info("a request of %s is %d s old: ignored", line.row.name, age)
            return
        self._seen[event.id] = None
        if len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
        self._spawn(self._serve(event, line))

    async def _serve(self, event: Event, line: Line) -> None:
        scheme = nip47.scheme_of(event)
        method = ""
        try:
            call = self._read_request(event, line, scheme)
            method = call.method
            answer = await METHODS[method].handle(self, call)
        except Replayed as replay:
            answer, scheme = replay.request.answer, replay.request.scheme
        except Ignored:
            return
        except WalletRefused as error:
            answer = nip47.error_text(method, error)
        except (WalletError, OSError, TimeoutError) as error:  # a payment is given to the backend later: nothing left
            code = error.code if isinstance(error, WalletError) else "INTERNAL"
            answer = nip47.error_text(method, NwcError(code, str(error) or "the wallet is away", certain=True))
        except (DatabaseError, sqlite3.Error) as error:
            log.critical("the ledger's file: %s", error)
            answer = nip47.error_text(method, NwcError("INTERNAL", "the ledger cannot be written", certain=True))
        if answer is not None:
            changes = method in METHODS and METHODS[method].changes
            await self._deliver(line, event.id, event.pubkey, scheme, answer, durable=changes)

    def _read_request(self, event: Event, line: Line, scheme: str) -> Call:
        """Raises NwcError for everything that is wrong before the method is looked at."""
        if event.pubkey != line.row.client_pubkey and not self._strangers.take():
            raise Ignored
        if event.pubkey != line.row.client_pubkey or line.row.revoked_at is not None:
            raise NwcError("UNAUTHORIZED", "this key has no wallet connected here")
        if scheme not in (nip47.NIP44, nip47.NIP04) or (scheme == nip47.NIP04 and not line.row.nip04):
            offered = "nip44_v2 and nip04" if line.row.nip04 else "nip44_v2"
            raise NwcError("UNSUPPORTED_ENCRYPTION", f"this service speaks {offered}")
        if not line.allowance.take():
            raise NwcError("RATE_LIMITED", "too many requests: wait a second")
        try:
            request = line.channel.open(scheme, event.content)
        except ValueError:
            raise NwcError("OTHER", "the request cannot be decrypted or is not JSON", certain=True) from None
        line.speaks_nip44 |= scheme == nip47.NIP44
        method, params = request.get("method"), request.get("params")
        if not isinstance(method, str) or method not in METHODS:
            raise NwcError("NOT_IMPLEMENTED", "there is no such method here")
        if params is not None and not isinstance(params, dict):
            raise NwcError("OTHER", "params: not an object", certain=True)
        needed = METHODS[method].scopes
        if needed and not any(line.row.may(scope) for scope in needed):
            raise NwcError("RESTRICTED", f"the connection {line.row.name} may not {method}")
        return Call(line.row, method, params or {}, Claim(event.id, line.row.id, method, scheme))

    # --- answering ---

    async def _deliver(
        self, line: Line, request_id: str, client: str, scheme: str, answer: str, *, durable: bool
    ) -> None:
        """Send an answer until a relay takes it."""
        if scheme not in (nip47.NIP44, nip47.NIP04):
            scheme = nip47.NIP44
        channel = line.channel if client == line.row.client_pubkey else Channel(line.key, client)
        event = line.key.sign(
            kind=nip47.RESPONSE,
            content=channel.seal_text(scheme, answer),
            tags=[("p", client), ("e", request_id)],
            created_at=self.clock(),
        )
        started, tries = time.monotonic(), 0
        while True:
            results = await self.pool.publish(event, timeout=10)
            if any(ok.accepted for ok in results.values()):
                break
            if time.monotonic() - started > _GIVE_UP:
                log.error("an answer for %s was taken by no relay for a day", line.row.name)
                break
            reasons = {ok.message for ok in results.values()} or {"no relay"}
            log.warning("an answer for %s is not delivered yet: %s", line.row.name, "; ".join(sorted(reasons)))
            await asyncio.sleep(_RESEND[min(tries, len(_RESEND) - 1)])
            tries += 1
        if durable:
            self._delivered.append(request_id)

    async def _note_deliveries(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH)
            await self._flush()

    async def _flush(self) -> None:
        if self._delivered:
            ids, self._delivered = self._delivered, []
            await self.bank.db.write(lambda conn: connections.delivered(conn, ids))

    async def _resume(self) -> None:
        """After a restart: deliver what was answered, wait again for what was not."""
        by_id = {line.row.id: line for line in self._lines.values()}
        since = self.clock() - _GIVE_UP
        for request in await self.bank.db.write(lambda conn: connections.undelivered(conn, since)):
            line = by_id.get(request.connection)
            if line is not None and request.answer is not None:
                self._seen[request.event_id] = None
                self._spawn(
                    self._deliver(
                        line, request.event_id, line.row.client_pubkey, request.scheme, request.answer, durable=True
                    )
                )
        rows = await self.bank.db.fetch("SELECT * FROM requests WHERE waits_for IS NOT NULL AND answer IS NULL")
        for row in rows:
            waiter = (row["event_id"], row["connection"], row["scheme"], row["method"])
            self._waiting.setdefault(row["waits_for"], []).append(waiter)

    async def answer_later(self, call: Call, payment_hash: str) -> None:
        """The request of this call is answered when the payment ends."""
        claim = call.claim
        waiter = (claim.event_id, claim.connection, claim.scheme, claim.method)
        self._waiting.setdefault(payment_hash, []).append(waiter)
        payment = await self.bank.payment(payment_hash)
        if payment is not None and payment.ended:  # it ended between the transaction and this line
            await self._answer_waiting(payment_hash)

    async def _answer_waiting(self, payment_hash: str) -> None:
        waiters = self._waiting.pop(payment_hash, [])
        payment = await self.bank.payment(payment_hash) if waiters else None
        if payment is None:
            return
        by_id = {line.row.id: line for line in self._lines.values()}
        for event_id, identity, scheme, method in waiters:
            line = by_id.get(identity)
            if line is not None:
                text = nip47.payment_text(payment, method)
                self._spawn(self._deliver(line, event_id, line.row.client_pubkey, scheme, text, durable=True))

    # --- telling ---

    def _hear_bank(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if report.news in (News.SENT, News.FAILED) and report.payment_hash in self._waiting:
                self._spawn(self._answer_waiting(report.payment_hash))
            lines = [
                line
                for line in self._lines.values()
                if line.row.account == report.account and line.row.may(Scope.NOTIFY)
            ]
            if lines and report.news in NOTIFICATIONS:
                self._spawn(self._notify(report, lines))

    async def _notify(self, report: Report, lines: Sequence[Line]) -> None:
        """Notifications are best effort by their nature: a client that was away looks invoices up."""
        body = {"notification_type": NOTIFICATIONS[report.news], "notification": await told(self, report)}
        for line in lines:
            schemes = [(nip47.NOTIFICATION, nip47.NIP44)]
            if line.row.nip04 and not line.speaks_nip44:
                schemes.append((nip47.NOTIFICATION_NIP04, nip47.NIP04))
            for kind, scheme in schemes:
                event = line.key.sign(
                    kind=kind,
                    content=line.channel.seal(scheme, body),
                    tags=[("p", line.row.client_pubkey)],
                    created_at=self.clock(),
                )
                await self.pool.publish(event, timeout=10)

    def _relay_changed(self, url: str, state: str) -> None:
        if state == "up":
            self._spawn(self._publish_infos())

    async def _publish_infos(self) -> None:
        for line in list(self._lines.values()):
            if line.row.revoked_at is None:
                await self._publish_info(line)

    async def _publish_info(self, line: Line) -> None:
        methods = methods_of(line.row)
        told = notifications_of(line.row)
        tags = [("encryption", "nip44_v2 nip04" if line.row.nip04 else "nip44_v2")]
        if told:
            tags.append(("notifications", " ".join(told)))
        event = line.key.sign(
            kind=nip47.INFO,
            content=" ".join([*methods, *(["notifications"] if told else [])]),
            tags=tags,
            created_at=self.clock(),
        )
        await self.pool.publish(event, timeout=10)

    def _spawn(self, work: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("a task of the wallet service died", exc_info=task.exception())
