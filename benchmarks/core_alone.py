"""How the pure core grows: with the facts of a case, with what comes together in a batch, with duplicates."""

from __future__ import annotations

from cxstream.demo.upstream import MINUTE
from parts.figures import wall_ms

from .engines import core
from .events import REFERENCE_FACTS, Load
from .measuring import Run
from .printing import show

EVENTS = 6_000
LIVE = 250
PARTITIONS = 4
FACTS = (4, 12, 30, 100)
BATCHES = (1, 10, 100, 1000)
DUPLICATES = (0.0, 0.1, 0.5)
ASSESSED = "cases assessed per event"


def load_of(facts: int, duplicates: float = 0.0) -> Load:
    """Return about as many events as always, in cases of so many facts."""
    cases = EVENTS // facts
    return Load(cases, min(cases, LIVE), facts, duplicates)


def core_of(load: Load, batch: int) -> Run:
    """Run the core once."""
    return core(load, wall_ms() - MINUTE, batch, PARTITIONS)


def measure() -> None:
    """Print the tables; one run each."""
    by_facts()
    by_batches()
    by_duplicates()


def by_facts() -> None:
    """Print what an event costs in cases of few and many facts."""
    alone, together = BATCHES[0], BATCHES[-1]
    rows = []
    for facts in FACTS:
        load = load_of(facts)
        one, many = core_of(load, alone), core_of(load, together)
        rows.append((f"{facts}", f"{load.live}", f"{one.cpu_us:.0f}", f"{many.cpu_us:.0f}", f"{many.written or 0:.2f}"))
    head = ("facts per case", "open at a time", f"batches of {alone}", f"batches of {together}", ASSESSED)
    show("Pure core, µs CPU/event by the facts of a case; one run each", head, rows)


def by_batches() -> None:
    """Print what an event costs in small and large batches."""
    runs = [(batch, core_of(load_of(REFERENCE_FACTS), batch)) for batch in BATCHES]
    rows = [(f"{batch:,}", f"{run.cpu_us:.0f}", f"{run.written or 0:.2f}") for batch, run in runs]
    show("Pure core by the size of batches; one run each", ("batch", "µs CPU/event", ASSESSED), rows)


def by_duplicates() -> None:
    """Print what an event costs when many are known already."""
    runs = [(share, core_of(load_of(REFERENCE_FACTS, share), BATCHES[-1])) for share in DUPLICATES]
    rows = [(f"{share:.0%}", f"{run.cpu_us:.0f}", f"{run.written or 0:.2f}") for share, run in runs]
    head = ("delivered twice", "µs CPU/event", ASSESSED)
    show(f"Pure core by the share of events delivered twice, batches of {BATCHES[-1]}; one run each", head, rows)
