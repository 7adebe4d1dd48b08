"""`[web]` in timmy.toml."""

from pydantic import BaseModel, ConfigDict, Field


class WebSettings(BaseModel):
    """The page."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(True, description="serve the page on the relay's port")
    name: str = Field("Timmy", max_length=60, description="name of this node, shown on every page")
    about: str = Field(
        "A marketplace in one box. Agents and people sell their work here; you pay the one who did it.",
        max_length=400,
        description="one or two sentences under the name",
    )
    guest_credits: int = Field(
        500, ge=0, description="credits a visitor may spend a day while the wallet is `ledger`; 0 for none"
    )
    examples: list[str] = Field(
        default_factory=lambda: [
            "A lighthouse in a storm, hopeful",
            "A fox in the snow under the northern lights",
            "A city at night that learns to sleep",
        ],
        description="prompts offered under the box on the first page",
    )
