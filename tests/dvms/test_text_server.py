"""The text trade with a language model behind an OpenAI-compatible server."""

import json
from pathlib import Path

import pytest

from dvms.service import Failed, Progress
from dvms.text.forms import ScenesForm
from dvms.text.server import Server, ServerError, loose_json, strict_schema
from dvms.text.service import SUMMARISE, TRANSLATE, TextService, TextSettings
from tests.dvms.helpers import job, work
from tests.dvms.openai_server import Chat, serving

GOOD = json.dumps(
    {
        "title": "Fox",
        "style": "folk",
        "mood": "calm",
        "lines": [f"line number {i}" for i in range(8)],
        "shots": [{"prompt": f"a fox, shot {i}", "motion": "rise", "caption": "x"} for i in range(4)],
    }
)


def service(url: str, **settings: object) -> TextService:
    made = TextService(TextSettings.model_validate({"engine": "openai", "base_url": url, **settings}))
    assert made._server is not None
    made._server.pause = 0.0
    return made


def test_plain_text_with_the_customers_wishes(tmp_path: Path) -> None:
    with serving(Chat("<think>hm</think>\nParis.")) as server:
        scribe = service(server.url)
        wishes = {"max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 42}
        result = work(scribe, job(scribe, "What is the capital of France?", tmp_path, **wishes))
    assert result.content == "Paris." and result.facts["model"] == "tiny-llm"
    asked = server.asked[-1]
    assert asked.path == "/v1/chat/completions"
    assert {name: asked.body[name] for name in wishes} == wishes
    assert asked.body["messages"] == [{"role": "user", "content": "What is the capital of France?"}]


def test_scenes_are_asked_for_by_schema(tmp_path: Path) -> None:
    with serving(Chat(f"```json\n{GOOD}\n```")) as server:
        scribe = service(server.url, model="qwen")
        result = work(scribe, job(scribe, "a fox", tmp_path, format="scenes"))
    assert ScenesForm.model_validate_json(result.content or "").title == "Fox"
    asked = server.asked[0].body
    assert asked["model"] == "qwen"
    schema = asked["response_format"]["json_schema"]
    assert schema["strict"] and set(schema["schema"]["required"]) == {"title", "style", "mood", "lines", "shots"}


def test_a_faulty_answer_is_named_and_tried_again(tmp_path: Path) -> None:
    short = json.dumps({**json.loads(GOOD), "lines": ["one", "two"]})
    with serving(Chat("no JSON here", short, GOOD)) as server:
        scribe = service(server.url, model="m")
        result = work(scribe, job(scribe, "a fox", tmp_path, format="scenes"))
    assert result.content
    assert len(server.asked) == 3
    assert "no JSON object" in server.asked[1].body["messages"][-1]["content"]
    assert "lines" in server.asked[2].body["messages"][-1]["content"]


def test_a_model_that_never_gets_it_right_fails(tmp_path: Path) -> None:
    with serving(Chat("{}")) as server:
        scribe = service(server.url, model="m")
        with pytest.raises(Failed, match="no usable answer in 3 tries"):
            work(scribe, job(scribe, "a fox", tmp_path, format="scenes"))


def test_a_server_without_schemas_is_asked_without(tmp_path: Path) -> None:
    with serving(Chat(GOOD, schemas=False)) as server:
        scribe = service(server.url, model="m")
        for i in range(2):
            assert work(scribe, job(scribe, "a fox", tmp_path / str(i), format="scenes")).content
    assert ["response_format" in asked.body for asked in server.asked] == [True, False, False]


def test_an_overloaded_server_is_asked_again(tmp_path: Path) -> None:
    with serving(Chat((503, "busy"), (429, "slow down"), "done")) as server:
        scribe = service(server.url, model="m")
        assert work(scribe, job(scribe, "hello there", tmp_path)).content == "done"
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "another key"), (404, "refused the request"), (500, "failed 3 times: it answered 500")]
)
def test_a_failing_server_fails_the_job_and_tells_no_address(status: int, reason: str, tmp_path: Path) -> None:
    with serving(Chat((status, "secret detail"))) as server:
        scribe = service(server.url, model="m")
        with pytest.raises(Failed, match=reason) as failed:
            work(scribe, job(scribe, "hello there", tmp_path))
    assert "127.0.0.1" not in str(failed.value) and "secret detail" not in str(failed.value)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(ServerError, match="can't be reached"):
        Server("http://127.0.0.1:9/v1", "m", pause=0.0).chat([{"role": "user", "content": "x"}], max_tokens=5)


def test_summary_and_translation_go_to_the_model(tmp_path: Path) -> None:
    with serving(Chat("Kurz.")) as server:
        scribe = service(server.url, model="m")
        assert TRANSLATE in scribe.kinds
        assert (
            work(scribe, job(scribe, "A long text.", tmp_path / "a", kind=SUMMARISE, length="2 sentences")).content
            == "Kurz."
        )
        assert work(scribe, job(scribe, "Short.", tmp_path / "b", kind=TRANSLATE, language="de")).content == "Kurz."
    assert "2 sentences" in server.asked[0].body["messages"][0]["content"]
    assert "into de" in server.asked[1].body["messages"][0]["content"]


def test_the_key_goes_into_the_header_and_nowhere_else(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-hush\n")
    with serving(Chat("ok")) as server:
        scribe = service(server.url, model="m", api_key_file=str(key))
        result = work(scribe, job(scribe, "hello there", tmp_path / "out"))
    assert server.asked[0].headers["authorization"] == "Bearer sk-hush"
    assert "sk-hush" not in repr(scribe._server) + str(result)


def test_an_answer_may_drip_in_but_not_for_ever(tmp_path: Path) -> None:
    with serving(Chat("slowly " * 20)) as server:
        server.drip = 40
        scribe = service(server.url, model="m")
        assert (work(scribe, job(scribe, "hello there", tmp_path / "a")).content or "").endswith("slowly")
        assert scribe._server is not None
        scribe._server.timeout = 0.05
        with pytest.raises(Failed, match="no answer in time"):
            work(scribe, job(scribe, "hello there", tmp_path / "b"))


def test_an_answer_that_drips_is_left_when_nobody_wants_it(tmp_path: Path) -> None:
    with serving(Chat("slowly " * 200)) as server:
        server.drip = 10
        scribe = service(server.url, model="m")
        asked = Progress(cancelled=lambda: bool(server.asked))
        with pytest.raises(Failed, match="cancelled"):
            work(scribe, job(scribe, "hello there", tmp_path), asked)
    assert len(server.asked) == 1


def test_a_server_says_how_long_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("dvms.text.server.time.sleep", waits.append)
    answers = [(429, "application/json\nRetry-After: 7", b"{}"), (429, "application/json\nRetry-After: 9999", b"{}")]
    good = Chat("done")
    with serving(lambda asked: answers.pop(0) if answers else good(asked)) as server:
        scribe = service(server.url, model="m")
        assert work(scribe, job(scribe, "hello there", tmp_path)).content == "done"
    assert [wait for wait in waits if wait] == [7.0, 30.0]


@pytest.mark.parametrize("status", [301, 302, 307])
def test_the_key_does_not_follow_a_redirect(status: int, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-hush")
    with serving(Chat("stolen")) as thief, serving(
        lambda asked: (status, f"text/plain\nLocation: {thief.url}/models", b"")
    ) as server:  # fmt: skip
        scribe = service(server.url, api_key_file=str(key))
        with pytest.raises(Failed):
            work(scribe, job(scribe, "hello there", tmp_path / "out"))
    assert thief.asked == [] and server.asked


def test_an_empty_answer_is_none(tmp_path: Path) -> None:
    with serving(Chat(" ")) as server:
        scribe = service(server.url, model="m")
        with pytest.raises(Failed, match="empty answer"):
            work(scribe, job(scribe, "hello there", tmp_path))


def test_a_cancelled_job_asks_no_more(tmp_path: Path) -> None:
    with serving(Chat("ok")) as server:
        scribe = service(server.url, model="m")
        with pytest.raises(Failed, match="cancelled"):
            work(scribe, job(scribe, "a fox", tmp_path, format="scenes"), Progress(cancelled=lambda: True))
    assert server.asked == []


def test_json_is_found_in_an_answer() -> None:
    assert loose_json('Sure! {"a": {"b": 1}} Enjoy.') == {"a": {"b": 1}}
    with pytest.raises(ValueError, match="broken"):
        loose_json('{"a": ')


def test_the_schema_is_closed_and_has_no_references() -> None:
    text = json.dumps(strict_schema(ScenesForm))
    assert "$ref" not in text and "$defs" not in text
    schema = json.loads(text)
    assert (
        schema["additionalProperties"] is False
        and schema["properties"]["shots"]["items"]["additionalProperties"] is False
    )
