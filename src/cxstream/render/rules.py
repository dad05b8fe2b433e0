"""Recording rules: fence the owners, add the counts of their partitions, divide last; ratios cannot be averaged."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from statistics import NormalDist
from types import MappingProxyType
from typing import NamedTuple

from cxstream.domain.vital_sign import Measure, VitalSign
from cxstream.engine.ledger import Level

JOB = "job"
FRESH_SECONDS = 900
"""A job whose slowest partition is further behind than this is stale: its ratios are not to be trusted."""

SILENT_AFTER_SECONDS: Mapping[str, int] = MappingProxyType({"ticket": 3600, "dispatch": 3600, "parts": 86_400})
"""A source topic that brought nothing for so long is dead, as the default of `kafka.source_silent_after` has it."""

CONFIDENCE = 0.99
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

FENCED = "instance_partition:cxstream_partition_owner_generation:fenced"
COVERED = "job:cxstream_partitions_covered:ratio"
WATERMARK_AGE = "job:cxstream_watermark_age_seconds:max"
SILENCE = "topic:cxstream_source_silence_seconds:min"
SOURCES_ALIVE = "vital_sign:cxstream_sources:alive"

REPEATS = "stayed_fixed"
REPEATS_WINDOW = "30d"
_POISSON_Z = NormalDist().inv_cdf(0.999)

FRESH_EVENT_SECONDS = 60.0
"""An event is in the figures in time if it is so within this after its delivery; a bound of the histogram."""
BURN_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

_READY_OWNERS = """\
cxstream_partition_owner_generation
and on (group, instance, partition) (cxstream_partition_ready == 1)"""
_OF_FENCED_OWNERS = f"and on (group, instance, partition) {FENCED}"


class Rule(NamedTuple):
    """One recording rule."""

    record: str
    expr: str
    about: str
    """What the recorded series says, one sentence."""


def recording_rules(
    levels: Iterable[Level],
    catalogue: Mapping[str, VitalSign],
    silent_after_seconds: Mapping[str, int] = SILENT_AFTER_SECONDS,
) -> list[Rule]:
    """Return the rules in the order they must be evaluated in, so that the fence is fresh for all that follows.

    `silent_after_seconds` is by source topic; one that is not named, or has 0, is never taken for dead.
    """
    levels = list(levels)
    return [
        *_trust(),
        *_sources(catalogue, silent_after_seconds),
        *(rule for level in levels for rule in _level(level.name, catalogue)),
        *(rule for level in levels if watches_repeats(level, catalogue) for rule in _repeats(level.name)),
        *_pipeline(),
    ]


def rules_file(rules: Iterable[Rule]) -> str:
    """Return the rules as a Prometheus rule file: one group, because only within a group is the order kept."""
    lines = ["groups:", "  - name: cxstream", "    rules:"]
    for rule in rules:
        lines += textwrap.wrap(rule.about, 120, initial_indent="      # ", subsequent_indent="      # ")
        lines += [f"      - record: {rule.record}", "        expr: |-", textwrap.indent(rule.expr, " " * 10)]
    return "\n".join(lines) + "\n"


def _trust() -> Iterator[Rule]:
    yield Rule(
        FENCED,
        f"({_block(_READY_OWNERS)})\n== on (group, partition) group_left ()\n"
        f"max by (group, partition) ({_block(_READY_OWNERS)})",
        "Per partition the owner to believe: of the workers ready for it the one of the highest generation.",
    )
    yield Rule(
        COVERED,
        f"""\
(
  count by (group) (count by (group, partition) ({FENCED}))
  or
  max by (group) (cxstream_partitions_expected) * 0
)
/
(max by (group) (cxstream_partitions_expected) > 0)""",
        "Share of the job's partitions that have an owner to believe; below 1 every sum lacks something.",
    )
    yield Rule(
        WATERMARK_AGE,
        f"""\
max by (group) (
  time()
  -
  max by (group, partition) (
    cxstream_partition_watermark_timestamp_seconds
    {_OF_FENCED_OWNERS}
  )
)""",
        "How far behind now the slowest partition is.",
    )


def _sources(catalogue: Mapping[str, VitalSign], silent_after_seconds: Mapping[str, int]) -> Iterator[Rule]:
    limits = {topic: limit for topic, limit in silent_after_seconds.items() if limit}
    heard = "topic:cxstream_source_watermark_timestamp_seconds:max"
    yield Rule(
        heard,
        f"""\
max by (group, topic) (
  cxstream_partition_source_watermark_timestamp_seconds
  {_OF_FENCED_OWNERS}
)""",
        "Newest delivery of a source topic that was processed, over all partitions.",
    )
    yield Rule(
        SILENCE,
        f"time() - max_over_time({heard}[{max(limits.values(), default=3600)}s])",
        "How long a source topic has brought nothing to any partition; a worker that restarts does not forget it.",
    )
    signs: dict[tuple[str, ...], list[str]] = {}
    for name, sign in catalogue.items():
        signs.setdefault(tuple(topic for topic in sign.topics if topic in limits), []).append(name)
    yield Rule(
        SOURCES_ALIVE,
        "\nor\n".join(_alive(names, {topic: limits[topic] for topic in topics}) for topics, names in signs.items()),
        "There, and 1, for a vital sign while none of the source topics its evidence comes from is dead.",
    )


def _alive(names: Iterable[str], limits: Mapping[str, int]) -> str:
    judged = f'group by (group, vital_sign) (cxstream_vital_sign_objective_ratio{{vital_sign=~"{"|".join(names)}"}})'
    if not limits:
        return judged
    heard = " or ".join(f'{SILENCE}{{topic="{topic}"}} < {limit}' for topic, limit in limits.items())
    return f"{judged}\nand on (group)\n(count by (group) ({heard}) == {len(limits)})"


def _level(level: str, catalogue: Mapping[str, VitalSign]) -> Iterator[Rule]:
    per_sign = "group, vital_sign, level, segment, window"
    units = f"{level}:cxstream_vital_sign_window_units:sum"
    decided = f"{level}:cxstream_vital_sign_decided_units:sum"
    ratio = f"{level}:cxstream_vital_sign_good_per_units:ratio"
    trusted = f"{level}:cxstream_vital_sign_good_per_units:trusted"
    where = "over the whole job" if level == JOB else f"by {level.replace('_', ' and ')}"
    yield Rule(
        units,
        _fenced_sum("cxstream_vital_sign_window_units", f'level="{level}"', f"{per_sign}, outcome, finality"),
        f"Decided units {where}, each partition as its owner counts it.",
    )
    yield Rule(decided, f"sum by ({per_sign}) ({units})", f"Decided units {where}, good and bad: the denominator.")
    yield Rule(
        ratio,
        f'sum by ({per_sign}) ({units}{{outcome="good"}})\n/\n({decided} > 0)',
        f"Share of decided units that are good {where}; absent where nothing is decided.",
    )
    if level == JOB:
        yield Rule(
            "job:cxstream_vital_sign_good_per_sealed_units:ratio",
            f"""\
sum by ({per_sign}) ({units}{{outcome="good", finality="final"}})
/
(sum by ({per_sign}) ({units}{{finality="final"}}) > 0)""",
            "The same over sealed units only: nothing can change it any more.",
        )
    yield Rule(
        f"{level}:cxstream_vital_sign_good_per_units:wilson_upper99",
        f"""\
clamp_max(
  (
    {ratio} * {decided}
    + {_Z**2 / 2:.9f}
    + {_Z:.9f} * sqrt(
      {ratio} * (1 - {ratio})
      * {decided} + {_Z**2 / 4:.9f}
    )
  )
  /
  ({decided} + {_Z**2:.9f}),
  1
)""",
        "Upper end of the ratio's 99 % Wilson interval: an objective above it is missed by more than chance.",
    )
    yield Rule(
        trusted,
        f"""\
{ratio}
and on (group) ({COVERED} == 1)
and on (group) ({WATERMARK_AGE} < {FRESH_SECONDS})""",
        f"The ratio {where}, only while every partition is covered and none is more than {FRESH_SECONDS} s behind.",
    )
    for name, sign in catalogue.items():
        if sign.lower_is_better:
            for source, suffix in ((ratio, "ratio"), (trusted, "trusted")):
                yield Rule(
                    f"{level}:cxstream_{sign.lower_is_better}:{suffix}",
                    f'1 - {source}{{vital_sign="{name}"}}',
                    f"{name} read the other way round, as the field does: lower is better.",
                )
    for name, sign in catalogue.items():
        if sign.measure is not None:
            yield from _measure(level, where, name, sign.measure)
    yield from _live(level, where)
    journey = f"{level}:cxstream_journey_cases:sum"
    of = "group, level, segment, window"
    yield Rule(
        journey,
        _fenced_sum("cxstream_journey_cases", f'level="{level}"', f"{of}, moment"),
        f"Cases {where} that reached each key moment of the journey.",
    )
    yield Rule(
        f"{level}:cxstream_journey_cases:ratio",
        f'{journey}\n/ on ({of}) group_left ()\n({journey}{{moment="cases"}} > 0)',
        f"The same as a share of all cases {where} whose first response is decided.",
    )
    yield Rule(
        f"{level}:cxstream_at_risk_units:sum",
        _fenced_sum("cxstream_at_risk_units", f'level="{level}"', "group, vital_sign, level, segment"),
        f"Units {where} that will be misses within the risk horizon unless something happens.",
    )
    yield Rule(
        f"{level}:cxstream_vital_sign_objective:ratio",
        _objective(level),
        f"The objective in force {where}"
        + ("." if level == JOB else ": that of the segment where the policy sets one, else that of the job."),
    )
    if level == JOB:
        yield from _standing()


def _objective(level: str) -> str:
    of = "group, vital_sign, level, segment"
    own = f'max by ({of}) (cxstream_vital_sign_objective_ratio{{level="{level}"}})'
    if level == JOB:
        return own
    return f"""\
{own}
or
(
  group by ({of}) ({level}:cxstream_vital_sign_decided_units:sum or {level}:cxstream_at_risk_units:sum)
  * on (group, vital_sign) group_left ()
  max by (group, vital_sign) (cxstream_vital_sign_objective_ratio{{level="{JOB}"}})
)"""


def watches_repeats(level: Level, catalogue: Mapping[str, VitalSign]) -> bool:
    """Return whether repeat failures at this level are compared with those of the whole job."""
    return "product" in level.dimensions and REPEATS_WINDOW in level.windows and REPEATS in catalogue


def _repeats(level: str) -> Iterator[Rule]:
    of, chosen = "group, vital_sign, level, segment", f'vital_sign="{REPEATS}", window="{REPEATS_WINDOW}"'
    where = level.replace("_", " and ")
    yield Rule(
        f"{level}:cxstream_repeat_failures:sum",
        f'sum by ({of}) ({level}:cxstream_vital_sign_window_units:sum{{{chosen}, outcome="bad"}})',
        f"Repeat failures by {where} of fixes in the last {REPEATS_WINDOW}.",
    )
    yield Rule(
        f"{level}:cxstream_repeat_failures:poisson_limit",
        f"""\
(
  sqrt(
    sum by ({of}) ({level}:cxstream_vital_sign_decided_units:sum{{{chosen}}})
    * on (group, vital_sign) group_left ()
    (1 - job:cxstream_vital_sign_good_per_units:ratio{{{chosen}}})
  )
  + {_POISSON_Z / 2:.9f}
) ^ 2""",
        f"What repeat failures by {where} exceed by chance in less than 1 of 1,000, were it like the whole job: the"
        " upper limit of a Poisson count, by its square root.",
    )


def _pipeline() -> Iterator[Rule]:
    for window in BURN_WINDOWS:
        late = (
            f"cxstream_event_to_gauges_seconds_bucket{{le=~'{FRESH_EVENT_SECONDS:g}|{FRESH_EVENT_SECONDS}'}}[{window}]"
        )
        yield Rule(
            f"job:cxstream_event_to_gauges_late:ratio_rate{window}",
            f"""\
1
-
sum by (group) (rate({late}))
/
(sum by (group) (rate(cxstream_event_to_gauges_seconds_count[{window}])) > 0)""",
            f"Share of events that reached the figures later than {FRESH_EVENT_SECONDS:g} s, over {window}.",
        )
        yield Rule(
            f"job:cxstream_dead_letters_per_consumed:ratio_rate{window}",
            f"""\
sum by (group) (rate(cxstream_dead_letters_total[{window}]))
/
(sum by (group) (rate(cxstream_events_consumed_total[{window}])) > 0)""",
            f"Share of records read that became dead letters, over {window}.",
        )


def _measure(level: str, where: str, name: str, measure: Measure) -> Iterator[Rule]:
    """Yield how what a sign measures is distributed; quantiles cannot be averaged either."""
    window, of = f"cxstream_{name}_window_{measure.unit}", "group, level, segment, window"
    took = "took no longer" if measure.unit == "seconds" else f"had no more {measure.unit}"
    parts = {"bucket": f"{of}, le", "gsum": of, "gcount": of}
    for part, labels in parts.items():
        yield Rule(
            f"{level}:{window}_{part}:sum",
            _fenced_sum(f"{window}_{part}", f'level="{level}"', labels),
            f"{name} {where}: the {part} of the distribution, each partition as its owner counts it.",
        )
    for quantile in measure.quantiles:
        yield Rule(
            f"{level}:cxstream_{name}_{measure.unit}:p{round(100 * quantile)}",
            f"histogram_quantile({quantile}, {level}:{window}_bucket:sum)",
            f"{name} {where}: {quantile:.0%} of the units {took}, as far as the buckets tell.",
        )
    yield Rule(
        f"{level}:cxstream_{name}_{measure.unit}:mean",
        f"{level}:{window}_gsum:sum\n/\n({level}:{window}_gcount:sum > 0)",
        f"{name} {where}: the mean.",
    )


def _live(level: str, where: str) -> Iterator[Rule]:
    of = "group, level, segment"
    yield Rule(
        f"{level}:cxstream_open_cases:sum",
        _fenced_sum("cxstream_open_cases", f'level="{level}"', of),
        f"Cases that wait for a fix now {where}.",
    )
    for gauge, about in (
        ("oldest_open_case_seconds", "How long the oldest of them has been open"),
        ("longest_current_silence_seconds", "The longest silence a waiting customer is left in now"),
    ):
        yield Rule(
            f"{level}:cxstream_{gauge}:max",
            f'max by ({of}) (\n  cxstream_{gauge}{{level="{level}"}}\n  {_OF_FENCED_OWNERS}\n)',
            f"{about} {where}.",
        )


def _standing() -> Iterator[Rule]:
    for state, more, about in (
        ("pending", "", "Units that cannot be decided yet"),
        ("excluded", ", reason", "Units left out of the ratio, by reason"),
        ("retracted", "", "Units of which a decided verdict was once taken back"),
    ):
        metric = f"cxstream_vital_sign_{state}_units"
        yield Rule(
            f"job:{metric}:sum",
            _fenced_sum(metric, "", f"group, vital_sign, window{more}"),
            f"{about}, each partition as its owner counts it.",
        )
    yield Rule(
        "job:cxstream_watched_loophole_sightings:sum",
        _fenced_sum("cxstream_watched_loophole_sightings", "", "group, loophole, window"),
        "Uses of the watched loopholes, each partition as its owner counts them.",
    )


def _fenced_sum(metric: str, matchers: str, labels: str) -> str:
    """Return the sum over partitions of what the fenced owner says; `max`, should two targets be the same worker."""
    return f"""\
sum by ({labels}) (
  max by ({labels}, partition) (
    {metric}{f"{{{matchers}}}" if matchers else ""}
    {_OF_FENCED_OWNERS}
  )
)"""


def counted_within_hour(counter: str) -> str:
    """Return how much each series of a counter rose within the hour.

    One that is not older, that of a worker that has just started, by all that it counts: the first scrape has what was
    counted before it, which no rate knows of.
    """
    return f"{counter}\nunless count_over_time({counter}[1d] offset 1h)\nor increase({counter}[1h])"


def _block(expr: str) -> str:
    return f"\n{textwrap.indent(expr, '  ')}\n"
