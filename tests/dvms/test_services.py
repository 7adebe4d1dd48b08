"""One suite for every service of the shop: what the host, the announcement and the customer rely on."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dvms.artefacts import Made
from dvms.engine import ProcessEngine, Stopped
from dvms.registry import TRADES, find
from dvms.service import Input, Job, Refused
from dvms.settings import DvmSettings, for_trade
from market.announcement import nip90_params
from market.kinds import JOB_KINDS
from nostr.sniff import sniff

HEAVY_MODULES = ("numpy", "av", "torch", "PIL", "scipy", "onnxruntime")
MAKERS = {
    "text": (5050, [("text", "a lullaby for robots")], {"seed": 5}, "text/"),
    "image": (5100, [("text", "a red fox in the snow")], {"seed": 5, "size": "256x256"}, "image/"),
    "speech": (5250, [("text", "Good morning.")], {"seed": 5}, "audio/"),
    "music": (5251, [("text", "a short song about rain")], {"seed": 5, "seconds": 8, "vocals": False}, "audio/"),
    "animation": (5202, [("picture", "")], {"seed": 5, "seconds": 1, "size": "256x256"}, "video/"),
}


class Ear:
    """A Report that remembers."""

    def __init__(self):
        self.fractions, self.previews = [], []

    def progress(self, fraction, message):
        assert 0 <= fraction <= 1 and message
        self.fractions.append(fraction)

    def preview(self, what):
        self.previews.append(what)


def picture(folder: Path) -> Input:
    from PIL import Image

    path = folder / "in.png"
    Image.linear_gradient("L").convert("RGB").save(path)
    return Input("url", path=path, mime="image/png", url="https://x.example/in.png")


def a_job(trade, folder, inputs, params, kind, number=1):
    out = folder / f"out{number}"
    out.mkdir()
    made = tuple(picture(folder) if kind == "picture" else Input("text", text=text) for kind, text in inputs)
    service = find(trade).service
    return Job(f"{number:064x}", kind, made, service.Params.model_validate(params), out)


@pytest.mark.parametrize("trade", TRADES)
def test_a_service_loads_light_and_describes_itself(trade):
    code = (
        "import sys, time; began = time.monotonic()\n"
        f"from dvms.registry import find; found = find({trade!r}); service = found.service()\n"
        f"heavy = [name for name in {HEAVY_MODULES!r} if name in sys.modules]\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    service = find(trade).service()
    engine = service.engine()
    assert service.name and service.about and service.kinds and engine.name
    assert all(kind in JOB_KINDS and JOB_KINDS[kind].trade == trade for kind in service.kinds)
    assert all(entry["description"] for entry in nip90_params(service.Params).values())
    assert all(info.description for info in service.Settings.model_fields.values())
    settings, own = for_trade(DvmSettings(), trade)
    assert settings.price is not None and service.Settings.model_validate(own) is not None


@pytest.mark.parametrize("trade", ["text", "image", "speech", "music", "animation", "video"])
def test_a_job_without_inputs_is_refused_before_any_bill(trade, tmp_path):
    service = find(trade).service()
    job = Job("ab" * 32, service.kinds[-1], (), service.Params(), tmp_path)
    with pytest.raises(Refused):
        service.check(job)


@pytest.mark.slow
@pytest.mark.parametrize("trade", MAKERS)
async def test_a_service_works_in_a_child_the_same_way_every_time(trade, tmp_path):
    kind, inputs, params, mime = MAKERS[trade]
    found = find(trade)
    service = found.service()
    engine = ProcessEngine(found.where, service.settings)
    try:
        results = []
        for number in (1, 2):
            job = a_job(trade, tmp_path, inputs, params, kind, number)
            service.check(job)
            ear = Ear()
            results.append(await engine.run(job, ear, asyncio.Event(), 240))
            assert ear.fractions == sorted(ear.fractions), "progress never goes back"
    finally:
        await engine.close()
    first, second = results
    assert isinstance(first, Made) and first.facts
    assert first.content == second.content
    if mime != "text/":
        file = first.files[0]
        assert file.mime.startswith(mime)
        head = file.path.read_bytes()[:4096]
        assert sniff(head).split("/")[0] in (mime.strip("/"), "video"), "m4a and mp4 are one container"
        assert file.size and (file.dim is None) == (mime == "audio/")
        if mime == "image/":
            assert [one.sha256 for one in first.files] == [one.sha256 for one in second.files] and file.blurhash
    else:
        assert first.content and first.content.strip()


@pytest.mark.slow
async def test_a_long_song_stops_within_seconds(tmp_path):
    found = find("music")
    service = found.service()
    engine = ProcessEngine(found.where, service.settings)
    stop = asyncio.Event()
    job = a_job("music", tmp_path, [("text", "a long song")], {"seconds": 120}, 5251)
    try:
        task = asyncio.create_task(engine.run(job, Ear(), stop, 240))
        await asyncio.sleep(3)
        began = time.monotonic()
        stop.set()
        with pytest.raises(Stopped):
            await task
        assert time.monotonic() - began < 8
    finally:
        await engine.close()
