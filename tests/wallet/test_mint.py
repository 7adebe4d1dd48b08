"""`timmy mint` as its owner runs it, with Nutshell's own wallet as the customer: exact books, and death in mid-melt."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.peers import environments
from wallet.ecash.nutshell import PACKAGES
from wallet.interface import Outcome
from wallet.nwc import NwcWallet

pytestmark = [pytest.mark.peer, pytest.mark.slow]
WAIT = 60.0


class Node:
    """A relay, a wallet service on credits and a mint, each a process on one data folder."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.python = folder, python
        self.data = folder / "node"
        self.parts: dict[str, subprocess.Popen[str]] = {}
        self.url = ""
        (self.data / "mint").mkdir(parents=True)
        (self.data / "mint" / "env").symlink_to(python.parent.parent)

    def start(self, part: str, *words: str) -> str:
        with (self.folder / f"{part}.err").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "node.cli", part, *words, "--data", str(self.data)],
                stdout=subprocess.PIPE, stderr=said, text=True,
            )  # fmt: skip
        self.parts[part] = process
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith(f"{part} "), (self.folder / f"{part}.err").read_text()[-2000:]
        return line

    def start_mint(self) -> None:
        port = self.url.rpartition(":")[2] or "0"
        self.url = self.start("mint", "--i-keep-other-peoples-money", "--port", port).removeprefix("mint ")

    def kill(self, part: str) -> None:
        process = self.parts.pop(part)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for part in reversed(list(self.parts)):
            self.parts[part].terminate()
            assert self.parts[part].wait(20) == 0, part

    def pay(self, bill: str) -> None:
        async def work(wallet: NwcWallet) -> None:
            assert (await wallet.pay_invoice(bill)).outcome is Outcome.SETTLED

        self.with_wallet("owner", work)

    def bill(self, part: str, sat: int) -> str:
        async def work(wallet: NwcWallet) -> str:
            return (await wallet.make_invoice(sat * 1000, description="for the test")).bolt11

        return str(self.with_wallet(part, work))

    def with_wallet(self, part: str, work: Callable[[NwcWallet], Any]) -> Any:
        async def run() -> Any:
            async with NwcWallet((self.data / "wallet" / "connections" / f"{part}.uri").read_text().strip()) as wallet:
                return await work(wallet)

        return asyncio.run(run())

    def holds(self, account: str) -> int:
        """Credits of an account, as its books on disk say, which sum to nothing."""
        with closing(sqlite3.connect(f"file:{self.data}/wallet/ledger.db?mode=ro", uri=True)) as db:
            assert db.execute("SELECT SUM(balance) FROM accounts").fetchone()[0] == 0
            row = db.execute("SELECT balance FROM accounts WHERE name = ?", (account,)).fetchone()
        assert row is None or row[0] % 1000 == 0
        return 0 if row is None else int(row[0]) // 1000

    def owed(self) -> int:
        """The ecash that the mint signed and has not taken back, as its own books say."""
        with closing(sqlite3.connect(f"file:{self.data}/mint/db/mint.sqlite3?mode=ro", uri=True)) as db:
            signed, taken = (
                db.execute(f"SELECT COALESCE(SUM(amount), 0) FROM {rows}").fetchone()[0]
                for rows in ("promises WHERE c_ IS NOT NULL", "proofs_used")
            )
        return int(signed) - int(taken)

    def paid(self) -> list[str]:
        """The states of the payments that the mint sent."""
        with closing(sqlite3.connect(f"file:{self.data}/wallet/ledger.db?mode=ro", uri=True)) as db:
            sql = "SELECT p.state FROM payments p JOIN accounts a ON a.id = p.account WHERE a.name = 'mint'"
            return [str(row[0]) for row in db.execute(sql)]


class Customer:
    """Somebody with Nutshell's command line wallet."""

    def __init__(self, name: str, node: Node) -> None:
        self._home, self._node = node.folder / name, node
        self._home.mkdir()
        (self._home / ".env").write_text("TOR=FALSE\n")

    def start(self, *words: str, out: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(self._home), "CASHU_DIR": str(self._home), "TOR": "FALSE"}
        command = [str(self._node.python.parent / "cashu"), "-h", self._node.url, "-y", *words]
        return subprocess.Popen(command, env=env, cwd=self._home, stdout=out, stderr=subprocess.STDOUT, text=True)

    def run(self, *words: str) -> str:
        said, _ = self.start(*words).communicate(timeout=WAIT)
        return said

    def balance(self) -> int:
        said = self.run("balance")
        found = re.search(r"Balance: (\d+) sat", said)
        assert found, said
        return int(found[1])

    def buy(self, sat: int) -> None:
        process = self.start("invoice", str(sat))
        assert process.stdout is not None
        said = ""
        while not (found := re.search(r"lnbcrt\w+", said)):
            line = process.stdout.readline()
            assert line, said
            said += line
        self._node.pay(found[0])
        rest, _ = process.communicate(timeout=WAIT)
        assert process.returncode == 0, said + rest


@pytest.fixture(scope="module")
def python() -> Path:
    return environments.python(*PACKAGES)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Iterator[Node]:
    with _running(tmp_path_factory.mktemp("mint"), python) as node:
        yield node


@contextmanager
def _running(folder: Path, python: Path) -> Iterator[Node]:
    node = Node(folder, python)
    try:
        node.start("relay", "--port", "0")
        node.start("wallet")
        node.start_mint()
        yield node
    finally:
        for process in node.parts.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        node.stop()


def test_credits_become_ecash_that_moves_and_become_credits_of_another_account(node: Node) -> None:
    ann, bob = Customer("ann", node), Customer("bob", node)
    owner = node.holds("owner")

    ann.buy(100)
    assert (node.holds("owner"), node.holds("mint")) == (owner - 100, 100)
    assert node.owed() == 100

    sent = ann.run("send", "40")
    token = re.search(r"cashuB[\w-]+=*", sent)
    assert token, sent
    bob.run("receive", token[0])
    got = bob.balance()
    assert 38 <= got <= 40, "less the mint's fee for the proofs"
    assert "spent" in ann.run("receive", token[0]).lower(), "a token is taken once"
    assert node.holds("mint") == 100, "ecash moves without the wallet"

    said = bob.run("pay", "-y", node.bill("image", 20))
    assert node.holds("image") == 20, said
    assert node.holds("mint") == 80, "a payment inside the node costs the mint nothing"
    left = bob.balance()
    assert got - 20 - 2 <= left <= got - 20, "the fee reserve comes back"
    assert ann.balance() + left <= node.owed() <= node.holds("mint"), "every token is backed"
    assert node.paid() == ["settled"]

    # What cannot be paid for certain gives the ecash back at once.
    dead = node.bill("owner", 10)
    node.pay(dead)
    bob.run("pay", "-y", dead)
    assert node.holds("mint") == 80 and bob.balance() >= left - 1

    assert json.loads(urllib.request.urlopen(node.url + "/v1/info", timeout=5).read())["version"].startswith("Nutshell")
    assert (node.data / "mint" / "mint.key").stat().st_mode & 0o777 == 0o600
    said = (node.folder / "mint.err").read_text()
    assert said.count("A mint is custody") == 1 and "credits" in said


def test_a_mint_killed_in_mid_melt_pays_once(node: Node) -> None:
    carl = Customer("carl", node)
    before = node.holds("image"), node.holds("mint"), len(node.paid())
    carl.buy(64)
    bill = node.bill("image", 30)
    node.parts["wallet"].send_signal(signal.SIGSTOP)  # the request waits while the mint dies
    with (node.folder / "carl.out").open("w") as out:
        melt = carl.start("pay", "-y", bill, out=out)
        _until(lambda: _pending(node))
        time.sleep(0.5)
        node.kill("mint")
        melt.wait(WAIT)
    _until(lambda: not _listens(node.url))  # Nutshell does not outlive us
    assert _pending(node), "the ecash is not given back while nobody knows"
    node.parts["wallet"].send_signal(signal.SIGCONT)
    _until(lambda: node.paid()[before[2] :] == ["settled"])

    node.start_mint()
    _until(lambda: not _pending(node))  # it asks by itself what became of the payment
    carl.run("pay", "-y", bill)  # the customer, who saw an error, tries again
    assert node.paid()[before[2] :] == ["settled"]
    assert (node.holds("image") - before[0], node.holds("mint") - before[1]) == (30, 34)
    assert node.owed() <= node.holds("mint") and carl.balance() >= 32, "the rest is change, and all of it is backed"


def _pending(node: Node) -> bool:
    with closing(sqlite3.connect(f"file:{node.data}/mint/db/mint.sqlite3?mode=ro", uri=True)) as db:
        return bool(db.execute("SELECT COUNT(*) FROM proofs_pending").fetchone()[0])


def _listens(url: str) -> bool:
    try:
        urllib.request.urlopen(url + "/v1/info", timeout=2).close()
    except OSError:
        return False
    return True


def _until(happens: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
