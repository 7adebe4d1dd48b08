"""Sound as arrays: reading and writing files, loudness, true peak, the last step of a mix.

Samples are float32, shape (frames, channels), full scale 1.0. Loudness is ITU-R BS.1770-4 (integrated, gated), in LUFS;
peaks are true peaks (four times oversampled), in dBTP. An engine module: imports numpy, and PyAV and scipy on use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dvms.audio_formats import FORMATS, known_format

__all__ = [
    "FORMATS",
    "RATE",
    "Samples",
    "known_format",
    "loudness",
    "master",
    "metadata",
    "read",
    "resample",
    "true_peak",
    "write",
]

Samples = NDArray[np.float32]

RATE: Final = 44_100
TARGET_LUFS: Final = -15.0
CEILING_DBTP: Final = -1.0
_CODEC_MARGIN_DB: Final = 0.7  # a lossy codec overshoots the peaks it was given by about this much


def write(
    path: Path, samples: Samples, rate: int, mime: str = "audio/mp4", *, metadata: Mapping[str, str] | None = None
) -> None:
    """Encode to a file. `metadata` goes into the container (for instance `title`, `comment`)."""
    import av

    _, container, codec, bit_rate = FORMATS[mime]
    sound = samples[:, None] if samples.ndim == 1 else samples
    if codec == "libopus" and rate != 48_000:
        sound, rate = resample(sound, rate, 48_000), 48_000
    layout = "mono" if sound.shape[1] == 1 else "stereo"
    with av.open(str(path), "w", format=container) as out:
        for name, value in (metadata or {}).items():
            out.metadata[name] = value
        stream: Any = out.add_stream(codec, rate=rate)
        stream.layout = layout
        if bit_rate:
            stream.bit_rate = bit_rate if layout == "stereo" else bit_rate * 2 // 3
        wide = codec in ("pcm_s16le", "flac")
        clipped = np.clip(sound, -1.0, 1.0)
        data = np.round(clipped * 32767).astype("<i2") if wide else clipped.astype(np.float32)
        block = rate  # one second a frame; the codec's own frame size is cut by the resampler's queue
        resampler = av.AudioResampler(
            format=stream.codec_context.format,
            layout=layout,
            rate=rate,
            frame_size=stream.codec_context.frame_size or 0,
        )
        for start in range(0, len(data), block):
            piece = np.ascontiguousarray(data[start : start + block].reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(piece, format="s16" if wide else "flt", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            for ready in resampler.resample(frame):
                out.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            out.mux(stream.encode(ready))
        out.mux(stream.encode(None))


def read(path: Path, rate: int = RATE, channels: int = 2, *, most_seconds: float = 3600) -> Samples:
    """Decode the first audio stream. ValueError where there is none or it can't be decoded."""
    import av

    parts: list[NDArray[np.float32]] = []
    got = 0
    try:
        with av.open(str(path)) as source:
            if not source.streams.audio:
                raise ValueError("the file has no sound")
            resampler = av.AudioResampler(format="flt", layout="mono" if channels == 1 else "stereo", rate=rate)
            for frame in source.decode(audio=0):
                for ready in resampler.resample(frame):
                    parts.append(np.asarray(ready.to_ndarray(), np.float32).reshape(-1, channels))
                    got += len(parts[-1])
                if got >= most_seconds * rate:
                    break
            parts.extend(
                np.asarray(ready.to_ndarray(), np.float32).reshape(-1, channels) for ready in resampler.resample(None)
            )
    except av.FFmpegError as error:
        raise ValueError(f"the sound can't be decoded: {error}") from None
    if not parts:
        raise ValueError("the file has no sound")
    return np.concatenate(parts)[: int(most_seconds * rate)]


def metadata(path: Path) -> dict[str, str]:
    """The file's metadata, also where the container keeps it with the stream (Ogg); empty where it can't be read."""
    import av

    try:
        with av.open(str(path)) as source:
            kept = [*(stream.metadata for stream in list(source.streams)[:1]), source.metadata]
            return {str(name).lower(): str(value) for table in kept for name, value in table.items()}
    except av.FFmpegError:
        return {}


def resample(samples: Samples, old: int, new: int) -> Samples:
    if old == new:
        return samples
    from scipy.signal import resample_poly

    divisor = math.gcd(old, new)
    return np.asarray(resample_poly(samples, new // divisor, old // divisor, axis=0), np.float32)


def loudness(samples: Samples, rate: int) -> float:
    """Integrated loudness in LUFS; -inf for silence."""
    from scipy.signal import sosfilt

    sound = samples[:, None] if samples.ndim == 1 else samples
    weighted = sosfilt(_k_weighting(rate), sound, axis=0)
    power = np.square(weighted).sum(1)
    hop = rate // 10
    tenths = power[: len(power) // hop * hop].reshape(-1, hop).mean(1)
    if len(tenths) < 4:
        blocks = np.array([power.mean()]) if len(power) else np.zeros(1)
    else:
        blocks = np.lib.stride_tricks.sliding_window_view(tenths, 4).mean(1)
    levels = -0.691 + 10 * np.log10(np.maximum(blocks, 1e-12))
    loud = blocks[levels > -70]
    if not len(loud):
        return -math.inf
    gate = -0.691 + 10 * np.log10(loud.mean()) - 10
    heard = blocks[(levels > -70) & (levels > gate)]
    return float(-0.691 + 10 * np.log10(heard.mean()))


def true_peak(samples: Samples) -> float:
    """The highest peak between the samples, in dBTP; -inf for silence."""
    peak = float(_peaks(samples).max(initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def master(samples: Samples, rate: int, *, lufs: float = TARGET_LUFS, ceiling: float = CEILING_DBTP) -> Samples:
    """Bring a mix to its loudness and hold its peaks under the ceiling, also after a lossy codec."""
    sound = np.asarray(samples, np.float32)
    limit = 10 ** ((ceiling - _CODEC_MARGIN_DB) / 20)
    level = loudness(sound, rate)
    if not math.isfinite(level):
        return sound
    for _ in range(3):  # limiting takes loudness away: give it back, at most three times
        sound = _limit(sound * np.float32(10 ** ((lufs - level) / 20)), limit, rate)
        level = loudness(sound, rate)
        if abs(level - lufs) < 0.2:
            break
    return sound


def _limit(samples: Samples, limit: float, rate: int) -> Samples:
    """Look-ahead limiter: the gain comes down before the peak and is never higher than the peak allows."""
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    needed = np.minimum(1.0, limit / np.maximum(_peaks(samples), 1e-9))
    if needed.min() >= 1.0:
        return samples
    reach = int(rate * 0.004) * 2 + 1
    gain = np.clip(uniform_filter1d(minimum_filter1d(needed, reach).astype(np.float64), reach), 0, 1)
    return np.asarray(samples * gain[:, None], np.float32)


def _peaks(samples: Samples) -> NDArray[np.float32]:
    """Per frame, the highest true peak of any channel. Only stretches that are loud enough are oversampled."""
    from scipy.signal import resample_poly

    sound = samples[:, None] if samples.ndim == 1 else samples
    peak = np.asarray(np.abs(sound).max(1), np.float32) if len(sound) else np.zeros(0, np.float32)
    if not len(peak):
        return peak
    size, edge = 4096, 32
    floor = peak.max() * 0.5  # a true peak is less than twice the samples around it
    for start in range(0, len(peak), size):
        if peak[start : start + size].max() < floor:
            continue
        a, b = max(0, start - edge), min(len(peak), start + size + edge)
        fine = np.abs(resample_poly(sound[a:b], 4, 1, axis=0)).max(1).reshape(-1, 4).max(1)
        end = min(len(peak), start + size)
        peak[start:end] = np.maximum(peak[start:end], fine[start - a : end - a])
    return peak


def _k_weighting(rate: int) -> NDArray[np.float64]:
    """The two filters of BS.1770 (head shelf, then high-pass) for any sample rate."""
    rows = []
    gain, q, f0 = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    k = math.tan(math.pi * f0 / rate)
    vh = 10 ** (gain / 20)
    vb = vh**0.4996667741545416
    a0 = 1 + k / q + k * k
    rows.append(
        [
            *((vh + vb * k / q + k * k) / a0, 2 * (k * k - vh) / a0, (vh - vb * k / q + k * k) / a0),
            *(1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0),
        ]
    )
    q, f0 = 0.5003270373238773, 38.13547087602444
    k = math.tan(math.pi * f0 / rate)
    a0 = 1 + k / q + k * k
    rows.append([1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0])
    return np.asarray(rows)
