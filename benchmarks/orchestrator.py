"""What Timmy himself costs: the journal, the quote, one composite, fifty at once. No inference, no network.

    python -m benchmarks.orchestrator [--composites 50] [--json]

Providers, relay and Lightning are the fakes of the tests (one SQLite file without syncs); the journal is the real one,
every commit synced. So the figures are the time a step takes beyond what its provider needs.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.journal import Journal, Limits, Page
from orchestrator.price import Line, quote
from orchestrator.run import Entry, opened
from tests.orchestrator.world import BUYER, RECIPES, TIMMY, Timmy, crowd


async def journal_speed(folder: Path, turns: int = 400) -> dict[str, float]:
    """Turns a second, each an entry, its projections and one synced commit: one run alone, and 50 at once."""
    journal = await Journal.open(folder / "speed.db")
    data = {
        "me": TIMMY.public, "buyer": BUYER.public, "recipe": (RECIPES / "music-video.json").read_text(),
        "recipe_event": "", "inputs": {}, "terms": _terms(),
    }  # fmt: skip
    request = BUYER.sign(kind=5260, created_at=1)

    async def write(run_id: str, count: int) -> None:
        entry = Entry("opened", 1, data=data)
        run = opened(run_id, entry)
        await journal.record(Page(None, run, (entry,), request=request))
        for n in range(count):
            await journal.record(Page(run, run, (Entry("note", 1, attempt=n),)))

    began = time.perf_counter()
    await write("one", turns)
    alone = turns / (time.perf_counter() - began)
    began = time.perf_counter()
    await asyncio.gather(*(write(f"run {n}", turns // 8) for n in range(50)))
    together = 50 * (turns // 8) / (time.perf_counter() - began)
    await journal.close()
    return {"turns_per_second_one_run": round(alone), "turns_per_second_50_runs": round(together)}


def _terms() -> dict[str, Any]:
    return {"price_msat": 1, "soft_msat": 1, "hard_msat": 1, "seconds": 1, "valid_until": 1}


def quote_speed() -> dict[str, float]:
    lines = [
        Line("story", 5050, 1, 5_000, 0.9),
        Line("song", 5251, 1, 60_000, 0.9),
        Line("frame", 5100, 4, 21_000, 0.9),
        Line("clip", 5202, 4, 15_000, 0.9),
        Line("cut", 5203, 1, 30_000, 0.9),
    ]
    times = []
    for n in range(20):
        began = time.perf_counter()
        quote(lines, seed=str(n))
        times.append(time.perf_counter() - began)
    return {"quote_ms": round(1000 * sorted(times)[10], 2)}


async def composites(folder: Path, count: int) -> dict[str, float]:
    """Music videos on fakes, `count` of them started at once; 7 steps each."""
    limits = Limits(daily_msat=10**12, exposure_msat=10**12)
    async with Timmy(folder, crowd(), limits=limits) as timmy:
        began = time.perf_counter()
        ids = [await timmy.sell(hedge=False, again=n) for n in range(count)]
        runs = [await timmy.until_over(run_id, 600) for run_id in ids]
        took = time.perf_counter() - began
        assert all(run.phase == "delivered" for run in runs)
        steps = sum(len(run.units) for run in runs)
        return {
            "seconds": round(took, 2),
            "ms_per_step": round(1000 * took / steps, 1),
            "steps_per_second": round(steps / took),
        }


async def main(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(
        dir=Path.home() if Path("/dev/shm") == Path(tempfile.gettempdir()) else None
    ) as name:
        folder = Path(name)
        report: dict[str, Any] = {**await journal_speed(folder), **quote_speed()}
        for label, number in (("one composite", 1), (f"{count} composites at once", count)):
            place = folder / str(number)
            place.mkdir()
            report[label] = await composites(place, number)
        return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--composites", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = asyncio.run(main(given.composites))
    if given.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key:28} {value}")
