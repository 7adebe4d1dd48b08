"""In a browser: the operator's hand on wallet, settings and workers; recipes; the relay's death under an open page."""

import asyncio
from typing import Any

import pytest

from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from tests.whole import Node, until
from wallet import WalletError, open_wallet
from web.session import new_link

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


async def test_the_operator_makes_and_revokes_a_connection(page: Any, node: Node) -> None:
    await page.goto(new_link(node.data, node.base))
    await page.wait_for_url("**/wallet")
    await page.click("text=New connection")
    await page.fill("#name", "phone")
    await page.get_by_role("button", name="Make it").click()
    uri = await page.inner_text("#uri")
    assert uri.startswith("nostr+walletconnect://")
    async with open_wallet(uri) as wallet:
        assert await wallet.balance() >= 0
    await page.click("text=Done")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.click("[data-revoke=phone]")
    await page.wait_for_selector("[data-revoke=phone]", state="detached")
    with pytest.raises(WalletError):
        async with open_wallet(uri) as wallet, asyncio.timeout(10):
            await wallet.balance()
    for path_ in ("/admin", "/relay", "/wallet"):
        await page.goto(path_)
        assert await page.locator("h1").count() == 1


async def test_visitors_do_not_see_the_operators_pages(page: Any, node: Node) -> None:
    for path in ("/wallet", "/admin"):
        answer = await page.request.get(path)
        assert answer.status == 403
    answer = await page.request.post("/wallet/connections", data='{"action":"create","name":"x"}')
    assert answer.status == 403


async def test_a_recipe_is_forked_changed_by_form_and_published(page: Any, node: Node) -> None:
    recipe = next(r for r in node.get("/recipes.json")["recipes"] if r["title"] == "Music video")
    await page.goto(recipe["href"])
    assert await page.locator(".graph svg g[data-step]").count() == 5
    await page.click("text=Fork")
    await page.wait_for_selector("text=It type-checks")
    await page.fill("#title", "My music video")
    await page.fill("#d", "my-music-video")
    await page.fill('[id="m.song"]', "77")
    await page.fill('[id="n.cut"]', "final")
    await page.keyboard.press("Tab")
    await page.wait_for_selector("[data-step-form=final]")
    await page.wait_for_selector("text=It type-checks")
    await page.click("#add-step")
    await page.fill('[id="i.step60.0"]', "$nothing.here")
    await page.keyboard.press("Tab")
    await page.wait_for_selector("text=to mend")
    await page.locator("[data-step-form=step6] >> text=Remove the step").click()
    await page.wait_for_selector("text=It type-checks")
    await page.get_by_role("button", name="JSON", exact=True).click()
    assert '"max_msat": 77000' in await page.input_value("#source")
    await page.click("text=Publish it")
    await page.wait_for_url("**/recipe/35990:*")
    assert await page.inner_text("h1") == "My music video"
    assert "forked from" in await page.inner_text("main")
    me = page.url.split(":")[-2]
    found = node.get(f"/recipe/35990:{me}:my-music-video.json")
    assert found["recipe"]["steps"]["final"]["kind"] == 5203


async def test_the_operator_changes_a_price_and_switches_a_worker(page: Any, node: Node) -> None:
    await page.goto(new_link(node.data, node.base))
    await page.wait_for_url("**/wallet")
    assert "Exposure by provider" in await page.inner_text("main")
    await page.goto("/admin")
    page.forgiven += ["status of 400"]  # the price that is none is refused
    field = page.locator("form[data-set='dvm.speech.price']")
    await field.locator("input").fill("a lot")
    await field.locator("button").click()
    await page.wait_for_selector("#said.bad")
    await field.locator("input").fill("12")
    await field.locator("button").click()
    await page.wait_for_selector("#said >> text=restart speech")
    assert "price = 12" in (node.data / "timmy.toml").read_text()
    async with page.expect_navigation(timeout=60_000):
        await page.click("[data-part=speech][data-action=off]")
    until(lambda: node.pid("speech") == 0, 60)
    await asyncio.sleep(1.5)
    assert node.pid("speech") == 0
    async with page.expect_navigation(timeout=60_000):
        await page.reload()
        await page.click("[data-part=speech][data-action=on]")
    until(lambda: node.pid("speech"), 60)
    until(
        lambda: [s for s in node.get("/index.json")["services"] if s["kind"] == 5250 and s["price_msat"] == 12_000], 60
    )

    recipe = next(r for r in node.get("/recipes.json")["recipes"] if r["title"] == "Music video")
    await page.goto(recipe["href"])
    before = await page.inner_text("#margin .numbers b >> nth=0")
    await page.evaluate(
        "const m = document.getElementById('mu'); m.value = 20; m.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    await page.wait_for_selector("text=100 % over break-even")
    assert await page.inner_text("#margin .numbers b >> nth=0") != before


async def test_every_page_has_its_data(node: Node) -> None:
    services = node.get("/index.json")["services"]
    pages = ["/recipes", "/relay", "/new/5100", "/docs", "/inbox", "/me", services[0]["href"].split("?")[0]]
    for path in pages:
        assert isinstance(node.get(f"{path}.json"), dict), path


async def test_a_job_page_survives_the_relays_death(page: Any, node: Node) -> None:
    """It says what is wrong, heals without a reload, shows what came meanwhile, and what was sent meanwhile arrives."""
    buyer, seller = SecretKey.generate(), SecretKey.generate()
    asked = buyer.sign(kind=5820, tags=[["i", "Count the stars", "text"], ["p", seller.public]])
    said = [["e", asked.id], ["p", buyer.public], ["status", "processing", "Counting, one by one"]]
    page.forgiven += ["WebSocket connection to", "net::ERR_CONNECTION_REFUSED"]
    await page.add_init_script(f"sessionStorage.setItem('timmy.guest', '{buyer.hex}')")
    async with Pool([node.relay]) as pool:
        await pool.publish(asked)
        await page.goto(f"/job/{asked.id}")
        await page.wait_for_selector("#state >> text=Waiting for the seller")
        await page.evaluate("window.same = true")
        before = node.pid("relay")
        node.kill("relay")
        await page.wait_for_selector("#offline >> text=this page goes on by itself")
        await page.get_by_role("button", name="Cancel").click()  # signed now, sent when the relay is back
        until(lambda: node.pid("relay") not in (0, before), 60)
        await page.wait_for_selector("#offline", state="detached")
        await pool.publish(seller.sign(kind=7000, tags=said))
        await page.wait_for_selector(".timeline >> text=Counting, one by one")
        await page.wait_for_selector(".timeline >> text=Cancelled by the buyer")
        assert await page.evaluate("window.same"), "it was the same page all the time"
        found = await pool.fetch(Filter(kinds=[5], authors=[buyer.public]))
        assert [event.first("e") for event in found] == [asked.id]
