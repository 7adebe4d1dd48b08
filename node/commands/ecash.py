"""`timmy mint`: a Cashu mint on this node's money."""

from pathlib import Path
from typing import Annotated

import typer

from node.context import DataOption, data_dir, err, load_settings
from node.errors import NotDone, Unavailable, UsageComplaint
from node.run import ready, run_until_signal, set_up_logging
from node.settings import NodeSettings
from wallet.settings import WalletSettings

_WARNING = (
    "A mint is custody: whoever holds its ecash owns money that lies in your account `mint`, and has only your word for"
    " it. Lose this folder or the account, and you owe them. In many places this needs a licence."
)


def mint(
    custody: Annotated[
        bool, typer.Option("--i-keep-other-peoples-money", help="You understand that a mint is custody.")
    ] = False,
    host: Annotated[str, typer.Option("--host", help="Address it listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port it listens on; 0 takes a free one.", min=0)] = 3338,
    data: DataOption = None,
) -> None:
    """A Cashu mint (Nutshell, in an environment of its own) funded by this node's wallet. Off unless you start it."""
    folder = data_dir(data)
    settings = load_settings(folder)
    if not custody and not settings.section("wallet", WalletSettings).i_keep_other_peoples_money:
        raise UsageComplaint(f"{_WARNING} Start it with --i-keep-other-peoples-money.")
    set_up_logging(settings.section("node", NodeSettings).log)
    err.print(f"[yellow]{_WARNING}[/yellow]")
    from node.home import only_one

    with only_one(folder, "mint"):
        run_until_signal(_serve(folder, host, port))


async def _serve(folder: Path, host: str, port: int) -> None:
    from wallet import open_wallet
    from wallet.ecash import EcashError, nutshell

    home = folder / "mint"
    try:
        uri = (folder / "wallet" / "connections" / "mint.uri").read_text().strip()
    except FileNotFoundError:
        raise Unavailable("the wallet has no account for a mint yet: start `timmy up` or `timmy wallet` once") from None
    try:
        if not nutshell.built(home / "env"):
            err.print("building Nutshell's environment, once: about 200 MB and a minute or two")
        python = await nutshell.environment(home / "env")
        async with open_wallet(uri) as wallet:
            if not wallet.caps.real_money:
                err.print("[yellow]The wallet holds credits, not Lightning: this ecash is credits too.[/yellow]")
            async with nutshell.running(python, home, wallet, host=host, port=port) as mint:
                ready(f"mint {mint.url}", folder)
                await mint.ended()
    except EcashError as error:
        raise NotDone(str(error)) from None
