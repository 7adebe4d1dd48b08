"""What a NIP-47 request can ask for: one handler a method, its scopes, its parameters.

Beyond the standard: `get_budget` (as Alby Hub has it), and for the owner's connections (scope `admin`)
`list_connections`, `create_connection`, `revoke_connection`, `list_accounts`, `transfer`, `adopt`, `books`.
A handler returns the plain JSON of the answer, or None where it comes later.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from wallet import books, connections, ledger, nip47
from wallet.bank import Claim
from wallet.bolt11 import MAX_MSAT, InvalidInvoice, decode
from wallet.connections import Connection, Renewal, Scope
from wallet.interface import WalletRefused
from wallet.ledger import Bill, News, Report
from wallet.nip47 import NwcError, Uri

if TYPE_CHECKING:
    from wallet.service import WalletService

_MAX_PAGE = 50
_MAX_PURPOSE = 500  # characters
_DAY = 86400


@dataclass(frozen=True, slots=True)
class Call:
    """A request, decrypted and allowed."""

    connection: Connection
    method: str
    params: Mapping[str, Any]
    claim: Claim


Handler = Callable[["WalletService", Call], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Method:
    """`scopes`: any one of them allows it, none at all means everybody. `changes`: its requests are kept on disk."""

    handle: Handler
    scopes: tuple[Scope, ...] = ()
    changes: bool = False


# --- parameters ---

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
Amount = Annotated[int, Field(gt=0, le=MAX_MSAT)]
Seconds = Annotated[int, Field(ge=0, le=1 << 40)]


class Params(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class PayInvoice(Params):
    invoice: str
    amount: Amount | None = None
    metadata: Any = None


class MakeInvoice(Params):
    amount: Amount
    description: str | None = Field(None, max_length=639)
    description_hash: Hash | None = None
    expiry: int | None = Field(None, gt=0, le=365 * _DAY)
    metadata: Any = None
    account: str | None = Field(None, max_length=64)


class MakeHoldInvoice(MakeInvoice):
    payment_hash: Hash


class Preimage(Params):
    preimage: Hash


class PaymentHash(Params):
    payment_hash: Hash


class Lookup(Params):
    payment_hash: Hash | None = None
    invoice: str | None = None


class ListTransactions(Params):
    from_: Seconds = Field(0, alias="from")
    until: Seconds | None = None
    limit: int = Field(20, ge=1)
    offset: int = Field(0, ge=0, le=1 << 40)
    unpaid: bool = False
    type: Literal["incoming", "outgoing"] | None = None
    settled_from: Seconds | None = None  # ours: only what settled at this time or later


class CreateConnection(Params):
    name: str = Field(min_length=1, max_length=64)
    scopes: list[str] | None = None
    account: str | None = Field(None, min_length=1, max_length=64)
    isolated: bool = False
    budget_msat: int | None = Field(None, ge=0, le=MAX_MSAT)
    renewal: str = "never"
    pubkey: Hash | None = None
    # The names that Alby's clients use for the same things.
    request_methods: list[str] | None = None
    notification_types: list[str] | None = None
    max_amount: int | None = Field(None, ge=0, le=MAX_MSAT)
    budget_renewal: str | None = None

    def wanted(self) -> frozenset[Scope]:
        """The scopes asked for, by name or through the methods they allow. Raises ValueError."""
        if self.scopes is not None:
            return frozenset(Scope(word) for word in self.scopes)
        if self.request_methods is None:
            return frozenset({Scope.PAY, Scope.RECEIVE, Scope.READ, Scope.NOTIFY})
        found = {METHODS[name].scopes[0] for name in self.request_methods if name in METHODS and METHODS[name].scopes}
        return frozenset((found | ({Scope.NOTIFY} if self.notification_types else set())) - {Scope.ADMIN})


class Name(Params):
    name: str


class Transfer(Params):
    source: str
    target: str
    amount: Amount
    purpose: str = Field(min_length=1, max_length=200)


P = TypeVar("P", bound=Params)


def _params(call: Call, model: type[P]) -> P:
    try:
        # Some clients send null for what they leave out.
        return model.model_validate({name: value for name, value in call.params.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise NwcError("OTHER", f"{where}: {first['msg'].lower()}", certain=True) from None


# --- the standard methods ---


async def get_info(service: "WalletService", call: Call) -> str:
    info = await service.backend_info()
    network = "mainnet" if info.caps.network == "bitcoin" else info.caps.network
    result = {
        "alias": f"{service.alias}: {info.alias}",
        "color": "f7931a",
        "pubkey": info.pubkey or service.pubkey or "",
        "network": network,
        "block_height": info.block_height or 0,
        "block_hash": "00" * 32,
        "methods": methods_of(call.connection),
        "notifications": notifications_of(call.connection),
        "real_money": info.caps.real_money,
        "hold": info.caps.hold,
    }
    return nip47.result_text(call.method, result)


async def get_balance(service: "WalletService", call: Call) -> str:
    row = await service.bank.db.fetch_one("SELECT balance FROM accounts WHERE id = ?", (call.connection.account,))
    return nip47.result_text(call.method, {"balance": row["balance"] if row is not None else 0})


async def get_budget(service: "WalletService", call: Call) -> str:
    row = await service.bank.db.fetch_one(f"{connections.SELECT} WHERE connections.id = ?", (call.connection.id,))
    assert row is not None
    limit, spent, renewal, renews = connections.budget(connections.read(row), service.clock())
    if limit is None:
        return nip47.result_text(call.method, {})
    result: dict[str, Any] = {"used_budget": spent, "total_budget": limit, "renewal_period": renewal.value}
    if renews is not None:
        result["renews_at"] = renews
    return nip47.result_text(call.method, result)


async def make_invoice(service: "WalletService", call: Call) -> str:
    given = _params(call, MakeInvoice)
    return await _invoice(service, call, given, None)


async def make_hold_invoice(service: "WalletService", call: Call) -> str:
    given = _params(call, MakeHoldInvoice)
    if not service.bank.caps.hold:
        raise NwcError("NOT_IMPLEMENTED", "the wallet behind this service has no hold invoices")
    return await _invoice(service, call, given, given.payment_hash)


async def _invoice(service: "WalletService", call: Call, given: MakeInvoice, payment_hash: str | None) -> str:
    if given.description is not None and len(given.description.encode()) > 639:
        raise NwcError("OTHER", "description: longer than 639 bytes", certain=True)
    bill = await service.bank.make_invoice(
        await _payee(service, call, given.account),
        given.amount,
        description=given.description if given.description_hash is None else None,
        description_hash=given.description_hash,
        expiry=given.expiry or 3600,
        payment_hash=payment_hash,
        metadata=nip47.metadata_text(given.metadata),
        connection=call.connection.id,
        claim=call.claim,
    )
    return nip47.result_text(call.method, nip47.invoice_object(bill))


async def _payee(service: "WalletService", call: Call, name: str | None) -> int:
    """The account an invoice is for: the connection's own, or with scope `address` any that is somebody's."""
    if name is None:
        return call.connection.account
    if not call.connection.may(Scope.ADDRESS):
        raise NwcError("RESTRICTED", "this connection makes invoices for its own account only", certain=True)
    if name in (*books.WORLD, books.TRANSIT):
        raise NwcError("OTHER", f"{name} is nobody's account", certain=True)
    return await service.bank.db.write(lambda conn: books.open_account(conn, name, service.clock()))


async def pay_invoice(service: "WalletService", call: Call) -> str | None:
    given = _params(call, PayInvoice)
    purpose = given.metadata.get("purpose") if isinstance(given.metadata, dict) else None
    if isinstance(purpose, str) and len(purpose) > _MAX_PURPOSE:
        raise NwcError("OTHER", f"purpose: longer than {_MAX_PURPOSE} characters", certain=True)
    fee_limit = given.metadata.get("max_fee_msat") if isinstance(given.metadata, dict) else None
    payment = await service.bank.pay(
        call.connection.account,
        given.invoice,
        purpose=purpose if isinstance(purpose, str) and purpose else None,
        amount_msat=given.amount,
        max_fee_msat=min(fee_limit, MAX_MSAT) if isinstance(fee_limit, int) and fee_limit >= 0 else None,
        connection=call.connection.id,
        metadata=nip47.metadata_text(given.metadata),
        claim=call.claim,
    )
    if payment.ended:
        return nip47.payment_text(payment)
    await service.answer_later(call, payment.payment_hash)
    return None


async def lookup_invoice(service: "WalletService", call: Call) -> str:
    given = _params(call, Lookup)
    payment_hash = given.payment_hash
    if payment_hash is None:
        if given.invoice is None:
            raise NwcError("OTHER", "give a payment_hash or an invoice")
        try:
            payment_hash = decode(given.invoice).payment_hash
        except InvalidInvoice as error:
            raise NwcError("OTHER", f"invoice: {error}") from None
    account = call.connection.account
    bill = await service.bank.invoice(payment_hash, account)
    if bill is not None and call.params.get("type") != "outgoing":
        return nip47.result_text(call.method, nip47.invoice_object(bill))
    payment = await service.bank.payment(payment_hash, account)
    if payment is not None:
        return nip47.result_text(call.method, nip47.payment_object(payment))
    raise NwcError("NOT_FOUND", "there is no such invoice or payment", certain=True)


_LISTED = (
    "account = :account AND created_at BETWEEN :from AND :until"
    " AND (:settled_from IS NULL OR settled_at >= :settled_from)"
)


async def list_transactions(service: "WalletService", call: Call) -> str:
    given = _params(call, ListTransactions)
    account, db = call.connection.account, service.bank.db
    now = service.clock()
    tables = []
    if given.type != "outgoing":
        only = "" if given.unpaid else " AND state IN ('settled', 'accepted')"
        tables.append(f"SELECT 'invoices' AS source, rowid AS id, created_at FROM invoices WHERE {_LISTED}{only}")
    if given.type != "incoming":
        only = "" if given.unpaid else " AND state != 'failed'"
        tables.append(f"SELECT 'payments' AS source, id, created_at FROM payments WHERE {_LISTED}{only}")
    page = await db.fetch(
        " UNION ALL ".join(tables) + " ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset",
        {
            "account": account,
            "from": given.from_,
            "until": now + _DAY if given.until is None else given.until,
            "settled_from": given.settled_from,
            "limit": min(given.limit, _MAX_PAGE),
            "offset": given.offset,
        },
    )
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for table in ("invoices", "payments"):
        ids = [row["id"] for row in page if row["source"] == table]
        places = ", ".join("?" * len(ids))
        for row in await db.fetch(f"SELECT rowid AS place, * FROM {table} WHERE rowid IN ({places})", ids):
            told = ledger.read_bill(row, now) if table == "invoices" else ledger.read_payment(row)
            found[table, row["place"]] = nip47.transaction_object(told)
    listed = [found[row["source"], row["id"]] for row in page if (row["source"], row["id"]) in found]
    return nip47.result_text(call.method, {"transactions": nip47.clip(listed)})


async def settle_hold_invoice(service: "WalletService", call: Call) -> str:
    given = _params(call, Preimage)
    await service.bank.settle_hold(call.connection.account, given.preimage, call.claim)
    return nip47.result_text(call.method, {})


async def cancel_hold_invoice(service: "WalletService", call: Call) -> str:
    given = _params(call, PaymentHash)
    await service.bank.cancel_hold(call.connection.account, given.payment_hash, call.claim)
    return nip47.result_text(call.method, {})


async def not_implemented(service: "WalletService", call: Call) -> str:
    raise NwcError("NOT_IMPLEMENTED", f"{call.method} is not offered: invoices only")


# --- the owner's methods ---


async def list_connections(service: "WalletService", call: Call) -> str:
    rows = [connections.read(row) for row in await service.bank.db.fetch(f"{connections.SELECT} ORDER BY name")]
    now = service.clock()
    return nip47.result_text(
        call.method, {"connections": [_connection(row, now) for row in rows if not row.revoked_at]}
    )


def _connection(row: Connection, now: int) -> dict[str, Any]:
    limit, spent, renewal, renews = connections.budget(row, now)
    return {
        "name": row.name,
        "account": row.account_name,
        "scopes": sorted(row.scopes),
        "pubkey": row.client_pubkey,
        "service": row.service_pubkey,
        "budget_msat": limit,
        "spent_msat": spent,
        "renewal": renewal.value,
        "renews_at": renews,
        "created_at": row.created_at,
    }


async def create_connection(service: "WalletService", call: Call) -> str:
    given = _params(call, CreateConnection)
    try:
        scopes = given.wanted()
        renewal = Renewal(given.budget_renewal or given.renewal)
    except ValueError as error:
        raise NwcError("OTHER", str(error), certain=True) from None
    account = given.account or (given.name if given.isolated else call.connection.account_name)
    made = await service.connect(
        given.name,
        account=account,
        scopes=scopes,
        budget_msat=given.max_amount if given.budget_msat is None else given.budget_msat,
        renewal=renewal,
        client_pubkey=given.pubkey,
        claim=call.claim,
    )
    if isinstance(made, Uri):
        result = {"name": given.name, "account": account, "wallet_pubkey": made.service, "uri": made.text}
    else:
        result = {"name": given.name, "account": account, "wallet_pubkey": made.service_pubkey}
    return nip47.result_text(call.method, result)


async def revoke_connection(service: "WalletService", call: Call) -> str:
    row = await service.revoke(_params(call, Name).name)
    return nip47.result_text(call.method, {"name": row.name, "revoked_at": row.revoked_at})


async def list_accounts(service: "WalletService", call: Call) -> str:
    rows = await service.bank.db.fetch("SELECT name, world, balance FROM accounts ORDER BY world, name")
    listed = [{"name": row["name"], "balance": row["balance"], "world": bool(row["world"])} for row in rows]
    return nip47.result_text(call.method, {"accounts": listed})


async def transfer(service: "WalletService", call: Call) -> str:
    """Move money between two accounts of the box, once for its purpose."""
    given = _params(call, Transfer)
    now = service.clock()
    text = nip47.result_text(call.method, {})

    def work(conn: sqlite3.Connection) -> None:
        connections.claim(conn, call.claim.event_id, call.claim.connection, call.method, call.claim.scheme, now)
        if given.source in (*books.WORLD, books.TRANSIT) or given.target in (*books.WORLD, books.TRANSIT):
            raise NwcError("RESTRICTED", "this account is not moved by hand")
        source, target = books.account_id(conn, given.source), books.open_account(conn, given.target, now)
        ref = f"{given.source}:{given.purpose}"
        if conn.execute("SELECT 1 FROM transfers WHERE ref = ? AND kind = 'transfer'", (ref,)).fetchone():
            raise NwcError("RESTRICTED", f"{given.purpose} was moved already")
        books.transfer(conn, "transfer", ref, now, [(source, -given.amount), (target, given.amount)])
        connections.answer(conn, call.claim.event_id, text)

    if service.bank.stopped:
        raise WalletRefused("INTERNAL", f"payments are stopped: {service.bank.stopped}")
    await service.bank.db.write(work)
    return text


async def adopt(service: "WalletService", call: Call) -> str:
    """Take what the backend holds beyond the books into the owner's account, or book what it lacks."""
    return nip47.result_text(call.method, {"moved": await service.bank.adopt(call.claim.event_id)})


async def show_books(service: "WalletService", call: Call) -> str:
    """The state of the ledger: faults, open payments, the backend."""
    faults = await service.bank.db.write(ledger.audit)
    rows = await service.bank.db.fetch("SELECT state, COUNT(*), SUM(amount_msat) FROM payments GROUP BY state")
    bills = await service.bank.db.fetch("SELECT state, COUNT(*), SUM(received_msat) FROM invoices GROUP BY state")
    info = await service.bank.backend.info()
    result = {
        "sound": not faults and not service.bank.stopped,
        "faults": faults,
        "stopped": service.bank.stopped,
        "backend": info.alias,
        "network": info.caps.network,
        "real_money": info.caps.real_money,
        "backend_msat": None if service.bank.internal_only else await service.bank.backend.balance(),
        "payments": {row[0]: {"count": row[1], "msat": row[2]} for row in rows},
        "invoices": {row[0]: {"count": row[1], "msat": row[2]} for row in bills},
    }
    return nip47.result_text(call.method, result)


METHODS: Mapping[str, Method] = {
    "get_info": Method(get_info),
    "get_balance": Method(get_balance, (Scope.READ,)),
    "get_budget": Method(get_budget),
    "make_invoice": Method(make_invoice, (Scope.RECEIVE, Scope.ADDRESS), changes=True),
    "pay_invoice": Method(pay_invoice, (Scope.PAY,), changes=True),
    "lookup_invoice": Method(lookup_invoice, (Scope.READ, Scope.RECEIVE, Scope.PAY)),
    "list_transactions": Method(list_transactions, (Scope.READ,)),
    "make_hold_invoice": Method(make_hold_invoice, (Scope.HOLD,), changes=True),
    "settle_hold_invoice": Method(settle_hold_invoice, (Scope.HOLD,), changes=True),
    "cancel_hold_invoice": Method(cancel_hold_invoice, (Scope.HOLD,), changes=True),
    "pay_keysend": Method(not_implemented),
    "multi_pay_invoice": Method(not_implemented),
    "multi_pay_keysend": Method(not_implemented),
    "sign_message": Method(not_implemented),
    "list_connections": Method(list_connections, (Scope.ADMIN,)),
    "create_connection": Method(create_connection, (Scope.ADMIN,), changes=True),
    "revoke_connection": Method(revoke_connection, (Scope.ADMIN,)),
    "list_accounts": Method(list_accounts, (Scope.ADMIN,)),
    "transfer": Method(transfer, (Scope.ADMIN,), changes=True),
    "adopt": Method(adopt, (Scope.ADMIN,)),
    "books": Method(show_books, (Scope.ADMIN,)),
}


NOTIFICATIONS: Mapping[News, str] = {
    News.RECEIVED: "payment_received",
    News.SENT: "payment_sent",
    News.ACCEPTED: "hold_invoice_accepted",
}


async def told(service: "WalletService", report: Report) -> dict[str, Any]:
    """What a notification says of this report."""
    said = nip47.transaction_object(report.what)
    if report.news is News.ACCEPTED and isinstance(report.what, Bill):
        info = await service.backend_info()
        left = max((report.what.invoice.settle_deadline or service.clock()) - service.clock(), 0)
        said["settle_deadline"] = (info.block_height or 0) + left // 600
    return said


def methods_of(connection: Connection) -> list[str]:
    """What this connection may do, by name."""
    return [
        name
        for name, method in METHODS.items()
        if method.handle is not not_implemented
        and (not method.scopes or any(connection.may(scope) for scope in method.scopes))
    ]


def notifications_of(connection: Connection) -> list[str]:
    return list(NOTIFICATIONS.values()) if connection.may(Scope.NOTIFY) else []
