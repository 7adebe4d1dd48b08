"""Events to measure with, and a WebSocket client that costs little: raw frames on an asyncio protocol."""

import asyncio
import hashlib
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks.relay_peers import CACHE, REQUEST
from nostr.key import SecretKey

AUTHORS = 500
TOPICS = 200
KINDS = (
    (1, 46),
    (7, 22),
    (6, 4),
    (1111, 6),
    (9735, 3),
    (5050, 4),
    (5100, 3),
    (5000, 1),
    (5001, 1),
    (7000, 6),
    (6050, 4),
)
TEXT = (
    "relay agent whale invoice sunrise market lightning picture music story garden river machine answer "
    "question winter yellow train mountain copper signal harbor novel poet engine orchard velvet comet"
)


def dataset(number: int, span: int = 86_400 * 30) -> list[bytes]:
    """`number` signed events (JSON lines), newest an hour old; the same for every relay of a run. Cached by day."""
    day = int(time.time()) // 86_400
    file = CACHE / f"events-{number}-{day}.jsonl"
    if file.exists():
        return file.read_bytes().splitlines()
    chance, words = random.Random(number), TEXT.split()
    keys = [SecretKey(hashlib.sha256(f"bench {n}".encode()).digest()) for n in range(AUTHORS)]
    kinds = [kind for kind, weight in KINDS for _ in range(weight)]
    newest = day * 86_400 - 3600
    made: list[tuple[str, str]] = []  # (id, author) of what later events may answer
    lines: list[bytes] = []
    for n in range(number):
        kind = chance.choice(kinds)
        key = keys[min(int(chance.expovariate(6) * AUTHORS), AUTHORS - 1)]
        tags: list[list[str]] = []
        if made and kind != 5050 and chance.random() < 0.7:
            answered, author = made[max(0, len(made) - 1 - int(chance.expovariate(1 / 2000)))]
            tags += [["e", answered, "wss://relay.example"], ["p", author]]
        elif chance.random() < 0.4:
            tags.append(["p", keys[min(int(chance.expovariate(8) * AUTHORS), AUTHORS - 1)].public])
        if kind in (1, 1111):
            tags += [["t", f"topic{min(int(chance.expovariate(10) * TOPICS), TOPICS - 1)}"]]
        content = "+" if kind == 7 else " ".join(chance.choices(words, k=int(chance.triangular(5, 80, 20))))
        at = newest - span + (span * n) // number
        event = key.sign(kind=kind, content=content, tags=tags, created_at=at)
        made.append((event.id, event.pubkey))
        lines.append(event.to_json())
    CACHE.mkdir(parents=True, exist_ok=True)
    for old in CACHE.glob(f"events-{number}-*.jsonl"):
        old.unlink()
    fresh = file.with_suffix(".new")
    fresh.write_bytes(b"\n".join(lines))
    fresh.replace(file)
    return lines


def frame(payload: bytes) -> bytes:
    """A masked text frame; the mask is zero, so the payload stays as it is."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, 0x80 | size)) + b"\0\0\0\0" + payload
    if size < 65536:
        return b"\x81\xfe" + size.to_bytes(2, "big") + b"\0\0\0\0" + payload
    return b"\x81\xff" + size.to_bytes(8, "big") + b"\0\0\0\0" + payload


class Socket(asyncio.Protocol):
    """Calls `on_message` with each text message; with `counting` it only counts `["EVENT"` in what arrives."""

    def __init__(self) -> None:
        self.on_message: Callable[[bytes], None] = lambda message: None
        self.counting = False
        self.events = 0
        self.bytes = 0
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False
        self._buffer = b""
        self._upgraded = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        if self.counting:
            tail = self._buffer[-8:] + data
            self.events += tail.count(b'["EVENT",')
            self._buffer = tail[-8:]
            return
        buffer = self._buffer + data if self._buffer else data
        if not self._upgraded:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = buffer
                return
            self._upgraded = True
            buffer = buffer[end + 4 :]
            self.open.set_result(None)
        at, size = 0, len(buffer)
        while size - at >= 2:
            length, start = buffer[at + 1], at + 2
            if length == 126:
                if size - at < 4:
                    break
                length, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                if size - at < 10:
                    break
                length, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if size < start + length:
                break
            opcode = buffer[at] & 15
            if opcode == 1:
                self.on_message(buffer[start : start + length])
            elif opcode == 9:
                self.transport.write(bytes((0x8A, 0x80 | length)) + b"\0\0\0\0" + buffer[start : start + length])
            at = start + length
        self._buffer = buffer[at:]

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.open.done():
            self.open.set_exception(ConnectionError("no WebSocket"))

    def count_only(self) -> None:
        """From now on messages are not taken apart."""
        self.counting, self._buffer = True, b""

    def send(self, payload: bytes) -> None:
        self.transport.write(frame(payload))


async def connect(port: int) -> Socket:
    _, socket = await asyncio.get_running_loop().create_connection(Socket, "127.0.0.1", port)
    await socket.open
    return socket


@dataclass
class Ingest:
    """What came of pouring events in."""

    seconds: float
    accepted: int
    refused: int
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.accepted / self.seconds


async def ingest(
    port: int, lines: list[bytes], *, connections: int = 8, window: int = 32, limit: float = 120
) -> Ingest:
    """Every OK awaited, `window` events in flight on each connection. Ends early after `limit` seconds."""
    sockets = [await connect(port) for _ in range(connections)]
    frames = deque(frame(b'["EVENT",' + line + b"]") for line in lines)
    result = Ingest(0.0, 0, 0)
    done = asyncio.get_running_loop().create_future()
    left = len(frames)
    end = time.perf_counter() + limit

    def hear(socket: Socket) -> Callable[[bytes], None]:
        def on_message(message: bytes) -> None:
            nonlocal left
            if not message.startswith(b'["OK"'):
                return
            if b",true" in message[:90]:
                result.accepted += 1
            else:
                result.refused += 1
                reason = orjson.loads(message)[3]
                result.reasons[reason] = result.reasons.get(reason, 0) + 1
            left -= 1
            if frames and time.perf_counter() < end:
                socket.transport.write(frames.popleft())
            elif left == len(frames) and not done.done():
                done.set_result(None)

        return on_message

    began = time.perf_counter()
    for socket in sockets:
        socket.on_message = hear(socket)
        socket.transport.write(b"".join(frames.popleft() for _ in range(min(window, len(frames)))))
    await asyncio.wait_for(done, limit + 60)
    result.seconds = time.perf_counter() - began
    for socket in sockets:
        socket.transport.close()
    return result


async def one_at_a_time(port: int, lines: list[bytes]) -> list[float]:
    """Seconds from EVENT to OK, nothing else going on."""
    socket = await connect(port)
    got: asyncio.Queue[bytes] = asyncio.Queue()
    socket.on_message = got.put_nowait
    times = []
    for line in lines:
        began = time.perf_counter()
        socket.send(b'["EVENT",' + line + b"]")
        while not (await got.get()).startswith(b'["OK"'):
            pass
        times.append(time.perf_counter() - began)
    socket.transport.close()
    return times


@dataclass
class Queries:
    number: int
    rate: float
    p50_ms: float
    p99_ms: float
    events: float


async def queries(
    port: int, filters: list[dict[str, Any]], seconds: float, *, verb: str = "REQ", connections: int = 4
) -> Queries:
    """A closed loop on each connection: ask, read until EOSE (or COUNT), close, ask the next."""
    times: list[float] = []
    events = 0
    requests = [orjson.dumps([verb, "q", one]) for one in filters]
    closing = orjson.dumps(["CLOSE", "q"]) if verb == "REQ" else b""
    last = b'["EOSE"' if verb == "REQ" else b'["COUNT"'
    end = time.perf_counter() + seconds

    async def loop(offset: int) -> None:
        nonlocal events
        socket = await connect(port)
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_message(message: bytes) -> None:
            nonlocal events
            if message.startswith(b'["EVENT"'):
                events += 1
            elif message.startswith((last, b'["CLOSED"')):
                if message.startswith(b'["CLOSED","q","') and not finished.done():
                    finished.set_exception(RuntimeError(message.decode()))
                elif not finished.done():
                    finished.set_result(None)

        socket.on_message = on_message
        at = offset
        while time.perf_counter() < end and not socket.lost:
            finished = asyncio.get_running_loop().create_future()
            began = time.perf_counter()
            socket.send(requests[at % len(requests)])
            await asyncio.wait_for(finished, 30)
            times.append(time.perf_counter() - began)
            if closing:
                socket.send(closing)
            at += connections
        socket.transport.close()

    began = time.perf_counter()
    await asyncio.gather(*(loop(n) for n in range(connections)))
    took = time.perf_counter() - began
    return Queries(
        len(times), len(times) / took, 1000 * quantile(times, 0.5), 1000 * quantile(times, 0.99), events / len(times)
    )


async def fan_out(port: int, lines: list[bytes], subscribers: int, query: dict[str, Any]) -> float:
    """Deliveries a second: `subscribers` connections, each subscribed, while `lines` are published."""
    sockets = [await connect(port) for _ in range(subscribers)]
    waiting = [asyncio.get_running_loop().create_future() for _ in sockets]
    for socket, ready in zip(sockets, waiting, strict=True):

        def on_message(message: bytes, ready: "asyncio.Future[None]" = ready) -> None:
            if message.startswith(b'["EOSE"') and not ready.done():
                ready.set_result(None)

        socket.on_message = on_message
        socket.send(orjson.dumps(["REQ", "live", query]))
    await asyncio.wait_for(asyncio.gather(*waiting), 30)
    for socket in sockets:
        socket.count_only()
    writer = await connect(port)
    window = 64
    sent = 0
    began = time.perf_counter()
    answered = 0

    def on_ok(message: bytes) -> None:
        nonlocal answered
        if message.startswith(b'["OK"'):
            answered += 1

    writer.on_message = on_ok
    end = began + 40
    while time.perf_counter() < end:
        while sent < len(lines) and sent - answered < window:
            writer.send(b'["EVENT",' + lines[sent] + b"]")
            sent += 1
        if sum(socket.events for socket in sockets) >= len(lines) * subscribers:
            break
        await asyncio.sleep(0.001)
    took = time.perf_counter() - began
    delivered = sum(socket.events for socket in sockets)
    for socket in (*sockets, writer):
        socket.transport.close()
    return delivered / took


async def delivery(port: int, lines: list[bytes], query: dict[str, Any]) -> list[float]:
    """Seconds from EVENT to its arrival at one subscriber, unloaded."""
    reader, writer = await connect(port), await connect(port)
    got: asyncio.Queue[bytes] = asyncio.Queue()
    reader.on_message = got.put_nowait
    reader.send(orjson.dumps(["REQ", "live", query]))
    while not (await got.get()).startswith(b'["EOSE"'):
        pass
    times = []
    for line in lines:
        began = time.perf_counter()
        writer.send(b'["EVENT",' + line + b"]")
        while not (await asyncio.wait_for(got.get(), 10)).startswith(b'["EVENT"'):
            pass
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.002)
    for socket in (reader, writer):
        socket.transport.close()
    return times


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def read_lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines()
