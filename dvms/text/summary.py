"""Extractive summary: the sentences that say most, in their own order. TextRank over TF-IDF, then without repetition.

Works in any language that separates words by spaces; common words are found by how often they come. It never writes a
sentence of its own.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from dvms.text.lexicon import word_set

MOST_SENTENCES: Final = 600
MOST_CHARACTERS: Final = 2_000  # of a text that has no sentences
_WORD: Final = r"[\u3040-\u30ff\u4e00-\u9fff]|\w+"  # scripts without spaces count by the character
_ABBREVIATIONS: Final = word_set(
    "mr mrs ms dr prof st vs etc e.g i.e fig no vol inc ltd co jr sr u.s approx ca bzw z.b usw d.h nr"
)
_STOP: Final = word_set(
    "a an the and or but if of in on at to for from by with as is are was were be been being it its this that "
    "these those he she they them his her their we you i our your not no so than then there here which who whom "
    "what when where how all any each more most other some such only own same can will just should now has have "
    "had do does did would could may might must also into over under out up down about after before between"
)


def summarise(
    text: str, *, sentences: int | None = None, paragraphs: int | None = None, words: int | None = None
) -> str:
    """The most telling sentences. Without a length: about a fifth, at most seven sentences."""
    parts = split(text) or [" ".join(text.split())[:MOST_CHARACTERS]]
    if len(parts) == 1:
        return _cut(parts[0], words)
    total = sum(len(part.split()) for part in parts)
    if words is not None:
        count = max(1, round(words / max(1.0, total / len(parts))))
    elif paragraphs is not None:
        count = paragraphs * 3
    else:
        count = sentences if sentences is not None else max(1, min(7, round(len(parts) / 5 + 0.6)))
    chosen = pick(parts, min(count, len(parts)))
    if words is not None:
        while len(chosen) > 1 and sum(len(parts[i].split()) for i in chosen) > words * 1.15:
            chosen.pop()
    ordered = [parts[i] for i in sorted(chosen)]
    if len(ordered) == 1:
        return _cut(ordered[0], words)
    if paragraphs is not None and paragraphs > 1:
        size = -(-len(ordered) // paragraphs)
        return "\n\n".join(" ".join(ordered[i : i + size]) for i in range(0, len(ordered), size))
    return " ".join(ordered)


def split(text: str) -> list[str]:
    """Sentences, without headings and list marks; at most MOST_SENTENCES of them."""
    found: list[str] = []
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.S | re.M)
    text = "\n".join("" if re.match(r"\s*(\||[-=*_]{3,}\s*$)", line) else line for line in text.splitlines())
    text = re.sub(r"\*\*|__|`", "", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text))
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*•#]|\d+[.)])\s)", text):
        flat = " ".join(re.sub(r"^\s*(?:[-*•]|#+|\d+[.)])\s+", "", block).split())
        start = 0
        for match in re.finditer(r"[.!?…。！？]+[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[\w])|[。！？]", flat):
            before = re.findall(r"[\w.]+$", flat[start : match.start()])
            word = before[0].lower().rstrip(".") if before else ""
            if flat[match.start()] == "." and (
                word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i")
            ):
                continue
            found.append(flat[start : match.end()].strip())
            start = match.end()
        rest = flat[start:].strip()
        if rest:
            found.append(rest)
    return [item for item in found if len(re.findall(_WORD, item)) > 2][:MOST_SENTENCES]


def _cut(sentence: str, words: int | None) -> str:
    """One sentence that alone is longer than was asked for."""
    said = sentence.split()
    return sentence if words is None or len(said) <= words * 1.15 else " ".join(said[:words]) + " …"


def pick(parts: Sequence[str], count: int) -> list[int]:
    """Indices of `count` sentences, best first: central, early, of readable length, unlike those already taken."""
    bags = [_bag(part) for part in parts]
    seen: Counter[str] = Counter(word for bag in bags for word in bag)
    size = len(parts)
    weights = []
    for bag in bags:
        vector = {
            word: (1 + math.log(n)) * math.log((1 + size) / (0.5 + seen[word]))
            for word, n in bag.items()
            if seen[word] < 0.6 * size or size < 5
        }
        norm = math.sqrt(sum(value * value for value in vector.values())) or 1.0
        weights.append({word: value / norm for word, value in vector.items()})
    alike = _similarities(weights)
    rank = [1.0 / size] * size
    sums = [sum(row.values()) or 1.0 for row in alike]
    for _ in range(30):
        flow = [0.0] * size
        for j, row in enumerate(alike):
            share = rank[j] / sums[j]
            for i, value in row.items():
                flow[i] += value * share
        rank = [0.15 / size + 0.85 * value for value in flow]
    scores = []
    for i, part in enumerate(parts):
        length = len(part.split())
        fit = 1.0 if 8 <= length <= 40 else 0.6 if length < 8 else 0.8
        question = 0.7 if part.rstrip('"”’)').endswith("?") else 1.0
        scores.append(rank[i] * fit * question * (1.25 if i == 0 else 1.0 + 0.1 * (1 - i / size)))
    chosen: list[int] = []
    while len(chosen) < count:
        best = max(
            (i for i in range(size) if i not in chosen),
            key=lambda i: scores[i] * (1 - max((alike[i].get(j, 0.0) for j in chosen), default=0.0)),
        )
        chosen.append(best)
    return chosen


def _bag(part: str) -> Counter[str]:
    words = [_stem(word) for word in re.findall(r"\w+", part.lower())]
    if not any(len(word) > 1 for word in words) or re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", part):
        flat = re.sub(r"\W", "", part)
        return Counter(flat[i : i + 2] for i in range(len(flat) - 1))
    return Counter(word for word in words if len(word) > 2 and word not in _STOP)


def _stem(word: str) -> str:
    for ending in ("ingly", "edly", "ing", "ies", "ed", "es", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


def _similarities(weights: Sequence[dict[str, float]]) -> list[dict[int, float]]:
    where: dict[str, list[int]] = {}
    for i, vector in enumerate(weights):
        for word in vector:
            where.setdefault(word, []).append(i)
    alike: list[dict[int, float]] = [{} for _ in weights]
    for word, at in where.items():
        for a in at:
            for b in at:
                if a != b:
                    alike[a][b] = alike[a].get(b, 0.0) + weights[a][word] * weights[b][word]
    return alike
