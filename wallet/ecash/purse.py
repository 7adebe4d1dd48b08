"""The node's ecash: a journal in SQLite, so that what was swapped is had once and never lost.

    token      -> swap row with the new secrets (commit) -> the mint swaps -> proofs held (commit)
    proofs     -> melt row (commit) -> the mint pays an invoice of our own wallet -> spent, change held (commit)

A row stays open where the mint gave no usable answer. `recover` finishes it: the mint signs the same blinded messages
again (NUT-09), or says that the inputs are unspent and the step is repeated or given up. Money counts as received only
when the node's own wallet has been paid.
"""

import asyncio
import math
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from nostr.clock import Clock, system_clock
from nostr.database import Database
from nostr.key import SecretKey
from wallet.ecash import crypto
from wallet.ecash.errors import EcashOpen, EcashRefused
from wallet.ecash.mint import Keyset, Mint
from wallet.ecash.token import Token
from wallet.interface import InvoiceState, Wallet

SCHEMA = """
CREATE TABLE proofs (
    y TEXT PRIMARY KEY,
    mint TEXT NOT NULL,
    keyset TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    secret TEXT NOT NULL UNIQUE,
    c TEXT NOT NULL,
    step INTEGER REFERENCES steps (id),
    spent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE steps (
    id INTEGER PRIMARY KEY,
    mint TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('swap', 'melt')),
    quote TEXT,
    inputs TEXT NOT NULL,
    outputs TEXT NOT NULL,
    at INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'failed')),
    gained INTEGER
) STRICT;
CREATE TABLE tried (y TEXT PRIMARY KEY) STRICT;
CREATE INDEX steps_open ON steps (id) WHERE state = 'open';
"""
MIGRATIONS = (SCHEMA,)
_RESERVE_FLOOR = 10  # sat guessed for the mint's Lightning fee before its quote tells
_SPENT, _SIGNED = (11001,), (11003, 11004)
_ARRIVES = (0, 0.5, 1, 2, 4)  # seconds before each look whether the mint's payment is there


@dataclass(frozen=True, slots=True)
class Blank:
    """A blinded message and what opens it. `amount` is 0 for change whose size the mint decides (NUT-08)."""

    amount: int
    keyset: str
    secret: str
    r: str

    @property
    def message(self) -> dict[str, Any]:
        return {"amount": self.amount, "id": self.keyset, "B_": crypto.blind(self.secret, self.r)}


def split(amount: int) -> list[int]:
    """Powers of two, smallest first."""
    return [1 << bit for bit in range(amount.bit_length()) if amount >> bit & 1]


def fee(keysets: Sequence[Keyset]) -> int:
    """Sat for spending one proof of each of these (NUT-02)."""
    return -(-sum(keyset.fee_ppk for keyset in keysets) // 1000)


class Purse:
    """`key` opens ecash that is locked to it; `mints` are the URLs whose ecash is accepted."""

    def __init__(self, db: Database, key: SecretKey, mints: Sequence[str], *, clock: Clock = system_clock) -> None:
        self._db, self._key, self._clock = db, key, clock
        self.mints = tuple(url.rstrip("/") for url in mints)

    @property
    def lock(self) -> str:
        """The public key that ecash for us is locked to, 32 bytes in hex."""
        return self._key.public

    async def balance(self) -> dict[str, int]:
        """Sat that are held, by mint."""
        rows = await self._db.fetch(
            "SELECT mint, SUM(amount) FROM proofs WHERE step IS NULL AND NOT spent GROUP BY mint"
        )
        return {row[0]: row[1] for row in rows}

    async def receive(self, token: Token, *, locked: bool = False) -> int:
        """Swap a token for ecash that only we know; the sat gained. `locked`: each proof must be locked to our key.

        Raises EcashRefused, and EcashOpen where the journal has to finish it.
        """
        if token.mint not in self.mints:
            raise EcashRefused(f"ecash of {token.mint} is not accepted here")
        if token.unit != "sat":
            raise EcashRefused(f"ecash in {token.unit} is not accepted here")
        async with Mint(token.mint) as mint:
            inputs, keysets = [], []
            for proof in token.proofs:
                keyset = await mint.keyset(proof["id"])
                keysets.append(keyset)
                inputs.append(self._open(proof, keyset, locked))
            if len({item["secret"] for item in inputs}) != len(inputs):
                raise EcashRefused("the token holds the same ecash twice")
            gain = token.amount - fee(keysets)
            if gain <= 0:
                raise EcashRefused("the token is worth less than the mint's fee")
            target = await mint.active()
            blanks = [_blank(amount, target.id) for amount in split(gain)]
            step = await self._begin(token.mint, "swap", inputs, blanks)
            return await self._swap(mint, step, inputs, blanks)

    async def tried(self, token: Token) -> bool:
        """Whether a swap of any of this ecash was begun before."""
        for proof in token.proofs:
            y = crypto.hash_to_curve(proof["secret"].encode())
            if await self._db.fetch_one("SELECT 1 FROM tried WHERE y = ?", (y,)) is not None:
                return True
        return False

    def _open(self, proof: Mapping[str, Any], keyset: Keyset, locked: bool) -> dict[str, Any]:
        mint_key = keyset.keys.get(int(proof["amount"]))
        if mint_key is None:
            raise EcashRefused("the ecash has an amount that the mint does not sign")
        if ("dleq" in proof or locked) and not crypto.check_proof(proof, mint_key):
            raise EcashRefused("the ecash is not signed by the mint (DLEQ)")
        made = {"amount": proof["amount"], "id": keyset.id, "secret": proof["secret"], "C": proof["C"]}
        witness = crypto.unlock(proof["secret"], self._key)
        if witness is not None:
            made["witness"] = witness
        elif locked:
            raise EcashRefused("the ecash is not locked to our key")
        return made

    async def _begin(
        self, mint: str, kind: str, inputs: Sequence[Any], blanks: Sequence[Blank], quote: str | None = None
    ) -> int:
        shown = orjson.dumps([[b.amount, b.keyset, b.secret, b.r] for b in blanks]).decode()

        def work(conn: sqlite3.Connection) -> int:
            made = conn.execute(
                "INSERT INTO steps (mint, kind, quote, inputs, outputs, at) VALUES (?, ?, ?, ?, ?, ?)",
                (mint, kind, quote, orjson.dumps(inputs).decode(), shown, self._clock()),
            )
            step = int(made.lastrowid or 0)
            ys = [(crypto.hash_to_curve(item["secret"].encode()),) for item in inputs]
            conn.executemany("INSERT OR IGNORE INTO tried (y) VALUES (?)", ys)
            if kind == "melt":
                for item in inputs:
                    conn.execute("UPDATE proofs SET step = ? WHERE secret = ?", (step, item["secret"]))
            return step

        return await self._db.write(work)

    async def _swap(self, mint: Mint, step: int, inputs: Sequence[Any], blanks: Sequence[Blank]) -> int:
        try:
            signatures = await mint.swap(inputs, [blank.message for blank in blanks])
            if len(signatures) != len(blanks):
                raise EcashOpen("the mint took the ecash and signed less than it was asked to")
        except EcashRefused as error:
            if error.code in _SIGNED:  # an earlier attempt of this very step reached the mint
                return await self._restore(mint, step, blanks)
            if error.code in _SPENT and (gained := await self._restore_if_signed(mint, step, blanks)) is not None:
                return gained
            await self._end(step, "failed", [])
            raise
        return await self._finish(mint, step, blanks, signatures)

    async def _finish(self, mint: Mint, step: int, blanks: Sequence[Blank], signatures: Sequence[Any]) -> int:
        """Unblind, check, hold. Raises EcashRefused where the mint signed with another key than it publishes."""
        held = []
        for blank, signed in zip(blanks, signatures, strict=False):
            keyset = await mint.keyset(signed["id"])
            amount = int(signed["amount"])
            mint_key = keyset.keys[amount]
            if (blank.amount and amount != blank.amount) or (
                "dleq" in signed
                and signed["dleq"]
                and not crypto.check_signature_proof(
                    signed["dleq"], crypto.blind(blank.secret, blank.r), signed["C_"], mint_key
                )
            ):
                raise EcashRefused("the mint signed something else than it was asked to")
            c = crypto.unblind(signed["C_"], blank.r, mint_key)
            held.append((crypto.hash_to_curve(blank.secret.encode()), mint.url, keyset.id, amount, blank.secret, c))
        await self._end(step, "done", held)
        return sum(row[3] for row in held)

    async def _end(self, step: int, state: str, held: Sequence[tuple[Any, ...]]) -> None:
        def work(conn: sqlite3.Connection) -> None:
            conn.execute(
                "UPDATE steps SET state = ?, gained = ? WHERE id = ? AND state = 'open'",
                (state, sum(row[3] for row in held), step),
            )
            conn.executemany(
                "INSERT OR IGNORE INTO proofs (y, mint, keyset, amount, secret, c) VALUES (?, ?, ?, ?, ?, ?)", held
            )
            if state == "done":
                conn.execute("UPDATE proofs SET spent = 1 WHERE step = ?", (step,))
            else:
                conn.execute("UPDATE proofs SET step = NULL WHERE step = ?", (step,))

        await self._db.write(work)

    async def _restore_if_signed(self, mint: Mint, step: int, blanks: Sequence[Blank]) -> int | None:
        by_message = {blank.message["B_"]: blank for blank in blanks}
        outputs, signatures = await mint.restore([blank.message for blank in blanks])
        if not outputs:
            return None
        return await self._finish(mint, step, [by_message[output["B_"]] for output in outputs], signatures)

    async def _restore(self, mint: Mint, step: int, blanks: Sequence[Blank]) -> int:
        gained = await self._restore_if_signed(mint, step, blanks)
        if gained is None:
            raise EcashOpen("the mint says that it signed, and shows no signatures")
        return gained

    # --- to the node's wallet ---

    async def cash(self, url: str, wallet: Wallet) -> int:
        """Have the mint pay all ecash of it to an invoice of `wallet`; the sat that arrived. Raises EcashError."""
        rows = await self._db.fetch("SELECT * FROM proofs WHERE mint = ? AND step IS NULL AND NOT spent", (url,))
        inputs = [
            {"amount": row["amount"], "id": row["keyset"], "secret": row["secret"], "C": row["c"]} for row in rows
        ]
        total = sum(int(row["amount"]) for row in rows)
        async with Mint(url) as mint:
            spending = fee([await mint.keyset(row["keyset"]) for row in rows])
            sat = total - spending - max(_RESERVE_FLOOR, total // 100)
            for attempt in range(4):
                if sat <= 0:
                    raise EcashRefused(f"{total} sat of ecash are less than it costs to cash them in")
                made = await wallet.make_invoice(sat * 1000, description="ecash cashed in")
                quote = await mint.melt_quote(made.bolt11)
                best = total - spending - int(quote["fee_reserve"])
                if sat <= best and (sat == best or attempt):
                    break
                sat = best
            else:
                raise EcashRefused("the mint's fee changes with every question")
            target = await mint.active()
            over = max(total - sat - spending, 1)
            blanks = [_blank(0, target.id) for _ in range(max(1, math.ceil(math.log2(over + 1))))]
            step = await self._begin(url, "melt", inputs, blanks, str(quote["quote"]))
            await self._melt(mint, step, str(quote["quote"]), inputs, blanks)
        if not await _arrived(wallet, made.payment_hash):
            raise EcashOpen(f"the mint says that it paid {sat} sat, and your wallet has not seen them")
        return sat

    async def _melt(self, mint: Mint, step: int, quote: str, inputs: Sequence[Any], blanks: Sequence[Blank]) -> None:
        """Returns when the mint says that it paid. Raises EcashRefused, EcashOpen."""
        try:
            said = await mint.melt(quote, inputs, [blank.message for blank in blanks])
        except EcashRefused as refusal:
            state = await self._settle_melt(mint, step, quote, inputs, blanks)
            if state == "failed":
                raise
            if state == "open":
                raise EcashOpen(str(refusal)) from None
            return
        if said.get("state") != "PAID":
            if await self._settle_melt(mint, step, quote, inputs, blanks) != "done":
                raise EcashOpen("the mint has not paid yet")
            return
        await self._finish(mint, step, blanks, said.get("change") or [])

    async def _settle_melt(
        self, mint: Mint, step: int, quote: str, inputs: Sequence[Any], blanks: Sequence[Blank]
    ) -> str:
        """What became of a melt, by the mint's own word on the quote and on the proofs: both must agree."""
        said = await mint.melt_state(quote)
        states = await mint.states([crypto.hash_to_curve(item["secret"].encode()) for item in inputs])
        if said.get("state") == "PAID":
            if await self._restore_if_signed(mint, step, blanks) is None:
                await self._end(step, "done", [])
            return "done"
        if said.get("state") == "UNPAID" and all(state == "UNSPENT" for state in states):
            await self._end(step, "failed", [])
            return "failed"
        return "open"

    async def recover(self) -> int:
        """Finish what is open; the number of steps that still are. Raises nothing for a mint that is away."""
        left = 0
        for row in await self._db.fetch("SELECT * FROM steps WHERE state = 'open'"):
            inputs = orjson.loads(row["inputs"])
            blanks = [Blank(*item) for item in orjson.loads(row["outputs"])]
            try:
                async with Mint(row["mint"]) as mint:
                    if row["kind"] == "melt":
                        left += await self._settle_melt(mint, row["id"], row["quote"], inputs, blanks) == "open"
                    elif await self._restore_if_signed(mint, row["id"], blanks) is None:
                        await self._swap(mint, row["id"], inputs, blanks)
            except EcashOpen:
                left += 1
            except EcashRefused:
                continue
        return left


async def _arrived(wallet: Wallet, payment_hash: str) -> bool:
    """Whether our own wallet has been paid; what it hears of its node may be seconds late."""
    for wait in _ARRIVES:
        await asyncio.sleep(wait)
        found = await wallet.lookup_invoice(payment_hash)
        if found is not None and found.state is InvoiceState.SETTLED:
            return True
    return False


def _blank(amount: int, keyset: str) -> Blank:
    return Blank(amount, keyset, secrets.token_hex(32), crypto.random_scalar())
