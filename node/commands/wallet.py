"""`timmy wallet`: the wallet service, and the owner's hand on it through his own connection."""

import asyncio
import io
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from node.context import (
    DataOption,
    JsonOption,
    RelayOption,
    data_dir,
    err,
    load_settings,
    out,
    print_json,
    relay_urls,
)
from node.errors import NotDone, Unavailable, UsageComplaint
from node.run import ready, run_until_signal, set_up_logging
from node.settings import NodeSettings
from wallet.settings import WalletSettings

MOST_SAT = 2_100_000_000_000_000  # all there will ever be
app = typer.Typer(no_args_is_help=False, help="The wallet service; without a command it runs.", add_completion=False)
_BUDGET = re.compile(r"^(\d+)(?:/(day|week|month|year|ever))?$")
_RENEWALS = {"day": "daily", "week": "weekly", "month": "monthly", "year": "yearly", "ever": "never", None: "never"}
WalletOption = Annotated[
    str | None, typer.Option("--wallet", help="Connection URI to use instead of the owner's own.", envvar="TIMMY_NWC")
]


@app.callback(invoke_without_command=True)
def wallet(
    ctx: typer.Context,
    data: DataOption = None,
    relay: RelayOption = None,
    backend: Annotated[str | None, typer.Option("--backend", help="What stands behind the books.")] = None,
) -> None:
    """Run the wallet service on one relay, or use one of the commands below."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = data
        return
    folder = data_dir(data)
    settings = load_settings(folder)
    wanted = settings.section("wallet", WalletSettings, backend=backend)
    set_up_logging(settings.section("node", NodeSettings).log)
    from node.home import only_one

    with only_one(folder, "wallet"):
        run_until_signal(_serve(wanted, folder, relay))


async def _serve(settings: WalletSettings, folder: Path, given: list[str] | None) -> None:
    from wallet.serve import serve

    urls = await _relays(folder, given)
    await serve(settings, folder, relays=urls, ready=lambda line: ready(line, folder))


async def _relays(folder: Path, given: list[str] | None) -> list[str]:
    """The relays to serve on; waits for the node's own to start."""
    told = False
    while True:
        try:
            return relay_urls(folder, given)
        except Unavailable as error:
            if not told:
                typer.echo(f"waiting for a relay: {error}", err=True)
                told = True
            await asyncio.sleep(0.5)


def _folder(ctx: typer.Context, data: Path | None) -> Path:
    return data_dir(data if data is not None else ctx.obj)


def _uri(folder: Path, given: str | None) -> str:
    if given:
        return given
    path = folder / "wallet" / "connections" / "owner.uri"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise Unavailable(f"no wallet has run on {folder} yet: start `timmy up` or `timmy wallet`") from None


def _ask(folder: Path, given: str | None, work: Any) -> Any:
    """Run `work(wallet)` with the owner's wallet; its errors become one line."""
    from wallet.interface import WalletError, WalletUnreachable
    from wallet.nip47 import InvalidUri
    from wallet.nwc import NwcWallet

    async def run() -> Any:
        async with NwcWallet(_uri(folder, given)) as wallet:
            return await work(wallet)

    try:
        return asyncio.run(run())
    except InvalidUri as error:
        raise UsageComplaint(str(error)) from None
    except WalletUnreachable as error:
        raise Unavailable(f"{error}; is `timmy wallet` (or `timmy up`) running?") from None
    except WalletError as error:
        raise NotDone(f"{error} ({error.code})") from None


def _unit(wallet: Any) -> str:
    return "sat" if wallet.caps.real_money else "credits"


@app.command()
def balance(ctx: typer.Context, data: DataOption = None, wallet: WalletOption = None, json: JsonOption = False) -> None:
    """What you can spend."""
    from wallet.msat import show

    async def work(w: Any) -> None:
        msat = await w.balance()
        if json:
            print_json({"balance_msat": msat, "real_money": w.caps.real_money, "network": w.caps.network})
        else:
            out.print(show(msat, _unit(w)))
            if not w.caps.real_money:
                out.print("[dim]credits of this node, not Lightning[/dim]")

    _ask(_folder(ctx, data), wallet, work)


@app.command()
def invoice(
    ctx: typer.Context,
    amount: Annotated[int, typer.Argument(help="Amount in sat.", min=1, max=MOST_SAT)],
    memo: Annotated[str, typer.Option("--memo", help="What it is for.")] = "",
    expiry: Annotated[int, typer.Option("--expiry", help="Seconds it can be paid.")] = 3600,
    data: DataOption = None,
    wallet: WalletOption = None,
    json: JsonOption = False,
) -> None:
    """Ask for money: prints an invoice and its QR code."""

    async def work(w: Any) -> None:
        made = await w.make_invoice(amount * 1000, description=memo, expiry=expiry)
        if json:
            print_json(
                {"invoice": made.bolt11, "payment_hash": made.payment_hash, "amount_msat": made.amount_msat,
                 "expires_at": made.expires_at}
            )  # fmt: skip
        else:
            out.print(made.bolt11, soft_wrap=True)
            _qr(made.bolt11.upper())

    _ask(_folder(ctx, data), wallet, work)


@app.command()
def pay(
    ctx: typer.Context,
    invoice: Annotated[
        str, typer.Argument(help="A BOLT 11 invoice, a Lightning address (ann@example.com) or an LNURL.")
    ],
    amount: Annotated[
        int | None, typer.Argument(help="Amount in sat, for an address or LNURL.", min=1, max=MOST_SAT)
    ] = None,
    comment: Annotated[str, typer.Option("--comment", help="A word to the payee of an address.")] = "",
    max_fee: Annotated[int | None, typer.Option("--max-fee", help="Most to pay for routing, in sat.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the outcome.")] = 60,
    data: DataOption = None,
    wallet: WalletOption = None,
    json: JsonOption = False,
) -> None:
    """Pay an invoice, once, or a Lightning address."""
    from wallet.interface import Outcome
    from wallet.lnurl import looks_payable
    from wallet.msat import show

    if looks_payable(invoice) and amount is None:
        raise UsageComplaint("how much? give the amount in sat after the address")

    async def work(w: Any) -> None:
        limit = None if max_fee is None else max_fee * 1000
        bill = await _bill_of(invoice, amount, comment, w.caps.network) if looks_payable(invoice) else invoice
        result = await w.pay_invoice(bill, max_fee_msat=limit, timeout=timeout)
        if json:
            print_json(
                {"outcome": result.outcome.value, "payment_hash": result.payment_hash, "preimage": result.preimage,
                 "fee_msat": result.fee_msat, "code": result.code, "detail": result.detail}
            )  # fmt: skip
        elif result.outcome is Outcome.SETTLED:
            out.print(f"paid, fee {show(result.fee_msat or 0)}, preimage {result.preimage}", soft_wrap=True)
        if result.outcome is Outcome.FAILED:
            raise NotDone(f"not paid: {result.detail or result.code}")
        if result.outcome is not Outcome.SETTLED:
            raise NotDone(
                f"the outcome is {result.outcome.value} ({result.detail or 'no word yet'}): do not pay another invoice"
                " for the same thing; the same invoice can be given again safely"
            )

    _ask(_folder(ctx, data), wallet, work)


@app.command()
def redeem(
    ctx: typer.Context,
    token: Annotated[
        str | None, typer.Argument(help="A Cashu token. Without one, what an earlier call left open is finished.")
    ] = None,
    nutzaps: Annotated[
        bool, typer.Option("--nutzaps", help="Say on the relays that you take nutzaps, and take those that came.")
    ] = False,
    relay: RelayOption = None,
    data: DataOption = None,
    wallet: WalletOption = None,
    json: JsonOption = False,
) -> None:
    """Take ecash of a mint you chose ([wallet] mints) and have the mint pay it to your account."""
    from node.home import only_one
    from wallet.ecash import EcashError

    folder = _folder(ctx, data)
    mints = load_settings(folder).section("wallet", WalletSettings).mints

    async def work(w: Any) -> None:
        try:
            told = await _redeem(w, folder, mints, token, relay_urls(folder, relay) if nutzaps else [])
        except EcashError as error:
            raise NotDone(str(error)) from None
        if json:
            print_json(told)
            return
        for mint, item in told.items():
            note = f"; {item['why']}" if item["why"] else ""
            unit = _unit(w)
            out.print(f"{mint}: {item['paid']} {unit} paid to you, {item['held']} held as ecash{note}", soft_wrap=True)
        if not told:
            out.print("no ecash is held")

    with only_one(folder, "ecash"):
        _ask(folder, wallet, work)


async def _redeem(
    w: Any, folder: Path, mints: list[str], text: str | None, relays: list[str]
) -> dict[str, dict[str, Any]]:
    from nostr.database import Database
    from nostr.key import load_or_create
    from wallet.ecash import EcashError
    from wallet.ecash.purse import MIGRATIONS, Purse
    from wallet.ecash.token import parse

    db = await Database.open(folder / "wallet" / "ecash.db", MIGRATIONS)
    try:
        purse = Purse(db, load_or_create(folder / "keys" / "ecash.key"), mints)
        await purse.recover()
        if text is not None:
            await purse.receive(parse(text))
        if relays:
            await _nutzaps(purse, folder, relays)
        told: dict[str, dict[str, Any]] = {}
        for mint in await purse.balance():
            told[mint] = {"paid": 0, "why": ""}
            try:
                told[mint]["paid"] = await purse.cash(mint, w)
            except EcashError as error:
                told[mint]["why"] = str(error)
        held = await purse.balance()
        return {mint: {**item, "held": held.get(mint, 0)} for mint, item in told.items()}
    finally:
        await db.close()


async def _nutzaps(purse: Any, folder: Path, relays: list[str]) -> None:
    from node.home import owner_key
    from nostr.clock import system_clock
    from nostr.filter import Filter
    from nostr.pool import Pool
    from wallet.ecash import EcashError
    from wallet.ecash.nutzaps import INFO, NUTZAP, information, take

    key = owner_key(folder)
    async with Pool(relays, key=key) as pool:
        said = information(key, purse.lock, purse.mints, relays, created_at=system_clock())
        known = await pool.fetch(Filter(kinds=[INFO], authors=[key.public], limit=1))
        if not known or known[0].tags != said.tags:
            await pool.publish(said)
        for event in await pool.fetch(Filter(kinds=[NUTZAP], tags={"p": [key.public]}, limit=500)):
            try:
                if gained := await take(purse, event, key.public):
                    err.print(f"nutzap {event.id[:16]}: {gained} sat")
            except EcashError as error:
                err.print(f"nutzap {event.id[:16]}: {error}", soft_wrap=True)


async def _bill_of(place: str, sat: int | None, comment: str, network: str) -> str:
    """An invoice of an address. The person at the keyboard wrote the host, so it may be one of the own network."""
    from urllib.parse import urlsplit

    from nostr.clock import system_clock
    from wallet import lnurl

    own = [urlsplit(lnurl.pay_url(place)).netloc]
    offer = await lnurl.ask(place, allow_hosts=own)
    bill = await lnurl.invoice_for(
        offer, (sat or 0) * 1000, network=network, now=system_clock(), comment=comment, allow_hosts=own
    )
    return bill.text


@app.command()
def history(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", help="How many.", min=1)] = 20,
    unpaid: Annotated[bool, typer.Option("--unpaid", help="Unpaid invoices and failed payments too.")] = False,
    data: DataOption = None,
    wallet: WalletOption = None,
    json: JsonOption = False,
) -> None:
    """What came in and went out, newest first."""
    import time

    from wallet.msat import show

    async def work(w: Any) -> None:
        found: list[dict[str, Any]] = []
        while len(found) < limit:
            params = {"limit": min(20, limit - len(found)), "offset": len(found), "unpaid": unpaid}
            page = (await w.call("list_transactions", params)).get("transactions") or []
            found += page
            if not page:
                break
        if json:
            print_json(found)
            return
        table = Table("when", "", "amount", "fee", "state", "what for")
        for item in found:
            came = item["type"] == "incoming"
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(item["created_at"]))
            sign = "[green]+[/green]" if came else "-"
            table.add_row(
                when, sign, show(item["amount"], _unit(w)), show(item.get("fees_paid") or 0, ""),
                item.get("state", ""), escape((item.get("description") or "")[:60]),
            )  # fmt: skip
        out.print(table)

    _ask(_folder(ctx, data), wallet, work)


@app.command()
def connect(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A name for the app.")],
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Most it may spend, in sat: 1000/day, 5000/week, 20000/month, 9/ever."),
    ] = None,
    scopes: Annotated[
        str, typer.Option("--scopes", help="What it may do: pay, receive, read, hold, notify, admin.")
    ] = "pay,receive,read,notify",
    account: Annotated[str | None, typer.Option("--account", help="Account it acts for. Default: yours.")] = None,
    isolated: Annotated[bool, typer.Option("--isolated", help="An account of its own, empty at first.")] = False,
    data: DataOption = None,
    wallet: WalletOption = None,
    json: JsonOption = False,
) -> None:
    """Let an app use this wallet: prints its connection URI and QR code, once."""
    params: dict[str, Any] = {"name": name, "scopes": [word.strip() for word in scopes.split(",") if word.strip()]}
    if account:
        params["account"] = account
    if isolated:
        params["isolated"] = True
    if budget:
        found = _BUDGET.match(budget.strip())
        if found is None:
            raise UsageComplaint(f"--budget {budget}: write it like 1000/day")
        params |= {"budget_msat": int(found[1]) * 1000, "renewal": _RENEWALS[found[2]]}

    async def work(w: Any) -> None:
        made = await w.call("create_connection", params, timeout=30)
        if json:
            print_json(made)
            return
        out.print(made["uri"], soft_wrap=True)
        _qr(made["uri"])
        out.print(f"[dim]Whoever has this line can do what it allows: {scopes}. It is not shown again.[/dim]")

    _ask(_folder(ctx, data), wallet, work)


@app.command()
def revoke(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The name of the connection.")],
    data: DataOption = None,
    wallet: WalletOption = None,
    json: JsonOption = False,
) -> None:
    """End a connection: its requests are refused from now on."""

    async def work(w: Any) -> None:
        gone = await w.call("revoke_connection", {"name": name}, timeout=30)
        if json:
            print_json(gone)
        else:
            out.print(f"{name} is revoked")

    _ask(_folder(ctx, data), wallet, work)


@app.command()
def connections(
    ctx: typer.Context, data: DataOption = None, wallet: WalletOption = None, json: JsonOption = False
) -> None:
    """Who may use this wallet, for what, and what they spent."""
    from wallet.msat import show

    async def work(w: Any) -> None:
        listed = (await w.call("list_connections", {}))["connections"]
        if json:
            print_json(listed)
            return
        table = Table("name", "account", "may", "budget", "spent")
        for item in listed:
            limit = item["budget_msat"]
            terms = "no limit" if limit is None else f"{show(limit, _unit(w))} {item['renewal']}"
            table.add_row(
                item["name"], item["account"], ", ".join(item["scopes"]), terms, show(item["spent_msat"], _unit(w))
            )
        out.print(table)

    _ask(_folder(ctx, data), wallet, work)


@app.command()
def accounts(
    ctx: typer.Context, data: DataOption = None, wallet: WalletOption = None, json: JsonOption = False
) -> None:
    """All accounts of the node and what they hold."""
    from wallet.msat import show

    async def work(w: Any) -> None:
        listed = (await w.call("list_accounts", {}))["accounts"]
        if json:
            print_json(listed)
            return
        table = Table("account", "holds")
        for item in listed:
            if not item["world"]:
                table.add_row(item["name"], show(item["balance"], _unit(w)))
        out.print(table)

    _ask(_folder(ctx, data), wallet, work)


@app.command()
def move(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="Account that gives.")],
    target: Annotated[str, typer.Argument(help="Account that gets; made if it is new.")],
    amount: Annotated[int, typer.Argument(help="Amount in sat.", min=1, max=MOST_SAT)],
    purpose: Annotated[str, typer.Option("--for", help="What for. The same purpose is moved once.")],
    data: DataOption = None,
    wallet: WalletOption = None,
) -> None:
    """Move money between two accounts of the node."""

    async def work(w: Any) -> None:
        params = {"source": source, "target": target, "amount": amount * 1000, "purpose": purpose}
        await w.call("transfer", params, timeout=30)
        out.print(f"{amount} {_unit(w)} from {source} to {target}")

    _ask(_folder(ctx, data), wallet, work)


@app.command()
def adopt(ctx: typer.Context, data: DataOption = None, wallet: WalletOption = None) -> None:
    """Book to your account what the real wallet holds beyond the books, or what it lacks.

    For money that you moved with the wallet's own tools.
    """
    from wallet.msat import show

    async def work(w: Any) -> None:
        moved = (await w.call("adopt", {}, timeout=30))["moved"]
        out.print(f"{show(moved, _unit(w))} booked to the owner" if moved else "the books and the wallet agree")

    _ask(_folder(ctx, data), wallet, work)


@app.command()
def backend(
    ctx: typer.Context,
    line: Annotated[
        str | None, typer.Argument(help="The new backend line; without it the present one is shown.")
    ] = None,
    data: DataOption = None,
    wallet: WalletOption = None,
    json: JsonOption = False,
) -> None:
    """Show what stands behind the wallet, or choose it (takes effect when the wallet starts anew)."""
    folder = _folder(ctx, data)
    if line is not None:
        from node.home import write_private
        from node.settings import FILE, assign, toml_value

        try:
            WalletSettings.model_validate({"backend": line})
        except ValueError as error:
            raise UsageComplaint(str(error).splitlines()[2].strip()) from None
        path = folder / FILE
        text = path.read_text() if path.exists() else ""
        fresh = path.with_suffix(".new")
        write_private(fresh, assign(text, "wallet", "backend", toml_value(line)))
        fresh.replace(path)
        out.print(
            "set; restart the wallet (`timmy up`) for it to take effect. Credits and real money keep separate books."
        )
        return

    async def work(w: Any) -> None:
        info = await w.info()
        shown = {"alias": info.alias, "network": info.caps.network, "real_money": info.caps.real_money,
                 "hold_invoices": info.caps.hold}  # fmt: skip
        if json:
            print_json(shown)
        else:
            out.print(
                f"{escape(info.alias)}\nnetwork {info.caps.network}; hold invoices: {'yes' if info.caps.hold else 'no'}"
            )
            if not info.caps.real_money:
                out.print("credits of this node, not Lightning: nothing here is worth money")

    _ask(folder, wallet, work)


@app.command()
def doctor(ctx: typer.Context, data: DataOption = None, wallet: WalletOption = None, json: JsonOption = False) -> None:
    """Check the wallet from end to end and say in words what is wrong."""
    from wallet.doctor import examine

    async def work(w: Any) -> list[Any]:
        return [finding async for finding in examine(w)]

    findings = _ask(_folder(ctx, data), wallet, work)
    if json:
        print_json([{"what": f.what, "fine": f.fine, "detail": f.detail} for f in findings])
    else:
        for f in findings:
            out.print(f"{'[green]fine[/green] ' if f.fine else '[red]wrong[/red]'} {f.what}: {escape(f.detail)}")
    if not all(f.fine for f in findings):
        raise NotDone("the wallet has faults")


def _qr(text: str) -> None:
    import segno

    drawn = io.StringIO()
    segno.make(text, error="l").terminal(out=drawn, compact=True)
    typer.echo(drawn.getvalue())
