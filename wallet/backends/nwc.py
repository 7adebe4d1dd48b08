"""Another wallet as the backend, through its NWC connection: `nwc:nostr+walletconnect://...`."""

from nostr.clock import Clock, system_clock
from nostr.key import SecretKey
from wallet.interface import WalletError
from wallet.nip47 import InvalidUri, Uri
from wallet.nwc import NwcWallet


def open_backend(rest: str, *, key: SecretKey, clock: Clock = system_clock) -> NwcWallet:
    try:
        return NwcWallet(Uri.parse(rest), clock=clock)
    except InvalidUri as error:
        raise WalletError(f"backend nwc: {error}") from None
