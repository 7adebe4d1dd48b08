"""The film: shots joined on the beat, words over them, sound beneath, one mp4."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dvms.service import Failed
from dvms.video.captions import Caption, Title
from dvms.video.encode import AUDIO_RATE, FINAL, Mp4
from dvms.video.material import Frame, Material
from dvms.video.sheet import Line, Sheet
from dvms.video.timeline import DISSOLVE, Shot, plan

CARD, FADE_OUT = 1.5, 0.5  # seconds of the closing card, and of the fade to black at its end
PULSE = 0.014  # how far a beat pushes in during a chorus


@dataclass(frozen=True, slots=True)
class Film:
    """What to make."""

    width: int
    height: int
    fps: int
    seconds: float
    sheet: Sheet
    lines: tuple[Line, ...]
    title: str
    ending: str = ""


def render(
    film: Film,
    materials: Sequence[Material],
    sound: NDArray[np.float32] | None,
    path: Path,
    report: Callable[[float], None],
) -> list[Shot]:
    """Write the film; gives the shots it was cut into. `sound` is (n, 2) at 44.1 kHz, mastered."""
    shots = plan(film.sheet, len(materials), film.seconds, [m.seconds for m in materials])
    until = [*(line.t0 - Caption.LEAD for line in film.lines[1:]), film.seconds][: len(film.lines)]
    captions = [
        Caption(line.text, line.t0, line.t1, film.width, film.height, end)
        for line, end in zip(film.lines, until, strict=True)
    ]
    opening = film.lines[0].t0 - 0.3 if film.lines and film.lines[0].t0 > 1.6 else 3.2
    title = Title(film.title, film.width, film.height, min(opening, 4.0, film.seconds * 0.4)) if film.title else None
    total = round(film.seconds * film.fps)
    with Mp4(path, film.width, film.height, film.fps, audio=sound is not None, quality=FINAL, title=film.title) as mp4:
        card = (
            Title(film.ending, film.width, film.height, film.seconds, since=film.seconds - CARD)
            if film.ending
            else None
        )
        for i, raw in enumerate(_joined(shots, materials, film.fps, total)):
            t = i / film.fps
            frame = _dressed(raw, t, film, captions, title, card)
            mp4.show(frame)
            if (
                sound is not None and i % film.fps == film.fps - 1
            ):  # interleave: a second of sound after a second of picture
                mp4.hear(sound[mp4.heard : (i + 1) * AUDIO_RATE // film.fps].T)
            if i % 12 == 0:
                report(i / total)
        if sound is not None:
            mp4.hear(sound[mp4.heard :].T)
    return shots


def _joined(shots: Sequence[Shot], materials: Sequence[Material], fps: int, total: int) -> Iterator[Frame]:
    """All frames of the film: each shot runs on under the beginning of the next one while that dissolves in."""
    tail: Iterator[Frame] = iter(())
    last: Frame | None = None
    given = 0
    for k, shot in enumerate(shots):
        end = total if k + 1 == len(shots) else round(shot.t1 * fps)
        length = end - given
        overlap = round(DISSOLVE * fps) if k + 1 < len(shots) and shots[k + 1].join == "dissolve" else 0
        running = materials[shot.source].shot((length + overlap) / fps, fps, shot.take)
        mixing = min(round(DISSOLVE * fps), length) if shot.join == "dissolve" else 0
        for i in range(length):
            frame = next(running, last)
            if frame is None:
                raise Failed("one of the clips has no frames")
            last = frame
            if i < mixing:
                old = next(tail, None)
                if old is not None:
                    frame = _blend(old, frame, (i + 1) / (mixing + 1))
            yield frame
        tail = running
        given = end


def _blend(a: Frame, b: Frame, t: float) -> Frame:
    return np.asarray(Image.blend(Image.fromarray(a), Image.fromarray(b), t * t * (3 - 2 * t)))


def _dressed(
    raw: Frame, t: float, film: Film, captions: Sequence[Caption], title: Title | None, card: Title | None
) -> Frame:
    """The frame with its words, fades and pulse. A pulse crops it a little: the encoder scales it back.

    The very first frame is bright and has the title on it: players show it before they play.
    """
    image: Image.Image | None = None
    showing = [c for c in captions if c.start <= t < c.end]
    if showing or (title is not None and t < title.until):
        image = Image.fromarray(raw)
        if title is not None:
            title.paint(image, t)
        for caption in showing:
            caption.paint(image, t)
    left = film.seconds - t
    if left < CARD:
        image = image or Image.fromarray(raw)
        dim = max(0.34, 1 - (CARD - left) / 0.5) if card is not None else 1.0
        image = image.point(lambda v: int(v * dim))
        if card is not None:
            card.paint(image, t)
        if left < FADE_OUT:
            image = image.point(lambda v: int(v * max(0.0, left / FADE_OUT)))
    out = raw if image is None else np.asarray(image)
    crop = round(film.width * _pulse(t, film.sheet) / 2)
    if crop:
        rise = max(1, round(crop * film.height / film.width))
        out = out[rise:-rise, crop:-crop]
    return out


def _pulse(t: float, sheet: Sheet) -> float:
    """How far the picture pushes in at this moment: after each beat of a chorus."""
    if not any(name.startswith(("chorus", "hook", "drop")) and t0 <= t < t1 for name, t0, t1 in sheet.sections):
        return 0.0
    since = min((t - b for b in sheet.beats if 0 <= t - b < sheet.beat), default=None)
    return 0.0 if since is None else PULSE * float(np.exp(-since * 9))
