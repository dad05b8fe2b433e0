"""Counts letters by what an operator asks first: why, from where, since when."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cxstream.dead_letters.letters import Letter
from cxstream.domain.instant import DAY_MS, HOUR_MS, format_instant

AGES = (("under 1 h", HOUR_MS), ("under 1 d", DAY_MS), ("under 7 d", 7 * DAY_MS), ("under 30 d", 30 * DAY_MS))
OLDER = "older"


@dataclass
class Survey:
    """What some letters come to, and the last of them in full; `now_ms` is what ages are counted to."""

    now_ms: int
    limit: int
    """Letters told in full, at most: those that were rejected last."""
    total: int = 0
    parked: int = 0
    """Letters left out because they are parked."""
    first_ms: int | None = None
    last_ms: int | None = None
    by_reason: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    by_partition: Counter[tuple[str, int]] = field(default_factory=Counter)
    by_age: Counter[str] = field(default_factory=Counter)
    _last: list[tuple[int, int, Letter]] = field(default_factory=list)

    def add(self, letter: Letter) -> None:
        """Count one letter."""
        self.total += 1
        rejected_ms = letter.rejected_ms
        self.first_ms = rejected_ms if self.first_ms is None else min(self.first_ms, rejected_ms)
        self.last_ms = rejected_ms if self.last_ms is None else max(self.last_ms, rejected_ms)
        self.by_reason[letter.reason] += 1
        self.by_source[letter.source] += 1
        self.by_partition[letter.place.topic, letter.place.partition] += 1
        age_ms = self.now_ms - rejected_ms
        self.by_age[next((name for name, below_ms in AGES if age_ms < below_ms), OLDER)] += 1
        if self.limit:
            push = heapq.heappush if len(self._last) < self.limit else heapq.heappushpop
            push(self._last, (rejected_ms, self.total, letter))

    @property
    def last(self) -> list[Letter]:
        """The letters that were rejected last, the newest first."""
        return [letter for _ms, _number, letter in sorted(self._last, reverse=True)]

    def document(self) -> dict[str, Any]:
        """Return it as JSON; nothing of what a letter says is in it."""
        partitions: dict[str, dict[str, int]] = {}
        for (topic, partition), count in sorted(self.by_partition.items()):
            partitions.setdefault(topic, {})[str(partition)] = count
        return {
            "total": self.total,
            "parked": self.parked,
            "first": None if self.first_ms is None else format_instant(self.first_ms),
            "last": None if self.last_ms is None else format_instant(self.last_ms),
            "by_reason": dict(self.by_reason.most_common()),
            "by_source": dict(self.by_source.most_common()),
            "by_partition": partitions,
            "by_age": {name: self.by_age[name] for name in (*(name for name, _ in AGES), OLDER) if self.by_age[name]},
            "letters": [
                {
                    "topic": letter.place.topic,
                    "partition": letter.place.partition,
                    "offset": letter.place.offset,
                    "rejected": format_instant(letter.rejected_ms),
                    "reason": letter.reason,
                    "detail": letter.errors.get("detail", ""),
                    "replays": letter.replays,
                }
                for letter in self.last
            ],
        }

    def text(self) -> str:
        """Return it for people."""
        said = self.document()
        aside = f" ({self.parked} parked ones left out)" if self.parked else ""
        if not self.total:
            return f"no dead letters{aside}\n"
        lines = [f"{self.total} dead letters{aside}, rejected from {said['first']} to {said['last']}", ""]
        lines += [f"{'by reason':<14}{_counts(said['by_reason'])}", f"{'by source':<14}{_counts(said['by_source'])}"]
        lines += [f"{'by partition':<14}{topic}: {_counts(of)}" for topic, of in said["by_partition"].items()]
        lines += [f"{'by age':<14}{_counts(said['by_age'])}"]
        if said["letters"]:
            lines += ["", *_table(said["letters"])]
        return "\n".join(lines) + "\n"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _table(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return rows in columns as wide as they need to be."""
    names = ("rejected", "topic", "partition", "offset", "reason", "detail")
    cells = [names, *(tuple(str(row[name]) for name in names) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
