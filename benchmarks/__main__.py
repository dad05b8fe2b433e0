"""The program behind `make bench`: starts Apache Kafka, measures what is asked for, prints tables."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from parts.apache_kafka import ApacheKafka, KafkaUnavailableError

from . import core_alone, engines, growth, latency, live, scrape, takeover, traffic
from .events import Load
from .measuring import ROOT, BenchmarkFailedError
from .printing import broker, machine

ALONE = ("core", "workers")
"""Need no broker, or one of their own."""
BENCHMARKS = ("engines", *ALONE, "partitions", "latency", "live", "scrape", "takeover", "traffic")
TOGETHER = {"growth": ("partitions", "workers")}
BY_DEFAULT = 3
PEERS = ROOT / ".cache" / "peers" / "bin" / "python"
GROWN = 4
"""So many times the load where several workers share it: each is to be looked at a few times."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks named; return 1 if one fails or a competitor counts wrong."""
    options = parse(arguments)
    logging.disable(logging.CRITICAL)
    settings = dict(one.split("=", 1) for one in options.set)
    try:
        print(f"{broker()}\n{machine()}\n{' '.join(options.set) or 'settings of the worker: the defaults'}", flush=True)
        if {*options.names} - {*ALONE}:
            with ApacheKafka() as kafka:
                measure(options, settings, kafka)
        if "core" in options.names:
            core_alone.measure()
        if "workers" in options.names:
            growth.by_workers(grown(options), options.workers, options.rounds, settings)
    except (BenchmarkFailedError, KafkaUnavailableError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


def measure(options: argparse.Namespace, settings: dict[str, str], kafka: ApacheKafka) -> None:
    """Run those of the benchmarks named that share a broker."""
    load, bootstrap, partitions = load_of(options), kafka.bootstrap, options.partitions
    peers = options.peers if options.peers.is_file() else None
    held = options.live_cases or (0, 10_000, 100_000)
    found: dict[str, Callable[[], None]] = {
        "engines": lambda: engines.compare(bootstrap, load, partitions, options.rounds, peers, settings),
        "partitions": lambda: growth.by_partitions(
            bootstrap, grown(options), options.by_partitions, options.rounds, settings
        ),
        "latency": lambda: latency.compare(bootstrap, options.rates, options.seconds, partitions, settings),
        "live": lambda: live.compare(bootstrap, held, load, partitions, settings),
        "scrape": lambda: scrape.compare(bootstrap, held, load, partitions, settings),
        "takeover": lambda: takeover.compare(bootstrap, options.live_cases or (100_000,), partitions, settings),
        "traffic": lambda: traffic.compare(kafka, load, partitions, settings),
    }
    for name, run in found.items():
        if name in options.names:
            run()


def load_of(options: argparse.Namespace) -> Load:
    """Return the load that is asked for."""
    return Load(options.cases, options.live, duplicates=options.duplicates)


def grown(options: argparse.Namespace) -> Load:
    """Return a larger one, as long as that."""
    return Load(GROWN * options.cases, GROWN * options.live, duplicates=options.duplicates)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    growing = "; growth: partitions and workers"
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"{', '.join(BENCHMARKS)}{growing}; default: the first {BY_DEFAULT}"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of all competitors in turn")
    parser.add_argument("--cases", type=int, default=8_000, help="reference cases, of twelve facts each")
    parser.add_argument("--live", type=int, default=1_000, help="of them open at the same time")
    parser.add_argument("--duplicates", type=float, default=0.02, help="share of events delivered twice")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument(
        "--by-partitions", type=int, nargs="+", default=[1, 4, 16, 48], help="for the benchmark partitions"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="for the benchmark workers")
    parser.add_argument(
        "--live-cases",
        type=int,
        nargs="+",
        help="held besides, by the benchmarks live and scrape (0 10000 100000) and takeover (100000)",
    )
    parser.add_argument(
        "--rates",
        type=int,
        nargs="+",
        default=[1_000, 5_000, 10_000],
        help="events a second, for the benchmark latency",
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each of these rates is offered")
    parser.add_argument("--set", action="append", default=[], metavar="VARIABLE=VALUE", help="a setting of the worker")
    parser.add_argument("--peers", type=Path, default=PEERS, help="a Python that has peers/requirements.txt")
    options = parser.parse_args(arguments)
    options.names = [one for name in options.names or BENCHMARKS[:BY_DEFAULT] for one in TOGETHER.get(name, (name,))]
    if wrong := {*options.names} - {*BENCHMARKS}:
        parser.error(f"no such benchmark: {', '.join(sorted(wrong))} (there are {', '.join(BENCHMARKS)}, growth)")
    return options


if __name__ == "__main__":
    sys.exit(main())
