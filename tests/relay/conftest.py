"""A relay on a free port and a bare client: frames in, frames out, nothing clever in between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from nostr.event import Event
from nostr.key import SecretKey
from relay.app import STATE, serve
from relay.core import Relay
from relay.settings import RelaySettings

WAIT = 30.0


class Client:
    """One WebSocket. `say` sends, `hear` gives the next message; AUTH challenges are kept aside."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.challenge = ""

    async def say(self, *message: Any) -> None:
        await self.ws.send_str(orjson.dumps(list(message)).decode())

    async def hear(self, timeout: float = WAIT) -> list[Any]:
        while True:
            frame = await self.ws.receive(timeout=timeout)
            assert frame.type is aiohttp.WSMsgType.TEXT, f"socket ended: {frame}"
            message: list[Any] = orjson.loads(frame.data)
            if message[0] != "AUTH":
                return message
            self.challenge = message[1]

    async def silent(self, seconds: float = 0.2) -> bool:
        """True if nothing comes within that time."""
        try:
            message = await self.hear(seconds)
        except TimeoutError:
            return True
        raise AssertionError(f"not silent: {message}")

    async def publish(self, event: Event | dict[str, Any]) -> tuple[bool, str]:
        value = event.to_dict() if isinstance(event, Event) else event
        await self.say("EVENT", value)
        while True:
            message = await self.hear()
            if message[0] == "OK" and message[1] == value["id"]:
                return message[2], message[3]

    async def accept(self, *events: Event) -> None:
        for event in events:
            assert await self.publish(event) == (True, ""), event

    async def fetch(self, *filters: dict[str, Any], name: str = "q") -> list[dict[str, Any]]:
        """Stored events until EOSE; the subscription is closed again."""
        events = await self.subscribe(*filters, name=name)
        await self.say("CLOSE", name)
        return events

    async def subscribe(self, *filters: dict[str, Any], name: str = "q") -> list[dict[str, Any]]:
        """Stored events until EOSE; the subscription stays open."""
        await self.say("REQ", name, *filters)
        events = []
        while True:
            message = await self.hear()
            if message[0] == "EVENT" and message[1] == name:
                events.append(message[2])
            elif message[0] == "EOSE" and message[1] == name:
                return events
            elif message[0] == "CLOSED":
                raise AssertionError(f"closed: {message}")

    async def ids(self, *filters: dict[str, Any]) -> list[str]:
        return [event["id"] for event in await self.fetch(*filters)]

    async def count(self, *filters: dict[str, Any]) -> int:
        await self.say("COUNT", "c", *filters)
        while True:
            message = await self.hear()
            if message[0] == "COUNT":
                return int(message[2]["count"])
            assert message[0] != "CLOSED", message

    async def authenticate(self, key: SecretKey, url: str, **changes: Any) -> tuple[bool, str]:
        """AUTH with the challenge heard so far (or a changed event)."""
        if not self.challenge:
            await self.silent(0.1)
        tags = [["relay", changes.get("relay", url)], ["challenge", changes.get("challenge", self.challenge)]]
        made = key.sign(kind=changes.get("kind", 22242), tags=tags, created_at=changes.get("created_at"))
        await self.say("AUTH", made.to_dict())
        while True:
            message = await self.hear()
            if message[0] == "OK" and message[1] == made.id:
                return message[2], message[3]


class Running:
    """A relay that listens."""

    def __init__(self, url: str, relay: Relay, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = url.replace("ws", "http", 1)
        self.relay = relay
        self.session = session

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[Client]:
        async with self.session.ws_connect(self.url, max_msg_size=0, **options) as ws:
            yield Client(ws)


@asynccontextmanager
async def running(data: Path, **settings: Any) -> AsyncIterator[Running]:
    """Start a relay in this process through its real front door."""
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[Relay] = []
    own_keys = settings.pop("own_keys", ())
    made = RelaySettings(**settings)
    task = asyncio.create_task(
        serve(
            made,
            data,
            port=0,
            own_keys=own_keys,
            mounts=[lambda app: seen.append(app[STATE])],
            ready=address.set_result,
        )
    )
    done, _ = await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT)
    if task in done:
        task.result()
    try:
        async with aiohttp.ClientSession() as session:
            yield Running(await address, seen[0], session)
    finally:
        task.cancel()
        await asyncio.wait({task})


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(**settings)`: a relay that ends with the test."""
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:

        async def starter(data: Path | None = None, **settings: Any) -> Running:
            return await stack.enter_async_context(running(data or tmp_path, **settings))

        yield starter


@pytest.fixture
def key() -> SecretKey:
    return SecretKey.generate()


@pytest.fixture
def other() -> SecretKey:
    return SecretKey.generate()
