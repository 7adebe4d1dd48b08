"""The desk: band and voice become one stereo mix at its final loudness."""

from __future__ import annotations

import numpy as np

from dvms.audio import RATE, Samples, master
from dvms.music.planner import TAIL, Song
from dvms.music.synth import reverb


def mix(song: Song, band: Samples, voice: Samples | None) -> Samples:
    """-15 LUFS, -1 dBTP, faded out over the last chord."""
    from scipy.ndimage import uniform_filter1d

    out = band / np.float32(np.abs(band).max(initial=0.0) + 1e-6)
    if voice is not None and len(voice):
        sung = _treat(song, voice, len(out))
        loud = np.maximum(uniform_filter1d(np.abs(sung).max(1).astype(np.float64), int(0.12 * RATE)), 0)
        level = np.sqrt(
            np.square(out).mean()
            / max(1e-9, float(np.square(sung[loud > 0.02]).mean()) if (loud > 0.02).any() else 1.0)
        )
        ducked = 1 - 0.42 * np.clip(loud / (loud.max() + 1e-9) * 2.4, 0, 1)
        out = out * ducked[:, None].astype(np.float32) + sung * np.float32(level * 1.35)
    out = _open(out)
    fade = int((TAIL * 0.8) * RATE)
    out[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None] ** 1.4
    return master(out, RATE)


def _open(out: Samples) -> Samples:
    """Less mud around 250 Hz, more presence around 4 kHz: what a mastering desk would turn first."""
    from scipy.signal import butter, sosfilt

    mud = sosfilt(butter(1, (160, 400), "bandpass", fs=RATE, output="sos"), out, axis=0)
    presence = sosfilt(butter(1, (1900, 6500), "bandpass", fs=RATE, output="sos"), out, axis=0)
    return np.asarray(out - 0.22 * mud + 0.42 * presence, np.float32)


def _treat(song: Song, voice: Samples, frames: int) -> Samples:
    """High-pass, level out, some air, a doubling, an echo on the dotted eighth, a room."""
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import butter, sosfilt

    dry = np.zeros(frames, np.float32)
    room = min(frames, len(voice))
    dry[:room] = voice[:room]
    dry = np.asarray(sosfilt(butter(2, 110, "highpass", fs=RATE, output="sos"), dry), np.float32)
    air = np.asarray(sosfilt(butter(1, 3200, "highpass", fs=RATE, output="sos"), dry), np.float32)
    dry = dry + 0.5 * air
    power = uniform_filter1d(np.square(dry, dtype=np.float64), int(0.05 * RATE))
    envelope = np.sqrt(np.maximum(power, 0)).astype(np.float32)
    reference = float(np.percentile(envelope[envelope > 0.01], 80)) if (envelope > 0.01).any() else 1.0
    dry *= (reference / np.maximum(envelope, reference * 0.35)) ** 0.4
    out = np.repeat(dry[:, None], 2, 1)
    for side, delay in ((0, 0.017), (1, 0.023)):
        late = int(delay * RATE)
        out[late:, side] += 0.22 * dry[:-late]
    echo = int(song.beat * 0.75 * RATE)
    if echo < frames:
        out[echo:] += 0.10 * out[:-echo]
    return out + reverb(out, 1.1 + 1.6 * song.style.space) * np.float32(0.16 + 0.4 * song.style.space)
