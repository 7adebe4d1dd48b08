"""Songs by a neural music pipeline through diffusers: ACE-Step, or any other whose call returns `audios`."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvms.audio import Samples
from dvms.service import Failed, Progress

log = logging.getLogger("dvms.music")

_LICENCES = {"ace-step": "MIT", "musicgen": "CC-BY-NC-4.0", "stable-audio": "Stability AI Community License"}


class _Stopped(Exception):
    """Raised inside the step callback: the only way to end a pipeline between two steps."""


@dataclass(frozen=True, slots=True)
class Neural:
    sound: Samples
    rate: int
    pipeline: str
    licence: str


class Pipeline:
    """A loaded pipeline; stays loaded for the next song."""

    def __init__(self, ref: str, device: str = "auto") -> None:
        """`ref` is a hub id or a folder. Failed where diffusers, torch or the model are missing."""
        try:
            import torch
            from diffusers import DiffusionPipeline
        except ImportError as error:
            raise Failed(f"this engine needs the diffusers extra ({error.name} is missing)") from None
        self.ref = ref
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        dtype = {"cuda": torch.bfloat16, "mps": torch.float16}.get(device, torch.float32)
        try:
            self._pipe: Any = DiffusionPipeline.from_pretrained(ref, dtype=dtype, local_files_only=Path(ref).is_dir())
        except (OSError, ValueError) as error:
            raise Failed(f"the model {ref} can't be loaded: {error}") from None
        size = sum(
            p.numel() * p.element_size()
            for part in self._pipe.components.values()
            if isinstance(part, torch.nn.Module)
            for p in part.parameters()
        )
        if device == "cuda" and size * 1.25 > torch.cuda.mem_get_info()[0]:
            self._pipe.enable_model_cpu_offload()
        else:
            self._pipe.to(device)
        self._pipe.set_progress_bar_config(disable=True)
        self._torch = torch

    def make(self, *, prompt: str, lyrics: str, seconds: float, steps: int, seed: int, progress: Progress) -> Neural:
        pipe = self._pipe
        known = inspect.signature(pipe.__call__).parameters

        def step(pipeline: Any, index: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            if progress.cancelled:
                pipeline._interrupt = True
                raise _Stopped
            progress(0.05 + 0.85 * (index + 1) / steps, f"step {index + 1} of {steps}")
            return values

        wanted = {
            "prompt": prompt,
            "lyrics": lyrics,
            "audio_duration": seconds,
            "audio_end_in_s": seconds,
            "num_inference_steps": steps,
            "generator": self._torch.Generator("cpu").manual_seed(seed),
            "callback_on_step_end": step,
            "output_type": "np",
        }
        try:
            out = pipe(**{name: value for name, value in wanted.items() if name in known})
        except _Stopped:
            raise Failed("cancelled") from None
        audios = getattr(out, "audios", None)
        if audios is None:
            raise Failed(f"{type(pipe).__name__} made no sound: it is not a music pipeline")
        sound = np.asarray(audios[0].float().cpu() if hasattr(audios[0], "cpu") else audios[0], np.float32)
        sound = sound.T if sound.ndim == 2 and sound.shape[0] <= 2 else sound
        sound = np.repeat(sound[:, None], 2, 1) if sound.ndim == 1 else sound
        licence = next((text for word, text in _LICENCES.items() if word in self.ref.lower()), "see the model's card")
        return Neural(np.ascontiguousarray(sound), self._rate(), type(pipe).__name__, licence)

    def _rate(self) -> int:
        """The sample rate of the decoder, wherever this family keeps it."""
        for part in (self._pipe, *self._pipe.components.values()):
            for holder in (part, getattr(part, "config", None)):
                for name in ("sample_rate", "sampling_rate", "audio_sampling_rate"):
                    rate = getattr(holder, name, None)
                    if isinstance(rate, int | float) and rate > 8000:
                        return int(rate)
        return 48_000
