"""The relays that are measured side by side: ours, nostr-sdk's LocalRelay (Rust), PyPI nostr-relay (Python).

Peers live in their own virtual environments under ~/.cache/timmy-tests/bench, made on first use.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "timmy-tests" / "bench"
PACKAGES = {"nostr-sdk": "nostr-sdk==0.45.1", "nostr-relay": "nostr-relay==1.14"}
SDK_SERVER = """
import asyncio, sys
from nostr_sdk import LocalRelayBuilder, RateLimit, uniffi_set_event_loop
async def main():
    uniffi_set_event_loop(asyncio.get_running_loop())
    builder = LocalRelayBuilder().addr("127.0.0.1").port(int(sys.argv[1]))
    builder = builder.rate_limit(RateLimit(max_reqs=10**6, notes_per_minute=10**8)).max_filter_limit(5000)
    relay = builder.build()
    await relay.run()
    print("up", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
PYRELAY_CONFIG = """
DEBUG: false
relay_name: bench
storage:
  sqlalchemy.url: sqlite+aiosqlite:///{folder}/nostr.sqlite3
  num_concurrent_reqs: 10
  num_concurrent_adds: 2
  validators:
    - nostr_relay.validators.is_not_too_large
    - nostr_relay.validators.is_signed
verification:
  nip05_verification: disabled
gunicorn:
  bind: 127.0.0.1:{port}
  workers: 1
  loglevel: critical
  accesslog: null
purple:
  host: 127.0.0.1
  port: {port}
  workers: 1
  disable_compression: true
authentication:
  enabled: false
message_timeout: 1800
subscription_limit: 1000
max_limit: 6000
"""


class Server:
    """A relay in its own process, pinned to one CPU. `start` returns the seconds from exec to the first WebSocket."""

    name = ""

    def __init__(self, cpu: set[int] | None) -> None:
        self._cpu = cpu
        self._folder = tempfile.TemporaryDirectory(prefix="relay-bench-")
        self.folder = Path(self._folder.name)
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def available() -> str:
        """Empty, or why this one can't be measured here."""
        return ""

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def start(self) -> float:
        self.port = self.port or free_port()
        began = time.perf_counter()
        cpu = self._cpu
        self.process = subprocess.Popen(
            self.command(),
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("ab"),
            cwd=self.folder,
            env=self.environment(),
            preexec_fn=(lambda: os.sched_setaffinity(0, cpu)) if cpu else None,
        )
        while not handshake(self.port):
            if self.process.poll() is not None or time.perf_counter() - began > 60:
                raise RuntimeError(f"{self.name} did not start: {(self.folder / 'log').read_text()[-600:]}")
            time.sleep(0.005)
        return time.perf_counter() - began

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()

    def _family(self) -> list[int]:
        assert self.process is not None
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            try:
                queue += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            except OSError:
                continue
        return found

    def resident_mb(self) -> float:
        pages = 0
        for pid in self._family():
            try:
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except OSError:
                continue
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_seconds(self) -> float:
        """CPU time of all threads so far, to the nanosecond."""
        total = 0
        for pid in self._family():
            for task in Path(f"/proc/{pid}/task").glob("*"):
                try:
                    total += int((task / "schedstat").read_text().split()[0])
                except OSError:
                    continue
        return total / 1e9


class Timmy(Server):
    name = "timmy"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "node.cli", "relay", "--port", str(self.port), "--data", str(self.folder)]

    def environment(self) -> dict[str, str]:
        more = {"PYTHONPATH": str(ROOT), "TIMMY_RELAY_MAX_LIMIT": "5000", "TIMMY_WEB_ENABLED": "false"}
        return {**os.environ, **more}


class LocalRelay(Server):
    name = "nostr-sdk"

    @staticmethod
    def available() -> str:
        return make_environment("nostr-sdk")

    def command(self) -> list[str]:
        return [str(CACHE / "nostr-sdk" / "bin" / "python"), "-c", SDK_SERVER, str(self.port)]


class NostrRelay(Server):
    name = "nostr-relay"

    @staticmethod
    def available() -> str:
        return make_environment("nostr-relay")

    def command(self) -> list[str]:
        (self.folder / "config.yaml").write_text(PYRELAY_CONFIG.format(folder=self.folder, port=self.port))
        return [str(CACHE / "nostr-relay" / "bin" / "nostr-relay"), "-c", str(self.folder / "config.yaml"), "serve"]


SERVERS: dict[str, type[Server]] = {kind.name: kind for kind in (Timmy, LocalRelay, NostrRelay)}


def make_environment(name: str) -> str:
    """Build a peer's environment once. Returns "" or the reason why it can't be had."""
    place = CACHE / name
    done = place / "ready"
    if done.exists():
        return ""
    for words in (
        [sys.executable, "-m", "venv", "--clear", str(place)],
        [str(place / "bin" / "pip"), "install", "-q", PACKAGES[name]],
    ):
        result = subprocess.run(words, capture_output=True, text=True, timeout=300)
        if result.returncode:
            return result.stderr.strip().rsplit("\n", 1)[-1]
    done.touch()
    return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def handshake(port: int) -> bool:
    """True if a WebSocket is accepted there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
            probe.sendall(REQUEST)
            return b" 101 " in probe.recv(4096)
    except OSError:
        return False


REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
