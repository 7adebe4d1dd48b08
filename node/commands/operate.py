"""`timmy doctor | backup | restore`."""

import asyncio
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from node import backup as archive
from node import doctor as examination
from node.context import DataOption, JsonOption, data_dir, out, print_json
from node.errors import NotDone

MARKS = {"fine": "[green]ok[/green]   ", "note": "[yellow]note[/yellow] ", "wrong": "[red]wrong[/red]"}


def doctor(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check settings, keys, disk, ports, relay, clock, wallet and engines; say what is wrong and what to do."""
    findings = asyncio.run(examination.examine(data_dir(data)))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            out.print(f"{MARKS[finding.verdict]} {finding.what:<9} {escape(finding.detail)}", soft_wrap=True)
    wrong = sum(finding.verdict == "wrong" for finding in findings)
    if wrong:
        raise NotDone(f"{wrong} thing{'s' if wrong > 1 else ''} to mend")


def backup(
    target: Annotated[Path | None, typer.Argument(help="archive to write; default: timmy-DATE.tar.gz here")] = None,
    data: DataOption = None,
) -> None:
    """Save the whole data folder, consistent while the node runs. The archive holds the keys: keep it safe."""
    path = target or Path(f"timmy-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    count = archive.save(data_dir(data), path)
    out.print(f"{path}: {count} files, {path.stat().st_size / 1_000_000:.1f} MB (holds secret keys; mode 0600)")


def restore(
    source: Annotated[Path, typer.Argument(help="archive made by `timmy backup`")],
    data: Annotated[Path, typer.Option("--data", help="Empty or new data folder to restore into.")],
) -> None:
    """Bring a backup back into an empty data folder; every file is checked against its hash first."""
    count = archive.restore(source, data.expanduser().absolute())
    out.print(f"{data}: {count} files restored; start it with `timmy up --data {data}`")
