"""Each trade of the shop, bought once by nostr-tools, NDK and nostr-sdk with nostr-dvm's client code.

One node sells every trade; a worker's first job of the day is free, the others are paid through NWC. Each client buys
each trade once. The encryption takes turns, so that every trade is bought plain, in NIP-44 and in NIP-04.
"""

import asyncio
import base64
import hashlib
import io
import json
import time
from contextlib import AsyncExitStack

import aiohttp
import numpy as np
import pytest
from PIL import Image

from dvms.human.inbox import Inbox
from dvms.registry import TRADES, Found, load
from dvms.serve import opened
from dvms.settings import SellerSettings
from dvms.text.service import TextService
from nostr.blossom import BlossomClient
from nostr.key import load_or_create
from nostr.sniff import sniff
from tests.dvms.conftest import a_relay
from tests.peers.test_customers import SCHEMES, command
from wallet.connections import Scope
from wallet.serve import running as running_wallet
from wallet.settings import WalletSettings

pytestmark = pytest.mark.slow

CLIENTS = ("customers_tools.mjs", "customers_ndk.mjs", "customers_sdk.py")
SECONDS = 240  # most of it is waiting for each other's jobs: one runs at a time
STORY = " ".join(f"The fox number {n} crossed the river at night and came home late." for n in range(20))
PAGE = b"<html><head><title>Tides</title></head><body><p>The moon lifts the sea twice a day.</p></body></html>"


def says(*words):
    return lambda text: all(word in text for word in words)


def scenes(text):
    made = json.loads(text)
    return made["title"] and len(made["lines"]) >= 8 and all(shot["prompt"] for shot in made["shots"])


# Name: trade, kind, inputs ({page}, {picture}: files on the node), and the test of a text, or the type of a file.
ORDERS = {
    "scenes": ("text", 5050, [["i", "a fox on a hill", "text"], ["param", "format", "scenes"]], scenes),
    "summary": (
        "text", 5001, [["i", STORY, "text"], ["param", "length", "1 sentence"]],
        lambda text: says("fox")(text) and len(text) < 300,
    ),
    "extraction": ("text", 5000, [["i", "{page}", "url"]], says("The moon lifts the sea twice a day.")),
    "image": ("image", 5100, [["i", "a red fox in the snow", "text"], ["param", "size", "256x256"]], "image/"),
    "animation": (
        "animation", 5202, [["i", "{picture}", "url"], ["param", "seconds", "1"], ["param", "size", "160x120"]],
        "video/",
    ),
    "video": (
        "video", 5203,
        [["i", "{picture}", "url"], ["param", "seconds", "1"], ["param", "size", "160x120"], ["param", "fps", "12"]],
        "video/",
    ),
    "speech": ("speech", 5250, [["i", "hello there", "text"]], "audio/"),
    "music": (
        "music", 5251, [["i", "rain", "text"], ["param", "seconds", "12"], ["param", "vocals", "off"]], "audio/"
    ),
    "feed": ("feed", 5300, [["i", "anything", "text"]], lambda text: isinstance(json.loads(text), list)),
    "person": ("human", 5820, [["i", "say hello", "text"]], says("hello from a person")),
}  # fmt: skip
if 5002 in TextService().kinds:
    ORDERS["translation"] = (
        "text", 5002, [["i", "The house is green.", "text"], ["param", "language", "pt"]], says("casa")
    )  # fmt: skip


def orders(number, shops, files):
    """What the client of this number buys."""
    found = []
    for place, (name, (trade, kind, inputs, wanted)) in enumerate(ORDERS.items(), start=number):
        scheme = SCHEMES[place % 3]
        given = [[name.format(**files) if "{" in name else name for name in tag] for tag in inputs]
        found.append({
            "name": name, "trade": trade, "worker": shops[trade], "kind": kind, "inputs": given,
            "scheme": None if scheme == "plain" else scheme,
            "sealed": number == 0 and isinstance(wanted, str) and scheme != "plain",
        })  # fmt: skip
    return found


async def a_person(box):
    """Somebody who does every task."""
    try:
        while True:
            for task in await box.tasks():
                await box.deliver(task.id, "ann", text="hello from a person")
            await asyncio.sleep(0.3)
    finally:
        await box.close()


async def upload(relay, data):
    pixels = np.random.default_rng(1).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    picture = io.BytesIO()
    Image.fromarray(pixels).resize((160, 120)).save(picture, "PNG")
    async with BlossomClient(relay.replace("ws", "http", 1), load_or_create(data / "keys" / "feed.key")) as shelf:
        page = await shelf.upload(PAGE, "text/html")
        return {"page": page.url, "picture": (await shelf.upload(picture.getvalue(), "image/png")).url}


async def shopping(script, given):
    start, more = command(script)
    process = await asyncio.create_subprocess_exec(
        *start, json.dumps({**given, **more}), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    lines = [json.loads(line) for line in out.decode().splitlines() if line.startswith('{"name"')]
    assert lines, err.decode()[-3000:]
    return {line["name"]: line for line in lines}


async def look(http, made):
    """Download what a result points at: its bytes belong to the URL, and say of what type they are."""
    async with http.get(made["content"]) as answer:
        raw = await answer.read()
    assert answer.status == 200 and hashlib.sha256(raw).hexdigest() in made["content"]
    made["noise"], made["mime"] = sniff(raw[:4096]), sniff(base64.b64decode(made.get("opened", "")) or raw[:4096])


async def a_day_at_the_shop(data):
    """(script, order) -> what was asked, and the line that the client printed."""
    for script in CLIENTS:
        command(script)  # skips here where a client can't be had
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(a_relay(data))
        bank = await stack.enter_async_context(
            running_wallet(WalletSettings(parts=["owner", "text"]), data, relays=[relay])
        )
        till = (data / "wallet" / "connections" / "text.uri").read_text().strip()
        box, shops = await Inbox.open(data), {}
        await box.present(int(time.time()) + 600)  # before the worker looks who is there
        for trade, where in TRADES.items():
            settings = SellerSettings(price=21, free_per_day=1, free_per_day_all=1, announce=False)
            host = opened(Found(load(where), where, trade), settings, {}, data=data, relays=[relay], wallet=till)
            shops[trade] = (await stack.enter_async_context(host)).key.public
        person = asyncio.create_task(a_person(box))
        files = await upload(relay, data)
        scopes = frozenset({Scope.PAY, Scope.READ})
        purses = [(await bank.connect(script, account="owner", scopes=scopes)).text for script in CLIENTS]
        asked = {script: orders(number, shops, files) for number, script in enumerate(CLIENTS)}
        heard = await asyncio.gather(*(
            shopping(script, {"url": relay, "wallet": purse, "seconds": SECONDS, "orders": asked[script]})
            for script, purse in zip(CLIENTS, purses, strict=True)
        ))  # fmt: skip
        person.cancel()
        await asyncio.gather(person, return_exceptions=True)
        results = {}
        async with aiohttp.ClientSession() as http:
            for script, lines in zip(CLIENTS, heard, strict=True):
                for order in asked[script]:
                    line = lines.get(order["name"], {"ok": False, "value": "the script died before it came to this"})
                    if line["ok"] and isinstance(ORDERS[order["name"]][3], str):
                        await look(http, line["value"])
                    results[script, order["name"]] = order, line
        return results


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    return asyncio.run(a_day_at_the_shop(tmp_path_factory.mktemp("shop")))


@pytest.mark.parametrize("script", CLIENTS)
@pytest.mark.parametrize("name", ORDERS)
def test_a_client_buys_a_trade(day, script, name):
    order, line = day[script, name]
    assert line["ok"], line["value"]
    made, wanted = line["value"], ORDERS[name][3]
    if order["scheme"]:
        assert set(made["shown"]) <= {"e", "p", "encrypted", "private"}, "nothing of the result is shown outside"
    if not isinstance(wanted, str):
        assert wanted(made["content"]), made["content"]
        return
    assert made["mime"].startswith(wanted), made
    assert (made["noise"] == "application/octet-stream") is order["sealed"]
    if not order["scheme"]:
        imeta = next(tag for tag in made["tags"] if tag[0] == "imeta")
        assert {f"url {made['content']}", f"m {made['mime']}"} <= set(imeta)
        assert any(tag[0] == "x" and tag[1] in made["content"] for tag in made["tags"])


@pytest.mark.parametrize("trade", TRADES)
def test_a_trade_gave_one_job_away_and_sold_the_others(day, trade):
    bills = [line["value"]["bills"] for order, line in day.values() if order["trade"] == trade]
    assert sorted(bills) == [0] + [1] * (len(bills) - 1)
    assert {order["scheme"] for order, _ in day.values() if order["trade"] == trade} == {None, "nip44", "nip04"}
