"""Kind 5202: a picture becomes a clip."""

import json
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from dvms.animation.moves import move_named
from dvms.service import Artefact, Engine, Failed, Job, Progress, Refused, Result, Service
from dvms.sizes import choose_size

EMBEDDED = "parallax"
LARGEST = 1920
MOST_FRAMES = 30 * 60


class AnimationParams(BaseModel):
    """How to move."""

    model_config = ConfigDict(extra="ignore")

    motion: str | None = Field(
        None, description="camera: push in, pull out, pan left, pan right, tilt up, tilt down, orbit, drift, still"
    )
    seconds: float = Field(5.0, ge=0.5, le=20, description="length of the clip")
    fps: int = Field(24, ge=8, le=60, description="frames a second")
    size: str | None = Field(None, description="pixels, like 854x480; default: the picture's, at most 1280 wide")
    ratio: str | None = Field(None, description="instead of a size: 16:9, 1:1, 9:16 ...")
    width: int | None = Field(None, description="pixels")
    height: int | None = Field(None, description="pixels")
    seed: int | None = Field(None, description="the same seed gives the same clip")
    steps: int | None = Field(None, ge=1, le=150, description="denoising steps (neural engines)")
    guidance_scale: float | None = Field(
        None, ge=0, le=30, description="how closely to follow the words (neural engines)"
    )


class AnimationSettings(BaseModel):
    """One line makes it neural: engine = "owner/model" or a folder."""

    model_config = ConfigDict(extra="forbid")

    engine: str = Field(
        EMBEDDED, description='"parallax" (built in), or an image-to-video diffusers pipeline: a hub id or a folder'
    )
    licence: str = Field("", description="licence of a diffusers model, told to customers")
    dtype: str = Field("auto", description="auto, float32, bfloat16 or float16")
    offload: str = Field("auto", description="auto, none, model or sequential")
    variant: str | None = Field(None, description="weights variant of the model")
    local_files_only: bool = Field(False, description="never fetch model files")
    steps: int | None = Field(None, description="default denoising steps; none: the model's own")
    guidance_scale: float | None = Field(None, description="default guidance; none: the model's own")
    safety: bool = Field(
        True, description="check the first frame with the classifier of the `safety` extra, where installed"
    )


class Camera(Protocol):
    """Anything that has a picture for every moment."""

    def frame(self, t: float) -> Any: ...

    @property
    def focus(self) -> tuple[float, float] | None: ...


class AnimationService(Service):
    """Clips from pictures: true layers for Storybook pictures, 2.5D for others, a model by one line of settings."""

    name = "Timmy Motion"
    about = (
        "Brings a picture to life as an mp4: pictures made by a Timmy node move in their true layers, any other "
        "picture in 2.5D. Choose the camera move, length and size."
    )
    kinds = (5202,)
    Params = AnimationParams
    Settings = AnimationSettings

    def engine(self) -> Engine:
        if self.settings.engine == EMBEDDED:
            return Engine("Parallax", "parallax-1 (layers and depth, no neural network)", "MIT")
        return Engine("diffusers", self.settings.engine, self.settings.licence)

    def check(self, job: Job[AnimationParams]) -> None:
        if not job.files("image/"):
            raise Refused("this service needs a picture: add an `i` tag with its url")
        p = job.params
        if p.seconds * p.fps > MOST_FRAMES:
            raise Refused(f"at most {MOST_FRAMES} frames")
        choose_size(size=p.size, ratio=p.ratio, width=p.width, height=p.height, default=(854, 480), largest=LARGEST)

    def run(self, job: Job[AnimationParams], progress: Progress) -> Result:
        self.check(job)
        if self.settings.engine != EMBEDDED:
            from dvms.animation import diffusion

            return diffusion.clip(job, progress, self.settings, self.engine())
        return self._parallax(job, progress)

    def _parallax(self, job: Job[AnimationParams], progress: Progress) -> Result:
        from dataclasses import replace

        from PIL import Image, UnidentifiedImageError

        from dvms.animation.flatdepth import FlatDepth
        from dvms.animation.parallax import Parallax
        from dvms.image.storybook import recipe as recipes
        from dvms.video.encode import DRAFT, Mp4

        p = job.params
        source = job.files("image/")[0].path
        if source is None:
            raise Refused("the picture did not arrive")
        try:
            with Image.open(source) as opened:
                picture = opened.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise Failed("the picture can't be read") from error
        width, height = choose_size(
            size=p.size, ratio=p.ratio, width=p.width, height=p.height, default=_fitting(picture.size), largest=LARGEST
        )
        move = move_named(p.motion or _spoken_motion(job), job.seed)
        recipe = recipes.read(source)
        progress(0.05, "looking at the picture")
        camera: Camera
        if recipe is not None:
            camera = Parallax(replace(recipe, width=width, height=height), move, p.seconds)
        else:
            camera = FlatDepth(picture, width, height, move, p.seconds)
        path, frames = job.workdir / "clip.mp4", max(2, round(p.seconds * p.fps))
        about = json.dumps({"timmy": "clip/1", "focus": camera.focus}) if camera.focus else ""
        with Mp4(path, width, height, p.fps, quality=DRAFT, comment=about) as clip:
            for i in range(frames):
                if i % 12 == 0:
                    if progress.cancelled:
                        raise Failed("cancelled")
                    progress(0.1 + 0.88 * i / frames, f"frame {i} of {frames}")
                frame = camera.frame(i / p.fps)
                clip.show(frame)
                if i == frames // 2:
                    poster = job.workdir / "poster.jpg"
                    frame.save(poster, quality=85)
        engine = self.engine()
        facts = {
            "engine": engine.name,
            "model": engine.model,
            "licence": engine.licence,
            "seed": str(job.seed),
            "motion": move.name,
            "depth": "true layers" if recipe is not None else "estimated",
        }
        progress(1.0, "done")
        alt = recipe.prompt if recipe is not None else "an animated picture"
        return Result(None, (Artefact(path, "video/mp4", width, height, frames / p.fps, alt[:300], poster),), facts)


def _fitting(size: tuple[int, int]) -> tuple[int, int]:
    """The picture's own size, within 1280 a side, even."""
    shrink = min(1.0, 1280 / max(size))
    return max(64, round(size[0] * shrink) // 2 * 2), max(64, round(size[1] * shrink) // 2 * 2)


def _spoken_motion(job: Job[AnimationParams]) -> str | None:
    return next((item.text for item in job.inputs if item.text), None)
