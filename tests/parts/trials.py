"""How often what is random is tried, and with which seeds: `make test` tries the same few, `make fuzz` new ones."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

FACTOR = int(os.environ.get("CXSTREAM_TEST_FACTOR", "1"))
"""How many times the trials of `make test`."""
FIRST_SEED = int(os.environ.get("CXSTREAM_TEST_FIRST_SEED", "0"))


def seeds(count: int) -> range:
    """Return the seeds of a property that is tried with so many in `make test`."""
    return range(FIRST_SEED, FIRST_SEED + count * FACTOR)


def blocks(count: int, size: int) -> list[range]:
    """Return the same seeds in blocks that a failure names."""
    return [seeds(count)[first : first + size] for first in range(0, len(seeds(count)), size)]


def often(count: int) -> int:
    """Return how often at least what a property is about must occur: seeds that are drawn may bring it once."""
    return 1 if FIRST_SEED else count


def tried(examples: int, **more: Any) -> settings:  # noqa: ANN401  # what Hypothesis takes
    """Return the settings of a property that is tried with so many examples in `make test`."""
    return settings(max_examples=examples * FACTOR, deadline=None, **more)
