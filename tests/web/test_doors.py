"""The page's doors, tried by strangers: forged sign-ins, a thirsty guest, announcements made to break the shop."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from market.reputation import Score
from nostr import nip98
from nostr.clock import system_clock
from nostr.key import SecretKey, load_or_create
from nostr.pool import Pool
from relay.app import build
from relay.core import STATE
from relay.settings import RelaySettings
from tests.fakes import FakeBank
from tests.orchestrator.test_shell import Purse
from tests.web.steps import png
from web import shelf as shelf_module
from web.app import SITE, mount
from web.settings import WebSettings


@pytest.fixture
async def door(tmp_path: Any) -> AsyncIterator[TestClient[Any, Any]]:
    settings = WebSettings(guest_credits=100)
    app = build(RelaySettings(), tmp_path, mounts=[lambda app: mount(app, settings=settings, data=tmp_path)])
    async with TestClient(TestServer(app)) as client:
        app[STATE].base_url = str(client.make_url("")).replace("http", "ws").rstrip("/")
        while app[SITE].shelf.pool is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield client


def proof(key: SecretKey, url: str, body: bytes | None = None) -> str:
    return nip98.header(key, url, "POST", now=system_clock(), body=body)


async def test_a_proof_for_another_site_signs_nobody_in(door: TestClient[Any, Any], tmp_path: Any) -> None:
    owner = load_or_create(tmp_path / "keys" / "owner.key")
    foreign = {"Origin": "https://elsewhere.example", "Authorization": proof(owner, "https://elsewhere.example/login")}
    assert (await door.post("/login", headers=foreign)).status == 403
    here = str(door.make_url("")).rstrip("/")
    own = {"Origin": here, "Authorization": proof(owner, f"{here}/login")}
    signed_in = await door.post("/login", headers=own)
    assert signed_in.status == 200 and not signed_in.cookies["timmy_operator"]["secure"]
    proxied = await door.post("/login", headers=own | {"X-Forwarded-Proto": "https"})
    assert proxied.cookies["timmy_operator"]["secure"]


@pytest.mark.parametrize("name", ["token", "cookie"])
async def test_odd_letters_are_no_key(door: TestClient[Any, Any], tmp_path: Any, name: str) -> None:
    (tmp_path / "web" / "login").write_text(f"{system_clock()} secret")
    if name == "token":
        assert (await door.get("/login?token=%C3%A9")).status == 403
    else:
        assert (await door.get("/wallet", headers={"Cookie": "timmy_operator=9.\u00e9"})).status == 403


async def test_a_guest_has_one_allowance_for_all_that_is_asked_at_once(door: TestClient[Any, Any]) -> None:
    bank, guest = FakeBank(), SecretKey.generate()
    seller, purse = Purse(bank), door.app[SITE].purse
    purse.credits = True
    purse._wallets["guests"] = Purse(bank, balance_msat=1_000_000)
    here = str(door.make_url("")).rstrip("/")

    async def pay() -> int:
        body = orjson.dumps({"invoice": (await seller.make_invoice(40_000)).bolt11})
        headers = {"Origin": here, "Authorization": proof(guest, f"{here}/pay", body)}
        return (await door.post("/pay", data=body, headers=headers)).status

    assert sorted(await asyncio.gather(*(pay() for _ in range(6)))) == [200, 200, 403, 403, 403, 403]
    left = await door.get(f"/pay/{guest.public}.json")
    assert (await left.json())["left"] == 20


@pytest.mark.parametrize("address", [["a"], ["a", "35990:x"], ["a", "35990:"], ["a", "35990::"]])
async def test_an_odd_announcement_does_not_close_the_shop(door: TestClient[Any, Any], address: list[str]) -> None:
    seller = SecretKey.generate()
    tags = [["d", "x"], ["k", "5260"], address]
    event = seller.sign(kind=31990, content='{"name":"Odd seller"}', tags=tags)
    async with Pool([door.app[STATE].base_url]) as pool:
        await pool.publish(event)
    for _ in range(100):
        answer = await door.get("/")
        assert answer.status == 200
        if "Odd seller" in await answer.text():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the announcement never arrived")


async def test_a_thousand_strangers_do_not_crowd_out_the_living(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "MOST", 20)
    score = Score("", 0, 1, 1, 0.5, 0.1, 0.1, 0, 0, (0, 0), (0, 0), (0, 0), 0, 0.5)
    shelf, living = shelf_module.Shelf(lambda *_: score, system_clock), SecretKey.generate()
    shelf.take(living.sign(kind=31990, content='{"name":"Living"}', tags=[["d", "x"], ["k", "5100"]]))
    shelf.take(living.sign(kind=11998, content="{}"))
    for _ in range(100):
        stranger = SecretKey.generate()
        shelf.take(stranger.sign(kind=31990, content='{"name":"Spam"}', tags=[["d", "x"], ["k", "5100"]]))
        shelf.take(stranger.sign(kind=0, content='{"name":"Spam"}'))
    shelf.take(living.sign(kind=31990, content="x" * 40_000, tags=[["d", "long"], ["k", "5100"]]))
    assert len(shelf.sellers()) == 20 and living.public in shelf.sellers()
    assert [s.name for s in shelf.services() if s.pubkey == living.public] == ["Living"]


def seller_with(name: str, works: bool = False) -> tuple[SecretKey, list[Any]]:
    key = SecretKey.generate()
    offer = key.sign(kind=31990, content=orjson.dumps({"name": name}).decode(), tags=[["d", "x"], ["k", "5100"]])
    events = [offer, key.sign(kind=11998, content="{}")]
    if works:
        events.append(key.sign(kind=6100, content="a fine work", tags=[["e", "ab" * 32], ["p", "cd" * 32]]))
    return key, events


async def test_no_stranger_names_itself_to_the_front_of_the_shop(door: TestClient[Any, Any], tmp_path: Any) -> None:
    ours, events = seller_with("Zoe")
    strangers, pushy = seller_with("!!! first", works=True)
    (tmp_path / "keys").mkdir(exist_ok=True)
    (tmp_path / "keys" / "image.pub").write_text(ours.public)
    shelf = door.app[SITE].shelf
    for event in (*pushy, *events):
        shelf.take(event)
    assert [s.name for s in shelf.services(kind=5100)] == ["Zoe", "!!! first"]
    form = await (await door.get("/new/5100.json")).json()
    assert form["service"]["pubkey"] == ours.public, "the form orders from the first"
    shelf.take(ours.sign(kind=5, tags=[["e", pushy[0].id]]))
    assert len(shelf.services(kind=5100)) == 2, "only the author takes something back"
    shelf.take(strangers.sign(kind=5, tags=[["e", pushy[0].id]]))
    assert [s.name for s in shelf.services(kind=5100)] == ["Zoe"]


async def test_odd_digits_in_an_address_are_not_found(door: TestClient[Any, Any]) -> None:
    for path in ("/new/%C2%B2", "/service/%C2%B2/%C2%B2", "/job/%C2%B2", "/?kind=%C2%B2"):
        assert (await door.get(path)).status in (200, 404), path


async def test_the_audit_of_a_receipt_that_is_none_is_not_found(door: TestClient[Any, Any]) -> None:
    seller = SecretKey.generate()
    asked = seller.sign(kind=5260, content="", tags=[])
    answer = seller.sign(kind=6260, content="x", tags=[["e", asked.id], ["receipt", "31117"]])
    async with Pool([door.app[STATE].base_url]) as pool:
        await pool.publish(asked)
        await pool.publish(answer)
    assert (await door.get(f"/job/{asked.id}/audit.json")).status == 404


async def test_a_file_has_its_small_picture_while_it_is_there(door: TestClient[Any, Any], tmp_path: Any) -> None:
    pytest.importorskip("av")
    sha256, broken = "ab" * 32, "cd" * 32
    for name, content in ((sha256, png()), (broken, b"no picture at all")):
        path = tmp_path / "relay" / "blobs" / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    url = door.app[SITE].thumbs.url(f"https://another.name/{sha256}.png", "image/png")
    answer = await door.get(url)
    assert answer.content_type == "image/webp" and "immutable" in answer.headers["Cache-Control"]
    body = await answer.read()
    assert body[8:12] == b"WEBP" and len(body) < 20_000
    for missing in (broken, "ef" * 32):
        nothing = await door.get(f"/thumb/{missing}.webp")
        assert nothing.status == 200 and nothing.content_type == "image/gif", "the drawing behind shows through"
    assert door.app[SITE].thumbs.url("https://elsewhere.example/x.png", "image/png") == ""
    (tmp_path / "relay" / "blobs" / "ab" / sha256).unlink()
    assert (await door.get(url)).content_type == "image/gif", "what was deleted is not shown any more"


async def leave(door: TestClient[Any, Any], by: SecretKey, body: Any) -> Any:
    here, raw = str(door.make_url("")).rstrip("/"), orjson.dumps(body)
    headers = {"Origin": here, "Authorization": proof(by, f"{here}/inbox/beats", raw)}
    return await door.post("/inbox/beats", data=raw, headers=headers)


def beats(key: SecretKey, start: int, count: int, **more: Any) -> dict[str, Any]:
    made = []
    for at in range(start, start + 600 * count, 600):
        end = at + more.get("lasts", 900)
        tags = [["d", "human"], ["status", "ready"], ["expiration", str(end)]]
        made.append(key.sign(kind=more.get("kind", 11998), tags=tags, created_at=at).to_dict())
    return {"beats": made}


async def test_heartbeats_left_behind_are_sent_when_due(door: TestClient[Any, Any]) -> None:
    person, now = SecretKey.generate(), system_clock()
    left = await (await leave(door, person, beats(person, now + 600, 72))).json()
    assert left["left"] == 72
    refused = [
        beats(person, now + 13 * 3600, 1),
        beats(person, now, 1, lasts=13 * 3600),
        beats(person, now, 1, kind=1),
        beats(person, now, 81),
        {"beats": [*beats(person, now, 1)["beats"], *beats(SecretKey.generate(), now, 1)["beats"]]},
        {"beats": [beats(person, now, 1)["beats"][0] | {"sig": "00" * 64}]},
    ]
    for body in refused:
        assert (await leave(door, person, body)).status == 400
    stranger = SecretKey.generate()
    assert (await leave(door, stranger, beats(person, now, 1))).status == 400, "a public heartbeat of somebody else"
    assert (await door.post("/inbox/beats", json=beats(person, now, 1))).status == 403
    assert await door.app[SITE].store.beats_left(person.public) == 72
    await leave(door, person, beats(person, now - 5, 1))  # these instead of those
    due = await door.app[SITE].store.due_beats()
    assert [beat.created_at for beat in due] == [now - 5]
    assert await door.app[SITE].store.due_beats() == []
    await leave(door, person, beats(person, now + 600, 3))
    assert (await (await leave(door, person, {"beats": []})).json())["left"] == 0


async def test_a_person_has_one_account_at_a_node_of_credits(door: TestClient[Any, Any]) -> None:
    purse, made = door.app[SITE].purse, list[str]()

    async def admin(method: str, params: dict[str, Any]) -> dict[str, Any]:
        made.append(f"{method} {params['account']}")
        return {"uri": f"nostr+walletconnect://{'ab' * 32}?relay=ws%3A%2F%2Finside&secret={len(made):064x}"}

    purse.admin = admin
    ada, here = SecretKey.generate(), str(door.make_url("")).rstrip("/")

    async def ask(key: SecretKey) -> Any:
        headers = {"Origin": here, "Authorization": proof(key, f"{here}/inbox/wallet", b"{}")}
        return await door.post("/inbox/wallet", data=b"{}", headers=headers)

    assert (await ask(ada)).status == 403, "real money is not kept for visitors"
    purse.credits = True
    uris = {(await (await ask(ada)).json())["uri"] for _ in range(2)}
    assert len(uris) == len(made) == 1 and ada.public[:24] in made[0]
    assert f"relay={here.replace('http', 'ws')}" in unquote(uris.pop()), "as the visitor sees the relay"
    await ask(SecretKey.generate())
    assert len(set(made)) == 2
    assert (await door.post("/inbox/wallet", data=b"{}")).status == 403


async def test_a_locked_payment_is_proven_to_its_payer_later(door: TestClient[Any, Any]) -> None:
    bank, guest, thief = FakeBank(), SecretKey.generate(), SecretKey.generate()
    seller, purse = Purse(bank), door.app[SITE].purse
    purse.credits = True
    purse._wallets["guests"] = Purse(bank, balance_msat=1_000_000)
    here = str(door.make_url("")).rstrip("/")
    invoice = (await seller.make_invoice(40_000)).bolt11
    body = orjson.dumps({"invoice": invoice})

    async def pay(key: SecretKey) -> Any:
        headers = {"Origin": here, "Authorization": proof(key, f"{here}/pay", body)}
        return await door.post("/pay", data=body, headers=headers)

    first = await (await pay(guest)).json()
    again = await (await pay(guest)).json()
    assert again == first and first["preimage"], "asked again it tells the same and pays nothing"
    assert purse.left(guest.public) == 60
    assert (await pay(thief)).status == 403


async def test_a_job_is_shown_from_the_copy_in_its_result(door: TestClient[Any, Any]) -> None:
    """The relay forgets requests when they expire; the seller kept it, signed by its author."""
    buyer, seller = SecretKey.generate(), SecretKey.generate()
    asked = buyer.sign(kind=5100, tags=[["i", "a forgotten fox", "text"], ["p", seller.public]])
    forged = asked.to_dict() | {"tags": [["i", "something else", "text"]]}
    answers = [seller.sign(kind=6100, tags=[["e", asked.id], ["request", text]]) for text in (
        orjson.dumps(forged).decode(), asked.to_json().decode())]  # fmt: skip
    async with Pool([door.app[STATE].base_url]) as pool:
        await pool.publish(answers[0])
        assert (await door.get(f"/job/{asked.id}")).status == 404
        await pool.publish(answers[1])
    assert "a forgotten fox" in await (await door.get(f"/job/{asked.id}")).text()


async def test_what_was_just_published_is_found(door: TestClient[Any, Any]) -> None:
    seller = SecretKey.generate()
    async with Pool([door.app[STATE].base_url]) as pool:
        door.app[SITE].shelf._task.cancel()  # the subscription lags for ever
        await pool.publish(seller.sign(kind=31990, content='{"name":"Quick"}', tags=[["d", "x"], ["k", "5100"]]))
    assert "Quick" in await (await door.get(f"/service/{seller.public}/5100")).text()
