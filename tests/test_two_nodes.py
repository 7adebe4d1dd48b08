"""Two sovereign nodes, each with a Lightning node of its own, trade with nothing in common but the protocol.

Node A has the writer, Timmy and the customer; node B has the painter, the reader and the cutting room. A's relay
follows B's. Timmy of A finds B's workers, pays them over a real channel between two Electrum nodes, and delivers a real
film. The chain below the channel is a stand-in that runs no scripts (tests/wallet/lightning/chain.py): it proves
payments, not consensus. Both nodes live on loopback, so each is told that the other's file server may be reached there.
"""

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.wallet.lightning.lab import Lab, Plan, free_port
from tests.wallet.lightning.program import electrum
from tests.whole import Node, running, until

pytestmark = [pytest.mark.lightning, pytest.mark.slow]

FLOAT = 20_000  # sat that Timmy may lay out


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    electrum()
    with Lab(tmp_path_factory.mktemp("lightning"), "alice", "bob") as lab:
        lab.connect(Plan("alice", "bob", 2_000_000, 500_000))
        yield lab


@pytest.fixture(scope="module")
def nodes(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    folder = tmp_path_factory.mktemp("nodes")
    port_a, port_b = free_port(), free_port()
    hosts = [f"http://127.0.0.1:{port}" for port in (port_a, port_b)]
    seller = running(
        folder / "b",
        *("--port", str(port_b), "--only", "relay,wallet,image,speech,video"),
        TIMMY_WALLET_BACKEND=lab["bob"].line,
        TIMMY_DVM_BLOSSOM=json.dumps([hosts[1], hosts[0]]),
        TIMMY_DVM_PRIVATE_RELAYS="true",
    )
    buyer = running(
        folder / "a",
        *("--port", str(port_a), "--only", "relay,wallet,text,orchestrator"),
        TIMMY_WALLET_BACKEND=lab["alice"].line,
        TIMMY_ORCHESTRATOR_ALLOW_HOSTS=json.dumps(hosts),
        TIMMY_RELAY_UPSTREAM=f'[{{url = "ws://127.0.0.1:{port_b}", direction = "both"}}]',
    )
    with seller as b, buyer as a:
        a.timmy("wallet", "adopt")
        a.timmy("wallet", "move", "owner", "timmy", str(FLOAT), "--for", "float")
        until(lambda: sells(a, "captioned-image"), 120)
        yield a, b


def sells(node: Node, recipe: str) -> bool:
    services = [service for service in node.get("/index.json")["services"] if service["alive"]]
    priced = {s["recipe"] for s in services if s["price_msat"]}  # a price: Timmy has found someone for every step
    return {5050, 5100, 5203, 5250} <= {s["kind"] for s in services} and recipe in priced


def held_and_taken(node: Node) -> int:
    """Hold invoices whose money this node's wallet took."""
    path = node.data / "wallet" / "ledger-lightning.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        return int(conn.execute("SELECT COUNT(*) FROM invoices WHERE hold AND state = 'settled'").fetchone()[0])


def state_of_runs(node: Node) -> list[str]:
    path = node.data / "orchestrator" / "timmy.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        return [row[0] for row in conn.execute("SELECT state FROM run")]


def buy(node: Node, words: str, out: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "node.cli", "buy", "captioned-image", words, "--out", str(out), "--json"]
    return subprocess.Popen(
        [*command, "--seconds", "270", "--data", str(node.data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(buying: "subprocess.Popen[str]") -> dict[str, Any]:
    out, errors = buying.communicate(timeout=290)
    assert out, errors
    bought: dict[str, Any] = json.loads(out)
    return bought


def test_timmy_of_one_node_hires_the_workers_of_another_over_lightning(
    nodes: tuple[Node, Node], lab: Lab, tmp_path: Path
) -> None:
    a, b = nodes
    before = lab["bob"]("lightning_history")
    film = tmp_path / "film.mp4"
    bought = finish(buy(a, "a mill by the river", film))
    assert bought["state"] == "delivered", bought
    assert film.stat().st_size > 20_000
    audit = json.loads(a.timmy("audit", bought["receipt"], "--json"))
    assert audit["ok"]
    assert {line["verdict"] for line in audit["lines"]} == {"green"}
    earned = {row["name"]: row["balance"] for row in b.json("wallet", "accounts")}
    assert all(earned[trade] > 0 for trade in ("image", "speech", "video")), earned
    assert len(lab["bob"]("lightning_history")) >= len(before) + 3  # three steps came over the channel
    if lab["bob"].holds:
        assert held_and_taken(b) >= 3  # the buyer's money was locked until each of them had delivered


def test_a_worker_of_the_other_node_dies_in_the_middle(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    a, b = nodes
    count = len(state_of_runs(a))
    buying = buy(a, "a bridge in the fog", tmp_path / "film.mp4")
    until(lambda: len(state_of_runs(a)) > count and "running" in state_of_runs(a), 60, every=0.05)
    b.kill("image")
    bought = finish(buying)
    assert bought["state"] in ("delivered", "refunded"), bought
    assert until(lambda: "running" not in state_of_runs(a), 120)
    if bought["state"] == "delivered":
        assert json.loads(a.timmy("audit", bought["receipt"], "--json"))["ok"]
