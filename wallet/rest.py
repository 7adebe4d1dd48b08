"""What the backends over HTTP share: one session, errors sorted by what they mean for money, and plain defaults.

WalletUnreachable     no connection: nothing was sent
WalletRefused         an answer that says no
Unanswered            the request may have arrived, and there is no usable answer (an OSError: nothing is certain)
"""

import asyncio
import base64
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import aiohttp
import orjson
from yarl import URL

from nostr.clock import Clock
from wallet import bolt11
from wallet.interface import (
    Caps,
    Invoice,
    InvoiceState,
    NotSupported,
    Outcome,
    PayResult,
    WalletError,
    WalletInfo,
    WalletRefused,
    WalletUnreachable,
)

log = logging.getLogger("wallet")

_MAX_BODY = 16 << 20
_GRACE = 10  # seconds that a request gets beyond the time the wallet itself was given
_NEWS_SECONDS = 1.0
_NEWS_OVERLAP = 120
_HOLDS_A_ROUND = 16


class Unanswered(OSError):
    """No usable answer to a request that may have arrived."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body: decoded JSON, or None where there is none; `text` is what was sent, shortened."""

    status: int
    body: Any
    text: str

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def field(self, *names: str) -> Any:
        """The first of these fields that is there."""
        if isinstance(self.body, Mapping):
            for name in names:
                if self.body.get(name) is not None:
                    return self.body[name]
        return None

    @property
    def complaint(self) -> str:
        """What the server says is wrong, in its own words."""
        said = self.field("message", "detail", "error", "reason")
        if isinstance(said, Mapping):
            said = said.get("message")
        return str(said or self.text or f"HTTP {self.status}")[:300]


class Rest:
    """One server. `secrets` are headers that never show in an error or a log."""

    def __init__(
        self, url: str, *, name: str, secrets: Mapping[str, str] | None = None, tls: ssl.SSLContext | bool = True
    ) -> None:
        self.url, login = split_login(url)
        self.name = name
        self._headers = dict(secrets or {})
        if login is not None:
            self._headers["Authorization"] = basic(*login)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        # A connection of its own for each request: one that can't be made has sent nothing, a stale one leaves doubt.
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(headers=self._headers, connector=connector, trust_env=False)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise WalletError(f"{self.name}: enter the wallet before use")
        return self._session

    async def ask(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        timeout: float = 30,
        first_line: bool = False,
    ) -> Answer:
        """Any answer of the server. Raises WalletUnreachable (nothing was sent) and Unanswered.

        `first_line`: of an answer that is a stream of JSON lines, without waiting for the rest.
        """
        try:
            async with self.session.request(
                method,
                self.url + path,
                json=json,
                data=form,
                params=query,
                ssl=self._tls,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=10),
            ) as answer:
                raw = await answer.content.readline() if first_line else await _read(answer.content)
                return Answer(answer.status, _json(raw), raw[:300].decode("utf-8", "replace"))
        except aiohttp.ClientConnectorError as error:
            raise WalletUnreachable(f"{self.name}: no connection ({type(error).__name__})") from None
        except TimeoutError:
            raise Unanswered(f"{self.name}: no answer within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unanswered(f"{self.name}: the connection broke ({type(error).__name__})") from None

    async def get(self, path: str, **more: Any) -> Answer:
        return self.good(await self.ask("GET", path, **more))

    async def post(self, path: str, **more: Any) -> Answer:
        return self.good(await self.ask("POST", path, **more))

    def good(self, answer: Answer) -> Answer:
        """The answer, or WalletRefused for a "no" and Unanswered for a server in trouble."""
        if answer.ok:
            return answer
        if answer.status in (401, 403):
            raise WalletRefused("UNAUTHORIZED", f"{self.name} does not accept our key: {answer.complaint}")
        if 400 <= answer.status < 500:
            raise WalletRefused("OTHER", f"{self.name}: {answer.complaint}")
        raise Unanswered(f"{self.name}: HTTP {answer.status}: {answer.complaint}")


class HttpBackend:
    """A wallet behind a web server. Subclasses fill `caps` in `_open` and speak the server's language."""

    caps: Caps

    def __init__(self, rest: Rest, clock: Clock) -> None:
        self.rest = rest
        self.clock = clock
        self.caps = Caps(network="bitcoin")
        self._holds: deque[str] = deque()

    async def __aenter__(self) -> Self:
        await self.rest.open()
        try:
            await self._open()
        except Unanswered as error:
            await self.rest.close()
            raise WalletUnreachable(str(error)) from None
        except BaseException:
            await self.rest.close()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.rest.close()

    async def _open(self) -> None:
        raise NotImplementedError

    async def info(self) -> WalletInfo:
        raise NotImplementedError

    async def list_settled(self, since: int, limit: int = 100) -> list[Invoice]:
        raise NotImplementedError

    async def settled(self) -> AsyncIterator[str]:
        """News by asking: new entries of `list_settled`, and hold invoices made here whose money is locked."""
        told: dict[str, int] = {}
        start = self.clock() - 5
        while True:
            for invoice in await self.list_settled(max(start, self.clock() - _NEWS_OVERLAP), 1000):
                if invoice.payment_hash not in told:
                    told[invoice.payment_hash] = self.clock()
                    yield invoice.payment_hash
            told = {name: at for name, at in told.items() if at > self.clock() - 2 * _NEWS_OVERLAP}
            for _ in range(min(len(self._holds), _HOLDS_A_ROUND)):
                payment_hash = self._holds[0]
                self._holds.rotate(-1)
                seen = await self.lookup_invoice(payment_hash)
                if seen is None or seen.state is not InvoiceState.OPEN:
                    self._holds.remove(payment_hash)
                    yield payment_hash
            await asyncio.sleep(_NEWS_SECONDS)

    def watch_hold(self, payment_hash: str) -> None:
        """Tell of this hold invoice when it is open no more."""
        self._holds.append(payment_hash)

    async def lookup_invoice(self, payment_hash: str) -> Invoice | None:
        raise NotImplementedError

    async def make_hold_invoice(
        self, amount_msat: int, payment_hash: str, *, description: str | None = None, expiry: int = 600
    ) -> Invoice:
        raise NotSupported(f"{self.rest.name} makes no hold invoices")

    async def settle_hold_invoice(self, preimage: str) -> None:
        raise NotSupported(f"{self.rest.name} makes no hold invoices")

    async def cancel_hold_invoice(self, payment_hash: str) -> None:
        raise NotSupported(f"{self.rest.name} makes no hold invoices")


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """A backend's settings line: `URL?key=SECRET&cert=FILE`. A secret that begins with `@` is read from that file."""

    kind: str
    url: str
    key: str
    cert: str

    @classmethod
    def parse(cls, text: str, kind: str, example: str) -> Self:
        """Raises WalletError, without the secret."""
        url, _, query = text.strip().partition("?")
        web_address(url, kind, example)
        terms = {name: unquote(value) for name, _, value in (part.partition("=") for part in query.split("&"))}
        if not terms.get("key"):
            raise WalletError(f"backend {kind}: give its key, like {kind}:{example}")
        return cls(kind, url.rstrip("/"), terms["key"], terms.get("cert", ""))

    @property
    def from_file(self) -> bool:
        return self.key.startswith("@")

    def secret(self) -> str:
        return self.secret_bytes().decode("utf-8", "replace").strip() if self.from_file else self.key

    def secret_bytes(self) -> bytes:
        path = Path(self.key[1:]).expanduser()
        try:
            return path.read_bytes()
        except OSError as error:
            raise WalletError(f"backend {self.kind}: cannot read {path}: {error.strerror}") from None

    def tls(self) -> ssl.SSLContext | bool:
        """Trust exactly the certificate of `cert`, where there is one."""
        if not self.cert:
            return True
        try:
            context = ssl.create_default_context(cafile=str(Path(self.cert).expanduser()))
        except (OSError, ssl.SSLError) as error:
            raise WalletError(f"backend {self.kind}: cannot read its certificate: {error}") from None
        context.check_hostname = False  # the certificate itself is pinned; nodes sign theirs for changing names
        return context


def invoice_of(
    text: str,
    now: int,
    *,
    state: InvoiceState = InvoiceState.OPEN,
    preimage: str | None = None,
    settled_at: int | None = None,
    received_msat: int | None = None,
) -> Invoice:
    """An invoice of ours from its text; open ones past their time read as expired."""
    read = bolt11.decode(text)
    if state is InvoiceState.OPEN and now >= read.expires_at:
        state = InvoiceState.EXPIRED
    return Invoice(
        text, read.payment_hash, read.amount_msat or 0, read.created_at, read.expires_at, state, preimage=preimage,
        settled_at=settled_at, received_msat=received_msat, description=read.description,
    )  # fmt: skip


def payable(text: str, network: str) -> bolt11.Bolt11:
    """The invoice, if a wallet of this network may try to pay it. Raises WalletRefused."""
    try:
        invoice = bolt11.decode(text)
    except bolt11.InvalidInvoice as error:
        raise WalletRefused("OTHER", str(error)) from None
    if invoice.network != network:
        raise WalletRefused("OTHER", f"the invoice is for {invoice.network}, this wallet is on {network}")
    if invoice.amount_msat is None:
        raise WalletRefused("OTHER", "the invoice names no amount")
    return invoice


def unknown(payment_hash: str, detail: str, code: str | None = None) -> PayResult:
    return PayResult(Outcome.UNKNOWN, payment_hash, code=code, detail=detail)


def failed(payment_hash: str, detail: str, code: str = "PAYMENT_FAILED") -> PayResult:
    return PayResult(Outcome.FAILED, payment_hash, code=code, detail=detail)


def whole_sat(amount_msat: int, name: str) -> int:
    """Sat of an amount for wallets that know nothing smaller. Raises WalletRefused."""
    if amount_msat % 1000:
        raise WalletRefused("OTHER", f"{name} makes invoices over whole sat only")
    return amount_msat // 1000


def web_address(text: str, kind: str, example: str) -> str:
    """The URL of a settings line. Raises WalletError."""
    try:
        url = URL(text.strip())
    except ValueError:
        url = URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise WalletError(f"backend {kind}: give its address, like {kind}:{example}")
    return text.strip().rstrip("/")


def split_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """The address without user and password, and the two."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    login, at, host = place.rpartition("@")
    if not at:
        return url, None
    user, _, password = login.partition(":")
    return f"{scheme}://{host}{slash}{path}", (unquote(user), unquote(password))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def patience(timeout: float) -> float:
    """How long to wait for an answer of a wallet that was given `timeout` seconds."""
    return timeout + _GRACE


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


async def _read(content: aiohttp.StreamReader) -> bytes:
    """At most _MAX_BODY bytes."""
    raw = b""
    while len(raw) < _MAX_BODY and (more := await content.read(_MAX_BODY - len(raw))):
        raw += more
    return raw
