import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostr import InvalidKey, SecretKey, nip04, nip44
from nostr.nip44 import DecryptionError

VECTORS = json.loads((Path(__file__).parent / "vectors" / "nip44.json").read_text())["v2"]
VALID, INVALID = VECTORS["valid"], VECTORS["invalid"]
A, B = SecretKey.generate(), SecretKey.generate()


def numbered(rows: list[Any]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=range(len(rows)))


@numbered(VALID["get_conversation_key"])
def test_conversation_key(row: dict[str, str]) -> None:
    assert nip44.conversation_key(SecretKey.from_hex(row["sec1"]), row["pub2"]).hex() == row["conversation_key"]


@numbered(VALID["get_message_keys"]["keys"])
def test_message_keys(row: dict[str, str]) -> None:
    conversation = bytes.fromhex(VALID["get_message_keys"]["conversation_key"])
    made = [part.hex() for part in nip44.message_keys(conversation, bytes.fromhex(row["nonce"]))]
    assert made == [row["chacha_key"], row["chacha_nonce"], row["hmac_key"]]


@numbered(VALID["calc_padded_len"])
def test_padded_length(row: tuple[int, int]) -> None:
    assert nip44.padded_length(row[0]) == row[1]


@numbered(VALID["encrypt_decrypt"])
def test_encrypt_and_decrypt(row: dict[str, str]) -> None:
    first, second = SecretKey.from_hex(row["sec1"]), SecretKey.from_hex(row["sec2"])
    conversation = nip44.conversation_key(first, second.public)
    assert conversation.hex() == row["conversation_key"]
    assert nip44.encrypt_with(conversation, row["plaintext"], bytes.fromhex(row["nonce"])) == row["payload"]
    assert nip44.decrypt(second, first.public, row["payload"]) == row["plaintext"]


@numbered(VALID["encrypt_decrypt_long_msg"])
def test_long_messages(row: dict[str, Any]) -> None:
    text = row["pattern"] * row["repeat"]
    assert hashlib.sha256(text.encode()).hexdigest() == row["plaintext_sha256"]
    conversation = bytes.fromhex(row["conversation_key"])
    payload = nip44.encrypt_with(conversation, text, bytes.fromhex(row["nonce"]))
    assert hashlib.sha256(payload.encode()).hexdigest() == row["payload_sha256"]
    assert nip44.decrypt_with(conversation, payload) == text


@numbered(INVALID["get_conversation_key"])
def test_invalid_keys(row: dict[str, str]) -> None:
    with pytest.raises(InvalidKey):
        nip44.conversation_key(SecretKey.from_hex(row["sec1"]), row["pub2"])


@numbered(INVALID["decrypt"])
def test_invalid_payloads(row: dict[str, str]) -> None:
    reason = row["note"].split(":")[0].replace("invalid base64", "not base64")
    with pytest.raises(DecryptionError, match=reason.removesuffix(" 0")):
        nip44.decrypt_with(bytes.fromhex(row["conversation_key"]), row["payload"])


def test_length_limits() -> None:
    # The vectors call 65,536 and more too long; NIP-44 has since got a longer prefix for them (and keeps 0 invalid).
    for length in (0, nip44.MAX_PLAINTEXT + 1):
        with pytest.raises(ValueError, match="bytes"):
            nip44.encrypt(A, B.public, "x" * length)


@pytest.mark.parametrize("length", [1, 32, 33, 65535, 65536, 65537, 100_000, 1_000_000])
def test_all_lengths(length: int) -> None:
    text = "x" * length
    assert nip44.decrypt(B, A.public, nip44.encrypt(A, B.public, text)) == text


@given(st.text(min_size=1, max_size=300))
def test_both_ways(text: str) -> None:
    assert nip44.decrypt(A, B.public, nip44.encrypt(B, A.public, text)) == text
    assert nip04.decrypt(A, B.public, nip04.encrypt(B, A.public, text)) == text


@given(st.text(max_size=200))
def test_garbage_is_a_decryption_error(payload: str) -> None:
    for decrypt in (nip04.decrypt, nip44.decrypt):
        with pytest.raises(DecryptionError):
            decrypt(A, B.public, payload)


def test_a_stranger_reads_nothing() -> None:
    with pytest.raises(DecryptionError, match="MAC"):
        nip44.decrypt(SecretKey.generate(), A.public, nip44.encrypt(A, B.public, "secret"))


def test_nip04_of_another_client() -> None:
    # made with node's crypto for the keys 1 and 2: aes-256-cbc under the unhashed shared x
    one, two = SecretKey.from_hex("00" * 31 + "01"), SecretKey.from_hex("00" * 31 + "02")
    assert one.ecdh_x(two.public).hex() == "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
    made_elsewhere = "XazldT7XNzMTvy9fo0bBaBSeqQgI9TxwX76D+cMF2xU=?iv=BwcHBwcHBwcHBwcHBwcHBw=="
    assert nip04.decrypt(two, one.public, made_elsewhere) == "Grüße aus node"


def test_the_two_schemes_are_told_apart() -> None:
    assert nip04.looks_like(nip04.encrypt(A, B.public, "")) and not nip04.looks_like(nip44.encrypt(A, B.public, "x"))
    assert nip04.decrypt(B, A.public, nip04.encrypt(A, B.public, "")) == ""
