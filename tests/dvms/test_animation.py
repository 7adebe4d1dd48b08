"""Clips: as long as asked for, playable, moving, and beginning with the very picture."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from dvms.animation.service import AnimationParams, AnimationService
from dvms.image.service import ImageParams, ImageService
from dvms.service import Failed, Input, Job, Progress, Refused, Result


def picture(folder: Path, prompt: str = "a fox in the forest") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    job = Job("cd" * 32, 5100, (Input("text", prompt),), ImageParams(size="320x192", seed=5), folder)
    return ImageService().run(job, Progress()).files[0].path


def animate(folder: Path, source: Path, progress: Progress | None = None, **params: object) -> Result:
    folder.mkdir(parents=True, exist_ok=True)
    values = AnimationParams.model_validate({"seconds": 1.5, "fps": 12, "motion": "push in", **params})
    job = Job("ef" * 32, 5202, (Input("url", path=source, mime="image/png"),), values, folder)
    return AnimationService().run(job, progress or Progress())


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as clip:
        return [frame.to_ndarray(format="rgb24").astype(np.float32) for frame in clip.decode(video=0)]


def test_a_storybook_picture_moves_in_its_true_layers(tmp_path: Path) -> None:
    source = picture(tmp_path / "p")
    result = animate(tmp_path / "c", source)
    assert result.facts["depth"] == "true layers"
    shown = frames(result.files[0].path)
    assert len(shown) == 18
    assert shown[0].shape == (192, 320, 3)
    assert min(frame.mean() for frame in shown) > 20
    assert np.abs(shown[0] - shown[-1]).mean() > 4
    with Image.open(source) as still:
        first = np.abs(shown[0] - np.asarray(still.convert("RGB"), np.float32)).mean()
    assert first < 12, "the clip begins with the picture that was bought"


def test_any_other_picture_moves_in_depth(tmp_path: Path) -> None:
    flat = tmp_path / "flat.png"
    with Image.open(picture(tmp_path / "p")) as image:
        image.convert("RGB").save(flat)
    result = animate(tmp_path / "c", flat, motion="pan left", size="256x256")
    assert result.facts["depth"] == "estimated"
    shown = frames(result.files[0].path)
    assert shown[0].shape == (256, 256, 3)
    assert np.abs(shown[0] - shown[-1]).mean() > 4


def test_the_file_is_h264_yuv420p_with_its_index_first(tmp_path: Path) -> None:
    path = animate(tmp_path / "c", picture(tmp_path / "p")).files[0].path
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    data = path.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_jobs_that_can_not_be_done_are_refused(tmp_path: Path) -> None:
    job = Job("ef" * 32, 5202, (Input("text", "a fox"),), AnimationParams(), tmp_path)
    with pytest.raises(Refused):
        AnimationService().check(job)


@pytest.mark.parametrize(
    "prompt", ["a fox in the rain, pixel art", "a cat in autumn, watercolour", "a ship at sea at night"]
)
def test_styles_and_weather_move_too(tmp_path: Path, prompt: str) -> None:
    result = animate(tmp_path / "c", picture(tmp_path / "p", prompt), seconds=0.7, fps=10)
    shown = frames(result.files[0].path)
    assert len(shown) == 7
    assert np.abs(shown[0] - shown[3]).mean() > 0.4


def test_cancelling_stops_the_work(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="cancelled"):
        animate(tmp_path / "c", picture(tmp_path / "p"), Progress(cancelled=lambda: True))


def test_the_same_seed_gives_the_same_clip(tmp_path: Path) -> None:
    source = picture(tmp_path / "p")
    first, again = (animate(tmp_path / name, source, motion="orbit", seconds=0.5).files[0].path for name in "ab")
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(("prompt", "moves"), [("a dog walking in the meadow", True), ("a dog in the meadow", False)])
def test_who_walks_gets_somewhere(prompt: str, moves: bool) -> None:
    from dvms.animation.moves import MOVES
    from dvms.animation.parallax import Parallax
    from dvms.image.storybook.recipe import Recipe

    camera = Parallax(Recipe(prompt, 3, 160, 96), MOVES["still"], 4.0)
    plate = next(p for p in camera.plates if p.motion.startswith(("go", "hop")))
    travelled = abs(camera._life(plate, 4.0)[0] - camera._life(plate, 0.0)[0])
    assert (travelled > 0.04 * 160) == moves
