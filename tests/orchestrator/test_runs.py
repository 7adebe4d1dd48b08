"""A composite from request to delivery or refund, in a world of good and bad providers."""

from pathlib import Path

from orchestrator.run import Phase, rebuild
from tests.orchestrator.world import TIMMY, Timmy, crowd


async def test_a_music_video_is_bought_step_by_step_and_delivered(tmp_path: Path) -> None:
    async with Timmy(tmp_path, crowd()) as timmy:
        run = await timmy.until_over(await timmy.sell())
        world = timmy.world
        assert run.phase is Phase.DELIVERED
        assert run.spent_msat == world.spent() == 7 * 10_000  # story, song, two frames, two clips, cut
        results = [event for _, event in world.events(kind=6260, pubkey=TIMMY.public)]
        assert len(results) == 1 and results[0].content.startswith("http://own.test/")
        assert results[0].first("x") == run.units["cut", 0].artefact.sha256
        assert rebuild(run.id, await timmy.journal.entries(run.id)) == run
