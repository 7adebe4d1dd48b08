"""Agents as customers: what a program that thinks may buy, and the tools it gets for it (`timmy mcp`).

`purse` holds the rules for money: they are code and rows, never words in a prompt. `desk` does what the tools do and
knows nothing of MCP. `server` is the Model Context Protocol around it and needs the extra `mcp`.
"""

from node.agents.desk import Desk
from node.agents.purse import Limits, Purse, Spend, SpendRefused

__all__ = ["Desk", "Limits", "Purse", "Spend", "SpendRefused"]
