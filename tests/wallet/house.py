"""A wallet service on a small relay, with clients, for tests that go through the front door."""

import asyncio
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from nostr.key import SecretKey
from nostr.pool import Pool
from tests.fakes import FakeClock
from tests.nostr.small_relay import SmallRelay
from wallet import books, ledger
from wallet.backends.ledger import LedgerWallet
from wallet.bank import Bank
from wallet.connections import Connection, Renewal, Scope
from wallet.interface import Wallet
from wallet.ledger import hash_of
from wallet.nip47 import Uri
from wallet.nwc import NwcWallet
from wallet.sending import Policy
from wallet.service import WalletService

ALL = frozenset(Scope)
KEY = SecretKey.generate()


def preimage() -> tuple[str, str]:
    """A fresh preimage and its hash."""
    made = secrets.token_hex(32)
    return made, hash_of(made)


class House:
    """`async with House(folder) as house`. The owner has 1,000,000 sat of credits."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: FakeClock | None = None,
        backend: Wallet | None = None,
        policy: Policy | None = None,
        relay: SmallRelay | None = None,
        rate: float = 5000,
    ) -> None:
        self.folder = folder
        self.clock = clock or FakeClock()
        self.backend = backend or LedgerWallet(KEY, self.clock)
        self.policy = policy or Policy(start_credits_msat=10**9, poll_seconds=0.05, watch_seconds=3600)
        self.relay = relay or SmallRelay()
        self.rate = rate
        self._outer = AsyncExitStack()
        self._inner = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if not self.relay.port:
            await self._outer.enter_async_context(self.relay)
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()
        await self._outer.aclose()

    async def start(self) -> None:
        path = self.folder / "ledger.db"
        self.bank = await self._inner.enter_async_context(
            Bank.open(path, self.backend, clock=self.clock, policy=self.policy)
        )
        self.pool = await self._inner.enter_async_context(Pool([self.relay.url], private_hosts=()))
        self.service = await self._inner.enter_async_context(
            WalletService(self.bank, self.pool, clock=self.clock, requests_per_second=self.rate)
        )
        async with asyncio.timeout(5):
            await self.service.ready()

    async def stop(self) -> None:
        await self._inner.aclose()
        self._inner = AsyncExitStack()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def uri(
        self,
        name: str,
        *,
        account: str | None = None,
        scopes: frozenset[Scope] = ALL,
        budget: int | None = None,
        renewal: Renewal = Renewal.NEVER,
    ) -> Uri:
        made = await self.service.connect(
            name, account=account or name, scopes=scopes, budget_msat=budget, renewal=renewal
        )
        assert isinstance(made, Uri) and not isinstance(made, Connection)
        return made

    async def client(self, name: str, **terms: object) -> NwcWallet:
        """A connected client of this account, closed with the house."""
        uri = await self.uri(name, **terms)  # type: ignore[arg-type]
        return await self._outer.enter_async_context(NwcWallet(uri, clock=self.clock, patience=5))

    async def give(self, account: str, msat: int, purpose: str = "gift") -> int:
        """Move credits from the owner; returns the account's id."""

        def work(conn: object) -> int:
            target = books.open_account(conn, account, self.clock())  # type: ignore[arg-type]
            owner = books.account_id(conn, "owner")  # type: ignore[arg-type]
            books.transfer(conn, "gift", f"{account}:{purpose}", self.clock(), [(owner, -msat), (target, msat)])  # type: ignore[arg-type]
            return target

        return await self.bank.db.write(work)

    async def holds(self, account: str) -> int:
        """The balance of an account in msat."""
        row = await self.bank.db.fetch_one("SELECT balance FROM accounts WHERE name = ?", (account,))
        return 0 if row is None else int(row[0])

    async def faults(self) -> list[str]:
        return await self.bank.db.write(ledger.audit)

    async def count(self, table: str, where: str = "1") -> int:
        row = await self.bank.db.fetch_one(f"SELECT COUNT(*) FROM {table} WHERE {where}")
        return int(row[0]) if row is not None else 0
