"""No sequence of payments, replays, late answers and failures breaks the books (hypothesis state machine)."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from nostr.key import SecretKey
from tests.wallet.house import preimage
from wallet import bolt11, books, connections, holds, ledger
from wallet.connections import Renewal, Scope
from wallet.interface import Invoice, InvoiceState, WalletRefused
from wallet.ledger import Order, PaymentState

KEY = SecretKey.generate()
NAMES = ("ann", "bob", "cat")
MSAT = st.integers(1, 60_000)
START = 100_000


def signed(payment_hash: str, msat: int, now: int, expiry: int = 600) -> str:
    return bolt11.encode(
        key=KEY, network="regtest", amount_msat=msat, payment_hash=payment_hash, created_at=now, description="x",
        expiry=expiry,
    )  # fmt: skip


class Money(RuleBasedStateMachine):
    """Three accounts with 100 sat each, one connection with a daily budget each, and the world outside."""

    inside = Bundle("inside")
    held = Bundle("held")
    remote = Bundle("remote")
    outside = Bundle("outside")
    sent = Bundle("sent")

    @initialize()
    def open(self) -> None:
        self.conn = sqlite3.connect(":memory:", isolation_level=None)
        self.conn.row_factory = sqlite3.Row
        self.conn.executescript(ledger.SCHEMA)
        self.now = 1_800_000_000
        books.open_house(self.conn, self.now)
        self.ids = {name: books.open_account(self.conn, name, self.now) for name in NAMES}
        world = books.account_id(self.conn, books.BACKEND)
        for name, account in self.ids.items():
            books.transfer(self.conn, "opening", name, self.now, [(world, -START), (account, START)])
            connections.add(
                self.conn, name=name, account=account, service_secret="00", service_pubkey=name, client_pubkey=name,
                scopes=frozenset(Scope), now=self.now, budget_msat=70_000, renewal=Renewal.DAILY,
            )  # fmt: skip
        self.came_in = START * len(NAMES)  # what the world outside gave, less what it got: what we must still hold
        self.got: dict[tuple[str, str], set[str]] = {}  # (account, purpose) -> hashes that settled
        self.settled: dict[str, int] = {}  # hash -> times a payment of ours settled
        self.released: dict[str, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "conn"):
            assert ledger.audit(self.conn) == []
            self.conn.close()

    # --- what people do ---

    @rule(target=inside, who=st.sampled_from(NAMES), msat=MSAT, expiry=st.sampled_from((1, 600)))
    def bill(self, who: str, msat: int, expiry: int) -> str:
        secret, payment_hash = preimage()
        return self._add(who, msat, payment_hash, secret=secret, expiry=expiry)

    @rule(target=remote, who=st.sampled_from(NAMES), msat=MSAT)
    def bill_through_the_backend(self, who: str, msat: int) -> str:
        return self._add(who, msat, preimage()[1], remote=True)

    @rule(target=held, who=st.sampled_from(NAMES), msat=MSAT)
    def bill_with_a_hold(self, who: str, msat: int) -> tuple[str, str]:
        secret, payment_hash = preimage()
        return self._add(who, msat, payment_hash, hold=True), secret

    def _add(
        self, who: str, msat: int, payment_hash: str, *, secret: str | None = None, expiry: int = 600,
        hold: bool = False, remote: bool = False,
    ) -> str:  # fmt: skip
        text = signed(payment_hash, msat, self.now, expiry)
        made = Invoice(
            text, payment_hash, msat, self.now, self.now + expiry, InvoiceState.OPEN, preimage=secret, description="x"
        )
        with self._transaction():
            ledger.add_invoice(self.conn, made, account=self.ids[who], hold=hold, remote=remote)
        return text

    @rule(target=outside, msat=MSAT)
    def somebody_elses_invoice(self, msat: int) -> str:
        return signed(preimage()[1], msat, self.now)

    @rule(text=inside | remote, who=st.sampled_from(NAMES), purpose=st.sampled_from(("", "job:1", "job:2")))
    def pay_inside(self, text: str, who: str, purpose: str) -> None:
        self._pay(text, who, purpose)

    @rule(made=held, who=st.sampled_from(NAMES))
    def pay_a_hold(self, made: tuple[str, str], who: str) -> None:
        self._pay(made[0], who, "")

    @rule(
        target=sent, text=outside, who=st.sampled_from(NAMES), purpose=st.sampled_from(("", "job:1", "job:2")),
        fee=st.integers(0, 5_000),
    )  # fmt: skip
    def pay_outside(self, text: str, who: str, purpose: str, fee: int) -> int | None:
        payment = self._pay(text, who, purpose, fee)
        if payment is None:
            return None
        if payment.state is PaymentState.RESERVED:
            with self._transaction():
                assert ledger.mark_sent(self.conn, payment.id)
        return payment.id

    def _pay(self, text: str, who: str, purpose: str, fee: int = 0) -> ledger.Payment | None:
        invoice = bolt11.decode(text)
        account = self.ids[who]
        purpose = purpose or f"invoice:{invoice.payment_hash}"
        before = books.balance(self.conn, account)
        row = connections.by_name(self.conn, who)
        assert row is not None
        order = Order(account, invoice, fee, purpose, connection=row.id)
        try:
            with self._transaction():
                payment, reports = ledger.begin(self.conn, order, self.now, network="regtest", hold_seconds=50)
        except WalletRefused:
            assert books.balance(self.conn, account) == before, "a refused payment moved money"
            return None
        self._note(reports)
        return payment

    # --- what the network does ---

    @rule(payment_id=sent, over=st.integers(-5_000, 2_000))
    def it_arrives(self, payment_id: int | None, over: int) -> None:
        """Also for the second time, also after we were told that it failed."""
        if payment_id is None:
            return
        payment = ledger.get_payment(self.conn, payment_id)
        fee = max(payment.fee_limit_msat + over, 0)
        with self._transaction():
            reports = ledger.settle(self.conn, payment_id, "00" * 32, fee, self.now)
        if reports:
            self.came_in -= payment.amount_msat + fee
        self._note(reports)

    @rule(payment_id=sent)
    def it_fails(self, payment_id: int | None) -> None:
        if payment_id is not None:
            with self._transaction():
                self._note(ledger.fail(self.conn, payment_id, "PAYMENT_FAILED", "no route", self.now))

    @rule(payment_id=sent)
    def no_word_of_it(self, payment_id: int | None) -> None:
        if payment_id is not None:
            with self._transaction():
                ledger.mark_unknown(self.conn, payment_id, "no word")

    @rule(text=remote, share=st.sampled_from((0.5, 1, 2)))
    def a_stranger_pays(self, text: str, share: float) -> None:
        invoice = bolt11.decode(text)
        msat = max(int((invoice.amount_msat or 0) * share), 1)
        try:
            with self._transaction():
                reports = ledger.receive(self.conn, invoice.payment_hash, msat, None, self.now)
        except ledger.NotFound:  # long forgotten: it was never paid in its time
            assert invoice.expires_at < self.now - 80_000
            return
        if reports:
            self.came_in += msat
        self._note(reports)

    @rule(made=held)
    def the_payee_takes_it(self, made: tuple[str, str]) -> None:
        self._hold(lambda h: holds.settle(self.conn, h, made[1], self.now), made[0])

    @rule(made=held)
    def the_payee_cancels(self, made: tuple[str, str]) -> None:
        self._hold(lambda h: holds.cancel(self.conn, h, self.now), made[0])

    def _hold(self, work: object, text: str) -> None:
        try:
            with self._transaction():
                self._note(work(bolt11.decode(text).payment_hash))  # type: ignore[operator]
        except WalletRefused:
            return

    @rule(seconds=st.sampled_from((1, 30, 86_400)))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        for payment_hash in holds.overdue(self.conn, self.now):
            with self._transaction():
                self._note(holds.cancel(self.conn, payment_hash, self.now))

    @rule()
    def the_house_is_tidied(self) -> None:
        with self._transaction():
            ledger.forget_unpaid(self.conn, self.now - 86_400)

    @rule(text=consumes(outside))
    def an_invoice_is_forgotten(self, text: str) -> None: ...

    # --- bookkeeping of the test itself ---

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.conn.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.conn.execute("ROLLBACK")
            raise
        self.conn.execute("COMMIT")

    def _note(self, reports: tuple[ledger.Report, ...]) -> None:
        for report in reports:
            if report.news is ledger.News.SENT:
                self.settled[report.payment_hash] = self.settled.get(report.payment_hash, 0) + 1
            if report.news is ledger.News.RECEIVED:
                self.released[report.payment_hash] = self.released.get(report.payment_hash, 0) + 1

    @invariant()
    def the_books_are_sound(self) -> None:
        if hasattr(self, "conn"):
            assert ledger.check(self.conn) == []

    @invariant()
    def nothing_is_paid_or_released_twice(self) -> None:
        if hasattr(self, "conn"):
            assert all(times == 1 for times in self.settled.values())
            assert all(times == 1 for times in self.released.values())

    @invariant()
    def a_purpose_is_paid_once(self) -> None:
        if hasattr(self, "conn"):
            twice = self.conn.execute(
                "SELECT account, purpose FROM payments WHERE state != 'failed' GROUP BY 1, 2 HAVING COUNT(*) > 1"
            ).fetchall()
            assert twice == []

    @invariant()
    def the_world_outside_agrees(self) -> None:
        """What the accounts own, less losses that the house bears, is what came in and has not gone out."""
        if hasattr(self, "conn"):
            owned = self.conn.execute("SELECT SUM(balance) FROM accounts WHERE NOT world").fetchone()[0]
            loss = books.balance(self.conn, books.account_id(self.conn, books.LOSS))
            assert owned + loss == self.came_in

    @invariant()
    def budgets_hold(self) -> None:
        """The spent column is what the payments of the period say, and never above the budget."""
        if not hasattr(self, "conn"):
            return
        for row, _ in connections.every(self.conn):
            assert row.budget_msat is None or row.spent_msat <= row.budget_msat
            spent = self.conn.execute(
                "SELECT COALESCE(SUM(CASE state WHEN 'failed' THEN 0"
                " WHEN 'settled' THEN MIN(amount_msat + fee_msat, amount_msat + fee_limit_msat)"
                " ELSE amount_msat + fee_limit_msat END), 0) FROM payments WHERE connection = ? AND created_at >= ?",
                (row.id, row.period_start),
            ).fetchone()[0]
            assert row.spent_msat == spent


TestMoney = Money.TestCase
TestMoney.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
