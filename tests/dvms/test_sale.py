"""A sale, seen by its customer, through a real relay."""

import asyncio

import pytest
from typer.testing import CliRunner

from dvms.news import JobReport
from market.fetch import fetch
from market.job import JobInput, JobResult
from market.review import Bought, build_review
from market.sealed import fetch_media
from node.commands.dvm import app
from nostr.filter import Filter
from nostr.key import SecretKey
from tests.dvms.conftest import Customer, Purse, a_relay, a_worker, until


async def test_free_job_is_answered(tmp_path, relay, customer):
    async with a_worker("Echo", tmp_path, relay) as running:
        request = await customer.send(5050, "hello", to=running.key.public, params={"marks": "2"})
        said = await customer.hears(request, until=("success",))
        result = next(word for word in said if isinstance(word, JobResult))
        assert result.content == "hello!!" and result.provider == running.key.public
        assert result.fact("engine") == "echo" and result.fact("licence") == "MIT" and result.fact("seed")
        assert not any(word.amount_msat for word in said)


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("encrypt", [None, "nip44", "nip04"])
async def test_paid_job_is_billed_once_paid_and_delivered(tmp_path, relay, customer, bank, hold, encrypt):
    purse = Purse(bank, hold=hold, balance_msat=0)
    async with a_worker("Echo", tmp_path, relay, wallet=purse, price=21) as running:
        secret = {"encrypt_to": running.key.public, "scheme": encrypt} if encrypt else {"to": running.key.public}
        request = await customer.send(5050, "hello", **secret)
        said = await customer.hears(request, until=("success",))
        bills = [word for word in said if getattr(word, "status", "") == "payment-required"]
        assert [bill.amount_msat for bill in bills] == [21000]
        assert next(word for word in said if isinstance(word, JobResult)).content == "hello"
        assert purse.msat == 21000 and len(bank.paid) == 1
        for word in said:
            assert bool(word.event.tagged("encrypted")) == bool(encrypt)


@pytest.mark.parametrize("can_open", [True, False])
async def test_files_of_an_encrypted_job_are_sealed_for_who_can_open_them(
    tmp_path, relay, customer, monkeypatch, can_open
):
    if not can_open:  # a client of somebody else: it never says that it can
        monkeypatch.setattr("market.job.JobRequest.wants_seal", False)
    async with a_worker("Mill", tmp_path, relay) as running:
        request = await customer.send(5100, "picture", encrypt_to=running.key.public)
        said = await customer.hears(request)
        media = said[-1].urls[0]
        lies = await fetch(media.url, allow_loopback_hosts=[media.url], into=tmp_path)
        assert lies.sha256 == media.sha256 and media.sha256 in media.url and lies.size == media.size
        assert lies.path.read_bytes().startswith(b"\x89PNG") is not can_open
        got = await fetch_media(media, allow_loopback_hosts=[media.url], into=tmp_path / "bought")
        assert (got.mime, got.sha256, media.mime, media.dim) == ("image/png", media.original, "image/png", (32, 16))
        assert bool(media.seal) is can_open and got.path.read_bytes().startswith(b"\x89PNG")
        assert [path.name for path in (tmp_path / "bought").iterdir()] == [got.path.name]


async def test_no_work_before_the_wallet_says_so(tmp_path, relay, customer, bank):
    async with a_worker("Echo", tmp_path, relay, wallet=Purse(bank), price=21) as running:
        request = await customer.send(5050, "hello", to=running.key.public)
        await customer.hears(request, until=("payment-required",), pay=False)
        words = await customer.everything_about(request)
        assert [word.status for word in words] == ["payment-required"]


async def test_heavy_job_runs_in_a_child_and_delivers_a_file(tmp_path, relay, customer, bank):
    async with a_worker("Mill", tmp_path, relay, wallet=Purse(bank), price=5) as running:
        request = await customer.send(5100, "picture", to=running.key.public, params={"sleep": "0.2"})
        said = await customer.hears(request, until=("success",))
        result = next(word for word in said if isinstance(word, JobResult))
        media = result.urls[0]
        assert result.content == media.url and media.mime == "image/png" and media.dim == (32, 16)
        assert media.blurhash and media.size and media.alt == "a red card"
        assert media.url.startswith(relay.replace("ws", "http")) and media.sha256 in media.url
        assert "processing" in [getattr(word, "status", "") for word in said]
        preview = next(
            word for word in await customer.everything_about(request) if getattr(word, "status", "") == "partial"
        )
        assert preview.content.startswith("http") and preview.event.tagged("imeta")


async def test_a_chain_waits_for_the_other_job(tmp_path, relay, customer):
    async with a_worker("Echo", tmp_path, relay) as running:
        first = await customer.send(5050, "first", to=running.key.public, params={"sleep": "0.5"})
        second = await customer.send(5050, to=running.key.public, inputs=[JobInput(first.id, "job")])
        said = await customer.hears(second)
        assert said[-1].content == "first"
        third = await customer.send(5050, to=running.key.public, inputs=[JobInput(said[-1].event.id, "job")])
        assert (await customer.hears(third))[-1].content == "first"
        await asyncio.sleep(0)


async def test_answers_reach_the_inbox_relays_of_their_customer(tmp_path, relay, customer):
    async with a_relay(tmp_path / "inbox") as inbox, a_worker("Echo", tmp_path, relay, private_relays=True) as running:
        await customer.pool.publish(
            customer.key.sign(kind=10002, tags=[["r", inbox, "read"], ["r", "ws://x.example", "write"]])
        )
        request = await customer.send(5050, "hello", to=running.key.public)
        assert (await customer.hears(request, relays=[inbox]))[-1].content == "hello"


async def test_only_trusted_customers_and_those_they_follow(tmp_path, relay, customer):
    owner = SecretKey.generate()
    await customer.pool.publish(owner.sign(kind=3, tags=[["p", customer.key.public]]))
    gate = {"trusted": [owner.public], "trusted_only": "all"}
    async with a_worker("Echo", tmp_path, relay, **gate) as running:
        await until(lambda: customer.key.public in running.worker.trusted)
        assert (await customer.buys(5050, "friend", to=running.key.public)).content == "friend"
        word = await Customer(customer.pool).buys(5050, "stranger", to=running.key.public)
        assert word.status == "error" and "known to this node" in word.message


def test_progress_is_thinned_out_to_what_is_worth_an_event():
    told, now = [], [0.0]

    class Room:
        def tell(self, request, relays, message, *, fraction=None):
            told.append((now[0], fraction, message))

    report = JobReport(Room(), None, (), now=lambda: now[0])
    for tick in range(100):
        now[0] = tick / 10
        report.progress(tick / 1000, "drawing")
    assert told == [(3.0, 0.03, "drawing")]
    now[0] = 9.95
    report.progress(0.2, "drawing")
    report.progress(0.9, "writing")
    now[0] = 13.0
    report.progress(0.91, "writing")
    assert [words for _, _, words in told] == ["drawing", "drawing", "writing"]


async def test_a_seller_answers_a_review_on_the_command_line(tmp_path, relay, customer):
    async with a_worker("Echo", tmp_path, relay) as running:
        request = await customer.send(5050, "hello", to=running.key.public)
        await customer.hears(request)
        bought = Bought(request.id, running.key.public, 5050, 2, "not what I asked for")
        review, _ = build_review(customer.key, bought, created_at=request.created_at)
        await customer.pool.publish(review)
        given = ["answer", review.id, "we do it again", "--offer", "redo", "--data", str(tmp_path), "--relay", relay]
        done = await asyncio.to_thread(CliRunner().invoke, app, given)
        assert done.exit_code == 0, done.output
        [answer] = await customer.pool.fetch(Filter(kinds=[31117], authors=[running.key.public]))
        assert answer.content == "we do it again" and answer.first("offer") == "redo"
        assert ("e", review.id, "", "review") in answer.tags and answer.first("role") == "provider"
