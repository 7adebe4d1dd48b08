"""What was bought, taken in: downloaded, opened where it was sealed, held against the order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from market.buying import End, Inspect, Run
from market.errors import BadFeedback, FetchFailed, FetchRefused, PurchaseError, ResultRefused
from market.fetch import Fetched, Limits
from market.job import Feedback, JobResult
from market.media import Media
from market.purchase import Refusal, check_file, links, wanted_file
from market.purchases import Purchase, Purchases, State
from market.sealed import billed_file, bought_seal, fetch_media
from nostr.clock import Clock
from nostr.key import SecretKey

RETRIES = (1, 3, 9, 0)  # seconds until a download is tried again; 0: no more

Tell = Callable[[Run, str], Awaitable[None]]


class Goods:
    """`files` is the folder for downloads; `inspect` looks into a file and names the gate it fails."""

    def __init__(
        self,
        key: SecretKey,
        purchases: Purchases,
        clock: Clock,
        *,
        files: Path,
        allow_hosts: Sequence[str],
        limits: Limits,
        inspect: Inspect | None,
    ) -> None:
        self._key, self._purchases, self._clock = key, purchases, clock
        self._files, self._allow, self._limits, self._inspect = files, allow_hosts, limits, inspect

    async def receive(self, run: Run, result: JobResult, tell: Tell) -> None:
        """Download and check the first file of a result; an answer in text has none. Raises End for bad goods."""
        run.result, media = result, links(result)
        if not media or not (wanted_file(run.order.request) or result.content.strip() == media[0].url):
            return
        first = self._with_key(media[0], result, run.paid.preimage if run.paid is not None else None)
        for wait in RETRIES:
            left = run.order.deadline - self._clock()
            limits = Limits(self._limits.max_bytes, max(5.0, min(self._limits.seconds, left)), self._limits.redirects)
            try:
                run.fetched = await fetch_media(first, limits, allow_loopback_hosts=self._allow, into=self._files)
                check_file(run.order, first, run.fetched)
                if self._inspect is not None and (fault := await self._inspect(run.order, run.fetched)) is not None:
                    raise ResultRefused(f"the file fails its gate: {fault[0]} ({fault[1]})", fault[0])
            except FetchFailed as error:
                if wait == 0 or left <= wait:
                    raise await self._bad(run, result, Refusal.NOT_FETCHED, error.reason) from None
                await tell(run, f"{error.reason}; trying again")
                await asyncio.sleep(wait)
            except FetchRefused as error:
                raise await self._bad(run, result, Refusal.NOT_FETCHED, error.reason) from None
            except ResultRefused as error:
                raise await self._bad(run, result, error.kind, error.reason) from None
            else:
                return

    async def open(self, bought: Purchase) -> Fetched:
        """The file of a purchase, once more. Where no result came: what the bill offered sealed, by the preimage alone.

        Raises PurchaseError where there is none or no key to it, FetchRefused where it cannot be had.
        """
        payment = bought.payment
        preimage = payment.preimage if payment is not None else None
        if bought.result is not None and (media := links(bought.result)):
            wanted = self._with_key(media[0], bought.result, preimage)
        elif payment is None or not preimage:
            raise PurchaseError("there is no key: it is not paid, or the wallet does not show preimages")
        else:
            try:
                offered = billed_file(Feedback.parse(payment.bill, self._key), preimage)
            except BadFeedback:
                offered = None
            if offered is None:
                raise PurchaseError("nothing was delivered, and it was not sold as a sealed file")
            wanted = offered
        return await fetch_media(wanted, self._limits, allow_loopback_hosts=self._allow, into=self._files)

    def _with_key(self, media: Media, result: JobResult, preimage: str | None) -> Media:
        if media.seal is not None:
            return media
        return replace(media, seal=bought_seal(result.tags, self._key, result.provider, preimage))

    async def _bad(self, run: Run, result: JobResult, kind: str, reason: str) -> End:
        await self._purchases.note_incident(run.order.id, result.event, kind, reason, self._clock())
        return End(State.REJECTED, reason, kind)
