"""How fast is the relay? Measured side by side with relays that install with pip, in one go, with the same events.

    .venv/bin/python -m benchmarks.relay                        everything, 100,000 events (minutes)
    .venv/bin/python -m benchmarks.relay --quick                20,000 events, short loads
    .venv/bin/python -m benchmarks.relay --only timmy           this relay alone
    .venv/bin/python -m benchmarks.relay --growth 1000000       ingest and query rates of this relay as its store grows

Where there are two CPUs the server is pinned to the first and the load to the second. Signatures are verified by
everybody. This relay commits with synchronous=FULL before its OK; LocalRelay keeps its events in memory only.
Absolute figures drift with the machine; the ratios of one run are what counts, and on a machine that has other work
to do the CPU time per operation (server process only) is steadier than the rate. The last line is JSON.
"""

import argparse
import asyncio
import math
import os
import random
import sys
import time
from typing import Any

import orjson
import uvloop

from benchmarks import relay_load as load
from benchmarks.relay_peers import SERVERS, Server

Results = dict[str, Any]
SHAPES = (
    "1 id",
    "20 ids",
    "kind 1 limit 20",
    "kind 1 limit 500",
    "author kind 1 limit 20",
    "50 authors kind 1 limit 50",
    "#e",
    "#p limit 50",
    "#p kinds 7000 6050",
    "#t kind 1 limit 20",
    "one hour",
    "nothing found",
    "job kinds limit 50",
)


def shapes(lines: list[bytes], number: int = 200) -> dict[str, list[dict[str, Any]]]:
    """`number` filters of each shape, drawn from the events themselves."""
    chance = random.Random(7)
    events = [orjson.loads(line) for line in chance.sample(lines, min(len(lines), 4000))]
    authors = sorted({event["pubkey"] for event in events})
    tagged = {name: [tag[1] for event in events for tag in event["tags"] if tag[0] == name] for name in ("e", "p", "t")}
    oldest = min(event["created_at"] for event in events)
    newest = max(event["created_at"] for event in events)

    def pick(name: str) -> str:
        return chance.choice(tagged[name])

    def make(shape: str) -> dict[str, Any]:
        author = chance.choice(events)["pubkey"]
        start = chance.randint(oldest, newest - 3600)
        return {
            "1 id": lambda: {"ids": [chance.choice(events)["id"]]},
            "20 ids": lambda: {"ids": [event["id"] for event in chance.sample(events, 20)]},
            "kind 1 limit 20": lambda: {"kinds": [1], "limit": 20},
            "kind 1 limit 500": lambda: {"kinds": [1], "limit": 500},
            "author kind 1 limit 20": lambda: {"authors": [author], "kinds": [1], "limit": 20},
            "50 authors kind 1 limit 50": lambda: {"authors": chance.sample(authors, 50), "kinds": [1], "limit": 50},
            "#e": lambda: {"#e": [pick("e")]},
            "#p limit 50": lambda: {"#p": [pick("p")], "limit": 50},
            "#p kinds 7000 6050": lambda: {"#p": [pick("p")], "kinds": [7000, 6050], "limit": 50},
            "#t kind 1 limit 20": lambda: {"#t": [pick("t")], "kinds": [1], "limit": 20},
            "one hour": lambda: {"since": start, "until": start + 3600},
            "nothing found": lambda: {"ids": [f"{chance.getrandbits(256):064x}"]},
            "job kinds limit 50": lambda: {"kinds": [5000, 5001, 5050, 5100], "limit": 50},
        }[shape]()

    return {shape: [make(shape) for _ in range(number)] for shape in SHAPES}


async def measure(server: Server, lines: list[bytes], extra: list[bytes], quick: bool, note: Any) -> Results:
    """Every load on one relay."""
    found: Results = {}
    seconds = 0.7 if quick else 2.0
    server.start()
    found["rss idle MB"] = server.resident_mb()
    note("ingest")
    cpu = server.cpu_seconds()
    poured = await load.ingest(server.port, lines, limit=20 if quick else 240)
    found["ingest events/s"] = poured.rate
    found["ingest CPU us/event"] = 1e6 * (server.cpu_seconds() - cpu) / max(1, poured.accepted)
    found["stored"] = poured.accepted
    if poured.refused:
        found["refused"] = poured.reasons
    stored = lines[: poured.accepted]
    await settle(server)
    note("latency")
    times = await load.one_at_a_time(server.port, extra[:300])
    found["EVENT->OK p50 ms"], found["EVENT->OK p99 ms"] = (1000 * load.quantile(times, q) for q in (0.5, 0.99))
    for shape, filters in shapes(stored).items():
        note(shape)
        try:
            cpu = server.cpu_seconds()
            answer = await load.queries(server.port, filters, seconds)
            found[f"REQ {shape} /s"] = answer.rate
            found[f"REQ {shape} CPU us"] = 1e6 * (server.cpu_seconds() - cpu) / answer.number
            found[f"REQ {shape} events"] = answer.events
            found[f"REQ {shape} p50 ms"] = answer.p50_ms
        except (TimeoutError, RuntimeError, ConnectionError, ZeroDivisionError) as error:
            found[f"REQ {shape} /s"] = None
            found.setdefault("failed", []).append(f"{shape}: {error!r}"[:120])
    rates = [found[f"REQ {shape} /s"] for shape in SHAPES]
    if all(rates):
        found["REQ geometric mean /s"] = geometric_mean(rates)
        found["REQ geometric mean CPU us"] = geometric_mean([found[f"REQ {shape} CPU us"] for shape in SHAPES])
    note("count, search")
    for title, verb, query in (
        ("COUNT kinds 1 7 /s", "COUNT", {"kinds": [1, 7]}),
        ("COUNT #p /s", "COUNT", None),
        ("search /s", "REQ", {"search": "whale invoice", "limit": 20}),
    ):
        filters = [query] if query else shapes(stored)["#p limit 50"]
        try:
            answer = await load.queries(server.port, filters, seconds, verb=verb)
            found[title] = answer.rate if verb == "COUNT" or answer.events else None
        except (TimeoutError, RuntimeError, ConnectionError, ZeroDivisionError):
            found[title] = None
    note("delivery")
    at = 300
    times = await load.delivery(server.port, extra[at : at + 200], {"kinds": [1]} | {"since": 1})
    found["delivery p50 ms"], found["delivery p99 ms"] = (1000 * load.quantile(times, q) for q in (0.5, 0.99))
    at += 200
    for subscribers, events in ((100, 400 if quick else 1500), (500, 150 if quick else 500)):
        note(f"fan-out to {subscribers}")
        try:
            cpu = server.cpu_seconds()
            found[f"fan-out {subscribers} deliveries/s"] = await load.fan_out(
                server.port, extra[at : at + events], subscribers, {"kinds": [1], "limit": 1}
            )
            used = server.cpu_seconds() - cpu
            found[f"fan-out {subscribers} CPU us/delivery"] = 1e6 * used / (events * subscribers)
        except (TimeoutError, ConnectionError) as error:
            found[f"fan-out {subscribers} deliveries/s"] = None
            found.setdefault("failed", []).append(f"fan-out {subscribers}: {error!r}")
        at += events
    found["rss after all MB"] = server.resident_mb()
    note("cold start")
    server.stop()
    found["cold start s"] = min(_restart(server) for _ in range(3))
    return found


async def settle(server: Server, most: float = 30) -> None:
    """Wait until the server has done what it put off (indexing, queues, checkpoints)."""
    end = time.perf_counter() + most
    while time.perf_counter() < end:
        before = server.cpu_seconds()
        await asyncio.sleep(0.5)
        if server.cpu_seconds() - before <= 0.02:
            return


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(math.log(max(value, 1e-9)) for value in values) / len(values))


def _restart(server: Server) -> float:
    took = server.start()
    server.stop()
    return took


async def growth(server: Server, total: int, note: Any) -> Results:
    """Ingest of the first and the last of many events, and REQ at a tenth of them and at the end."""
    found: Results = {"steps": []}
    server.start()
    done = 0
    for upto in (total // 100, total // 10, total // 2, total):
        lines = load.dataset(total)[done:upto]
        note(f"{done} .. {upto}")
        edge = len(lines) // 4 if len(lines) < 8000 else 2000
        rates = []
        for part in (lines[:edge], lines[edge:-edge], lines[-edge:]):
            cpu = server.cpu_seconds()
            poured = await load.ingest(server.port, part, limit=500)
            rates.append((poured.rate, 1e6 * (server.cpu_seconds() - cpu) / poured.accepted))
        seen = load.dataset(total)[:upto]
        await settle(server)
        latencies, costs = {}, {}
        for shape, filters in shapes(seen).items():
            cpu = server.cpu_seconds()
            answer = await load.queries(server.port, filters, 1.0)
            latencies[shape], costs[shape] = answer.p50_ms, 1e6 * (server.cpu_seconds() - cpu) / answer.number
        done, mean = upto, geometric_mean(list(costs.values()))
        step = {"events": upto, "ingest first, middle, last (events/s, CPU us)": rates, "REQ p50 ms": latencies}
        found["steps"].append({**step, "REQ CPU us": costs, "REQ mean CPU us": mean})
        note(f"{upto} events: ingest {rates[-1][0]:.0f}/s {rates[-1][1]:.0f} us CPU, REQ {mean:.0f} us CPU")
    found["rss MB"] = server.resident_mb()
    return found


def extra_events(number: int) -> list[bytes]:
    """Fresh kind 1 events that nobody has stored."""
    from nostr.key import SecretKey

    key = SecretKey(b"\x07" * 32)
    now = int(time.time())
    return [
        key.sign(kind=1, content=f"live {now} {n} " + "x" * 200, tags=[["t", "live"]], created_at=now).to_json()
        for n in range(number)
    ]


def report(results: dict[str, Results]) -> None:
    """A table of figures, and of ratios to each peer (above 1: this relay is better)."""
    names = list(results)
    keys = list(dict.fromkeys(key for one in results.values() for key in one))
    print(f"{'':<36}" + "".join(f"{name:>14}" for name in names) + "".join(f"{'x ' + n:>14}" for n in names[1:]))
    for key in keys:
        values = [results[name].get(key) for name in names]
        if any(isinstance(value, list | dict | str) for value in values):
            continue
        row = "".join(f"{value:>14,.2f}" if value is not None else f"{'-':>14}" for value in values)
        if names[0] == "timmy":
            for value in values[1:]:
                row += f"{_ratio(key, values[0], value):>14}"
        print(f"{key:<36}{row}")
    for name in names:
        for line in results[name].get("failed", []):
            print(f"{name}: {line}")


def _ratio(key: str, ours: float | None, theirs: float | None) -> str:
    if not ours or not theirs or key.endswith(" events") or key == "stored":
        return "-"
    return f"{(ours / theirs if key.endswith('/s') else theirs / ours):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--events", type=int, default=0, help="size of the store (100,000; quick 20,000)")
    parser.add_argument("--only", default=",".join(SERVERS), help="which relays, by comma")
    parser.add_argument("--growth", type=int, default=0, metavar="EVENTS")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    pinned = len(cpus) > 1
    if pinned:
        os.sched_setaffinity(0, set(cpus[1:]))

    def note(text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    if options.growth:
        server = SERVERS["timmy"]({cpus[0]} if pinned else None)
        try:
            print(orjson.dumps({"growth": uvloop.run(growth(server, options.growth, note))}).decode())
        finally:
            server.close()
        return
    number = options.events or (20_000 if options.quick else 100_000)
    note(f"{number} events")
    lines, extra = load.dataset(number), extra_events(3000)
    results: dict[str, Results] = {}
    for name in options.only.split(","):
        reason = SERVERS[name].available()
        if reason:
            print(f"{name} LEFT OUT: {reason}", file=sys.stderr)
            continue
        server = SERVERS[name]({cpus[0]} if pinned else None)
        note(name)
        try:
            results[name] = uvloop.run(measure(server, lines, extra, options.quick, note))
        finally:
            server.close()
    report(results)
    print(orjson.dumps({"events": number, "pinned": pinned, "results": results}).decode())


if __name__ == "__main__":
    main()
