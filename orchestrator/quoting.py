"""What a recipe costs today: its steps at the best sellers' prices, the arithmetic of `price.py`, what is announced.

Before a price is named, every step has a seller who can do it for these inputs; where one has none, the recipe is not
for sale, and shop window, quote and refusal say why. So nobody pays for what nobody can deliver.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from orchestrator.effects import Ask
from orchestrator.errors import QuoteError
from orchestrator.journal import Experience, Journal
from orchestrator.price import Line, Quote, quote
from orchestrator.recipe import Recipe, StepDoc
from orchestrator.run import Candidate
from orchestrator.settings import OrchestratorSettings
from orchestrator.wants import wants_of

log = logging.getLogger("timmy")

UNKNOWN_CHANCE = 0.8  # that an open call finds somebody good
MOVED = 0.05  # share by which the market must have moved away from what is announced

Candidates = Callable[[Ask, str], Awaitable[Sequence[Candidate]]]
"""Who could do it, best first; the text seeds whatever is left to chance."""


class Quoter:
    """`candidates` are the market, `own` the keys of this box, `load` the share of our capacity in use.

    `announced` is what the shop window says (msat, by recipe), `missing` why a recipe cannot be had now; `moved` is set
    when the market has left what is announced.
    """

    def __init__(
        self,
        journal: Journal,
        settings: OrchestratorSettings,
        *,
        candidates: Candidates,
        own: Callable[[], Collection[str]],
        load: Callable[[], float],
    ) -> None:
        self._journal, self._settings = journal, settings
        self._candidates, self._own, self._load = candidates, own, load
        self.announced: dict[str, int] = {}
        self.missing: dict[str, str] = {}
        self.moved = asyncio.Event()

    async def quote(self, recipe: Recipe, inputs: Mapping[str, Any]) -> Quote:
        """The price now, for a buyer's inputs (those left out stand at their defaults). Raises QuoteError."""
        price = recipe.doc.price
        lines = await self.plan(recipe, inputs)
        return await asyncio.to_thread(
            quote, lines, self._settings.rules(), margin=price.margin or 0.0, load=self._load(),
            min_msat=price.min_msat, fixed_msat=price.msat if price.policy == "fixed" else None, seed=recipe.dumps(),
        )  # fmt: skip

    async def plan(self, recipe: Recipe, inputs: Mapping[str, Any]) -> list[Line]:
        """What each step would cost, from its best seller. Raises QuoteError where one has none."""
        lines: list[Line] = []
        own, experience = self._own(), await self._journal.experience()
        for name in recipe.order:
            step, needed = recipe.steps[name], not recipe.dispensable(name)
            ask = Ask(
                name, 0, 0, step.kind, step.max_msat, step.seconds, step.pinned, wants=wants_of(recipe, step, inputs)
            )
            count = step.most if step.each else 1
            best = await self._best(ask, recipe, f"sells step {name!r}", needed=needed and step.ask != "open")
            if best is None and step.ask == "open":  # who will come for the call is not known yet
                lines.append(
                    Line(name, step.kind, count, step.max_msat, UNKNOWN_CHANCE, step.tries, optional=not needed)
                )
            if best is None:
                continue
            lines.append(
                Line(
                    step=name, kind=step.kind, count=count, price_msat=best.price_msat,
                    chance=_chance(experience, best.pubkey, step.kind, own=best.pubkey in own), tries=step.tries,
                    buy=step.buy, pays_for_failures=best.pubkey not in own, optional=not needed,
                )
            )  # fmt: skip
            judged = await self._judging(recipe, name, step, count)
            lines += [judged] if judged else []
        return lines

    async def shown(self, recipe: Recipe) -> int | None:
        """The price for the shop window, msat; None while it cannot be had, and then `missing` says why."""
        try:
            price = (await self.quote(recipe, {})).price_msat
        except QuoteError as error:
            if self.missing.get(recipe.d) != str(error):
                self.missing[recipe.d] = str(error)
                log.info("%s is not for sale now: %s", recipe.d, error)
            return None
        self.missing.pop(recipe.d, None)
        return price

    def agreed(self, recipe: Recipe, offer: Quote) -> int:
        """The announced price, as long as the market has not moved away from it."""
        announced = self.announced.get(recipe.d)
        if announced and abs(offer.price_msat - announced) <= MOVED * announced:
            return announced
        self.moved.set()
        return offer.price_msat

    async def _judging(self, recipe: Recipe, name: str, step: StepDoc, count: int) -> Line | None:
        judge = step.gate.judge
        if judge is None:
            return None
        ask = Ask(f"{name}~", 0, 0, judge.kind, judge.max_msat, judge.seconds)
        best = await self._best(ask, recipe, f"judges step {name!r}", needed=not judge.optional)
        if best is None:
            return None
        verdicts = count * (1 if judge.form == "rank" else step.buy)
        return Line(f"{name}~", judge.kind, verdicts, best.price_msat, 0.9, 1, optional=True)

    async def _best(self, ask: Ask, recipe: Recipe, does: str, *, needed: bool) -> Candidate | None:
        found = await self._candidates(ask, recipe.d)
        best = next((one for one in found if not one.excluded), None)
        if best is None and needed:
            why = f": {found[0].name or found[0].pubkey[:8]} {found[0].excluded}" if found else ""
            raise QuoteError(f"nobody {does} (kind {ask.kind}) now{why}")
        return best


def _chance(experience: Sequence[Experience], provider: str, kind: int, *, own: bool) -> float:
    """Chance that a try is good. Strangers start at 0.9, our own workers at 0.97; every attempt of ours counts."""
    mine = [one.stars >= 3 for one in experience if one.provider == provider and one.kind == kind]
    return (sum(mine) + 10 * (0.97 if own else 0.9)) / (len(mine) + 10)
