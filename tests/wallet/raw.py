"""A NIP-47 client that sends what no proper client would."""

import asyncio
import os

from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from tests.wallet.house import House
from wallet import nip47
from wallet.nip47 import Channel, Uri


class Raw:
    """A client that sends exactly what a test wants, and hears every answer."""

    def __init__(self, house: House, uri: Uri, pool: Pool) -> None:
        self.house, self.uri, self.pool = house, uri, pool
        self.channel = Channel(uri.secret, uri.service)
        self.sub = pool.subscribe(Filter(kinds=[nip47.RESPONSE], authors=[uri.service]))

    def request(self, method: str, params: object = None, *, scheme: str = "nip44_v2", age: int = 0,
                expires_in: int | None = None, tag: bool = True, key: SecretKey | None = None) -> Event:  # fmt: skip
        tags = [("p", self.uri.service)]
        if tag:
            tags.append(("encryption", scheme))
        if expires_in is not None:
            tags.append(("expiration", str(self.house.clock() + expires_in)))
        body = {"method": method, "params": params if params is not None else {}}
        signer = key or self.uri.secret
        channel = Channel(signer, self.uri.service)
        known = scheme if scheme in ("nip04", "nip44_v2") else "nip44_v2"
        return signer.sign(
            kind=nip47.REQUEST, content=channel.seal(known, body), tags=tags, created_at=self.house.clock() - age
        )

    async def send(self, event: Event) -> None:
        await self.pool.publish(event)

    async def answer(self, event: Event, timeout: float = 5, key: SecretKey | None = None) -> dict[str, object]:
        channel = Channel(key, self.uri.service) if key else self.channel
        async with asyncio.timeout(timeout):
            async for heard in self.sub:
                if heard.first("e") == event.id:
                    assert heard.first("p") == event.pubkey
                    scheme = "nip04" if "?iv=" in heard.content else "nip44_v2"
                    return channel.open(scheme, heard.content)
        raise AssertionError

    async def ask(self, method: str, params: object = None, **terms: object) -> dict[str, object]:
        event = self.request(method, params, **terms)  # type: ignore[arg-type]
        await self.send(event)
        return await self.answer(event)

    async def silent(self, event: Event, seconds: float = 0.5) -> bool:
        """True if no answer comes."""
        await self.send(event)
        try:
            await self.answer(event, seconds)
        except TimeoutError:
            return True
        return False


def code(answer: dict[str, object]) -> str:
    return str(answer["error"]["code"])  # type: ignore[index]


async def bill(house: House, msat: int, **terms: object) -> str:
    """An invoice of a shop inside the box."""
    account = await house.give("shop", 1, purpose=os.urandom(4).hex())
    return (await house.bank.make_invoice(account, msat, **terms)).invoice.bolt11  # type: ignore[arg-type]
