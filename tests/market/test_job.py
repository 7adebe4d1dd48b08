"""What the wild sends as job events, and what other clients must be able to read back."""

import orjson
import pytest

from market.errors import BadFeedback, BadRequest, BadResult
from market.job import Feedback, JobInput, JobRequest, JobResult, build_feedback, build_request, build_result
from market.media import Media
from nostr import nip44
from nostr.key import SecretKey

CUSTOMER = SecretKey.from_hex("11" * 32)
WORKER = SecretKey.from_hex("22" * 32)
ID = "ab" * 32
BOLT11 = "lnbc500n1" + "p" * 80


def request(*tags, kind=5100, content=""):
    return JobRequest.parse(CUSTOMER.sign(kind=kind, content=content, tags=tags, created_at=1000))


@pytest.mark.parametrize(
    ("tags", "content", "expected"),
    [
        pytest.param([["i", "a cat", "text"]], "", [JobInput("a cat", "text")], id="plain"),
        pytest.param([["i", "term"]], "", [JobInput("term", "text")], id="coracle-two-elements"),
        pytest.param(
            [["i", "capital of France? ", "prompt"]],
            "",
            [JobInput("capital of France? ", "text")],
            id="registry-prompt",
        ),
        pytest.param([["i", "a cat", "TEXT"]], "", [JobInput("a cat", "text")], id="upper-case-type"),
        pytest.param([["input", "a cat", "text"]], "", [JobInput("a cat", "text")], id="input-name"),
        pytest.param([["input", "text", "a cat"]], "", [JobInput("a cat", "text")], id="input-swapped"),
        pytest.param([], "a cat", [JobInput("a cat", "text")], id="prompt-in-content"),
        pytest.param([], '[["i","a cat","text"]]', [JobInput("a cat", "text")], id="tags-in-content"),
        pytest.param([], '["just", "json"]', [JobInput('["just", "json"]', "text")], id="json-prompt"),
        pytest.param(
            [["i", "https://x.example/a.png"]], "", [JobInput("https://x.example/a.png", "url")], id="bare-url"
        ),
        pytest.param(
            [["i", "https://x.example/a.png", "url", "overlay"]],
            "",
            [JobInput("https://x.example/a.png", "url", "", "overlay")],
            id="marker-in-relay-slot",
        ),
        pytest.param(
            [["i", ID.upper(), "event", "wss://R.example/", "root"]],
            "",
            [JobInput(ID, "event", "wss://r.example", "root")],
            id="event-with-relay",
        ),
        pytest.param(
            [["i", "wss://r.example is a relay", "text"]],
            "",
            [JobInput("wss://r.example is a relay", "text")],
            id="relay-text",
        ),
        pytest.param([["i"], ["i", "x", "text"]], "", [JobInput("x", "text")], id="empty-i"),
        pytest.param(
            [["i", "speak", "audio/mp3"]], "", [JobInput("speak", "text", "", "audio/mp3")], id="mime-as-type"
        ),
        pytest.param([], "", [], id="no-input"),
    ],
)
def test_inputs_of_the_wild(tags, content, expected):
    assert list(request(*tags, content=content).inputs) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100_000", 100000), ("60000", 60000), ("1000.7", 1000), ("1e3", 1000), (" 5,000 msat ", 5000), ("", None),
     ("-5", None), ("nan", None), ("inf", None), ("1e99", None), ("abc", None), ("9" * 40, None)],
)  # fmt: skip
def test_bid(text, expected):
    assert request(["bid", text]).bid_msat == expected


@pytest.mark.parametrize(
    "tags",
    [
        [["relays", "wss://A.example/", "wss://b.example"]],
        [["relays", "wss://a.example"], ["relays", "wss://b.example:443"]],
        [["wss://a.example", "wss://b.example"]],
        [["relays", "wss://a.example,wss://b.example"]],
        [
            [
                "relays",
                "not a relay",
                "http://x",
                "wss://",
                "wss://a.example",
                "wss://user:pw@c.example",
                "wss://b.example",
            ]
        ],
        [["relay", "wss://a.example"], ["relays", "wss://b.example wss://a.example"]],
    ],
)
def test_relays(tags):
    assert request(*tags).relays == ("wss://a.example", "wss://b.example")


def test_parameters_are_found_by_any_spelling():
    parsed = request(["param", "top-k", "50"], ["param", "Range", "1", "2"], ["param"], ["param", "lone"])
    assert parsed.param("top_k") == "50" and parsed.param("top-k") == "50"
    assert parsed.params["range"] == ["1", "2"]
    assert parsed.param("lone") is None and parsed.param("nothing", "x") == "x"


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ([["i", "not-an-id", "job"]], 5100),
        ([["i", "file:///etc/passwd", "url"]], 5100),
        ([["i", "x", "text"]] * 65, 5100),
        ([["param", f"p{n}", "1"] for n in range(129)], 5100),
        ([["i", "x", "text"]], 6100),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(tags, kind):
    with pytest.raises(BadRequest) as caught:
        request(*tags, kind=kind)
    assert caught.value.reason


def test_a_request_we_write_is_the_request_we_read():
    event = build_request(
        CUSTOMER, kind=5100, inputs=[JobInput("a cat", "text"), JobInput(ID, "job", "wss://r.example", "base")],
        params={"size": "512x512", "range": ["1", "2"]}, output="image/png", bid_msat=60000,
        providers=[WORKER.public], relays=["wss://r.example"], expiration=5000, created_at=1000,
    )  # fmt: skip
    assert event.verify()
    parsed = JobRequest.parse(event)
    assert parsed.inputs == (JobInput("a cat", "text"), JobInput(ID, "job", "wss://r.example", "base"))
    assert parsed.params == {"size": ["512x512"], "range": ["1", "2"]}
    assert (parsed.output, parsed.bid_msat, parsed.relays) == ("image/png", 60000, ("wss://r.example",))
    assert (parsed.providers, parsed.expiration, parsed.encrypted) == ({WORKER.public}, 5000, None)


@pytest.mark.parametrize("scheme", ["nip44", "nip04"])
def test_encrypted_job_is_answered_in_kind(scheme):
    event = build_request(
        CUSTOMER, kind=5100, inputs=[JobInput("a secret cat", "text")], params={"size": "64x64"}, bid_msat=9,
        encrypt_to=WORKER.public, scheme=scheme, created_at=1000,
    )  # fmt: skip
    assert "cat" not in event.to_json().decode() and event.tagged("encrypted") == [("encrypted",)]
    parsed = JobRequest.parse(event, WORKER)
    assert parsed.inputs == (JobInput("a secret cat", "text"),) and parsed.encrypted == scheme
    assert parsed.bid_msat == 9 and parsed.param("size") == "64x64"
    assert JobRequest.parse(event, CUSTOMER).inputs == parsed.inputs
    assert JobRequest.parse(event).inputs == ()

    bill = build_feedback(
        WORKER, parsed, "payment-required", "pay me", amount_msat=5000, bolt11=BOLT11, created_at=1001
    )
    assert BOLT11 not in bill.to_json().decode()
    read = Feedback.parse(bill, CUSTOMER)
    assert (read.status, read.amount_msat, read.bolt11, read.request_id) == ("payment-required", 5000, BOLT11, event.id)

    media = Media("https://x.example/a.png", "cd" * 32, "image/png", 12, (64, 64))
    result = build_result(WORKER, parsed, media.url, media=[media], extra_tags=[["seed", "7"]], created_at=1002)
    assert {tag[0] for tag in result.tags} == {"e", "p", "encrypted", "private"}
    assert "x.example" not in result.to_json().decode()
    opened = JobResult.parse(result, CUSTOMER)
    assert opened.content == media.url and opened.urls == (media,) and opened.fact("seed") == "7"
    with pytest.raises(BadResult):
        JobResult.parse(result, SecretKey.from_hex("33" * 32))


def test_encrypted_variants_of_the_wild():
    def sealed(text, *tags):
        body = nip44.encrypt(CUSTOMER, WORKER.public, text)
        return JobRequest.parse(CUSTOMER.sign(kind=5100, content=body, tags=[["p", WORKER.public], *tags]), WORKER)

    ndk = [["i", "x", "text"], ["output", "image/png"], ["relays", "wss://r.example"], ["bid", "1000"]]
    parsed = sealed(orjson.dumps(ndk).decode(), ["encrypted"])
    assert (parsed.output, parsed.relays, parsed.bid_msat) == ("image/png", ("wss://r.example",), 1000)
    assert sealed('[["i","x","text"]]', ["encrypted", "1"]).inputs == (JobInput("x", "text"),)
    assert sealed("just a prompt", ["encrypted", "true"]).inputs == (JobInput("just a prompt", "text"),)
    with pytest.raises(BadRequest):
        JobRequest.parse(CUSTOMER.sign(kind=5100, content="garbage", tags=[["encrypted"]]), WORKER)


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ([["status", "payment_required", "x"]], "payment-required"),
        ([["s", "Processing"]], "processing"),
        ([["status", "SUCCESS"]], "success"),
        ([["status", "chain-scheduled"]], "chain-scheduled"),
    ],
)
def test_feedback_of_the_wild(tags, status):
    event = WORKER.sign(kind=7000, content="hello", tags=[*tags, ["e", ID]])
    assert Feedback.parse(event).status == status


@pytest.mark.parametrize(
    ("tags", "content", "amount", "bolt11"),
    [
        ([["amount", "5_000", BOLT11.upper()]], "", 5000, BOLT11),
        ([["amount", "5000.0", "someone@wallet.example"]], "", 5000, None),
        ([["amount", "5000"], ["bolt11", BOLT11]], "", 5000, BOLT11),
        ([["amount", "5000", "sat"], ["invoice", "lightning:" + BOLT11]], "", 5000, BOLT11),
        ([["amount", "5000"]], f"please pay {BOLT11} now", 5000, BOLT11),
        ([], "no bill", None, None),
    ],
)
def test_amounts_of_the_wild(tags, content, amount, bolt11):
    event = WORKER.sign(kind=7000, content=content, tags=[["status", "payment-required", "pay"], ["e", ID], *tags])
    parsed = Feedback.parse(event)
    assert (parsed.amount_msat, parsed.bolt11) == (amount, bolt11)


def test_feedback_that_says_nothing_is_refused():
    with pytest.raises(BadFeedback):
        Feedback.parse(WORKER.sign(kind=7000, tags=[["status", "success"]]))
    with pytest.raises(BadFeedback):
        Feedback.parse(WORKER.sign(kind=7000, tags=[["e", ID]]))


@pytest.mark.parametrize(
    ("tags", "content", "urls"),
    [
        ([], "https://x.example/a.png", ["https://x.example/a.png"]),
        (
            [],
            "https://x.example/a.png\nhttps://x.example/b.png",
            ["https://x.example/a.png", "https://x.example/b.png"],
        ),
        ([], '["https://x.example/a.png"]', ["https://x.example/a.png"]),
        ([["imeta", "url https://x.example/a.png", "dim 1x2"]], "https://x.example/a.png", ["https://x.example/a.png"]),
        ([], "Two plus two is four.", []),
        ([], "see https://x.example/a.png for it", []),
        ([["imeta", "url javascript:alert(1)"]], "javascript:alert(1)", []),
        ([], '[["e","' + ID + '"]]', []),
    ],
)
def test_files_of_a_result(tags, content, urls):
    result = JobResult.parse(WORKER.sign(kind=6100, content=content, tags=[["e", ID], *tags]))
    assert [media.url for media in result.urls] == urls


@pytest.mark.parametrize("text", ['{"id": "%s", "kind": 5100}', "{'id': '%s', 'kind': 5100, 'tags': []}"])
def test_request_copy_names_the_request_where_no_e_tag_does(text):
    assert JobResult.parse(WORKER.sign(kind=6100, tags=[["request", text % ID]])).request_id == ID


@pytest.mark.parametrize("copy", ["", "__import__('os')", "{" * 5000, "[]"])
def test_result_without_request_is_refused(copy):
    with pytest.raises(BadResult):
        JobResult.parse(WORKER.sign(kind=6100, tags=[["request", copy]]))


def test_result_is_what_clients_expect():
    parsed = request(["i", "a cat", "text"], ["p", WORKER.public])
    media = [Media("https://x.example/a.png", "cd" * 32, "image/png", 12, (64, 32), blurhash="LEHV6n"),
             Media("https://x.example/b.mp4", "ef" * 32, "video/mp4", 99, seconds=2.5)]  # fmt: skip
    event = build_result(WORKER, parsed, media[0].url, media=media, amount_msat=21000, extra_tags=[["engine", "x"]])
    assert event.verify() and event.kind == 6100
    assert orjson.loads(event.first("request"))["id"] == parsed.id
    assert event.first("e") == parsed.id and event.first("p") == CUSTOMER.public and event.first("amount") == "21000"
    assert event.tagged("i") == [("i", "a cat", "text")]
    assert event.first("x") == "cd" * 32 and event.first("m") == "image/png" and event.first("dim") == "64x32"
    read = JobResult.parse(event)
    assert read.urls == tuple(media) and read.fact("engine") == "x"


def test_music_results_of_nostr_dvm_are_read():
    assert JobResult.parse(WORKER.sign(kind=5651, tags=[["e", ID]])).kind == 5651
