"""Write H.264 + AAC mp4 files that play everywhere: yuv420p, index first. Through PyAV, no ffmpeg binary."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

AUDIO_RATE = 44_100
AUDIO_CHUNK = 1024
# x264 settings: a clip that will be cut again keeps a little more. Without `cpu-independent` its fast paths round in
# ways that differ between processors, and now and then between two runs on one: the same job gave other bytes.
SAME_EVERYWHERE = {"x264-params": "cpu-independent=1"}
DRAFT = {"preset": "superfast", "crf": "20", **SAME_EVERYWHERE}
FINAL = {"preset": "veryfast", "crf": "21", **SAME_EVERYWHERE}


class Mp4:
    """An mp4 in the making. Frames are RGB pictures of an even size, in order; sound is float32 of shape (2, n)."""

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        fps: int,
        *,
        audio: bool = False,
        quality: dict[str, str] = FINAL,
        **metadata: str,
    ) -> None:
        self.path, self.fps, self.frames = path, fps, 0
        self._file = av.open(str(path), "w", options={"movflags": "+faststart"})
        for key, value in metadata.items():
            self._file.metadata[key] = value
        self._video: VideoStream = self._file.add_stream("libx264", rate=fps)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._video.options = dict(quality)
        self._video.codec_context.gop_size = fps * 2
        self._audio: AudioStream | None = None
        if audio:
            self._audio = self._file.add_stream("aac", rate=AUDIO_RATE)
            self._audio.bit_rate = 192_000
            self._audio.options = {"aac_coder": "fast"}
        self._heard = 0

    def __enter__(self) -> "Mp4":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()

    @property
    def heard(self) -> int:
        """Samples of sound written so far."""
        return self._heard

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    def show(self, frame: "Image | NDArray[np.uint8]") -> None:
        """Append a frame. One of another size is scaled to the file's."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture = picture.reformat(width=self._video.width, height=self._video.height, format="yuv420p")
        picture.pts, picture.time_base = self.frames, Fraction(1, self.fps)
        self._mux(self._video.encode(picture))
        self.frames += 1

    def hear(self, sound: NDArray[np.float32]) -> None:
        """Append sound, -1..1, stereo, at AUDIO_RATE."""
        if self._audio is None:
            raise ValueError("this file was opened without audio")
        clipped = np.clip(sound, -1, 1).astype(np.float32)
        for i in range(0, clipped.shape[1], AUDIO_CHUNK):
            part = np.ascontiguousarray(clipped[:, i : i + AUDIO_CHUNK])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, self._heard, Fraction(1, AUDIO_RATE)
            self._mux(self._audio.encode(frame))
            self._heard += part.shape[1]

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self._file.mux(packet)

    def close(self) -> None:
        self._mux(self._video.encode())
        if self._audio is not None:
            self._mux(self._audio.encode())
        self._file.close()
