"""Web of trust: the keys that the operator's roots follow, and whom those follow (kind 3 lists in the store)."""

from collections.abc import Collection

import orjson

from relay.filters import Want
from relay.policies import Context, Policy, Reject
from relay.record import Record
from relay.store.interface import Scope, Store

CONTACTS = 3
AUTHORS_AT_ONCE = 500
MOST = 500_000


class WebOfTrust:
    """`trusted` is worked out anew by `refresh`; the policy looks at it as it stands."""

    def __init__(self, roots: Collection[str], depth: int) -> None:
        self.roots = frozenset(roots)
        self.depth = depth
        self.trusted: frozenset[str] = self.roots

    async def refresh(self, store: Store) -> None:
        """Follow the lists `depth` steps out from the roots. Raises StoreError."""
        trusted, edge = set(self.roots), set(self.roots)
        for _ in range(self.depth):
            found: set[str] = set()
            ordered = sorted(edge)
            for start in range(0, len(ordered), AUTHORS_AT_ONCE):
                chunk = frozenset(ordered[start : start + AUTHORS_AT_ONCE])
                want = Want(authors=chunk, kinds=frozenset((CONTACTS,)), limit=len(chunk))
                for _at, raw in await store.query((want,), len(chunk), Scope()):
                    tags = orjson.loads(raw)["tags"]
                    found.update(tag[1] for tag in tags if len(tag) > 1 and tag[0] == "p" and len(tag[1]) == 64)
            edge = found - trusted
            trusted |= edge
            if not edge or len(trusted) > MOST:
                break
        self.trusted = frozenset(trusted)

    def policy(self) -> Policy:
        """Only trusted keys may write. A gift wrap counts for its receiver: its own key is thrown away."""
        reject = Reject("restricted: this key is not in the web of trust of this relay")

        def check(context: Context, event: Record) -> Reject | None:
            if context.own or context.trusted_source or event.pubkey in self.trusted:
                return None
            if event.kind in (1059, 21059) and not self.trusted.isdisjoint(event.values("p")):
                return None
            return reject

        return check
