"""Clips by an image-to-video pipeline, Wan for instance."""

from typing import Any

from dvms import pipelines
from dvms.service import Artefact, Engine, Failed, Job, Progress, Result

WAN_STRIDE = 4  # Wan and its kin take 4k+1 frames


def clip(job: Job[Any], progress: Progress, settings: Any, engine: Engine) -> Result:
    """Load the model once, run it on the picture, write its frames as mp4."""
    import numpy as np
    from PIL import Image, ImageOps

    from dvms.sizes import choose_size
    from dvms.video.encode import DRAFT, Mp4

    p = job.params
    start = pipelines.opened(job.files("image/")[0].path)
    width, height = choose_size(
        size=p.size, ratio=p.ratio, width=p.width, height=p.height, default=(832, 480), largest=1280, step=16
    )
    progress(0.02, "loading the model")
    pipe = pipelines.clip_from_picture(pipelines.load(pipelines.wish_of(settings)))
    steps, guidance, licence = pipelines.family(settings.engine)
    frames = max(5, round(p.seconds * p.fps) // WAN_STRIDE * WAN_STRIDE + 1)
    words = next((item.text for item in job.inputs if item.text), None) or p.motion or "gentle camera move"
    out = pipelines.run(
        pipe, progress, (0.1, 0.9), pipelines.previews(job.workdir, progress),
        prompt=words, image=ImageOps.fit(start, (width, height), Image.Resampling.LANCZOS), width=width, height=height,
        num_frames=frames, fps=p.fps, seed=job.seed, output_type="np",
        num_inference_steps=pipelines.first(p.steps, settings.steps, steps),
        guidance_scale=pipelines.first(p.guidance_scale, settings.guidance_scale, guidance),
    )  # fmt: skip
    made = getattr(out, "frames", None)
    if made is None or len(made) == 0:
        raise Failed("this model makes no clips")
    shown = [np.asarray(frame) for frame in made[0]]
    shown = [(np.clip(f, 0, 1) * 255 + 0.5).astype(np.uint8) if f.dtype.kind == "f" else f for f in shown]
    facts = pipelines.facts(pipe, engine, licence, job.seed)
    if settings.safety:
        facts = pipelines.refuse_indecent(Image.fromarray(shown[len(shown) // 2]), facts)
    path, poster = job.workdir / "clip.mp4", job.workdir / "poster.jpg"
    h, w = shown[0].shape[0] // 2 * 2, shown[0].shape[1] // 2 * 2
    with Mp4(path, w, h, p.fps, quality=DRAFT) as mp4:
        for frame in shown:
            mp4.show(frame[:h, :w])
    Image.fromarray(shown[len(shown) // 2]).save(poster, quality=85)
    progress(1.0, "done")
    return Result(None, (Artefact(path, "video/mp4", w, h, len(shown) / p.fps, words[:300], poster),), facts)
