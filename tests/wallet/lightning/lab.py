"""Lightning nodes of `electrum` on the chain of `chain.py`: all on loopback, all on free ports."""

import base64
import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from tests.wallet.lightning.chain import COIN, ChainServer
from tests.wallet.lightning.program import electrum

T = TypeVar("T")
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


class RpcError(Exception):
    pass


def eventually(what: str, look: Callable[[], T], seconds: float = 60) -> T:
    """What `look` returns once it is true."""
    end = time.monotonic() + seconds
    trouble: object = None
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except (RpcError, OSError) as error:
            trouble = error
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for {what}; last trouble: {trouble}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def script_of(address: str) -> bytes:
    """The output script of a version 0 witness address."""
    words = [_CHARSET.index(letter) for letter in address.rsplit("1", 1)[1]][1:-6]
    bits = "".join(f"{word:05b}" for word in words)
    program = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) // 8 * 8, 8))
    return bytes([0, len(program)]) + program


class Node:
    """One Electrum daemon. It may be killed and started again; its folder is its memory."""

    def __init__(self, folder: Path, chain: ChainServer) -> None:
        self.folder = folder
        self.name = folder.name
        self.rpc_port, self._peer_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "regtest" / "wallets").mkdir(parents=True)
        settings = {
            "config_version": 3, "server": f"127.0.0.1:{chain.port}:t", "oneserver": True, "auto_connect": False,
            "rpchost": "127.0.0.1", "rpcport": self.rpc_port, "rpcuser": "user", "rpcpassword": "lab",
            "lightning_listen": f"127.0.0.1:{self._peer_port}", "use_gossip": True, "lightning_forward_payments": True,
            "lightning_to_self_delay": 144, "test_force_disable_mpp": True, "log_to_file": False,
            "check_updates": False,
        }  # fmt: skip
        (folder / "regtest" / "config").write_text(json.dumps(settings))

    @property
    def line(self) -> str:
        """What one writes into `[wallet] backend`."""
        return f"electrum:{self.folder}"

    def start(self) -> None:
        command = [electrum(), "--regtest", "-D", str(self.folder), "daemon"]
        with (self.folder / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def load(self) -> None:
        eventually(f"{self.name} to start", lambda: self("version"))
        wallet = self.folder / "regtest" / "wallets" / "default_wallet"
        if not wallet.exists():
            self("create", wallet_path=str(wallet))
        self("load_wallet")

    def ready(self) -> None:
        self.load()
        eventually(f"{self.name} on the chain", lambda: self("is_synchronized"))

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __call__(self, method: str, *params: Any, timeout: float = 60, **named: Any) -> Any:
        login = base64.b64encode(b"user:lab").decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.rpc_port}",
            json.dumps({"id": 1, "method": method, "params": named or list(params)}).encode(),
            {"Authorization": f"Basic {login}"},
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            said = json.loads(answer.read())
        if said.get("error"):
            raise RpcError(f"{self.name} {method}: {said['error']}")
        return said["result"]

    @property
    def holds(self) -> bool:
        """Whether it makes hold invoices: from 4.6.1 on."""
        return "add_hold_invoice" in self("help")

    def invoice(self, sat: int, memo: str = "job") -> str:
        made = self("add_request", f"{sat / COIN:.8f}", memo, 3600, True)
        return str(made["lightning_invoice"])

    def channels(self) -> list[dict[str, Any]]:
        return [channel for channel in self("list_channels") if channel["state"] == "OPEN"]

    def connected(self) -> bool:
        channels = self.channels()
        return bool(channels) and all(channel["peer_state"] == "GOOD" for channel in channels)

    def wait_until_connected(self) -> None:
        eventually(f"the channels of {self.name}", self.connected)

    def wait_until_paying(self, invoice: str) -> None:
        """Until this node has sent its HTLC. One whose next hop sleeps does not show in the channel yet."""
        eventually(
            "the payment to begin",
            lambda: any(i["lightning_invoice"] == invoice and i["status"] == 4 for i in self("list_invoices")),
        )
        time.sleep(0.3)

    def received(self, payment_hash: str) -> int:
        """How often money of this hash came in."""
        return sum(
            item["type"] == "payment" and item["payment_hash"] == payment_hash and item["amount_msat"] > 0
            for item in self("lightning_history")
        )


class Lab:
    """The chain and the nodes by name. `with Lab(folder, "alice", "bob") as lab`."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.names = names
        self.chain = ChainServer()
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> Self:
        self.chain.__enter__()
        try:
            for name in self.names:
                self.nodes[name] = Node(self.folder / name, self.chain)
            for node in self.nodes.values():
                node.start()
            for node in self.nodes.values():
                node.load()
            for node in self.nodes.values():
                node.ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for node in self.nodes.values():
            node.kill()
        self.chain.__exit__()

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def connect(self, *plans: "Plan") -> None:
        """Channels between neighbours, funded from the chain, all at once; returns when both sides can pay."""
        for plan in plans:
            self.chain.fund(script_of(self[plan.opener]("createnewaddress")), plan.sat + 100_000)
        self.chain.mine()
        for plan in plans:
            opener, other = self[plan.opener], self[plan.other]
            eventually("the coins", lambda: float(opener("getbalance").get("confirmed", 0)) * COIN >= plan.sat + 50_000)
            opener("open_channel", other("nodeid"), f"{plan.sat / COIN:.8f}", f"{plan.push / COIN:.8f}")
        eventually("the funding transactions", lambda: self.chain.waiting == len(plans))
        self.chain.mine(3)
        ends = Counter(name for plan in plans for name in (plan.opener, plan.other))
        eventually("the channels", lambda: all(len(self[name].channels()) == ends[name] for name in ends))


class Plan(NamedTuple):
    """A channel of `sat`, of which `push` are the other's from the start."""

    opener: str
    other: str
    sat: int
    push: int
