"""Zaps (NIP-57): checking receipts that strangers publish, and publishing those for zaps to this node's addresses.

A receipt says that a payee's wallet claims to have been paid. It proves nothing, and no work starts for one: a seller
looks the invoice up in the own wallet (`confirmed`).

ZapRefused        the receipt is not what it says; the message names the check it fails
"""

import asyncio
import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from nostr import nip57
from nostr.clock import Clock, system_clock
from nostr.event import Event, InvalidEvent
from nostr.key import SecretKey
from nostr.pool import Pool
from wallet import bolt11
from wallet.bank import Bank
from wallet.interface import InvoiceState, Wallet
from wallet.ledger import Bill, News, Report
from wallet.parts import ADDRESSES

log = logging.getLogger("wallet")

_MOST_RELAYS = 5  # of those a zap request names
_TRIES = (0, 5, 60, 600)  # seconds before each attempt to publish a receipt
_DAY = 86400
# Settled invoices of the node's own addresses: what others write into their invoices makes no receipt.
_OURS = "FROM invoices i JOIN connections c ON c.id = i.connection WHERE i.state = 'settled' AND c.name = ?"


class ZapRefused(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class Zap:
    """A receipt that passed every check. Amount in msat; still a claim, see `confirmed`."""

    receipt: Event
    sender: str
    receiver: str
    amount_msat: int
    payment_hash: str
    bolt11: str
    event_id: str | None
    comment: str


def verify(
    receipt: Event,
    *,
    receiver: str,
    signer: str,
    least_msat: int = 1,
    event_id: str | None = None,
    lnurl: str | None = None,
    network: str | None = None,
    seen: Collection[str] = (),
) -> Zap:
    """Every check of NIP-57 (appendix F), and those it leaves to common sense. Raises ZapRefused.

    `signer` is the `nostrPubkey` that the receiver's own LNURL service announces, asked of that service and never
    taken from the receipt. `event_id` is the event it must pay for, `seen` are payment hashes that counted before.
    """
    if receipt.pubkey != signer or not receipt.verify():
        raise ZapRefused("it is not signed by the receiver's wallet")
    try:
        parsed = nip57.parse_receipt(receipt)
        invoice = bolt11.decode(parsed.bolt11)
    except (nip57.InvalidZap, bolt11.InvalidInvoice) as error:
        raise ZapRefused(str(error)) from None
    request = parsed.request
    if request.receiver != receiver:
        raise ZapRefused("it is for somebody else")
    if event_id is not None and (request.event_id != event_id or receipt.first("e") != event_id):
        raise ZapRefused("it is for another event")
    if invoice.description_hash != hashlib.sha256(parsed.description.encode()).hexdigest():
        raise ZapRefused("its invoice does not commit to this request")
    amount = invoice.amount_msat or 0
    if request.amount_msat is not None and request.amount_msat != amount:
        raise ZapRefused(f"its invoice is over {amount} msat, its request over {request.amount_msat}")
    if amount < least_msat:
        raise ZapRefused(f"{amount} msat is less than {least_msat}")
    if network is not None and invoice.network != network:
        raise ZapRefused(f"its invoice is for {invoice.network}")
    named = request.event.first("lnurl")
    if lnurl is not None and named is not None and named.lower() != lnurl.lower():
        raise ZapRefused("it was paid to another address")
    if parsed.preimage and not _opens(parsed.preimage, invoice.payment_hash):
        raise ZapRefused("its preimage is not that of its invoice")
    if invoice.payment_hash in seen:
        raise ZapRefused("its payment counted before")
    return Zap(
        receipt, request.event.pubkey, receiver, amount, invoice.payment_hash, invoice.text, request.event_id,
        request.event.content,
    )  # fmt: skip


async def payment(receipt: Event, wallet: Wallet, *, receiver: str, event_id: str, least_msat: int) -> Zap:
    """The zap that paid at least this for this event into `wallet`, which says so. Raises ZapRefused, WalletError.

    The receipt only says where to look, so anybody may have signed it: the invoice is the wallet's own, it is settled,
    and it commits to a zap request that names `receiver` and the event. Whoever delivers for it must keep
    `Zap.payment_hash` and deliver for each hash once.
    """
    zap = verify(receipt, receiver=receiver, signer=receipt.pubkey, least_msat=least_msat, event_id=event_id)
    if not await confirmed(zap, wallet):
        raise ZapRefused("the own wallet has not been paid for it")
    return zap


async def confirmed(zap: Zap, wallet: Wallet) -> bool:
    """Whether the own wallet knows the invoice and has been paid at least this: the only word that counts."""
    found = await wallet.lookup_invoice(zap.payment_hash)
    if found is None or found.state is not InvoiceState.SETTLED or found.bolt11.lower() != zap.bolt11:
        return False
    return (found.received_msat or found.amount_msat) >= zap.amount_msat


class Receipts:
    """Publishes a receipt for each zap to an address of this node, signed by the wallet's key.

    The request travels with the invoice as its metadata (`{"zap": "<json>"}`). A receipt is made from what is on disk,
    so one that was not delivered before a restart is made again, with the same id.
    """

    def __init__(self, bank: Bank, pool: Pool, key: SecretKey, *, clock: Clock = system_clock) -> None:
        self._bank, self._pool, self._key, self._clock = bank, pool, key, clock
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Receipts":
        rows = await self._bank.db.fetch(
            f"SELECT payment_hash {_OURS} AND i.settled_at > ?",
            (ADDRESSES, self._clock() - _DAY),
        )
        for row in rows:
            self._spawn(row["payment_hash"])
        self._bank.listen(self._hear)
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _hear(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if report.news is News.RECEIVED and isinstance(report.what, Bill) and _zap_of(report.what.metadata):
                self._spawn(report.payment_hash)

    def _spawn(self, payment_hash: str) -> None:
        task = asyncio.get_running_loop().create_task(self._publish(payment_hash))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def receipt(self, payment_hash: str) -> tuple[Event, tuple[str, ...]] | None:
        """The receipt of a settled zap and the relays its sender wants it on; None for any other invoice."""
        row = await self._bank.db.fetch_one(
            f"SELECT i.metadata, i.bolt11, i.settled_at, i.preimage {_OURS} AND i.payment_hash = ?",
            (ADDRESSES, payment_hash),
        )
        text = _zap_of(row["metadata"]) if row is not None else None
        if row is None or text is None:
            return None
        try:
            zap = nip57.check_request(Event.from_json(text))
        except (nip57.InvalidZap, InvalidEvent):
            return None
        made = nip57.receipt(
            self._key, zap, bolt11=row["bolt11"], description=text, paid_at=row["settled_at"], preimage=row["preimage"]
        )
        return made, zap.relays

    async def _publish(self, payment_hash: str) -> None:
        found = await self.receipt(payment_hash)
        if found is None:
            return
        event, named = found
        missing = {*self._pool.relays, *named[:_MOST_RELAYS]}  # the pool dials strangers' at public addresses only
        for wait in _TRIES:
            await asyncio.sleep(wait)
            answers = await self._pool.publish(event, list(missing))
            missing -= {url for url, answer in answers.items() if answer.accepted}
            if not missing:
                return
        log.info("zap receipt %s: %d relays did not take it", event.id[:16], len(missing))


def metadata(request: str) -> dict[str, str]:
    """What an invoice carries so that its payment becomes a receipt."""
    return {"zap": request}


def _zap_of(text: str | None) -> str | None:
    if text is None or not text.startswith('{"zap":'):
        return None
    said: Any = orjson.loads(text)
    return said["zap"] if isinstance(said["zap"], str) else None


def _opens(preimage: str, payment_hash: str) -> bool:
    try:
        return hashlib.sha256(bytes.fromhex(preimage)).hexdigest() == payment_hash
    except ValueError:
        return False
