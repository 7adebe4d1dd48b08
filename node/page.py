"""Hangs the page on the relay's port. The relay does not know of it: this is where the two meet."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from node import home
from node.errors import UsageComplaint
from node.settings import (
    FILE,
    SECTIONS,
    NodeSettings,
    Settings,
    assign,
    describe,
    literal,
    load,
    load_file,
    model_of,
    template,
    toml_value,
)
from web.workshop import Complaint, Knob

HIDDEN = "**********"  # what pydantic shows of a secret


def mounts(settings: Settings, data: Path) -> list[Callable[[web.Application], None]]:
    """What `relay.app.serve` mounts: Lightning addresses, and the page where `[web] enabled` says so."""
    from wallet.settings import WalletSettings
    from web.settings import WebSettings

    chosen = settings.section("web", WebSettings)
    money = settings.section("wallet", WalletSettings)
    public = settings.section("node", NodeSettings).public_url
    made: list[Callable[[web.Application], None]] = []
    if money.addresses:
        from wallet import addresses

        made.append(lambda app: addresses.routes(app, data=data, names=money.addresses, public_url=public))
    if chosen.enabled:
        from web.app import mount

        credits = money.backend.partition(":")[0] == "ledger"
        made.append(lambda app: mount(app, settings=chosen, data=data, workshop=Bench(data), credits=credits))
    return made


class Bench:
    """The operator's hand on this node, for the page: settings in `timmy.toml`, parts under the supervisor."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def knobs(self) -> list[Knob]:
        from dvms.registry import PRICES

        values = {name: model.model_dump(mode="json") for name, model in load(self._data).check().items()}
        made = []
        for section in SECTIONS:
            for where, key, default, text in describe(model_of(section), section):
                value = toml_value(_at(values, [*where.split("."), key]))
                if key == "price" and (trade := where.partition(".")[2]) in PRICES:
                    text = f"base price of a job in sat; empty: {PRICES[trade]} sat"
                secret = HIDDEN in value or "secret=" in value or "key=" in value or ("://" in value and "@" in value)
                made.append(Knob(where, key, HIDDEN if secret else value, default, text, secret))
        return made

    def turn(self, name: str, value: str) -> str:
        section, _, key = name.rpartition(".")
        if name not in {knob.name for knob in self.knobs()}:
            raise Complaint(f"there is no setting {name}")
        if "\n" in value or "\r" in value:
            raise Complaint("a setting is one line")
        path = self._data / FILE
        before = path.read_text() if path.exists() else template()
        fresh = path.with_suffix(".new")
        home.write_private(fresh, assign(before, section, key, toml_value(literal(value))))
        try:
            load_file(fresh).check()
            fresh.replace(path)
        except UsageComplaint as error:
            raise Complaint(str(error).removeprefix(f"{fresh}: ")) from None
        finally:
            fresh.unlink(missing_ok=True)
        return self._takes_effect(section)

    def switch(self, part: str, action: str) -> str:
        process = home.parts_of_last_run(self._data).get(part)
        if process is None:
            raise Complaint(f"no part {part!r} runs under the supervisor")
        marker = self._data / home.STATUS.parent / "off" / part
        if action == "on":
            marker.unlink(missing_ok=True)
            return f"{part} starts"
        if part in ("relay", "wallet") and action == "off":
            raise Complaint(f"the others need the {part}: stop the whole node instead")
        if action not in ("off", "restart"):
            raise Complaint("say restart, off or on")
        if action == "off":
            marker.parent.mkdir(exist_ok=True)
            marker.touch()
        if process["pid"]:
            os.kill(int(process["pid"]), signal.SIGTERM)
        return f"{part} stops until you switch it on" if action == "off" else f"{part} starts anew"

    def _takes_effect(self, section: str) -> str:
        """Restart is the operator's own decision, except for the relay's rules, which can change while it runs."""
        first = section.split(".")[0]
        if first == "relay":
            os.kill(os.getpid(), signal.SIGHUP)
            return "saved; the relay has read it (ports and folders need `timmy up` anew)"
        if first == "node":
            return "saved; it counts from the next `timmy up`"
        part = {"web": "relay", "dvm": section.partition(".")[2]}.get(first, first)
        return f"saved; restart {part or 'the workers'} above for it to count"


def _at(values: Any, path: list[str]) -> Any:
    for step in path:
        values = values.get(step) if isinstance(values, dict) else None
    return values
