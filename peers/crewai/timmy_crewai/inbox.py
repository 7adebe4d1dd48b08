"""`NostrInbox`: the human feedback of a flow comes from a person on the market.

The flow pauses (`HumanFeedbackPending`, its state on disk), the question goes out as a task of kind 5820, paid within
the desk's budget. `resume` in this or any other process waits for the answer and lets the flow go on. The order's key
is made of the flow and the question, so it is asked once however often a process dies in between.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from crewai.flow.async_feedback.types import HumanFeedbackPending, HumanFeedbackProvider, PendingFeedbackContext

from node.errors import Complaint
from node.hiring import Wish
from timmy_crewai.market import Market


class NostrInbox(HumanFeedbackProvider):
    """`max_sat` for an answer, `seconds` for the person. `form`: yes-no, score, rank, or "" for words."""

    def __init__(self, market: Market, *, max_sat: int, seconds: int = 86_400, form: str = "") -> None:
        self.market, self.max_sat, self.seconds, self.form = market, max_sat, seconds, form

    def request_feedback(self, context: PendingFeedbackContext, flow: Any) -> str:
        """Ask, pay, and pause the flow."""
        said = self.market.call(self.market.desk.start(self._wish(context), _key(context), self.max_sat))
        self.market.call(self.market.desk.paid(said["job_id"]))
        raise HumanFeedbackPending(context=context, callback_info={"job": said["job_id"]})

    def answer(self, context: PendingFeedbackContext) -> str | None:
        """What the person said, after however long it takes; None where nobody answered in time."""
        try:
            _, result = self.market.call(self.market.desk.hire(self._wish(context), _key(context), self.max_sat))
        except Complaint:
            return None
        return result.content

    def _wish(self, context: PendingFeedbackContext) -> Wish:
        shown = context.method_output
        text = shown if isinstance(shown, str) else json.dumps(context.to_dict()["method_output"], ensure_ascii=False)
        params = {"title": [context.message[:200]], **({"form": [self.form]} if self.form else {})}
        return Wish("5820", (text,), params, seconds=self.seconds)


def resume(inbox: NostrInbox, flow: type[Any], flow_id: str, persistence: Any = None, *, nobody: str = "") -> Any:
    """Wait for the person, then let the paused flow go on; its result. `nobody`: the feedback where no answer came."""
    paused = flow.from_pending(flow_id, persistence)
    context = paused.pending_feedback
    if context is None:
        raise ValueError(f"flow {flow_id} waits for nobody")
    answer = inbox.answer(context)
    return paused.resume(nobody if answer is None else answer)


def _key(context: PendingFeedbackContext) -> str:
    asked = [context.flow_id, context.method_name, context.to_dict()["method_output"], context.message]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
