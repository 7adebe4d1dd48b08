"""Lightning backends, one module each, chosen by one line of settings: `KIND` or `KIND:REST`.

Each module offers `open_backend(rest, *, key, clock) -> Wallet`, where `rest` is what follows the colon. All of them
pass `tests/wallet/conformance.py`.
"""

from importlib import import_module
from pkgutil import iter_modules

from nostr.clock import Clock, system_clock
from nostr.key import SecretKey
from wallet.interface import Wallet, WalletError

KINDS = tuple(sorted(module.name for module in iter_modules(__path__)))


def open_backend(line: str, *, key: SecretKey, clock: Clock = system_clock) -> Wallet:
    """The wallet that a settings line names, not yet entered. Raises WalletError for a line it can't read."""
    kind, _, rest = line.strip().partition(":")
    if kind in ("nostr+walletconnect", "nostrwalletconnect"):
        kind, rest = "nwc", line.strip()
    if kind not in KINDS:
        raise WalletError(f"unknown backend {kind!r}: one of {', '.join(KINDS)}")
    module = import_module(f"wallet.backends.{kind}")
    wallet: Wallet = module.open_backend(rest, key=key, clock=clock)
    return wallet
