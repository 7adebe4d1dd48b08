"""The command line as its user meets it: a real process, its output and exit code."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.cli import COMMANDS, load
from node.errors import Complaint, NotDone, Unavailable, UsageComplaint


def timmy(*arguments: str, data: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TIMMY_DATA": str(data), "COLUMNS": "200", **environ}
    command = [sys.executable, "-m", "node.cli", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=50, check=False)


def test_help_names_every_command_and_imports_no_room(tmp_path: Path) -> None:
    answer = timmy("--help", data=tmp_path)
    assert answer.returncode == 0
    for name in COMMANDS:
        assert name in answer.stdout
    code = (
        "import sys; sys.argv=['timmy','--help']\ntry:\n from node.cli import main; main()\nexcept SystemExit: pass\n"
    )
    code += "assert not {'aiohttp', 'numpy', 'pydantic', 'orchestrator'} & set(sys.modules), sorted(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    command = load(name)
    assert command.help
    assert command.name == name


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["servces"], 2, "did you mean 'services'"),
        (["up", "--port", "abc"], 2, "--port"),
        (["status", "--jsn"], 2, "--json"),
        (["buy"], 2, "timmy buy --help"),
        (["services"], 3, "timmy up"),
        (["keys", "rotate", "nobody"], 2, "timmy keys list"),
        (["restore", "nowhere", "--data", "new"], 2, "nowhere"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    answer = timmy(*arguments, data=tmp_path)
    assert answer.returncode == code
    assert answer.stdout == ""
    assert answer.stderr.startswith("timmy: ")
    assert answer.stderr.strip().count("\n") == 0, answer.stderr
    assert words.lower() in answer.stderr.lower()


def test_the_tree_of_complaints_is_what_the_docs_say() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    codes = {kind.exit_code for kind in (Complaint, UsageComplaint, Unavailable, NotDone)} | {0, 130}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)} == codes


def test_bash_completes_commands_options_and_trades(tmp_path: Path) -> None:
    def completed(*words: str) -> list[str]:
        line = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "_TIMMY_COMPLETE": "complete_bash"}
        return timmy(data=tmp_path, **line).stdout.split()

    assert completed("timmy", "sta") == ["status"]
    assert "--public" in completed("timmy", "up", "--p")
    assert "rotate" in completed("timmy", "keys", "")
    assert completed("timmy", "dvm", "im") == ["image"]


def test_a_wrong_setting_is_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    assert timmy("config", "set", "node.port", "7001", data=tmp_path).returncode == 0
    assert (tmp_path / "timmy.toml").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "timmy.toml").read_text()
    answer = timmy("config", "set", "node.prot", "1", data=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.strip().count("\n") == 0
    assert "did you mean 'port'" in answer.stderr
    assert "timmy.new" not in answer.stderr
    assert (tmp_path / "timmy.toml").read_text() == before


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("nwc:nostr+walletconnect://ab?relay=wss://x&secret=c0ffee", "secret=**********"),
        ("lnbits:https://x.example?key=c0ffee", "key=**********"),
        ("lnd:https://x.example:8080?key=@/c0ffee/admin.macaroon&cert=/x", "key=@/"),
    ],
)
def test_secrets_of_settings_come_from_stdin_and_are_never_shown(tmp_path: Path, line: str, shown: str) -> None:
    command = [sys.executable, "-m", "node.cli", "config", "set", "wallet.backend", "-", "--data", str(tmp_path)]
    done = subprocess.run(command, input=line + "\n", capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert line in (tmp_path / "timmy.toml").read_text()
    said = done.stdout + timmy("config", "show", data=tmp_path).stdout
    said += timmy("config", "show", "--json", data=tmp_path).stdout
    assert said.count(shown) == 3
    assert "@" in shown or "c0ffee" not in said


def test_the_words_of_strangers_neither_break_nor_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    from node.context import Terminal

    evil = "[/red] \x1b]0;owned\x07\x1b[31m \u202egnp.exe"
    table = Table("name")
    table.add_row(evil)
    console = Terminal()
    console.print(table)
    console.print(evil)
    console.print(evil, markup=False)
    console.print("[bold]fine[/bold]")
    said = capsys.readouterr().out
    assert said.count("[/red]") == 3
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "[bold]" not in said


def test_what_stands_in_the_way_of_a_start_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for part in (["relay"], ["up", "--only", "relay"]):
            answer = timmy(*part, "--port", port, data=tmp_path)
            assert answer.returncode != 0
            assert "--port N" in answer.stderr.splitlines()[-1], answer.stderr
    (tmp_path / "keys" / "relay.key").write_text("garbage")
    answer = timmy("relay", "--port", "0", data=tmp_path)
    assert "relay.key" in answer.stderr
    assert answer.stderr.strip().count("\n") == 0
    assert "garbage" not in answer.stderr


def test_keys_leave_only_encrypted(tmp_path: Path) -> None:
    from nostr.key import load_or_create

    key = load_or_create(tmp_path / "keys" / "owner.key")
    exported = timmy("keys", "export", "owner", data=tmp_path, TIMMY_PASSPHRASE="correct horse")
    assert exported.stdout.startswith("ncryptsec1")
    assert key.hex not in exported.stdout + exported.stderr
    listing = timmy("keys", "list", "--json", data=tmp_path)
    assert key.public in listing.stdout
    assert key.hex not in listing.stdout
    command = [sys.executable, "-m", "node.cli", "keys", "import", "image", "--data", str(tmp_path)]
    env = {**os.environ, "TIMMY_PASSPHRASE": "correct horse"}
    imported = subprocess.run(
        command, env=env, input=exported.stdout, capture_output=True, text=True, timeout=50, check=False
    )
    assert imported.returncode == 0, imported.stderr
    assert load_or_create(tmp_path / "keys" / "image.key").public == key.public
    assert (tmp_path / "keys" / "image.key").stat().st_mode & 0o777 == 0o600


def test_doctor_on_a_fresh_folder_finds_nothing_wrong(tmp_path: Path) -> None:
    answer = timmy("doctor", "--json", data=tmp_path, TIMMY_NODE_PORT="0")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (tmp_path / "keys").mkdir(exist_ok=True)
    (tmp_path / "keys" / "owner.key").write_text("00")
    (tmp_path / "keys" / "owner.key").chmod(0o644)
    answer = timmy("doctor", data=tmp_path, TIMMY_NODE_PORT="0")
    assert answer.returncode == 4
    assert "chmod 600" in answer.stdout


def test_help_is_quick(tmp_path: Path) -> None:
    began = time.process_time()
    timmy("--help", data=tmp_path)
    assert time.process_time() - began < 1


def test_status_tells_of_parts_that_have_no_supervisor(tmp_path: Path) -> None:
    """Each in its container, or started by hand."""
    command = [sys.executable, "-m", "node.cli", "relay", "--port", "0", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdout is not None
        line = relay.stdout.readline().strip()
        parts = json.loads(timmy("status", "--json", data=tmp_path).stdout)["parts"]
        relay.terminate()
    assert [(part["part"], part["state"], part["line"]) for part in parts] == [("relay", "ready", line)]
