"""NIP-86: the management API, JSON-RPC over HTTP on the relay's own address, authorised by NIP-98."""

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from nostr import nip98
from relay import moderation as decided
from relay.errors import RelayError
from relay.filters import Want
from relay.store.interface import Scope

if TYPE_CHECKING:
    from relay.core import Relay

CONTENT_TYPE = "application/nostr+json+rpc"
REPORT = 1984
REPORTS_SHOWN = 500
_HEX = re.compile(r"[0-9a-f]{64}")
Method = Callable[["Management", list[Any]], Awaitable[Any]]


class BadCall(RelayError):
    """Parameters that the method can't use."""


class Management:
    """The methods. Every change is durable and in force when the answer goes out."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay

    async def answer(self, request: web.Request) -> web.Response:
        """One request. 401 without a valid NIP-98 event of an admin."""
        relay = self._relay
        body = await request.read()
        try:
            caller = self._caller(request, body)
        except nip98.Unauthorized as error:
            return _json({"error": f"auth-required: {error}"}, 401)
        if not relay.may_manage(caller):
            return _json({"error": "restricted: this key may not manage the relay"}, 401)
        try:
            call = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _json({"error": "invalid: the body is not JSON"}, 400)
        if not isinstance(call, dict) or not isinstance(call.get("method"), str):
            return _json({"error": "invalid: no method"}, 400)
        params = call.get("params", [])
        method = METHODS.get(call["method"])
        if method is None:
            return _json({"error": f"invalid: unknown method {call['method'][:40]!r}"}, 200)
        if not isinstance(params, list):
            return _json({"error": "invalid: params is not an array"}, 400)
        try:
            return _json({"result": await method(self, params)})
        except RelayError as error:
            return _json({"error": str(error)}, 200)

    def _caller(self, request: web.Request, body: bytes) -> str:
        """The key that signed the request, for any address under which this relay is reached."""
        value = request.headers.get("Authorization")
        named = nip98.token(value).first("u") or ""
        if not self._relay.is_own_url(named, self._relay.believable_host(request)):
            raise nip98.Unauthorized("the u tag names another relay")
        return nip98.verify(value, named, request.method, now=self._relay.clock(), body=body, payload_required=True)

    async def supportedmethods(self, _: list[Any]) -> list[str]:
        return [name for name in METHODS if name != "supportedmethods"]

    async def banpubkey(self, params: list[Any]) -> bool:
        key = _hex(params)
        await self._decide(decided.KEYS_BANNED, key, _reason(params))
        await self._relay.moderation.purge(Want(authors=frozenset((key,))))
        return True

    async def unbanpubkey(self, params: list[Any]) -> bool:
        return await self._decide(decided.KEYS_BANNED, _hex(params), None)

    async def listbannedpubkeys(self, _: list[Any]) -> list[dict[str, str]]:
        return self._list(decided.KEYS_BANNED, "pubkey", self._relay.settings.blocked_pubkeys)

    async def allowpubkey(self, params: list[Any]) -> bool:
        return await self._decide(decided.KEYS_ALLOWED, _hex(params), _reason(params))

    async def unallowpubkey(self, params: list[Any]) -> bool:
        return await self._decide(decided.KEYS_ALLOWED, _hex(params), None)

    async def listallowedpubkeys(self, _: list[Any]) -> list[dict[str, str]]:
        return self._list(decided.KEYS_ALLOWED, "pubkey", self._relay.settings.allowed_pubkeys)

    async def banevent(self, params: list[Any]) -> bool:
        ident = _hex(params)
        await self._relay.moderation.set(decided.EVENTS_ALLOWED, ident, None)
        await self._decide(decided.EVENTS_BANNED, ident, _reason(params))
        await self._relay.moderation.purge(Want(ids=frozenset((ident,))))
        return True

    async def allowevent(self, params: list[Any]) -> bool:
        ident = _hex(params)
        await self._relay.moderation.set(decided.EVENTS_BANNED, ident, None)
        return await self._decide(decided.EVENTS_ALLOWED, ident, _reason(params))

    async def listbannedevents(self, _: list[Any]) -> list[dict[str, str]]:
        return self._list(decided.EVENTS_BANNED, "id", ())

    async def listeventsneedingmoderation(self, _: list[Any]) -> list[dict[str, str]]:
        """Events that were reported (NIP-56) and on which nothing was decided yet."""
        want = Want(kinds=frozenset((REPORT,)), limit=REPORTS_SHOWN)
        facts = self._relay.moderation.facts
        waiting: dict[str, str] = {}
        for _at, raw in await self._relay.store.query((want,), REPORTS_SHOWN, Scope()):
            report = orjson.loads(raw)
            for tag in report["tags"]:
                if len(tag) > 1 and tag[0] == "e" and _HEX.fullmatch(tag[1]):
                    why = " ".join(filter(None, [tag[2] if len(tag) > 2 else "", report["content"][:200]]))
                    waiting.setdefault(tag[1], why)
        for space in (decided.EVENTS_BANNED, decided.EVENTS_ALLOWED):
            for ident in facts[space]:
                waiting.pop(ident, None)
        return [{"id": ident, "reason": why} for ident, why in waiting.items()]

    async def changerelayname(self, params: list[Any]) -> bool:
        return await self._decide(decided.TEXTS, "name", _text(params))

    async def changerelaydescription(self, params: list[Any]) -> bool:
        return await self._decide(decided.TEXTS, "description", _text(params))

    async def changerelayicon(self, params: list[Any]) -> bool:
        return await self._decide(decided.TEXTS, "icon", _text(params))

    async def allowkind(self, params: list[Any]) -> bool:
        kind = _kind(params)
        await self._relay.moderation.set(decided.KINDS_BANNED, kind, None)
        return await self._decide(decided.KINDS_ALLOWED, kind, True)

    async def disallowkind(self, params: list[Any]) -> bool:
        kind = _kind(params)
        await self._relay.moderation.set(decided.KINDS_ALLOWED, kind, None)
        return await self._decide(decided.KINDS_BANNED, kind, True)

    async def listallowedkinds(self, _: list[Any]) -> list[int]:
        """The kinds that are taken; empty where every kind is that is not disallowed."""
        return sorted(self._relay.allowed_kinds)

    async def blockip(self, params: list[Any]) -> bool:
        address = _text(params)
        await self._decide(decided.IPS, address, _reason(params))
        for connection in list(self._relay.connections):
            if connection.ip == address:
                connection.cut()
        return True

    async def unblockip(self, params: list[Any]) -> bool:
        return await self._decide(decided.IPS, _text(params), None)

    async def listblockedips(self, _: list[Any]) -> list[dict[str, str]]:
        return self._list(decided.IPS, "ip", ())

    async def compact(self, _: list[Any]) -> dict[str, int]:
        """Ours: rewrite the database without its holes. Readers go on; writers wait."""
        before = (await self._relay.store.stats()).bytes_on_disk
        await self._relay.store.compact()
        return {"before": before, "after": (await self._relay.store.stats()).bytes_on_disk}

    async def _decide(self, space: str, key: str, value: Any) -> bool:
        await self._relay.moderation.set(space, key, value)
        self._relay.decisions_changed()
        return True

    def _list(self, space: str, name: str, from_settings: Any) -> list[dict[str, str]]:
        listed = dict.fromkeys(from_settings, "settings") | self._relay.moderation.facts[space]
        return [{name: key, "reason": reason} for key, reason in listed.items()]


METHODS: dict[str, Method] = {
    name: getattr(Management, name)
    for name in (
        "supportedmethods",
        "banpubkey",
        "unbanpubkey",
        "listbannedpubkeys",
        "allowpubkey",
        "unallowpubkey",
        "listallowedpubkeys",
        "listeventsneedingmoderation",
        "allowevent",
        "banevent",
        "listbannedevents",
        "changerelayname",
        "changerelaydescription",
        "changerelayicon",
        "allowkind",
        "disallowkind",
        "listallowedkinds",
        "blockip",
        "unblockip",
        "listblockedips",
        "compact",
    )
}


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    from relay.information import CORS

    return web.Response(body=orjson.dumps(value), status=status, content_type=CONTENT_TYPE, headers=CORS)


def _hex(params: list[Any]) -> str:
    if not params or type(params[0]) is not str or not _HEX.fullmatch(params[0]):
        raise BadCall("invalid: the first parameter must be 64 lower-case hex digits")
    return params[0]


def _text(params: list[Any]) -> str:
    if not params or type(params[0]) is not str or not params[0].strip():
        raise BadCall("invalid: the first parameter must be a text")
    return params[0].strip()


def _kind(params: list[Any]) -> str:
    if not params or type(params[0]) is not int or not 0 <= params[0] <= 65535:
        raise BadCall("invalid: the first parameter must be a kind")
    return str(params[0])


def _reason(params: list[Any]) -> str:
    return params[1] if len(params) > 1 and type(params[1]) is str else ""
