"""The plan of a song: form, tempo, harmony, melody, and what every part plays. Pure; no numpy.

The length asked for decides the tempo: a whole number of bars, at a tempo the style allows, ends on the second. Lyric
lines get one or two bars each, whichever can be sung; what does not fit is left out in whole couplets, what is left
over becomes a repeated chorus or a solo.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dvms.music import patterns
from dvms.music.lyrics import Block, line_syllables
from dvms.music.styles import Style

TAIL: Final = 1.6  # seconds in which the last chord rings out
_LOWEST_TONIC: Final = 53
_HOT: Final = {"intro": 0.45, "verse": 0.66, "bridge": 0.75, "solo": 0.85, "chorus": 1.0, "outro": 0.6}


@dataclass(frozen=True, slots=True)
class Note:
    """`part` is pad, arp, bass, lead or drums. Times in seconds, pitch as in MIDI, velocity 1 to 127."""

    part: str
    start: float
    length: float
    pitch: int
    velocity: int


@dataclass(frozen=True, slots=True)
class Syllable:
    """A note of the singer."""

    start: float
    length: float
    pitch: int


@dataclass(frozen=True, slots=True)
class Sung:
    """A line of the lyric with the melody it is sung to; it may last until `until`."""

    text: str
    notes: tuple[Syllable, ...]
    until: float


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    bar: int
    bars: int
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Song:
    """Everything there is to know about a song before it sounds."""

    style: Style
    tempo: float
    bars: int
    seconds: float
    sections: tuple[Section, ...]
    notes: tuple[Note, ...]
    sung: tuple[Sung, ...]

    @property
    def beat(self) -> float:
        return 60 / self.tempo

    @property
    def bar(self) -> float:
        return 240 / self.tempo


@dataclass(frozen=True, slots=True)
class _Layout:
    tempo: float
    bars: int
    per_line: int
    sections: tuple[Section, ...]


def plan(style: Style, blocks: Sequence[Block], seconds: float, seed: int, *, tempo: float | None = None) -> Song:
    """The song of a lyric (or of none) in a style, `seconds` long. The same arguments give the same song."""
    rng = random.Random(f"song:{style.name}:{seed}")
    layout = _lay_out(style, blocks, seconds, tempo, rng)
    tonic = _LOWEST_TONIC + rng.randrange(6)
    verse, chorus = rng.choice(style.verse), rng.choice(style.chorus)
    chords = [0] * layout.bars
    for section in layout.sections:
        line = chorus if section.name in ("chorus", "solo") else verse
        if section.name == "bridge":
            line = (*chorus[2:], *chorus[:2])
        for i in range(section.bars):
            chords[section.bar + i] = line[i % 4]
    chords[-1] = 0
    if layout.bars > 4:  # a close: the dominant, or what stands for it in the minor modes, before the last chord
        chords[-2] = 4 if style.scale[2] == 4 else 6
    band = _Band(style, layout, tonic, chords, rng)
    notes = band.play()
    sung = _melody(style, layout, tonic, chords, rng)
    if not any(section.lines for section in layout.sections):
        notes += [Note("lead", s.start, s.length * 0.95, s.pitch + 12, 84) for line in sung for s in line.notes]
        sung = []
    else:
        notes += _solo(band, rng)
    length = layout.bars * 240 / layout.tempo + TAIL
    ordered = tuple(sorted(notes, key=lambda n: (n.start, n.part, n.pitch)))
    return Song(style, layout.tempo, layout.bars, length, layout.sections, ordered, tuple(sung))


# --- form


def _lay_out(style: Style, blocks: Sequence[Block], seconds: float, tempo: float | None, rng: random.Random) -> _Layout:
    low, natural, high = style.tempo
    wished = tempo if tempo is not None else natural + rng.uniform(-3, 3)
    if tempo is not None:
        low, high = round(tempo * 0.94), round(tempo * 1.06)
    music = max(4.0, seconds - TAIL)
    counts = [n for n in range(2, int(music * high / 240) + 2) if low <= n * 240 / music <= high]
    if not counts:
        counts = [max(2, round(music * wished / 240))]
    total = sum(len(block.lines) for block in blocks)
    best: tuple[float, _Layout] | None = None
    for bars in counts:
        speed = bars * 240 / music
        for per_line in (1, 2) if total else (1,):
            sections, sung = _form(bars, per_line, blocks)
            cost = abs(speed - wished) / wished * 6 + (0.3 if bars % 2 else 0.0)
            if total:
                room = per_line * 240 / speed
                words = [line_syllables(line) for section in sections for line in section.lines] or [8]
                rate = sum(words) / len(words) / (room * 0.88)
                crowded = max(words) / (room * 0.92)
                cost += (
                    (1 - sung / total) * 4
                    + max(0.0, rate - 4.5) * 2
                    + max(0.0, crowded - 5.4) * 1.5
                    + max(0.0, 2.2 - rate) * 0.9
                )
            if best is None or cost < best[0] - 1e-9:
                best = cost, _Layout(speed, bars, per_line, sections)
    assert best is not None
    return best[1]


def _form(bars: int, per_line: int, blocks: Sequence[Block]) -> tuple[tuple[Section, ...], int]:
    """Sections that fill the bars, and how many different lines are sung."""
    intro = 0 if bars < 6 else 1 if bars <= 16 else 2 if bars <= 40 else 4
    outro = 0 if bars < 5 else 1 if bars <= 24 else 2
    body = bars - intro - outro
    parts = _fit([(block.name, list(block.lines)) for block in blocks], body // per_line)
    sung = sum(len(lines) for _, lines in parts)
    spare = body - sum(len(lines) for _, lines in parts) * per_line
    chorus = next((lines for name, lines in parts if name == "chorus"), None)
    plan: list[tuple[str, list[str], int]] = [(name, lines, len(lines) * per_line) for name, lines in parts]
    if not plan:
        while body > 0:
            size = min(8 if body >= 12 else 4, body)
            if body - size in (1, 2, 3):
                size = body if body <= 6 else size
            plan.append(("chorus" if len(plan) % 2 else "verse", [], size))
            body -= size
        spare = 0
    while chorus and spare >= len(chorus) * per_line and len(plan) < 12:
        if spare >= len(chorus) * per_line + 4 and plan[-1][0] == "chorus":
            plan.append(("solo", [], 4))
            spare -= 4
        plan.append(("chorus", chorus, len(chorus) * per_line))
        spare -= len(chorus) * per_line
    last = max((i for i, item in enumerate(plan) if item[0] == "chorus"), default=len(plan) - 1)
    if spare >= 4 and plan:
        plan.insert(last, ("solo", [], spare // 2 * 2))
        spare -= spare // 2 * 2
    if spare and intro < 2 <= spare + intro:
        intro, spare = intro + 1, spare - 1
    outro += spare
    sections, at = [], 0
    for name, lines, size in [("intro", [], intro), *plan, ("outro", [], outro)]:
        if size:
            sections.append(Section(name, at, size, tuple(lines)))
            at += size
    return tuple(sections), sung


def _fit(parts: list[tuple[str, list[str]]], room: int) -> list[tuple[str, list[str]]]:
    """Leave out lines, in whole sections and couplets, until at most `room` are left."""
    kept = [(name, list(lines)) for name, lines in parts]
    while sum(len(lines) for _, lines in kept) > room and kept:
        seen: set[tuple[str, ...]] = set()
        double = None
        for i, (_, lines) in enumerate(kept):
            if tuple(lines) in seen:
                double = i
            seen.add(tuple(lines))
        over = sum(len(lines) for _, lines in kept) - room
        if double is not None and over >= len(kept[double][1]) - 1:
            kept.pop(double)
        elif len(kept) > 2 and over >= 3:
            verses = [i for i, (name, _) in enumerate(kept) if name != "chorus"]
            kept.pop(verses[-1] if len(verses) > 1 else -1)
        else:
            longest = max(range(len(kept)), key=lambda i: (len(kept[i][1]), kept[i][0] != "chorus", i))
            lines = kept[longest][1]
            del lines[-2 if len(lines) > 2 else -1 :]
            if not lines:
                kept.pop(longest)
    return kept


# --- melody


def _pitch(style: Style, tonic: int, degree: int) -> int:
    return tonic + 12 * (degree // 7) + style.scale[degree % 7]


def _melody(style: Style, layout: _Layout, tonic: int, chords: Sequence[int], rng: random.Random) -> list[Sung]:
    """One melody for each kind of section, so that a chorus that comes again is sung again."""
    shapes = {name: _shape(rng) for name in ("verse", "chorus", "bridge", "solo", "intro", "outro")}
    beat = 60 / layout.tempo
    sung: list[Sung] = []
    for section in layout.sections:
        texts: Sequence[str] = section.lines
        if (
            not texts
            and not any(item.lines for item in layout.sections)
            and section.name in ("verse", "chorus", "solo")
        ):
            texts = ["" for _ in range(section.bars)]
        home = {"chorus": 4, "bridge": 3}.get(section.name, 2)
        for i, text in enumerate(texts):
            bar = section.bar + i * layout.per_line
            span = 4.0 * layout.per_line
            count = line_syllables(text) if text else rng.choice((4, 5, 6))
            onsets = _rhythm(count, span, style.swing)
            shape = shapes[section.name][i % 2]
            closes = i % 2 == 1
            harmony = [chords[min(layout.bars - 1, bar + int(start // 4))] for start, _ in onsets]
            degrees = _line(onsets, harmony, shape, home, closes)
            notes = tuple(
                Syllable((4 * bar + start) * beat, length * beat, _pitch(style, tonic, degree))
                for (start, length), degree in zip(onsets, degrees, strict=True)
            )
            sung.append(Sung(text, notes, (4 * bar + span) * beat))
    return sung


def _line(
    onsets: Sequence[tuple[float, float]], harmony: Sequence[int], shape: Sequence[int], home: int, closes: bool
) -> list[int]:
    """Scale degrees of a line: chord tones on the beats along the shape, steps between them on what comes between."""
    count = len(onsets)
    firm: dict[int, int] = {}
    for k, (start, _) in enumerate(onsets):
        if start % 1 >= 0.05 and k < count - 1:
            continue
        last = k == count - 1
        wanted = home + (shape[(k * 8) // max(8, count) if count > 8 else k % 8] if not last else 0 if closes else 1)
        tone = _nearest(wanted, harmony[k], (0, 2) if closes and last else (0, 2, 4))
        before = firm[max(firm)] if firm else tone
        if abs(tone - before) > 4:
            tone = _nearest(before + (3 if tone > before else -3), harmony[k], (0, 2, 4))
        if tone == before and len(firm) > 1 and not last:  # three times the same tone is a drone
            up = tone <= home + 1 if k % 8 < 4 else tone < home
            tone = _nearest(tone + (2 if up else -2), harmony[k], (0, 2, 4))
        firm[k] = max(-2, min(8, tone))
    degrees: list[int] = []
    for k in range(count):
        if k in firm:
            degrees.append(firm[k])
            continue
        before = degrees[-1] if degrees else home
        after = next((firm[j] for j in range(k + 1, count) if j in firm), before)
        if abs(after - before) >= 2:  # a passing tone
            degrees.append(before + (1 if after > before else -1))
        elif after == before:  # the tone again, or its neighbour where it was sung twice
            turn = 1 if shape[k % 8] >= shape[(k - 1) % 8] else -1
            degrees.append(before + (turn if degrees[-2:] == [before, before] else 0))
        else:
            degrees.append(after if k % 4 == 3 else before)
    return degrees


def _shape(rng: random.Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A question and its answer, as steps around the home tone."""
    arches = (
        (0, 1, 2, 2, 3, 2, 1, 2),
        (0, 0, 2, 1, 2, 4, 3, 2),
        (2, 2, 1, 2, 0, 1, 2, 1),
        (0, 2, 2, 3, 2, 1, 0, 1),
        (-1, 0, 1, 2, 2, 1, 2, 3),
        (3, 2, 2, 1, 2, 0, 1, 2),
        (0, 0, 0, 2, 2, 3, 2, 1),
        (2, 3, 2, 0, 1, 2, 1, 0),
    )

    first = list(rng.choice(arches))
    second = first[:4] + [step - 1 for step in reversed(first[:4])]
    return tuple(first), tuple(second)


def _nearest(degree: int, chord: int, tones: Sequence[int]) -> int:
    options = [d for d in range(degree - 4, degree + 5) if (d - chord) % 7 in tones]
    return min(options, key=lambda d: (abs(d - degree), d))


def _rhythm(count: int, span: float, swing: float) -> list[tuple[float, float]]:
    """Onset and length, in beats, of each syllable: on eighths where they fit, else on sixteenths."""
    breath = 0.75 if span > 4 else 0.5
    for grid in (0.5, 0.25):
        slots = int((span - breath) / grid)
        if count <= slots:
            break
    else:
        grid, slots = (span - breath) / count, count
    spread = slots / count
    if spread >= 2 and grid == 0.5:  # few syllables: don't stretch them over the whole bar
        slots = min(slots, max(count + count // 2, int(slots * 0.8)))
    starts = [int(i * slots / count) for i in range(count)]
    onsets = [at * grid + (swing * grid if grid == 0.5 and at % 2 else 0.0) for at in starts]
    onsets.append(min(span - 0.3, onsets[-1] + (1.75 if span > 4 else 1.0)))
    return [(start, max(0.2, onsets[i + 1] - start)) for i, start in enumerate(onsets[:-1])]


# --- the band


class _Band:
    """What the instruments play, bar by bar, from the style's patterns."""

    def __init__(self, style: Style, layout: _Layout, tonic: int, chords: Sequence[int], rng: random.Random) -> None:
        self.style, self.layout, self.tonic, self.chords = style, layout, tonic, chords
        self.beat = 60 / layout.tempo
        self._human = random.Random(rng.random())

    def play(self) -> list[Note]:
        notes: list[Note] = []
        names = [section.name for section in self.layout.sections for _ in range(section.bars)]
        for bar, name in enumerate(names):
            following = names[bar + 1] if bar + 1 < len(names) else None
            notes += self._bar(bar, name, first=bar == 0 or names[bar - 1] != name, following=following)
        return notes

    def _note(self, part: str, bar: int, at: float, length: float, pitch: int, velocity: float) -> Note:
        swing = self.style.swing * 0.5 if part != "pad" and abs(at % 1 - 0.5) < 0.01 else 0.0
        jitter = self._human.uniform(-0.006, 0.006) if part != "drums" else self._human.uniform(-0.002, 0.002)
        start = max(0.0, (4 * bar + at + swing) * self.beat + jitter)
        loud = round(velocity * self._human.uniform(0.94, 1.06))
        return Note(part, start, length * self.beat, pitch, max(1, min(127, loud)))

    def chord(self, bar: int) -> list[int]:
        """The chord tones of a bar, voiced close together around the tonic's octave."""
        degree = self.chords[bar]
        steps = (0, 2, 4, 6) if self.style.sevenths else (0, 2, 4)
        pitches = [_pitch(self.style, self.tonic, degree + step) for step in steps]
        return sorted(p - 12 if p > self.tonic + 9 else p for p in pitches)

    def _bar(self, bar: int, name: str, *, first: bool, following: str | None) -> list[Note]:
        heat = _HOT[name]
        end = following is None
        tones = self.chord(bar)
        root = _pitch(self.style, self.tonic, self.chords[bar]) - 24
        root = root + 12 if root < 33 else root - 12 if root > 46 else root
        notes = [self._note("pad", bar, 0, 4 if not end else 5.5, pitch, 40 + 26 * heat) for pitch in tones]
        if heat >= 1:
            notes.append(self._note("pad", bar, 0, 4, tones[0] + 12, 52))
        figure = patterns.FIGURES[self.style.figure]
        if end:
            notes += [self._note("arp", bar, i * 0.12, 4, pitch + 12, 62) for i, pitch in enumerate(tones)]
        else:
            wide = [*tones, *(pitch + 12 for pitch in tones)]
            for at, length, tone, weight in figure[bar % len(figure)]:
                chosen = tones if tone == patterns.ALL else [wide[tone % len(wide)]]
                lift = 0 if self.style.figure == "power" else 12
                notes += [self._note("arp", bar, at, length, p + lift, weight * (0.6 + 0.4 * heat)) for p in chosen]
        if name != "intro" or self.style.kit == "none":
            upcoming = self.chords[min(len(self.chords) - 1, bar + 1)]
            for at, length, step, weight in ((0, 5.4, 0, 88),) if end else patterns.BASS[self.style.bass]:
                pitch = root + step
                if step == patterns.LEADING:
                    pitch = self._leading(root, upcoming)
                notes.append(self._note("bass", bar, at, length, pitch, weight * (0.75 + 0.25 * heat)))
        return notes + self._drums(bar, name, first=first, following=following)

    def _leading(self, root: int, upcoming: int) -> int:
        """The bass note that leads to the next root: by half-tone where chords have sevenths, else by the scale."""
        target = _pitch(self.style, self.tonic, upcoming) - 24
        target = target + 12 if target < 33 else target - 12 if target > 46 else target
        if self.style.sevenths:
            return target - 1 if target > root else target + 1
        if target == root:
            return root + 7 if root + 7 <= 50 else root - 5
        beside = _pitch(self.style, self.tonic, upcoming - 1 if target > root else upcoming + 1)
        return target + (beside - target + 6) % 12 - 6

    def _drums(self, bar: int, name: str, *, first: bool, following: str | None) -> list[Note]:
        kit = patterns.KITS[self.style.kit]
        if not kit:
            return []

        def hit(at: float, piece: str, weight: float) -> Note:
            return self._note("drums", bar, at, 0.2, patterns.PIECES[piece], weight)

        if following is None:
            return [hit(0, "crash", 84), hit(0, "kick", 96)]
        if name == "intro":
            return [
                hit(at, piece, weight * 0.6)
                for at, piece, weight in kit
                if piece in ("hat", "shaker", "brush", "ride", "rim")
            ]
        heat = _HOT[name]
        hits = [hit(at, piece, weight * (0.72 + 0.28 * heat)) for at, piece, weight in kit]
        fill = following in ("chorus", "solo", "bridge") and following != name
        if fill:
            hits = [note for note in hits if note.start < (4 * bar + 3) * self.beat]
            rolls = patterns.FILLS["soft" if self.style.kit in ("brush", "dusty", "swing", "bossa") else "full"]
            hits += [hit(at, piece, weight) for at, piece, weight in rolls]
        if first and name in ("chorus", "solo"):
            hits.append(hit(0, "crash", 88))
        return hits


def _solo(band: _Band, rng: random.Random) -> list[Note]:
    """The lead instrument: over solos, and answering in the gap at the end of some sung bars of the intro and outro."""
    notes: list[Note] = []
    shape = _shape(rng)
    for section in band.layout.sections:
        if section.name not in ("solo", "intro", "outro") or section.bars < 1:
            continue
        for i in range(section.bars - (1 if section.name == "outro" else 0)):
            bar = section.bar + i
            count = 5 if section.name == "solo" else 3
            onsets = _rhythm(count, 4.0, band.style.swing)
            degree = 4
            for k, (start, length) in enumerate(onsets):
                wanted = _nearest(4 + shape[i % 2][k], band.chords[bar], (0, 2, 4))
                degree = max(0, min(9, wanted))
                pitch = _pitch(band.style, band.tonic, degree) + (
                    12 if band.style.instruments["lead"] != "drive" else 0
                )
                notes.append(
                    Note(
                        "lead",
                        (4 * bar + start) * band.beat,
                        length * band.beat * 0.95,
                        pitch,
                        78 if section.name == "solo" else 60,
                    )
                )
    return notes
