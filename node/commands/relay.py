"""`timmy relay`: the relay alone, and what its operator does with it."""

from typing import Annotated

import typer

from node.context import DataOption, data_dir, load_settings

app = typer.Typer(invoke_without_command=True, help="The relay alone; its status, import, export.")


@app.callback()
def relay(
    context: typer.Context,
    data: DataOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
) -> None:
    """Run a Nostr relay on one port: WebSocket, NIP-11, /healthz, /metrics."""
    if context.invoked_subcommand is not None:
        return
    from node.run import ready, run_until_signal, set_up_logging
    from node.settings import NodeSettings
    from relay.app import serve
    from relay.settings import RelaySettings

    folder = data_dir(data)
    node = load_settings(folder).section("node", NodeSettings, host=host, port=port)
    set_up_logging(node.log)

    def settings() -> RelaySettings:
        return load_settings(folder).section("relay", RelaySettings, public_url=node.public_url or None)

    run_until_signal(
        serve(
            settings(),
            folder,
            host=node.host,
            port=node.port,
            reload=settings,
            ready=lambda url: ready(f"relay {url}"),
        )
    )
