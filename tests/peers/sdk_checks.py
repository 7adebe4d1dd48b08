"""Runs inside the environment of nostr-sdk: its client against our relay, or its relay for our client.

`checks.py client JSON` prints a line of JSON for each check; `checks.py relay` prints the address of its LocalRelay and
serves until standard input ends.
"""

import asyncio
import json
import sys
import time
import traceback
from datetime import timedelta
from typing import Any

import nostr_sdk as sdk

SECONDS = timedelta(seconds=5)


def event(keys: Any, kind: int, content: str = "", tags: list[list[str]] | None = None, at: int | None = None) -> Any:
    builder = sdk.EventBuilder(sdk.Kind(kind), content).tags([sdk.Tag.parse(tag) for tag in tags or []])
    if at is not None:
        builder = builder.custom_created_at(sdk.Timestamp.from_secs(at))
    return builder.finalize(keys)


async def client(url: str, keys: Any = None) -> Any:
    builder = sdk.ClientBuilder()
    if keys is not None:
        builder = builder.authenticator(sdk.SignerAuthenticator(keys))
    made = builder.build()
    await made.add_relay(sdk.RelayUrl.parse(url))
    await made.connect(and_wait=SECONDS)
    return made


def wanted(**fields: Any) -> Any:
    return sdk.Filter.from_json(
        json.dumps({("#" + k[4:] if k.startswith("tag_") else k): v for k, v in fields.items()})
    )


async def fetch(made: Any, **fields: Any) -> list[Any]:
    return await made.fetch_events(sdk.ReqTarget.auto([wanted(**fields)]), timeout=SECONDS)


class Checks:
    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.keys, self.other = sdk.Keys.generate(), sdk.Keys.generate()

    async def publish_and_read_back(self) -> None:
        made = await client(self.given["url"])
        sent = event(self.keys, 1, "hello \u2028 \x01 from Rust", [["t", "sdk"]])
        output = await made.send_event(sent)
        assert output.output.success if hasattr(output, "output") else output.success, output
        found = await fetch(made, kinds=[1], tag_t=["sdk"])
        assert [e.as_json() for e in found] == [sent.as_json()]
        await made.shutdown()

    async def live_subscription(self) -> None:
        made = await client(self.given["url"])
        stream = made.notifications()
        await made.subscribe(sdk.ReqTarget.auto([wanted(kinds=[20002])]))
        await asyncio.sleep(0.3)
        sender = await client(self.given["url"])
        await sender.send_event(event(self.keys, 20002, "live"))
        async with asyncio.timeout(8):
            while True:
                item = await stream.next()
                if "live" in str(item) or getattr(getattr(item, "event", None), "content", lambda: "")() == "live":
                    break
        await made.shutdown()
        await sender.shutdown()

    async def negentropy_down_and_up(self) -> None:
        url, at = self.given["url"], int(time.time()) - 1000
        sender = await client(url)
        there = [event(self.keys, 1234, f"there {n}", at=at + n % 7) for n in range(150)]
        for sent in there:
            await sender.send_event(sent)
        here = sdk.NostrLmdb
        with_store = sdk.ClientBuilder().database(await _open(here, self.given["folder"])).build()
        await with_store.add_relay(sdk.RelayUrl.parse(url))
        await with_store.connect(and_wait=SECONDS)
        mine = [event(self.keys, 1234, f"mine {n}", at=at + n % 7) for n in range(40)]
        for kept in mine:
            await with_store.database().save_event(kept)
        await with_store.sync(wanted(kinds=[1234]), opts=sdk.SyncOptions().direction(sdk.SyncDirection.BOTH))
        await asyncio.sleep(0.5)
        after = await fetch(sender, kinds=[1234], limit=500)
        assert len(after) == 190, len(after)
        held = await with_store.database().query(wanted(kinds=[1234]))
        assert len(held if isinstance(held, list) else held.to_vec()) == 190
        await with_store.shutdown()
        await sender.shutdown()

    async def gift_wraps_after_auth(self) -> dict[str, Any]:
        url = self.given["url"]
        sender, receiver = await client(url), await client(url, self.other)
        wrap = sdk.nip17_make_private_msg(self.keys, self.other.public_key(), "psst")
        await sender.send_event(wrap)
        found = await fetch(receiver, kinds=[1059], tag_p=[self.other.public_key().to_hex()])
        assert sdk.UnwrappedGift.from_gift_wrap(self.other, found[0]).rumor().content() == "psst"
        hidden = []
        try:
            hidden = await fetch(sender, kinds=[1059])
        except sdk.NostrSdkError:
            pass
        assert hidden == []
        theirs = sdk.nip17_make_private_msg(self.keys, sdk.PublicKey.parse(self.given["pubkey"]), self.given["text"])
        await sender.shutdown()
        await receiver.shutdown()
        return json.loads(theirs.as_json())

    async def texts_in_both_directions(self) -> dict[str, Any]:
        peer, ours = sdk.Keys.parse(self.given["peer_secret"]), sdk.PublicKey.parse(self.given["pubkey"])
        assert peer.nip44_decrypt(ours, self.given["nip44"]) == self.given["text"]
        assert peer.nip04_decrypt(ours, self.given["nip04"]) == self.given["text"]
        unwrapped = sdk.UnwrappedGift.from_gift_wrap(peer, sdk.Event.from_json(json.dumps(self.given["wrap"])))
        assert unwrapped.rumor().content() == self.given["text"]
        return {
            "pubkey": peer.public_key().to_hex(),
            "nip44": peer.nip44_encrypt(ours, self.given["text"]),
            "nip04": peer.nip04_encrypt(ours, self.given["text"]),
        }

    async def a_refusal_is_understood(self) -> None:
        made = await client(self.given["url"])
        old = event(self.keys, 0, "{}", at=1000)
        await made.send_event(event(self.keys, 0, "{}", at=2000))
        output = await made.send_event(old)
        assert "duplicate" in str(output) or "newer" in str(output) or "blocked" in str(output), output
        await made.shutdown()


async def _open(kind: Any, folder: str) -> Any:
    made = kind.open(folder)
    return await made if asyncio.iscoroutine(made) else made


async def run(given: dict[str, Any]) -> None:
    sdk.uniffi_set_event_loop(asyncio.get_running_loop())
    checks = Checks(given)
    for name in [n for n in dir(Checks) if not n.startswith("_")]:
        try:
            async with asyncio.timeout(20):
                value = await getattr(checks, name)()
            line = {"name": name, "ok": True, "value": value}
        except Exception:
            line = {"name": name, "ok": False, "value": traceback.format_exc()[-1500:]}
        print(json.dumps(line), flush=True)


async def serve() -> None:
    sdk.uniffi_set_event_loop(asyncio.get_running_loop())
    relay = (
        sdk.LocalRelayBuilder()
        .addr("127.0.0.1")
        .rate_limit(sdk.RateLimit(max_reqs=1000, notes_per_minute=100_000))
        .build()
    )
    await relay.run()
    print(str(await relay.url()), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    if sys.argv[1] == "relay":
        asyncio.run(serve())
    else:
        asyncio.run(run(json.loads(sys.argv[2])))
