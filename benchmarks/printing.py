"""How results are shown: on what they were measured, then tables that can be pasted into a page."""

from __future__ import annotations

import os
import platform
import timeit
from collections.abc import Sequence
from pathlib import Path

from parts.apache_kafka import LIBS


def machine() -> str:
    """Say what the benchmarks run on, and how busy it was already in the last minute."""
    model = next((line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")), "?")
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores ({model}), load {load:.1f} at the start, {interpreter()}"


def interpreter() -> str:
    """Say which Python runs a worker, and how fast it is: two of one version differ by how they were compiled."""
    milliseconds = min(timeit.repeat(_loop, repeat=5, number=1)) * 1000
    told = f"Python {platform.python_version()} ({platform.python_compiler()})"
    return f"{told}, {_TURNS:,} turns of a loop in {milliseconds:.0f} ms"


_TURNS = 100_000


def _loop() -> None:
    counts: dict[str, int] = {}
    for turn in range(_TURNS):
        key = str(turn % 100)
        counts[key] = counts.get(key, 0) + turn


def broker() -> str:
    """Say which broker they talk to."""
    jar = next(LIBS.glob("kafka_2.13-*.jar"), None)
    version = jar.stem.rpartition("-")[2] if jar else "?"
    return f"Apache Kafka {version}, one broker on the same machine"


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown, its columns aligned."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    print(f"\n{title}\n")
    print(_line(head, widths))
    print("|" + "|".join(f"{'-' * (width + 1)}{':' if n else '-'}" for n, width in enumerate(widths)) + "|")
    for row in rows:
        print(_line(row, widths), flush=True)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [
        f"{cell:>{width}}" if n else f"{cell:<{width}}"
        for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(aligned) + " |"


def _cpu_lines() -> list[str]:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
