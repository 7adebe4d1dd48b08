"""A browser (Debian's Chromium through Playwright) and a whole node for the tests of the page."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.whole import Node, running, until

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests of the page, with every trade announced."""
    with running(tmp_path_factory.mktemp("page") / "node") as node:
        until(lambda: {5100, 5250, 5260} <= {s["kind"] for s in node.get("/index.json")["services"] if s["alive"]}, 60)
        yield node


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    """A fresh browser. Skipped, loudly, where Chromium or Playwright are missing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed: the page is not tested in a browser")
    api = pytest.importorskip("playwright.async_api", reason="the extra `browser` is not installed")
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Any, node: Node) -> AsyncIterator[Any]:
    """A page at the node, desktop size. The test fails where the browser's console reports an error."""
    context = await browser.new_context(base_url=node.base, viewport={"width": 1200, "height": 900})
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if _is_fault(message) else None)
    yield page
    await context.close()
    assert not faults, faults


SHOTS = Path(__file__).parents[2] / "docs" / "screenshots"


def _is_fault(message: Any) -> bool:
    """The browser itself reports what the relay's death cut off, and a refusal (400): no faults of the page."""
    known = ("WebSocket connection to", "status of 400", "net::ERR_CONNECTION_REFUSED")
    return message.type == "error" and not any(words in message.text for words in known)
