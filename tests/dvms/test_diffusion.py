"""The real-model path: small pipelines made here, loaded from a folder, with progress, preview, cancel."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="REAL MODELS NOT TESTED: the `diffusers` extra is not installed")
pytest.importorskip("diffusers", reason="REAL MODELS NOT TESTED: the `diffusers` extra is not installed")

import av  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from dvms import pipelines  # noqa: E402
from dvms.animation.service import AnimationParams, AnimationService, AnimationSettings  # noqa: E402
from dvms.image.service import ImageParams, ImageService, ImageSettings  # noqa: E402
from dvms.service import Artefact, Failed, Input, Job, Progress, Result  # noqa: E402
from tests.dvms import tiny_models  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.stable_diffusion(tmp_path_factory.mktemp("tiny"))


class Watch:
    """A Progress that remembers, and cancels after `stop` steps."""

    def __init__(self, stop: int | None = None) -> None:
        self.messages: list[str] = []
        self.fractions: list[float] = []
        self.previews: list[Artefact | str] = []
        self.stop = stop
        self.progress = Progress(self._report, self.previews.append, lambda: stop is not None and self.steps >= stop)

    @property
    def steps(self) -> int:
        return sum("step" in message for message in self.messages)

    def _report(self, fraction: float, message: str) -> None:
        self.fractions.append(fraction)
        self.messages.append(message)


def paint(model: Path, folder: Path, watch: Watch, *inputs: Input, **params: object) -> Result:
    folder.mkdir(parents=True, exist_ok=True)
    service = ImageService(ImageSettings(engine=str(model), safety=False))
    values = ImageParams.model_validate({"size": "64x64", "steps": 8, "seed": 3, **params})
    return service.run(Job("aa" * 32, 5100, (Input("text", "a fox"), *inputs), values, folder), watch.progress)


def test_a_pipeline_from_a_folder_makes_a_picture(model: Path, tmp_path: Path) -> None:
    watch = Watch()
    result = paint(model, tmp_path / "a", watch)
    with Image.open(result.files[0].path) as image:
        assert image.size == (64, 64)
        assert image.text["model"] == str(model)
    assert watch.steps == 8
    assert watch.fractions == sorted(watch.fractions) and watch.fractions[-1] == 1.0
    assert len(watch.previews) == 3
    assert all(isinstance(p, Artefact) and p.path.exists() for p in watch.previews)
    assert result.facts["pipeline"] == "StableDiffusionPipeline"
    assert (result.facts["engine"], result.facts["seed"]) == ("diffusers", "3")


def test_the_seed_decides(model: Path, tmp_path: Path) -> None:
    def pixels(name: str, seed: int) -> np.ndarray:
        with Image.open(paint(model, tmp_path / name, Watch(), seed=seed).files[0].path) as image:
            return np.asarray(image, np.int16)

    assert (pixels("a", 1) == pixels("b", 1)).all()
    assert (pixels("a", 1) != pixels("c", 2)).any()


def test_cancel_stops_between_two_steps(model: Path, tmp_path: Path) -> None:
    watch = Watch(stop=3)
    with pytest.raises(Failed, match="cancelled"):
        paint(model, tmp_path, watch, steps=50)
    assert watch.steps == 3


def test_a_picture_can_be_the_start(model: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.png"
    Image.new("RGB", (90, 70), (200, 60, 20)).save(start)
    result = paint(model, tmp_path / "a", Watch(), Input("url", path=start, mime="image/png"), strength=0.5)
    assert result.facts["pipeline"] == "StableDiffusionImg2ImgPipeline"


def test_what_a_pipeline_does_not_know_is_left_out(model: Path) -> None:
    pipe = pipelines.load(pipelines.Wish(str(model)))
    out = pipelines.run(
        pipe,
        Progress(),
        (0, 1),
        None,
        prompt="x",
        width=64,
        height=64,
        num_inference_steps=2,
        lyrics="la",
        num_frames=3,
    )
    assert out.images[0].size == (64, 64)


def test_a_missing_model_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="can't be loaded"):
        pipelines.load(pipelines.Wish(str(tmp_path / "nothing"), local_files_only=True))


def test_the_least_offloading_that_fits_is_chosen() -> None:
    gib = 2**30
    assert pipelines.fits([4 * gib, gib], 8 * gib) == "none"
    assert pipelines.fits([4 * gib, 4 * gib], 8 * gib) == "model"
    assert pipelines.fits([8 * gib], 8 * gib) == "sequential"


@pytest.mark.parametrize("as_published", [True, False], ids=["text class on the hub", "picture class"])
def test_a_model_that_starts_from_a_picture_makes_a_clip(as_published: bool, tmp_path: Path) -> None:
    model = tiny_models.wan(tmp_path / "wan", as_published=as_published)
    start = tmp_path / "start.png"
    Image.effect_noise((96, 64), 60).convert("RGB").save(start)
    service = AnimationService(AnimationSettings(engine=str(model), safety=False))
    values = AnimationParams(seconds=1, fps=9, size="64x64", steps=2, seed=1)
    watch = Watch()
    result = service.run(
        Job("aa" * 32, 5202, (Input("url", path=start, mime="image/png"),), values, tmp_path), watch.progress
    )
    with av.open(str(result.files[0].path)) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 9
    assert result.facts["pipeline"] == "WanImageToVideoPipeline"
    assert watch.steps == 2
