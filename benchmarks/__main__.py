"""The program behind `make bench`: starts Apache Kafka, measures what is asked for, prints tables."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from parts.apache_kafka import ApacheKafka, KafkaUnavailableError

from . import engines, growth, latency, live
from .events import Load
from .measuring import ROOT, BenchmarkFailedError
from .printing import broker, machine

BENCHMARKS = ("engines", "core", "latency", "live")
PEERS = ROOT / ".cache" / "peers" / "bin" / "python"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks named; return 1 if one fails or a competitor counts wrong."""
    options = parse(arguments)
    logging.disable(logging.CRITICAL)
    load = Load(options.cases, options.live, duplicates=options.duplicates)
    peers = options.peers if options.peers.is_file() else None
    settings = dict(one.split("=", 1) for one in options.set)
    try:
        print(f"{broker()}\n{machine()}\n{' '.join(options.set) or 'settings of the worker: the defaults'}", flush=True)
        if "core" in options.names:
            growth.grow()
        if {"engines", "latency", "live"} & {*options.names}:
            with ApacheKafka() as kafka:
                if "engines" in options.names:
                    engines.compare(kafka.bootstrap, load, options.partitions, options.rounds, peers, settings)
                if "latency" in options.names:
                    latency.compare(kafka.bootstrap, options.rates, options.seconds, options.partitions, settings)
                if "live" in options.names:
                    live.compare(kafka.bootstrap, options.live_cases, load, options.partitions, settings)
    except (BenchmarkFailedError, KafkaUnavailableError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(BENCHMARKS)}; default: the first two")
    parser.add_argument("--rounds", type=int, default=3, help="of all competitors in turn")
    parser.add_argument("--cases", type=int, default=1_000, help="reference cases, of twelve facts each")
    parser.add_argument("--live", type=int, default=250, help="of them open at the same time")
    parser.add_argument("--duplicates", type=float, default=0.02, help="share of events delivered twice")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument(
        "--live-cases", type=int, nargs="+", default=[0, 10_000, 100_000], help="held besides, by the benchmark live"
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
    options.names = options.names or BENCHMARKS[:2]
    if wrong := {*options.names} - {*BENCHMARKS}:
        parser.error(f"no such benchmark: {', '.join(sorted(wrong))} (there are {', '.join(BENCHMARKS)})")
    return options


if __name__ == "__main__":
    sys.exit(main())
