"""Hostile input: each gets the right answer, the connection goes on where it can, the process stays up and small."""

import asyncio
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from nostr.key import SecretKey
from tests.relay.conftest import Client, Running, Start
from tests.relay.process import relay_process

NOW = int(time.time())
JUNK = [
    b"",
    b"null",
    b"{}",
    b"[]",
    b"[1]",
    b'["REQ"]',
    b'["EVENT"]',
    b'["NOPE","x"]',
    b'["REQ","a",{"kinds":[1]}',
    b"[" * 5000 + b"]" * 5000,
    b'["REQ",' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"]",
    b'["EVENT",{"id":"\\ud800"}]',
    b'["EVENT",{"created_at":1' + b"0" * 400 + b"}]",
    b'["EVENT",{"created_at":NaN}]',
    b"\xff\xfe\x00",
    b'["REQ",{}]',
    b'["CLOSE",5]',
    b'["AUTH",{"id":5}]',
    b'["AUTH",null]',
    b'["NEG-OPEN",1,{},"61"]',
    b'["NEG-MSG",[],"61"]',
]


async def alive(client: Client) -> None:
    """The connection still answers."""
    await client.say("REQ", "alive", {"ids": ["0" * 64]})
    while True:
        message = await client.hear()
        if message == ["EOSE", "alive"]:
            return


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
async def test_junk_gets_an_answer_and_the_connection_goes_on(start: Start, junk: bytes) -> None:
    relay = await start()
    async with relay.client() as client:
        await client.ws.send_frame(junk, aiohttp.WSMsgType.TEXT)
        answer = await client.hear()
        assert answer[0] in ("NOTICE", "CLOSED", "OK")
        await alive(client)


WRONG: list[dict[str, Any]] = [
    {"id": "0" * 63},
    {"id": "A" * 64},
    {"id": None},
    {"pubkey": "f" * 65},
    {"pubkey": 5},
    {"sig": "0" * 127},
    {"sig": ["0" * 128]},
    {"created_at": 1.0},
    {"created_at": "1"},
    {"created_at": -1},
    {"created_at": True},
    {"created_at": 2**64},
    {"kind": -1},
    {"kind": 65536},
    {"kind": 1.5},
    {"kind": True},
    {"content": None},
    {"content": ["x"]},
    {"tags": {}},
    {"tags": ["x"]},
    {"tags": [[1]]},
    {"tags": [["a", None]]},
    {"tags": [[["x"]]]},
]


async def test_wrong_fields_get_ok_false(start: Start, key: SecretKey) -> None:
    relay = await start()
    good = key.sign(kind=1, tags=[[], ["t"], ["t", "x"]]).to_dict()
    async with relay.client() as client:
        for change in WRONG:
            await client.ws.send_str(json.dumps(["EVENT", good | change]))
            answer = await client.hear()
            assert answer[0] == "OK", change
            assert answer[2] is False
            assert answer[3].startswith("invalid:"), answer
        for field in good:
            await client.say("EVENT", {name: value for name, value in good.items() if name != field})
            assert (await client.hear())[2] is False
        assert await client.publish(good | {"extra": 1}) == (True, "")
        assert await client.fetch({"ids": [good["id"]]}) == [good]


FILTERS: list[Any] = [
    5,
    None,
    [],
    "x",
    {"ids": "x"},
    {"ids": ["short"]},
    {"ids": ["0" * 63 + "G"]},
    {"authors": [1]},
    {"kinds": ["1"]},
    {"kinds": [1.0]},
    {"kinds": [True]},
    {"kinds": [-1]},
    {"kinds": [65536]},
    {"since": "now"},
    {"since": -1},
    {"until": 1.5},
    {"until": 10**30},
    {"limit": -1},
    {"limit": True},
    {"#e": "x"},
    {"#e": [1]},
    {"#ee": ["x"]},
    {"#1": ["x"]},
    {"search": 5},
    {"search": "x" * 10_000},
    {"unknown": 1},
    {"#t": [str(n) for n in range(10_000)]},
]


async def test_wrong_filters_get_closed(start: Start) -> None:
    relay = await start()
    async with relay.client() as client:
        for one in FILTERS:
            for verb in ("REQ", "COUNT"):
                await client.ws.send_str(json.dumps([verb, "f", one]))
                answer = await client.hear()
                assert answer[:2] == ["CLOSED", "f"], one
                assert answer[2].startswith("invalid:"), answer
        for message in (["REQ", "f"], ["REQ", "f", *[{}] * 40]):
            await client.say(*message)
            assert (await client.hear())[0] == "CLOSED"
        for name in ("", "x" * 65):
            await client.say("REQ", name, {})
            assert (await client.hear())[0] == "CLOSED"
        await alive(client)
        await client.fetch({"kinds": [1]}, name="n" * 64)
        await client.fetch({"kinds": [1]}, name='q"\\ü\n')


async def test_a_thousand_values_are_answered(start: Start, key: SecretKey) -> None:
    relay = await start()
    event = key.sign(kind=1, tags=[["t", "t7"]])
    async with relay.client() as client:
        await client.accept(event)
        values = [f"t{n}" for n in range(1500)]
        authors = [f"{n:064x}" for n in range(1500)] + [key.public]
        for query in (
            {"#t": values},
            {"authors": authors},
            {"authors": authors, "kinds": [1, 2]},
            {"authors": authors, "kinds": list(range(200))},
            {"kinds": list(range(3000))},
            {"ids": [*authors[:1500], event.id]},
            {"#t": values, "authors": authors[-3:], "kinds": list(range(300))},
        ):
            assert await client.ids(query) == [event.id]
            assert await client.count(query) == 1


async def test_too_many_subscriptions(start: Start) -> None:
    relay = await start()
    async with relay.client() as client:
        for number in range(5000):
            await client.say("REQ", str(number), {"kinds": [number % 100]})
        answers = [(await client.hear())[0] for _ in range(5000)]
        assert answers.count("EOSE") == relay.relay.settings.max_subscriptions
        assert answers.count("CLOSED") == 5000 - relay.relay.settings.max_subscriptions
        assert relay.relay.index.count == relay.relay.settings.max_subscriptions
        await client.say("REQ", "0", {"kinds": [3]})
        assert await client.hear() == ["EOSE", "0"]
    for _ in range(100):
        if not relay.relay.index.count:
            break
        await asyncio.sleep(0.02)
    assert relay.relay.index.count == 0
    assert not relay.relay.index.by_kind


async def test_too_many_values_in_all(start: Start) -> None:
    relay = await start()
    async with relay.client() as client:
        answers = []
        for number in range(12):
            await client.say("REQ", str(number), {"#t": [f"{number} {n}" for n in range(3000)]})
            answers.append((await client.hear())[0])
        assert answers == ["EOSE"] * 8 + ["CLOSED"] * 4
        assert len(relay.relay.index.by_tag) == 24_000
        await client.say("CLOSE", "0")
        assert await client.ids({"#t": [f"{n}" for n in range(3000)]}) == []


async def test_large_messages(tmp_path: Path, key: SecretKey) -> None:
    event = key.sign(kind=1, content="x" * 300_000)
    with relay_process(tmp_path) as relay:
        async with aiohttp.ClientSession() as session, session.ws_connect(relay.url) as ws:
            client = Client(ws)
            accepted, message = await client.publish(event)
            assert not accepted
            assert message.startswith("invalid:")
            await client.say("REQ", "big", {"ids": ["0" * 64] * 10_000})
            assert (await client.hear())[:2] == ["CLOSED", "big"]
            await ws.send_str("[" + "1," * 200_000 + "1]")
            assert (await client.hear())[0] == "NOTICE"
            await alive(client)
            before = relay.resident_mb()
            for _ in range(10):
                async with session.ws_connect(relay.url) as flood:
                    with suppress(ConnectionError, aiohttp.ClientError):
                        await flood.send_str("x" * 10_000_000)
                    while (await flood.receive(timeout=30)).type is aiohttp.WSMsgType.TEXT:
                        pass
                    assert flood.closed or flood.close_code == 1009
            await alive(client)
            assert relay.resident_mb() - before < 30


async def raw_socket(relay: Running, extra: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(relay.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + extra + b"\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in head
    return reader, writer


async def test_no_compression_hence_no_bombs(start: Start) -> None:
    relay = await start()
    reader, writer = await raw_socket(
        relay, b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    )
    writer.write(bytes((0xC1, 0x80 | 5)) + b"\0\0\0\0" + b"abcde")  # RSV1: compressed, which nobody agreed on
    data = await asyncio.wait_for(reader.read(-1), 30)
    assert b"NOTICE" not in data
    writer.close()
    async with relay.client() as client:
        await alive(client)


async def test_broken_frames_end_only_their_own_connection(start: Start) -> None:
    relay = await start()
    async with relay.client() as bystander:
        for frame in (
            b"\x8b\x80\0\0\0\0",  # an opcode that does not exist
            b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0",  # 2^64-1 bytes announced
            b"\x89\xfe\x01\x00" + b"\0" * 4,  # a ping of 256 bytes
        ):
            reader, writer = await raw_socket(relay)
            writer.write(frame)
            with suppress(ConnectionError):
                await asyncio.wait_for(reader.read(-1), 30)
            writer.close()
        await alive(bystander)


async def test_binary_frames_get_a_notice(start: Start) -> None:
    relay = await start()
    async with relay.client() as client:
        await client.ws.send_bytes(b'["REQ","x",{}]')
        assert (await client.hear())[0] == "NOTICE"
        await alive(client)


async def test_slow_loris_is_cut(start: Start) -> None:
    relay = await start(header_seconds=1)
    port = int(relay.url.rsplit(":", 1)[1])
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    for _, writer in connections:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    async with relay.client() as client:
        await alive(client)
        ended = await asyncio.wait_for(asyncio.gather(*(reader.read(-1) for reader, _ in connections)), 30)
        assert len(ended) == 20
        await asyncio.sleep(1.5)
        await alive(client)  # a WebSocket that is quiet is no loris
    assert relay.relay.metrics.slow_clients == 20
    for _, writer in connections:
        writer.close()


async def test_a_quiet_client_is_pinged_and_a_dead_one_is_cut(start: Start) -> None:
    relay = await start(idle_ping_seconds=1)
    reader, writer = await raw_socket(relay)  # answers no ping
    async with relay.client(autoping=False) as client:
        await client.ws.ping(b"hello")
        while (frame := await client.ws.receive(timeout=30)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert (frame.type, bytes(frame.data)) == (aiohttp.WSMsgType.PONG, b"hello")
        pinged = b""
        with suppress(ConnectionError):
            while piece := await asyncio.wait_for(reader.read(4096), 30):
                pinged += piece
        assert b"\x89\x00" in pinged
    async with relay.client() as client:  # answers by itself
        with suppress(TimeoutError):
            async with asyncio.timeout(4):
                await client.hear(30)
        await alive(client)
    writer.close()


async def test_a_reader_that_never_reads_is_cut_and_harms_nobody(start: Start, key: SecretKey) -> None:
    relay = await start(max_pending_bytes=300_000)
    before = resident_mb()
    reader, writer = await raw_socket(relay)
    request = orjson.dumps(["REQ", "all", {"kinds": [1, 20001]}])
    writer.write(bytes((0x81, 0x80 | len(request))) + b"\0\0\0\0" + request)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with relay.client() as sender, relay.client() as good:
        await good.subscribe({"kinds": [20001]})
        sent = 0
        while relay.relay.metrics.slow_readers == 0:
            event = key.sign(kind=20001, content="x" * 60_000, tags=[["n", str(sent)]])
            await sender.accept(event)
            assert (await good.hear())[2]["id"] == event.id
            sent += 1
            assert sent < 400, "the slow reader was never cut"
        await sender.accept(key.sign(kind=1))
    assert resident_mb() - before < 60
    writer.close()
    del reader


async def test_a_long_answer_waits_for_its_reader(start: Start, key: SecretKey) -> None:
    """30 MB for one REQ: sent as fast as it is read, never all in memory at once, all of it arrives."""
    relay = await start(max_pending_bytes=4_000_000)
    events = [key.sign(kind=1, content="x" * 100_000, created_at=NOW - n) for n in range(300)]
    async with relay.client() as client:
        for event in events:
            await client.accept(event)
        await client.say("REQ", "q", {"kinds": [1], "limit": 300})
        await asyncio.sleep(0.5)
        assert sum(connection.unsent for connection in relay.relay.connections) < 4_000_000
        live = key.sign(kind=1, content="while you read")
        async with relay.client() as second:
            await second.accept(live)
        got = [await client.hear() for _ in range(302)]
        assert [message[2]["id"] for message in got[:300]] == [event.id for event in events]
        assert got[300] == ["EOSE", "q"]
        assert got[301][2]["id"] == live.id
        assert await client.silent()
