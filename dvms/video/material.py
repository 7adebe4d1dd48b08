"""What is cut together: clips decoded to frames of the film's size, pictures under a slow camera move."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dvms.animation.moves import MOVES, move_named
from dvms.service import Failed

Frame = NDArray[np.uint8]
MOST_HELD = 400_000_000  # bytes of one clip's frames kept in memory for a shot


class Material(Protocol):
    """Something to show: `shot` yields the frames of one shot, `seconds` is how long it lasts by itself."""

    seconds: float

    def shot(self, seconds: float, fps: int, take: int) -> Iterator[Frame]: ...


class Clip:
    """A video file. Shown from its beginning first, then its end from nearer; to and fro where a shot is longer."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        self.path, self.width, self.height = path, width, height
        try:
            with av.open(str(path)) as opened:
                stream = opened.streams.video[0]
                rate = stream.average_rate or stream.guessed_rate or 24
                self.rate = float(rate)
                length = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
                self.seconds = length or (float(opened.duration or 0) / 1e6) or 4.0
                self.crop = _cover(stream.codec_context.width, stream.codec_context.height, width, height)
                self.focus = _focus(opened.metadata.get("comment", ""))
        except (av.FFmpegError, IndexError, OSError) as error:
            raise Failed("one of the clips can't be read") from error

    def shot(self, seconds: float, fps: int, take: int) -> Iterator[Frame]:
        frames = self._take(max(1, round(seconds * fps)), fps, take)
        yield from frames if take == 0 else _nearer(frames, seconds * fps, take, self.focus)

    def _take(self, need: int, fps: int, take: int) -> Iterator[Frame]:
        step = self.rate / fps
        spare = int(self.seconds * self.rate - need * step)
        if spare >= -1:
            yield from self._forward(need, step, max(0, spare) if take % 2 else 0)
            return
        most = max(12, MOST_HELD // (self.width * self.height * 3))
        held = list(self._forward(min(most, int(self.seconds * fps) or 1), step))
        if not held:
            raise Failed("one of the clips has no frames")
        order = list(range(len(held)))
        path = order + order[-2:0:-1]
        for i in range(need):
            yield held[path[i % len(path)]]

    def _forward(self, need: int, step: float, skipped: int = 0) -> Iterator[Frame]:
        """`need` frames at the film's rate, after `skipped` of the clip's; the last is held where it ends early."""
        last: Frame | None = None
        given = 0
        try:
            with av.open(str(self.path)) as opened:
                opened.streams.video[0].thread_type = "AUTO"
                for number, picture in enumerate(opened.decode(video=0)):
                    while given < need and round(given * step) <= number - skipped:
                        last = self._fitted(picture)
                        yield last
                        given += 1
                    if given >= need:
                        return
        except av.FFmpegError as error:
            raise Failed("one of the clips can't be decoded") from error
        while last is not None and given < need and given * step < self.seconds * self.rate + 2:
            yield last
            given += 1

    def _fitted(self, picture: av.VideoFrame) -> Frame:
        w, h, left, top = self.crop
        array = np.asarray(picture.reformat(width=w, height=h, format="rgb24").to_ndarray(), np.uint8)
        return (
            array
            if (w, h) == (self.width, self.height)
            else np.ascontiguousarray(array[top : top + self.height, left : left + self.width])
        )


class Still:
    """A picture under a camera move: true layers where it carries a Storybook recipe, else 2.5D."""

    def __init__(self, path: Path, width: int, height: int, number: int) -> None:
        from dvms.image.storybook import recipe as recipes

        self.width, self.height, self.number = width, height, number
        self.recipe = recipes.read(path)
        self.seconds = 0.0
        try:
            with Image.open(path) as opened:
                self.picture = opened.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise Failed("one of the pictures can't be read") from error

    def shot(self, seconds: float, fps: int, take: int) -> Iterator[Frame]:
        from dvms.animation.flatdepth import FlatDepth
        from dvms.animation.parallax import Parallax

        move = move_named(None, self.number + 2 * take) if seconds > 0.5 else MOVES["still"]
        camera: Parallax | FlatDepth
        if self.recipe is not None:
            camera = Parallax(replace(self.recipe, width=self.width, height=self.height), move, seconds)
        else:
            camera = FlatDepth(self.picture, self.width, self.height, move, seconds)
        frames = (np.asarray(camera.frame(i / fps)) for i in range(max(1, round(seconds * fps))))
        yield from frames if take == 0 else _nearer(frames, seconds * fps, take, camera.focus or (0.5, 0.55))


def _focus(comment: str) -> tuple[float, float]:
    """Where a clip of a Timmy node says that its figure is, in shares of the frame; else a little below the middle."""
    try:
        x, y = json.loads(comment)["focus"]
        return min(max(float(x), 0.0), 1.0), min(max(float(y), 0.0), 1.0)
    except (ValueError, KeyError, TypeError):
        return 0.5, 0.55


def _nearer(frames: Iterator[Frame], count: float, take: int, focus: tuple[float, float]) -> Iterator[Frame]:
    """The frames from nearer, creeping in: another look at the same material."""
    start = (1.55, 1.30)[(take - 1) % 2]
    for i, frame in enumerate(frames):
        zoom = start + 0.10 * i / max(1.0, count)
        h, w = frame.shape[:2]
        x = min(max(focus[0] * w - w / zoom / 2, 0.0), w - w / zoom)
        y = min(max(focus[1] * h - h / zoom / 2, 0.0), h - h / zoom)
        box = (x, y, x + w / zoom, y + h / zoom)
        yield np.asarray(Image.fromarray(frame).resize((w, h), Image.Resampling.BILINEAR, box=box))


def _cover(w: int, h: int, width: int, height: int) -> tuple[int, int, int, int]:
    """(scaled width, scaled height, left, top) so that the frame is covered and the middle kept."""
    scale = max(width / w, height / h)
    sw, sh = max(width, round(w * scale)), max(height, round(h * scale))
    return sw, sh, (sw - width) // 2, (sh - height) // 2


def opened(path: Path, mime: str, width: int, height: int, number: int) -> Material:
    """The material for one input."""
    return (
        Still(path, width, height, number)
        if mime.startswith("image/") and mime != "image/gif"
        else Clip(path, width, height)
    )
