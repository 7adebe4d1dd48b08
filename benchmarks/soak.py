"""A whole node under steady load: do memory and file descriptors stay flat, does every job end, do the books balance?

    python -m benchmarks.soak --minutes 10

Buys a text every other second and a small picture every ten, with three customers at once, and one composite a minute.
Prints a line a minute and a verdict; exits 1 where something grew, hung or is missing.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.whole import Node, running, until

WARM = 0.3  # share of the run after which growth counts: caches and engines have filled by then
GROWTH = 1.15  # memory may end this much above what it was then
SPARE = 24  # file descriptors that may come and go
CACHES = {"relay": 60 << 10}  # kB that caches may still take: the relay's are full, and flat, from 30,000 events on


@dataclass
class Gauge:
    """Memory (kB) and descriptors of one part over time."""

    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)


def sample(node: Node, gauges: dict[str, Gauge]) -> None:
    parts = json.loads((node.data / "run" / "status.json").read_text())["parts"]
    for name, part in parts.items():
        proc = Path("/proc", str(part["pid"]))
        try:
            memory = next(line for line in (proc / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
            files = len(list((proc / "fd").iterdir()))
        except (OSError, StopIteration):
            continue
        gauge = gauges.setdefault(name, Gauge())
        gauge.memory.append(int(memory.split()[1]))
        gauge.files.append(files)


async def customer(node: Node, until_: float, what: tuple[str, ...], pause: float, ends: Counter[str]) -> None:
    """Buys the same thing again and again with the command line, as a script of a customer would."""
    number = 0
    while time.monotonic() < until_:
        number += 1
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "node.cli", "buy", what[0], f"{what[1]} {number}", *what[2:],
            "--json", "--seconds", "120", "--data", str(node.data),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        out, _ = await process.communicate()
        ends[f"{what[0]} {json.loads(out)['state'] if out else 'no answer'}"] += 1
        await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))


async def load(node: Node, minutes: float, gauges: dict[str, Gauge], ends: Counter[str]) -> None:
    end = time.monotonic() + minutes * 60
    buyers = [
        customer(node, end, ("text", "a poem about rain"), 2, ends),
        customer(node, end, ("image", "a lighthouse", "-p", "size=512x512"), 10, ends),
        customer(node, end, ("captioned-image", "a boat at dawn"), 60, ends),
    ]
    watching = asyncio.create_task(watch(node, end, gauges, ends))
    await asyncio.gather(*buyers)
    watching.cancel()


async def watch(node: Node, end: float, gauges: dict[str, Gauge], ends: Counter[str]) -> None:
    began = time.monotonic()
    shown = 0
    while time.monotonic() < end:
        sample(node, gauges)
        minute = int((time.monotonic() - began) // 60)
        if minute > shown:
            shown = minute
            total = sum(gauge.memory[-1] for gauge in gauges.values()) // 1024
            files = sum(gauge.files[-1] for gauge in gauges.values())
            print(f"{minute:3} min  {total} MB  {files} files  {dict(ends)}", flush=True)
        await asyncio.sleep(5)


def faults(node: Node, gauges: dict[str, Gauge]) -> list[str]:
    found = []
    for name, gauge in gauges.items():
        start = int(len(gauge.memory) * WARM)
        early, late = gauge.memory[start : start + 6], gauge.memory[-6:]
        if early and late and sum(late) / len(late) > GROWTH * sum(early) / len(early) + CACHES.get(name, 4096):
            found.append(f"{name}: memory went from {early[0] // 1024} to {late[-1] // 1024} MB")
        if gauge.files and gauge.files[-1] > gauge.files[start] + SPARE:
            found.append(f"{name}: {gauge.files[start]} open files became {gauge.files[-1]}")
    with closing(sqlite3.connect(f"file:{node.data / 'wallet' / 'ledger.db'}?mode=ro", uri=True)) as conn:
        total = conn.execute("SELECT coalesce(sum(msat), 0) FROM postings").fetchone()[0]
        pending = conn.execute("SELECT count(*) FROM payments WHERE state NOT IN ('settled', 'failed')").fetchone()[0]
    if total:
        found.append(f"the books are off by {total} msat")
    if pending:
        found.append(f"{pending} payments have no end")
    open_jobs = [job for job in node.json("jobs", "--limit", "100000") if job["ended_at"] is None]
    if open_jobs:
        found.append(f"{len(open_jobs)} jobs have no end")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    gauges: dict[str, Gauge] = {}
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "node") as node:
        until(
            lambda: "captioned-image" in {s["recipe"] for s in node.get("/index.json")["services"] if s["price_msat"]},
            90,
        )
        asyncio.run(load(node, minutes, gauges, ends))
        time.sleep(3)
        sample(node, gauges)
        found = faults(node, gauges)
    for name, gauge in gauges.items():
        start = int(len(gauge.memory) * WARM)
        memory = f"{gauge.memory[start] // 1024:4} -> {gauge.memory[-1] // 1024:4} MB"
        print(f"{name:14} {memory}  {gauge.files[start]:3} -> {gauge.files[-1]:3} files")
    print(f"{sum(ends.values())} purchases in {minutes:g} min: {dict(ends)}")
    failed = [f"{count} x {end}" for end, count in ends.items() if not end.endswith("delivered")]
    print("\n".join(found + failed) or "flat, every job ended, books balanced")
    sys.exit(bool(found or failed))


if __name__ == "__main__":
    main()
