"""Announcements: every dialect is read; what we write is found by every client."""

from enum import StrEnum
from typing import Literal

import orjson
import pytest
from pydantic import BaseModel, Field

from market.announcement import (
    Announcement,
    Heartbeat,
    Profile,
    amount_text,
    build_announcement,
    build_heartbeat,
    build_profile,
    build_relay_list,
    build_withdrawal,
    nip90_params,
)
from market.errors import BadAnnouncement
from nostr.key import SecretKey

KEY = SecretKey.from_hex("22" * 32)


class Style(StrEnum):
    ink = "ink"
    oil = "oil"


class Params(BaseModel):
    size: str = Field("512x512", description="pixels")
    ratio: Literal["1:1", "16:9"] | None = Field(None, description="shape")
    style: Style = Style.ink
    loop: bool = False
    prompt: str


def announce(content, *tags):
    text = content if isinstance(content, str) else orjson.dumps(content).decode()
    return Announcement.parse(KEY.sign(kind=31990, content=text, tags=[["d", "x"], ["k", "5100"], *tags]))


@pytest.mark.parametrize(
    ("amount", "msat"),
    [("free", 0), ("FREE", 0), ("flexible", None), ("50", 50000), ("0.5", 500), (50, 50000), ("1_000 sats", 1000000),
     ("", None), ("-1", None), ("nan", None), (None, None), ({"a": 1}, None), (True, None)],
)  # fmt: skip
def test_price_dialects(amount, msat):
    assert announce({"name": "x", "amount": amount}).price_msat == msat


def test_old_and_new_field_names():
    old = announce({"name": "n", "image": "https://x/p.png", "encryptionSupported": True})
    new = announce({"name": "n", "picture": "https://x/p.png", "supportsEncryption": True})
    assert old.picture == new.picture == "https://x/p.png" and old.encryption and new.encryption


@pytest.mark.parametrize("content", ["", "not json", "[]", "null", '{"name": 5, "nip90Params": "x"}'])
def test_broken_content_gives_empty_fields(content):
    parsed = announce(content)
    assert parsed.name == "" and parsed.params == {} and parsed.price_msat is None and parsed.kinds == (5100,)


def test_what_is_no_announcement():
    with pytest.raises(BadAnnouncement):
        Announcement.parse(KEY.sign(kind=31990, tags=[["d", "x"], ["k", "abc"]]))
    with pytest.raises(BadAnnouncement):
        Announcement.parse(KEY.sign(kind=1))


def test_written_announcement_carries_every_dialect_and_reads_back():
    profile = Profile(
        d="image", kinds=(5100, 5101), name="Painter", about="paints", price_msat=21000, params=nip90_params(Params),
        relays=("wss://r.example",), picture="https://x/p.png", lud16="a@x.example", engine="storybook",
        model="storybook 1", licence="MIT", topics=("image",),
    )  # fmt: skip
    event = build_announcement(KEY, profile, created_at=5)
    content = orjson.loads(event.content)
    assert content["amount"] == "21" and content["picture"] == content["image"]
    assert content["supportsEncryption"] is content["encryptionSupported"] is True
    assert "subscription" not in content and not event.tagged("web")
    parsed = Announcement.parse(event)
    assert (parsed.kinds, parsed.price_msat, parsed.engine, parsed.model) == (
        (5100, 5101),
        21000,
        "storybook",
        "storybook 1",
    )
    assert (parsed.relays, parsed.lud16, parsed.topics) == (("wss://r.example",), "a@x.example", ("image",))
    assert parsed.address == f"31990:{KEY.public}:image"


def test_params_of_a_model():
    made = nip90_params(Params)
    assert made["size"] == {"required": False, "values": [], "description": "pixels", "default": "512x512"}
    assert made["ratio"]["values"] == ["1:1", "16:9"] and made["style"]["values"] == ["ink", "oil"]
    assert made["loop"]["values"] == ["true", "false"] and made["loop"]["default"] == "false"
    assert made["prompt"]["required"] is True


@pytest.mark.parametrize(
    ("msat", "text"), [(0, "free"), (None, "flexible"), (21000, "21"), (1500, "1.5"), (10**9, "1000000")]
)
def test_amount_text(msat, text):
    assert amount_text(msat) == text


def test_heartbeat_life_and_withdrawal():
    event = build_heartbeat(KEY, "image", created_at=1000)
    beat = Heartbeat.parse(event)
    assert (beat.status, beat.expires_at, beat.d) == ("ready", 1300, "image")
    assert beat.alive(1900) and not beat.alive(1901)
    gone = build_withdrawal(KEY, created_at=1001, beat=event.id, retire=["image"])
    assert gone.kind == 5 and gone.values("a") == [f"11998:{KEY.public}:", f"31990:{KEY.public}:image"]


def test_profile_and_relay_list():
    profile = Profile(d="x", kinds=(5100,), name="Painter", about="paints", lud16="a@x.example")
    assert orjson.loads(build_profile(KEY, profile).content)["lud16"] == "a@x.example"
    assert build_relay_list(KEY, ["wss://r.example"]).tags == (("r", "wss://r.example"),)
