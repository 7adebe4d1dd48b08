"""The wallet process: backend, bank, service, and the connections of the parts."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from nostr.clock import Clock, system_clock
from nostr.key import SecretKey, load_or_create
from nostr.pool import Pool
from wallet import books, connections
from wallet.backends import open_backend
from wallet.bank import Bank
from wallet.connections import Renewal
from wallet.nip47 import InvalidUri, Uri
from wallet.parts import PARTS, Part
from wallet.sending import Policy
from wallet.service import WalletService
from wallet.settings import WalletSettings
from wallet.zaps import Receipts

log = logging.getLogger("wallet")


def policy(settings: WalletSettings) -> Policy:
    """The bank's rules from the operator's settings."""
    return Policy(
        hold_seconds=settings.hold_minutes * 60,
        fee_floor_msat=settings.fee_floor * 1000,
        fee_millionths=round(settings.fee_percent * 10_000),
        poll_seconds=settings.poll_seconds,
        watch_seconds=settings.watch_seconds,
        slack_msat=settings.slack * 1000,
        start_credits_msat=settings.start_credits * 1000,
        max_open_invoices=settings.max_open_invoices,
    )


def ledger_file(settings: WalletSettings, data: Path) -> Path:
    """Credits and real money never share a file."""
    return data / "wallet" / ("ledger.db" if settings.backend == "ledger" else "ledger-lightning.db")


@asynccontextmanager
async def running(
    settings: WalletSettings, data: Path, *, relays: Sequence[str], clock: Clock = system_clock
) -> AsyncIterator[WalletService]:
    """The wallet service of this data folder, up and with every part connected. Raises WalletError."""
    folder = data / "wallet"
    (folder / "connections").mkdir(parents=True, exist_ok=True, mode=0o700)
    key = load_or_create(data / "keys" / "wallet.key")
    backend = open_backend(settings.backend, key=key, clock=clock)
    urls = list(dict.fromkeys([*relays, *settings.relays]))
    async with (
        Bank.open(ledger_file(settings, data), backend, clock=clock, policy=policy(settings)) as bank,
        Pool(urls, key=key, private_hosts=()) as pool,
    ):
        await pool.connected(10)
        node_id = "02" + key.public if bank.internal_only else None
        async with WalletService(
            bank,
            pool,
            pubkey=node_id,
            relays=urls,
            clock=clock,
            requests_per_second=settings.requests_per_second,
        ) as service:
            await _float(bank, settings)
            await provide(
                service, folder / "connections", settings.parts, guest_budget_msat=settings.guest_budget * 1000
            )
            async with Receipts(bank, pool, key, clock=clock):
                yield service


async def _float(bank: Bank, settings: WalletSettings) -> None:
    """In ledger mode Timmy starts with credits of his own, once."""
    msat = settings.timmy_credits * 1000
    if not bank.internal_only or not msat:
        return
    now = bank.clock()

    def work(conn: sqlite3.Connection) -> None:
        if conn.execute("SELECT 1 FROM transfers WHERE ref = 'timmy' AND kind = 'float'").fetchone() is None:
            issuance, timmy = books.account_id(conn, books.ISSUANCE), books.open_account(conn, "timmy", now)
            books.transfer(conn, "float", "timmy", now, [(issuance, -msat), (timmy, msat)])

    await bank.db.write(work)


async def serve(
    settings: WalletSettings,
    data: Path,
    *,
    relays: Sequence[str],
    ready: Callable[[str], None] = lambda line: None,
) -> None:
    """Run until cancelled. `ready` is called with one line once requests are served."""
    async with running(settings, data, relays=relays) as service:
        info = await service.bank.backend.info()
        if not info.caps.real_money:
            log.warning("the wallet holds credits, not Lightning: nothing in it is worth money")
        await service.ready()
        ready(f"wallet {info.alias} on {', '.join(service.relays)}")
        await asyncio.Event().wait()


async def provide(service: WalletService, folder: Path, names: Iterable[str], *, guest_budget_msat: int) -> None:
    """See that each part has a working connection and a file that names the relays of today.

    The file is the only place where the client's secret is; the ledger keeps the public key. A part whose file or row
    is missing gets a new connection, and the old one is revoked.
    """
    for name in names:
        part = PARTS.get(name, Part(name))
        path = folder / f"{name}.uri"
        row = await service.bank.db.write(lambda conn, name=name: connections.by_name(conn, name))  # type: ignore[misc]
        uri = _read(path)
        if row and uri and (uri.service, uri.secret.public) == (row.service_pubkey, row.client_pubkey):
            if uri.relays != service.relays:
                _write(path, Uri(uri.service, service.relays, uri.secret, uri.lud16))
            continue
        if row is not None:
            await service.revoke(name)
        made = await service.connect(
            name,
            account=part.account,
            scopes=part.scopes,
            budget_msat=guest_budget_msat if part.guest else None,
            renewal=Renewal.DAILY if part.guest else Renewal.NEVER,
            nip04=False,
            client=SecretKey.generate(),
        )
        assert isinstance(made, Uri)
        _write(path, made)


def _read(path: Path) -> Uri | None:
    try:
        return Uri.parse(path.read_text())
    except (FileNotFoundError, InvalidUri):
        return None


def _write(path: Path, uri: Uri) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(uri.text + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
