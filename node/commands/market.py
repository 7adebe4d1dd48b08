"""`timmy services`, `timmy buy`, `timmy jobs`: the buyer's side from the command line."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from market.buyer import DEFAULT_DEADLINE, MIGRATIONS, Buyer
from market.directory import Directory, Offer
from market.job import JobInput
from market.kinds import JOB_COMPOSITE, JOB_KINDS
from market.purchases import Purchase, Purchases
from market.tags import is_http_url
from node import home
from node.commands.market_view import BuyView, jobs_table, offer_json, purchase_json, receipt_of, services_table
from node.context import DataOption, JsonOption, RelayOption, data_dir, err, out, print_json, relay_urls
from node.errors import NotDone, Unavailable, UsageComplaint
from nostr import nip19
from nostr.blossom import BlossomClient
from nostr.database import Database
from nostr.errors import RelayUnreachable
from nostr.key import SecretKey
from nostr.pool import Pool
from nostr.sniff import sniff
from wallet import open_wallet
from wallet.interface import Wallet, WalletError
from wallet.msat import sat, show

WalletOption = Annotated[
    str | None,
    typer.Option(
        "--wallet",
        help="Wallet to pay from: a file with its connection URI, or the URI. Default: this node's own.",
        envvar="TIMMY_NWC",
        show_default=False,
    ),
]


def services(
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind of job: a number or a name.")] = None,
    alive: Annotated[bool, typer.Option("--alive", help="Leave out sellers without a recent heartbeat.")] = False,
    relay: RelayOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who sells what, where, for how much; whether they are alive, and what our own experience says."""
    folder = data_dir(data)
    number = _kind_number(kind) if kind is not None else None
    offers = asyncio.run(_services(folder, relay_urls(folder, relay), number))
    offers = [offer for offer in offers if offer.alive or not alive]
    if as_json:
        print_json([offer_json(offer) for offer in offers])
    elif not offers:
        out.print("nobody sells that here: other relays can be asked with --relay wss://...")
    else:
        out.print(services_table(offers))


def buy(
    what: Annotated[str, typer.Argument(metavar="KIND|RECIPE", help="5100, image, music-video, ...")],
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT", help="Text, http(s) address or path of a file; may repeat.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="Parameter as name=value; may repeat.")
    ] = None,
    max_sats: Annotated[int | None, typer.Option("--max-sats", min=0, help="The most to pay, in sat.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Hire this seller (npub or hex).")] = None,
    open_call: Annotated[bool, typer.Option("--open", help="Ask everybody and take the best offer.")] = False,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Only the seller can read request and result.")] = False,
    output: Annotated[str | None, typer.Option("--output", help="MIME type wanted, such as image/png.")] = None,
    seconds: Annotated[int, typer.Option("--seconds", min=5, help="Give up after so long.")] = DEFAULT_DEADLINE,
    save: Annotated[Path | None, typer.Option("--out", help="Write the result to this file.")] = None,
    relay: RelayOption = None,
    wallet: WalletOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hire one service, or buy a composite by its recipe's name. Pays at most the announced price, or --max-sats."""
    folder = data_dir(data)
    wish = _Wish(
        what=what,
        inputs=tuple(inputs or ()),
        params=_params(param or []),
        max_msat=sat(max_sats) if max_sats is not None else None,
        to=_pubkey(to) if to else None,
        open_call=open_call,
        encrypt=encrypt,
        output=output,
        seconds=seconds,
        save=save,
    )
    bought = asyncio.run(_buy(folder, relay_urls(folder, relay), wallet, wish, quiet=as_json))
    if as_json:
        print_json(purchase_json(bought))
    if not bought.delivered:
        raise NotDone(f"{bought.state}: {bought.reason}")


def jobs(
    job: Annotated[str | None, typer.Argument(metavar="ID", help="Show one purchase, by the start of its id.")] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take this request back.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what was interrupted.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many to list.")] = 20,
    relay: RelayOption = None,
    wallet: WalletOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """What you bought, and what came of it."""
    folder = data_dir(data)
    if resume or cancel:
        asyncio.run(_go_on(folder, relay_urls(folder, relay), wallet, job if cancel else None))
    found = asyncio.run(_jobs(folder, job, limit))
    if job is not None and not found:
        raise UsageComplaint(f"no purchase begins with {job!r}: `timmy jobs` lists them")
    if as_json:
        print_json([purchase_json(each) for each in found])
    elif not found:
        out.print('nothing bought yet: try `timmy buy text "a haiku about the sea"`')
    else:
        out.print(jobs_table(found, home.owner_key(folder).public))


# -- wishes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the command line asked for."""

    what: str
    inputs: tuple[str, ...]
    params: Mapping[str, list[str]]
    max_msat: int | None
    to: str | None
    open_call: bool
    encrypt: bool
    output: str | None
    seconds: int
    save: Path | None


def _kind_number(text: str) -> int:
    kind = _as_kind(text)
    if kind is None:
        names = ", ".join(f"{job.trade} ({job.kind})" for job in JOB_KINDS.values())
        raise UsageComplaint(f"{text!r} is not a kind of job: {names}")
    return kind


def _as_kind(text: str) -> int | None:
    if text.isascii() and text.isdigit():
        return int(text)
    names = {job.title.lower().replace(" ", "-"): job.kind for job in JOB_KINDS.values()}
    names |= {job.trade: job.kind for job in JOB_KINDS.values()}  # text: 5050 is the last of its trade
    return names.get(text.strip().lower())


def _pubkey(text: str) -> str:
    try:
        return nip19.parse_pubkey(text)
    except nip19.InvalidNip19 as error:
        raise UsageComplaint(f"--to: {error}") from None


def _params(pairs: Sequence[str]) -> dict[str, list[str]]:
    made: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageComplaint(f"--param {pair!r}: write it as name=value")
        made.setdefault(name.strip(), []).append(value)
    return made


async def _choose(directory: Directory, wish: _Wish) -> Offer:
    """The offer to take: the one named, or the best of those alive."""
    kind = _as_kind(wish.what)
    offers = directory.offers(kind if kind is not None else JOB_COMPOSITE)
    if kind is None:
        offers = [offer for offer in offers if _slug(wish.what) in (offer.announcement.d, _slug(offer.name))]
        if not offers:
            sold = ", ".join(sorted({o.announcement.d for o in directory.offers(JOB_COMPOSITE)})) or "none"
            raise UsageComplaint(f"{wish.what!r} is no kind of job, and nobody sells it as a recipe (sold: {sold})")
    if wish.to is not None:
        offers = [offer for offer in offers if offer.provider == wish.to]
        if not offers:
            raise UsageComplaint("this seller announces no such service: `timmy services` shows what is sold")
    if not offers:
        raise Unavailable(f"nobody announces {wish.what} here: other relays can be asked with --relay wss://...")
    affordable = [o for o in offers if wish.max_msat is None or (o.price_msat or 0) <= wish.max_msat]
    if not affordable:
        cheapest = min(offer.price_msat or 0 for offer in offers)
        raise UsageComplaint(f"the cheapest offer is {show(cheapest)}: raise --max-sats")
    best = affordable[0]
    if not best.alive:
        err.print(f"[yellow]no heartbeat from {best.name or best.provider[:8]} lately; asking all the same[/]")
    if wish.max_msat is None and best.price_msat is None:
        raise UsageComplaint(f"{best.name or best.provider[:8]} announces no fixed price: say --max-sats")
    return best


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


async def _inputs(wish: _Wish, blossom: str, key: SecretKey) -> list[JobInput]:
    """Text, addresses, and files, which are put on the relay's own file server first."""
    made: list[JobInput] = []
    for text in wish.inputs:
        if is_http_url(text):
            made.append(JobInput(text, "url"))
        elif (path := await asyncio.to_thread(_file, text)) is not None:
            head = await asyncio.to_thread(_head, path)
            async with BlossomClient(blossom, key) as client:
                blob = await client.upload(path, sniff(head))
            made.append(JobInput(blob.url, "url"))
        else:
            made.append(JobInput(text, "text"))
    return made


def _file(text: str) -> Path | None:
    """The file of this name; None where the text is just text."""
    try:
        path = Path(text).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


# -- what the commands do -------------------------------------------------------------------------------------------


async def offers(folder: Path) -> list[Offer]:
    """Everything that is announced on this node's own relay."""
    return await _services(folder, relay_urls(folder, None), None)


async def last_purchase(folder: Path) -> Purchase | None:
    """The owner's newest purchase."""
    found = await _jobs(folder, None, 1)
    return found[0] if found else None


async def _services(folder: Path, relays: Sequence[str], kind: int | None) -> list[Offer]:
    async with _directory(folder, relays, kind) as directory:
        return directory.offers(kind)


async def _buy(folder: Path, relays: Sequence[str], wallet: str | None, wish: _Wish, *, quiet: bool) -> Purchase:
    key = home.owner_key(folder)
    async with _buyer(folder, relays, wallet) as buyer:
        directory = Directory(buyer.pool)
        await _load(directory, None if _as_kind(wish.what) is None else _as_kind(wish.what))
        directory.stats = await buyer.purchases.stats()
        offer = None if wish.open_call else await _choose(directory, wish)
        if offer is None and wish.max_msat is None:
            raise UsageComplaint("an open call needs --max-sats")
        ceiling = wish.max_msat if wish.max_msat is not None else (offer.price_msat or 0 if offer else 0)
        params: dict[str, list[str]] = dict(wish.params)
        order = buyer.order(
            offer.kind if offer else _kind_number(wish.what),
            await _inputs(wish, _http(relays[0]), key),
            provider=offer.provider if offer else None,
            max_msat=ceiling,
            params=params,
            output=wish.output,
            encrypt=wish.encrypt,
            seconds=wish.seconds,
            announced_msat=offer.price_msat if offer else None,
            extra_tags=[["a", offer.announcement.address]] if offer and offer.kind == JOB_COMPOSITE else (),
        )
        title = " ".join([wish.what, *wish.inputs])[:200]
        with BuyView(directory, title, quiet=quiet) as view:
            buying = asyncio.ensure_future(
                buyer.buy(order, view.update, title=title, relays=offer.relays if offer else (), out=wish.save)
            )
            try:
                bought = await buying
            except asyncio.CancelledError:
                buying.cancel()
                with suppress(asyncio.CancelledError):
                    await buying
                err.print("interrupted: `timmy jobs --resume` goes on with it, and pays nothing twice")
                raise
        if not quiet:
            receipt_of(bought, wish.save)
        return bought


async def _go_on(folder: Path, relays: Sequence[str], wallet: str | None, cancel: str | None) -> None:
    async with _buyer(folder, relays, wallet) as buyer:
        if cancel is not None:
            found = await buyer.purchases.find(cancel)
            if len(found) != 1:
                raise UsageComplaint(f"{len(found)} purchases begin with {cancel!r}")
            await buyer.cancel(found[0].id)
        for bought in await buyer.resume():
            err.print(f"{bought.id[:8]} {bought.title}: {bought.state}")


async def _jobs(folder: Path, job: str | None, limit: int) -> list[Purchase]:
    db = await Database.open(folder / "market" / "market.db", MIGRATIONS)
    try:
        purchases = Purchases(db, home.owner_key(folder))
        return await (purchases.find(job.lower()) if job else purchases.recent(limit=limit))
    finally:
        await db.close()


@asynccontextmanager
async def _directory(folder: Path, relays: Sequence[str], kind: int | None) -> AsyncIterator[Directory]:
    db = await Database.open(folder / "market" / "market.db", MIGRATIONS)
    try:
        async with Pool(relays, key=home.owner_key(folder)) as pool:
            directory = Directory(pool)
            await _load(directory, kind)
            directory.stats = await Purchases(db, home.owner_key(folder)).stats()
            yield directory
    finally:
        await db.close()


async def _load(directory: Directory, kind: int | None) -> None:
    try:
        await directory.load(None if kind is None else [kind])
    except RelayUnreachable as error:
        raise Unavailable(f"no relay answers: {error}") from None


@asynccontextmanager
async def _buyer(folder: Path, relays: Sequence[str], wallet: str | None) -> AsyncIterator[Buyer]:
    key = home.owner_key(folder)
    purse = _wallet(folder, wallet)
    db = await Database.open(folder / "market" / "market.db", MIGRATIONS)
    try:
        try:
            entered = await purse.__aenter__()
        except WalletError as error:
            raise Unavailable(f"the wallet does not answer: {error}") from None
        try:
            async with (
                Pool(relays, key=key) as pool,
                Buyer(
                    key,
                    pool,
                    entered,
                    db=db,
                    files=folder / "market" / "files",
                    allow_hosts=[_http(url) for url in relays],
                ) as buyer,
            ):
                yield buyer
        finally:
            await purse.__aexit__(*sys.exc_info())
    finally:
        await db.close()


def _wallet(folder: Path, given: str | None) -> Wallet:
    own = folder / "wallet" / "connections" / "owner.uri"
    path = Path(given) if given is not None and "://" not in given else own
    try:
        uri = given if given is not None and "://" in given else path.read_text().strip()
    except FileNotFoundError:
        raise Unavailable(f"no wallet at {path}: start `timmy up` or `timmy wallet`, or say --wallet FILE") from None
    try:
        return open_wallet(uri)
    except WalletError as error:
        raise UsageComplaint(f"--wallet: {error}") from None


def _http(relay: str) -> str:
    return "http" + relay.removeprefix("ws")
