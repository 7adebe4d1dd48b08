"""What is cut together: clips decoded to frames of the film's size, pictures under a slow camera move."""

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
    """A video file. Shown forward first, backward the second time; to and fro where a shot is longer."""

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
        except (av.FFmpegError, IndexError, OSError) as error:
            raise Failed("one of the clips can't be read") from error

    def shot(self, seconds: float, fps: int, take: int) -> Iterator[Frame]:
        need = max(1, round(seconds * fps))
        step = self.rate / fps
        if take % 2 == 0 and need * step <= self.seconds * self.rate + 1:
            yield from self._forward(need, step)
            return
        most = max(12, MOST_HELD // (self.width * self.height * 3))
        held = list(self._forward(min(most, int(self.seconds * fps) or 1), step))
        if not held:
            raise Failed("one of the clips has no frames")
        order = list(range(len(held)))
        order = order[::-1] if take % 2 else order
        path = order + order[-2:0:-1]
        for i in range(need):
            yield held[path[i % len(path)]]

    def _forward(self, need: int, step: float) -> Iterator[Frame]:
        """The first `need` frames at the film's rate; the last one is held where the clip ends early."""
        last: Frame | None = None
        given = 0
        try:
            with av.open(str(self.path)) as opened:
                opened.streams.video[0].thread_type = "AUTO"
                for number, picture in enumerate(opened.decode(video=0)):
                    while given < need and round(given * step) <= number:
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
        for i in range(max(1, round(seconds * fps))):
            yield np.asarray(camera.frame(i / fps))


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
