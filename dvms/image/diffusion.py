"""Pictures by a diffusers pipeline: text to image, and from a picture where the family can."""

from typing import Any

from dvms import pipelines
from dvms.service import Artefact, Engine, Failed, Job, Progress, Result


def picture(job: Job[Any], progress: Progress, settings: Any, engine: Engine, width: int, height: int) -> Result:
    """Load the model once, run it with progress and previews, check and save the picture."""
    from PIL import Image, ImageOps

    from dvms.image.service import save_png

    p = job.params
    progress(0.02, "loading the model")
    pipe = pipelines.load(pipelines.wish_of(settings))
    steps, guidance, licence = pipelines.family(settings.engine)
    prompt = job.text().strip() + (f", {p.style}" if p.style else "")
    wanted: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": p.negative_prompt or None,
        "width": width,
        "height": height,
        "num_inference_steps": pipelines.first(p.steps, settings.steps, steps),
        "guidance_scale": pipelines.first(p.guidance_scale, settings.guidance_scale, guidance),
        "seed": job.seed,
    }
    given = job.files("image/")
    if given:
        start = ImageOps.fit(pipelines.opened(given[0].path), (width, height), Image.Resampling.LANCZOS)
        pipe = pipelines.from_picture(pipe)
        wanted |= {"image": start, "strength": max(0.05, p.strength)}
    out = pipelines.run(pipe, progress, (0.1, 0.95), pipelines.previews(job.workdir, progress), **wanted)
    images = getattr(out, "images", None)
    if images is None or len(images) == 0:
        raise Failed("this model makes no pictures")
    if any(getattr(out, "nsfw_content_detected", None) or []):
        raise Failed("the picture did not pass the model's own safety check")
    image = images[0].convert("RGB")
    facts = pipelines.facts(pipe, engine, licence, job.seed)
    if settings.safety:
        facts = pipelines.refuse_indecent(image, facts)
    path = save_png(image, job.workdir / "picture.png", None, model=engine.model, seed=job.seed, prompt=prompt)
    progress(1.0, "done")
    return Result(None, (Artefact(path, "image/png", image.width, image.height, alt=prompt[:300]),), facts)
