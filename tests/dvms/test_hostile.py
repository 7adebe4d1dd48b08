"""Sloppy and hostile requests through relay and worker: each is answered or ignored, the next customer is served."""

import pytest

from dvms.jobs import Usage
from dvms.policy import (
    Context,
    Reject,
    bid_reaches_price,
    for_us,
    judge,
    not_blocked,
    proof_of_work,
    timely,
    web_of_trust,
    within_limits,
)
from market.job import JobRequest, JobResult
from nostr import nip13, nip44
from nostr.key import SecretKey
from tests.dvms.conftest import Purse, a_worker

IDLE = Usage(0, 0, 0, 0, 0, 0)


async def word_on(customer, worker, kind=5050, tags=(), content="", **more):
    event = customer.key.sign(kind=kind, content=content, tags=[["p", worker], *tags])
    ok = next(iter((await customer.pool.publish(event)).values()))
    assert ok.accepted, ok
    return (await customer.hears(event, **more))[-1]


SLOPPY = {
    "two elements (Coracle)": [["i", "hello"]],
    "type prompt (registry)": [["i", "hello", "prompt"]],
    "relay slot left out": [["i", "hello", "text", "marker"]],
    "input by another name": [["input", "text", "hello"]],
    "parameters with dashes": [["i", "hello", "text"], ["param", "MARKS", "0"], ["param", "top-k", "50"]],
    "relays without a name": [["i", "hello", "text"], ["wss://", "wss://relay.example"]],
    "malformed relays": [["i", "hello", "text"], ["relays", "not a url", "http://x", "ws://[::1", "wss://:99999"]],
    "bid with underscores": [["i", "hello", "text"], ["bid", "100_000"]],
    "bid as a float": [["i", "hello", "text"], ["bid", "1e5"]],
    "empty tags": [["i", "hello", "text"], [], ["param"], ["i"], ["relays"], ["bid"], ["output"], ["expiration"]],
    "encrypted without meaning it": [["i", "hello", "text"], ["t", "encrypted"]],
    "unknown everything": [["i", "hello", "text"], ["wat", "?"], ["cashu", "cashuAbc"], ["param", "model", "gpt"]],
}


async def test_sloppy_requests_are_understood(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21) as running:
        for name, tags in SLOPPY.items():
            word = await word_on(customer, running.key.public, tags=tags)
            assert isinstance(word, JobResult) and word.content == "hello", (name, word)
        word = await word_on(customer, running.key.public, content="hello")
        assert isinstance(word, JobResult) and word.content == "hello"


async def test_hostile_requests_get_a_reason_and_do_no_harm(tmp_path, relay, customer):
    async with a_worker("Echo", tmp_path, relay, per_hour=100, open_per_key=100) as running:
        worker = running.key.public
        garbage = nip44.encrypt(SecretKey.generate(), worker, "[]")
        hostile = [
            {"tags": [["i", "x", "text"]] * 65},
            {"tags": [["param", f"p{n}", "x"] for n in range(200)]},
            {"tags": [["i", "file:///etc/passwd", "url"]]},
            {"tags": [["i", "http://localhost/admin", "url"]]},
            {"tags": [["i", "http://127.0.0.1@x.example/", "url"]]},
            {"tags": [["i", "ffff", "job"]]},
            {"tags": [["encrypted"]], "content": "garbage"},
            {"tags": [["encrypted"]], "content": "A" * 20 + "?iv=" + "B" * 20},
            {"tags": [["encrypted"]], "content": garbage},
            {"tags": [["i", "x", "text"], ["param", "marks", "-1"]]},
            {"tags": [["i", "x", "text"], ["param", "marks", "9" * 5000]]},
            {"tags": [["i", "broken", "text"]]},
        ]
        for request in hostile:
            word = await word_on(customer, worker, **request)
            assert word.status == "error" and word.message, request
            assert len(word.message) < 600 and "Traceback" not in word.message and str(tmp_path) not in word.message
        assert (await customer.buys(5050, "still here", to=worker)).content == "still here"


def context(**more):
    given = {"now": 1000, "own_key": "aa" * 32, "price_msat": 5000, "usage": IDLE, **more}
    return Context(**given)


def request(*tags, by=None, at=1000):
    return JobRequest.parse((by or SecretKey.generate()).sign(kind=5050, tags=tags, created_at=at))


US, OTHER = ["p", "aa" * 32], ["p", "bb" * 32]
SILENT = "silent"


@pytest.mark.parametrize(
    ("policy", "asked", "facts", "verdict"),
    [
        (for_us(open_jobs=True), [US], {}, None),
        (for_us(open_jobs=True), [US, OTHER], {}, None),
        (for_us(open_jobs=True), [OTHER], {}, SILENT),
        (for_us(open_jobs=True), [], {}, None),
        (for_us(open_jobs=False), [], {}, SILENT),
        (timely(100), [US], {"now": 1100}, None),
        (timely(100), [US], {"now": 1101}, SILENT),
        (timely(100), [US, ["expiration", "1000"]], {}, SILENT),
        (timely(100), [US, ["expiration", "1001"]], {}, None),
        (timely(100), [US], {"now": 99}, "future"),
        (bid_reaches_price(), [US], {}, None),
        (bid_reaches_price(), [], {}, SILENT),
        (bid_reaches_price(), [["bid", "4999"]], {}, SILENT),
        (bid_reaches_price(), [["bid", "5000"]], {}, None),
        (bid_reaches_price(), [], {"price_msat": 0}, None),
        (within_limits(open_per_key=2, per_hour=9, cancelled_per_hour=9, queue_limit=9, bill_limit=5), [US],
         {"usage": Usage(2, 0, 0, 0, 0, 2)}, "unfinished"),
        (within_limits(open_per_key=2, per_hour=9, cancelled_per_hour=9, queue_limit=9, bill_limit=5), [US],
         {"usage": Usage(0, 9, 0, 0, 0, 0)}, "an hour"),
        (within_limits(open_per_key=2, per_hour=9, cancelled_per_hour=1, queue_limit=9, bill_limit=5), [US],
         {"usage": Usage(0, 1, 1, 0, 0, 0)}, "cancelled"),
        (within_limits(open_per_key=2, per_hour=9, cancelled_per_hour=1, queue_limit=9, bill_limit=5), [US],
         {"usage": Usage(0, 0, 0, 0, 0, 9)}, "queue is full"),
        (within_limits(open_per_key=2, per_hour=9, cancelled_per_hour=1, queue_limit=9, bill_limit=5), [],
         {"usage": Usage(0, 0, 0, 0, 0, 9)}, SILENT),
        (within_limits(open_per_key=2, per_hour=9, cancelled_per_hour=1, queue_limit=9, bill_limit=5), [US],
         {"usage": Usage(0, 0, 0, 0, 0, 0, unpaid_all=5)}, "unpaid"),
        (within_limits(open_per_key=2, per_hour=9, cancelled_per_hour=1, queue_limit=9, bill_limit=5), [US],
         {"usage": Usage(0, 0, 0, 0, 0, 0, unpaid_all=5, has_paid=True)}, None),
        (proof_of_work(30), [US], {}, None),
        (proof_of_work(30), [US], {"price_msat": 0}, "proof of work"),
        (proof_of_work(30), [["bid", "9999"]], {}, "proof of work"),
        (web_of_trust("off"), [US], {}, None),
        (web_of_trust("all"), [US], {}, "known"),
        (web_of_trust("free"), [US], {}, None),
        (web_of_trust("free"), [US], {"price_msat": 0}, "known"),
        (web_of_trust("open"), [], {}, SILENT),
    ],
)  # fmt: skip
def test_policies(policy, asked, facts, verdict):
    reject = policy(context(**facts), request(*asked))
    if verdict is None:
        assert reject is None
    elif verdict == SILENT:
        assert reject is not None and reject.silent
    else:
        assert reject is not None and verdict in reject.reason


def test_policies_about_keys_and_work():
    key = SecretKey.generate()
    assert not_blocked({key.public})(context(), request(US, by=key)).silent
    assert not_blocked(set())(context(own_key=key.public), request(US, by=key)).silent, "our own events are not jobs"
    assert web_of_trust("all")(context(trusted={key.public}), request(US, by=key)) is None
    mined = nip13.mine(key, 8, kind=5050, tags=[US], created_at=1000)
    assert proof_of_work(8)(context(price_msat=0), JobRequest.parse(mined)) is None


def test_the_first_objection_counts():
    first, second = Reject("first"), Reject("second")
    assert judge([lambda c, r: None, lambda c, r: first, lambda c, r: second], context(), request(US)) is first
