"""How the buyer's commands look: tables, and the live tree of a purchase with one line a step."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from market.buyer import Update
from market.directory import Directory, Offer
from market.kinds import JOB_KINDS
from market.purchases import OPEN, Purchase, State
from market.reputation import Score
from node.context import err, out
from nostr import nip19
from nostr.clock import system_clock
from wallet.msat import show

_COLOURS = {State.DELIVERED: "green", State.REFUNDED: "yellow", State.CANCELLED: "dim"}
_STEP_COLOURS = {"accepted": "green", "failed": "red", "refused": "red"}


def services_table(found: list[tuple[Offer, Score]]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, expand=True)
    roomy = out.width >= 120
    table.add_column("service", no_wrap=True, overflow="ellipsis", ratio=1)
    for name in ("price", "alive", "score", "bought", "median"):
        table.add_column(name, justify="left" if name == "alive" else "right", no_wrap=True)
    if roomy:
        table.add_column("engine", no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column("seller", no_wrap=True)
    if roomy:
        table.add_column("relays", no_wrap=True, overflow="ellipsis", max_width=34)
    for offer, score in found:
        median = offer.stats.percentile(0.5)
        job = JOB_KINDS.get(offer.kind)
        title = f"{offer.kind} {escape(offer.name or (job.title if job else ''))}"
        if offer.announcement.d and offer.kind == 5260:
            title += f" [dim]({escape(offer.announcement.d)})[/]"
        table.add_row(
            title,
            _price(offer),
            "[green]yes[/]" if offer.alive else f"[red]{_ago(offer.last_seen)}[/]",
            f"{score.rank}" if score.jobs else "[dim]new[/]",
            f"{offer.stats.delivered}/{offer.stats.jobs}" if offer.stats.jobs else "-",
            f"{median:.0f} s" if median is not None else "-",
            *([escape(offer.announcement.engine) or "-"] if roomy else []),
            nip19.npub(offer.provider)[: 14 if roomy else 11],
            *([" ".join(offer.relays[:2])] if roomy else []),
        )
    return table


def jobs_table(purchases: list[Purchase], owner: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("id", "what", "state", "paid", "seller", "result"):
        table.add_column(name, justify="right" if name == "paid" else "left", overflow="fold")
    for bought in purchases:
        colour = _COLOURS.get(bought.state, "blue" if bought.state in OPEN else "red")
        table.add_row(
            bought.id[:8],
            escape(bought.title[:60]) or str(bought.order.kind),
            f"[{colour}]{bought.state}[/]",
            show(bought.spent_msat),
            nip19.npub(bought.provider)[:14] if bought.provider else "-",
            escape(_result_line(bought)),
        )
    return table


def _result_line(bought: Purchase) -> str:
    if bought.path is not None:
        return str(bought.path)
    text = bought.result.content if bought.result is not None else bought.reason or ""
    return " ".join(text.split())[:80]


class BuyView:
    """A tree that changes while one purchase is under way: the job, and under it the steps a composite tells of.

    Where standard output is no terminal, the messages go to standard error, one a line.
    """

    def __init__(self, directory: Directory, title: str, *, quiet: bool) -> None:
        self._directory, self._title, self._quiet = directory, title, quiet
        self._steps: dict[tuple[str, str], tuple[str, str, int, float]] = {}
        self._head = "asking"
        self._cost = ""
        self._moving = out.is_terminal and not quiet
        self._live = Live(self._tree(), console=out, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        if self._moving:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._moving:
            self._live.update(self._tree())
            self._live.__exit__(kind, error, trace)

    def update(self, update: Update) -> None:
        self._head = update.message
        payment = update.purchase.payment
        if payment is not None:
            self._cost = show(payment.amount_msat)
        steps = [tag for tag in update.feedback.tags if tag[0] == "step"] if update.feedback else []
        for tag in steps:
            if len(tag) >= 7:
                name, idx, state, provider, msat, fraction = (str(item) for item in tag[1:7])
                changed = self._steps.get((name, idx), ("",))[0] != state
                self._steps[name, idx] = (state, provider, _int(msat), _float(fraction))
                if changed and not self._moving and not self._quiet:
                    err.print(self._line(name, idx))
        if self._moving:
            self._live.update(self._tree())
        elif not self._quiet and not steps:
            err.print(update.message, markup=False)

    def _tree(self) -> Tree:
        tree = Tree(Text.assemble((self._title[:70], "bold"), "  ", (self._cost, "cyan"), "  ", self._head[:100]))
        for name, idx in self._steps:
            tree.add(self._line(name, idx))
        return tree

    def _line(self, name: str, idx: str) -> Text:
        state, provider, msat, fraction = self._steps[name, idx]
        line = Text(self._label(name, idx).ljust(12))
        line.append(f"{state:<10}", _STEP_COLOURS.get(state, "blue"))
        line.append(f"{self.name(provider):<24}", "dim")
        line.append(f"{show(msat):>10}" if msat else " " * 10, "cyan")
        if 0 < fraction < 1:
            line.append(f"  {fraction:4.0%}")
        return line

    def _label(self, name: str, idx: str) -> str:
        many = sum(other == name for other, _ in self._steps) > 1
        step, _, judges = name.partition("~")  # whoever judges the step
        return f"judge {step}" if judges else f"{name} {int(idx) + 1}" if many and idx.isdigit() else name

    def name(self, provider: str) -> str:
        """What a seller calls itself in the directory; its key where it is not there."""
        if len(provider) != 64:
            return ""
        known = [offer.name for offer in self._directory.offers() if offer.provider == provider and offer.name]
        return (known[0] if known else nip19.npub(provider)[:14])[:23]

    def costs(self) -> list[tuple[str, str, int]]:
        """(step, seller, msat) of every step that a composite told of and paid for."""
        return [
            (self._label(name, idx), self.name(provider), msat)
            for (name, idx), (_, provider, msat, _) in sorted(self._steps.items())
            if msat
        ]


def receipt_of(bought: Purchase, saved: Path | None, steps: list[tuple[str, str, int]], seller: str) -> None:
    """What is said at the end: the answer or the file, what it cost, the receipt's id."""
    result = bought.result
    if result is not None and bought.path is None and saved is None:
        out.print(result.content, markup=False)
    where = saved or bought.path
    if where is not None and bought.delivered:
        out.print(f"{where}  [dim]{bought.mime or ''}[/]")
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("cost", "sat", "seller"):
        table.add_column(name, justify="right" if name == "sat" else "left")
    payment = bought.payment
    for name, seller, msat in steps:
        table.add_row(f"[dim]{escape(name)}[/]", f"[dim]{show(msat, '').strip()}[/]", f"[dim]{escape(seller)}[/]")
    if payment is not None:
        table.add_row("price", show(payment.amount_msat, "").strip(), escape(seller))
        if payment.fee_msat:
            table.add_row("routing fee", show(payment.fee_msat, "").strip(), "")
        if payment.state != "settled":
            table.add_row(f"[yellow]payment is {payment.state}[/]", "", "")
        out.print(table)
    receipt = result.fact("receipt") if result is not None else None
    out.print(f"job {bought.id}" + (f"\nreceipt {receipt}  [dim]timmy audit {receipt[:12]}[/]" if receipt else ""))


def offer_json(offer: Offer, score: Score) -> dict[str, Any]:
    stats = offer.stats
    return {
        "kind": offer.kind,
        "name": offer.name,
        "d": offer.announcement.d,
        "provider": offer.provider,
        "npub": nip19.npub(offer.provider),
        "price_msat": offer.price_msat, "unavailable": offer.announcement.unavailable,
        "billed_msat": offer.billed_msat,
        "alive": offer.alive,
        "liveness": round(offer.liveness, 3),
        "last_seen": offer.last_seen,
        "relays": list(offer.relays),
        "engine": offer.announcement.engine,
        "about": offer.announcement.about,
        "params": dict(offer.announcement.params),
        "bought": {"jobs": stats.jobs, "delivered": stats.delivered, "failed": stats.failed,
                   "median_s": stats.percentile(0.5), "spent_msat": stats.spent_msat,
                   "billed_above_announced": stats.billed_above_announced},
        "recommended_by": sorted(offer.recommended_by),
        "score": {"rank": score.rank, "mean": round(score.mean, 4), "low": round(score.low, 4),
                  "a": round(score.a, 3), "b": round(score.b, 3), "reviews": score.jobs, "raters": score.raters,
                  "explained": score.explain()},
    }  # fmt: skip


def purchase_json(bought: Purchase) -> dict[str, Any]:
    payment = bought.payment
    return {
        "id": bought.id,
        "kind": bought.order.kind,
        "title": bought.title,
        "state": bought.state,
        "reason": bought.reason,
        "refusal": bought.refusal,
        "provider": bought.provider,
        "asked_at": bought.asked_at,
        "ended_at": bought.ended_at,
        "price_msat": payment.amount_msat if payment else 0,
        "fee_msat": payment.fee_msat if payment else 0,
        "spent_msat": bought.spent_msat,
        "payment": payment.state if payment else None,
        "payment_hash": payment.payment_hash if payment else None,
        "content": bought.result.content if bought.result else None,
        "file": str(bought.path) if bought.path else None,
        "mime": bought.mime,
        "sha256": bought.sha256,
        "result": bought.result.event.id if bought.result else None,
        "receipt": bought.result.fact("receipt") if bought.result else None,
        "why": list(bought.why),
    }


def _price(offer: Offer) -> str:
    if offer.announcement.unavailable:
        return "[dim]not now[/]"
    if offer.price_msat is None:
        return "ask"
    text = "free" if offer.price_msat == 0 else show(offer.price_msat)
    if offer.billed_msat is not None and offer.billed_msat > offer.price_msat:
        text += f" [red](bills {show(offer.billed_msat)})[/]"
    return text


def _ago(at: int | None) -> str:
    if at is None:
        return "no sign"
    age = max(0, system_clock() - at)
    return f"{age // 60} min ago" if age < 7200 else f"{age // 3600} h ago"


def _int(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


def _float(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
