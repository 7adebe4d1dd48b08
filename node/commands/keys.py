"""`timmy keys`: the keys of a node, one file each in DIR/keys, mode 0600."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from node import home
from node.context import DataOption, JsonOption, data_dir, out, print_json
from node.errors import UsageComplaint
from nostr import nip19, nip49
from nostr.key import InvalidKey, SecretKey

app = typer.Typer(no_args_is_help=True, help="List, export, import, rotate the node's keys.")
NameArgument = Annotated[str, typer.Argument(help="which key: owner, relay, image, orchestrator, ...")]


@app.command("list")
def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Every key of this node: its part and its npub. Secrets are never shown."""
    keys = home.public_keys(data_dir(data))
    if as_json:
        print_json([{"name": name, "pubkey": pubkey, "npub": nip19.npub(pubkey)} for name, pubkey in keys.items()])
        return
    table = Table(box=None, header_style="dim")
    table.add_column("key")
    table.add_column("npub")
    for name, pubkey in keys.items():
        table.add_row(name, nip19.npub(pubkey))
    out.print(table)


@app.command()
def export(name: NameArgument, data: DataOption = None) -> None:
    """Print a key as ncryptsec (NIP-49), encrypted with a passphrase that is asked for."""
    path = _path(data_dir(data), name)
    if not path.exists():
        raise UsageComplaint(f"there is no key {name!r}: `timmy keys list` shows the keys of this node")
    key = SecretKey.from_hex(path.read_text())
    sys.stdout.write(nip49.encrypt(key, _passphrase(confirm=True)) + "\n")


@app.command("import")
def import_(name: NameArgument, data: DataOption = None) -> None:
    """Read an ncryptsec or nsec from standard input and make it this part's key. The old one is kept aside."""
    folder = data_dir(data)
    text = (
        sys.stdin.readline().strip() if not sys.stdin.isatty() else typer.prompt("ncryptsec or nsec", hide_input=True)
    )
    try:
        if text.startswith("ncryptsec"):
            key = nip49.decrypt(text, _passphrase(confirm=False))
        elif text.startswith("nsec"):
            key = SecretKey.from_nsec(text)
        else:
            key = SecretKey.from_hex(text)
    except (InvalidKey, ValueError) as error:
        raise UsageComplaint(f"not a key: {error}") from None
    _replace(_path(folder, name), key)
    out.print(f"{name}: {nip19.npub(key.public)}")


@app.command()
def rotate(name: NameArgument, data: DataOption = None) -> None:
    """Give a part a new key. Its reputation stays with the old one, which is kept aside."""
    folder = data_dir(data)
    path = _path(folder, name)
    if not path.exists():
        raise UsageComplaint(f"there is no key {name!r}: `timmy keys list` shows the keys of this node")
    key = SecretKey.generate()
    _replace(path, key)
    out.print(f"{name}: {nip19.npub(key.public)} (restart the part)")


def _path(folder: Path, name: str) -> Path:
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UsageComplaint(f"{name!r} is not the name of a key")
    return folder / "keys" / f"{name}.key"


def _replace(path: Path, key: SecretKey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists():
        path.rename(path.with_name(f"{path.stem}.{int(time.time())}.old"))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key.hex + "\n")
    path.with_suffix(".pub").write_text(key.public + "\n")


def _passphrase(*, confirm: bool) -> str:
    """From TIMMY_PASSPHRASE, else asked on the terminal; never an argument, which other users could read."""
    given = os.environ.get("TIMMY_PASSPHRASE")
    if given:
        return given
    return str(typer.prompt("passphrase", hide_input=True, confirmation_prompt=confirm))
