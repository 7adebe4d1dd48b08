"""FakeProvider: a whole DVM in one object, honest or not, on a real relay, paid in a FakeBank.

    async with FakeProvider(relay.url, wallet, kind=5100, price=8_000, mood="html") as provider: ...

Moods. Honest: `good`, `free`, `hold` (locks the money, takes it after delivery), `after` (delivers, then bills),
`twice` (everything said twice), `zapped` (bills without an invoice; see `lnurl`), `late` (delivers after `delay`
seconds). Dishonest or broken: `vanishes` (takes the
money), `dear` (bills twice its price), `mismatch` (amount tag and invoice differ), `amountless`, `foreign` (an invoice
made for another job), `reused` (one invoice for all jobs), `expired`, `mainnet`, `html` (a page as PNG), `blank` (an
empty file), `huge` (10 GB), `loopback` (a link into the buyer's machine), `gone` (a dead link), `wrong-hash`,
`other` (answers another request), `empty`, `declines`, `fails` (error after payment), `pays-back` (fails, and pays the
refund that is asked for), `hold-fails` (gives the locked money back), `silent`. `forge(request)`
lets a third key answer in its name.
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

from market.announcement import Profile, build_announcement, build_heartbeat, build_relay_list
from market.errors import BadRequest
from market.job import Feedback, JobRequest, Media, build_feedback, build_result
from market.kinds import JOB_KINDS
from nostr import nip19
from nostr.clock import Clock, system_clock
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from tests.fakes import FakeWallet
from wallet import bolt11
from wallet.interface import InvoiceState

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)
HTML = b"<!DOCTYPE html><html><body>404 pay more</body></html>"
Content = Callable[[JobRequest], str | bytes]


class FileServer:
    """Serves bytes on a free loopback port under their hash; `/huge` promises 10 GB."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, str]] = {}
        self.url = ""
        self.wallet: FakeWallet | None = None
        self.zapped: dict[str, Any] = {}  # zap request -> invoice
        self.careless = False  # the invoice commits to something else than the zap request

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/huge", self._huge)
        app.router.add_get("/{name}", self._get)
        app.router.add_get("/lnurlp/service", self._lnurl)
        app.router.add_get("/lnurlp/callback", self._callback)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    def put(self, data: bytes, mime: str) -> Media:
        digest = hashlib.sha256(data).hexdigest()
        self.files[digest] = (data, mime)
        return Media(f"{self.url}/{digest}", digest, mime, len(data))

    async def _get(self, request: web.Request) -> web.Response:
        found = self.files.get(request.match_info["name"].partition(".")[0])
        if found is None:
            return web.Response(status=404)
        return web.Response(body=found[0], content_type=found[1])

    async def _lnurl(self, request: web.Request) -> web.Response:
        service = {"tag": "payRequest", "callback": f"{self.url}/lnurlp/callback", "minSendable": 1000}
        return web.json_response(
            {**service, "maxSendable": 10**9, "metadata": "[]", "allowsNostr": True, "nostrPubkey": "ab" * 32}
        )

    async def _callback(self, request: web.Request) -> web.Response:
        assert self.wallet is not None
        zap = "[]" if self.careless else request.query["nostr"]
        invoice = await self.wallet.make_invoice(
            int(request.query["amount"]), description_hash=hashlib.sha256(zap.encode()).hexdigest()
        )
        self.zapped[json.loads(request.query["nostr"])["id"]] = invoice
        return web.json_response({"pr": invoice.bolt11, "routes": []})

    async def _huge(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "image/png"})
        answer.content_length = 10 << 30
        await answer.prepare(request)
        with suppress(ConnectionError):
            await answer.write(PIXEL)
        return answer


class FakeProvider:
    """`price` in msat. `content` makes the answer: text, or bytes that are served as a file of type `mime`."""

    def __init__(
        self,
        relay: str,
        wallet: FakeWallet,
        *,
        kind: int = 5050,
        price: int = 5_000,
        mood: str = "good",
        delay: float = 0.0,
        content: Content | None = None,
        mime: str = "image/png",
        key: SecretKey | None = None,
        clock: Clock = system_clock,
        name: str = "",
    ) -> None:
        self.key = key or SecretKey.generate()
        self.relay, self.wallet, self.kind, self.price = relay, wallet, kind, price
        self.mood, self.delay, self.mime, self.clock = mood, delay, mime, clock
        self.name = name or f"{mood} {kind}"
        self.content = content
        self.files = FileServer()
        self.files.wallet = wallet
        self.served: list[str] = []
        self.cancelled: set[str] = set()
        self.claims: list[str] = []  # invoices for what it owes
        self._reused: Any = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pubkey(self) -> str:
        return self.key.public

    @property
    def lnurl(self) -> str:
        return nip19.bech32_encode("lnurl", f"{self.files.url}/lnurlp/service".encode())

    async def __aenter__(self) -> "FakeProvider":
        await self.files.start()
        self._pool = await Pool([self.relay], key=self.key).__aenter__()
        await self.announce()
        since = self.clock() - 60
        self._sub = self._pool.subscribe(
            Filter(kinds=[self.kind], since=since),
            Filter(kinds=[5], tags={"k": [str(self.kind)]}, since=since),
            Filter(kinds=[7000], tags={"p": [self.pubkey]}, since=since),
        )
        self._spawn(self._listen())
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.__aexit__()
        await self.files.stop()

    async def announce(self) -> None:
        now = self.clock()
        profile = Profile(
            d=f"{self.mood}-{self.kind}",
            kinds=(self.kind,),
            name=self.name,
            about="a fake",
            price_msat=0 if self.mood == "free" else self.price,
            relays=(self.relay,),
        )
        for event in (
            build_announcement(self.key, profile, created_at=now),
            build_relay_list(self.key, [self.relay], created_at=now),
            build_heartbeat(self.key, profile.d, created_at=now),
        ):
            await self._pool.publish(event)

    async def forge(self, request: JobRequest, *, content: str = "forged", bill: bool = False) -> SecretKey:
        """A third key answers the request: a result, or a bill. Returns the forger's key."""
        thief = SecretKey.generate()
        if bill:
            invoice = await self.wallet.make_invoice(self.price)
            event = build_feedback(
                thief, request, "payment-required", "pay me", amount_msat=self.price, bolt11=invoice.bolt11,
                created_at=self.clock(),
            )  # fmt: skip
        else:
            event = build_result(thief, request, content, created_at=self.clock())
        await self._pool.publish(event)
        return thief

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        async for event in self._sub:
            if event.kind == 5:
                self.cancelled.update(event.values("e"))
                continue
            if event.kind == 7000:
                claim = Feedback.parse(event)
                if claim.status == "refund" and claim.bolt11 is not None and claim.amount_msat == self.price:
                    self.claims.append(claim.bolt11)
                    if self.mood != "owes":
                        await self.wallet.pay_invoice(claim.bolt11)
                continue
            try:
                request = JobRequest.parse(event, self.key if self.key.public in event.values("p") else None)
            except BadRequest:
                continue
            if (not request.providers or self.pubkey in request.providers) and request.id not in self.served:
                self.served.append(request.id)
                self._spawn(self._serve(request))

    async def _serve(self, request: JobRequest) -> None:
        mood = self.mood
        if mood == "silent":
            return
        if mood == "declines":
            await self._say(request, "error", "not today")
            return
        if mood == "zapped":
            await self._say(request, "payment-required", "zap me", amount_msat=self.price)
            if not await self._zapped():
                return
        elif mood not in ("free", "after"):
            invoice = await self._bill(request)
            if not await self._paid(invoice):
                return
            if mood == "vanishes":
                return
        await self._say(request, "processing", "at work")
        await asyncio.sleep(self.delay)
        if mood in ("fails", "hold-fails", "pays-back", "owes"):
            if mood in ("pays-back", "owes"):
                await self._say(request, "error", "the engine broke", extra_tags=[["refund", "due", str(self.price)]])
                return
            if mood == "hold-fails":
                await self.wallet.cancel_hold_invoice(invoice.payment_hash)
            await self._say(request, "error", "the engine broke")
            return
        await self._deliver(request)
        if mood == "hold":
            await self.wallet.settle_hold_invoice(self._preimage)
        await self._say(request, "success", "done")

    async def _bill(self, request: JobRequest) -> Any:
        amount = self.price * 2 if self.mood == "dear" else self.price
        description = "nip90:" + ("0" * 64 if self.mood == "foreign" else request.id)
        if self.mood in ("hold", "hold-fails"):
            self._preimage = secrets.token_hex(32)
            digest = hashlib.sha256(bytes.fromhex(self._preimage)).hexdigest()
            invoice = await self.wallet.make_hold_invoice(amount, digest, description=description)
        elif self.mood == "reused" and self._reused is not None:
            invoice = self._reused
        else:
            expiry = 1 if self.mood == "expired" else 600
            invoice = await self.wallet.make_invoice(
                amount, description="" if self.mood == "reused" else description, expiry=expiry
            )
            self._reused = invoice
        text = invoice.bolt11
        if self.mood in ("mainnet", "amountless"):
            text = bolt11.encode(
                key=self.key,
                network="bitcoin" if self.mood == "mainnet" else "regtest",
                amount_msat=amount if self.mood == "mainnet" else None,
                payment_hash=invoice.payment_hash,
                description=description,
                created_at=self.clock(),
            )
        shown = amount - 1000 if self.mood == "mismatch" else amount
        for _ in range(2 if self.mood == "twice" else 1):
            await self._say(request, "payment-required", f"{shown} msat please", amount_msat=shown, bolt11=text)
        return invoice

    async def _zapped(self) -> bool:
        for _ in range(200):
            if self.files.zapped:
                return await self._paid(next(iter(self.files.zapped.values())))
            await asyncio.sleep(0.05)
        return False

    async def _paid(self, invoice: Any) -> bool:
        for _ in range(2400):
            state = await self.wallet.lookup_invoice(invoice.payment_hash)
            if state is not None and state.state in (InvoiceState.SETTLED, InvoiceState.ACCEPTED):
                return True
            await asyncio.sleep(0.05)
        return False

    async def _deliver(self, request: JobRequest) -> None:
        media: list[Media] = []
        made: str | bytes
        if self.content is not None:
            made = self.content(request)
        elif JOB_KINDS[self.kind].output_mime.startswith("text"):
            made = f"answer to {request.inputs[0].value if request.inputs else 'nothing'}"
        else:
            made = PIXEL
        if self.mood == "empty":
            made = ""
        if isinstance(made, bytes):
            media = [self._file(made)]
            made = media[0].url
        extra: list[list[str]] = []
        if self.mood == "after":
            invoice = await self.wallet.make_invoice(self.price, description=f"nip90:{request.id}")
            extra = [["amount", str(self.price), invoice.bolt11]]
        answered = request
        if self.mood == "other":
            other = SecretKey.generate().sign(kind=request.kind, tags=[["i", "x", "text"]], created_at=self.clock())
            answered = JobRequest.parse(other)
        for turn in range(2 if self.mood == "twice" else 1):
            event = build_result(
                self.key, answered, made, media=media, extra_tags=extra, created_at=self.clock() + turn
            )
            await self._pool.publish(event)

    def _file(self, data: bytes) -> Media:
        if self.mood == "html":
            data = HTML
        if self.mood == "blank":
            data = b""
        media = self.files.put(data, self.mime)
        if self.mood == "huge":
            return Media(f"{self.files.url}/huge", mime=self.mime)
        if self.mood == "loopback":
            return Media("http://127.0.0.1:1/secret.png", mime=self.mime)
        if self.mood == "gone":
            return Media(f"{self.files.url}/{'0' * 64}.png", mime=self.mime)
        if self.mood == "wrong-hash":
            return Media(media.url, "0" * 64, self.mime)
        return media

    async def _say(self, request: JobRequest, status: str, message: str, **facts: Any) -> Event:
        event = build_feedback(self.key, request, status, message, created_at=self.clock(), **facts)
        await self._pool.publish(event)
        return event
