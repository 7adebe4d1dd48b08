"""The orchestrator's gates for purchases of the command line: does a file decode, is it blank, is it silent.

Where the decoders are not installed (they come with the shop) nothing is judged.
"""

import tempfile
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from market.errors import BadResult, FetchRefused
from market.fetch import Fetched, Limits, fetch
from market.job import JobResult
from market.kinds import is_result
from market.purchase import Order
from market.review import Review
from nostr.event import Event

RECHECKS = 5  # files of strangers that one command decodes
LIMITS = Limits(max_bytes=32 << 20, seconds=20)


async def inspect(order: Order, fetched: Fetched) -> tuple[str, str] | None:
    """(name of the gate, what was measured) of the first gate that a bought file fails; None where it passes."""
    return await _fault(fetched)


def rechecker(allow_hosts: Sequence[str]) -> Callable[[Review, Sequence[Event]], Awaitable[bool]]:
    """Runs the gates again over the file that a complaint names: True if it fails indeed."""
    left = [RECHECKS]

    async def recheck(review: Review, said: Sequence[Event]) -> bool:
        if left[0] <= 0 or not _installed():
            return False
        left[0] -= 1
        for url in _files(review, said):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    fetched = await fetch(
                        url, LIMITS, allow_loopback_hosts=allow_hosts, into=Path(folder), sha256=review.sha256
                    )
                except FetchRefused:
                    continue
                return await _fault(fetched) is not None
        return False

    return recheck


async def _fault(fetched: Fetched) -> tuple[str, str] | None:
    if fetched.path is None or not fetched.mime.startswith(("image/", "audio/", "video/")) or not _installed():
        return None
    from orchestrator.effects import Check
    from orchestrator.gates import judge
    from orchestrator.recipe import Gate, Out
    from orchestrator.run import Artefact

    artefact = Artefact(fetched.sha256, fetched.mime, fetched.size)
    gate = Gate(silent=fetched.mime.startswith("video/"))
    check = Check("bought", 0, 0, artefact, Out(mime=fetched.mime), gate)
    verdict, _ = await judge(check, fetched.path)
    return next(((name, words) for name, passed, words in verdict.checks if not passed), None)


def _files(review: Review, said: Sequence[Event]) -> list[str]:
    """Where the provider put the file of this hash."""
    found: list[str] = []
    for event in said:
        if event.pubkey == review.provider and is_result(event.kind):
            try:
                found += [media.url for media in JobResult.parse(event).urls if media.sha256 in ("", review.sha256)]
            except BadResult:
                continue
    return found


def _installed() -> bool:
    return find_spec("av") is not None and find_spec("numpy") is not None
