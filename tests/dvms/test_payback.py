"""Refunds to a lightning address or LNURL, and what must not be paid or fetched."""

import hashlib

import orjson
import pytest
from aiohttp import web

from dvms.payback import AddressBook
from nostr.key import SecretKey
from nostr.nip19 import bech32_encode
from nostr.pool import Pool
from wallet import bolt11

METADATA = '[["text/plain","refunds"]]'


@pytest.fixture
async def service():
    """An LNURL server; tests bend `offer` and `make`."""

    def make(msat, **more):
        digest = hashlib.sha256(METADATA.encode()).hexdigest()
        given = {"amount_msat": msat, "description_hash": digest, "payment_hash": "11" * 32, **more}
        return bolt11.encode(key=SecretKey.generate(), network="regtest", created_at=1_800_000_000, **given)

    state = {"offer": {}, "make": make, "asked": []}

    async def offer(request):
        state["asked"].append(str(request.rel_url))
        base = f"http://{request.host}"
        offered = {"tag": "payRequest", "callback": f"{base}/pay?x=1", "metadata": METADATA, "minSendable": 1000,
                   "maxSendable": 10**8}  # fmt: skip
        return web.json_response(offered | state["offer"])

    async def pay(request):
        state["asked"].append(str(request.rel_url))
        return web.json_response({"pr": state["make"](int(request.query["amount"])), "routes": []})

    app = web.Application()
    app.router.add_get("/lnurl", offer)
    app.router.add_get("/pay", pay)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state["host"] = f"127.0.0.1:{runner.addresses[0][1]}"
    state["lnurl"] = bech32_encode("lnurl", f"http://{state['host']}/lnurl".encode())
    yield state
    await runner.cleanup()


async def test_an_invoice_over_the_amount_owed(service):
    book = AddressBook(Pool([]), allow_hosts=[service["host"]])
    invoice = await book.invoice("ab" * 32, service["lnurl"], 21000)
    assert bolt11.decode(invoice).amount_msat == 21000
    assert service["asked"] == ["/lnurl", "/pay?x=1&amount=21000"]


@pytest.mark.parametrize(
    ("offer", "make"),
    [
        ({"maxSendable": 20000}, {}),
        ({"minSendable": "many"}, {}),
        ({"tag": "withdrawRequest"}, {}),
        ({"callback": "http://10.0.0.1/pay"}, {}),
        ({}, {"amount_msat": 22000}),
        ({}, {"description_hash": "22" * 32}),
    ],
)
async def test_what_is_not_paid(service, offer, make):
    good = service["make"]
    service["offer"], service["make"] = offer, lambda msat: good(msat, **make)
    book = AddressBook(Pool([]), allow_hosts=[service["host"]])
    assert await book.invoice("ab" * 32, service["lnurl"], 21000) is None


async def test_our_own_network_is_not_asked(service):
    assert await AddressBook(Pool([])).invoice("ab" * 32, service["lnurl"], 21000) is None
    assert service["asked"] == []


async def test_the_profile_is_the_last_resort(service, relay):
    key = SecretKey.generate()
    async with Pool([relay]) as pool:
        await pool.publish(key.sign(kind=0, content=orjson.dumps({"lud06": service["lnurl"]}).decode()))
        book = AddressBook(pool, allow_hosts=[service["host"]])
        assert await book.invoice(key.public, None, 21000)
        assert await book.invoice("ab" * 32, None, 21000) is None
