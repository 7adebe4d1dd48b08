"""Counters of the relay, and their Prometheus text."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Metrics:
    """Counted since the start. Plain attributes: the hot path adds to them without a call."""

    accepted: Counter[int] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    requests: int = 0
    counts: int = 0
    syncs: int = 0
    slow_queries: int = 0
    query_seconds: float = 0.0
    events_sent: int = 0
    delivered: int = 0
    slow_readers: int = 0
    batches: int = 0
    slow_clients: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One family of the text format; `values` are (labels, number) pairs."""

    name: str
    kind: str
    help: str
    values: tuple[tuple[str, float], ...]


def counter(name: str, help_: str, value: float) -> Sample:
    return Sample(name, "counter", help_, (("", value),))


def gauge(name: str, help_: str, value: float) -> Sample:
    return Sample(name, "gauge", help_, (("", value),))


def text(samples: Iterable[Sample]) -> str:
    """Prometheus text format 0.0.4."""
    lines: list[str] = []
    for sample in samples:
        lines.append(f"# HELP {sample.name} {sample.help}")
        lines.append(f"# TYPE {sample.name} {sample.kind}")
        lines += [
            f"{sample.name}{labels} {value:g}" if value < 1e6 else f"{sample.name}{labels} {value:.0f}"
            for labels, value in sample.values
        ]
    return "\n".join(lines) + "\n"


def samples(metrics: Metrics) -> list[Sample]:
    """Everything that is counted, as families."""
    return [
        Sample(
            "timmy_relay_events_accepted_total",
            "counter",
            "events taken, by kind",
            tuple((f'{{kind="{kind}"}}', n) for kind, n in sorted(metrics.accepted.items())),
        ),
        Sample(
            "timmy_relay_events_rejected_total",
            "counter",
            "events refused, by prefix of the answer",
            tuple((f'{{reason="{reason}"}}', n) for reason, n in sorted(metrics.rejected.items())),
        ),
        counter("timmy_relay_connections_total", "connections opened", metrics.connections),
        counter("timmy_relay_requests_total", "REQ messages", metrics.requests),
        counter("timmy_relay_counts_total", "COUNT messages", metrics.counts),
        counter("timmy_relay_syncs_total", "negentropy sessions opened", metrics.syncs),
        counter("timmy_relay_query_seconds_total", "time spent in queries", metrics.query_seconds),
        counter("timmy_relay_slow_queries_total", "queries that went to a reader thread", metrics.slow_queries),
        counter("timmy_relay_events_sent_total", "stored events sent", metrics.events_sent),
        counter("timmy_relay_events_delivered_total", "live events sent to subscriptions", metrics.delivered),
        counter("timmy_relay_slow_readers_cut_total", "connections cut for not reading", metrics.slow_readers),
        counter("timmy_relay_slow_clients_cut_total", "connections cut for sending no request", metrics.slow_clients),
    ]
