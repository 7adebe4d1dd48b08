"""Which processes make a node, from its settings: the one list that `up`, `demo` and `docker/` agree on."""

import sys
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


def parts(
    data: Path, wanted: Iterable[str], *, host: str, port: int, environ: dict[str, str] | None = None
) -> list[Part]:
    """The parts in the order of their start: the relay, the wallet, then everyone who needs both."""
    chosen = list(wanted)
    for name in chosen:
        if name not in PARTS:
            raise UsageComplaint(f"there is no part {name!r}: choose from {', '.join(PARTS)}")
    base = (sys.executable, "-m", "node.cli")
    made: list[Part] = []
    for name in PARTS:
        if name not in chosen:
            continue
        if name == "relay":
            command = [*base, "relay", "--data", str(data), "--host", host, "--port", str(port)]
        elif name in TRADES:
            command = [*base, "dvm", name, "--data", str(data)]
        else:
            command = [*base, name, "--data", str(data)]
        made.append(Part(name, command, ready=f"{name} ", environ=environ or {}))
    return made
