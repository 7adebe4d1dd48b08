"""A wallet elsewhere, over Nostr Wallet Connect (NIP-47): the client side, as a `Wallet`.

Answers are matched by author and request id alone, since services differ in the rest. An answer that does not say for
certain that a payment failed is followed by a look-up; what stays open is PENDING or UNKNOWN, never FAILED.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

from nostr import nip04
from nostr.clock import Clock, system_clock
from nostr.errors import RelayRefused, RelayUnreachable
from nostr.event import Event
from nostr.filter import Filter
from nostr.pool import Pool
from wallet import bolt11, nip47
from wallet.interface import (
    Caps,
    Invoice,
    InvoiceState,
    NotSupported,
    Outcome,
    PayResult,
    WalletInfo,
    WalletRefused,
    WalletUnreachable,
)
from wallet.ledger import hash_of
from wallet.nip47 import CERTAIN, Channel, NwcError, Uri

log = logging.getLogger("wallet")

_READ_TIMEOUT = 10.0
_MADE_TIMEOUT = 30.0
_PAGE = 20  # transactions a page, what the protocol advises
_LAST_LOOK = 2.0  # seconds that one look-up gets after the time of a payment is over
_LOOK = (0.5, 1, 2, 4, 8)  # seconds between look-ups of a payment without an outcome
_SKEW = 3900  # seconds the clock of the service may be off
_POLL = 10.0
# Seconds after which an unanswered request, the same event, is sent again: no relay stores it, and a service that was
# just restarting has not seen it. A service acts on one id once.
_REPEAT = (3, 6, 12, 24)
_TOLD, _FRESH = 2.0, 60  # seconds for which a notification answers the look-up it causes, and its own age at most
_NETWORKS = {"mainnet": "bitcoin", "bitcoin": "bitcoin", "testnet": "testnet", "signet": "signet", "regtest": "regtest"}


class NoAnswer(WalletUnreachable):
    """The service did not answer in time. Whether it acted is not known."""


class NotSent(WalletUnreachable):
    """Every relay refused the request: the service never saw it."""


class NwcWallet:
    """Enter it before use; that waits up to `patience` seconds for the service and raises WalletUnreachable."""

    def __init__(
        self, uri: Uri | str, *, pool: Pool | None = None, clock: Clock = system_clock, patience: float = 15
    ) -> None:
        self.uri = Uri.parse(uri) if isinstance(uri, str) else uri
        self.clock = clock
        self.caps = Caps(network="bitcoin")
        self._patience = patience
        self._own_pool = pool is None
        self._pool = pool or Pool(self.uri.relays, key=self.uri.secret)
        self._channel = Channel(self.uri.secret, self.uri.service)
        self._scheme = nip47.NIP44
        self._notifies = False
        self._info = WalletInfo("", self.caps)
        self._pending: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._news: list[asyncio.Queue[str]] = []
        self._told: dict[str, tuple[float, Invoice]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._subscription: Any = None

    async def __aenter__(self) -> Self:
        if self._own_pool:
            await self._pool.__aenter__()
        try:
            self._subscription = self._pool.subscribe(
                Filter(
                    kinds=[nip47.RESPONSE, nip47.NOTIFICATION, nip47.NOTIFICATION_NIP04],
                    authors=[self.uri.service],
                    since=self.clock() - _SKEW,
                ),
                relays=None if self._own_pool else self.uri.relays,
            )
            self._reader = asyncio.create_task(self._read())
            await self._introduce()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._subscription is not None:
            await self._subscription.close()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._own_pool:
            await self._pool.__aexit__(None, None, None)

    async def _introduce(self) -> None:
        """Learn the service's encryption from its info event, then who and what it is."""
        deadline = asyncio.get_running_loop().time() + self._patience
        while True:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise WalletUnreachable(
                    f"no wallet service answers on {', '.join(self.uri.relays)} within {self._patience:g} s"
                )
            await self._read_offer(min(left, 5))
            try:
                await self._read_info(min(left, 5))
            except NwcError as error:
                if error.code == "UNAUTHORIZED":
                    raise WalletRefused(error.code, f"the wallet service knows no such connection: {error}") from None
                log.info("the wallet service does not introduce itself: %s", error)
                return
            except (NoAnswer, NotSent):
                continue
            return

    async def _read_offer(self, timeout: float) -> None:
        wanted = Filter(kinds=[nip47.INFO], authors=[self.uri.service], limit=1)
        try:
            offers = await self._pool.fetch(wanted, relays=None if self._own_pool else self.uri.relays, timeout=timeout)
        except (RelayUnreachable, RelayRefused) as error:
            log.info("cannot read the wallet's info event: %s", error)
            return
        if offers:
            schemes = nip47.words(offers[0].first("encryption") or "")
            self._scheme = nip47.NIP44 if nip47.NIP44 in schemes else nip47.NIP04
            self._notifies = offers[0].first("notifications") is not None

    async def _read_info(self, timeout: float) -> None:
        result = await self.call("get_info", {}, timeout=timeout)
        listed = result.get("methods")
        methods = tuple(str(method) for method in listed) if isinstance(listed, list) else ()
        network = _NETWORKS.get(str(result.get("network") or "mainnet").lower(), "bitcoin")
        self.caps = Caps(
            network=network,
            hold=bool(result.get("hold", "make_hold_invoice" in methods)),
            real_money=bool(result.get("real_money", network == "bitcoin")),
        )
        height = result.get("block_height")
        self._info = WalletInfo(
            alias=str(result.get("alias") or ""),
            caps=self.caps,
            methods=methods,
            pubkey=str(result.get("pubkey") or "") or None,
            block_height=height if isinstance(height, int) else None,
        )

    # --- asking ---

    async def call(
        self, method: str, params: Mapping[str, Any], *, timeout: float = _READ_TIMEOUT, expires: bool = False
    ) -> dict[str, Any]:
        """The result of one request. Raises NwcError (what the service said), NoAnswer, NotSent."""
        tags = [("p", self.uri.service)]
        if self._scheme != nip47.NIP04:
            tags.append(("encryption", self._scheme))
        now = self.clock()
        if expires:
            tags.append(("expiration", str(now + int(max(timeout, 60)))))
        event = self.uri.secret.sign(
            kind=nip47.REQUEST,
            content=self._channel.seal(self._scheme, {"method": method, "params": dict(params)}),
            tags=tags,
            created_at=now,
        )
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[event.id] = answer
        try:
            async with asyncio.timeout(timeout):
                refused = await self._publish(event, answer, timeout)
                if refused:
                    raise NotSent(refused)
                for wait in _REPEAT:
                    await asyncio.wait({answer}, timeout=wait)
                    if answer.done():
                        break
                    await self._publish(event, answer, timeout)
                body = await answer
        except TimeoutError:
            raise NoAnswer(f"the wallet service did not answer {method} within {timeout:g} s") from None
        finally:
            self._pending.pop(event.id, None)
        error = body.get("error")
        if isinstance(error, dict):
            code = str(error.get("code") or "OTHER")
            certain = True if error.get("certain") is True else code in CERTAIN
            raise NwcError(code, str(error.get("message") or code), certain=certain)
        result = body.get("result")
        return result if isinstance(result, dict) else {}

    async def _publish(self, event: Event, answer: "asyncio.Future[Any]", timeout: float) -> str:
        """Return when a relay has said something or the answer is there; why every relay refused, or ""."""
        sending = asyncio.create_task(self._pool.publish(event, relays=self.uri.relays, timeout=timeout))
        try:
            await asyncio.wait({sending, answer}, return_when=asyncio.FIRST_COMPLETED)
            oks = [] if answer.done() else list(sending.result().values())
        finally:
            sending.cancel()
        refused = bool(oks) and all(ok.answered and not ok.accepted for ok in oks)
        return "; ".join(sorted({ok.message for ok in oks})) if refused else ""

    async def _read(self) -> None:
        async for event in self._subscription:
            if event.pubkey != self.uri.service:
                continue
            if event.kind == nip47.RESPONSE:
                self._take_answer(event)
            else:
                self._take_notification(event)

    def _take_answer(self, event: Event) -> None:
        for request in event.values("e"):
            waiting = self._pending.get(request)
            body = self._open(event) if waiting is not None else None
            if waiting is not None and body is not None and not waiting.done():
                waiting.set_result(body)

    def _take_notification(self, event: Event) -> None:
        body = self._open(event)
        told = body.get("notification") if body is not None else None
        if body is None or not isinstance(told, dict):
            return
        payment_hash = told.get("payment_hash")
        if body.get("notification_type") in ("payment_received", "hold_invoice_accepted") and payment_hash:
            self._remember(event, told)
            for queue in self._news:
                queue.put_nowait(str(payment_hash))

    def _remember(self, event: Event, told: Mapping[str, Any]) -> None:
        """A fresh notification is the service's signed word, like an answer: who looks it up at once need not ask."""
        now = asyncio.get_running_loop().time()
        self._told = {name: kept for name, kept in self._told.items() if now - kept[0] < _TOLD}
        invoice = self._invoice(told) if self._news and self.clock() - event.created_at < _FRESH else None
        if invoice is not None and invoice.state in (InvoiceState.SETTLED, InvoiceState.ACCEPTED):
            self._told[invoice.payment_hash] = now, invoice

    def _open(self, event: Event) -> dict[str, Any] | None:
        scheme = nip47.NIP04 if nip04.looks_like(event.content) else nip47.NIP44
        try:
            return self._channel.open(scheme, event.content)
        except ValueError:
            return None

    # --- the wallet ---

    async def info(self) -> WalletInfo:
        await self._read_info(_READ_TIMEOUT)
        return self._info

    async def balance(self) -> int:
        return _number(await self.call("get_balance", {}), "balance")

    async def make_invoice(
        self,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
    ) -> Invoice:
        params: dict[str, Any] = {"amount": amount_msat, "expiry": expiry}
        if description_hash is not None:
            params["description_hash"] = description_hash
        else:
            params["description"] = description or ""
        return self._made(await self.call("make_invoice", params, timeout=_MADE_TIMEOUT), amount_msat)

    async def make_hold_invoice(
        self, amount_msat: int, payment_hash: str, *, description: str | None = None, expiry: int = 600
    ) -> Invoice:
        if not self.caps.hold:
            raise NotSupported("the wallet behind this connection has no hold invoices")
        params = {
            "amount": amount_msat,
            "expiry": expiry,
            "payment_hash": payment_hash,
            "description": description or "",
        }
        made = self._made(await self.call("make_hold_invoice", params, timeout=_MADE_TIMEOUT), amount_msat)
        if made.payment_hash != payment_hash:
            raise WalletRefused("OTHER", "the wallet made a hold invoice with another payment hash")
        return made

    def _made(self, result: Mapping[str, Any], amount_msat: int) -> Invoice:
        invoice = self._invoice(result)
        if invoice is None or invoice.amount_msat != amount_msat:
            raise WalletRefused("OTHER", "the wallet answered with no invoice, or with one of another amount")
        return invoice

    def _invoice(self, result: Mapping[str, Any]) -> Invoice | None:
        """A NIP-47 transaction as an invoice of ours; what is missing is read from the BOLT 11 text."""
        text = result.get("invoice")
        try:
            decoded = bolt11.decode(str(text)) if text else None
        except bolt11.InvalidInvoice:
            decoded = None
        payment_hash = decoded.payment_hash if decoded is not None else result.get("payment_hash")
        if not payment_hash:
            return None
        created = decoded.created_at if decoded is not None else _number(result, "created_at")
        expires = decoded.expires_at if decoded is not None else _number(result, "expires_at")
        amount = decoded.amount_msat if decoded is not None and decoded.amount_msat else _number(result, "amount")
        settled_at = _number(result, "settled_at")
        state = _state(result)
        if state is InvoiceState.OPEN and expires and expires <= self.clock():
            state = InvoiceState.EXPIRED
        settled = state is InvoiceState.SETTLED
        deadline = _number(result, "settle_by")
        return Invoice(
            bolt11=decoded.text if decoded is not None else "",
            payment_hash=str(payment_hash),
            amount_msat=amount,
            created_at=created,
            expires_at=expires,
            state=state,
            preimage=(str(result.get("preimage") or "") or None) if settled else None,
            settled_at=(settled_at or created) if settled else None,
            received_msat=(_number(result, "received") or amount) if settled else None,
            description=result.get("description"),
            settle_deadline=deadline or None,
        )

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        payment_hash, reason = self._check(bolt11)
        if reason:
            return PayResult(Outcome.FAILED, payment_hash, code="OTHER", detail=reason)
        metadata = {"purpose": purpose, "max_fee_msat": max_fee_msat}
        params: dict[str, Any] = {"invoice": bolt11}
        if purpose is not None or max_fee_msat is not None:
            params["metadata"] = {name: value for name, value in metadata.items() if value is not None}
        try:
            result = await self.call("pay_invoice", params, timeout=timeout, expires=True)
        except NotSent as error:
            return PayResult(Outcome.FAILED, payment_hash, code="INTERNAL", detail=str(error))
        except NoAnswer as error:
            return await self._follow(payment_hash, deadline, None, str(error))
        except NwcError as error:
            if error.certain:
                return PayResult(Outcome.FAILED, payment_hash, code=error.code, detail=str(error))
            return await self._follow(payment_hash, deadline, error.code, str(error))
        preimage = str(result.get("preimage") or "")
        if _proves(preimage, payment_hash):
            return PayResult(Outcome.SETTLED, payment_hash, preimage, _number(result, "fees_paid"))
        if preimage:
            log.critical("the wallet service proves payment %s with a false preimage", payment_hash[:16])
            return PayResult(Outcome.UNKNOWN, payment_hash, code="OTHER", detail="the preimage does not fit")
        return await self._follow(payment_hash, deadline, None, "the wallet gave no preimage")

    def _check(self, text: str) -> tuple[str, str]:
        """(payment hash, why it can't be paid or "")."""
        try:
            invoice = bolt11.decode(text)
        except bolt11.InvalidInvoice as error:
            return "", str(error)
        try:
            bolt11.check_payable(invoice, network=self.caps.network, now=self.clock())
        except bolt11.InvalidInvoice as error:
            return invoice.payment_hash, str(error)
        return invoice.payment_hash, ""

    async def _follow(self, payment_hash: str, deadline: float, code: str | None, detail: str) -> PayResult:
        """Look the payment up until it has an outcome or the time is over; at least once."""
        loop = asyncio.get_running_loop()
        last = PayResult(Outcome.UNKNOWN, payment_hash, code=code, detail=detail)
        waits = itertools.chain(_LOOK, itertools.repeat(_LOOK[-1]))
        while True:
            try:
                left = deadline - loop.time()
                result = await self._look_up(payment_hash, min(_READ_TIMEOUT, max(left, _LAST_LOOK)))
            except WalletUnreachable as error:
                log.info("cannot look up payment %s: %s", payment_hash[:16], error)
            else:
                if result.outcome in (Outcome.SETTLED, Outcome.FAILED):
                    return result
                if result.outcome is Outcome.PENDING:
                    last = result
            wait = next(waits)
            if loop.time() + wait > deadline:
                return last
            await asyncio.sleep(wait)

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        return await self._look_up(payment_hash, _READ_TIMEOUT)

    async def _look_up(self, payment_hash: str, timeout: float) -> PayResult:
        params = {"payment_hash": payment_hash, "type": "outgoing"}
        try:
            result = await self.call("lookup_invoice", params, timeout=timeout)
        except NwcError as error:  # not found is not failed: some wallets index late
            return PayResult(Outcome.UNKNOWN, payment_hash, code=error.code, detail=str(error))
        if result.get("type") == "incoming":
            return PayResult(Outcome.UNKNOWN, payment_hash, detail="the wallet shows the invoice, not the payment")
        state = str(result.get("state") or ("settled" if result.get("settled_at") else "pending")).lower()
        preimage = str(result.get("preimage") or "") or None
        if state == "failed":
            return PayResult(Outcome.FAILED, payment_hash, code="PAYMENT_FAILED", detail="the wallet says it failed")
        if state != "settled":
            return PayResult(Outcome.PENDING, payment_hash)
        if preimage is not None and not _proves(preimage, payment_hash):
            log.critical("the wallet service proves payment %s with a false preimage", payment_hash[:16])
            return PayResult(Outcome.UNKNOWN, payment_hash, detail="the preimage does not fit")
        return PayResult(Outcome.SETTLED, payment_hash, preimage, _number(result, "fees_paid"))

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        at, told = self._told.pop(payment_hash, (0.0, None))
        if told is not None and asyncio.get_running_loop().time() - at < _TOLD:
            return told
        try:
            result = await self.call("lookup_invoice", {"payment_hash": payment_hash, "type": "incoming"})
        except NwcError as error:
            if error.code == "NOT_FOUND":
                return None
            raise
        if result.get("type") == "outgoing":
            return None
        return self._invoice({"payment_hash": payment_hash, **result})

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        found: dict[str, Invoice] = {}
        read: set[str] = set()
        offset = 0
        while len(found) < limit:
            params = {"from": max(since - 86400, 0), "limit": _PAGE, "offset": offset, "type": "incoming"}
            params["settled_from"] = since  # ours: other services send the whole day
            page = (await self.call("list_transactions", params)).get("transactions")
            if not isinstance(page, list) or not page:
                break
            offset += len(page)
            told = [self._invoice(item) for item in page if isinstance(item, dict)]
            fresh = {invoice.payment_hash: invoice for invoice in told if invoice and invoice.payment_hash not in read}
            if not fresh:
                break  # a service that knows no offset tells the same page for ever
            read |= fresh.keys()
            settled = (invoice for invoice in fresh.values() if invoice.state is InvoiceState.SETTLED)
            found |= {invoice.payment_hash: invoice for invoice in settled if (invoice.settled_at or 0) >= since}
        return sorted(found.values(), key=lambda invoice: invoice.settled_at or 0)[:limit]

    async def settled(self) -> AsyncIterator[str]:
        """Notifications, and a look at the list every few seconds where the service sends none."""
        news: asyncio.Queue[str] = asyncio.Queue()
        self._news.append(news)
        since = self.clock()
        try:
            while True:
                try:
                    hints = [await asyncio.wait_for(news.get(), None if self._notifies else _POLL)]
                except TimeoutError:
                    found = await self.list_settled(since)
                    since = max([since, *((invoice.settled_at or 0) + 1 for invoice in found)])
                    hints = [invoice.payment_hash for invoice in found]
                for payment_hash in hints:
                    yield payment_hash
        finally:
            self._news.remove(news)

    async def settle_hold_invoice(self, preimage: str) -> None:
        await self.call("settle_hold_invoice", {"preimage": preimage}, timeout=_MADE_TIMEOUT)

    async def cancel_hold_invoice(self, payment_hash: str) -> None:
        await self.call("cancel_hold_invoice", {"payment_hash": payment_hash}, timeout=_MADE_TIMEOUT)


def _state(result: Mapping[str, Any]) -> InvoiceState:
    state = str(result.get("state") or "").lower()
    if not state:
        return InvoiceState.SETTLED if result.get("settled_at") else InvoiceState.OPEN
    return {
        "settled": InvoiceState.SETTLED,
        "accepted": InvoiceState.ACCEPTED,
        "expired": InvoiceState.EXPIRED,
        "failed": InvoiceState.CANCELLED,
    }.get(state, InvoiceState.OPEN)


def _number(result: Mapping[str, Any], name: str) -> int:
    """A time or an amount; 0 where there is none, or one that cannot be."""
    value = result.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 <= value <= bolt11.MAX_MSAT else 0


def _proves(preimage: str, payment_hash: str) -> bool:
    try:
        return len(preimage) == 64 and hash_of(preimage) == payment_hash
    except ValueError:
        return False
