"""The band as arrays: band-limited wavetables, plucked strings, struck bars, drums; a bus for each part.

Deterministic: noise comes from fixed seeds. Every sound is made once per pitch and length, then placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dvms.audio import RATE, Samples
from dvms.music.planner import Note, Song

Array = NDArray[np.float32]

_TABLE: Final = 2048
_GAIN: Final = {"pad": 0.30, "arp": 0.34, "bass": 0.62, "lead": 0.40, "drums": 0.80}
_PAN: Final = {"pad": 0.0, "arp": 0.28, "bass": 0.0, "lead": -0.12, "drums": 0.0}
_SEND: Final = {"pad": 0.55, "arp": 0.5, "bass": 0.04, "lead": 0.6, "drums": 0.14}


@dataclass(frozen=True, slots=True)
class Patch:
    """A wavetable sound: it starts as bright as `bright` Hz and fades to `dark` Hz with time constant `falls` seconds.

    `decay` is the time constant of the level (0: it is held until the note ends). `detune` in cents.
    """

    wave: str
    bright: float
    dark: float
    falls: float
    attack: float
    decay: float
    release: float
    detune: tuple[float, ...] = (0.0,)
    vibrato: float = 0.0
    breath: float = 0.0
    drive: float = 0.0
    gain: float = 1.0


PATCHES: Final[dict[str, Patch]] = {
    "warm": Patch("saw", 1500, 700, 1.2, 0.12, 0, 0.5, (-6, 5), gain=0.6),
    "saws": Patch("saw", 3200, 1300, 1.6, 0.06, 0, 0.45, (-9, -3, 4, 10), gain=0.42),
    "strings": Patch("saw", 2600, 1900, 2.0, 0.22, 0, 0.6, (-7, 1, 6), vibrato=0.12, gain=0.5),
    "glass": Patch("odd", 2400, 900, 1.8, 0.5, 0, 1.2, (-4, 4), gain=0.8),
    "drive": Patch("saw", 2600, 1500, 0.5, 0.01, 2.4, 0.1, (-5, 6), drive=3.0, gain=0.42),
    "pulse": Patch("square", 3600, 700, 0.09, 0.004, 0.22, 0.08, (-4, 4), gain=0.55),
    "pluck": Patch("saw", 5200, 600, 0.07, 0.003, 0.28, 0.12, (-8, 0, 8), gain=0.6),
    "round": Patch("triangle", 900, 380, 0.2, 0.008, 1.6, 0.06, gain=1.15),
    "saw": Patch("saw", 1700, 420, 0.16, 0.006, 1.2, 0.05, (-3, 3), gain=0.62),
    "low": Patch("triangle", 500, 320, 0.6, 0.03, 4.0, 0.25, gain=1.2),
    "pick": Patch("saw", 1900, 700, 0.12, 0.004, 1.1, 0.05, drive=1.2, gain=0.66),
    "lead": Patch("saw", 3000, 1500, 0.4, 0.02, 0, 0.15, (-5, 5), vibrato=0.18, gain=0.5),
    "flute": Patch("soft", 2200, 1500, 0.4, 0.05, 0, 0.14, vibrato=0.16, breath=0.05, gain=0.85),
    "horn": Patch("saw", 1500, 1000, 0.5, 0.06, 0, 0.25, (-3, 4), vibrato=0.06, gain=0.72),
    "brass": Patch("saw", 2600, 1200, 0.3, 0.03, 0, 0.14, (-4, 3), vibrato=0.1, gain=0.55),
}
# Struck things: (frequency ratio, level, decay in seconds) of each partial.
STRUCK: Final[dict[str, tuple[tuple[float, float, float], ...]]] = {
    "ep": ((1, 1.0, 1.1), (2, 0.22, 0.7), (4, 0.10, 0.25), (14.0, 0.06, 0.05)),
    "bell": ((1, 1.0, 1.3), (2.76, 0.35, 0.7), (5.4, 0.16, 0.35), (8.9, 0.06, 0.2)),
    "musicbox": ((1, 1.0, 0.9), (3.0, 0.30, 0.45), (6.2, 0.12, 0.15), (10.1, 0.05, 0.06)),
}
STRINGS: Final[dict[str, tuple[float, float]]] = {
    "guitar": (0.55, 0.9965),
    "harp": (0.4, 0.9975),
    "nylon": (0.3, 0.9955),
}


def render(song: Song) -> Samples:
    """The whole band in stereo, unmastered."""
    frames = int(song.seconds * RATE)
    dry, wet = np.zeros((frames, 2), np.float32), np.zeros((frames, 2), np.float32)
    for part in ("pad", "arp", "bass", "lead", "drums"):
        notes = [note for note in song.notes if note.part == part]
        if not notes:
            continue
        bus = _bus(notes, song.style.instruments.get(part, ""), frames)
        if song.style.pump and part in ("pad", "arp", "bass"):
            bus *= _pump(song, frames)[:, None]
        dry += bus
        wet += bus * _SEND[part]
    if song.style.dust:
        dry += _dust(frames) * song.style.dust
    return dry + reverb(wet, 0.9 + 2.4 * song.style.space) * song.style.space * 2.2


def _bus(notes: Sequence[Note], patch: str, frames: int) -> Samples:
    part = notes[0].part
    out = np.zeros((frames, 2), np.float32)
    for note in notes:
        length = round(note.length * 50) / 50
        sound = _drum(note.pitch) if part == "drums" else _tone(patch, note.pitch, length)
        start = int(note.start * RATE)
        room = min(len(sound), frames - start)
        if room > 0:
            level = (note.velocity / 100) ** 1.4 * _GAIN[part]
            out[start : start + room] += sound[:room] * np.float32(level)
    pan = _PAN[part]
    if pan:
        out *= np.asarray([1 - max(0.0, pan), 1 + min(0.0, pan)], np.float32)
        if part == "arp":  # an echo of the right on the left keeps a panned part in the room
            late = int(0.013 * RATE)
            out[late:, 0] += 0.35 * out[:-late, 1]
    return out


@lru_cache(maxsize=4096)
def _tone(patch: str, pitch: int, length: float) -> Samples:
    """One note in stereo."""
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    if patch in STRINGS:
        return _plucked(frequency, length, *STRINGS[patch])
    if patch in STRUCK:
        return _struck(frequency, length, STRUCK[patch])
    return _wave(frequency, length, PATCHES[patch])


def _wave(frequency: float, length: float, patch: Patch) -> Samples:
    frames = int((length + patch.release) * RATE)
    t = np.arange(frames, dtype=np.float32) / RATE
    level = np.minimum(t / patch.attack, 1.0)
    if patch.decay:
        level *= np.exp(-t / patch.decay)
    level *= np.clip((length + patch.release - t) / patch.release, 0, 1) ** 1.5
    bright = np.exp(-t / patch.falls).astype(np.float32)
    high, low = _table(patch.wave, frequency, patch.bright), _table(patch.wave, frequency, patch.dark)
    bend: Array = np.ones(1, np.float32)
    if patch.vibrato:
        swell = np.clip((t - 0.18) * 3, 0, 1)
        bend = np.exp2(patch.vibrato / 12 * np.sin(2 * np.pi * 5.3 * t) * swell).astype(np.float32)
    out = np.zeros((frames, 2), np.float32)
    for i, cents in enumerate(patch.detune):
        pace = frequency * 2 ** (cents / 1200) / RATE
        phase = np.cumsum(np.broadcast_to(pace * bend, frames), dtype=np.float64) + 0.37 * i
        at = (phase * _TABLE).astype(np.int64) & (_TABLE - 1)
        y = low[at] + (high[at] - low[at]) * bright
        side = 0.0 if len(patch.detune) == 1 else 0.7 * (2 * i / (len(patch.detune) - 1) - 1)
        out[:, 0] += y * (1 - max(0.0, side))
        out[:, 1] += y * (1 + min(0.0, side))
    if patch.breath:
        noise = np.random.default_rng(7).standard_normal(frames).astype(np.float32)
        out += (_smooth(noise, 6) * patch.breath)[:, None]
    out *= level[:, None]
    if patch.drive:
        out = np.tanh(out * patch.drive) / np.float32(np.tanh(patch.drive))
        out = np.stack([_smooth(out[:, 0], 5), _smooth(out[:, 1], 5)], 1)
    return out * np.float32(patch.gain)


@lru_cache(maxsize=2048)
def _table(wave: str, frequency: float, cutoff: float) -> Array:
    """One period with no harmonic above 16 kHz, filtered at `cutoff`; the filter follows the pitch a little."""
    count = max(1, min(_TABLE // 2 - 1, int(16_000 / frequency)))
    n = np.arange(1, count + 1)
    level = {
        "saw": 1.0 / n,
        "square": np.where(n % 2, 1.0 / n, 0.15 / n),
        "triangle": np.where(n % 2, 1.0 / n**1.7, 0.25 / n**2),
        "odd": np.where(n % 2, 1.0 / n**1.4, 0.0),
        "soft": np.asarray([1, 0.32, 0.16, 0.06, 0.03] + [0.0] * count)[:count],
    }[wave]
    follow = cutoff * (frequency / 261.6) ** 0.35
    level = level / np.sqrt(1 + (n * frequency / follow) ** 4)
    spectrum = np.zeros(_TABLE // 2 + 1, np.complex128)
    spectrum[1 : count + 1] = -1j * level * _TABLE / 2
    return np.fft.irfft(spectrum).astype(np.float32)


def _plucked(frequency: float, length: float, bright: float, keep: float) -> Samples:
    """Karplus and Strong: a burst of noise in a loop of one period that gets duller each time round."""
    period = max(2, round(RATE / frequency - 0.5))
    noise = np.random.default_rng(period).uniform(-1, 1, period)
    for _ in range(round((1 - bright) * 6)):
        noise = 0.5 * (noise + np.roll(noise, 1))
    noise -= noise.mean()
    noise /= np.abs(noise).max() + 1e-9
    frames = int((length + 0.5) * RATE)
    loops = -(-frames // period)
    damp = keep ** (220.0 / frequency if frequency > 220 else 1.0)
    spectrum = np.fft.rfft(noise)
    turn = np.pi * np.arange(len(spectrum)) / period
    once = np.cos(turn) * np.exp(-1j * turn) * damp  # the two-point average of the loop, as a filter
    powers = once[None, :] ** np.arange(loops)[:, None]
    y = np.fft.irfft(spectrum[None, :] * powers, period, axis=1).reshape(-1)[:frames]
    t = np.arange(frames) / RATE
    y *= np.clip((length + 0.5 - t) / 0.4, 0, 1)
    return np.repeat((y * 0.8).astype(np.float32)[:, None], 2, 1)


def _struck(frequency: float, length: float, partials: Sequence[tuple[float, float, float]]) -> Samples:
    frames = int((length + 0.7) * RATE)
    t = np.arange(frames, dtype=np.float32) / RATE
    y = np.zeros(frames, np.float32)
    for ratio, level, decay in partials:
        if ratio * frequency < 16_000:
            y += level * np.sin(2 * np.pi * ratio * frequency * t) * np.exp(-t / decay)
    y *= np.minimum(t / 0.003, 1) * np.clip((length + 0.7 - t) / 0.6, 0, 1)
    sway = 0.12 * np.sin(2 * np.pi * 4.2 * t)
    return np.stack([y * (1 + sway), y * (1 - sway)], 1).astype(np.float32) * np.float32(0.75)


@lru_cache(maxsize=64)
def _drum(piece: int) -> Samples:
    rng = np.random.default_rng(piece)
    seconds = {49: 1.6, 51: 0.7, 46: 0.35, 42: 0.09, 70: 0.08, 37: 0.08, 40: 0.25}.get(piece, 0.4)
    frames = int(seconds * RATE)
    t = np.arange(frames) / RATE
    noise = rng.standard_normal(frames)
    hiss = np.diff(noise, prepend=0.0)
    y: NDArray[np.float64]
    if piece == 36:
        sweep = 47 * t + 3.2 * (1 - np.exp(-t * 32))
        y = np.sin(2 * np.pi * sweep) * np.exp(-t * 8) + 0.25 * hiss * np.exp(-t * 300)
    elif piece in (38, 40):
        body = np.sin(2 * np.pi * (185 * t + 1.2 * (1 - np.exp(-t * 40)))) * np.exp(-t * 22)
        y = 0.55 * body + (0.42 if piece == 38 else 0.3) * (noise * 0.6 + hiss * 0.5) * np.exp(
            -t * (15 if piece == 38 else 20)
        )
        if piece == 40:
            y *= np.minimum(t / 0.012, 1)
    elif piece == 39:
        bursts = sum(np.where(t >= at, np.exp(-(t - at) * 90), 0) for at in (0.0, 0.011, 0.022)) + 0.5 * np.exp(-t * 12)
        y = 0.35 * (noise - 0.6 * np.roll(noise, 2)) * bursts
    elif piece == 37:
        y = 0.7 * np.sin(2 * np.pi * 1700 * t) * np.exp(-t * 90) + 0.4 * hiss * np.exp(-t * 160)
    elif piece in (42, 46):
        y = 0.28 * np.diff(hiss, prepend=0.0) * np.exp(-t * (70 if piece == 42 else 12))
    elif piece == 70:
        y = 0.22 * hiss * np.minimum(t / 0.02, 1) * np.exp(-t * 45)
    elif piece in (49, 51):
        metal = sum(np.sin(2 * np.pi * f * t + i) for i, f in enumerate((3170, 4211, 5437, 6873, 8119, 9433)))
        y = (0.2 * hiss + 0.05 * metal) * np.exp(-t * (2.6 if piece == 49 else 6))
    else:
        base = {45: 82.0, 47: 118.0, 50: 165.0}.get(piece, 118.0)
        y = np.sin(2 * np.pi * (base * t + 2.0 * (1 - np.exp(-t * 26)))) * np.exp(-t * 8) + 0.05 * noise * np.exp(
            -t * 40
        )
    y *= np.clip((seconds - t) / 0.03, 0, 1)
    side = {42: 0.25, 46: 0.25, 70: -0.3, 51: -0.25, 45: 0.3, 50: -0.3}.get(piece, 0.0)
    return np.stack([y * (1 - max(0, side)), y * (1 + min(0, side))], 1).astype(np.float32)


def _pump(song: Song, frames: int) -> Array:
    """The band ducks under the kick."""
    gain = np.ones(frames, np.float32)
    dip = 1 - song.style.pump * np.exp(-np.arange(int(song.beat * RATE)) / (0.11 * RATE))
    for note in song.notes:
        if note.part == "drums" and note.pitch == 36:
            start = int(note.start * RATE)
            room = min(len(dip), frames - start)
            if room > 0:
                gain[start : start + room] = np.minimum(gain[start : start + room], dip[:room])
    return gain


def _dust(frames: int) -> Samples:
    """Needle noise of an old record."""
    rng = np.random.default_rng(11)
    hiss = _smooth(rng.standard_normal(frames).astype(np.float32), 3) * 0.004
    for at in rng.integers(0, max(1, frames - 40), max(1, frames // 9000)):
        hiss[at : at + 20] += (rng.uniform(-0.05, 0.05) * np.exp(-np.arange(20) / 5))[: frames - at]
    return np.repeat(hiss[:, None], 2, 1)


def _smooth(x: Array, width: int) -> Array:
    return np.convolve(x, np.full(width, 1 / width, np.float32), "same").astype(np.float32)


def reverb(sound: Samples, seconds: float, *, predelay: float = 0.018) -> Samples:
    """A room: decaying noise, its highs gone first, different on both sides."""
    from scipy import fft

    frames = int(seconds * RATE)
    t = np.arange(frames) / RATE
    rng = np.random.default_rng(3)
    out = np.empty_like(sound)
    size = fft.next_fast_len(len(sound) + frames, real=True)
    for side in (0, 1):
        noise = rng.standard_normal(frames).astype(np.float32)
        dark = _smooth(noise, 14) * 3.0
        tail = (noise * np.exp(-t * 9 / seconds) * 0.5 + dark * np.exp(-t * 5.5 / seconds)) * np.minimum(t / 0.012, 1)
        tail = np.concatenate([np.zeros(int(predelay * RATE)), tail])[:frames]
        tail /= np.sqrt(np.square(tail).sum()) + 1e-9
        spectrum = fft.rfft(sound[:, side], size) * fft.rfft(tail.astype(np.float32), size)
        out[:, side] = fft.irfft(spectrum, size)[: len(sound)]
    return out
