"""Timmy's hands: what `Runner` wants from the world, done over relays, file servers and decoders."""

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

from market.directory import Directory, Offer
from market.errors import BadResult, FetchFailed, FetchRefused
from market.fetch import Fetched, Limits, fetch
from market.job import JobRequest, JobResult
from market.review import Review as PublicReview
from nostr.blossom import BlossomClient
from nostr.clock import Clock
from nostr.errors import BlossomError, RelayError
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.outbox import Outbox
from nostr.pool import Pool
from orchestrator.advice import Seller
from orchestrator.effects import Ask, Check, Fetch, Review
from orchestrator.gates import judge
from orchestrator.recipe import Gate, Out
from orchestrator.run import Artefact, Attempt, Candidate, Run, Unit, Verdict
from orchestrator.runner import FetchError

log = logging.getLogger("timmy")

TEXT_KEPT = 64 * 1024
RECHECK_BYTES = 64 << 20
TRIES = (1, 3, 10)  # seconds before a download or upload is tried again
Rank = Callable[[Ask, Sequence[Seller], str], Awaitable[list[Candidate]]]
"""Sellers, best first; the text seeds whatever is left to chance."""
Reviewer = Callable[[Run, Unit, Attempt, Review], list[Event]]


class Files:
    """Artefacts by their hash in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, sha256: str) -> Path:
        return self.folder / sha256

    def keep(self, data: bytes) -> str:
        """Store bytes durably; their hash."""
        sha = hashlib.sha256(data).hexdigest()
        if not self.path(sha).exists():
            fresh = self.folder / f"{sha}.{os.getpid()}.new"
            fresh.write_bytes(data)
            fresh.replace(self.path(sha))
        return sha

    def adopt(self, path: Path, sha256: str) -> Path:
        """Take a downloaded file in under its hash."""
        if path != self.path(sha256):
            path.replace(self.path(sha256))
        return self.path(sha256)

    def prune(self, older_than: float) -> int:
        """Remove what was not touched since; the number of files."""
        old = [path for path in self.folder.iterdir() if path.stat().st_mtime < older_than]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)


class TimmysHands:
    """`servers` are our own file servers, tried in order; `allow` are hosts on private networks files may come from."""

    def __init__(
        self,
        *,
        key: SecretKey,
        pool: Pool,
        outbox: Outbox,
        directory: Directory,
        files: Files,
        servers: Sequence[str],
        allow: Collection[str],
        own: Callable[[], frozenset[str]],
        rank: Rank,
        reviewer: Reviewer,
        clock: Clock,
    ) -> None:
        self._key, self._pool, self._outbox = key, pool, outbox
        self._directory, self._files, self._servers, self._allow = directory, files, tuple(servers), tuple(allow)
        self._own, self._rank, self._reviewer, self._clock = own, rank, reviewer, clock
        self._uploads = [BlossomClient(server, key, clock=clock) for server in servers]
        self._decoders = asyncio.Semaphore(2)

    # --- providers --------------------------------------------------------------------------------------------------

    async def offers(self, run: Run, ask: Ask) -> tuple[Candidate, ...]:
        return tuple(await self.candidates(ask, run.id))

    async def candidates(self, ask: Ask, seed: str) -> list[Candidate]:
        """Living offers of a kind, best first; the directory is asked anew where it knows none."""
        own = self._own()
        found = self._living(ask, own)
        if not found:
            try:
                await self._directory.load([ask.kind], timeout=3)
            except RelayError as error:
                log.warning("the directory cannot be asked: %s", error)
            found = self._living(ask, own)
        return await self._rank(ask, [Seller.listed(offer) for offer in found], seed)

    async def bids(self, run: Run, ask: Ask, prices: Mapping[str, int]) -> tuple[Candidate, ...]:
        known = {offer.provider: offer for offer in self._directory.offers(ask.kind)}
        sellers = [Seller(pubkey, msat, known.get(pubkey)) for pubkey, msat in prices.items() if pubkey != run.me]
        return tuple(await self._rank(ask, sellers, run.id))

    def _living(self, ask: Ask, own: frozenset[str]) -> list[Offer]:
        return [
            offer
            for offer in self._directory.offers(ask.kind, dead=False)
            if offer.provider != self._key.public
            and (not ask.pinned or offer.provider in ask.pinned)
            and (not ask.own_only or offer.provider in own)
        ]

    @property
    def relays(self) -> tuple[str, ...]:
        return self._pool.relays

    @property
    def offline(self) -> bool:
        states = self._pool.state()
        return bool(self.relays) and not any(states.get(url) == "up" for url in self.relays)

    async def recall(self, request_id: str, relays: Sequence[str]) -> list[Event]:
        where = list(dict.fromkeys([*self._pool.relays, *relays]))
        try:
            found = await self._pool.fetch(Filter(tags={"e": [request_id]}), relays=where, timeout=5)
        except RelayError as error:
            log.warning("order %s cannot be looked up: %s", request_id[:8], error)
            return []
        return sorted(found, key=lambda event: event.created_at)

    def review(self, run: Run, unit: Unit, attempt: Attempt, review: Review) -> list[Event]:
        return self._reviewer(run, unit, attempt, review)

    # --- files ------------------------------------------------------------------------------------------------------

    async def fetch(self, run: Run, fetch: Fetch) -> Artefact:
        url, text = str(fetch.source.get("url") or ""), str(fetch.source.get("text") or "")
        if not url:
            data = text.encode()
            if len(data) > min(TEXT_KEPT, fetch.max_bytes):
                raise FetchError(f"a text of {len(data)} bytes, {TEXT_KEPT} are taken")
            sha = await asyncio.to_thread(self._files.keep, data)
            return Artefact(sha, fetch.out.mime if "*" not in fetch.out.mime else "text/plain", len(data), "", text)
        return await self._download(url, str(fetch.source.get("sha256") or "") or None, fetch)

    async def _download(self, url: str, sha256: str | None, wanted: Fetch) -> Artefact:
        """The file, from the seller's server to our folder and our own server."""
        got = await self._bytes(url, sha256, wanted)
        path = self._files.path(got.sha256)
        if got.mime.startswith("text/") or got.mime == "application/json":
            text = (await asyncio.to_thread(path.read_bytes)).decode(errors="replace")
            if wanted.out.mime.startswith("text/") or wanted.out.mime == "application/json":
                return Artefact(got.sha256, wanted.out.mime, got.size, "", text[:TEXT_KEPT])
        return Artefact(got.sha256, got.mime, got.size, await self.host(path, got.mime))

    async def _bytes(self, url: str, sha256: str | None, wanted: Fetch) -> Fetched:
        """A download in our folder, under its hash. Raises FetchError."""
        limits = Limits(max_bytes=wanted.max_bytes, seconds=180)
        for pause in (*TRIES, None):
            try:
                got = await fetch(
                    url, limits, allow_loopback_hosts=(*self._servers, *self._allow), into=self._files.folder,
                    sha256=sha256,
                )  # fmt: skip
                break
            except FetchFailed as error:
                if pause is None:
                    raise FetchError(str(error)) from None
                await asyncio.sleep(pause)
            except FetchRefused as error:
                raise FetchError(str(error)) from None
        assert got.path is not None
        await asyncio.to_thread(self._files.adopt, got.path, got.sha256)
        return got

    async def host(self, path: Path, mime: str) -> str:
        """Put a file on our own server; its URL. Raises FetchError."""
        reasons: list[str] = []
        for pause in (*TRIES, None):
            for client in self._uploads:
                try:
                    return (await client.upload(path, mime)).url
                except (BlossomError, OSError) as error:
                    reasons.append(str(error))
            if pause is not None:
                await asyncio.sleep(pause)
        raise FetchError("our own file server does not take it: " + (reasons[-1] if reasons else "none is set"))

    async def read(self, artefact: Artefact) -> bytes:
        try:
            return await asyncio.to_thread(self._files.path(artefact.sha256).read_bytes)
        except OSError as error:
            raise FetchError(f"the artefact is gone: {error.strerror}") from None

    async def put(self, data: bytes, mime: str) -> str:
        return await self.host(self._files.path(await asyncio.to_thread(self._files.keep, data)), mime)

    async def check(self, check: Check) -> tuple[Verdict, Artefact]:
        return await judge(check, self._files.path(check.artefact.sha256), at_once=self._decoders)

    async def recheck(self, review: PublicReview, said: Sequence[Event]) -> bool:
        """Whether the file that a complaint is about fails the gate that the complaint names (for `Witness`)."""
        for event in said:
            try:
                result = JobResult.parse(event) if event.pubkey == review.provider else None
            except BadResult:
                continue
            media = next((one for one in result.urls if one.sha256 == review.sha256), None) if result else None
            if media is None:
                continue
            out = Out(mime=media.mime if media.mime else "application/octet-stream")
            wanted = Fetch("review", 0, 0, {"url": media.url, "sha256": media.sha256}, out, RECHECK_BYTES)
            try:
                got = await self._bytes(media.url, media.sha256, wanted)
            except FetchError:
                return False  # gone is not bad
            artefact = Artefact(got.sha256, got.mime, got.size)
            verdict, _ = await judge(
                Check("review", 0, 0, artefact, out, Gate()), self._files.path(got.sha256), at_once=self._decoders
            )
            return any(name == review.grounds and not ok for name, ok, _ in verdict.checks)
        return False

    async def present(self, artefact: Artefact) -> bool:
        path = self._files.path(artefact.sha256)
        if not await asyncio.to_thread(path.exists):
            return False
        await asyncio.to_thread(os.utime, path)
        return True

    # --- the buyer --------------------------------------------------------------------------------------------------

    def relays_for(self, request: JobRequest) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self._pool.relays, *request.relays]))[:10]

    async def whisper(self, event: Event, relays: Sequence[str]) -> None:
        await self._pool.publish(event, relays, timeout=5)

    def stirred(self) -> None:
        self._outbox.wake()
