"""In a browser: who signs, who pays, who works: extensions, remote signers, guests, people who sell by hand."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from nostr.key import SecretKey
from nostr.pool import Pool
from tests.web.steps import Bunker, order, png
from tests.whole import Node, until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


async def test_an_extension_signs_and_webln_pays(browser: Any, node: Node) -> None:
    key = SecretKey.generate()
    context = await browser.new_context(base_url=node.base)

    async def sign(template: dict[str, Any]) -> dict[str, Any]:
        made = key.sign(
            kind=template["kind"], content=template["content"], tags=template["tags"], created_at=template["created_at"]
        )
        return made.to_dict()

    await context.expose_function("_sign", sign)
    await context.expose_function("_pay", lambda invoice: node.timmy("wallet", "pay", invoice))
    await context.add_init_script(
        f"window.nostr = {{ getPublicKey: async () => '{key.public}', signEvent: (e) => window._sign(e) }};"
        "window.webln = { enable: async () => {}, sendPayment: (invoice) => window._pay(invoice) };"
    )
    page = await context.new_page()
    await page.goto("/new/5250")
    await page.click("#who button")
    await page.click("text=Browser extension")
    await page.wait_for_selector("#who >> text=Extension")
    await page.fill("#input", "Good evening, sailors.")
    await page.click("#order button[type=submit]")
    await page.wait_for_url("**/job/*")
    await page.get_by_role("button", name="Pay with your browser's wallet").click(timeout=20_000)
    await page.wait_for_selector("#result audio", timeout=60_000)
    job = page.url.rsplit("/", 1)[1]
    assert node.get(f"/job/{job}.json")["events"]
    request = next(event for event in node.get(f"/job/{job}.json")["events"] if event["id"] == job)
    assert request["pubkey"] == key.public
    await context.close()


async def test_a_person_announces_claims_delivers_while_the_buyer_watches(
    browser: Any, node: Node, tmp_path: Path
) -> None:
    buyer = SecretKey.generate()
    worker = await (await browser.new_context(base_url=node.base)).new_page()
    await worker.goto("/inbox")
    await worker.click("text=Look around as a guest")
    await worker.fill("#name", "Ada")
    await worker.fill("#about", "Drawings by hand")
    await worker.get_by_role("button", name="Announce", exact=True).click()
    await worker.wait_for_selector("text=Announced.")
    person = await worker.evaluate("JSON.stringify(sessionStorage)")
    assert "timmy.guest" in person
    until(lambda: [s for s in node.get("/index.json")["services"] if s["name"] == "Ada" and s["alive"]])
    ada = next(s["pubkey"] for s in node.get("/index.json")["services"] if s["name"] == "Ada")
    await worker.get_by_role("button", name="1 h").click()
    await worker.wait_for_selector("text=even with this page closed", timeout=20_000)
    kept = node.get(f"/inbox/beats/{ada}.json")
    assert kept["left"] == 6 and kept["until"] > time.time() + 3600

    async with Pool([node.relay]) as pool:
        task = buyer.sign(
            kind=5820,
            tags=[["i", "Draw a lighthouse", "text"], ["param", "title", "A drawing"], ["bid", "50000"], ["p", ada]],
        )
        assert all(ok.accepted for ok in (await pool.publish(task)).values())
        watcher = await (await browser.new_context(base_url=node.base)).new_page()
        await watcher.goto(f"/job/{task.id}")
        await worker.wait_for_selector("text=A drawing")
        await worker.get_by_role("button", name="Take it").click()
        await watcher.wait_for_selector("text=Taken by a person.", timeout=10_000)
        assert int((await worker.inner_text(".lease [role=timer]")).split(":")[0]) in (29, 30)
        await watcher.wait_for_selector("text=taken for another")
        drawing = tmp_path / "drawing.png"
        drawing.write_bytes(png())
        await worker.set_input_files("input[type=file]", str(drawing))
        await worker.get_by_role("button", name="Deliver").click()
        await watcher.wait_for_selector("#result img", timeout=15_000)
        await worker.wait_for_selector("text=delivered")
    await worker.click("#available [role=switch]")
    until(lambda: not [s for s in node.get("/index.json")["services"] if s["name"] == "Ada" and s["alive"]])
    assert node.get(f"/inbox/beats/{ada}.json")["left"] == 0


async def test_a_bunker_signs_an_order(page: Any, node: Node) -> None:
    async with Bunker(node.relay) as bunker:
        await page.goto("/new/5250")
        await page.click("#who button")
        await page.fill("#bunker", bunker.uri)
        await page.get_by_role("button", name="Connect", exact=True).click()
        await page.wait_for_selector(f"#who >> text=Remote signer {bunker.user.public[:6]}", timeout=20_000)
        job = await order(page, "5250", "Remote signers keep the key at home.")
        await page.wait_for_selector("#result audio", timeout=60_000)
        request = next(event for event in node.get(f"/job/{job}.json")["events"] if event["id"] == job)
        assert request["pubkey"] == bunker.user.public
        assert {"connect", "get_public_key", "sign_event"} <= set(bunker.asked)


async def test_a_signer_that_scans_the_code_is_signed_in(page: Any, node: Node) -> None:
    async with Bunker(node.relay) as bunker:
        await page.goto("/me")
        await page.click("#who button")
        await page.click("text=Show a QR code instead")
        uri = await page.inner_text("#connect-uri")
        assert await page.locator("dialog svg").count() == 1
        await bunker.scan(uri)
        await page.wait_for_selector(f"#who >> text=Remote signer {bunker.user.public[:6]}", timeout=20_000)
        await page.reload()
        await page.wait_for_selector(f"#who >> text=Remote signer {bunker.user.public[:6]}", timeout=20_000)


async def test_a_secret_order_is_read_by_its_seller_and_buyer_alone(browser: Any, page: Any, node: Node) -> None:
    words = "a hedgehog with a lantern"
    job = await order(page, "5100", words, private=True)
    await page.wait_for_selector("#result img", timeout=90_000)
    assert await page.inner_text("h1") == words
    events = node.get(f"/job/{job}.json")["events"]
    assert words not in json.dumps(events)
    assert [event for event in events if event["kind"] == 6100]
    stranger = await (await browser.new_context(base_url=node.base)).new_page()
    await stranger.goto(f"/job/{job}")
    await stranger.wait_for_selector("#state")
    assert words not in await stranger.inner_text("body")
    assert await stranger.locator("#result img").count() == 0


async def test_a_review_proves_its_payment(page: Any, node: Node) -> None:
    job = await order(page, "5100", "an owl on a branch at dusk")
    await page.wait_for_selector("#result img", timeout=60_000)
    assert await page.evaluate("document.querySelector('#result img').naturalWidth") > 200
    assert await page.inner_text("#state") == "Delivered"
    await page.wait_for_selector("text=It carries the proof of your payment")
    await page.click("label[for=s4]")
    await page.fill("#say", "A calm owl")
    await page.click("text=Publish the review")
    await page.wait_for_selector("text=with proof of payment")
    seller = next(service for service in node.get("/index.json")["services"] if service["kind"] == 5100)

    def mine() -> Any:
        found = node.get(seller["href"] + ".json")["reviews"]
        return next((review for review in found if review["job"] == job), None)

    review = until(mine, 45, 1)
    assert review["paid"], review["why"]
    assert review["stars"] == 4 and review["amount_msat"] == 21_000
    await page.goto(seller["href"])
    assert await page.locator(".review >> text=A calm owl").count() == 1
    assert "reviewed job" in await page.inner_text("aside")
    assert re.search(r"\d+ bills?, the last 21 credits", await page.inner_text("aside"))
    assert "Announced 21 credits since" in await page.inner_text("aside")
    await page.goto("/me")
    await page.wait_for_selector("text=an owl on a branch at dusk")


async def test_a_person_is_paid_and_both_sides_see_it(browser: Any, node: Node, tmp_path: Path) -> None:
    wallet = node.json("wallet", "connect", f"worker{time.time_ns()}", "--scopes", "receive,read", "--isolated")["uri"]
    worker = await (await browser.new_context(base_url=node.base)).new_page()
    await worker.goto("/inbox")
    await worker.click("text=Look around as a guest")
    await worker.fill("#name", "Grace")
    await worker.fill("#about", "Drawings with a pen")
    await worker.get_by_role("button", name="Announce", exact=True).click()
    await worker.wait_for_selector("text=Announced.")
    await worker.click("text=Get paid by invoice")
    await worker.fill("#uri", wallet)
    await worker.get_by_role("button", name="Connect", exact=True).click()
    await worker.wait_for_selector("text=Your wallet writes the invoices")
    found = until(lambda: [s for s in node.get("/index.json")["services"] if s["name"] == "Grace"])

    buyer = await (await browser.new_context(base_url=node.base)).new_page()
    await buyer.goto(found[0]["href"].replace("/service/", "/new/5820?to=").rsplit("/", 1)[0])
    await buyer.fill("#input", "Draw a boat on calm water")
    await buyer.click("text=Limits and privacy")
    await buyer.fill("#max", "40")
    await buyer.click("#order button[type=submit]")
    await buyer.wait_for_url("**/job/*")
    await worker.wait_for_selector("#tasks >> text=Draw a boat")
    await worker.wait_for_selector("#tasks >> text=buyer new here: 1 job asked")
    await worker.wait_for_selector("#tasks >> text=no deadline")
    await worker.get_by_role("button", name="Take it").click()
    await buyer.wait_for_selector("text=Taken by a person.", timeout=10_000)
    drawing = tmp_path / "boat.png"
    drawing.write_bytes(png())
    await worker.set_input_files("input[type=file]", str(drawing))
    await worker.get_by_role("button", name="Deliver").click()
    await buyer.wait_for_selector("#result img", timeout=30_000)
    await buyer.get_by_role("button", name="Pay with this node's credits").click()
    await buyer.wait_for_selector("text=Paid. The worker sees it.", timeout=30_000)
    await worker.wait_for_selector("#tasks >> text=paid 40 credits", timeout=20_000)
    assert "40 credits" in await worker.inner_text(".numbers")
    await worker.reload()
    await worker.wait_for_selector("#tasks >> text=buyer paid 1 of 1 delivered jobs")

    await buyer.click("label[for=s5]")
    await buyer.fill("#say", "Drawn with care")
    await buyer.click("text=Publish the review")
    await buyer.wait_for_selector("text=with proof of payment")
    until(lambda: node.get(found[0]["href"] + ".json")["reviews"], 20)
    await worker.goto(found[0]["href"])
    await worker.click("text=Answer as the seller")
    await worker.fill(".review textarea", "Come back for the next boat")
    await worker.click("text=Publish the answer")
    await worker.wait_for_selector(".answer >> text=Come back for the next boat")
    await buyer.goto(found[0]["href"])
    assert await buyer.locator(".answer >> text=the seller answers").count() == 1
    assert await buyer.locator("text=Answer as the seller").count() == 0

    await buyer.get_by_role("button", name="Report").click()
    await buyer.select_option("#type", "spam")
    await buyer.fill("#report-text", "Boats all over the place")
    await buyer.get_by_role("dialog").get_by_role("button", name="Report", exact=True).click()
    await buyer.wait_for_selector("text=Reported. Thank you.")
    operator = await (await browser.new_context(base_url=node.base)).new_page()
    await operator.goto(node.timmy("link").strip())
    await operator.goto("/admin")
    assert await operator.locator("li >> text=Boats all over the place").count() == 1


async def test_a_budget_stops_the_payment(page: Any) -> None:
    await page.goto("/new/5100")
    await page.evaluate("localStorage.setItem('timmy.budget', '5000')")
    await page.fill("#input", "a mouse")
    await page.click("#order button[type=submit]")
    await page.wait_for_url("**/job/*")
    await page.get_by_role("button", name="Pay with this node's credits").click(timeout=30_000)
    await page.wait_for_selector("text=beyond the budget you set for today")
    await page.get_by_role("button", name="Cancel").click()
    await page.wait_for_selector("#state >> text=Cancelled", timeout=20_000)
    await page.goto("/me")
    assert await page.input_value("#budget") == "5"
