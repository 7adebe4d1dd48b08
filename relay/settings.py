"""Settings of the relay: section [relay] of timmy.toml. Reloaded on SIGHUP and through NIP-86, save those marked."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from relay.errors import Refused
from relay.filters import parse_filter

Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Kind = Annotated[int, Field(ge=0, le=65535)]

FEDERATED_KINDS = [0, 10002, 11998, 31990, 35990, 31117]
FEDERATED: list[dict[str, Any]] = [
    {"kinds": FEDERATED_KINDS},
    {"kinds": [5], "#k": [str(kind) for kind in FEDERATED_KINDS]},  # their deletions
]
SEARCHED_KINDS = [0, 1, 1111, 30023, 31117, 31990, 35990]


class Rate(BaseModel):
    """A token bucket."""

    model_config = ConfigDict(extra="forbid")

    per_second: float = Field(gt=0, description="tokens that come back each second")
    burst: int = Field(gt=0, description="tokens that can be saved up")


class Retention(BaseModel):
    """One rule: events of these kinds are removed after some time, or beyond some number."""

    model_config = ConfigDict(extra="forbid")

    kinds: list[Kind] = Field(min_length=1, description="kinds this rule is for")
    max_age_days: float | None = Field(default=None, gt=0, description="remove events older than this")
    max_count: int | None = Field(default=None, ge=0, description="keep only the newest of all these kinds together")


class Upstream(BaseModel):
    """Another relay that events are exchanged with."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(pattern=r"^wss?://", description="address of the other relay")
    direction: Literal["down", "up", "both"] = Field(default="both", description="down = fetch, up = publish")
    down: list[dict[str, Any]] = Field(
        default_factory=lambda: [dict(wanted) for wanted in FEDERATED],
        description="filters of what is fetched",
    )
    up: list[dict[str, Any]] | None = Field(
        default=None, description="filters of what is published; none = everything signed by this node's keys"
    )

    @field_validator("down", "up")
    @classmethod
    def _real_filters(cls, value: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        for wanted in value or []:
            try:
                parse_filter(wanted, 1_000_000)
            except Refused as error:
                raise ValueError(error.reason) from None
        return value


class RelaySettings(BaseModel):
    """[relay]"""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="Timmy relay", max_length=100, description="shown in the information document (NIP-11)")
    description: str = Field(
        default="A relay for people and agents who trade services.", max_length=2000, description="shown in NIP-11"
    )
    icon: str | None = Field(default=None, description="URL of a square picture, shown in NIP-11")
    contact: str | None = Field(default=None, description="how to reach the operator, shown in NIP-11")
    pubkey: Hex64 | None = Field(default=None, description="the operator's public key in hex, shown in NIP-11")
    public_url: str | None = Field(
        default=None, pattern=r"^(https?|wss?)://", description="address under which the world reaches this relay"
    )
    admins: list[Hex64] = Field(default_factory=list, description="keys that may use the management API (NIP-86)")

    max_message_bytes: int = Field(default=262_144, ge=4096, description="longest client message")
    max_event_bytes: int = Field(default=131_072, ge=1024, description="longest event, as canonical JSON")
    max_tags: int = Field(default=5000, ge=1, description="most tags an event may have")
    max_subscriptions: int = Field(default=200, ge=1, description="open subscriptions of one connection")
    max_filters: int = Field(default=32, ge=1, description="filters of one REQ")
    max_filter_values: int = Field(default=5000, ge=1, description="values of one filter, all fields together")
    max_limit: int = Field(default=1000, ge=1, description="most stored events for one filter")
    default_limit: int = Field(default=500, ge=1, description="stored events for a filter without limit")
    future_seconds: int = Field(default=900, ge=0, description="how far in the future created_at may be")
    past_seconds: int | None = Field(default=None, ge=0, description="how old an event may be; none = any age")
    min_pow: int = Field(default=0, ge=0, le=256, description="leading zero bits an id must have (NIP-13)")

    auth_to_read: bool = Field(default=False, description="queries only after AUTH (NIP-42)")
    auth_to_write: bool = Field(default=False, description="events only after AUTH (NIP-42)")
    private_kinds: list[Kind] = Field(
        default=[4, 1059], description="kinds served only to those who wrote them or are named in them, after AUTH"
    )
    allowed_pubkeys: list[Hex64] = Field(default_factory=list, description="if any: only these may write")
    blocked_pubkeys: list[Hex64] = Field(default_factory=list, description="these may not write")
    allowed_kinds: list[Kind] = Field(default_factory=list, description="if any: only these are taken")
    blocked_kinds: list[Kind] = Field(default_factory=list, description="these are not taken")
    trust_roots: list[Hex64] = Field(
        default_factory=list, description="if any: only these, those they follow, and so on, may write"
    )
    trust_depth: int = Field(default=2, ge=1, le=3, description="how many steps of following are trusted")
    plugins: list[str] = Field(
        default_factory=list,
        description="write policies in Python, each as `module:function` or `/path/file.py:function`",
    )

    event_rate: Rate | None = Field(
        default=Rate(per_second=100, burst=2000), description="events of one address; loopback and own keys are free"
    )
    key_rate: Rate | None = Field(
        default=Rate(per_second=50, burst=2000), description="events of one key; own keys are free"
    )
    query_rate: Rate | None = Field(
        default=Rate(per_second=50, burst=500), description="REQ, COUNT and NEG-OPEN of one address; loopback is free"
    )
    limit_loopback: bool = Field(
        default=False, description="count rates for 127.0.0.1 too; wanted behind a proxy that hides addresses"
    )
    proxy_header: str | None = Field(
        default=None, description="header in which a trusted proxy tells the client's address, e.g. X-Forwarded-For"
    )
    max_connections: int = Field(default=20_000, ge=1, description="connections at a time")
    max_connections_per_ip: int = Field(default=100, ge=1, description="the same for one address; loopback is free")
    max_pending_bytes: int = Field(
        default=8_388_608, ge=65_536, description="unsent bytes after which a slow reader is cut off"
    )
    header_seconds: float = Field(default=15, gt=0, description="time a client has to send its HTTP request")
    idle_ping_seconds: float = Field(default=50, gt=0, description="silence after which the relay pings a client")

    search_kinds: list[Kind] = Field(
        default=SEARCHED_KINDS, description="kinds in the full-text index (NIP-50); read at the start"
    )
    query_seconds: float = Field(default=5, gt=0, description="longest time for one query; read at the start")
    cache_mb: int = Field(default=32, ge=1, description="page cache for writing, and for reading; read at the start")
    reader_threads: int = Field(default=2, ge=1, le=32, description="threads for slow queries; read at the start")
    max_sync_events: int = Field(default=500_000, ge=0, description="events of one negentropy sync (NIP-77); 0 = off")
    retention: list[Retention] = Field(default_factory=list, description="what is removed, by kind and age or number")
    keep_free_bytes: int = Field(
        default=500_000_000,
        ge=0,
        description="with less room on the disk, strangers' events and files are refused, so that this node's own parts"
        " go on; 0 = off",
    )
    upstream: list[Upstream] = Field(default_factory=list, description="relays to exchange events with")
    blob_max_bytes: int = Field(default=200_000_000, ge=0, description="longest file for Blossom; 0 = no uploads")
    blob_quota_bytes: int = Field(default=1_000_000_000, ge=0, description="bytes a key may store; own keys are free")
    blob_days: float | None = Field(
        default=None, gt=0, description="strangers' files go so many days after their upload; none = never"
    )
    own_blob_days: float | None = Field(
        default=None, gt=0, description="the same for files of this node's own keys (what its workers made)"
    )
    blob_mirror_hosts: list[str] = Field(
        default_factory=list, description="host:port on private networks that PUT /mirror may fetch from all the same"
    )
    blob_open: bool = Field(default=True, description="any key may upload within its quota; false = own keys only")

    @field_validator(
        "icon",
        "contact",
        "pubkey",
        "public_url",
        "past_seconds",
        "proxy_header",
        "blob_days",
        "own_blob_days",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("public_url")
    @classmethod
    def _no_trailing_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else value
