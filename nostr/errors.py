"""Errors of talking to other machines.

    NostrError
    |- RelayError                  something about one relay; `url` says which
    |  |- RelayUnreachable         no connection, or no answer in time (also a TimeoutError)
    |  |- RelayRefused             the relay closed a subscription or count; `reason` is its own text
    |  |- NotSupportedByRelay      the relay does not speak this part of the protocol
    |- BlossomError                a file server said no, or nothing (`status`, 0 for no answer)

Errors of values (InvalidEvent, InvalidFilter, InvalidKey, InvalidNip19, DecryptionError, ...) are ValueErrors and live
beside what they check.
"""


class NostrError(Exception):
    pass


class RelayError(NostrError):
    def __init__(self, url: str, message: str) -> None:
        super().__init__(f"{url}: {message}")
        self.url = url


class RelayUnreachable(RelayError, TimeoutError):
    pass


class RelayRefused(RelayError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason or "closed without a reason")
        self.reason = reason


class NotSupportedByRelay(RelayError):
    pass


class BlossomError(NostrError):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
