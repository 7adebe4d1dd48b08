"""A browser (Debian's Chromium through Playwright) and a whole node, one of each for all tests that a worker runs."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.whole import Node, running, until

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
HANDWRITTEN = Path(__file__).parent / "handwritten.json"  # a recipe whose one step is a person's
SHOOTING = bool(os.environ.get("TIMMY_SCREENSHOTS"))  # then the pictures of docs/screenshots are taken
PATIENCE = 90_000  # milliseconds for whatever is waited for: three workers share two cores
Visit = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests of the page that a worker runs, with every trade announced."""
    data = tmp_path_factory.mktemp("page") / "node"
    recipes = data / "orchestrator" / "recipes"
    recipes.mkdir(parents=True)
    if not SHOOTING:
        shutil.copy(HANDWRITTEN, recipes)
    with running(data) as node:
        until(lambda: {5100, 5250, 5260} <= {s["kind"] for s in node.get("/index.json")["services"] if s["alive"]}, 60)
        yield node


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    """One browser. Skipped, loudly, where Chromium or Playwright are missing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed: the page is not tested in a browser")
    api = pytest.importorskip("playwright.async_api", reason="the extra `browser` is not installed")
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Any, node: Node) -> AsyncIterator[Visit]:
    """`await visit()` gives the page of a new visitor, desktop size; options as of Playwright's `new_context`.

    The test fails where the console of one of them reports an error. `page.forgiven` is a list of words: a report with
    one of them is expected by the test.
    """
    pages: list[tuple[Any, list[str]]] = []

    async def visit(**options: Any) -> Any:
        context = await browser.new_context(
            **{"base_url": node.base, "viewport": {"width": 1200, "height": 900}} | options
        )
        context.set_default_timeout(PATIENCE)
        page, faults = await context.new_page(), list[str]()
        page.forgiven = [
            "net::ERR_SOCKET_NOT_CONNECTED"
        ]  # Chromium's own, of a spare socket that the server had closed
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        pages.append((page, faults))
        return page

    yield visit
    for page, _ in pages:
        await page.context.close()
    left = [fault for page, faults in pages for fault in faults if not any(words in fault for words in page.forgiven)]
    assert not left, left


@pytest_asyncio.fixture(loop_scope="session")
async def page(visit: Visit) -> Any:
    """A visitor of their own."""
    return await visit()
