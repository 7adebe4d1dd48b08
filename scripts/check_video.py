"""Is this a real music video? Opens every frame: H.264 and AAC, long enough, neither black nor frozen nor silent.

Prints one line and exits 0, or says what is wrong and exits 1.
"""

import argparse
import sys

import av
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    faults = []
    with av.open(given.path) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        codecs = (video.codec_context.name, audio.codec_context.name)
        frames = [frame.to_ndarray(format="gray8") for frame in container.decode(video)]
        seconds = len(frames) / float(video.average_rate)
    with av.open(given.path) as container:
        sound = np.concatenate([frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)])
    light = np.array([frame.mean() for frame in frames])
    change = np.array([np.abs(b.astype(float) - a).mean() for a, b in zip(frames[::12], frames[12::12], strict=False)])
    loud = float(np.sqrt(np.mean(sound**2)))
    if codecs != ("h264", "aac"):
        faults.append(f"codecs are {codecs}")
    if seconds < given.seconds:
        faults.append(f"only {seconds:.1f} s long")
    if (light[24:-24] < 10).mean() > 0.05:
        faults.append("frames are black")
    if (change < 0.05).mean() > 0.3:
        faults.append("the picture stands still")
    if loud < 0.01:
        faults.append("it is silent")
    print(
        f"{given.path}: {codecs}, {seconds:.1f} s, {len(frames)} frames, brightness {light.mean():.0f}, rms {loud:.3f}"
    )
    if faults:
        sys.exit("not a music video: " + "; ".join(faults))


if __name__ == "__main__":
    main()
