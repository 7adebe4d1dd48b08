"""Timmy on a real relay with real files, against providers of every mood; only the money is a fake bank."""

import asyncio
import hashlib
import io
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from market.buyer import MIGRATIONS, Buyer
from market.job import Feedback, JobInput, JobResult, build_request
from market.review import Review
from nostr.database import Database
from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from orchestrator import timmy as shell
from orchestrator.audit import audit
from orchestrator.recipe import Recipe
from orchestrator.settings import OrchestratorSettings
from orchestrator.timmy import Timmy, opened
from tests.dvms.conftest import Purse, a_relay
from tests.fakes import FakeBank
from tests.providers import FakeProvider

SECONDS = 6


def _http(relay: str) -> str:
    return relay.replace("ws", "http", 1)


RECIPE = Recipe.parse({
    "d": "postcard", "title": "Postcard", "inputs": {"prompt": {"type": "string"}}, "output": "$picture", "seconds": 40,
    "steps": {
        "words": {"kind": 5050, "i": [["$inputs.prompt", "text"]], "out": {"mime": "text/plain"}, "seconds": SECONDS},
        "picture": {
            "kind": 5100, "i": [["$words", "text"]], "out": {"mime": "image/png"}, "gate": {"min_width": 32},
            "seconds": SECONDS, "tries": 2, "buy": 2, "pick": "best",
        },
    },
})  # fmt: skip


def picture(request: Any) -> bytes:
    """A small picture that shows something."""
    rng, out = random.Random(request.id), io.BytesIO()
    image = Image.new("RGB", (64, 48))
    image.putdata([(rng.randrange(256), rng.randrange(256), rng.randrange(256)) for _ in range(64 * 48)])
    image.save(out, "PNG")
    return out.getvalue()


@dataclass
class Market:
    relay: str
    bank: FakeBank
    timmy: Timmy
    purse: Purse
    buyer: "Shopper"
    providers: list[FakeProvider]


class Shopper:
    """Asks, pays the bill, and waits for the end."""

    def __init__(self, relay: str, bank: FakeBank) -> None:
        self.key, self.relay, self.wallet = SecretKey.generate(), relay, Purse(bank)

    async def buys(self, timmy: Timmy, text: str = "an owl", **more: Any) -> tuple[Event, list[Event]]:
        """(the result or the error, everything that was said)."""
        request = build_request(
            self.key, kind=5260, inputs=[JobInput(text, "text")], params={"recipe": "postcard"},
            providers=[timmy.key.public], relays=[self.relay], **more,
        )  # fmt: skip
        said: list[Event] = []
        async with (
            Pool([self.relay], key=self.key) as pool,
            asyncio.timeout(45),
            pool.subscribe(Filter(kinds=[6260, 7000], tags={"e": [request.id]})) as sub,
        ):
            await pool.publish(request)
            async for event in sub:
                said.append(event)
                if event.kind == 6260:
                    return event, said
                word = Feedback.parse(event, self.key)
                if word.status == "payment-required" and word.bolt11:
                    await self.wallet.pay_invoice(word.bolt11)
                if word.status == "error":
                    return event, said
        raise AssertionError("no end")


@asynccontextmanager
async def market(
    tmp_path: Path, *providers: dict[str, Any], hold: bool = True, **changes: Any
) -> AsyncIterator[Market]:
    """A relay, providers, Timmy with 1,000 sat and a buyer."""
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(a_relay(tmp_path / "relay"))
        bank = FakeBank()
        sellers = [FakeProvider(relay, Purse(bank), kind=5050, price=5_000, name="scribe")]
        sellers += [FakeProvider(relay, Purse(bank), **{"kind": 5100, "content": picture, **p}) for p in providers]
        for seller in sellers:
            await stack.enter_async_context(seller)
        hosts = [s.files.url for s in sellers if s.mood != "loopback"]
        settings = OrchestratorSettings(allow_hosts=hosts, **changes)
        purse = Purse(bank, balance_msat=1_000_000, hold=hold)
        timmy = await stack.enter_async_context(
            opened(settings, data=tmp_path / "node", relays=[relay], wallet=purse, recipes=[RECIPE])
        )
        async with asyncio.timeout(15):
            while "postcard" not in timmy.quoter.announced:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        yield Market(relay, bank, timmy, purse, Shopper(relay, bank), sellers)


@pytest.mark.parametrize("mood", ["good", "free", "twice", "after", "hold"])
async def test_every_honest_way_of_selling_works(tmp_path: Path, mood: str) -> None:
    async with market(tmp_path, {"mood": mood, "price": 8_000}) as here:
        result, said = await here.buyer.buys(here.timmy)
        assert result.kind == 6260, result.to_dict()
        media = JobResult.parse(result).urls[0]
        assert media.mime == "image/png" and media.url.startswith(here.relay.replace("ws", "http", 1))
        run = await here.timmy.journal.load(said[0].first("e") or "")
        assert run is not None and run.spent_msat == (5_000 if mood == "free" else 13_000)
        async with Pool([here.relay]) as pool:
            report = await audit(run.receipt_id, pool)
            assert report.ok and report.count("grey") == 0, [line for line in report.lines if line.verdict != "green"]
            reviews = await pool.fetch(Filter(kinds=[31117], authors=[here.timmy.key.public]))
            assert len(reviews) == (1 if mood == "free" else 2)  # what was paid for is reviewed, with its proof
            assert all(hashlib.sha256(bytes.fromhex(r.first("preimage") or "")).hexdigest() == r.first("payment_hash")
                       for r in reviews)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "moods",
    [("html", "blank", "huge", "loopback", "gone", "wrong-hash"), ("other", "empty", "dear", "mismatch", "foreign"),
     ("mainnet", "expired", "fails", "hold-fails", "declines", "vanishes")],
    ids=" ".join,
)  # fmt: skip
async def test_beside_a_bad_provider_the_good_one_delivers(tmp_path: Path, moods: tuple[str, ...]) -> None:
    """Each bad one in a market of its own, all markets at once."""
    await asyncio.gather(*(_bad_and_good(tmp_path / mood, mood) for mood in moods))


async def _bad_and_good(tmp_path: Path, mood: str) -> None:
    bad, good = {"mood": mood, "price": 7_000}, {"price": 9_000, "name": "honest"}
    async with market(tmp_path, bad, good) as here:
        result, said = await here.buyer.buys(here.timmy)
        assert result.kind == 6260, result.to_dict()
        run = await here.timmy.journal.load(said[0].first("e") or "")
        assert run is not None
        won = run.units["picture", 0].accepted
        assert won is not None and won.provider is not None and won.provider.name == "honest"
        paid_in_vain = mood not in ("dear", "mismatch", "foreign", "mainnet", "expired", "declines", "hold-fails")
        assert run.spent_msat == 14_000 + (7_000 if paid_in_vain else 0)
        experience = {one.provider: one.stars for one in await here.timmy.journal.experience()}
        assert experience[here.providers[1].pubkey] <= 2 and experience[here.providers[2].pubkey] == 5


async def test_money_that_a_failed_provider_owes_is_claimed_back(tmp_path: Path) -> None:
    bad, good = {"mood": "pays-back", "price": 7_000}, {"price": 9_000, "name": "honest", "delay": 1.5}
    async with market(tmp_path, bad, good) as here:
        result, said = await here.buyer.buys(here.timmy)
        assert result.kind == 6260
        run = await here.timmy.journal.load(said[0].first("e") or "")
        assert run is not None and run.spent_msat == 14_000
        assert here.purse.msat == 1_000_000 + run.received_msat - 14_000


async def test_killed_while_it_claims_money_back_timmy_claims_once(tmp_path: Path) -> None:
    bad, good = {"mood": "owes", "price": 7_000}, {"price": 9_000, "name": "honest"}
    async with market(tmp_path, bad, good) as here:
        result, said = await here.buyer.buys(here.timmy)
        run_id = said[0].first("e") or ""
        assert result.kind == 6260
        debtor = next(seller for seller in here.providers if seller.mood == "owes")
        async with asyncio.timeout(10):
            while not debtor.claims:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await here.timmy.runner.close()  # every task is cut off where it stands
            await debtor.wallet.pay_invoice(debtor.claims[0])
            await here.timmy.runner.start()
            run = await here.timmy.journal.load(run_id)
            while run is None or run.spent_msat != 14_000:
                await asyncio.sleep(0.05)
                run = await here.timmy.journal.load(run_id)
        assert len(debtor.claims) == 1 and here.purse.msat == 1_000_000 + run.received_msat - 14_000


async def test_a_complaint_about_a_failed_gate_can_be_checked_by_others(tmp_path: Path) -> None:
    async with market(tmp_path, {"mood": "html", "price": 7_000}, {"price": 9_000, "name": "honest"}) as here:
        await here.buyer.buys(here.timmy)
        async with Pool([here.relay]) as pool:
            reviews = {e.first("p"): e for e in await pool.fetch(Filter(kinds=[31117], tags={"k": ["5100"]}))}
            html, honest = (Review.parse(reviews[seller.pubkey]) for seller in here.providers[1:])
            assert (html.stars, html.grounds, honest.stars) == (1, "type", 5)
            said = await pool.fetch(Filter(kinds=[6100]))
        recheck = here.timmy._hands.recheck
        assert await recheck(html, said)
        assert not await recheck(replace(honest, stars=1, grounds="type"), said)  # a lie about the honest one


async def test_a_stranger_cannot_bill_or_deliver_in_anothers_name(tmp_path: Path) -> None:
    async with market(tmp_path, {"price": 8_000, "delay": 1.0}) as here:
        honest = here.providers[1]
        real = honest._serve

        async def serve(request: Any) -> None:
            await honest.forge(request, bill=True)
            await honest.forge(request, content="http://127.0.0.1:1/evil.png")
            await real(request)

        honest._serve = serve  # type: ignore[method-assign]
        result, _ = await here.buyer.buys(here.timmy)
        price = here.timmy.quoter.announced["postcard"]
        assert result.kind == 6260 and sum(msat for _, msat in here.bank.paid) - price == 13_000


async def test_nobody_sells_it_any_more(tmp_path: Path) -> None:
    async with market(tmp_path, {"mood": "declines", "price": 8_000}) as here:
        error, _ = await here.buyer.buys(here.timmy)
        assert Feedback.parse(error).status == "error" and error.tagged("refund")[0][1] == "cancelled"
        assert here.buyer.wallet.msat == 10**9 or here.purse.msat == 1_000_000 - 5_000


@pytest.mark.parametrize(
    ("more", "words"),
    [({"bid_msat": 1_000}, "your bid was 1 sat"), ({"extra_tags": [["param", "colour", "red"]]}, None)],
)
async def test_a_request_is_refused_in_words_or_served(tmp_path: Path, more: dict[str, Any], words: str | None) -> None:
    async with market(tmp_path, {"price": 8_000}) as here:
        end, _ = await here.buyer.buys(here.timmy, **more)
        assert (words is None and end.kind == 6260) or words in Feedback.parse(end).message


async def test_an_encrypted_request_is_answered_in_cipher(tmp_path: Path) -> None:
    async with market(tmp_path, {"price": 8_000}) as here:
        result, said = await here.buyer.buys(here.timmy, encrypt_to=here.timmy.key.public)
        assert result.kind == 6260 and all(event.tagged("encrypted") for event in said)
        media = JobResult.parse(result, here.buyer.key).urls[0]
        assert media.mime == "image/png" and media.url not in result.content


async def test_a_sealed_composite_is_opened_with_the_preimage(tmp_path: Path) -> None:
    async with market(tmp_path, {"mood": "good", "price": 8_000}, sealed=True) as here:
        key, files = SecretKey.generate(), tmp_path / "bought"
        db = await Database.open(tmp_path / "market.db", MIGRATIONS)
        async with (
            Pool([here.relay], key=key) as pool,
            Buyer(key, pool, Purse(here.bank), db=db, files=files, allow_hosts=[_http(here.relay)]) as buyer,
        ):
            order = buyer.order(
                5260, [JobInput("an owl", "text")], provider=here.timmy.key.public, max_msat=60_000, output="image/png",
                params={"recipe": "postcard"},
            )  # fmt: skip
            bought = await buyer.buy(order)
            assert bought.delivered and bought.path is not None and bought.mime == "image/png", bought.reason
            run = await here.timmy.journal.load(order.id)
            picture = run.units["picture", 0].artefact if run else None
            assert picture is not None and bought.sha256 == picture.sha256
            for known in (bought, replace(bought, result=None)):  # the second: by the bill and the preimage alone
                bought.path.unlink()
                assert (await buyer.open(known)).path == bought.path and bought.path.exists()
        await db.close()


async def test_a_recipe_put_on_the_shelf_is_sold_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "RESTOCK_SECONDS", 0.1)
    shelf = tmp_path / "node" / "orchestrator" / "recipes"
    async with market(tmp_path, {"price": 8_000}) as here, asyncio.timeout(15):
        shelf.mkdir(parents=True, exist_ok=True)
        (shelf / "broken.json").write_text("{}")
        (shelf / "second.json").write_text(
            Recipe.parse({**RECIPE.doc.model_dump(by_alias=True), "d": "second"}).dumps()
        )
        while "second" not in here.timmy.quoter.announced:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert set(here.timmy.recipes) == {"postcard", "second"}


async def test_he_announces_what_he_sells(tmp_path: Path) -> None:
    async with market(tmp_path, {"price": 8_000}) as here, Pool([here.relay]) as pool:
        me = [here.timmy.key.public]
        kinds = {event.kind for event in await pool.fetch(Filter(authors=me))}
        assert {0, 10002, 11998, 31990, 35990} <= kinds
        (offer,) = await pool.fetch(Filter(kinds=[31990], authors=me))
        (recipe,) = await pool.fetch(Filter(kinds=[35990], authors=me))
        assert offer.first("k") == "5260" and ("a", recipe.address, here.relay, "recipe") in offer.tags
        assert f'"amount":"{here.timmy.quoter.announced["postcard"] // 1000}"' in offer.content
