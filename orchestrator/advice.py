"""Whom to hire: the market's choice (`market.choose`) over what this Timmy knows of each provider.

Own outcomes come from the journal, other people's reviews and recommendations from the relays (each verified by the
market before it counts). The whole table goes into the journal with the order: "why this one" can be asked for ever.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles

from market.choose import Candidate as Known
from market.choose import Need, choose, exposure_limit
from market.directory import Offer
from market.purchases import Stats
from market.reputation import Evidence, Reputation
from market.review import Bought, build_rank_profile, build_ranks, build_review
from market.witness import Witness
from nostr.clock import Clock
from nostr.event import Event
from nostr.key import SecretKey
from orchestrator.effects import Ask, Review
from orchestrator.journal import Experience, Journal
from orchestrator.orders import order_draft
from orchestrator.run import Attempt, Candidate, Run, Unit
from orchestrator.values import Unresolved

DELAY_MSAT = 20.0  # what a second of waiting costs
USUAL_SECONDS = 30.0
ENOUGH = 5  # deliveries from which quantiles mean something


@dataclass(frozen=True, slots=True)
class Seller:
    """One who could be hired. `offer` is what it announces; who only answered an open call may have none."""

    pubkey: str
    price_msat: int | None
    offer: Offer | None = None

    @classmethod
    def listed(cls, offer: Offer) -> "Seller":
        return cls(offer.provider, offer.expected_msat, offer)


class Adviser:
    """`me` is Timmy's key; `witness` knows the verified reviews of others and whose word counts."""

    def __init__(
        self,
        journal: Journal,
        me: str,
        clock: Clock,
        *,
        own: Callable[[], frozenset[str]],
        witness: Witness,
    ) -> None:
        self._journal, self._me, self._clock = journal, me, clock
        self._own, self._witness = own, witness

    async def rank(self, ask: Ask, sellers: Sequence[Seller], seed: str) -> list[Candidate]:
        """All of them, best first; those that cannot be taken last, with the reason. `seed` fixes the draws."""
        experience = await self._journal.experience()
        reputation = self._reputation(experience)
        own = self._own()
        known = []
        for seller in sellers:
            pubkey, offer = seller.pubkey, seller.offer
            score = reputation.score(pubkey, ask.kind)
            outstanding, delivered = await self._journal.exposure(pubkey)
            known.append(
                Known(
                    provider=pubkey,
                    price_msat=seller.price_msat,
                    score=score,
                    liveness=offer.liveness if offer else 1.0,
                    latencies=tuple(
                        one.seconds for one in experience
                        if one.provider == pubkey and one.kind == ask.kind and one.stars >= 3
                    ),
                    pays_after=pubkey in own,
                    exposure_msat=outstanding,
                    exposure_limit_msat=None if pubkey in own else exposure_limit(
                        delivered, score.low, self._journal.limits.exposure_max_msat
                    ),
                    name=offer.name if offer else "",
                    local=pubkey in own,
                    excluded=offer.announcement.lacks(ask.kind, ask.wants) if offer else "",
                )
            )  # fmt: skip
        of_kind = [one.seconds for one in experience if one.kind == ask.kind and one.stars >= 3]
        need = Need(
            cap_msat=ask.cap_msat, seconds=ask.seconds, delay_msat=DELAY_MSAT,
            usual_seconds=median(of_kind) if of_kind else USUAL_SECONDS,
        )  # fmt: skip
        rng = random.Random(f"{seed}:{ask.step}:{ask.idx}:{ask.attempt}")
        by_key, facts = {seller.pubkey: seller for seller in sellers}, {one.provider: one for one in known}
        return [
            _candidate(by_key[row.provider], facts[row.provider], row.price_msat, row.excluded, asdict(row))
            for row in choose(known, need, rng).table
        ]

    async def ranks(self, score_key: SecretKey) -> list[Event]:
        """What this Timmy thinks of every seller it has evidence of, for others to use (NIP-85)."""
        experience = await self._journal.experience()
        reputation = self._reputation(experience)
        scores = [reputation.score(provider, kind) for provider, kind in reputation.scored()]
        stats: dict[tuple[str, int], Stats] = {}
        for score in scores:
            mine = [one for one in experience if (one.provider, one.kind) == (score.provider, score.kind)]
            good = [one for one in mine if one.stars >= 3]
            stats[score.provider, score.kind] = Stats(
                jobs=len(mine), delivered=len(good), failed=len(mine) - len(good),
                latencies=tuple(one.seconds for one in good), spent_msat=sum(one.paid_msat for one in mine),
            )  # fmt: skip
        now = self._clock()
        return [build_rank_profile(score_key, created_at=now), *build_ranks(score_key, scores, stats, created_at=now)]

    def _reputation(self, experience: Sequence[Experience]) -> Reputation:
        evidence = [
            Evidence(self._me, one.provider, one.kind, (one.stars - 1) / 4, one.at, max(one.paid_msat, 1))
            for one in experience
        ]
        evidence += [one for one in self._witness.evidence if one.rater != self._me]
        view = self._witness.viewpoint(own=[self._me])
        return Reputation(view, evidence, now=self._clock(), vouches=self._witness.vouches)


def reviewer(key: SecretKey, relay: str, clock: Clock, *, publish: bool) -> Callable[..., list[Event]]:
    """What Timmy says in public of a purchase: a payment-bound review (31117) and its mirror (1985)."""

    def say(run: Run, unit: Unit, attempt: Attempt, review: Review) -> list[Event]:
        if not publish or attempt.provider is None or not attempt.preimage:
            return []  # unpaid, or nothing to prove it with: our own ledger remembers it
        bought = Bought(
            request_id=attempt.request_id,
            provider=attempt.provider.pubkey,
            kind=run.doc(unit).kind,
            stars=review.stars,
            text=review.text,
            grounds=review.grounds,
            result_id=attempt.result_id or None,
            payment_hash=attempt.payment_hash,
            preimage=attempt.preimage,
            amount_msat=attempt.amount_msat,
            sha256=attempt.artefact.sha256 if attempt.artefact else None,
            request=_order_again(key, run, unit, attempt),
            bill=Event.from_dict(attempt.bill) if attempt.bill else None,
        )
        return build_review(key, bought, relay=relay, created_at=clock())

    return say


def _order_again(key: SecretKey, run: Run, unit: Unit, attempt: Attempt) -> Event | None:
    """The order as it was sent: an event's id is the hash of its content, so it can be signed once more."""
    assert attempt.provider is not None
    try:
        draft = order_draft(
            run, unit, None if attempt.called_at else attempt.provider,
            run.doc(unit).max_msat if attempt.called_at else attempt.cap_msat,
            attempt=attempt.number, at=attempt.ordered_at,
        )  # fmt: skip
    except Unresolved:
        return None
    event = key.sign(kind=draft.kind, content=draft.content, tags=draft.tags, created_at=draft.created_at)
    return event if event.id == attempt.request_id else None


def _candidate(seller: Seller, known: Known, price: int, excluded: str, factors: dict[str, object]) -> Candidate:
    seconds = sorted(known.latencies)
    many = len(seconds) >= ENOUGH
    shown = {name: round(value, 4) if isinstance(value, float) else value for name, value in factors.items()}
    return Candidate(
        pubkey=seller.pubkey,
        price_msat=price,
        name=known.name,
        relays=seller.offer.relays if seller.offer else (),
        own=known.local,
        p50_s=float(median(seconds)) if many else None,
        p95_s=float(quantiles(seconds, n=20)[-1]) if many else None,
        excluded=excluded,
        factors=shown,
    )
