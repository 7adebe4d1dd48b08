"""A node that sells `postcard`, the smallest film that every trade works on; buying it; and how it must end.

Whatever happens on the way, the end is the same: each paid job is delivered once or refunded once, the books balance.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvms.jobs import tally
from tests.whole import Node, running, until

RECIPE = Path(__file__).parent / "postcard.json"
TRADES = ("text", "image", "music", "speech", "animation", "video")
PARTS = ("relay", "wallet", *TRADES, "orchestrator")
TIMMY = [sys.executable, "-m", "node.cli"]


@contextmanager
def selling(data: Path, *arguments: str, **environ: str) -> Iterator[Node]:
    """A node that has everything `postcard` needs, from the moment Timmy asks a price for it."""
    shelf = data / "orchestrator" / "recipes"
    shelf.mkdir(parents=True, exist_ok=True)
    shutil.copy(RECIPE, shelf)
    environ = {"TIMMY_ORCHESTRATOR_RECIPES": '["captioned-image"]', **environ}
    with running(data, "--only", ",".join(PARTS), *arguments, **environ) as node:
        until(lambda: on_sale(node), 60)
        yield node


def on_sale(node: Node) -> bool:
    """A price: Timmy has found someone for every step."""
    return RECIPE.stem in {s["recipe"] for s in node.get("/index.json")["services"] if s["price_msat"]}


class Buying:
    """`timmy buy postcard` in a process of its own, as a customer runs it."""

    def __init__(self, node: Node, words: str, patience: int = 240) -> None:
        self.node = node
        self._earlier = newest_run(node)["id"]
        self._delivered = {trade: tally(node.data / "dvms" / trade / "jobs.db").delivered for trade in TRADES}
        command = [*TIMMY, "buy", RECIPE.stem, words, "--json", "--data", str(node.data), "--seconds", str(patience)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **node.environ}
        )

    def wait_for_run(self) -> None:
        """Until Timmy has been paid and works."""

        def begun() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            run = newest_run(self.node)
            return run["id"] != self._earlier and run["state"] == "running"

        until(begun, 60, every=0.05)

    def works(self, trade: str) -> bool:
        """Whether this trade has been paid for its step: it is at work, or has just delivered (text is that quick)."""
        assert self.process.poll() is None, f"it ended before {trade} was seen at work: {self.process.communicate()}"
        now = tally(self.node.data / "dvms" / trade / "jobs.db")
        return now.waiting > 0 or now.delivered > self._delivered[trade]

    def outcome(self) -> dict[str, Any]:
        out, errors = self.process.communicate(timeout=280)
        assert out, errors
        bought: dict[str, Any] = json.loads(out)
        return bought


def newest_run(node: Node) -> dict[str, Any]:
    path = node.data / "orchestrator" / "timmy.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        conn.row_factory = sqlite3.Row
        row = conn.execute("SELECT * FROM run ORDER BY rowid DESC LIMIT 1").fetchone()
    return dict(row) if row else {"state": "none", "id": ""}


def check_books(data: Path) -> None:
    """Postings sum to zero, every balance is the sum of its postings, nobody but the world outside is below zero."""
    with contextlib.closing(sqlite3.connect(f"file:{data / 'wallet' / 'ledger.db'}?mode=ro", uri=True)) as conn:
        assert conn.execute("SELECT coalesce(sum(msat), 0) FROM postings").fetchone() == (0,)
        wrong = conn.execute(
            "SELECT a.name, a.balance, coalesce(sum(p.msat), 0) AS s FROM accounts a LEFT JOIN postings p"
            " ON p.account = a.id GROUP BY a.id HAVING a.balance != s OR (a.balance < 0 AND NOT a.world)"
        ).fetchall()
        assert wrong == []


def check_end(node: Node, bought: dict[str, Any]) -> None:
    """Delivered or refunded, never both and never neither; nothing paid twice; books in balance."""
    run = until(lambda: (r := newest_run(node))["state"] in ("delivered", "refunded", "cancelled") and r, 120)
    if bought["state"] == "delivered":
        assert run["state"] == "delivered"
        assert run["received_msat"] > 0
        # A buyer that was killed while its money was locked may not have heard yet that the lock was taken.
        assert bought["payment"] != "settled" or bought["spent_msat"] == run["received_msat"]
    else:
        assert run["state"] in ("refunded", "cancelled"), (bought, run)
    results = [e for e in node.get(f"/job/{bought['id']}.json")["events"] if e["kind"] == 6260]
    assert len(results) == (run["state"] == "delivered")
    check_books(node.data)
