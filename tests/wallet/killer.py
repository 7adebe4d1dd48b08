"""Runs one life of the money path, killed with -9 at its Nth write, then a second life that must put everything right.

    python -m tests.wallet.killer FOLDER [FROM [TO [STEP]]]

Every write means: each statement that changes the ledger's file, each COMMIT, and the moments just before and after the
Lightning wallet does what it was told. That wallet is a file that outlives us, as a node beside us would.
Prints the number of killed lives, or says at which write money was lost.
"""

import asyncio
import hashlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import nostr.database as database
from nostr.key import SecretKey
from tests.fakes import FakeClock
from wallet import bolt11, books, connections, ledger
from wallet.backends.ledger import LedgerWallet
from wallet.bank import Bank, Claim
from wallet.connections import Renewal, Replayed, Scope
from wallet.interface import Caps, Invoice, InvoiceState, Outcome, PayResult, WalletInfo, WalletRefused
from wallet.ledger import PaymentState
from wallet.sending import Policy

KEY = SecretKey.from_hex("11" * 32)
CLOCK = FakeClock()
START = 10_000_000
BILL = 40_000


def secret(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


SECRETS = {ledger.hash_of(secret(name)): secret(name) for name in ("remote", "far taken", "far cancelled")}


class Writes:
    """Counts writes and dies at one of them."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.count = 0

    def __call__(self, what: str = "INSERT") -> None:
        if what.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE", "COMMIT", "RELEAS"):
            self.count += 1
            if self.count == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)


class Node:
    """A Lightning wallet whose memory is a file: one line for each thing that happened, synced before it counts."""

    caps = Caps(network="regtest", hold=True, real_money=False, remembers=True)

    def __init__(self, path: Path, writes: Writes) -> None:
        self.signer = LedgerWallet(KEY, CLOCK)
        self.path, self.writes = path, writes

    def note(self, line: str) -> None:
        if self.has(line):
            return
        self.writes()
        with self.path.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.writes()

    def has(self, line: str) -> bool:
        return self.path.exists() and line in self.path.read_text().splitlines()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def info(self) -> WalletInfo:
        return WalletInfo("node", self.caps)

    async def balance(self) -> int:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        moved = {"in": BILL, "out": -BILL - 7, "held": 0, "gone": 0}
        return START + sum(moved[line.split()[0]] for line in lines)

    async def pay_invoice(
        self, bolt11: str, *, max_fee_msat: int | None = None, timeout: float = 60, purpose: str | None = None
    ) -> PayResult:
        payment_hash = decode(bolt11).payment_hash
        self.note(f"out {payment_hash}")
        return PayResult(Outcome.SETTLED, payment_hash, secret("foreign"), 7)

    async def lookup_payment(self, payment_hash: str) -> PayResult:
        if self.has(f"out {payment_hash}"):
            return PayResult(Outcome.SETTLED, payment_hash, secret("foreign"), 7)
        return PayResult(Outcome.UNKNOWN, payment_hash, code="NOT_FOUND")

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        states = (("in", InvoiceState.SETTLED), ("gone", InvoiceState.CANCELLED), ("held", InvoiceState.ACCEPTED))
        for word, state in states:
            if self.has(f"{word} {payment_hash}"):
                proof, at = (SECRETS[payment_hash], CLOCK()) if word == "in" else (None, None)
                return Invoice("", payment_hash, BILL, CLOCK(), CLOCK() + 600, state, proof, at, BILL)
        return None

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        return []

    async def settle_hold_invoice(self, preimage: str) -> None:
        self.note(f"in {ledger.hash_of(preimage)}")

    async def cancel_hold_invoice(self, payment_hash: str) -> None:
        if self.has(f"held {payment_hash}"):
            self.note(f"gone {payment_hash}")

    async def settled(self) -> AsyncIterator[str]:
        await asyncio.sleep(3600)
        yield ""


decode = bolt11.decode


async def life(folder: Path, fatal: int) -> int:
    """One run of the whole story. It may be a second life: whatever was done already is found, not done again."""
    writes = Writes(fatal)
    usual = database.connect

    def connect(path: Path) -> object:
        conn = usual(path)
        conn.set_trace_callback(writes)
        return conn

    database.connect = connect  # type: ignore[assignment]
    node = Node(folder / "node", writes)
    policy = Policy(poll_seconds=3600, watch_seconds=3600, fee_floor_msat=1_000, ask_again=(0.02,))
    async with Bank.open(folder / "ledger.db", node, clock=CLOCK, policy=policy) as bank:
        buyer, seller, app = await bank.db.write(_people)
        await _pay(bank, buyer, app, await _bill(bank, seller, "inside", {}), "r1")
        foreign = _foreign(folder)
        await _pay(bank, buyer, app, foreign, "r2")
        await _hold(bank, buyer, seller, app, "taken")
        await _hold(bank, buyer, seller, app, "cancelled")
        remote = await _bill(bank, seller, "remote", {})
        node.note(f"in {decode(remote).payment_hash}")
        await bank._refresh(decode(remote).payment_hash)
        await _hold_at_the_node(bank, node, seller, "far taken")
        await _hold_at_the_node(bank, node, seller, "far cancelled")
        await _check(bank, node, buyer, seller)
    return writes.count


def _people(conn: object) -> tuple[int, int, int]:
    buyer = books.open_account(conn, "owner", 1)  # type: ignore[arg-type]
    seller = books.open_account(conn, "seller", 1)  # type: ignore[arg-type]
    known = connections.by_name(conn, "app")  # type: ignore[arg-type]
    app = known.id if known is not None else connections.add(
        conn, name="app", account=buyer, service_secret="x", service_pubkey="x", client_pubkey="x",  # type: ignore[arg-type]
        scopes=frozenset(Scope), now=1, budget_msat=5 * BILL, renewal=Renewal.NEVER,
    )  # fmt: skip
    return buyer, seller, app


def _foreign(folder: Path) -> str:
    """The stranger's invoice: the same text in every life."""
    path = folder / "foreign"
    if not path.exists():
        text = bolt11.encode(key=SecretKey.generate(), network="regtest", amount_msat=BILL, created_at=CLOCK(),
                             payment_hash=ledger.hash_of(secret("foreign")), description="x")  # fmt: skip
        fresh = folder / "foreign.new"
        fresh.write_text(text)
        fresh.replace(path)
    return path.read_text()


async def _bill(bank: Bank, account: int, name: str, terms: dict[str, str]) -> str:
    """The invoice of this name, made once; the node would know its preimage, here it is made from the name."""
    payment_hash = ledger.hash_of(secret(name))
    found = await bank.invoice(payment_hash)
    if found is not None:
        return found.invoice.bolt11
    hold, remote = name.endswith(("taken", "cancelled")), name.startswith(("far", "remote"))
    made = bank.backend.signer._sign(  # type: ignore[attr-defined]
        BILL, payment_hash, None if hold else secret(name), name, None, 600
    )
    await bank.db.write(lambda conn: ledger.add_invoice(conn, made, account=account, hold=hold, remote=remote))
    return str(made.bolt11)


async def _pay(bank: Bank, buyer: int, app: int, text: str, event: str) -> None:
    """As the service does it: one request, and the client repeats it, and asks again with a new one, until settled."""
    for request in (event, event, f"{event}-{os.getpid()}"):
        claim = Claim(request, app, "pay_invoice", "nip44_v2")
        try:
            payment = await bank.pay(buyer, text, connection=app, claim=claim)
        except Replayed:
            continue
        except WalletRefused as error:
            found = await bank.payment(decode(text).payment_hash, buyer)
            if found is None or not found.ended:
                raise AssertionError(f"{event}: {error}") from None
            continue
        await bank.wait(payment, 5)


async def _hold(bank: Bank, buyer: int, seller: int, app: int, name: str) -> None:
    text = await _bill(bank, seller, name, {})
    payment_hash = decode(text).payment_hash
    done = await bank.payment(payment_hash, buyer)
    if done is None or not done.ended:
        await bank.pay(buyer, text, connection=app)
    if name == "taken":
        await bank.settle_hold(seller, secret(name))
    else:
        await bank.cancel_hold(seller, payment_hash)


async def _hold_at_the_node(bank: Bank, node: Node, seller: int, name: str) -> None:
    """Somebody outside pays: the node holds his money until the seller takes it or gives it back."""
    payment_hash = decode(await _bill(bank, seller, name, {})).payment_hash
    node.note(f"held {payment_hash}")
    await bank._refresh(payment_hash)
    if name.endswith("taken"):
        await bank.settle_hold(seller, secret(name))
    else:
        await bank.cancel_hold(seller, payment_hash)


async def _check(bank: Bank, node: Node, buyer: int, seller: int) -> None:
    faults = await bank.db.write(ledger.audit)
    assert faults == [], faults
    assert await bank.check() == []
    rows = await bank.db.fetch("SELECT * FROM payments")
    states = sorted(PaymentState(row["state"]).value for row in rows if row["state"] != "failed")
    assert states == ["settled"] * 3, [(row["purpose"], row["state"]) for row in rows]
    # inside, foreign with its fee, taken; the cancelled one came back
    assert await bank.db.write(lambda conn: books.balance(conn, buyer)) == START - 3 * BILL - 7
    assert await bank.db.write(lambda conn: books.balance(conn, seller)) == 4 * BILL
    spent = await bank.db.fetch_one("SELECT spent_msat FROM connections")
    assert spent is not None and spent[0] == 3 * BILL + 7
    lines = node.path.read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == ["gone", "held", "held", "in", "in", "out"], lines
    open_requests = await bank.db.fetch("SELECT event_id FROM requests WHERE answer IS NULL")
    assert open_requests == [], [row[0] for row in open_requests]


def lived(folder: Path, fatal: int) -> tuple[int, int]:
    """(exit code or -9, writes) of one life in a process of its own."""
    count = folder / "count"
    child = os.fork()
    if child == 0:
        try:
            writes = asyncio.run(life(folder, fatal))
            count.write_text(str(writes))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code, int(count.read_text()) if code == 0 else 0


def main(folder: Path, first: int, last: int, step: int) -> int:
    killed = 0
    for fatal in range(first, last, step):
        with tempfile.TemporaryDirectory(dir=folder) as made:
            place = Path(made)
            code, _ = lived(place, fatal)
            if code == 0:
                print(f"{killed} lives killed, the story has fewer than {fatal} writes")
                return 0
            if code != -signal.SIGKILL:
                print(f"write {fatal}: the first life ended with {code}")
                return 1
            killed += 1
            # The second life dies too, half-way, while it puts things right; the third must succeed.
            lived(place, max(fatal // 2, 5))
            code, _ = lived(place, 0)
            if code != 0:
                print(f"write {fatal}: not put right")
                return 1
    print(f"{killed} lives killed")
    return 0


if __name__ == "__main__":
    where = Path(sys.argv[1])
    numbers = [int(text) for text in sys.argv[2:]]
    sys.exit(main(where, *(numbers + [1, 10_000, 1][len(numbers) :])))
