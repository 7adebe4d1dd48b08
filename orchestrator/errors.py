"""Errors of the orchestrator room.

OrchestratorError
|- RecipeError        a recipe that cannot run; `problems` name the step and the field
|- InputError         a request whose inputs do not fit the recipe; said to the buyer before any bill
|- QuoteError         no price can be named (nobody sells a step, or only above its limit)
|- CapReached         a payment that would break a cap; nothing was written
|- AuditError         a receipt that cannot be found or read
|- DraftError         no recipe can be drafted from a wish; the message says what is missing
"""

from collections.abc import Sequence


class OrchestratorError(Exception):
    """Base of the room."""


class RecipeError(OrchestratorError):
    """The recipe cannot run. Each problem reads `steps.clip.i[0]: what is wrong`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class InputError(OrchestratorError):
    """The request's inputs do not fit the recipe; the message is written for the buyer."""


class QuoteError(OrchestratorError):
    """No price can be named now; the message is written for the buyer."""


class CapReached(OrchestratorError):
    """A payment was not made because a cap forbids it; the message names the cap, the rest the attempt it was for."""

    def __init__(self, message: str, step: str = "", idx: int = 0, attempt: int = 0) -> None:
        super().__init__(message)
        self.step, self.idx, self.attempt = step, idx, attempt


class DraftError(OrchestratorError):
    """No recipe could be made of a wish; the message says what is missing, or what to say more clearly."""


class AuditError(OrchestratorError):
    """The receipt could not be found or is no receipt."""
