"""A wallet of an LNbits server (1.0 and later).

    lnbits:https://legend.example?key=ADMIN-KEY

`key` is the wallet's admin key, or `@` and a file that holds it. Whole sat only; routing fees are limited by the
server's own reserve, not by call. LNbits does not say which network it is on: an invoice that it makes tells.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nostr.clock import Clock, system_clock
from nostr.key import SecretKey
from wallet import bolt11 as invoices
from wallet.interface import Caps, Invoice, InvoiceState, Outcome, PayResult, WalletInfo, WalletRefused
from wallet.rest import (
    HttpBackend,
    Line,
    Rest,
    Unanswered,
    failed,
    invoice_of,
    patience,
    payable,
    unknown,
    whole_sat,
)

_NEVER_SENT = (401, 403, 404, 405)
_PAGE = 500
_SETTLED, _FAILED = ("success", "complete", "settled"), ("failed",)


class LnbitsWallet(HttpBackend):
    async def _open(self) -> None:
        probe = (await self._make(1000, {"memo": "which network is this?", "expiry": 60}))[0]
        self.caps = Caps(network=invoices.decode(probe).network)

    async def info(self) -> WalletInfo:
        said = (await self.rest.get("/api/v1/wallet")).body
        return WalletInfo(f"LNbits {said.get('name', '')}".strip(), self.caps)

    async def balance(self) -> int:
        return max(0, int((await self.rest.get("/api/v1/wallet")).body["balance"]))

    async def make_invoice(
        self,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
    ) -> Invoice:
        more: dict[str, Any] = {"memo": description or "", "expiry": expiry}
        if description_hash is not None:
            more |= {"description_hash": description_hash}
        text, _ = await self._make(whole_sat(amount_msat, "lnbits") * 1000, more)
        return invoice_of(text, self.clock())

    async def _make(self, amount_msat: int, more: Mapping[str, Any]) -> tuple[str, str]:
        asked = {"out": False, "amount": amount_msat // 1000, "unit": "sat", **more}
        made = (await self.rest.post("/api/v1/payments", json=asked)).body
        return made.get("bolt11") or made["payment_request"], made["payment_hash"]

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        answer = await self.rest.ask("GET", f"/api/v1/payments/{payment_hash}")
        if answer.status == 404:
            return None
        said = self.rest.good(answer).body
        details = said.get("details") or said
        if int(details.get("amount", 0)) < 0:
            return None
        return self._invoice(details, paid=said.get("paid") is True, preimage=said.get("preimage"))

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        """LNbits sorts by creation, so a day more is read than asked for."""
        found: list[Invoice] = []
        offset = 0
        while True:
            query = {"limit": str(_PAGE), "offset": str(offset)}
            page = (await self.rest.get("/api/v1/payments", query=query)).body
            for item in page:
                if int(item["amount"]) > 0 and _status(item) in _SETTLED and item.get("bolt11"):
                    made = self._invoice(item, paid=True, preimage=item.get("preimage"))
                    if (made.settled_at or 0) >= since:
                        found.append(made)
            offset += _PAGE
            if len(page) < _PAGE or _time(page[-1]) < since - 86400:
                return sorted(found, key=lambda invoice: invoice.settled_at or 0)[:limit]

    def _invoice(self, details: Mapping[str, Any], *, paid: bool, preimage: str | None) -> Invoice:
        return invoice_of(
            details["bolt11"],
            self.clock(),
            state=InvoiceState.SETTLED if paid else InvoiceState.OPEN,
            preimage=preimage if paid and preimage and preimage.strip("0") else None,
            settled_at=_updated(details) if paid else None,
            received_msat=int(details["amount"]) if paid else None,
        )

    # --- paying ---

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        """The answer only says that LNbits took it: what became of it is read from the payment itself.

        520 comes for failed payments and for second attempts alike, so it is no answer.
        """
        invoice = payable(bolt11, self.caps.network)
        asked = {"out": True, "bolt11": invoice.text}
        try:
            answer = await self.rest.ask("POST", "/api/v1/payments", json=asked, timeout=patience(timeout))
            if answer.status in _NEVER_SENT:
                raise WalletRefused("RESTRICTED", f"lnbits: {answer.complaint}")
            seen = await self.lookup_payment(invoice.payment_hash)
        except Unanswered as error:
            return unknown(invoice.payment_hash, str(error))
        if answer.status == 400 and seen.code == "NOT_FOUND":
            raise WalletRefused("OTHER", f"lnbits: {answer.complaint}")
        if seen.outcome is Outcome.FAILED or (seen.code == "NOT_FOUND" and answer.field("status") == "failed"):
            return failed(invoice.payment_hash, f"lnbits: {answer.complaint}")
        return seen

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        answer = await self.rest.ask("GET", f"/api/v1/payments/{payment_hash}")
        if answer.status == 404:
            return unknown(payment_hash, "lnbits does not know this payment", "NOT_FOUND")
        said = self.rest.good(answer).body
        details = said.get("details") or said
        if int(details.get("amount", 0)) >= 0 and "amount" in details:
            return unknown(payment_hash, "lnbits knows this only as an invoice of its own", "NOT_FOUND")
        if said.get("paid") is True:
            fee = abs(int(details.get("fee") or 0))
            return PayResult(Outcome.SETTLED, payment_hash, preimage=said.get("preimage"), fee_msat=fee)
        if _status(said) in _FAILED or _status(details) in _FAILED:
            return failed(payment_hash, "lnbits: the payment failed")
        return PayResult(Outcome.PENDING, payment_hash, detail="on its way")


def _status(said: Mapping[str, Any]) -> str:
    return str(said.get("status") or ("success" if said.get("pending") is False else "pending")).lower()


def _time(details: Mapping[str, Any]) -> int:
    return _seconds(details.get("created_at") or details.get("time"))


def _updated(details: Mapping[str, Any]) -> int:
    return _seconds(details.get("updated_at")) or _time(details)


def _seconds(value: Any) -> int:
    """A Unix time, or an ISO date, which LNbits writes in UTC with or without saying so."""
    if isinstance(value, int | float):
        return int(value)
    if not isinstance(value, str) or not value:
        return 0
    read = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return int((read if read.tzinfo else datetime.fromisoformat(value + "+00:00")).timestamp())


def open_backend(rest: str, *, key: SecretKey, clock: Clock = system_clock) -> LnbitsWallet:
    line = Line.parse(rest, "lnbits", "https://lnbits.example?key=ADMIN-KEY")
    return LnbitsWallet(Rest(line.url, name="lnbits", secrets={"X-Api-Key": line.secret()}, tls=line.tls()), clock)
