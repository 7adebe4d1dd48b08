"""The ground of the house: the Nostr protocol as a library, one module a NIP, and the few things every room stands on.

Owns: events, keys, filters, wire messages, encryption, the relay client and pool, the Blossom client, and `Database`,
the one way this project talks to SQLite. Touches no other room.
"""

from nostr.event import Event, InvalidEvent, event_id
from nostr.filter import Filter, InvalidFilter
from nostr.key import InvalidKey, SecretKey

__all__ = ["Event", "Filter", "InvalidEvent", "InvalidFilter", "InvalidKey", "SecretKey", "event_id"]
