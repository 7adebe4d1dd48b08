"""`timmy demo`: a whole node in a private folder, one music video bought from Timmy, paid for, opened and audited.

Everything it does is what a customer does with the other commands: `services`, `buy`, `audit`, `books`.
"""

import asyncio
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from node import home
from node.commands import market
from node.commands.up import start
from node.context import DataOption, data_dir, err, load_settings, out
from node.errors import NotDone
from node.settings import NodeSettings
from node.supervisor import Supervisor
from web.session import new_link

PARTS = ["relay", "wallet", "text", "image", "music", "animation", "video", "orchestrator"]
RECIPE = "music-video"
ON_SALE = {"TIMMY_ORCHESTRATOR_RECIPES": f'["{RECIPE}"]'}  # the others need trades that the demo does without
PATIENCE = 60  # seconds until Timmy has announced himself


def demo(
    prompt: Annotated[str, typer.Argument(help="One sentence; the video is about it.")],
    seconds: Annotated[int, typer.Option("--seconds", min=20, max=120, help="Length of the video.")] = 24,
    save: Annotated[Path | None, typer.Option("--out", help="Where to write the video. Default: here.")] = None,
    data: DataOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the node running afterwards, until Ctrl-C.")] = False,
) -> None:
    """Start a whole node in a private folder and buy one music video from Timmy, with everything shown and audited."""
    began = time.monotonic()
    folder = _folder(data)
    home.prepare(folder)
    target = save or Path(_slug(prompt) + ".mp4")
    with home.only_one(folder, "node"), _running(folder) as url:
        err.print(f"[dim]a whole node in {folder}, up after {time.monotonic() - began:.1f} s: {url}[/dim]\n")
        _wait_for_timmy(folder)
        out.rule("[bold]for sale on this node", align="left", style="dim")
        market.services(alive=True, data=folder)
        out.print()
        out.rule(f"[bold]a music video: {prompt}", align="left", style="dim")
        market.buy(RECIPE, [prompt], param=[f"seconds={seconds}"], save=target, seconds=600, data=folder)
        out.print()
        _audit(folder)
        took = time.monotonic() - began
        out.print(
            f"\n[bold green]{target}[/bold green]  {target.stat().st_size / 1e6:.1f} MB, {took:.0f} s from start to end"
        )
        if keep:
            out.print(f"page {new_link(folder, url.replace('ws', 'http', 1))}  (Ctrl-C stops the node)", soft_wrap=True)
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                err.print("stopping")


def _folder(data: Path | None) -> Path:
    """A folder of the demo's own, so that it never touches a real node; reused, so that later runs are quick."""
    if data is None and "TIMMY_DATA" not in os.environ:
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        data = Path(base) / "timmy-demo"
    return data_dir(data)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "music-video"


@contextmanager
def _running(folder: Path) -> Iterator[str]:
    """The node's parts on a free port, for as long as the block runs. Gives the relay's URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="supervisor", daemon=True)
    thread.start()
    supervisor = Supervisor(status=folder / home.STATUS, logs=folder / home.LOGS, echo=False)
    node = load_settings(folder).section("node", NodeSettings, host="127.0.0.1", port=0)
    try:
        yield asyncio.run_coroutine_threadsafe(start(supervisor, folder, node, PARTS, **ON_SALE), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(supervisor.stop(), loop).result(timeout=30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _wait_for_timmy(folder: Path) -> None:
    """Until Timmy names a price for the recipe: sellers announce a moment after they are up, and then he does."""
    from market.kinds import JOB_COMPOSITE

    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        offers = asyncio.run(market.offers(folder))
        recipe = next((o for o in offers if o.kind == JOB_COMPOSITE and o.announcement.d == RECIPE and o.alive), None)
        if recipe is not None and recipe.price_msat is not None:
            return
        time.sleep(0.3)
    raise NotDone(f"no price from Timmy for {RECIPE} after {PATIENCE} s: see {folder / home.LOGS / 'orchestrator.log'}")


def _audit(folder: Path) -> None:
    """The receipt tree of what was just bought, and what Timmy earned by it."""
    from node.commands import orchestrator

    bought = asyncio.run(market.last_purchase(folder))
    receipt = bought.result.fact("receipt") if bought and bought.result else None
    if receipt is None:
        raise NotDone("the result names no receipt: nothing to audit")
    out.rule(f"[bold]audit of receipt {receipt[:16]}", align="left", style="dim")
    orchestrator.audit(receipt, brief=True, data=folder)
    out.print()
    out.rule("[bold]Timmy's books", align="left", style="dim")
    orchestrator.books(data=folder)
