"""Runs jobs of the text trade in an environment that has its optional engines: JSON on stdin and stdout.

[{"kind": 5000, "path": "x.m4a", "mime": "audio/mp4", "params": {}}, ...] -> ["text", ...]
"""

import json
import sys
import tempfile
from pathlib import Path

from dvms.service import Input, Job, Progress
from dvms.text.service import TextService

service = TextService()
answers = []
for item in json.load(sys.stdin):
    path = Path(item["path"]) if "path" in item else None
    given = Input("url" if path else "text", text=item.get("text"), path=path, mime=item.get("mime"))
    params = service.Params.model_validate(item.get("params", {}))
    job = Job("job", item["kind"], (given,), params, Path(tempfile.mkdtemp()))
    assert item["kind"] in service.kinds, service.kinds
    service.check(job)
    answers.append(service.run(job, Progress()).content)
json.dump(answers, sys.stdout)
