"""Settings of a node: `DIR/timmy.toml`, then environment variables, then flags.

Each room owns the model of its section; this module finds them, merges the sources, explains mistakes and writes the
first file with every key explained. `TIMMY_RELAY_PORT=7000` sets `port` in `[relay]`, `TIMMY_DVM_IMAGE_PRICE=5` sets
`price` in `[dvm.image]`.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from node.errors import UsageComplaint

FILE = "timmy.toml"
PARTS = ("relay", "wallet", "text", "image", "music", "speech", "animation", "video", "feed", "human", "orchestrator")

M = TypeVar("M", bound=BaseModel)


class NodeSettings(BaseModel):
    """The node as a whole."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field("127.0.0.1", description="address the relay and the page listen on; 0.0.0.0 for every interface")
    port: int = Field(7777, ge=0, le=65535, description="port of the relay, the page and the files; 0 takes a free one")
    public_url: str = Field("", description="wss:// address under which the world reaches this node; empty: local only")
    relay: str = Field(
        "", description="ws:// address of this node's relay as its parts reach it; empty: the one in run/"
    )
    files: str = Field(
        "", description="http(s) address that links to this node's files begin with, if parts reach them at `relay`"
    )
    announce_to: list[str] = Field(
        default_factory=lambda: ["wss://relay.damus.io", "wss://nos.lol", "wss://relay.primal.net"],
        description="public relays that hear of this node's services once public_url is set",
    )
    parts: list[str] = Field(
        default_factory=lambda: list(PARTS), description="parts that `timmy up` starts, each a process of its own"
    )
    log: Literal["human", "json"] = Field("human", description="log lines for people or one JSON object each")


SECTIONS: Mapping[str, str] = {
    "node": "node.settings:NodeSettings",
    "relay": "relay.settings:RelaySettings",
    "wallet": "wallet.settings:WalletSettings",
    "dvm": "dvms.settings:DvmSettings",
    "orchestrator": "orchestrator.settings:OrchestratorSettings",
    "web": "web.settings:WebSettings",
}


def model_of(section: str) -> type[BaseModel]:
    """The pydantic model of a section, imported on demand."""
    module, _, name = SECTIONS[section].partition(":")
    model: type[BaseModel] = getattr(import_module(module), name)
    return model


class Settings:
    """The merged sources of one node. `section(Model)` validates one section; `check()` validates all of them."""

    def __init__(self, tables: Mapping[str, Any], source: str) -> None:
        self._tables = tables
        self._source = source

    def section(self, name: str, model: type[M], **flags: Any) -> M:
        """The settings of one section. `flags` that are not None win over everything. Raises UsageComplaint."""
        table = dict(self._tables.get(name, {}))
        table.update({key: value for key, value in flags.items() if value is not None})
        try:
            return model.model_validate(table)
        except ValidationError as error:
            raise UsageComplaint(_explain(error, name, model, self._source)) from None

    def check(self) -> dict[str, BaseModel]:
        """Every section, validated."""
        return {name: self.section(name, model_of(name)) for name in SECTIONS}


def load(data: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read `timmy.toml` (which may be absent) and the environment. Raises UsageComplaint."""
    return load_file(data / FILE, environ)


def load_file(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """The same for a file of any name."""
    tables: dict[str, Any] = {}
    if path.exists():
        try:
            tables = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageComplaint(f"{path} is not valid TOML: {error}") from None
    for name in tables:
        if name not in SECTIONS:
            raise UsageComplaint(f"{path}: unknown section [{name}]{_suggest(name, SECTIONS)}")
    for name, value in environ.items():
        _merge_variable(tables, name, value)
    return Settings(tables, str(path))


def _merge_variable(tables: dict[str, Any], name: str, value: str) -> None:
    section, _, key = name.removeprefix("TIMMY_").lower().partition("_")
    if not name.startswith("TIMMY_") or section not in SECTIONS or not key:
        return
    model = model_of(section)
    table = tables.setdefault(section, {})
    if key not in model.model_fields:
        for field, info in model.model_fields.items():
            if key.startswith(field + "_") and _submodel(info) is not None:
                table = table.setdefault(field, {})
                key = key.removeprefix(field + "_")
                break
    table[key] = literal(value)


def literal(text: str) -> Any:
    """A TOML value where the text is one, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _submodel(info: FieldInfo) -> type[BaseModel] | None:
    for kind in (info.annotation, *get_args(info.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _suggest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else f" (known: {', '.join(sorted(known))})"


def _explain(error: ValidationError, section: str, model: type[BaseModel], source: str) -> str:
    """One line for the first mistake: where, what, and what was meant."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        owner: type[BaseModel] = model
        for part in where[:-1]:
            info = owner.model_fields.get(part)
            owner = (info and _submodel(info)) or owner
        place = ".".join([section, *where[:-1]])
        return f"{source}: unknown key {where[-1]!r} in [{place}]{_suggest(where[-1], owner.model_fields)}"
    return f"{source}: {'.'.join([section, *where])}: {first['msg'].lower()} (got {hide(repr(first['input']))})"


def describe(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """`(section, key, default as TOML, help)` of every key, subsections last."""
    nested: list[tuple[str, type[BaseModel]]] = []
    for name, info in model.model_fields.items():
        below = info.default_factory
        if isinstance(below, type) and issubclass(below, BaseModel):
            nested.append((f"{prefix}.{name}", below))
            continue
        yield prefix, name, toml_value(_default(info)), info.description or ""
    for place, below in nested:
        yield from describe(below, place)


def _default(info: FieldInfo) -> Any:
    return info.get_default(call_default_factory=True, validated_data={})


def hide(text: str) -> str:
    """A setting as it may be shown: the secrets inside wallet lines and addresses become asterisks."""
    text = re.sub(r"\b(secret|key|rune|macaroon|password|token)=(?!@)[^&\s\"']+", r"\1=**********", text)
    return re.sub(r"://[^/?@\s\"']+@", "://**********@", text)


def toml_value(value: Any) -> str:
    """A value as TOML writes it; None is shown as an empty string."""
    if value is None:
        return '""'
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_key(key)} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return orjson.dumps(str(value)).decode()


def _toml_key(key: object) -> str:
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else orjson.dumps(text).decode()


def template() -> str:
    """A new `timmy.toml`: every key with its help and its default, commented out."""
    lines = ["# Settings of this node. A line without `#` overrides the default shown in it.", ""]
    for section in SECTIONS:
        place = ""
        for where, key, value, text in describe(model_of(section), section):
            if where != place:
                lines += ["", f"[{where}]"]
                place = where
            lines += [f"# {text}", f"# {key} = {value}"]
    return "\n".join(lines) + "\n"


def reference() -> str:
    """`docs/settings.md`: every key of every section, from the models. Written by `scripts/write-docs`."""
    lines = [
        "# Settings",
        "",
        "`DIR/timmy.toml`, one section a room. An environment variable `TIMMY_SECTION_KEY` overrides the file, a flag",
        "overrides both. `timmy config show` prints what is in force, `timmy config set SECTION.KEY VALUE` changes the",
        "file and keeps its comments. An unknown key is an error that names the nearest known one.",
    ]
    for section in SECTIONS:
        place = ""
        for where, key, value, text in describe(model_of(section), section):
            if where != place:
                lines += ["", f"## [{where}]", "", "| key | default | meaning |", "| --- | --- | --- |"]
                place = where
            cell = text.replace("|", "\\|").replace("\n", " ")
            lines.append(f"| `{key}` | `{value.replace('|', chr(92) + '|')}` | {cell} |")
    return "\n".join(lines) + "\n"


def assign(text: str, section: str, key: str, value: str) -> str:
    """The file's text with one key set, comments kept. The key's commented line is used where it is there."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip() == f"[{section}]"), None)
    if start is None:
        return "\n".join([*lines, "", f"[{section}]", f"{key} = {value}", ""])
    end = next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    pattern = re.compile(rf"\s*(#\s*)?{re.escape(key)}\s*=")
    at = next((i for i in range(start + 1, end) if pattern.match(lines[i])), None)
    if at is None:
        lines.insert(start + 1, f"{key} = {value}")
    else:
        lines[at] = f"{key} = {value}"
    return "\n".join(lines) + "\n"
