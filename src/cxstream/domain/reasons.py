"""Reasons in plain words: what the reason of a verdict says to a reader who does not know the rules."""

from __future__ import annotations

from typing import NamedTuple

from cxstream.domain.instant import format_duration
from cxstream.domain.policy import Policy


class Reason(NamedTuple):
    """Why a unit stands as it does. Durations of the policy stand in braces, by name without unit: `{late_grace}`."""

    sentence: str
    rules: tuple[int, ...]
    """Rules of the vital-signs page it follows from."""
    open_to: str = ""
    """What could change it while the unit is not final."""
    counted_at: str = ""
    """What the anchor is, where none of the facts it rests on stands for it."""
    in_repeat_window: bool = False
    """Whether what could change it must have happened in (anchor, anchor + R] to count (rules 12 to 14)."""

    def told(self, policy: Policy) -> Reason:
        """Return the reason with the durations and limits in force filled in."""
        limits = _limits(policy)
        sentence, open_to, counted_at = (
            text.format_map(limits) for text in (self.sentence, self.open_to, self.counted_at)
        )
        return self._replace(sentence=sentence, open_to=open_to, counted_at=counted_at)


def _limits(policy: Policy) -> dict[str, str]:
    limits = {}
    for name in policy.__struct_fields__:
        value = getattr(policy, name)
        if not name.endswith("_ms"):
            limits[name] = str(value)
        elif isinstance(value, dict):
            by_priority = (f"{priority} {format_duration(limit_ms)}" for priority, limit_ms in value.items())
            limits[name.removesuffix("_ms")] = ", ".join(by_priority)
        else:
            limits[name.removesuffix("_ms")] = format_duration(value)
    return limits
