"""Reads what a reader asks for, and says what was expected where that cannot be had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from cxstream.domain.vital_sign import VitalSign
from cxstream.engine.listing import Selection, Standing
from cxstream.web.figures import JOB, windows_of
from cxstream.web.live import Live

STANDINGS: tuple[Standing, ...] = get_args(Standing)
WHOLE_JOB = "all"
"""What dashboards call the segment of level job, which has none."""
FIGURE = ("level", "segment", "window")
UNITS = ("sign", *FIGURE, "standing", "detail", "after")
"""What may be asked for of a figure of all, and of the units behind one."""
LONGEST = 1024
"""Characters of what may be searched for, as of an id."""
FIRST_CHOICE = "24h"


class AskedWrongError(ValueError):
    """What is asked for cannot be had; the message says what can."""


Query = Mapping[str, str]


def refuse_others(query: Query, *names: str) -> None:
    """Raise AskedWrongError where something is asked for that is not read: what was meant would be left out."""
    for name in query:
        if name not in names:
            raise AskedWrongError(f"no parameter {name!r}, {'one of ' + ', '.join(names) if names else 'none'}")


def level_of(query: Query, live: Live) -> tuple[str, str]:
    """Return the level and the segment asked for."""
    level, segment = query.get("level", JOB), query.get("segment", "")
    names = [one.name for one in live.windows.levels]
    if level not in names:
        raise AskedWrongError(f"level: one of {', '.join(names)}")
    if level == JOB and segment == WHOLE_JOB:
        segment = ""
    if (level == JOB) != (not segment):
        raise AskedWrongError("segment: a value of the level; none, or all, at level job")
    return level, segment


def window_of(query: Query, live: Live, level: str) -> str:
    """Return the window asked for, else a day, else the first there is."""
    windows = windows_of(live.windows, level)
    window = query.get("window") or (FIRST_CHOICE if FIRST_CHOICE in windows else windows[0])
    if window not in windows:
        raise AskedWrongError(f"window: one of {', '.join(windows)} at level {level}")
    return window


def sign_of(name: str, live: Live) -> VitalSign:
    """Return the vital sign of a name."""
    sign = live.catalogue.get(name)
    if sign is None:
        raise AskedWrongError(f"sign: one of {', '.join(live.catalogue)}")
    return sign


def selection_of(query: Query, live: Live) -> Selection:
    """Return the figure whose units are asked for."""
    level, segment = level_of(query, live)
    standing = next((one for one in STANDINGS if one == query.get("standing", "decided")), None)
    if standing is None:
        raise AskedWrongError(f"standing: one of {', '.join(STANDINGS)}")
    sign = query.get("sign", "")
    if sign:
        sign_of(sign, live)
    return Selection(
        sign=sign,
        level=level,
        segment=segment,
        window="" if standing == "at_risk" else window_of(query, live, level),
        standing=standing,
        detail=query.get("detail", "")[:LONGEST],
    )


def text_of(query: Query, name: str) -> str:
    """Return a text that has to be there."""
    text = query.get(name, "").strip()
    if not text or len(text) > LONGEST:
        raise AskedWrongError(f"{name}: 1 to {LONGEST} characters")
    return text


def limit_of(query: Query, most: int) -> int:
    """Return how many are asked for."""
    text = query.get("limit", str(most))
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) <= most):
        raise AskedWrongError(f"limit: 1 to {most}")
    return int(text)
