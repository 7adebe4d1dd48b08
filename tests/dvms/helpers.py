"""Running a service as the host would, without a host."""

from pathlib import Path
from typing import Any

from dvms.service import Input, Job, Progress, Result, Service


def job(service: Service, text: str | None, folder: Path, *, kind: int | None = None, output: str | None = None,
        inputs: tuple[Input, ...] | None = None, id: str = "job-1", **params: Any) -> Job[Any]:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    given = inputs if inputs is not None else (Input("text", text),)
    return Job(id, kind or service.kinds[0], given, service.Params.model_validate(params), folder, output)


def work(service: Service, made: Job[Any], progress: Progress | None = None) -> Result:
    service.check(made)
    return service.run(made, progress or Progress())
