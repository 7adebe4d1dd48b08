"""Before a price is named, every step has a seller who can do it for these inputs."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from market.announcement import Announcement
from nostr.key import SecretKey
from orchestrator.effects import Ask
from orchestrator.errors import QuoteError
from orchestrator.journal import Journal
from orchestrator.quoting import Quoter
from orchestrator.recipe import Recipe
from orchestrator.run import Candidate
from orchestrator.settings import OrchestratorSettings
from tests.orchestrator.world import RECIPES

SELLER = SecretKey.generate()


def scribe(*takes: Sequence[str]) -> Announcement:
    tags = [["d", "text"], *(["k", str(kind)] for kind in (5000, 5001, 5002, 5250)), *(["takes", *t] for t in takes)]
    return Announcement.parse(SELLER.sign(kind=31990, content='{"name":"Scribe","amount":"5"}', tags=tags))


async def quoter(folder: Path, announced: Announcement) -> Quoter:
    """A market of one seller of everything."""

    async def candidates(ask: Ask, seed: str) -> list[Candidate]:
        return [Candidate(SELLER.public, 5_000, "Scribe", excluded=announced.lacks(ask.kind, ask.wants))]

    journal = await Journal.open(folder / "timmy.db")
    return Quoter(journal, OrchestratorSettings(), candidates=candidates, own=frozenset, load=lambda: 0.0)


def shipped(name: str) -> Recipe:
    return Recipe.parse((RECIPES / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "takes", "inputs", "words"),
    [
        ("podcast-summary", ["5000", "input", "text/*"], {}, "step 'words' .* does not take files of audio/"),
        ("podcast-summary", ["5000", "input", "text/*", "audio/mpeg"], {}, None),
        ("podcast-summary", ["5002", "language", "xx"], {}, None),
        ("translated-summary", ["5002", "language", "pt", "pt-*"], {}, None),
        ("translated-summary", ["5002", "language", "pt", "pt-*"], {"language": "pt-BR"}, None),
        ("translated-summary", ["5002", "language", "pt", "pt-*"], {"language": "de"}, "does not take language de"),
        ("translated-summary", ["5002", "language"], {}, "takes none"),
    ],
)
async def test_what_nobody_can_do_is_not_for_sale(
    tmp_path: Path, name: str, takes: list[str], inputs: dict[str, str], words: str | None
) -> None:
    quotes, recipe = await quoter(tmp_path, scribe(takes)), shipped(name)
    if words is None:
        assert (await quotes.quote(recipe, inputs)).price_msat > 0
    else:
        with pytest.raises(QuoteError, match=words):
            await quotes.quote(recipe, inputs)


async def test_the_window_says_why_until_it_can_be_had(tmp_path: Path) -> None:
    takes, recipe = [["5000", "input", "text/*"]], shipped("podcast-summary")
    quotes = await quoter(tmp_path, scribe(*takes))
    assert await quotes.shown(recipe) is None and "audio/*" in quotes.missing[recipe.d]
    quotes = await quoter(tmp_path, scribe())
    assert await quotes.shown(recipe) and not quotes.missing
