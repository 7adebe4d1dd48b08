"""The singer: hibari's speech, its pitch track replaced by the melody and its frames moved onto the beat.

hibari predicts, per 12.5 ms frame, a harmonic spectrum, a noise spectrum and a pitch. One natural pass per line keeps
words whole; then the loudest frame of each syllable is moved to its note's beat by stretching the frames between them
(within limits, or the words are lost), and the pitch is drawn to the note, with a glide before it and vibrato on long
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dvms.audio import RATE, Samples, resample
from dvms.music.planner import Song, Sung

_SHORTEST, _LONGEST = 0.62, 1.9  # how much the frames between two syllables may be squeezed or stretched
_STRENGTH: Final = 0.92  # of the way from the spoken pitch to the note
_LIFT: Final = 3  # semitones above the speaking pitch where singing is at home


@dataclass(frozen=True, slots=True)
class Heard:
    """Where a line of the lyric sounds, in seconds."""

    text: str
    start: float
    end: float


@cache
def _model() -> Any:
    from hibari import Hibari

    return Hibari(threads=1)


def sing(
    song: Song, seed: int, told: Callable[[float], None] = lambda fraction: None
) -> tuple[Samples, tuple[Heard, ...]]:
    """All lines in mono, peak 1.0, and where each of them is heard."""
    from hibari import dsp

    total = int((song.seconds + 2) * dsp.SR)
    out = np.zeros(total, np.float32)
    heard: list[Heard] = []
    rng = np.random.default_rng(seed)
    shift = _octave(song.sung)
    for i, line in enumerate(song.sung):
        sound, at, spoken = _line(line, shift, song.beat, rng)
        told((i + 1) / len(song.sung))
        if sound is None:
            continue
        start = int(at * dsp.SR)
        room = min(len(sound), total - start)
        out[start : start + room] += sound[:room]
        heard.append(Heard(line.text, *spoken))
    voice = resample(out, dsp.SR, RATE)[: int(song.seconds * RATE)]
    return voice / np.float32(np.abs(voice).max(initial=0.0) + 1e-6), tuple(heard)


def _octave(lines: Sequence[Sung]) -> int:
    """Semitones (whole octaves) that bring the melody to where this voice sings well."""
    pitches = [note.pitch for line in lines for note in line.notes]
    speaking = 57  # hibari's voice speaks around 220 Hz
    return 12 * round((speaking + _LIFT - float(np.median(pitches))) / 12) if pitches else 0


def _line(
    line: Sung, shift: int, beat: float, rng: np.random.Generator
) -> tuple[Samples | None, float, tuple[float, float]]:
    from hibari import dsp

    tts = _model()
    phonemes = " ".join(tts.phonemize(line.text)).strip(". ")
    ids = np.asarray([tts.ids(phonemes)], np.int64)
    if ids.shape[1] < 3:
        return None, 0.0, (0.0, 0.0)
    hop = dsp.HOP / dsp.SR

    def speak(speed: float) -> list[NDArray[np.float32]]:
        return [part[0] for part in tts.sess.run(None, {"ids": ids, "speed": np.asarray([speed], np.float32)})]

    frames = speak(1.0)
    first, last = _voiced_ends(frames[5])
    wanted = line.notes[-1].start + line.notes[-1].length * 0.8 - line.notes[0].start
    speed = float(np.clip((last - first) * hop / max(0.4, wanted), 0.7, 1.5))
    if abs(speed - 1) > 0.06:
        frames = speak(speed)
    f0 = frames[5]
    peaks = _syllables(frames, len(line.notes))
    if not len(peaks):
        return None, 0.0, (0.0, 0.0)
    notes = _matched(line, len(peaks))
    targets = np.asarray([note[0] for note in notes]) / hop
    source, start = _warp(peaks, targets, len(f0), line.until / hop)
    moved = [_at(part, source) for part in frames[:4]]
    nearest = np.clip(np.round(source).astype(int), 0, len(f0) - 1)
    spoken = f0[nearest]
    voiced = spoken > 40
    times = (start + np.arange(len(source))) * hop
    pitch = _pitch(times, notes, spoken, voiced, shift)
    sound = dsp.synth(*moved, np.ascontiguousarray(frames[4][:, nearest]), pitch.astype(np.float32), rng)
    edge = min(len(sound) // 4, 240)
    sound[:edge] *= np.linspace(0, 1, edge, dtype=np.float32)
    sound[-edge:] *= np.linspace(1, 0, edge, dtype=np.float32)
    sounding = np.where(voiced)[0]
    ends = (times[sounding[0]], times[sounding[-1]] + hop) if len(sounding) else (times[0], times[-1])
    return sound, float(times[0]), (float(max(0, ends[0] - 0.05)), float(ends[1]))


def _voiced_ends(f0: NDArray[np.float32]) -> tuple[int, int]:
    voiced = np.where(f0 > 40)[0]
    return (int(voiced[0]), int(voiced[-1])) if len(voiced) else (0, len(f0) - 1)


def _syllables(frames: Sequence[NDArray[np.float32]], expected: int) -> NDArray[np.int64]:
    """The loudest voiced frame of each syllable; as many as the line has, where that many can be told apart."""
    from scipy.signal import find_peaks

    energy = np.exp(np.minimum(frames[0], 7)).sum(0) * (frames[5] > 40)
    window = np.hanning(7)
    energy = np.convolve(np.sqrt(energy), window / window.sum(), "same")
    if energy.max() <= 0:
        return np.zeros(0, np.int64)
    best = np.asarray([int(energy.argmax())])
    for prominence in (0.10, 0.05, 0.02, 0.005):
        peaks, found = find_peaks(energy, distance=6, height=energy.max() * 0.1, prominence=energy.max() * prominence)
        if len(peaks) > expected:
            loud = np.argsort(found["prominences"])[-expected:]
            return np.sort(peaks[loud])
        if len(peaks) > 0:
            best = peaks
        if len(peaks) == expected:
            break
    return np.asarray(best, np.int64)


def _matched(line: Sung, count: int) -> list[tuple[float, float, int]]:
    """(start, length, pitch) of one note per heard syllable: some are merged where fewer can be told apart."""
    notes = line.notes
    picks = [round(i * (len(notes) - 1) / max(1, count - 1)) for i in range(count)]
    made = []
    for i, k in enumerate(picks):
        end = notes[picks[i + 1]].start if i + 1 < count else notes[-1].start + notes[-1].length
        made.append((notes[k].start, end - notes[k].start, notes[k].pitch))
    return made


def _warp(
    peaks: NDArray[np.int64], targets: NDArray[np.float64], length: int, until: float
) -> tuple[NDArray[np.float64], float]:
    """For each frame of the sung line the frame of the spoken one, and the time (in frames) where it begins.

    A syllable's loudest frame comes a little after its beginning: it is aimed at a moment after the beat.
    """
    aims = targets + 4.0
    steps = np.diff(peaks).astype(float)
    placed = [aims[0]]
    for i, step in enumerate(steps):
        free = aims[i + 1] - placed[-1]
        placed.append(placed[-1] + float(np.clip(free, step * _SHORTEST, step * _LONGEST)))
    over = placed[-1] - aims[-1]
    if len(placed) > 1 and over > 0:  # too long for the bar: squeeze all of it rather than be late at its end
        spread = np.asarray(placed) - placed[0]
        placed = list(placed[0] + spread * max(0.8, 1 - over / max(1.0, spread[-1])))
    lead = min(float(peaks[0]), aims[0])
    tail = min((length - 1 - peaks[-1]) * 1.25, max(6.0, until + 6 - placed[-1]))
    spots = np.concatenate([[placed[0] - lead], placed, [placed[-1] + tail]])
    marks = np.concatenate([[peaks[0] - lead], peaks, [length - 1]]).astype(float)
    spots, keep = np.unique(spots, return_index=True)
    frames = np.arange(int(np.floor(spots[-1] - spots[0])) + 1)
    return np.interp(frames + spots[0], spots, marks[keep]), float(spots[0])


def _at(part: NDArray[np.float32], source: NDArray[np.float64]) -> NDArray[np.float32]:
    low = np.clip(np.floor(source).astype(int), 0, part.shape[1] - 1)
    high = np.minimum(low + 1, part.shape[1] - 1)
    share = (source - low).astype(np.float32)
    return np.ascontiguousarray(part[:, low] * (1 - share) + part[:, high] * share)


def _pitch(
    times: NDArray[np.float64],
    notes: Sequence[tuple[float, float, int]],
    spoken: NDArray[np.float32],
    voiced: NDArray[np.bool_],
    shift: int,
) -> NDArray[np.float64]:
    """Hertz per frame; 0 where unvoiced."""
    starts = np.asarray([note[0] for note in notes])
    index = np.clip(np.searchsorted(starts, times + 0.03, side="right") - 1, 0, len(notes) - 1)
    pitches = np.asarray([note[2] for note in notes], float) + shift
    said = 12 * np.log2(np.maximum(spoken, 40) / 440) + 69
    target = pitches[index]
    for k in range(len(notes)):
        here = voiced & (index == k)
        if here.any():
            target[here] += (said[here] - np.median(said[here])) * (1 - _STRENGTH)
    window = np.hanning(9)
    target = np.convolve(np.pad(target, 4, "edge"), window / window.sum(), "valid")
    since = times - starts[index]
    lengths = np.asarray([note[1] for note in notes])[index]
    depth = np.where(lengths > 0.42, 0.34, 0.1) * np.clip((since - 0.16) * 4, 0, 1)
    target = target + depth * np.sin(2 * np.pi * 5.6 * times)
    return np.where(voiced, 440 * 2 ** ((target - 69) / 12), 0.0)
