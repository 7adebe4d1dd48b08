"""Speech by the embedded voice, by espeak-ng where it is, by a server."""

import math
from pathlib import Path

import pytest

from dvms import audio
from dvms.service import Failed, Progress, Refused
from dvms.speech import voices
from dvms.speech.service import SpeechService, SpeechSettings
from tests.dvms.helpers import job, work
from tests.dvms.openai_server import speech_server

HELLO = "Hello there. This node sells speech for ten sats."


def test_english_is_spoken_at_a_steady_loudness(tmp_path: Path) -> None:
    service = SpeechService()
    result = work(service, job(service, HELLO, tmp_path))
    made = result.files[0]
    sound = audio.read(made.path, 24_000, 1)
    assert made.mime == "audio/mp4" and made.path.suffix == ".m4a"
    assert 2.0 < len(sound) / 24_000 < 8.0
    assert made.seconds == pytest.approx(len(sound) / 24_000, abs=0.15)
    assert audio.loudness(sound, 24_000) == pytest.approx(-16, abs=1.0)
    assert audio.true_peak(sound) <= -1.0
    assert result.facts["engine"] == "hibari-tts"


def test_speed_changes_the_length_and_a_seed_fixes_the_sound(tmp_path: Path) -> None:
    service = SpeechService()
    slow = work(service, job(service, HELLO, tmp_path / "slow", speed=0.7, output="audio/wav", seed=3))
    fast = work(service, job(service, HELLO, tmp_path / "fast", speed=1.4, output="audio/wav", seed=3))
    again = work(service, job(service, HELLO, tmp_path / "again", speed=1.4, output="audio/wav", seed=3))
    assert (slow.files[0].seconds or 0) > 1.5 * (fast.files[0].seconds or math.inf)
    assert fast.files[0].path.read_bytes() == again.files[0].path.read_bytes()


@pytest.mark.parametrize("output", ["audio/mpeg", "audio/ogg", "audio/flac"])
def test_other_formats(tmp_path: Path, output: str) -> None:
    service = SpeechService()
    result = work(service, job(service, "Good morning.", tmp_path, output=output))
    assert result.files[0].mime == output
    assert len(audio.read(result.files[0].path, 24_000, 1)) > 10_000


@pytest.mark.parametrize(
    ("text", "params", "output", "reason"),
    [
        ("", {}, None, "needs a text"),
        ("— ?!", {}, None, "nothing to say"),
        ("Hello", {"voice": "darth"}, None, "no voice 'darth'"),
        ("nuqneH", {"language": "tlh"}, None, "no voice here speaks tlh"),
        ("Hello", {}, "image/png", "can't write image/png"),
        ("a" * 10_001, {}, None, "the most here is 10000"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_bill(
    tmp_path: Path, text: str, params: dict[str, str], output: str | None, reason: str
) -> None:
    service = SpeechService()
    with pytest.raises(Refused, match=reason):
        service.check(job(service, text, tmp_path, output=output, **params))


def test_a_cancelled_job_stops(tmp_path: Path) -> None:
    service = SpeechService()
    with pytest.raises(Failed, match="cancelled"):
        work(service, job(service, HELLO, tmp_path), Progress(cancelled=lambda: True))


def test_other_languages_by_espeak(tmp_path: Path) -> None:
    if not voices.espeak_languages():
        pytest.skip("espeak-ng is not installed: other languages are not tried")
    service = SpeechService()
    result = work(service, job(service, "Guten Tag, wie geht es dir?", tmp_path, language="de-DE"))
    assert result.facts["engine"] == "espeak-ng" and (result.files[0].seconds or 0) > 1


def test_a_speech_server_takes_the_place_of_the_voice(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-test\n")
    with speech_server() as server:
        settings = SpeechSettings(engine="openai", base_url=server.url, model="kokoro", api_key_file=str(key))
        service = SpeechService(settings)
        result = work(service, job(service, "Bonjour", tmp_path / "out", language="fr", voice="af_sky", speed=1.2))
    assert result.facts["model"] == "kokoro" and result.files[0].seconds == pytest.approx(1.0, abs=0.1)
    asked = server.asked[0]
    assert asked.body["input"] == "Bonjour" and asked.body["voice"] == "af_sky" and asked.body["speed"] == 1.2
    assert asked.headers["authorization"] == "Bearer sk-test"


def test_a_broken_speech_server_fails_without_telling_its_address(tmp_path: Path) -> None:
    with speech_server(status=500) as server:
        service = SpeechService(SpeechSettings(engine="openai", base_url=server.url))
        with pytest.raises(Failed, match="answered 500") as failed:
            work(service, job(service, "Bonjour", tmp_path))
    assert "127.0.0.1" not in str(failed.value)
