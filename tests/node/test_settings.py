"""Settings: sources, mistakes explained, the file kept readable."""

import tomllib
from pathlib import Path

import pytest

from node import settings
from node.errors import UsageComplaint
from node.settings import NodeSettings


def write(folder: Path, text: str) -> Path:
    (folder / settings.FILE).write_text(text)
    return folder


def test_flags_beat_environment_beats_file(tmp_path: Path) -> None:
    write(tmp_path, '[node]\nhost = "10.0.0.1"\nport = 1\npublic_url = "wss://a"')
    merged = settings.load(tmp_path, {"TIMMY_NODE_PORT": "2", "TIMMY_NODE_PUBLIC_URL": "wss://b"})
    node = merged.section("node", NodeSettings, public_url="wss://c")
    assert (node.host, node.port, node.public_url) == ("10.0.0.1", 2, "wss://c")


def test_environment_reaches_a_trade(tmp_path: Path) -> None:
    merged = settings.load(tmp_path, {"TIMMY_DVM_IMAGE_PRICE": "5", "TIMMY_DATA": "/x", "TIMMY_OTHER": "1"})
    assert merged.section("dvm", settings.model_of("dvm")).model_dump()["image"]["price"] == 5  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[node]\nprot = 1", "unknown key 'prot' in [node]: did you mean 'port'?"),
        ("[nod]\nport = 1", "unknown section [nod]: did you mean 'node'?"),
        ("[node]\nport = 99999", "node.port"),
        ('[node]\nport = "many"', "node.port"),
        ("[node\n", "not valid TOML"),
    ],
)
def test_a_mistake_is_explained(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageComplaint) as caught:
        settings.load(write(tmp_path, text), {}).section("node", NodeSettings)
    assert said in str(caught.value)


def test_the_template_explains_every_key_and_is_valid(tmp_path: Path) -> None:
    text = settings.template()
    assert tomllib.loads(text).keys() == settings.SECTIONS.keys()
    awake = "\n".join(line[2:] if " = " in line and line.startswith("# ") else line for line in text.splitlines())
    for section in settings.SECTIONS:
        for place, key, value, about in settings.describe(settings.model_of(section), section):
            assert about, f"{place}.{key} has no help"
            assert f"# {key} = {value}" in text
    assert settings.load_file(_file(tmp_path, text), {}).check()
    assert awake.count("=") > 20


def test_set_keeps_the_comments(tmp_path: Path) -> None:
    text = settings.assign(settings.template(), "node", "port", "7001")
    assert settings.load_file(_file(tmp_path, text), {}).section("node", NodeSettings).port == 7001
    assert text.count("\n") == settings.template().count("\n")
    again = settings.assign(text, "node", "port", "7002")
    assert "7001" not in again


def _file(folder: Path, text: str) -> Path:
    path = folder / "some.toml"
    path.write_text(text)
    return path


def test_the_settings_reference_is_complete_and_current() -> None:
    path = Path(__file__).parents[2] / "docs" / "settings.md"
    assert path.read_text() == settings.reference(), "run scripts/write-docs"
