"""Tasks for people: the inbox, its leases and forms, and the whole way over relay and wallet."""

import asyncio
import time

import orjson
import pytest
from typer.testing import CliRunner

from dvms.human.forms import BadAnswer, read_answer
from dvms.human.inbox import Inbox, InboxError, Task, TaskState
from dvms.human.service import HumanService
from dvms.registry import Found, find
from dvms.serve import opened
from dvms.service import Input, Job, Progress, Refused
from dvms.settings import SellerSettings
from market.job import JobInput, JobResult
from node.commands.dvm import app
from node.commands.inbox import app as inbox
from nostr.filter import Filter
from tests.dvms.conftest import Purse, until


def a_task(clock, number=1, **more):
    params = more.pop("params", {})
    inputs = ({"type": "text", "text": "Is it watchable?", "url": None, "path": None, "mime": None, "marker": ""},) * 3
    return Task(f"{number:064x}", 5820, "look", inputs, params, 5000, TaskState.OPEN, clock(), clock() + 1000, **more)


@pytest.fixture
async def box(tmp_path, clock):
    opened_box = await Inbox.open(tmp_path, clock)
    yield opened_box
    await opened_box.close()


async def test_a_claim_is_a_lease(box, clock):
    task = await box.put(a_task(clock))
    await box.claim(task.id[:64], "ann", 100)
    with pytest.raises(InboxError, match="somebody else"):
        await box.claim(task.id, "ben")
    with pytest.raises(InboxError, match="somebody else"):
        await box.deliver(task.id, "ben", text="mine")
    clock.turn(101)
    assert (await box.get(task.id)).state is TaskState.OPEN
    await box.claim(task.id, "ben")
    with pytest.raises(InboxError):
        await box.deliver(task.id, "ann", text="late")
    await box.release(task.id, "ben")
    assert [each.id for each in await box.tasks()] == [task.id]


async def test_delivery_ends_a_task_once(box, clock):
    task = await box.put(a_task(clock))
    done = await box.deliver(task.id, "ann", text=" fine ")
    assert (done.state, done.content) == (TaskState.DELIVERED, "fine")
    with pytest.raises(InboxError, match="delivered already"):
        await box.deliver(task.id, "ann", text="again")
    assert await box.tasks() == []
    assert (await box.put(a_task(clock))).state is TaskState.DELIVERED


async def test_withdrawn_and_overdue_tasks_take_no_delivery(box, clock):
    gone, late = await box.put(a_task(clock)), await box.put(a_task(clock, 2))
    await box.withdraw(gone.id)
    with pytest.raises(InboxError, match="withdrawn"):
        await box.claim(gone.id, "ann")
    clock.turn(1001)
    with pytest.raises(InboxError, match="over"):
        await box.deliver(late.id, "ann", text="x")


async def test_files_must_be_of_a_kind_the_customer_takes(box, clock, tmp_path):
    task = await box.put(a_task(clock, params={"accept": "image/*"}))
    words, picture = tmp_path / "a.png", tmp_path / "b.bin"
    words.write_text("only the name is a picture")
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    with pytest.raises(InboxError, match="image"):
        await box.deliver(task.id, "ann", files=[words])
    done = await box.deliver(task.id, "ann", files=[picture])
    assert [item["mime"] for item in done.files] == ["image/png"]


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("yes-no", "Yes, it moves nicely", {"answer": True, "why": "it moves nicely"}),
        ("yes-no", "no", {"answer": False}),
        ("rank", "2 1 3", {"order": [2, 1, 3]}),
        ("rank", "3,1,2 the third is sharp", {"order": [3, 1, 2], "why": "the third is sharp"}),
        ("score", "7 a little dark", {"score": 7, "of": 10, "why": "a little dark"}),
        ("score", "10/10", {"score": 10, "of": 10}),
    ],
)
def test_forms(form, text, expected):
    assert orjson.loads(read_answer(form, text, choices=3)) == {"form": form, **expected}


@pytest.mark.parametrize(("form", "text"), [("yes-no", "maybe"), ("rank", "1 2"), ("rank", "1 1 2"), ("rank", "nice"),
                                            ("score", "11"), ("score", "good"), ("stars", "5")])  # fmt: skip
def test_answers_that_do_not_fit(form, text):
    with pytest.raises(BadAnswer):
        read_answer(form, text, choices=3)


def cli(command, *args):
    result = CliRunner().invoke(command, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


async def test_a_person_is_hired_over_relay_and_wallet(tmp_path, relay, customer, bank):
    data = ["--data", str(tmp_path)]
    purse = Purse(bank, hold=False, balance_msat=0)
    found = Found(HumanService, "dvms.human.service:HumanService", "human")

    def worker():
        return opened(
            found, SellerSettings(price=500), {"skills": ["judge"]}, data=tmp_path, relays=[relay], wallet=purse
        )

    async with worker() as running:
        word = await customer.buys(5820, "anybody?", to=running.key.public)
        assert word.status == "error" and "nobody is here" in word.message
        await asyncio.to_thread(cli, inbox, "here", *data)
        await until(lambda: running.worker.parts.service.available(), seconds=5)
        request = await customer.send(
            5820, "Is it watchable?", to=running.key.public, params={"form": "yes-no", "title": "Judge a film"}
        )
        await customer.hears(request, until=("payment-required",))
        listed = await until(lambda: asyncio.to_thread(_listed, data))
        assert "Judge a film" in listed and "500 sat" in listed
        await asyncio.to_thread(cli, inbox, "claim", request.id[:8], *data)
        lease = await until(lambda: _claim(customer, request))
        assert 3500 < int(lease) - time.time() <= 3600
        await asyncio.to_thread(cli, inbox, "release", request.id[:8], *data)
        await until(lambda: _claim(customer, request, "0"))
    async with worker():
        await asyncio.to_thread(cli, inbox, "deliver", request.id[:8], "yes it is", *data)
        said = await customer.hears(request, until=("success",))
        result = next(word for word in said if isinstance(word, JobResult))
        assert orjson.loads(result.content) == {"form": "yes-no", "answer": True, "why": "it is"}
        assert result.fact("by") == "human" and len(bank.paid) == 1 and purse.msat == 500_000


async def _claim(customer, request, wanted=None):
    """What was said of the task's claim, once it is this."""
    said = [
        value for word in await customer.everything_about(request, settle=0) for value in word.event.values("claim")
    ]
    return next((value for value in said if wanted in (None, value)), None)


async def test_a_person_sees_who_asks_and_reports_what_nobody_should_do(tmp_path, relay, customer, bank):
    data = ["--data", str(tmp_path)]
    box = await Inbox.open(tmp_path)
    await box.present(int(time.time()) + 600)
    async with opened(
        Found(HumanService, "dvms.human.service:HumanService", "human"), SellerSettings(price=5), {}, data=tmp_path,
        relays=[relay], wallet=Purse(bank, hold=False),
    ) as running:  # fmt: skip
        to = running.key.public
        unpaid = await customer.send(5820, "later", to=to)
        await customer.hears(unpaid, until=("payment-required",), pay=False)
        request = await customer.send(5820, "watch this", to=to, params={"content_warning": "gore"})
        await customer.hears(request, until=("payment-required",))
        task = (await until(lambda: _open_tasks(box)))[0]
        assert "warned of: gore" in await asyncio.to_thread(cli, inbox, "list", *data)
        shown = await asyncio.to_thread(cli, inbox, "show", task.id[:8], *data)
        assert "warns of: gore" in shown and "paid 1 of 2 bills here" in shown
        await asyncio.to_thread(cli, inbox, "report", task.id[:8], "illegal", "look", *data, "--relay", relay)
        assert "declined: illegal" in (await customer.hears(request))[-1].message
        [report] = await customer.pool.fetch(Filter(kinds=[1984], authors=[to]))
        assert report.tags == (("e", request.id, "illegal"), ("p", customer.key.public, "illegal"))
    await box.close()


def _listed(data):
    text = cli(inbox, "list", *data)
    return text if "nothing" not in text else ""


async def test_a_cancelled_task_leaves_the_inbox_and_is_paid_back(tmp_path, relay, customer, bank, clock):
    found = Found(HumanService, "dvms.human.service:HumanService", "human")
    box = await Inbox.open(tmp_path)
    await box.present(int(time.time()) + 600)
    before = customer.wallet.msat
    async with opened(
        found, SellerSettings(price=5), {}, data=tmp_path, relays=[relay], wallet=Purse(bank, hold=True)
    ) as running:
        request = await customer.send(5820, to=running.key.public, inputs=[JobInput("draw me", "text")])
        await customer.hears(request, until=("payment-required",))
        await until(lambda: _open_tasks(box))
        await customer.cancels(request)
        assert (await customer.hears(request))[-1].status == "error"
        await until(lambda: _no_tasks(box))
        assert customer.wallet.msat <= before and not [i for _, i, p in bank.invoices.values() if i.settled_at]
    await box.close()


async def _open_tasks(box):
    return await box.tasks()


async def _no_tasks(box):
    return not await box.tasks()


def test_new_writes_a_service_that_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "wrote loud_one.py" in cli(app, "new", "loud_one")
    found = find("./loud_one.py")
    service = found.service()
    assert found.name == "loud_one" and len((tmp_path / "loud_one.py").read_text().splitlines()) < 35
    job = Job("ab" * 32, 5050, (Input("text", text="hi"),), service.Params(marks=2), tmp_path)
    service.check(job)
    assert service.run(job, Progress()).content == "HI!!"
    with pytest.raises(Refused):
        service.check(Job("ab" * 32, 5050, (Input("text", text="x" * 1001),), service.Params(), tmp_path))
