"""The embedded composer from order to finished sound. Deterministic: the same order gives the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dvms.audio import Samples
from dvms.music import mix, planner, sheet, soundfont, styles, synth, voice
from dvms.music.lyrics import Block

NAME: Final = "bandbox-1"


@dataclass(frozen=True, slots=True)
class Order:
    """A song to be made. `seconds` is the length of the file; `tempo` in beats a minute, None: the style's."""

    title: str
    theme: str
    blocks: Sequence[Block]
    style: str | None
    seconds: float
    vocals: bool
    seed: int
    tempo: float | None = None
    soundfont: Path | None = None


@dataclass(frozen=True, slots=True)
class Made:
    song: planner.Song
    sound: Samples
    sheet: dict[str, Any]
    band: str


def compose(order: Order, told: Callable[[float, str], None] = lambda fraction, message: None) -> Made:
    style = styles.choose(order.style, order.theme)
    song = planner.plan(style, order.blocks if order.vocals else (), order.seconds, order.seed, tempo=order.tempo)
    told(0.05, f"{style.name}, {song.tempo:.0f} beats a minute, {song.bars} bars")
    band, player = None, "numpy synthesiser"
    if order.soundfont is not None:
        band = soundfont.render(song, order.soundfont)
        player = f"FluidSynth, {order.soundfont.name}" if band is not None else player
    if band is None:
        band = synth.render(song)
    told(0.35, "the band has played")
    sung: Samples | None = None
    heard: tuple[voice.Heard, ...] = ()
    if song.sung:
        sung, heard = voice.sing(song, order.seed, lambda share: told(0.35 + 0.45 * share, "singing"))
    told(0.82, "mixing")
    sound = mix.mix(song, band, sung)
    return Made(song, sound, sheet.sheet(song, order.title, heard), player)
