"""Kind 5100: a prompt, or a prompt and a picture, becomes a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from dvms.service import Artefact, Engine, Job, Progress, Refused, Result, Service
from dvms.sizes import choose_size

if TYPE_CHECKING:
    from PIL.Image import Image

EMBEDDED = "storybook"
LARGEST = 1536
LONGEST_PROMPT = 2000


class ImageParams(BaseModel):
    """What a customer may ask for besides the prompt."""

    model_config = ConfigDict(extra="ignore")

    size: str | None = Field(None, description="pixels, like 1024x768, up to 1536x1536")
    ratio: str | None = Field(None, description="instead of a size: 16:9, 4:3, 1:1, 9:16, square, portrait ...")
    width: int | None = Field(None, description="pixels")
    height: int | None = Field(None, description="pixels")
    seed: int | None = Field(None, description="the same seed and prompt give the same picture")
    negative_prompt: str = Field("", max_length=500, description="what to leave out")
    style: str | None = Field(
        None, description="watercolour, pixel, poster, noir, pastel or ink; default: as the prompt says"
    )
    steps: int | None = Field(None, ge=1, le=150, description="denoising steps (neural engines)")
    guidance_scale: float | None = Field(
        None, ge=0, le=30, description="how closely to follow the prompt (neural engines)"
    )
    strength: float = Field(0.6, ge=0, le=1, description="how far to move from an input picture")


class ImageSettings(BaseModel):
    """One line makes it neural: engine = "owner/model" or a folder."""

    model_config = ConfigDict(extra="forbid")

    engine: str = Field(
        EMBEDDED, description='"storybook" (built in), or a diffusers pipeline: a hub id or a local folder'
    )
    default_size: str = Field("1024x768", description="size where the customer names none")
    licence: str = Field("", description="licence of a diffusers model, told to customers")
    dtype: str = Field("auto", description="auto, float32, bfloat16 or float16")
    offload: str = Field(
        "auto", description="auto, none, model or sequential: what to keep out of the accelerator's memory"
    )
    variant: str | None = Field(None, description="weights variant of the model, for instance fp16")
    local_files_only: bool = Field(False, description="never fetch model files")
    steps: int | None = Field(None, description="default denoising steps; none: the model's own")
    guidance_scale: float | None = Field(None, description="default guidance; none: the model's own")
    safety: bool = Field(
        True, description="refuse pictures that the classifier of the `safety` extra calls indecent, where installed"
    )
    refuse_words: list[str] = Field(default_factory=list, description="prompts with one of these words are refused")


class ImageService(Service):
    """Storybook pictures out of the box; any diffusers pipeline by one line of settings."""

    name = "Timmy Pictures"
    about = (
        "Pictures from words, in any of 25 languages. Sizes up to 1536x1536, six styles, seeds, negative prompts; "
        "give a picture as a url input to build on it."
    )
    kinds = (5100,)
    Params = ImageParams
    Settings = ImageSettings

    @property
    def embedded(self) -> bool:
        return bool(self.settings.engine == EMBEDDED)

    def engine(self) -> Engine:
        if self.embedded:
            return Engine("Storybook", "storybook-1 (procedural compositor, no neural network)", "MIT")
        return Engine("diffusers", self.settings.engine, self.settings.licence)

    def _size(self, job: Job[ImageParams]) -> tuple[int, int]:
        p = job.params
        width, _, height = str(self.settings.default_size).partition("x")
        step = 2 if self.embedded else 16
        return choose_size(
            size=p.size,
            ratio=p.ratio,
            width=p.width,
            height=p.height,
            default=(int(width), int(height)),
            largest=LARGEST,
            step=step,
        )

    def check(self, job: Job[ImageParams]) -> None:
        prompt = job.text()
        if len(prompt) > LONGEST_PROMPT:
            raise Refused(f"the prompt is longer than {LONGEST_PROMPT} characters")
        lowered = prompt.lower()
        for word in self.settings.refuse_words:
            if word.lower() in lowered:
                raise Refused("this prompt is not served here")
        self._size(job)
        if self.embedded and job.params.style:
            from dvms.image.storybook.words import style_named

            if style_named(job.params.style) is None:
                raise Refused("style must be watercolour, pixel, poster, noir, pastel, ink or storybook")

    def run(self, job: Job[ImageParams], progress: Progress) -> Result:
        self.check(job)
        if self.embedded:
            return self._storybook(job, progress)
        from dvms.image import diffusion

        width, height = self._size(job)
        return diffusion.picture(job, progress, self.settings, self.engine(), width, height)

    def _storybook(self, job: Job[ImageParams], progress: Progress) -> Result:
        from dvms.image.storybook.compose import compose, finish_on, flatten
        from dvms.image.storybook.recipe import VERSION, Recipe
        from dvms.image.storybook.words import style_named

        width, height = self._size(job)
        p = job.params
        recipe = Recipe(job.text().strip(), job.seed, width, height, style_named(p.style), p.negative_prompt, VERSION)
        progress(0.1, "imagining")
        given = job.files("image/")
        if given and given[0].path is not None:
            picture = finish_on(recipe, given[0].path, p.strength)
            facts = {"based on": "the input picture"}
            path = save_png(picture, job.workdir / "picture.png", None)
        else:
            scene = compose(recipe)
            progress(0.6, "painting")
            picture = flatten(scene)
            facts = {"subjects": ", ".join(scene.subject_labels)}
            path = save_png(picture, job.workdir / "picture.png", recipe.to_json())
        engine = self.engine()
        facts |= {"engine": engine.name, "model": engine.model, "licence": engine.licence, "seed": str(job.seed)}
        progress(1.0, "done")
        return Result(None, (Artefact(path, "image/png", width, height, alt=recipe.prompt[:300]),), facts)


def save_png(picture: "Image", path: Path, recipe: str | None, **texts: Any) -> Path:
    """Write a PNG with the recipe and other texts in its chunks."""
    from PIL.PngImagePlugin import PngInfo

    from dvms.image.storybook.recipe import CHUNK

    info = PngInfo()
    if recipe:
        info.add_itxt(CHUNK, recipe)
    for key, value in texts.items():
        info.add_itxt(key, str(value))
    picture.save(path, "PNG", pnginfo=info, compress_level=4)
    return path
