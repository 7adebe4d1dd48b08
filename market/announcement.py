"""What a seller says about itself: NIP-89 announcement (31990), profile (0), relays (10002), heartbeat (11998).

One key per worker: the heartbeat is replaceable, so a key that runs two workers shows one of them dead. Old and new
field names are both written, since Amethyst, DVMDash, noStrudel and nostr-dvm read different ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, Final, get_args

import orjson
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from market.errors import BadAnnouncement
from market.kinds import ANNOUNCEMENT, DELETION, HEARTBEAT, JOB_HUMAN, PROFILE, RELAY_LIST
from market.tags import Tag, parse_relays
from nostr.event import Event
from nostr.key import SecretKey

HEARTBEAT_EVERY: Final = 240
HEARTBEAT_LIFE: Final = 300
ALIVE_FOR: Final = 900  # what clients tolerate (Amethyst)
SHIFT: Final = 12 * 3600  # how long ahead a person may say to be there with one heartbeat
INPUT: Final = "input"  # in a `takes` tag: not a parameter but the MIME types of files


@dataclass(frozen=True, slots=True)
class Announcement:
    """A 31990. `price_msat`: 0 is free, None is flexible or unknown. `params` is its `nip90Params`, unchecked.

    Everything here is the author's own word; text is cut to sane lengths but not otherwise trusted.
    """

    pubkey: str
    d: str
    kinds: tuple[int, ...]
    name: str
    about: str
    picture: str
    price_msat: int | None
    params: Mapping[str, Any]
    relays: tuple[str, ...]
    lud16: str
    engine: str
    encryption: bool
    raw: Event
    model: str = ""
    licence: str = ""
    topics: tuple[str, ...] = ()
    created_at: int = 0

    @property
    def address(self) -> str:
        return self.raw.address

    @property
    def human(self) -> bool:
        """True for a person's work."""
        return JOB_HUMAN in self.kinds or "human" in self.topics

    @property
    def out(self) -> str:
        """MIME type of what a composite delivers (its `out` tag); "" where the kind of job says it."""
        return self.raw.first("out") or ""

    @property
    def unavailable(self) -> str:
        """Why it cannot be had now (`unavailable` tag of a composite whose steps nobody sells); "" where it can."""
        return (self.raw.first("unavailable") or "")[:300]

    def lacks(self, kind: int, wanted: Iterable[tuple[str, str]]) -> str:
        """Why this seller cannot do a job of `kind`, by its own `takes` tags; "" where it says nothing against it.

        `wanted` are parameters and their values; under `INPUT` the MIME type (or glob) of a file that will be given.
        """
        for name, value in wanted:
            for tag in self.raw.tagged("takes"):
                if tag[1:3] == (str(kind), name) and not any(_fits(value, each) for each in tag[3:]):
                    what = "files of" if name == INPUT else f"{name}"
                    return f"does not take {what} {value} (takes {', '.join(tag[3:]) or 'none'})"[:300]
        return ""

    @classmethod
    def parse(cls, event: Event) -> Announcement:
        """Tolerant: empty or broken JSON gives empty fields. Raises BadAnnouncement for another kind or no `k` tag."""
        if event.kind != ANNOUNCEMENT:
            raise BadAnnouncement(f"kind {event.kind} is not an announcement")
        numbers = [value.strip() for value in event.values("k")]
        kinds = tuple(dict.fromkeys(int(n) for n in numbers if n.isascii() and n.isdigit() and len(n) <= 5))
        if not kinds:
            raise BadAnnouncement("the announcement names no kind")
        content = _object(event.content)
        params = content.get("nip90Params") or content.get("nip90_params") or {}
        engine = event.first("engine") or _text(content, "engine", 100)
        return cls(
            pubkey=event.pubkey,
            d=event.first("d") or "",
            kinds=kinds,
            name=_text(content, "name", 100) or _text(content, "display_name", 100),
            about=_text(content, "about", 4000),
            picture=_text(content, "picture", 2000) or _text(content, "image", 2000),
            price_msat=_price(content, event),
            params=params if isinstance(params, dict) else {},
            relays=parse_relays(event.tags),
            lud16=_text(content, "lud16", 200),
            engine=engine[:100],
            encryption=bool(content.get("supportsEncryption") or content.get("encryptionSupported")),
            raw=event,
            model=_text(content, "model", 200),
            licence=_text(content, "licence", 100) or _text(content, "license", 100),
            topics=tuple(event.values("t"))[:32],
            created_at=event.created_at,
        )


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """An 11998: proof of life of the whole key, whatever `d` says."""

    pubkey: str
    d: str
    status: str
    created_at: int
    expires_at: int | None

    @classmethod
    def parse(cls, event: Event) -> Heartbeat:
        if event.kind != HEARTBEAT:
            raise BadAnnouncement(f"kind {event.kind} is not a heartbeat")
        status = (event.first("status") or "ready").strip().lower()
        return cls(event.pubkey, event.first("d") or "", status, event.created_at, event.expiration)

    def alive(self, now: int, within: int = ALIVE_FOR) -> bool:
        """True while the beat is fresh; `within` in seconds. A beat from the future counts from now on."""
        return self.status not in ("offline", "stopped", "error") and now - self.created_at <= within

    def on_shift(self, now: int) -> bool:
        """True while a person's beat holds by its own word: until it expires, at most `SHIFT` seconds.

        A browser extension asks its owner for each signature, so people can't beat every four minutes.
        """
        within = now < (self.expires_at or 0) <= self.created_at + SHIFT + ALIVE_FOR
        return within and self.alive(now, SHIFT + ALIVE_FOR)


@dataclass(frozen=True, slots=True)
class Profile:
    """What a worker is, for `build_announcement` and `build_profile`. `price_msat` None announces `flexible`."""

    d: str
    kinds: tuple[int, ...]
    name: str
    about: str
    price_msat: int | None = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    relays: tuple[str, ...] = ()
    picture: str = ""
    lud16: str = ""
    nip05: str = ""
    website: str = ""
    engine: str = ""
    model: str = ""
    licence: str = ""
    topics: tuple[str, ...] = ()
    personalized: bool = False
    extra_tags: tuple[tuple[str, ...], ...] = ()


def build_announcement(key: SecretKey, profile: Profile, *, created_at: int | None = None) -> Event:
    """A signed 31990 (NIP-89, NIP-90 appendix 2)."""
    content: dict[str, Any] = {
        "name": profile.name,
        "about": profile.about,
        "amount": amount_text(profile.price_msat),
        "personalized": profile.personalized,
        "supportsEncryption": True,
        "encryptionSupported": True,
        "acceptsNutZaps": False,
        "cashuAccepted": False,
        "nip90Params": dict(profile.params),
    }
    if profile.picture:
        content["picture"] = content["image"] = profile.picture
    for name in ("lud16", "nip05", "website", "engine", "model", "licence"):
        if value := getattr(profile, name):
            content[name] = value
    tags: list[Tag] = [["d", profile.d]]
    tags += [["k", str(kind)] for kind in profile.kinds]
    tags += [["t", topic] for topic in profile.topics]
    if profile.relays:
        tags.append(["relays", *profile.relays])
    if profile.engine:
        tags.append(["engine", profile.engine, *([profile.model] if profile.model else [])])
    tags += [list(tag) for tag in profile.extra_tags]
    tags.append(["alt", f"DVM announcement: {profile.name}"])
    return key.sign(kind=ANNOUNCEMENT, content=orjson.dumps(content).decode(), tags=tags, created_at=created_at)


def build_profile(key: SecretKey, profile: Profile, *, created_at: int | None = None) -> Event:
    """A signed kind 0 of the worker (NIP-24 `bot`)."""
    content: dict[str, Any] = {"name": profile.name, "display_name": profile.name, "about": profile.about, "bot": True}
    for name in ("picture", "lud16", "nip05", "website"):
        if value := getattr(profile, name):
            content[name] = value
    return key.sign(kind=PROFILE, content=orjson.dumps(content).decode(), created_at=created_at)


def build_relay_list(key: SecretKey, relays: Iterable[str], *, created_at: int | None = None) -> Event:
    """A signed 10002 (NIP-65): these relays for reading and writing, which is where the worker takes jobs."""
    return key.sign(kind=RELAY_LIST, tags=[["r", url] for url in relays], created_at=created_at)


def build_heartbeat(
    key: SecretKey, d: str, *, created_at: int, status: str = "ready", extra_tags: Iterable[Tag] = ()
) -> Event:
    """A signed 11998 that expires by itself (NIP-40)."""
    tags: list[Tag] = [["d", d], ["status", status], ["expiration", str(created_at + HEARTBEAT_LIFE)]]
    return key.sign(kind=HEARTBEAT, tags=[*tags, *extra_tags], created_at=created_at)


def build_withdrawal(key: SecretKey, *, created_at: int, beat: str | None = None, retire: Sequence[str] = ()) -> Event:
    """A kind 5 that takes the heartbeat back; `retire` are `d`s of announcements that go with it for good."""
    tags: list[Tag] = [["a", f"{HEARTBEAT}:{key.public}:"], ["k", str(HEARTBEAT)]]
    if beat is not None:
        tags.insert(0, ["e", beat])
    for d in retire:
        tags += [["a", f"{ANNOUNCEMENT}:{key.public}:{d}"], ["k", str(ANNOUNCEMENT)]]
    return key.sign(kind=DELETION, content="stopped", tags=tags, created_at=created_at)


def nip90_params(model: type[BaseModel]) -> dict[str, Any]:
    """`nip90Params` of a pydantic model: `{name: {required, values, description, default?}}`."""
    made: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        if info.exclude:
            continue
        entry: dict[str, Any] = {
            "required": info.is_required(),
            "values": _values(info.annotation),
            "description": info.description or "",
        }
        if info.default is not PydanticUndefined and isinstance(info.default, str | int | float | bool):
            entry["default"] = _shown(info.default)
        made[name] = entry
    return made


def amount_text(price_msat: int | None) -> str:
    """The `amount` field of an announcement: `free`, `flexible` or sats as a decimal string."""
    if price_msat is None:
        return "flexible"
    if price_msat == 0:
        return "free"
    return format((Decimal(price_msat) / 1000).normalize(), "f")


def _fits(value: str, pattern: str) -> bool:
    """Either may be a glob (`audio/*`)."""
    one, other = value.strip().lower(), pattern.strip().lower()
    return fnmatchcase(one, other) or fnmatchcase(other, one)


def _values(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if getattr(annotation, "__origin__", None) is not None and str(annotation).startswith("typing.Literal"):
        return [_shown(value) for value in get_args(annotation)]
    members = getattr(annotation, "__members__", None)
    if members is not None:
        return [_shown(member.value) for member in members.values()]
    return [value for part in get_args(annotation) if part is not type(None) for value in _values(part)]


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _object(content: str) -> dict[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(content: Mapping[str, Any], name: str, longest: int) -> str:
    value = content.get(name)
    return value.strip()[:longest] if isinstance(value, str) else ""


def _price(content: Mapping[str, Any], event: Event) -> int | None:
    value = content.get("amount")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        value = ""
    text = value.strip().lower().replace("_", "").replace(",", "")
    text = text.removesuffix("sats").removesuffix("sat").strip()
    if text == "free":
        return 0
    try:
        sats = Decimal(text)
    except InvalidOperation:
        return None
    return int(sats * 1000) if sats.is_finite() and 0 <= sats <= 2_100_000_000_000_000 else None
