"""Forms for judges: what a person answers, and the JSON a program reads.

yes-no   {"form": "yes-no", "answer": true, "why": "..."}
rank     {"form": "rank", "order": [3, 1, 2], "why": "..."}          inputs by number, best first
score    {"form": "score", "score": 7, "of": 10, "why": "..."}
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

FORMS: Final = ("yes-no", "rank", "score")
_YES: Final = frozenset({"yes", "y", "true", "1", "ja", "ok"})
_NO: Final = frozenset({"no", "n", "false", "0", "nein"})


class BadAnswer(ValueError):
    """The answer does not fit the form; the message says what would."""


def read_answer(form: str, text: str, *, choices: int) -> str:
    """The JSON of an answer such as `yes, because ...`, `2 1 3` or `7 too dark`. Raises BadAnswer."""
    head, _, why = text.strip().partition("\n")
    value: dict[str, Any]
    if form == "yes-no":
        word, _, rest = head.partition(" ")
        answer = word.strip(",.:;!").lower()
        if answer not in _YES | _NO:
            raise BadAnswer("answer with yes or no, and why if you like: `yes, it is watchable`")
        value, more = {"form": form, "answer": answer in _YES}, rest
    elif form == "rank":
        match = re.match(r"[\d\s,>]+", head)
        order = [int(number) for number in re.findall(r"\d+", match.group())] if match else []
        if sorted(order) != list(range(1, choices + 1)):
            raise BadAnswer(f"name each of the {choices} inputs once, the best first: `2 1 3`")
        value, more = {"form": form, "order": order}, head[match.end() :] if match else ""
    elif form == "score":
        match = re.match(r"\s*(10|\d)\b(?:\s*/\s*10)?", head)
        if match is None:
            raise BadAnswer("give a number from 0 to 10, and why if you like: `7 a little dark`")
        value, more = {"form": form, "score": int(match.group(1)), "of": 10}, head[match.end() :]
    else:
        raise BadAnswer(f"the form {form!r} is not known here (known: {', '.join(FORMS)})")
    reason = " ".join(f"{more} {why}".split()).strip(" ,.;:-")
    return orjson.dumps(value | ({"why": reason} if reason else {})).decode()
