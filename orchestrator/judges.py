"""What a judge said (gate G2): people answer a form as JSON, text models in words; both are read here.

yes-no   {"answer": true, ...}      or words that begin with yes
score    {"score": 7, "of": 10}     or words that begin with a number from 0 to 10
rank     {"order": [2, 1, 3]}       or numbers, the best first
"""

import json
import re
from typing import Any


def yes(words: str) -> bool:
    """Whether the answer is yes; anything else is not."""
    value = _json(words)
    if value is None:
        return words.lower().startswith("yes")
    return value is True or (isinstance(value, dict) and value.get("answer") in (True, "yes"))


def scored(words: str) -> float | None:
    """Points, 0 to 10; None where the answer has none."""
    value = _json(words)
    if isinstance(value, dict):
        points, of = _number(value.get("score")), _number(value.get("of", 10))
        return 10 * points / of if points is not None and of and 0 <= points <= of else None
    points = _number(value)
    if points is not None:
        return points if 0 <= points <= 10 else None
    match = re.match(r"\D{0,20}?(10|\d)(?:\.(\d))?(?!\d)", words)
    return min(10.0, float(f"{match[1]}.{match[2] or 0}")) if match else None


def ranked(words: str, count: int) -> list[int] | None:
    """Every number from 1 to `count` once, the best first; None where the answer is something else."""
    value = _json(words)
    order = value.get("order") if isinstance(value, dict) else value
    if not isinstance(order, list):
        match = re.match(r"[\d\s,>]+", words)
        order = [int(number) for number in re.findall(r"\d{1,3}", match[0])] if match else []
    whole = [number for number in order if type(number) is int]
    return whole if len(whole) == len(order) and sorted(whole) == list(range(1, count + 1)) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _json(words: str) -> Any:
    try:
        return json.loads(words)
    except ValueError:
        return None
