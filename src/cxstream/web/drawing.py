"""Draws trends and progress as paths of inline SVG: numbers in, coordinates out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cxstream.web.models import Slice

WIDTH, HEIGHT = 240, 56
NOTHING = "\u2013"
"""A dash, where there is nothing to count."""
_PAD = 4
_LEAST_SPAN = 0.1
"""The scale is that of the line itself, but at least so high, so that noise stays flat."""


class Spark(NamedTuple):
    """A trend as it is drawn, and in words."""

    path: str
    """Segments of the line; a slice without units is a gap."""
    dots: list[tuple[float, float]]
    """Slices that stand alone between gaps, and the last one."""
    objective_y: float | None
    """Where the objective lies; None: not set, or beyond the picture."""
    words: str


def spark(slices: Sequence[Slice], objective: float | None) -> Spark | None:
    """Return the trend of the slices of a window; None if none has units."""
    ratios = [one.good / (one.good + one.bad) if one.good + one.bad else None for one in slices]
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    if objective is not None and low - 0.15 <= objective <= high + 0.15:
        low, high = min(low, objective), max(high, objective)
    missing = max(0.0, _LEAST_SPAN - (high - low)) / 2
    low, high = max(0.0, low - missing), min(1.0, high + missing)

    def y(ratio: float) -> float:
        return round(_PAD + (HEIGHT - 2 * _PAD) * (high - ratio) / (high - low), 1)

    step = (WIDTH - 2 * _PAD) / max(1, len(ratios) - 1)
    path, dots, drawing = [], [], False
    for index, ratio in enumerate(ratios):
        if ratio is None:
            drawing = False
            continue
        point = round(_PAD + index * step, 1), y(ratio)
        path.append(f"{'L' if drawing else 'M'}{point[0]} {point[1]}")
        is_alone = not drawing and (index + 1 == len(ratios) or ratios[index + 1] is None)
        if is_alone or index + 1 == len(ratios):
            dots.append(point)
        drawing = True
    inside = objective is not None and low <= objective <= high
    last = f", {percent(ratios[-1])} in the last slice" if ratios[-1] is not None else ", none in the last slice"
    words = (
        f"{len(known)} of {len(ratios)} slices have units: from {percent(min(known))} to {percent(max(known))}{last}"
    )
    return Spark("".join(path), dots, y(objective) if inside and objective is not None else None, words)


def percent(ratio: float | None) -> str:
    """Write a ratio; all and nothing only where it is all or nothing, a dash where there is none."""
    if ratio is None:
        return NOTHING
    if ratio in (0.0, 1.0):
        return f"{ratio:.0%}"
    return f"{min(99.9, max(0.1, ratio * 100)):.1f}\u202f%"


def count(units: int | None) -> str:
    """Write a count with its thousands apart."""
    return NOTHING if units is None else f"{units:,}".replace(",", "\u202f")


def moment(instant: str | None) -> str:
    """Write an instant of RFC 3339 in UTC for people, to the second."""
    return NOTHING if instant is None else f"{instant[:10]} {instant[11:19]} UTC"


def duration(seconds: int | None) -> str:
    """Write a time in its two largest units: 42 s, 12 min, 3 h 20 min, 5 d 2 h."""
    if seconds is None:
        return NOTHING
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"
    if hours:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"
