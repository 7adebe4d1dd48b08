"""Gates decode all of it: what is broken, blank, silent, too short or of another type does not pass."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from orchestrator import gates
from orchestrator.effects import Check
from orchestrator.gates import judge, text_checks
from orchestrator.recipe import Gate, Out
from orchestrator.run import Artefact, Verdict

RNG = np.random.default_rng(1)


def film(path: Path, *, seconds: int = 1, noise: bool = True, sound: float | None = 0.5) -> Path:
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 192, 108, "yuv420p"
        audio = out.add_stream("aac", rate=44_100) if sound is not None else None
        for n in range(24 * seconds):
            pixels = RNG.integers(0, 255, (108, 192, 3)) if noise else np.full((108, 192, 3), 40)
            frame = av.VideoFrame.from_ndarray(pixels.astype("uint8"), format="rgb24")
            frame.pts = n
            out.mux(video.encode(frame))
        if audio is not None:
            wave = (np.sin(np.arange(44_100 * seconds) / 20) * sound).astype("float32").reshape(1, -1)
            samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 44_100, 0
            out.mux(audio.encode(samples))
            out.mux(audio.encode())
        out.mux(video.encode())
    return path


def picture(path: Path, *, blank: bool = False) -> Path:
    pixels = np.full((90, 160, 3), 255) if blank else RNG.integers(0, 255, (90, 160, 3))
    Image.fromarray(pixels.astype("uint8")).save(path)
    return path


async def verdict(path: Path, mime: str, wanted: str | None = None, **gate: object) -> tuple[Verdict, Artefact]:
    limits = {name: gate.pop(name, None) for name in ("min_seconds", "max_seconds")}
    out = Out(mime=wanted or mime)
    return await judge(Check("s", 0, 1, Artefact("x", mime, 1), out, Gate(**gate), **limits), path)  # type: ignore[arg-type]


async def test_a_good_film_passes_and_is_measured(tmp_path: Path) -> None:
    good, artefact = await verdict(film(tmp_path / "f.mp4"), "video/mp4", sound=True, min_seconds=1, min_width=160)
    assert good.ok, good.reason
    assert (artefact.width, artefact.height) == (192, 108) and artefact.seconds == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("made", "gate", "why"),
    [
        ({"noise": False}, {}, "not blank"),
        ({"sound": 0.0}, {}, "not silent"),
        ({"sound": None}, {"sound": True}, "not silent"),
        ({}, {"min_seconds": 2}, "min_seconds"),
        ({}, {"max_seconds": 0.5}, "max_seconds"),
        ({}, {"min_width": 1000}, "min_width"),
    ],
)
async def test_a_film_fails_for_its_reason(tmp_path: Path, made: dict, gate: dict, why: str) -> None:  # type: ignore[type-arg]
    bad, _ = await verdict(film(tmp_path / "f.mp4", **made), "video/mp4", **gate)
    assert not bad.ok and [name for name, ok, _ in bad.checks if not ok] == [why]


async def test_what_is_allowed_is_allowed(tmp_path: Path) -> None:
    assert (await verdict(film(tmp_path / "f.mp4", sound=None), "video/mp4"))[0].ok  # nobody asked for sound
    assert (await verdict(picture(tmp_path / "p.png", blank=True), "image/png", blank=True))[0].ok


async def test_pictures(tmp_path: Path) -> None:
    good, artefact = await verdict(picture(tmp_path / "p.png"), "image/png", "image/*")
    assert good.ok and artefact.width == 160 and 0 < good.score <= 1
    assert not (await verdict(picture(tmp_path / "b.png", blank=True), "image/png"))[0].ok


async def test_files_that_are_not_what_they_say(tmp_path: Path) -> None:
    html, cut = tmp_path / "h.png", tmp_path / "c.mp4"
    html.write_bytes(b"<html>" * 100)
    cut.write_bytes(film(tmp_path / "f.mp4").read_bytes()[:9_000])
    for path, mime in ((html, "image/png"), (cut, "video/mp4")):
        bad, _ = await verdict(path, mime)
        assert not bad.ok and "decode" in bad.reason and str(tmp_path) not in bad.reason
    assert not (await verdict(html, "text/html", "image/*"))[0].ok


async def test_a_decoder_that_dies_is_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "CHILD_SECONDS", 0.01)
    bad, _ = await verdict(film(tmp_path / "f.mp4"), "video/mp4")
    assert not bad.ok and "longer than" in bad.reason


@pytest.mark.parametrize(
    ("text", "gate", "good"),
    [
        ('{"a": [1]}', {}, True),
        ('{"a": ["x"]}', {}, False),
        ("{}", {}, False),
        ("not json", {}, False),
        ('{"a": [1]}', {"min_chars": 50}, False),
        ('{"a": [1]}', {"max_chars": 5}, False),
    ],
)
def test_texts(text: str, gate: dict[str, int], good: bool) -> None:
    integers = {"type": "array", "items": {"type": "integer"}}
    schema = {"type": "object", "required": ["a"], "properties": {"a": integers}}
    assert all(ok for _, ok, _ in text_checks(text, "application/json", schema, Gate(**gate))) is good  # type: ignore[arg-type]
