"""The arithmetic and the formats of ecash, by the test vectors of the NUTs."""

import hashlib

import orjson
import pytest
from coincurve import PublicKey

from nostr.key import SecretKey
from wallet.ecash import EcashRefused, crypto, token
from wallet.ecash.purse import split

B = "cashuBpGF0gaJhaUgArSaMTR9YJmFwgaNhYQFhc3hAOWE2ZGJiODQ3YmQyMzJiYTc2ZGIwZGYxOTcyMTZiMjlkM2I4Y2MxNDU1M2NkMjc4MjdmYzFjYzk0MmZlZGI0ZWFjWCEDhhhUP_trhpXfStS6vN6So0qWvc2X3O4NfM-Y1HISZ5JhZGlUaGFuayB5b3VhbXVodHRwOi8vbG9jYWxob3N0OjMzMzhhdWNzYXQ="  # noqa: E501
POINT = "02a9acc1e48c25eeeb9289b5031cc57da9fe72f3fe2861d264bdc074209b107ba2"
SECOND = "020000000000000000000000000000000000000000000000000000000000000001"


@pytest.mark.parametrize(
    ("last", "point"),
    [
        ("00", "024cce997d3b518f739663b757deaec95bcd9473c30a14ac2fd04023a739d1a725"),
        ("01", "022e7158e11c9506f1aa4248bf531298daa7febd6194f003edcd9b93ade6253acf"),
        ("02", "026cdbe15362df59cd1dd3c9c11de8aedac2106eca69236ecd9fbe117af897be4f"),
    ],
)
def test_secrets_become_points(last: str, point: str) -> None:
    assert crypto.hash_to_curve(bytes.fromhex("00" * 31 + last)) == point


def test_a_signature_is_blinded_and_unblinded() -> None:
    mint, r = SecretKey.generate(), crypto.random_scalar()
    blinded = crypto.blind("a secret", r)
    signed = PublicKey(bytes.fromhex(blinded)).multiply(bytes.fromhex(mint.hex)).format().hex()
    mint_key = PublicKey.from_secret(bytes.fromhex(mint.hex)).format().hex()
    direct = PublicKey(bytes.fromhex(crypto.hash_to_curve(b"a secret"))).multiply(bytes.fromhex(mint.hex))
    assert crypto.unblind(signed, r, mint_key) == direct.format().hex()


def test_the_proof_of_the_mint_is_checked() -> None:
    assert crypto.hash_points(SECOND, SECOND, SECOND, POINT) == (
        "a4dc034b74338c28c6bc3ea49731f2a24440fc7c4affc08b31a93fc9fbe6401e"
    )
    mint_key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    dleq = {
        "e": "9818e061ee51d5c8edc3342369a554998ff7b4381c8652d724cdf46429be73d9",
        "s": "9818e061ee51d5c8edc3342369a554998ff7b4381c8652d724cdf46429be73da",
    }
    assert crypto.check_signature_proof(dleq, POINT, POINT, mint_key)
    assert not crypto.check_signature_proof({**dleq, "s": dleq["e"]}, POINT, POINT, mint_key)
    assert not crypto.check_signature_proof({}, POINT, POINT, mint_key)


def test_keyset_ids_follow_from_their_keys() -> None:
    keys = {
        1: "03a40f20667ed53513075dc51e715ff2046cad64eb68960632269ba7f0210e38bc",
        2: "03fd4ce5a16b65576145949e6f99f445f8249fee17c606b688b504a849cdc452de",
        4: "02648eccfa4c026960966276fa5a4cae46ce0fd432211a4f449bf84f13aa5f8303",
        8: "02fdfd6796bfeac490cbee12f778f867f0a2c68f6508d17c649759ea0dc3547528",
    }
    assert crypto.keyset_id(keys, "sat", 0, None, "00") == "00456a94ab4e1c46"


def test_binary_tokens_are_read() -> None:
    read = token.parse(B)
    assert (read.mint, read.unit, read.memo, read.amount) == ("http://localhost:3338", "sat", "Thank you", 1)
    assert read.proofs[0] == {
        "amount": 1,
        "id": "00ad268c4d1f5826",
        "secret": "9a6dbb847bd232ba76db0df197216b29d3b8cc14553cd27827fc1cc942fedb4e",
        "C": "038618543ffb6b8695df4ad4babcde92a34a96bdcd97dcee0d7ccf98d472126792",
    }
    assert token.parse(token.encode(read)).proofs == read.proofs


@pytest.mark.parametrize(
    "text", ["", "cashu", "casshuA", "cashuC", "cashuAxx", "cashuB", "cashuB" + "g" * 50, B[:60], B[:-20], "cashuAe30"]
)
def test_damaged_tokens_are_refused(text: str) -> None:
    with pytest.raises(EcashRefused):
        token.parse(text)


def test_a_lock_opens_with_its_key_alone() -> None:
    key = SecretKey.generate()
    secret = orjson.dumps(["P2PK", {"nonce": "ab", "data": "02" + key.public}]).decode()
    witness = orjson.loads(crypto.unlock(secret, key) or "")
    from nostr.key import verify_schnorr

    digest = hashlib.sha256(secret.encode()).digest()
    assert verify_schnorr(key.public, digest, bytes.fromhex(witness["signatures"][0]))
    assert crypto.unlock("ab" * 32, key) is None
    with pytest.raises(EcashRefused, match="another key"):
        crypto.unlock(secret, SecretKey.generate())
    timed = orjson.dumps(["P2PK", {"nonce": "ab", "data": "02" + key.public, "tags": [["locktime", "1"]]}]).decode()
    with pytest.raises(EcashRefused, match="conditions"):
        crypto.unlock(timed, key)


def test_amounts_are_split_into_powers_of_two() -> None:
    assert split(13) == [1, 4, 8]
