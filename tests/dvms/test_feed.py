"""The shop window: quick, free, in the shape that feed clients read."""

import time

import orjson

from dvms.feed.ranking import rank
from dvms.feed.service import FeedService
from dvms.registry import Found
from dvms.serve import opened
from dvms.settings import SellerSettings
from market.job import JobInput, JobRequest, build_request, build_result
from market.media import Media
from nostr.filter import Filter
from nostr.key import SecretKey, load_or_create
from tests.dvms.conftest import Customer, until

NOW = 1_800_000_000
WORKER = SecretKey.from_hex("22" * 32)


def work(name, *, by=None, kind=5100, age=0, encrypted=False, key=WORKER, now=NOW):
    buyer = by or SecretKey.generate()
    secret = {"encrypt_to": key.public} if encrypted else {}
    request = build_request(buyer, kind=kind, inputs=[JobInput(name, "text")], created_at=now - age, **secret)
    media = Media(f"https://x.example/{name}.png", "", "image/png", alt=name)
    return build_result(key, JobRequest.parse(request, key), media.url, media=[media], created_at=now - age)


def names(works):
    return [each.result.urls[0].alt for each in works]


def test_newer_and_finished_works_come_first():
    works = [work("old", age=10 * 86400), work("film", kind=5260), work("new")]
    assert names(rank(works, [], NOW)) == ["film", "new", "old"]


def test_encrypted_works_and_texts_are_not_shown():
    text = WORKER.sign(kind=6050, content="https://x.example/a.png", tags=[["e", "ab" * 32]])
    empty = WORKER.sign(kind=6100, content="no picture", tags=[["e", "ab" * 32]])
    assert rank([work("secret", encrypted=True), text, empty], [], NOW) == []


def test_only_the_buyers_review_counts_and_likes_count_little():
    buyer, stranger = SecretKey.generate(), SecretKey.generate()
    good, bad = work("good", by=buyer), work("bad")

    def review(key, event, stars):
        return key.sign(kind=31117, tags=[["d", event.id], ["e", event.id], ["rating", str(stars)]])

    assert names(rank([good, bad], [review(buyer, good, 5), review(stranger, bad, 5)], NOW)) == ["good", "bad"]
    assert names(rank([good, bad], [review(buyer, good, 1)], NOW)) == ["bad", "good"]
    likes = [SecretKey.generate().sign(kind=7, content="+", tags=[["e", bad.id]]) for _ in range(3)]
    assert names(rank([good, bad], likes, NOW)) == ["bad", "good"]
    own = [WORKER.sign(kind=7, content="+", tags=[["e", bad.id]])]
    assert rank([bad], own, NOW, {WORKER.public})[0].score == rank([bad], [], NOW)[0].score


def test_one_customer_does_not_fill_the_window():
    one = SecretKey.generate()
    works = [work(f"w{n}", by=one) for n in range(5)] + [work("other", age=86400)]
    assert len(rank(works, [], NOW)) == 4


async def test_the_window_answers_at_once_with_notes_that_clients_can_show(tmp_path, relay, customer):
    painter = load_or_create(tmp_path / "keys" / "image.key")
    for n in range(3):
        event = work(f"w{n}", key=painter, now=int(time.time()))
        assert (await customer.pool.publish(event))[relay].accepted
    found = Found(FeedService, "dvms.feed.service:FeedService", "feed")
    settings = SellerSettings(price=0)
    async with opened(found, settings, {"refresh": 5}, data=tmp_path, relays=[relay], wallet=None) as running:
        await until(lambda: running.worker.parts.service._ready)
        began = time.monotonic()
        reader = Customer(customer.pool)
        request = await reader.send(
            5300, to=running.key.public, inputs=[], params={"max_results": "2", "user": "ab" * 32}
        )
        result = (await reader.hears(request))[-1]
        assert time.monotonic() - began < 2
        tags = orjson.loads(result.content)
        assert len(tags) == 2 and all(tag[0] == "e" and tag[2] == relay for tag in tags)
        notes = await reader.pool.fetch(Filter(ids=[tag[1] for tag in tags]))
        assert len(notes) == 2 and all(note.kind == 1 and note.tagged("imeta") for note in notes)
    async with opened(found, settings, {"refresh": 5}, data=tmp_path, relays=[relay], wallet=None) as running:
        await until(lambda: running.worker.parts.service._ready)
        assert len(await customer.pool.fetch(Filter(authors=[running.key.public], kinds=[1]))) == 3
