"""The relay: NIP-01 and its companions over WebSocket and HTTP on one port.

Owns: the event store, live subscriptions, policies, management, federation, Blossom files. Stands on `nostr/` alone;
the page is mounted from above through `relay.app.build(mounts=...)`.

    an event:  connection -> writing (accept, verify, policy, store, OK after commit, broadcast) -> subscriptions
    a query:   connection -> reading (rings, plan, store) -> EOSE
"""

from relay.errors import Refused, RelayError, StoreError
from relay.settings import RelaySettings

__all__ = ["Refused", "RelayError", "RelaySettings", "StoreError"]
