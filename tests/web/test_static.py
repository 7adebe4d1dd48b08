"""The page without a browser: vendored files are what they claim, headers protect, hostile text stays text."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from web.market import fields
from web.render import amount, policy, safe_url
from web.session import Sessions, new_link

ROOT = Path(__file__).parents[2]


def test_vendored_files_match_their_hashes() -> None:
    listed = json.loads((ROOT / "web/static/vendor/VENDOR.json").read_text())
    for name, about in listed.items():
        path = ROOT / name if "/" in name else ROOT / "web/static/vendor" / name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == about["sha256"], name
        assert all(source["version"] and source["license"] for source in about["from"])
    present = {path.name for path in (ROOT / "web/static/vendor").iterdir() if path.suffix in (".js", ".woff2")}
    assert present == {name for name in listed if "/" not in name}


def test_no_page_asks_a_third_party() -> None:
    for path in (ROOT / "web").rglob("*"):
        if path.suffix in (".html", ".css", ".js") and "vendor" not in path.parts:
            text = path.read_text().replace("http://www.w3.org", "")
            assert 'src="http' not in text and "url(http" not in text and 'from "http' not in text, path


def test_the_policy_lets_no_foreign_script_run() -> None:
    rules = dict(rule.split(" ", 1) for rule in policy("n0nce").split("; "))
    assert rules["script-src"] == "'nonce-n0nce' 'strict-dynamic'"
    assert rules["object-src"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy("n0nce")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example/x",
        " javascript:alert(1)",
        "vbscript:x",
        "blob:x",
        "http://[x",
    ],
)
def test_only_plain_addresses_become_links(url: str) -> None:
    assert safe_url(url) == "#"


def test_amounts_are_exact_and_escaped() -> None:
    assert str(amount(21_500)) == '<span class="price" title="21,500 msat">21.5 sat</span>'
    assert "free" in amount(0)
    assert "&lt;b&gt;" in str(amount(1000, "<b>"))


def test_fields_of_a_hostile_seller_are_cut_to_size() -> None:
    made = fields(
        {
            "size": {"required": True, "values": ["a"] * 100},
            "<script>": {},
            "x": "no",
            "long": {"description": "y" * 999},
        }
    )
    assert [field["name"] for field in made] == ["size", "long"]
    assert len(made[0]["values"]) == 40
    assert len(made[1]["description"]) == 200


def test_an_operator_link_works_once_and_not_for_ever(tmp_path: Path) -> None:
    clock = FakeClock()
    sessions = Sessions(tmp_path, clock)
    token = new_link(tmp_path, "http://x", clock).rpartition("=")[2]
    assert not sessions.redeem("wrong")
    assert sessions.redeem(token)
    assert not sessions.redeem(token)
    late = new_link(tmp_path, "http://x", clock).rpartition("=")[2]
    clock.turn(3601)
    assert not sessions.redeem(late)
    assert (tmp_path / "web" / "session.secret").stat().st_mode & 0o777 == 0o600
