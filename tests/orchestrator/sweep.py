"""Kill -9 at every journal write and every effect: run as a program by `test_crash.py`.

    python -m tests.orchestrator.sweep FOLDER MODE [FIRST STEP]

What `kill -9` leaves behind is files: Timmy's journal and the world, each a database and its log as they are in that
moment. So one undisturbed life is recorded, with an image of these files at every point, and from each image another
life, a forked child that shares nothing else, has to finish. At some points a life is really killed, which must come
to the same. What must hold afterwards is checked from the world's file alone. Prints one JSON line.
"""

import asyncio
import gc
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Container
from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator import turn
from orchestrator.recipe import Recipe
from orchestrator.run import Entry, Phase, rebuild
from tests.orchestrator.world import RECIPES, TIMMY, Provider, Timmy, World, crowd

LIFE_SECONDS = 25
PRICE = 200_000
FILES = ("timmy.db", "world.db")
MANY = 10_000
REALLY = 24  # at every so many points a process is killed in earnest
MODES: dict[str, Callable[[], list[Provider]]] = {
    "delivers": crowd,
    "locks": lambda: [Provider(p.name, p.kind, p.price_msat, "hold") for p in crowd()],
    "struggles": lambda: crowd(image="error", music="bad", text="dear"),
    "fails": lambda: [p for p in crowd() if p.name != "video"] + [Provider("video", 5203, 10_000, "bad")],
    "prepaid": crowd,
    "sealed": crowd,
    "open": crowd,
}


class Points:
    """Counts points; leaves an image of the files at those in `kept`, or is gone at the deadly one."""

    def __init__(self, folder: Path, images: Path, kept: Container[int], deadly: int | None) -> None:
        self.folder, self.images, self.kept, self.deadly = folder, images, kept, deadly
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(self.names) in self.kept:
            take_image(self.folder, self.images / str(len(self.names)))


def calling() -> Recipe:
    """The music video, its pictures called out to everybody."""
    document = json.loads((RECIPES / "music-video.json").read_text())
    next(step for step in document["steps"].values() if step["kind"] == 5100)["ask"] = "open"
    return Recipe.parse(document)


def take_image(folder: Path, image: Path) -> None:
    """The files as a death at this moment would leave them: databases with their logs, without shared memory."""
    image.mkdir(parents=True)
    for name in FILES:
        if not (folder / name).exists():
            continue
        with closing(sqlite3.connect(f"file:{folder / name}?mode=ro", uri=True, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # while it reads, the log is not begun anew
            shutil.copyfile(folder / name, image / name)
            log = folder / f"{name}-wal"
            if log.exists():
                shutil.copyfile(log, image / log.name)


def live(
    folder: Path, mode: str, *, kept: Container[int] = (), deadly: int | None = None
) -> tuple[int | None, list[str]]:
    """One life in a child process; (status or None if killed, names of the points passed)."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        points = Points(folder, folder.parent / "images", kept, deadly)
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
    turn.CALL_SECONDS = 0.02
    timmy = Timmy(folder, MODES[mode](), hold=mode != "prepaid", point=points)
    async with timmy:
        recipe = calling() if mode == "open" else None
        run_id = await timmy.sell(recipe, price_msat=PRICE, hedge=False, sealed=mode == "sealed")
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
    if mode in ("delivers", "locks", "prepaid", "sealed", "open") and world.spent() != 70_000:
        wrong.append(f"bought something twice: {world.spent()} msat instead of 70000")
    wrong += _journal(folder)
    world.db.close()
    return wrong


def _journal(folder: Path) -> list[str]:
    """The journal's tables tell what its entries tell."""
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
    clean, images = base / "clean", base / "images"
    clean.mkdir(parents=True)
    gc.freeze()  # children share what is loaded
    status, names = live(clean, mode, kept=range(first, MANY, stride))
    problems = [] if status == 0 else [f"the undisturbed life ended with {status}"]
    problems += check(clean, mode)
    killed = 0
    for point in range(first, len(names) + 1, stride):
        folder = images / str(point)
        problems += _finish(folder, mode, f"{mode} dead at point {point} ({names[point - 1]})")
        if point % REALLY == first % REALLY:
            folder = base / f"killed-{point}"
            folder.mkdir()
            status, _ = live(folder, mode, deadly=point)
            killed += status is None
            problems += _finish(folder, mode, f"{mode} killed at point {point} ({names[point - 1]})")
    return {"mode": mode, "points": len(names), "killed": killed, "problems": problems, "names": sorted(set(names))}


def _finish(folder: Path, mode: str, words: str) -> list[str]:
    """Another life on these files, and what is wrong then."""
    status, _ = live(folder, mode)
    found = check(folder, mode) + ([] if status == 0 else [f"the next life ended with {status}"])
    shutil.rmtree(folder)
    return [f"{words}: {problem}" for problem in found]


if __name__ == "__main__":
    print(json.dumps(sweep(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
