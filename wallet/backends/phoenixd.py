"""phoenixd: a node that manages its channels by itself.

    phoenixd:http://127.0.0.1:9740?key=PASSWORD

The password is the full-access one of `~/.phoenix/phoenix.conf` (`http-password`), or `@` and a file that holds it.
Whole sat only, and no fee limit for a call: its routing fee is fixed (0.4 percent and 4 sat). What it keeps for
liquidity when money comes in is the owner's cost: the customer paid in full, and the wallet's watchdog shows the gap.
"""

from collections.abc import Mapping
from typing import Any

from nostr.clock import Clock, system_clock
from nostr.key import SecretKey
from wallet.interface import Caps, Invoice, InvoiceState, Outcome, PayResult, WalletError, WalletInfo, WalletRefused
from wallet.rest import (
    HttpBackend,
    Line,
    Rest,
    Unanswered,
    basic,
    failed,
    invoice_of,
    patience,
    payable,
    unknown,
    whole_sat,
)

_NETWORKS = {
    "mainnet": "bitcoin",
    "testnet": "testnet",
    "testnet3": "testnet",
    "signet": "signet",
    "regtest": "regtest",
}


class PhoenixdWallet(HttpBackend):
    async def _open(self) -> None:
        known = (await self.rest.get("/getinfo")).body
        network = _NETWORKS.get(known.get("chain", ""))
        if network is None:
            raise WalletError(f"phoenixd: unknown network {known.get('chain')!r}")
        self.caps = Caps(network=network)

    async def info(self) -> WalletInfo:
        known = (await self.rest.get("/getinfo")).body
        return WalletInfo(
            f"phoenixd {known.get('version', '')}".strip(), self.caps, pubkey=known.get("nodeId"),
            block_height=known.get("blockHeight"),
        )  # fmt: skip

    async def balance(self) -> int:
        """What can be sent. The fee credit for later liquidity is not money yet."""
        return int((await self.rest.get("/getbalance")).body["balanceSat"]) * 1000

    async def make_invoice(
        self,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
    ) -> Invoice:
        form = {"amountSat": str(whole_sat(amount_msat, "phoenixd")), "expirySeconds": str(expiry)}
        if description_hash is not None:
            form["descriptionHash"] = description_hash
        else:
            form["description"] = (description or "payment")[:128]  # it requires one, of at most 128 characters
        made = (await self.rest.post("/createinvoice", form=form)).body
        return invoice_of(made["serialized"], self.clock())

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        answer = await self.rest.ask("GET", f"/payments/incoming/{payment_hash}")
        return None if answer.status == 404 else self._invoice(self.rest.good(answer).body)

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        query = {"from": str(since * 1000), "limit": str(limit)}
        listed = (await self.rest.get("/payments/incoming", query=query)).body
        found = [self._invoice(item) for item in listed if item.get("isPaid") and item.get("invoice")]
        return sorted(found, key=lambda invoice: invoice.settled_at or 0)

    def _invoice(self, said: Mapping[str, Any]) -> Invoice:
        """`receivedSat` is what is left after a liquidity fee; the payer paid the whole invoice."""
        settled = bool(said.get("isPaid"))
        return invoice_of(
            said["invoice"],
            self.clock(),
            state=InvoiceState.SETTLED if settled else InvoiceState.OPEN,
            preimage=said.get("preimage") if settled else None,
            settled_at=int(said["completedAt"]) // 1000 if settled else None,
            received_msat=int(said["receivedSat"]) * 1000 + int(said.get("fees") or 0) if settled else None,
        )

    # --- paying ---

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        """`reason` says that it failed; the lookup must agree before it is believed."""
        invoice = payable(bolt11, self.caps.network)
        try:
            answer = await self.rest.ask(
                "POST", "/payinvoice", form={"invoice": invoice.text}, timeout=patience(timeout)
            )
            if answer.ok and (preimage := answer.field("paymentPreimage")):
                fee = int(answer.field("routingFeeSat") or 0) * 1000
                return PayResult(Outcome.SETTLED, invoice.payment_hash, preimage=preimage, fee_msat=fee)
            if answer.status in (400, 401, 403, 404, 405):
                raise WalletRefused("OTHER", f"phoenixd: {answer.complaint}")
            seen = await self.lookup_payment(invoice.payment_hash)
        except Unanswered as error:
            return unknown(invoice.payment_hash, str(error))
        reason = answer.field("reason")
        if reason is not None and seen.code == "NOT_FOUND":
            return failed(invoice.payment_hash, f"phoenixd: {reason}")  # it was refused before an attempt was noted
        if seen.outcome is Outcome.FAILED:
            return failed(invoice.payment_hash, f"phoenixd: {reason or seen.detail}")
        return seen

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        answer = await self.rest.ask("GET", f"/payments/outgoingbyhash/{payment_hash}")
        if answer.status == 404:
            return unknown(payment_hash, "phoenixd does not know this payment", "NOT_FOUND")
        said = self.rest.good(answer).body
        if said.get("isPaid"):
            return PayResult(
                Outcome.SETTLED, payment_hash, preimage=said.get("preimage"), fee_msat=int(said.get("fees") or 0)
            )
        if said.get("completedAt"):
            return failed(payment_hash, "phoenixd: the payment failed")
        return PayResult(Outcome.PENDING, payment_hash, detail="on its way")


def open_backend(rest: str, *, key: SecretKey, clock: Clock = system_clock) -> PhoenixdWallet:
    line = Line.parse(rest, "phoenixd", "http://127.0.0.1:9740?key=PASSWORD")
    login = basic("", line.secret())
    return PhoenixdWallet(Rest(line.url, name="phoenixd", secrets={"Authorization": login}, tls=line.tls()), clock)
