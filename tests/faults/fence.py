"""The recording rules' fence in plain Python, over one scrape of every worker: who is believed, and what they say."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from typing import NamedTuple

from parts.worker import Samples

_LINE = re.compile(r"^(cxstream_[a-z_]+)\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')
_ANSWER_SECONDS = 2.0

BUSINESS = tuple(
    f"cxstream_vital_sign_{name}_units" for name in ("window", "pending", "excluded", "retracted")
)  # what the recording rules fence

Labels = tuple[tuple[str, str], ...]


class Spoken(NamedTuple):
    """What the workers say together at one moment."""

    covered: frozenset[str]
    """Partitions that have an owner to believe."""
    lag_records: int
    """Of the source topics, as their believed owners see them."""
    samples: Samples
    """The business figures of the believed owners, each sample once per partition."""
    generation: int
    """The newest of the group that anybody knows of, ready or not; 0 if nobody answers."""


def scrape(address: str) -> Samples | None:
    """Scrape a worker and read what the fence looks at; None if it does not answer (it is down, or paused)."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=_ANSWER_SECONDS) as answer:
            return read(answer.read().decode())
    except (OSError, HTTPException):
        return None


def read(text: str) -> Samples:
    """Read gauges off a page of text, much faster than the client library does; labels hold no quotes or braces."""
    return Samples(
        "", [(name, dict(_LABEL.findall(labels)), float(value)) for name, labels, value in _LINE.findall(text)]
    )


def fence(scrapes: Iterable[Samples]) -> Spoken:
    """Believe, per partition, the ready owner of the highest generation, as the first recording rule does."""
    pages = list(scrapes)
    generations: dict[str, float] = {}
    speaks: list[dict[str, float]] = []
    for page in pages:
        ready = {labels["partition"] for name, labels, value in page.samples if name == _READY and value == 1}
        mine = {
            labels["partition"]: value
            for name, labels, value in page.samples
            if name == _GENERATION and labels["partition"] in ready
        }
        speaks.append(mine)
        for partition, generation in mine.items():
            generations[partition] = max(generation, generations.get(partition, generation))
    figures: dict[tuple[str, Labels], float] = {}
    lags: dict[tuple[str, str], float] = {}
    for page, mine in zip(pages, speaks, strict=True):
        for name, labels, value in page.samples:
            partition = labels.get("partition", "")
            if partition not in mine or mine[partition] != generations[partition]:
                continue
            if name in BUSINESS:
                key = name, tuple(sorted(labels.items()))
                figures[key] = max(value, figures.get(key, value))
            elif name == _LAG:
                lag = labels["topic"], partition
                lags[lag] = max(value, lags.get(lag, value))
    samples = Samples("", [(name, dict(labels), value) for (name, labels), value in figures.items()])
    return Spoken(
        frozenset(generations),
        int(sum(lags.values())),
        samples,
        int(max((value for page in pages for name, _, value in page.samples if name == _GENERATION), default=0)),
    )


_READY = "cxstream_partition_ready"
_GENERATION = "cxstream_partition_owner_generation"
_LAG = "cxstream_consumer_lag_records"
