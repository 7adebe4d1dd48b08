"""Errors of the relay.

RelayError
├── Refused        an answer to a client: `prefix: reason` as NIP-01 and NIP-42 name them
├── BadSettings    the settings can't be used
└── StoreError     the database can't do it now
    ├── StoreFull      no room on the disk; nothing acknowledged is lost
    └── TooExpensive   a query went past its time
"""

PREFIXES = frozenset(
    {"duplicate", "pow", "blocked", "rate-limited", "invalid", "restricted", "mute", "error", "auth-required"}
)


class RelayError(Exception):
    """Anything the relay knows how to report."""


class Refused(RelayError):
    """A message, event or filter the relay does not take. `str()` is the machine-readable answer."""

    def __init__(self, prefix: str, reason: str) -> None:
        super().__init__(f"{prefix}: {reason}")
        self.prefix = prefix
        self.reason = reason


class BadSettings(RelayError):
    """Settings that can't be used; the message names the field."""


class StoreError(RelayError):
    """The store can't do it now. Answered with the prefix `error`."""

    prefix = "error"


class StoreFull(StoreError):
    """No room on the disk."""


class TooExpensive(StoreError):
    """A query that went past its time budget."""
