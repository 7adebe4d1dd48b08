"""Songs for kind 5251. The embedded engine composes, plays and sings; `engine = "ace-step"` uses a neural model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from dvms.service import Artefact, Engine, Failed, Job, Progress, Refused, Result, Service

LONGEST = 240
EMBEDDED = "embedded"


def _switch(value: object) -> object:
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("none", "instrumental", "without", "no vocals"):
            return False
        if text in ("with", "sung", "vocals", "auto", ""):
            return True
    return value


class MusicParams(BaseModel):
    """What a customer can ask for."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    style: str | None = Field(None, max_length=200, description="style in words, for instance folk, synthwave, lofi")
    lyrics: str | None = Field(
        None, max_length=8000, description="words to sing; [Verse] and [Chorus] labels are understood"
    )
    seconds: float = Field(
        30,
        ge=8,
        le=LONGEST,
        validation_alias=AliasChoices("seconds", "duration", "length", "audio_duration"),
        description="length in seconds",
    )
    vocals: Annotated[bool, BeforeValidator(_switch)] = Field(True, description="on: sung; off: instrumental")
    seed: int | None = Field(None, description="the same seed and order give the same song")
    title: str | None = Field(None, max_length=120, description="title, kept in the file")
    tempo: float | None = Field(
        None, ge=50, le=180, validation_alias=AliasChoices("tempo", "bpm"), description="beats a minute"
    )


class MusicSettings(BaseModel):
    """`[dvm.music]`"""

    model_config = ConfigDict(extra="forbid")

    engine: str = Field(EMBEDDED, description="embedded, or a diffusers music pipeline: hub id or local folder")
    soundfont: str = Field("", description="SoundFont file for FluidSynth; empty: a usual one if there; off: never")
    longest: int = Field(180, ge=10, le=LONGEST, description="longest song in seconds")
    included_seconds: int = Field(
        60, ge=10, description="length the base price covers; longer songs cost in proportion"
    )
    licence: str = Field("", description="licence of a diffusers model, told to customers")
    dtype: str = Field("auto", description="auto, float32, bfloat16 or float16, for a diffusers model")
    offload: str = Field("auto", description="auto, none, model or sequential: memory care of a diffusers model")
    variant: str | None = Field(None, description="weights variant of a diffusers model, for instance fp16")
    local_files_only: bool = Field(False, description="never fetch model files")
    steps: int | None = Field(None, ge=1, le=200, description="denoising steps; empty: the model's own")


class MusicService(Service):
    name = "Songsmith"
    about = "Songs from a theme and lyrics: planned, played and sung. Over a minute, the price follows the length."
    kinds = (5251,)
    Params = MusicParams
    Settings = MusicSettings

    settings: MusicSettings

    @property
    def _embedded(self) -> bool:
        return self.settings.engine in (EMBEDDED, "", "bandbox", "bandbox-1")

    def engine(self) -> Engine:
        if self._embedded:
            return Engine("bandbox-1", "composer and synthesiser with hibari voice", "MIT; voice Apache-2.0")
        return Engine("diffusers", self.settings.engine)

    def check(self, job: Job[MusicParams]) -> None:
        from dvms.audio_formats import known_format

        if known_format(job.output) is None:
            raise Refused(f"this worker can't write {job.output}: ask for audio/mp4, mpeg, ogg, flac or wav")
        if job.params.seconds > self.settings.longest:
            raise Refused(f"the longest song here is {self.settings.longest} seconds")
        if not _words(job).strip():
            raise Refused("say what the song is about: a text input, or the param lyrics")

    def price_msat(self, job: Job[MusicParams], base_msat: int) -> int:
        included = self.settings.included_seconds
        seconds = int(job.params.seconds + 0.999)
        return base_msat if seconds <= included else base_msat * seconds // included

    def run(self, job: Job[MusicParams], progress: Progress) -> Result:
        from dvms import audio
        from dvms.music import engine, lyrics, sheet, soundfont

        theme, words = _theme_and_lyrics(job, progress)
        title = job.params.title or _title(theme, words)
        mime = audio.known_format(job.output) or "audio/mp4"
        path = job.workdir / f"song{audio.FORMATS[mime][0]}"
        if not self._embedded:
            return self._neural(job, progress, theme, words, title, mime)
        order = engine.Order(
            title=title,
            theme=theme,
            blocks=lyrics.parse(words),
            style=job.params.style,
            seconds=job.params.seconds,
            vocals=job.params.vocals,
            seed=job.seed,
            tempo=job.params.tempo,
            soundfont=soundfont.find(self.settings.soundfont),
        )

        def told(fraction: float, message: str) -> None:
            if progress.cancelled:
                raise Failed("cancelled")
            progress(fraction, message)

        made = engine.compose(order, told)
        progress(0.92, "writing the file")
        audio.write(path, made.sound, audio.RATE, mime, metadata={"title": title, "comment": sheet.dumps(made.sheet)})
        sung = f"{len(made.sheet['lines'])} lines sung" if made.sheet["lines"] else "instrumental"
        return Result(
            files=(
                Artefact(path, mime, seconds=made.song.seconds, alt=f"{title}: {made.song.style.name} song, {sung}"),
            ),
            facts={
                "engine": f"{engine.NAME} ({made.band})",
                "model": "hibari-tts voice heart" if made.song.sung else "none",
                "licence": "output free to use; voice model Apache-2.0",
                "seed": str(job.seed),
                "style": made.song.style.name,
                "tempo": f"{made.song.tempo:.1f}",
            },
        )

    def _neural(
        self, job: Job[MusicParams], progress: Progress, theme: str, words: str, title: str, mime: str
    ) -> Result:
        from dvms import audio
        from dvms.music import ace, sheet

        made = ace.make(
            self.settings,
            progress,
            prompt=", ".join(part for part in (job.params.style, theme) if part),
            lyrics=words if job.params.vocals else ace.INSTRUMENTAL,
            seconds=job.params.seconds,
            seed=job.seed,
            tempo=job.params.tempo,
        )
        path = job.workdir / f"song{audio.FORMATS[mime][0]}"
        sound = audio.master(made.sound, made.rate)
        seconds = len(sound) / made.rate
        comment = {
            "timmy": sheet.VERSION,
            "title": title,
            "style": job.params.style or "",
            "seconds": round(seconds, 3),
        }
        audio.write(path, sound, made.rate, mime, metadata={"title": title, "comment": sheet.dumps(comment)})
        return Result(
            files=(Artefact(path, mime, seconds=seconds, alt=title),),
            facts={
                "engine": f"diffusers {made.pipeline}",
                "model": self.settings.engine,
                "licence": made.licence,
                "seed": str(job.seed),
            },
        )


def _words(job: Job[Any]) -> str:
    return "\n".join([*(item.text for item in job.inputs if item.text), job.params.lyrics or ""])


def _theme_and_lyrics(job: Job[MusicParams], progress: Progress) -> tuple[str, str]:
    """What the song is about, and its words: given, or written here where the song is to be sung."""
    from dvms.music import lyrics

    inputs = [item.text for item in job.inputs if item.text and item.text.strip()]
    if job.params.lyrics:
        return "\n".join(inputs) or job.params.lyrics, job.params.lyrics
    marked = [item.text or "" for item in job.inputs if item.marker == "lyrics"]
    if marked:
        return "\n".join(inputs), "\n".join(marked)
    theme = "\n".join(inputs)
    blocks = lyrics.parse(theme)
    if sum(len(block.lines) for block in blocks) >= 3:  # a text of several lines is the lyric itself
        return theme, theme
    if not job.params.vocals:
        return theme, ""
    from dvms.text.writer import write

    progress(0.02, "writing the lyric")
    piece = write(theme, job.seed, lines=8 if job.params.seconds < 45 else 12 if job.params.seconds < 75 else 16)
    return theme, "\n\n".join("\n".join(block) for block in piece.stanzas)


def _title(theme: str, words: str) -> str:
    text = theme.strip().splitlines()[0] if theme.strip() else words.strip().splitlines()[0]
    text = " ".join(text.strip("[]{}\"' ").split())
    return text if len(text) <= 60 else text[:57].rsplit(" ", 1)[0] + "…"
