"""The child that decodes what strangers sent: `python -m orchestrator.gatechild FILE MIME` prints facts as JSON.

It limits itself before it opens the file. Every frame is decoded; contrast and loudness are measured as they pass, so
memory does not grow with the length of a file.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

MEMORY = 3 << 30
CPU_SECONDS = 100
MAX_PIXELS = 64_000_000
MAX_SECONDS = 3600
BLANK = 2.0  # standard deviation of the luma, of 255, below which a picture shows nothing
SILENT = 0.001  # peak below which a stretch of sound counts as silence


class Bad(Exception):
    """The file is not what it says; the message says how."""


def limit() -> None:
    """No more memory, time or files than decoding needs."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def measure(path: Path, mime: str) -> dict[str, Any]:
    """The facts of a media file. Raises Bad."""
    return measure_image(path) if mime.startswith("image/") else measure_stream(path, mime.partition("/")[0])


def measure_image(path: Path) -> dict[str, Any]:
    from PIL import Image, ImageStat, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Bad(f"{image.width}x{image.height} is too large")
            image.load()
            luma = image.convert("RGBA").convert("L")
            contrast = float(ImageStat.Stat(luma).stddev[0])
            entropy = float(luma.entropy())
            return {
                "decoded": image.format, "width": image.width, "height": image.height, "contrast": contrast,
                "blank": contrast < BLANK, "score": min(1.0, entropy / 8),
            }  # fmt: skip
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise Bad(f"does not decode: {_short(error, path)}") from None


def measure_stream(path: Path, family: str) -> dict[str, Any]:
    import av
    import numpy as np

    facts: dict[str, Any] = {}
    video_end = audio_end = 0.0
    frames, best_contrast, peak, loud, stretches = 0, 0.0, 0.0, 0, 0
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            picture = next((s for s in container.streams.video if not _is_cover(s)), None)
            sound = next(iter(container.streams.audio), None)
            if family == "video" and picture is None:
                raise Bad("there is no picture in it")
            if family == "audio" and sound is None:
                raise Bad("there is no sound in it")
            if picture is not None:
                if picture.width * picture.height > MAX_PIXELS:
                    raise Bad(f"{picture.width}x{picture.height} is too large")
                picture.thread_type = "NONE"
                facts |= {"width": picture.width, "height": picture.height}
            for frame in container.decode([s for s in (picture, sound) if s is not None]):
                if not isinstance(frame, av.VideoFrame | av.AudioFrame):
                    continue
                end = float(frame.time or 0.0)
                if end > MAX_SECONDS:
                    raise Bad(f"longer than {MAX_SECONDS} s")
                if isinstance(frame, av.VideoFrame):
                    frames += 1
                    video_end = max(video_end, end)
                    if frames % 6 == 1:
                        small = frame.reformat(width=96, height=54, format="gray").to_ndarray()
                        best_contrast = max(best_contrast, float(small.std()))
                else:
                    audio_end = max(audio_end, end + frame.samples / frame.sample_rate)
                    level = _level(frame.to_ndarray(), np)
                    peak, stretches, loud = max(peak, level), stretches + 1, loud + (level > SILENT)
            if picture is not None and picture.average_rate:
                video_end += float(1 / picture.average_rate)
    except (av.FFmpegError, ValueError, EOFError) as error:
        raise Bad(f"does not decode: {_short(error, path)}") from None
    if family == "video" and not frames:
        raise Bad("not one frame decodes")
    if family == "audio" and not stretches:
        raise Bad("not one sample decodes")
    if frames and family == "video":
        facts |= {"contrast": best_contrast, "blank": best_contrast < BLANK}
    if stretches:
        facts["peak"] = peak
    facts["seconds"] = round(video_end if family == "video" else audio_end, 3)
    facts["decoded"] = f"{frames} frames, {audio_end:.1f} s of sound" if frames else f"{audio_end:.1f} s of sound"
    facts["score"] = min(1.0, best_contrast / 80) if family == "video" else loud / max(1, stretches)
    return facts


def _level(samples: Any, np: Any) -> float:
    """Peak of a frame, 0 to 1."""
    if samples.size == 0:
        return 0.0
    top = float(np.abs(samples.astype("float64")).max())
    return top if samples.dtype.kind == "f" else top / float(np.iinfo(samples.dtype).max)


def _short(error: Exception, path: Path) -> str:
    """The decoder's words without our file's name."""
    return str(error).replace(str(path), "the file")[:200]


def _is_cover(stream: Any) -> bool:
    return bool(getattr(stream, "disposition", 0) & 0x400)  # a picture attached to sound (FFmpeg's ATTACHED_PIC)


def main() -> None:
    path, mime = Path(sys.argv[1]), sys.argv[2]
    limit()
    try:
        facts = measure(path, mime)
    except Bad as error:
        facts = {"problem": str(error)}
    except MemoryError:
        facts = {"problem": "needs more memory than a decoder gets"}
    except ImportError as error:
        facts = {"problem": f"this node has no decoder: {error} (install the extra `shop`)"}
    sys.stdout.write(json.dumps(facts))


if __name__ == "__main__":
    main()
