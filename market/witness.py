"""What others say: reviews, recommendations and follow lists from the relays, each checked before it counts.

witness = Witness(pool, clock)
await witness.listen_to(providers, owner)
book = Reputation(witness.viewpoint(own=..., customers=...), witness.evidence, now=clock(), vouches=witness.vouches)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from market.errors import BadReview
from market.kinds import CONTACTS, FEEDBACK, RECOMMENDATION, REVIEW, ZAP_RECEIPT, result_kinds
from market.reputation import Evidence, Viewpoint, Vouch
from market.review import Review, Verdict, check_review, evidence, recommendations, zap_out
from market.tags import parse_hex64
from nostr.clock import Clock, system_clock
from nostr.errors import RelayRefused, RelayUnreachable
from nostr.event import Event
from nostr.filter import Filter
from nostr.pool import Pool
from wallet import lnurl

log = logging.getLogger("witness")

_CHUNK: Final = 100
_MOST_REVIEWS: Final = 2000
_MOST_FOLLOWS: Final = 500
_MOST_LNURL: Final = 50
_LNURL_SECONDS: Final = 4
Recheck = Callable[[Review, Sequence[Event]], Awaitable[bool]]


class Witness:
    """Reviews are checked once and kept; `refresh` asks only for what is new.

    `recheck` may run a failed gate again on the delivered file (True: it fails indeed); without it such a complaint is
    an opinion.
    """

    def __init__(self, pool: Pool, clock: Clock = system_clock, *, recheck: Recheck | None = None) -> None:
        self._pool, self._clock, self._recheck = pool, clock, recheck
        self._told: dict[tuple[str, str], tuple[Review, Verdict]] = {}
        self._hashes: dict[str, tuple[str, str]] = {}
        self.vouches: list[Vouch] = []
        self.follows: frozenset[str] = frozenset()
        self.second: dict[str, int] = {}

    @property
    def evidence(self) -> list[Evidence]:
        """What the checked reviews contribute to scores."""
        return [evidence(review, verdict) for review, verdict in self._told.values()]

    def reviews(self, provider: str) -> list[tuple[Review, Verdict]]:
        """Every review of a provider with its verdict, newest first: for people to read."""
        found = [each for each in self._told.values() if each[0].provider == provider]
        return sorted(found, key=lambda each: -each[0].event.created_at)

    def viewpoint(self, *, own: Iterable[str], customers: Iterable[str] = ()) -> Viewpoint:
        return Viewpoint(frozenset(own), frozenset(customers), self.follows, dict(self.second))

    async def listen_to(
        self,
        providers: Collection[str],
        owner: str | None = None,
        *,
        payee_keys: dict[str, str] | None = None,
        timeout: float = 4,
    ) -> None:
        """Fetch and check what is said of these providers, and whom `owner` follows. Relays that are away are left out.

        `payee_keys`: provider -> the `nostrPubkey` of its LNURL service, for zaps as vouches.
        """
        if owner is not None:
            await self._learn_whom_to_trust(owner, timeout)
        if providers:
            await self._hear_reviews(providers, timeout)
            await self._hear_vouches(providers, payee_keys or {}, timeout)

    async def _hear_reviews(self, providers: Collection[str], timeout: float) -> None:
        found = await self._fetch([Filter(kinds=[REVIEW], tags={"p": providers}, limit=_MOST_REVIEWS)], timeout)
        reviews: list[Review] = []
        for event in sorted(found, key=lambda event: event.created_at):
            try:
                review = Review.parse(event)
            except BadReview:
                continue
            known = self._told.get((review.author, review.request_id))
            if review.role == "customer" and (known is None or known[0].event.id != event.id):
                reviews.append(review)
        for start in range(0, len(reviews), _CHUNK):
            await self._check(reviews[start : start + _CHUNK], timeout)

    async def _check(self, reviews: Sequence[Review], timeout: float) -> None:
        ids = {review.request_id for review in reviews}
        kinds = {FEEDBACK, *(kind for review in reviews for kind in result_kinds(review.kind))}
        asked = [
            Filter(ids=ids),
            Filter(kinds=kinds, authors={review.provider for review in reviews}, tags={"e": ids}),
        ]
        requests: dict[str, Event] = {}
        said: dict[str, list[Event]] = {}
        for event in await self._fetch(asked, timeout):
            if event.id in ids:
                requests[event.id] = event
            for value in event.values("e"):
                if value in ids:
                    said.setdefault(value, []).append(event)
        for review in reviews:
            key = (review.author, review.request_id)
            shown = review.proven_hash
            others = [shown] if shown is not None and self._hashes.get(shown, key) != key else []
            answers = said.get(review.request_id, [])
            verdict = check_review(review, requests.get(review.request_id), answers, seen_hashes=others)
            if verdict.recheck and self._recheck is not None and await self._recheck(review, answers):
                verdict = Verdict(verdict.paid, verdict.delivered, False)
            if verdict.paid and shown is not None:
                self._hashes.setdefault(shown, key)
            self._told[key] = (review, verdict)

    async def _hear_vouches(self, providers: Collection[str], payee_keys: dict[str, str], timeout: float) -> None:
        asked = [Filter(kinds=[RECOMMENDATION], limit=_MOST_REVIEWS)]
        if payee_keys:
            asked.append(Filter(kinds=[ZAP_RECEIPT], tags={"p": payee_keys}, limit=_MOST_REVIEWS))
        vouches: dict[tuple[str, str], Vouch] = {}
        for event in await self._fetch(asked, timeout):
            found = recommendations(event) if event.kind == RECOMMENDATION else [zap_out(event, payee_keys)]
            for vouch in found:
                if vouch is not None and vouch.provider in providers:
                    known = vouches.get((vouch.voucher, vouch.provider))
                    if known is None or known.weight < vouch.weight:
                        vouches[vouch.voucher, vouch.provider] = vouch
        self.vouches = list(vouches.values())

    async def _learn_whom_to_trust(self, owner: str, timeout: float) -> None:
        """Follow lists (kind 3): the owner's own, and those of whom the owner follows."""
        mine = await self._fetch([Filter(kinds=[CONTACTS], authors=[owner], limit=1)], timeout)
        if not mine:
            return
        self.follows = frozenset(_followed(mine[0])[:_MOST_FOLLOWS]) - {owner}
        second: dict[str, int] = {}
        if self.follows:
            for event in await self._fetch([Filter(kinds=[CONTACTS], authors=self.follows)], timeout):
                for key in _followed(event)[:_MOST_FOLLOWS]:
                    if key != owner and key not in self.follows:
                        second[key] = second.get(key, 0) + 1
        self.second = second

    async def _fetch(self, filters: Sequence[Filter], timeout: float) -> list[Event]:
        try:
            return await self._pool.fetch(*filters, timeout=timeout)
        except (RelayUnreachable, RelayRefused) as error:
            log.info("no reviews from there: %s", error)
            return []


async def zap_keys(lud16: Mapping[str, str]) -> dict[str, str]:
    """provider -> the key that signs zap receipts for it, asked of the LNURL service behind its `lud16` (NIP-57).

    Addresses that do not answer in a few seconds, or answer something else, are left out.
    """

    async def ask(provider: str, address: str) -> tuple[str, str | None]:
        try:
            async with asyncio.timeout(_LNURL_SECONDS):
                return provider, (await lnurl.ask(address)).zap_key
        except (lnurl.LnurlError, TimeoutError):
            return provider, None

    answers = await asyncio.gather(*(ask(provider, address) for provider, address in list(lud16.items())[:_MOST_LNURL]))
    return {provider: key for provider, key in answers if key is not None}


def _followed(event: Event) -> list[str]:
    return list(dict.fromkeys(key for value in event.values("p") if (key := parse_hex64(value))))
