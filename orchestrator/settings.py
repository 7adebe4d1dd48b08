"""Settings of Timmy: `[orchestrator]` in `timmy.toml`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.journal import Limits
from orchestrator.price import Rules


class OrchestratorSettings(BaseModel):
    """What Timmy sells, at what margin, and how much he may risk."""

    model_config = ConfigDict(extra="forbid")

    recipes: list[str] = Field(
        default_factory=list, description="recipes to sell: names of shipped ones or paths of files; empty: all shipped"
    )
    name: str = Field("Timmy", max_length=100, description="name in announcements")
    picture: str = Field("", description="URL of a picture for announcements")
    lud16: str = Field("", description="Lightning address for tips and zaps, shown in the profile")
    announce: bool = Field(True, description="publish announcements, profile, relays, heartbeat and recipes")

    margin: float = Field(0.15, ge=0, le=10, description="least margin over break-even (0.15 = 15 %)")
    max_margin: float = Field(2.0, ge=0, le=20, description="margin that the risk of loss can raise it to at most")
    loss_chance: float = Field(0.05, gt=0, lt=1, description="share of runs that may end at a loss")
    insurance: float = Field(0.3, ge=0, le=5, description="how far a run may cost more than its price before it stops")
    royalty: float = Field(0.1, ge=0, le=1, description="share of the margin for the authors of a recipe not our own")
    quote_seconds: int = Field(600, ge=30, description="how long a quote can be paid")

    max_runs: int = Field(8, ge=1, description="composites at once; the price rises as this fills up")
    daily: int = Field(100_000, ge=0, description="most sat spent on steps in 24 hours")
    exposure: int = Field(2_000, ge=0, description="most sat outstanding with a provider that has no record here")
    unproven: int = Field(
        10_000, ge=0, description="most sat in 24 hours for all sellers together that have delivered nothing yet"
    )
    exposure_max: int = Field(50_000, ge=0, description="most sat outstanding with any provider")
    per_key: int = Field(16, ge=1, description="unfinished composites of one buyer")

    hold: Literal["auto", "never"] = Field(
        "auto", description="auto: lock the buyer's payment until delivery where the wallet can; never: take it at once"
    )
    hold_seconds: int = Field(
        480, ge=10, description="with real Lightning, longer recipes are prepaid: a payment can't stay locked for long"
    )
    hedge: bool = Field(True, description="order from a second provider when the first is unusually slow")
    receipts: Literal["public", "buyer", "off"] = Field("public", description="who can read the receipts (7190)")
    reviews: bool = Field(True, description="publish a review (31117) of every bought step")
    sealed: bool = Field(
        False, description="deliver encrypted files whose key is the payment's preimage (pay on delivery)"
    )
    blossom: str = Field("", description="file server for artefacts; empty: the node's own")
    allow_hosts: list[str] = Field(
        default_factory=list, description="host:port on private networks where providers' relays and files may lie"
    )
    keep_days: int = Field(30, ge=1, description="how long artefacts stay for re-use by the same buyer")

    def rules(self) -> Rules:
        return Rules(self.margin, self.max_margin, self.loss_chance, self.insurance)

    def limits(self, own: frozenset[str]) -> Limits:
        return Limits(self.daily * 1000, self.exposure * 1000, 0.2, self.exposure_max * 1000, own, self.unproven * 1000)
