"""Lightning addresses: ours paid by others, theirs paid by us, hostile ones refused; zaps and their receipts."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nostr import nip57
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from tests.fakes import FakeClock
from tests.wallet.house import House
from wallet import addresses, bolt11, lnurl, zaps
from wallet.connections import Scope
from wallet.interface import Outcome, WalletRefused
from wallet.lnurl import LnurlError

SELLER, FAN, WALLET = SecretKey.generate(), SecretKey.generate(), SecretKey.generate()
METADATA = '[["text/plain","To <b>ann</b>"],["text/identifier","ann@example.com"]]'


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as made:
        yield made


@asynccontextmanager
async def door(house: House, folder: Path) -> AsyncIterator[str]:
    """The HTTP side of our addresses; gives `host:port`."""
    for name, key in (("image", SELLER), ("wallet", WALLET)):
        (folder / "keys").mkdir(exist_ok=True)
        (folder / "keys" / f"{name}.pub").write_text(key.public)
    uri = await house.uri("addresses", account="owner", scopes=frozenset({Scope.ADDRESS}))
    (folder / "wallet" / "connections").mkdir(parents=True)
    (folder / "wallet" / "connections" / "addresses.uri").write_text(uri.text)
    app = web.Application()
    addresses.routes(app, data=folder, names=["image", "owner"], clock=house.clock)
    async with TestServer(app) as server:
        yield f"127.0.0.1:{server.port}"


async def until(what: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(10):
        while True:
            if found := await what():
                return found
            await asyncio.sleep(0.05)


# --- ours ---


async def test_an_address_of_ours_is_paid_into_its_account(house: House, tmp_path: Path) -> None:
    await house.give("buyer", 100_000)
    buyer = await house.client("buyer")
    async with door(house, tmp_path) as host:
        offer = await lnurl.ask(f"image@{host}", allow_hosts=[host])
        assert offer.text == f"To image at {host}"
        bill = await lnurl.invoice_for(
            offer, 21_000, network="regtest", now=house.clock(), comment="thanks", allow_hosts=[host]
        )
        assert (await buyer.pay_invoice(bill.text)).outcome is Outcome.SETTLED
    assert await house.holds("image") == 21_000
    row = await house.bank.db.fetch_one("SELECT metadata FROM invoices WHERE payment_hash = ?", (bill.payment_hash,))
    assert row is not None and orjson.loads(row["metadata"]) == {"comment": "thanks"}


@pytest.mark.parametrize("name", ["nobody", "transit", "issuance", "..", "timmy"])
async def test_only_addresses_that_exist_answer(house: House, tmp_path: Path, name: str) -> None:
    async with door(house, tmp_path) as host:
        with pytest.raises(LnurlError):
            await lnurl.ask(f"{name}@{host}", allow_hosts=[host])


async def test_asking_for_many_invoices_is_slowed_down(house: House, tmp_path: Path) -> None:
    async with door(house, tmp_path) as host:
        offer = await lnurl.ask(f"owner@{host}", allow_hosts=[host])
        with pytest.raises(LnurlError, match="too many"):
            for _ in range(25):
                await lnurl.invoice_for(offer, 1_000, network="regtest", now=house.clock(), allow_hosts=[host])


async def test_other_connections_make_invoices_for_themselves_alone(house: House) -> None:
    app = await house.client("app", scopes=frozenset({Scope.RECEIVE}))
    with pytest.raises(WalletRefused, match="its own account"):
        await app.call("make_invoice", {"amount": 1000, "account": "owner"})
    door = await house.client("door", account="owner", scopes=frozenset({Scope.ADDRESS}))
    with pytest.raises(WalletRefused, match="nobody"):
        await door.call("make_invoice", {"amount": 1000, "account": "issuance"})
    with pytest.raises(WalletRefused):
        await door.call("get_balance", {})


# --- theirs ---


Answer = dict[str, Any]


class Stranger:
    """An LNURL server that does what the test tells it."""

    def __init__(self) -> None:
        self.offer: Answer = {}
        self.pr: Answer = {}
        self.asked: list[dict[str, str]] = []

    async def offered(self, request: web.Request) -> web.StreamResponse:
        if self.offer.get("redirect"):
            raise web.HTTPFound(self.offer["redirect"])
        if self.offer.get("size"):
            return web.Response(body=b"x" * self.offer["size"])
        return web.json_response(self.offer)

    async def invoiced(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        return web.json_response(self.pr)


@pytest.fixture
async def stranger() -> AsyncIterator[tuple[Stranger, str]]:
    made = Stranger()
    app = web.Application()
    app.router.add_get("/.well-known/lnurlp/ann", made.offered)
    app.router.add_get("/pay", made.invoiced)
    async with TestServer(app) as server:
        host = f"127.0.0.1:{server.port}"
        made.offer = {
            "tag": "payRequest", "callback": f"http://{host}/pay?id=7", "minSendable": 1000, "maxSendable": 50_000,
            "metadata": METADATA, "commentAllowed": 5, "allowsNostr": True, "nostrPubkey": WALLET.public,
        }  # fmt: skip
        yield made, host


def invoice(clock: FakeClock, **change: Any) -> str:
    terms: dict[str, Any] = {
        "key": SELLER, "network": "regtest", "amount_msat": 21_000, "payment_hash": "ab" * 32, "created_at": clock(),
        "description_hash": hashlib.sha256(METADATA.encode()).hexdigest(),
    }  # fmt: skip
    return bolt11.encode(**(terms | change))


async def test_an_honest_address_gives_the_invoice_that_was_asked_for(
    stranger: tuple[Stranger, str], clock: FakeClock
) -> None:
    server, host = stranger
    server.pr = {"pr": invoice(clock), "routes": []}
    offer = await lnurl.ask(f"Ann@{host}", allow_hosts=[host])
    bill = await lnurl.invoice_for(offer, 21_000, network="regtest", now=clock(), comment="hi", allow_hosts=[host])
    assert bill.amount_msat == 21_000
    assert server.asked == [{"id": "7", "amount": "21000", "comment": "hi"}]


@pytest.mark.parametrize(
    "change",
    [
        {"amount_msat": 22_000},
        {"amount_msat": None},
        {"network": "bitcoin"},
        {"created_at": 1_000_000},
        {"description_hash": "cd" * 32},
        {"description_hash": None, "description": METADATA},
    ],
    ids=["another amount", "no amount", "another network", "expired", "another description", "no description hash"],
)
async def test_another_invoice_than_agreed_is_refused(
    stranger: tuple[Stranger, str], clock: FakeClock, change: dict[str, Any]
) -> None:
    server, host = stranger
    server.pr = {"pr": invoice(clock, **change)}
    offer = await lnurl.ask(f"ann@{host}", allow_hosts=[host])
    with pytest.raises(LnurlError, match="refused"):
        await lnurl.invoice_for(offer, 21_000, network="regtest", now=clock(), allow_hosts=[host])


@pytest.mark.parametrize(
    "change",
    [
        {"redirect": "http://169.254.169.254/latest"},
        {"redirect": "http://127.0.0.1:1/"},
        {"size": 1 << 20},
        {"tag": "withdrawRequest"},
        {"minSendable": 0},
        {"minSendable": "1000"},
        {"metadata": None},
        {"status": "ERROR", "reason": "closed"},
    ],
)
async def test_strange_offers_are_refused(stranger: tuple[Stranger, str], change: Answer) -> None:
    server, host = stranger
    server.offer |= change
    with pytest.raises(LnurlError):
        await lnurl.ask(f"ann@{host}", allow_hosts=[host])


async def test_an_offer_cannot_send_us_into_the_own_network(stranger: tuple[Stranger, str], clock: FakeClock) -> None:
    server, host = stranger
    server.offer["callback"] = f"http://localhost:{host.partition(':')[2]}/pay"
    offer = await lnurl.ask(f"ann@{host}", allow_hosts=[host])
    with pytest.raises(LnurlError, match="public internet"):
        await lnurl.invoice_for(offer, 21_000, network="regtest", now=clock(), allow_hosts=[host])
    assert server.asked == []


@pytest.mark.parametrize(
    "place",
    ["ann@127.0.0.1:9", "ann@localhost:9", "ann@10.0.0.1", "ann@192.168.1.1", lnurl.encode("http://[::1]:80/x"),
     lnurl.encode("file:///etc/passwd"), lnurl.encode("http://169.254.169.254/latest")],
)  # fmt: skip
async def test_addresses_inside_this_network_are_not_asked(place: str) -> None:
    with pytest.raises(LnurlError):
        await lnurl.ask(place)


@pytest.mark.parametrize("place", ["", "ann", "ann@", "@host", "ann@ho st", "lnurl1xyz", "ann@host/../x", "lnbc1"])
def test_what_is_no_address_is_told(place: str) -> None:
    with pytest.raises(LnurlError):
        lnurl.pay_url(place)


def test_addresses_become_urls() -> None:
    assert lnurl.pay_url("Ann@Example.com") == "https://example.com/.well-known/lnurlp/ann"
    assert lnurl.pay_url("a@b.onion") == "http://b.onion/.well-known/lnurlp/a"
    assert lnurl.pay_url("lightning:" + lnurl.encode("https://x.example/p?q=1").upper()) == "https://x.example/p?q=1"


async def test_amounts_and_comments_stay_within_the_offer(stranger: tuple[Stranger, str], clock: FakeClock) -> None:
    _, host = stranger
    offer = await lnurl.ask(f"ann@{host}", allow_hosts=[host])
    for amount, comment in ((999, ""), (50_001, ""), (21_000, "longer than five")):
        with pytest.raises(LnurlError, match="takes"):
            await lnurl.invoice_for(offer, amount, network="regtest", now=clock(), comment=comment, allow_hosts=[host])
    with pytest.raises(LnurlError, match="zaps"):
        zap = nip57.request(FAN, SELLER.public, relays=[], amount_msat=21_000, created_at=clock())
        await lnurl.invoice_for(replace(offer, zap_key=None), 21_000, network="regtest", now=clock(), zap=zap)


# --- zaps ---


async def zap_it(house: House, host: str, request: Event) -> bolt11.Bolt11:
    offer = await lnurl.ask(f"image@{host}", allow_hosts=[host])
    assert offer.zap_key == WALLET.public
    return await lnurl.invoice_for(offer, 21_000, network="regtest", now=house.clock(), zap=request, allow_hosts=[host])


async def test_a_paid_zap_becomes_a_receipt_that_passes_every_check_and_is_known_to_the_wallet(
    house: House, tmp_path: Path
) -> None:
    await house.give("fan", 100_000)
    fan, seller = await house.client("fan"), await house.client("image")
    target = SELLER.sign(kind=1, content="my picture", created_at=house.clock())
    request = nip57.request(
        FAN, SELLER.public, relays=[house.relay.url, "ws://10.0.0.1"], amount_msat=21_000, created_at=house.clock(),
        target=target, comment="lovely",
    )  # fmt: skip
    async with (
        zaps.Receipts(house.bank, house.pool, WALLET, clock=house.clock),
        door(house, tmp_path) as host,
    ):
        bill = await zap_it(house, host, request)
        assert await house.pool.fetch(Filter(kinds=[9735])) == [], "not before it is paid"
        await fan.pay_invoice(bill.text)
        receipts = await until(lambda: house.pool.fetch(Filter(kinds=[9735])))
    zap = zaps.verify(
        receipts[0], receiver=SELLER.public, signer=WALLET.public, least_msat=21_000, event_id=target.id,
        network="regtest",
    )  # fmt: skip
    assert (zap.sender, zap.amount_msat, zap.comment) == (FAN.public, 21_000, "lovely")
    assert await zaps.confirmed(zap, seller)
    assert not await zaps.confirmed(zap, fan), "only the wallet that was paid can say so"
    assert not await zaps.confirmed(replace(zap, amount_msat=22_000), seller)
    terms = {"receiver": SELLER.public, "event_id": target.id, "least_msat": 21_000}
    assert (await zaps.payment(receipts[0], seller, **terms)).payment_hash == bill.payment_hash
    for wallet, change in ((fan, {}), (seller, {"least_msat": 21_001}), (seller, {"event_id": "12" * 32})):
        with pytest.raises(zaps.ZapRefused):
            await zaps.payment(receipts[0], wallet, **terms | change)


async def test_a_receipt_that_was_not_sent_before_a_restart_is_sent_after_it(house: House, tmp_path: Path) -> None:
    await house.give("fan", 100_000)
    fan = await house.client("fan")
    request = nip57.request(FAN, SELLER.public, relays=[], amount_msat=21_000, created_at=house.clock())
    async with door(house, tmp_path) as host:
        await fan.pay_invoice((await zap_it(house, host, request)).text)
    async with zaps.Receipts(house.bank, house.pool, WALLET, clock=house.clock):
        assert await until(lambda: house.pool.fetch(Filter(kinds=[9735])))


async def test_others_cannot_make_the_node_sign_receipts(house: House) -> None:
    await house.give("fan", 100_000)
    fan, cheat = await house.client("fan"), await house.client("cheat")
    text = nip57.request(FAN, SELLER.public, relays=[], amount_msat=21_000, created_at=house.clock()).to_json().decode()
    made = await cheat.call(
        "make_invoice",
        {"amount": 21_000, "description_hash": hashlib.sha256(text.encode()).hexdigest(), "metadata": {"zap": text}},
    )
    await fan.pay_invoice(made["invoice"])
    assert await zaps.Receipts(house.bank, house.pool, WALLET).receipt(made["payment_hash"]) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"receiver": FAN.public}, "another receiver"),
        ({"amount_msat": 22_000}, "amount"),
    ],
)
async def test_zap_requests_that_do_not_fit_get_no_invoice(
    house: House, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    terms = {"receiver": SELLER.public, "relays": [], "amount_msat": 21_000, "created_at": house.clock()} | change
    async with door(house, tmp_path) as host:
        with pytest.raises(LnurlError, match=why):
            await zap_it(house, host, nip57.request(FAN, **terms))


def receipt(clock: FakeClock, *, signer: SecretKey = WALLET, receiver: str = SELLER.public, **bill: Any) -> Event:
    request = nip57.request(FAN, receiver, relays=[], amount_msat=21_000, created_at=clock())
    text = request.to_json().decode()
    terms = {"description_hash": hashlib.sha256(text.encode()).hexdigest()} | bill
    return nip57.receipt(
        signer, nip57.check_request(request), bolt11=invoice(clock, **terms), description=text, paid_at=clock()
    )


@pytest.mark.parametrize(
    ("forge", "terms", "why"),
    [
        ({"signer": FAN}, {}, "not signed"),
        ({"receiver": FAN.public}, {}, "somebody else"),
        ({"amount_msat": 20_000}, {}, "request over"),
        ({"description_hash": "cd" * 32}, {}, "commit"),
        ({}, {"seen": {"ab" * 32}}, "counted before"),
        ({}, {"least_msat": 30_000}, "less than"),
        ({}, {"event_id": "12" * 32}, "another event"),
        ({}, {"network": "bitcoin"}, "regtest"),
    ],
)
def test_forged_and_misused_receipts_are_refused(
    clock: FakeClock, forge: dict[str, Any], terms: dict[str, Any], why: str
) -> None:
    with pytest.raises(zaps.ZapRefused, match=why):
        zaps.verify(receipt(clock, **forge), receiver=SELLER.public, signer=WALLET.public, **terms)


def test_a_receipt_changed_after_signing_is_refused(clock: FakeClock) -> None:
    made = replace(receipt(clock), created_at=clock() + 1)
    with pytest.raises(zaps.ZapRefused, match="not signed"):
        zaps.verify(made, receiver=SELLER.public, signer=WALLET.public)
