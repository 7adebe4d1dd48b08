import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostr import Event, InvalidEvent, SecretKey, event_id
from nostr.key import InvalidKey, load_or_create, verify_schnorr

VECTORS = Path(__file__).parent / "vectors"
KEY = SecretKey.from_hex("00" * 31 + "03")


def bip340() -> list[dict[str, str]]:
    with (VECTORS / "bip340.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", bip340(), ids=lambda row: row["index"])
def test_bip340_verification(row: dict[str, str]) -> None:
    message = bytes.fromhex(row["message"])
    valid = verify_schnorr(row["public key"].lower(), message, bytes.fromhex(row["signature"]))
    assert valid is (row["verification result"] == "TRUE")


@pytest.mark.parametrize("row", [r for r in bip340() if r["secret key"]], ids=lambda row: row["index"])
def test_bip340_keys(row: dict[str, str]) -> None:
    key = SecretKey.from_hex(row["secret key"])
    assert key.public == row["public key"].lower()
    digest = bytes.fromhex(row["message"])
    if len(digest) == 32:
        assert verify_schnorr(key.public, digest, key.sign_digest(digest))


@pytest.mark.parametrize(
    ("character", "escaped"),
    [
        *((chr(code), f"\\u{code:04x}") for code in range(0x20) if chr(code) not in "\b\t\n\f\r"),
        ("\b", "\\b"),
        ("\t", "\\t"),
        ("\n", "\\n"),
        ("\f", "\\f"),
        ("\r", "\\r"),
        ('"', '\\"'),
        ("\\", "\\\\"),
        *(
            (verbatim, verbatim)
            for verbatim in ("/", "\x7f", "\x80", "\u2028", "\u2029", "\ufeff", "\ufdd1", "é", "🤖")
        ),
        ("\U0010fff2", "\U0010fff2"),
    ],
    ids=lambda text: ascii(text),
)
def test_escaping_is_that_of_nip01(character: str, escaped: str) -> None:
    import hashlib

    canonical = f'[0,"{KEY.public}",1,1,[["t","{escaped}"]],"a{escaped}b"]'
    expected = hashlib.sha256(canonical.encode()).hexdigest()
    assert event_id(KEY.public, 1, 1, [["t", character]], f"a{character}b") == expected
    event = KEY.sign(kind=1, content=f"a{character}b", tags=[["t", character]], created_at=1)
    assert Event.from_json(event.to_json()) == event and event.verify()


@pytest.mark.parametrize("surrogate", ["\ud800", "\udfff", "x\udc00y"])
def test_lone_surrogates_are_refused_without_a_crash(surrogate: str) -> None:
    with pytest.raises(InvalidEvent):
        event_id(KEY.public, 1, 1, [], surrogate)
    raw = json.dumps({**KEY.sign(kind=1, created_at=1).to_dict(), "content": surrogate})
    with pytest.raises(InvalidEvent):
        Event.from_json(raw)
    assert not Event("0" * 64, KEY.public, 1, 1, (), surrogate, "0" * 128).verify()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "A" * 64),
        ("id", "0" * 63),
        ("id", 7),
        ("pubkey", None),
        ("sig", "0" * 64),
        ("created_at", -1),
        ("created_at", 1.0),
        ("created_at", True),
        ("created_at", 2**63),
        ("created_at", "1"),
        ("kind", 65536),
        ("kind", -1),
        ("kind", True),
        ("kind", 1e3),
        ("content", None),
        ("tags", {}),
        ("tags", [["a", 1]]),
        ("tags", ["a"]),
        ("tags", [[["a"]]]),
        ("tags", None),
    ],
)
def test_wrong_types_name_the_field(field: str, value: object) -> None:
    whole = KEY.sign(kind=1, created_at=1).to_dict()
    with pytest.raises(InvalidEvent, match=field):
        Event.from_dict({**whole, field: value})


@pytest.mark.parametrize("raw", ["", "[]", "null", "{", '"x"', b"\xff", "NaN", "[" * 5000, '{"a":' * 2000])
def test_what_is_no_event_is_an_invalid_event(raw: str | bytes) -> None:
    with pytest.raises(InvalidEvent):
        Event.from_json(raw)


def test_empty_tags_and_extremes_are_events() -> None:
    event = KEY.sign(kind=65535, tags=[[], [""], ["t"]], created_at=2**53 - 1)
    assert Event.from_json(event.to_json()) == event and event.verify()
    assert event.first("t") is None and event.values("t") == [] and event.tagged("t") == [("t",)]


@given(
    st.integers(0, 65535),
    st.integers(0, 2**40),
    st.lists(st.lists(st.text(max_size=8), max_size=4), max_size=4),
    st.text(max_size=40),
)
def test_what_is_signed_verifies_and_any_change_does_not(
    kind: int, created_at: int, tags: list[list[str]], content: str
) -> None:
    event = KEY.sign(kind=kind, content=content, tags=tags, created_at=created_at)
    assert event.verify()
    assert Event.from_json(event.to_json()) == event
    changed = {**event.to_dict(), "content": content + "!"}
    assert not Event.from_dict(changed).verify()
    assert not Event.from_dict({**event.to_dict(), "pubkey": SecretKey.generate().public}).verify()


@pytest.mark.parametrize("bad", ["", "00" * 32, "ff" * 32, "zz" * 32, "01" * 31])
def test_bad_secret_keys_are_refused_without_being_repeated(bad: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        SecretKey.from_hex(bad)
    assert not bad or bad not in str(caught.value)


def test_a_key_never_shows_itself() -> None:
    import copy
    import pickle

    key = SecretKey.generate()
    assert key.hex not in repr(key) + str(key) + f"{key}" + str([key])
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.copy(key)


def test_key_file_is_private_and_stable(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "relay.key"
    key = load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create(path).hex == key.hex
    assert path.with_suffix(".pub").read_text().strip() == key.public
    assert sorted(p.name for p in path.parent.iterdir()) == ["relay.key", "relay.pub"]


def test_expiration_and_address() -> None:
    def tagged(*tag: str, kind: int = 1) -> Event:
        return KEY.sign(kind=kind, tags=[tag], created_at=1)

    assert tagged("expiration", "17").expiration == 17
    assert [tagged("expiration", bad).expiration for bad in ("", "-1", "1.5", "x", "٣", "9" * 40)] == [None] * 6
    assert tagged("d", "x", kind=30000).address == f"30000:{KEY.public}:x"
    assert tagged("d", "x", kind=10000).address == f"10000:{KEY.public}:"
