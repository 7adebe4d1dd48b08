"""Mints that lie to the node's purse: what they say is not money, what our own wallet was paid is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest

from nostr.database import Database
from nostr.key import SecretKey
from tests.fakes import FakeWallet
from wallet.ecash import EcashOpen, purse
from wallet.ecash.mint import Keyset
from wallet.ecash.purse import MIGRATIONS, Purse
from wallet.ecash.token import Token

URL = "https://mint.example"


class LyingMint:
    """Says that it paid, and signs less than it took."""

    url = URL
    known = Keyset("00" * 8, "sat", True, 0, {1 << bit: "02" + "ab" * 32 for bit in range(12)})

    def __init__(self, url: str) -> None:
        self.asked: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def keyset(self, name: str) -> Keyset:
        return self.known

    async def active(self) -> Keyset:
        return self.known

    async def melt_quote(self, bill: str) -> dict[str, Any]:
        return {"quote": "q", "fee_reserve": 0}

    async def melt(self, quote: str, inputs: object, outputs: object) -> dict[str, Any]:
        return {"state": "PAID", "change": []}

    async def swap(self, inputs: object, outputs: object) -> list[object]:
        return []


@pytest.fixture
async def pocket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Purse]:
    monkeypatch.setattr(purse, "Mint", LyingMint)
    monkeypatch.setattr(purse, "_ARRIVES", (0,))
    db = await Database.open(tmp_path / "ecash.db", MIGRATIONS)
    held = "INSERT INTO proofs (y, mint, keyset, amount, secret, c) VALUES ('y', ?, ?, 64, 's', 'c')"
    await db.write(lambda conn: conn.execute(held, (URL, LyingMint.known.id)).rowcount)
    yield Purse(db, SecretKey.generate(), [URL])
    await db.close()


async def test_a_mint_that_says_it_paid_and_did_not_is_not_believed(pocket: Purse, wallet: FakeWallet) -> None:
    with pytest.raises(EcashOpen, match="not seen"):
        await pocket.cash(URL, wallet)


async def test_a_mint_that_signs_less_than_it_took_is_told_and_the_step_stays_open(pocket: Purse) -> None:
    proof = {"amount": 8, "id": LyingMint.known.id, "secret": "x", "C": "02" + "ab" * 32}
    with pytest.raises(EcashOpen, match="less"):
        await pocket.receive(Token(URL, "sat", (proof,)))
    assert await pocket.balance() == {URL: 64}
