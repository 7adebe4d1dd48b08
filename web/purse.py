"""The page's own hand on the wallet: the operator's view of it, and the credits that visitors may spend.

Both are NWC connections like everybody's (NIP-47): `operator`, with the admin scope, and `guests`, which the wallet
itself holds to a daily budget. Guest credits exist in ledger mode alone, where nothing is worth money.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from pathlib import Path
from typing import Any

from nostr.clock import Clock
from wallet import bolt11, open_wallet
from wallet.interface import Outcome, Wallet, WalletError
from web.errors import BadRequest, Forbidden, Unready
from web.settings import WebSettings
from web.store import PageStore

log = logging.getLogger("web")
DAY = 86400
MAIN = "bitcoin"
MOST_ACCOUNTS = 1000  # strangers can ask with as many keys as they like


class Purse:
    """`credits` is True while the wallet is `ledger`. `open()` gives the operator's wallet, or raises Unready."""

    def __init__(self, data: Path, settings: WebSettings, clock: Clock, store: PageStore) -> None:
        self._data = data
        self._store = store
        self._settings = settings
        self._clock = clock
        self._wallets: dict[str, Wallet] = {}
        self._lock, self._opening = asyncio.Lock(), asyncio.Lock()
        self._day = 0
        self._spent: Counter[str] = Counter()  # msat of this day, by key
        self._starter: asyncio.Task[None] | None = None
        self.credits = False
        self.test_network = ""  # whose coins are worth nothing; "" on the main network, and with credits

    async def start(self) -> None:
        """Find out, as soon as the wallet answers, whether its units are credits; remember what was spent today."""
        self._day = self._clock() // DAY
        self._spent.update(await self._store.treated_since(self._day * DAY))
        self._starter = asyncio.create_task(self._learn(), name="purse")

    async def _learn(self) -> None:
        while True:
            with contextlib.suppress(WalletError, Unready, TimeoutError):
                wallet = await self.open()
                caps = wallet.caps
                self.credits = not caps.real_money
                self.test_network = caps.network if caps.real_money and caps.network != MAIN else ""
                return
            await asyncio.sleep(1)

    async def open(self, name: str = "operator") -> Wallet:
        """The connection of this name, kept open. Raises Unready."""
        async with self._lock:
            if name not in self._wallets:
                path = self._data / "wallet" / "connections" / f"{name}.uri"
                try:
                    uri = path.read_text().strip()
                except FileNotFoundError:
                    raise Unready(
                        "The wallet has not started yet: `timmy wallet` runs it, `timmy up` runs everything."
                    ) from None
                wallet = open_wallet(uri)
                await wallet.__aenter__()
                self._wallets[name] = wallet
            return self._wallets[name]

    async def treat(self, visitor: str, invoice: str) -> str:
        """Pay a visitor's bill with the node's credits and return the preimage; "" while the money is only locked.

        Asked again for the same bill, by the same visitor, it pays nothing and says the preimage once there is one.
        Raises Forbidden, BadRequest or Unready.
        """
        if not self.credits:
            raise Forbidden("This node settles in real Lightning: pay the invoice with your own wallet.")
        try:
            bill = bolt11.decode(invoice)
        except ValueError as error:
            raise BadRequest(f"That is not an invoice: {error}") from None
        if (before := await self._store.treated(bill.payment_hash)) is not None:
            return await self._proof(visitor, before, bill.payment_hash)
        amount = bill.amount_msat or 0
        left = self.left(visitor)
        if not amount or amount > left * 1000:
            raise Forbidden(f"Guests have {self._settings.guest_credits} credits a day; you have {left} left today.")
        self._spent[visitor] += amount  # before anything is awaited: many requests at once share one allowance
        await self._store.treat(bill.payment_hash, visitor, amount)
        try:
            result = await (await self.open("guests")).pay_invoice(invoice)
        except (WalletError, Unready) as error:
            self._spent[visitor] -= amount
            raise Unready(f"The wallet does not answer: {error}") from None
        if result.outcome is Outcome.FAILED:
            self._spent[visitor] -= amount
            await self._store.forget_treat(bill.payment_hash)
            raise BadRequest(f"The wallet did not pay: {result.detail or result.code}")
        return result.preimage or ""

    async def _proof(self, visitor: str, payer: str, payment_hash: str) -> str:
        if visitor != payer:
            raise Forbidden("Somebody else has paid this bill.")
        try:
            known = await (await self.open("guests")).lookup_payment(payment_hash)
        except WalletError as error:
            raise Unready(f"The wallet does not answer: {error}") from None
        return known.preimage or ""

    async def account(self, person: str) -> str:
        """The wallet connection of a person's own account at this node, made on first asking: what they earn here, they
        can spend here. Raises Forbidden or Unready.
        """
        if not self.credits or not self._settings.guest_credits:
            raise Forbidden("This node keeps no money for visitors: connect a wallet of your own.")
        async with self._opening:
            if (known := await self._store.account(person)) is not None:
                return known
            if await self._store.accounts() >= MOST_ACCOUNTS:
                raise Forbidden("This node has no more accounts to give: connect a wallet of your own.")
            account = f"person-{person[:24]}"
            # A name of its own each time: one that was made and not kept (a crash between) is of no use to anybody.
            wanted = {"name": f"{account}-{self._clock()}", "account": account, "scopes": ["pay", "receive", "read"]}
            try:
                uri = str((await self.admin("create_connection", wanted))["uri"])
            except WalletError as error:
                raise Unready(f"The wallet does not answer: {error}") from None
            await self._store.keep_account(person, uri)
            return uri

    def left(self, visitor: str) -> int:
        """Credits that this key may still spend today."""
        if not self.credits:
            return 0
        if self._day != (today := self._clock() // DAY):
            self._day = today
            self._spent.clear()
        return max(0, self._settings.guest_credits - -(-self._spent[visitor] // 1000))

    async def admin(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """One of the wallet's operator methods (`list_connections`, `books`...). Raises WalletError or Unready."""
        wallet = await self.open()
        call = getattr(wallet, "call", None)
        if call is None:
            raise Unready("This wallet has no operator methods.")
        answer: dict[str, Any] = await call(method, params or {})
        return answer

    async def close(self) -> None:
        if self._starter is not None:
            self._starter.cancel()
        for wallet in self._wallets.values():
            await wallet.__aexit__(None, None, None)
