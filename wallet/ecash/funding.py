"""As much of LND's REST API as Nutshell asks for, answered by a wallet of this node.

Nutshell speaks no Nostr Wallet Connect. Of the sources it knows, the one for LND is the one that keeps a melt pending
when the connection breaks, and that hands on the fee limit; the one for LNbits gives the ecash back, though the payment
may still go through. What is served here follows that rule: only what certainly was not paid is called FAILED, and
whatever is unclear is IN_FLIGHT.
"""

import base64
import binascii
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from wallet import bolt11
from wallet.interface import Invoice, InvoiceState, Outcome, PayResult, Wallet, WalletError

_LATE = 120.0  # seconds after which a request of ours can no longer be served: twice what it says it is good for
_EXPIRY = 3600
_HASH = re.compile(r"[0-9a-f]{64}")
_INVOICE_STATES = {
    InvoiceState.OPEN: "OPEN",
    InvoiceState.ACCEPTED: "ACCEPTED",
    InvoiceState.SETTLED: "SETTLED",
    InvoiceState.CANCELLED: "CANCELED",
    InvoiceState.EXPIRED: "CANCELED",
}


def funding(wallet: Wallet, key: str, *, now: Callable[[], float] = time.monotonic) -> web.Application:
    """The application. `key` (hex) is what Nutshell sends as its macaroon; nobody else is answered."""
    source = _Source(wallet, key, now)
    app = web.Application(middlewares=[source.guard])
    app.router.add_get("/v1/balance/channels", source.balance)
    app.router.add_post("/v1/invoices", source.make_invoice)
    app.router.add_get("/v1/invoices/subscribe", source.settled)
    app.router.add_get("/v1/invoice/{hash}", source.invoice)
    app.router.add_post("/v2/router/send", source.pay)
    app.router.add_get("/v2/router/track/{hash}", source.track)
    return app


class _Source:
    def __init__(self, wallet: Wallet, key: str, now: Callable[[], float]) -> None:
        self._wallet, self._key, self._clock = wallet, key, now
        self._started = now()
        self._sent: dict[str, float] = {}  # payment hash -> when the wallet not knowing it proves that it was not paid
        self._paying: set[str] = set()

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if not secrets.compare_digest(request.headers.get("Grpc-Metadata-macaroon", "").lower(), self._key):
            raise web.HTTPUnauthorized
        try:
            answer: web.StreamResponse = await handler(request)
        except WalletError as error:
            return _json({"error": str(error)}, 500)
        return answer

    async def balance(self, request: web.Request) -> web.Response:
        return _json({"balance": str(await self._wallet.balance() // 1000)})

    async def make_invoice(self, request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        made = await self._wallet.make_invoice(
            int(asked["value"]) * 1000,
            description=str(asked.get("memo") or "ecash"),
            expiry=int(asked.get("expiry") or _EXPIRY),
        )
        return _json({"payment_request": made.bolt11, "r_hash": _base64(made.payment_hash)})

    async def invoice(self, request: web.Request) -> web.Response:
        found = await self._wallet.lookup_invoice(_hash(request.match_info["hash"]))
        if found is None:
            return _json({"error": "there is no such invoice"}, 404)
        return _json({"state": _INVOICE_STATES[found.state], "r_hash": _base64(found.payment_hash)})

    async def settled(self, request: web.Request) -> web.StreamResponse:
        """A line for each invoice that was paid. Nutshell believes it, so the wallet is asked first."""
        stream = web.StreamResponse()
        await stream.prepare(request)
        async for payment_hash in self._wallet.settled():
            try:
                found: Invoice | None = await self._wallet.lookup_invoice(payment_hash)
            except WalletError:
                continue  # whoever waits for the invoice asks about it again
            if found is not None and found.state is InvoiceState.SETTLED:
                line = {"result": {"settled": True, "r_hash": _base64(payment_hash)}}
                await stream.write(orjson.dumps(line) + b"\n")
        return stream

    async def pay(self, request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        text, limit = str(asked["payment_request"]), int(asked["fee_limit_msat"])
        try:
            payment_hash = bolt11.decode(text).payment_hash
        except bolt11.InvalidInvoice as error:
            return _json({"message": str(error)}, 400)
        timeout = float(asked.get("timeout_seconds") or 60)
        self._forget()
        self._paying.add(payment_hash)
        self._sent[payment_hash] = self._clock() + timeout + _LATE
        try:
            result = await self._wallet.pay_invoice(text, max_fee_msat=limit, timeout=timeout)
        except WalletError as error:
            result = PayResult(Outcome.FAILED, payment_hash, detail=str(error))
        finally:
            self._paying.discard(payment_hash)
        if result.outcome is Outcome.FAILED:
            self._sent[payment_hash] = 0.0
        return _payment(result)

    async def track(self, request: web.Request) -> web.Response:
        payment_hash = _hash(request.match_info["hash"])
        unclear = PayResult(Outcome.UNKNOWN, payment_hash)
        if payment_hash in self._paying:
            return _payment(unclear)
        try:
            result = await self._wallet.lookup_payment(payment_hash)
        except WalletError:
            return _payment(unclear)
        if result.code == "NOT_FOUND" and self._clock() >= self._sent.get(payment_hash, self._started + _LATE):
            result = PayResult(Outcome.FAILED, payment_hash, detail="the wallet never paid it")
        return _payment(result)

    def _forget(self) -> None:
        """Drop what says no more than the general rule: a request of an earlier process is late by now."""
        now = self._clock()
        if now >= self._started + _LATE:
            self._sent = {known: until for known, until in self._sent.items() if until > now}


def _payment(result: PayResult) -> web.Response:
    status = {Outcome.SETTLED: "SUCCEEDED", Outcome.FAILED: "FAILED"}.get(result.outcome, "IN_FLIGHT")
    said = {
        "status": status,
        "payment_hash": result.payment_hash,
        "payment_preimage": result.preimage or "",
        "fee_msat": str(result.fee_msat or 0),
        "failure_reason": result.detail or "",
    }
    return _json({"result": said})


def _hash(text: str) -> str:
    """A payment hash, in hex or in base64 as LND has it in an address."""
    if _HASH.fullmatch(text):
        return text
    try:
        found = base64.urlsafe_b64decode(text).hex()
    except (binascii.Error, ValueError):
        found = ""
    if not _HASH.fullmatch(found):
        raise web.HTTPBadRequest
    return found


def _base64(payment_hash: str) -> str:
    return base64.b64encode(bytes.fromhex(payment_hash)).decode()


def _json(said: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(said), status=status, content_type="application/json")
