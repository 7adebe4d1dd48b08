"""Kill -9 at every journal write and every effect: run as a program by `test_crash.py`.

    python -m tests.orchestrator.sweep FOLDER MODE [FIRST STEP]

Each life of Timmy is a forked child that shares nothing with the next but files: his journal and the world. Life one
counts the points; then, for each point, a life is killed there and another one finishes. What must hold afterwards is
checked from the world's file alone. Prints one JSON line.
"""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.run import Phase, rebuild
from tests.orchestrator.world import BUYER, TIMMY, Provider, Timmy, World, crowd

LIFE_SECONDS = 25
PRICE = 200_000
MODES: dict[str, Callable[[], list[Provider]]] = {
    "delivers": crowd,
    "locks": lambda: [Provider(p.name, p.kind, p.price_msat, "hold") for p in crowd()],
    "struggles": lambda: crowd(image="error", music="bad", text="dear"),
    "fails": lambda: [p for p in crowd() if p.name != "video"] + [Provider("video", 5203, 10_000, "bad")],
    "prepaid": crowd,
    "sealed": crowd,
}


class Points:
    """Counts points; at the deadly one the process is gone."""

    def __init__(self, deadly: int | None) -> None:
        self.seen, self.deadly = 0, deadly
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.seen += 1
        self.names.append(name)
        if self.seen == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)


def live(folder: Path, mode: str, deadly: int | None) -> tuple[int | None, list[str]]:
    """One life in a child process; (status or None if killed, names of the points passed)."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        points = Points(deadly)
        try:
            asyncio.run(_life(folder, mode, points))
            os.write(write, json.dumps(points.names).encode())
        except BaseException as error:
            os.write(2, f"{mode} {deadly}: {error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        raw = pipe.read()
    _, status = os.waitpid(child, 0)
    return (None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), json.loads(raw or b"[]")


async def _life(folder: Path, mode: str, points: Points) -> None:
    timmy = Timmy(folder, MODES[mode](), hold=mode != "prepaid", point=points)
    async with timmy:
        run_id = await timmy.sell(price_msat=PRICE, hedge=False, sealed=mode == "sealed")
        await timmy.until_over(run_id, LIFE_SECONDS)


def check(folder: Path, mode: str) -> list[str]:
    """What is wrong afterwards."""
    wrong: list[str] = []
    world = World(folder / "world.db", MODES[mode]())
    results = [event for _, event in world.events(kind=6260, pubkey=TIMMY.public)]
    bills = [
        event
        for _, event in world.events(kind=7000, pubkey=TIMMY.public)
        if event.first("status") == "payment-required"
    ]
    states = [state for (state,) in world.db.execute("SELECT state FROM invoice WHERE owner = 'timmy'")]
    moved = world.db.execute("SELECT hash, count(*) FROM moved GROUP BY hash HAVING count(*) > 1").fetchall()
    if moved:
        wrong.append("a hash was paid twice")
    if len(results) > 1 or len(bills) > 1:
        wrong.append(f"{len(results)} results, {len(bills)} bills")
    taken, given = states.count("settled"), len(results)
    expected = "refunded" if mode == "fails" else "delivered"
    if expected == "delivered" and (taken, given) != (1, 1):
        wrong.append(f"expected a delivery: {taken} payments taken, {given} results")
    if expected == "refunded" and (taken, given) != (0, 0):
        wrong.append(f"expected a refund: {taken} payments taken, {given} results")
    if world.spent() > PRICE * 12 // 10:
        wrong.append(f"spent {world.spent()} msat")
    paid_jobs = world.db.execute(
        "SELECT job, count(*) FROM invoice JOIN moved USING(hash) WHERE job != '' GROUP BY job HAVING count(*) > 1"
    ).fetchall()
    if paid_jobs:
        wrong.append("an order was paid twice")
    if mode in ("delivers", "locks", "prepaid", "sealed") and world.spent() != 70_000:
        wrong.append(f"bought something twice: {world.spent()} msat instead of 70000")
    wrong += _journal(folder)
    world.db.close()
    return wrong


def _journal(folder: Path) -> list[str]:
    """The journal's tables tell what its entries tell."""
    from orchestrator.run import Entry

    wrong = []
    db = sqlite3.connect(folder / "timmy.db")
    db.row_factory = sqlite3.Row
    for row in db.execute("SELECT * FROM run").fetchall():
        entries = [
            Entry(e["kind"], e["at"], e["step"], e["idx"], e["attempt"], json.loads(e["data"]))
            for e in db.execute("SELECT * FROM entry WHERE run = ? ORDER BY seq", (row["id"],))
        ]
        run = rebuild(row["id"], entries)
        if (str(run.phase), run.spent_msat, run.received_msat) != (
            row["state"],
            row["spent_msat"],
            row["received_msat"],
        ):
            wrong.append("the run table differs from its entries")
        steps = {(s["step"], s["idx"]): (s["state"], s["paid_msat"]) for s in db.execute("SELECT * FROM step")}
        if steps != {key: (unit.state, unit.paid_msat) for key, unit in run.units.items()}:
            wrong.append("the step table differs from its entries")
        if run.phase not in (Phase.DELIVERED, Phase.REFUNDED):
            wrong.append(f"ended as {run.phase}")
    open_ = db.execute("SELECT count(*) FROM payment WHERE state = 'intent'").fetchone()[0]
    if open_:
        wrong.append(f"{open_} payments are still open")
    db.close()
    return wrong


def sweep(base: Path, mode: str, first: int, stride: int) -> dict[str, Any]:
    """Every `stride`-th point from `first` on."""
    folder = base / f"{mode}-clean"
    folder.mkdir(parents=True)
    status, names = live(folder, mode, None)
    problems = [] if status == 0 else [f"the undisturbed life ended with {status}"]
    problems += check(folder, mode)
    killed = 0
    for deadly in range(first, len(names) + 1, stride):
        folder = base / f"{mode}-{deadly}"
        folder.mkdir()
        status, _ = live(folder, mode, deadly)
        killed += status is None
        status, _ = live(folder, mode, None)
        found = check(folder, mode) + ([] if status == 0 else [f"the second life ended with {status}"])
        at = names[deadly - 1]
        problems += [f"{mode} killed at point {deadly} ({at}): {problem}" for problem in found]
        if not found:
            shutil.rmtree(folder)
    return {"mode": mode, "points": len(names), "killed": killed, "problems": problems, "names": sorted(set(names))}


if __name__ == "__main__":
    print(json.dumps(sweep(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    assert BUYER
