"""nostr-sdk (Rust, from PyPI): its client against our relay; our client and our federation against its relay."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nostr import Event, Filter, SecretKey, nip04, nip17, nip44
from nostr.client import Connection
from nostr.clock import system_clock
from nostr.negentropy import Items
from nostr.sync import fetch_ids, reconcile
from tests.peers import environments
from tests.relay.conftest import running

SCRIPT = Path(__file__).parent / "sdk_checks.py"
KEY, PEER = SecretKey.generate(), SecretKey.generate()
TEXT = "Grüße, \u2028 and 😀"
CHECKS = [
    "publish_and_read_back",
    "live_subscription",
    "negentropy_down_and_up",
    "gift_wraps_after_auth",
    "texts_in_both_directions",
    "a_refusal_is_understood",
]


@pytest.fixture(scope="module")
def interpreter() -> Path:
    return environments.python("nostr-sdk==0.45.1")


@pytest.fixture(scope="module")
def results(interpreter: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    async def drive() -> bytes:
        async with running(tmp_path_factory.mktemp("relay")) as relay:
            wraps = nip17.compose(KEY, [PEER.public], TEXT, now=system_clock())
            given = {
                "url": relay.url,
                "folder": str(tmp_path_factory.mktemp("lmdb")),
                "pubkey": KEY.public,
                "peer_secret": PEER.hex,
                "text": TEXT,
                "nip44": nip44.encrypt(KEY, PEER.public, TEXT),
                "nip04": nip04.encrypt(KEY, PEER.public, TEXT),
                "wrap": wraps[PEER.public].to_dict(),
            }
            process = await asyncio.create_subprocess_exec(
                str(interpreter), str(SCRIPT), "client", json.dumps(given), stdout=asyncio.subprocess.PIPE
            )
            out, _ = await process.communicate()
            return out

    lines = [json.loads(line) for line in asyncio.run(drive()).decode().splitlines() if line.startswith("{")]
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("name", CHECKS)
def test_check(results: dict[str, dict[str, Any]], name: str) -> None:
    assert name in results, "the script died before it came to this"
    assert results[name]["ok"], results[name]["value"]


def test_what_it_made_opens_here(results: dict[str, dict[str, Any]]) -> None:
    made = results["texts_in_both_directions"]["value"]
    assert nip44.decrypt(KEY, made["pubkey"], made["nip44"]) == TEXT
    assert nip04.decrypt(KEY, made["pubkey"], made["nip04"]) == TEXT
    assert nip17.read(KEY, Event.from_dict(results["gift_wraps_after_auth"]["value"])).text == TEXT


@pytest.fixture
async def their_relay(interpreter: Path) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        str(interpreter), str(SCRIPT), "relay", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        url = (await process.stdout.readline()).decode().strip()
    yield url
    process.stdin.close()
    await process.wait()


def note(text: str, at: int) -> Event:
    return KEY.sign(kind=1, content=text, created_at=at)


async def test_our_client_reconciles_with_their_relay(their_relay: str) -> None:
    at = system_clock() - 1000
    common = [note(f"common {n}", at + n % 90) for n in range(400)]
    theirs = [note(f"theirs {n}", at + n) for n in range(30)]
    ours = [note(f"ours {n}", at + n) for n in range(20)]
    async with Connection(their_relay) as c:
        for ok in await asyncio.gather(*(c.publish(event) for event in common + theirs)):
            assert ok.accepted, ok
        items = Items((event.created_at, bytes.fromhex(event.id)) for event in common + ours)
        difference = await reconcile(c, Filter(kinds=[1]), items)
        assert difference.have == {event.id for event in ours}
        assert difference.need == {event.id for event in theirs}
        assert {event.id async for event in fetch_ids(c, difference.need)} == difference.need


async def test_our_relay_federates_with_theirs(their_relay: str, tmp_path: Path) -> None:
    at = system_clock() - 1000
    everything = [{"kinds": [1]}]
    async with Connection(their_relay) as theirs, theirs.subscribe(Filter(kinds=[1])) as there:
        assert (await theirs.publish(note("theirs", at))).accepted
        link = {"url": their_relay, "direction": "both", "down": everything, "up": everything}
        async with (
            running(tmp_path, upstream=[link]) as relay,
            Connection(relay.url) as ours,
            ours.subscribe(Filter(kinds=[1])) as here,
        ):
            assert (await ours.publish(note("ours", at + 1))).accepted
            for sub in (here, there):
                async with asyncio.timeout(15):
                    assert {(await anext(sub)).content for _ in range(2)} == {"theirs", "ours"}
            state = relay.relay.status_parts["upstream"]
            async with asyncio.timeout(15):
                while not state()[0]["even"]:  # noqa: ASYNC110 (the state has no bell)
                    await asyncio.sleep(0.05)
            assert state()[0]["method"] == "negentropy"
            assert (await theirs.publish(note("live there", at + 2))).accepted
            async with asyncio.timeout(10):
                assert (await anext(here)).content == "live there"
