"""The smaller NIPs: 13, 17, 19, 42, 49, 57, 59, 65, 98."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostr import Event, InvalidKey, SecretKey, nip13, nip17, nip19, nip42, nip44, nip49, nip57, nip59, nip65, nip98
from nostr.pool import Pool
from tests.fakes import FakeClock
from tests.nostr.small_relay import SmallRelay

A, B = SecretKey.generate(), SecretKey.generate()
NOW = 1_800_000_000

# -- NIP-13 -----------------------------------------------------------------------------------------------------------


def test_difficulty_of_the_examples_in_the_nip() -> None:
    assert nip13.difficulty("000000000e9d97a1ab09fc381030b346cdd7a142ad57e6df0b46dc9bef6c7e2d") == 36
    assert nip13.difficulty("002f" + "0" * 60) == 10
    assert nip13.difficulty("0" * 64) == 256


@pytest.mark.parametrize("content", ["", '","nonce","?" "', '["nonce","?"'])
def test_mining(content: str) -> None:
    event = nip13.mine(A, 8, kind=1, content=content, tags=[["t", '["nonce","?"'], ["nonce", "9"]], created_at=NOW)
    assert event.verify() and event.content == content and nip13.difficulty(event.id) >= 8
    assert nip13.committed(event) == 8
    assert [tag[0] for tag in event.tags] == ["t", "nonce"]


def test_mining_stops_when_told() -> None:
    with pytest.raises(nip13.Stopped):
        nip13.mine(A, 200, kind=1, created_at=NOW, stop=lambda: True)


def test_luck_without_commitment_does_not_count() -> None:
    event = replace(A.sign(kind=1, created_at=NOW), id="0" * 64)
    assert nip13.committed(event) == 0


# -- NIP-19 -----------------------------------------------------------------------------------------------------------


def test_examples_of_nip19() -> None:
    pubkey = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d"
    assert nip19.npub(pubkey) == "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6"
    assert SecretKey.from_nsec("nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5").hex == (
        "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"
    )
    name = (
        "nprofile1qqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gpp4mhxue69uhhytnc9e3k7mgpz4mhxue69uhkg6nzv9ejuu"
        "mpv34kytnrdaksjlyr9p"
    )
    expected = nip19.Profile(pubkey, ("wss://r.x.com", "wss://djbas.sadkb.com"))
    assert nip19.decode(name) == ("nprofile", expected)
    assert nip19.parse_pubkey(name) == nip19.parse_pubkey(f"nostr:{nip19.npub(pubkey)}") == pubkey


@given(st.binary(min_size=32, max_size=32), st.text(max_size=60), st.integers(0, 65535))
def test_nip19_round_trips(raw: bytes, d: str, kind: int) -> None:
    digest = raw.hex()
    assert nip19.decode(nip19.note(digest)) == ("note", digest)
    pointer = nip19.EventPointer(digest, ("ws://a",), digest, kind)
    assert nip19.decode(nip19.nevent(digest, ["ws://a"], digest, kind)) == ("nevent", pointer)
    assert nip19.decode(nip19.naddr(d, digest, kind)) == ("naddr", nip19.Address(d, digest, kind))


@given(st.integers(0, 62), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_a_mistyped_character_is_noticed(place: int, letter: str) -> None:
    name = nip19.npub(A.public)
    wrong = name[:place] + letter + name[place + 1 :]
    if wrong != name:
        with pytest.raises(nip19.InvalidNip19):
            nip19.decode(wrong)


@pytest.mark.parametrize(
    "bad", ["", "1", "npub1", "nsec1qqqq", "x" * 6000, "NPUB1aA", "nevent1qqqqqqqqqqqqq", "1" * 90]
)
def test_what_is_no_name(bad: str) -> None:
    with pytest.raises(nip19.InvalidNip19):
        nip19.decode(bad)


# -- NIP-42 -----------------------------------------------------------------------------------------------------------


def test_auth_event() -> None:
    event = nip42.auth_event(A, "wss://Relay.Example/", "c1", NOW)

    def why(event: Event = event, challenge: str = "c1", host: str = "relay.example", now: int = NOW) -> str | None:
        return nip42.check(event, challenge=challenge, hosts={host}, now=now)

    assert why() is None
    assert "challenge" in (why(challenge="c2") or "")
    assert "relay tag" in (why(host="relay.example:8080") or "")
    assert "created_at" in (why(now=NOW + 601) or "")
    assert "kind" in (why(A.sign(kind=1, created_at=NOW)) or "")
    assert "signature" in (why(replace(event, sig="0" * 128)) or "")


@pytest.mark.parametrize(
    ("url", "host"),
    [("ws://h:80/x", "h"), ("wss://H:443", "h"), ("ws://h:7777", "h:7777"), ("h", ""), ("ws://h:x", ""), ("", "")],
)
def test_host_of(url: str, host: str) -> None:
    assert nip42.host_of(url) == host


# -- NIP-49 -----------------------------------------------------------------------------------------------------------


def test_vector_of_nip49() -> None:
    text = (
        "ncryptsec1qgg9947rlpvqu76pj5ecreduf9jxhselq2nae2kghhvd5g7dgjtcxfqtd67p9m0w57lspw8gsq6yphnm8623nsl8xn9j4jdzz84zm"
        "3frztj3z7s35vpzmqf6ksu8r89qk5z2zxfmu5gv8th8wclt0h4p"
    )
    assert nip49.decrypt(text, "nostr").hex == "3501454135014541350145413501453fefb02227e449e57cf4d3a3ce05378683"


def test_nip49_passwords_are_normalised() -> None:
    text = nip49.encrypt(A, "\u212b\u2126\u1e9b\u0323", log_n=4)
    assert nip49.decrypt(text, "\u00c5\u03a9\u1e69").hex == A.hex
    with pytest.raises(nip49.WrongPassword):
        nip49.decrypt(text, "other")


def test_nip49_refuses_absurd_work_and_other_names() -> None:
    greedy = nip19.bech32_encode("ncryptsec", bytes((2, 60)) + bytes(89))
    for bad in (greedy, nip19.npub(A.public), "ncryptsec1", ""):
        with pytest.raises(InvalidKey):
            nip49.decrypt(bad, "x")


def test_hchacha20_vector_of_the_draft() -> None:
    made = nip49.hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927"))
    assert made.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"


# -- NIP-57 -----------------------------------------------------------------------------------------------------------


def test_zap_request_to_receipt() -> None:
    target = B.sign(kind=7000, created_at=NOW)
    asked = nip57.request(A, B.public, relays=["ws://r"], amount_msat=21000, created_at=NOW, target=target)
    zap = nip57.check_request(asked, amount_msat=21000)
    assert (zap.receiver, zap.relays, zap.event_id) == (B.public, ("ws://r",), target.id)
    text = asked.to_json().decode()
    paid = nip57.receipt(B, zap, bolt11="lnbc1", description=text, paid_at=NOW + 1, preimage="00")
    parsed = nip57.parse_receipt(paid)
    assert (parsed.signer, parsed.bolt11, parsed.request.amount_msat) == (B.public, "lnbc1", 21000)
    assert paid.first("P") == A.public and paid.first("k") == "7000"


@pytest.mark.parametrize(
    "tags",
    [
        [],
        [["p", B.public], ["p", A.public]],
        [["p", "x"]],
        [["p", B.public], ["e", "x"]],
        [["p", B.public], ["e", "0" * 64], ["e", "1" * 64]],
        [["p", B.public], ["a", "30000:x:y"]],
        [["p", B.public], ["amount", "-1"]],
        [["p", B.public], ["amount", "20000"]],
        [["p", B.public], ["P", A.public], ["P", B.public]],
    ],
)
def test_bad_zap_requests(tags: list[list[str]]) -> None:
    with pytest.raises(nip57.InvalidZap):
        nip57.check_request(A.sign(kind=9734, tags=tags, created_at=NOW), amount_msat=21000)


def test_a_forged_receipt_is_no_receipt() -> None:
    asked = nip57.request(A, B.public, relays=[], amount_msat=1, created_at=NOW)
    other = B.sign(
        kind=9735, tags=[["p", A.public], ["bolt11", "x"], ["description", asked.to_json().decode()]], created_at=NOW
    )
    with pytest.raises(nip57.InvalidZap, match="receivers"):
        nip57.parse_receipt(other)


# -- NIP-17 and NIP-59 ------------------------------------------------------------------------------------------------


def test_example_of_nip59() -> None:
    receiver = SecretKey.from_hex("e108399bd8424357a710b606ae0c13166d853d327e47a6e5e038197346bdbf45")
    author = SecretKey.from_hex("0beebd062ec8735f4243466049d7747ef5d6594ee838de147f8aab842b15e273")
    rumor = nip59.Rumor.make(
        author.public, kind=1, content="Are you going to the party tonight?", created_at=1691518405
    )
    assert rumor.id == "9dd003c6d3b73b74a85a9ab099469ce251653a7af76f523671ab828acd2a0ef9"
    wrapped = nip59.wrap(author, receiver.public, rumor, now=NOW)
    assert nip59.unwrap(receiver, wrapped) == rumor
    assert wrapped.pubkey != author.public and author.public not in wrapped.to_json().decode()
    assert NOW - 2 * 86400 <= wrapped.created_at <= NOW


def test_private_message() -> None:
    wraps = nip17.compose(A, [B.public], "hello", now=NOW, subject="s", reply_to="0" * 64)
    assert set(wraps) == {A.public, B.public}
    for key in (A, B):
        message = nip17.read(key, wraps[key.public])
        assert (message.sender, message.text, message.receivers) == (A.public, "hello", (B.public,))
        assert (message.subject, message.reply_to, message.created_at) == ("s", "0" * 64, NOW)
    with pytest.raises(nip59.InvalidWrap):
        nip17.read(SecretKey.generate(), wraps[B.public])


def test_nobody_speaks_in_anothers_name() -> None:
    mallory = SecretKey.generate()
    rumor = nip59.Rumor.make(A.public, kind=14, content="send money", created_at=NOW)
    with pytest.raises(nip59.InvalidWrap, match="own author"):
        nip59.wrap(mallory, B.public, rumor, now=NOW)
    seal = mallory.sign(kind=13, content=nip44.encrypt(mallory, B.public, json.dumps(rumor.to_dict())), created_at=NOW)
    forged = mallory.sign(kind=1059, content=nip44.encrypt(mallory, B.public, seal.to_json().decode()), created_at=NOW)
    with pytest.raises(nip59.InvalidWrap, match="another author"):
        nip59.unwrap(B, forged)


# -- NIP-65 -----------------------------------------------------------------------------------------------------------


def test_relay_list_round_trip() -> None:
    relays = nip65.RelayList(read=("ws://both", "ws://r"), write=("ws://both", "ws://w"))
    event = nip65.build(A, relays, NOW)
    assert sorted(event.tags) == [("r", "ws://both"), ("r", "ws://r", "read"), ("r", "ws://w", "write")]
    assert nip65.RelayList.parse(event) == relays
    odd = A.sign(kind=10002, tags=[["r"], ["r", "nonsense"], ["r", "wss://X/"], ["r", "wss://x"]], created_at=NOW)
    assert nip65.RelayList.parse(odd) == nip65.RelayList(read=("wss://x",), write=("wss://x",))


async def test_router_finds_where_a_key_lives(clock: FakeClock) -> None:
    async with SmallRelay() as home, SmallRelay() as theirs, Pool([home.url]) as pool:
        await home.accept(nip65.build(B, nip65.RelayList(read=(theirs.url,), write=(theirs.url,)), NOW))
        router = nip65.Router(pool, clock)
        event = A.sign(kind=1, tags=[["p", B.public]], created_at=NOW)
        answers = await router.publish(event)
        assert answers[theirs.url].accepted and event in theirs.events and event in home.events
        assert await router.sources([A.public, B.public]) == {
            home.url: [A.public, B.public],
            theirs.url: [B.public],
        }
        asked = sum(message[0] == "REQ" for message in home.heard)
        await router.lists([A.public, B.public])
        assert sum(message[0] == "REQ" for message in home.heard) == asked
        clock.turn(3601)
        await router.lists([B.public])
        assert sum(message[0] == "REQ" for message in home.heard) == asked + 1


# -- NIP-98 -----------------------------------------------------------------------------------------------------------

URL = "http://127.0.0.1:7777/"


def test_http_auth() -> None:
    header = nip98.header(A, URL, "post", now=NOW, body=b"{}")
    assert nip98.verify(header, URL, "POST", now=NOW + 59, body=b"{}", payload_required=True) == A.public
    for url, method, now, body in [
        (URL + "x", "POST", NOW, b"{}"),
        (URL, "GET", NOW, b"{}"),
        (URL, "POST", NOW + 61, b"{}"),
        (URL, "POST", NOW, b"[]"),
    ]:
        with pytest.raises(nip98.Unauthorized):
            nip98.verify(header, url, method, now=now, body=body)
    bare = nip98.header(A, URL, "POST", now=NOW)
    with pytest.raises(nip98.Unauthorized, match="payload"):
        nip98.verify(bare, URL, "POST", now=NOW, body=b"{}", payload_required=True)


@pytest.mark.parametrize(
    "bad", [None, "", "Nostr", "Nostr !!!", "Bearer x", "Nostr e30=", "Nostr \u00e9", "Nostr " + "A" * 5]
)
def test_bad_tokens(bad: str | None) -> None:
    with pytest.raises(nip98.Unauthorized):
        nip98.verify(bad, URL, "GET", now=NOW)


def test_tokens_in_every_base64() -> None:
    event = A.sign(kind=27235, content="é?>~" * 3, created_at=NOW)
    raw = event.to_json()
    for text in (
        base64.b64encode(raw),
        base64.urlsafe_b64encode(raw),
        base64.urlsafe_b64encode(raw).rstrip(b"="),
    ):
        assert nip98.token("Nostr " + text.decode()) == event
