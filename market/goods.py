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
        first = media[0]
        if first.seal is None:
            preimage = run.paid.preimage if run.paid is not None else None
            first = replace(first, seal=bought_seal(result.tags, self._key, result.provider, preimage))
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
        """The file that a bill offered sealed, opened with its payment's preimage; no result is needed for it.

        Raises PurchaseError where nothing was sold so or not paid, FetchRefused where it cannot be had.
        """
        payment = bought.payment
        if payment is None or not payment.preimage:
            raise PurchaseError("there is no key: it is not paid, or the wallet does not show preimages")
        try:
            media = billed_file(Feedback.parse(payment.bill, self._key), payment.preimage)
        except BadFeedback:
            media = None
        if media is None:
            raise PurchaseError("this was not sold as a sealed file")
        return await fetch_media(media, self._limits, allow_loopback_hosts=self._allow, into=self._files)

    async def _bad(self, run: Run, result: JobResult, kind: str, reason: str) -> End:
        await self._purchases.note_incident(run.order.id, result.event, kind, reason, self._clock())
        return End(State.REJECTED, reason, kind)
