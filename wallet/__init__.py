"""Money: msat, BOLT11, the double-entry ledger, the NWC service and client, Lightning backends, zaps, ecash.

Owns every sat of the box. Stands on `nostr/` alone; everybody else reaches it through the `Wallet` interface, which for
the parts of a node is an NWC connection over the relay (NIP-47).
"""
