"""Small services for the tests of the host; the heavy ones run in real child processes."""

import asyncio
import os
import time
from pathlib import Path

from pydantic import BaseModel, Field

from dvms.service import Artefact, Engine, Failed, NoSettings, Refused, Result, Service


class Echo(Service):
    """Light: answers in the host's loop."""

    name = "Echo"
    about = "says it again"
    kinds = (5050,)
    heavy = False

    class Params(BaseModel):
        marks: int = Field(0, ge=0, le=5)
        sleep: float = 0

    def engine(self):
        return Engine("echo", "echo-1", "MIT")

    def check(self, job):
        if "forbidden" in job.text():
            raise Refused("not that word")

    async def run_async(self, job, progress):
        if "broken" in job.text():
            raise ValueError("a bug")
        if "fails" in job.text():
            raise Failed("it did not work out")
        await asyncio.sleep(job.params.sleep)
        return Result(job.text() + "!" * job.params.marks, facts={"seed": str(job.seed)})


class Mill(Service):
    """Heavy: what the text says is what happens in the child process."""

    name = "Mill"
    about = "grinds"
    kinds = (5100,)

    class Params(BaseModel):
        sleep: float = 0
        size: str = "8x8"

    def run(self, job, progress):
        text = job.text()
        (Path(job.workdir) / "started").write_text(str(os.getpid()))
        if text == "die":
            os.kill(os.getpid(), 9)
        if text == "raise":
            raise RuntimeError("torch is unhappy")
        if text == "refuse":
            raise Refused("looked at it: no")
        if text == "leak":
            print("on stdout, where libraries talk")
        if text == "empty":
            return Result()
        end = time.monotonic() + job.params.sleep
        while time.monotonic() < end:
            progress(1 - (end - time.monotonic()) / job.params.sleep, "grinding")
            if progress.cancelled and text != "deaf":
                raise Failed("stopped by wish")
            time.sleep(0.02)
        if text == "picture":
            from PIL import Image

            path = Path(job.workdir) / "out.png"
            Image.new("RGB", (32, 16), (200, 40, 40)).save(path)
            progress.preview(Artefact(path, "image/png"))
            return Result(files=(Artefact(path, "image/png", alt="a red card"),), facts={"seed": str(job.seed)})
        return Result(f"{text} by {os.getpid()}")


class Settled(Service):
    class Settings(NoSettings):
        word: str = "x"
        engine: str = "plain"

    name = "Settled"
    about = "has settings"
    kinds = (5050,)

    def run(self, job, progress):
        return Result(self.settings.word + self.settings.engine)
