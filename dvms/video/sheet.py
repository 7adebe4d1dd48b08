"""What the cut follows: beats, bars, sections and lines of a song, from its own file or heard from its sound."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Line:
    """Words to show from t0 to t1, in seconds."""

    t0: float
    t1: float
    text: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """Times in seconds, ascending. `source` is sheet, heard or even."""

    seconds: float
    beats: tuple[float, ...]
    bars: tuple[float, ...]
    sections: tuple[tuple[str, float, float], ...] = ()
    lines: tuple[Line, ...] = ()
    title: str = ""
    source: str = "sheet"

    @property
    def beat(self) -> float:
        """Seconds from beat to beat."""
        return float(np.median(np.diff(self.beats))) if len(self.beats) > 1 else 0.5


def read_sheet(comment: str, seconds: float) -> Sheet | None:
    """The sheet in a song's `comment` metadata (JSON, `timmy` = `song/1`), or None where there is no sound one."""
    try:
        found: Any = json.loads(comment)
        if found.get("timmy") != "song/1":
            return None
        beats, bars = _times(found.get("beats"), seconds), _times(found.get("bars"), seconds)
        sections = tuple(
            (str(s.get("name", "")), float(s["t0"]), float(s["t1"]))
            for s in found.get("sections") or ()
            if float(s["t1"]) > float(s["t0"])
        )
        return Sheet(
            seconds,
            beats,
            bars or beats[::4],
            sections,
            read_lines(found.get("lines") or []),
            str(found.get("title", ""))[:120],
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _times(values: Any, seconds: float) -> tuple[float, ...]:
    numbers = sorted({float(v) for v in values or ()})
    return tuple(v for v in numbers if math.isfinite(v) and 0 <= v <= seconds + 0.5)


def read_lines(value: Any) -> tuple[Line, ...]:
    """Lines from JSON values: objects with t0, t1, text. Raises ValueError, KeyError or TypeError."""
    lines = []
    for item in value:
        t0, t1, text = float(item["t0"]), float(item["t1"]), " ".join(str(item["text"]).split())[:200]
        if text and math.isfinite(t0) and math.isfinite(t1) and 0 <= t0 < t1 <= 7200:
            lines.append(Line(t0, t1, text))
    return tuple(sorted(lines, key=lambda line: line.t0))[:400]


def heard(sound: NDArray[np.float32], rate: int) -> Sheet:
    """Beats found in the sound: onsets of spectral flux, tempo by autocorrelation, phase by best fit; bars of four."""
    seconds = len(sound) / rate
    hop, size = 512, 1024
    mono = sound.mean(1)
    count = (len(mono) - size) // hop
    if count < 200:
        return even(seconds)
    frames = np.lib.stride_tricks.sliding_window_view(mono, size)[::hop][:count]
    window = np.hanning(size).astype(np.float32)
    flux = np.zeros(count, np.float32)
    previous = None
    for start in range(0, count, 512):
        spectrum = np.log1p(40 * np.abs(np.fft.rfft(frames[start : start + 512] * window, axis=1))).astype(np.float32)
        first = spectrum[:1] if previous is None else previous
        rise = np.diff(np.concatenate([first, spectrum]), axis=0)
        flux[start : start + len(rise)] = np.clip(rise, 0, None).sum(1)
        previous = spectrum[-1:]
    flux -= np.convolve(flux, np.ones(43) / 43, "same")
    flux = np.clip(flux, 0, None)
    if flux.max() <= 0:
        return even(seconds)
    per_second = rate / hop
    spectrum = np.fft.rfft(flux, 2 * count)
    echo = np.fft.irfft(np.abs(spectrum) ** 2)[:count]
    lags = np.arange(int(per_second * 60 / 180), int(per_second * 60 / 60) + 1)
    tempo = 60 * per_second / lags
    score = echo[lags] * np.exp(-0.5 * (np.log2(tempo / 108) / 0.7) ** 2)
    best = int(lags[score.argmax()])
    around = echo[best - 1 : best + 2]
    curve = around[0] - 2 * around[1] + around[2]
    period = best + (0.5 * (around[0] - around[2]) / curve if len(around) == 3 and curve else 0.0)
    phases = np.arange(0, period, 0.5)
    strength = [
        flux[np.minimum((p + period * np.arange(int((count - p) / period))).astype(int), count - 1)].mean()
        for p in phases
    ]
    phase = float(phases[int(np.argmax(strength))])
    beats = np.arange(phase, count, period) / per_second
    low = [
        flux[np.minimum((beats[k::4] * per_second).astype(int), count - 1)].mean() for k in range(4) if len(beats) > k
    ]
    first_bar = int(np.argmax(low))
    return Sheet(seconds, tuple(float(b) for b in beats), tuple(float(b) for b in beats[first_bar::4]), source="heard")


def even(seconds: float, beat: float = 0.5) -> Sheet:
    """Two beats a second, where there is nothing to follow."""
    beats = tuple(float(b) for b in np.arange(0, max(seconds, beat), beat))
    return Sheet(seconds, beats, beats[::4], source="even")


def spread(texts: list[str], seconds: float, start: float, end: float) -> tuple[Line, ...]:
    """Lines without times, spread evenly between start and the end's lead-out."""
    room = max(1.0, seconds - start - end)
    step = room / max(1, len(texts))
    return tuple(
        Line(start + i * step + 0.1, start + (i + 1) * step - 0.1, " ".join(t.split())[:200])
        for i, t in enumerate(texts)
    )


def file_comment(path: Path) -> str:
    from dvms import audio

    return audio.metadata(path).get("comment", "")
