"""Lightning addresses of this node's accounts: `NAME@host` (LUD-06, 12, 16), zaps included (NIP-57).

The handlers run in the process that has the HTTP port and reach the wallet as everybody does, over NWC: the connection
`addresses` may make invoices for any account and nothing else. Invoices are made for one account, so an address is a
way in and never a way out.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from nostr.clock import Clock, system_clock
from nostr.event import Event, InvalidEvent
from wallet.interface import WalletError
from wallet.parts import ADDRESSES, accounts

if TYPE_CHECKING:
    from wallet.nwc import NwcWallet  # the first payer imports the wallet's room: the relay starts without it

LEAST_MSAT, MOST_MSAT = 1_000, 100_000_000_000
COMMENT = 200
_EXPIRY = 600
_BURST, _A_SECOND = 20, 0.5  # invoices that one visitor may ask for
_VISITORS = 10_000
_PATIENCE = 4.0  # seconds for the wallet; payers wait about ten for us
_HEADERS = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"}


def routes(
    app: web.Application,
    *,
    data: Path,
    names: Iterable[str],
    public_url: str = "",
    clock: Clock = system_clock,
) -> None:
    """Adds the two addresses of LNURL-pay to `app`.

    `names` are accounts (`[wallet] addresses`); the zaps of each are for the key of its part. `public_url` is where the
    world reaches this node; without it the host of each request is taken.
    """
    keys = accounts()
    desk = _Desk(data, {name: keys.get(name, name) for name in names}, public_url, clock)
    app.router.add_get("/.well-known/lnurlp/{name}", desk.offer)
    app.router.add_get("/lnurlp/{name}", desk.invoice)
    app.on_cleanup.append(desk.close)


class _Refused(Exception):
    """The message is for the payer."""


class _Desk:
    def __init__(self, data: Path, accounts: Mapping[str, str], public_url: str, clock: Clock) -> None:
        self._data, self._accounts, self._clock = data, accounts, clock
        self._public = public_url.rstrip("/").replace("wss://", "https://").replace("ws://", "http://")
        self._wallet: NwcWallet | None = None
        self._opening = asyncio.Lock()
        self._asked: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def close(self, app: web.Application) -> None:
        if self._wallet is not None:
            await self._wallet.__aexit__(None, None, None)

    async def offer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"].lower()
        if name not in self._accounts:
            return _error("nobody here has this address")
        base = self._base(request)
        said: dict[str, Any] = {
            "tag": "payRequest",
            "callback": f"{base}/lnurlp/{name}",
            "minSendable": LEAST_MSAT,
            "maxSendable": MOST_MSAT,
            "metadata": self._metadata(name, base),
            "commentAllowed": COMMENT,
        }
        if (signer := self._key("wallet")) and self._key(self._accounts[name]):
            said |= {"allowsNostr": True, "nostrPubkey": signer}
        return _json(said)

    async def invoice(self, request: web.Request) -> web.Response:
        name = request.match_info["name"].lower()
        try:
            if name not in self._accounts:
                raise _Refused("nobody here has this address")
            self._throttle(request.remote or "")
            amount = _amount(request.query.get("amount", ""))
            wallet = await self._open()
            text, extra = self._bound(name, request, amount)
            made = await wallet.call(
                "make_invoice",
                {
                    "amount": amount,
                    "description_hash": hashlib.sha256(text.encode()).hexdigest(),
                    "expiry": _EXPIRY,
                    "metadata": extra,
                    "account": name,
                },
                timeout=_PATIENCE,
            )
        except _Refused as error:
            return _error(str(error))
        except (WalletError, OSError, TimeoutError):
            return _error("the wallet of this node makes no invoice at the moment")
        return _json({"pr": made["invoice"], "routes": []})

    def _bound(self, name: str, request: web.Request, amount: int) -> tuple[str, dict[str, str]]:
        """The text that the invoice commits to, and what the wallet keeps with it. Raises _Refused."""
        comment = request.query.get("comment", "")
        if len(comment) > COMMENT:
            raise _Refused(f"a comment has at most {COMMENT} characters")
        asked = request.query.get("nostr")
        if asked is None:
            return self._metadata(name, self._base(request)), {"comment": comment} if comment else {}
        from nostr import nip57
        from wallet import nip47, zaps

        signer, receiver = self._key("wallet"), self._key(self._accounts[name])
        if not signer or not receiver:
            raise _Refused("this address takes no zaps")
        try:
            zap = nip57.check_request(Event.from_json(asked), amount_msat=amount, receipt_key=signer)
        except (nip57.InvalidZap, InvalidEvent) as error:
            raise _Refused(f"the zap request is refused: {error}") from None
        if zap.receiver != receiver:
            raise _Refused("the zap request names another receiver than this address")
        extra = zaps.metadata(asked)
        if nip47.metadata_text(extra) is None:
            raise _Refused("the zap request is too long")
        return asked, extra

    def _metadata(self, name: str, base: str) -> str:
        host = base.partition("://")[2]
        entries = [["text/plain", f"To {name} at {host}"], ["text/identifier", f"{name}@{host}"]]
        return orjson.dumps(entries).decode()

    def _base(self, request: web.Request) -> str:
        return self._public or f"{request.scheme}://{request.host}"

    def _key(self, part: str) -> str:
        try:
            return (self._data / "keys" / f"{part}.pub").read_text().strip()
        except FileNotFoundError:
            return ""

    async def _open(self) -> "NwcWallet":
        async with self._opening:
            if self._wallet is None:
                from wallet.nwc import NwcWallet

                path = self._data / "wallet" / "connections" / f"{ADDRESSES}.uri"
                try:
                    wallet = NwcWallet(path.read_text().strip(), clock=self._clock, patience=_PATIENCE)
                except FileNotFoundError:
                    raise _Refused("the wallet of this node has not started yet") from None
                self._wallet = await wallet.__aenter__()
            return self._wallet

    def _throttle(self, visitor: str) -> None:
        now = time.monotonic()
        left, at = self._asked.pop(visitor, (float(_BURST), now))
        left = min(_BURST, left + (now - at) * _A_SECOND)
        self._asked[visitor] = (left - 1 if left >= 1 else left, now)
        while len(self._asked) > _VISITORS:
            self._asked.popitem(last=False)
        if left < 1:
            raise _Refused("too many invoices: wait a minute")


def _amount(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise _Refused("amount: a whole number of msat")
    if not LEAST_MSAT <= int(text) <= MOST_MSAT:
        raise _Refused(f"amount: {LEAST_MSAT} to {MOST_MSAT} msat")
    return int(text)


def _json(said: Mapping[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(said), content_type="application/json", headers=_HEADERS)


def _error(reason: str) -> web.Response:
    return _json({"status": "ERROR", "reason": reason})
