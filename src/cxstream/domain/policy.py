"""The policy: every constant a verdict depends on, in one typed object (vital-signs page, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import msgspec

from cxstream.domain.facts import Fact
from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS

UNKNOWN = "unknown"
"""The segment of a case whose opening states none, or has not reached us."""

SEGMENTS_KEPT = 1000
"""So many resolved policies are kept at most, before they are resolved anew."""


class Override(msgspec.Struct, frozen=True):
    """What holds for the cases of one segment instead of the policy of all."""

    where: dict[str, str]
    """Values by dimension (priority, region, product, tier, provider): of all of these at once."""
    constants: dict[str, int | dict[str, int]]
    """Constants by the name they have in the policy; of one by priority only the priorities named here."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Limits by which verdicts are judged; all durations in milliseconds. The defaults hold in the scenarios.

    They hold for all cases but where `overrides` say otherwise: `of` returns the policy of one case.
    """

    repeat_window_ms: int = 30 * DAY_MS
    """R: a fix holds if nothing breaks again in (fix, fix + R], end inclusive."""
    late_horizon_ms: int = 72 * HOUR_MS
    """H: how long after its last limit a unit still listens to late facts."""
    late_grace_ms: int = 15 * MINUTE_MS
    """Arrival up to this long after the window's end is on time, inclusive."""
    early_tolerance_ms: int = 30 * MINUTE_MS
    """Arrival up to this long before the window's start is on time, inclusive."""
    provider_notice_ms: int = 24 * HOUR_MS
    """Notice a provider owes before the start of a window it changes; exactly this much is enough."""
    watched_notice_ms: int = 2 * HOUR_MS
    """A provider's change with less than this beyond the notice it owes is watched (rule 24)."""
    on_site_limit_ms: int = 12 * HOUR_MS
    """A visit without completion counts as on site for at most this long."""
    clock_skew_ms: int = 5 * MINUTE_MS
    """An event further ahead of its own delivery is rejected."""
    first_response_ms: dict[str, int] = msgspec.field(
        default_factory=lambda: {"P1": HOUR_MS, "P2": 4 * HOUR_MS, "P3": 8 * HOUR_MS}
    )
    """Target of first_response by priority, inclusive, elapsed time."""
    explanation_ms: int = 24 * HOUR_MS
    """Target of explained, inclusive."""
    silence_limit_ms: int = 24 * HOUR_MS
    """A gap between contacts longer than this is a silence."""
    silence_limit_by_priority_ms: dict[str, int] = msgspec.field(default_factory=lambda: {"P1": 4 * HOUR_MS})
    """Silence limits of single priorities, before the general one."""
    longest_pause_ms: int = 7 * DAY_MS
    """A pause stops the silence clock for at most this long."""
    abandonment_ms: int = 90 * DAY_MS
    """A case nobody ends is sealed this long after its last delivery."""
    easy_opening_ms: int = 10 * MINUTE_MS
    """A case opened within this long of the customer's first contact was easy to open, inclusive (C1)."""
    easy_opening_transfers: int = 1
    """More hand-overs than this before the opening are no easy way in (C1)."""
    most_transfers: int = 2
    """More reassignments of a case than this are too many (B3)."""
    compensation_window_ms: int = 30 * DAY_MS
    """A broken promise is made good within this long after it was broken, inclusive (C2 and C3)."""
    placeholder_assets: frozenset[str] = frozenset({"?", "-", "N/A", "n/a", "none", "None", "unknown", "UNKNOWN"})
    """Asset ids that mean "not known"; they are read as null (rule 8)."""
    merge_hops: int = 8
    """Merges are followed this many hops (rule 9)."""
    crowded_asset_cases: int = 50
    """More openings than this on one asset within R + H: a placeholder or a shared id; repeats are not knowable."""

    facts_per_case: int = 2000
    """A case with more facts than this is excluded as a whole, so that no order decides which are kept."""

    longest_window_ms: int = 30 * DAY_MS
    """The longest window units are counted over: a unit whose anchor is older is in no figure any more."""
    history_since_ms: int = 0
    """Since when events reach us: a case that began earlier is known in part, and judged by nothing."""
    remembered_ms: int = 365 * DAY_MS
    """How long a case whose facts were forgotten is still known to be final."""
    overrides: tuple[Override, ...] = ()
    """What is different for the cases of single segments; of several that name a constant the last one counts."""

    def of(self, opened: Fact | None) -> Policy:
        """Return the policy of a case by the segment its opening states, as effective and as known so far (rule 5).

        So a verdict stays a function of facts and clock: a correction of the segment brings the limits of the other.
        """
        if not self.overrides:
            return self
        values = tuple(((opened.text(name) if opened else None) or UNKNOWN) for name in self._dimensions)
        found = self._by_segment.get(values)
        if found is None:
            if len(self._by_segment) >= SEGMENTS_KEPT:
                self._by_segment.clear()
            found = self._by_segment[values] = self._within(dict(zip(self._dimensions, values, strict=True)))
        return found

    def _within(self, segment: Mapping[str, str]) -> Policy:
        constants: dict[str, int | dict[str, int]] = {}
        for override in self.overrides:
            if override.where.items() <= segment.items():
                for name, value in override.constants.items():
                    known = constants.get(name, getattr(self, name))
                    constants[name] = {**known, **value} if isinstance(value, dict) else value
        return msgspec.structs.replace(self, overrides=(), **constants)

    @cached_property
    def _dimensions(self) -> tuple[str, ...]:
        return tuple(sorted({name for override in self.overrides for name in override.where}))

    @cached_property
    def _by_segment(self) -> dict[tuple[str, ...], Policy]:
        return {}

    def _anywhere(self, name: str) -> list[int]:
        """Return every value a duration has in some segment."""
        stated = (override.constants.get(name) for override in self.overrides)
        return [getattr(self, name), *(value for value in stated if isinstance(value, int))]

    @cached_property
    def soonest_seal_ms(self) -> int:
        """In no segment a seal lies sooner than this after the earliest instant that a fact of its unit names."""
        return min(*self._anywhere("late_horizon_ms"), *self._anywhere("abandonment_ms"))

    @cached_property
    def soonest_open_seal_ms(self) -> int:
        """In no segment case signs are sealed sooner than this after that instant, unless it is cancelled or merged."""
        fixed_ms = min(self._anywhere("repeat_window_ms")) + min(self._anywhere("late_horizon_ms"))
        return min(fixed_ms, *self._anywhere("abandonment_ms"))

    @cached_property
    def repeat_span_ms(self) -> int:
        """R + H, each the longest of any segment: for so long cases of an asset may concern each other."""
        return max(self._anywhere("repeat_window_ms")) + max(self._anywhere("late_horizon_ms"))

    @cached_property
    def memory_ms(self) -> int:
        """R + H + the longest window: a fact that reaches us older than that creates no case."""
        return self.repeat_span_ms + self.longest_window_ms

    def asset(self, asset_id: str | None) -> str | None:
        """Return the asset, None where it is missing or a configured placeholder (rule 8)."""
        return None if not asset_id or asset_id in self.placeholder_assets else asset_id
