"""`timmy services`, `timmy buy`, `timmy jobs`: the buyer's side from the command line."""

import asyncio
import os
import random
import re
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from market.buyer import DEFAULT_DEADLINE, MIGRATIONS, Answer, Buyer
from market.choose import Candidate, Factors, Need, choose
from market.directory import Directory, Offer
from market.job import JobInput, JobResult
from market.kinds import JOB_COMPOSITE, JOB_KINDS
from market.purchases import IN_DOUBT, OPEN, Purchase, Purchases, Stats
from market.reputation import Reputation, Score, newcomer
from market.review import build_rank_profile, build_ranks, build_recommendation, build_review, review_of
from market.tags import is_http_url
from market.witness import Witness, zap_keys
from node import home
from node.commands.market_gate import inspect, rechecker
from node.commands.market_view import BuyView, jobs_table, offer_json, purchase_json, receipt_of, services_table
from node.context import DataOption, JsonOption, RelayOption, data_dir, err, out, print_json, relay_urls
from node.errors import NotDone, Unavailable, UsageComplaint
from nostr import nip19
from nostr.blossom import BlossomClient
from nostr.clock import system_clock
from nostr.database import Database
from nostr.errors import RelayUnreachable
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey, load_or_create
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
    number = _kind_number(kind) if kind is not None else None
    if recommend is not None:
        asyncio.run(_recommend(folder, relay_urls(folder, relay), _pubkey(recommend)))
    found = asyncio.run(_services(folder, relay_urls(folder, relay), number, publish_ranks, recheck=why))
    found = [(offer, score) for offer, score in found if offer.alive or not alive]
    if as_json:
        print_json([offer_json(offer, score) for offer, score in found])
    elif not found:
        out.print("nobody sells that here: other relays can be asked with --relay wss://...")
    else:
        out.print(services_table(found))
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
    seconds: Annotated[int, typer.Option("--seconds", min=5, help="Give up after so long.")] = DEFAULT_DEADLINE,
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
        review=review,
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
        if any(each.state in OPEN or (each.payment and each.payment.state in IN_DOUBT) for each in found):
            out.print("some are unfinished: `timmy jobs --resume` goes on with them, and pays nothing twice")


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
    review: bool


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


@dataclass(frozen=True, slots=True)
class _Shop:
    """Everything known of the sellers, at one moment."""

    directory: Directory
    book: Reputation
    own: frozenset[str]

    def best_of(self, offers: Sequence[Answer]) -> Answer:
        """The bill (or the free result) of an open call that is worth most: price against reputation."""
        rng = random.SystemRandom()

        def cost(offer: Answer) -> float:
            kind = offer.event.kind - 1000 if isinstance(offer, JobResult) else 0
            scores = [self.book.score(offer.provider, each) for p, each in self.book.scored() if p == offer.provider]
            score = scores[0] if scores else newcomer(offer.provider, kind)
            return ((offer.amount_msat or 0) + 1_000) / max(0.01, score.for_spend(offer.amount_msat or 0, rng))

        return min(offers, key=cost)


async def _look_around(
    pool: Pool, purchases: Purchases, key: SecretKey, own: Iterable[str], kind: int | None, *, recheck: bool = False
) -> _Shop:
    """Announcements, reviews and follow lists of all relays, and our own ledger.

    `recheck` runs failed gates of complaints again, which downloads and decodes a few files.
    """
    directory = Directory(pool)
    try:
        await directory.load(None if kind is None else [kind])
    except RelayUnreachable as error:
        raise Unavailable(f"no relay answers: {error}") from None
    directory.stats = await purchases.stats()
    witness = Witness(pool, recheck=rechecker([_http(url) for url in pool.relays]) if recheck else None)
    found = directory.offers()
    keys = await zap_keys({offer.provider: offer.announcement.lud16 for offer in found if offer.announcement.lud16})
    await witness.listen_to({offer.provider for offer in found}, key.public, payee_keys=keys)
    told = [each for each in witness.evidence if each.rater != key.public] + await purchases.evidence()
    view = witness.viewpoint(own=[key.public])
    return _Shop(directory, Reputation(view, told, now=system_clock(), vouches=witness.vouches), frozenset(own))


def _choose(shop: _Shop, wish: _Wish) -> tuple[Offer, tuple[Factors, ...]]:
    """The offer to take, and the table that says why."""
    asked = _matching(shop.directory, wish)
    cap = wish.max_msat if wish.max_msat is not None else max((offer.price_msat or 0 for offer in asked), default=0)
    candidates = {
        (offer.provider, offer.announcement.d): Candidate(
            provider=offer.provider,
            price_msat=offer.price_msat,
            score=shop.book.score(offer.provider, offer.kind),
            liveness=max(offer.liveness, 0.02 if wish.to else 0.0),  # whoever is named is asked, alive or not
            latencies=offer.stats.latencies,
            name=offer.name,
            local=offer.provider in shop.own,
        )
        for offer in asked
    }
    choice = choose(list(candidates.values()), Need(cap_msat=cap, seconds=wish.seconds), random.SystemRandom())
    if choice.winner is None:
        cheapest = min(offer.price_msat or 0 for offer in asked)
        if wish.max_msat is not None and cheapest > wish.max_msat:
            raise UsageComplaint(f"the cheapest offer is {show(cheapest)}: raise --max-sats")
        raise Unavailable(f"nobody can be hired: {choice.table[0].excluded} (--to NPUB asks one seller all the same)")
    best = next(offer for offer in asked if candidates[offer.provider, offer.announcement.d] == choice.winner)
    if wish.max_msat is None and best.price_msat is None:
        raise UsageComplaint(f"{best.name or best.provider[:8]} announces no fixed price: say --max-sats")
    return best, choice.table


def _matching(directory: Directory, wish: _Wish) -> list[Offer]:
    """The offers of this kind, or of this recipe, by the seller that was named."""
    kind = _as_kind(wish.what)
    found = directory.offers(kind if kind is not None else JOB_COMPOSITE)
    if kind is None:
        found = [offer for offer in found if _slug(wish.what) in (offer.announcement.d, _slug(offer.name))]
        if not found:
            sold = ", ".join(sorted({o.announcement.d for o in directory.offers(JOB_COMPOSITE)})) or "none"
            raise UsageComplaint(f"{wish.what!r} is no kind of job, and nobody sells it as a recipe (sold: {sold})")
    if wish.to is not None:
        found = [offer for offer in found if offer.provider == wish.to]
        if not found:
            raise UsageComplaint("this seller announces no such service: `timmy services` shows what is sold")
    if not found:
        raise Unavailable(f"nobody announces {wish.what} here: other relays can be asked with --relay wss://...")
    return found


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


async def _services(
    folder: Path, relays: Sequence[str], kind: int | None, publish_ranks: bool, recheck: bool = False
) -> list[tuple[Offer, Score]]:
    key = home.owner_key(folder)
    db = await Database.open(folder / "market" / "market.db", MIGRATIONS)
    try:
        async with Pool(relays, key=key) as pool:
            purchases = Purchases(db, key)
            own = home.public_keys(folder).values()
            shop = await _look_around(pool, purchases, key, own, kind, recheck=recheck)
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


async def _buy(folder: Path, relays: Sequence[str], wallet: str | None, wish: _Wish, *, quiet: bool) -> Purchase:
    key = home.owner_key(folder)
    if wish.open_call and (wish.max_msat is None or _as_kind(wish.what) is None):
        raise UsageComplaint("an open call needs a kind of job and --max-sats")
    async with _buyer(folder, relays, wallet, wish.review) as buyer:
        shop = await _look_around(
            buyer.pool, buyer.purchases, key, home.public_keys(folder).values(), _as_kind(wish.what)
        )
        offer, why = (None, ()) if wish.open_call else _choose(shop, wish)
        ceiling = wish.max_msat if wish.max_msat is not None else (offer.price_msat or 0 if offer else 0)
        order = buyer.order(
            offer.kind if offer else _kind_number(wish.what),
            await _inputs(wish, _http(relays[0]), key),
            provider=offer.provider if offer else None,
            max_msat=ceiling,
            params=wish.params,
            output=wish.output,
            encrypt=wish.encrypt,
            seconds=wish.seconds,
            announced_msat=offer.price_msat if offer else None,
            extra_tags=[["a", offer.announcement.address]] if offer and offer.kind == JOB_COMPOSITE else (),
        )
        title = " ".join([wish.what, *wish.inputs])[:200]
        with BuyView(shop.directory, title, quiet=quiet) as view:
            buying = asyncio.ensure_future(
                buyer.buy(
                    order,
                    view.update,
                    title=title,
                    relays=offer.relays if offer else (),
                    choose=shop.best_of,
                    why=why,
                    lightning=offer.announcement.lud16 if offer else "",
                    out=wish.save,
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
            receipt_of(bought, wish.save, view.costs())
        return bought


async def _go_on(folder: Path, relays: Sequence[str], wallet: str | None, cancel: str | None) -> None:
    async with _buyer(folder, relays, wallet, True) as buyer:
        if cancel is not None:
            found = await buyer.purchases.find(cancel)
            if len(found) != 1:
                raise UsageComplaint(f"{len(found)} purchases begin with {cancel!r}")
            await buyer.cancel(found[0].id)
        for bought in await buyer.resume():
            err.print(f"{bought.id[:8]} {bought.title}: {bought.state}", markup=False)


async def _jobs(folder: Path, job: str | None, limit: int) -> list[Purchase]:
    db = await Database.open(folder / "market" / "market.db", MIGRATIONS)
    try:
        purchases = Purchases(db, home.owner_key(folder))
        return await (purchases.find(job.lower()) if job else purchases.recent(limit=limit))
    finally:
        await db.close()


@asynccontextmanager
async def _buyer(folder: Path, relays: Sequence[str], wallet: str | None, review: bool) -> AsyncIterator[Buyer]:
    key = home.owner_key(folder)

    def tell(bought: Purchase) -> list[Event]:
        receipt = bought.result.fact("receipt") if bought.result is not None else None
        about = review_of(bought, receipt_id=receipt) if review else None
        return build_review(key, about, relay=relays[0], created_at=system_clock()) if about is not None else []

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
                    review=tell,
                    inspect=inspect,
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
