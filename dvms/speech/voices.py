# ruff: noqa: E501  (tables read better in long lines)
"""Who can speak: each engine turns text into mono samples and their rate, and says which languages it has.

VoiceFailed     the engine could not speak; the reason is for the customer
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from dvms.service import Failed

if TYPE_CHECKING:
    from dvms.audio import Samples

ENGLISH: Final = ("en", "eng", "english")
_PAUSE: Final = 0.28  # seconds between two paragraphs


class VoiceFailed(Failed):
    pass


class Voice(Protocol):
    """An engine. `told` is called with the share of the text that is spoken."""

    name: str
    model: str
    licence: str

    def speak(
        self, text: str, *, voice: str, speed: float, language: str, seed: int, told: Callable[[float], None]
    ) -> tuple[Samples, int]: ...


def language_code(language: str | None) -> str:
    """`en-GB`, `English` and `EN` are all `en`."""
    text = (language or "en").strip().lower()
    if text in ENGLISH:
        return "en"
    return _CALLED.get(text, re.split(r"[-_ ]", text)[0])


_CALLED: Final = {
    "german": "de", "deutsch": "de", "french": "fr", "français": "fr", "spanish": "es", "español": "es", "italian": "it",
    "italiano": "it", "portuguese": "pt", "português": "pt", "dutch": "nl", "polish": "pl", "russian": "ru", "swedish": "sv",
    "norwegian": "nb", "danish": "da", "finnish": "fi", "turkish": "tr", "greek": "el", "czech": "cs", "hungarian": "hu",
    "romanian": "ro", "ukrainian": "uk", "arabic": "ar", "hindi": "hi", "chinese": "cmn", "zh": "cmn", "mandarin": "cmn",
    "japanese": "ja", "korean": "ko", "esperanto": "eo", "latin": "la", "catalan": "ca", "vietnamese": "vi", "indonesian": "id",
}  # fmt: skip


@dataclass(slots=True)
class Hibari:
    """English, in the package: 14 MB, fifty times real time on one core."""

    name: str = "hibari-tts"
    model: str = "hibari voice heart"
    licence: str = "Apache-2.0"
    _loaded: Any = None

    def speak(
        self, text: str, *, voice: str, speed: float, language: str, seed: int, told: Callable[[float], None]
    ) -> tuple[Samples, int]:
        import numpy as np

        if self._loaded is None:
            from hibari import Hibari as Model

            self._loaded = Model(threads=1)
        tts = self._loaded
        rng = np.random.default_rng(seed)
        parts: list[Any] = []
        paragraphs = [p for p in re.split(r"\n+", text) if p.strip()]
        spoken = 0
        for paragraph in paragraphs:
            for phonemes in tts.phonemize(paragraph):
                parts.append(tts.from_ids(tts.ids(phonemes), speed, rng))
            spoken += len(paragraph)
            parts.append(np.zeros(int(_PAUSE * tts.sample_rate / speed), np.float32))
            told(spoken / len(text))
        if not any(part.any() for part in parts):
            raise VoiceFailed("there is nothing to say in this text")
        return np.concatenate(parts[:-1])[:, None], int(tts.sample_rate)


@dataclass(slots=True)
class Espeak:
    """A hundred languages by rules: robotic, small, its own process."""

    name: str = "espeak-ng"
    model: str = "formant synthesis"
    licence: str = "GPL-3.0 program, output free"

    def speak(
        self, text: str, *, voice: str, speed: float, language: str, seed: int, told: Callable[[float], None]
    ) -> tuple[Samples, int]:
        from dvms import audio

        with tempfile.TemporaryDirectory() as folder:
            words, wav = Path(folder, "text.txt"), Path(folder, "speech.wav")
            words.write_text(text, encoding="utf-8")
            pace = str(round(160 * speed))
            command = ["espeak-ng", "-v", espeak_languages()[language], "-s", pace, "-f", str(words), "-w", str(wav)]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
                sound = audio.read(wav, 24_000, 1)
            except (subprocess.SubprocessError, OSError, ValueError) as error:
                raise VoiceFailed(f"espeak-ng could not speak this: {error}") from None
        told(1.0)
        return sound, 24_000


@cache
def espeak_languages() -> dict[str, str]:
    """Language code -> espeak-ng's voice; empty where it isn't installed."""
    if shutil.which("espeak-ng") is None:
        return {}
    try:
        listed = subprocess.run(["espeak-ng", "--voices"], capture_output=True, timeout=10, check=True, text=True)
    except (subprocess.SubprocessError, OSError):
        return {}
    voices: dict[str, str] = {}
    for line in listed.stdout.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 1:
            code = fields[1]
            voices.setdefault(code.split("-")[0], code)
    return voices


@dataclass(slots=True)
class Server:
    """Any server with OpenAI's `/v1/audio/speech` (Kokoro-FastAPI, LocalAI, openedai-speech ...)."""

    base_url: str
    model: str
    key_file: str = ""
    default_voice: str = ""
    timeout: float = 300
    name: str = "openai-compatible"
    licence: str = "the model's own"

    def speak(
        self, text: str, *, voice: str, speed: float, language: str, seed: int, told: Callable[[float], None]
    ) -> tuple[Samples, int]:
        from dvms import audio

        body: dict[str, Any] = {"model": self.model, "input": text, "response_format": "wav", "speed": speed}
        body["voice"] = voice or self.default_voice or "alloy"
        headers = {"Content-Type": "application/json"}
        if self.key_file:
            headers["Authorization"] = f"Bearer {Path(self.key_file).expanduser().read_text().strip()}"
        url = self.base_url.rstrip("/") + "/audio/speech"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                data = answer.read(256 * 1024 * 1024)
        except urllib.error.HTTPError as error:
            raise VoiceFailed(f"the speech server answered {error.code}") from None
        except OSError as error:
            raise VoiceFailed(f"the speech server can't be reached ({type(error).__name__})") from None
        handle, path = tempfile.mkstemp(suffix=".wav")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            sound = audio.read(Path(path), 24_000, 1)
        except ValueError:
            raise VoiceFailed("the speech server answered with something that is not sound") from None
        finally:
            Path(path).unlink(missing_ok=True)
        told(1.0)
        return sound, 24_000
