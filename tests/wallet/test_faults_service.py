"""Faults and abuse at the front door of the wallet service. The numbers are those of the project's list of 23 cases."""

import asyncio
from pathlib import Path

import pytest

from nostr.filter import Filter
from nostr.key import SecretKey
from tests.wallet.house import House, preimage
from tests.wallet.raw import Raw, bill, code
from wallet import bolt11, nip47
from wallet.connections import Renewal, Scope
from wallet.interface import Outcome
from wallet.nip47 import Channel, NwcError
from wallet.sending import Policy

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
        ("make_invoice", {"amount": 2**63}, "OTHER"),
        ("make_invoice", {"amount": True}, "OTHER"),
        ("make_invoice", {"amount": "5"}, "OTHER"),
        ("list_transactions", {"from": 2**63}, "OTHER"),
        ("list_transactions", {"until": -1}, "OTHER"),
        ("list_transactions", {"offset": 2**63}, "OTHER"),
        ("list_transactions", {"type": "sideways"}, "OTHER"),
        ("create_connection", {"name": "x", "budget_msat": 2**63}, "OTHER"),
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


async def test_09_a_fee_limit_beyond_all_money_is_no_way_around_the_balance(house: House, raw: Raw) -> None:
    terms = {"invoice": await bill(house, 1_000), "metadata": {"max_fee_msat": 2**64 - 1}}
    assert (await raw.ask("pay_invoice", terms))["error"] is None  # inside the box: no fee, no reserve
    foreign = bolt11.encode(
        key=SecretKey.generate(), network="regtest", amount_msat=1_000, payment_hash="cd" * 32,
        created_at=house.clock(), description="elsewhere",
    )  # fmt: skip
    assert code(await raw.ask("pay_invoice", terms | {"invoice": foreign})) in ("RESTRICTED", "INSUFFICIENT_BALANCE")
    long = {"invoice": await bill(house, 1_000), "metadata": {"purpose": "x" * 501}}
    assert code(await raw.ask("pay_invoice", long)) == "OTHER"
    assert await house.holds("app") == 999_000


async def test_09_a_purpose_is_paid_once(house: House) -> None:
    await house.give("app", 100_000)
    client = await house.client("app")
    first = await client.pay_invoice(await bill(house, 5_000), purpose="job:1:step:2")
    second = await client.pay_invoice(await bill(house, 5_000), purpose="job:1:step:2")
    third = await client.pay_invoice(await bill(house, 5_000), purpose="job:1:step:3")
    assert [r.outcome for r in (first, second, third)] == [Outcome.SETTLED, Outcome.FAILED, Outcome.SETTLED]
    assert await house.holds("app") == 90_000


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
