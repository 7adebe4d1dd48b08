"""The connections that the parts of a node find in `DIR/wallet/connections/<part>.uri`: accounts and scopes."""

from collections.abc import Mapping
from dataclasses import dataclass

from wallet.connections import Scope

_ALL = frozenset(Scope)
_TRADER = frozenset({Scope.PAY, Scope.RECEIVE, Scope.READ, Scope.HOLD, Scope.NOTIFY})


@dataclass(frozen=True, slots=True)
class Part:
    """`guest` marks the one that is held to the guests' budget."""

    account: str
    scopes: frozenset[Scope] = _TRADER
    guest: bool = False
    trades: bool = True  # under a key of its own, which zaps can name


MINT = "mint"  # the account that holds what `timmy mint` owes for its ecash
ADDRESSES = "addresses"  # the connection behind the Lightning addresses of this node

PARTS: Mapping[str, Part] = {
    "owner": Part("owner", _ALL),
    "operator": Part("owner", _ALL),
    "guests": Part("owner", frozenset({Scope.PAY, Scope.READ}), guest=True),
    ADDRESSES: Part("owner", frozenset({Scope.ADDRESS})),
    "orchestrator": Part("timmy"),
    "text": Part("text"),
    "image": Part("image"),
    "music": Part("music"),
    "speech": Part("speech"),
    "animation": Part("animation"),
    "video": Part("video"),
    "feed": Part("feed"),
    "human": Part("human"),
    MINT: Part(MINT, frozenset({Scope.PAY, Scope.RECEIVE, Scope.READ, Scope.NOTIFY}), trades=False),
}


def accounts() -> dict[str, str]:
    """Account -> the part whose key it trades under."""
    found: dict[str, str] = {}
    for name, part in PARTS.items():
        if part.trades:
            found.setdefault(part.account, name)
    return found
