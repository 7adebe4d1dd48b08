"""Which processes make a node, from its settings: the one list that `up`, `demo` and `docker/` agree on."""

from collections.abc import Iterable
from pathlib import Path

from node.errors import UsageComplaint
from node.settings import PARTS
from node.supervisor import Part

TRADES = {
    "text": "Writes, summarises, translates; hears recordings.",
    "image": "Paints pictures.",
    "music": "Composes and sings songs.",
    "speech": "Reads aloud.",
    "animation": "Makes a picture move.",
    "video": "Cuts clips, pictures, sound and words to a film.",
    "feed": "Sorts and searches what the relay knows.",
    "human": "Hands tasks to people (`timmy inbox`).",
}


def chosen(wanted: Iterable[str]) -> list[str]:
    """The wanted parts in the order of their start: the relay, the wallet, then everyone who needs both.

    Raises UsageComplaint for a name that is no part.
    """
    names = [name.strip() for name in wanted]
    for name in names:
        if name not in PARTS:
            raise UsageComplaint(f"there is no part {name!r}: choose from {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


def part(name: str, data: Path, *, host: str, port: int, environ: dict[str, str]) -> Part:
    """How the supervisor starts a part; `host` and `port` are the relay's."""
    command = [*(["dvm", name] if name in TRADES else [name]), "--data", str(data)]
    if name == "relay":
        command += ["--host", host, "--port", str(port)]
    return Part(name, command, ready=f"{name} ", environ=environ, timmy=True)
