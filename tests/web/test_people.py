"""In a browser: who signs, who pays, who works: extensions, remote signers, guests, people who sell by hand."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Visit
from tests.web.steps import Bunker, Extension, order, owners_wallet, png
from tests.whole import Node, until
from web.session import new_link

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


async def test_an_extension_signs_and_webln_pays(page: Any, node: Node) -> None:
    async with Extension(page) as extension, owners_wallet(node) as wallet:

        async def pay(invoice: str) -> str | None:
            return (await wallet.pay_invoice(invoice)).preimage

        await page.expose_function("_pay", pay)
        await page.add_init_script(
            "window.webln = { enable: async () => {},"
            " sendPayment: async (invoice) => ({ preimage: await window._pay(invoice) }) };"
        )
        await page.goto("/new/5250")
        await page.click("#who button")
        await page.click("text=Browser extension")
        await page.wait_for_selector("#who >> text=Extension")
        job = await order(page, "5250", "Good evening, sailors.", here=True, pay="Pay with your browser's wallet")
        await page.wait_for_selector("#result audio")
        request = next(event for event in node.get(f"/job/{job}.json")["events"] if event["id"] == job)
        assert request["pubkey"] == extension.key.public

        await page.goto("/inbox")  # hours of availability are one question to the owner of an extension
        await page.wait_for_selector("#available")
        asked = len(extension.signed)
        await page.get_by_role("button", name="Available for 12 hours").click()
        await page.wait_for_selector("text=even with this page closed")
        assert [event["kind"] for event in extension.signed[asked:]] == [11998]
        await page.click("#available [role=switch]")
        await page.wait_for_selector("text=nobody is told that you are here")
        assert [event["kind"] for event in extension.signed[asked:]] == [11998, 11998]


async def test_a_bunker_signs_an_order(page: Any, node: Node) -> None:
    async with Bunker(node.relay) as bunker:
        await page.goto("/new/5250")
        await page.click("#who button")
        await page.fill("#bunker", bunker.uri)
        await page.get_by_role("button", name="Connect", exact=True).click()
        await page.wait_for_selector(f"#who >> text=Remote signer {bunker.user.public[:6]}")
        job = await order(page, "5250", "Remote signers keep the key at home.", here=True)
        await page.wait_for_selector("#result audio")
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
        await page.wait_for_selector(f"#who >> text=Remote signer {bunker.user.public[:6]}")
        await page.reload()
        await page.wait_for_selector(f"#who >> text=Remote signer {bunker.user.public[:6]}")


async def test_a_secret_order_is_read_by_its_seller_and_buyer_alone(page: Any, node: Node, visit: Visit) -> None:
    words = "a hedgehog with a lantern"
    job = await order(page, "5100", words, private=True)
    picture = page.locator("#result img")
    await picture.wait_for()
    assert await page.inner_text("h1") == words
    assert (await picture.get_attribute("src")).startswith("blob:"), "opened in this tab"
    assert await page.evaluate("document.querySelector('#result img').decode().then(() => true)")
    async with page.expect_download() as saved:
        await page.click("#result >> text=Download")
    opened = (await (await saved.value).path()).read_bytes()
    assert opened.startswith(b"\x89PNG")
    assert stored(node) and hashlib.sha256(opened).hexdigest() not in stored(node), "in clear it lies nowhere"
    events = node.get(f"/job/{job}.json")["events"]
    assert words not in json.dumps(events)
    assert [event for event in events if event["kind"] == 6100]
    await page.reload()
    await page.wait_for_selector("#result img[src^=blob]")
    assert await page.inner_text("h1") == words
    stranger = await visit()
    await stranger.goto(f"/job/{job}")
    await stranger.wait_for_selector("#state >> text=Delivered")
    assert words not in await stranger.inner_text("body")
    assert await stranger.locator("#result img").count() == 0


def stored(node: Node) -> set[str]:
    """The files of the node, by their hashes."""
    return {path.name for path in (node.data / "relay" / "blobs").rglob("*") if path.is_file()}


async def test_a_sealed_file_that_is_not_what_was_signed_is_refused(page: Any, node: Node) -> None:
    async def another(route: Any) -> None:
        await route.fulfill(body=b"something else of the same name", content_type="application/octet-stream")

    await page.route(re.compile(r"//[^/]+/[0-9a-f]{64}(\.\w+)?$"), another)
    await order(page, "5100", "a fox", private=True)
    await page.wait_for_selector("#result >> text=This is not the file that the seller signed.")
    assert await page.locator("#result img").count() == 0


async def test_a_review_proves_its_payment(page: Any, node: Node) -> None:
    job = await order(page, "5100", "an owl on a branch at dusk")
    await page.wait_for_selector("#result img")
    assert await page.evaluate("document.querySelector('#result img').decode().then(() => true)")
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

    review = until(mine, 60, 0.5)
    assert review["paid"], review["why"]
    assert review["stars"] == 4 and review["amount_msat"] == 21_000
    await page.goto(seller["href"])
    assert await page.locator(".review >> text=A calm owl").count() == 1
    aside = await page.inner_text("aside")
    assert re.search(r"(Every|[1-9]\d* of \d+) reviews? proves? that", aside) and "expected to go well" in aside
    assert re.search(r"\d+ bills?, the last 21 credits", aside)
    assert "Announced 21 credits since" in aside
    await page.goto("/me")
    await page.wait_for_selector("text=an owl on a branch at dusk")


async def test_a_budget_stops_the_payment(page: Any) -> None:
    await page.goto("/new/5100")
    await page.evaluate("localStorage.setItem('timmy.budget', '5000')")
    await order(page, "5100", "a mouse", here=True)
    await page.wait_for_selector("text=beyond the budget you set for today")
    await page.get_by_role("button", name="Cancel").click()
    await page.wait_for_selector("#state >> text=Cancelled")


async def test_a_person_sells_to_people_and_to_a_recipe(node: Node, visit: Visit, tmp_path: Path) -> None:
    """Announced, open for an hour, claimed, delivered and paid while the buyer watches; then hired by a program."""
    worker, buyer = await visit(), await visit()
    await worker.goto("/inbox")
    await worker.click("text=Look around as a guest")
    await worker.fill("#name", "Grace")
    await worker.fill("#about", "Drawings and words with a pen")
    await worker.fill("#price", "6")
    await worker.get_by_role("button", name="Announce", exact=True).click()
    await worker.wait_for_selector("text=Announced.")
    await worker.click("#wallet summary")
    await worker.get_by_role("button", name="Use my account here").click()
    await worker.wait_for_selector("text=it holds nothing yet")
    await worker.get_by_role("button", name="Available for 1 hour").click()
    await worker.wait_for_selector("text=even with this page closed")

    def here() -> list[Any]:
        return [s for s in node.get("/index.json")["services"] if s["name"] == "Grace" and s["alive"]]

    grace = until(here, 60)[0]
    await buyer.goto(grace["href"].replace("/service/", "/new/5820?to=").rsplit("/", 1)[0])
    await buyer.click("text=Limits and privacy")
    await buyer.fill("#max", "40")
    await order(buyer, "5820", "Draw a boat on calm water", here=True, pay="")
    await worker.wait_for_selector("#tasks >> text=Draw a boat")
    await worker.wait_for_selector("#tasks >> text=buyer new here: 1 job asked")
    await worker.wait_for_selector("#tasks >> text=no deadline")
    await worker.get_by_role("button", name="Take it").click()
    await buyer.wait_for_selector("text=Taken by a person.")
    await buyer.wait_for_selector("text=taken for another")
    assert int((await worker.inner_text(".lease [role=timer]")).split(":")[0]) > 20
    drawing = tmp_path / "boat.png"
    drawing.write_bytes(png())
    await worker.set_input_files("input[type=file]", str(drawing))
    await worker.get_by_role("button", name="Deliver").click()
    await buyer.wait_for_selector("#result img")
    await buyer.get_by_role("button", name="Pay with this node's credits").click()
    await buyer.wait_for_selector("text=Paid. The worker sees it.")
    await worker.wait_for_selector("#tasks >> text=paid 40 credits")
    await worker.wait_for_selector("#wallet >> text=it holds 40 credits")
    await worker.reload()
    await worker.wait_for_selector("#tasks >> text=buyer paid 1 of 1 delivered jobs")

    await buyer.click("label[for=s5]")
    await buyer.fill("#say", "Drawn with care")
    await buyer.click("text=Publish the review")
    await buyer.wait_for_selector("text=with proof of payment")
    until(lambda: node.get(grace["href"] + ".json")["reviews"], 60)
    seller = await worker.context.new_page()
    await seller.goto(grace["href"])
    state = json.dumps(await worker.evaluate("Object.entries(sessionStorage)"))
    await seller.evaluate(f"{state}.forEach(([name, value]) => sessionStorage.setItem(name, value))")
    await seller.reload()
    await seller.click("text=Answer as the seller")
    await seller.fill(".review textarea", "Come back for the next boat")
    await seller.click("text=Publish the answer")
    await seller.wait_for_selector(".answer >> text=Come back for the next boat")
    await buyer.goto(grace["href"])
    assert await buyer.locator(".answer >> text=the seller answers").count() == 1
    assert await buyer.locator("text=Answer as the seller").count() == 0
    await report(buyer, node)

    until(
        lambda: [s for s in node.get("/index.json")["services"] if s["recipe"] == "handwritten" and s["price_msat"]], 60
    )
    await order(buyer, "handwritten", "a lighthouse")
    await (
        worker.locator("#tasks .task", has_text="Write one line about this")
        .get_by_role("button", name="Take it")
        .click()
    )
    line = "It keeps turning, even for those who sleep."
    await worker.fill("#tasks textarea", line)
    await worker.get_by_role("button", name="Deliver").click()
    await buyer.wait_for_selector(f"#result >> text={line}")
    await worker.wait_for_selector("#tasks >> text=paid 6 credits")
    await worker.wait_for_selector("#wallet >> text=it holds 46 credits")
    assert "46 credits" in await worker.inner_text(".numbers")

    await worker.click("#available [role=switch]")
    until(lambda: not here(), 60)


async def report(buyer: Any, node: Node) -> None:
    """A visitor reports what they see, and the operator reads it."""
    await buyer.get_by_role("button", name="Report").click()
    await buyer.select_option("#type", "spam")
    await buyer.fill("#report-text", "Boats all over the place")
    await buyer.get_by_role("dialog").get_by_role("button", name="Report", exact=True).click()
    await buyer.wait_for_selector("text=Reported. Thank you.")
    operator = await buyer.context.new_page()
    await operator.goto(new_link(node.data, node.base))
    await operator.goto("/admin")
    assert await operator.locator("li >> text=Boats all over the place").count() == 1
