"""Work by people on the very protocol of machines: a person's inbox behind kind 5820, or any kind they announce."""

from dvms.human.inbox import Inbox, Task, TaskState
from dvms.human.service import HumanService

__all__ = ["HumanService", "Inbox", "Task", "TaskState"]
