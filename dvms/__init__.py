"""The sellers: one worker host that sells any `Service`, and a folder for each trade.

Owns jobs from the request heard to the result delivered. Speaks to the world by signed events (`market/`), to money
through the `Wallet` interface, to files through Blossom. A trade knows nothing of Nostr: it turns a `Job` into a
`Result`.
"""
