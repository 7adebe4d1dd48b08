"""What Timmy's journal tells of his runs: the pages read it, they never write.

Beside Nostr, which shows a composite from outside, this is the node's own knowledge: which step stands where, what the
finished ones delivered, and why each seller was chosen.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from market.kinds import JOB_KINDS
from orchestrator.journal import Journal
from orchestrator.run import Attempt, Candidate, Run, Unit

TEXT = 600  # characters of a text artefact that are shown

COLUMNS: Mapping[str, str] = {
    "pay_msat": "pays",
    "reputation": "reputation",
    "liveness": "alive",
    "in_time": "in time",
    "success": "chance",
    "seconds": "seconds",
    "cost": "cost",
}


class Runs:
    """`data` is the node's folder. Without a journal there (no Timmy on this node) every answer is empty."""

    def __init__(self, data: Path) -> None:
        self._path = data / "orchestrator" / "timmy.db"
        self._journal: Journal | None = None

    async def journal(self) -> Journal | None:
        if self._journal is None and self._path.exists():
            self._journal = await Journal.open(self._path)
        return self._journal

    async def close(self) -> None:
        if self._journal is not None:
            await self._journal.close()

    async def of(self, job_id: str) -> Run | None:
        journal = await self.journal()
        return await journal.load(job_id) if journal is not None else None

    async def books(self) -> dict[str, Any]:
        """Runs with price, costs and margin; margin by recipe; refunds due; what is outstanding with each provider."""
        journal = await self.journal()
        if journal is None:
            return {"runs": [], "totals": None, "due": [], "recipes": [], "exposure": [], "reserved_msat": 0}
        runs = [dict(row) for row in await journal.books(200)]
        totals = await journal.totals()
        recipes: dict[str, dict[str, Any]] = {}
        for run in runs:
            line = recipes.setdefault(
                run["recipe"],
                {
                    "recipe": run["recipe"],
                    "runs": 0,
                    "delivered": 0,
                    "taken_msat": 0,
                    "spent_msat": 0,
                    "margin_msat": 0,
                },
            )
            line["runs"] += 1
            line["delivered"] += run["state"] == "delivered"
            line["taken_msat"] += run["received_msat"] if run["state"] == "delivered" else 0
            line["spent_msat"] += run["spent_msat"]
            line["margin_msat"] += run["margin_msat"] or 0
        exposure = await self._exposure(journal)
        return {
            "runs": runs[:20],
            "totals": dict(totals) if totals else None,
            "due": [dict(row) for row in await journal.refunds_due()],
            "recipes": sorted(recipes.values(), key=lambda line: -line["margin_msat"]),
            "exposure": exposure,
            "reserved_msat": sum(row["outstanding_msat"] for row in exposure),
        }

    async def _exposure(self, journal: Journal) -> list[dict[str, Any]]:
        """For each provider that was ever paid: outstanding now, delivered for, the limit that follows."""
        rows = await journal.db.fetch("SELECT DISTINCT party FROM payment WHERE direction = 'out' AND party != ''")
        found = []
        for row in rows:
            outstanding, delivered = await journal.exposure(row["party"])
            found.append({
                "provider": row["party"],
                "outstanding_msat": outstanding,
                "delivered_msat": delivered,
                "limit_msat": journal.limits.exposure(delivered),
            })  # fmt: skip
        return sorted(found, key=lambda line: (-line["outstanding_msat"], -line["delivered_msat"]))


def steps(run: Run, *, artefacts: bool) -> list[dict[str, Any]]:
    """Every step of the recipe, those not begun too. `artefacts`: show what the finished ones delivered."""
    made: list[dict[str, Any]] = []
    for name in run.recipe.order:
        units = [unit for unit in run.units.values() if unit.name == name]
        for unit in sorted(units, key=lambda unit: unit.idx) or [Unit(name, 0)]:
            made.append(_step(run, unit, len(units) > 1, artefacts))
    return made


def _step(run: Run, unit: Unit, fanned: bool, artefacts: bool) -> dict[str, Any]:
    attempt = unit.accepted or (unit.attempts[-1] if unit.attempts else None)
    kind = run.recipe.steps[unit.name].kind
    line: dict[str, Any] = {
        "name": unit.name,
        "index": unit.idx,
        "label": f"{unit.name} {unit.idx + 1}" if fanned else unit.name,
        "kind": kind,
        "title": JOB_KINDS[kind].title if kind in JOB_KINDS else f"kind {kind}",
        "state": unit.state,
        "done": unit.done,
        "failed": unit.failed,
        "provider": attempt.provider.pubkey if attempt and attempt.provider else "",
        "by": attempt.provider.name if attempt and attempt.provider else "",
        "request": attempt.request_id if attempt else "",
        "paid_msat": unit.paid_msat,
        "tries": len(unit.attempts),
        "reason": unit.reason or (attempt.reason if attempt else ""),
    }
    if artefacts and unit.artefact is not None:
        kept = unit.artefact
        line["artefact"] = {"url": kept.url, "mime": kept.mime, "text": (kept.text or "")[:TEXT]}
    return line


def choices(run: Run) -> list[dict[str, Any]]:
    """For each attempt: who was hired, and the table of all candidates with the numbers that decided."""
    made = []
    for unit, attempt in run.attempts:
        if attempt.provider is not None and attempt.candidates:
            made.append(_choice(unit, attempt))
    return made


def _called(name: str) -> str:
    """What people call a unit: `cover~1` judges what `cover` delivered."""
    step, tilde, _ = name.partition("~")
    return f"judge of {step}" if tilde else name


def _choice(unit: Unit, attempt: Attempt) -> dict[str, Any]:
    return {
        "step": f"{_called(unit.name)} {unit.idx + 1}" + (f", try {attempt.number}" if attempt.number > 1 else ""),
        "winner": attempt.provider.name if attempt.provider else "",
        "columns": ["seller", *COLUMNS.values(), "out because"],
        "rows": [_row(candidate) for candidate in attempt.candidates[:12]],
        "alone": len(attempt.candidates) == 1,
    }


def _row(candidate: Candidate) -> list[str]:
    cells = [candidate.name or candidate.pubkey[:8]]
    for name in COLUMNS:
        value = candidate.factors.get(name)
        if value is None:
            cells.append("")
        elif name in ("pay_msat", "cost"):
            cells.append(f"{float(value) / 1000:.1f} sat" if float(value) < 1e12 else "∞")
        else:
            cells.append(f"{float(value):.0f}" if name == "seconds" else f"{float(value):.2f}")
    return [*cells, candidate.excluded]
