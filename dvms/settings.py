"""Settings of the sellers: `[dvm]` for all workers, `[dvm.<trade>]` for one.

Every key of `[dvm]` may be repeated in `[dvm.<trade>]`, where it wins; a trade adds the keys of its own service.
"""

from __future__ import annotations

import importlib.util
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from dvms.registry import OTHER_PRICE, PRICES, TRADES, service_settings


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _empty_means_unset(cls, values: Any) -> Any:
        """`key = ""` in the file means the default where the default is to have none."""
        if not isinstance(values, dict):
            return values
        unset = {name for name, info in cls.model_fields.items() if info.default is None}
        return {name: value for name, value in values.items() if not (value == "" and name in unset)}


class SellerSettings(_Section):
    """How a worker sells: price, limits, who is served, and how it runs."""

    price: int | None = Field(None, ge=0, description="base price of a job in sat; empty: the trade's own price")
    name: str = Field("", max_length=100, description="name in announcements; empty: the service's own")
    about: str = Field("", max_length=2000, description="description in announcements; empty: the service's own")
    picture: str = Field("", description="URL of a picture for announcements")
    lud16: str = Field("", description="Lightning address for tips and zaps, shown in the profile")
    blossom: list[str] = Field(
        default_factory=list, description="file servers for results, tried in order; empty: the node's own"
    )
    private_relays: bool = Field(
        False, description="answer on relays at private addresses that a customer names (leave off on a public node)"
    )
    announce: bool = Field(True, description="publish announcement, profile, relays and heartbeat")
    heartbeat: int = Field(240, ge=1, le=290, description="seconds between two heartbeats; clients allow 300")
    announce_pow: int = Field(0, ge=0, le=40, description="NIP-13 bits to mine into the announcement for strict relays")

    open_jobs: bool = Field(
        True, description="answer jobs addressed to nobody, if their bid reaches the price; false: addressed ones only"
    )
    max_age: int = Field(3600, ge=1, description="oldest request to take, in seconds (also after a time away)")
    bill_seconds: int = Field(600, ge=1, description="how long a bill can be paid")
    hold: Literal["auto", "never"] = Field(
        "auto", description="auto: lock the payment until delivery where the wallet can; never: take it at once"
    )
    hold_seconds: int = Field(
        240, ge=1, description="longest time a payment stays locked; then it is taken and a failure is paid back"
    )

    job_seconds: int = Field(900, ge=1, description="deadline of one job's work")
    input_seconds: int = Field(60, ge=1, description="time limit for fetching the inputs of a job")
    input_wait: int = Field(1800, ge=0, description="how long to wait for the result of a `job` input")
    input_mib: int = Field(200, ge=1, description="largest single input in MiB; those of one job together: four times")
    keep_free_mib: int = Field(500, ge=0, description="MiB of the disk that the inputs of jobs leave free")
    child_idle: int = Field(120, ge=0, description="an idle engine process is ended after so many seconds")
    light_jobs: int = Field(32, ge=1, description="jobs at once for services that need no engine process")
    heavy_slots: int = Field(1, ge=1, description="engine jobs at once on this machine, over all workers of the node")

    keep_days: int = Field(30, ge=1, description="days after which delivered, refused and expired jobs are forgotten")
    queue_limit: int = Field(1000, ge=1, description="jobs in the queue after which new ones are turned away")
    bill_limit: int = Field(1000, ge=1, description="unpaid bills after which strangers are turned away for a minute")
    open_per_key: int = Field(16, ge=1, description="unfinished jobs of one customer")
    per_hour: int = Field(600, ge=1, description="jobs of one customer in an hour")
    cancelled_per_hour: int = Field(10, ge=1, description="paid jobs one customer may cancel in an hour")
    free_per_day: int = Field(0, ge=0, description="free jobs a day for each customer")
    free_per_day_all: int = Field(100, ge=0, description="free jobs a day for all customers together")
    pow_bits: int = Field(0, ge=0, le=40, description="NIP-13 bits a free or unaddressed request needs")
    blocked: list[str] = Field(default_factory=list, description="customers (npub or hex) that are not served")
    trusted: list[str] = Field(
        default_factory=list, description="keys (npub or hex) that are trusted together with everyone they follow"
    )
    trusted_only: Literal["off", "free", "open", "all"] = Field(
        "off", description="serve only trusted customers: for free jobs, for unaddressed jobs, or for all jobs"
    )


def _overrides() -> dict[str, Any]:
    """The fields of SellerSettings, each optional: what `[dvm.<trade>]` may repeat."""
    made: dict[str, Any] = {}
    for name, info in SellerSettings.model_fields.items():
        kind: Any = info.annotation
        for limit in info.metadata:
            kind = Annotated[kind, limit]
        made[name] = (kind | None, Field(None, description=f"as in [dvm]: {info.description}"))
    return made


def _section(trade: str) -> type[BaseModel]:
    own: dict[str, Any] = {}
    if _installed(TRADES[trade]):
        for name, info in service_settings(trade).model_fields.items():
            own[name] = (info.annotation, info)
    section: type[BaseModel] = create_model(
        f"{trade.capitalize()}Section", __base__=_Section, **{**_overrides(), **own}
    )
    return section


def _installed(where: str) -> bool:
    module = where.partition(":")[0]
    package = module.rpartition(".")[0]
    return importlib.util.find_spec(package) is not None and importlib.util.find_spec(module) is not None


DvmSettings: type[SellerSettings] = create_model(
    "DvmSettings",
    __base__=SellerSettings,
    __doc__="Settings of all sellers; one table below for each trade.",
    **{trade: (section, Field(default_factory=section)) for trade in TRADES for section in [_section(trade)]},  # type: ignore[call-overload]
)


def for_trade(settings: SellerSettings, trade: str) -> tuple[SellerSettings, dict[str, Any]]:
    """What holds for one trade: `[dvm]` with the trade's overrides, and the keys of its own service.

    A worker that is no trade of the shop (`./mine.py`) gets `[dvm]` as it is.
    """
    shared = {name: getattr(settings, name) for name in SellerSettings.model_fields}
    own: dict[str, Any] = {}
    section = getattr(settings, trade, None) if trade in TRADES else None
    if section is not None:
        service = service_settings(trade).model_fields if _installed(TRADES[trade]) else {}
        for name in type(section).model_fields:
            value = getattr(section, name)
            if name in service:
                own[name] = value
            elif value is not None:
                shared[name] = value
    if shared["price"] is None:
        shared["price"] = PRICES.get(trade, OTHER_PRICE)
    return SellerSettings.model_validate(shared), own
