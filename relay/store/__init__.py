"""Where events live: the interface, and SQLite behind it."""

from relay.store.interface import Scope, Store
from relay.store.sqlite import SQLiteStore

__all__ = ["SQLiteStore", "Scope", "Store"]
