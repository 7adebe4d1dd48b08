"""Ecash of a real mint: Nutshell, whose money is an account of our wallet, and our purse as its user."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from nostr.database import Database
from nostr.key import SecretKey
from tests.peers import environments
from tests.wallet.house import House
from tests.wallet.peers.conftest import household
from wallet.ecash import EcashOpen, EcashRefused, crypto, nutshell, nutzaps, token
from wallet.ecash.mint import Mint
from wallet.ecash.purse import MIGRATIONS, Blank, Purse, split
from wallet.interface import Outcome
from wallet.nwc import NwcWallet

KEY = SecretKey.generate()


@dataclass
class World:
    house: House
    url: str
    buyer: NwcWallet
    purse: Purse

    async def ecash(self, sat: int, *, lock: str | None = None) -> token.Token:
        """A token that the buyer bought at the mint; `lock` is a public key (32 bytes in hex)."""
        async with Mint(self.url) as mint:
            quote = await mint.call("POST", "/v1/mint/quote/bolt11", {"amount": sat, "unit": "sat"})
            assert (await self.buyer.pay_invoice(quote["request"])).outcome is Outcome.SETTLED
            async with asyncio.timeout(20):
                while True:
                    if (await mint.call("GET", f"/v1/mint/quote/bolt11/{quote['quote']}"))["state"] == "PAID":
                        break
                    await asyncio.sleep(0.1)
            keyset = await mint.active()
            blanks = [Blank(amount, keyset.id, self._secret(lock), crypto.random_scalar()) for amount in split(sat)]
            body = {"quote": quote["quote"], "outputs": [blank.message for blank in blanks]}
            signed = (await mint.call("POST", "/v1/mint/bolt11", body))["signatures"]
            proofs = [
                {"amount": b.amount, "id": b.keyset, "secret": b.secret, "dleq": {**s["dleq"], "r": b.r},
                 "C": crypto.unblind(s["C_"], b.r, keyset.keys[b.amount])}
                for b, s in zip(blanks, signed, strict=True)
            ]  # fmt: skip
        return token.Token(self.url, "sat", tuple(proofs))

    def _secret(self, lock: str | None) -> str:
        nonce = SecretKey.generate().hex
        return nonce if lock is None else orjson.dumps(["P2PK", {"nonce": nonce, "data": "02" + lock}]).decode()


@pytest.fixture(scope="module")
def interpreter() -> Path:
    return environments.python(*nutshell.PACKAGES)


@asynccontextmanager
async def everything(interpreter: Path, folder: Path) -> AsyncIterator[World]:
    async with household(folder) as house:
        await house.give("buyer", 50_000_000)
        buyer, funds = await house.client("buyer"), await house.client("mint")
        db = await Database.open(folder / "ecash.db", MIGRATIONS)
        try:
            async with nutshell.running(interpreter, folder / "mint", funds) as mint:
                yield World(house, mint.url, buyer, Purse(db, KEY, [mint.url], clock=house.clock))
        finally:
            await db.close()
        assert await house.faults() == []


async def test_ecash_of_a_mint_on_our_money_is_taken_once_and_becomes_money_again(
    interpreter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with everything(interpreter, tmp_path) as world:
        shop = await world.house.client("shop")
        purse, url = world.purse, world.url

        paid = await world.ecash(1_000)
        assert await world.house.holds("mint") == 1_000_000, "the mint's money is an account of ours"
        text = token.encode(paid)
        assert token.parse(text) == paid
        gained = await purse.receive(token.parse(text))
        assert 990 <= gained < 1_000, "less the mint's fee"
        assert await purse.balance() == {url: gained}

        with pytest.raises(EcashRefused, match="refuses"):
            await purse.receive(paid)  # spent
        assert await purse.balance() == {url: gained}

        # Locks: ours opens, others' does not.
        mine = await purse.receive(await world.ecash(64, lock=KEY.public), locked=True)
        with pytest.raises(EcashRefused, match="another key"):
            await purse.receive(await world.ecash(64, lock=SecretKey.generate().public))
        plain = await world.ecash(64)
        with pytest.raises(EcashRefused, match="not locked"):
            await purse.receive(plain, locked=True)
        forged = tuple({**proof, "dleq": {**proof["dleq"], "e": "11" * 32}} for proof in plain.proofs)
        with pytest.raises(EcashRefused, match="DLEQ"):
            await purse.receive(replace(plain, proofs=forged))
        with pytest.raises(EcashRefused, match="twice"):
            await purse.receive(replace(plain, proofs=plain.proofs * 2))
        with pytest.raises(EcashRefused, match="not accepted"):
            await purse.receive(replace(plain, mint="https://mint.example"))

        # A nutzap is taken once, however often its proofs are published.
        fan, owner = SecretKey.generate(), SecretKey.generate()
        gift = await world.ecash(64, lock=KEY.public)
        tags = [["u", url], ["unit", "sat"], ["p", owner.public]]
        tags += [["proof", orjson.dumps(proof).decode()] for proof in gift.proofs]
        zaps = [fan.sign(kind=nutzaps.NUTZAP, content=text, tags=tags, created_at=1) for text in ("thanks", "again")]
        assert 60 <= await nutzaps.take(purse, zaps[0], owner.public) < 64
        assert [await nutzaps.take(purse, zap, owner.public) for zap in zaps] == [0, 0]
        with pytest.raises(EcashRefused, match="not a nutzap to"):
            await nutzaps.take(purse, zaps[0], fan.public)

        # The answer to a swap is lost: the mint did it, and the journal brings it home.
        swap = Mint.swap

        async def lossy(self: Mint, inputs: Any, outputs: Any) -> Any:
            await swap(self, inputs, outputs)
            raise EcashOpen("lost on the way")

        monkeypatch.setattr(Mint, "swap", lossy)
        with pytest.raises(EcashOpen):
            await purse.receive(plain)
        monkeypatch.undo()
        held = (await purse.balance())[url]
        assert await purse.recover() == 0
        found = (await purse.balance())[url]
        assert 60 <= found - held < 64
        assert await purse.recover() == 0 and (await purse.balance())[url] == found, "once"

        # The request to swap never arrives: it is repeated.
        fresh = await world.ecash(32)

        async def gone(self: Mint, inputs: Any, outputs: Any) -> Any:
            raise EcashOpen("nobody there")

        monkeypatch.setattr(Mint, "swap", gone)
        with pytest.raises(EcashOpen):
            await purse.receive(fresh)
        monkeypatch.undo()
        assert await purse.recover() == 0
        assert (await purse.balance())[url] > found

        # All of it becomes money of the shop; the answer to that is lost too.
        total = (await purse.balance())[url]
        melt = Mint.melt

        async def deaf(self: Mint, *terms: Any) -> Any:
            await melt(self, *terms)
            raise EcashOpen("lost on the way")

        monkeypatch.setattr(Mint, "melt", deaf)
        with pytest.raises(EcashOpen):
            await purse.cash(url, shop)
        monkeypatch.undo()
        assert (await purse.balance()).get(url, 0) == 0, "not spendable while it is open"
        assert await purse.recover() == 0
        change = (await purse.balance()).get(url, 0)
        got = await world.house.holds("shop") // 1000
        assert got > 0.95 * total and total - 5 <= got + change <= total
        assert mine > 0

        # What is less than its own fee is not taken, and what is less than a payment costs stays ecash.
        with pytest.raises(EcashRefused, match="mint's fee"):
            await purse.receive(await world.ecash(1))
        rest = await purse.receive(await world.ecash(8)) + change
        if rest <= 10:
            with pytest.raises(EcashRefused, match="cash them in"):
                await purse.cash(url, shop)
            assert (await purse.balance())[url] == rest


@pytest.fixture(scope="module")
def modules() -> Path:
    return environments.node_modules("@cashu/cashu-ts@4.8.0")


async def test_tokens_pass_between_us_and_cashu_ts(interpreter: Path, modules: Path, tmp_path: Path) -> None:
    script = modules / "cashu_wallet.mjs"
    script.write_text((Path(__file__).parent / "cashu_wallet.mjs").read_text())
    pipe = asyncio.subprocess.PIPE
    async with everything(interpreter, tmp_path) as world:
        theirs = await asyncio.create_subprocess_exec("node", script, world.url, "buy", "100", stdin=pipe, stdout=pipe)
        assert theirs.stdout is not None and theirs.stdin is not None
        async with asyncio.timeout(60):
            bill = (await theirs.stdout.readline()).decode().strip()
            assert (await world.buyer.pay_invoice(bill)).outcome is Outcome.SETTLED
            theirs.stdin.write(b"paid\n")
            text = (await theirs.stdout.readline()).decode().strip()
            await theirs.wait()
        assert text.startswith("cashuB")
        assert 95 <= await world.purse.receive(token.parse(text)) < 100

        ours = token.encode(await world.ecash(50))
        theirs = await asyncio.create_subprocess_exec("node", script, world.url, "take", ours, stdout=pipe)
        async with asyncio.timeout(60):
            said, _ = await theirs.communicate()
        assert 45 <= int(said.decode().split()[-1]) < 50
