"""Timmy's shop window: each recipe as an event (35990) and as an ordinary DVM (31990), and signs of life of his key.

An old client sees a provider of kind 5260 with parameters and a price. Prices follow the market: when a fresh quote is
more than five per cent away from the announced one, the announcement is written anew.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from market.announcement import (
    HEARTBEAT_EVERY,
    Profile,
    build_announcement,
    build_heartbeat,
    build_profile,
    build_relay_list,
    build_withdrawal,
)
from market.kinds import JOB_COMPOSITE, RECIPE
from nostr.clock import Clock, sleep_or_jump
from nostr.event import Event
from nostr.key import SecretKey
from nostr.pool import Pool
from orchestrator.quoting import MOVED, Quoter
from orchestrator.recipe import Recipe, recipe_tags

log = logging.getLogger("timmy.storefront")

LOOK_AGAIN = 60  # seconds between looks at the market
SOON, LATER = 0.5, 8.0  # the same while a step has no seller: often where the market moves, as when a node starts
REFRESH = 20 * 3600
SPACING = 1.0  # seconds between two relays: public ones limit announcements


class Storefront:
    """`quoter` knows the prices, and is told what is announced; `busy()` is the number of runs under way."""

    def __init__(
        self,
        key: SecretKey,
        pool: Pool,
        clock: Clock,
        recipes: Mapping[str, Recipe],
        events: Mapping[str, Event],
        *,
        quoter: Quoter,
        busy: Callable[[], int],
        name: str,
        picture: str = "",
        lud16: str = "",
    ) -> None:
        self._key, self._pool, self._clock = key, pool, clock
        self._recipes, self._events = recipes, events
        self._quoter, self._busy = quoter, busy
        self._name, self._picture, self._lud16 = name, picture, lud16
        self._last_beat: Event | None = None
        self._announced: dict[str, tuple[int | None, str, int]] = {}  # price, why there is none, when

    async def run(self) -> None:
        """Announce, beat and follow the market, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            group.create_task(self._announce())

    async def withdraw(self) -> None:
        """Take the heartbeat back, so that nobody sends jobs to a Timmy that stops."""
        beat = self._last_beat.id if self._last_beat else None
        gone = build_withdrawal(self._key, created_at=self._clock(), beat=beat)
        await self._pool.publish(gone, timeout=3)

    def profile(self, recipe: Recipe, price_msat: int | None) -> Profile:
        """What a recipe looks like as a DVM. One that cannot be had now says so, and why."""
        event = self._events[recipe.d]
        missing = self._quoter.missing.get(recipe.d) if price_msat is None else None
        return Profile(
            d=recipe.d,
            kinds=(JOB_COMPOSITE,),
            name=f"{recipe.doc.title} by {self._name}",
            about=recipe.doc.about or recipe.doc.title,
            price_msat=price_msat,
            params=params_of(recipe),
            relays=self._pool.relays,
            picture=self._picture,
            lud16=self._lud16,
            engine="recipe",
            topics=("composite", recipe.d),
            extra_tags=(
                ("a", event.address, self._pool.relays[0] if self._pool.relays else "", "recipe"),
                ("e", event.id, self._pool.relays[0] if self._pool.relays else "", "recipe"),
                ("out", recipe.output_mime),
                ("eta", str(recipe.doc.seconds)),
                *((("unavailable", missing[:300]),) if missing else ()),
            ),
        )

    async def _beat(self) -> None:
        while True:
            tags = [["queue", str(self._busy())]]
            beat = build_heartbeat(self._key, "timmy", created_at=self._clock(), extra_tags=tags)
            self._last_beat = beat
            answers = await self._pool.publish(beat, timeout=30)
            reached = any(ok.accepted for ok in answers.values())
            await sleep_or_jump(self._clock, HEARTBEAT_EVERY if reached else 15)

    async def _announce(self) -> None:
        now = self._clock()
        about = f"Sells composites: {', '.join(recipe.doc.title for recipe in self._recipes.values())}."
        me = Profile("timmy", (JOB_COMPOSITE,), self._name, about, picture=self._picture, lud16=self._lud16)
        await self._tell(build_profile(self._key, me, created_at=now))
        await self._tell(build_relay_list(self._key, self._pool.relays, created_at=now))
        shown: set[str] = set()
        pause = SOON
        while True:
            news = False
            for recipe in list(self._recipes.values()):
                event = self._events[recipe.d]
                if event.id not in shown:
                    shown.add(event.id)
                    self._announced.pop(recipe.d, None)
                    await self._tell(event)
                price = await self._quoter.shown(recipe)
                if self._is_news(recipe.d, price):
                    news = True
                    profile = self.profile(recipe, price)
                    await self._tell(build_announcement(self._key, profile, created_at=self._clock()))
            complete = all(price is not None for price, _, _ in self._announced.values())
            pause = LOOK_AGAIN if complete else SOON if news else min(2 * pause, LATER)
            self._quoter.moved.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._quoter.moved.wait()
            except TimeoutError:
                continue

    def _is_news(self, d: str, price: int | None) -> bool:
        now, missing = self._clock(), self._quoter.missing.get(d, "")
        if d in self._announced:
            old, why, at = self._announced[d]
            fresh = now - at < REFRESH
            if fresh and price == old and missing == why:
                return False
            if fresh and old and price and abs(price - old) <= MOVED * old:
                return False
            if price is None and old is not None and now - at < 300:
                return False  # a provider between two heartbeats is no reason to take the price down
        self._announced[d] = (price, missing, now)
        if price is not None:
            self._quoter.announced[d] = price
        return True

    async def _tell(self, event: Event) -> None:
        for n, relay in enumerate(self._pool.relays):
            if n:
                await asyncio.sleep(SPACING)
            ok = (await self._pool.publish(event, [relay], timeout=20))[relay]
            if not ok.accepted and not ok.message.startswith("duplicate"):
                log.warning("%s does not take kind %d: %s", relay, event.kind, ok.message)


def params_of(recipe: Recipe) -> dict[str, Any]:
    """`nip90Params` from the recipe's inputs; `recipe` names the recipe itself."""
    params: dict[str, Any] = {
        "recipe": {"required": True, "values": [recipe.d], "description": "which composite", "default": recipe.d}
    }
    for name, schema in recipe.doc.inputs.items():
        entry: dict[str, Any] = {
            "required": "default" not in schema,
            "values": [str(value) for value in schema.get("enum", [])],
            "description": schema.get("description", ""),
            "type": schema["type"],
        }
        for word in ("default", "minimum", "maximum", "maxLength", "format"):
            if word in schema:
                entry[word] = schema[word]
        params[name] = entry
    return params


def recipe_event(key: SecretKey, recipe: Recipe, *, at: int, parent: Event | None = None, relay: str = "") -> Event:
    """The signed event of a recipe of ours."""
    tags = recipe_tags(recipe, key.public, parent=parent, relay=relay)
    return key.sign(kind=RECIPE, content=recipe.dumps(), tags=tags, created_at=at)
