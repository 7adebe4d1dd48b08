"""The parts of the page without a browser: shelf, drawings, steps of a run, the operator's bench."""

import hashlib
import json
import signal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from market.announcement import Announcement
from market.directory import Directory
from market.kinds import JOB_KINDS
from market.reputation import Score, newcomer
from node.page import Bench
from nostr.event import Event
from nostr.key import SecretKey
from nostr.pool import Pool
from orchestrator.recipe import Recipe
from tests.fakes import FakeClock
from web.art import pattern, sparkline
from web.buyers import Habits, habits
from web.graph import HEIGHT, WIDTH, layout, small, svg
from web.render import balance
from web.shelf import Shelf, excerpt
from web.store import PageStore
from web.why import reasons
from web.workshop import Complaint

ROOT = Path(__file__).parents[2]
SELLER, BUYER = SecretKey.generate(), SecretKey.generate()


def shelf(clock: FakeClock) -> Shelf:
    made = Shelf(newcomer, clock)
    made.take(offer(clock, "A painter"))
    return made


def offer(clock: FakeClock, name: str, d: str = "p") -> Event:
    words = json.dumps({"name": name, "amount": "21"})
    event = SELLER.sign(kind=31990, content=words, tags=[["d", d], ["k", "5100"]], created_at=clock())
    assert Announcement.parse(event).kinds == (5100,)
    return event


def work(clock: FakeClock, msat: int, *, seconds: int = 7, **tags: str) -> Event:
    asked = BUYER.sign(kind=5100, tags=[["i", "a fox", "text"]], created_at=clock() - seconds)
    given = [["e", asked.id], ["p", BUYER.public], ["request", asked.to_json().decode()], ["amount", str(msat)]]
    given += [[name, value] for name, value in tags.items()]
    return SELLER.sign(kind=6100, content="https://example.org/a.png", tags=given, created_at=clock())


def test_a_service_knows_its_works_times_and_bills(clock: FakeClock) -> None:
    there = shelf(clock)
    for price in (21_000, 25_000):
        clock.turn(10)
        there.take(work(clock, price))
    (service,) = there.services()
    assert [msat for _, msat in there.prices(service)] == [21_000, 25_000]
    assert service.seconds == 7 and len(there.works(service)) == 2
    assert service.life == "live"


def test_nobody_else_writes_a_sellers_bills(clock: FakeClock) -> None:
    there = shelf(clock)
    tags = [["e", "ab" * 32], ["p", SELLER.public], ["amount", "1"]]
    there.take(BUYER.sign(kind=6100, content="https://example.org/a.png", tags=tags, created_at=clock()))
    assert there.prices(there.services()[0]) == []


def test_a_withdrawn_offer_leaves_the_shelf_and_a_new_one_returns(clock: FakeClock) -> None:
    there = shelf(clock)
    address = f"31990:{SELLER.public}:p"
    there.take(BUYER.sign(kind=5, tags=[["a", address]], created_at=clock() + 1))
    assert len(there.services()) == 1, "only the author withdraws"
    there.take(SELLER.sign(kind=5, tags=[["a", address]], created_at=clock() + 1))
    assert there.services() == []
    clock.turn(5)
    there.take(offer(clock, "Back again"))
    assert [service.name for service in there.services()] == ["Back again"]


def test_people_are_called_by_their_profile_then_their_offer_then_their_key(clock: FakeClock) -> None:
    there = shelf(clock)
    assert there.name(SELLER.public) == "A painter"
    there.take(SELLER.sign(kind=0, content='{"name": "Vincent\\nVan"}', created_at=clock()))
    assert there.name(SELLER.public) == "Vincent Van"
    assert there.name(BUYER.public).startswith("npub1")
    there.take(BUYER.sign(kind=0, content="[]", created_at=clock()))
    assert there.name("<script>") == "somebody"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain words", "plain words"), ('{"title": "T", "lines": ["a", "b"]}', "T\na\nb"), ('{"x": 1}', ""), ("[1]", "")],
)
def test_a_text_shows_its_beginning(text: str, shown: str) -> None:
    assert excerpt(text) == shown


@pytest.mark.parametrize("kind", [*JOB_KINDS, 5999])
def test_each_trade_has_a_drawing_that_stays_the_same(kind: int) -> None:
    drawn = str(pattern(kind, "seed"))
    assert drawn == str(pattern(kind, "seed"))
    assert len(list(ElementTree.fromstring(drawn).iter())) > 4


def test_prices_are_drawn_once_there_is_something_to_compare() -> None:
    assert str(sparkline([(1, 5)], [(0, 5)], 9)) == ""
    drawn = ElementTree.fromstring(str(sparkline([(1, 5), (2, 10), (3, 5)], [], 9)))
    heights = [float(dot.get("cy", "")) for dot in drawn.iter() if dot.get("class") == "billed"]
    assert heights[0] == heights[2] > heights[1]
    steps = str(sparkline([], [(0, 5000), (50, None), (100, 9000)], 200))
    assert 'class="asked" d="M10.0' in steps and "H160.0V" in steps  # it rose in the middle of the time shown


def test_nothing_in_the_books_is_not_free() -> None:
    assert "0 sat" in balance(0) and "free" not in balance(0)


def test_the_bench_sets_what_is_right_and_refuses_what_is_not(tmp_path: Path, monkeypatch: Any) -> None:
    signals: list[int] = []
    monkeypatch.setattr("os.kill", lambda _, number: signals.append(number))
    bench = Bench(tmp_path)
    assert "restart image" in bench.turn("dvm.image.price", "34")
    assert "price = 34" in (tmp_path / "timmy.toml").read_text()
    changed = [knob.name for knob in bench.knobs() if knob.changed]
    assert changed == ["dvm.image.price"]
    before = (tmp_path / "timmy.toml").read_text()
    for name, value in (("dvm.image.price", "cheap"), ("dvm.image.nonsense", "1"), ("web.name", 'a"\nport = 1')):
        with pytest.raises(Complaint):
            bench.turn(name, value)
    assert (tmp_path / "timmy.toml").read_text() == before
    bench.turn("relay.max_limit", "500")
    assert signals == [signal.SIGHUP]


def test_the_bench_shows_no_secret(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.turn("wallet.backend", "nwc:nostr+walletconnect://ab?relay=wss://r&secret=cd")
    (backend,) = [knob for knob in bench.knobs() if knob.name == "wallet.backend"]
    assert backend.secret and "cd" not in backend.value


def test_the_bench_switches_only_what_may_rest(tmp_path: Path, monkeypatch: Any) -> None:
    killed: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, _: killed.append(pid))
    (tmp_path / "run").mkdir()
    parts = {name: {"pid": at + 10, "state": "ready"} for at, name in enumerate(("relay", "image"))}
    (tmp_path / "run" / "status.json").write_text(json.dumps({"parts": parts}))
    bench = Bench(tmp_path)
    bench.switch("image", "off")
    assert (tmp_path / "run" / "off" / "image").exists() and killed == [11]
    bench.switch("image", "on")
    assert not (tmp_path / "run" / "off" / "image").exists()
    for part, action in (("relay", "off"), ("nobody", "restart"), ("image", "explode")):
        with pytest.raises(Complaint):
            bench.switch(part, action)


async def test_announced_prices_are_remembered(tmp_path: Path, clock: FakeClock) -> None:
    store = PageStore(tmp_path, clock)
    await store.open()
    for days, msat in ((0, 5000), (1, 5000), (2, 9000), (1, 1), (3, None)):
        store.note_price("seller", "d", clock() + days * 86_400, msat)
    seen = [(clock(), 5000), (clock() + 2 * 86_400, 9000), (clock() + 3 * 86_400, None)]
    assert store.prices("seller", "d") == seen, "only changes, and nothing older than the last"
    await store.close()
    again = PageStore(tmp_path, clock)
    await again.open()
    assert again.prices("seller", "d") == seen
    await again.close()
    clock.turn(181 * 86_400)
    later = PageStore(tmp_path, clock)
    await later.open()
    assert later.prices("seller", "d") == seen[1:], "half a year is kept"
    await later.close()


def test_a_buyer_is_known_by_what_was_paid(clock: FakeClock) -> None:
    preimage = "11" * 32
    digest = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
    jobs = [BUYER.sign(kind=5820, tags=[["i", str(number), "text"]], created_at=clock()) for number in range(5)]
    free, unpaid, receipted, boasted, billed = jobs
    events = [*jobs]
    for job in jobs:
        price = [] if job is free else [["amount", "40000", "lnbc..."]]
        events.append(SELLER.sign(kind=6820, tags=[["e", job.id], ["p", BUYER.public], *price]))
    for job, shown in ((receipted, preimage), (boasted, "22" * 32)):
        tags = [["e", job.id], ["p", SELLER.public], ["payment_hash", digest], ["preimage", shown]]
        events.append(BUYER.sign(kind=7190, tags=tags))
    events.append(SELLER.sign(kind=7000, tags=[["e", billed.id], ["status", "payment-required"], ["amount", "1"]]))
    assert habits(BUYER.public, events) == Habits(asked=5, owed=4, paid=2)
    assert unpaid is not None


def test_a_graph_says_each_thing_once_and_crosses_no_box() -> None:
    for path in (ROOT / "orchestrator" / "recipes").glob("*.json"):
        recipe = Recipe.parse(path.read_bytes())
        boxes, edges = layout(recipe)
        drawn = ElementTree.fromstring(svg(recipe, "credits"))
        assert {g.get("data-step") for g in drawn.iter() if g.get("data-step")} == set(recipe.order)
        assert len({(box.x, box.y) for box in boxes}) == len(boxes)
        for edge in edges:
            for x, y in edge.points[1:-1]:
                inside = [b.name for b in boxes if b.x < x < b.x + WIDTH and b.y < y < b.y + HEIGHT]
                assert not inside, (path.name, edge)
        assert ElementTree.fromstring(small(recipe)) is not None


def test_who_says_goodbye_is_gone_until_the_next_sign_of_life(clock: FakeClock) -> None:
    there = shelf(clock)
    for seconds, status, life in ((1, "ready", "live"), (1, "offline", "gone"), (1, "ready", "live")):
        clock.turn(seconds)
        there.take(SELLER.sign(kind=11998, tags=[["d", "p"], ["status", status]], created_at=clock()))
        assert there.services()[0].life == life
    there.take(SELLER.sign(kind=11998, tags=[["d", "p"], ["status", "offline"]], created_at=clock() - 2))
    assert there.services()[0].life == "live", "an older goodbye says nothing"
    there.take(SELLER.sign(kind=5, tags=[["a", f"11998:{SELLER.public}:"]], created_at=clock()))
    assert there.services()[0].life == "gone", "a worker that stops takes its heartbeat back"


def test_a_buyer_reads_why_a_score_is_what_it_is() -> None:
    score = Score("", 5100, 9, 2, 0.82, 0.6, 0.55, 4, 3, (2.0, 0.0), (1.0, 0.25), (0.4, 0.0), 0.5, 0.7)
    told = reasons(score, [{"paid": True}, {"paid": False}])
    text = " ".join(reason["text"] for reason in told)
    assert "For a large job this node reckons with 55 of 100: 4 reviewed jobs leave doubt." in text
    assert "This node's own purchases: they weigh like 2 good jobs, none bad." in text
    assert "whom this node trusts: they weigh like 1 good and 0.2 bad jobs" in text and "counts little" in text
    assert "1 of 2 reviews prove that their authors paid; the others change nothing." in text
    assert "recommends it" in text and "it would be 70 of 100" in text
    assert {reason["href"] for reason in told} == {"", "#reviews"}
    assert reasons(newcomer("", 5100), []) == []


async def test_a_person_is_there_as_long_as_one_heartbeat_says() -> None:
    """An extension asks its owner for each signature: people can't beat every four minutes as machines do."""
    clock, person, machine = FakeClock(), SecretKey.generate(), SecretKey.generate()
    shelf, directory = Shelf(newcomer, clock), Directory(Pool([]), clock)
    start = clock()
    for key, kind in ((person, "5820"), (machine, "5100")):
        about = key.sign(kind=31990, content='{"name":"x"}', tags=[["d", "x"], ["k", kind]], created_at=start)
        tags = [["d", "x"], ["status", "ready"], ["expiration", str(start + 4 * 3600)]]
        for event in (about, key.sign(kind=11998, tags=tags, created_at=start)):
            shelf.take(event)
            directory.feed(event)

    def there() -> tuple[set[str], set[str]]:
        live = {service.pubkey for service in shelf.services() if service.life == "live"}
        return live, {offer.provider for offer in directory.offers(dead=False) if offer.liveness == 1}

    clock.now += 2 * 3600
    assert there() == ({person.public}, {person.public}), "a machine that has been silent for hours is gone"
    clock.now += 2 * 3600 + 1
    assert there() == (set(), set())
    gone = person.sign(kind=11998, tags=[["d", "x"], ["status", "offline"]], created_at=start + 60)
    clock.now = start + 3600
    shelf.take(gone)
    directory.feed(gone)
    assert there() == (set(), set())
