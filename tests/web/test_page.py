"""The page in a real browser against a real node: a film is bought and watched, then every page is looked at."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from nostr.key import SecretKey
from nostr.pool import Pool
from tests.web.conftest import SHOOTING, Visit
from tests.web.steps import bid_dearly, order
from tests.whole import Node
from web.session import new_link

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

AXE = (Path(__file__).parent / "axe.min.js").read_text()
SHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
PAGES = [
    "/",
    "/new/5100",
    "/new/music-video",
    "/recipes",
    "/recipes/edit",
    "/inbox",
    "/me",
    "/relay",
    "/docs",
    "/login",
]


async def test_a_guest_buys_a_music_video_and_watches_it(page: Any, node: Node) -> None:
    async with Pool([node.relay]) as pool:
        await bid_dearly(pool, kind=5100, name="Old Master")
    await page.goto("/new/music-video")
    await page.fill("#p-seconds", "8")
    job = await order(page, "music-video", "a lighthouse in a storm, hopeful", here=True)
    await page.wait_for_selector(".graph .step.done")  # the story, long before the film
    assert await page.locator(".graph .step.paid text.note >> text=paid 5 credits").count() == 1
    assert await page.locator(".money li").count() >= 2
    await page.wait_for_selector("#made li")
    await page.wait_for_selector(".graph .step .shot[href^='/thumb/']", timeout=120_000)  # a picture inside the graph
    assert "Scribe" in await page.locator("#steps").text_content()  # sellers by name
    await page.wait_for_selector("#result video", timeout=280_000)
    await page.evaluate("window.film = document.querySelector('#result video'); film.muted = true; film.play()")
    await page.wait_for_function("() => film.currentTime > 0.5")
    assert await page.evaluate("film.duration") >= 7
    await page.evaluate("film.currentTime = film.duration - 0.5")
    await page.wait_for_function("() => film.ended")
    await page.wait_for_selector("#audit .badge.good")
    assert await page.locator("#audit .badge.bad").count() == 0
    kept = await page.inner_text(".money li.kept")
    assert "Timmy keeps" in kept and re.search(r"[1-9]", kept)

    choices = {choice["step"]: choice for choice in node.get(f"/job/{job}/steps.json")["choices"]}
    painters = choices["frame 1"]
    assert not painters["alone"] and painters["winner"] == "Timmy Pictures"
    assert {row[0] for row in painters["rows"]} == {"Timmy Pictures", "Old Master"}
    await page.locator("#choices summary >> text=frame 1").click()
    assert await page.locator("#choices td >> text=Old Master").first.is_visible()

    await page.click("label[for=s5]")  # the money was locked: its preimage was asked for when the film had come
    await page.fill("#say", "A fine film")
    await page.click("text=Publish the review")
    await page.wait_for_selector("text=with proof of payment")


async def test_every_page_looks_right_on_every_screen(page: Any, node: Node) -> None:
    """One visit a page: no serious fault by axe in light and dark, and nothing sideways on phones or enlarged to 200 %.

    With TIMMY_SCREENSHOTS set (`scripts/screenshots`) the pictures of `docs/screenshots` are taken on the way.
    """
    page.forgiven += ["status of 404"]  # the error page is looked at too
    await page.goto(new_link(node.data, node.base))
    await page.goto("/inbox")
    await page.click("text=Look around as a guest")  # what is only for those who have a key is looked at too
    for path, name in everywhere(node).items():
        tall = 1240 if name in ("job", "shop") else 900
        await page.set_viewport_size({"width": 1280, "height": tall})
        await page.goto(path)
        await settled(page)
        await page.evaluate(AXE)
        for scheme, rules in (("light", "{}"), ("dark", "{runOnly: ['color-contrast']}")):
            await page.emulate_media(color_scheme=scheme)
            found = await page.evaluate(f"axe.run(document, {{resultTypes: ['violations'], ...{rules}}})")
            serious = [
                (fault["id"], [place["target"] for place in fault["nodes"]][:3])
                for fault in found["violations"]
                if fault["impact"] in ("serious", "critical")
            ]
            assert not serious, (path, scheme, serious)
            await shoot(page, f"{name}-desktop-{scheme}")
        await page.emulate_media(color_scheme="light")
        for width in (640, 390, 360, 320):  # 1280 at 200 %, two telephones, 1280 at 400 % (WCAG 1.4.10)
            await page.set_viewport_size({"width": width, "height": 900})
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            if width == 390:
                await shoot(page, f"{name}-phone-light")


async def settled(page: Any) -> None:
    """Until the typefaces and the pictures in sight are there and the islands have had their say."""
    await page.wait_for_selector("#who button")
    await page.wait_for_load_state("networkidle" if SHOOTING else "load")
    await page.evaluate("document.fonts.ready")


async def shoot(page: Any, name: str) -> None:
    if SHOOTING:
        await page.screenshot(type="jpeg", quality=70, path=SHOTS / f"{name}.jpg")


def everywhere(node: Node) -> dict[str, str]:
    """Address and name of every page, those of the operator and of things bought in tests before this one too."""
    services = node.get("/index.json")["services"]
    pages = {path: path.strip("/").replace("/", "-") or "shop" for path in (*PAGES, "/wallet", "/admin")}
    pages[next(r["href"] for r in node.get("/recipes.json")["recipes"] if r["title"] == "Music video")] = "recipe"
    pages[next(s["href"] for s in services if s["kind"] == 5100 and s["works"])] = "service"
    films = [job for s in services if s["recipe"] == "music-video" for job in s["works"]]
    return pages | {f"/job/{films[0]}": "job", "/job/" + "0" * 64: "error"}


async def test_pages_read_without_javascript(visit: Visit, node: Node) -> None:
    page = await visit(java_script_enabled=False)
    for path in PAGES:
        answer = await page.goto(path)
        assert answer.status == 200, path
        assert await page.locator("h1").count() == 1
    await page.goto("/")
    await page.check("[name=what][value=illustrated-story]", force=True)
    await page.fill("#prompt", "a hedgehog")
    await page.click("text=Get a quote")
    assert "/new/illustrated-story" in page.url and await page.input_value("#input") == "a hedgehog"
    await page.goto("/?q=songsmith")
    await page.click("#shelf h3 a")
    assert await page.inner_text("h1") == "Songsmith"
    film = next(path for path, name in everywhere(node).items() if name == "job")
    await page.goto(film)
    assert await page.locator("video[poster^='/thumb/']").count() == 1
    assert "Delivered" in await page.inner_text("main") and await page.locator("td >> text=cut").count() >= 1


async def test_the_keyboard_reaches_everything(page: Any) -> None:
    await page.goto("/")
    await page.keyboard.press("j")
    first = await page.evaluate("document.activeElement.textContent")
    await page.keyboard.press("j")
    assert await page.evaluate("document.activeElement.textContent") != first
    await page.keyboard.press("k")
    assert await page.evaluate("document.activeElement.textContent") == first
    await page.keyboard.press("/")
    assert await page.evaluate("document.activeElement.id") == "q"
    await page.keyboard.type("songsmith")
    assert await page.locator("#shelf > li:visible").count() == 1
    await page.keyboard.press("Tab")  # leaves the field; letters are keys again
    await page.keyboard.press("?")
    assert await page.get_by_role("dialog", name="Keys").is_visible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("n")
    await page.wait_for_url("**/new/music-video")


async def test_the_first_page_is_quick_light_and_still(page: Any) -> None:
    """Painted in 300 ms, 150 KB with samples and typefaces, nothing moves.

    The aim is one for a quiet machine: a visit counts as quick where it is, in one of eight tries, while others use
    this machine as well. A page that is slow by itself is slow in all of them.
    """
    await page.goto("/")
    await settled(page)
    cdp = await page.context.new_cdp_session(page)
    await cdp.send("Network.clearBrowserCache")
    await page.add_init_script(
        "window.moved = 0; new PerformanceObserver((list) => list.getEntries().forEach((e) => { moved += e.value }))"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    tries = list[float]()
    while len(tries) < 8 and min(tries, default=999) >= 300:
        await page.goto("about:blank")
        await page.goto("/", wait_until="load")
        painted = "performance.getEntriesByName('first-contentful-paint')"
        await page.wait_for_function(f"() => {painted}.length")
        tries.append(await page.evaluate(f"{painted}[0].startTime"))
        if len(tries) == 1:
            await settled(page)
            weights = await page.evaluate(
                "Object.fromEntries([...performance.getEntriesByType('navigation'),"
                " ...performance.getEntriesByType('resource')].map((e) => [e.name, e.transferSize]))"
            )
            assert 40_000 < sum(weights.values()) < 150_000, weights
            assert await page.evaluate("moved") < 0.05
    assert min(tries) < 300, tries


async def test_an_event_is_on_the_page_in_a_moment(page: Any, node: Node) -> None:
    """Two tenths of a second after its author sent it to the relay, in one of ten tries while others use this machine
    too; a page that polled, or did much for each event, would be slow in all of them."""
    seller, buyer = SecretKey.generate(), SecretKey.generate()
    asked = buyer.sign(kind=5820, tags=[["i", "Count the stars", "text"], ["p", seller.public]])
    took = []
    async with Pool([node.relay]) as pool:
        await pool.publish(asked)
        await page.goto(f"/job/{asked.id}")
        await settled(page)
        for number in range(10):
            note = f"star {number} of many"
            await page.evaluate(
                f"void (window.shown = new Promise((done) => new MutationObserver(() => "
                f"document.body.innerText.includes('{note}') && done(Date.now()))"
                f".observe(document.body, {{subtree: true, childList: true, characterData: true}})))"
            )
            tags = [["e", asked.id], ["p", buyer.public], ["status", "processing", note]]
            said = seller.sign(kind=7000, content="", tags=tags)
            start = time.time()
            await pool.publish(said)
            took.append(await page.evaluate("window.shown") / 1000 - start)
            if min(took) < 0.2:
                return
    raise AssertionError(f"seconds until it was shown: {took}")


HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>{{7*7}}'
CORPUS = [
    f"{HOSTILE}</textarea></template></script><base href=//evil.example>"
    "<iframe srcdoc='<script>top.hacked=1</script>'>",
    "javascript:window.hacked=1//<svg onload=window.hacked=1><animate onbegin=window.hacked=1>",
    "\u202egnp.exe \u2066\u2067 \u200f" * 20 + "\u0645\u0631\u062d\u0628\u0627",
    "N" * 20_000,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 800 + "\u0301" * 2000,
]


def attack(words: str) -> tuple[SecretKey, list[Any], str]:
    """A seller, everything it says about itself and a job of its own with `words` in every field, and the job's id."""
    key = SecretKey.generate()
    params = {words: {"values": [words]}, "ok": {"description": words, "values": [words], "default": words}}
    about = dict.fromkeys(("name", "about", "amount", "engine", "model"), words)
    about |= {"picture": words, "nip90Params": params}
    offer = key.sign(kind=31990, content=json.dumps(about), tags=[["d", words[:200]], ["k", "5100"], ["t", words]])
    beat = key.sign(kind=11998, tags=[["d", words[:200]], ["status", "ready"]])
    asked = key.sign(kind=5100, tags=[["i", words, "text"], ["p", key.public]])
    named = [["e", asked.id], ["p", key.public]]
    steps = [["step", words, "0", words, words, "1", "0.5"], ["step", "song", "0", "accepted", key.public, words]]
    told = key.sign(kind=7000, content=words, tags=[*named, ["status", "processing", words], *steps])
    files = [
        ["imeta", "url javascript:window.hacked=1", "m image/png", f"alt {words}"],
        ["imeta", f"url https://evil.example/{words[:40]}.svg", "m image/svg+xml"],
        ["imeta", "url http://[x/a.png", "m image/png"],
    ]
    copy = ["request", asked.to_json().decode()]
    given = key.sign(kind=6100, content="javascript:window.hacked=1", tags=[*named, *files, copy])
    review = key.sign(kind=31117, content=words, tags=[["d", asked.id], ["p", key.public], ["rating", "5"]])
    report = key.sign(kind=1984, content=words, tags=[["p", key.public, words], ["e", asked.id, words]])
    task = key.sign(kind=5820, tags=[["i", words, "text"], ["i", words, "url"], ["param", "title", words]])
    profile = key.sign(kind=0, content=json.dumps({"name": words}))
    recipe = key.sign(kind=35990, content=words, tags=[["d", words[:200]], ["title", words], ["k", words]])
    return key, [profile, offer, beat, asked, told, given, review, report, task, recipe], asked.id


async def test_hostile_words_in_every_field_stay_words(visit: Visit, node: Node) -> None:
    page = await visit(viewport={"width": 390, "height": 800})
    page.forgiven += ["status of 404", "Content Security Policy"]  # the policy says that it has stopped something
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if "evil.example" in request.url else None)
    await page.goto(new_link(node.data, node.base))
    attacks = [attack(words) for words in CORPUS]
    paths = ["/", "/inbox", "/recipes", f"/?q={HOSTILE}", "/admin"]
    for key, _, job in attacks:
        paths += [f"/job/{job}", f"/service/{key.public}/5100", f"/new/5100?to={key.public}"]
    async with Pool([node.relay]) as pool:
        for _, events, _ in attacks:
            for event in events:
                await pool.publish(event)  # what the relay itself refuses (too long) can't hurt the page
        for path in paths:
            await page.goto(path, wait_until="load")
            await page.wait_for_selector("#who button")
            await page.evaluate("new Promise((done) => setTimeout(done, 60))")  # theirs would run now
            assert await page.evaluate("window.hacked") is None, path
            assert "49" not in await page.evaluate("document.title"), path
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 390, (path, wide)
            links = await page.evaluate(
                "[...document.querySelectorAll('a[href],[src],base,iframe')]"
                ".map((e) => e.getAttribute('href') || e.getAttribute('src') || e.tagName)"
            )
            bad = [link for link in links if re.match(r"\s*(javascript|data|vbscript):|BASE|IFRAME", link or "")]
            assert not bad, (path, bad)
        for key, events, _ in attacks:  # leave the shelf as it was for the tests after this one
            gone = [["a", event.address] for event in events if event.kind in (31990, 35990)]
            await pool.publish(key.sign(kind=5, tags=[*gone, *(["e", event.id] for event in events)]))
    assert not foreign, "nothing is fetched from a stranger's host before the visitor says so"
