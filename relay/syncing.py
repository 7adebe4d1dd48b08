"""Negentropy (NIP-77), the server's side."""

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from relay.connection import Connection
    from relay.core import Relay


class Syncing:
    """Answers NEG-OPEN, NEG-MSG and NEG-CLOSE."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay

    def take(self, connection: "Connection", message: list[Any]) -> None:
        connection.send(orjson.dumps(["NEG-ERR", message[1], "error: negentropy is off"]))
