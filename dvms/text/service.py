"""The text trade: writing (5050), summaries (5001), translation (5002), extraction and transcription (5000).

Announces only the kinds this machine can really do. Without a language model, writing means verses, scenes and stories
about a theme; anything else is refused before the bill, with the reason.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from dvms.service import Engine, Job, Progress, Refused, Result, Service
from dvms.text import extract, translate
from dvms.text.forms import ScenesForm, StoryForm
from dvms.text.server import Server

WRITE, EXTRACT, SUMMARISE, TRANSLATE = 5050, 5000, 5001, 5002
EMBEDDED = "embedded"
_JSON = ("application/json", "text/json")


class TextParams(BaseModel):
    """What a customer can ask for; each kind reads those that concern it."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    format: str = Field("", max_length=40, description="5050: scenes, story, lyrics, or empty for plain text")
    max_tokens: int = Field(1024, ge=1, le=32768, description="5050: longest answer of a language model")
    temperature: float | None = Field(None, ge=0, le=2, description="5050: of a language model")
    top_p: float | None = Field(None, gt=0, le=1, description="5050: of a language model")
    lines: int = Field(8, ge=8, le=16, description="5050: lines of a lyric: 8, 12 or 16")
    shots: int = Field(6, ge=4, le=8, description="5050: shots of a film")
    style: str | None = Field(None, max_length=100, description="5050: music style of a lyric")
    length: str = Field("", max_length=60, description="5001: for instance 3 sentences, 2 paragraphs, 100 words")
    language: str = Field(
        "",
        max_length=40,
        validation_alias=AliasChoices("language", "lang", "target"),
        description="5002: into which; 5000: spoken in which",
    )
    source: str | None = Field(
        None,
        max_length=40,
        validation_alias=AliasChoices("source", "source_language", "from"),
        description="5002: from which",
    )
    alignment: str = Field("", max_length=20, description="5000: segment gives WebVTT with times")
    seed: int | None = Field(None, description="the same seed gives the same text")


class TextSettings(BaseModel):
    """`[dvm.text]`"""

    model_config = ConfigDict(extra="forbid")

    engine: str = Field(EMBEDDED, description="embedded, or openai for a language model server at base_url")
    base_url: str = Field("", description="of an OpenAI-compatible server, with /v1 (http://127.0.0.1:11434/v1)")
    model: str = Field("", description="model of the server; empty: the first it lists")
    api_key_file: str = Field("", description="file with the server's key, if it wants one")
    timeout: int = Field(300, ge=1, description="seconds to wait for the server")
    whisper: str = Field("", description="faster-whisper model folder or name; empty: the installed small one")
    longest: int = Field(400_000, ge=1000, description="longest input in characters")


class TextService(Service):
    name = "Scribe"
    about = (
        "Writes verses, film scenes and stories about a theme; sums a text up in its own sentences; takes text from "
        "pages, PDF files and speech."
    )
    Params = TextParams
    Settings = TextSettings

    settings: TextSettings

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        if self.settings.engine not in (EMBEDDED, "", "openai"):
            raise ValueError(f"text has no engine {self.settings.engine!r}: embedded or openai")
        self._server: Server | None = None
        if self.settings.engine == "openai":
            if not self.settings.base_url:
                raise ValueError("the text engine openai needs base_url")
            self._server = Server(
                self.settings.base_url, self.settings.model, self.settings.api_key_file, float(self.settings.timeout)
            )
        kinds = [WRITE, SUMMARISE, EXTRACT]
        if self._server is not None or translate.pairs():
            kinds.append(TRANSLATE)
        self.kinds = tuple(kinds)

    def engine(self) -> Engine:
        if self._server is not None:
            return Engine("openai-compatible", self.settings.model or "the server's first model")
        return Engine("scribe-1", "rule-based writer, no language model", "MIT")

    def announce_tags(self) -> list[list[str]]:
        """What extraction and translation can do on this machine, so that nobody orders what would be refused."""
        readable = [kind for kind in extract.MIMES if extract.possible(kind)]
        if not self.settings.whisper and not extract.whisper_folder():
            readable = [kind for kind in readable if kind != "sound"]
        takes = [["takes", str(EXTRACT), "input", *(mime for kind in readable for mime in extract.MIMES[kind])]]
        if self._server is None and TRANSLATE in self.kinds:
            targets = sorted({target for _, target in translate.pairs()})
            spellings = (name for target in targets for name in translate.spellings(target))
            takes.append(["takes", str(TRANSLATE), "language", *spellings])
        return takes

    # --- before the bill

    def check(self, job: Job[TextParams]) -> None:
        files = [item for item in job.inputs if item.path is not None]
        if job.kind == EXTRACT:
            items = self._items(job)
            for item in items:
                extract.check(item)
            return
        for item in files:
            extract.check(item)
        if not files:
            text = job.text()
            if len(text) > self.settings.longest:
                raise Refused(f"the text has {len(text)} characters; the most here is {self.settings.longest}")
        if job.kind == TRANSLATE:
            self._check_translation(job)
        elif job.kind == WRITE and self._server is None:
            self._check_writing(job)

    def _check_translation(self, job: Job[TextParams]) -> None:
        if not job.params.language:
            raise Refused("say into which language: the param language")
        if self._server is not None or any(item.path for item in job.inputs):
            return
        if translate.find(job.text(), job.params.language, job.params.source) is None:
            known = ", ".join(sorted(f"{s}-{t}" for s, t in translate.pairs())) or "none"
            raise Refused(f"no translation into {job.params.language} from this language here (pairs: {known})")

    def _check_writing(self, job: Job[TextParams]) -> None:
        wanted = _format(job)
        if wanted == "json":
            raise Refused(
                "JSON of any other form than scenes or story needs a language model, which this worker has not"
            )
        if wanted == "plain" and not _is_theme(job.text()):
            raise Refused(
                "this worker has no language model: it writes verses, scenes (format=scenes) and stories "
                "(format=story) about a theme, and does not answer questions"
            )

    # --- the work

    def run(self, job: Job[TextParams], progress: Progress) -> Result:
        self.check(job)
        if job.kind == EXTRACT:
            return self._extract(job, progress)
        text = self._text(job, progress)
        if job.kind == SUMMARISE:
            return self._summarise(job, text, progress)
        if job.kind == TRANSLATE:
            return self._translate(job, text, progress)
        return self._write(job, text, progress)

    def _items(self, job: Job[TextParams]) -> list[Any]:
        items = [item for item in job.inputs if item.path is not None or (item.text or "").strip()]
        if not items:
            raise Refused("there is nothing to take text from: add an `i` tag with a url or a text")
        return items

    def _text(self, job: Job[TextParams], progress: Progress) -> str:
        """All inputs as one text; pages and documents are read first."""
        parts = []
        for item in self._items(job):
            text, _ = extract.extract(item, model=self.settings.whisper, language=None, vtt=False, told=lambda _: None)
            parts.append(text)
        return "\n\n".join(parts)[: self.settings.longest]

    def _extract(self, job: Job[TextParams], progress: Progress) -> Result:
        vtt = job.params.alignment == "segment" or (job.output or "") == "text/vtt"
        parts, engines = [], []
        items = self._items(job)
        for i, item in enumerate(items):
            text, engine = extract.extract(
                item,
                model=self.settings.whisper,
                language=translate.code(job.params.language) if job.params.language else None,
                vtt=vtt,
                told=lambda share, i=i: progress((i + share) / len(items), "reading"),  # type: ignore[misc]
            )
            parts.append(text)
            engines.append(engine)
        return Result("\n\n".join(parts), facts={"engine": ", ".join(dict.fromkeys(engines))})

    def _summarise(self, job: Job[TextParams], text: str, progress: Progress) -> Result:
        from dvms.text import summary

        amount, unit = _length(job.params.length)
        if self._server is not None:
            length = f"{amount} {unit}" if amount else "three to five sentences"
            prompt = f"Summarise the text in {length}, in its own language. Write nothing but the summary."
            return self._ask(job, prompt, text)
        wanted = {unit: amount} if amount else {}
        made = summary.summarise(text, **wanted)
        return Result(
            made,
            facts={
                "engine": "scribe-1 (TextRank)",
                "method": "extractive: sentences of the text itself",
                "licence": "MIT",
            },
        )

    def _translate(self, job: Job[TextParams], text: str, progress: Progress) -> Result:
        if self._server is not None:
            prompt = (
                f"Translate the text into {job.params.language}. Keep names, numbers and line breaks. "
                "Write nothing but the translation."
            )
            return self._ask(job, prompt, text)
        by = translate.find(text, job.params.language, job.params.source)
        if by is None:
            raise Refused(f"no translation into {job.params.language} from this language here")
        facts = {"engine": by.engine, "source": by.source, "language": by.target, "licence": by.licence}
        return Result(translate.translate(text, by), facts=facts)

    def _write(self, job: Job[TextParams], text: str, progress: Progress) -> Result:
        wanted = _format(job)
        if self._server is not None:
            return self._write_by_model(job, text, wanted, progress)
        from dvms.text import scenes, story, writer

        piece = writer.write(text, job.seed, lines=job.params.lines, style=job.params.style)
        facts = {"engine": "scribe-1 (rule-based, no language model)", "licence": "MIT", "seed": str(job.seed)}
        if piece.theme.language != "en":
            facts["note"] = "the theme was understood word by word; the text is English"
        progress(0.5, "writing")
        if wanted == "scenes":
            shots = scenes.shots(piece, job.seed, job.params.shots)
            form = ScenesForm.model_validate(
                {
                    "title": piece.title,
                    "style": piece.style,
                    "mood": piece.mood,
                    "lines": list(piece.lines),
                    "shots": [{"prompt": s.prompt, "motion": s.motion, "caption": s.caption} for s in shots],
                }
            )
            return Result(form.model_dump_json(), facts=facts)
        if wanted == "story" or (wanted == "plain" and re.search(r"\b(story|tale|fable|fairy ?tale)\b", text, re.I)):
            told = story.tell(piece, job.seed)
            if wanted == "plain":
                return Result(f"{told.title}\n\n{told.text}", facts=facts)
            pages = [{"text": p.text, "prompt": p.prompt, "motion": p.motion} for p in told.pages]
            made = StoryForm.model_validate(
                {"title": told.title, "style": told.style, "mood": told.mood, "pages": pages, "text": told.text}
            )
            return Result(made.model_dump_json(), facts=facts)
        return Result(piece.title + "\n\n" + "\n\n".join("\n".join(stanza) for stanza in piece.stanzas), facts=facts)

    def _write_by_model(self, job: Job[TextParams], text: str, wanted: str, progress: Progress) -> Result:
        server = self._server
        assert server is not None
        p = job.params
        stop = lambda: progress.cancelled  # noqa: E731
        if wanted in ("scenes", "story"):
            shape: type[BaseModel] = ScenesForm if wanted == "scenes" else StoryForm
            task = _SCENES.format(lines=p.lines, shots=p.shots) if wanted == "scenes" else _STORY
            progress(0.1, f"asking {server.chosen()}")
            form = server.shaped(
                shape,
                [{"role": "system", "content": task}, {"role": "user", "content": text}],
                max_tokens=max(p.max_tokens, 1500),
                temperature=p.temperature if p.temperature is not None else 0.8,
                seed=job.seed,
                stop=stop,
            )
            if isinstance(form, StoryForm) and not form.text:
                form = form.model_copy(update={"text": "\n\n".join(page.text for page in form.pages)})
            return Result(form.model_dump_json(), facts=self._facts(job))
        system = "Answer with one JSON object and nothing else." if wanted == "json" else ""
        system = (
            "Write a song lyric about the theme: a title, then short lines that rhyme."
            if wanted == "lyrics"
            else system
        )
        return self._ask(job, system, text, stop)

    def _ask(self, job: Job[TextParams], system: str, text: str, stop: Any = lambda: False) -> Result:
        server = self._server
        assert server is not None
        messages = [{"role": "user", "content": text}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        answer = server.chat(
            messages,
            max_tokens=job.params.max_tokens,
            temperature=job.params.temperature,
            top_p=job.params.top_p,
            seed=job.seed,
            stop=stop,
        )
        return Result(answer, facts=self._facts(job))

    def _facts(self, job: Job[TextParams]) -> dict[str, str]:
        server = self._server
        model = server.chosen() if server is not None else ""
        return {"engine": "openai-compatible", "model": model, "licence": "the model's own", "seed": str(job.seed)}


_SCENES = (
    "You write music videos. From the theme, write: title; style (a music style); mood; lines: exactly {lines} "
    "short singable lines of six to nine syllables that rhyme in pairs; shots: exactly {shots} shots, each with a "
    "prompt (concrete things to paint: who, where, in which light; no abstract words; each shot different), a "
    "motion (push in, pull back, pan left, pan right, rise, drift) and a caption. Answer with one JSON object."
)
_STORY = (
    "You write short illustrated stories for all ages. From the theme, write: title; style (a music style that "
    "fits); mood; pages: six pages, each with text (two or three sentences), a prompt (the picture in concrete "
    "words) and a motion (push in, pull back, pan left, pan right, rise, drift). Answer with one JSON object."
)
_LENGTH = re.compile(r"(\d+)\s*(sentences?|paragraphs?|words?|lines?)?", re.I)
Unit = Literal["sentences", "paragraphs", "words"]


def _length(text: str) -> tuple[int, Unit]:
    """`10 paragraphs` as (10, paragraphs); 0 where nothing is said."""
    named = {"short": 2, "medium": 5, "long": 10}.get(text.strip().lower())
    if named:
        return named, "sentences"
    match = _LENGTH.search(text)
    if match is None:
        return 0, "sentences"
    unit = (match.group(2) or "sentences").lower()
    amount = max(1, int(match.group(1)[:4]))
    return amount, "paragraphs" if unit.startswith("par") else "words" if unit.startswith("word") else "sentences"


def _format(job: Job[TextParams]) -> str:
    """scenes, story, lyrics, json (another form) or plain."""
    asked = job.params.format.strip().lower()
    if asked in ("scenes", "scene", "video", "film", "shots"):
        return "scenes"
    if asked in ("story", "storybook", "tale"):
        return "story"
    if asked in ("lyrics", "lyric", "song", "verse", "verses", "poem"):
        return "lyrics"
    if (job.output or "").lower() in _JSON:
        return "scenes"
    return "json" if asked in ("json", "json_object") else "plain"


_QUESTION = re.compile(
    r"^\s*(who|what|when|where|why|how|which|whose|is|are|was|were|do|does|did|can|could|should|would|will|explain|calculate|solve|list|"
    r"translate|summari[sz]e|define|compare|convert|code|implement|debug|fix|answer|"
    r"tell me (what|why|how|who)|what's|who's)\b",
    re.I,
)


def _is_theme(text: str) -> bool:
    """Whether a writer of verses can do something with it."""
    from dvms.text.reader import aloud

    first = aloud(text.strip())
    if re.match(r"\s*(please\s+)?(can|could|would|will) you (please )?(write|make|create|compose|sing)\b", first, re.I):
        return True
    if re.match(r"\s*how the \w+", first, re.I) and not first.endswith("?"):
        return True
    return (
        not first.endswith("?")
        and not _QUESTION.match(first)
        and "```" not in first
        and bool(re.search(r"[^\W\d_]{2}", first))
    )
