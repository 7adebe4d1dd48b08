"""Kill, full disk, restart, reload: nothing that got OK true is lost, and the relay comes back by itself."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import orjson
import pytest
from typer.testing import CliRunner

from nostr.event import Event
from nostr.key import SecretKey
from tests.relay.conftest import Client, Start
from tests.relay.process import RelayProcess, forked_relay, relay_process

NOW = int(time.time())


async def pour(client: Client, events: list[Event], confirmed: set[str]) -> None:
    """Send all without waiting, collect every OK until the socket ends or all are answered."""

    async def send() -> None:
        for event in events:
            await client.ws.send_str('["EVENT",' + event.to_json().decode() + "]")

    sending = asyncio.create_task(send())
    answered = 0
    try:
        while answered < len(events):
            message = await client.hear()
            if message[0] == "OK":
                answered += 1
                if message[2]:
                    confirmed.add(message[1])
    except (AssertionError, ConnectionError):
        pass
    sending.cancel()


async def stored_ids(url: str, wanted: set[str]) -> set[str]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as ws:
        client = Client(ws)
        found: set[str] = set()
        ordered = sorted(wanted)
        for start in range(0, len(ordered), 500):
            found |= set(await client.ids({"ids": ordered[start : start + 500], "limit": 1000}))
        return found


async def test_twenty_kills_under_load_lose_no_confirmed_event(tmp_path: Path, key: SecretKey) -> None:
    events = [
        key.sign(kind=1 if n % 5 else 30000, content=str(n), tags=[["d", str(n)], ["t", "x"]], created_at=NOW - n)
        for n in range(20 * 500)
    ]
    confirmed: set[str] = set()
    for attempt in range(20):
        with forked_relay(tmp_path) as relay:
            so_far, share = len(confirmed), events[attempt * 500 : attempt * 500 + 500]
            async with aiohttp.ClientSession() as session, session.ws_connect(relay.url, max_msg_size=0) as ws:
                pouring = asyncio.create_task(pour(Client(ws), share, confirmed))
                while len(confirmed) - so_far <= attempt * 9 and not pouring.done():  # noqa: ASYNC110 - no later than that
                    await asyncio.sleep(0)
                relay.kill()
                await asyncio.wait_for(pouring, 20)
    assert 20 * 9 < len(confirmed) < len(events)
    with forked_relay(tmp_path) as relay:
        assert await stored_ids(relay.url, confirmed) == confirmed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB. Needs the right to mount."""
    where = tmp_path / "disk"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(where)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("DISK-FULL TEST SKIPPED: mounting a tmpfs is not allowed here")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=False)


async def test_a_full_disk_refuses_and_recovers(small_disk: Path, key: SecretKey) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 3_000_000)
    with relay_process(small_disk, TIMMY_RELAY_KEEP_FREE_BYTES="0") as relay:
        confirmed: set[str] = set()
        async with aiohttp.ClientSession() as session, session.ws_connect(relay.url) as ws:
            client = Client(ws)
            refused = ""
            for n in range(400):
                event = key.sign(kind=1, content="x" * 20_000, tags=[["n", str(n)]])
                accepted, message = await client.publish(event)
                if accepted:
                    confirmed.add(event.id)
                else:
                    refused = message
                    break
            assert refused.startswith("error:"), refused
            assert confirmed
            assert await stored_ids(relay.url, confirmed) == confirmed
            ephemeral = key.sign(kind=20001)
            assert await client.publish(ephemeral) == (True, "")
            ballast.unlink()
            assert await client.publish(event) == (True, "")
            confirmed.add(event.id)
        assert await stored_ids(relay.url, confirmed) == confirmed
        relay.kill()
        again = RelayProcess(small_disk)
        assert await stored_ids(again.url, confirmed) == confirmed
        again.stop()


async def test_a_nearly_full_disk_is_kept_for_our_own(start: Start, key: SecretKey, other: SecretKey) -> None:
    relay = await start(keep_free_bytes=2**60, own_keys=[other.public])
    async with relay.client() as client:
        accepted, message = await client.publish(key.sign(kind=1))
        assert not accepted and message == "error: the disk of this relay is nearly full"
        assert await client.publish(key.sign(kind=20001)) == (True, "")
        assert await client.publish(other.sign(kind=1)) == (True, "")


async def test_start_is_quick_and_stop_is_clean(tmp_path: Path, key: SecretKey) -> None:
    RelayProcess(tmp_path).stop()  # the first start makes keys and tables
    with relay_process(tmp_path) as relay:
        async with aiohttp.ClientSession() as session, session.ws_connect(relay.url) as ws:
            took = relay.cpu_seconds()
            assert await Client(ws).publish(key.sign(kind=1)) == (True, "")
            assert took < 1.5, f"{took:.2f} s of CPU time from exec to the first WebSocket"
            async with session.get(relay.url.replace("ws", "http") + "/healthz") as response:
                assert response.status == 200
            assert (tmp_path / "run" / "relay.url").read_text().strip() == relay.url
            relay.process.terminate()
            await asyncio.sleep(0.003)
            relay.process.terminate()  # an impatient supervisor
            while (frame := await ws.receive(timeout=20)).type is aiohttp.WSMsgType.TEXT:
                pass
            assert (frame.type, frame.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        assert relay.stop() == 0
        assert not (tmp_path / "run" / "relay.url").exists()
        assert not (tmp_path / "relay" / "relay.db-wal").exists()


async def test_one_store_has_one_relay(tmp_path: Path) -> None:
    with relay_process(tmp_path), pytest.raises(AssertionError, match="runs on it already"):
        RelayProcess(tmp_path)


async def test_a_store_that_is_none_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    (tmp_path / "relay" / "relay.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(AssertionError, match="can't open the store"):
        RelayProcess(tmp_path)


async def test_sighup_reloads(tmp_path: Path, key: SecretKey) -> None:
    with relay_process(tmp_path) as relay:
        async with aiohttp.ClientSession() as session, session.ws_connect(relay.url) as ws:
            client = Client(ws)
            await client.accept(key.sign(kind=7))
            (tmp_path / "timmy.toml").write_text("[relay]\nblocked_kinds = [7]\n")
            relay.signal(signal.SIGHUP)
            for _ in range(100):
                accepted, _message = await client.publish(key.sign(kind=7, content=os.urandom(4).hex()))
                if not accepted:
                    break
                await asyncio.sleep(0.02)
            assert not accepted
            (tmp_path / "timmy.toml").write_text("[relay]\nblocked_kinds = 'oops'\n")
            relay.signal(signal.SIGHUP)
            await asyncio.sleep(0.3)
            assert (await client.publish(key.sign(kind=7)))[0] is False
            assert "not reloaded" in relay.stderr()


class Said(NamedTuple):
    """What a command printed and how it ended."""

    code: int
    out: str


def timmy(*words: str, data: Path) -> Said:
    """A `timmy` command, run in this process: starting Python anew would be most of the test."""
    from node.cli import app
    from node.errors import Complaint

    result = CliRunner().invoke(app, [*words, "--data", str(data)])
    failed = result.exception if isinstance(result.exception, Complaint) else None
    return Said(failed.exit_code if failed else result.exit_code, result.stdout)


def test_export_import_backup_compact(tmp_path: Path, key: SecretKey) -> None:
    source, second, third = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    events = [key.sign(kind=1, content=f"{n} \u2028\x01", created_at=NOW - n) for n in range(300)]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(event.to_json() + b"\n" for event in events) + b"not json\n" + b"{}\n")
    offline = timmy("relay", "import", str(file), "--json", data=source)
    assert orjson.loads(offline.out) | {"reasons": None} == {
        "accepted": 300,
        "duplicates": 0,
        "refused": 2,
        "reasons": None,
    }
    with relay_process(source) as relay:
        online = timmy("import", str(file), "--json", data=source)
        assert orjson.loads(online.out)["duplicates"] == 300
        state = orjson.loads(timmy("relay", "status", "--json", data=source).out)
        assert state["events"] == 300
        assert state["url"] == relay.url
        out = tmp_path / "out.jsonl"
        assert timmy("export", str(out), data=source).code == 0
        assert set(out.read_bytes().splitlines()) == {event.to_json() for event in events}
        whole = out.read_bytes()
        out.write_bytes(whole[: len(whole) // 2])  # cut off in the middle of a line
        assert timmy("export", str(out), "--resume", data=source).code == 0
        assert out.read_bytes() == whole
        picked = timmy("relay", "export", "--filter", orjson.dumps({"ids": [events[0].id]}).decode(), data=source)
        assert picked.out.encode().strip() == events[0].to_json()
        assert timmy("relay", "backup", str(tmp_path / "copy.db"), data=source).code == 0
        compacted = timmy("relay", "compact", data=source)
        assert "->" in compacted.out
    assert "->" in timmy("relay", "compact", data=source).out
    (second / "relay").mkdir(parents=True)
    shutil.copy(tmp_path / "copy.db", second / "relay" / "relay.db")
    with relay_process(second) as relay:
        assert asyncio.run(stored_ids(relay.url, {e.id for e in events})) == {e.id for e in events}
    assert timmy("relay", "status", data=third).code == 3
    assert timmy("export", str(out), data=source).code == 2


def test_a_cut_off_import_goes_on(tmp_path: Path, key: SecretKey) -> None:
    from relay.transfer import Bookmark

    events = [key.sign(kind=1, content=str(n)) for n in range(50)]
    file = tmp_path / "events.jsonl"
    lines = [event.to_json() + b"\n" for event in events]
    file.write_bytes(b"".join(lines))
    (tmp_path / "relay").mkdir()
    Bookmark(tmp_path, file).write(sum(map(len, lines[:40])))
    assert orjson.loads(timmy("import", str(file), "--json", data=tmp_path).out)["accepted"] == 10
    assert orjson.loads(timmy("import", str(file), "--json", data=tmp_path).out) | {"reasons": 0} == {
        "accepted": 40,
        "duplicates": 10,
        "refused": 0,
        "reasons": 0,
    }
