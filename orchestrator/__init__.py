"""Timmy: buys step by step what a recipe asks for, and sells the composite at a margin, with a receipt for every sat.

Owns recipes (35990), receipts (7190), the journal of runs and everything decided in a run. Stands on `market/` for the
vocabulary, the directory and the choice of providers, on the `Wallet` interface for money and on `nostr/` for events;
never touches a trade, a relay's store or a ledger: whatever it wants from those it asks for over the protocol.

Where to begin: `decide.py` is the composite from open to delivered or refunded, as a function of values; `run.py` is
the state it works on; `journal.py` keeps both; `runner.py` and `timmy.py` are the shell with the sockets.
"""
