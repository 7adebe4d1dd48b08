"""Films: streams, length, cuts on the bars, words, loudness."""

import json
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from dvms import audio
from dvms.service import Input, Job, Progress, Refused, Result
from dvms.video import sheet, timeline
from dvms.video.encode import DRAFT, Mp4
from dvms.video.material import Clip
from dvms.video.service import VideoParams, VideoService

SECONDS, BEAT = 8.0, 0.5


def clip(path: Path, colour: tuple[int, int, int], seconds: float = 2.5) -> Path:
    with Mp4(path, 160, 96, 12, quality=DRAFT) as made:
        for i in range(round(seconds * 12)):
            frame = np.full((96, 160, 3), colour, np.uint8)
            frame[40:56, 10 + i * 2 : 30 + i * 2] = 255
            made.show(frame)
    return path


def clicks(path: Path, *, sheeted: bool = True) -> Path:
    """A click track, a strong one on each bar, with its sheet."""
    n = int(SECONDS * audio.RATE)
    sound = np.zeros(n, np.float32)
    t = np.arange(6000) / audio.RATE
    for k in range(int(SECONDS / BEAT)):
        hit = np.sin(2 * np.pi * (80 if k % 4 == 0 else 400) * t) * np.exp(-t * 30) * (0.5 if k % 4 == 0 else 0.2)
        at = int(k * BEAT * audio.RATE)
        sound[at : at + len(hit)] += hit[: n - at].astype(np.float32)
    notes = {
        "timmy": "song/1",
        "title": "Clicks",
        "seconds": SECONDS,
        "beats": [k * BEAT for k in range(16)],
        "bars": [k * 2.0 for k in range(4)],
        "sections": [{"name": "chorus", "t0": 4.0, "t1": 8.0}],
        "lines": [{"t0": 1.0, "t1": 2.5, "text": "one two"}, {"t0": 4.5, "t1": 6.0, "text": "three four"}],
    }
    audio.write(
        path, np.stack([sound, sound], 1), audio.RATE, metadata={"comment": json.dumps(notes)} if sheeted else {}
    )
    return path


COLOURS = [(200, 40, 40), (40, 180, 40), (40, 60, 200)]


def cut(folder: Path, *, sheeted: bool = True, **params: object) -> Result:
    work = folder / "work"
    work.mkdir()
    inputs = [
        Input("url", path=clip(folder / f"{i}.mp4", colour), mime="video/mp4") for i, colour in enumerate(COLOURS)
    ]
    inputs.append(Input("url", path=clicks(folder / "song.m4a", sheeted=sheeted), mime="audio/mp4", marker="audio"))
    values = VideoParams.model_validate({"size": "160x96", "fps": 12, **params})
    return VideoService().run(Job("aa" * 32, 5203, tuple(inputs), values, work), Progress())


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24").astype(np.float32) for frame in film.decode(video=0)]


def test_a_film_has_picture_and_sound_of_the_song_s_length(tmp_path: Path) -> None:
    path = cut(tmp_path).files[0].path
    with av.open(str(path)) as film:
        video, sound = film.streams.video[0], film.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert sound.codec_context.name == "aac"
        assert abs(float(video.duration * video.time_base) - SECONDS) < 0.15
        assert abs(float(sound.duration * sound.time_base) - SECONDS) < 0.15
        assert film.metadata["title"] == "Clicks"
    data = path.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_cuts_fall_on_the_bars(tmp_path: Path) -> None:
    result = cut(tmp_path)
    told = [float(t) for t in result.facts["cuts"].split()]
    assert told and all(min(abs(t - bar) for bar in (2.0, 4.0, 6.0)) < 0.01 for t in told)
    shown = frames(result.files[0].path)
    assert all(frame.mean() > 15 for frame in shown[6:-12]), "no black frames between the fades"

    def colour(t: float) -> int:
        return int(shown[round(t * 12)][5:20].mean((0, 1)).argmax())

    assert colour(1.6) == 0 and colour(told[0] + 0.9) == 1


def test_loudness_and_peak(tmp_path: Path) -> None:
    sound = audio.read(cut(tmp_path).files[0].path)
    assert abs(audio.loudness(sound, audio.RATE) + 15) < 1.0
    assert audio.true_peak(sound) <= -0.9


def test_words_appear_when_they_are_sung(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with_words, without = (
        frames(cut(tmp_path / "a").files[0].path),
        frames(cut(tmp_path / "b", captions="none").files[0].path),
    )

    def difference(t: float) -> float:
        i = round(t * 12)
        return float(np.abs(with_words[i][60:] - without[i][60:]).mean())

    assert difference(1.8) > 3 and difference(5.2) > 3
    assert difference(3.4) < 2


def test_the_beat_is_heard_where_no_sheet_tells_it(tmp_path: Path) -> None:
    sound = audio.read(clicks(tmp_path / "song.m4a", sheeted=False))
    found = sheet.heard(sound, audio.RATE)
    assert found.source == "heard"
    assert abs(found.beat - BEAT) < 0.02
    assert np.median([min(abs(b - k * BEAT) for k in range(17)) for b in found.beats]) < 0.06


def test_every_clip_is_shown_and_the_film_is_filled() -> None:
    score = sheet.Sheet(24.0, tuple(i * 0.5 for i in range(48)), tuple(i * 2.0 for i in range(12)))
    for sources in range(1, 9):
        shots = timeline.plan(score, sources, 24.0, [5.0] * sources)
        assert {shot.source for shot in shots} == set(range(sources))
        assert shots[0].t0 == 0 and shots[-1].t1 == 24.0
        assert all(a.t1 == b.t0 and b.seconds > 0.9 for a, b in pairwise(shots))


def test_the_first_frame_is_a_poster_and_the_last_second_a_card(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    film, bare = (frames(cut(tmp_path / name, ending=words).files[0].path) for name, words in (("a", "Fin"), ("b", "")))
    assert film[0].mean() > 60, "players show the first frame before they play"
    assert (film[0][20:56, 55:105] > 190).all(-1).mean() > 0.02, "with the title on it"
    assert film[-12].mean() < 0.7 * bare[-12].mean()
    assert film[-1].mean() < 30


def test_a_second_look_is_from_nearer_and_material_keeps_its_order() -> None:
    score = sheet.Sheet(24.0, tuple(i * 0.5 for i in range(48)), tuple(i * 2.0 for i in range(12)))
    shots = timeline.plan(score, 4, 24.0, [5.0] * 4)
    assert [shot.source for shot in shots] == sorted(shot.source for shot in shots)
    assert all(shot.join == "cut" for shot in shots if shot.take > 0)


def test_the_nearer_look_goes_where_the_clip_says_its_figure_is(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with Mp4(path, 160, 96, 12, quality=DRAFT, comment=json.dumps({"timmy": "clip/1", "focus": [0.9, 0.5]})) as made:
        for _ in range(30):
            frame = np.zeros((96, 160, 3), np.uint8)
            frame[:, 100:] = (220, 40, 40)
            made.show(frame)
    material = Clip(path, 160, 96)
    wide, near = (next(iter(material.shot(1.0, 12, take))) for take in (0, 1))
    assert (near[..., 0] > 120).mean() > (wide[..., 0] > 120).mean() * 1.25


def test_pictures_alone_make_a_silent_film(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.effect_noise((200, 120), 60).convert("RGB").save(path)
    job = Job(
        "aa" * 32,
        5203,
        (Input("url", path=path, mime="image/png"),),
        VideoParams(size="160x96", seconds=2, fps=12),
        tmp_path,
    )
    result = VideoService().run(job, Progress())
    assert len(frames(result.files[0].path)) == 24


def test_jobs_that_can_not_be_done_are_refused(tmp_path: Path) -> None:
    job = Job("aa" * 32, 5203, (), VideoParams(), tmp_path)
    with pytest.raises(Refused):
        VideoService().check(job)
    with pytest.raises(Refused):
        VideoService()._captions('[{"text": 1}')
