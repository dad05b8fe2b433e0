"""What the doctor says: findings with a severity, as text for people and as JSON for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

Severity = Literal["ok", "warning", "error"]
STATUS: dict[Severity, int] = {"ok": 0, "warning": 1, "error": 2}
"""Exit status by the worst that was found."""

Progress = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much there is."""


def no_progress(_what: str, _done: int, _all: int) -> None:
    """Show nothing."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    severity: Severity
    check: str
    """Which question this answers; docs/operations.md lists them."""
    subject: str
    """A topic, a broker, a group, a setting."""
    observed: str
    advice: str = ""
    """What to do; empty where all is well."""

    @property
    def text(self) -> str:
        """What was observed, and below it what to do."""
        line = f"{self.severity:<8}{self.check:<14}{self.subject}: {self.observed}"
        return f"{line}\n{'':22}{self.advice}" if self.advice else line

    def document(self) -> dict[str, Any]:
        """Return the finding as one JSON object."""
        return self._asdict()


class Report(NamedTuple):
    """All findings, in the order of the questions."""

    findings: Sequence[Finding]

    @property
    def worst(self) -> Severity:
        """The worst severity there is."""
        return max((one.severity for one in self.findings), key=STATUS.__getitem__, default="ok")

    @property
    def status(self) -> int:
        """The exit status: 0 all is well, 1 there are warnings, 2 there are errors."""
        return STATUS[self.worst]

    @property
    def counts(self) -> dict[Severity, int]:
        """How many findings there are of each severity."""
        found = Counter(one.severity for one in self.findings)
        return {severity: found[severity] for severity in STATUS}

    @property
    def summary(self) -> str:
        """The counts in words."""
        counts = self.counts
        return f"{counts['error']} errors, {counts['warning']} warnings, {counts['ok']} ok"

    def document(self) -> dict[str, Any]:
        """Return the report as one JSON object."""
        findings = [one.document() for one in self.findings]
        return {"status": self.worst, "counts": self.counts, "findings": findings}
