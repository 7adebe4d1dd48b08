"""Servers that answer as LND, Core Lightning, phoenixd, LNbits and Electrum do, as far as our backends ask.

Behind each is a `FakeWallet` of the tests, so that money really moves between it and a stranger. Two switches: `lose`
(a payment is made and its answer lost) and `say` (the next answers to `pay` are these, and nothing is paid).
"""

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

from nostr.key import SecretKey
from tests.fakes import FakeBank, FakeClock, FakeWallet
from tests.wallet.test_conformance import nobody
from wallet import bolt11
from wallet.backends import open_backend
from wallet.interface import Invoice, InvoiceState, Outcome, PayResult, Wallet, WalletRefused

KEY = "s3cret"


def b64(value: str) -> str:
    return base64.b64encode(bytes.fromhex(value)).decode()


def unb64(value: str) -> str:
    return base64.urlsafe_b64decode(value.replace("+", "-").replace("/", "_")).hex()


class Double:
    """A rig for the conformance suite: `async with Double() as rig`."""

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.clock = FakeClock()
        bank = FakeBank()
        self.node = FakeWallet(bank, clock=self.clock)
        self.stranger = FakeWallet(bank, clock=self.clock)
        self.tried: dict[str, PayResult] = {}
        self.settled: dict[str, int] = {}
        self.lose = False
        self.say: list[tuple[int, Any]] = []
        self.wallet: Wallet
        self.authorised = 0

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._door])
        self.routes(app.router)
        self._server = TestServer(app)
        await self._server.start_server()
        line = f"{self.kind}:http://127.0.0.1:{self._server.port}{self.line()}"
        self.wallet = await open_backend(line, key=SecretKey.generate(), clock=self.clock).__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.wallet.__aexit__(*error)
        await self._server.close()

    def line(self) -> str:
        return f"?key={KEY}"

    def routes(self, router: web.UrlDispatcher) -> None:
        raise NotImplementedError

    def may(self, request: web.Request) -> bool:
        raise NotImplementedError

    @web.middleware
    async def _door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if not self.may(request):
            return web.json_response({"message": "not allowed"}, status=401)
        self.authorised += 1
        answer: web.StreamResponse = await handler(request)
        return answer

    # --- what the suite asks of a rig ---

    async def foreign_invoice(self, amount_msat: int) -> str:
        return (await self.stranger.make_invoice(amount_msat)).bolt11

    async def stranger_pays(self, invoice: str) -> None:
        await self.stranger.pay_invoice(invoice)
        self.settled[bolt11.decode(invoice).payment_hash] = self.clock()

    async def unroutable_invoice(self, amount_msat: int) -> str:
        return nobody(self.clock, amount_msat)

    async def break_answers(self) -> None:
        self.lose = True

    async def mend_answers(self) -> None:
        self.lose = False

    # --- what the servers below share ---

    async def pay(self, request: web.Request, text: str) -> PayResult | web.Response:
        """Pay, and note how it went. A Response where `say` or `lose` decide."""
        if self.say:
            status, body = self.say.pop(0)
            return web.json_response(body, status=status)
        payment_hash = bolt11.decode(text).payment_hash
        try:
            result = await self.node.pay_invoice(text)
        except WalletRefused as error:
            result = PayResult(Outcome.FAILED, payment_hash, detail=str(error))
        self.tried[payment_hash] = result
        if self.lose:
            assert request.transport is not None
            request.transport.close()
        return result

    def invoice(self, payment_hash: str) -> Invoice | None:
        owner, invoice, preimage = self.node.bank.invoices.get(payment_hash, (None, None, None))
        if owner is not self.node or invoice is None:
            return None
        if invoice.state is InvoiceState.SETTLED:
            self.settled.setdefault(payment_hash, self.clock())
        return Invoice(
            invoice.bolt11, payment_hash, invoice.amount_msat, invoice.created_at, invoice.expires_at, invoice.state,
            preimage=preimage or invoice.preimage, settled_at=self.settled.get(payment_hash),
            description=invoice.description,
        )  # fmt: skip

    def invoices(self) -> list[Invoice]:
        return [made for name in self.node.bank.invoices if (made := self.invoice(name)) is not None]


class Lnd(Double):
    kind = "lnd"

    def may(self, request: web.Request) -> bool:
        return request.headers.get("Grpc-Metadata-macaroon") == KEY

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/getinfo", self.getinfo)
        router.add_get("/v1/balance/channels", self.channels)
        router.add_post("/v1/invoices", self.add)
        router.add_get("/v1/invoices", self.listed)
        router.add_get("/v1/invoice/{hash}", self.one)
        router.add_post("/v2/invoices/hodl", self.hodl)
        router.add_post("/v2/invoices/settle", self.settle)
        router.add_post("/v2/invoices/cancel", self.cancel)
        router.add_post("/v2/router/send", self.send)
        router.add_get("/v2/router/track/{hash}", self.track)

    async def getinfo(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"alias": "double", "identity_pubkey": "02" + "11" * 32, "block_height": 100,
             "chains": [{"chain": "bitcoin", "network": "regtest"}]}
        )  # fmt: skip

    async def channels(self, request: web.Request) -> web.Response:
        return web.json_response({"local_balance": {"sat": str(self.node.msat // 1000), "msat": str(self.node.msat)}})

    async def add(self, request: web.Request) -> web.Response:
        asked = await request.json()
        described = asked.get("description_hash")
        preimage = unb64(asked["r_preimage"])
        made = self.node._issue(
            int(asked["value_msat"]), hashlib.sha256(bytes.fromhex(preimage)).hexdigest(), preimage, asked["memo"],
            int(asked["expiry"]), unb64(described) if described else None,
        )  # fmt: skip
        return web.json_response({"payment_request": made.bolt11, "r_hash": b64(made.payment_hash), "add_index": "1"})

    async def hodl(self, request: web.Request) -> web.Response:
        asked = await request.json()
        made = await self.node.make_hold_invoice(
            int(asked["value_msat"]), unb64(asked["hash"]), description=asked["memo"], expiry=int(asked["expiry"])
        )
        return web.json_response({"payment_request": made.bolt11})

    async def settle(self, request: web.Request) -> web.Response:
        preimage = unb64((await request.json())["preimage"])
        await self.node.settle_hold_invoice(preimage)
        return web.json_response({})

    async def cancel(self, request: web.Request) -> web.Response:
        await self.node.cancel_hold_invoice(unb64((await request.json())["payment_hash"]))
        return web.json_response({})

    def show(self, invoice: Invoice) -> dict[str, Any]:
        names = {InvoiceState.CANCELLED: "CANCELED", InvoiceState.EXPIRED: "CANCELED"}
        settled = invoice.state is InvoiceState.SETTLED
        return {
            "payment_request": invoice.bolt11, "state": names.get(invoice.state, invoice.state.name),
            "r_preimage": b64(invoice.preimage or ""), "creation_date": str(invoice.created_at),
            "settle_date": str(invoice.settled_at or 0), "amt_paid_msat": str(invoice.amount_msat if settled else 0),
        }  # fmt: skip

    async def one(self, request: web.Request) -> web.Response:
        found = self.invoice(request.match_info["hash"])
        if found is None:
            return web.json_response({"code": 5, "message": "unable to locate invoice"}, status=404)
        return web.json_response(self.show(found))

    async def listed(self, request: web.Request) -> web.Response:
        return web.json_response({"invoices": [self.show(i) for i in self.invoices()], "first_index_offset": "1"})

    def payment(self, result: PayResult) -> dict[str, Any]:
        if result.outcome is Outcome.SETTLED:
            return {"status": "SUCCEEDED", "payment_preimage": result.preimage, "fee_msat": str(result.fee_msat or 0)}
        if result.outcome is Outcome.FAILED:
            return {"status": "FAILED", "failure_reason": "FAILURE_REASON_NO_ROUTE"}
        return {"status": "IN_FLIGHT"}

    async def send(self, request: web.Request) -> web.Response:
        asked = await request.json()
        assert int(asked["fee_limit_msat"]) >= 0 and asked["no_inflight_updates"] is True
        text = asked["payment_request"]
        before = self.tried.get(bolt11.decode(text).payment_hash)
        if before is not None and before.outcome is Outcome.SETTLED and not self.say:
            error = {"grpc_code": 6, "http_code": 409, "message": "invoice is already paid"}
            return web.json_response({"error": error}, status=409)
        result = await self.pay(request, text)
        return result if isinstance(result, web.Response) else web.json_response({"result": self.payment(result)})

    async def track(self, request: web.Request) -> web.StreamResponse:
        found = self.tried.get(unb64(request.match_info["hash"]))
        if found is None:
            return web.json_response({"error": {"grpc_code": 5, "message": "payment isn't initiated"}}, status=404)
        stream = web.StreamResponse()
        await stream.prepare(request)
        await stream.write(json.dumps({"result": self.payment(found)}).encode() + b"\n")
        return stream


class Cln(Double):
    kind = "cln"

    def may(self, request: web.Request) -> bool:
        return request.headers.get("Rune") == KEY

    def routes(self, router: web.UrlDispatcher) -> None:
        for name in ("getinfo", "listfunds", "invoice", "listinvoices", "pay", "listpays"):
            router.add_post(f"/v1/{name}", getattr(self, name if name != "invoice" else "add"))

    async def getinfo(self, request: web.Request) -> web.Response:
        return web.json_response({"id": "02" + "11" * 32, "alias": "double", "network": "regtest"}, status=201)

    async def listfunds(self, request: web.Request) -> web.Response:
        old = {"state": "ONCHAIN", "our_amount_msat": 5_000_000}
        mine = {"state": "CHANNELD_NORMAL", "our_amount_msat": self.node.msat}
        return web.json_response({"outputs": [], "channels": [old, mine]}, status=201)

    async def add(self, request: web.Request) -> web.Response:
        asked = await request.json()
        payment_hash = hashlib.sha256(bytes.fromhex(asked["preimage"])).hexdigest()
        made = self.node._issue(
            asked["amount_msat"], payment_hash, asked["preimage"], asked["description"], asked["expiry"]
        )
        return web.json_response({"bolt11": made.bolt11, "payment_hash": payment_hash}, status=201)

    async def listinvoices(self, request: web.Request) -> web.Response:
        asked = await request.json()
        found = [i for i in self.invoices() if asked.get("payment_hash") in (None, i.payment_hash)]
        return web.json_response({"invoices": [self.show(i) for i in found]}, status=201)

    def show(self, invoice: Invoice) -> dict[str, Any]:
        said: dict[str, Any] = {"bolt11": invoice.bolt11, "payment_hash": invoice.payment_hash, "status": "unpaid"}
        if invoice.state is InvoiceState.SETTLED:
            said |= {"status": "paid", "paid_at": invoice.settled_at, "payment_preimage": invoice.preimage,
                     "amount_received_msat": invoice.amount_msat}  # fmt: skip
        return said

    async def pay(self, request: web.Request) -> web.Response:  # type: ignore[override]
        result = await Double.pay(self, request, (await request.json())["bolt11"])
        if isinstance(result, web.Response):
            return result
        if result.outcome is Outcome.FAILED:
            return web.json_response({"code": 205, "message": "Could not find a route"}, status=500)
        msat = self.node.bank.invoices[result.payment_hash][1].amount_msat
        return web.json_response(
            {"status": "complete", "payment_preimage": result.preimage, "amount_msat": msat, "amount_sent_msat": msat},
            status=201,
        )

    async def listpays(self, request: web.Request) -> web.Response:
        found = self.tried.get((await request.json())["payment_hash"])
        if found is None:
            return web.json_response({"pays": []}, status=201)
        status = {Outcome.SETTLED: "complete", Outcome.FAILED: "failed"}.get(found.outcome, "pending")
        pays = [{"status": "failed"}, {"status": status, "preimage": found.preimage}]
        return web.json_response({"pays": pays}, status=201)


class Phoenixd(Double):
    kind = "phoenixd"

    def may(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == "Basic " + base64.b64encode(f":{KEY}".encode()).decode()

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/getinfo", self.getinfo)
        router.add_get("/getbalance", self.getbalance)
        router.add_post("/createinvoice", self.createinvoice)
        router.add_post("/payinvoice", self.payinvoice)
        router.add_get("/payments/incoming", self.incoming)
        router.add_get("/payments/incoming/{hash}", self.one)
        router.add_get("/payments/outgoingbyhash/{hash}", self.outgoing)

    async def getinfo(self, request: web.Request) -> web.Response:
        return web.json_response({"nodeId": "02" + "11" * 32, "chain": "regtest", "version": "0.6", "blockHeight": 9})

    async def getbalance(self, request: web.Request) -> web.Response:
        return web.json_response({"balanceSat": self.node.msat // 1000, "feeCreditSat": 7})

    async def createinvoice(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not form.get("description") and not form.get("descriptionHash"):
            return web.Response(status=400, text="Must provide either a description or descriptionHash")
        described = form.get("descriptionHash")
        made = await self.node.make_invoice(
            int(str(form["amountSat"])) * 1000, description=str(form.get("description", "")),
            description_hash=str(described) if described else None, expiry=int(str(form["expirySeconds"])),
        )  # fmt: skip
        sat = made.amount_msat // 1000
        return web.json_response({"amountSat": sat, "paymentHash": made.payment_hash, "serialized": made.bolt11})

    def show(self, invoice: Invoice) -> dict[str, Any]:
        settled = invoice.state is InvoiceState.SETTLED
        return {
            "paymentHash": invoice.payment_hash, "invoice": invoice.bolt11, "isPaid": settled,
            "preimage": invoice.preimage, "receivedSat": invoice.amount_msat // 1000 if settled else 0, "fees": 0,
            "completedAt": (invoice.settled_at or 0) * 1000 or None, "createdAt": invoice.created_at * 1000,
        }  # fmt: skip

    async def one(self, request: web.Request) -> web.Response:
        found = self.invoice(request.match_info["hash"])
        return web.Response(status=404, text="Not found") if found is None else web.json_response(self.show(found))

    async def incoming(self, request: web.Request) -> web.Response:
        since = int(request.query["from"])
        shown = [self.show(invoice) for invoice in self.invoices()]
        return web.json_response([item for item in shown if item["isPaid"] and item["completedAt"] >= since])

    async def payinvoice(self, request: web.Request) -> web.Response:
        result = await self.pay(request, str((await request.post())["invoice"]))
        if isinstance(result, web.Response):
            return result
        if result.outcome is Outcome.FAILED:
            return web.json_response({"paymentHash": result.payment_hash, "reason": "recipient could not be reached"})
        return web.json_response(
            {"recipientAmountSat": 1, "routingFeeSat": 0, "paymentPreimage": result.preimage, "paymentId": "7"}
        )

    async def outgoing(self, request: web.Request) -> web.Response:
        found = self.tried.get(request.match_info["hash"])
        if found is None:
            return web.Response(status=404, text="Not found")
        ended = found.outcome in (Outcome.SETTLED, Outcome.FAILED)
        return web.json_response(
            {"isPaid": found.outcome is Outcome.SETTLED, "preimage": found.preimage, "fees": 0,
             "completedAt": self.clock() * 1000 if ended else None}
        )  # fmt: skip


class Lnbits(Double):
    kind = "lnbits"

    def may(self, request: web.Request) -> bool:
        return request.headers.get("X-Api-Key") == KEY

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/wallet", self.balance)
        router.add_post("/api/v1/payments", self.make)
        router.add_get("/api/v1/payments", self.listed)
        router.add_get("/api/v1/payments/{hash}", self.one)

    async def balance(self, request: web.Request) -> web.Response:
        return web.json_response({"name": "double", "balance": self.node.msat})

    def show(self, invoice: Invoice) -> dict[str, Any]:
        settled = invoice.state is InvoiceState.SETTLED
        at = datetime.fromtimestamp(invoice.settled_at or invoice.created_at, UTC)
        return {
            "payment_hash": invoice.payment_hash, "bolt11": invoice.bolt11, "amount": invoice.amount_msat, "fee": 0,
            "status": "success" if settled else "pending", "preimage": invoice.preimage,
            "created_at": datetime.fromtimestamp(invoice.created_at, UTC).isoformat(), "updated_at": at.isoformat(),
        }  # fmt: skip

    async def make(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if not asked["out"]:
            made = await self.node.make_invoice(
                asked["amount"] * 1000, description=asked["memo"], expiry=asked["expiry"],
                description_hash=asked.get("description_hash"),
            )  # fmt: skip
            return web.json_response({"bolt11": made.bolt11, "payment_hash": made.payment_hash}, status=201)
        payment_hash = bolt11.decode(asked["bolt11"]).payment_hash
        if payment_hash in self.tried and not self.say:
            return web.json_response({"detail": "already paid", "status": "success"}, status=520)
        result = await self.pay(request, asked["bolt11"])
        if isinstance(result, web.Response):
            return result
        if result.outcome is Outcome.FAILED:
            return web.json_response({"detail": "no route", "status": "failed"}, status=520)
        return web.json_response({"payment_hash": payment_hash, "status": "success"}, status=201)

    async def listed(self, request: web.Request) -> web.Response:
        return web.json_response([self.show(i) for i in self.invoices()] if request.query["offset"] == "0" else [])

    async def one(self, request: web.Request) -> web.Response:
        name = request.match_info["hash"]
        if (sent := self.tried.get(name)) is not None:
            status = {Outcome.SETTLED: "success", Outcome.FAILED: "failed"}.get(sent.outcome, "pending")
            details = {"payment_hash": name, "amount": -1000, "fee": -2, "status": status}
            paid = sent.outcome is Outcome.SETTLED
            return web.json_response({"paid": paid, "preimage": sent.preimage, "details": details})
        found = self.invoice(name)
        if found is None:
            return web.json_response({"detail": "Payment does not exist."}, status=404)
        paid = found.state is InvoiceState.SETTLED
        return web.json_response({"paid": paid, "preimage": found.preimage, "details": self.show(found)})
