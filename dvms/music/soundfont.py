# ruff: noqa: E501  (tables read better in long lines)
"""The band played by FluidSynth, where it is installed: its own process, fed a MIDI file, bounded in time."""

from __future__ import annotations

import logging
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from dvms import audio
from dvms.audio import RATE, Samples
from dvms.music.planner import Song

log = logging.getLogger("dvms.music")

FONTS: Final = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
    "/usr/share/sounds/sf2/TimGM6mb.sf2",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/soundfonts/default.sf2",
)
# Patch of the synthesiser -> General MIDI program.
PROGRAMS: Final = {
    "warm": 89, "saws": 90, "strings": 48, "glass": 88, "drive": 29, "pulse": 80, "pluck": 81, "round": 33, "saw": 38, "low": 43,
    "pick": 34, "lead": 81, "flute": 73, "horn": 60, "brass": 61, "ep": 4, "bell": 14, "musicbox": 10, "guitar": 25, "harp": 46, "nylon": 24,
}  # fmt: skip
_CHANNELS: Final = {
    "lead": (0, 84, 64),
    "pad": (1, 70, 56),
    "arp": (2, 76, 84),
    "bass": (3, 96, 64),
    "drums": (9, 104, 64),
}


def find(named: str = "") -> Path | None:
    """The SoundFont to play with, if FluidSynth is there: the one named, else a usual one. `off` means none."""
    if named == "off" or shutil.which("fluidsynth") is None:
        return None
    candidates = (named,) if named else FONTS
    return next((Path(font) for font in candidates if Path(font).is_file()), None)


def render(song: Song, font: Path) -> Samples | None:
    """The band, in stereo; None (and a line in the log) where FluidSynth fails."""
    frames = int(song.seconds * RATE)
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder, "song.mid"), Path(folder, "song.wav")
        write_midi(song, midi)
        command = ["fluidsynth", "-ni", "-g", "0.7", "-r", str(RATE), "-F", str(wav), str(font), str(midi)]
        try:
            subprocess.run(
                command, check=True, capture_output=True, timeout=60 + song.seconds, stdin=subprocess.DEVNULL
            )
            sound = audio.read(wav)
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            log.warning("FluidSynth failed, the built-in band plays: %s", error)
            return None
    out = np.zeros((frames, 2), np.float32)
    room = min(frames, len(sound))
    out[:room] = sound[:room]
    return out


def write_midi(song: Song, path: Path) -> None:
    """The song as a General MIDI file."""
    import mido

    ticks = 480
    tempo = mido.bpm2tempo(song.tempo)
    file = mido.MidiFile(ticks_per_beat=ticks)
    head = mido.MidiTrack()
    head.append(mido.MetaMessage("set_tempo", tempo=tempo))
    file.tracks.append(head)
    human = random.Random(1)
    for part, (channel, volume, pan) in _CHANNELS.items():
        track: Any = mido.MidiTrack()
        file.tracks.append(track)
        for control, value in ((7, volume), (10, pan), (91, 60), (93, 20)):
            track.append(mido.Message("control_change", channel=channel, control=control, value=value))
        patch = song.style.instruments.get(part)
        if patch in PROGRAMS:
            track.append(mido.Message("program_change", channel=channel, program=PROGRAMS[patch]))
        events: list[tuple[float, int, int, int]] = []
        for note in song.notes:
            if note.part == part:
                velocity = max(1, min(127, note.velocity + human.randint(-4, 4)))
                events += [(note.start, 1, note.pitch, velocity), (note.start + note.length, 0, note.pitch, 0)]
        now = 0
        for at, on, pitch, velocity in sorted(events):
            tick = int(mido.second2tick(at, ticks, tempo))
            track.append(
                mido.Message(
                    "note_on", channel=channel, note=pitch, velocity=velocity if on else 0, time=max(0, tick - now)
                )
            )
            now = max(now, tick)
    file.save(path)
