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


async def buy(given, worker, scheme, text):
    client = sdk.ClientBuilder().build()
    await client.add_relay(sdk.RelayUrl.parse(given["url"]))
    await client.connect(and_wait=SECONDS)
    peer = sdk.PublicKey.parse(worker)
    inputs = [["i", text, "text"], ["param", "marks", "2"]]
    content = SEAL[scheme](peer, json.dumps(inputs)) if scheme else ""
    tags = [["p", worker], ["encrypted"]] if scheme else [*inputs, ["p", worker]]
    builder = sdk.EventBuilder(sdk.Kind(5050), content).tags([sdk.Tag.parse(tag) for tag in tags])
    request = builder.finalize(KEYS)
    if scheme:
        own = check_and_decrypt_own_tags(request, CONFIG)
        assert ["i", text, "text"] in [tag.to_vec() for tag in own.tags()]
    await client.send_event(request)
    seen, said = set(), []
    wanted = sdk.Filter.from_json(json.dumps({"kinds": [6050, 7000], "#e": [request.id().to_hex()]}))
    async with asyncio.timeout(12):
        while True:
            for event in await client.fetch_events(sdk.ReqTarget.auto([wanted]), timeout=SECONDS):
                if event.id().to_hex() in seen:
                    continue
                seen.add(event.id().to_hex())
                assert event.author().to_hex() == worker
                words = OPEN[scheme](peer, event.content()) if scheme else event.content()
                if event.kind().as_u16() == 6050:
                    await client.shutdown()
                    return said, words
                parts = json.loads(words) if scheme else [tag.to_vec() for tag in event.tags()]
                status = next(tag for tag in parts if tag[0] == "status")
                said.append(status[1])
                if status[1] == "payment-required":
                    await nwc_zap(given["wallet"], next(tag for tag in parts if tag[0] == "amount")[2], KEYS)
                assert status[1] != "error", status
            await asyncio.sleep(0.2)


async def main(given):
    for price in ("free", "paid"):
        for scheme in (None, "nip44", "nip04"):
            name = f"{price} {scheme or 'plain'}"
            try:
                said, content = await buy(given, given[price], scheme, "hello")
                assert content == "hello!!", content
                assert said.count("payment-required") == (price == "paid"), said
                print(json.dumps({"name": name, "ok": True}))
            except Exception:
                print(json.dumps({"name": name, "ok": False, "value": traceback.format_exc()}))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
