# ruff: noqa: E501  (tables read better in long lines)
"""The styles of the embedded composer. A scale degree is 0..6; a progression is one degree a bar.

Plain data. `instruments` name patches of `synth` and `soundfont` for each part of the band.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAJOR: Final = (0, 2, 4, 5, 7, 9, 11)
MINOR: Final = (0, 2, 3, 5, 7, 8, 10)
DORIAN: Final = (0, 2, 3, 5, 7, 9, 10)


@dataclass(frozen=True, slots=True)
class Style:
    """`tempo`: lowest, natural and highest beats a minute. `swing`: how late the off-beat eighth is, in eighths."""

    name: str
    words: str
    tempo: tuple[int, int, int]
    scale: tuple[int, ...]
    verse: tuple[tuple[int, int, int, int], ...]
    chorus: tuple[tuple[int, int, int, int], ...]
    instruments: Mapping[str, str]
    kit: str
    figure: str
    bass: str
    swing: float = 0.0
    pump: float = 0.0
    space: float = 0.2
    sevenths: bool = False
    dust: float = 0.0


def _style(name: str, words: str, tempo: tuple[int, int, int], scale: tuple[int, ...], verse: str, chorus: str,
           band: str, kit: str, figure: str, bass: str, **rest: float | bool) -> Style:  # fmt: skip
    def bars(text: str) -> tuple[tuple[int, int, int, int], ...]:
        return tuple(tuple(int(c) - 1 for c in group) for group in text.split())  # type: ignore[misc]

    parts = dict(pair.split(":") for pair in band.split())
    return Style(name, words, tempo, scale, bars(verse), bars(chorus), parts, kit, figure, bass, **rest)  # type: ignore[arg-type]


STYLES: Final[Mapping[str, Style]] = {
    style.name: style
    for style in (
        _style("pop", r"pop|happy|sunny|summer|birthday|love|heart|smile|friend|dog|puppy|panda|balloon|rainbow",
               (88, 104, 116), MAJOR, "1564 1645 6415", "4156 1564 4516",
               "pad:warm arp:ep bass:round lead:bell", "pop", "offbeat", "pulse", pump=0.15),
        _style("synthwave", r"synth|neon|cyber|retro|space|robot|arcade|80s|eighties|laser|galaxy|rocket|android|future|city",
               (88, 102, 112), MINOR, "1637 1674 6713", "6371 6734 4637",
               "pad:saws arp:pulse bass:saw lead:saw", "four", "sixteenths", "octaves", pump=0.45, space=0.28),
        _style("lofi", r"lo-?fi|coffee|cozy|cosy|rain|study|calm|chill|cats?\b|kitten|tea|sleepy|lazy|window|book|library|autumn",
               (72, 82, 92), MAJOR, "2516 4362 1645", "4325 2516 4516",
               "pad:warm arp:ep bass:round lead:flute", "dusty", "chords", "lazy", swing=0.3, sevenths=True, dust=0.6, space=0.16),
        _style("folk", r"folk|acoustic|campfire|forest|wood|farm|country|fox|journey|road|river|village|grand(ma|pa)|home|garden|bear|horse",
               (84, 98, 112), MAJOR, "1564 1451 6415", "4156 4516 1545",
               "pad:strings arp:guitar bass:round lead:flute", "brush", "strum", "folk", space=0.14),
        _style("cinematic", r"epic|storm|castle|mountain|aurora|northern lights|hero|ocean|cinematic|snow|king|queen|legend|battle|whale|winter|glacier|volcano",
               (76, 88, 100), MINOR, "1634 1653 6413", "6371 1376 4631",
               "pad:strings arp:harp bass:low lead:horn", "toms", "harp", "long", space=0.36),
        _style("dance", r"dance|edm|party|club|disco|\bdj\b|house|techno|rave|festival|carnival",
               (104, 118, 126), MINOR, "1637 6371 4617", "6713 4671 6371",
               "pad:saws arp:pluck bass:saw lead:pluck", "four", "stabs", "offbeat", pump=0.6, space=0.2),
        _style("rock", r"rock|guitar|fire|dragon|punk|metal|pirate|thunder|motorbike|motorcycle|monster|dinosaur|t-?rex|race|engine",
               (100, 114, 132), MAJOR, "1546 1454 6415", "4156 1545 1464",
               "pad:drive arp:drive bass:pick lead:drive", "rock", "power", "eighths", space=0.12),
        _style("ambient", r"ambient|dream|deep|meditat|underwater|float|drift|zen|peace|silence|jellyfish|cloud|moon\b",
               (60, 70, 84), MAJOR, "1413 1645 4145", "4156 6415 1564",
               "pad:glass arp:bell bass:low lead:flute", "none", "drops", "long", space=0.45),
        _style("jazz", r"jazz|swing|blues|saxophone|noir|piano bar|detective|night club|midnight|chef|wine|paris",
               (84, 104, 120), DORIAN, "1414 2514 1417", "4217 2514 6251",
               "pad:warm arp:ep bass:round lead:brass", "swing", "comping", "walking", swing=0.33, sevenths=True, space=0.16),
        _style("lullaby", r"lullaby|goodnight|good night|sleep|baby|cradle|bedtime|nursery|teddy|lamb|star\b",
               (66, 78, 90), MAJOR, "1415 1645 1451", "4151 6415 4516",
               "pad:glass arp:musicbox bass:low lead:flute", "none", "music box", "long", space=0.3),
        _style("latin", r"latin|bossa|samba|salsa|tropic|beach|island|reggae|palm|parrot|mexic|cuba|rio|flamenco|surf",
               (88, 102, 116), MAJOR, "1625 2516 4362", "4156 2516 4325",
               "pad:warm arp:nylon bass:round lead:flute", "bossa", "bossa", "bossa", sevenths=True, space=0.16),
    )
}  # fmt: skip

# What people call a style -> ours. Tried in order, before the words of the theme.
_CALLED: Final = (
    ("lofi", r"lo-?fi|chill ?hop|hip ?hop|rap|r&b|soul|trip ?hop"),
    ("synthwave", r"synth|retro ?wave|vapou?rwave|electro ?pop|new wave|80s|cyberpunk"),
    ("dance", r"dance|edm|house|techno|trance|disco|club|eurodance|drum ?(and|n|&) ?bass|dubstep|electronic"),
    ("rock", r"rock|metal|punk|grunge|guitar|indie"),
    ("jazz", r"jazz|swing|blues|noir|funk|gospel|ragtime"),
    ("latin", r"latin|bossa|samba|salsa|reggae|ska|tango|flamenco|tropical|afro ?beat|calypso"),
    ("lullaby", r"lullaby|nursery|music ?box|kids|children"),
    ("cinematic", r"cinematic|epic|orchestra|classical|film|trailer|score|opera|soundtrack"),
    ("ambient", r"ambient|drone|meditat|new age|relax|dream ?pop|shoegaze"),
    ("folk", r"folk|acoustic|country|singer|ballad|celtic|bluegrass|campfire|shanty"),
    ("pop", r"pop|happy|upbeat|cheer|indie ?pop"),
)


def named(style: str | None) -> Style | None:
    """The style a customer asked for by name or description; None where nothing fits."""
    text = (style or "").strip().lower()
    if text in STYLES:
        return STYLES[text]
    return next((STYLES[name] for name, words in _CALLED if text and re.search(words, text)), None)


def choose(style: str | None, theme: str) -> Style:
    """The style asked for, else the one whose words are most in the theme, else pop."""
    asked = named(style)
    if asked is not None:
        return asked
    text = theme.lower()
    scores = {name: len(re.findall(rf"\b(?:{item.words})", text)) for name, item in STYLES.items()}
    best = max(scores, key=lambda name: scores[name])
    return STYLES[best] if scores[best] else STYLES["pop"]
