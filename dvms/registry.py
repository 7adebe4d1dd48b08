"""The trades of the shop, and how a service is found by name or by file.

A trade is one line in `TRADES`. Its module must import in a third of a second: numpy, PyAV and torch belong inside
`run()` or in an engine module. Its `Settings` are the keys of `[dvm.<trade>]` in `timmy.toml`; a field named `engine`
is also what `--engine` sets. Any other service is a Python file: `timmy dvm ./mine.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel

from dvms.service import Service

TRADES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "text": "dvms.text.service:TextService",
        "image": "dvms.image.service:ImageService",
        "animation": "dvms.animation.service:AnimationService",
        "video": "dvms.video.service:VideoService",
        "music": "dvms.music.service:MusicService",
        "speech": "dvms.speech.service:SpeechService",
        "feed": "dvms.feed.service:FeedService",
        "human": "dvms.human.service:HumanService",
    }
)

# Base prices in sat, as announced; settings and `--price` override them.
PRICES: Final[Mapping[str, int]] = MappingProxyType(
    {"text": 5, "image": 21, "animation": 15, "video": 30, "music": 60, "speech": 10, "feed": 0, "human": 500}
)
OTHER_PRICE: Final = 10


class UnknownService(LookupError):
    """No trade and no file of this name holds a service; the message says what was looked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A service class, where it came from (`module:Class` or `file.py:Class`), and the worker's name on disk."""

    service: type[Service]
    where: str
    name: str


def find(name: str) -> Found:
    """A trade by its name, or the one Service of a Python file (`./mine.py`, `./mine.py:Class`). UnknownService."""
    where = TRADES.get(name, name)
    service = load(where)
    return Found(service, where, name if name in TRADES else Path(where.partition(".py")[0]).name)


def load(where: str) -> type[Service]:
    """Import `module:Class` or `path.py[:Class]`. Raises UnknownService."""
    place, _, attribute = where.rpartition(":") if ":" in where else (where, "", "")
    if place.endswith(".py"):
        module: Any = _from_file(Path(place))
    elif attribute:
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is not None and place.startswith(error.name):
                raise UnknownService(f"there is no module {place}") from None
            raise
    else:
        known = ", ".join(TRADES)
        raise UnknownService(f"no trade is called {where!r} (known: {known}); a service of your own is a .py file")
    if attribute:
        service = getattr(module, attribute, None)
        if not (isinstance(service, type) and issubclass(service, Service)):
            raise UnknownService(f"{place} has no Service called {attribute}")
        return service
    own = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Service) and item.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise UnknownService(f"{place} holds {len(own)} services: name one as {place}:Class")
    return own[0]


def service_settings(trade: str) -> type[BaseModel]:
    """The settings model of a trade."""
    return load(TRADES[trade]).Settings


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise UnknownService(f"there is no file {path}")
    name = f"_service_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnknownService(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
