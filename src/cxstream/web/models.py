"""What pages show and the JSON API answers, and what workers tell each other for it: the same structs for all three."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from cxstream.engine.listing import Selection

Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339 in UTC."""

# --- Between workers: what one worker knows ---------------------------------------------------------------------------

Row = tuple[str, str, str, str, str, str, int]
"""As `engine.ledger.Row`: sign, level, segment, window, state, detail, units."""
Lasting = tuple[str, str, str, int, int]
"""As `engine.ledger.Lasting`: sign, level, segment, units, since."""
Trend = dict[str, list[list[int]]]
"""By "sign level segment": good units and bad units of every slice, the oldest first."""


class PartitionFigures(Struct, kw_only=True):
    """The figures of one partition, as one worker knows it."""

    partition: int
    generation: int
    ready: bool
    watermark_ms: int | None
    sources_ms: dict[str, int] = {}
    """Newest delivery taken, by source topic."""
    rows: list[Row] = []
    lasting: list[Lasting] = []
    trend: Trend = {}


class WorkerFigures(Struct, kw_only=True):
    """What one worker says of the partitions it owns, or owned a moment ago."""

    group: str
    version: str
    policy: str
    state: str
    now_ms: int
    partitions_expected: int
    partitions: list[PartitionFigures]


class Found(Struct, kw_only=True):
    """How far one worker has looked through its case records."""

    partitions: dict[int, int]
    """Generation by partition, of those that were looked through."""
    totals: dict[int, int]
    """Units or cases found, by partition."""
    looked_at: int
    """Case records looked at so far."""
    of: int
    """Case records there are."""
    most: int
    """So many found are kept, the first by order."""
    as_of_ms: int


class WorkerUnits(Found, kw_only=True):
    """Units behind a figure, of one worker."""

    units: list[ListedUnit]


class WorkerCases(Found, kw_only=True):
    """Cases of an account, of one worker."""

    cases: list[CaseBrief]


# --- For readers ------------------------------------------------------------------------------------------------------


class WorkerWord(Struct, kw_only=True):
    """One worker that was asked."""

    url: str
    answered: bool
    problem: str = ""
    """Why there is no answer of it."""
    version: str = ""
    state: str = ""
    partitions: list[int] = []
    """Partitions it is believed of."""


class Source(Struct, kw_only=True):
    """A source topic as a whole."""

    topic: str
    last_delivery: Instant | None
    age_seconds: int | None
    dead: bool
    """It brought nothing for so long that silence proves no miss."""


class Trust(Struct, kw_only=True):
    """Whether figures may be believed now."""

    trusted: bool
    problems: list[str]
    """Why not, in words."""
    partitions_covered: int
    partitions_expected: int
    uncovered: list[int]
    """Partitions nobody speaks for."""
    watermark: Instant | None
    """The clock of the slowest partition that is covered."""
    age_seconds: int | None
    """How far that is behind now."""
    workers: list[WorkerWord]


class Slice(Struct, kw_only=True):
    """Units decided in one slice of a window."""

    begins: Instant
    good: int
    bad: int


class Figure(Struct, kw_only=True):
    """One vital sign over a window, of the whole job or of a segment."""

    sign: str
    title: str
    question: str
    level: str
    segment: str
    window: str
    good: int
    bad: int
    ratio: float | None
    """good / (good + bad); null without units, and while the figures are not to be believed."""
    objective: float | None
    standing: Literal["met", "below", "unclear", "none"]
    """Against the objective; unclear: below it, but so few units may be chance. none: nothing to say."""
    trend: list[Slice]
    """The window in slices of equal length, the oldest first; added up they are good and bad."""
    at_risk: int = 0
    final: int | None = None
    """Of the decided units those that nothing can change any more; of segments not known, as what follows."""
    pending: int | None = None
    excluded: dict[str, int] | None = None
    """By reason."""
    retracted: int | None = None
    sources_dead: list[str] = []
    """Topics it rests on that are dead."""


class SegmentFigure(Struct, kw_only=True):
    """One segment of a sign against the rest of the job."""

    figure: Figure
    others_ratio: float | None
    """Of the rest of the job."""
    points: float | None
    """Percentage points above the others (below: negative)."""
    alarming: bool
    """So far below the others that chance is no explanation."""


class Measured(Struct, kw_only=True):
    """What a sign that measures found over a window."""

    sign: str
    title: str
    window: str
    units: int
    mean: str
    median_at_most: str
    ninth_decile_at_most: str


class AtRisk(Struct, kw_only=True):
    """Units of a sign that will be misses soon unless something happens."""

    sign: str
    title: str
    units: int
    missing: str
    """What has to happen."""


class Present(Struct, kw_only=True):
    """What goes on now."""

    at_risk: list[AtRisk]
    risk_horizon_seconds: int
    open_cases: int | None
    """None at a level where it is not counted."""
    oldest_open_seconds: int | None
    longest_silence_seconds: int | None


class Overview(Struct, kw_only=True):
    """The job as a whole, or one segment of it."""

    group: str
    as_of: Instant
    level: str
    segment: str
    window: str
    windows: list[str]
    """Windows there are at this level."""
    segments: dict[str, list[str]]
    """Segments there are, by level."""
    trust: Trust
    sources: list[Source]
    present: Present
    figures: list[Figure]
    furthest_below: list[SegmentFigure]
    """Segments below the rest of the job, the furthest first; at most 12."""
    measured: list[Measured]


class SignPage(Struct, kw_only=True):
    """One vital sign: what it asks, and all its segments."""

    sign: str
    title: str
    question: str
    numerator: str
    denominator: str
    unit: str
    known: str
    gaming: str
    as_of: Instant
    window: str
    windows: list[str]
    trust: Trust
    figure: Figure
    by_window: list[Figure]
    segments: list[SegmentFigure]


class ListedUnit(Struct, kw_only=True, omit_defaults=True):
    """One unit behind a number. Of an erased case nothing is said but that."""

    order: list[int] = []
    """Where it stands in its list, between workers."""
    partition: int
    erased: bool = False
    case: str = ""
    kind: str = ""
    unit: str = ""
    sign: str = ""
    title: str = ""
    standing: str = ""
    """good, bad, pending, excluded or measured."""
    final: bool = False
    reason: str = ""
    why: str = ""
    counted_at: Instant | None = None
    due: Instant | None = None
    missing: str = ""
    measured: str = ""
    account_ref: str | None = None
    segment: dict[str, str] = {}


class CaseList(Struct, kw_only=True):
    """Units behind a number: misses and the newest first; of what is at risk the first to be due."""

    selection: Selection
    as_of: Instant
    total: int
    """Units there are, as far as was looked."""
    units: list[ListedUnit]
    after: str
    """Token of the last unit listed, to ask for the following ones; empty if there are none, or no more are listed."""
    most_listed: int
    """So many units of every worker can be paged through."""
    looked_at: int
    of: int
    """Case records looked at, of those there are: while they differ there may be more."""
    complete: bool
    """All partitions were looked through."""
    trust: Trust


class CaseBrief(Struct, kw_only=True):
    """One case of an account."""

    case: str
    partition: int
    opened: Instant | None
    segment: dict[str, str]
    missed: list[str]
    pending: list[str]


class SearchResult(Struct, kw_only=True):
    """What was found of a case id or an account."""

    query: str
    case: str | None
    """The case with this id, if there is one."""
    cases: list[CaseBrief]
    """Cases whose opening names this account, the newest first."""
    total: int
    looked_at: int
    of: int
    complete: bool
    trust: Trust


class Fact(Struct, kw_only=True):
    """One fact of the timeline of a case."""

    event_id: str
    topic: str
    type: str
    what: str
    case: str
    """The case it belongs to, if not this one."""
    whose: str
    at: Instant
    delivered: Instant
    day: str
    """At the site."""
    clock: str
    stated: str
    marks: list[str]
    counts: bool


class CaseVerdict(Struct, kw_only=True):
    """One verdict on a unit of the case, and all there is to say about it."""

    sign: str
    title: str
    question: str
    kind: str
    unit: str
    verdict: Literal["hit", "miss", "pending", "excluded"]
    final: bool
    reason: str
    why: str
    rests_on: str
    event_ids: list[str]
    counted_at: str
    measured: str
    due: Instant | None
    due_told: str
    """Until when what has to happen, in words and site time."""
    missing: str
    decided_by_clock: Instant | None
    seals_at: Instant
    can_change: str


class CaseView(Struct, kw_only=True):
    """One case: what is known of it, every verdict, and what can still change it."""

    case: str
    state: Literal["known", "erased", "overflow", "forgotten"]
    as_of: Instant
    told: str
    """The same instant in the time of the site."""
    zone: str
    partition: int
    caught_up: bool
    """Whether everything that was delivered of the partition is taken."""
    account_ref: str | None
    segment: dict[str, str]
    remarks: list[str]
    timeline: list[Fact]
    verdicts: list[CaseVerdict]


class SourceReason(Struct, kw_only=True):
    """How many records of a source were rejected for one reason, and what to do about it."""

    reason: str
    count: int
    advice: str


class SkewBucket(Struct, kw_only=True):
    """Events whose delivery was at most so far from when they happened, and further than the bucket before."""

    up_to_seconds: int | None
    """None: any longer."""
    count: int


class Skew(Struct, kw_only=True):
    """How far the delivery of events was from when they happened."""

    count: int
    buckets: list[SkewBucket]


class SourceRejection(Struct, kw_only=True):
    """One rejected record: why, and where its dead letter tells that it was."""

    rejected_at: Instant
    reason: str
    field: str | None
    expected: str
    partition: int
    offset: int


class SourceAccount(Struct, kw_only=True):
    """What one worker has read of one source since it started."""

    topic: str
    source: str
    """One of sources.names; `__other__`, or `none` where records name no source."""
    records: int
    dispositions: dict[str, int]
    """Records by what became of them; they add up to all."""
    rejected: list[SourceReason]
    skew: dict[Literal["behind", "ahead"], Skew]
    rejections: list[SourceRejection]
    """The last ones, the newest first."""


class SourceList(Struct, kw_only=True):
    """What one worker has read of all sources, those with the most rejected records first."""

    version: Literal[1] = 1
    sources: list[SourceAccount]


class Problem(Struct, kw_only=True):
    """Why there is no answer (RFC 9457)."""

    title: str
    status: int
    detail: str


API_MODELS: tuple[Any, ...] = (Overview, SignPage, CaseList, SearchResult, CaseView, SourceList, Problem)
"""What the JSON API answers."""

encode = msgspec.json.encode
