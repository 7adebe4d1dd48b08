"""Retention: rules by kind and age or number, applied in small steps so that nobody waits for them."""

import asyncio
import logging
from collections.abc import Sequence

from relay.filters import Want
from relay.settings import Retention
from relay.store.interface import Scope, Store

log = logging.getLogger("relay")

STEP = 500
DAY = 86_400


async def apply(store: Store, rules: Sequence[Retention], now: int) -> int:
    """Remove what the rules say. Returns how many events went. Raises StoreError."""
    total = 0
    for rule in rules:
        kinds = frozenset(rule.kinds)
        if rule.max_age_days is not None:
            oldest = now - int(rule.max_age_days * DAY)
            total += await _remove_all(store, Want(kinds=kinds, until=max(0, oldest - 1)))
        if rule.max_count is not None:
            total += await _trim(store, kinds, rule.max_count)
    if total:
        log.info("retention removed %d events", total)
    return total


async def _remove_all(store: Store, want: Want) -> int:
    total = 0
    while removed := await store.remove(want, STEP):
        total += removed
        await asyncio.sleep(0.01)
    return total


async def _trim(store: Store, kinds: frozenset[int], keep: int) -> int:
    """Remove the oldest beyond `keep`."""
    over = await store.count((Want(kinds=kinds),), Scope()) - keep
    if over <= 0:
        return 0
    items = await store.items(Want(kinds=kinds), Scope(), 2**62)
    total = 0
    for start in range(0, over, STEP):
        ids = frozenset(ident.hex() for _, ident in items[start : min(start + STEP, over)])
        total += await store.remove(Want(ids=ids), STEP)
        await asyncio.sleep(0.01)
    return total
