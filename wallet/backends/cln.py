"""Core Lightning over its REST plugin (clnrest).

    cln:https://127.0.0.1:3010?key=@/home/ann/rune&cert=/home/ann/.lightning/bitcoin/ca.pem

`key` is a rune, or `@` and a file that holds it. Invoices carry a preimage that we choose, so payments inside the box
have their proof. Hold invoices would need a plugin that not every node has.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from nostr.clock import Clock, system_clock
from nostr.key import SecretKey
from wallet.interface import Caps, Invoice, InvoiceState, NotSupported, Outcome, PayResult, WalletError, WalletInfo
from wallet.rest import Answer, HttpBackend, Line, Rest, Unanswered, failed, invoice_of, patience, payable, unknown

_NETWORKS = {
    "bitcoin": "bitcoin",
    "testnet": "testnet",
    "testnet4": "testnet",
    "signet": "signet",
    "regtest": "regtest",
}
_STATES = {"unpaid": InvoiceState.OPEN, "paid": InvoiceState.SETTLED, "expired": InvoiceState.EXPIRED}
# Errors of `pay` after which nothing is on its way: refused by the payee, no route, too dear, expired, bad parameters.
_CERTAIN = frozenset({203, 205, 206, 207, 210, 401, -32602})


class ClnWallet(HttpBackend):
    async def _open(self) -> None:
        known = await self._call("getinfo")
        network = _NETWORKS.get(known["network"])
        if network is None:
            raise WalletError(f"cln: unknown network {known['network']!r}")
        self.caps = Caps(network=network, fee_limit=True, remembers=True)

    async def info(self) -> WalletInfo:
        known = await self._call("getinfo")
        alias = f"Core Lightning {known.get('alias', '')}".strip()
        return WalletInfo(alias, self.caps, pubkey=known.get("id"), block_height=known.get("blockheight"))

    async def balance(self) -> int:
        """Our side of all working channels, without what is on its way out."""
        channels = (await self._call("listfunds"))["channels"]
        return sum(_msat(item["our_amount_msat"]) for item in channels if item["state"] == "CHANNELD_NORMAL")

    async def make_invoice(
        self,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
    ) -> Invoice:
        if description_hash is not None:
            raise NotSupported("cln: it commits to a description only if it is given in full")
        preimage = secrets.token_hex(32)
        made = await self._call(
            "invoice", amount_msat=amount_msat, label=f"timmy-{secrets.token_hex(12)}", description=description or "",
            expiry=expiry, preimage=preimage,
        )  # fmt: skip
        return invoice_of(made["bolt11"], self.clock(), preimage=preimage)

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        found = (await self._call("listinvoices", payment_hash=payment_hash))["invoices"]
        return self._invoice(found[0]) if found else None

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        found = [
            self._invoice(item)
            for item in (await self._call("listinvoices"))["invoices"]
            if item["status"] == "paid" and int(item["paid_at"]) >= since and item.get("bolt11")
        ]
        return sorted(found, key=lambda invoice: invoice.settled_at or 0)[:limit]

    def _invoice(self, said: Mapping[str, Any]) -> Invoice:
        settled = said["status"] == "paid"
        return invoice_of(
            said["bolt11"],
            self.clock(),
            state=_STATES[said["status"]],
            preimage=said.get("payment_preimage") if settled else None,
            settled_at=int(said["paid_at"]) if settled else None,
            received_msat=_msat(said["amount_received_msat"]) if settled else None,
        )

    # --- paying ---

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        invoice = payable(bolt11, self.caps.network)
        asked: dict[str, Any] = {"bolt11": invoice.text, "retry_for": max(1, int(timeout))}
        if max_fee_msat is not None:
            asked["maxfee"] = max_fee_msat
        try:
            answer = await self.rest.ask("POST", "/v1/pay", json=asked, timeout=patience(timeout))
        except Unanswered as error:
            return unknown(invoice.payment_hash, str(error))
        if answer.ok and isinstance(answer.body, Mapping):
            return _outcome(invoice.payment_hash, answer.body)
        if answer.status in (401, 403, 404, 405) or _code(answer) in _CERTAIN:
            return failed(invoice.payment_hash, f"cln: {answer.complaint}")
        return unknown(invoice.payment_hash, f"cln: {answer.complaint}")

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        """One payment may have had several attempts: a complete one wins, then one on its way."""
        tries = (await self._call("listpays", payment_hash=payment_hash))["pays"]
        if not tries:
            return unknown(payment_hash, "cln does not know this payment", "NOT_FOUND")
        order = {"complete": 0, "pending": 1, "failed": 2}
        return _outcome(payment_hash, min(tries, key=lambda item: order.get(item["status"], 1)))

    async def _call(self, method: str, **params: Any) -> Any:
        return (await self.rest.post(f"/v1/{method}", json=params)).body


def _outcome(payment_hash: str, said: Mapping[str, Any]) -> PayResult:
    status = said.get("status")
    if status == "complete":
        preimage = said.get("payment_preimage") or said.get("preimage")
        if "amount_sent_msat" in said and "amount_msat" in said:
            fee = _msat(said["amount_sent_msat"]) - _msat(said["amount_msat"])
            return PayResult(Outcome.SETTLED, payment_hash, preimage=preimage, fee_msat=fee)
        return PayResult(Outcome.SETTLED, payment_hash, preimage=preimage)
    if status == "failed":
        return failed(payment_hash, "cln: the payment failed")
    return PayResult(Outcome.PENDING, payment_hash, detail=f"cln: {status}")


def _code(answer: Answer) -> int | None:
    code = answer.field("code")
    if code is None and isinstance(error := answer.field("error"), Mapping):
        code = error.get("code")
    return code if isinstance(code, int) else None


def _msat(value: int | str) -> int:
    """Older releases write `1000msat`."""
    return int(str(value).removesuffix("msat"))


def open_backend(rest: str, *, key: SecretKey, clock: Clock = system_clock) -> ClnWallet:
    line = Line.parse(rest, "cln", "https://127.0.0.1:3010?key=RUNE&cert=FILE")
    return ClnWallet(Rest(line.url, name="cln", secrets={"Rune": line.secret()}, tls=line.tls()), clock)
