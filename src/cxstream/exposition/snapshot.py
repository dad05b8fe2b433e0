"""What the worker knows at the moment of a scrape, as plain values; the collector renders what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from cxstream.engine.ledger import Lasting, Row

WorkerState = Literal["starting", "rebalancing", "recovering", "running", "draining"]
WORKER_STATES: tuple[WorkerState, ...] = get_args(WorkerState)

_NOTHING: Mapping[str, int] = MappingProxyType({})


class Objective(NamedTuple):
    """What the policy wants of one sign at one level and segment."""

    sign: str
    level: str
    segment: str
    """Empty at level job."""
    ratio: float


class PartitionSnapshot(NamedTuple):
    """One partition as this worker knows it: owned now, or lost a moment ago and lingering with its old generation."""

    partition: int
    generation: int
    """Consumer-group generation in which this worker owned it."""
    ready: bool
    """State recovered, ledger rebuilt, caught up: its business figures may be believed."""
    rows: Sequence[Row]
    """The ledger's figures; rows that are zero may be left out."""
    watermark_ms: int | None
    """The partition's clock: wall time while caught up, else how far its sources are read. None is never ready."""
    lasting: Sequence[Lasting] = ()
    """What goes on now: outages and silences."""
    source_watermark_ms: Mapping[str, int] = _NOTHING
    """Newest delivery time processed, by source topic, whoever owned the partition then."""
    lag_records: Mapping[str, int] = _NOTHING
    lag_seconds: Mapping[str, float] = MappingProxyType({})
    cases: int = 0
    boards: int = 0
    recovery_remaining: Mapping[str, int] = _NOTHING
    """Changelog records still to be read, by table."""
    state_bytes: Mapping[str, int] = _NOTHING
    """Memory the keys and values of a table take, by table."""
    version: int | None = None
    """Changes whenever `rows` do, within a generation: what was rendered for it is used again. None: render anew."""


class WorkerSnapshot(NamedTuple):
    """One worker at the moment of a scrape."""

    group: str
    """The consumer group: which job a figure belongs to."""
    state: WorkerState
    partitions_expected: int
    partitions: Sequence[PartitionSnapshot]
    """Each partition number at most once."""
    now_ms: int
    version: str
    policy: str
    """Fingerprint of the policy in force."""
    objectives: Sequence[Objective] = ()
    withhold_business: bool = False
    """Self-fence: not heard from the group for a session timeout, so another worker may own what this one holds."""
    cpu_seconds: float = 0.0
    """What the process has used since it started."""
    rebalances: int = 0
    label_values_capped: int = 0
    history_since_ms: int = 0
    """Since when events are known; 0: not said."""
