"""What several tests of the page do: order and pay, act as a remote signer."""

import asyncio
import io
import json
from typing import Any

from PIL import Image, ImageDraw

from nostr import nip44
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from tests.whole import Node
from wallet import open_wallet

CREDITS = "Pay with this node's credits"


async def order(
    page: Any, what: str, words: str, *, private: bool = False, here: bool = False, pay: str = CREDITS
) -> str:
    """Order as whoever is signed in, or as a guest, and pay by the button of this name; gives the job's id.

    `here`: the page is the order's form already, with whatever was filled in.
    """
    if not here:
        await page.goto(f"/new/{what}")
    await page.fill("#input", words)
    if private:
        await page.click("text=Limits and privacy")
        await page.check("#private")
    await page.click("#order button[type=submit]")
    await page.wait_for_url("**/job/*")
    if pay:
        await page.get_by_role("button", name=pay).click()
    return str(page.url.rsplit("/", 1)[1])


def owners_wallet(node: Node) -> Any:
    """The wallet of the node's owner, as an async context."""
    return open_wallet((node.data / "wallet" / "connections" / "owner.uri").read_text().strip())


class Extension:
    """A browser extension (NIP-07) with a key of its own, in one page; `signed` is what it has signed."""

    def __init__(self, page: Any) -> None:
        self.key, self.signed = SecretKey.generate(), list[dict[str, Any]]()
        self._page = page

    async def __aenter__(self) -> "Extension":
        await self._page.expose_function("_sign", self._sign)
        await self._page.add_init_script(
            f"window.nostr = {{ getPublicKey: async () => '{self.key.public}', signEvent: (e) => window._sign(e) }};"
        )
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def _sign(self, template: dict[str, Any]) -> dict[str, Any]:
        made = self.key.sign(
            kind=template["kind"], content=template["content"], tags=template["tags"], created_at=template["created_at"]
        )
        self.signed.append(made.to_dict())
        return made.to_dict()


class Bunker:
    """A remote signer (NIP-46) for one key, over one relay. `connected` is set once a client got through."""

    def __init__(self, relay: str) -> None:
        self.user, self._key, self._relay = SecretKey.generate(), SecretKey.generate(), relay
        self.secret = "open-sesame"
        self.asked: list[str] = []
        self._pool = Pool([relay])
        self._task: asyncio.Task[None] | None = None

    @property
    def uri(self) -> str:
        return f"bunker://{self._key.public}?relay={self._relay}&secret={self.secret}"

    async def __aenter__(self) -> "Bunker":
        await self._pool.__aenter__()
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._pool.__aexit__(None, None, None)

    async def scan(self, uri: str) -> None:
        """Answer a `nostrconnect://` address as the app does that scans its code.

        Said again until the browser has heard it: its socket may open after a test has read the code.
        """
        client, _, rest = uri.removeprefix("nostrconnect://").partition("?")
        secret = dict(pair.split("=", 1) for pair in rest.split("&"))["secret"]
        while not self.asked:
            await self._say(client, {"id": "scan", "result": secret})
            await asyncio.sleep(0.3)

    async def _serve(self) -> None:
        async for event in self._pool.subscribe(Filter(kinds=[24133], tags={"p": [self._key.public]}, limit=0)):
            asked = json.loads(nip44.decrypt(self._key, event.pubkey, event.content))
            self.asked.append(asked["method"])
            await self._say(event.pubkey, {"id": asked["id"], "result": self._answer(asked["method"], asked["params"])})

    def _answer(self, method: str, params: list[str]) -> str:
        match method:
            case "connect":
                return self.secret if len(params) < 2 or params[1] in ("", self.secret) else "error"
            case "get_public_key":
                return self.user.public
            case "sign_event":
                draft = json.loads(params[0])
                made = self.user.sign(
                    kind=draft["kind"], content=draft["content"], tags=draft["tags"], created_at=draft["created_at"]
                )
                return json.dumps(made.to_dict())
            case "nip44_encrypt":
                return nip44.encrypt(self.user, params[0], params[1])
            case "nip44_decrypt":
                return nip44.decrypt(self.user, params[0], params[1])
        return "pong"

    async def _say(self, client: str, answer: dict[str, str]) -> None:
        text = nip44.encrypt(self._key, client, json.dumps(answer))
        await self._pool.publish(self._key.sign(kind=24133, content=text, tags=[["p", client]]))


async def bid_dearly(pool: Pool, *, kind: int, name: str) -> SecretKey:
    """A second seller of a kind, alive and dear: somebody to compare with."""
    key = SecretKey.generate()
    about = json.dumps({"name": name, "about": "By hand, in oil.", "amount": "50"})
    await pool.publish(key.sign(kind=31990, content=about, tags=[["d", "old"], ["k", str(kind)]]))
    await pool.publish(key.sign(kind=11998, tags=[["d", "old"], ["status", "ready"]]))
    return key


def png() -> bytes:
    """A small picture with something in it."""
    picture = Image.new("RGB", (320, 240), "navy")
    ImageDraw.Draw(picture).ellipse((80, 40, 240, 200), fill="gold")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
