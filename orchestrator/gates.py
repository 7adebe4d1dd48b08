"""Gates G0 and G1: is the artefact what was ordered? Decided by decoding all of it, in a child process with limits.

G0 is about the bytes: they decode from the first to the last, are of the ordered type, not blank, not silent. G1 is
about the order: length, size in pixels, the JSON's schema. What a stranger sent never meets a decoder in this process;
the child may use so much memory and processor time, writes no file, and its death is a verdict like any other.
"""

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from nostr.download import mime_matches
from orchestrator.effects import Check
from orchestrator.recipe import Gate
from orchestrator.run import Artefact, Verdict
from orchestrator.schema import value_problems

CHILD_SECONDS = 120
TOLERANCE = 0.1  # share by which a duration may miss its limit
_MEDIA = ("image/", "audio/", "video/")

Checks = list[tuple[str, bool, str]]


async def judge(check: Check, path: Path, *, at_once: asyncio.Semaphore | None = None) -> tuple[Verdict, Artefact]:
    """The verdict on a stored artefact, and the artefact with what was measured. Never raises for its content."""
    artefact, checks = check.artefact, []
    fits = mime_matches(artefact.mime, check.out.mime) or (artefact.text is not None and _is_text(check.out.mime))
    checks.append(("type", fits, artefact.mime))
    score = 1.0
    if fits and artefact.mime.startswith(_MEDIA):
        async with at_once or asyncio.Semaphore(1):
            facts = await _measure(path, artefact.mime)
        artefact = replace(artefact, width=facts.get("width"), height=facts.get("height"), seconds=facts.get("seconds"))
        checks += media_checks(artefact, facts, check.gate, check.min_seconds, check.max_seconds)
        score = float(facts.get("score", 0.0))
    elif fits and artefact.text is not None:
        checks += text_checks(artefact.text, check.out.mime, check.out.schema_, check.gate)
    ok = all(passed for _, passed, _ in checks)
    return Verdict(ok, tuple(checks), round(score, 3) if ok else 0.0), artefact


def text_checks(text: str, mime: str, schema: dict[str, Any] | None, gate: Gate) -> Checks:
    """Length, JSON and schema of a text answer."""
    checks: Checks = [("not empty", bool(text.strip()), f"{len(text)} characters")]
    if gate.min_chars is not None:
        checks.append(("min_chars", len(text) >= gate.min_chars, str(len(text))))
    if gate.max_chars is not None:
        checks.append(("max_chars", len(text) <= gate.max_chars, str(len(text))))
    if mime == "application/json":
        try:
            value = json.loads(text)
        except ValueError:
            return [*checks, ("json", False, "not JSON")]
        problem = next(value_problems(schema, value, "$"), None) if schema else None
        checks.append(("schema", problem is None, problem or "fits"))
    return checks


def media_checks(
    artefact: Artefact, facts: dict[str, Any], gate: Gate, min_seconds: float | None, max_seconds: float | None
) -> Checks:
    """What was measured against what was ordered."""
    if "problem" in facts:
        return [("decodes", False, str(facts["problem"]))]
    checks: Checks = [("decodes", True, str(facts["decoded"]))]
    if "blank" in facts:
        checks.append(("not blank", gate.blank or not facts["blank"], f"contrast {facts['contrast']:.1f}"))
    wants_sound = artefact.mime.startswith("audio/") or gate.sound
    if wants_sound or ("peak" in facts and not gate.silent):
        loud = facts.get("peak", 0.0) > 0.001
        checks.append(("not silent", gate.silent or loud, f"peak {facts.get('peak', 0.0):.3f}"))
    seconds = artefact.seconds
    if min_seconds is not None:
        good = seconds is not None and seconds >= min_seconds * (1 - TOLERANCE)
        checks.append(("min_seconds", good, f"{seconds or 0:.1f} s"))
    if max_seconds is not None:
        good = seconds is not None and seconds <= max_seconds * (1 + TOLERANCE)
        checks.append(("max_seconds", good, f"{seconds or 0:.1f} s"))
    for name, least, found in (
        ("min_width", gate.min_width, artefact.width),
        ("min_height", gate.min_height, artefact.height),
    ):
        if least is not None:
            checks.append((name, found is not None and found >= least, f"{found or 0} px"))
    return checks


async def _measure(path: Path, mime: str) -> dict[str, Any]:
    """Facts from the child: decoded, width, height, seconds, blank, contrast, peak, score; or `problem`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(part for part in sys.path if part)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator.gatechild", str(path), mime,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )  # fmt: skip
    try:
        async with asyncio.timeout(CHILD_SECONDS):
            raw, _ = await child.communicate()
    except TimeoutError:
        return {"problem": f"decoding took longer than {CHILD_SECONDS} s"}
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        return {"problem": f"the decoder died ({_how(child.returncode)})"}
    try:
        facts = json.loads(raw)
    except ValueError:
        return {"problem": "the decoder gave no answer"}
    return facts if isinstance(facts, dict) else {"problem": "the decoder gave no answer"}


def _how(returncode: int) -> str:
    return signal.Signals(-returncode).name if returncode < 0 else f"status {returncode}"


def _is_text(mime: str) -> bool:
    return mime.startswith("text/") or mime == "application/json"
