"""In a browser: the operator's hand on wallet, settings and workers; recipes; the relay's death under an open page."""

import asyncio
from typing import Any

import pytest

from tests.whole import Node, until
from wallet import WalletError, open_wallet

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


async def test_the_operator_makes_and_revokes_a_connection(page: Any, node: Node) -> None:
    await page.goto(node.timmy("link").strip())
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
    await page.wait_for_selector("text=It type-checks", timeout=20_000)
    await page.fill("#title", "My music video")
    await page.fill("#d", "my-music-video")
    await page.fill('[id="m.song"]', "77")
    await page.fill('[id="n.cut"]', "final")
    await page.keyboard.press("Tab")
    await page.wait_for_selector("[data-step-form=final]")
    await page.wait_for_selector("text=It type-checks", timeout=20_000)
    await page.click("#add-step")
    await page.fill('[id="i.step60.0"]', "$nothing.here")
    await page.keyboard.press("Tab")
    await page.wait_for_selector("text=to mend", timeout=20_000)
    await page.locator("[data-step-form=step6] >> text=Remove the step").click()
    await page.wait_for_selector("text=It type-checks", timeout=20_000)
    await page.get_by_role("button", name="JSON", exact=True).click()
    assert '"max_msat": 77000' in await page.input_value("#source")
    await page.click("text=Publish it")
    await page.wait_for_url("**/recipe/35990:*", timeout=20_000)
    assert await page.inner_text("h1") == "My music video"
    assert "forked from" in await page.inner_text("main")
    me = page.url.split(":")[-2]
    found = node.get(f"/recipe/35990:{me}:my-music-video.json")
    assert found["recipe"]["steps"]["final"]["kind"] == 5203


async def test_the_operator_changes_a_price_and_switches_a_worker(page: Any, node: Node) -> None:
    await page.goto(node.timmy("link").strip())
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
    async with page.expect_navigation(timeout=20_000):
        await page.click("[data-part=speech][data-action=off]")
    until(lambda: node.pid("speech") == 0, 20)
    await asyncio.sleep(1.5)
    assert node.pid("speech") == 0
    async with page.expect_navigation(timeout=20_000):
        await page.reload()
        await page.click("[data-part=speech][data-action=on]")
    until(lambda: node.pid("speech"), 20)
    until(
        lambda: [s for s in node.get("/index.json")["services"] if s["kind"] == 5250 and s["price_msat"] == 12_000], 40
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
    await page.goto("/new/5820")
    await page.fill("#input", "Count the stars")
    await page.click("#order button[type=submit]")
    await page.wait_for_url("**/job/*")
    await page.wait_for_selector("#state")
    page.forgiven += ["WebSocket connection to", "net::ERR_CONNECTION_REFUSED"]
    before = node.pid("relay")
    port = node.base.rsplit(":", 1)[1]
    node.kill("relay")
    await page.wait_for_selector("text=The connection to the relay is gone", timeout=10_000)
    until(lambda: node.pid("relay") not in (0, before), 20)
    assert node.base.endswith(port)
    await page.wait_for_selector("text=The connection to the relay is gone", state="detached", timeout=40_000)
    assert await page.locator("text=Asked").count() >= 1
