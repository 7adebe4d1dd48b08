"""A client of any OpenAI-compatible endpoint (Ollama, llama.cpp, vLLM, LM Studio, a hosted one); blocking.

JSON answers are asked for by schema where the server knows `response_format`, checked here in any case, and asked for
again with the fault named.

    ServerError     the endpoint can't be reached, refuses, or never gives a usable answer; names no key, no URL
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from dvms.service import Failed

_TRIES: Final = 3
_MOST_BYTES: Final = 8 * 1024 * 1024
_LONGEST_WAIT: Final = 30.0  # seconds
_RETRY: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})

Shape = TypeVar("Shape", bound=BaseModel)
Message = Mapping[str, str]


class ServerError(Failed):
    pass


class _Rejected(Exception):
    """The server refused the request as such (400, 404, 422), or sends it elsewhere."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class Server:
    """`base_url` ends with /v1. `model` empty: the first that the server lists. `key_file` holds its key."""

    base_url: str
    model: str = ""
    key_file: str = ""
    timeout: float = 300
    pause: float = 1.0
    _structured: bool = field(default=True, repr=False)

    def models(self) -> list[str]:
        try:
            answer = self._call("/models", None)
        except _Rejected as error:
            raise ServerError(f"the language model server lists no models ({error.status}): name one") from None
        listed = answer.get("data") or answer.get("models") or []
        return [str(item.get("id") or item.get("name")) for item in listed if isinstance(item, dict)]

    def chosen(self) -> str:
        """The model that will answer."""
        if not self.model:
            listed = [name for name in self.models() if "embed" not in name.lower()]
            if not listed:
                raise ServerError("the language model server lists no model")
            self.model = listed[0]
        return self.model

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        schema: Mapping[str, Any] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> str:
        """The answer's text, without the thoughts that some models put before it."""
        body: dict[str, Any] = {"model": self.chosen(), "messages": list(messages), "max_tokens": max_tokens}
        for name, value in (("temperature", temperature), ("top_p", top_p), ("seed", seed)):
            if value is not None:
                body[name] = value
        if schema is not None and self._structured:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            }
        try:
            answer = self._call("/chat/completions", body, stop)
        except _Rejected as error:
            if "response_format" not in body:
                raise ServerError(f"the language model server refused the request ({error.status})") from None
            self._structured = False  # this server has no schemas: the prompt and the check must do
            body.pop("response_format")
            try:
                answer = self._call("/chat/completions", body, stop)
            except _Rejected as again:
                raise ServerError(f"the language model server refused the request ({again.status})") from None
        try:
            text = answer["choices"][0]["message"]["content"] or ""
        except (KeyError, IndexError, TypeError):
            raise ServerError("the language model server gave no answer") from None
        said = re.sub(r"^\s*<think>.*?</think>\s*", "", str(text), flags=re.S).strip()
        if not said:
            raise ServerError("the language model server gave an empty answer")
        return said

    def shaped(
        self,
        shape: type[Shape],
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float | None = None,
        seed: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Shape:
        """An answer of the given form. What is wrong with one is told to the model, and it may try again."""
        schema = strict_schema(shape)
        talk = [*messages]
        fault = ""
        for attempt in range(_TRIES):
            text = self.chat(
                talk,
                max_tokens=max_tokens,
                temperature=temperature,
                seed=None if seed is None else seed + attempt,
                schema=schema,
                stop=stop,
            )
            try:
                return shape.model_validate(loose_json(text))
            except ValidationError as error:
                first = error.errors()[0]
                fault = f"{'.'.join(map(str, first['loc'])) or 'the answer'}: {first['msg']}"
            except ValueError as error:
                fault = str(error)
            talk = [
                *messages,
                {"role": "assistant", "content": text[:4000]},
                {
                    "role": "user",
                    "content": f"That does not fit ({fault}). Answer again: only one JSON object of the asked form.",
                },
            ]
        raise ServerError(f"the language model gave no usable answer in {_TRIES} tries ({fault})")

    def _call(
        self, path: str, body: Mapping[str, Any] | None, stop: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key_file:
            headers["Authorization"] = f"Bearer {Path(self.key_file).expanduser().read_text().strip()}"
        data = None if body is None else json.dumps(body).encode()
        url = self.base_url.rstrip("/") + path
        trouble, asked_to_wait = "", 0.0
        for attempt in range(_TRIES):
            if stop():
                raise ServerError("cancelled")
            if attempt:
                time.sleep(max(self.pause * attempt, asked_to_wait))
            try:
                request = urllib.request.Request(url, data, headers)
                with _OPENER.open(request, timeout=self.timeout) as answer:
                    value = json.loads(_read(answer, time.monotonic() + self.timeout, stop))
                if not isinstance(value, dict):
                    raise ServerError("the language model server answered with something else than an object")
                return value
            except urllib.error.HTTPError as error:
                if error.code in (401, 403):
                    raise ServerError("the language model server wants another key") from None
                if error.code not in _RETRY:
                    raise _Rejected(error.code, error.reason) from None
                trouble, asked_to_wait = f"it answered {error.code}", _retry_after(error.headers.get("Retry-After"))
            except json.JSONDecodeError:
                trouble = "its answer was no JSON"
            except (urllib.error.URLError, TimeoutError, OSError) as error:
                trouble = "no answer in time" if isinstance(error, TimeoutError) else "it can't be reached"
        raise ServerError(f"the language model server failed {_TRIES} times: {trouble}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key along to another host."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirects)


def _read(answer: Any, deadline: float, stop: Callable[[], bool]) -> bytes:
    """The body of an answer that may drip in. TimeoutError after the deadline (monotonic seconds)."""
    parts: list[bytes] = []
    size = 0
    while size < _MOST_BYTES and (chunk := answer.read1(1 << 16)):
        parts.append(chunk)
        size += len(chunk)
        if stop():
            raise ServerError("cancelled")
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(parts)


def _retry_after(value: str | None) -> float:
    """Seconds a server asks us to wait, as far as we are ready to."""
    return min(float(value), _LONGEST_WAIT) if value is not None and value.isascii() and value.isdigit() else 0.0


def loose_json(text: str) -> Any:
    """The first JSON object in an answer, with or without a code fence around it. ValueError where there is none."""
    start = text.find("{")
    if start < 0:
        raise ValueError("there is no JSON object in it")
    try:
        value, _ = json.JSONDecoder().raw_decode(text[start:])
    except ValueError as error:
        raise ValueError(f"the JSON is broken: {error}") from None
    return value


def strict_schema(shape: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a form as servers want it: closed objects, everything required, no references."""
    raw = shape.model_json_schema()
    defs = raw.pop("$defs", {})

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return walk(defs[node["$ref"].rsplit("/", 1)[-1]])
        made = {key: walk(value) for key, value in node.items() if key not in ("title", "default")}
        if made.get("type") == "object" and "properties" in made:
            made["properties"] = {key: walk(value) for key, value in node["properties"].items()}
            made["additionalProperties"] = False
            made["required"] = list(made["properties"])
        return made

    schema: dict[str, Any] = walk(raw)
    return schema
