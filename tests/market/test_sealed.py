"""Files of encrypted jobs: noise on the file server, opened by who can read the result."""

import hashlib

import pytest

from market.errors import FetchRefused
from market.media import Media, Seal
from market.sealed import open_file, seal_file

TEXT = b"a private picture" * 100_000  # more than one chunk


@pytest.mark.parametrize("text", [TEXT, b"x", b""])
def test_what_was_sealed_is_opened_again(tmp_path, text):
    plain, noise, back = (tmp_path / name for name in ("plain", "noise", "back"))
    plain.write_bytes(text)
    sealed = seal_file(plain, noise)
    assert sealed.size == len(text) + 16 and sealed.sha256 == hashlib.sha256(noise.read_bytes()).hexdigest()
    assert text[:20] not in noise.read_bytes() or not text
    assert sealed.seal.key not in repr(sealed) and sealed.seal.key not in repr(sealed.seal)
    assert open_file(noise, sealed.seal, back) == sealed.seal.sha256 == hashlib.sha256(text).hexdigest()
    assert back.read_bytes() == text
    assert seal_file(plain, tmp_path / "again").seal.key != sealed.seal.key


@pytest.mark.parametrize("harm", ["flipped", "short", "empty", "other key"])
def test_a_file_that_is_not_the_sealed_one_is_refused_and_leaves_nothing(tmp_path, harm):
    plain, noise, back = (tmp_path / name for name in ("plain", "noise", "back"))
    plain.write_bytes(TEXT)
    seal = seal_file(plain, noise).seal
    raw = bytearray(noise.read_bytes())
    raw[7] ^= harm == "flipped"
    noise.write_bytes({"short": raw[:-1], "empty": b""}.get(harm, bytes(raw)))
    with pytest.raises(FetchRefused):
        open_file(noise, Seal("00" * 32, seal.nonce) if harm == "other key" else seal, back)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise", "plain"]


def test_a_seal_travels_in_imeta():
    seal = Seal("ab" * 32, "cd" * 12, "ef" * 32)
    media = Media("https://x.example/0", "12" * 32, "image/png", 99, seal=seal)
    tag = media.imeta()
    assert "encryption-algorithm aes-gcm" in tag and Media.from_imeta(tag) == media and media.original == "ef" * 32
    for broken in ("encryption-algorithm rot13", "decryption-key short", "decryption-nonce x"):
        name = broken.split()[0]
        read = Media.from_imeta([broken if item.startswith(name) else item for item in tag])
        assert read is not None and read.seal is None and read.original == "12" * 32
