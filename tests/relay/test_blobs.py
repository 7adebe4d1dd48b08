import asyncio
import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nostr import SecretKey
from nostr.blossom import BlossomClient, authorization
from nostr.clock import system_clock
from nostr.errors import BlossomError
from tests.relay.conftest import Running, Start, running

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def token(key: SecretKey, verb: str, data: bytes | str = b"", **changes: Any) -> dict[str, str]:
    digest = data if isinstance(data, str) else sha(data)
    given = {"now": system_clock(), "hashes": [digest], **changes}
    return {"Authorization": authorization(key, verb, **given)}


async def put(r: Running, key: SecretKey, data: bytes, path: str = "/upload", **headers: str) -> aiohttp.ClientResponse:
    return await r.session.put(r.http + path, data=data, headers={**token(key, "upload", data), **headers})


async def test_upload_get_list_delete(start: Start, key: SecretKey) -> None:
    r = await start()
    async with BlossomClient(r.http, key) as client:
        blob = await client.upload(PNG, "text/plain")
        assert (blob.sha256, blob.size, blob.type) == (sha(PNG), len(PNG), "image/png")
        assert blob.url == f"{r.http}/{sha(PNG)}.png"
        assert await client.upload(PNG) == blob
        assert await client.list() == [blob] and await client.has(sha(PNG))
        for url in (blob.url, f"{r.http}/{sha(PNG)}", f"{r.http}/{sha(PNG)}.wrong"):
            async with r.session.get(url) as answer:
                assert await answer.read() == PNG and answer.headers["Content-Type"] == "image/png"
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
        await client.delete(sha(PNG))
        assert not await client.has(sha(PNG)) and await client.list() == []
        assert list((r.relay.data / "relay" / "blobs").glob("??/*")) == []


async def test_status_of_new_and_known(start: Start, key: SecretKey, other: SecretKey) -> None:
    r = await start()
    assert (await put(r, key, b"hello")).status == 201
    assert (await put(r, key, b"hello")).status == 200
    assert (await put(r, other, b"hello")).status == 200
    # the last owner takes the file along, not the first
    async with BlossomClient(r.http, key) as first, BlossomClient(r.http, other) as second:
        await first.delete(sha(b"hello"))
        assert await second.has(sha(b"hello"))
        with pytest.raises(BlossomError) as caught:
            await first.delete(sha(b"hello"))
        assert caught.value.status == 403
        await second.delete(sha(b"hello"))
        assert not await second.has(sha(b"hello"))


async def test_upload_of_a_file_streams(start: Start, key: SecretKey, tmp_path: Path) -> None:
    r = await start(tmp_path / "relay")
    path = tmp_path / "big.bin"
    path.write_bytes(bytes(range(256)) * 40_000)
    async with BlossomClient(r.http, key) as client:
        blob = await client.upload(path, "application/x-thing")
    assert (blob.size, blob.type) == (10_240_000, "application/x-thing")
    async with r.session.get(blob.url) as answer:
        assert sha(await answer.read()) == blob.sha256


@pytest.mark.parametrize(
    ("header", "status", "piece"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=0-99", 206, b"0123456789"),
        ("bytes=20-30", 416, None),
        ("bytes=5-2", 416, None),
    ],
)
async def test_ranges(start: Start, key: SecretKey, header: str, status: int, piece: bytes | None) -> None:
    r = await start()
    data = b"0123456789"
    await put(r, key, data)
    async with r.session.get(f"{r.http}/{sha(data)}", headers={"Range": header}) as answer:
        assert answer.status == status
        if piece is not None:
            assert await answer.read() == piece
            assert answer.headers["Content-Range"].endswith("/10")


async def test_head_tells_what_get_would(start: Start, key: SecretKey) -> None:
    r = await start()
    await put(r, key, PNG)
    async with r.session.head(f"{r.http}/{sha(PNG)}.png") as answer:
        assert answer.status == 200 and await answer.read() == b""
        assert answer.headers["Content-Length"] == str(len(PNG)) and answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Accept-Ranges"] == "bytes"
        tag = answer.headers["ETag"]
    async with r.session.get(f"{r.http}/{sha(PNG)}", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304


@pytest.mark.parametrize(
    ("data", "declared", "served"),
    [
        (b"<!doctype html><script>alert(1)</script>", "image/png", "text/plain; charset=utf-8"),
        (b"  <HTML><body onload=x>", "text/html", "text/plain; charset=utf-8"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', "image/svg+xml", "image/svg+xml"),
        (b"just words", "text/html", "text/plain"),
        (b"just words", "application/javascript", "text/plain"),
        (b"just words", "text/markdown", "text/markdown"),
        (b"<?xml version='1.0'?><x/>", "application/xhtml+xml", "text/plain"),
        (bytes(range(200, 255)) * 9, "application/x-thing; q=1", "application/x-thing"),
        (bytes(range(200, 255)) * 9, "text/html\u00e9", "application/octet-stream"),
        (b"\0\0\0\x20ftypisom" + bytes(40), "audio/mp4", "audio/mp4"),
        (b"\0\0\0\x20ftypisom" + bytes(40), "image/png", "video/mp4"),
    ],
)
async def test_nothing_served_can_act(start: Start, key: SecretKey, data: bytes, declared: str, served: str) -> None:
    r = await start()
    answer = await put(r, key, data, **{"Content-Type": declared})
    assert answer.status == 201
    async with r.session.get((await answer.json())["url"]) as got:
        assert got.headers["Content-Type"] == served
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in got.headers["Content-Security-Policy"]
        assert ("attachment" in got.headers.get("Content-Disposition", "")) is (
            b"<svg" in data or b"<!doc" in data or b"<HTML" in data
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"verb": "delete"},
        {"hashes": ["0" * 64]},
        {"hashes": []},
        {"now": 1000},
        {"now": system_clock() + 3600},
        {"life": -5},
        {"server": "https://elsewhere.example"},
    ],
)
async def test_tokens_that_do_not_fit(start: Start, key: SecretKey, changes: dict[str, Any]) -> None:
    r = await start()
    verb = changes.pop("verb", "upload")
    async with r.session.put(f"{r.http}/upload", data=b"x", headers=token(key, verb, b"x", **changes)) as answer:
        assert answer.status == 401 and answer.headers["X-Reason"]
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert list((r.relay.data / "relay" / "blobs").rglob("*")) == []


@pytest.mark.parametrize("header", [None, "Nostr", "Nostr e30", "Bearer x", "Nostr ////"])
async def test_no_token(start: Start, header: str | None) -> None:
    r = await start()
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("PUT", "/upload"), ("PUT", "/mirror")):
        async with r.session.request(method, r.http + path, data=b"x", headers=headers) as answer:
            assert answer.status == 401


async def test_a_forged_token_is_refused(start: Start, key: SecretKey, other: SecretKey) -> None:
    r = await start()
    raw = token(key, "upload", b"x")["Authorization"].removeprefix("Nostr ")
    event = json.loads(base64.urlsafe_b64decode(raw + "==="))
    event["pubkey"] = other.public
    forged = "Nostr " + base64.b64encode(json.dumps(event).encode()).decode()
    async with r.session.put(f"{r.http}/upload", data=b"x", headers={"Authorization": forged}) as answer:
        assert answer.status == 401


async def test_claimed_hash_must_be_the_bodys(start: Start, key: SecretKey) -> None:
    r = await start()
    headers = {**token(key, "upload", b"right"), "X-SHA-256": sha(b"right")}
    async with r.session.put(f"{r.http}/upload", data=b"wrong", headers=headers) as answer:
        assert answer.status == 409
    assert list((r.relay.data / "relay" / "blobs").rglob("*")) == []


async def test_size_and_quota(start: Start, key: SecretKey, other: SecretKey) -> None:
    own = SecretKey.generate()
    r = await start(blob_max_bytes=1000, blob_quota_bytes=1500, own_keys=[own.public])
    assert (await put(r, key, b"a" * 1001)).status == 413
    assert (await put(r, key, b"a" * 1000)).status == 201
    assert (await put(r, key, b"b" * 501)).status == 413
    assert (await put(r, key, b"b" * 500)).status == 201
    assert (await put(r, key, b"c")).status == 413
    assert (await put(r, other, b"c")).status == 201
    for letter in b"xyz":
        assert (await put(r, own, bytes((letter,)) * 1000)).status == 201

    async def chunks() -> Any:
        for _ in range(100):
            yield b"z" * 100

    headers = token(other, "upload", b"z" * 10_000)
    async with r.session.put(f"{r.http}/upload", data=chunks(), headers=headers) as answer:
        assert answer.status == 413
    assert not list((r.relay.data / "relay" / "blobs").glob(".part*"))


async def test_uploads_at_once_do_not_pass_the_quota(start: Start, key: SecretKey) -> None:
    r = await start(blob_quota_bytes=3000)
    answers = await asyncio.gather(*(put(r, key, bytes((n,)) * 1000) for n in range(6)))
    assert sum(answer.status == 201 for answer in answers) == 3
    assert await BlossomClient(r.http, key).list() != []


async def test_who_may_store(start: Start, key: SecretKey, other: SecretKey) -> None:
    r = await start(blocked_pubkeys=[key.public])
    assert (await put(r, key, b"x")).status == 403
    assert (await put(r, other, b"x")).status == 201


async def test_closed_to_strangers(start: Start, key: SecretKey, other: SecretKey) -> None:
    r = await start(blob_open=False, own_keys=[key.public])
    assert (await put(r, key, b"x")).status == 201
    assert (await put(r, other, b"y")).status == 403


async def test_requirements_before_uploading(start: Start, key: SecretKey) -> None:
    r = await start(blob_max_bytes=10)

    async def ask(**headers: str) -> int:
        async with r.session.head(f"{r.http}/upload", headers=headers) as answer:
            assert answer.status == 200 or answer.headers["X-Reason"]
            return answer.status

    asked = {"X-SHA-256": sha(b"x"), "X-Content-Length": "1", "X-Content-Type": "text/plain"}
    assert await ask(**asked, **token(key, "upload", b"x")) == 200
    assert await ask(**asked) == 401
    assert await ask(**{**asked, "X-Content-Length": "11"}, **token(key, "upload", b"x")) == 413
    assert await ask(**{**asked, "X-SHA-256": "?"}, **token(key, "upload", b"x")) == 400
    assert await ask(**{**asked, "X-Content-Length": ""}, **token(key, "upload", b"x")) == 411


async def test_mirror(start: Start, key: SecretKey, tmp_path: Path) -> None:
    origin = await start(tmp_path / "origin")
    blob = await BlossomClient(origin.http, key).upload(PNG)
    host = origin.http.removeprefix("http://")
    mirror = await start(tmp_path / "mirror", blob_mirror_hosts=[host])
    client = BlossomClient(mirror.http, key)
    copied = await client.mirror(blob.url, blob.sha256)
    assert (copied.sha256, copied.type) == (blob.sha256, "image/png")
    async with mirror.session.get(copied.url) as answer:
        assert await answer.read() == PNG
    with pytest.raises(BlossomError) as caught:
        await client.mirror(blob.url, "0" * 64)
    assert caught.value.status == 409
    with pytest.raises(BlossomError) as caught:
        await client.mirror(f"{origin.http}/{'0' * 64}", "0" * 64)
    assert caught.value.status == 502
    assert not list((mirror.relay.data / "relay" / "blobs").glob(".part*"))


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/x", "http://[::1]/", "http://169.254.169.254/", "file:///etc/passwd", 7, "http://localhost/"],
)
async def test_mirror_reaches_no_private_network(start: Start, key: SecretKey, url: Any) -> None:
    r = await start()
    body = json.dumps({"url": url})
    async with r.session.put(f"{r.http}/mirror", data=body, headers=token(key, "upload", "0" * 64)) as answer:
        assert answer.status == (400 if url == 7 else 403)


async def test_preflight_names_authorization(start: Start) -> None:
    r = await start()
    for path in ("/upload", "/mirror", "/" + "0" * 64):
        async with r.session.options(r.http + path, headers={"Origin": "https://x"}) as answer:
            assert answer.status in (200, 204)
            assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
            assert {"GET", "HEAD", "PUT", "DELETE"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))


async def test_unknown_and_malformed_names(start: Start) -> None:
    r = await start()
    for name, status in (("0" * 64, 404), ("A" * 64, 404), ("0" * 63, 404), ("0" * 64 + "/../x", 404)):
        async with r.session.get(f"{r.http}/{name}") as answer:
            assert answer.status == status
            assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_list_in_pages(start: Start, key: SecretKey) -> None:
    r = await start()
    for n in range(5):
        await put(r, key, bytes((n,)))
    seen: list[str] = []
    cursor = ""
    while True:
        async with r.session.get(f"{r.http}/list/{key.public}?limit=2{cursor}") as answer:
            page = [item["sha256"] for item in await answer.json()]
        if not page:
            break
        seen += page
        cursor = f"&cursor={page[-1]}"
    assert sorted(seen) == sorted(sha(bytes((n,))) for n in range(5))
    async with r.session.get(f"{r.http}/list/{key.public}?limit=x") as answer:
        assert answer.status == 400


async def test_files_survive_a_restart_and_debris_does_not(tmp_path: Path, key: SecretKey) -> None:
    async with running(tmp_path) as r:
        await put(r, key, PNG)
        folder = r.relay.data / "relay" / "blobs"
    (folder / ".part-left").write_bytes(b"half")
    (folder / ".part-dir").mkdir()
    (folder / "ab").mkdir(exist_ok=True)
    (folder / "ab" / ("ab" * 32)).write_bytes(b"nobody's")
    async with running(tmp_path) as r:
        async with r.session.get(f"{r.http}/{sha(PNG)}") as answer:
            assert await answer.read() == PNG
        assert [p.name for p in folder.rglob("*") if p.is_file()] == [sha(PNG)]


async def test_a_broken_upload_leaves_nothing(start: Start, key: SecretKey) -> None:
    r = await start()

    async def breaks() -> Any:
        yield b"x" * 100_000
        await asyncio.sleep(0.1)
        raise RuntimeError("the sender died")

    with pytest.raises((aiohttp.ClientError, RuntimeError)):
        await r.session.put(f"{r.http}/upload", data=breaks(), headers=token(key, "upload", b"x"))
    await asyncio.sleep(0.3)
    assert not [p for p in (r.relay.data / "relay" / "blobs").rglob("*") if p.is_file()]


async def test_status_and_metrics_count_files(start: Start, key: SecretKey) -> None:
    r = await start()
    await put(r, key, PNG)
    async with r.session.get(f"{r.http}/status") as answer:
        assert (await answer.json())["blobs"] == {"files": 1, "bytes": len(PNG)}
    async with r.session.get(f"{r.http}/metrics") as answer:
        assert "timmy_relay_blobs 1" in await answer.text()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose files lie on a disk of 200 kB."""
    small = tmp_path / "relay" / "blobs"
    small.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield tmp_path
    subprocess.run(["umount", str(small)], check=False)


async def test_a_full_disk_is_said_and_survived(small_disk: Path, key: SecretKey) -> None:
    async with running(small_disk, keep_free_bytes=0) as r:
        assert (await put(r, key, b"a" * 100_000)).status == 201
        full = await put(r, key, b"b" * 150_000)
        assert full.status == 507 and full.headers["X-Reason"] == "no room on the disk"
        async with r.session.get(f"{r.http}/{sha(b'a' * 100_000)}") as answer:
            assert len(await answer.read()) == 100_000
        await BlossomClient(r.http, key).delete(sha(b"a" * 100_000))
        assert (await put(r, key, b"b" * 150_000)).status == 201


async def test_strangers_do_not_fill_the_disk(start: Start, key: SecretKey, other: SecretKey) -> None:
    r = await start(keep_free_bytes=2**60, own_keys=[other.public])
    full = await put(r, key, b"hello")
    assert full.status == 507 and "nearly full" in full.headers["X-Reason"]
    assert (await put(r, other, b"hello")).status == 201


async def test_an_admin_may_delete_anybodys_file(start: Start, key: SecretKey, other: SecretKey) -> None:
    r = await start(admins=[other.public])
    blob = await BlossomClient(r.http, key).upload(b"bad")
    await BlossomClient(r.http, other).delete(blob.sha256)
    assert not await BlossomClient(r.http, key).has(blob.sha256)
