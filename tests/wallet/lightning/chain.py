"""A regtest chain for Lightning nodes under test: what an Electrum server says, without a bitcoind behind it.

Blocks have real headers with real (regtest) proof of work, transactions sit in real Merkle trees, an output is spent
once, and unconfirmed transactions wait in a mempool. It runs no scripts, so it proves nothing about signatures of
on-chain transactions: the Lightning nodes on top of it check each other's themselves. The server speaks version 1.4 of
the Electrum protocol, newline-separated JSON-RPC, from a thread of its own.
"""

import asyncio
import hashlib
import json
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self

COIN = 100_000_000
_REWARD = 50 * COIN
_MATURE = 101
_BITS = bytes.fromhex("ffff7f20")
_TARGET = 0x7FFFFF << 8 * (0x20 - 3)
_GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f61"
    "7fc81bc3888a51323a9fb8aa4b1e5e4adae5494dffff7f2002000000"
)
_ANYONE = b"\x51"  # OP_TRUE: coins of the faucet
_NO_TX = "00" * 32
_FEE = 1000


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hash256(data: bytes) -> bytes:
    return sha256(sha256(data))


def script_hash(script: bytes) -> str:
    return sha256(script)[::-1].hex()


def compact(number: int) -> bytes:
    if number < 0xFD:
        return bytes([number])
    return b"\xfd" + struct.pack("<H", number) if number < 1 << 16 else b"\xfe" + struct.pack("<I", number)


@dataclass(frozen=True)
class Coin:
    txid: str
    index: int


@dataclass(frozen=True)
class Transaction:
    raw: bytes
    txid: str
    spends: tuple[Coin, ...]
    outputs: tuple[tuple[int, bytes], ...]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Raises ValueError where the bytes are not one transaction."""
        cursor = _Cursor(raw)
        version = cursor.take(4)
        segwit = raw[4:6] == b"\0\1"
        if segwit:
            cursor.take(2)
        start = cursor.at
        spends = []
        for _ in range(cursor.compact()):
            txid, index = cursor.take(32)[::-1].hex(), cursor.number(4)
            cursor.take(cursor.compact())
            cursor.take(4)
            spends.append(Coin(txid, index))
        outputs = []
        for _ in range(cursor.compact()):
            value = cursor.number(8)
            outputs.append((value, cursor.take(cursor.compact())))
        end = cursor.at
        if segwit:
            for _ in spends:
                for _ in range(cursor.compact()):
                    cursor.take(cursor.compact())
        locktime = cursor.take(4)
        if cursor.at != len(raw):
            raise ValueError("bytes after the transaction")
        return cls(raw, hash256(version + raw[start:end] + locktime)[::-1].hex(), tuple(spends), tuple(outputs))

    @classmethod
    def make(cls, coin: Coin, outputs: Iterable[tuple[int, bytes]], script: bytes = b"", locktime: int = 0) -> Self:
        raw = struct.pack("<iB", 2, 1) + bytes.fromhex(coin.txid)[::-1] + struct.pack("<I", coin.index)
        raw += compact(len(script)) + script + b"\xfe\xff\xff\xff"
        listed = list(outputs)
        raw += compact(len(listed))
        for value, target in listed:
            raw += struct.pack("<Q", value) + compact(len(target)) + target
        return cls.parse(raw + struct.pack("<I", locktime))


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) != count:
            raise ValueError("the transaction is cut off")
        self.at += count
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def compact(self) -> int:
        first = self.number(1)
        return first if first < 0xFD else self.number(2 << (first - 0xFD))


def merkle(txids: list[str], position: int) -> tuple[list[str], bytes]:
    """The siblings on the way from a leaf to the root, and the root."""
    level = [bytes.fromhex(txid)[::-1] for txid in txids]
    branch = []
    while len(level) > 1:
        level += level[-1:] * (len(level) % 2)
        branch.append(level[position ^ 1][::-1].hex())
        level = [hash256(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
        position //= 2
    return branch, level[0]


class Chain:
    """The blocks, the coins and the mempool. Methods that change something return the script hashes they touched."""

    def __init__(self) -> None:
        self.headers = [_GENESIS]
        self.blocks: list[list[str]] = [[]]
        self.transactions: dict[str, Transaction] = {}
        self.heights: dict[str, int] = {}  # 0 in the mempool
        self.spenders: dict[Coin, str] = {}
        self.touching: defaultdict[str, list[str]] = defaultdict(list)
        self.mempool: list[str] = []
        self._faucet: list[Coin] = []
        for _ in range(_MATURE):
            self.mine()

    @property
    def height(self) -> int:
        return len(self.headers) - 1

    def scripts_of(self, tx: Transaction) -> set[str]:
        spent = (self.transactions[coin.txid].outputs[coin.index] for coin in tx.spends if coin.txid != _NO_TX)
        return {script_hash(script) for _, script in (*tx.outputs, *spent)}

    def accept(self, tx: Transaction) -> set[str]:
        """Into the mempool. Raises ValueError for missing and for spent inputs."""
        if tx.txid in self.transactions:
            return set()
        for coin in tx.spends:
            if coin in self.spenders:
                raise ValueError("txn-mempool-conflict")
            known = self.transactions.get(coin.txid)
            if known is None or coin.index >= len(known.outputs):
                raise ValueError("bad-txns-inputs-missingorspent")
        self._add(tx, 0)
        self.mempool.append(tx.txid)
        return self.scripts_of(tx)

    def _add(self, tx: Transaction, height: int) -> None:
        self.transactions[tx.txid] = tx
        self.heights[tx.txid] = height
        for coin in tx.spends:
            if coin.txid != _NO_TX:
                self.spenders[coin] = tx.txid
        for name in self.scripts_of(tx):
            self.touching[name].append(tx.txid)

    def mine(self) -> set[str]:
        """One block with everything that waits. Its time is now: nodes refuse payments on a stale chain."""
        height = len(self.headers)
        script = b"\x03" + height.to_bytes(3, "little")
        reward = Transaction.make(Coin(_NO_TX, 0xFFFFFFFF), [(_REWARD, _ANYONE)], script, height)
        self._add(reward, height)
        txids = [reward.txid, *self.mempool]
        self.mempool = []
        for txid in txids:
            self.heights[txid] = height
        self._faucet.append(Coin(reward.txid, 0))
        self.blocks.append(txids)
        head = struct.pack("<I", 0x20000000) + hash256(self.headers[-1]) + merkle(txids, 0)[1]
        head += struct.pack("<I", int(time.time())) + _BITS
        nonce = 0
        while int.from_bytes(hash256(head + struct.pack("<I", nonce)), "little") > _TARGET:
            nonce += 1
        self.headers.append(head + struct.pack("<I", nonce))
        return set().union(*(self.scripts_of(self.transactions[txid]) for txid in txids))

    def fund(self, script: bytes, sat: int) -> set[str]:
        coin = self._faucet.pop(0)
        return self.accept(Transaction.make(coin, [(sat, script), (_REWARD - sat - _FEE, _ANYONE)]))

    def history(self, name: str) -> list[dict[str, Any]]:
        txids = self.touching.get(name, [])
        mined = sorted((self.heights[t], self.blocks[self.heights[t]].index(t), t) for t in txids if self.heights[t])
        waiting = [{"tx_hash": t, "height": 0, "fee": _FEE} for t in txids if not self.heights[t]]
        return [{"tx_hash": t, "height": height} for height, _, t in mined] + waiting

    def status(self, name: str) -> str | None:
        history = self.history(name)
        text = "".join(f"{item['tx_hash']}:{item['height']}:" for item in history)
        return sha256(text.encode()).hex() if history else None

    def unspent(self, name: str) -> list[dict[str, Any]]:
        return [
            {"tx_hash": txid, "tx_pos": index, "height": self.heights[txid], "value": value}
            for txid in self.touching.get(name, [])
            for index, (value, script) in enumerate(self.transactions[txid].outputs)
            if script_hash(script) == name and Coin(txid, index) not in self.spenders
        ]


class Client:
    """One connected node: what it asked to be told about, and the answers to its calls."""

    def __init__(self, server: "ChainServer", writer: asyncio.StreamWriter) -> None:
        self.server, self.chain, self.writer = server, server.chain, writer
        self.scripts: set[str] = set()
        self.headers = False

    def send(self, **message: Any) -> None:
        self.writer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def answer(self, call: dict[str, Any]) -> None:
        name = call["method"]
        method: Callable[..., Any] | None = getattr(self, "do_" + name.replace(".", "_"), None)
        if method is None:
            self.send(id=call.get("id"), error={"code": -32601, "message": f"unknown method {name}"})
            return
        try:
            self.send(id=call.get("id"), result=method(*(call.get("params") or [])))
        except (ValueError, LookupError) as error:
            self.send(id=call.get("id"), error={"code": 1, "message": str(error)})

    def top(self) -> dict[str, Any]:
        return {"hex": self.chain.headers[-1].hex(), "height": self.chain.height}

    def do_server_version(self, client: str = "", wanted: Any = "1.4") -> list[str]:
        return ["chain under test", wanted if isinstance(wanted, str) else wanted[0]]

    def do_server_features(self) -> dict[str, Any]:
        return {"genesis_hash": hash256(_GENESIS)[::-1].hex(), "hosts": {}, "hash_function": "sha256", "pruning": None,
                "protocol_min": "1.4", "protocol_max": "1.4", "server_version": "chain under test"}  # fmt: skip

    def do_server_ping(self) -> None:
        return None

    def do_server_banner(self) -> str:
        return ""

    def do_server_donation_address(self) -> str:
        return ""

    def do_server_peers_subscribe(self) -> list[str]:
        return []

    def do_mempool_get_fee_histogram(self) -> list[Any]:
        return []

    def do_blockchain_estimatefee(self, blocks: int) -> float:
        return 0.00005

    def do_blockchain_relayfee(self) -> float:
        return 0.00001

    def do_blockchain_headers_subscribe(self) -> dict[str, Any]:
        self.headers = True
        return self.top()

    def do_blockchain_block_header(self, height: int, checkpoint: int = 0) -> str:
        return self.chain.headers[height].hex()

    def do_blockchain_block_headers(self, start: int, count: int, checkpoint: int = 0) -> dict[str, Any]:
        found = self.chain.headers[start : start + min(count, 2016)]
        return {"count": len(found), "hex": b"".join(found).hex(), "max": 2016}

    def do_blockchain_scripthash_subscribe(self, name: str) -> str | None:
        self.scripts.add(name)
        return self.chain.status(name)

    def do_blockchain_scripthash_unsubscribe(self, name: str) -> bool:
        self.scripts.discard(name)
        return True

    def do_blockchain_scripthash_get_history(self, name: str) -> list[dict[str, Any]]:
        return self.chain.history(name)

    def do_blockchain_scripthash_listunspent(self, name: str) -> list[dict[str, Any]]:
        return self.chain.unspent(name)

    def do_blockchain_transaction_get(self, txid: str, verbose: bool = False) -> str:
        return self.chain.transactions[txid].raw.hex()

    def do_blockchain_transaction_get_merkle(self, txid: str, height: int = 0) -> dict[str, Any]:
        height = self.chain.heights[txid]
        if not height:
            raise ValueError("the transaction is in no block")
        position = self.chain.blocks[height].index(txid)
        return {"block_height": height, "merkle": merkle(self.chain.blocks[height], position)[0], "pos": position}

    def do_blockchain_transaction_broadcast(self, raw: str) -> str:
        tx = Transaction.parse(bytes.fromhex(raw))
        self.server.tell(self.chain.accept(tx))
        return tx.txid


class ChainServer:
    """`with ChainServer() as server`: `server.port`, and `mine`, `fund`, `waiting` from any thread."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.port = 0
        self._clients: set[Client] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chain", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen).result(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._call(self._close).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def mine(self, blocks: int = 1) -> None:
        async def work() -> None:
            touched: set[str] = set()
            for _ in range(blocks):
                touched |= self.chain.mine()
            for client in self._clients:
                if client.headers:
                    client.send(method="blockchain.headers.subscribe", params=[client.top()])
            self.tell(touched)

        self._call(work).result(30)

    def fund(self, script: bytes, sat: int) -> None:
        async def work() -> None:
            self.tell(self.chain.fund(script, sat))

        self._call(work).result(10)

    @property
    def waiting(self) -> int:
        """Transactions in the mempool."""
        return len(self.chain.mempool)

    def tell(self, touched: set[str]) -> None:
        for client in self._clients:
            for name in touched & client.scripts:
                client.send(method="blockchain.scripthash.subscribe", params=[name, self.chain.status(name)])

    def _call(self, work: Callable[[], Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work(), self._loop)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for client in self._clients:
            client.writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        client = Client(self, writer)
        self._clients.add(client)
        try:
            while line := await reader.readline():
                said = json.loads(line)
                for call in said if isinstance(said, list) else [said]:
                    client.answer(call)
                await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            self._clients.discard(client)
            self._tasks.discard(task)
            writer.close()
