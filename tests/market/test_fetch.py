"""Downloads of strangers' addresses against a real server on loopback."""

import asyncio
import gzip
import hashlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from market.errors import FetchFailed, FetchRefused
from market.fetch import Limits, fetch, mime_matches
from nostr.address import public_address
from nostr.sniff import sniff

PNG = b"\x89PNG\r\n\x1a\n" + bytes(5000)


async def _hello(request: web.Request) -> web.Response:
    return web.Response(body=PNG, content_type="image/png")


async def _html(request: web.Request) -> web.Response:
    return web.Response(body=b"<!DOCTYPE html><p>pay first", content_type="image/png")


async def _huge(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    answer.content_length = 10 << 30
    await answer.prepare(request)
    return answer


async def _endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    answer.enable_chunked_encoding()
    await answer.prepare(request)
    try:
        while True:
            await answer.write(bytes(1 << 16))
    except ConnectionError:
        return answer


async def _slow(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    await answer.write(b"a")
    await asyncio.sleep(30)
    return answer


async def _bomb(request: web.Request) -> web.Response:
    return web.Response(body=gzip.compress(bytes(50 << 20)), headers={"Content-Encoding": "gzip"})


async def _packed(request: web.Request) -> web.Response:
    return web.Response(body=gzip.compress(PNG), headers={"Content-Encoding": "gzip"})


async def _redirect(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": request.query["to"]})


@pytest.fixture
async def server() -> AsyncIterator[str]:
    app = web.Application()
    for path, handler in [
        ("/png", _hello), ("/html", _html), ("/huge", _huge), ("/endless", _endless), ("/slow", _slow),
        ("/bomb", _bomb), ("/packed", _packed), ("/redirect", _redirect),
    ]:  # fmt: skip
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_own_server_is_reached_and_the_file_named_by_its_hash(server: str, tmp_path: Path) -> None:
    got = await fetch(f"{server}/png", allow_loopback_hosts=[server], into=tmp_path)
    assert got.mime == "image/png"
    assert got.sha256 == hashlib.sha256(PNG).hexdigest()
    assert got.path == tmp_path / f"{got.sha256}.png" and got.read() == PNG
    assert names(tmp_path) == [got.path.name]


async def test_websocket_base_url_allows_the_same_host(server: str) -> None:
    got = await fetch(f"{server}/packed", allow_loopback_hosts=[server.replace("http", "ws")])
    assert got.data == PNG


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001"]
)
async def test_loopback_is_refused_in_every_spelling(server: str, host: str) -> None:
    port = server.rpartition(":")[2]
    with pytest.raises(FetchRefused) as refused:
        await fetch(f"http://{host}:{port}/png")
    assert "public" in refused.value.reason


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.com/x", "http://u:p@example.com/", "gopher://x", "http://", "x",
     "http://a b/", "http://10.0.0.1/", "http://169.254.169.254/latest", "http://192.168.1.1/", "http://[fe80::1]/",
     "http://[fd00::1]/", "http://224.0.0.1/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/"],
)  # fmt: skip
async def test_what_is_not_public_web_is_refused(url: str) -> None:
    with pytest.raises(FetchRefused) as refused:
        await fetch(url, Limits(seconds=2))
    assert not isinstance(refused.value, FetchFailed)


async def test_a_name_that_resolves_to_loopback_is_refused(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()

    async def lies(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(loop, "getaddrinfo", lies)
    with pytest.raises(FetchRefused) as refused:
        await fetch(f"http://innocent.example:{server.rpartition(':')[2]}/png")
    assert not isinstance(refused.value, FetchFailed)


async def test_redirects_are_followed_at_home_and_refused_into_the_network(server: str) -> None:
    port = server.rpartition(":")[2]
    got = await fetch(f"{server}/redirect?to=/png", allow_loopback_hosts=[server])
    assert got.data == PNG
    with pytest.raises(FetchRefused):
        await fetch(f"{server}/redirect?to=http://127.0.0.2:{port}/png", allow_loopback_hosts=[server])
    with pytest.raises(FetchRefused) as refused:
        await fetch(
            f"http://localhost:{port}/redirect?to={server}/png", allow_loopback_hosts=[f"localhost:{port}", server]
        )
    assert "own network" in refused.value.reason
    with pytest.raises(FetchRefused):
        await fetch(f"{server}/redirect?to=file:///etc/passwd", allow_loopback_hosts=[server])


async def test_limits_hold(server: str, tmp_path: Path) -> None:
    allow = {"allow_loopback_hosts": [server], "into": tmp_path}
    for path in ("huge", "endless", "bomb"):
        with pytest.raises(FetchRefused) as refused:
            await fetch(f"{server}/{path}", Limits(max_bytes=1 << 20, seconds=10), **allow)  # type: ignore[arg-type]
        assert "bytes" in refused.value.reason
    with pytest.raises(FetchFailed):
        await fetch(f"{server}/slow", Limits(seconds=0.3), **allow)  # type: ignore[arg-type]
    assert names(tmp_path) == []


async def test_type_and_hash_are_those_of_the_bytes(server: str) -> None:
    with pytest.raises(FetchRefused) as refused:
        await fetch(f"{server}/html", Limits(mimes=("image/*",)), allow_loopback_hosts=[server])
    assert "text/html" in refused.value.reason
    with pytest.raises(FetchRefused):
        await fetch(f"{server}/png", allow_loopback_hosts=[server], sha256="00" * 32)
    with pytest.raises(FetchFailed):
        await fetch(f"{server}/nothing", allow_loopback_hosts=[server])


def test_addresses() -> None:
    assert public_address("1.1.1.1") and public_address("2606:4700::1111")
    for private in ("127.0.0.1", "10.1.1.1", "100.64.0.1", "::1", "::", "fe80::1%eth0", "::ffff:10.0.0.1", "240.0.0.1"):
        assert not public_address(private), private


def test_sniffing() -> None:
    assert sniff(b"RIFF\x00\x00\x00\x00WAVEfmt ") == "audio/wav"
    assert sniff(b"\x00\x00\x00\x20ftypM4A ") == "audio/mp4"
    assert sniff(b"\x00\x00\x00\x20ftypisom") == "video/mp4"
    assert sniff(b'{"a": 1}') == "application/json"
    assert sniff("größe".encode()[:3]) == "text/plain"
    assert sniff(b"<?xml version='1.0'?><svg xmlns=''>") == "image/svg+xml"
    assert sniff(b"BMW is a car maker") == "text/plain"
    assert sniff(bytes(100)) == "application/octet-stream"
    assert mime_matches("video/mp4", "audio/mp4") and mime_matches("image/png", "image/*")
    assert not mime_matches("text/html", "image/png") and not mime_matches("image/png", "audio/*")
