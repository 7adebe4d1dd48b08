"""What the operator's page may do to the node. The node brings it (`node/page.py`): the page knows no processes."""

from dataclasses import dataclass
from typing import Protocol


class Complaint(Exception):
    """A change that can't be made, with the reason for the operator."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting: where it stands, its value in force and its default as TOML writes them, and what it means."""

    section: str
    key: str
    value: str
    default: str
    help: str
    secret: bool = False

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def changed(self) -> bool:
        return self.value.removesuffix(".0") != self.default.removesuffix(".0")


class Workshop(Protocol):
    def knobs(self) -> list[Knob]:
        """Every setting of the node."""

    def turn(self, name: str, value: str) -> str:
        """Set `section.key`, validated, in `timmy.toml`; says what must start anew. Raises Complaint."""

    def switch(self, part: str, action: str) -> str:
        """`restart`, `off` or `on` for a part under the supervisor; says what happens. Raises Complaint."""
