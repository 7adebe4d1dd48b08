"""CrewAI on a Timmy market: crews that hire, crews that ask people, crews that are sold.

It stands on the node's public faces alone (`node.agents`, `node.hiring`, `dvms.service`). The framework's telemetry is
off before it is imported.
"""

import os

for _name, _value in (
    ("CREWAI_DISABLE_TELEMETRY", "true"),
    ("CREWAI_DISABLE_TRACKING", "true"),
    ("CREWAI_TRACING_ENABLED", "false"),
    ("OTEL_SDK_DISABLED", "true"),
):
    os.environ.setdefault(_name, _value)

from timmy_crewai.hire import HireTool  # noqa: E402
from timmy_crewai.inbox import NostrInbox, resume  # noqa: E402
from timmy_crewai.market import Market  # noqa: E402
from timmy_crewai.service import CrewService  # noqa: E402

__all__ = ["CrewService", "HireTool", "Market", "NostrInbox", "resume"]
