"""An Electrum daemon: a Lightning node of one's own from a distribution's packages (JSON-RPC, Electrum 4.3 to 4.8).

    electrum:/home/ann/.electrum                          the daemon's folder; address and password are read there
    electrum:http://user:password@127.0.0.1:7777          its JSON-RPC

From 4.6.1 on the daemon makes hold invoices and takes a fee limit; both are used where it offers them.

Electrum answers `lnpay` when the payment has ended, tells every error by the same code, and keeps no list of payments
on their way. So an outcome is read from what its channels and its history show, never from the words of an error:

    settled   the history has the payment, with its preimage
    pending   the daemon is at it, or a channel holds money that was sent
    failed    the daemon gave up and no channel holds anything. With several channels, and after a restart of the
              daemon, only when that has been so for a while with every channel connected: an HTLC shows only when the
              next node has acknowledged it
    unknown   anything else
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from nostr.clock import Clock, system_clock
from nostr.key import SecretKey
from wallet.bolt11 import Bolt11
from wallet.interface import (
    Caps,
    Invoice,
    InvoiceState,
    NotSupported,
    Outcome,
    PayResult,
    WalletError,
    WalletInfo,
    WalletRefused,
)
from wallet.ledger import hash_of
from wallet.rest import (
    HttpBackend,
    Rest,
    Unanswered,
    basic,
    failed,
    invoice_of,
    payable,
    unknown,
    web_address,
    whole_sat,
)

_NETWORKS = {"mainnet": "bitcoin", "testnet": "testnet", "signet": "signet", "regtest": "regtest"}
_INFLIGHT, _FAILED = 4, 5  # status of an outgoing invoice
_GONE = frozenset({"CLOSED", "REDEEMED"})
_DAEMON_PATIENCE = 180.0  # Electrum itself gives up after 120 s
_QUIET = 30  # seconds without a trace after which a payment counts as failed
_TRACELESS = "TRACELESS"
_LOOK = 0.2
_SETTLING = 10.0  # seconds for the money of a settled hold invoice to show in the history
_HOLDS_SINCE = (4, 6, 1)
_FAILS_AT = 144 + 6  # the daemon gives an HTLC back by itself 144 blocks before it runs out; a little room for us
_BLOCK_SECONDS = 300  # half of what a block takes on average: a deadline is never told too late
_HELD = {
    "unpaid": InvoiceState.OPEN,
    "paid": InvoiceState.ACCEPTED,
    "settled": InvoiceState.SETTLED,
    "unknown": InvoiceState.CANCELLED,
}


class RpcError(WalletRefused):
    """Electrum executed the call and reports an error; its words are for people."""

    def __init__(self, message: str) -> None:
        super().__init__("OTHER", f"electrum: {message}")


class ElectrumWallet(HttpBackend):
    """Whole sat only. Older daemons take no fee limit; their own is the larger of 5 sat and 1 percent."""

    def __init__(self, rest: Rest, *, wallet_path: str | None = None, clock: Clock = system_clock) -> None:
        super().__init__(rest, clock)
        self._wallet_path = wallet_path
        self._quiet_since: dict[str, int] = {}
        self._paying: dict[str, asyncio.Task[Any]] = {}
        self._held: dict[str, str] = {}  # payment hash -> text: the daemon does not give it back
        self._shows_preimages = False

    async def __aexit__(self, *error: object) -> None:
        for task in self._paying.values():
            task.cancel()
        await asyncio.gather(*self._paying.values(), return_exceptions=True)
        await super().__aexit__(*error)

    async def _open(self) -> None:
        await self._load()
        known = await self._call("getinfo")
        network = _NETWORKS.get(known["network"])
        if network is None:
            raise WalletError(f"electrum: unknown network {known['network']!r}")
        commands = frozenset(await self._call("help"))
        modern = "add_hold_invoice" in commands and _version(known["version"]) >= _HOLDS_SINCE
        self.caps = Caps(network=network, hold=modern, fee_limit=modern, remembers=True)
        self._shows_preimages = "export_lightning_preimage" in commands

    async def _load(self) -> None:
        """The daemon forgets loaded wallets when it restarts."""
        if self._wallet_path is None:
            await self._rpc("load_wallet")
        else:
            await self._rpc("load_wallet", {"wallet_path": self._wallet_path})

    async def info(self) -> WalletInfo:
        known = await self._call("getinfo")
        node = str(await self._call("nodeid")).partition("@")[0]
        return WalletInfo(
            f"Electrum {known['version']}", self.caps, pubkey=node, block_height=known["blockchain_height"]
        )

    async def balance(self) -> int:
        """What is ours in channels, less what is on its way out; the channels' reserves count too."""
        held = sum(int(item["amount_msat"]) for item in await self._call("lightning_history"))
        leaving = sum(_sent(channel) for channel in await self._channels())
        return max(0, held - leaving * 1000)

    async def make_invoice(
        self,
        amount_msat: int,
        *,
        description: str | None = None,
        description_hash: str | None = None,
        expiry: int = 600,
    ) -> Invoice:
        if description_hash is not None:
            raise NotSupported("electrum: an invoice can't commit to the hash of a description")
        # The fourth word means "beyond the gap limit" to older daemons and "over Lightning" to newer ones.
        made = await self._call("add_request", _bitcoins(amount_msat), description or "", expiry, True)
        preimage = await self._call("export_lightning_preimage", made["rhash"]) if self._shows_preimages else None
        return replace(_invoice(made, self.clock(), None), preimage=preimage)

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        if payment_hash not in self._held:
            history = await self._received()
            for request in await self._call("list_requests"):
                if request.get("rhash") == payment_hash:
                    return _invoice(request, self.clock(), history.get(payment_hash))
        return await self._look_up_held(payment_hash) if self.caps.hold else None

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        history = {key: item for key, item in (await self._received()).items() if int(item["timestamp"]) >= since}
        if not history:
            return []
        found = [
            _invoice(request, self.clock(), history[request["rhash"]])
            for request in await self._call("list_requests")
            if request.get("rhash") in history
        ]
        return sorted(found, key=lambda invoice: invoice.settled_at or 0)[:limit]

    async def _received(self) -> dict[str, Mapping[str, Any]]:
        return {
            item["payment_hash"]: item
            for item in await self._call("lightning_history")
            if item["type"] == "payment" and item["amount_msat"] > 0
        }

    # --- hold invoices ---

    async def make_hold_invoice(
        self, amount_msat: int, payment_hash: str, *, description: str | None = None, expiry: int = 600
    ) -> Invoice:
        if not self.caps.hold:
            raise NotSupported("this Electrum is older than 4.6.1 and makes no hold invoices")
        made = await self._call("add_hold_invoice", payment_hash, _bitcoins(amount_msat), description or "", expiry)
        self._held[payment_hash] = made["invoice"]
        self.watch_hold(payment_hash)
        return invoice_of(made["invoice"], self.clock())

    async def settle_hold_invoice(self, preimage: str) -> None:
        """Returns when the money shows; what the daemon has the preimage of is ours, if later than that."""
        payment_hash = hash_of(preimage)
        try:
            await self._call("settle_hold_invoice", preimage)
        except RpcError:
            if not await self._knows_preimage(payment_hash):
                raise
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLING):
                while True:
                    if payment_hash in await self._received():
                        break
                    await asyncio.sleep(_LOOK)
        self._held.pop(payment_hash, None)

    async def _knows_preimage(self, payment_hash: str) -> bool:
        return await self._call("export_lightning_preimage", payment_hash) is not None

    async def cancel_hold_invoice(self, payment_hash: str) -> None:
        try:
            await self._call("cancel_hold_invoice", payment_hash)
        except RpcError:
            if (await self._call("check_hold_invoice", payment_hash))["status"] != "unknown":
                raise
        self._held.pop(payment_hash, None)

    async def _look_up_held(self, payment_hash: str) -> Invoice | None:
        """After a restart of ours without its text, which the daemon does not keep."""
        text = self._held.get(payment_hash, "")
        if (received := (await self._received()).get(payment_hash)) is not None:
            return _received_invoice(text, received)
        said = await self._call("check_hold_invoice", payment_hash)
        state = _HELD[said["status"]]
        if state is InvoiceState.SETTLED:  # the preimage is out, the money not in yet
            state = InvoiceState.ACCEPTED
        if state is InvoiceState.CANCELLED and not text:
            return None
        deadline = None
        if (expires := said.get("closest_htlc_expiry_height")) is not None:
            left = expires - _FAILS_AT - (await self._call("getinfo"))["blockchain_height"]
            deadline = self.clock() + max(left, 0) * _BLOCK_SECONDS
        if text:
            return replace(invoice_of(text, self.clock(), state=state), settle_deadline=deadline)
        msat = int(said.get("invoice_amount_sat", 0)) * 1000
        return Invoice("", payment_hash, msat, 0, 0, state, settle_deadline=deadline)

    # --- paying ---

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        invoice = payable(bolt11, self.caps.network)
        payment_hash = invoice.payment_hash
        running = self._paying.get(payment_hash)
        if running is None:
            running = asyncio.create_task(self._lnpay(invoice, max_fee_msat))
            self._paying[payment_hash] = running
            running.add_done_callback(lambda task: self._done(payment_hash, task))
        try:
            async with asyncio.timeout(timeout):
                answer = await asyncio.shield(running)
        except TimeoutError:
            return PayResult(Outcome.PENDING, payment_hash, detail="electrum has not answered yet")
        except RpcError as error:
            return await self._after_refusal(payment_hash, str(error), timeout)
        except Unanswered as error:
            return unknown(payment_hash, str(error))
        if answer.get("success"):
            return await self._settled(payment_hash) or PayResult(
                Outcome.SETTLED, payment_hash, preimage=answer.get("preimage")
            )
        words = "electrum found no way to pay it"
        return await self._after_refusal(payment_hash, words, timeout, untried=not answer.get("log"))

    async def _lnpay(self, invoice: Bolt11, max_fee_msat: int | None) -> Any:
        """Outlives the caller's patience: hanging up would not stop the daemon."""
        terms: dict[str, Any] = {"invoice": invoice.text}
        if self.caps.fee_limit and max_fee_msat is not None:
            most = max((invoice.amount_msat or 0) // 2, 1_000_000) - 1  # the daemon refuses higher limits
            terms["max_fee_msat"] = min(max_fee_msat, most)
        return await self._call("lnpay", timeout=_DAEMON_PATIENCE, **terms)

    def _done(self, payment_hash: str, task: "asyncio.Task[Any]") -> None:
        self._paying.pop(payment_hash, None)
        if not task.cancelled():
            task.exception()  # seen: the look-ups tell what became of it

    async def _after_refusal(
        self, payment_hash: str, words: str, timeout: float, *, untried: bool = False
    ) -> PayResult:
        """The daemon gave up, or never began. Wait until no channel holds money any more that may be this payment.

        `untried`: it found no route at all, and nothing was sent.
        """
        result = unknown(payment_hash, words)
        with contextlib.suppress(TimeoutError, WalletError, OSError):
            async with asyncio.timeout(max(timeout, 2)):
                while True:
                    result = await self.lookup_payment(payment_hash)
                    if result.code == "NOT_FOUND" or (untried and result.code == _TRACELESS):
                        return failed(payment_hash, words)
                    if result.outcome in (Outcome.SETTLED, Outcome.FAILED):
                        return result
                    await asyncio.sleep(_LOOK)
        return result

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        channels = await self._channels()  # before the history: what leaves a channel in between shows there
        if (settled := await self._settled(payment_hash)) is not None:
            return settled
        noted = [item for item in await self._call("list_invoices") if item["invoice_id"] == payment_hash]
        if not noted:
            return unknown(payment_hash, "electrum does not know this payment", "NOT_FOUND")
        status = noted[0]["status"]
        if status == _INFLIGHT or payment_hash in self._paying or any(_sent(channel) for channel in channels):
            self._quiet_since.pop(payment_hash, None)
            return PayResult(Outcome.PENDING, payment_hash, detail="on its way")
        if status == _FAILED and len(channels) <= 1:
            return failed(payment_hash, "electrum found no way to pay it")
        if any(channel["peer_state"] != "GOOD" for channel in channels):
            self._quiet_since.pop(payment_hash, None)
            return unknown(payment_hash, "a channel is not connected")
        since = self._quiet_since.setdefault(payment_hash, self.clock())
        if self.clock() - since < _QUIET:
            return unknown(payment_hash, "electrum has stopped trying; a part may still be on its way", _TRACELESS)
        return failed(payment_hash, "electrum has stopped trying, and nothing of the payment is left in its channels")

    async def _settled(self, payment_hash: str) -> PayResult | None:
        for item in await self._call("lightning_history"):
            if item["type"] == "payment" and item["payment_hash"] == payment_hash and item["amount_msat"] <= 0:
                return PayResult(
                    Outcome.SETTLED, payment_hash, preimage=item["preimage"], fee_msat=int(item["fee_msat"] or 0)
                )
        return None

    async def _channels(self) -> list[dict[str, Any]]:
        listed = await self._call("list_channels")
        return [item for item in listed if item.get("type", "CHANNEL") == "CHANNEL" and item["state"] not in _GONE]

    # --- JSON-RPC ---

    async def _call(self, method: str, *params: Any, timeout: float = 30, **named: Any) -> Any:
        """By position or by name."""
        try:
            return await self._rpc(method, named or list(params), timeout)
        except RpcError:
            if method == "lnpay" or await self._loaded():
                raise
            await self._load()
            return await self._rpc(method, named or list(params), timeout)

    async def _loaded(self) -> bool:
        listed = await self._rpc("list_wallets")
        return any(self._wallet_path in (None, item["path"]) for item in listed)

    async def _rpc(self, method: str, params: Any = (), timeout: float = 30) -> Any:
        answer = await self.rest.ask(
            "POST", "", json={"id": 1, "method": method, "params": params or []}, timeout=timeout
        )
        self.rest.good(answer)
        if not isinstance(answer.body, Mapping):
            raise Unanswered("electrum: the answer is not JSON-RPC")
        if answer.body.get("error"):
            raise RpcError(answer.complaint)
        return answer.body.get("result")


def _sent(channel: Mapping[str, Any]) -> int:
    """Sat that a channel holds for payments on their way out."""
    return int(channel["local_unsettled_sent"])


def _invoice(request: Mapping[str, Any], now: int, received: Mapping[str, Any] | None) -> Invoice:
    """Only the Lightning history says that it was paid: a request may also be paid on the chain."""
    text = request.get("lightning_invoice")
    if not text:
        raise WalletError("electrum: this wallet has no Lightning; create a segwit wallet with a seed")
    return invoice_of(text, now) if received is None else _received_invoice(text, received)


def _received_invoice(text: str, received: Mapping[str, Any]) -> Invoice:
    """An invoice of ours that the Lightning history shows as paid; `text` may be lost."""
    at, msat = int(received["timestamp"]), int(received["amount_msat"])
    paid = Invoice("", received["payment_hash"], msat, at, at, InvoiceState.SETTLED)
    if text:
        paid = invoice_of(text, at, state=InvoiceState.SETTLED)
    return replace(paid, preimage=received["preimage"], settled_at=at, received_msat=msat)


def _bitcoins(amount_msat: int) -> str:
    return f"{Decimal(whole_sat(amount_msat, 'electrum')) / 10**8:.8f}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _from_folder(folder: Path) -> Rest:
    for network in ("", "testnet", "signet", "regtest"):
        path = folder / network / "config"
        if path.is_file():
            config = json.loads(path.read_text())
            if config.get("rpcport") and config.get("rpcpassword"):
                url = f"http://{config.get('rpchost', '127.0.0.1')}:{config['rpcport']}"
                login = basic(config.get("rpcuser", "user"), config["rpcpassword"])
                return Rest(url, name="electrum", secrets={"Authorization": login})
    raise WalletError(
        "backend electrum: the folder has no config with rpcport and rpcpassword: set them with `electrum setconfig`"
    )


def open_backend(rest: str, *, key: SecretKey, clock: Clock = system_clock) -> ElectrumWallet:
    place, _, wallet_path = rest.strip().partition("#")
    if place.startswith(("/", "~")):
        made = _from_folder(Path(place).expanduser())
    else:
        made = Rest(web_address(place, "electrum", "http://user:password@127.0.0.1:7777"), name="electrum")
    return ElectrumWallet(made, wallet_path=wallet_path or None, clock=clock)
