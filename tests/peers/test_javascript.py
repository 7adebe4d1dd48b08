"""nostr-tools and NDK, as they come from npm, against our relay, its file server and our encryption."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from nostr import Event, SecretKey, nip04, nip13, nip17, nip19, nip44, nip49, nip98
from nostr.clock import system_clock
from tests.peers import environments
from tests.relay.conftest import running

PACKAGES = ("nostr-tools@2.25.2", "@nostr-dev-kit/ndk@3.0.3", "ws@8.23.0")
HERE = Path(__file__).parent
KEY, PEER = SecretKey.generate(), SecretKey.generate()
TEXT = "Grüße, \u2028 and 😀"


@pytest.fixture(scope="module")
def modules() -> Path:
    return environments.node_modules(*PACKAGES)


Results = dict[str, dict[str, Any]]


async def drive(script: str, modules: Path, data: Path) -> Results:
    """Run one script of checks against a fresh relay."""
    async with running(data) as relay:
        now = system_clock()
        given = {
            "modules": str(modules),
            "url": relay.url,
            "http": relay.http,
            "pubkey": KEY.public,
            "peer_secret": PEER.hex,
            "text": TEXT,
            "nip44": nip44.encrypt(KEY, PEER.public, TEXT),
            "nip04": nip04.encrypt(KEY, PEER.public, TEXT),
            "wrap": nip17.compose(KEY, [PEER.public], TEXT, now=now)[PEER.public].to_dict(),
            "nprofile": nip19.nprofile(KEY.public, [relay.url]),
            "ncryptsec": nip49.encrypt(PEER, "pass", log_n=12),
            "mined": nip13.mine(KEY, 8, kind=1, created_at=now).to_dict(),
        }
        process = await asyncio.create_subprocess_exec(
            "node",
            str(HERE / script),
            json.dumps(given),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    lines = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
    assert lines, err.decode()[-3000:]
    return {line["name"]: line for line in lines}


@pytest.fixture(scope="module")
def results(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Both scripts, each against a relay of its own."""

    async def both() -> Results:
        tools = await drive("nostr_tools_checks.mjs", modules, tmp_path_factory.mktemp("tools"))
        ndk = await drive("ndk_checks.mjs", modules, tmp_path_factory.mktemp("ndk"))
        return {**tools, **{f"ndk: {name}": line for name, line in ndk.items()}}

    return asyncio.run(both())


def names(script: str) -> list[str]:
    lines = (HERE / script).read_text().splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("  async '")]


CHECKS = [*names("nostr_tools_checks.mjs"), *(f"ndk: {name}" for name in names("ndk_checks.mjs"))]


@pytest.mark.parametrize("name", CHECKS)
def test_check(results: Results, name: str) -> None:
    assert name in results, "the script died before it came to this"
    assert results[name]["ok"], results[name]["value"]


def value(results: Results, name: str) -> Any:
    test_check(results, name)
    return results[name]["value"]


def test_its_texts_open_here(results: Results) -> None:
    made = value(results, "texts in both encryptions, both directions")
    assert nip44.decrypt(KEY, made["pubkey"], made["nip44"]) == TEXT
    assert nip04.decrypt(KEY, made["pubkey"], made["nip04"]) == TEXT


def test_its_gift_wrap_opens_here(results: Results) -> None:
    message = nip17.read(KEY, Event.from_dict(value(results, "gift wrap made in Python")))
    assert message.text == TEXT


def test_its_names_and_keys_are_read_here(results: Results) -> None:
    made = value(results, "names, encrypted keys, proof of work")
    prefix, pointer = nip19.decode(made["nevent"])
    assert prefix == "nevent" and isinstance(pointer, nip19.EventPointer) and pointer.id == "2" * 64
    assert nip49.decrypt(made["ncryptsec"], "word").hex == made["secret"]


def test_its_http_token_is_accepted_here(results: Results) -> None:
    token = nip98.token(value(results, "HTTP tokens"))
    assert token.verify() and token.first("method") in ("POST", "post")
