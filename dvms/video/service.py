"""Kind 5203: clips or pictures, a song and its words become one film."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dvms.service import Artefact, Engine, Failed, Input, Job, Progress, Refused, Result, Service
from dvms.sizes import choose_size

LARGEST = 1920
MOST_SOURCES = 32
STILL_SECONDS = 4.0


class VideoParams(BaseModel):
    """How to cut."""

    model_config = ConfigDict(extra="ignore")

    title: str = Field("", max_length=120, description="title card over the opening; default: the song's own title")
    captions: str = Field(
        "sheet",
        description='"sheet" (the song file), "none", a JSON list of texts or {"t0", "t1", "text"}, or plain lines',
    )
    ending: str = Field("The End", max_length=60, description="words of the closing card; empty: none")
    size: str | None = Field(None, description="pixels, like 854x480 (the default)")
    ratio: str | None = Field(None, description="instead of a size: 16:9, 1:1, 9:16 ...")
    width: int | None = Field(None, description="pixels")
    height: int | None = Field(None, description="pixels")
    fps: int = Field(24, ge=12, le=60, description="frames a second")
    seconds: float | None = Field(
        None, ge=1, le=600, description="length; default: the song's, else that of the clips together"
    )


class VideoSettings(BaseModel):
    """Limits."""

    model_config = ConfigDict(extra="forbid")

    longest: float = Field(300, ge=5, description="longest film, in seconds")


class VideoService(Service):
    """Beat-aligned films from clips, pictures, a song and its words."""

    name = "Timmy Cutting Room"
    about = (
        "Cuts clips or pictures to a song: on the beat, with dissolves, karaoke captions and a title card, -15 LUFS. "
        'Inputs: urls in order; the song is the url input with marker "audio". Gives an mp4 (H.264, AAC).'
    )
    kinds = (5203,)
    Params = VideoParams
    Settings = VideoSettings

    def engine(self) -> Engine:
        return Engine("Cutting room", "cut-1 (no neural network)", "MIT")

    def check(self, job: Job[VideoParams]) -> None:
        pictures = self._pictures(job)
        if not pictures:
            raise Refused("this service needs clips or pictures: add `i` tags with their urls")
        if len(pictures) > MOST_SOURCES:
            raise Refused(f"at most {MOST_SOURCES} clips")
        if job.params.seconds and job.params.seconds > self.settings.longest:
            raise Refused(f"films here are at most {self.settings.longest:.0f} seconds long")
        self._size(job)
        self._captions(job.params.captions)

    def _size(self, job: Job[VideoParams]) -> tuple[int, int]:
        p = job.params
        return choose_size(
            size=p.size, ratio=p.ratio, width=p.width, height=p.height, default=(854, 480), largest=LARGEST
        )

    def _song(self, job: Job[VideoParams]) -> Input | None:
        files = [item for item in job.inputs if item.path is not None]
        marked = [item for item in files if item.marker == "audio"]
        return next(iter([*marked, *(item for item in files if (item.mime or "").startswith("audio/"))]), None)

    def _pictures(self, job: Job[VideoParams]) -> list[Input]:
        song = self._song(job)
        return [
            item
            for item in job.inputs
            if item.path is not None and item is not song and (item.mime or "").startswith(("video/", "image/"))
        ]

    def _captions(self, text: str) -> list[Any]:
        """Texts or timed lines; [] for "sheet" and "none". Raises Refused."""
        words = text.strip()
        if words in ("", "sheet", "none", "off"):
            return []
        if words.startswith("["):
            from dvms.video.sheet import read_lines

            try:
                given = json.loads(words)
                timed = [item for item in given if isinstance(item, dict)]
                if timed:
                    return list(read_lines(timed))
                return [str(item)[:200] for item in given][:200]
            except (ValueError, KeyError, TypeError) as error:
                raise Refused('captions must be a JSON list of texts or of {"t0", "t1", "text"}') from error
        return [line[:200] for line in words.splitlines() if line.strip()][:200]

    def run(self, job: Job[VideoParams], progress: Progress) -> Result:
        from dvms import audio
        from dvms.video import cut, sheet
        from dvms.video.material import opened

        self.check(job)
        width, height = self._size(job)
        p, song = job.params, self._song(job)
        progress(0.02, "opening the material")
        materials = [
            opened(item.path, item.mime or "", width, height, i)
            for i, item in enumerate(self._pictures(job))
            if item.path is not None
        ]
        sound = None
        seconds = p.seconds or min(self.settings.longest, sum(m.seconds or STILL_SECONDS for m in materials))
        score = sheet.even(seconds)
        if song is not None and song.path is not None:
            try:
                sound = audio.read(song.path, most_seconds=p.seconds or self.settings.longest)
            except ValueError as error:
                raise Failed(f"the song can't be used: {error}") from error
            length = len(sound) / audio.RATE
            seconds = p.seconds or length
            score = sheet.read_sheet(sheet.file_comment(song.path), seconds) or sheet.heard(sound, audio.RATE)
            progress(0.06, "listening")
            sound = audio.master(_fitted(sound, seconds, audio.RATE), audio.RATE)
        lines = self._lines(p, score, seconds)
        film = cut.Film(
            width, height, p.fps, seconds, score, lines, p.title or score.title, p.ending if seconds >= 6 else ""
        )
        path = job.workdir / "film.mp4"

        def report(fraction: float) -> None:
            if progress.cancelled:
                raise Failed("cancelled")
            progress(0.08 + 0.9 * fraction, "cutting")

        shots = cut.render(film, materials, sound, path, report)
        poster = _poster(path, job.workdir / "poster.jpg", min(seconds * 0.35, seconds - 0.5))
        engine = self.engine()
        facts = {
            "engine": engine.name,
            "model": engine.model,
            "licence": engine.licence,
            "shots": str(len(shots)),
            "cuts": " ".join(f"{shot.t0:.2f}" for shot in shots[1:]),
            "beats": score.source,
            "captions": str(len(lines)),
        }
        progress(1.0, "done")
        alt = film.title or "a film"
        return Result(None, (Artefact(path, "video/mp4", width, height, round(seconds, 3), alt, poster),), facts)

    def _lines(self, p: VideoParams, score: Any, seconds: float) -> tuple[Any, ...]:
        from dvms.video.sheet import Line, spread

        words = p.captions.strip()
        if words == "sheet":
            return tuple(line for line in score.lines if line.t0 < seconds)
        given = self._captions(words)
        if given and isinstance(given[0], Line):
            return tuple(line for line in given if line.t0 < seconds)
        return spread(given, seconds, min(3.0, seconds * 0.12), min(2.0, seconds * 0.1)) if given else ()


def _fitted(sound: Any, seconds: float, rate: int) -> Any:
    """Exactly `seconds` of sound: cut with a fade, or followed by silence."""
    import numpy as np

    wanted = round(seconds * rate)
    if len(sound) >= wanted:
        out = sound[:wanted].copy()
        if len(sound) > wanted + rate // 20:
            fade = min(wanted, rate)
            out[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
        return out
    return np.concatenate([sound, np.zeros((wanted - len(sound), sound.shape[1]), np.float32)])


def _poster(film: Any, path: Any, at: float) -> Any:
    """A frame of the film as a JPEG."""
    import av
    from PIL import Image

    with av.open(str(film)) as opened:
        opened.seek(int(max(0.0, at) * 1_000_000))
        for frame in opened.decode(video=0):
            Image.fromarray(frame.to_ndarray(format="rgb24")).save(path, quality=85)
            return path
    return None
