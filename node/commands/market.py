"""`timmy services`, `timmy buy`, `timmy jobs`: the buyer's side from the command line."""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from market.buyer import MIGRATIONS
from market.directory import Directory, Offer
from market.errors import MarketError
from market.purchases import IN_DOUBT, OPEN, Purchase, Purchases, Stats
from market.reputation import Score
from market.review import build_rank_profile, build_ranks, build_recommendation
from node import home
from node.commands.market_view import BuyView, jobs_table, offer_json, purchase_json, receipt_of, services_table
from node.context import DataOption, JsonOption, RelayOption, data_dir, err, out, print_json, relay_urls
from node.errors import NotDone, UsageComplaint
from node.hiring import Wish, as_kind, choose_offer, kind_number, look_around, open_buyer, order_for
from nostr import nip19
from nostr.clock import system_clock
from nostr.database import Database
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import load_or_create
from nostr.pool import Pool
from wallet.msat import sat

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
    alive: Annotated[bool, typer.Option("--alive", help="Leave out what cannot be had now.")] = False,
    why: Annotated[
        bool, typer.Option("--why", help="Say where each score comes from; re-runs gates that complaints name.")
    ] = False,
    publish_ranks: Annotated[
        bool, typer.Option("--publish-ranks", help="Publish these scores for others (NIP-85), by the node's score key.")
    ] = False,
    recommend: Annotated[
        str | None, typer.Option("--recommend", help="Vouch for this seller (npub or hex) by a recommendation (31989).")
    ] = None,
    relay: RelayOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who sells what, where, for how much; whether they are alive, and what is known of them."""
    folder = data_dir(data)
    number = kind_number(kind) if kind is not None else None
    if recommend is not None:
        asyncio.run(_recommend(folder, relay_urls(folder, relay), _pubkey(recommend)))
    found = asyncio.run(_services(folder, relay_urls(folder, relay), number, publish_ranks, recheck=why))
    if alive:
        found = [(offer, score) for offer, score in found if offer.alive and not offer.announcement.unavailable]
    if as_json:
        print_json([offer_json(offer, score) for offer, score in found])
    elif not found:
        out.print("nobody sells that here: other relays can be asked with --relay wss://...")
    else:
        out.print(services_table(found))
        gone = [offer for offer, _ in found if offer.announcement.unavailable]
        for offer in gone:
            out.print(f"{escape(offer.name)} cannot be had now: {escape(offer.announcement.unavailable)}")
        if {offer.provider for offer in gone} & set(home.public_keys(folder).values()):
            out.print("what this node could do with more installed, and the command: timmy doctor")
        for offer, score in found if why else ():
            out.print(f"\n[bold]{escape(offer.name or offer.provider[:12])}[/] ({offer.kind})")
            for line in score.explain():
                out.print(f"  {line}")


async def offers(folder: Path) -> list[Offer]:
    """What is sold on the node's own relay."""
    return [offer for offer, _ in await _services(folder, relay_urls(folder, None), None, False)]


async def last_purchase(folder: Path) -> Purchase | None:
    """The newest purchase of this node's owner."""
    found = await _jobs(folder, None, 1)
    return found[0] if found else None


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
    seconds: Annotated[
        int | None,
        typer.Option("--seconds", min=5, help="Give up after so long.", show_default="900, or the seller's usual time"),
    ] = None,
    save: Annotated[Path | None, typer.Option("--out", help="Write the result to this file.")] = None,
    review: Annotated[bool, typer.Option(help="Publish a review of what was bought.")] = True,
    relay: RelayOption = None,
    wallet: WalletOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hire one service, or buy a composite by its recipe's name. Pays at most the announced price, or --max-sats."""
    folder = data_dir(data)
    if save is not None and not (save.parent.is_dir() and os.access(save.parent, os.W_OK)):
        raise UsageComplaint(f"--out: {save.parent} is no folder one can write to")
    wish = Wish(
        what=what,
        inputs=tuple(inputs or ()),
        params=_params(param or []),
        max_msat=sat(max_sats) if max_sats is not None else None,
        to=_pubkey(to) if to else None,
        open_call=open_call,
        encrypt=encrypt,
        output=output,
        seconds=seconds,
    )
    bought = asyncio.run(_buy(folder, relay_urls(folder, relay), wallet, wish, save, review=review, quiet=as_json))
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
        if any(each.state in OPEN or (each.payment and each.payment.state in IN_DOUBT) for each in found):
            out.print("some are unfinished: `timmy jobs --resume` goes on with them, and pays nothing twice")


# -- wishes ---------------------------------------------------------------------------------------------------------


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


def open_result(
    job: Annotated[str, typer.Argument(metavar="ID", help="The purchase, by the start of its id.")],
    save: Annotated[Path | None, typer.Option("--out", help="Write the result to this file.")] = None,
    relay: RelayOption = None,
    wallet: WalletOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """The result of a purchase; a sealed file is opened with its payment's preimage, even if the seller is gone."""
    folder = data_dir(data)
    bought = asyncio.run(_open(folder, relay_urls(folder, relay), wallet, job.lower()))
    if as_json:
        print_json(purchase_json(bought))
    elif save is None:
        out.print(str(bought.path or (bought.result.content if bought.result else "")), markup=False, soft_wrap=True)
    if save is not None:
        if bought.path is not None:
            shutil.copyfile(bought.path, save)
        else:
            save.write_text(bought.result.content if bought.result else "")


# -- what the commands do -------------------------------------------------------------------------------------------


async def _services(
    folder: Path, relays: Sequence[str], kind: int | None, publish_ranks: bool, recheck: bool = False
) -> list[tuple[Offer, Score]]:
    key = home.owner_key(folder)
    db = await Database.open(folder / "market" / "market.db", MIGRATIONS)
    try:
        async with Pool(relays, key=key, private_hosts=()) as pool:
            purchases = Purchases(db, key)
            own = home.public_keys(folder).values()
            shop = await look_around(pool, purchases, key, own, kind, recheck=recheck)
            found = [(offer, shop.book.score(offer.provider, offer.kind)) for offer in shop.directory.offers(kind)]
            if publish_ranks:
                await _publish_ranks(folder, pool, [score for _, score in found], await purchases.stats())
            return found
    finally:
        await db.close()


async def _recommend(folder: Path, relays: Sequence[str], seller: str) -> None:
    """Add the seller's announcements to our lists, one list a kind of job."""
    key = home.owner_key(folder)
    async with Pool(relays, key=key) as pool:
        directory = Directory(pool)
        await directory.load()
        offers = [offer for offer in directory.offers() if offer.provider == seller]
        if not offers:
            raise UsageComplaint("this seller announces nothing here")
        lists = {event.first("d"): event for event in await pool.fetch(Filter(kinds=[31989], authors=[key.public]))}
        for offer in offers:
            known = lists[str(offer.kind)].values("a") if str(offer.kind) in lists else []
            addresses = list(dict.fromkeys([*known, offer.announcement.address]))
            event = build_recommendation(key, offer.kind, addresses, created_at=system_clock())
            await _must_publish(pool, event)
        err.print(f"recommended {offers[0].name or seller[:12]} for {', '.join(str(offer.kind) for offer in offers)}")


async def _must_publish(pool: Pool, event: Event) -> None:
    answers = await pool.publish(event)
    if not any(ok.accepted for ok in answers.values()):
        raise NotDone(f"no relay took it: {next(iter(answers.values())).message}")


async def _publish_ranks(
    folder: Path, pool: Pool, scores: Sequence[Score], stats: Mapping[tuple[str, int], Stats]
) -> None:
    """30382 by the score key, whose profile says how the ranks are made."""
    key = load_or_create(folder / "keys" / "score.key")
    now = system_clock()
    events = [build_rank_profile(key, created_at=now), *build_ranks(key, scores, stats, created_at=now)]
    for event in events:
        await _must_publish(pool, event)
    err.print(f"published {len(events) - 1} ranks as {nip19.npub(key.public)}")


async def _buy(
    folder: Path, relays: Sequence[str], wallet: str | None, wish: Wish, save: Path | None, *, review: bool, quiet: bool
) -> Purchase:
    key = home.owner_key(folder)
    if wish.open_call and (wish.max_msat is None or as_kind(wish.what) is None):
        raise UsageComplaint("an open call needs a kind of job and --max-sats")
    async with open_buyer(folder, relays, wallet, review) as buyer:
        shop = await look_around(
            buyer.pool, buyer.purchases, key, home.public_keys(folder).values(), as_kind(wish.what)
        )
        offer, why = (None, ()) if wish.open_call else choose_offer(shop, wish)
        order = await order_for(buyer, wish, offer)
        with BuyView(shop.directory, wish.title, quiet=quiet) as view:
            buying = asyncio.ensure_future(
                buyer.buy(
                    order,
                    view.update,
                    title=wish.title,
                    relays=offer.relays if offer else (),
                    choose=shop.best_of,
                    why=why,
                    lightning=offer.announcement.lud16 if offer else "",
                    out=save,
                )
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
            receipt_of(bought, save, view.costs(), view.name(bought.provider or ""))
        return bought


async def _go_on(folder: Path, relays: Sequence[str], wallet: str | None, cancel: str | None) -> None:
    async with open_buyer(folder, relays, wallet) as buyer:
        if cancel is not None:
            found = await buyer.purchases.find(cancel)
            if len(found) != 1:
                raise UsageComplaint(f"{len(found)} purchases begin with {cancel!r}")
            await buyer.cancel(found[0].id)
        for bought in await buyer.resume():
            err.print(f"{bought.id[:8]} {bought.title}: {bought.state}", markup=False)


async def _open(folder: Path, relays: Sequence[str], wallet: str | None, job: str) -> Purchase:
    bought = await _one_job(folder, job)
    if bought.path is not None and bought.path.exists():
        return bought
    async with open_buyer(folder, relays, wallet) as buyer:
        await buyer.resume(only=[bought.id])
        bought = await _one_job(folder, job)
        if bought.path is None and bought.delivered:
            return bought
        try:
            return await buyer.open(bought)
        except MarketError as error:
            raise NotDone(f"{bought.state}: {error}") from None


async def _one_job(folder: Path, job: str) -> Purchase:
    found = await _jobs(folder, job, 2)
    if len(found) != 1:
        raise UsageComplaint(f"{len(found)} purchases begin with {job!r}: `timmy jobs` lists them")
    return found[0]


async def _jobs(folder: Path, job: str | None, limit: int) -> list[Purchase]:
    db = await Database.open(folder / "market" / "market.db", MIGRATIONS)
    try:
        purchases = Purchases(db, home.owner_key(folder))
        return await (purchases.find(job.lower()) if job else purchases.recent(limit=limit))
    finally:
        await db.close()
