"""The timing of a song, carried in the `comment` of its own file: whoever cuts a video needs no other channel.

{"timmy": "song/1", "title": "...", "style": "folk", "bpm": 96.5, "seconds": 25.1,
 "beats": [0.0, 0.62, ...], "bars": [0.0, 2.49, ...],
 "sections": [{"name": "verse", "t0": 2.49, "t1": 12.4}, ...], "lines": [{"t0": 2.5, "t1": 4.6, "text": "..."}, ...]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dvms import audio
from dvms.music.planner import Song
from dvms.music.voice import Heard

VERSION: Final = "song/1"


def sheet(song: Song, title: str, lines: Sequence[Heard]) -> dict[str, Any]:
    return {
        "timmy": VERSION,
        "title": title,
        "style": song.style.name,
        "bpm": round(song.tempo, 2),
        "seconds": round(song.seconds, 3),
        "beats": [round(i * song.beat, 3) for i in range(song.bars * 4 + 1)],
        "bars": [round(i * song.bar, 3) for i in range(song.bars + 1)],
        "sections": [
            {"name": s.name, "t0": round(s.bar * song.bar, 3), "t1": round((s.bar + s.bars) * song.bar, 3)}
            for s in song.sections
        ],
        "lines": [{"t0": round(h.start, 3), "t1": round(h.end, 3), "text": h.text} for h in lines],
    }


def dumps(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def read(path: Path) -> dict[str, Any] | None:
    """The sheet of a song file; None where it carries none."""
    try:
        value = json.loads(audio.metadata(path).get("comment", ""))
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.get("timmy") == VERSION else None
