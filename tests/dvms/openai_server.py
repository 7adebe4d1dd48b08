"""Small OpenAI-compatible servers on a free loopback port, for tests: speech, and chat with scripted answers."""

import io
import json
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class FakeServer:
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    drip: int = 0  # bytes at a time, 50 times a second; 0: all at once


# (request) -> (status, content type, body); headers as `Name: value` lines may follow the content type
Answer = Callable[[Asked], tuple[int, str, bytes]]


@contextmanager
def serving(answer: Answer) -> Iterator[FakeServer]:
    state = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self, body: dict[str, Any]) -> None:
            asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            state.asked.append(asked)
            status, kind, data = answer(asked)
            self.send_response(status)
            kind, *more = kind.splitlines()
            self.send_header("Content-Type", kind)
            for line in more:
                self.send_header(*line.split(": ", 1))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for part in range(0, len(data), state.drip or len(data) or 1):
                try:
                    self.wfile.write(data[part : part + (state.drip or len(data))])
                except ConnectionError:
                    return
                time.sleep(0.02 if state.drip else 0)

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def tone(seconds: float = 1.0) -> bytes:
    """A WAV file with a tone."""
    import numpy as np

    t = np.arange(int(24_000 * seconds)) / 24_000
    data = io.BytesIO()
    with wave.open(data, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(24_000)
        out.writeframes((np.sin(2 * np.pi * 440 * t) * 12_000).astype("<i2").tobytes())
    return data.getvalue()


@contextmanager
def speech_server(status: int = 200) -> Iterator[FakeServer]:
    with serving(lambda asked: (status, "audio/wav", tone() if status == 200 else b"{}")) as state:
        yield state


class Chat:
    """Answers chat requests with the scripted texts, one after the other; the last one again and again."""

    def __init__(
        self, *texts: str | tuple[int, str], models: tuple[str, ...] = ("tiny-llm",), schemas: bool = True
    ) -> None:
        self.texts, self.models, self.schemas = list(texts), models, schemas

    def __call__(self, asked: Asked) -> tuple[int, str, bytes]:
        if asked.path.endswith("/models"):
            return _json(200, {"object": "list", "data": [{"id": name} for name in self.models]})
        if "response_format" in asked.body and not self.schemas:
            return _json(400, {"error": {"message": "response_format is not supported"}})
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        if isinstance(text, tuple):
            return _json(text[0], {"error": {"message": text[1]}})
        message = {"role": "assistant", "content": text}
        return _json(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def _json(status: int, value: Any) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(value).encode()
