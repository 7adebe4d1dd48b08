"""`timmy orchestrator`, `timmy recipe`, `timmy audit`, `timmy books`: the composite room on the command line."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from node.commands.draft import draft
from node.context import DataOption, JsonOption, RelayOption, data_dir, load_settings, out, print_json, relay_urls
from node.errors import NotDone, Unavailable, UsageComplaint

recipe = typer.Typer(no_args_is_help=True, help="Write, check, publish, fork, simulate and run recipes.")


def orchestrator(
    data: DataOption = None,
    relay: RelayOption = None,
    wallet: Annotated[
        str | None,
        typer.Option("--wallet", help="Wallet connection: nostr+walletconnect://...", envvar="TIMMY_WALLET_URI"),
    ] = None,
) -> None:
    """Run Timmy: he announces his recipes, buys their steps from whoever is best, and sells the whole."""
    from node.run import ready, run_until_signal, set_up_logging
    from node.settings import NodeSettings
    from nostr import nip19
    from orchestrator.errors import RecipeError
    from orchestrator.settings import OrchestratorSettings
    from orchestrator.timmy import AlreadyRunning, serve

    folder = data_dir(data)
    every = load_settings(folder)
    node = every.section("node", NodeSettings)
    set_up_logging(node.log)
    settings = every.section("orchestrator", OrchestratorSettings)
    relays = relay_urls(folder, relay)
    if not relay and node.public_url:
        relays += node.announce_to
    purse = wallet or _own_wallet(folder)
    if purse is None:
        raise Unavailable("Timmy needs a wallet: give one with --wallet, or start this node's own (`timmy wallet`)")

    def say(timmy: Any) -> None:
        ready(f"orchestrator {nip19.npub(timmy.key.public)} {timmy.pool.relays[0]}", folder)

    try:
        run_until_signal(serve(settings, data=folder, relays=relays, wallet=purse, ready=say))
    except AlreadyRunning as error:
        raise Unavailable(str(error)) from None
    except RecipeError as error:
        raise UsageComplaint(str(error)) from None


def books(
    data: DataOption = None,
    limit: Annotated[int, typer.Option("--limit", help="How many runs to show.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Price, costs and margin of each run, and the totals."""
    from rich.table import Table

    from wallet.msat import show

    runs, totals, due, owed = asyncio.run(_read_books(data_dir(data), limit))
    if as_json:
        print_json({"runs": runs, "totals": totals, "refunds_due": due, "royalties_due": owed})
        return
    table = Table("run", "recipe", "state", "price", "costs", "margin", "why")
    for row in runs:
        table.add_row(
            row["id"][:8], row["recipe"], row["state"], show(row["price_msat"]), show(row["spent_msat"]),
            show(row["margin_msat"]), escape(row["reason"] or ""),
        )  # fmt: skip
    out.print(table)
    out.print(
        f"{totals['runs']} run{'' if totals['runs'] == 1 else 's'}, {totals['delivered'] or 0} delivered, "
        f"{totals['refunded'] or 0} refunded: "
        f"took {show(totals['taken_msat'])}, spent {show(totals['spent_msat'])}, "
        f"margin {show(totals['taken_msat'] - totals['spent_msat'])}"
    )
    for author, msat in owed:
        out.print(f"royalty owed: {show(msat)} to {author[:8]}")
    for row in due:
        out.print(f"refund due: {show(row['amount_msat'])} to {row['buyer'][:8]} for run {row['run'][:8]}")


Rows = list[dict[str, Any]]


async def _read_books(folder: Path, limit: int) -> tuple[Rows, dict[str, Any], Rows, list[tuple[str, int]]]:
    from orchestrator.journal import Journal

    path = folder / "orchestrator" / "timmy.db"
    if not path.exists():
        raise Unavailable(f"no books yet: Timmy has not run on {folder}")
    journal = await Journal.open(path)
    try:
        totals = await journal.totals()
        return (
            [dict(row) for row in await journal.books(limit)],
            dict(totals) if totals else {},
            [dict(row) for row in await journal.refunds_due()],
            await journal.royalties_due(),
        )
    finally:
        await journal.close()


def audit(
    receipt: Annotated[str, typer.Argument(help="Id of a root receipt, or of the job it belongs to.")],
    data: DataOption = None,
    relay: RelayOption = None,
    files: Annotated[bool, typer.Option("--files", help="Download the delivered file and hash it.")] = True,
    brief: Annotated[bool, typer.Option("--brief", help="One line a step, and every line that is not true.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a receipt tree line by line: green is true, grey cannot be seen from here, red is false."""
    from dataclasses import asdict

    from rich.table import Table

    from orchestrator.errors import AuditError

    folder = data_dir(data)
    try:
        report = asyncio.run(_audit(folder, relay_urls(folder, relay), receipt, files))
    except AuditError as error:
        raise UsageComplaint(str(error)) from None
    if as_json:
        print_json({**asdict(report), "ok": report.ok})
    else:
        table = Table("step", "claim", "", "detail", box=None, header_style="dim", pad_edge=False)
        marks = {"green": "[green]true[/]", "grey": "[dim]hidden[/]", "red": "[bold red]FALSE[/]"}
        steps = list(dict.fromkeys(line.step for line in report.lines))
        for step in steps if brief else ():
            true = [line.what for line in report.lines if line.step == step and line.verdict == "green"]
            claims = ", ".join(dict.fromkeys(true))
            table.add_row(step or "whole", f"{len(true)} claims", marks["green"], claims, style="" if true else "dim")
        for line in report.lines:
            if not brief or line.verdict != "green":
                table.add_row(escape(line.step), escape(line.what), marks[line.verdict], escape(line.detail))
        out.print(table)
        counts = ", ".join(f"{report.count(verdict)} {verdict}" for verdict in ("green", "grey", "red"))
        out.print(f"{'all is well' if report.ok else 'SOMETHING IS FALSE'}: {counts}")
    if not report.ok:
        raise NotDone("the receipt does not hold")


async def _audit(folder: Path, relays: list[str], receipt: str, files: bool) -> Any:
    from market.errors import FetchRefused
    from market.fetch import RESULT, fetch
    from market.tags import parse_id
    from nostr.errors import RelayError
    from nostr.filter import Filter
    from nostr.key import SecretKey
    from nostr.pool import Pool
    from orchestrator.audit import audit as check
    from orchestrator.errors import AuditError

    named = parse_id(receipt)
    if named is None:
        raise UsageComplaint(f"{receipt[:80]!r} is not an event id: give the 64 hex digits of the receipt or the job")
    own = folder / "keys" / "orchestrator.key"
    key = SecretKey.from_hex(own.read_text()) if own.exists() else None
    hosts = [url.replace("ws", "http", 1) for url in relays]

    async def fetch_hash(url: str) -> str | None:
        try:
            return (await fetch(url, RESULT, allow_loopback_hosts=hosts)).sha256
        except FetchRefused:
            return None

    async with Pool(relays) as pool:
        try:
            found = await pool.fetch(Filter(kinds=[6260], tags={"e": [named[0]]}), timeout=5)
            root = next((tag for event in found for tag in event.values("receipt")), named[0])
            return await check(root, pool, key=key, fetch_hash=fetch_hash if files else None)
        except RelayError as error:
            raise AuditError(f"the relay cannot be asked: {error}") from None


# --- timmy recipe ---------------------------------------------------------------------------------------------------

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A file, or the name of a recipe.")]


@recipe.command("list")
def recipe_list(data: DataOption = None, relay: RelayOption = None, as_json: JsonOption = False) -> None:
    """Recipes that come with the program, of this node, and published ones on the relays."""
    from rich.table import Table

    rows = asyncio.run(_recipe_rows(data_dir(data), relay))
    if as_json:
        print_json(rows)
        return
    table = Table("name", "title", "steps", "gives", "where")
    for row in rows:
        table.add_row(*map(escape, (row["d"], row["title"], ", ".join(row["steps"]), row["out"], row["where"])))
    out.print(table)


async def _recipe_rows(folder: Path, relay: list[str] | None) -> list[dict[str, Any]]:
    from market.kinds import RECIPE
    from nostr import nip19
    from nostr.errors import RelayError
    from nostr.filter import Filter
    from nostr.pool import Pool
    from orchestrator.errors import RecipeError
    from orchestrator.recipe import Recipe, from_event
    from orchestrator.shelf import read, shipped

    def row(found: Recipe, where: str) -> dict[str, Any]:
        return {
            "d": found.d, "title": found.doc.title, "steps": list(found.order), "out": found.output_mime,
            "where": where,
        }  # fmt: skip

    rows = [row(read(path), "shipped") for path in shipped().values()]
    rows += [row(read(path), str(path)) for path in sorted((folder / "orchestrator" / "recipes").glob("*.json"))]
    try:
        relays = relay_urls(folder, relay)
    except Unavailable:
        return rows
    async with Pool(relays) as pool:
        try:
            events = await pool.fetch(Filter(kinds=[RECIPE], limit=200), timeout=4)
        except RelayError:
            return rows
    for event in events:
        try:
            rows.append(row(from_event(event), f"{nip19.npub(event.pubkey)[:16]} {event.id[:12]}"))
        except RecipeError:
            continue  # somebody else's format, or broken: not ours to show
    return rows


@recipe.command("check")
def recipe_check(name: RecipeArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Does it fit together? Every reference, type and limit; problems name the step and the field."""
    found = _recipe(name, data)
    if as_json:
        print_json({"d": found.d, "order": list(found.order), "output": found.output, "mime": found.output_mime})
        return
    words = f"[bold]{found.doc.title}[/] ({found.d}): {' -> '.join(found.order)}, gives {found.output_mime}. It fits."
    out.print(words, soft_wrap=True)


@recipe.command("new")
def recipe_new(
    name: Annotated[str, typer.Argument(help="Name of the recipe; NAME.json is written here.")],
    like: Annotated[str, typer.Option("--like", help="Start from this recipe.")] = "translated-summary",
) -> None:
    """Write a recipe to begin with, with the address of the schema for your editor."""
    import json

    source = _recipe(like, None)
    path = Path(f"{name}.json")
    if path.exists():
        raise UsageComplaint(f"{path} exists already")
    document = {**json.loads(source.dumps()), "d": name, "title": name.replace("-", " ").capitalize()}
    _check_text(json.dumps(document))
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    out.print(f"{path} written; check it with: timmy recipe check {path}")


recipe.command("draft")(draft)


@recipe.command("fork")
def recipe_fork(
    source: Annotated[str, typer.Argument(help="Event id or address (35990:key:name) of a published recipe.")],
    name: Annotated[str, typer.Argument(help="Name of the fork; NAME.json is written here.")],
    data: DataOption = None,
    relay: RelayOption = None,
) -> None:
    """Copy somebody's published recipe; when you publish it, its author is named and shares in the royalty."""
    import json

    folder = data_dir(data)
    event = asyncio.run(_published(relay_urls(folder, relay), source))
    document = {**json.loads(event.content), "d": name, "forked": {"id": event.id, "address": event.address}}
    _check_text(json.dumps(document))
    path = Path(f"{name}.json")
    if path.exists():
        raise UsageComplaint(f"{path} exists already")
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    out.print(f"{path} written, a fork of {event.address}")


@recipe.command("publish")
def recipe_publish(
    name: RecipeArgument,
    sell: Annotated[bool, typer.Option("--sell/--no-sell", help="Also sell it; a running Timmy takes it up.")] = True,
    data: DataOption = None,
    relay: RelayOption = None,
) -> None:
    """Sign a recipe as kind 35990 with this node's orchestrator key and publish it."""
    folder = data_dir(data)
    found = _recipe(name, data)
    event, answers = asyncio.run(_publish(folder, relay_urls(folder, relay), found))
    if sell:
        shelf = folder / "orchestrator" / "recipes"
        shelf.mkdir(parents=True, exist_ok=True)
        (shelf / f"{found.d}.json").write_text(found.dumps() + "\n")
    for url, answer in answers.items():
        out.print(f"{url}: {'published' if answer.accepted else answer.message}")
    out.print(f"{event.address}\n{event.id}")
    if not any(answer.accepted for answer in answers.values()):
        raise Unavailable("no relay took the recipe")


@recipe.command("simulate")
def recipe_simulate(
    name: RecipeArgument,
    data: DataOption = None,
    relay: RelayOption = None,
    prices: Annotated[list[str] | None, typer.Option("--price", help="STEP=SAT instead of the market's.")] = None,
    chances: Annotated[list[str] | None, typer.Option("--chance", help="STEP=0.9: chance of a good try.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What a run would cost, how likely it succeeds, and the price at each margin."""
    from dataclasses import asdict

    from rich.table import Table

    from orchestrator.price import Rules, quote
    from orchestrator.settings import OrchestratorSettings
    from wallet.msat import show

    folder = data_dir(data)
    found = _recipe(name, data)
    rules = load_settings(folder).section("orchestrator", OrchestratorSettings).rules()
    lines = asyncio.run(_lines(folder, relay, found, _pairs(prices), _pairs(chances)))
    offer = quote(lines, rules, margin=found.doc.price.margin or 0.0, min_msat=found.doc.price.min_msat, seed=found.d)
    steps = Table("step", "kind", "units", "a try", "chance", "tries", "share of the price")
    shares = {step: msat for step, _, msat in offer.lines}
    for line in lines:
        steps.add_row(
            line.step, str(line.kind), str(line.count), show(line.price_msat), f"{line.chance:.0%}", str(line.tries),
            show(shares[line.step]),
        )  # fmt: skip
    table = Table("margin", "price", "loss on a run")
    rows = []
    for margin in (0.0, 0.1, 0.2, 0.3, 0.5):
        one = quote(lines, Rules(margin, margin, rules.loss_chance, rules.insurance), seed=found.d)
        rows.append({"margin": margin, "price_msat": one.price_msat, "loss_chance": one.loss_chance})
        table.add_row(f"{margin:.0%}", show(one.price_msat), f"{one.loss_chance:.1%}")
    if as_json:
        print_json({"quote": asdict(offer), "lines": [asdict(line) for line in lines], "margins": rows})
        return
    out.print(steps)
    out.print(table)
    out.print(
        f"expected spend {show(offer.expected_msat)}, success {offer.chance:.1%}; asked: "
        f"[bold]{show(offer.price_msat)}[/] (margin {offer.margin:.0%}, {offer.loss_chance:.1%} of runs at a loss)"
    )


@recipe.command("run")
def recipe_run(
    name: Annotated[
        str, typer.Argument(help="Name of a recipe that somebody sells; see `timmy services --kind 5260`.")
    ],
    words: Annotated[list[str] | None, typer.Argument(metavar="[INPUT]", help="The recipe's input.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="Input as name=value.")] = None,
    max_sats: Annotated[int | None, typer.Option("--max-sats", help="The most to pay, in sat.")] = None,
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the result to this file.")] = None,
    data: DataOption = None,
    relay: RelayOption = None,
) -> None:
    """Buy a composite: the same as `timmy buy NAME`."""
    import sys

    from node.cli import app

    args = ["buy", name, *(words or [])]
    for item in param or []:
        args += ["--param", item]
    args += ["--max-sats", str(max_sats)] if max_sats is not None else []
    args += ["--out", str(out_file)] if out_file else []
    args += ["--data", str(data)] if data else []
    for url in relay or []:
        args += ["--relay", url]
    sys.exit(app(args, standalone_mode=False))


def _recipe(name: str, data: Path | None) -> Any:
    """The recipe of this name or file; its problems as one complaint."""
    from orchestrator.errors import RecipeError
    from orchestrator.shelf import find, read

    try:
        return read(find(name, data_dir(data) / "orchestrator" / "recipes"))
    except RecipeError as error:
        raise UsageComplaint("\n  ".join(error.problems)) from None


def _check_text(text: str) -> None:
    from orchestrator.errors import RecipeError
    from orchestrator.recipe import Recipe

    try:
        Recipe.parse(text)
    except RecipeError as error:
        raise UsageComplaint("\n  ".join(error.problems)) from None


async def _published(relays: list[str], source: str) -> Any:
    from market.kinds import RECIPE
    from market.tags import parse_id
    from nostr.filter import Filter
    from nostr.pool import Pool

    parts = source.split(":", 2)
    named = parse_id(source)
    if len(parts) == 3 and parts[0] == str(RECIPE):
        wanted = Filter(kinds=[RECIPE], authors=[parts[1]], tags={"d": [parts[2]]}, limit=1)
    elif named is not None:
        wanted = Filter(ids=[named[0]], kinds=[RECIPE], limit=1)
    else:
        raise UsageComplaint(f"{source[:80]!r} is neither an event id nor an address like 35990:key:name")
    async with Pool(relays) as pool:
        found = await pool.fetch(wanted, timeout=5)
    if not found:
        raise UsageComplaint(f"no recipe {source[:80]} on {', '.join(relays)}")
    return found[0]


async def _publish(folder: Path, relays: list[str], found: Any) -> tuple[Any, dict[str, Any]]:
    from nostr.clock import system_clock
    from nostr.key import load_or_create
    from nostr.pool import Pool
    from orchestrator.storefront import recipe_event

    key = load_or_create(folder / "keys" / "orchestrator.key")
    parent = await _published(relays, found.doc.forked.id) if found.doc.forked else None
    event = recipe_event(key, found, at=system_clock(), parent=parent, relay=relays[0])
    async with Pool(relays, key=key) as pool:
        return event, await pool.publish(event)


async def _lines(
    folder: Path, relay: list[str] | None, found: Any, prices: dict[str, float], chances: dict[str, float]
) -> list[Any]:
    from market.directory import Directory
    from nostr.pool import Pool
    from orchestrator.price import Line

    cheapest: dict[int, int] = {}
    missing = [name for name in found.order if name not in prices]
    if missing:
        async with Pool(relay_urls(folder, relay)) as pool:
            directory = Directory(pool)
            await directory.load({found.steps[name].kind for name in missing})
            for name in missing:
                kind = found.steps[name].kind
                known = [o.expected_msat for o in directory.offers(kind, dead=False) if o.expected_msat is not None]
                if not known and not found.dispensable(name):
                    raise UsageComplaint(f"nobody sells step {name!r} (kind {kind}) now: give --price {name}=SAT")
                cheapest[kind] = min(known, default=0)
    return [
        Line(
            step=name, kind=step.kind, count=step.most if step.each else 1,
            price_msat=int(prices[name] * 1000) if name in prices else cheapest[step.kind],
            chance=chances.get(name, 0.9), tries=step.tries, buy=step.buy, optional=found.dispensable(name),
        )
        for name, step in ((name, found.steps[name]) for name in found.order)
    ]  # fmt: skip


def _pairs(given: list[str] | None) -> dict[str, float]:
    pairs = {}
    for item in given or []:
        name, _, value = item.partition("=")
        try:
            pairs[name] = float(value)
        except ValueError:
            raise UsageComplaint(f"{item!r} is not STEP=NUMBER") from None
    return pairs


def _own_wallet(folder: Path) -> str | None:
    """The connection this node's wallet made for Timmy."""
    try:
        return (folder / "wallet" / "connections" / "orchestrator.uri").read_text().strip()
    except FileNotFoundError:
        return None
