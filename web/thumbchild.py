"""The child that decodes what strangers sent: `python -m web.thumbchild FILE WIDTH HEIGHT` prints a WebP.

It limits itself before it opens the file. Of a film it takes the liveliest of a few frames, of a sound its loudness
over time. Exit status 1 where nothing can be shown.
"""

import io
import os
import resource
import sys
from pathlib import Path
from typing import Any

MEMORY = 2 << 30
CPU_SECONDS = 15
MAX_PIXELS = 40_000_000
LOOKS = (0.15, 0.35, 0.55, 0.75)  # parts of a film at which a frame is looked at
BARS = 96
MAX_SOUND = 600  # seconds that are listened to
SHAPE = (138, 110, 190, 255)  # a violet that stands on light and dark


def main() -> None:
    source, size = Path(sys.argv[1]), (int(sys.argv[2]), int(sys.argv[3]))
    from PIL import Image

    _limit()
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    out = io.BytesIO()
    picture = _picture(source, size)
    picture.save(out, "WEBP", quality=72, method=5)
    sys.stdout.buffer.write(out.getvalue())


def _limit() -> None:
    """No more memory, time or files than decoding needs. After the imports, which need threads of their own."""
    os.nice(10)  # a picture may wait for work that is paid for
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _picture(source: Path, size: tuple[int, int]) -> Any:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(source) as image:
            if image.width * image.height > MAX_PIXELS:
                raise SystemExit(1)
            image.draft("RGB", size)
            upright = ImageOps.exif_transpose(image)
            return ImageOps.fit(upright.convert("RGBA" if "A" in upright.getbands() else "RGB"), size)
    except UnidentifiedImageError:
        return _of_stream(source, size)


def _of_stream(source: Path, size: tuple[int, int]) -> Any:
    import av
    from PIL import ImageOps

    with av.open(str(source), options={"protocol_whitelist": "file"}) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            return _shape(container, size)
        if stream.width * stream.height > MAX_PIXELS:
            raise SystemExit(1)
        stream.thread_type = "NONE"
        frames = [frame for part in LOOKS if (frame := _frame_at(container, stream, part)) is not None]
        if not frames:
            raise SystemExit(1)
        return ImageOps.fit(max(frames, key=lambda image: image.convert("L").entropy()), size)


def _frame_at(container: Any, stream: Any, part: float) -> Any:
    if container.duration:
        container.seek(int(container.duration * part))
    frame = next(container.decode(stream), None)
    return frame.to_image() if frame is not None else None


def _shape(container: Any, size: tuple[int, int]) -> Any:
    """Loudness as bars on a clear ground, mirrored at the middle."""
    import numpy as np
    from PIL import Image, ImageDraw

    levels: list[float] = []
    for frame in container.decode(audio=0):
        if frame.time is not None and frame.time > MAX_SOUND:
            break
        samples = frame.to_ndarray().astype("float32")
        levels.append(float(np.sqrt(np.mean(samples**2))))
    if not levels:
        raise SystemExit(1)
    bars = np.array([max(part.max(initial=0), 1e-9) for part in np.array_split(np.array(levels), BARS)])
    bars = np.sqrt(bars / bars.max())
    width, height = size
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    step = width * 0.86 / BARS
    for at, level in enumerate(bars):
        x, tall = width * 0.07 + at * step, max(2.0, level * height * 0.34)
        draw.rounded_rectangle((x, height / 2 - tall, x + step * 0.6, height / 2 + tall), 2, fill=SHAPE)
    return picture


if __name__ == "__main__":
    main()
