"""LND over its REST interface (v0.15 and later), hold invoices included.

    lnd:https://127.0.0.1:8080?key=@/home/ann/.lnd/data/chain/bitcoin/mainnet/admin.macaroon&cert=/home/ann/.lnd/tls.cert

`key` is the macaroon in hex, or `@` and its file. Only LND's own status FAILED makes a payment failed; what it does not
know (404) stays unknown, since a request of ours may still be on its way to it.
"""

import base64
import secrets
from collections.abc import Mapping
from typing import Any

from nostr.clock import Clock, system_clock
from nostr.key import SecretKey
from wallet.interface import (
    Caps,
    Invoice,
    InvoiceState,
    Outcome,
    PayResult,
    WalletError,
    WalletInfo,
    WalletRefused,
)
from wallet.rest import HttpBackend, Line, Rest, Unanswered, failed, invoice_of, patience, payable, unknown

_NETWORKS = {"mainnet": "bitcoin", "testnet": "testnet", "signet": "signet", "regtest": "regtest"}
_STATES = {
    "OPEN": InvoiceState.OPEN,
    "ACCEPTED": InvoiceState.ACCEPTED,
    "SETTLED": InvoiceState.SETTLED,
    "CANCELED": InvoiceState.CANCELLED,
}
_NEVER_SENT = (401, 403, 404, 405)  # answered before the request reached the router
_ALREADY = 6  # gRPC: AlreadyExists, the payment is in flight or paid
_INVALID = 3  # gRPC: InvalidArgument
_PAGE = 1000
_FEE_FLOOR = 10_000  # msat, where the caller sets no limit


class LndWallet(HttpBackend):
    async def _open(self) -> None:
        known = (await self.rest.get("/v1/getinfo")).body
        network = _NETWORKS.get(known["chains"][0]["network"])
        if network is None:
            raise WalletError("lnd: unknown network")
        self.caps = Caps(network=network, hold=True, fee_limit=True, remembers=True)

    async def info(self) -> WalletInfo:
        known = (await self.rest.get("/v1/getinfo")).body
        return WalletInfo(
            f"LND {known.get('alias', '')}".strip(), self.caps, pubkey=known.get("identity_pubkey"),
            block_height=known.get("block_height"),
        )  # fmt: skip

    async def balance(self) -> int:
        """Our side of all channels, without what is on its way out."""
        said = (await self.rest.get("/v1/balance/channels")).body
        return int(said["local_balance"]["msat"])

    async def make_invoice(
        self,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
    ) -> Invoice:
        preimage = secrets.token_hex(32)  # ours, so that payments inside the box have their proof
        asked: dict[str, Any] = {"value_msat": str(amount_msat), "expiry": str(expiry), "memo": description or ""}
        asked["r_preimage"] = _b64(preimage)
        if description_hash is not None:
            asked |= {"description_hash": _b64(description_hash), "memo": ""}
        made = (await self.rest.post("/v1/invoices", json=asked)).body
        return invoice_of(made["payment_request"], self.clock(), preimage=preimage)

    async def make_hold_invoice(
        self, amount_msat: int, payment_hash: str, *, description: str | None = None, expiry: int = 600
    ) -> Invoice:
        asked = {"hash": _b64(payment_hash), "value_msat": str(amount_msat), "expiry": str(expiry)}
        asked["memo"] = description or ""
        made = (await self.rest.post("/v2/invoices/hodl", json=asked)).body
        self.watch_hold(payment_hash)
        return invoice_of(made["payment_request"], self.clock())

    async def settle_hold_invoice(self, preimage: str) -> None:
        await self.rest.post("/v2/invoices/settle", json={"preimage": _b64(preimage)})

    async def cancel_hold_invoice(self, payment_hash: str) -> None:
        await self.rest.post("/v2/invoices/cancel", json={"payment_hash": _b64(payment_hash)})

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        answer = await self.rest.ask("GET", f"/v1/invoice/{payment_hash}")
        return None if answer.status == 404 else self._invoice(self.rest.good(answer).body)

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        """Read from the newest back; LND sorts by creation, so a day more is read than asked for."""
        found: list[Invoice] = []
        offset = "0"
        while True:
            query = {"reversed": "true", "num_max_invoices": str(_PAGE), "index_offset": offset}
            said = (await self.rest.get("/v1/invoices", query=query)).body
            page = said.get("invoices", [])
            for item in page:
                if item["state"] == "SETTLED" and int(item["settle_date"]) >= since:
                    found.append(self._invoice(item))
            if len(page) < _PAGE or int(page[0]["creation_date"]) < since - 86400:
                return sorted(found, key=lambda invoice: invoice.settled_at or 0)[:limit]
            offset = said["first_index_offset"]

    def _invoice(self, said: Mapping[str, Any]) -> Invoice:
        state = _STATES[said["state"]]
        settled = state is InvoiceState.SETTLED
        return invoice_of(
            said["payment_request"],
            self.clock(),
            state=state,
            preimage=_hex(said["r_preimage"]) if settled and said.get("r_preimage") else None,
            settled_at=int(said["settle_date"]) if settled else None,
            received_msat=int(said["amt_paid_msat"]) if settled else None,
        )

    # --- paying ---

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        invoice = payable(bolt11, self.caps.network)
        if max_fee_msat is None:
            max_fee_msat = max(_FEE_FLOOR, (invoice.amount_msat or 0) // 100)
        asked = {
            "payment_request": invoice.text,
            "timeout_seconds": max(1, int(timeout)),
            "fee_limit_msat": str(max_fee_msat),
            "no_inflight_updates": True,
        }
        try:
            answer = await self.rest.ask("POST", "/v2/router/send", json=asked, timeout=patience(timeout))
        except Unanswered as error:
            return unknown(invoice.payment_hash, str(error))
        if answer.ok and (payment := answer.field("result")) is not None:
            return _outcome(invoice.payment_hash, payment)
        code = answer.field("code")
        if code is None and isinstance(said := answer.field("error"), Mapping):
            code = said.get("grpc_code") or said.get("code")
        if code == _ALREADY:
            return await self.lookup_payment(invoice.payment_hash)
        if answer.status in _NEVER_SENT or code == _INVALID:
            raise WalletRefused("OTHER", f"lnd: {answer.complaint}")
        return unknown(invoice.payment_hash, f"lnd: {answer.complaint}")

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        name = base64.urlsafe_b64encode(bytes.fromhex(payment_hash)).decode()
        path, query = f"/v2/router/track/{name}", {"no_inflight_updates": "false"}
        answer = await self.rest.ask("GET", path, query=query, first_line=True)
        if answer.status == 404:
            return unknown(payment_hash, "lnd does not know this payment", "NOT_FOUND")
        payment = self.rest.good(answer).field("result")
        if payment is None:
            return unknown(payment_hash, f"lnd: {answer.complaint}")
        return _outcome(payment_hash, payment)


def _outcome(payment_hash: str, payment: Mapping[str, Any]) -> PayResult:
    status = payment.get("status")
    if status == "SUCCEEDED":
        preimage = payment.get("payment_preimage") or ""
        return PayResult(Outcome.SETTLED, payment_hash, preimage=preimage, fee_msat=int(payment.get("fee_msat") or 0))
    if status == "FAILED":
        return failed(payment_hash, str(payment.get("failure_reason") or "no reason").lower().replace("_", " "))
    return PayResult(Outcome.PENDING, payment_hash, detail=f"lnd: {status}")


def _b64(value: str) -> str:
    return base64.b64encode(bytes.fromhex(value)).decode()


def _hex(value: str) -> str:
    return base64.b64decode(value).hex()


def open_backend(rest: str, *, key: SecretKey, clock: Clock = system_clock) -> LndWallet:
    line = Line.parse(rest, "lnd", "https://127.0.0.1:8080?key=@FILE&cert=FILE")
    macaroon = line.secret_bytes().hex() if line.from_file else line.secret()
    made = Rest(line.url, name="lnd", secrets={"Grpc-Metadata-macaroon": macaroon}, tls=line.tls())
    return LndWallet(made, clock)
