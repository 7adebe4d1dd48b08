"""`timmy status`."""

import asyncio
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from dvms.jobs import Tally, tally
from node import home
from node.context import DataOption, JsonOption, data_dir, out, print_json
from node.settings import PARTS
from orchestrator.journal import Journal
from wallet.msat import show


def status(
    data: DataOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show it anew every two seconds.")] = False,
) -> None:
    """Processes of the running node, the jobs of each, and what each has earned."""
    folder = data_dir(data)
    if as_json:
        print_json({"parts": _rows(folder)})
        return
    if not _rows(folder):
        out.print(f"no node has run on {folder} yet: start it with `timmy up`")
        return
    if not watch:
        out.print(_status_table(folder))
        return
    with Live(_status_table(folder), console=out, auto_refresh=False) as live:
        while True:
            time.sleep(2)
            live.update(_status_table(folder), refresh=True)


def _rows(folder: Path) -> list[dict[str, Any]]:
    state = home.parts_of_last_run(folder)
    for part in state.values():
        alive = part["pid"] is not None and Path("/proc", str(part["pid"])).exists()
        part["state"] = part["state"] if alive else "stopped"
    state |= home.parts_alone(folder)
    return [
        {"part": name, **state[name], "memory_mb": _memory(state[name]["pid"]), **asdict(_tally(folder, name))}
        for name in [*(name for name in PARTS if name in state), *sorted(state.keys() - set(PARTS))]
    ]


def _tally(folder: Path, part: str) -> Tally:
    """Jobs and earnings of a worker; Timmy's are his runs and his margin."""
    if part != "orchestrator":
        return tally(folder / "dvms" / part / "jobs.db")
    path = folder / "orchestrator" / "timmy.db"
    if not path.exists():
        return Tally(0, 0, 0, 0)

    async def read() -> Tally:
        journal = await Journal.open(path)
        try:
            totals = await journal.totals()
        finally:
            await journal.close()
        if totals is None:
            return Tally(0, 0, 0, 0)
        ended = (totals["delivered"] or 0) + (totals["refunded"] or 0)
        return Tally(
            totals["runs"],
            totals["delivered"] or 0,
            totals["runs"] - ended,
            totals["taken_msat"] - totals["spent_msat"],
        )

    return asyncio.run(read())


def _status_table(folder: Path) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("part", "state", "pid", "restarts", "memory", "jobs", "delivered", "under way", "earned"):
        table.add_column(column, justify="left" if column in ("part", "state") else "right", no_wrap=True)
    colours = {"ready": "green", "stopped": "dim", "failed": "red"}
    for row in _rows(folder):
        colour = colours.get(row["state"], "yellow")
        sells = row["part"] not in ("relay", "wallet", "mint")
        table.add_row(
            row["part"],
            f"[{colour}]{row['state']}[/]",
            str(row["pid"] or ""),
            str(row["restarts"]),
            f"{row['memory_mb']} MB" if row["memory_mb"] else "",
            *(
                (str(row["jobs"]), str(row["delivered"]), str(row["waiting"]), show(row["earned_msat"]))
                if sells
                else ()
            ),
        )
    return table


def _memory(pid: int | None) -> int | None:
    """Resident memory in MB."""
    try:
        pages = int(Path("/proc", str(pid), "statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None
    return pages * 4096 // 1_000_000
