"""What every command shares: the data folder, the settings, output for people or for programs."""

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.errors import MarkupError
from rich.segment import Segment
from rich.text import Text

from node.errors import Unavailable, UsageComplaint
from node.settings import NodeSettings, Settings, load

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data folder of the node.", envvar="TIMMY_DATA", show_default="the XDG data folder"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RelayOption = Annotated[
    list[str] | None, typer.Option("--relay", help="Relay to use; may be repeated. Default: this node's own.")
]

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # commands to a terminal


class Terminal(Console):
    """A console that strangers' words cannot command: no control characters, no broken markup."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            plain = segment.control or not UNSAFE.search(segment.text)
            yield segment if plain else segment._replace(text=UNSAFE.sub("", segment.text))

    def render_str(self, text: str, **how: Any) -> Text:
        try:
            return super().render_str(text, **how)
        except MarkupError:
            return super().render_str(text, **{**how, "markup": False})


out = Terminal(highlight=False)
err = Terminal(stderr=True, highlight=False)


def data_dir(given: Path | None) -> Path:
    """The data folder of this command, made private (0700) where it is new."""
    if given is None:
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        given = Path(base) / "timmy"
    path = given.expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise UsageComplaint(f"--data takes a folder, and {path} is none")
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def load_settings(data: Path) -> Settings:
    return load(data)


def relay_urls(data: Path, given: list[str] | None) -> list[str]:
    """The relays asked for, else the node's own as it is running now. Raises Unavailable."""
    if given:
        return given
    node = load(data).section("node", NodeSettings)
    if node.relay:
        if node.files:
            from market.fetch import reach

            reach(node.files, node.relay.replace("ws", "http", 1))
        return [node.relay]
    try:
        return [(data / "run" / "relay.url").read_text().strip()]
    except FileNotFoundError:
        raise Unavailable(f"no relay runs on {data}: start `timmy up` or name one with --relay wss://...") from None


def print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")
