"""Ecash of chosen Cashu mints (NUT-00 to 12): taken by swapping it at the mint, turned into money of the node's wallet.

EcashError             nothing was gained or lost; the message says why
|- EcashRefused        the mint or a check says no, for certain
`- EcashOpen           no answer: the journal finishes it later, once
"""

from wallet.ecash.errors import EcashError, EcashOpen, EcashRefused

__all__ = ["EcashError", "EcashOpen", "EcashRefused"]
