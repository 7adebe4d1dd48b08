# ruff: noqa: E501  (tables read better in long lines)
"""Songs: their length, form, loudness, sheet, and that the words are sung where the sheet says."""

import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from dvms import audio
from dvms.music import lyrics, planner, sheet, soundfont, styles
from dvms.music.service import MusicService, MusicSettings
from dvms.service import Failed, Progress, Refused
from tests.dvms.helpers import job, work

WORDS = """[Verse]
Somewhere in the snow tonight
The fox is looking for the light
Over frozen lakes we glide
Northern stars on every side
[Chorus]
Oh fox, oh fox, sing with me
Run wild and young and free
Carry me over, carry me on
Home before the night is gone"""


def test_a_song_with_its_sheet(tmp_path: Path) -> None:
    service = MusicService()
    told: list[float] = []
    made = job(service, "a fox in the snow", tmp_path, lyrics=WORDS, seconds=25, seed=1, title="Fox")
    result = work(service, made, Progress(report=lambda fraction, message: told.append(fraction)))
    path = result.files[0].path
    sound = audio.read(path)
    assert len(sound) / audio.RATE == pytest.approx(25, abs=0.3)
    assert audio.loudness(sound, audio.RATE) == pytest.approx(-15, abs=1.0)
    assert audio.true_peak(sound) <= -1.0
    assert told == sorted(told) and told[-1] > 0.9

    page = sheet.read(path)
    assert page is not None and page["title"] == "Fox" and page["style"] == result.facts["style"]
    assert page["seconds"] == pytest.approx(25, abs=0.2)
    beat = 60 / page["bpm"]
    assert all(b - a == pytest.approx(beat, abs=0.002) for a, b in itertools.pairwise(page["beats"]))
    assert page["bars"] == page["beats"][::4]
    assert {section["name"] for section in page["sections"]} >= {"verse", "chorus"}
    texts = [line["text"] for line in page["lines"]]
    assert len(texts) >= 4 and all(text in WORDS for text in texts)
    assert all(a["t0"] < a["t1"] <= b["t0"] + 0.4 for a, b in itertools.pairwise(page["lines"]))
    assert page["lines"][-1]["t1"] < 25


def test_the_same_seed_gives_the_same_samples_and_another_seed_another_song(tmp_path: Path) -> None:
    service = MusicService()
    sounds = []
    for i, seed in enumerate((5, 5, 6)):
        made = job(service, "night drive", tmp_path / str(i), seconds=10, seed=seed, vocals="off", output="audio/wav")
        sounds.append(work(service, made).files[0].path.read_bytes())
    assert sounds[0] == sounds[1] != sounds[2]


def test_without_vocals_there_is_music_and_no_words(tmp_path: Path) -> None:
    service = MusicService()
    result = work(service, job(service, "a calm sea", tmp_path, seconds=12, vocals="off", style="ambient piano"))
    page = sheet.read(result.files[0].path)
    assert page is not None and page["lines"] == [] and page["style"] == "ambient"
    sound = audio.read(result.files[0].path)
    assert np.abs(sound[audio.RATE : -2 * audio.RATE]).max() > 0.1


@pytest.mark.parametrize("style", sorted(styles.STYLES))
@pytest.mark.parametrize("seconds", [9, 25, 61, 180])
def test_every_style_fits_any_length(style: str, seconds: float) -> None:
    blocks = lyrics.parse(WORDS)
    song = planner.plan(styles.STYLES[style], blocks, seconds, 7)
    assert song.seconds == pytest.approx(seconds, abs=1.0)
    assert sum(section.bars for section in song.sections) == song.bars
    at = 0
    for section in song.sections:
        assert section.bar == at
        at += section.bars
    assert {note.part for note in song.notes} >= {"pad", "arp", "bass"}
    assert all(0 <= note.start < song.seconds and note.length > 0 and 24 <= note.pitch <= 108 for note in song.notes)
    assert song.sung, "some of the words are sung at every length"
    for line in song.sung:
        assert len(line.notes) == lyrics.line_syllables(line.text)
        starts = [note.start for note in line.notes]
        assert starts == sorted(starts) and line.notes[-1].start < line.until
        pitches = [note.pitch for note in line.notes]
        assert max(pitches) - min(pitches) <= 17


def test_a_chorus_that_comes_again_is_sung_to_the_same_tune() -> None:
    song = planner.plan(styles.STYLES["pop"], lyrics.parse(WORDS), 90, 3)
    tunes = [tuple(n.pitch for n in line.notes) for line in song.sung if line.text.startswith("Oh fox")]
    assert len(tunes) > 1 and len(set(tunes)) == 1


def test_the_melody_stays_in_the_key() -> None:
    song = planner.plan(styles.STYLES["folk"], lyrics.parse(WORDS), 40, 11)
    classes = {note.pitch % 12 for line in song.sung for note in line.notes}
    keys = [{(tonic + step) % 12 for step in styles.MAJOR} for tonic in range(12)]
    assert any(classes <= key for key in keys)


@pytest.mark.parametrize(
    ("text", "names", "count"),
    [
        (WORDS, ["verse", "chorus"], 8),
        ("a b\nc d\ne f\ng h\ni j\nk l\nm n\no p", ["verse", "chorus"], 8),
        ("one two\n\nhook hook\n\nthree four\n\nhook hook", ["verse", "chorus", "verse", "chorus"], 4),
        ('["first line", "second line"]', ["verse"], 2),
        ('{"lines": [{"text": "only line"}]}', ["verse"], 1),
        ("(Chorus:)\n# *Loud* and clear\n---\n", ["chorus"], 1),
        ("", [], 0),
    ],
)
def test_lyrics_in_any_writing(text: str, names: list[str], count: int) -> None:
    blocks = lyrics.parse(text)
    assert [block.name for block in blocks] == names
    assert sum(len(block.lines) for block in blocks) == count


@pytest.mark.parametrize(
    ("word", "count"),
    [("snow", 1), ("little", 2), ("northern", 2), ("aurora", 3), ("everything", 3), ("fire", 1), ("danced", 1),
     ("wanted", 2), ("lighthouse", 2), ("piano", 3), ("beautiful", 3), ("table", 2), ("whale", 1), ("gone", 1), ("poem", 2), ("nation",
2)], )  # fmt: skip
def test_syllables(word: str, count: int) -> None:
    assert lyrics.syllables(word) == count


@pytest.mark.parametrize(
    ("asked", "theme", "style"),
    [
        ("80s synthpop with drum machine", "x", "synthwave"),
        (None, "a robot in a neon city", "synthwave"),
        (None, "pirates on fire", "rock"),
        ("Lo-Fi", "pirates on fire", "lofi"),
        ("something odd", "a quiet thing", "pop"),
    ],
)
def test_styles_are_found(asked: str | None, theme: str, style: str) -> None:
    assert styles.choose(asked, theme).name == style


def test_long_songs_cost_in_proportion(tmp_path: Path) -> None:
    service = MusicService(MusicSettings(included_seconds=60))
    assert service.price_msat(job(service, "x", tmp_path, seconds=60), 60_000) == 60_000
    assert service.price_msat(job(service, "x", tmp_path, duration=120), 60_000) == 120_000


def test_what_cannot_be_done_is_refused_before_the_bill(tmp_path: Path) -> None:
    service = MusicService()
    with pytest.raises(Refused, match="what the song is about"):
        service.check(job(service, "", tmp_path))
    with pytest.raises(Refused, match="can't write video/mp4"):
        service.check(job(service, "x", tmp_path, output="video/mp4"))
    with pytest.raises(Refused, match="longest song here is 30"):
        MusicService(MusicSettings(longest=30)).check(job(service, "x", tmp_path, seconds=31))


def test_a_cancelled_song_stops(tmp_path: Path) -> None:
    service = MusicService()
    with pytest.raises(Failed, match="cancelled"):
        work(service, job(service, "x", tmp_path, seconds=20), Progress(cancelled=lambda: True))


def test_loudness_meter_agrees_with_the_standard() -> None:
    """EBU Tech 3341, case 1: a stereo 1 kHz sine at -23 dBFS reads -23.0 LUFS."""
    t = np.arange(48_000 * 20) / 48_000
    sine = (10 ** (-23 / 20) * np.sin(2 * np.pi * 1000 * t)).astype(np.float32)
    assert audio.loudness(np.stack([sine, sine], 1), 48_000) == pytest.approx(-23.0, abs=0.1)


def test_true_peak_sees_between_the_samples() -> None:
    t = np.arange(4800)
    sine = np.sin(2 * np.pi * t / 4 + np.pi / 4).astype(np.float32)[:, None]
    assert np.abs(sine).max() < 0.71
    assert audio.true_peak(sine) == pytest.approx(0.0, abs=0.3)


def test_silence_stays_silent() -> None:
    silence = np.zeros((audio.RATE, 2), np.float32)
    assert not audio.master(silence, audio.RATE).any()
    assert audio.true_peak(silence) == -np.inf


@pytest.mark.parametrize("name", sorted(styles.STYLES))
def test_a_song_closes_and_its_melody_moves_within_the_harmony(name: str) -> None:
    style = styles.STYLES[name]
    for seed in range(3):
        song = planner.plan(style, lyrics.parse(WORDS), 30, seed)
        tonic = min(n.pitch for n in song.notes if n.part == "bass" and n.start > song.bar * (song.bars - 1) - 0.1) % 12
        pads = [
            {n.pitch % 12 for n in song.notes if n.part == "pad" and abs(n.start - b * song.bar) < 0.1}
            for b in range(song.bars)
        ]
        assert tonic in pads[-1], "the last chord stands on its root"
        assert pads[-2] != pads[-1], "and comes from another one"
        for line in song.sung:
            pitches = [note.pitch for note in line.notes]
            assert all(abs(b - a) <= 9 for a, b in itertools.pairwise(pitches))
            assert len(set(pitches)) > 1 and not any(len(set(pitches[i : i + 6])) == 1 for i in range(len(pitches) - 5))
            for note in line.notes:
                if round(note.start / song.beat, 2) % 1 < 0.02:
                    assert note.pitch % 12 in pads[min(song.bars - 1, int(note.start / song.bar + 1e-6))]


@pytest.mark.parametrize("mime", ["audio/mp4", "audio/ogg", "audio/mpeg", "audio/flac"])
def test_every_container_keeps_the_sheet(mime: str, tmp_path: Path) -> None:
    silence = np.zeros((audio.RATE, 2), np.float32)
    audio.write(tmp_path / "song", silence, audio.RATE, mime, metadata={"comment": '{"timmy": "song/1"}', "title": "T"})
    assert audio.metadata(tmp_path / "song")["comment"] == '{"timmy": "song/1"}'


# Stands in for FluidSynth: checks how it is called, reads the MIDI file, and plays each note as a click.
PLAYER = """#!{python}
import sys, mido, numpy as np, wave
flags, font, midi = sys.argv[1:-2], sys.argv[-2], sys.argv[-1]
assert font.endswith(".sf2") and "-F" in flags and flags[flags.index("-r") + 1] == "44100", sys.argv
file = mido.MidiFile(midi)
sound = np.zeros(int((file.length + 1) * 44100), np.int16)
now, channels = 0.0, set()
for message in file:
    now += message.time
    if message.type == "note_on" and message.velocity:
        channels.add(message.channel)
        sound[int(now * 44100) : int(now * 44100) + 400] = 9000
assert {{1, 2, 3, 9}} <= channels, channels
with wave.open(flags[flags.index("-F") + 1], "wb") as out:
    out.setnchannels(1), out.setsampwidth(2), out.setframerate(44100)
    out.writeframes(sound.tobytes())
"""


@pytest.fixture
def fluidsynth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `fluidsynth` first on the path, and a SoundFont to name."""
    program, font = tmp_path / "bin" / "fluidsynth", tmp_path / "band.sf2"
    program.parent.mkdir()
    program.write_text(PLAYER.format(python=sys.executable))
    program.chmod(0o755)
    font.write_bytes(b"RIFF")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return font


def test_fluidsynth_plays_the_band_where_it_is_installed(fluidsynth: Path, tmp_path: Path) -> None:
    service = MusicService(MusicSettings(soundfont=str(fluidsynth)))
    made = job(service, "night drive", tmp_path / "song", seconds=10, style="pop", vocals="off", seed=3)
    result = work(service, made)
    assert "FluidSynth" in " ".join(result.facts.values())
    assert len(audio.read(result.files[0].path)) / audio.RATE == pytest.approx(10, abs=0.3)


def test_the_midi_file_has_every_note_where_the_plan_has_it(tmp_path: Path) -> None:
    import mido

    song = planner.plan(styles.STYLES["rock"], (), 20, 4)
    soundfont.write_midi(song, tmp_path / "song.mid")
    now, heard = 0.0, []
    for message in mido.MidiFile(tmp_path / "song.mid"):
        now += message.time
        if message.type == "note_on" and message.velocity:
            heard.append((now, message.note))
    assert len(heard) == len(song.notes)
    for (at, pitch), note in zip(sorted(heard), sorted((n.start, n.pitch) for n in song.notes), strict=True):
        assert at == pytest.approx(note[0], abs=0.01) or pitch == note[1]


def test_a_fluidsynth_that_fails_leaves_the_song_to_the_built_in_band(fluidsynth: Path) -> None:
    song = planner.plan(styles.STYLES["pop"], (), 6, 4)
    assert soundfont.render(song, fluidsynth) is not None
    assert soundfont.render(song, fluidsynth.with_suffix(".wrong")) is None
