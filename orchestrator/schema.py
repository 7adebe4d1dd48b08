"""The part of JSON Schema that recipes use: enough to type a step's JSON, small enough to be checked to the last word.

Known words: type, properties, required, items, enum, default, title, description, format ("uri"), contentMediaType (of
what lies at a URI), and the limits of length, count and range. Any other word is a problem when the recipe is loaded,
never a silent pass when it runs.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

Schema = Mapping[str, Any]

MAX_DEPTH: Final = 16
TYPES: Final = ("string", "integer", "number", "boolean", "array", "object")
_LIMITS: Final = ("minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum")
_WORDS: Final = frozenset(
    ("type", "properties", "required", "items", "enum", "default", "title", "description", "format",
     "contentMediaType", *_LIMITS)
)  # fmt: skip

_MIME: Final = re.compile(r"[a-z0-9.+-]+/([a-z0-9.+-]+|\*)")


def schema_problems(schema: object, at: str, depth: int = 0) -> Iterator[str]:
    """What keeps `schema` from being used, each with its place."""
    if depth > MAX_DEPTH:
        yield f"{at[:80]}...: nested too deeply"
        return
    if not isinstance(schema, Mapping):
        yield f"{at}: a schema is an object"
        return
    for word in schema:
        if word not in _WORDS:
            yield f"{at}: unknown schema word {word!r}"
    kind = schema.get("type")
    if kind not in TYPES:
        yield f"{at}.type: must be one of {', '.join(TYPES)}"
    for word in _LIMITS:
        if word in schema and not (_is("number", schema[word]) and math.isfinite(schema[word])):
            yield f"{at}.{word}: must be a number"
    for word in ("title", "description"):
        if not isinstance(schema.get(word, ""), str):
            yield f"{at}.{word}: must be a text"
    if "format" in schema and schema["format"] != "uri":
        yield f"{at}.format: only 'uri' is known"
    if "contentMediaType" in schema and not _MIME.fullmatch(str(schema["contentMediaType"])):
        yield f"{at}.contentMediaType: must be a MIME type or a glob such as audio/*"
    if "enum" in schema and not isinstance(schema["enum"], list):
        yield f"{at}.enum: must be a list"
    if "default" in schema and kind in TYPES and not _is(kind, schema["default"]):
        yield f"{at}.default: must be {_article(kind)}"
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        yield f"{at}.properties: must be an object"
    else:
        for name, part in properties.items():
            yield from schema_problems(part, f"{at}.{name}", depth + 1)
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        yield f"{at}.required: must be a list of names"
    if "items" in schema:
        yield from schema_problems(schema["items"], f"{at}[]", depth + 1)


def value_problems(schema: Schema, value: object, at: str) -> Iterator[str]:
    """Where `value` breaks a schema that `schema_problems` accepted."""
    kind = schema["type"]
    if not _is(kind, value):
        yield f"{at}: must be {_article(kind)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: must be one of {', '.join(map(str, schema['enum']))}"
    yield from _limit_problems(schema, value, at)
    if isinstance(value, str) and schema.get("format") == "uri" and not _is_url(value):
        yield f"{at}: must be a http(s) URL"
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from value_problems(schema["items"], item, f"{at}[{index}]")
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                yield f"{at}.{name}: is missing"
        for name, part in schema.get("properties", {}).items():
            if name in value:
                yield from value_problems(part, value[name], f"{at}.{name}")


def from_text(schema: Schema, text: str) -> object:
    """Read a tag's text as the value this schema wants. Raises ValueError with words for the sender."""
    kind = schema["type"]
    if kind == "string":
        return text
    if kind == "boolean":
        if text.strip().lower() in ("true", "yes", "1"):
            return True
        if text.strip().lower() in ("false", "no", "0"):
            return False
        raise ValueError("must be true or false")
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        raise ValueError(f"must be {_article(kind)}") from None
    raise ValueError(f"{_article(kind)} cannot be given as text")


def _is(kind: str, value: object) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    return {
        "string": isinstance(value, str),
        "integer": isinstance(value, int),
        "number": isinstance(value, int | float) and math.isfinite(value),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }[kind]


def _limit_problems(schema: Schema, value: object, at: str) -> Iterator[str]:
    measured, low, high, unit = _measure(value)
    if measured is None:
        return
    if low in schema and measured < schema[low]:
        yield f"{at}: must be at least {schema[low]}{unit}"
    if high in schema and measured > schema[high]:
        yield f"{at}: must be at most {schema[high]}{unit}"


def _measure(value: object) -> tuple[float | None, str, str, str]:
    if isinstance(value, str):
        return len(value), "minLength", "maxLength", " characters long"
    if isinstance(value, list):
        return len(value), "minItems", "maxItems", " items long"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, "minimum", "maximum", ""
    return None, "", "", ""


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aio" else f"a {kind}"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
