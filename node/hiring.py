"""Hiring, as the command line, agents and crews do it: look around, choose, order, pay.

A `Wish` says what is wanted. `look_around` reads announcements, reviews and the own ledger; `choose_offer` picks by
price against reputation, with the table that says why; `open_buyer` is the buyer over this node's key, ledger of
purchases, wallet and gates.
"""

import asyncio
import random
import re
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from market.buyer import DEFAULT_DEADLINE, MIGRATIONS, Answer, Buyer
from market.choose import Candidate, Factors, Need, choose
from market.directory import Directory, Offer
from market.job import JobInput, JobResult
from market.kinds import JOB_COMPOSITE, JOB_HUMAN, JOB_KINDS
from market.purchase import Order
from market.purchases import Purchase, Purchases
from market.reputation import Reputation, newcomer
from market.review import build_review, review_of
from market.tags import is_http_url
from market.witness import Witness, zap_keys
from node import home
from node.commands.market_gate import inspect, rechecker
from node.errors import Unavailable, UsageComplaint
from nostr.blossom import BlossomClient
from nostr.clock import system_clock
from nostr.database import Database
from nostr.errors import RelayUnreachable
from nostr.event import Event
from nostr.key import SecretKey
from nostr.pool import Pool
from nostr.sniff import sniff
from wallet import open_wallet as open_any_wallet
from wallet.interface import Wallet, WalletError
from wallet.msat import show

LONGEST = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted: a kind of job or the name of a recipe, and within which limits. `seconds` None: as announced."""

    what: str
    inputs: tuple[str, ...] = ()
    params: Mapping[str, list[str]] = field(default_factory=dict)
    max_msat: int | None = None
    to: str | None = None
    open_call: bool = False
    encrypt: bool = False
    output: str | None = None
    seconds: int | None = None
    besides: tuple[str, ...] = ()  # public keys that are not hired: a crew does not hire itself

    @property
    def title(self) -> str:
        return " ".join([self.what, *self.inputs])[:200]


def kind_number(text: str) -> int:
    """A job kind by number or name. Raises UsageComplaint."""
    kind = as_kind(text)
    if kind is None:
        names = ", ".join(f"{job.trade} ({job.kind})" for job in JOB_KINDS.values())
        raise UsageComplaint(f"{text!r} is not a kind of job: {names}")
    return kind


def as_kind(text: str) -> int | None:
    """A job kind by number or name; None for anything else, such as the name of a recipe."""
    if text.isascii() and text.isdigit():
        return int(text)
    names = {job.title.lower().replace(" ", "-"): job.kind for job in JOB_KINDS.values()}
    names |= {job.trade: job.kind for job in JOB_KINDS.values()}  # text: 5050 is the last of its trade
    return names.get(text.strip().lower())


@dataclass(frozen=True, slots=True)
class Shop:
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


async def look_around(
    pool: Pool, purchases: Purchases, key: SecretKey, own: Iterable[str], kind: int | None, *, recheck: bool = False
) -> Shop:
    """Announcements, reviews and follow lists of all relays, and our own ledger.

    `recheck` runs failed gates of complaints again, which downloads and decodes a few files.
    """
    directory = Directory(pool)
    try:
        await directory.load(None if kind is None else [kind])
    except RelayUnreachable as error:
        raise Unavailable(f"no relay answers: {error}") from None
    directory.stats = await purchases.stats()
    witness = Witness(pool, recheck=rechecker([http_of(url) for url in pool.relays]) if recheck else None)
    found = directory.offers()
    keys = await zap_keys({offer.provider: offer.announcement.lud16 for offer in found if offer.announcement.lud16})
    await witness.listen_to({offer.provider for offer in found}, key.public, payee_keys=keys)
    told = [each for each in witness.evidence if each.rater != key.public] + await purchases.evidence()
    view = witness.viewpoint(own=[key.public])
    return Shop(directory, Reputation(view, told, now=system_clock(), vouches=witness.vouches), frozenset(own))


def choose_offer(shop: Shop, wish: Wish) -> tuple[Offer, tuple[Factors, ...]]:
    """The offer to take, and the table that says why."""
    asked = matching(shop.directory, wish)
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
    choice = choose(
        list(candidates.values()), Need(cap_msat=cap, seconds=wish.seconds or DEFAULT_DEADLINE), random.SystemRandom()
    )
    if choice.winner is None:
        cheapest = min(offer.price_msat or 0 for offer in asked)
        if wish.max_msat is not None and cheapest > wish.max_msat:
            raise UsageComplaint(f"the cheapest offer is {show(cheapest)}: raise --max-sats")
        raise Unavailable(f"nobody can be hired: {choice.table[0].excluded} (--to NPUB asks one seller all the same)")
    best = next(offer for offer in asked if candidates[offer.provider, offer.announcement.d] == choice.winner)
    if wish.max_msat is None and best.price_msat is None:
        raise UsageComplaint(f"{best.name or best.provider[:8]} announces no fixed price: say --max-sats")
    return best, choice.table


def matching(directory: Directory, wish: Wish) -> list[Offer]:
    """The offers of this kind, or of this recipe, by the seller that was named."""
    kind = as_kind(wish.what)
    known = directory.offers(kind if kind is not None else JOB_COMPOSITE)
    found = [offer for offer in known if offer.provider not in wish.besides]
    if kind is None:
        found = [offer for offer in found if slug(wish.what) in (offer.announcement.d, slug(offer.name))]
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


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


async def order_for(buyer: Buyer, wish: Wish, offer: Offer | None, *, files: bool = True) -> Order:
    """The signed order of a wish; `offer` None asks everybody. Without `files` an input is never read from a disk."""
    ceiling = wish.max_msat if wish.max_msat is not None else (offer.price_msat or 0 if offer else 0)
    kind = offer.kind if offer else kind_number(wish.what)
    seconds = patience(wish, offer)
    params = dict(wish.params)
    if kind == JOB_HUMAN:  # a person sees before claiming how long there is
        params.setdefault("seconds", [str(seconds - min(60, seconds // 10))])
    return buyer.order(
        kind,
        await upload_inputs(wish, http_of(buyer.pool.relays[0]), buyer.key, files=files),
        provider=offer.provider if offer else None,
        max_msat=ceiling,
        params=params,
        output=wish.output or (offer.announcement.raw.first("out") if offer else None),
        encrypt=wish.encrypt,
        seconds=seconds,
        announced_msat=offer.price_msat if offer else None,
        extra_tags=[["a", offer.announcement.address]] if offer and offer.kind == JOB_COMPOSITE else (),
    )


def patience(wish: Wish, offer: Offer | None) -> int:
    """How long to wait, in seconds: as wished, else as announced (people and long recipes take hours)."""
    if wish.seconds is not None:
        return wish.seconds
    said = next((tag[1] for tag in offer.announcement.raw.tagged("eta") if len(tag) > 1), "") if offer else ""
    eta = int(said) if said.isascii() and said.isdigit() else 0
    return min(max(DEFAULT_DEADLINE, eta), LONGEST)


async def upload_inputs(wish: Wish, blossom: str, key: SecretKey, *, files: bool = True) -> list[JobInput]:
    """Text, addresses, and files, which are put on the relay's own file server first."""
    made: list[JobInput] = []
    for text in wish.inputs:
        if is_http_url(text):
            made.append(JobInput(text, "url"))
        elif files and (path := await asyncio.to_thread(_file, text)) is not None:
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


@asynccontextmanager
async def open_buyer(
    folder: Path, relays: Sequence[str], wallet: str | None, review: bool = True
) -> AsyncIterator[Buyer]:
    """The owner's buyer, entered. `wallet` as in `entered_purse`. Raises Unavailable, UsageComplaint."""
    key, desk = home.owner_key(folder), folder / "market"
    async with entered_purse(folder, wallet) as purse:
        db = await Database.open(desk / "market.db", MIGRATIONS)
        try:
            async with (
                Pool(relays, key=key, private_hosts=()) as pool,
                buyer_with(key, pool, purse, db, desk, review=review) as buyer,
            ):
                yield buyer
        finally:
            await db.close()


def buyer_with(key: SecretKey, pool: Pool, wallet: Wallet, db: Database, desk: Path, *, review: bool = True) -> Buyer:
    """A buyer that looks into what it buys and says in public how it went. `desk` is its folder."""

    def tell(bought: Purchase) -> list[Event]:
        receipt = bought.result.fact("receipt") if bought.result is not None else None
        about = review_of(bought, receipt_id=receipt) if review else None
        return build_review(key, about, relay=pool.relays[0], created_at=system_clock()) if about is not None else []

    hosts = [http_of(url) for url in pool.relays]
    return Buyer(key, pool, wallet, db=db, files=desk / "files", allow_hosts=hosts, review=tell, inspect=inspect)


@asynccontextmanager
async def entered_purse(folder: Path, given: str | None) -> AsyncIterator[Wallet]:
    """The wallet to pay from: a connection URI, a file that holds one, or (None) this node's own."""
    purse = _purse(folder, given)
    try:
        wallet = await purse.__aenter__()
    except WalletError as error:
        raise Unavailable(f"the wallet does not answer: {error}") from None
    try:
        yield wallet
    finally:
        await purse.__aexit__(*sys.exc_info())


def _purse(folder: Path, given: str | None) -> Wallet:
    own = folder / "wallet" / "connections" / "owner.uri"
    path = Path(given) if given is not None and "://" not in given else own
    try:
        uri = given if given is not None and "://" in given else path.read_text().strip()
    except FileNotFoundError:
        raise Unavailable(f"no wallet at {path}: start `timmy up` or `timmy wallet`, or say --wallet FILE") from None
    try:
        return open_any_wallet(uri)
    except WalletError as error:
        raise UsageComplaint(f"--wallet: {error}") from None


def http_of(relay: str) -> str:
    return "http" + relay.removeprefix("ws")
