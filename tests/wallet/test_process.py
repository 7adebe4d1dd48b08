"""`timmy wallet` as its owner runs it: a process beside a relay, used from the command line, killed under load."""

import asyncio
import contextlib
import io
import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.cli import main
from wallet import bolt11
from wallet.interface import Outcome, WalletError
from wallet.nip47 import Uri
from wallet.nwc import NwcWallet


class Node:
    """A relay and a wallet service on one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.parts: dict[str, subprocess.Popen[str]] = {}

    def start(self, part: str, *words: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "node.cli", part, *words, "--data", str(self.data)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.parts[part] = process
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"{part} ")

    def kill(self, part: str) -> None:
        process = self.parts.pop(part)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for part in list(self.parts):
            self.parts[part].terminate()
        for process in self.parts.values():
            process.wait(15)

    def run(self, *words: str, code: int = 0) -> str:
        """The command's output, or what it says on stderr when it is to end with `code`."""
        said, complained = io.StringIO(), io.StringIO()
        ended = 0
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(complained),
        ):
            patch.setattr(sys, "argv", ["timmy", "wallet", *words, "--data", str(self.data)])
            try:
                main()
            except SystemExit as end:
                ended = int(end.code or 0)
        assert ended == code, said.getvalue() + complained.getvalue()
        return said.getvalue() if code == 0 else complained.getvalue()

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    def uri(self, part: str) -> Uri:
        return Uri.parse((self.data / "wallet" / "connections" / f"{part}.uri").read_text())


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("node"))
    node.start("relay", "--port", "0")
    node.start("wallet")
    yield node
    node.stop()


def test_every_part_finds_a_private_connection(node: Node) -> None:
    files = sorted((node.data / "wallet" / "connections").iterdir())
    assert {"owner.uri", "orchestrator.uri", "image.uri", "guests.uri"} <= {file.name for file in files}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert len({Uri.parse(file.read_text()).service for file in files}) == len(files), "one service key each"


def test_the_owner_makes_pays_and_sees_invoices(node: Node) -> None:
    before = node.json("balance")
    assert before["real_money"] is False and before["network"] == "regtest"
    made = node.json("invoice", "21", "--memo", "a song", "--wallet", node.uri("image").text)
    assert bolt11.decode(made["invoice"]).description == "a song"
    assert node.json("pay", made["invoice"])["outcome"] == "settled"
    assert node.json("pay", made["invoice"])["outcome"] == "settled"
    assert node.json("balance")["balance_msat"] == before["balance_msat"] - 21_000
    newest = node.json("history")[0]
    assert (newest["type"], newest["amount"], newest["description"]) == ("outgoing", 21_000, "a song")
    assert "credits" in node.run("balance") and "not Lightning" in node.run("balance")
    assert "21 credits" in node.run("history")
    accounts = {row["name"]: row["balance"] for row in node.json("accounts")}
    assert accounts["image"] >= 21_000 and accounts["timmy"] == 20_000_000


def test_mistakes_are_told_in_one_line(node: Node) -> None:
    told = node.run("pay", "lnbc1junk", code=4)
    assert told.startswith("timmy: not paid: ") and told.count("\n") == 1
    assert "1000/day" in node.run("connect", "x", "--budget", "lots", code=2)
    assert "connection" in node.run("revoke", "nobody", code=4)
    assert "unknown backend" in node.run("backend", "paypal", code=2)
    assert "nostr+walletconnect" in node.run("balance", "--wallet", "junk", code=2)


def test_an_app_is_connected_held_to_its_budget_and_revoked(node: Node) -> None:
    made = node.json("connect", "phone", "--budget", "10/day", "--scopes", "pay,read")
    assert Uri.parse(made["uri"]).service == made["wallet_pubkey"]
    shown = node.run("connect", "tablet")
    assert shown.startswith("nostr+walletconnect://") and "\u2584" in shown, "a QR code"
    rich = node.json("invoice", "11", "--wallet", node.uri("text").text)["invoice"]
    fair = node.json("invoice", "10", "--wallet", node.uri("text").text)["invoice"]
    assert "budget" in node.run("pay", rich, "--wallet", made["uri"], code=4)
    node.run("pay", fair, "--wallet", made["uri"])
    row = next(row for row in node.json("connections") if row["name"] == "phone")
    assert (row["spent_msat"], row["renewal"]) == (10_000, "daily")
    node.run("revoke", "phone")
    assert "UNAUTHORIZED" in node.run("balance", "--wallet", made["uri"], code=4)


def test_the_doctor_finds_a_sound_wallet(node: Node) -> None:
    findings = node.json("doctor")
    assert {finding["what"] for finding in findings} >= {"service", "balance", "books", "invoices", "payments"}
    assert all(finding["fine"] for finding in findings)


def test_money_moves_between_accounts_once_for_its_purpose(node: Node) -> None:
    node.run("move", "owner", "fund", "50", "--for", "a start")
    assert "moved already" in node.run("move", "owner", "fund", "50", "--for", "a start", code=4)
    assert {row["name"]: row["balance"] for row in node.json("accounts")}["fund"] == 50_000


def test_a_second_wallet_on_the_same_folder_is_refused(node: Node) -> None:
    assert "runs already" in node.run(code=3)


def test_the_backend_line_is_written_to_the_settings(node: Node) -> None:
    assert "credits" in node.run("backend")
    node.run("backend", "nwc:nostr+walletconnect://" + "ab" * 32 + "?relay=ws://x&secret=" + "11" * 32)
    path = node.data / "timmy.toml"
    assert 'backend = "nwc:nostr+walletconnect://' in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    node.run("backend", "ledger")


@pytest.mark.slow
async def test_07_the_service_killed_again_and_again_under_load_pays_each_invoice_once(node: Node) -> None:
    payer = await asyncio.to_thread(node.json, "connect", "stubborn", "--isolated", "--scopes", "pay,read")
    shop = await asyncio.to_thread(node.json, "connect", "shop", "--isolated", "--scopes", "receive,read")
    await asyncio.to_thread(node.run, "move", "owner", "stubborn", "200", "--for", "load")
    async with NwcWallet(shop["uri"]) as seller, NwcWallet(payer["uri"]) as buyer:
        bills = [(await seller.make_invoice(1_000)).bolt11 for _ in range(150)]
        left = iter(bills)

        async def pay() -> None:
            for text in left:
                while True:  # a customer who insists, and always on the same invoice
                    result = await buyer.pay_invoice(text, timeout=1.5)
                    if result.outcome is Outcome.SETTLED:
                        break
                    assert result.outcome is not Outcome.FAILED, result

        async def destroy() -> None:
            for _ in range(3):
                await asyncio.sleep(0.25)
                await asyncio.to_thread(node.kill, "wallet")
                await asyncio.sleep(0.2)
                await asyncio.to_thread(node.start, "wallet")

        paying = asyncio.gather(*(pay() for _ in range(6)))
        await destroy()
        async with asyncio.timeout(120):
            await paying
        assert await buyer.balance() == 50_000
        assert await seller.balance() == 150_000
    async with NwcWallet(node.uri("owner")) as owner:
        books = await owner.call("books", {}, timeout=30)
    assert books["sound"] and books["faults"] == []


async def test_a_part_that_starts_before_the_wallet_is_told_in_words(node: Node, tmp_path: Path) -> None:
    uri = node.uri("text")
    lonely = Uri(uri.secret.public, uri.relays, uri.secret)
    with pytest.raises(WalletError, match="no wallet service answers"):
        async with NwcWallet(lonely, patience=1):
            pass
