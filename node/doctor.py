"""Looks at everything a node needs and says in words what is wrong and what to do."""

import asyncio
import importlib.util
import shutil
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp

from node import home
from node.errors import Complaint
from node.settings import NodeSettings, load

Verdict = Literal["fine", "note", "wrong"]

PIP = ".venv/bin/pip install -c constraints.txt -e"
ENGINES = (
    ("av", "video, animation, music", f"{PIP} '.[shop]'"),
    ("hibari", "speech and singing", f"{PIP} '.[shop]'"),
    ("PIL", "images", f"{PIP} '.[shop]'"),
    ("faster_whisper", "speech to text, for the podcast recipe (optional)", f"{PIP} '.[stt]'"),
    ("torch", "real image, music and video models (optional)", f"{PIP} '.[diffusers]'"),
)
PROGRAMS = (("espeak-ng", "speech in other languages"), ("apertium", "translation"), ("fluidsynth", "richer music"))


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    verdict: Verdict
    detail: str


async def examine(data: Path) -> list[Finding]:
    """Every check in turn; a check that finds its own ground missing says so and the others go on."""
    found = await _settings(data)
    for check in (_keys, _disk, *(NEED_SETTINGS if found[0].verdict == "fine" else ()), _engines):
        found += await check(data)
    return found


async def _settings(data: Path) -> list[Finding]:
    try:
        load(data).check()
    except Complaint as error:
        return [Finding("settings", "wrong", str(error))]
    return [Finding("settings", "fine", str(data / "timmy.toml"))]


async def _keys(data: Path) -> list[Finding]:
    found = []
    for path in sorted([*(data / "keys").glob("*.key"), *(data / "wallet" / "connections").glob("*.uri")]):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            found.append(Finding("keys", "wrong", f"{path} can be read by others (mode {mode:o}): chmod 600 {path}"))
    count = len(list((data / "keys").glob("*.key")))
    return found or [Finding("keys", "fine", f"{count} keys, all private")]


async def _disk(data: Path) -> list[Finding]:
    usage = shutil.disk_usage(data)
    free = usage.free // 1_000_000
    if free < 200:
        return [
            Finding("disk", "wrong", f"{free} MB free on {data}: the node stops taking events and jobs when it is full")
        ]
    return [Finding("disk", "note" if free < 2000 else "fine", f"{free / 1000:.1f} GB free")]


async def _clock(data: Path) -> list[Finding]:
    """Against the relay's `Date` header where it runs: events and invoices carry times."""
    url = _relay_http(data)
    if url is None:
        return []
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(url + "/healthz") as answer,
        ):
            stamp = answer.headers.get("Date", "")
    except (aiohttp.ClientError, TimeoutError):
        return []
    from email.utils import parsedate_to_datetime

    try:
        skew = int(time.time() - parsedate_to_datetime(stamp).timestamp())
    except ValueError:
        return []
    if abs(skew) > 30:
        return [
            Finding("clock", "wrong", f"this clock and the relay's differ by {skew} s: set it (systemd-timesyncd, ntp)")
        ]
    return [Finding("clock", "fine", "agrees with the relay's")]


async def _relay(data: Path) -> list[Finding]:
    url = _relay_http(data)
    node = load(data).section("node", NodeSettings)
    if url is None:
        family = socket.AF_INET6 if ":" in node.host else socket.AF_INET
        try:
            socket.create_server((node.host, node.port), family=family).close()
        except OSError as error:
            why = f"{node.host}:{node.port}: {error.strerror}: choose another (`timmy config set node.port N`)"
            return [Finding("port", "wrong", why)]
        return [
            Finding("port", "fine", f"{node.host}:{node.port} is free"),
            Finding("relay", "note", "not running: `timmy up` starts the node"),
        ]
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            async with session.get(url + "/healthz") as answer:
                healthy = answer.status == 200
            started = time.monotonic()
            async with session.ws_connect(url.replace("http", "ws", 1)) as socket_:
                await socket_.send_str('["REQ","doctor",{"limit":1}]')
                await socket_.receive(timeout=5)
            took = (time.monotonic() - started) * 1000
    except (aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or "nothing heard for 5 s"
        return [Finding("relay", "wrong", f"{url} does not answer ({why}): see {data / 'logs' / 'relay.log'}")]
    return [Finding("relay", "fine" if healthy else "wrong", f"{url} answers a query in {took:.0f} ms")]


async def _wallet(data: Path) -> list[Finding]:
    path = data / "wallet" / "connections" / f"{home.OWNER}.uri"
    if not path.exists():
        return [Finding("wallet", "note", "no connection yet: the wallet service makes one at its first start")]
    if _relay_http(data) is None:
        return [Finding("wallet", "note", "not asked: it is reached through the relay, which does not run")]
    from wallet import WalletError, open_wallet

    try:
        async with asyncio.timeout(10), open_wallet(path.read_text().strip()) as wallet:
            info, balance = await wallet.info(), await wallet.balance()
    except (WalletError, TimeoutError, OSError) as error:
        why = str(error) or "nothing heard for 10 s"
        return [Finding("wallet", "wrong", f"does not answer ({why}): see {data / 'logs' / 'wallet.log'}")]
    money = "sat" if info.caps.real_money else "credits (not Lightning)"
    return [Finding("wallet", "fine", f"{info.alias}: owner has {balance // 1000:,} {money}")]


async def _engines(data: Path) -> list[Finding]:
    found = []
    for module, use, remedy in ENGINES:
        there = importlib.util.find_spec(module) is not None
        found.append(
            Finding("engine", "fine" if there else "note", f"{module}: {use}" + ("" if there else f": {remedy}"))
        )
    for program, use in PROGRAMS:
        there = shutil.which(program) is not None
        found.append(
            Finding("engine", "fine" if there else "note", f"{program}: {use}" + ("" if there else ": not installed"))
        )
    return found


def _relay_http(data: Path) -> str | None:
    try:
        return (data / home.RELAY_URL).read_text().strip().replace("ws", "http", 1)
    except FileNotFoundError:
        return None


NEED_SETTINGS = (_relay, _clock, _wallet)
