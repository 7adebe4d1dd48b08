"""The README and docs tell the truth: every command named exists, every file pointed to is there."""

import re
import shlex
from pathlib import Path

import pytest

from node.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(text: str) -> list[list[str]]:
    """Every `timmy ...` command in code blocks and code spans."""
    found = []
    blocks = re.findall(r"```(?:sh|console|)?\n(.*?)```", text, re.S)
    spans = re.findall(r"`((?:\./)?timmy [^`\n]+)`", text)
    for line in [line for block in blocks for line in block.splitlines()] + spans:
        line = line.strip().removeprefix("$ ")
        if re.match(r"(\./)?timmy ", line):
            try:
                found.append(shlex.split(line, comments=True)[1:])
            except ValueError:  # a sentence with an apostrophe, not a command
                continue
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_exists(page: Path) -> None:
    for words in commands(page.read_text()):
        name = next((word for word in words if not word.startswith("-")), None)
        if name is None or not name.isalpha() or name.isupper():
            continue
        assert name in COMMANDS, f"{page.name}: timmy {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} -> {target}"


def test_the_readme_has_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert '\n./timmy demo "' in text
    assert "\nscripts/test\n" in text
    assert (ROOT / "timmy").stat().st_mode & 0o111
    assert (ROOT / "scripts" / "test").stat().st_mode & 0o111
