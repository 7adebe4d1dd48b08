"""Spoken text for kind 5250: English by the embedded voice, other languages by espeak-ng, or any speech server."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from dvms.audio_formats import FORMATS, known_format
from dvms.service import Artefact, Engine, Failed, Job, Progress, Refused, Result, Service
from dvms.speech import voices

EMBEDDED = "embedded"


class SpeechParams(BaseModel):
    """What a customer can ask for."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    voice: str = Field("", max_length=100, description="voice; empty: the engine's own")
    speed: float = Field(1.0, ge=0.5, le=2.0, description="1 is natural")
    language: str = Field(
        "en",
        max_length=40,
        validation_alias=AliasChoices("language", "lang"),
        description="ISO 639 code, for instance en",
    )
    seed: int | None = Field(None, description="the same seed gives the same sound")


class SpeechSettings(BaseModel):
    """`[dvm.speech]`"""

    model_config = ConfigDict(extra="forbid")

    engine: str = Field(EMBEDDED, description="embedded, or openai for a server with /v1/audio/speech at base_url")
    base_url: str = Field("", description="of the server, with /v1 (http://127.0.0.1:8880/v1)")
    model: str = Field("tts-1", description="model name for the server")
    server_voice: str = Field("", description="voice of the server where the customer names none")
    api_key_file: str = Field("", description="file with the server's key, if it wants one")
    longest: int = Field(10_000, ge=100, description="longest text in characters")


class SpeechService(Service):
    name = "Reader"
    about = "Reads text aloud."
    kinds = (5250,)
    Params = SpeechParams
    Settings = SpeechSettings

    settings: SpeechSettings

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        if self.settings.engine not in (EMBEDDED, "", "hibari", "espeak", "openai"):
            raise ValueError(f"speech has no engine {self.settings.engine!r}: embedded, espeak or openai")
        if self.settings.engine == "openai" and not self.settings.base_url:
            raise ValueError("the speech engine openai needs base_url")
        self._hibari = voices.Hibari()

    def engine(self) -> Engine:
        if self.settings.engine == "openai":
            return Engine("openai-compatible", self.settings.model)
        if self.settings.engine == "espeak":
            return Engine("espeak-ng", "formant synthesis", "GPL-3.0 program, output free")
        return Engine(self._hibari.name, self._hibari.model, self._hibari.licence)

    def check(self, job: Job[SpeechParams]) -> None:
        text = job.text()
        if re.search(r"\w", text) is None:
            raise Refused("there is nothing to say in this text")
        if len(text) > self.settings.longest:
            raise Refused(f"the text has {len(text)} characters; the most here is {self.settings.longest}")
        if known_format(job.output) is None:
            raise Refused(f"this worker can't write {job.output}: ask for audio/mp4, mpeg, ogg, flac or wav")
        self._voice(job)

    def _voice(self, job: Job[SpeechParams]) -> voices.Voice:
        """Who speaks this job. Refused where nobody can."""
        language = voices.language_code(job.params.language)
        if self.settings.engine == "openai":
            return voices.Server(
                self.settings.base_url, self.settings.model, self.settings.api_key_file, self.settings.server_voice
            )
        asked = job.params.voice.strip().lower()
        if language == "en" and asked in ("", "heart", "default", "hibari") and self.settings.engine != "espeak":
            if importlib.util.find_spec("hibari") is None:
                raise Refused("the English voice is not installed here")
            return self._hibari
        if language in voices.espeak_languages() and asked in ("", "espeak", "default"):
            return voices.Espeak()
        if language == "en":
            raise Refused(f"there is no voice {job.params.voice!r} here: the one there is, is called heart")
        raise Refused(f"no voice here speaks {job.params.language}")

    def run(self, job: Job[SpeechParams], progress: Progress) -> Result:
        from dvms import audio

        voice = self._voice(job)
        language = voices.language_code(job.params.language)

        def told(share: float) -> None:
            if progress.cancelled:
                raise Failed("cancelled")
            progress(0.05 + 0.8 * share, "speaking")

        sound, rate = voice.speak(
            job.text().strip(),
            voice=job.params.voice,
            speed=job.params.speed,
            language=language,
            seed=job.seed,
            told=told,
        )
        sound = audio.master(sound, rate, lufs=-16.0)
        mime = known_format(job.output) or "audio/mp4"
        path = job.workdir / f"speech{FORMATS[mime][0]}"
        seconds = len(sound) / rate
        progress(0.92, "writing the file")
        audio.write(path, sound, rate, mime, metadata={"title": job.text().strip()[:80]})
        facts = {
            "engine": voice.name,
            "model": voice.model,
            "licence": voice.licence,
            "language": language,
            "seed": str(job.seed),
        }
        return Result(files=(Artefact(path, mime, seconds=seconds, alt=job.text().strip()[:200]),), facts=facts)
