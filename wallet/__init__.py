"""Money: msat, BOLT11, the double-entry ledger, the NWC service and client, Lightning backends, zaps, ecash.

Owns every sat of the box. Stands on `nostr/` alone; everybody else reaches it through the `Wallet` interface, which for
the parts of a node is an NWC connection over the relay (NIP-47).

    async with open_wallet(uri) as wallet:
        result = await wallet.pay_invoice(invoice, purpose="job:...")
"""

from nostr.key import SecretKey
from wallet.interface import Wallet, WalletError

__all__ = ["Wallet", "WalletError", "open_wallet"]


def open_wallet(uri: str, *, key: SecretKey | None = None) -> Wallet:
    """The wallet behind a connection URI or a backend line, to be entered with `async with`. Raises WalletError.

    `key` signs invoices where the wallet signs them itself (`ledger`).
    """
    from wallet.backends import open_backend

    return open_backend(uri, key=key or SecretKey.generate())
