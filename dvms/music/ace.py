"""Songs by a neural music pipeline through diffusers: ACE-Step, or any other whose answer has `audios`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dvms import pipelines
from dvms.audio import Samples
from dvms.service import Failed, Progress

# Word in the model's name, denoising steps where nobody says (none: the pipeline's own), licence of what it makes.
_FAMILIES: Final = (
    ("acestep-v15-base", 50, "MIT"),
    ("acestep-v15-sft", 50, "MIT"),
    ("acestep", 8, "MIT"),
    ("ace-step", 8, "MIT"),
    ("musicgen", None, "CC-BY-NC-4.0: not for sale"),
    ("stable-audio", None, "Stability AI Community License"),
    ("audioldm", None, "CC-BY-NC-SA-4.0: not for sale"),
)
INSTRUMENTAL: Final = "[instrumental]"


@dataclass(frozen=True, slots=True)
class Neural:
    """What a pipeline made: stereo sound at its own rate."""

    sound: Samples
    rate: int
    pipeline: str
    licence: str


def make(
    settings: Any,
    progress: Progress,
    *,
    prompt: str,
    lyrics: str,
    seconds: float,
    seed: int,
    tempo: float | None = None,
) -> Neural:
    """Load the model once, sing or play. Failed where it is missing, makes no sound, or the job is cancelled."""
    steps, licence = next(
        ((steps, licence) for word, steps, licence in _FAMILIES if word in settings.engine.lower()),
        (None, "see the model's card"),
    )
    progress(0.01, f"loading {settings.engine}")
    pipe = pipelines.load(pipelines.wish_of(settings))
    out = pipelines.run(
        pipe,
        progress,
        (0.1, 0.9),
        None,
        prompt=prompt,
        lyrics=lyrics,
        audio_duration=seconds,
        audio_end_in_s=seconds,
        audio_length_in_s=seconds,
        bpm=None if tempo is None else round(tempo),
        num_inference_steps=settings.steps or steps,
        seed=seed,
    )
    audios = getattr(out, "audios", None)
    if audios is None or len(audios) == 0:
        raise Failed(f"{type(pipe).__name__} made no sound: it is no music model")
    return Neural(_stereo(audios[0]), _rate(pipe), type(pipe).__name__, settings.licence or licence)


def _stereo(audio: Any) -> Samples:
    sound = np.asarray(audio.float().cpu() if hasattr(audio, "cpu") else audio, np.float32)
    sound = sound.T if sound.ndim == 2 and sound.shape[0] <= 2 else sound
    sound = sound[:, None] if sound.ndim == 1 else sound
    if not np.isfinite(sound).all():
        raise Failed("the model made no sound")
    return np.ascontiguousarray(np.repeat(sound, 2, 1) if sound.shape[1] == 1 else sound[:, :2])


def _rate(pipe: Any) -> int:
    """The sample rate of the decoder, wherever this family keeps it."""
    for part in (pipe, getattr(pipe, "vae", None), getattr(pipe, "vocoder", None), *pipe.components.values()):
        for holder in (part, getattr(part, "config", None)):
            for name in ("sample_rate", "sampling_rate", "audio_sampling_rate"):
                rate = getattr(holder, name, None)
                if isinstance(rate, int | float) and rate >= 8000:
                    return int(rate)
    return 48_000
