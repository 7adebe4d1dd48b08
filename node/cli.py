"""The `timmy` command. A room is imported only when one of its commands runs: help and the relay start fast."""

import errno
import os
import sys
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from node.errors import Complaint, Unavailable, UsageComplaint


class Entry(NamedTuple):
    where: str  # module:attribute, a Typer app or a function
    panel: str
    help: str


NODE, PARTS, TRADE, OPERATE = "The node", "Parts, each alone", "Hire and sell", "Operate"
COMMANDS: dict[str, Entry] = {
    "demo": Entry("node.commands.demo:demo", NODE, "A whole node, one music video bought and audited."),
    "up": Entry("node.commands.up:up", NODE, "The node: relay, wallet, every trade, Timmy, the page."),
    "status": Entry("node.commands.status:status", NODE, "Processes, jobs and earnings of the running node."),
    "link": Entry("node.commands.up:link", NODE, "A one-time address that signs you in on the page as operator."),
    "relay": Entry("node.commands.relay:app", PARTS, "The relay alone; its status, import, export."),
    "wallet": Entry("node.commands.wallet:app", PARTS, "The wallet service; balance, invoices, connections."),
    "orchestrator": Entry(
        "node.commands.orchestrator:orchestrator", PARTS, "Timmy, who buys steps and sells the whole."
    ),
    "dvm": Entry("node.commands.dvm:app", PARTS, "One worker on any relay; `dvm new` writes your own."),
    "mint": Entry("node.commands.ecash:mint", PARTS, "A Cashu mint funded by this node's wallet (off by default)."),
    "services": Entry("node.commands.market:services", TRADE, "Who sells what: price, reputation, alive or not."),
    "buy": Entry("node.commands.market:buy", TRADE, "Hire one service, or buy a composite by its recipe's name."),
    "jobs": Entry("node.commands.market:jobs", TRADE, "What you bought, and what came of it."),
    "open": Entry("node.commands.market:open_result", TRADE, "The result of a purchase; opens sealed files."),
    "recipe": Entry("node.commands.orchestrator:recipe", TRADE, "Write, check, publish, fork, simulate, run recipes."),
    "audit": Entry("node.commands.orchestrator:audit", TRADE, "Check a receipt tree line by line."),
    "books": Entry("node.commands.orchestrator:books", TRADE, "Price, costs and margin of each run."),
    "inbox": Entry("node.commands.inbox:app", TRADE, "Tasks for people: list, claim, deliver."),
    "mcp": Entry("node.commands.mcp:mcp", TRADE, "Lets an AI agent buy here, within a budget you set (MCP)."),
    "keys": Entry("node.commands.keys:app", OPERATE, "List, export, import, rotate the node's keys."),
    "config": Entry("node.commands.config:app", OPERATE, "Show, set and check settings."),
    "doctor": Entry("node.commands.operate:doctor", OPERATE, "Check everything and say what is wrong."),
    "backup": Entry("node.commands.operate:backup", OPERATE, "Save the data folder while the node runs."),
    "restore": Entry("node.commands.operate:restore", OPERATE, "Bring a backup back."),
    "import": Entry("node.commands.relay:import_events", OPERATE, "Read events (JSONL) into the relay."),
    "export": Entry("node.commands.relay:export_events", OPERATE, "Write the relay's events as JSONL."),
}


class House(TyperGroup):
    """Lists every command without importing its room; imports one when it is called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, entry in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=entry.help, rich_help_panel=entry.panel)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            self.commands[args[0]] = load(args[0])
        return super().resolve_command(ctx, args)


def load(name: str) -> Any:
    """The command of this name, its room imported."""
    entry = COMMANDS[name]
    module, _, attribute = entry.where.partition(":")
    target = getattr(import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False)
        single.command(name, help=target.__doc__ or entry.help)(target)
        target = single
    command = typer.main.get_command(target)
    command.name = name
    return command


app = typer.Typer(cls=House, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.callback()
def timmy(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """A sovereign marketplace node: agents and people trade services over Nostr and get paid over Lightning."""
    if debug:
        os.environ["TIMMY_DEBUG"] = "1"


def main() -> None:
    """The console script. Errors are one line on stderr; `--debug` or TIMMY_DEBUG=1 shows where they came from."""
    try:
        code = app(prog_name="timmy", standalone_mode=False)
    except typer.Abort:
        sys.exit(130)
    except TyperException as error:
        sys.stderr.write(f"timmy: {mistyped(error)}\n")
        sys.exit(UsageComplaint.exit_code)
    except Exception as error:
        if os.environ.get("TIMMY_DEBUG"):
            raise
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            error = Unavailable("another program listens on this port: stop it, or choose another with --port N")
        sys.stderr.write(f"timmy: {explain(error)}\n")
        sys.exit(error.exit_code if isinstance(error, Complaint) else 1)
    sys.exit(code if isinstance(code, int) else 0)


def mistyped(error: TyperException) -> str:
    """One line for a command line that cannot be read, with the help that fits."""
    text = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text[:1].lower()}{text[1:]} (see `{context.command_path if context else 'timmy'} --help`)"


def explain(error: Exception) -> str:
    """One line for a person."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Complaint):
        return text
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return f"{text} ({type(error).__name__}; --debug shows more)"


if __name__ == "__main__":
    main()
