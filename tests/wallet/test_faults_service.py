"""Faults and abuse at the front door of the wallet service. The numbers are those of the project's list of 23 cases."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from nostr.event import Event
from nostr.filter import Filter
from nostr.key import SecretKey
from nostr.pool import Pool
from tests.wallet.house import House, preimage
from wallet import bolt11, nip47
from wallet.connections import Renewal, Scope
from wallet.interface import InvoiceState, Outcome
from wallet.nip47 import Channel, NwcError, Uri
from wallet.nwc import NwcWallet
from wallet.sending import Policy


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as house:
        yield house
        assert await house.faults() == []


class Raw:
    """A client that sends exactly what a test wants, and hears every answer."""

    def __init__(self, house: House, uri: Uri, pool: Pool) -> None:
        self.house, self.uri, self.pool = house, uri, pool
        self.channel = Channel(uri.secret, uri.service)
        self.sub = pool.subscribe(Filter(kinds=[nip47.RESPONSE], authors=[uri.service]))

    def request(self, method: str, params: object = None, *, scheme: str = "nip44_v2", age: int = 0,
                expires_in: int | None = None, tag: bool = True, key: SecretKey | None = None) -> Event:  # fmt: skip
        tags = [("p", self.uri.service)]
        if tag:
            tags.append(("encryption", scheme))
        if expires_in is not None:
            tags.append(("expiration", str(self.house.clock() + expires_in)))
        body = {"method": method, "params": params if params is not None else {}}
        signer = key or self.uri.secret
        channel = Channel(signer, self.uri.service)
        known = scheme if scheme in ("nip04", "nip44_v2") else "nip44_v2"
        return signer.sign(
            kind=nip47.REQUEST, content=channel.seal(known, body), tags=tags, created_at=self.house.clock() - age
        )

    async def send(self, event: Event) -> None:
        await self.pool.publish(event)

    async def answer(self, event: Event, timeout: float = 5, key: SecretKey | None = None) -> dict[str, object]:
        channel = Channel(key, self.uri.service) if key else self.channel
        async with asyncio.timeout(timeout):
            async for heard in self.sub:
                if heard.first("e") == event.id:
                    assert heard.first("p") == event.pubkey
                    scheme = "nip04" if "?iv=" in heard.content else "nip44_v2"
                    return channel.open(scheme, heard.content)
        raise AssertionError

    async def ask(self, method: str, params: object = None, **terms: object) -> dict[str, object]:
        event = self.request(method, params, **terms)  # type: ignore[arg-type]
        await self.send(event)
        return await self.answer(event)

    async def silent(self, event: Event, seconds: float = 0.5) -> bool:
        """True if no answer comes."""
        await self.send(event)
        try:
            await self.answer(event, seconds)
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def raw(house: House) -> AsyncIterator[Raw]:
    await house.give("app", 1_000_000)
    uri = await house.uri("app")
    async with Pool([house.relay.url]) as pool:
        client = Raw(house, uri, pool)
        await client.sub.eose()
        yield client


def code(answer: dict[str, object]) -> str:
    return str(answer["error"]["code"])  # type: ignore[index]


async def bill(house: House, msat: int, **terms: object) -> str:
    """An invoice of a shop inside the box."""
    account = await house.give("shop", 1, purpose=os.urandom(4).hex())
    return (await house.bank.make_invoice(account, msat, **terms)).invoice.bolt11  # type: ignore[arg-type]


# --- 1: replays ---


async def test_01_a_replayed_request_is_one_debit_and_the_same_answer_also_after_a_restart(
    house: House, raw: Raw
) -> None:
    event = raw.request("pay_invoice", {"invoice": await bill(house, 5_000)})
    await raw.send(event)
    first = await raw.answer(event)
    assert first["error"] is None
    await house.relay.accept(event)  # the relay delivers it again
    await house.restart()
    await house.relay.accept(event)
    again = await raw.answer(event)
    assert again == first
    assert await house.holds("app") == 995_000
    assert await house.count("payments") == 1


async def test_01_a_replay_of_a_refused_payment_stays_refused_when_there_is_money(house: House, raw: Raw) -> None:
    event = raw.request("pay_invoice", {"invoice": await bill(house, 2_000_000)})
    await raw.send(event)
    assert code(await raw.answer(event)) == "INSUFFICIENT_BALANCE"
    await house.give("app", 5_000_000, "late")
    await house.restart()
    await house.relay.accept(event)
    assert code(await raw.answer(event)) == "INSUFFICIENT_BALANCE"
    assert await house.holds("app") == 6_000_000


# --- 2 and 3: races ---


async def test_02_twenty_parallel_requests_for_one_invoice_are_one_debit(house: House, raw: Raw) -> None:
    text = await bill(house, 5_000)
    client = await house.client("second", account="app")
    results = await asyncio.gather(*(client.pay_invoice(text) for _ in range(20)))
    assert {r.outcome for r in results} == {Outcome.SETTLED}
    assert len({r.preimage for r in results}) == 1
    assert await house.holds("app") == 995_000


async def test_02_another_account_gets_no_proof_for_what_it_did_not_pay(house: House, raw: Raw) -> None:
    text = await bill(house, 5_000)
    assert (await raw.ask("pay_invoice", {"invoice": text}))["error"] is None
    await house.give("thief", 50_000)
    thief = await house.client("thief")
    result = await thief.pay_invoice(text)
    assert result.outcome is Outcome.FAILED and result.preimage is None
    assert await house.holds("thief") == 50_000


async def test_03_forty_parallel_payments_with_money_for_25(house: House) -> None:
    await house.give("app", 25 * 4_000 + 3_999)
    client = await house.client("app")
    bills = [await bill(house, 4_000) for _ in range(40)]
    results = await asyncio.gather(*(client.pay_invoice(text) for text in bills))
    outcomes = [r.outcome for r in results]
    assert outcomes.count(Outcome.SETTLED) == 25 and outcomes.count(Outcome.FAILED) == 15
    assert {r.code for r in results if r.outcome is Outcome.FAILED} == {"INSUFFICIENT_BALANCE"}
    assert await house.holds("app") == 3_999


async def test_03_forty_parallel_payments_with_budget_for_25(house: House) -> None:
    await house.give("app", 1_000_000)
    client = await house.client("app", budget=25 * 4_000, renewal=Renewal.DAILY)
    bills = [await bill(house, 4_000) for _ in range(40)]
    results = await asyncio.gather(*(client.pay_invoice(text) for text in bills))
    assert [r.outcome for r in results].count(Outcome.SETTLED) == 25
    assert {r.code for r in results if r.outcome is Outcome.FAILED} == {"QUOTA_EXCEEDED"}
    budget = await client.call("get_budget", {})
    assert (budget["used_budget"], budget["total_budget"]) == (100_000, 100_000)
    house.clock.turn(86_400)
    assert (await client.pay_invoice(await bill(house, 4_000))).outcome is Outcome.SETTLED


# --- 4: requests that are not right ---


async def test_04_an_expired_request_is_ignored(house: House, raw: Raw) -> None:
    text = await bill(house, 5_000)
    assert await raw.silent(raw.request("pay_invoice", {"invoice": text}, expires_in=-1))
    assert (await raw.ask("pay_invoice", {"invoice": text}, expires_in=60))["error"] is None


async def test_04_a_stranger_is_told_that_he_has_no_wallet_here(house: House, raw: Raw) -> None:
    stranger = SecretKey.generate()
    event = raw.request("get_balance", key=stranger)
    await raw.send(event)
    assert code(await raw.answer(event, key=stranger)) == "UNAUTHORIZED"


async def test_04_a_flood_of_strangers_is_not_answered_for_ever(house: House, raw: Raw) -> None:
    heard = 0
    for _ in range(40):
        event = raw.request("get_balance", key=SecretKey.generate())
        await house.relay.accept(event)
    async with asyncio.timeout(5):
        assert (await raw.ask("get_balance"))["error"] is None
    heard = sum(1 for message in house.relay.heard if message[0] == "EVENT" and message[1]["kind"] == nip47.RESPONSE)
    assert heard <= 12


@pytest.mark.parametrize("content", ["", "garbage", "AgAA", "x" * 70_000, "bm90IGVuY3J5cHRlZA==?iv=AAAA"])
async def test_04_tampered_ciphertext_gets_an_error_and_harms_nothing(house: House, raw: Raw, content: str) -> None:
    good = raw.request("get_balance")
    tags = [*good.tags]
    event = raw.uri.secret.sign(kind=nip47.REQUEST, content=content, tags=tags, created_at=house.clock())
    await house.relay.accept(event)
    assert code(await raw.answer(event)) == "OTHER"
    assert (await raw.ask("get_balance"))["result"] == {"balance": 1_000_000}


async def test_04_an_unknown_scheme_is_refused_in_words(house: House, raw: Raw) -> None:
    assert code(await raw.ask("get_balance", scheme="nip99_v7")) == "UNSUPPORTED_ENCRYPTION"


async def test_04_a_client_that_knows_only_nip04_is_served(house: House, raw: Raw) -> None:
    answer = await raw.ask("get_balance", scheme="nip04", tag=False)
    assert answer["result"] == {"balance": 1_000_000}


async def test_04_an_old_client_pays_and_is_told_in_nip04(house: House, raw: Raw) -> None:
    told = raw.pool.subscribe(Filter(kinds=[nip47.NOTIFICATION_NIP04], authors=[raw.uri.service]))
    await told.eose()
    answer = await raw.ask("pay_invoice", {"invoice": await bill(house, 5_000)}, scheme="nip04", tag=False)
    assert answer["error"] is None
    async with asyncio.timeout(5):
        heard = await anext(told)
    body = raw.channel.open("nip04", heard.content)
    assert (body["notification_type"], body["notification"]["amount"]) == ("payment_sent", 5_000)
    assert heard.first("p") == raw.uri.secret.public


async def test_04_the_info_event_says_what_this_connection_may_do(house: House, raw: Raw) -> None:
    uri = await house.uri("reader", scopes=frozenset({Scope.READ}))
    (info,) = await raw.pool.fetch(Filter(kinds=[nip47.INFO], authors=[uri.service]))
    assert "get_balance" in info.content.split() and "pay_invoice" not in info.content.split()
    assert "notifications" not in info.content.split() and info.first("notifications") is None
    assert info.first("encryption") == "nip44_v2 nip04"


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("pay_invoice", {}, "OTHER"),
        ("pay_invoice", {"invoice": 5}, "OTHER"),
        ("pay_invoice", {"invoice": "lnbc1garbage"}, "OTHER"),
        ("pay_invoice", [1], "OTHER"),
        ("make_invoice", {"amount": -5}, "OTHER"),
        ("make_invoice", {"amount": 0}, "OTHER"),
        ("make_invoice", {"amount": 1.5}, "OTHER"),
        ("make_invoice", {"amount": 2**62}, "OTHER"),
        ("make_invoice", {"amount": 5, "description": "x" * 700}, "OTHER"),
        ("make_invoice", {"amount": 5, "description": "€" * 300}, "OTHER"),
        ("make_invoice", {"amount": 5, "expiry": 0}, "OTHER"),
        ("lookup_invoice", {}, "OTHER"),
        ("lookup_invoice", {"payment_hash": "00" * 32}, "NOT_FOUND"),
        ("lookup_invoice", {"payment_hash": "zz"}, "OTHER"),
        ("settle_hold_invoice", {"preimage": "00" * 32}, "NOT_FOUND"),
        ("cancel_hold_invoice", {"payment_hash": "00" * 32}, "NOT_FOUND"),
        ("pay_keysend", {"amount": 5}, "NOT_IMPLEMENTED"),
        ("multi_pay_invoice", {}, "NOT_IMPLEMENTED"),
        ("no_such_method", {}, "NOT_IMPLEMENTED"),
        ("__init__", {}, "NOT_IMPLEMENTED"),
        (7, {}, "NOT_IMPLEMENTED"),
    ],
)
async def test_04_bad_requests_get_the_right_error(
    house: House, raw: Raw, method: str, params: object, expected: str
) -> None:
    answer = await raw.ask(method, params)
    assert code(answer) == expected
    assert answer["result"] is None and answer["error"]["message"]  # type: ignore[index]
    assert await house.holds("app") == 1_000_000


async def test_04_scopes_are_walls(house: House, raw: Raw) -> None:
    await house.give("x", 10_000)
    reader = await house.client("x", scopes=frozenset({Scope.READ}))
    assert await reader.balance() == 10_000
    for method in ("pay_invoice", "make_invoice", "make_hold_invoice", "create_connection", "books", "transfer"):
        with pytest.raises(NwcError) as refused:
            await reader.call(method, {})
        assert refused.value.code == "RESTRICTED"
    assert set((await reader.call("get_info", {}))["methods"]) == {
        "get_info", "get_balance", "get_budget", "lookup_invoice", "list_transactions"}  # fmt: skip


async def test_04_a_revoked_connection_is_refused_also_after_a_restart(house: House, raw: Raw) -> None:
    await house.service.revoke("app")
    assert code(await raw.ask("get_balance")) == "UNAUTHORIZED"
    await house.restart()
    assert code(await raw.ask("pay_invoice", {"invoice": await bill(house, 1_000)})) == "UNAUTHORIZED"


# --- 5: answers that the relay does not take ---


async def test_05_a_refused_answer_is_sent_again(house: House, raw: Raw) -> None:
    text = await bill(house, 5_000)
    event = raw.request("pay_invoice", {"invoice": text})
    await raw.send(event)
    first = await raw.answer(event)
    await house.service._flush()
    house.relay.refusal = "rate-limited: not so fast"
    other = raw.request("pay_invoice", {"invoice": await bill(house, 6_000)})
    await house.relay.accept(other)
    await asyncio.sleep(0.3)
    assert await house.holds("app") == 989_000, "the money moved, the answer is stuck"
    house.relay.refusal = ""
    second = await raw.answer(other, 10)
    assert first["error"] is second["error"] is None


async def test_05_an_answer_that_never_got_out_is_sent_after_a_restart(house: House, raw: Raw) -> None:
    house.relay.refusal = "rate-limited: not so fast"
    event = raw.request("pay_invoice", {"invoice": await bill(house, 5_000)})
    await house.relay.accept(event)
    await asyncio.sleep(0.3)
    await house.stop()
    house.relay.refusal = ""
    await house.start()
    assert (await raw.answer(event))["error"] is None
    await asyncio.sleep(0.2)
    assert await house.count("requests", "NOT delivered") == 0


# --- 6: the service dies between request and answer ---


async def test_06_a_client_without_an_answer_says_unknown_and_finds_the_truth_later(house: House) -> None:
    await house.give("app", 100_000)
    client = await house.client("app")
    text = await bill(house, 5_000)
    payment_hash = bolt11.decode(text).payment_hash
    await house.stop()
    result = await client.pay_invoice(text, timeout=1)
    assert result.outcome is Outcome.UNKNOWN
    await house.start()
    # The request was for a live service: whether it was carried out is for the look-up to say, and paying the same
    # invoice again can't pay twice.
    again = await client.pay_invoice(text)
    assert again.outcome is Outcome.SETTLED
    assert (await client.lookup_payment(payment_hash)).outcome is Outcome.SETTLED
    assert await house.holds("app") == 95_000


async def test_06_old_requests_are_not_carried_out_when_the_service_comes_back(house: House, raw: Raw) -> None:
    """Hours-old payments that fire when an app opens have cost people money."""
    text = await bill(house, 5_000, expiry=86_400)
    event = raw.request("pay_invoice", {"invoice": text}, age=1_800)
    await house.stop()
    house.relay.events.append(event)  # a relay that stores what it should not
    await house.start()
    await asyncio.sleep(0.5)
    assert await house.count("payments") == 0


# --- 9, the wallet's part: what is never paid ---


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"network": "bitcoin"}, "is for bitcoin"),
        ({"amount_msat": None}, "no amount"),
        ({"created_at": 1_799_990_000}, "expired"),
        ({}, "credits of this node"),
    ],
)
async def test_09_invoices_that_must_not_be_paid(
    house: House, raw: Raw, change: dict[str, object], reason: str
) -> None:
    terms: dict[str, object] = {"network": "regtest", "amount_msat": 5_000, "created_at": house.clock(),
                                "payment_hash": preimage()[1], "description": "x"}  # fmt: skip
    text = bolt11.encode(key=SecretKey.generate(), **(terms | change))  # type: ignore[arg-type]
    answer = await raw.ask("pay_invoice", {"invoice": text})
    assert reason in answer["error"]["message"]  # type: ignore[index]
    assert answer["error"]["certain"] is True  # type: ignore[index]
    assert await house.holds("app") == 1_000_000


async def test_09_an_upper_case_invoice_is_the_same_invoice(house: House, raw: Raw) -> None:
    text = await bill(house, 5_000)
    assert (await raw.ask("pay_invoice", {"invoice": text.upper()}))["error"] is None
    assert (await raw.ask("pay_invoice", {"invoice": "lightning:" + text}))["error"] is None
    assert await house.holds("app") == 995_000


async def test_09_another_amount_than_the_invoice_says_is_refused(house: House, raw: Raw) -> None:
    answer = await raw.ask("pay_invoice", {"invoice": await bill(house, 5_000), "amount": 4_000})
    assert "4000" in answer["error"]["message"]  # type: ignore[index]


async def test_09_a_purpose_is_paid_once(house: House) -> None:
    await house.give("app", 100_000)
    client = await house.client("app")
    first = await client.pay_invoice(await bill(house, 5_000), purpose="job:1:step:2")
    second = await client.pay_invoice(await bill(house, 5_000), purpose="job:1:step:2")
    third = await client.pay_invoice(await bill(house, 5_000), purpose="job:1:step:3")
    assert [r.outcome for r in (first, second, third)] == [Outcome.SETTLED, Outcome.FAILED, Outcome.SETTLED]
    assert await house.holds("app") == 90_000


# --- 16: hold invoices ---


async def test_16_a_hold_is_locked_then_taken_and_everybody_is_told(house: House) -> None:
    await house.give("buyer", 100_000)
    buyer, seller = await house.client("buyer"), await house.client("seller")
    secret, payment_hash = preimage()
    made = await seller.make_hold_invoice(30_000, payment_hash)
    hints = seller.settled()
    hint = asyncio.ensure_future(anext(hints))
    paying = asyncio.create_task(buyer.pay_invoice(made.bolt11, timeout=10))
    assert await asyncio.wait_for(hint, 5) == payment_hash
    held = await seller.lookup_invoice(payment_hash)
    assert held is not None and held.state is InvoiceState.ACCEPTED
    assert (await house.holds("buyer"), await house.holds("transit"), await house.holds("seller")) == (
        70_000,
        30_000,
        0,
    )
    await seller.settle_hold_invoice(secret)
    result = await paying
    assert (result.outcome, result.preimage) == (Outcome.SETTLED, secret)
    assert (await house.holds("transit"), await house.holds("seller")) == (0, 30_000)


async def test_16_a_cancelled_hold_frees_the_payer(house: House) -> None:
    await house.give("buyer", 100_000)
    buyer, seller = await house.client("buyer", budget=30_000), await house.client("seller")
    _, payment_hash = preimage()
    made = await seller.make_hold_invoice(30_000, payment_hash)
    paying = asyncio.create_task(buyer.pay_invoice(made.bolt11, timeout=10))
    await _until_locked(house, 30_000)
    await seller.cancel_hold_invoice(payment_hash)
    result = await paying
    assert result.outcome is Outcome.FAILED
    assert await house.holds("buyer") == 100_000
    assert (await buyer.call("get_budget", {}))["used_budget"] == 0


async def test_16_a_forgotten_hold_goes_back_also_after_a_restart(house: House) -> None:
    await house.give("buyer", 100_000)
    buyer, seller = await house.client("buyer"), await house.client("seller")
    secret, payment_hash = preimage()
    made = await seller.make_hold_invoice(30_000, payment_hash)
    paying = asyncio.create_task(buyer.pay_invoice(made.bolt11, timeout=20))
    await _until_locked(house, 30_000)
    await house.restart()
    house.clock.turn(house.policy.hold_seconds + 1)
    result = await paying
    assert result.outcome is Outcome.FAILED, "the answer to a request from before the restart"
    assert await house.holds("buyer") == 100_000
    with pytest.raises(NwcError):
        await seller.settle_hold_invoice(secret)


async def test_16_a_stranger_can_neither_settle_nor_cancel(house: House) -> None:
    await house.give("buyer", 100_000)
    buyer, seller = await house.client("buyer"), await house.client("seller")
    secret, payment_hash = preimage()
    made = await seller.make_hold_invoice(30_000, payment_hash)
    paying = asyncio.create_task(buyer.pay_invoice(made.bolt11, timeout=10))
    await _until_locked(house, 30_000)
    for work in (buyer.settle_hold_invoice(secret), buyer.cancel_hold_invoice(payment_hash)):
        with pytest.raises(NwcError) as refused:
            await work
        assert refused.value.code == "NOT_FOUND"
    await seller.settle_hold_invoice(secret)
    assert (await paying).outcome is Outcome.SETTLED


async def _until_locked(house: House, msat: int) -> None:
    async with asyncio.timeout(5):
        while await house.holds("transit") != msat:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# --- 20: clocks, and answers that are not for us ---


@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_20_a_client_whose_clock_is_an_hour_off_is_served(house: House, raw: Raw, skew: int) -> None:
    await asyncio.sleep(1.2)  # the service hears live requests by now
    assert (await raw.ask("get_balance", age=skew))["error"] is None


async def test_20_requests_from_another_day_are_ignored(house: House, raw: Raw) -> None:
    assert await raw.silent(raw.request("get_balance", age=90_000))
    assert await raw.silent(raw.request("get_balance", age=-90_000))


async def test_20_answers_of_others_and_to_others_are_ignored(house: House) -> None:
    await house.give("app", 100_000)
    client = await house.client("app")
    impostor = SecretKey.generate()
    forged = 0

    async def forge() -> None:
        nonlocal forged
        while True:
            await asyncio.sleep(0.005)
            for message in list(house.relay.heard):
                if message[0] != "EVENT" or message[1]["kind"] != nip47.REQUEST:
                    continue
                for signer, request in (
                    (impostor, message[1]["id"]),
                    (house.service._lines[client.uri.service].key, "00" * 32),
                ):
                    lie = Channel(signer, client.uri.secret.public).seal("nip44_v2", {"result": {"balance": 5}})
                    forged += 1
                    await house.relay.accept(
                        signer.sign(kind=nip47.RESPONSE, content=lie, created_at=house.clock(),
                                    tags=[("p", client.uri.secret.public), ("e", request)])
                    )  # fmt: skip
            house.relay.heard.clear()

    forging = asyncio.create_task(forge())
    balances = [await client.balance() for _ in range(20)]
    forging.cancel()
    assert forged and set(balances) == {100_000}


# --- 21: a disk that does not write ---


async def test_21_when_the_ledger_cannot_be_written_nothing_is_paid_and_the_client_hears_it(
    house: House, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    text = await bill(house, 5_000)

    async def full(work: object) -> object:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(house.bank.db, "write", full)
    answer = await raw.ask("pay_invoice", {"invoice": text})
    monkeypatch.undo()
    assert code(answer) == "INTERNAL" and answer["error"]["certain"] is True  # type: ignore[index]
    assert await house.count("payments") == 0
    assert (await raw.ask("pay_invoice", {"invoice": text}))["error"] is None


# --- 22: floods ---


async def test_22_unpaid_invoices_are_limited_for_each_connection(tmp_path: Path) -> None:
    policy = Policy(start_credits_msat=10**9, max_open_invoices=20)
    async with House(tmp_path, policy=policy) as house:
        greedy, modest = await house.client("greedy"), await house.client("modest")
        for _ in range(20):
            await greedy.make_invoice(1_000, expiry=60)
        with pytest.raises(NwcError) as refused:
            await greedy.make_invoice(1_000)
        assert refused.value.code == "RATE_LIMITED"
        assert await modest.make_invoice(1_000)
        house.clock.turn(61)
        assert await greedy.make_invoice(1_000)


async def test_22_a_connection_that_asks_too_fast_is_told_so(tmp_path: Path) -> None:
    async with House(tmp_path, rate=5) as house:
        await house.give("app", 10_000)
        client = await house.client("app")
        results = await asyncio.gather(*(client.balance() for _ in range(40)), return_exceptions=True)
        codes = {r.code for r in results if isinstance(r, NwcError)}
        assert codes == {"RATE_LIMITED"} and 10_000 in results


# --- the plain good case, through every face ---


async def test_an_invoice_is_made_paid_looked_up_listed_and_told(house: House) -> None:
    await house.give("buyer", 100_000)
    buyer, seller = await house.client("buyer"), await house.client("seller")
    hints = seller.settled()
    hint = asyncio.ensure_future(anext(hints))
    await asyncio.sleep(0)
    made = await seller.make_invoice(21_000, description="nip90:abc", expiry=600)
    before = await seller.lookup_invoice(made.payment_hash)
    assert before is not None and before.state is InvoiceState.OPEN and before.preimage is None
    result = await buyer.pay_invoice(made.bolt11)
    assert result.outcome is Outcome.SETTLED and result.fee_msat == 0
    assert await asyncio.wait_for(hint, 5) == made.payment_hash
    after = await seller.lookup_invoice(made.payment_hash)
    assert after is not None and after.state is InvoiceState.SETTLED and after.preimage == result.preimage
    assert (await buyer.balance(), await seller.balance()) == (79_000, 21_000)
    assert [i.payment_hash for i in await seller.list_settled(house.clock() - 10)] == [made.payment_hash]
    sent = (await buyer.call("list_transactions", {}))["transactions"]
    assert [(t["type"], t["state"], t["amount"]) for t in sent] == [("outgoing", "settled", 21_000)]
    assert (await seller.lookup_payment(made.payment_hash)).outcome is Outcome.UNKNOWN


async def test_metadata_survives_and_too_much_of_it_is_dropped(house: House, raw: Raw) -> None:
    small = await raw.ask("make_invoice", {"amount": 5_000, "metadata": {"comment": "hello"}})
    large = await raw.ask("make_invoice", {"amount": 5_000, "metadata": {"comment": "x" * 5_000}})
    assert small["result"]["metadata"] == {"comment": "hello"}  # type: ignore[index]
    assert "metadata" not in large["result"]  # type: ignore[operator]


async def test_a_page_of_transactions_fits_into_one_event(house: House, raw: Raw) -> None:
    for number in range(60):
        await raw.ask("make_invoice", {"amount": 5_000 + number, "metadata": {"comment": "x" * 3_000}})
    page = (await raw.ask("list_transactions", {"unpaid": True, "limit": 100}))["result"]["transactions"]  # type: ignore[index]
    assert 5 < len(page) < 50 and len(orjson.dumps(page)) < 48_000
    assert page[0]["created_at"] >= page[-1]["created_at"]
    second = await raw.ask("list_transactions", {"unpaid": True, "limit": 5, "offset": len(page)})
    hashes = {t["payment_hash"] for t in page}
    assert not hashes & {t["payment_hash"] for t in second["result"]["transactions"]}  # type: ignore[index]


async def test_the_owner_manages_connections_over_the_same_protocol(house: House) -> None:
    owner = await house.client("boss", account="owner")
    made = await owner.call("create_connection", {"name": "phone", "scopes": ["pay", "read"], "budget_msat": 5_000,
                                                  "renewal": "weekly"})  # fmt: skip
    async with NwcWallet(made["uri"], clock=house.clock) as phone:
        assert await phone.balance() == await owner.balance()
        assert (await phone.pay_invoice(await bill(house, 6_000))).code == "QUOTA_EXCEEDED"
        assert (await phone.pay_invoice(await bill(house, 5_000))).outcome is Outcome.SETTLED
        listed = (await owner.call("list_connections", {}))["connections"]
        row = next(row for row in listed if row["name"] == "phone")
        assert (row["spent_msat"], row["budget_msat"], row["scopes"]) == (5_000, 5_000, ["pay", "read"])
        with pytest.raises(NwcError, match="phone"):
            await owner.call("create_connection", {"name": "phone"})
        await owner.call("revoke_connection", {"name": "phone"})
        with pytest.raises(NwcError) as refused:
            await phone.balance()
        assert refused.value.code == "UNAUTHORIZED"
    await owner.call("transfer", {"source": "owner", "target": "fund", "amount": 7_000, "purpose": "a loan"})
    with pytest.raises(NwcError, match="moved already"):
        await owner.call("transfer", {"source": "owner", "target": "fund", "amount": 7_000, "purpose": "a loan"})
    with pytest.raises(NwcError, match="not moved by hand"):
        await owner.call("transfer", {"source": "issuance", "target": "fund", "amount": 7_000, "purpose": "x"})
    assert await house.holds("fund") == 7_000
    assert (await owner.call("books", {}))["sound"] is True


async def test_no_secret_is_in_a_log_or_a_repr(house: House, raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await raw.ask("pay_invoice", {"invoice": await bill(house, 5_000)})
    await raw.ask("pay_invoice", {"invoice": "junk"})
    secret = raw.uri.secret.hex
    service = house.service._lines[raw.uri.service]
    shown = caplog.text + repr(raw.uri) + repr(service) + repr(house.service) + json.dumps(str(raw.uri))
    assert secret not in shown and service.key.hex not in shown
    assert (house.folder / "ledger.db").stat().st_mode & 0o077 == 0
