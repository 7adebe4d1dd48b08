"""Hangs the page on the relay's port. The relay does not know of it: this is where the two meet."""

from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from node.settings import Settings


def mounts(settings: Settings, data: Path) -> list[Callable[[web.Application], None]]:
    """What `relay.app.serve` mounts: the page, where `[web] enabled` says so."""
    from web.app import mount
    from web.settings import WebSettings

    chosen = settings.section("web", WebSettings)
    return [lambda app: mount(app, settings=chosen, data=data)] if chosen.enabled else []
