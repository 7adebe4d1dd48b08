"""`timmy recipe draft`: a recipe from a sentence, for a person to read before it is published."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from node.context import DataOption, JsonOption, RelayOption, data_dir, load_settings, out, print_json, relay_urls
from node.errors import NotDone, UsageComplaint


def draft(
    wish: Annotated[str, typer.Argument(help='What you want: "an illustrated story, edited by a person, as a film".')],
    name: Annotated[str, typer.Option("--name", help="Name of the recipe; NAME.json is written here.")] = "draft",
    gives: Annotated[
        str, typer.Option("--gives", help="MIME type of what comes out, where the words do not say.")
    ] = "",
    model: Annotated[
        bool, typer.Option("--model", help="Let the language model of [dvm.text] draft it (engine openai).")
    ] = False,
    anything: Annotated[
        bool, typer.Option("--anything", help="Draft over every kind there is, not only what is sold now.")
    ] = False,
    data: DataOption = None,
    relay: RelayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draft a recipe from a sentence, over the services that exist. Read it, change it, publish it yourself."""
    from market.kinds import JOB_COMPOSITE, JOB_FEED, JOB_KINDS
    from orchestrator.draft import document, plan, understand
    from orchestrator.errors import DraftError, RecipeError

    folder, path = data_dir(data), Path(f"{name}.json")
    if path.exists() and not as_json:
        raise UsageComplaint(f"{path} exists already: choose another name with --name")
    prices = asyncio.run(_cheapest(folder, relay)) if not anything or model else {}
    if anything:
        prices = {kind: prices.get(kind, 20_000) for kind in JOB_KINDS}
    prices = {kind: msat for kind, msat in prices.items() if kind not in (JOB_COMPOSITE, JOB_FEED)}
    try:
        if model:
            made = _draft_by_model(folder, wish, prices, name)
        else:
            wanted = understand(wish, gives=gives)
            made = document(wanted, plan(wanted, prices), prices, name=name)
    except DraftError as error:
        raise NotDone(str(error)) from None
    except RecipeError as error:
        raise UsageComplaint("\n  ".join(error.problems)) from None
    if as_json:
        print_json(made)
        return
    path.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n")
    for step, part in made["steps"].items():
        trade = JOB_KINDS[part["kind"]].title if part["kind"] in JOB_KINDS else str(part["kind"])
        cap = part["max_msat"] / 1000
        judged = ", a person judges" if part.get("gate", {}).get("judge") else ""
        spare = f", else {part['instead']}" if part.get("instead") else ""
        many = f", for each of {part['each']}" if part.get("each") else ""
        out.print(f"{step:<12} {trade:<20} up to {cap:g} sat{many}{spare}{judged}", markup=False)
    out.print(
        f"\n{path} written, gives {made['steps'][made['output'][1:]]['out']['mime']}. It fits together; read it, then:"
    )
    out.print(f"  timmy recipe simulate {path}\n  timmy recipe publish {path}")


async def _cheapest(folder: Path, relay: list[str] | None) -> dict[int, int]:
    """Kind -> lowest price of a living seller, msat."""
    from market.directory import Directory
    from nostr.pool import Pool

    async with Pool(relay_urls(folder, relay)) as pool:
        directory = Directory(pool)
        await directory.load()
        found: dict[int, int] = {}
        for offer in directory.offers(dead=False):
            price = offer.price_msat or 0
            found[offer.kind] = min(price, found.get(offer.kind, price))
        return found


def _draft_by_model(folder: Path, wish: str, prices: dict[int, int], name: str) -> dict[str, Any]:
    from dvms.settings import DvmSettings, for_trade
    from dvms.text.server import Server
    from orchestrator.draft_model import draft as drafted

    _, text = for_trade(load_settings(folder).section("dvm", DvmSettings), "text")
    if not text.get("base_url"):
        raise UsageComplaint("no language model is set: timmy config set dvm.text.base_url http://127.0.0.1:11434/v1")
    server = Server(text["base_url"], text.get("model", ""), text.get("api_key_file", ""))
    return drafted(server, wish, prices, name=name)
