"""Pictures, clips and films sold as a stranger would buy them: over a relay, paid, files by url from step to step."""

import io
from contextlib import asynccontextmanager
from pathlib import Path

import av
import pytest
from PIL import Image

from dvms.registry import find
from dvms.serve import opened
from dvms.settings import SellerSettings
from market.fetch import fetch
from market.job import JobInput, JobResult
from nostr.download import Limits
from tests.dvms import tiny_models
from tests.dvms.conftest import Purse

LIMITS = Limits(max_bytes=20_000_000, seconds=20)


@asynccontextmanager
async def a_shop(trade: str, data: Path, relay: str, wallet: Purse, **own: object):
    async with opened(find(trade), SellerSettings(price=7), own, data=data, relays=[relay], wallet=wallet) as running:
        yield running


async def bought(customer, kind: int, running, *, text: str = "", inputs=None, **params: str):
    request = await customer.send(kind, text, to=running.key.public, inputs=inputs, params=params)
    said = await customer.hears(request, until=("success", "error"), seconds=50)
    result = next((word for word in said if isinstance(word, JobResult)), None)
    assert result is not None, [(getattr(w, "status", ""), getattr(w, "message", "")) for w in said]
    media = result.urls[0]
    got = await fetch(media.url, LIMITS, allow_loopback_hosts=[media.url.split("/")[2]])
    assert got.data is not None
    return request, result, media, got.data, said


@pytest.mark.slow
async def test_a_picture_then_its_clip_then_a_film(tmp_path, relay, customer, bank):
    async with a_shop("image", tmp_path, relay, Purse(bank)) as painter:
        _, result, picture, data, said = await bought(
            customer, 5100, painter, text="a fox in the snow", size="320x192", seed="3"
        )
        assert picture.mime == "image/png" and picture.dim == (320, 192) and picture.sha256 in picture.url
        assert result.fact("engine") == "Storybook" and result.fact("seed") == "3"
        assert [w.amount_msat for w in said if getattr(w, "status", "") == "payment-required"] == [7000]
        with Image.open(io.BytesIO(data)) as image:
            assert "timmy:recipe" in image.text
    async with a_shop("animation", tmp_path, relay, Purse(bank)) as animator:
        _, result, clip, _, _ = await bought(
            customer, 5202, animator, inputs=[JobInput(picture.url, "url")], seconds="1", fps="12", motion="push in"
        )
        assert clip.mime == "video/mp4" and clip.dim == (320, 192)
        assert result.fact("depth") == "true layers"
    async with a_shop("video", tmp_path, relay, Purse(bank)) as cutter:
        _, _, film, data, _ = await bought(
            customer, 5203, cutter, inputs=[JobInput(clip.url, "url"), JobInput(picture.url, "url")],
            seconds="2", size="320x192", fps="12", title="Fox", captions='["la la"]',
        )  # fmt: skip
        with av.open(io.BytesIO(data)) as played:
            assert abs(played.duration / 1e6 - 2) < 0.2
        assert film.mime == "video/mp4"


@pytest.mark.torch
@pytest.mark.slow
async def test_a_real_pipeline_sells_with_progress_and_previews(tmp_path, relay, customer, bank):
    pytest.importorskip("torch", reason="REAL MODELS NOT TESTED: the `diffusers` extra is not installed")
    pytest.importorskip("diffusers", reason="REAL MODELS NOT TESTED: the `diffusers` extra is not installed")
    model = tiny_models.stable_diffusion(tmp_path / "tiny")
    async with a_shop("image", tmp_path, relay, Purse(bank), engine=str(model), safety=False) as painter:
        request, result, picture, _, _ = await bought(
            customer, 5100, painter, text="a fox", size="64x64", steps="12", seed="3"
        )
        assert picture.dim == (64, 64)
        assert result.fact("engine") == "diffusers" and result.fact("pipeline") == "StableDiffusionPipeline"
        statuses = [getattr(word, "status", "") for word in await customer.everything_about(request)]
        assert "processing" in statuses and "partial" in statuses
        request = await customer.send(
            5100, "a fox", to=painter.key.public, params={"size": "64x64", "steps": "150", "seed": "4"}
        )
        await customer.hears(request, until=("processing",), seconds=50)
        await customer.cancels(request)
        last = (await customer.hears(request, until=("error", "success"), seconds=50))[-1]
        assert last.status == "error"
