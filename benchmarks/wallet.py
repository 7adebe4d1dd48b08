"""How fast does money move? Durable, settled payments inside the box, through the ledger alone and over the relay.

    .venv/bin/python -m benchmarks.wallet            both parts (about two minutes)
    .venv/bin/python -m benchmarks.wallet --quick    a tenth of the payments
    .venv/bin/python -m benchmarks.wallet --only ledger|nwc

Part 1 pays signed invoices through the bank in this process: decode, check, move, commit with synchronous=FULL. Part 2
starts a relay and a wallet service as a node does, and pays through NWC clients: encrypt, sign, relay, verify, decrypt,
pay, and all the way back. Each part ends with an audit: sums, balances, one payment per invoice. The last line is JSON.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import uvloop

from nostr.key import SecretKey
from wallet import books, ledger
from wallet.backends.ledger import LedgerWallet
from wallet.bank import Bank
from wallet.interface import Outcome
from wallet.nwc import NwcWallet
from wallet.sending import Policy

PARALLEL = (1, 8, 64)
MSAT = 1_000


async def race(payers: int, invoices: Sequence[str], pay: Callable[[int, str], Awaitable[bool]]) -> dict[str, float]:
    """Pay all invoices with so many payers at once; each takes the next one when it is done."""
    left = iter(invoices)
    took: list[float] = []
    failures = 0

    async def payer(number: int) -> None:
        nonlocal failures
        for text in left:
            started = time.perf_counter()
            failures += not await pay(number, text)
            took.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(payer(number) for number in range(payers)))
    wall = time.perf_counter() - started
    took.sort()
    return {
        "payers": payers,
        "payments": len(took),
        "per_second": round(len(took) / wall, 1),
        "p50_ms": round(took[len(took) // 2] * 1000, 2),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 2),
        "failures": failures,
    }


def show(title: str, rows: Sequence[dict[str, float]]) -> None:
    print(f"\n{title}")
    print(f"{'payers':>8} {'payments':>9} {'per second':>11} {'p50 ms':>8} {'p99 ms':>8} {'failures':>9}")
    for row in rows:
        print(
            f"{row['payers']:>8} {row['payments']:>9} {row['per_second']:>11} {row['p50_ms']:>8} {row['p99_ms']:>8}"
            f" {row['failures']:>9}"
        )


async def through_the_ledger(folder: Path, number: int) -> dict[str, Any]:
    rows = []
    key = SecretKey.generate()
    policy = Policy(start_credits_msat=10**12, max_open_invoices=10**9)
    async with Bank.open(folder / "ledger.db", LedgerWallet(key), policy=policy) as bank:
        owner = await bank.db.write(lambda conn: books.account_id(conn, "owner"))
        shop = await bank.db.write(lambda conn: books.open_account(conn, "shop", 1))

        async def pay(_: int, text: str) -> bool:
            return (await bank.pay(owner, text)).result.outcome is Outcome.SETTLED

        total = 0
        cpu = 0.0
        for payers in PARALLEL:
            count = max(number // 10, 50) if payers == 1 else number
            made = [await bank.make_invoice(shop, MSAT, expiry=86_400) for _ in range(count)]
            before = time.process_time()
            rows.append(await race(payers, [bill.invoice.bolt11 for bill in made], pay))
            cpu = (time.process_time() - before) / count * 1e6
            total += count
        faults = await bank.db.write(ledger.audit)
        exact = await bank.db.write(lambda conn: books.balance(conn, shop)) == total * MSAT
    anomalies = len(faults) + (not exact) + sum(int(row["failures"]) for row in rows)
    show("Durable settled payments through the ledger (one process)", rows)
    print(f"anomalies {anomalies}; CPU of one payment at 64 payers: {cpu:.0f} us; the rest of the time is the disk")
    return {"rows": rows, "anomalies": anomalies, "cpu_us": round(cpu)}


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """A part of the node as a process of its own, ready when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-m", "node.cli", *words, "--data", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"TIMMY_WALLET_START_CREDITS": "1000000000", "TIMMY_WALLET_REQUESTS_PER_SECOND": "100000",
                          "TIMMY_WALLET_MAX_OPEN_INVOICES": "1000000"},
    )  # fmt: skip
    assert process.stdout is not None
    if not process.stdout.readline():
        raise SystemExit(f"timmy {words[0]} did not start")
    return process


def cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


async def over_the_relay(folder: Path, number: int) -> dict[str, Any]:
    relay = start(folder, "relay", "--port", "0")
    service = start(folder, "wallet")
    rows = []
    try:
        uris = folder / "wallet" / "connections"
        async with AsyncExitStack() as stack:
            owner = await stack.enter_async_context(NwcWallet((uris / "owner.uri").read_text()))
            shop = await stack.enter_async_context(NwcWallet((uris / "text.uri").read_text()))
            clients = []
            for place in range(8):
                params = {"name": f"payer{place}", "scopes": ["pay", "read"]}
                made = await owner.call("create_connection", params, timeout=30)
                clients.append(await stack.enter_async_context(NwcWallet(made["uri"])))

            async def pay(payer: int, text: str) -> bool:
                result = await clients[payer % len(clients)].pay_invoice(text, timeout=60)
                return result.outcome is Outcome.SETTLED

            total = 0
            used: dict[str, float] = {}
            for payers in PARALLEL:
                count = max(number // 5, 50) if payers == 1 else number
                bills = []
                for begin in range(0, count, 50):
                    todo = (shop.make_invoice(MSAT, expiry=86_400) for _ in range(min(50, count - begin)))
                    bills += await asyncio.gather(*todo)
                await asyncio.sleep(1)
                before = {"relay": cpu_seconds(relay.pid), "service": cpu_seconds(service.pid),
                          "clients": time.process_time()}  # fmt: skip
                rows.append(await race(payers, [bill.bolt11 for bill in bills], pay))
                after = {"relay": cpu_seconds(relay.pid), "service": cpu_seconds(service.pid),
                         "clients": time.process_time()}  # fmt: skip
                used = {name: round((after[name] - before[name]) / count * 1e6) for name in after}
                total += count
            state = await owner.call("books", {}, timeout=60)
            exact = await shop.balance() == total * MSAT
        anomalies = (not state["sound"]) + (not exact) + sum(int(row["failures"]) for row in rows)
    finally:
        for process in (service, relay):
            process.terminate()
            process.wait(20)
    show("Settled payments through NWC over the relay (three processes: clients, relay, wallet service)", rows)
    spent = ", ".join(f"{name} {value} us" for name, value in used.items())
    print(f"anomalies {anomalies}; CPU of one payment at 64 payers: {spent}")
    return {"rows": rows, "anomalies": anomalies, "cpu_us": used}


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast does money move?")
    parser.add_argument("--quick", action="store_true", help="a tenth of the payments")
    parser.add_argument("--only", choices=("ledger", "nwc"))
    given = parser.parse_args()
    results: dict[str, Any] = {"cpus": os.cpu_count()}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as made:
        folder = Path(made)
        if given.only in (None, "ledger"):
            results["ledger"] = uvloop.run(through_the_ledger(folder / "a", 1_000 if given.quick else 10_000))
        if given.only in (None, "nwc"):
            (folder / "b").mkdir()
            results["nwc"] = uvloop.run(over_the_relay(folder / "b", 300 if given.quick else 3_000))
    print("\n" + orjson.dumps(results).decode())
    if any(results[part]["anomalies"] for part in ("ledger", "nwc") if part in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
