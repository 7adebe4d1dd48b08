"""Connection URIs, budgets' calendars, amounts for people, the parts' files."""

import calendar
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostr.key import SecretKey
from tests.wallet.house import House
from wallet import connections
from wallet.backends import open_backend
from wallet.connections import QuotaExceeded, Renewal, Scope, period_end, period_start
from wallet.interface import WalletError
from wallet.msat import show
from wallet.nip47 import InvalidUri, Uri, clip, words
from wallet.nwc import NwcWallet
from wallet.serve import policy, provide
from wallet.settings import WalletSettings

SERVICE = "b889ff5b1513b641e2a139f661a661364979c5beee91842f8f0ef42ab558e9d4"
SECRET = "71a8c14c1407c113601079c4302dab36460f0ccd0ad506f1f2dc73b5100e4f3c"


@pytest.mark.parametrize("start", ["nostr+walletconnect://", "nostr+walletconnect:", "nostrwalletconnect://",
                                   "nostrwalletconnect:", "NOSTR+WALLETCONNECT://"])  # fmt: skip
def test_connection_uris_of_every_make_are_read(start: str) -> None:
    uri = Uri.parse(f"{start}{SERVICE}?relay=wss%3A%2F%2Frelay.damus.io&relay=ws://b:1/x&secret={SECRET}&lud16=a@b.c")
    assert (uri.service, uri.relays, uri.lud16) == (SERVICE, ("wss://relay.damus.io", "ws://b:1/x"), "a@b.c")
    assert Uri.parse(uri.text) == uri or Uri.parse(uri.text).secret.hex == SECRET
    assert SECRET not in repr(uri) and SECRET not in str(uri)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lnbc1",
        "https://example.com",
        f"nostr+walletconnect://{SERVICE}",
        f"nostr+walletconnect://{SERVICE}?secret={SECRET}",
        f"nostr+walletconnect://{SERVICE}?relay=http://x&secret={SECRET}",
        f"nostr+walletconnect://{SERVICE[:-1]}?relay=wss://x&secret={SECRET}",
        f"nostr+walletconnect://{SERVICE}?relay=wss://x&secret={SECRET[:-2]}",
        f"nostr+walletconnect://{SERVICE}?relay=wss://x&secret={'0' * 64}",
    ],
)
def test_what_is_no_connection_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(InvalidUri) as refused:
        Uri.parse(text)
    assert SECRET not in str(refused.value)


def test_lists_with_commas_and_with_spaces() -> None:
    assert words("pay_invoice,get_balance notifications") == ["pay_invoice", "get_balance", "notifications"]


def at(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


@pytest.mark.parametrize(
    ("renewal", "now", "start", "end"),
    [
        (Renewal.DAILY, "2026-11-22 20:00:00", "2026-11-22 00:00:00", "2026-11-23 00:00:00"),
        (Renewal.WEEKLY, "2026-11-22 20:00:00", "2026-11-16 00:00:00", "2026-11-23 00:00:00"),
        (Renewal.WEEKLY, "2026-11-23 00:00:00", "2026-11-23 00:00:00", "2026-11-30 00:00:00"),
        (Renewal.MONTHLY, "2028-02-29 12:00:00", "2028-02-01 00:00:00", "2028-03-01 00:00:00"),
        (Renewal.MONTHLY, "2026-12-31 23:59:59", "2026-12-01 00:00:00", "2027-01-01 00:00:00"),
        (Renewal.YEARLY, "2028-12-31 23:59:59", "2028-01-01 00:00:00", "2029-01-01 00:00:00"),
    ],
)
def test_budgets_follow_the_calendar(renewal: Renewal, now: str, start: str, end: str) -> None:
    assert period_start(renewal, at(now)) == at(start)
    assert period_end(renewal, at(now)) == at(end)


@given(st.sampled_from([r for r in Renewal if r is not Renewal.NEVER]), st.integers(0, 4_000_000_000))
def test_every_second_lies_in_its_period(renewal: Renewal, now: int) -> None:
    end = period_end(renewal, now)
    assert end is not None
    assert period_start(renewal, now) <= now < end
    assert period_start(renewal, end) == end and period_start(renewal, end - 1) == period_start(renewal, now)


async def test_money_back_from_an_old_period_does_not_fill_the_new_one(tmp_path: Path) -> None:
    async with House(tmp_path) as house:
        await house.uri("app", budget=10_000, renewal=Renewal.DAILY)
        first = house.clock()
        row = await house.bank.db.write(lambda conn: connections.by_name(conn, "app"))
        assert row is not None
        await house.bank.db.write(lambda conn: connections.spend(conn, row.id, 8_000, first))
        house.clock.turn(86_400)
        later = house.clock()
        await house.bank.db.write(lambda conn: connections.spend(conn, row.id, 9_000, later))
        await house.bank.db.write(lambda conn: connections.unspend(conn, row.id, 8_000, first))
        with pytest.raises(QuotaExceeded):
            await house.bank.db.write(lambda conn: connections.spend(conn, row.id, 2_000, later))
        with pytest.raises(QuotaExceeded):  # and a clock that goes back opens no old period
            await house.bank.db.write(lambda conn: connections.spend(conn, row.id, 2_000, first))


@given(st.integers(-(10**15), 10**15))
def test_amounts_are_shown_exactly(msat: int) -> None:
    number = show(msat).removesuffix(" sat").replace(",", "")
    whole, _, part = number.lstrip("-").partition(".")
    assert (int(whole) * 1000 + int(part.ljust(3, "0") or 0)) * (-1 if number.startswith("-") else 1) == msat


def test_a_page_is_cut_before_it_is_too_large_and_never_empty() -> None:
    items = [{"n": number, "text": "x" * 900} for number in range(100)]
    assert 30 < len(clip(items)) < 60
    assert len(clip([{"text": "x" * 90_000}, {"n": 1}])) == 1


async def test_a_parts_file_is_kept_mended_and_never_shared(tmp_path: Path) -> None:
    folder = tmp_path / "connections"
    folder.mkdir()
    async with House(tmp_path) as house:
        await provide(house.service, folder, ["owner", "image"], guest_budget_msat=0)
        first = (folder / "image.uri").read_text()
        await provide(house.service, folder, ["owner", "image"], guest_budget_msat=0)
        assert (folder / "image.uri").read_text() == first, "a good file stays"
        house.service.relays = ("ws://127.0.0.1:1/moved",)
        await provide(house.service, folder, ["image"], guest_budget_msat=0)
        moved = Uri.parse((folder / "image.uri").read_text())
        assert moved.relays == ("ws://127.0.0.1:1/moved",) and moved.secret.hex == Uri.parse(first).secret.hex
        house.service.relays = (house.relay.url,)
        (folder / "image.uri").write_text("torn")
        await provide(house.service, folder, ["image"], guest_budget_msat=0)
        fresh = Uri.parse((folder / "image.uri").read_text())
        assert fresh.service != moved.service
        async with NwcWallet(fresh, clock=house.clock) as wallet:
            assert await wallet.balance() == 0
        with pytest.raises(WalletError, match="knows no such connection"):
            async with NwcWallet(Uri.parse(first), clock=house.clock, patience=3):
                pass


async def test_guests_have_a_daily_budget(tmp_path: Path) -> None:
    folder = tmp_path / "connections"
    folder.mkdir()
    async with House(tmp_path) as house:
        await provide(house.service, folder, ["guests"], guest_budget_msat=5_000)
        row = await house.bank.db.write(lambda conn: connections.by_name(conn, "guests"))
        assert row is not None
        assert (row.budget_msat, row.renewal, row.account_name) == (5_000, Renewal.DAILY, "owner")
        assert Scope.ADMIN not in row.scopes


def test_settings_become_a_policy() -> None:
    made = policy(WalletSettings(fee_percent=0.5, fee_floor=3, hold_minutes=5))  # type: ignore[call-arg]
    assert made.fee_limit(100_000) == 3_000 and made.fee_limit(10_000_000) == 50_000
    assert made.hold_seconds == 300


@pytest.mark.parametrize("line", ["paypal", "nwc:junk", "nwc:", ""])
def test_a_backend_line_that_makes_no_sense_is_refused(line: str) -> None:
    with pytest.raises(WalletError):
        open_backend(line, key=SecretKey.generate())
