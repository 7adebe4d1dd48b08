"""`timmy config show | set | check`."""

import json
import sys
from typing import Annotated

import typer

from node import settings as node_settings
from node.context import DataOption, JsonOption, data_dir, out, print_json
from node.errors import UsageComplaint
from node.home import write_private

app = typer.Typer(no_args_is_help=True, help="Show, set and check settings.")


@app.command()
def show(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Every setting as it is in force: file, environment and defaults merged. Secrets are hidden."""
    values = node_settings.load(data_dir(data)).check()
    if as_json:
        shown = {name: model.model_dump(mode="json") for name, model in values.items()}
        print_json(json.loads(node_settings.hide(json.dumps(shown))))
        return
    for name, model in values.items():
        out.print(f"[bold]\\[{name}][/bold]")
        for key, value in model.model_dump(mode="json").items():
            if isinstance(value, dict) and value:
                for below, inner in value.items():
                    _say(f"{key}.{below} = {node_settings.toml_value(inner)}")
            else:
                _say(f"{key} = {node_settings.toml_value(value)}")
        out.print()


@app.command("set")
def set_(
    key: Annotated[str, typer.Argument(help="section.key, for instance relay.port or dvm.image.price")],
    value: Annotated[
        str, typer.Argument(help="the value as TOML writes it; plain words need no quotes; - reads it from stdin")
    ],
    data: DataOption = None,
) -> None:
    """Set one key in timmy.toml; the file keeps its comments. Nothing is written where the value is wrong."""
    value = sys.stdin.readline().strip() if value == "-" else value  # a secret is better no argument
    section, _, name = key.rpartition(".")
    if not section:
        raise UsageComplaint(f"{key!r} lacks its section: for instance node.port")
    folder = data_dir(data)
    path = folder / node_settings.FILE
    before = path.read_text() if path.exists() else node_settings.template()
    literal = node_settings.toml_value(node_settings.literal(value))
    after = node_settings.assign(before, section, name, literal)
    fresh = path.with_suffix(".new")
    write_private(fresh, after)
    try:
        node_settings.load_file(fresh).check()
        fresh.replace(path)
    except UsageComplaint as error:
        raise UsageComplaint(str(error).removeprefix(f"{fresh}: ")) from None
    finally:
        fresh.unlink(missing_ok=True)
    _say(f"{section}.{name} = {literal}")


@app.command()
def check(data: DataOption = None) -> None:
    """Validate timmy.toml and the environment."""
    folder = data_dir(data)
    node_settings.load(folder).check()
    out.print(f"{folder / node_settings.FILE}: fine")


def _say(line: str) -> None:
    out.print(node_settings.hide(line), markup=False, soft_wrap=True)
