"""nostr-tools, NDK, nostr-sdk and nostr-dvm's client code buy from our worker: plain, encrypted, free, paid by NWC."""

import asyncio
import json
from pathlib import Path

import pytest

from dvms.registry import Found, load
from dvms.serve import opened
from dvms.settings import SellerSettings
from tests.dvms.conftest import SERVICES, a_relay
from tests.peers import environments
from tests.peers.test_javascript import PACKAGES
from wallet.connections import Scope
from wallet.serve import running as running_wallet
from wallet.settings import WalletSettings

HERE = Path(__file__).parent
SCHEMES = ("plain", "nip44", "nip04")
CHECKS = {
    "customers_tools.mjs": [f"{price} {scheme}" for price in ("free", "paid") for scheme in SCHEMES],
    "customers_ndk.mjs": [f"{price} {scheme}" for price in ("free", "paid") for scheme in ("plain", "encrypted")],
    "customers_sdk.py": [f"{price} {scheme}" for price in ("free", "paid") for scheme in SCHEMES],
}


def command(script):
    if script.endswith(".mjs"):
        return ["node", str(HERE / script)], {"modules": str(environments.node_modules(*PACKAGES))}
    return [str(environments.python("nostr-dvm==1.1.8")), str(HERE / script)], {}


async def drive(script, data):
    """Run one customer's checks against a free and a paid worker on a relay and wallet service of their own."""
    start, given = command(script)
    echo = load(f"{SERVICES}:Echo")
    settings = WalletSettings(parts=["owner", "text"])
    async with (
        a_relay(data) as relay,
        running_wallet(settings, data, relays=[relay]) as bank,
        opened(Found(echo, "", "free"), SellerSettings(price=0), {}, data=data, relays=[relay], wallet=None) as free,
        opened(
            Found(echo, "", "paid"), SellerSettings(price=21), {}, data=data, relays=[relay],
            wallet=(data / "wallet" / "connections" / "text.uri").read_text().strip(),
        ) as paid,
    ):  # fmt: skip
        purse = await bank.connect("customer", account="owner", scopes=frozenset({Scope.PAY, Scope.READ}))
        given |= {"url": relay, "free": free.key.public, "paid": paid.key.public, "wallet": purse.text}
        process = await asyncio.create_subprocess_exec(
            *start, json.dumps(given), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
    lines = [json.loads(line) for line in out.decode().splitlines() if line.startswith('{"name"')]
    assert lines, err.decode()[-3000:]
    return {line["name"]: line for line in lines}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    known = {}

    def of(script):
        if script not in known:
            known[script] = asyncio.run(drive(script, tmp_path_factory.mktemp("customers")))
        return known[script]

    return of


@pytest.mark.parametrize(("script", "name"), [(script, name) for script, names in CHECKS.items() for name in names])
def test_a_customer_buys(results, script, name):
    done = results(script)
    assert name in done, "the script died before it came to this"
    assert done[name]["ok"], done[name]["value"]
