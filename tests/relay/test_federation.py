"""Two relays over real sockets. What one is promised, the other has, whoever was away in between."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nostr import Event, Filter, SecretKey, nip65
from nostr.client import Connection
from nostr.clock import system_clock
from relay import upstream as links
from relay.settings import Upstream
from tests.nostr.small_relay import SmallRelay
from tests.relay.conftest import Running, Start, running


def note(key: SecretKey, text: str, kind: int = 1, at: int | None = None, tags: list[list[str]] | None = None) -> Event:
    return key.sign(kind=kind, content=text, created_at=system_clock() if at is None else at, tags=tags or [])


async def until(condition: Callable[[], Any], what: str = "", seconds: float = 15) -> None:
    """Wait for something that may be awaitable."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return
        assert time.monotonic() < end, f"never came true: {what}"
        await asyncio.sleep(0.03)


async def held(url: str, **wanted: Any) -> set[str]:
    async with Connection(url) as c:
        return {event.content for event in await c.fetch(Filter(**wanted))}


async def give(url: str, *events: Event) -> None:
    async with Connection(url) as c:
        for ok in await asyncio.gather(*(c.publish(event) for event in events)):
            assert ok.accepted, ok


def even(r: Running, at: int = 0) -> bool:
    return bool(r.relay.status_parts["upstream"]()[at]["even"])


def upstream(url: str, direction: str, **more: Any) -> dict[str, Any]:
    everything = [{"kinds": [1, 7, 20001, 30000]}]
    return {"url": url, "direction": direction, "down": everything, "up": everything, **more}


async def test_both_ways_stored_and_live(start: Start, key: SecretKey, tmp_path: Path) -> None:
    far = await start(tmp_path / "far")
    await give(far.url, note(key, "theirs"), note(key, "not asked for", kind=4))
    async with running(tmp_path / "near") as near:
        await give(near.url, note(key, "ours"))
    near = await start(tmp_path / "near", upstream=[upstream(far.url, "both")])
    await until(lambda: even(near), "even")
    assert await held(near.url, kinds=[1]) == await held(far.url, kinds=[1]) == {"theirs", "ours"}
    assert near.relay.status_parts["upstream"]()[0]["method"] == "negentropy"
    await give(far.url, note(key, "theirs, live"))
    await give(near.url, note(key, "ours, live"))
    for url in (near.url, far.url):
        await until(lambda url=url: _has(url, {"theirs", "ours", "theirs, live", "ours, live"}), url)
    assert near.relay.status_parts["upstream"]()[0]["sent"] == 2, "nothing went back to where it came from"


async def _has(url: str, wanted: set[str], **filter: Any) -> bool:
    return await held(url, **(filter or {"kinds": [1]})) == wanted


async def test_down_only_and_up_only(start: Start, key: SecretKey, tmp_path: Path) -> None:
    source = await start(tmp_path / "source")
    sink = await start(tmp_path / "sink")
    await give(source.url, note(key, "from above"))
    near = await start(tmp_path / "near", upstream=[upstream(source.url, "down"), upstream(sink.url, "up")])
    await give(near.url, note(key, "made here"))
    await until(lambda: _has(sink.url, {"from above", "made here"}), "the sink has both")
    await until(lambda: even(near, 0) and even(near, 1), "even")
    assert await held(source.url, kinds=[1]) == {"from above"}


async def test_default_up_is_what_own_keys_signed(
    start: Start, key: SecretKey, other: SecretKey, tmp_path: Path
) -> None:
    far = await start(tmp_path / "far")
    near = await start(tmp_path / "near", own_keys=[key.public], upstream=[{"url": far.url, "direction": "up"}])
    await give(near.url, note(key, "ours"), note(other, "a guest's"), note(key, "wallet", kind=23194))
    protected = note(key, "stays", tags=[["-"]])
    await until(lambda: _has(far.url, {"ours"}), "ours is there")
    async with near.client() as c:
        await c.authenticate(key, near.url)
        await c.accept(protected)
    await asyncio.sleep(0.3)
    assert await held(far.url, kinds=[1]) == {"ours"}


async def test_relay_list_of_the_node(start: Start, tmp_path: Path) -> None:
    far = await start(tmp_path / "far")
    near = await start(
        tmp_path / "near", public_url="wss://node.example", upstream=[{"url": far.url, "direction": "both"}]
    )
    await until(lambda: _has(far.url, {""}, kinds=[10002]), "the list went up")
    async with Connection(far.url) as c:
        (event,) = await c.fetch(Filter(kinds=[10002]))
    assert event.pubkey == near.relay.key.public
    assert nip65.RelayList.parse(event) == nip65.RelayList(
        read=("wss://node.example", far.url), write=("wss://node.example", far.url)
    )


async def test_a_ring_of_three_does_not_loop(start: Start, key: SecretKey, tmp_path: Path) -> None:
    a = await start(tmp_path / "a")
    b = await start(tmp_path / "b", upstream=[upstream(a.url, "both")])
    c = await start(tmp_path / "c", upstream=[upstream(a.url, "both"), upstream(b.url, "both")])
    await until(lambda: even(b) and even(c) and even(c, 1), "even")
    await give(a.url, note(key, "once"))
    ephemeral = note(key, "passing", kind=20001)
    async with Connection(c.url) as listening, listening.subscribe(Filter(kinds=[20001])) as sub:
        await sub.eose()
        await give(a.url, ephemeral)
        async with asyncio.timeout(10):
            assert await anext(sub) == ephemeral
    for r in (b, c):
        await until(lambda r=r: _has(r.url, {"once"}), r.url)
    before = [dict(r.relay.metrics.accepted) for r in (a, b, c)]
    await asyncio.sleep(1)
    assert [dict(r.relay.metrics.accepted) for r in (a, b, c)] == before
    assert before[0] == {1: 1, 20001: 1, **{k: n for k, n in before[0].items() if k not in (1, 20001)}}


async def test_deletions_and_replacements_travel(start: Start, key: SecretKey, tmp_path: Path) -> None:
    now = system_clock()
    far = await start(tmp_path / "far")
    wanted = [{"kinds": [5, 30000]}]
    near = await start(tmp_path / "near", upstream=[upstream(far.url, "both", down=wanted, up=wanted)])
    old, new = (note(key, t, kind=30000, at=now - 20 + n, tags=[["d", "x"]]) for n, t in enumerate(("old", "new")))
    await give(near.url, old)
    await until(lambda: _has(far.url, {"old"}, kinds=[30000]), "old")
    await give(far.url, new)
    await until(lambda: _has(near.url, {"new"}, kinds=[30000]), "new")
    await give(near.url, key.sign(kind=5, tags=[["e", new.id], ["k", "30000"]]))
    await until(lambda: _has(far.url, set(), kinds=[30000]), "deleted")


async def test_a_relay_without_negentropy_is_read_and_written_by_pages(key: SecretKey, tmp_path: Path) -> None:
    now = system_clock()
    async with SmallRelay(max_limit=100, nip11={"supported_nips": [1]}) as far:
        for n in range(350):
            await far.accept(note(key, f"far {n}", at=now - 1000 + n // 9))
        settings = {"upstream": [upstream(far.url, "both")], "max_sync_events": 10_000}
        async with running(tmp_path) as near:
            await give(near.url, *(note(key, f"near {n}", at=now - 500) for n in range(30)))
        async with running(tmp_path, **settings) as near:
            await until(lambda: even(near), "even", 30)
            assert near.relay.status_parts["upstream"]()[0]["method"] == "pages"
            assert len(far.events) == 380
            async with near.client() as c:
                assert await c.count({"kinds": [1]}) == 380
            first = near.relay.status_parts["upstream"]()[0]["received"]
            assert first == 350
        async with running(tmp_path, **settings) as near:  # a second start asks for what is recent only
            far.events.append(note(key, "while we were away"))
            await until(lambda: even(near), "even", 30)
            assert "while we were away" in await held(near.url, kinds=[1], limit=1)


async def test_upstream_asks_for_auth(key: SecretKey, tmp_path: Path) -> None:
    async with SmallRelay(auth=True) as far:
        await far.accept(note(key, "behind AUTH"))
        async with running(tmp_path, upstream=[upstream(far.url, "both")]) as near:
            await until(lambda: _has(near.url, {"behind AUTH"}), "down")
            await give(near.url, note(key, "ours"))
            await until(lambda: len(far.events) == 2, "up")


async def test_what_upstream_refuses_is_counted_and_not_sent_again(key: SecretKey, tmp_path: Path) -> None:
    async with (
        SmallRelay(refusal="blocked: not here", nip11={"supported_nips": [1]}) as far,
        running(tmp_path, upstream=[upstream(far.url, "up")]) as near,
    ):
        await until(lambda: even(near), "even")
        await give(near.url, note(key, "ours"))
        state = near.relay.status_parts["upstream"]
        await until(lambda: state()[0]["refused_there"] == 1, "refused")
        await far.cut()
        await until(lambda: even(near), "even")
        await asyncio.sleep(0.5)
        assert state()[0]["refused_there"] == 1
        assert sum(said[0] == "EVENT" for said in far.heard) == 1


async def test_settings_change_links_without_a_restart(start: Start, key: SecretKey, tmp_path: Path) -> None:
    far = await start(tmp_path / "far")
    near = await start(tmp_path / "near")
    await give(far.url, note(key, "theirs"))
    changed = near.relay.base_settings.model_copy(update={"upstream": [Upstream(**upstream(far.url, "down"))]})
    near.relay.apply_settings(changed)
    await until(lambda: _has(near.url, {"theirs"}), "down")
    near.relay.apply_settings(changed.model_copy(update={"upstream": []}))
    await until(lambda: near.relay.status_parts["upstream"]() == [], "gone")
    await give(far.url, note(key, "after"))
    await asyncio.sleep(0.3)
    assert await held(near.url, kinds=[1]) == {"theirs"}


async def test_it_does_not_federate_with_itself(start: Start, tmp_path: Path) -> None:
    near = await start(tmp_path)
    mine = near.relay.base_settings.model_copy(update={"upstream": [Upstream(**upstream(near.url, "both"))]})
    near.relay.apply_settings(mine)
    state = near.relay.status_parts["upstream"]
    await until(lambda: state() and "itself" in state()[0]["error"], "noticed")


async def test_metrics_name_the_upstream(start: Start, tmp_path: Path) -> None:
    far = await start(tmp_path / "far")
    near = await start(tmp_path / "near", upstream=[upstream(far.url, "both")])
    await until(lambda: even(near), "even")
    async with near.session.get(f"{near.http}/metrics") as answer:
        text = await answer.text()
    assert f'timmy_relay_upstream_up{{url="{far.url}"}} 1' in text
    assert f'timmy_relay_upstream_even{{url="{far.url}"}} 1' in text


@pytest.mark.parametrize("bad", [{"kinds": "x"}, {"nonsense": 1}, {"ids": ["zz"]}])
def test_bad_filters_are_refused_with_the_settings(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"filter|kinds|ids"):
        Upstream(url="ws://x", down=[bad])


RELAY = """
import asyncio, sys
from pathlib import Path
from relay.app import serve
from relay.settings import RelaySettings
settings = RelaySettings.model_validate_json(sys.argv[3])
asyncio.run(serve(settings, Path(sys.argv[1]), port=int(sys.argv[2]), ready=lambda url: print(url, flush=True)))
"""


@asynccontextmanager
async def process(
    data: Path, port: int = 0, settings: str = "{}"
) -> AsyncIterator[tuple[str, subprocess.Popen[bytes]]]:
    """A relay in a process of its own, so that it can be killed."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RELAY, str(data), str(port), settings, stdout=subprocess.PIPE, env={**os.environ}
    )
    try:
        async with asyncio.timeout(20):
            url = (await child.stdout.readline()).decode().strip()
        assert url, "the relay did not start"
        yield url, child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


@pytest.mark.slow
async def test_one_is_killed_in_between_and_nothing_is_lost(key: SecretKey, tmp_path: Path) -> None:
    """Events are written to both sides all the time; the far relay is killed twice, the near one once."""
    near_data, far_data = tmp_path / "near", tmp_path / "far"
    promised: set[str] = set()
    numbers = iter(range(1_000_000))

    async def write(url: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        async with Connection(url) as c:
            while time.monotonic() < end:
                event = note(key, str(next(numbers)))
                ok = await c.publish(event, timeout=0.5)
                if ok.accepted:
                    promised.add(event.content)
                await asyncio.sleep(0.005)  # a second with more events than one page cannot be read by pages

    async with process(far_data) as (far_url, _):
        port = int(far_url.rsplit(":", 1)[1])
    link = {"url": far_url, "direction": "both", "down": [{"kinds": [1]}], "up": [{"kinds": [1]}]}
    settings = json.dumps({"upstream": [link]})
    async with process(near_data, settings=settings) as (near_url, near):
        for _ in range(2):
            async with process(far_data, port) as (_, far):
                await asyncio.gather(write(near_url, 1), write(far_url, 1))
                far.send_signal(signal.SIGKILL)
                await asyncio.gather(write(near_url, 0.7), far.wait())
        near.send_signal(signal.SIGKILL)
        await near.wait()
    async with process(far_data, port) as (_, far), process(near_data, settings=settings) as (near_url, near):
        await asyncio.gather(write(near_url, 0.5), write(far_url, 0.5))
        assert len(promised) > 200

        async def complete() -> bool:
            return all([promised <= await stored(url) for url in (near_url, far_url)])

        await until(complete, "both have everything that was promised", 40)


async def stored(url: str) -> set[str]:
    from nostr.sync import pages

    async with Connection(url) as c:
        return {event.content async for event in pages(c, Filter(kinds=[1]))}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A data folder on a disk of its own, too small at first."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


async def test_a_full_disk_delays_and_loses_nothing(
    start: Start, key: SecretKey, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_SOON", 0.5)
    far = await start(tmp_path / "far")
    await give(far.url, *(note(key, f"{n} " + "x" * 20_000) for n in range(200)))
    async with running(small_disk, upstream=[upstream(far.url, "down")], keep_free_bytes=0) as near:
        state = near.relay.status_parts["upstream"]
        await until(lambda: state()[0]["error"].startswith("error:"), "the disk is full", 30)
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        await until(lambda: even(near), "even after there is room", 30)
        async with near.client() as c:
            assert await c.count({"kinds": [1]}) == 200
