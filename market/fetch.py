"""Safe downloads of the market: inputs a customer names, results a seller names.

`nostr.download` holds the rules (public addresses only, pinned, limits, sniffed type, hash); this module speaks in the
market's own errors and knows the usual limits.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from market.errors import FetchFailed, FetchRefused
from nostr.download import DownloadFailed, DownloadRefused, Fetched, Limits, download, mime_matches

__all__ = ["INPUT", "RESULT", "Fetched", "Limits", "fetch", "mime_matches"]

INPUT: Final = Limits(max_bytes=64 << 20, seconds=60)
RESULT: Final = Limits(max_bytes=512 << 20, seconds=180)


_REACHED_AT: dict[str, str] = {}


def reach(public: str, inner: str) -> None:
    """Read files whose links begin with `public` from `inner` instead, which may be a private address.

    For a node whose own files are named by an address that its parts can't reach themselves: containers, or a router
    that does not send a box back to itself.
    """
    _REACHED_AT[public.rstrip("/") + "/"] = inner.rstrip("/") + "/"


async def fetch(
    url: str,
    limits: Limits = INPUT,
    *,
    allow_loopback_hosts: Iterable[str] = (),
    into: Path | None = None,
    sha256: str | None = None,
) -> Fetched:
    """Download one http(s) URL under `limits`; see `nostr.download.download`.

    Raises FetchRefused (not allowed, too large, wrong type or hash) and its child FetchFailed (the other side did not
    deliver: another try may help).
    """
    for public, inner in _REACHED_AT.items():
        if url.startswith(public):
            url = inner + url.removeprefix(public)
            allow_loopback_hosts = (*allow_loopback_hosts, inner)
    try:
        return await download(url, limits, allow_hosts=allow_loopback_hosts, into=into, sha256=sha256)
    except DownloadFailed as error:
        raise FetchFailed(str(error)) from None
    except DownloadRefused as error:
        raise FetchRefused(str(error)) from None
