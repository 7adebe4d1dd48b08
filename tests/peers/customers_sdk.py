"""Runs inside the environment of nostr-dvm: its client code and the Rust SDK below it, as customers of a worker.

`customers_sdk.py JSON` prints a line of JSON for each check. Requests are made as its bot makes them, its feedback is
read as its bot reads it, and bills are paid with its own NWC function.
"""

import asyncio
import json
import sys
import traceback
from datetime import timedelta
from types import SimpleNamespace

import nostr_sdk as sdk
from nostr_dvm.utils.nostr_utils import check_and_decrypt_own_tags
from nostr_dvm.utils.nwc_tools import nwc_zap

SECONDS = timedelta(seconds=5)
KEYS = sdk.Keys.generate()
CONFIG = SimpleNamespace(
    PRIVATE_KEY=KEYS.secret_key().to_hex(),
    PUBLIC_KEY=KEYS.public_key().to_hex(),
    NIP89=SimpleNamespace(NAME="customer"),
)
SEAL = {"nip44": KEYS.nip44_encrypt, "nip04": KEYS.nip04_encrypt}
OPEN = {"nip44": KEYS.nip44_decrypt, "nip04": KEYS.nip04_decrypt}


async def pay(connection, bolt11):
    """A locked payment is answered when it is taken; the SDK waits for that answer for ten seconds."""
    try:
        await nwc_zap(connection, bolt11, KEYS)
    except sdk.NostrSdkError as error:
        assert "response not received" in str(error), error


async def buy(given, worker, scheme, inputs, kind=5050):
    client = sdk.ClientBuilder().build()
    try:
        async with asyncio.timeout(given.get("seconds", 12)):
            return await ordered(client, given, worker, scheme, inputs, kind)
    finally:
        await client.shutdown()


async def ordered(client, given, worker, scheme, inputs, kind):
    await client.add_relay(sdk.RelayUrl.parse(given["url"]))
    await client.connect(and_wait=SECONDS)
    peer = sdk.PublicKey.parse(worker)
    content = SEAL[scheme](peer, json.dumps(inputs)) if scheme else ""
    tags = [["p", worker], ["encrypted"]] if scheme else [*inputs, ["p", worker]]
    builder = sdk.EventBuilder(sdk.Kind(kind), content).tags([sdk.Tag.parse(tag) for tag in tags])
    request = builder.finalize(KEYS)
    if scheme:
        own = check_and_decrypt_own_tags(request, CONFIG)
        assert inputs[0] in [tag.to_vec() for tag in own.tags()]
    await client.send_event(request)
    seen, said = set(), []
    wanted = sdk.Filter.from_json(json.dumps({"kinds": [kind + 1000, 7000], "#e": [request.id().to_hex()]}))
    while True:
        for event in await client.fetch_events(sdk.ReqTarget.auto([wanted]), timeout=SECONDS):
            if event.id().to_hex() in seen:
                continue
            seen.add(event.id().to_hex())
            assert event.author().to_hex() == worker
            words = OPEN[scheme](peer, event.content()) if scheme else event.content()
            public = [tag.to_vec() for tag in event.tags()]
            if event.kind().as_u16() != 7000:
                return {
                    "content": words,
                    "tags": [] if scheme else public,
                    "shown": [tag[0] for tag in public],
                    "bills": said.count("payment-required"),
                }
            parts = json.loads(words) if scheme else public
            status = next(tag for tag in parts if tag[0] == "status")
            said.append(status[1])
            if status[1] == "payment-required":
                await pay(given["wallet"], next(tag for tag in parts if tag[0] == "amount")[2])
            assert status[1] != "error", status
        await asyncio.sleep(0.2)


async def check(name, work):
    try:
        print(json.dumps({"name": name, "ok": True, "value": await work}))
    except Exception:
        print(json.dumps({"name": name, "ok": False, "value": traceback.format_exc()}))


async def main(given):
    if orders := given.get("orders"):
        bought = [buy(given, each["worker"], each["scheme"], each["inputs"], each["kind"]) for each in orders]
        await asyncio.gather(*(check(each["name"], work) for each, work in zip(orders, bought, strict=True)))
        return
    for price in ("free", "paid"):
        for scheme in (None, "nip44", "nip04"):
            await check(f"{price} {scheme or 'plain'}", hello(given, price, scheme))


async def hello(given, price, scheme):
    inputs = [["i", "hello", "text"], ["param", "marks", "2"]]
    made = await buy(given, given[price], scheme, inputs)
    assert (made["content"], made["bills"]) == ("hello!!", price == "paid"), made


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
