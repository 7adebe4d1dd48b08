"""Settings of the wallet: section [wallet] of timmy.toml."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from wallet.backends import KINDS
from wallet.parts import PARTS, accounts


class WalletSettings(BaseModel):
    """Amounts are whole sat (credits in ledger mode) unless a name says msat."""

    model_config = ConfigDict(extra="forbid")

    backend: str = Field(
        "ledger",
        description="what stands behind the books: ledger (credits, needs nothing) or one line for a real wallet:"
        " nwc:URI, electrum:FOLDER, lnd:URL?key=@FILE&cert=FILE, cln:URL?key=RUNE, phoenixd:URL?key=PASSWORD,"
        " lnbits:URL?key=ADMIN-KEY; see docs/wallet.md",
    )
    start_credits: int = Field(
        100_000, ge=0, description="credits that the owner gets at the first start in ledger mode"
    )
    timmy_credits: int = Field(20_000, ge=0, description="credits that Timmy gets then, as a float to buy steps with")
    guest_budget: int = Field(
        2_000, ge=0, description="sat a day that the page may spend for visitors, from the owner's account"
    )
    parts: list[str] = Field(
        default_factory=lambda: list(PARTS), description="parts that get a connection of their own at the start"
    )
    relays: list[str] = Field(
        default_factory=list,
        description="further relays on which outside apps reach this wallet; connection URIs name them too",
    )
    addresses: list[str] = Field(
        default_factory=lambda: list(accounts()),
        description="accounts that have a Lightning address, NAME@ this node's host; [] for none",
    )
    mints: list[str] = Field(
        default_factory=list, description="addresses of the Cashu mints whose ecash `timmy wallet redeem` accepts"
    )
    i_keep_other_peoples_money: bool = Field(
        default=False, description="what `timmy mint` wants to hear before it runs a Cashu mint, which is custody"
    )
    fee_percent: float = Field(1.0, ge=0, le=50, description="most that routing may cost, in percent of the amount")
    fee_floor: int = Field(10, ge=0, description="routing may always cost this many sat")
    hold_minutes: int = Field(60, ge=1, le=1440, description="a held payment goes back to its payer after this time")
    requests_per_second: float = Field(500, gt=0, description="requests that one connection may send")
    max_open_invoices: int = Field(2_000, ge=1, description="unpaid invoices that one connection may have")
    poll_seconds: float = Field(20, gt=0, description="pause between two looks for money the backend did not announce")
    watch_seconds: float = Field(60, gt=0, description="pause between two comparisons of the books with the backend")
    slack: int = Field(0, ge=0, description="sat by which the backend may fall short of the books before payments stop")

    @field_validator("backend")
    @classmethod
    def _known(cls, value: str) -> str:
        kind = value.strip().partition(":")[0].lower()
        if kind not in KINDS and not kind.startswith("nostr"):
            raise ValueError(f"unknown backend {kind!r}: one of {', '.join(KINDS)}")
        return value.strip()
