"""The page: a shop window, jobs to watch, a wallet, an inbox for people.

Owns HTML, CSS and JavaScript, served on the relay's port. The browser is a Nostr client of our own relay: it signs with
the visitor's key, publishes requests, follows feedback and results by subscription. The server renders what can be read
without JavaScript, as a Nostr client too. It never sees a visitor's secret key.
"""
